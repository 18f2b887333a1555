//! One connection: FastCGI's application side on a blocking socket. Nothing here knows Python.
//!
//! A connection carries one request at a time ([`Request`]); its responses collect in an outbox of whole records, which
//! [`Connection::flush`] writes. Everything the peer sends is taken apart as it is read, so between two reads nothing is left over but
//! what the parser holds.

use std::{
    io::{self, Read},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{MsgFlags, recv, send};
use stockade_protocol::{
    application::{Application, Event, Limits},
    encode::{self, ProtocolStatus, Role},
    record::RecordType,
    values::Values,
};

use crate::body::Body;

/// What is read at once, at most.
const INBOX: usize = 64 * 1024;
/// The outbox is written when it holds this much.
const OUTBOX: usize = 128 * 1024;
/// The parameters of one request, in bytes.
const PARAMETERS: usize = 1024 * 1024;
/// How much of a body that nobody read is taken in to keep the connection, when it is there already.
const SWALLOWED: usize = 1024 * 1024;
/// How much a connection that is being closed may still send.
const LINGERING: usize = 64 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number in the server: never used twice.
    pub(crate) token: u64,
    /// The request, when there is one.
    pub(crate) request: Request,
    socket: UnixStream,
    application: Application,
    inbox: Box<[u8]>,
    outbox: Vec<u8>,
    /// The answer to GET_VALUES: requests at a time in this process.
    slots: u32,
    /// What becomes of it when the request is answered.
    fate: Fate,
}

/// One request of the connection.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// How far it is.
    pub(crate) stage: Stage,
    /// Its encoded parameters, complete when `stage` is.
    pub(crate) parameters: Vec<u8>,
    /// Its body.
    pub(crate) body: Body,
    /// The host does not want the answer any more.
    pub(crate) aborted: bool,
    id: u16,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    #[default]
    Absent,
    /// Its parameters are arriving.
    Arriving,
    /// Its parameters are complete: it can be answered.
    Complete,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may bring another request.
    Keep,
    /// It is closed.
    Close,
    /// Everything was sent; what the peer still sends (at most so many bytes) is dropped until it closes, so that no reset overtakes
    /// the end of the response.
    Linger(usize),
}

impl Connection {
    pub(crate) fn new(socket: UnixStream, token: u64, slots: u32) -> Self {
        Self {
            token,
            request: Request::default(),
            socket,
            application: Application::new(Limits {
                params: PARAMETERS,
                requests: 1,
            }),
            inbox: vec![0; INBOX].into_boxed_slice(),
            outbox: Vec::new(),
            slots,
            fate: Fate::Keep,
        }
    }

