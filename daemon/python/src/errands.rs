//! What the hearing thread ([`hearing`](crate::hearing)) leaves to the helper ([`helper`](crate::helper)), and what that answers.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::eventfd::{EfdFlags, EventFd},
    unistd::read,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Errands {
    state: Mutex<State>,
    /// Readable while there is an errand.
    sent: Event,
    /// Readable while there is an answer.
    answered: Event,
}

#[derive(Debug, Default)]
struct State {
    interrupt: bool,
    /// The number of the question for the stacks.
    stacks: Option<u64>,
    answer: Option<(u64, String)>,
}

/// What is to be done under the interpreter's lock.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) interrupt: bool,
    pub(crate) stacks: Option<u64>,
}

impl Errands {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            sent: Event::new()?,
            answered: Event::new()?,
        })
    }

    /// Requests whose connection was ended are to be broken off.
    pub(crate) fn interrupt(&self) {
        self.state().interrupt = true;
        self.sent.set();
    }

    /// The stacks are asked for. A question that is not answered yet is forgotten.
    pub(crate) fn ask_stacks(&self, number: u64) {
        self.state().stacks = Some(number);
        self.sent.set();
    }

    /// What is to be done, once.
    pub(crate) fn take(&self) -> Errand {
        self.sent.clear();
        let mut state = self.state();
        Errand {
            interrupt: std::mem::take(&mut state.interrupt),
            stacks: state.stacks.take(),
        }
    }

    /// The stacks are these.
    pub(crate) fn answer(&self, number: u64, text: String) {
        self.state().answer = Some((number, text));
        self.answered.set();
    }

    /// The answer to the question of that number, if it is there.
    pub(crate) fn take_answer(&self, number: u64) -> Option<String> {
        self.answered.clear();
        let (of, text) = self.state().answer.take()?;
        (of == number).then_some(text)
    }

    /// To wait for an errand with.
    pub(crate) fn sent(&self) -> BorrowedFd<'_> {
        self.sent.0.as_fd()
    }

    /// To wait for an answer with.
    pub(crate) fn answered(&self) -> BorrowedFd<'_> {
        self.answered.0.as_fd()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flag that can be waited for.
#[derive(Debug)]
pub(crate) struct Event(EventFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_flags(flags)?))
    }

    pub(crate) fn set(&self) {
        // it can only be full, and then it is readable already
        self.0.write(1).unwrap_or_default();
    }

    pub(crate) fn clear(&self) {
        // it can only be empty
        read(&self.0, &mut [0; 8]).unwrap_or_default();
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
