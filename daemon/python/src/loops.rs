//! What the Python files of event loops and hubs share: the socket to the supervisor, and `python/serving.py`.

use std::{
    ffi::CStr,
    os::{
        fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    sync::Arc,
};

use pyo3::prelude::*;

use crate::control::{Control, Heard};

const SERVING: &CStr = pyo3::ffi::c_str!(include_str!("../python/serving.py"));

/// The socket to the supervisor, for the event loop to watch.
#[pyclass(frozen, module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Supervisor(Arc<Control>);

#[pymethods]
impl Supervisor {
    fn fileno(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    /// Says that requests may come.
    fn ready(&self) -> PyResult<()> {
        Ok(self.0.ready()?)
    }

    /// Reads all that the supervisor said. Whether it is still there, and why it retires this worker, if it does.
    fn hear(&self) -> (bool, Option<&'static str>) {
        loop {
            match self.0.hear() {
                Heard::Retire | Heard::Interrupt | Heard::Template => {}
                Heard::Nothing => return (true, self.0.cause()),
                Heard::Gone => return (false, self.0.cause()),
            }
        }
    }
}

impl Supervisor {
    pub(crate) fn of(
        py: Python<'_>,
        control: Option<Arc<Control>>,
    ) -> PyResult<Option<Bound<'_, Self>>> {
        control
            .map(|control| Bound::new(py, Self(control)))
            .transpose()
    }
}

/// The listening socket's number, for Python, which owns it from here on.
pub(crate) fn given_away(listener: UnixListener) -> RawFd {
    OwnedFd::from(listener).into_raw_fd()
}

/// Makes `stockade_python.serving` importable.
pub(crate) fn load_serving(py: Python<'_>) -> PyResult<()> {
    let name = c"stockade_python.serving";
    PyModule::from_code(py, SERVING, c"<stockade serving.py>", name).map(drop)
}
