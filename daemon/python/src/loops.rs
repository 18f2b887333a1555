//! What the Python files of event loops and hubs share: the way to the supervisor, and `python/serving.py`.

use std::{
    ffi::CStr,
    os::{
        fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pyo3::prelude::*;

use crate::{
    control::{Control, Heard},
    errands::Event,
    helper::{Helper, Serving},
    report::Report,
    stacks::Stacks,
    start::failed,
};

const SERVING: &CStr = pyo3::ffi::c_str!(include_str!("../python/serving.py"));

/// The supervisor, for the event loop to watch: readable when there is news of it.
#[pyclass(frozen, module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Supervisor {
    control: Arc<Control>,
    ties: Arc<Ties>,
}

#[pymethods]
impl Supervisor {
    fn fileno(&self) -> i32 {
        self.ties.news.as_fd().as_raw_fd()
    }

    /// Says that requests may come.
    fn ready(&self) -> PyResult<()> {
        Ok(self.control.ready()?)
    }

    /// Takes in what the supervisor said. Whether it is still there, and why it retires this worker, if it does.
    fn hear(&self) -> (bool, Option<&'static str>) {
        self.ties.news.clear();
        // the stop-signal may have overtaken who hears
        while self.control.cause().is_none() {
            match self.control.hear() {
                Heard::Nothing => break,
                Heard::Gone => {
                    self.ties.ended.store(true, Ordering::Relaxed);
                    break;
                }
                // who asks for stacks is told what the kernel sees
                Heard::Retire | Heard::Interrupt | Heard::Template | Heard::Stacks(_) => {}
            }
        }
        let there = !self.ties.ended.load(Ordering::Relaxed);
        (there, self.control.cause())
    }
}

/// What the threads beside the loop know of it.
#[derive(Debug)]
pub(crate) struct Ties {
    report: Arc<Report>,
    stacks: Stacks,
    ended: AtomicBool,
    news: Event,
}

/// Starts the threads that hear the supervisor while the loop is busy, and makes what the loop hears of it by.
pub(crate) fn tie<'py>(
    py: Python<'py>,
    report: Arc<Report>,
    control: Option<Arc<Control>>,
) -> PyResult<(Option<Bound<'py, Supervisor>>, Helper)> {
    let ties = Arc::new(Ties {
        report,
        stacks: Stacks::new(py)?,
        ended: AtomicBool::new(false),
        news: Event::new()?,
    });
    let traces = ties.stacks.traces(py)?;
    let serving: Arc<dyn Serving> = Arc::<Ties>::clone(&ties);
    let helper = Helper::start(&serving, control.clone(), None, Some(traces))
        .map_err(|error| failed("start a thread", &error))?;
    let supervisor = control
        .map(|control| Bound::new(py, Supervisor { control, ties }))
        .transpose()?;
    Ok((supervisor, helper))
}

impl Serving for Ties {
    /// A loop or hub breaks off nothing.
    fn interrupt(&self, _py: Python<'_>) {}

    fn stacks(&self, py: Python<'_>) -> PyResult<String> {
        self.stacks.text(py)
    }

    fn say(&self, line: &str, error: Option<&PyErr>, py: Python<'_>) {
        self.report.worker(line, error, py);
    }

    fn retire(&self) {
        self.news.set();
    }

    /// None does.
    fn become_template(&self) {}

    fn orphan(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.news.set();
    }

    fn fail(&self) {
        self.orphan();
    }
}

/// The listening socket's number, for Python, which owns it from here on.
pub(crate) fn given_away(listener: UnixListener) -> RawFd {
    OwnedFd::from(listener).into_raw_fd()
}

/// Makes `stockade_python.serving` importable.
pub(crate) fn load_serving(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("stockade_python.serving")? {
        return Ok(());
    }
    let name = c"stockade_python.serving";
    PyModule::from_code(py, SERVING, c"<stockade serving.py>", name).map(drop)
}
