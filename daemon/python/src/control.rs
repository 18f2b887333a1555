//! The socket to the supervisor (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! A message is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{MsgFlags, recv, send},
};

const VERSION: u16 = 1;
const MESSAGE_LEN: usize = 16;
/// What we say: the application is loaded.
const READY: u16 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Takes the descriptor over; programs that the application starts do not get it.
    #[expect(
        unsafe_code,
        reason = "a descriptor that is told by number becomes owned here"
    )]
    pub(crate) fn take(descriptor: RawFd) -> io::Result<Self> {
        let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
        if descriptor <= 2 || !link.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket"));
        }
        // SAFETY: it is open, as the link shows, and the launcher passed it on for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Self(socket))
    }

    /// Says that requests may come.
    pub(crate) fn ready(&self) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        message[..2].copy_from_slice(&VERSION.to_ne_bytes());
        message[2..4].copy_from_slice(&READY.to_ne_bytes());
        send(self.0.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Reads what the supervisor said. False: it is gone. Nothing it says asks for anything here: when it retires a worker, the stop
    /// signal follows.
    pub(crate) fn still_open(&self) -> bool {
        let mut message = [0; MESSAGE_LEN];
        match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => count > 0,
            Err(errno) => matches!(errno, Errno::EAGAIN | Errno::EINTR),
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
