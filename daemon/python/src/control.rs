//! The socket to the supervisor (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! A message is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
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
/// What the supervisor says: see [`Heard::Interrupt`].
const INTERRUPT: u16 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

/// What was heard of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that asks for anything here: when it retires a worker, the stop signal follows.
    Nothing,
    /// Requests whose connection the relay has ended are to be broken off.
    Interrupt,
    /// It is gone.
    Gone,
}

impl Control {
    /// Takes the descriptor over; programs that the application starts do not get it.
    pub(crate) fn take(number: RawFd) -> io::Result<Self> {
        descriptor::take(number, "socket:").map(Self)
    }

    /// Says that requests may come.
    pub(crate) fn ready(&self) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        message[..4].copy_from_slice(&head(READY));
        send(self.0.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Reads one message, if there is one.
    pub(crate) fn hear(&self) -> Heard {
        let mut message = [0; MESSAGE_LEN];
        match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Heard::Gone,
            Ok(MESSAGE_LEN) if message[..4] == head(INTERRUPT) => Heard::Interrupt,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
            Err(_) => Heard::Gone,
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The version and the kind of a message.
fn head(kind: u16) -> [u8; 4] {
    let [a, b] = VERSION.to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}
