//! The FastCGI 1.0 protocol, both sides, without input or output.
//!
//! Bytes go in, events come out, and back: nothing here reads, writes, waits, or knows the time. Memory is bounded whatever a peer
//! sends, and no record on the usual path costs an allocation. There is no unsafe code, and no panic on what a peer sends: both
//! decoders are fuzzed. The specification is cited by its sections.
//!
//! | module | |
//! | --- | --- |
//! | [`application`] | the application's side of a connection: reads what a web server sends |
//! | [`web_server`] | the web server's side of a connection: reads what an application sends |
//! | [`encode`] | writing every record, for both sides (sections 4 and 5) |
//! | [`record`] | headers, and cutting a byte stream into records (section 3.3) |
//! | [`name_value`] | name-value pairs (section 3.4) |
//! | [`values`] | what an application can do: GET_VALUES and GET_VALUES_RESULT (section 4.1) |
//! | [`head`] | the head of a CGI response (RFC 3875, section 6) |
//! | [`path`] | where SCRIPT_NAME ends and PATH_INFO begins (RFC 3875, section 4.1) |
//! | [`request`] | what the method of a request promises (RFC 9110, section 9.2) |
//! | `blocking` | a program of one thread a connection, on `std::io`; with the feature `std-io` |
//!
//! # The application's side
//! [`Application`] takes what was read from a web server's connection and gives an [`Event`] for each thing that was said: a request
//! [begins](Event::Begin), pieces of its [parameters](Event::Params) and [body](Event::Stdin), the ends of both, and for a filter its
//! [file](Event::Data). Requests may be multiplexed; each is told apart by its id. The answer is written with [`encode`], in whatever order the
//! program likes, and [`Application::finished`] says whether the connection is to be closed then. A whole responder, but for its
//! connection:
//!
//! ```
//! use stockade_protocol::{
//!     application::{Application, ApplicationError, Event, Limits},
//!     encode::{self, ProtocolStatus, Role},
//!     name_value::Pairs,
//!     record::RecordType,
//! };
//!
//! struct Responder {
//!     connection: Application,
//!     params: Vec<u8>,
//!     body: Vec<u8>,
//! }
//!
//! impl Responder {
//!     fn new() -> Self {
//!         // one request at a time, with 64 KiB of parameters
//!         let limits = Limits { params: 64 * 1024, requests: 1 };
//!         Self { connection: Application::new(limits), params: Vec::new(), body: Vec::new() }
//!     }
//!
//!     /// Takes what was read; appends what is to be written. True: then close.
//!     fn take(&mut self, mut read: &[u8], out: &mut Vec<u8>) -> Result<bool, ApplicationError> {
//!         let mut close = false;
//!         while let Some(event) = self.connection.next(&mut read)? {
//!             match event {
//!                 Event::Begin { id, role: Role::Filter | Role::Authorizer, .. } => {
//!                     encode::end_request(out, id, 0, ProtocolStatus::UnknownRole);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::Begin { .. } => {
//!                     self.params.clear();
//!                     self.body.clear();
//!                 }
//!                 Event::Params { bytes, .. } => self.params.extend_from_slice(bytes),
//!                 // a program that reads bodies into memory has a limit for them, too
//!                 Event::Stdin { bytes, .. } => self.body.extend_from_slice(bytes),
//!                 Event::StdinEnd { id } => {
//!                     encode::stream(out, RecordType::Stdout, id, &self.answer());
//!                     encode::response_end(out, id, 0);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::ParamsTooLong { id } => {
//!                     encode::stream(out, RecordType::Stdout, id, b"Status: 431\n\n");
//!                     encode::response_end(out, id, 0);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::ParamsUnfinished { id } => {
//!                     encode::stream(out, RecordType::Stdout, id, b"Status: 400\n\n");
//!                     encode::response_end(out, id, 0);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::Abort { id } => {
//!                     encode::end_request(out, id, 0, ProtocolStatus::RequestComplete);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::UnknownRole { id } => {
//!                     encode::end_request(out, id, 0, ProtocolStatus::UnknownRole);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::TooManyRequests { id } => {
//!                     encode::end_request(out, id, 0, ProtocolStatus::CantMpxConn);
//!                     close |= self.connection.finished(id);
//!                 }
//!                 Event::GetValues { .. } => encode::get_values_result(out, &[("FCGI_MPXS_CONNS", "0")]),
//!                 Event::UnknownType { kind } => encode::unknown_type(out, kind),
//!                 Event::ParamsEnd { .. } | Event::Data { .. } | Event::DataEnd { .. } => {}
//!             }
//!         }
//!         Ok(close)
//!     }
//!
//!     /// The whole CGI response.
//!     fn answer(&self) -> Vec<u8> {
//!         let Ok(params) = Pairs::new(&self.params).collect::<Result<Vec<_>, _>>() else {
//!             return b"Status: 400\n\n".to_vec();
//!         };
//!         let method = params.iter().find(|(name, _)| *name == b"REQUEST_METHOD");
//!         let method = method.map_or(&b"?"[..], |(_, value)| value);
//!         [b"Content-Type: text/plain\n\n", method, b" ", &self.body].concat()
//!     }
//! }
//!
//! // what a web server would send, read in pieces that end anywhere
//! let mut request = Vec::new();
//! encode::begin_request(&mut request, 1, Role::Responder, false);
//! encode::params(&mut request, 1, b"\x0e\x04REQUEST_METHODPOST")?;
//! encode::stream(&mut request, RecordType::Stdin, 1, b"hello");
//! encode::stream_end(&mut request, RecordType::Stdin, 1);
//! let mut responder = Responder::new();
//! let mut out = Vec::new();
//! let mut close = false;
//! for read in request.chunks(7) {
//!     close = responder.take(read, &mut out)?;
//! }
//! assert!(close, "the web server did not ask for the connection to be kept");
//! assert!(out[8..].starts_with(b"Content-Type: text/plain\n\nPOST hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The web server's side
//! A request is written with [`encode::begin_request`], [`encode::params`], [`encode::stream`] and [`encode::stream_end`] (for STDIN, and DATA
//! where the role is [`Role::Filter`]), and announced to [`WebServer`], which then gives an [`Answer`] for each piece of what comes
//! back: by its place in the bytes that were read, so that a relay can pass records on where they lie. [`WebServer`] has an example.
//!
//! # Limits
//! | what | limit |
//! | --- | --- |
//! | request ids | 1 to 65,535, any order; 0 is for management records (section 3.3) |
//! | content of a record that is read | 65,535 bytes, with up to 255 of padding (section 3.3) |
//! | content of a record that is written | 16 KiB of PARAMS, or one longer pair of at most 65,528 bytes; 32 KiB of another stream; no padding |
//! | a name, a value | 2,147,483,647 bytes (section 3.4) |
//! | parameters of a request, requests at a time | [`Limits`], by the program |
//! | GET_VALUES, GET_VALUES_RESULT | 4 KiB; a longer one counts as empty |
//! | memory of a connection | a header, eight bytes of a body, 4 KiB of values, a few bytes a request; streams are never kept |
//!
//! # Errors
//! Two kinds of wrong are told apart. What concerns one request is an event that asks for an answer ([`Event::ParamsTooLong`],
//! [`Event::UnknownRole`] and others); the connection and its other requests go on. What concerns the connection is an error
//! ([`ApplicationError`], [`WebServerError`]): it must be closed, and the decoder gives the same error for ever. What is late or has no meaning is
//! ignored, and counted ([`Application::ignored`]).

#![forbid(unsafe_code)]
#![deny(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]
pub mod application;
#[cfg(feature = "std-io")]
pub mod blocking;
mod body;
pub mod encode;
pub mod head;
pub mod name_value;
pub mod path;
pub mod record;
pub mod request;
pub mod values;
pub mod web_server;

/// The example in the package's README.
#[cfg(all(doctest, feature = "std-io"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use application::{Application, ApplicationError, Event, Limits};
pub use encode::{PairTooLong, ProtocolStatus, Role};
pub use head::{Head, HeadError};
pub use name_value::{PairError, Pairs};
pub use record::{Fragment, Header, RecordError, RecordType, Span, Splitter};
pub use request::idempotent;
pub use values::Values;
pub use web_server::{Answer, WebServer, WebServerError};
