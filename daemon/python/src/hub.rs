//! A WSGI application's worker in greenlets: `python/hub.py` on gevent or eventlet, with the [`Codec`](crate::codec::Codec) for the wire.

use std::{ffi::CStr, os::unix::net::UnixListener, sync::Arc};

use pyo3::{prelude::*, types::PyDict};

use crate::{
    arguments::Arguments,
    control::Control,
    environ::Environs,
    loops::{given_away, load_serving, tie},
    report::Report,
    warm,
};

const HUB: &CStr = pyo3::ffi::c_str!(include_str!("../python/hub.py"));

/// `hub.py`, once Python's library waits as the hub does: before the application is imported.
pub(crate) fn patched<'py>(py: Python<'py>, hub: &str) -> PyResult<Bound<'py, PyModule>> {
    load_serving(py)?;
    let module = PyModule::from_code(py, HUB, c"<stockade hub.py>", c"stockade_python.hub")?;
    module.getattr("patch")?.call1((hub,))?;
    Ok(module)
}

/// Serves `application` until the worker is to end; its exit status.
pub(crate) fn serve(
    py: Python<'_>,
    module: &Bound<'_, PyModule>,
    (application, base, report): (Py<PyAny>, Py<PyDict>, Arc<Report>),
    listener: UnixListener,
    arguments: &Arguments,
    control: Option<Arc<Control>>,
) -> PyResult<i32> {
    let mut environs = Environs::new(py, base, &arguments.mount);
    if !arguments.warm_up.is_empty() {
        warm::wsgi(py, &application, &mut environs, &arguments.warm_up)?;
        warm::freeze(py)?;
    }
    let (supervisor, helper) = tie(py, report, control)?;
    let served = module
        .getattr("serve")?
        .call1((
            application,
            Bound::new(py, environs)?,
            given_away(listener),
            supervisor,
            arguments.slots,
            arguments.development,
        ))
        .and_then(|status| status.extract());
    // before the interpreter ends, whatever it ends by
    drop(helper);
    served
}
