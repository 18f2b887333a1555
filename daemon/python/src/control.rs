//! The socket to the supervisor (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! A message is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64).

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, send},
};

use crate::descriptor;

const VERSION: u16 = 1;
const MESSAGE_LEN: usize = 16;
/// What we say: the application is loaded.
const READY: u16 = 1;
/// The same: a template has forked us.
const FORKED: u16 = 2;
/// What the supervisor says: see [`Heard::Retire`] and [`Heard::Interrupt`].
const RETIRE: u16 = 1;
const INTERRUPT: u16 = 2;
/// The same, to a template: see [`Order`].
const FORK: u16 = 3;
/// The same, to who was forked: it is taken over.
const BEGIN: u16 = 5;
/// The same: see [`Heard::Stacks`].
const STACKS: u16 = 4;
/// The same: see [`Heard::Template`].
const BECOME_TEMPLATE: u16 = 6;
/// The most descriptors of a message.
const MAX_DESCRIPTORS: usize = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    /// Why it retires this worker. Whoever has the lock is the one that reads.
    cause: Mutex<Option<&'static str>>,
}

/// What was heard of the supervisor.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing, or what is not known here.
    Nothing,
    /// No more requests will come; the stop-signal follows. See [`Control::cause`].
    Retire,
    /// Requests whose connection the relay has ended are to be broken off.
    Interrupt,
    /// What every thread is doing is to be written to this pipe.
    Stacks(OwnedFd),
    /// No more requests come: workers are to be forked of this process.
    Template,
    /// It is gone.
    Gone,
}

/// Fork this worker.
#[derive(Debug)]
pub(crate) struct Order {
    /// Its number.
    pub(crate) worker: u64,
    /// Its control socket, standard output, standard error, listening socket, and its heartbeat if it has one.
    pub(crate) given: Vec<OwnedFd>,
}

impl Control {
    /// One that came with a message.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self {
            socket,
            cause: Mutex::default(),
        }
    }

    /// Takes the descriptor over; programs that the application starts do not get it.
    pub(crate) fn take(number: RawFd) -> io::Result<Self> {
        let socket = descriptor::take(number, "socket:")?;
        Ok(Self::of(socket))
    }

    /// Says that requests may come.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.say(READY)
    }

    /// Says that a template has forked us.
    pub(crate) fn forked(&self) -> io::Result<()> {
        self.say(FORKED)
    }

    fn say(&self, kind: u16) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        message[..4].copy_from_slice(&head(kind));
        send(self.socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Waits until the supervisor has taken us over. False: it does not.
    pub(crate) fn begun(&self) -> bool {
        let mut message = [0; MESSAGE_LEN];
        loop {
            match self.wait().and_then(|()| {
                recv(
                    self.socket.as_raw_fd(),
                    &mut message,
                    MsgFlags::MSG_DONTWAIT,
                )
            }) {
                Ok(count) => return count == MESSAGE_LEN && message[..4] == head(BEGIN),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// A template's wait for an order; none: the supervisor is gone.
    ///
    /// # Errors
    /// The system's; `Interrupted` when a signal came.
    pub(crate) fn order(&self) -> io::Result<Option<Order>> {
        loop {
            self.wait()?;
            let mut message = [0; MESSAGE_LEN];
            let given = match self.receive(&mut message) {
                Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(None),
                Ok((MESSAGE_LEN, given)) if message[..4] == head(FORK) => given,
                Ok(_) | Err(Errno::EAGAIN) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let worker = value(&message);
            return Ok(Some(Order { worker, given }));
        }
    }

    fn wait(&self) -> nix::Result<()> {
        let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::NONE).map(drop)
    }

    /// Reads one message, if there is one.
    pub(crate) fn hear(&self) -> Heard {
        let mut cause = self.lock();
        let mut message = [0; MESSAGE_LEN];
        let (length, mut descriptors) = match self.receive(&mut message) {
            Ok(received) => received,
            // what was asked for with a descriptor is not done
            Err(Errno::EAGAIN | Errno::EINTR | Errno::EMFILE) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        };
        match length {
            0 => Heard::Gone,
            MESSAGE_LEN if message[..4] == head(INTERRUPT) => Heard::Interrupt,
            MESSAGE_LEN if message[..4] == head(BECOME_TEMPLATE) => Heard::Template,
            MESSAGE_LEN if message[..4] == head(STACKS) => {
                descriptors.pop().map_or(Heard::Nothing, Heard::Stacks)
            }
            MESSAGE_LEN if message[..4] == head(RETIRE) => {
                cause.get_or_insert(cause_of(value(&message)));
                Heard::Retire
            }
            _ => Heard::Nothing,
        }
    }

    /// One message, if there is one: its length, and the descriptors that came with it. EMFILE: it is lost, and some of them stay open.
    fn receive(&self, message: &mut [u8; MESSAGE_LEN]) -> nix::Result<(usize, Vec<OwnedFd>)> {
        let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(message)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let socket = self.socket.as_raw_fd();
        let received = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags)?;
        if received.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Errno::EMFILE);
        }
        let mut descriptors = Vec::new();
        for control in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                descriptors.extend(numbers.into_iter().map(descriptor::own));
            }
        }
        Ok((received.bytes, descriptors))
    }

    /// Why the worker retires, when that was heard.
    pub(crate) fn cause(&self) -> Option<&'static str> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What belongs to the kind.
fn value(message: &[u8; MESSAGE_LEN]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *message;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The version and the kind of a message.
fn head(kind: u16) -> [u8; 4] {
    let [a, b] = VERSION.to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}

/// The causes that a worker can be told, by the number in `retire`.
const CAUSES: [&str; 13] = [
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
    "refork",
];

/// A supervisor of another version may have a cause that we have no word for, or tell none.
fn cause_of(number: u64) -> &'static str {
    let known = usize::try_from(number).ok();
    let known = known.and_then(|number| CAUSES.get(number));
    known.copied().unwrap_or("requested")
}
