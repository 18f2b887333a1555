//! What the processes say to each other.
//!
//! Supervisor and relay share one SOCK_SEQPACKET socket. What the relay says ([`FromRelay`]) is fixed-size and typed, for
//! root parses nothing that an unprivileged process wrote; what the supervisor says ([`ToRelay`]) is JSON with
//! descriptors attached. A relay that is replaced hands over to the next one over a socket of theirs ([`handover`]), which the supervisor
//! does not read. The shim is told one message ([`shim`]) and says nothing. A worker that cooperates has a socket of its own ([`worker`]), fixed-size both ways.
//! An operator's command asks over the admin socket ([`admin`]).

pub mod admin;
mod channel;
pub mod handover;
pub mod record;
pub mod relay;
pub mod shim;
pub mod stacks;
pub mod status;
pub mod worker;

pub use channel::{Channel, ChannelError, MAX_MESSAGE};
pub(crate) use channel::{receive_once, send_once};
pub use relay::{FromRelay, ToRelay};
