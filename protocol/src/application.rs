//! The application side of a connection: reads what a web server sends (FastCGI 1.0, sections 4 to 5.4).
//!
//! Requests may be multiplexed: each has an id, any from 1 to 65,535, which is in use from BEGIN_REQUEST until the answer was written
//! ([`Application::finished`]). The state of a request is a few bytes; its parameters and body are handed on as they come and
//! never kept here.
//!
//! Two kinds of wrong: what concerns one request is an [`Event`] that asks for an answer, and what concerns the connection
//! is an [`ApplicationError`]. What is late (for a request that is over, or after the end of a stream) is ignored, as
//! are records which only applications send: the other requests of the connection shall not suffer for it.

mod event;
mod request;

use std::{borrow::Cow, error::Error, fmt};

pub use event::Event;

use crate::{
    body::{Body, MAX_VALUES},
    encode::Role,
    record::{Fragment, RecordError, RecordType, Splitter},
};

use request::Request;

/// In the flags of BEGIN_REQUEST: the connection stays open after the answer (section 5.1).
const KEEP_CONN: u8 = 1;

/// What a connection may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of one request's parameters, as they are encoded.
    pub params: usize,
    /// The requests active at a time.
    pub requests: usize,
}

/// Why the connection must be closed, without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplicationError {
    /// The stream is not made of records.
    Record(RecordError),
    /// A record that belongs to a request has the id 0 (section 3.3).
    NullRequestId(RecordType),
    /// BEGIN_REQUEST for an id which is in use (section 3.3).
    BeginActive(u16),
    /// A BEGIN_REQUEST with a body of fewer than eight bytes (section 5.1).
    BeginTooShort(u16),
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(_) => f.write_str("the web server does not send FastCGI records"),
            Self::NullRequestId(kind) => {
                write!(f, "the web server sent {kind:?} with the request id 0")
            }
            Self::BeginActive(id) => write!(f, "the web server began request {id} twice"),
            Self::BeginTooShort(length) => write!(
                f,
                "the web server sent BeginRequest with {length} bytes, not 8"
            ),
        }
    }
}

impl Error for ApplicationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Record(error) => Some(error),
            Self::NullRequestId(_) | Self::BeginActive(_) | Self::BeginTooShort(_) => None,
        }
    }
}

impl From<RecordError> for ApplicationError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// Reads what a web server sends on one connection. The crate's page shows it at work.
#[derive(Clone, Debug)]
pub struct Application {
    limits: Limits,
    splitter: Splitter,
    /// The requests whose answers have not been written; never more than the limit. Searched through: there is nearly always one.
    requests: Vec<Request>,
    /// A request asked for the connection to be closed after its answer.
    close: bool,
    /// A BEGIN_REQUEST's body, as far as it has come.
    begin: Body,
    /// A GET_VALUES' body, as far as it has come, if a read has cut it; never more than `MAX_VALUES`.
    values: Vec<u8>,
    /// The bytes taken since the last event.
    ignored: u64,
    /// The connection is unusable.
    broken: Option<ApplicationError>,
}

