//! An ASGI application's worker: `python/asgi.py` on an event loop, with the [`Codec`](crate::codec::Codec) for the wire.

use std::{ffi::CStr, os::unix::net::UnixListener, sync::Arc};

use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{
    arguments::Arguments,
    control::Control,
    loops::{given_away, load_serving, tie},
    report::Report,
    scopes::Scopes,
    warm,
};

const ASGI: &CStr = pyo3::ffi::c_str!(include_str!("../python/asgi.py"));

/// Serves `application` until the worker is to end; its exit status.
pub(crate) fn serve(
    py: Python<'_>,
    (application, report): (Py<PyAny>, Arc<Report>),
    listener: UnixListener,
    arguments: &Arguments,
    control: Option<Arc<Control>>,
) -> PyResult<i32> {
    load_serving(py)?;
    let warm = warm::load(py)?;
    let module = PyModule::from_code(py, ASGI, c"<stockade asgi.py>", c"stockade_python.asgi")?;
    let mut scopes = Scopes::new(base_scope(py, arguments, &module)?, &arguments.mount);
    let requests = warm::requests(&warm, &arguments.warm_up, |parameters| {
        scopes.make(py, parameters).map(|(scope, _)| scope)
    })?;
    let (supervisor, helper) = tie(py, report, control)?;
    let patience =
        (arguments.shutdown_timeout > 0).then(|| f64::from(arguments.shutdown_timeout) / 1000.0);
    let served = module
        .getattr("serve")?
        .call1((
            application,
            Bound::new(py, scopes)?,
            given_away(listener),
            supervisor,
            arguments.slots,
            patience,
            requests,
            arguments.development,
        ))
        .and_then(|status| status.extract());
    // before the interpreter ends, whatever it ends by
    drop(helper);
    served
}

/// What every request's scope has, and what a host may leave out.
fn base_scope(
    py: Python<'_>,
    arguments: &Arguments,
    module: &Bound<'_, PyModule>,
) -> PyResult<Py<PyDict>> {
    let base = PyDict::new(py);
    for (name, value) in [
        ("type", "http"),
        ("http_version", "1.0"),
        ("method", "GET"),
        ("scheme", "http"),
        ("path", "/"),
        ("root_path", &arguments.mount),
    ] {
        base.set_item(name, value)?;
    }
    base.set_item("asgi", module.getattr("VERSIONS")?)?;
    base.set_item("raw_path", py.None())?;
    base.set_item("client", py.None())?;
    base.set_item(
        "server",
        PyTuple::new(
            py,
            [
                "localhost".into_pyobject(py)?.into_any(),
                80_u16.into_pyobject(py)?.into_any(),
            ],
        )?,
    )?;
    // its place
    base.set_item("extensions", py.None())?;
    Ok(base.unbind())
}
