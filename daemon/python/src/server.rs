//! Who is served next: the listening socket, the kept connections, and the reasons to stop, in one epoll set.
//!
//! Every serving thread waits here and takes the first connection that has something to say; so a connection that is kept but silent
//! never holds up another. While a thread has a connection, no other sees it. Nothing here knows Python.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    unistd::read,
};

use crate::{
    connection::Connection,
    stop::Stop,
    wire::{Fate, Stage},
};

const LISTENER: u64 = 0;
const STOP: u64 = 1;
const SIGNALS: u64 = 2;
const FIRST_CONNECTION: u64 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) stop: Stop,
    listener: UnixListener,
    /// A byte arrives here for each signal.
    signals: OwnedFd,
    epoll: Epoll,
    /// The connections that no thread has, by token.
    kept: Mutex<HashMap<u64, Box<Connection>>>,
    next_token: AtomicU64,
    threads: u32,
}

/// Why a wait ended.
#[derive(Debug)]
pub(crate) enum Wake {
    /// This connection has a request to be answered.
    Request(Box<Connection>),
    /// A signal arrived: let Python handle it.
    Signal,
    /// The supervisor has said that it will end the worker.
    Retiring,
    /// The worker is to end.
    Stop,
    /// The worker cannot go on.
    Failed(io::Error),
}

impl Server {
    pub(crate) fn new(listener: UnixListener, signals: OwnedFd, threads: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let server = Self {
            stop: Stop::new()?,
            listener,
            signals,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            kept: Mutex::new(HashMap::new()),
            next_token: AtomicU64::new(FIRST_CONNECTION),
            threads,
        };
        server.watch(&server.listener, LISTENER)?;
        server.watch(&server.stop, STOP)?;
        // with more threads the main thread watches it (`wait`), for it alone handles signals
        if threads == 1 {
            server.watch(&server.signals, SIGNALS)?;
        }
        Ok(server)
    }

    /// Gives back the connection whose request was answered, and waits for the next request.
    pub(crate) fn next(&self, answered: Option<Box<Connection>>) -> Wake {
        if let Some(connection) = answered
            && let Err(error) = self.settle(connection)
        {
            return Wake::Failed(error);
        }
        loop {
            if self.stop.requested() {
                return Wake::Stop;
            }
            let mut events = [EpollEvent::empty()];
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(0) => continue,
                Ok(_) => {}
                Err(Errno::EINTR) => return Wake::Signal,
                Err(errno) => return Wake::Failed(errno.into()),
            }
            let handled = match events[0].data() {
                LISTENER => self.accept(),
                STOP => return Wake::Stop,
                SIGNALS => {
                    self.clear_signals();
                    return Wake::Signal;
                }
                token => match self.receive(token) {
                    Ok(Some(connection)) => return Wake::Request(connection),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = handled {
                return Wake::Failed(error);
            }
        }
    }

    /// The main thread's wait, when other threads serve: for a signal, or the end.
    pub(crate) fn wait(&self) -> Wake {
        loop {
            let mut watched = [
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.retiring(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => return Wake::Signal,
                Err(errno) => return Wake::Failed(errno.into()),
            }
            if watched[0].any() == Some(true) {
                return Wake::Stop;
            }
            if watched[1].any() == Some(true) {
                self.clear_signals();
                return Wake::Signal;
            }
            if watched[2].any() == Some(true) {
                self.stop.heard_retiring();
                return Wake::Retiring;
            }
        }
    }

    pub(crate) fn threads(&self) -> u32 {
        self.threads
    }

    fn watch(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        Ok(self.epoll.add(source, event)?)
    }

    fn accept(&self) -> io::Result<()> {
        let socket = match self.listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) => {
                return match error.kind() {
                    // another thread was faster, or the peer left again
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted => Ok(()),
                    _ => Err(error),
                };
            }
        };
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let connection = Box::new(Connection::new(socket, token, self.threads));
        let mut kept = self.kept();
        self.epoll
            .add(&*connection, EpollEvent::new(self.interest(), token))?;
        kept.insert(token, connection);
        Ok(())
    }

    /// Reads from a connection that has something to say. It is returned when a request can be answered.
    fn receive(&self, token: u64) -> io::Result<Option<Box<Connection>>> {
        let Some(mut connection) = self.kept().remove(&token) else {
            return Ok(None);
        };
        let lingering = matches!(connection.fate(), Fate::Linger(_));
        let open = if lingering {
            connection.receive_lingering()
        } else {
            connection.receive()
        };
        match open {
            Ok(true) if connection.wire.request.stage == Stage::Complete => Ok(Some(connection)),
            Ok(true) => self.settle_quietly(connection),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.settle_quietly(connection)
            }
            // the peer left, or does not speak FastCGI
            Ok(false) | Err(_) => {
                self.close(*connection);
                Ok(None)
            }
        }
    }

    /// A connection without a complete request: what is in its outbox is written, and it is kept.
    fn settle_quietly(
        &self,
        mut connection: Box<Connection>,
    ) -> io::Result<Option<Box<Connection>>> {
        if connection.flush().is_err() || connection.fate() == Fate::Close {
            self.close(*connection);
        } else {
            self.keep(connection)?;
        }
        Ok(None)
    }

    /// Ends the response and does with the connection what is due.
    fn settle(&self, mut connection: Box<Connection>) -> io::Result<()> {
        let concluded = connection.conclude();
        match connection.fate() {
            Fate::Keep if concluded.is_ok() => self.keep(connection),
            Fate::Linger(_) if concluded.is_ok() && connection.end_writing().is_ok() => {
                self.keep(connection)
            }
            _ => {
                self.close(*connection);
                Ok(())
            }
        }
    }

    fn keep(&self, connection: Box<Connection>) -> io::Result<()> {
        let token = connection.token;
        let mut kept = self.kept();
        if self.threads > 1 {
            let mut event = EpollEvent::new(self.interest(), token);
            self.epoll.modify(&*connection, &mut event)?;
        }
        kept.insert(token, connection);
        Ok(())
    }

    /// A child that the application forked may hold the socket too: it must leave the set by name.
    fn close(&self, connection: Connection) {
        // it can only fail for what is not in the set
        self.epoll.delete(&connection).unwrap_or_default();
        connection.close();
    }

    /// With more threads an event is told to one, and not again before the connection is given back.
    fn interest(&self) -> EpollFlags {
        if self.threads > 1 {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT
        } else {
            EpollFlags::EPOLLIN
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Box<Connection>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear_signals(&self) {
        let mut bytes = [0; 64];
        while matches!(read(&self.signals, &mut bytes), Ok(count) if count > 0) {}
    }
}
