//! A template (`preload`): the application is loaded here once, and workers are forked of it when the supervisor says so.
//!
//! A worker is forked twice, so that it becomes the supervisor's child: the process between ends at once. It says on its own control
//! socket that it is there, and begins when the supervisor has taken it over; until then it is in the template's session, and ends when
//! that socket does. The template never returns: it ends by a signal, or with the supervisor, without what the application wants done
//! at the end of its process, for that is the workers'.

use std::{
    ffi::CStr,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::Arc,
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{prctl, signal::Signal},
    unistd::{Pid, dup2_stderr, dup2_stdout, getpid, getppid, setsid},
};
use pyo3::{exceptions::PyChildProcessError, prelude::*};
use rustix::process::{Pid as RustixPid, PidfdFlags, pidfd_open};

use crate::{
    control::{Control, Order},
    report::Report,
    warm,
};

const TEMPLATE: &CStr = pyo3::ffi::c_str!(include_str!("../python/template.py"));

/// What a worker has that was forked.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) control: Arc<Control>,
    pub(crate) listener: UnixListener,
    /// Of one that shows that it goes on.
    pub(crate) heartbeat: Option<OwnedFd>,
}

/// Serves as a template; returns in each worker that is forked of it.
pub(crate) fn run(py: Python<'_>, control: &Control, report: &Report) -> PyResult<Forked> {
    let name = c"stockade_python.template";
    let module = PyModule::from_code(py, TEMPLATE, c"<stockade template.py>", name)?;
    let own = vec![control.as_raw_fd()];
    module.getattr("prepare")?.call1((own,))?;
    warm::freeze(py)?;
    if let Err(error) = stockade_mappings::give_up_code() {
        report.worker(
            &format!("the template keeps the code of the import: {error}"),
            None,
            py,
        );
    }
    let supervisor = getppid();
    control.ready()?;
    loop {
        match py.detach(|| control.order()) {
            Ok(Some(Order { worker, given })) => match fork(py, report) {
                Ok(false) => {}
                Ok(true) => return begin(py, worker, given, supervisor),
                // its descriptors are closed, by which the supervisor knows
                Err(error) => report.worker("could not fork a worker", Some(&error), py),
            },
            Ok(None) => return Err(exit(py, 0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
            Err(error) => {
                let hint = match error.raw_os_error() {
                    Some(libc::EMFILE) => ": it was given a worker's descriptors, raise open-files",
                    _ => "",
                };
                let line =
                    format!("the template ends, for it cannot hear the supervisor: {error}{hint}");
                report.worker(&line, None, py);
                return Err(exit(py, 1));
            }
        }
    }
}

/// True in the worker, whose parent is the supervisor by then.
fn fork(py: Python<'_>, report: &Report) -> PyResult<bool> {
    let posix = py.import("posix")?;
    let fork = || posix.call_method0("fork")?.extract::<i32>();
    flush(py)?;
    let first = fork()?;
    if first > 0 {
        match posix.call_method1("waitpid", (first, 0)) {
            Ok(waited) => {
                let (_, status): (i32, i32) = waited.extract()?;
                if status != 0 {
                    let line =
                        "could not fork a worker: there are as many processes as there may be";
                    report.worker(line, None, py);
                }
            }
            // the application ignores SIGCHLD: it was waited for until it had ended
            Err(error) if error.is_instance_of::<PyChildProcessError>(py) => {}
            Err(error) => return Err(error),
        }
        return Ok(false);
    }
    let between = getpid();
    match fork() {
        Ok(0) => wait_for_end(between).map(|()| true),
        Ok(_) => Err(exit(py, 0)),
        Err(_) => Err(exit(py, 1)),
    }
}

/// What is buffered is written once.
fn flush(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    for name in ["stdout", "stderr"] {
        // a stream that cannot be written to is no reason
        drop(sys.getattr(name)?.call_method0("flush"));
    }
    Ok(())
}

/// Ends this process at once. The error is never returned.
fn exit(py: Python<'_>, status: i32) -> PyErr {
    drop(flush(py));
    match py
        .import("os")
        .and_then(|os| os.call_method1("_exit", (status,)))
    {
        Ok(_) => unreachable!("the process has ended"),
        Err(error) => error,
    }
}

/// Waits until `parent` is gone, and we are the child of who takes us over.
fn wait_for_end(parent: Pid) -> PyResult<()> {
    while getppid() == parent {
        let number = RustixPid::from_raw(parent.as_raw());
        let Some(Ok(end)) = number.map(|number| pidfd_open(number, PidfdFlags::empty())) else {
            // it was reaped just now
            continue;
        };
        if let Err(errno) = wait_for(&end, None)
            && errno != Errno::EINTR
        {
            return Err(io::Error::from(errno).into());
        }
    }
    Ok(())
}

fn wait_for(descriptor: &impl std::os::fd::AsFd, timeout: Option<u16>) -> nix::Result<()> {
    let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let timeout = timeout.map_or(PollTimeout::NONE, PollTimeout::from);
    poll(&mut watched, timeout).map(drop)
}

/// The worker begins: when the supervisor has taken it over it has a session, pipes and a title of its own.
fn begin(py: Python<'_>, worker: u64, given: Vec<OwnedFd>, supervisor: Pid) -> PyResult<Forked> {
    let mut given = given.into_iter();
    let (Some(control), Some(output), Some(error), Some(listener)) =
        (given.next(), given.next(), given.next(), given.next())
    else {
        return Err(exit(py, 1));
    };
    let control = Control::of(control);
    // who is not there any more does not want it
    if control.forked().is_err() || !py.detach(|| control.begun()) {
        return Err(exit(py, 0));
    }
    setsid().map_err(io::Error::from)?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    if getppid() != supervisor {
        return Err(exit(py, 0));
    }
    dup2_stdout(&output).map_err(io::Error::from)?;
    dup2_stderr(&error).map_err(io::Error::from)?;
    let environ = py.import("os")?.getattr("environ")?;
    environ.set_item("STOCKADE_WORKER", worker.to_string())?;
    py.import("stockade")?.call_method0("_run_after_fork")?;
    Ok(Forked {
        control: Arc::new(control),
        listener: UnixListener::from(listener),
        heartbeat: given.next(),
    })
}
