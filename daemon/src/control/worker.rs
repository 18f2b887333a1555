//! The messages between the supervisor and a worker that cooperates (manual, section 6: `STOCKADE_CONTROL_FD`).
//!
//! Each is 16 bytes in the machine's byte order: version (u16), kind (u16), four reserved, a value (u64). The socket is
//! SOCK_SEQPACKET: one message a packet.

/// The version of this vocabulary.
pub const VERSION: u16 = 1;

/// The size of every message, in bytes.
pub const MESSAGE_LEN: usize = 16;

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// The application is loaded: it may be given requests. Kind 1.
    Ready,
}

/// What the supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// No more requests will come; the stop-signal follows when the last one is answered. Kind 1.
    Retire,
    /// Break off every request whose connection has been ended from our side: its time is over. Kind 2.
    Interrupt,
    /// Write what every thread is doing to a pipe, as text with an empty line between threads, and close it. Descriptor: the pipe. Kind 4.
    Stacks,
}

fn encode(kind: u16) -> [u8; MESSAGE_LEN] {
    let mut bytes = [0; MESSAGE_LEN];
    bytes[..2].copy_from_slice(&VERSION.to_ne_bytes());
    bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
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
        encode(match self {
            Self::Ready => 1,
        })
    }

    /// The message in `bytes`; none when size, version or kind is not ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (kind(bytes)? == 1).then_some(Self::Ready)
    }
}

impl ToWorker {
    /// The message's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_LEN] {
        encode(match self {
            Self::Retire => 1,
            Self::Interrupt => 2,
            Self::Stacks => 4,
        })
    }
}
