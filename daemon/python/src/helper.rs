//! A thread beside those that serve that does what needs the interpreter's lock while they are busy: it breaks off requests, tells what
//! every thread is doing, and beats (`heartbeat`).
//!
//! It takes the lock for a moment when there is something to do, and waits without it. What is asked of it comes from the thread that hears
//! the supervisor (`hearing`). Both end before the interpreter does: a thread that asks for its lock later would be ended in the middle of
//! our code.

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
    sys::signal::SigSet,
};
use pyo3::prelude::*;

use crate::{
    control::Control,
    errands::{Errands, Event},
    hearing::Ear,
    heartbeat::Heartbeat,
    traces::Traces,
};

/// What each needs on its stack, with room for a signal's handler.
const STACK: usize = 256 * 1024;

/// What serves, as both threads know it.
pub(crate) trait Serving: Send + Sync {
    /// Breaks off every request whose connection the relay has ended.
    fn interrupt(&self, py: Python<'_>);

    /// What every thread is doing.
    fn stacks(&self, py: Python<'_>) -> PyResult<String>;

    /// Says something on standard error.
    fn say(&self, line: &str, error: Option<&PyErr>, py: Python<'_>);

    /// The supervisor will end the worker; why is in [`Control::cause`].
    fn retire(&self);

    /// The worker is to become a template.
    fn become_template(&self);

    /// There is no supervisor any more: the worker is to end.
    fn orphan(&self);

    /// The worker cannot go on.
    fn fail(&self);
}

/// The helper, and the thread that hears the supervisor, if there is one. Dropped, they have ended.
#[derive(Debug)]
pub(crate) struct Helper {
    threads: Vec<JoinHandle<()>>,
    end: Arc<Event>,
}

impl Helper {
    /// Starts them. The first beat is there when this returns.
    pub(crate) fn start(
        serving: &Arc<dyn Serving>,
        control: Option<Arc<Control>>,
        mut heartbeat: Option<Heartbeat>,
        traces: Option<Traces>,
    ) -> io::Result<Self> {
        let (end, errands) = (Arc::new(Event::new()?), Arc::new(Errands::new()?));
        if let Some(heartbeat) = &mut heartbeat {
            heartbeat.beat()?;
        }
        let mut helper = Self {
            threads: Vec::new(),
            end: Arc::clone(&end),
        };
        if let Some(control) = control {
            let ear = Ear::new(
                control,
                Arc::clone(serving),
                Arc::clone(&errands),
                traces,
                Arc::clone(&end),
            );
            helper.spawn("stockade-hear", move || ear.run())?;
        }
        let watch = Watch {
            serving: Arc::clone(serving),
            errands,
            heartbeat,
            end,
        };
        helper.spawn("stockade-help", move || watch.run())?;
        Ok(helper)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let builder = thread::Builder::new().name(name.to_owned());
        self.threads.push(builder.stack_size(STACK).spawn(run)?);
        Ok(())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end.set();
        let threads = std::mem::take(&mut self.threads);
        let join = || {
            for thread in threads {
                thread.join().unwrap_or_default();
            }
        };
        // one may wait for the lock
        Python::attach(|py| py.detach(join));
    }
}

/// What the helper has.
struct Watch {
    serving: Arc<dyn Serving>,
    errands: Arc<Errands>,
    heartbeat: Option<Heartbeat>,
    end: Arc<Event>,
}

impl Watch {
    fn run(mut self) {
        // signals are the main thread's
        SigSet::all().thread_block().unwrap_or_default();
        if let Err(error) = self.watch() {
            let line = format!("the worker ends, for its helper cannot go on: {error}");
            Python::attach(|py| self.serving.say(&line, None, py));
            self.serving.fail();
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        loop {
            let Some((sent, beat)) = self.wait()? else {
                return Ok(());
            };
            if sent {
                Python::attach(|py| self.run_errand(py));
            }
            if beat && let Some(heartbeat) = &mut self.heartbeat {
                Python::attach(|_| {});
                heartbeat.beat()?;
            }
        }
    }

    /// Waits for an errand or the next beat: which of them came. None: it is to end.
    fn wait(&self) -> io::Result<Option<(bool, bool)>> {
        let timeout = match &self.heartbeat {
            // a millisecond more: not before its time
            Some(heartbeat) => {
                PollTimeout::try_from(heartbeat.until_next()? + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut watched = [
            PollFd::new(self.end.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.errands.sent(), PollFlags::POLLIN),
        ];
        let count = match poll(&mut watched, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok(Some((false, false))),
            Err(errno) => return Err(errno.into()),
        };
        if watched[0].any() == Some(true) {
            return Ok(None);
        }
        Ok(Some((watched[1].any() == Some(true), count == 0)))
    }

    /// The errand is taken with the lock in hand: one that came while it was waited for is done too.
    fn run_errand(&self, py: Python<'_>) {
        let errand = self.errands.take();
        // before what is to be seen in them is broken off
        if let Some(number) = errand.stacks {
            match self.serving.stacks(py) {
                Ok(text) => self.errands.answer(number, text),
                Err(error) => {
                    let line = "could not tell what every thread is doing";
                    self.serving.say(line, Some(&error), py);
                }
            }
        }
        if errand.interrupt {
            self.serving.interrupt(py);
        }
    }
}
