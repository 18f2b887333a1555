//! `warm-up`: requests that nobody sent, answered before the worker is ready, or in the template of which workers are forked.
//!
//! The application is called as for a client on this machine (`python/warm.py`, and for ASGI `python/asgi.py`); what it answers goes
//! nowhere.

use std::ffi::CStr;

use pyo3::{prelude::*, types::PyDict};
use stockade_protocol::name_value::encode_pair;

use crate::environ::{EnvironError, Environs};

const WARM: &CStr = pyo3::ffi::c_str!(include_str!("../python/warm.py"));

/// One of `warm-up`, and its environ or scope.
pub(crate) type Request<'py> = (String, Bound<'py, PyDict>);

/// Makes `stockade_python.warm` importable.
pub(crate) fn load(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    PyModule::from_code(py, WARM, c"<stockade warm.py>", c"stockade_python.warm")
}

/// Warms a WSGI application up. Nothing, when there is no `warm-up`.
pub(crate) fn wsgi(
    py: Python<'_>,
    application: &Py<PyAny>,
    environs: &mut Environs,
    urls: &[String],
) -> PyResult<()> {
    if urls.is_empty() {
        return Ok(());
    }
    let module = load(py)?;
    let requests = requests(&module, urls, |parameters| {
        environs.make(py, parameters).map(|(environ, _)| environ)
    })?;
    module
        .getattr("warm_up")?
        .call1((application, requests))
        .map(drop)
}

/// The requests, each made by `make` of its parameters; who is not the application's is told.
pub(crate) fn requests<'py>(
    module: &Bound<'py, PyModule>,
    urls: &[String],
    mut make: impl FnMut(&[u8]) -> Result<Bound<'py, PyDict>, EnvironError>,
) -> PyResult<Vec<Request<'py>>> {
    let mut requests = Vec::new();
    for url in urls {
        match make(&parameters(url)) {
            Ok(environ) => requests.push((url.clone(), environ)),
            Err(EnvironError::Python(error)) => return Err(error),
            Err(EnvironError::Parameters(_) | EnvironError::Elsewhere) => {
                let line = format!("warm-up {url}: it is not below `mount`");
                let none = module.py().None();
                module.getattr("report")?.call1((line, &none, &none))?;
            }
        }
    }
    Ok(requests)
}

/// No more of it is looked at by the collector, nor copied when a fork writes.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    load(py)?.getattr("freeze")?.call0().map(drop)
}

/// What CGI asks for, as of a client on this machine.
fn parameters(url: &str) -> Vec<u8> {
    let (scheme, behind) = url.split_once("://").unwrap_or(("http", url));
    let (host, target) = match behind.find('/') {
        Some(0) | None => ("localhost", behind),
        Some(at) => behind.split_at(at),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port),
        None if scheme == "https" => (host, "443"),
        None => (host, "80"),
    };
    let mut pairs = Vec::new();
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "stockade"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", target),
        ("REQUEST_SCHEME", scheme),
        ("SCRIPT_NAME", path),
        ("QUERY_STRING", query),
        ("SERVER_NAME", name),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", port),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "0"),
        ("HTTP_HOST", host),
        ("HTTP_USER_AGENT", "stockade-warm-up"),
    ] {
        encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
    }
    if scheme == "https" {
        encode_pair(&mut pairs, b"HTTPS", b"on");
    }
    pairs
}
