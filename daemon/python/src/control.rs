//! The socket to the supervisor (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! A message is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64).

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, recvmsg, send},
};

use crate::descriptor;

const VERSION: u16 = 1;
const MESSAGE_LEN: usize = 16;
/// What we say: the application is loaded.
const READY: u16 = 1;
/// What the supervisor says: see [`Heard::Interrupt`] and [`Heard::Stacks`].
const INTERRUPT: u16 = 2;
const STACKS: u16 = 4;
/// Descriptors that may come with a message.
const MAX_DESCRIPTORS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

/// What was heard of the supervisor.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing that asks for anything here: when it retires a worker, the stop signal follows.
    Nothing,
    /// Requests whose connection the relay has ended are to be broken off.
    Interrupt,
    /// What every thread is doing is to be written to this pipe.
    Stacks(OwnedFd),
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
        let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(&mut message)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags);
        let (length, mut descriptors) = match received {
            Ok(received) => (received.bytes, owned(&received)),
            Err(Errno::EAGAIN | Errno::EINTR) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        };
        match length {
            0 => Heard::Gone,
            MESSAGE_LEN if message[..4] == head(INTERRUPT) => Heard::Interrupt,
            MESSAGE_LEN if message[..4] == head(STACKS) => {
                descriptors.pop().map_or(Heard::Nothing, Heard::Stacks)
            }
            _ => Heard::Nothing,
        }
    }
}

/// The descriptors that came with a message.
fn owned(received: &RecvMsg<'_, '_, ()>) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    for control in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            descriptors.extend(numbers.into_iter().map(descriptor::own));
        }
    }
    descriptors
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