    /// Reads once (waiting, when nothing is there) and takes it apart. False: the peer closed.
    ///
    /// # Errors
    /// The system's, `Interrupted` included; `InvalidData` when the peer does not speak FastCGI.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let count = self.socket.read(&mut self.inbox)?;
        self.take_apart(count)?;
        Ok(count > 0)
    }

    /// As [`receive`](Self::receive), for a connection that lingers: what arrives is dropped.
    pub(crate) fn receive_lingering(&mut self) -> io::Result<bool> {
        let count = self.socket.read(&mut self.inbox)?;
        if let Fate::Linger(left) = &mut self.fate {
            *left = left.saturating_sub(count);
            return Ok(count > 0 && *left > 0);
        }
        Ok(count > 0)
    }

    /// Adds response bytes to the outbox; writes it when it is large.
    pub(crate) fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(OUTBOX) {
            encode::stream(&mut self.outbox, RecordType::Stdout, self.request.id, piece);
            if self.outbox.len() >= OUTBOX {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the outbox.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.outbox[..];
        while !rest.is_empty() {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.outbox.clear();
        Ok(())
    }

    /// Ends the response completely and writes what is left. Does nothing when there is no request.
    pub(crate) fn conclude(&mut self) -> io::Result<()> {
        if self.request.stage != Stage::Absent {
            self.swallow()?;
            let all_arrived = self.request.arrived();
            // a status other than 0 says that the connection is not to be used again
            encode::response_end(&mut self.outbox, self.request.id, u32::from(!all_arrived));
            self.request.stage = Stage::Absent;
            self.request.body.clear();
            let last = self.application.finished(self.request.id);
            self.fate = match (all_arrived, last) {
                (false, _) => Fate::Linger(LINGERING),
                (true, true) => Fate::Close,
                (true, false) => Fate::Keep,
            };
        }
        self.flush()
    }

    /// The response cannot be ended: the connection is closed in the middle of it, behind what waits to be written, so that the peer
    /// sees it was cut.
    pub(crate) fn cut(&mut self) {
        self.request.stage = Stage::Absent;
        self.fate = Fate::Close;
    }

    /// What becomes of it.
    pub(crate) fn fate(&self) -> Fate {
        self.fate
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
        while !self.request.arrived() && left > 0 {
            let flags = MsgFlags::MSG_DONTWAIT;
            match recv(self.socket.as_raw_fd(), &mut self.inbox, flags) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.take_apart(count)?;
                    self.request.body.take(usize::MAX);
                    left = left.saturating_sub(count);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn take_apart(&mut self, count: usize) -> io::Result<()> {
        let Self {
            application,
            inbox,
            outbox,
            request,
            slots,
            fate,
            ..
        } = self;
        let mut input = &inbox[..count];
        loop {
            let event = application
                .next(&mut input)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let Some(event) = event else { return Ok(()) };
            match event {
                Event::Begin {
                    id,
                    role: Role::Responder,
                    ..
                } => request.begin(id),
                Event::Begin { id, .. } | Event::UnknownRole { id } => {
                    encode::end_request(outbox, id, 0, ProtocolStatus::UnknownRole);
                    forget(application, id, fate);
                }
                Event::TooManyRequests { id } => {
                    encode::end_request(outbox, id, 0, ProtocolStatus::CantMpxConn);
                    forget(application, id, fate);
                }
                Event::Params { bytes, .. } => request.parameters.extend_from_slice(bytes),
                Event::ParamsEnd { .. } => request.stage = Stage::Complete,
                Event::Stdin { bytes, .. } => request.body.push(bytes),
                Event::StdinEnd { .. } => request.body.end(),
                Event::Data { .. } | Event::DataEnd { .. } => {}
                Event::Abort { id } if request.stage == Stage::Arriving => {
                    refuse(outbox, request, id, b"");
                    forget(application, id, fate);
                }
                Event::Abort { .. } => request.aborted = true,
                Event::ParamsTooLong { id } => {
                    refuse(outbox, request, id, TOO_LONG);
                    forget(application, id, fate);
                }
                Event::ParamsUnfinished { id } => {
                    refuse(outbox, request, id, UNFINISHED);
                    forget(application, id, fate);
                }
                Event::GetValues { pairs } => answer_values(outbox, &pairs, *slots),
                Event::UnknownType { kind } => encode::unknown_type(outbox, kind),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Request {
    fn begin(&mut self, id: u16) {
        self.id = id;
        self.stage = Stage::Arriving;
        self.parameters.clear();
        self.body.clear();
        self.aborted = false;
    }

    /// Nothing of it is on its way, but perhaps the record that ends the body: the parser ignores that when it comes late.
    fn arrived(&self) -> bool {
        self.body.complete() || self.aborted
    }
}

/// Answers a request whose parameters are not complete.
fn refuse(outbox: &mut Vec<u8>, request: &mut Request, id: u16, response: &[u8]) {
    encode::stream(outbox, RecordType::Stdout, id, response);
    encode::response_end(outbox, id, 0);
    request.stage = Stage::Absent;
}

/// The request `id` was answered without being run.
fn forget(application: &mut Application, id: u16, fate: &mut Fate) {
    if application.finished(id) {
        *fate = Fate::Close;
    }
}

fn answer_values(outbox: &mut Vec<u8>, asked: &[u8], slots: u32) {
    let values = Values {
        max_conns: Some(slots),
        max_reqs: Some(slots),
        mpxs_conns: Some(false),
    };
    values.answer(outbox, asked);
}

const TOO_LONG: &[u8] =
    b"Status: 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n\r\n\
    The request's parameters are too long.\n";

const UNFINISHED: &[u8] = b"Status: 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n\
    The request's parameters are not complete.\n";
