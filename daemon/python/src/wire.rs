//! FastCGI's application side of one connection, without its socket: bytes in, a request; response bytes in, records out.
//!
//! A connection carries one request at a time ([`Request`]); its responses collect in an outbox of whole records. Everything the peer sends
//! is taken apart at once, so nothing is left over but what the parser holds.

use std::io;

use stockade_protocol::{
    application::{Application, Event, Limits},
    encode::{self, ProtocolStatus, Role},
    record::RecordType,
    values::Values,
};

use crate::body::Body;

/// The parameters of one request, in bytes.
const PARAMETERS: usize = 1024 * 1024;
/// How much a connection that is being closed may still send.
const LINGERING: usize = 64 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The request, when there is one.
    pub(crate) request: Request,
    /// Whole records that wait to be written.
    pub(crate) outbox: Vec<u8>,
    application: Application,
    /// The answer to GET_VALUES: requests at a time in this process.
    slots: u32,
    /// What becomes of the connection when the request is answered.
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

impl Wire {
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            request: Request::default(),
            outbox: Vec::new(),
            application: Application::new(Limits {
                params: PARAMETERS,
                requests: 1,
            }),
            slots,
            fate: Fate::Keep,
        }
    }

    /// Takes apart what was read.
    ///
    /// # Errors
    /// `InvalidData` when the peer does not speak FastCGI.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self {
            application,
            outbox,
            request,
            slots,
            fate,
        } = self;
        let mut input = bytes;
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

    /// As [`take`](Self::take), of a connection that lingers: what arrives is dropped. False: that was enough.
    pub(crate) fn drop(&mut self, count: usize) -> bool {
        if let Fate::Linger(left) = &mut self.fate {
            *left = left.saturating_sub(count);
            return *left > 0;
        }
        true
    }

    /// Adds response bytes to the outbox.
    pub(crate) fn stdout(&mut self, bytes: &[u8]) {
        encode::stream(&mut self.outbox, RecordType::Stdout, self.request.id, bytes);
    }

    /// Ends the response completely. Does nothing when there is no request.
    pub(crate) fn conclude(&mut self) {
        if self.request.stage == Stage::Absent {
            return;
        }
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

    /// The response cannot be ended: the connection is closed in the middle of it, behind what waits to be written, so that the peer
    /// sees it was cut.
    pub(crate) fn cut(&mut self) {
        self.request.stage = Stage::Absent;
        self.fate = Fate::Close;
    }

    /// What becomes of the connection.
    pub(crate) fn fate(&self) -> Fate {
        self.fate
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
    pub(crate) fn arrived(&self) -> bool {
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
