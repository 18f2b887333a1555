//! What every thread is doing, told under the interpreter's lock: `python/stacks.py`. Which request a thread serves is in its seat
//! ([`module`](crate::module)).

use std::{
    ffi::CStr,
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::pthread::pthread_self;
use pyo3::prelude::*;

use crate::{
    call::Worker,
    helper::Serving,
    loops,
    traces::{Names, Traces},
};

const STACKS: &CStr = pyo3::ffi::c_str!(include_str!("../python/stacks.py"));

/// What tells it.
#[derive(Debug)]
pub(crate) struct Stacks {
    text: Py<PyAny>,
    /// The main thread, as `threading.get_ident` tells it.
    main: u64,
    names: Names,
}

impl Stacks {
    /// To be called by the main thread.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        loops::load_serving(py)?;
        let name = c"stockade_python.stacks";
        let module = PyModule::from_code(py, STACKS, c"<stockade stacks.py>", name)?;
        Ok(Self {
            text: module.getattr("text")?.unbind(),
            main: pthread_self(),
            names: Arc::new(Mutex::new(vec![(pthread_self(), "main".to_owned())])),
        })
    }

    /// What finds it out without the lock.
    pub(crate) fn traces(&self, py: Python<'_>) -> PyResult<Traces> {
        Traces::register(py, Arc::clone(&self.names))
    }

    /// This thread serves, and is called so.
    pub(crate) fn name_thread(&self, py: Python<'_>) -> PyResult<()> {
        if pthread_self() != self.main {
            let current = py.import("threading")?.call_method0("current_thread")?;
            let name: String = current.getattr("name")?.extract()?;
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.push((pthread_self(), name));
        }
        Ok(())
    }

    /// What every thread is doing.
    pub(crate) fn text(&self, py: Python<'_>) -> PyResult<String> {
        // this thread is at nothing but this
        let told = (self.main, pthread_self());
        self.text.bind(py).call1(told)?.extract()
    }
}

impl Serving for Worker {
    fn interrupt(&self, py: Python<'_>) {
        self.break_off(py);
    }

    fn stacks(&self, py: Python<'_>) -> PyResult<String> {
        self.stacks.text(py)
    }

    fn say(&self, line: &str, error: Option<&PyErr>, py: Python<'_>) {
        self.report.worker(line, error, py);
    }

    fn retire(&self) {
        self.server.stop.retire();
    }

    fn become_template(&self) {
        self.server.stop.request_template();
    }

    fn orphan(&self) {
        self.server.stop.orphan();
    }

    fn fail(&self) {
        self.server.stop.exit(1);
    }
}
