//! The messages between the supervisor and a worker that cooperates (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! Each is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64). The socket is
//! SOCK_SEQPACKET: one message a packet.

use stockade_policy::{WorkerId, supervision::Cause};

/// The version of this vocabulary.
pub const VERSION: u16 = 1;

/// The size of every message, in bytes.
pub const MESSAGE_LEN: usize = 16;

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// The application is loaded: it may be given requests. Kind 1.
    Ready,
    /// A template has forked it; the kernel says who it is (SCM_CREDENTIALS). It waits for [`ToWorker::Begin`]. Kind 2.
    Forked,
}

/// What the supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// No more requests will come; the stop-signal follows when the last one is answered. Kind 1; the value is the cause.
    Retire(Cause),
    /// Break off every request whose connection has been ended from our side: its time is over. Kind 2.
    Interrupt,
    /// To a template: fork this worker. Attached: its control socket, standard output, standard error, its listening socket and, where it
    /// has one, its heartbeat. Kind 3.
    Fork(WorkerId),
    /// To a worker that was forked: the supervisor has taken it over. Kind 5.
    Begin,
    /// To a worker without requests: become a template, and say `ready` again when that is done. Kind 6.
    Template,
    /// Write what every thread is doing to a pipe, as text with an empty line between threads, and close it. Descriptor: the pipe. Kind 4.
    Stacks,
}

fn encode(kind: u16, value: u64) -> [u8; MESSAGE_LEN] {
    let mut bytes = [0; MESSAGE_LEN];
    bytes[..2].copy_from_slice(&VERSION.to_ne_bytes());
    bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[8..].copy_from_slice(&value.to_ne_bytes());
    bytes
}

fn kind(bytes: &[u8]) -> Option<u16> {
    let bytes: &[u8; MESSAGE_LEN] = bytes.try_into().ok()?;
    (u16::from_ne_bytes([bytes[0], bytes[1]]) == VERSION)
        .then(|| u16::from_ne_bytes([bytes[2], bytes[3]]))
}

impl FromWorker {
    /// The message's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_LEN] {
        let kind = match self {
            Self::Ready => 1,
            Self::Forked => 2,
        };
        encode(kind, 0)
    }

    /// The message in `bytes`; none when size, version or kind is not ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match kind(bytes)? {
            1 => Some(Self::Ready),
            2 => Some(Self::Forked),
            _ => None,
        }
    }
}

impl ToWorker {
    /// The message's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_LEN] {
        match self {
            Self::Retire(cause) => encode(1, number(cause)),
            Self::Interrupt => encode(2, 0),
            Self::Fork(worker) => encode(3, worker.0),
            Self::Stacks => encode(4, 0),
            Self::Begin => encode(5, 0),
            Self::Template => encode(6, 0),
        }
    }
}

/// A cause as workers are told it (manual, "Files a worker sees"); 0: none that anybody could be told.
const fn number(cause: Cause) -> u64 {
    match cause {
        Cause::Requested => 1,
        Cause::ScaledDown => 2,
        Cause::MaximumRequests => 3,
        Cause::RestartInterval => 4,
        Cause::MaximumMemory => 5,
        Cause::CpuTimeLimit => 6,
        Cause::Inactivity => 7,
        Cause::RequestTimeout => 8,
        Cause::Deadlock => 9,
        Cause::StartupTimeout => 10,
        Cause::ProtocolError => 11,
        Cause::Refork => 12,
        Cause::ExitCode(_)
        | Cause::Signal(_)
        | Cause::OutOfMemory
        | Cause::NotExecutable
        | Cause::Unknown => 0,
    }
}
