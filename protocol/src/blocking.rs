//! A program of one thread a connection, on blocking input and output (feature `std-io`): [`serve`] answers the requests of one
//! connection with a function.
//!
//! This is the smallest program that is useful, not a server: it accepts nothing, starts no thread, and has no deadlines (set them on the
//! socket). Request bodies are collected in memory, up to a limit; responses are written as they come. One request at a time: a second one on
//! the same connection is refused with CANT_MPX_CONN (section 5.5). Responders and authorizers (sections 6.2, 6.3); a filter is refused with
//! UNKNOWN_ROLE.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

use crate::{
    application::{self, Application, Event},
    encode::{self, ProtocolStatus, Role},
    name_value::Pairs,
    record::RecordType,
    values::Values,
};

/// Bytes read at a time.
const READ: usize = 16 * 1024;
/// Bytes of a response that are gathered into one write.
const WRITE: usize = 16 * 1024;
/// Bytes of a connection that are read in vain, after a request was answered before its end.
const DISCARD: u64 = 16 * 1024 * 1024;

/// What a request may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of its parameters, as they are encoded; more is answered 431.
    pub params: usize,
    /// The bytes of its body; more is answered 413.
    pub body: usize,
}

impl Default for Limits {
    /// 64 KiB of parameters, 1 MiB of body.
    fn default() -> Self {
        Self {
            params: 64 * 1024,
            body: 1024 * 1024,
        }
    }
}

/// A request that has come to its end.
#[derive(Clone, Debug)]
pub struct Request {
    id: u16,
    role: Role,
    params: Vec<u8>,
    body: Vec<u8>,
    keep_conn: bool,
    /// It was answered before its end; the connection is closed when the rest has come.
    answered: bool,
}

impl Request {
    /// What the program is to be: a responder or an authorizer.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The parameters, in the order in which they were sent.
    pub fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Pairs::new(&self.params).map_while(Result::ok)
    }

    /// A parameter's value, the last if it was sent twice.
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        self.params()
            .filter(|(known, _)| *known == name.as_bytes())
            .last()
            .map(|(_, value)| value)
    }

    /// A parameter as text: empty if it was not sent, with U+FFFD for what is not UTF-8.
    pub fn text(&self, name: &str) -> Cow<'_, str> {
        String::from_utf8_lossy(self.param(name).unwrap_or_default())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Where the response to a request is written: its head (RFC 3875, section 6) and its body. [`Write::flush`] sends what has been written so
/// far; the end is written when the function that answers returns.
pub struct Response<'a> {
    connection: &'a mut dyn Write,
    id: u16,
    waiting: Vec<u8>,
}

impl Response<'_> {
    /// Writes to the error output, which web servers put into their logs (section 5.3).
    ///
    /// # Errors
    /// The connection cannot be written to.
    pub fn report(&mut self, text: &str) -> io::Result<()> {
        let mut records = Vec::new();
        encode::stream(&mut records, RecordType::Stderr, self.id, text.as_bytes());
        self.connection.write_all(&records)
    }

    /// Sends what waits, and the end.
    fn end(&mut self) -> io::Result<()> {
        let mut records = self.take_waiting();
        encode::response_end(&mut records, self.id, 0);
        self.connection.write_all(&records)?;
        self.connection.flush()
    }

    fn take_waiting(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        encode::stream(&mut records, RecordType::Stdout, self.id, &self.waiting);
        self.waiting.clear();
        records
    }
}

impl Write for Response<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE {
            let records = self.take_waiting();
            self.connection.write_all(&records)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let records = self.take_waiting();
        self.connection.write_all(&records)?;
        self.connection.flush()
    }
}

