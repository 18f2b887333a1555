//! One connection, to a host or to a worker: reads into the thread's buffer, writes at once, keeps what did not fit.
//!
//! Every connection is driven by one task ([`drive()`]); whoever else has something to write to it writes directly
//! ([`Connection::write`]), and only what the kernel does not take waits in the outbox for that task. So a small request costs one
//! read and one write on each side, and an idle connection holds no buffer.

mod drive;

use std::{
    cell::{Cell, RefCell},
    future::Future as _,
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd},
    pin::pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{self, MsgFlags, Shutdown, recv, setsockopt, shutdown, sockopt},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::spawn_local,
    time::sleep,
};

use super::{address::established, outbox::Outbox};
use crate::descriptor::register_for;
pub(super) use drive::drive;

/// Before room is looked for again where that could not be watched for.
const PAUSE: Duration = Duration::from_millis(50);

/// Why [`drive()`] came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed its side.
    Closed,
    /// Reading failed, or writing did and nothing more is to be read.
    Broken,
    /// We were done with it.
    Done,
    /// It is another process's.
    Moved,
}

/// What a connection's task asks of its owner.
pub(super) trait Peer {
    /// The connection.
    fn connection(&self) -> &Connection;
    /// Bytes came: `buffer[HEADER_LEN..]`. Everything is to be used up.
    fn bytes(&self, buffer: &mut [u8]);
    /// The outbox was not empty, and is.
    fn drained(&self) {}
    /// Writing failed. False: what the peer has sent is still to be read.
    fn write_failed(&self) -> bool {
        true
    }
    /// Whether it is over as soon as the peer has closed its side, whatever of it is still unread.
    fn leaves_when_closed(&self) -> bool {
        false
    }
    /// Whether another process has been given it; asked before a read.
    fn moved(&self) -> bool {
        false
    }
    /// There is nothing to read just now. Some: and nothing more is waited for.
    fn starved(&self) -> Option<End> {
        None
    }
}

/// A non-blocking stream socket with an outbox.
#[derive(Debug)]
pub(super) struct Connection {
    /// For reading: of a socket that is also watched for room, the kernel tells with each read of the peer, and wakes us for nothing.
    socket: AsyncFd<OwnedFd>,
    /// The same socket, watched for room while something waits.
    room: RefCell<Option<AsyncFd<OwnedFd>>>,
    outbox: RefCell<Outbox>,
    task: RefCell<Option<Waker>>,
    /// Reading waits until [`Connection::resume`].
    paused: Cell<bool>,
    /// Bytes may be there that readiness no longer tells of: the next read is tried without.
    untested: Cell<bool>,
    /// Something had to wait in the outbox, and [`Peer::drained`] has not been called since.
    owes_drained: Cell<bool>,
    /// What is to follow when the outbox is empty.
    then: Cell<Then>,
    /// A write failed: the outbox takes nothing any more.
    deaf: Cell<bool>,
    /// Bytes that came, and that the kernel took.
    received: Cell<u64>,
    sent: Cell<u64>,
}

/// What follows when everything has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// More.
    Stay,
    /// The end of our side; what the peer still sends is read and thrown away until it closes.
    EndOutput,
    /// The same, and our side has ended.
    AwaitClose,
    /// The end.
    Close,
}

