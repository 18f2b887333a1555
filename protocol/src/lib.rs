//! The FastCGI 1.0 protocol, both sides, without input or output.
//!
//! Bytes go in, events come out, and back: nothing here reads, writes, waits, or knows the time. Memory is bounded whatever a peer
//! sends, and no record on the usual path costs an allocation. The specification is cited by its sections.
//!
//! | module | |
//! | --- | --- |
//! | [`record`] | headers, and cutting a byte stream into records (section 3.3) |
//! | [`name_value`] | name-value pairs (section 3.4) |
//! | [`encode`] | writing every record (sections 4 and 5) |
//! | [`application`] | the application side of a connection: reads what a web server sends |
//! | [`web_server`] | the web server's side of a connection: reads what an application sends |
//! | [`head`] | the head of a CGI response (RFC 3875, section 6) |
//! | [`path`] | where SCRIPT_NAME ends and PATH_INFO begins (RFC 3875, section 4.1) |
//! | [`request`] | what the method of a request promises (RFC 9110, section 9.2) |
//!
//! An application's loop, without its input and output:
//!
//! ```
//! use stockade_protocol::{
//!     application::{Application, Event, Limits},
//!     encode,
//!     name_value::Pairs,
//!     record::RecordType,
//! };
//!
//! // what a web server would send
//! let mut request = Vec::new();
//! encode::begin_request(&mut request, 1, encode::Role::Responder, false);
//! encode::params(&mut request, 1, b"\x0b\x02SCRIPT_NAME/x")?;
//! encode::stream_end(&mut request, RecordType::Stdin, 1);
//!
//! let mut connection = Application::new(Limits { params: 64 * 1024, requests: 1 });
//! let mut params = Vec::new();
//! let mut answer = Vec::new();
//! let mut close = false;
//! // reads may end anywhere
//! for read in request.chunks(7) {
//!     let mut input = read;
//!     while let Some(event) = connection.next(&mut input)? {
//!         match event {
//!             Event::Params { bytes, .. } => params.extend_from_slice(bytes),
//!             Event::StdinEnd { id } => {
//!                 let pairs = Pairs::new(&params).collect::<Result<Vec<_>, _>>()?;
//!                 assert_eq!(pairs, [(&b"SCRIPT_NAME"[..], &b"/x"[..])]);
//!                 encode::stream(&mut answer, RecordType::Stdout, id, b"Content-Type: text/plain\n\nhello");
//!                 encode::response_end(&mut answer, id, 0);
//!                 close = connection.finished(id);
//!             }
//!             // an application answers these too: see `Event`
//!             _ => {}
//!         }
//!     }
//! }
//! assert!(close && connection.idle());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![deny(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]
pub mod application;
mod body;
pub mod encode;
pub mod head;
pub mod name_value;
pub mod path;
pub mod record;
pub mod request;
pub mod web_server;

pub use application::{Application, ApplicationError, Event, Limits};
pub use encode::{PairTooLong, ProtocolStatus, Role};
pub use head::{Head, HeadError};
pub use name_value::{PairError, Pairs};
pub use record::{Fragment, Header, RecordError, RecordType, Span, Splitter};
pub use request::idempotent;
pub use web_server::{Answer, WebServer, WebServerError};
