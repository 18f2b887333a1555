//! `scope`: a request's parameters as the ASGI specification 3.0 wants them.
//!
//! On a kept connection most headers are the same from request to request: each name is kept with its last value ([`Scopes`]).

use std::collections::HashMap;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString, PyTuple},
};
use stockade_protocol::{name_value::Pairs, path::Sent};

use crate::environ::{EnvironError, Facts, REMEMBERED};

/// Makes scopes; one for all connections.
#[pyclass(module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Scopes {
    /// What every request has; copied.
    base: Py<PyDict>,
    /// `mount`, without a slash at its end.
    mount: Box<[u8]>,
    /// The headers that came before.
    known: HashMap<Box<[u8]>, Known>,
}

/// A header: its name in lower case and the value that came last, as the application gets them.
#[derive(Debug)]
struct Known {
    name: Py<PyBytes>,
    value: Vec<u8>,
    pair: Py<PyTuple>,
}

/// What was seen of a request beside its headers.
#[derive(Default)]
struct Seen<'a> {
    path: Sent<'a>,
    https: bool,
    method: Option<&'a [u8]>,
    query: &'a [u8],
    protocol: &'a [u8],
    client: (&'a [u8], &'a [u8]),
    server: (&'a [u8], &'a [u8]),
    request_id: &'a [u8],
    queue_time: &'a [u8],
}

impl Scopes {
    pub(crate) fn new(base: Py<PyDict>, mount: &str) -> Self {
        Self {
            base,
            mount: mount.as_bytes().into(),
            known: HashMap::new(),
        }
    }

