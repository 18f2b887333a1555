//! A thread beside those that serve: it hears the supervisor while they are busy, and beats (`heartbeat`).
//!
//! It takes the interpreter's lock for a moment when there is something to do, and waits without it. It ends before the interpreter
//! does: a thread that asks for its lock later would be ended in the middle of our code.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::SigSet,
    },
};
use pyo3::prelude::*;

use crate::{
    call::Worker,
    control::{Control, Heard},
    heartbeat::Heartbeat,
};

/// What it needs on its stack, with room for a signal's handler.
const STACK: usize = 256 * 1024;

/// See the module. Dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Helper {
    thread: Option<JoinHandle<()>>,
    end: Arc<EventFd>,
}

impl Helper {
    /// Starts it. The first beat is there when this returns.
    pub(crate) fn start(
        worker: Arc<Worker>,
        control: Option<Arc<Control>>,
        mut heartbeat: Option<Heartbeat>,
    ) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let end = Arc::new(EventFd::from_flags(flags)?);
        if let Some(heartbeat) = &mut heartbeat {
            heartbeat.beat()?;
        }
        let watch = Watch {
            worker,
            control,
            heartbeat,
            end: Arc::clone(&end),
        };
        let thread = thread::Builder::new()
            .name("stockade-helper".to_owned())
            .stack_size(STACK)
            .spawn(move || watch.run())?;
        Ok(Self {
            thread: Some(thread),
            end,
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end.write(1).unwrap_or_default();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // it may wait for the lock
        Python::attach(|py| py.detach(|| thread.join().unwrap_or_default()));
    }
}

/// What the thread has.
struct Watch {
    worker: Arc<Worker>,
    control: Option<Arc<Control>>,
    heartbeat: Option<Heartbeat>,
    end: Arc<EventFd>,
}

impl Watch {
    fn run(mut self) {
        // signals are the main thread's
        SigSet::all().thread_block().unwrap_or_default();
        if let Err(error) = self.watch() {
            let line = format!("the worker ends, for its helper cannot go on: {error}");
            Python::attach(|py| self.worker.report.worker(&line, None, py));
            self.worker.server.stop.exit(1);
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        loop {
            let Some((heard, beat)) = self.wait()? else {
                return Ok(());
            };
            if heard && let Some(control) = &self.control {
                match control.hear() {
                    Heard::Nothing => {}
                    Heard::Retire => self.worker.server.stop.retire(),
                    Heard::Interrupt => Python::attach(|py| self.worker.break_off(py)),
                    Heard::Template => self.worker.server.stop.request_template(),
                    Heard::Gone => {
                        self.worker.server.stop.orphan();
                        self.control = None;
                    }
                }
            }
            if beat && let Some(heartbeat) = &mut self.heartbeat {
                Python::attach(|_| {});
                heartbeat.beat()?;
            }
        }
    }

    /// Waits for a message or the next beat: which of them came. None: it is to end.
    fn wait(&self) -> io::Result<Option<(bool, bool)>> {
        let timeout = match &self.heartbeat {
            // a millisecond more: not before its time
            Some(heartbeat) => {
                PollTimeout::try_from(heartbeat.until_next()? + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut watched = vec![PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        if let Some(control) = &self.control {
            watched.push(PollFd::new(control.as_fd(), PollFlags::POLLIN));
        }
        let count = match poll(&mut watched, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok(Some((false, false))),
            Err(errno) => return Err(errno.into()),
        };
        if watched[0].any() == Some(true) {
            return Ok(None);
        }
        let heard = watched.get(1).is_some_and(|it| it.any() == Some(true));
        Ok(Some((heard, count == 0)))
    }
}
