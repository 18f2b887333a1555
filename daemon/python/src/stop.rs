//! The wish to end, and its exit status: from a signal, from the supervisor's absence, from the application itself.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the module.
#[derive(Debug)]
pub(crate) struct Stop {
    requested: AtomicBool,
    status: AtomicI32,
    template: AtomicBool,
    why: AtomicU8,
    /// Readable from the request on: it wakes whoever waits.
    event: EventFd,
    /// Readable when the supervisor has said that the worker is to end later.
    retiring: EventFd,
}

/// What the wish came from, when the supervisor has not told a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Signal,
    Itself,
    Orphaned,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            requested: AtomicBool::new(false),
            status: AtomicI32::new(0),
            template: AtomicBool::new(false),
            why: AtomicU8::new(Why::Signal as u8),
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            retiring: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// A signal ends the worker when what runs is answered. Of this and the next two, the first counts.
    pub(crate) fn request(&self) {
        self.end(0, Why::Signal);
    }

    /// The application ends it, or it cannot go on: with this status.
    pub(crate) fn exit(&self, status: i32) {
        self.end(status, Why::Itself);
    }

    /// There is no supervisor any more.
    pub(crate) fn orphan(&self) {
        self.end(0, Why::Orphaned);
    }

    /// The supervisor will end it: who waits for that is woken, once.
    pub(crate) fn retire(&self) {
        self.retiring.write(1).unwrap_or_default();
    }

    /// Readable once the supervisor has said so, until [`heard_retiring`](Self::heard_retiring).
    pub(crate) fn retiring(&self) -> BorrowedFd<'_> {
        self.retiring.as_fd()
    }

    pub(crate) fn heard_retiring(&self) {
        self.retiring.read().unwrap_or_default();
    }

    /// In the words of causes of exits, as far as these have one.
    pub(crate) fn reason(&self) -> &'static str {
        match self.why.load(Ordering::SeqCst) {
            why if why == Why::Itself as u8 => "exit-code",
            why if why == Why::Orphaned as u8 => "supervisor-gone",
            _ => "requested",
        }
    }

    fn end(&self, status: i32, why: Why) {
        if !self.requested.swap(true, Ordering::SeqCst) {
            self.status.store(status, Ordering::SeqCst);
            self.why.store(why as u8, Ordering::SeqCst);
            // it can only be full, and then it is readable already
            self.event.write(1).unwrap_or_default();
        }
    }

    /// Ends it as a worker: it is to be a template.
    pub(crate) fn request_template(&self) {
        self.template.store(true, Ordering::SeqCst);
        self.request();
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
