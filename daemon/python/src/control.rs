//! The socket to the supervisor (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! A message is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};

use crate::descriptor;

const VERSION: u16 = 1;
const MESSAGE_LEN: usize = 16;
/// What we say: the application is loaded.
const READY: u16 = 1;
/// What the supervisor says: see [`Heard::Retire`] and [`Heard::Interrupt`].
const RETIRE: u16 = 1;
const INTERRUPT: u16 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    /// Why it retires this worker. Whoever has the lock is the one that reads.
    cause: Mutex<Option<&'static str>>,
}

/// What was heard of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing, or what is not known here.
    Nothing,
    /// No more requests will come; the stop-signal follows. See [`Control::cause`].
    Retire,
    /// Requests whose connection the relay has ended are to be broken off.
    Interrupt,
    /// It is gone.
    Gone,
}

impl Control {
    /// Takes the descriptor over; programs that the application starts do not get it.
    pub(crate) fn take(number: RawFd) -> io::Result<Self> {
        let socket = descriptor::take(number, "socket:")?;
        Ok(Self {
            socket,
            cause: Mutex::default(),
        })
    }

    /// Says that requests may come.
    pub(crate) fn ready(&self) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        message[..4].copy_from_slice(&head(READY));
        send(self.socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Reads one message, if there is one.
    pub(crate) fn hear(&self) -> Heard {
        let mut cause = self.lock();
        let mut message = [0; MESSAGE_LEN];
        match recv(
            self.socket.as_raw_fd(),
            &mut message,
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(0) => Heard::Gone,
            Ok(MESSAGE_LEN) if message[..4] == head(INTERRUPT) => Heard::Interrupt,
            Ok(MESSAGE_LEN) if message[..4] == head(RETIRE) => {
                let mut number = [0; 8];
                number.copy_from_slice(&message[8..]);
                cause.get_or_insert(cause_of(u64::from_ne_bytes(number)));
                Heard::Retire
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
            Err(_) => Heard::Gone,
        }
    }

    /// Why the worker retires, when that was heard.
    pub(crate) fn cause(&self) -> Option<&'static str> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The version and the kind of a message.
fn head(kind: u16) -> [u8; 4] {
    let [a, b] = VERSION.to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}

/// The causes that a worker can be told, by the number in `retire`.
const CAUSES: [&str; 12] = [
    "requested",
    "requested",
    "scaled-down",
    "maximum-requests",
    "restart-interval",
    "maximum-memory",
    "cpu-time-limit",
    "inactivity",
    "request-timeout",
    "deadlock",
    "startup-timeout",
    "protocol-error",
];

/// A supervisor of another version may have a cause that we have no word for, or tell none.
fn cause_of(number: u64) -> &'static str {
    let known = usize::try_from(number).ok();
    let known = known.and_then(|number| CAUSES.get(number));
    known.copied().unwrap_or("requested")
}
