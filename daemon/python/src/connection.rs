//! One connection: the [`Wire`] on a blocking socket. Nothing here knows Python.

use std::{
    io::{self, Read},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{MsgFlags, recv, send};

use crate::{
    reply::Sink,
    wire::{Fate, Stage, Wire},
};

/// What is read at once, at most.
const INBOX: usize = 64 * 1024;
/// The outbox is written when it holds this much.
const OUTBOX: usize = 128 * 1024;
/// How much of a body that nobody read is taken in to keep the connection, when it is there already.
const SWALLOWED: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number in the server: never used twice.
    pub(crate) token: u64,
    pub(crate) wire: Wire,
    socket: UnixStream,
    inbox: Box<[u8]>,
}

impl Connection {
    pub(crate) fn new(socket: UnixStream, token: u64, slots: u32) -> Self {
        Self {
            token,
            wire: Wire::new(slots),
            socket,
            inbox: vec![0; INBOX].into_boxed_slice(),
        }
    }

    /// Reads once (waiting, when nothing is there) and takes it apart. False: the peer closed.
    ///
    /// # Errors
    /// The system's, `Interrupted` included; `InvalidData` when the peer does not speak FastCGI.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let count = self.socket.read(&mut self.inbox)?;
        self.wire.take(&self.inbox[..count])?;
        Ok(count > 0)
    }

    /// As [`receive`](Self::receive), for a connection that lingers: what arrives is dropped.
    pub(crate) fn receive_lingering(&mut self) -> io::Result<bool> {
        let count = self.socket.read(&mut self.inbox)?;
        Ok(count > 0 && self.wire.drop(count))
    }

    /// Writes the outbox.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.wire.outbox[..];
        while !rest.is_empty() {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.wire.outbox.clear();
        Ok(())
    }

    /// Ends the response completely and writes what is left. Does nothing when there is no request.
    pub(crate) fn conclude(&mut self) -> io::Result<()> {
        if self.wire.request.stage != Stage::Absent {
            self.swallow()?;
            self.wire.conclude();
        }
        self.flush()
    }

    /// What becomes of it.
    pub(crate) fn fate(&self) -> Fate {
        self.wire.fate()
    }

    /// Nothing more will be written.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Closes for good. Other processes (forked by the application) may hold the socket too: closing our copy would not tell the peer.
    pub(crate) fn close(self) {
        // the peer may have closed already
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Takes in what is left of the body as far as it is there already.
    fn swallow(&mut self) -> io::Result<()> {
        let mut left = SWALLOWED;
        while !self.wire.request.arrived() && left > 0 {
            let flags = MsgFlags::MSG_DONTWAIT;
            match recv(self.socket.as_raw_fd(), &mut self.inbox, flags) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.wire.take(&self.inbox[..count])?;
                    self.wire.request.body.take(usize::MAX);
                    left = left.saturating_sub(count);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl Sink for Connection {
    /// Adds response bytes to the outbox; writes it when it is large.
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(OUTBOX) {
            self.wire.stdout(piece);
            if self.wire.outbox.len() >= OUTBOX {
                self.flush()?;
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