/// Answers the requests of one connection, one after the other, until the web server closes it or asked for it to be closed.
///
/// ```no_run
/// use std::{io::{self, Write as _}, net::TcpListener};
/// use stockade_protocol::blocking::{Limits, serve};
///
/// for connection in TcpListener::bind("127.0.0.1:9000")?.incoming() {
///     serve(connection?, Limits::default(), |request, response| {
///         let path = request.text("REQUEST_URI");
///         write!(response, "Content-Type: text/plain\r\n\r\nThis is {path}.\n")
///     })?;
/// }
/// # Ok::<(), io::Error>(())
/// ```
///
/// # Errors
/// The connection cannot be read or written, the web server does not keep to the protocol ([`io::ErrorKind::InvalidData`], with the
/// [`application::ApplicationError`] in it), or `answer` failed. The connection is to be closed, as dropping it does: a response
/// without its end is taken for broken by the web server.
pub fn serve<C: Read + Write>(
    connection: C,
    limits: Limits,
    answer: impl FnMut(&Request, &mut Response<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut serving = Serving {
        connection,
        application: Application::new(application::Limits {
            params: limits.params,
            requests: 1,
        }),
        request: None,
        limit: limits.body,
        discarded: 0,
        answer,
    };
    let mut buffer = vec![0; READ];
    loop {
        let count = match serving.connection.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if serving.read(buffer.get(..count).unwrap_or_default())? {
            return Ok(());
        }
    }
}

struct Serving<C, A> {
    connection: C,
    application: Application,
    /// The one that is active.
    request: Option<Request>,
    /// Of a body, in bytes.
    limit: usize,
    /// Bytes of a body that came after its request's answer.
    discarded: u64,
    answer: A,
}

impl<C: Read + Write, A: FnMut(&Request, &mut Response<'_>) -> io::Result<()>> Serving<C, A> {
    /// True: the connection is to be closed.
    fn read(&mut self, mut input: &[u8]) -> io::Result<bool> {
        loop {
            let event = self.application.next(&mut input);
            let Some(event) =
                event.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            else {
                break;
            };
            if self.event(event)? {
                return Ok(true);
            }
        }
        let heard_out = self
            .request
            .as_ref()
            .is_some_and(|request| request.answered && self.application.input_ended(request.id));
        let in_vain = self.application.ignored().saturating_add(self.discarded);
        Ok(heard_out || in_vain > DISCARD)
    }

    fn event(&mut self, event: Event<'_>) -> io::Result<bool> {
        match event {
            Event::Begin {
                id,
                role,
                keep_conn,
            } => self.begin(id, role, keep_conn),
            Event::Params { bytes, .. } => {
                if let Some(request) = &mut self.request {
                    request.params.extend_from_slice(bytes);
                }
                Ok(false)
            }
            Event::ParamsEnd { id } => self.params_end(id),
            Event::Stdin { id, bytes } => self.body(id, bytes),
            Event::StdinEnd { id } => self.complete(id),
            Event::ParamsTooLong { id } => self.refuse(id, "431 Request Header Fields Too Large"),
            Event::ParamsUnfinished { id } => self.refuse(id, "400 Bad Request"),
            Event::Abort { id } => self.reject(id, ProtocolStatus::RequestComplete),
            Event::UnknownRole { id } => self.reject(id, ProtocolStatus::UnknownRole),
            Event::TooManyRequests { id } => self.reject(id, ProtocolStatus::CantMpxConn),
            Event::GetValues { pairs } => {
                let values = Values {
                    mpxs_conns: Some(false),
                    ..Values::default()
                };
                self.put(|out| values.answer(out, &pairs))
            }
            Event::UnknownType { kind } => self.put(|out| encode::unknown_type(out, kind)),
            // only a filter is sent data, and filters are refused
            Event::Data { .. } | Event::DataEnd { .. } => Ok(false),
        }
    }

    fn begin(&mut self, id: u16, role: Role, keep_conn: bool) -> io::Result<bool> {
        if role == Role::Filter {
            return self.reject(id, ProtocolStatus::UnknownRole);
        }
        self.request = Some(Request {
            id,
            role,
            params: Vec::new(),
            body: Vec::new(),
            keep_conn,
            answered: false,
        });
        Ok(false)
    }

    fn params_end(&mut self, id: u16) -> io::Result<bool> {
        let Some(request) = &self.request else {
            return Ok(false);
        };
        if Pairs::new(&request.params).any(|pair| pair.is_err()) {
            return self.refuse(id, "400 Bad Request");
        }
        match request.role {
            // has no body (section 6.3)
            Role::Authorizer => self.complete(id),
            Role::Responder | Role::Filter => Ok(false),
        }
    }

    fn body(&mut self, id: u16, bytes: &[u8]) -> io::Result<bool> {
        let Some(request) = &mut self.request else {
            return Ok(false);
        };
        if request.answered {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.discarded = self.discarded.saturating_add(length);
        } else if bytes.len() > self.limit.saturating_sub(request.body.len()) {
            return self.refuse(id, "413 Content Too Large");
        } else {
            request.body.extend_from_slice(bytes);
        }
        Ok(false)
    }

    /// All of the request is here.
    fn complete(&mut self, id: u16) -> io::Result<bool> {
        let Some(request) = self.request.take() else {
            return Ok(false);
        };
        if !request.answered {
            let mut response = Response {
                connection: &mut self.connection,
                id,
                waiting: Vec::new(),
            };
            (self.answer)(&request, &mut response)?;
            response.end()?;
        }
        Ok(self.application.finished(id))
    }

    /// Answers before the request has come to its end. A connection that is not kept is closed only then: closed with something unread,
    /// it would be reset, and the answer with it.
    fn refuse(&mut self, id: u16, status: &str) -> io::Result<bool> {
        let head = format!("Status: {status}\r\nContent-Type: text/plain\r\n\r\n");
        self.put(|out| {
            encode::stream(out, RecordType::Stdout, id, head.as_bytes());
            encode::response_end(out, id, 0);
        })?;
        match &mut self.request {
            Some(request) if !request.keep_conn => {
                request.answered = true;
                Ok(false)
            }
            _ => {
                self.request = None;
                Ok(self.application.finished(id))
            }
        }
    }

    /// END_REQUEST without a response.
    fn reject(&mut self, id: u16, status: ProtocolStatus) -> io::Result<bool> {
        let answered = match self.request.take() {
            Some(request) if request.id == id => request.answered,
            other => {
                self.request = other;
                false
            }
        };
        if !answered {
            self.put(|out| encode::end_request(out, id, 0, status))?;
        }
        Ok(self.application.finished(id))
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<bool> {
        let mut out = Vec::new();
        write(&mut out);
        self.connection.write_all(&out)?;
        Ok(false)
    }
}
