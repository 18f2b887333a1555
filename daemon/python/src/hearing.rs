//! A thread that hears the supervisor. It never takes the interpreter's lock, so that it hears also while the application keeps that for
//! ever, or an event loop is held up.
//!
//! What needs the lock it leaves to the helper. So too what every thread is doing; when the helper has not got the lock within [`PATIENCE`]
//! this is found out without it ([`traces`](crate::traces)).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigSet, Signal},
    time::{ClockId, clock_gettime},
    unistd::write,
};
use pyo3::prelude::*;

use crate::{
    control::{Control, Heard},
    errands::{Errands, Event},
    helper::Serving,
    traces::Traces,
};

/// How long the interpreter's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long who asked may take to read.
const READING: Duration = Duration::from_secs(1);
/// The first line of what is written: it was made under the lock, or without.
const UNDER_LOCK: &str = "python";
const WITHOUT_LOCK: &str = "python-without-lock";

/// What the thread has.
pub(crate) struct Ear {
    control: Option<Arc<Control>>,
    serving: Arc<dyn Serving>,
    errands: Arc<Errands>,
    traces: Option<Traces>,
    end: Arc<Event>,
    asked: Option<Asked>,
    /// Of the last question.
    number: u64,
}

/// Who waits to be told what every thread is doing.
struct Asked {
    pipes: Vec<OwnedFd>,
    /// Until then the lock is waited for.
    until: Duration,
}

impl Ear {
    pub(crate) fn new(
        control: Arc<Control>,
        serving: Arc<dyn Serving>,
        errands: Arc<Errands>,
        traces: Option<Traces>,
        end: Arc<Event>,
    ) -> Self {
        Self {
            control: Some(control),
            serving,
            errands,
            traces,
            end,
            asked: None,
            number: 0,
        }
    }

    /// Hears until it is to end.
    pub(crate) fn run(mut self) {
        // signals are the main thread's, but for that of `traces`, which is none of these
        let named: SigSet = Signal::iterator().collect();
        named.thread_block().unwrap_or_default();
        if let Err(error) = self.hear() {
            let line = format!("the worker ends, for it cannot hear the supervisor: {error}");
            Python::attach(|py| self.serving.say(&line, None, py));
            self.serving.fail();
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        loop {
            let Some((heard, answered)) = self.wait()? else {
                return Ok(());
            };
            if answered && let Some(text) = self.errands.take_answer(self.number) {
                self.tell(UNDER_LOCK, &text);
            }
            if heard {
                self.take_message()?;
            }
            let now = now()?;
            if self.asked.as_ref().is_some_and(|asked| asked.until <= now) {
                let text = self.traces.as_ref().map(Traces::read).transpose()?;
                self.tell(WITHOUT_LOCK, text.as_deref().unwrap_or_default());
            }
        }
    }

    /// Waits for a message, an answer, or the end of patience: which of the first two came. None: it is to end.
    fn wait(&self) -> io::Result<Option<(bool, bool)>> {
        let timeout = match &self.asked {
            Some(asked) => {
                // a millisecond more: not before its time
                let left = asked.until.saturating_sub(now()?) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut watched = vec![
            PollFd::new(self.end.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.errands.answered(), PollFlags::POLLIN),
        ];
        if let Some(control) = &self.control {
            watched.push(PollFd::new(control.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut watched, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Some((false, false))),
            Err(errno) => return Err(errno.into()),
        }
        let happened = |place: usize| watched.get(place).is_some_and(|it| it.any() == Some(true));
        Ok((!happened(0)).then(|| (happened(2), happened(1))))
    }

    fn take_message(&mut self) -> io::Result<()> {
        let heard = self.control.as_ref().map(|control| control.hear());
        match heard.unwrap_or(Heard::Nothing) {
            Heard::Nothing => {}
            Heard::Retire => self.serving.retire(),
            Heard::Template => self.serving.become_template(),
            Heard::Interrupt => self.errands.interrupt(),
            Heard::Stacks(pipe) => match &mut self.asked {
                Some(asked) => asked.pipes.push(pipe),
                None => {
                    self.number += 1;
                    self.asked = Some(Asked {
                        pipes: vec![pipe],
                        until: now()? + PATIENCE,
                    });
                    self.errands.ask_stacks(self.number);
                }
            },
            Heard::Gone => {
                self.serving.orphan();
                self.control = None;
            }
        }
        Ok(())
    }

    /// Tells those who have asked; nothing, if there is nothing to tell.
    fn tell(&mut self, how: &str, text: &str) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        // an answer that comes late is to nobody's question
        self.number += 1;
        if text.is_empty() {
            return;
        }
        let text = format!("{how}\n{text}");
        for pipe in asked.pipes {
            // who asked has gone, or does not read
            write_all(&pipe, text.as_bytes()).unwrap_or_default();
        }
    }
}

fn write_all(pipe: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    let until = now()? + READING;
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    while !bytes.is_empty() {
        match write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = until.saturating_sub(now()?);
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let mut watched = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                if left.is_zero() || poll(&mut watched, timeout) == Ok(0) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn now() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}
