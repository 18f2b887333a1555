//! The web server's side of a connection: reads what an application sends (FastCGI 1.0, sections 4 to 5.5).
//!
//! [`WebServer::begin`] says that a request was written, [`Answer::End`] that it is over; there may be several at a time, each with an
//! id of its own. The content of STDOUT and STDERR is given as [`Fragment`]s, so that a relay can pass the records on where they lie;
//! whose they are, their header says.
//!
//! Tolerated, because applications do it: STDERR at any time and without an end; END_REQUEST without the end of STDOUT, or
//! with a body that is too long; anything of a request that is over, which is ignored.

use std::{error::Error, fmt};

use crate::{
    body::{Body, MAX_VALUES},
    record::{Fragment, RecordError, RecordType, Splitter},
};

/// What an application sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A piece of the response, never empty (section 5.3).
    Stdout(Fragment),
    /// The response is complete (section 5.3); said once, and not at all if the application leaves it out. END_REQUEST follows.
    StdoutEnd {
        /// The request.
        id: u16,
    },
    /// A piece of the error output, never empty (section 5.3). Its end is not told, since many applications never tell it.
    Stderr(Fragment),
    /// END_REQUEST (section 5.5): the request is over. Padding may still be on its way; [`WebServer::at_boundary`] says.
    End {
        /// The request.
        id: u16,
        /// The application's exit status.
        app_status: u32,
        /// `protocolStatus` as it is on the wire. 0: complete; any other that [`crate::encode::ProtocolStatus`] does not know is a failure.
        status: u8,
    },
    /// A GET_VALUES_RESULT was received to its end (section 4.1): [`WebServer::values`] has it.
    Values,
    /// UNKNOWN_TYPE (section 4.2): the application does not know management records of this type.
    UnknownType(u8),
    /// A piece of a record without meaning here: of no request or of one that is over, after the end of its
    /// stream, the end of STDERR, a management record with an id, a type that FastCGI 1.0 does not define.
    Ignored,
}

impl Answer {
    /// The request that it is about, where there is one.
    pub const fn id(&self) -> Option<u16> {
        match self {
            Self::Stdout(fragment) | Self::Stderr(fragment) => Some(fragment.header.request_id),
            Self::StdoutEnd { id } | Self::End { id, .. } => Some(*id),
            Self::Values | Self::UnknownType(_) | Self::Ignored => None,
        }
    }
}

/// Why the connection must be closed: what the application sends is not FastCGI's application side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebServerError {
    /// The stream is not made of records.
    Record(RecordError),
    /// A record that belongs to a request has the id 0 (section 3.3).
    NullRequestId(RecordType),
    /// A record which only a web server sends, as from a program that sends back what it gets.
    Direction(RecordType),
    /// An END_REQUEST with a body of fewer than eight bytes (section 5.5).
    EndTooShort(u16),
}

impl fmt::Display for WebServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(_) => f.write_str("the application does not send FastCGI records"),
            Self::NullRequestId(kind) => {
                write!(f, "the application sent {kind:?} with the request id 0")
            }
            Self::Direction(kind) => write!(
                f,
                "the application sent {kind:?}, which only a web server sends"
            ),
            Self::EndTooShort(length) => write!(
                f,
                "the application sent EndRequest with {length} bytes, not 8"
            ),
        }
    }
}

impl Error for WebServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Record(error) => Some(error),
            Self::NullRequestId(_) | Self::Direction(_) | Self::EndTooShort(_) => None,
        }
    }
}

impl From<RecordError> for WebServerError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// Reads what an application sends on one connection.
///
/// ```
/// use stockade_protocol::{encode, record::RecordType, web_server::{Answer, WebServer}};
///
/// let mut read = Vec::new();
/// encode::stream(&mut read, RecordType::Stdout, 1, b"Status: 204\n\n");
/// encode::response_end(&mut read, 1, 0);
///
/// let mut connection = WebServer::new();
/// connection.begin(1);
/// let mut response = Vec::new();
/// let mut at = 0;
/// while let Some(answer) = connection.next(&read, &mut at)? {
///     match answer {
///         Answer::Stdout(fragment) => response.extend_from_slice(fragment.content.of(&read)),
///         Answer::End { status, .. } => assert_eq!(status, 0),
///         _ => {}
///     }
/// }
/// assert_eq!(response, b"Status: 204\n\n");
/// assert!(connection.at_boundary());
/// # Ok::<(), stockade_protocol::web_server::WebServerError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WebServer {
    splitter: Splitter,
    /// The requests that were written and are not over.
    active: Active,
    /// What the record is that is being received. Decided at its start, so that no rest of an old record is taken for the next request's.
    current: Current,
    /// An END_REQUEST's body, as far as it has come.
    end: Body,
    /// A GET_VALUES_RESULT's body, as far as it has come; never more than `MAX_VALUES`.
    values: Vec<u8>,
    /// The connection is unusable.
    broken: Option<WebServerError>,
}

/// What a record means.
#[derive(Clone, Copy, Debug, Default)]
enum Current {
    Stdout,
    StdoutEnd,
    Stderr,
    End,
    Values,
    UnknownType,
    #[default]
    Nothing,
}

impl WebServer {
    /// The reader of a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Request `id` was written: what comes for it is its answer. Whatever still comes for an earlier one with this id is ignored.
    ///
    /// An application that answers an id twice would be taken to answer the next request: reuse neither connection
    /// nor id after a request that was aborted.
    pub fn begin(&mut self, id: u16) {
        self.active.begin(id);
    }

    /// Nobody waits for the answer to `id`: whatever still comes of it is ignored, its end too.
    pub fn forget(&mut self, id: u16) {
        self.active.end(id);
    }

