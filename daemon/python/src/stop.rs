//! The wish to end, and its exit status: from a signal, from the supervisor's absence, from the application itself.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the module.
#[derive(Debug)]
pub(crate) struct Stop {
    requested: AtomicBool,
    status: AtomicI32,
    template: AtomicBool,
    /// Readable from the request on: it wakes whoever waits.
    event: EventFd,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            requested: AtomicBool::new(false),
            status: AtomicI32::new(0),
            template: AtomicBool::new(false),
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// Ends the worker when what runs is answered. The first status counts.
    pub(crate) fn request(&self, status: i32) {
        if !self.requested.swap(true, Ordering::SeqCst) {
            self.status.store(status, Ordering::SeqCst);
            // it can only be full, and then it is readable already
            self.event.write(1).unwrap_or_default();
        }
    }

    /// Ends it as a worker: it is to be a template.
    pub(crate) fn request_template(&self) {
        self.template.store(true, Ordering::SeqCst);
        self.request(0);
    }

    /// It was that, and nothing else, by which the worker ended.
    pub(crate) fn for_template(&self) -> bool {
        self.template.load(Ordering::SeqCst)
    }

    pub(crate) fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// The process's exit status.
    pub(crate) fn status(&self) -> i32 {
        self.status.load(Ordering::SeqCst)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