impl Application {
    /// Other limits, from the next record on. Requests that have begun stay, however many.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The reader of a new connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            splitter: Splitter::new(),
            requests: Vec::new(),
            close: false,
            begin: Body::default(),
            values: Vec::new(),
            ignored: 0,
            broken: None,
        }
    }

    /// Takes the next event off the front of `input`. None: the input is used up, and the next call takes the bytes after it.
    ///
    /// # Errors
    /// The connection must be closed; every later call gives the same error.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, ApplicationError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let event = self.event(input);
        self.broken = event.as_ref().err().copied();
        event
    }

    /// The answer to `id` has been written, down to END_REQUEST: its id is free, and what still comes for it is ignored. Also for a
    /// request that was refused ([`Event::UnknownRole`], [`Event::TooManyRequests`]).
    ///
    /// True: the connection must be closed after this answer. That is when no request is active and one, this or another of
    /// the connection, came without `keep_conn` (section 5.1).
    pub fn finished(&mut self, id: u16) -> bool {
        self.requests.retain(|request| request.id != id);
        self.close && self.requests.is_empty()
    }

    /// How many requests have begun and are not finished.
    pub fn active(&self) -> usize {
        self.requests.len()
    }

    /// The end of all that `id` brings has come, told or not: of its body, and of the file for a filter. False for a request that is
    /// not active.
    pub fn input_ended(&self, id: u16) -> bool {
        self.requests
            .iter()
            .any(|request| request.id == id && request.input_ended())
    }

    /// No request is active and nothing of a record is pending: the connection may be closed, or handed to another process.
    pub fn idle(&self) -> bool {
        self.broken.is_none() && self.requests.is_empty() && self.splitter.at_boundary()
    }

    /// How many bytes have been taken since the last event: what was ignored, and at most the beginning of one record. Whoever reads
    /// the connection bounds it: a web server may go on with a long body after the answer, but not for ever.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn event<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ApplicationError> {
        loop {
            let all = *input;
            let Some(fragment) = self.splitter.next(all, 0)? else {
                self.count(all.len());
                *input = &[];
                return Ok(None);
            };
            *input = all.get(fragment.end..).unwrap_or_default();
            let event = self.fragment(fragment, fragment.content.of(all))?;
            if event.is_some() {
                self.ignored = 0;
                return Ok(event);
            }
            self.count(fragment.end);
        }
    }

    fn count(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.ignored = self.ignored.saturating_add(bytes);
    }

    /// What a fragment says; None if nothing or nothing yet.
    fn fragment<'a>(
        &mut self,
        fragment: Fragment,
        bytes: &'a [u8],
    ) -> Result<Option<Event<'a>>, ApplicationError> {
        let header = fragment.header;
        let id = header.request_id;
        let Some(kind) = header.record_type() else {
            let told = id == 0 && fragment.last;
            return Ok(told.then_some(Event::UnknownType { kind: header.kind }));
        };
        match kind {
            RecordType::GetValues if id == 0 => Ok(self.values(fragment, bytes)),
            RecordType::GetValues | RecordType::GetValuesResult | RecordType::UnknownType => {
                Ok(None)
            }
            RecordType::BeginRequest
            | RecordType::AbortRequest
            | RecordType::EndRequest
            | RecordType::Params
            | RecordType::Stdin
            | RecordType::Stdout
            | RecordType::Stderr
            | RecordType::Data
                if id == 0 =>
            {
                Err(ApplicationError::NullRequestId(kind))
            }
            RecordType::BeginRequest => self.begin(fragment, bytes),
            RecordType::AbortRequest => {
                Ok(self.request(id).and_then(|request| request.abort(fragment)))
            }
            RecordType::Params => {
                let limit = self.limits.params;
                Ok(self
                    .request(id)
                    .and_then(|request| request.params(fragment, bytes, limit)))
            }
            RecordType::Stdin => Ok(self
                .request(id)
                .and_then(|request| request.stdin(fragment, bytes))),
            RecordType::Data => Ok(self
                .request(id)
                .and_then(|request| request.data(fragment, bytes))),
            RecordType::EndRequest | RecordType::Stdout | RecordType::Stderr => Ok(None),
        }
    }

    fn request(&mut self, id: u16) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id)
    }

    fn begin<'a>(
        &mut self,
        fragment: Fragment,
        bytes: &[u8],
    ) -> Result<Option<Event<'a>>, ApplicationError> {
        let id = fragment.header.request_id;
        if fragment.first {
            if self.request(id).is_some() {
                return Err(ApplicationError::BeginActive(id));
            }
            self.begin = Body::default();
        }
        self.begin.push(bytes);
        if !fragment.last {
            return Ok(None);
        }
        let Some([role_high, role_low, flags, ..]) = self.begin.complete() else {
            return Err(ApplicationError::BeginTooShort(
                fragment.header.content_length,
            ));
        };
        let keep_conn = flags & KEEP_CONN != 0;
        self.close |= !keep_conn;
        let Some(role) = Role::from_number(u16::from_be_bytes([role_high, role_low])) else {
            return Ok(Some(Event::UnknownRole { id }));
        };
        if self.requests.len() >= self.limits.requests {
            return Ok(Some(Event::TooManyRequests { id }));
        }
        self.requests.push(Request::new(id, role));
        Ok(Some(Event::Begin {
            id,
            role,
            keep_conn,
        }))
    }

    fn values<'a>(&mut self, fragment: Fragment, bytes: &'a [u8]) -> Option<Event<'a>> {
        if usize::from(fragment.header.content_length) > MAX_VALUES {
            return fragment.last.then_some(Event::GetValues {
                pairs: Cow::Borrowed(&[]),
            });
        }
        if fragment.first {
            if fragment.last {
                return Some(Event::GetValues {
                    pairs: Cow::Borrowed(bytes),
                });
            }
            self.values.clear();
        }
        self.values.extend_from_slice(bytes);
        fragment.last.then(|| Event::GetValues {
            pairs: Cow::Owned(std::mem::take(&mut self.values)),
        })
    }
}
