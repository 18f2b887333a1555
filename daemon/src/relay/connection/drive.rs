//! The task of a connection: writes what waits, reads what comes, until the end of it.

use std::{
    cell::RefCell,
    future::poll_fn,
    os::fd::AsRawFd,
    task::{Context, Poll, ready},
};

use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use stockade_protocol::record::HEADER_LEN;

use super::{Connection, End, Peer, Then, count_up};

/// Bytes taken in one read.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    /// What a read goes into. Used up before the next read of any connection; the first [`HEADER_LEN`] bytes are left
    /// free, so that a record's header can always be put before the bytes that came.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; HEADER_LEN + READ_SIZE]);
}

/// Runs a connection until its end.
pub(in crate::relay) async fn drive(peer: &impl Peer) -> End {
    poll_fn(|context| step(peer, context)).await
}

fn step(peer: &impl Peer, context: &mut Context<'_>) -> Poll<End> {
    let connection = peer.connection();
    connection.remember(context.waker());
    loop {
        // without room for it, the kernel wakes us when there is
        let _flushed = connection.poll_flush(context).is_ready();
        if connection.waiting() == 0 && !connection.deaf() && connection.owes_drained.take() {
            peer.drained();
        }
        if connection.deaf() && peer.write_failed() {
            return Poll::Ready(End::Broken);
        }
        match connection.then.get() {
            Then::Close if connection.waiting() == 0 => return Poll::Ready(End::Done),
            Then::EndOutput if connection.waiting() == 0 => {
                if shutdown(connection.socket.as_raw_fd(), Shutdown::Write).is_err() {
                    return Poll::Ready(End::Broken);
                }
                connection.then.set(Then::AwaitClose);
            }
            Then::Stay | Then::EndOutput | Then::AwaitClose | Then::Close => {}
        }
        if connection.paused.get() {
            return if peer.leaves_when_closed() {
                poll_close(connection, context)
            } else {
                Poll::Pending
            };
        }
        if peer.moved() {
            return Poll::Ready(End::Moved);
        }
        match poll_read(peer, context) {
            Poll::Ready(None) => {}
            Poll::Ready(Some(end)) => return Poll::Ready(end),
            Poll::Pending => return peer.starved().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

/// Reads nothing, and looks for the peer's end.
fn poll_close(connection: &Connection, context: &mut Context<'_>) -> Poll<End> {
    loop {
        let Ok(mut ready) = ready!(connection.socket.poll_read_ready(context)) else {
            return Poll::Ready(End::Broken);
        };
        if ready.ready().is_read_closed() {
            return Poll::Ready(End::Closed);
        }
        connection.untested.set(true);
        ready.clear_ready();
    }
}

/// One read. Ready with none: look again.
fn poll_read(peer: &impl Peer, context: &mut Context<'_>) -> Poll<Option<End>> {
    let connection = peer.connection();
    if connection.untested.take() {
        match read(peer) {
            Read::Nothing => {}
            Read::Some { .. } => {
                connection.untested.set(true);
                return Poll::Ready(None);
            }
            Read::End(end) => return Poll::Ready(Some(end)),
        }
    }
    let Ok(mut ready) = ready!(connection.socket.poll_read_ready(context)) else {
        return Poll::Ready(Some(End::Broken));
    };
    match read(peer) {
        Read::Some { full: true } => Poll::Ready(None),
        Read::Some { full: false } | Read::Nothing => {
            ready.clear_ready();
            Poll::Ready(None)
        }
        Read::End(end) => Poll::Ready(Some(end)),
    }
}

/// What one read brought.
enum Read {
    /// Bytes; `full`: there may be more.
    Some { full: bool },
    /// There is nothing to read.
    Nothing,
    /// The connection has ended.
    End(End),
}

fn read(peer: &impl Peer) -> Read {
    let socket = peer.connection().socket.as_raw_fd();
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            match recv(socket, &mut buffer[HEADER_LEN..], MsgFlags::empty()) {
                Ok(0) => return Read::End(End::Closed),
                Ok(count) => {
                    count_up(&peer.connection().received, count);
                    peer.bytes(&mut buffer[..HEADER_LEN + count]);
                    return Read::Some {
                        full: count == READ_SIZE,
                    };
                }
                Err(nix::Error::EAGAIN) => return Read::Nothing,
                Err(nix::Error::EINTR) => {}
                Err(_) => return Read::End(End::Broken),
            }
        }
    })
}