    /// The next answer in `input` at or behind `at`, which is moved behind it. None: the input is used up. Start with `at` = 0
    /// for every input just read.
    ///
    /// # Errors
    /// The connection must be closed; every later call gives the same error.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Answer>, WebServerError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let answer = self.answer(input, at);
        self.broken = answer.err();
        answer
    }

    /// Nothing of a record is pending. Before a connection is reused after [`Answer::End`], and when the application closes it,
    /// this tells a clean end from a broken one.
    pub fn at_boundary(&self) -> bool {
        self.broken.is_none() && self.splitter.at_boundary()
    }

    /// The body of the GET_VALUES_RESULT that was told last ([`Answer::Values`]), to be read with [`crate::values::Values::read`] or, for names of
    /// one's own, [`crate::name_value::Pairs`]. Empty if it was longer than 4 KiB, and when the next one begins.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    fn answer(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Answer>, WebServerError> {
        let Some(fragment) = self.splitter.next(input, *at)? else {
            *at = input.len();
            return Ok(None);
        };
        *at = fragment.end;
        if fragment.first {
            self.current = self.meaning(fragment)?;
        }
        Ok(Some(match self.current {
            Current::Stdout => Answer::Stdout(fragment),
            Current::Stderr => Answer::Stderr(fragment),
            Current::StdoutEnd => {
                let id = fragment.header.request_id;
                if let Some(request) = self.active.find(id) {
                    request.stdout_ended = true;
                }
                Answer::StdoutEnd { id }
            }
            Current::End => {
                self.end.push(fragment.content.of(input));
                if fragment.last {
                    self.ended(fragment)?
                } else {
                    Answer::Ignored
                }
            }
            Current::Values => self.values_piece(fragment, input),
            Current::UnknownType => match fragment.content.of(input) {
                [kind, ..] if fragment.first => Answer::UnknownType(*kind),
                _ => Answer::Ignored,
            },
            Current::Nothing => Answer::Ignored,
        }))
    }

    /// What the record is that begins with this fragment.
    fn meaning(&mut self, fragment: Fragment) -> Result<Current, WebServerError> {
        let header = fragment.header;
        let Some(kind) = header.record_type() else {
            return Ok(Current::Nothing);
        };
        let request = self.active.find(header.request_id);
        let active = request.is_some();
        let open = request.is_some_and(|request| !request.stdout_ended);
        let empty = header.content_length == 0;
        Ok(match kind {
            RecordType::Stdout | RecordType::Stderr | RecordType::EndRequest
                if header.request_id == 0 =>
            {
                return Err(WebServerError::NullRequestId(kind));
            }
            RecordType::Stdout if open && empty => Current::StdoutEnd,
            RecordType::Stdout if open => Current::Stdout,
            RecordType::Stderr if active && !empty => Current::Stderr,
            RecordType::EndRequest if active => {
                self.end = Body::default();
                Current::End
            }
            RecordType::GetValuesResult if header.request_id == 0 => {
                self.values.clear();
                Current::Values
            }
            RecordType::UnknownType if header.request_id == 0 => Current::UnknownType,
            RecordType::Stdout
            | RecordType::Stderr
            | RecordType::EndRequest
            | RecordType::GetValuesResult
            | RecordType::UnknownType => Current::Nothing,
            RecordType::BeginRequest
            | RecordType::AbortRequest
            | RecordType::Params
            | RecordType::Stdin
            | RecordType::Data
            | RecordType::GetValues => return Err(WebServerError::Direction(kind)),
        })
    }

    /// A piece of GET_VALUES_RESULT.
    fn values_piece(&mut self, fragment: Fragment, input: &[u8]) -> Answer {
        if usize::from(fragment.header.content_length) <= MAX_VALUES {
            self.values.extend_from_slice(fragment.content.of(input));
        }
        if fragment.last {
            Answer::Values
        } else {
            Answer::Ignored
        }
    }

    /// END_REQUEST is complete.
    fn ended(&mut self, fragment: Fragment) -> Result<Answer, WebServerError> {
        let Some([a, b, c, d, status, ..]) = self.end.complete() else {
            return Err(WebServerError::EndTooShort(fragment.header.content_length));
        };
        let id = fragment.header.request_id;
        self.active.end(id);
        Ok(Answer::End {
            id,
            app_status: u32::from_be_bytes([a, b, c, d]),
            status,
        })
    }
}

/// The requests that are not over: one of them without a table, for most connections never have more.
#[derive(Clone, Debug, Default)]
struct Active {
    first: Option<Request>,
    /// In the order of their ids.
    others: Vec<Request>,
}

/// A request that is not over.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: u16,
    /// The end of its STDOUT has come.
    stdout_ended: bool,
}

impl Active {
    fn begin(&mut self, id: u16) {
        let request = Request {
            id,
            stdout_ended: false,
        };
        if let Some(known) = self.find(id) {
            *known = request;
        } else if self.first.is_none() {
            self.first = Some(request);
        } else if let Err(place) = self.place(id) {
            self.others.insert(place, request);
        }
    }

    fn find(&mut self, id: u16) -> Option<&mut Request> {
        match &mut self.first {
            Some(first) if first.id == id => self.first.as_mut(),
            _ => {
                let place = self.place(id).ok()?;
                self.others.get_mut(place)
            }
        }
    }

    fn end(&mut self, id: u16) {
        if self.first.is_some_and(|first| first.id == id) {
            self.first = None;
        } else if let Ok(place) = self.place(id) {
            self.others.remove(place);
        }
    }

    fn place(&self, id: u16) -> Result<usize, usize> {
        self.others.binary_search_by_key(&id, |request| request.id)
    }
}