    /// The scope of a request.
    pub(crate) fn make<'py>(
        &mut self,
        py: Python<'py>,
        parameters: &[u8],
    ) -> Result<(Bound<'py, PyDict>, Facts), EnvironError> {
        let mut facts = Facts::default();
        let mut seen = Seen::default();
        let headers = PyList::empty(py);
        for pair in Pairs::new(parameters) {
            let (name, value) = pair.map_err(EnvironError::Parameters)?;
            match name {
                b"HTTP_CONTENT_LENGTH" | b"HTTP_CONTENT_TYPE" => {}
                b"CONTENT_LENGTH" | b"CONTENT_TYPE" if value.is_empty() => {}
                b"CONTENT_LENGTH" | b"CONTENT_TYPE" => {
                    if name == b"CONTENT_LENGTH" {
                        facts.declare(value);
                    }
                    headers.append(self.header(py, name, name, value)?)?;
                }
                _ => match name.strip_prefix(b"HTTP_") {
                    Some(header) => headers.append(self.header(py, name, header, value)?)?,
                    None => seen.note(name, value),
                },
            }
        }
        facts.head_only = seen.method == Some(b"HEAD");
        let scope = self.base.bind(py).copy()?;
        scope.set_item(pyo3::intern!(py, "headers"), headers)?;
        self.fill(&scope, &seen)?;
        Ok((scope, facts))
    }

    /// A header as a pair of bytes.
    fn header<'py>(
        &mut self,
        py: Python<'py>,
        parameter: &[u8],
        name: &[u8],
        value: &[u8],
    ) -> PyResult<Bound<'py, PyTuple>> {
        if let Some(known) = self.known.get_mut(parameter) {
            if known.value != value {
                let pair = PyTuple::new(py, [known.name.bind(py), &PyBytes::new(py, value)])?;
                known.pair = pair.unbind();
                known.value.clear();
                known.value.extend_from_slice(value);
            }
            return Ok(known.pair.bind(py).clone());
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let lower: Vec<u8> = name
            .iter()
            .map(|&byte| match byte {
                b'_' => b'-',
                _ => byte.to_ascii_lowercase(),
            })
            .collect();
        let name = PyBytes::new(py, &lower);
        let pair = PyTuple::new(py, [&name, &PyBytes::new(py, value)])?;
        let known = Known {
            name: name.unbind(),
            value: value.to_vec(),
            pair: pair.clone().unbind(),
        };
        self.known.insert(parameter.into(), known);
        Ok(pair)
    }

    /// Everything but the headers.
    fn fill(&self, scope: &Bound<'_, PyDict>, seen: &Seen<'_>) -> Result<(), EnvironError> {
        let py = scope.py();
        let below = seen
            .path
            .path_info_below(&self.mount)
            .ok_or(EnvironError::Elsewhere)?;
        let path = [&self.mount, &*below].concat();
        scope.set_item(pyo3::intern!(py, "path"), String::from_utf8_lossy(&path))?;
        if let Some(uri) = seen.path.request_uri {
            let raw = uri.split(|&byte| byte == b'?').next().unwrap_or_default();
            scope.set_item(pyo3::intern!(py, "raw_path"), PyBytes::new(py, raw))?;
        }
        scope.set_item(
            pyo3::intern!(py, "query_string"),
            PyBytes::new(py, seen.query),
        )?;
        if let Some(method) = seen.method {
            scope.set_item(pyo3::intern!(py, "method"), text(py, method))?;
        }
        if seen.https {
            scope.set_item(pyo3::intern!(py, "scheme"), pyo3::intern!(py, "https"))?;
        }
        if let Some(version) = http_version(seen.protocol) {
            scope.set_item(pyo3::intern!(py, "http_version"), version)?;
        }
        for (name, (host, port)) in [
            (pyo3::intern!(py, "client"), seen.client),
            (pyo3::intern!(py, "server"), seen.server),
        ] {
            if !host.is_empty() {
                let port: u16 = str::from_utf8(port)
                    .ok()
                    .and_then(|port| port.parse().ok())
                    .unwrap_or_default();
                scope.set_item(name, (text(py, host), port))?;
            }
        }
        // what the application puts there is of this request
        let extensions = PyDict::new(py);
        if !seen.request_id.is_empty() {
            let ours = PyDict::new(py);
            ours.set_item(pyo3::intern!(py, "request_id"), text(py, seen.request_id))?;
            if !seen.queue_time.is_empty() {
                ours.set_item(pyo3::intern!(py, "queue_time"), text(py, seen.queue_time))?;
            }
            extensions.set_item(pyo3::intern!(py, "stockade"), ours)?;
        }
        scope.set_item(pyo3::intern!(py, "extensions"), extensions)?;
        Ok(())
    }
}

impl<'a> Seen<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"REQUEST_METHOD" if !value.is_empty() => self.method = Some(value),
            b"QUERY_STRING" => self.query = value,
            b"SERVER_PROTOCOL" => self.protocol = value,
            b"REMOTE_ADDR" => self.client.0 = value,
            b"REMOTE_PORT" => self.client.1 = value,
            b"SERVER_NAME" => self.server.0 = value,
            b"SERVER_PORT" => self.server.1 = value,
            b"PATH_INFO" => self.path.path_info = Some(value),
            b"SCRIPT_NAME" => self.path.script_name = Some(value),
            b"DOCUMENT_URI" => self.path.document_uri = Some(value),
            b"REQUEST_URI" => self.path.request_uri = Some(value),
            b"HTTPS" => self.https |= value.eq_ignore_ascii_case(b"on") || value == b"1",
            b"REQUEST_SCHEME" => self.https |= value.eq_ignore_ascii_case(b"https"),
            b"REQUEST_ID" => self.request_id = value,
            b"STOCKADE_QUEUE" => self.queue_time = value,
            _ => {}
        }
    }
}

/// "HTTP/1.1" is 1.1, and "HTTP/2.0" is 2.
fn http_version(protocol: &[u8]) -> Option<&str> {
    let version = str::from_utf8(protocol.strip_prefix(b"HTTP/")?).ok()?;
    Some(match version {
        "2.0" => "2",
        "3.0" => "3",
        _ => version,
    })
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    PyString::new(py, &String::from_utf8_lossy(bytes))
}