impl Connection {
    /// Registers a connected, non-blocking socket with this thread's runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: register_for(socket, Interest::READABLE)?,
            room: RefCell::default(),
            outbox: RefCell::default(),
            task: RefCell::default(),
            paused: Cell::new(false),
            untested: Cell::new(false),
            owes_drained: Cell::new(false),
            then: Cell::new(Then::Stay),
            deaf: Cell::new(false),
            received: Cell::new(0),
            sent: Cell::new(0),
        })
    }

    /// Waits until it has come about.
    pub(super) async fn established(&self) -> io::Result<()> {
        established(&self.watch_for_room()?).await
    }

    /// Writes the parts, in order, behind what waits already; what the kernel does not take waits. The number of bytes it took.
    pub(super) fn write(&self, parts: &[IoSlice<'_>]) -> usize {
        if self.deaf.get() {
            return 0;
        }
        let mut outbox = self.outbox.borrow_mut();
        let mut written = 0;
        if outbox.waiting() == 0 {
            match send(&self.socket, parts) {
                Ok(count) => {
                    written = count;
                    count_up(&self.sent, count);
                }
                Err(_) => {
                    drop(outbox);
                    self.turn_deaf();
                    return 0;
                }
            }
        }
        outbox.append(parts, written);
        if outbox.waiting() > 0 {
            drop(outbox);
            self.owes_drained.set(true);
            self.wake();
        }
        written
    }

    /// Puts bytes into the outbox without writing yet; see [`Connection::flush`].
    pub(super) fn queue(&self, put: impl FnOnce(&mut Vec<u8>)) {
        if !self.deaf.get() {
            put(self.outbox.borrow_mut().end());
        }
    }

    /// Writes what waits, as far as the kernel takes it. The number of bytes it took.
    pub(super) fn flush(&self) -> usize {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.waiting() == 0 {
            return 0;
        }
        let sent = send(&self.socket, &[IoSlice::new(outbox.rest())]);
        let Ok(count) = sent else {
            drop(outbox);
            self.turn_deaf();
            return 0;
        };
        count_up(&self.sent, count);
        outbox.took(count);
        let left = outbox.waiting() > 0;
        drop(outbox);
        if left {
            self.owes_drained.set(true);
        }
        if left || self.owes_drained.get() {
            self.wake();
        }
        count
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.outbox.borrow().waiting()
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes that the kernel took.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Whether a write has failed.
    pub(super) fn deaf(&self) -> bool {
        self.deaf.get()
    }

    /// The socket, for another process.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.get_ref().try_clone()
    }

    /// Reads no more until [`Connection::resume`].
    pub(super) fn pause(&self) {
        self.paused.set(true);
    }

    /// Whether nothing is read.
    pub(super) fn paused(&self) -> bool {
        self.paused.get()
    }

    /// Reads again.
    pub(super) fn resume(&self) {
        if self.paused.replace(false) {
            self.wake();
        }
    }

    /// Closes it when what waits has been written.
    pub(super) fn close(&self) {
        self.then.set(Then::Close);
        self.wake();
    }

    /// Ends our side when what waits has been written, and reads on until the peer closes: closing with the peer's bytes
    /// unread would reset the connection, and our last words with it.
    pub(super) fn end_output(&self) {
        if self.then.get() == Then::Stay {
            self.then.set(Then::EndOutput);
            self.wake();
        }
    }

    /// Ends our side now, as [`Connection::end_output`] does; what waits is thrown away.
    pub(super) fn end_output_now(&self) {
        if self.then.get() != Then::Stay {
            return;
        }
        *self.outbox.borrow_mut() = Outbox::default();
        self.paused.set(false);
        // the peer is to see it before it hears of it elsewhere; what has left already is seen by reading
        shutdown(self.socket.as_raw_fd(), Shutdown::Write).unwrap_or_default();
        self.then.set(Then::AwaitClose);
        self.wake();
    }

    /// Whether anything more is to be answered on it.
    pub(super) fn open(&self) -> bool {
        self.then.get() == Then::Stay
    }

    /// Whether our side has ended, or is to, and the peer's end is waited for.
    pub(super) fn awaits_close(&self) -> bool {
        matches!(self.then.get(), Then::EndOutput | Then::AwaitClose)
    }

    /// Puts `end` in the place of the records of which nothing was sent, and closes it when the peer has taken that.
    pub(super) fn cut(&self, end: &[u8]) {
        self.outbox.borrow_mut().cut(end);
        self.close();
    }

    /// Closes a TCP connection now; the peer is told that it is broken, whatever of it is still unread there.
    pub(super) fn reset(&self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // at worst it is only closed
        setsockopt(&self.socket, sockopt::Linger, &at_once).unwrap_or_default();
        self.abort();
    }

    /// Closes it now; what waits is thrown away.
    pub(super) fn abort(&self) {
        self.then.set(Then::Close);
        self.paused.set(false);
        self.turn_deaf();
    }

    /// Lets the task look at it again.
    pub(super) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    /// Whether the peer has sent something that was not read yet, its end included.
    pub(super) fn has_input(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        !matches!(
            recv(self.socket.as_raw_fd(), &mut byte, flags),
            Err(nix::Error::EAGAIN | nix::Error::EINTR)
        )
    }

    /// Whether the peer has ended its side, as far as the kernel has told. Of what it tells at once, the earlier is known when the
    /// later is looked at.
    pub(super) fn peer_left(&self) -> bool {
        let told = pin!(self.socket.ready(Interest::READABLE));
        let told = told.poll(&mut Context::from_waker(Waker::noop()));
        matches!(told, Poll::Ready(Ok(told)) if told.ready().is_read_closed())
    }

    fn turn_deaf(&self) {
        self.deaf.set(true);
        *self.outbox.borrow_mut() = Outbox::default();
        self.wake();
    }

    fn remember(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        match task.as_ref() {
            Some(known) if known.will_wake(waker) => {}
            _ => *task = Some(waker.clone()),
        }
    }

    fn watch_for_room(&self) -> io::Result<AsyncFd<OwnedFd>> {
        register_for(self.socket.get_ref().try_clone()?, Interest::WRITABLE)
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut room = self.room.borrow_mut();
            if self.deaf.get() || self.waiting() == 0 {
                *room = None;
                return Poll::Ready(());
            }
            let watched = match room.take().map_or_else(|| self.watch_for_room(), Ok) {
                Ok(watched) => room.insert(watched),
                Err(_) => return look_again(context),
            };
            let Ok(mut ready) = ready!(watched.poll_write_ready(context)) else {
                self.turn_deaf();
                return Poll::Ready(());
            };
            if self.flush() == 0 && !self.deaf.get() {
                ready.clear_ready();
            }
        }
    }
}

/// There is no descriptor for another one just now.
fn look_again(context: &Context<'_>) -> Poll<()> {
    let task = context.waker().clone();
    spawn_local(async {
        sleep(PAUSE).await;
        task.wake();
    });
    Poll::Pending
}

fn count_up(counter: &Cell<u64>, by: usize) {
    counter.set(counter.get() + by as u64);
}

/// Writes once; 0 when the kernel has no room.
fn send(socket: &AsyncFd<OwnedFd>, parts: &[IoSlice<'_>]) -> nix::Result<usize> {
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    loop {
        let result = match parts {
            [part] => socket::send(socket, part, flags),
            _ => socket::sendmsg::<()>(socket, parts, &[], flags, None),
        };
        match result {
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => return Ok(0),
            result => return result,
        }
    }
}
