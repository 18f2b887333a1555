//! What every thread is doing, told under the interpreter's lock: `python/stacks.py`, and which request each thread serves.
//!
//! A thread that serves has a desk. The environ of the request it is at lies there, entered and left under the lock: on the way of a request
//! that is two numbers stored.

use std::{
    ffi::CStr,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::pthread::pthread_self,
    time::{ClockId, clock_gettime},
};
use pyo3::{
    ffi,
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    call::Worker,
    helper::Serving,
    interrupt::Interrupts,
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
    desks: Mutex<Vec<Arc<Desk>>>,
    names: Names,
}

/// One thread's.
#[derive(Debug)]
pub(crate) struct Desk {
    thread: u64,
    /// The environ of the request that it is at, or null.
    environ: AtomicPtr<ffi::PyObject>,
    /// Since when, in nanoseconds.
    since: AtomicU64,
}

/// A request that is at a desk.
#[derive(Debug)]
pub(crate) struct Seated<'a, 'py> {
    desk: &'a Desk,
    _environ: Bound<'py, PyDict>,
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
            desks: Mutex::default(),
            names: Arc::new(Mutex::new(vec![(pthread_self(), "main".to_owned())])),
        })
    }

    /// What finds it out without the lock.
    pub(crate) fn traces(&self, py: Python<'_>) -> PyResult<Traces> {
        Traces::register(py, Arc::clone(&self.names))
    }

    /// This thread serves, and is called so.
    pub(crate) fn desk(&self, py: Python<'_>) -> PyResult<Arc<Desk>> {
        if pthread_self() != self.main {
            let current = py.import("threading")?.call_method0("current_thread")?;
            let name: String = current.getattr("name")?.extract()?;
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.push((pthread_self(), name));
        }
        let desk = Arc::new(Desk {
            thread: pthread_self(),
            environ: AtomicPtr::new(ptr::null_mut()),
            since: AtomicU64::new(0),
        });
        self.desks().push(Arc::clone(&desk));
        Ok(desk)
    }

    /// What every thread is doing.
    pub(crate) fn text(&self, py: Python<'_>) -> PyResult<String> {
        let desks = PyList::empty(py);
        let now = now();
        for desk in self.desks().iter() {
            let since = Duration::from_nanos(desk.since.load(Ordering::Relaxed));
            let age = now.saturating_sub(since).as_secs_f64();
            desks.append((desk.thread, desk.environ(py), age))?;
        }
        // this thread is at nothing but this
        let told = (self.main, pthread_self(), desks);
        self.text.bind(py).call1(told)?.extract()
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// The thread is at this request until what is returned goes.
    pub(crate) fn seat<'py>(&self, environ: &Bound<'py, PyDict>) -> Seated<'_, 'py> {
        let nanoseconds = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
        self.since.store(nanoseconds, Ordering::Relaxed);
        self.environ.store(environ.as_ptr(), Ordering::Release);
        Seated {
            desk: self,
            _environ: environ.clone(),
        }
    }

    #[expect(
        unsafe_code,
        reason = "the environ is held by what `seat` returned, on the stack of another thread"
    )]
    fn environ<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let environ = self.environ.load(Ordering::Acquire);
        // SAFETY: it is null, or a dict that `Seated` holds. That goes under the interpreter's lock only, which is ours (`py`), and takes the
        // pointer away before the dict.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, environ) }
    }
}

impl Drop for Seated<'_, '_> {
    fn drop(&mut self) {
        self.desk.environ.store(ptr::null_mut(), Ordering::Release);
    }
}

impl Serving for Worker {
    fn interrupt(&self, py: Python<'_>) {
        let Some(interrupts) = &self.interrupts else {
            return;
        };
        if let Err(error) = Interrupts::interrupt(interrupts, py) {
            let line = "could not break off a request whose time is over";
            self.report.worker(line, Some(&error), py);
        }
    }

    fn stacks(&self, py: Python<'_>) -> PyResult<String> {
        self.stacks.text(py)
    }

    fn say(&self, line: &str, error: Option<&PyErr>, py: Python<'_>) {
        self.report.worker(line, error, py);
    }

    fn end(&self, status: i32) {
        self.server.stop.request(status);
    }
}

/// The clock that costs least: its few milliseconds are of no account here.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}
