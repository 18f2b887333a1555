//! Records, the unit of FastCGI on the wire (FastCGI 1.0, section 3.3), and the splitter that finds them in a byte stream.
//!
//! A record is a header of eight bytes, up to 65,535 bytes of content and up to 255 bytes of padding. The splitter cuts
//! what was read into [`Fragment`]s by offset and copies nothing but a header that a read has cut in two. It knows
//! nothing of requests: which record is legal when is the business of [`crate::application`] and [`crate::web_server`].

mod splitter;

use std::{error::Error, fmt};

pub use splitter::{Fragment, Span, Splitter};

/// The protocol version of every record (section 8, `FCGI_VERSION_1`).
pub const VERSION: u8 = 1;
/// The length of a record's header (section 8, `FCGI_HEADER_LEN`).
pub const HEADER_LEN: usize = 8;
/// The greatest length of a record's content (section 3.3, `contentLength`).
pub const MAX_CONTENT: usize = 65_535;

/// What a record is for (section 8, the values for the `type` component of the header).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordType {
    /// Starts a request (section 5.1).
    BeginRequest = 1,
    /// Asks for the early end of a request (section 5.4).
    AbortRequest,
    /// Ends a request (section 5.5).
    EndRequest,
    /// A piece of the stream of parameters (section 5.2).
    Params,
    /// A piece of the request's body (section 5.3).
    Stdin,
    /// A piece of the response (section 5.3).
    Stdout,
    /// A piece of the error output (section 5.3).
    Stderr,
    /// A piece of the file that a filter works on (section 5.3).
    Data,
    /// Asks an application what it can do (section 4.1).
    GetValues,
    /// The answer to [`RecordType::GetValues`] (section 4.1).
    GetValuesResult,
    /// The answer to a management record of a type that is not known (section 4.2).
    UnknownType,
}

impl TryFrom<u8> for RecordType {
    type Error = UnknownRecordType;

    fn try_from(kind: u8) -> Result<Self, UnknownRecordType> {
        Ok(match kind {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            _ => return Err(UnknownRecordType(kind)),
        })
    }
}

impl From<RecordType> for u8 {
    fn from(kind: RecordType) -> Self {
        kind as Self
    }
}

/// A `type` that FastCGI 1.0 does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRecordType(
    /// The type.
    pub u8,
);

impl fmt::Display for UnknownRecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no record has the type {}", self.0)
    }
}

impl Error for UnknownRecordType {}

/// A record's header (section 3.3).
///
/// The reserved byte is ignored when read and 0 when written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type as it is on the wire: one that is not known is no error (section 4.2).
    pub kind: u8,
    /// The request; 0 for management records (section 3.3).
    pub request_id: u16,
    /// How many bytes of content follow.
    pub content_length: u16,
    /// How many bytes of padding follow the content.
    pub padding_length: u8,
}

impl Header {
    /// The header of a record without padding.
    pub fn new(kind: RecordType, request_id: u16, content_length: u16) -> Self {
        Self {
            kind: kind.into(),
            request_id,
            content_length,
            padding_length: 0,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The first byte is not the version of FastCGI 1.0: what follows cannot be understood, not even skipped.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, RecordError> {
        let [
            version,
            kind,
            id_high,
            id_low,
            length_high,
            length_low,
            padding_length,
            _reserved,
        ] = *bytes;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        Ok(Self {
            kind,
            request_id: u16::from_be_bytes([id_high, id_low]),
            content_length: u16::from_be_bytes([length_high, length_low]),
            padding_length,
        })
    }

    /// Writes the header.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [id_high, id_low] = self.request_id.to_be_bytes();
        let [length_high, length_low] = self.content_length.to_be_bytes();
        [
            VERSION,
            self.kind,
            id_high,
            id_low,
            length_high,
            length_low,
            self.padding_length,
            0,
        ]
    }

    /// The type, if FastCGI 1.0 defines it.
    pub fn record_type(self) -> Option<RecordType> {
        RecordType::try_from(self.kind).ok()
    }
}

/// Writes `header` over the first eight bytes of `buffer`; false, and nothing written, when it is shorter.
///
/// With the offset in [`Fragment::header_at`] a record is renumbered, shortened or freed of its padding where it lies:
///
/// ```
/// use stockade_protocol::record::{Header, Splitter, patch};
///
/// let mut read = *b"\x01\x06\x00\x01\x00\x02\x01\x00ok\x00";
/// let fragment = Splitter::new().next(&read, 0)?.expect("a record is there");
/// let header = Header { request_id: 513, padding_length: 0, ..fragment.header };
/// let record = fragment.header_at.and_then(|at| read.get_mut(at..fragment.content.end));
/// assert!(record.is_some_and(|record| patch(record, header)));
/// assert_eq!(&read[..10], b"\x01\x06\x02\x01\x00\x02\x00\x00ok");
/// # Ok::<(), stockade_protocol::record::RecordError>(())
/// ```
#[must_use]
pub fn patch(buffer: &mut [u8], header: Header) -> bool {
    match buffer.first_chunk_mut::<HEADER_LEN>() {
        Some(place) => {
            *place = header.encode();
            true
        }
        None => false,
    }
}

/// Why a byte stream is not FastCGI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// A record begins with another byte than 1: another version, TLS, HTTP, or a stream out of step.
    Version(u8),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a record begins with version {version}, not 1"),
        }
    }
}

impl Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::{HEADER_LEN, Header, RecordError, RecordType, UnknownRecordType, patch};

    #[test]
    fn every_type_has_its_number() {
        for number in 0..=u8::MAX {
            match RecordType::try_from(number) {
                Ok(kind) => assert_eq!(u8::from(kind), number),
                Err(error) => {
                    assert_eq!(error, UnknownRecordType(number));
                    assert!(!(1..=11).contains(&number));
                }
            }
        }
        assert_eq!(u8::from(RecordType::UnknownType), 11);
    }

    #[test]
    fn a_header_is_eight_bytes_in_network_order() {
        let bytes = *b"\x01\x05\x02\x03\x04\x05\x06\x07";
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(
            (
                header.request_id,
                header.content_length,
                header.padding_length
            ),
            (0x0203, 0x0405, 6)
        );
        assert_eq!(header.record_type(), Some(RecordType::Stdin));
        assert_eq!(header.encode(), *b"\x01\x05\x02\x03\x04\x05\x06\x00");
        assert_eq!(
            Header::decode(b"\x00\x05\x02\x03\x04\x05\x06\x07"),
            Err(RecordError::Version(0))
        );
        assert_eq!(Header { kind: 12, ..header }.record_type(), None);
    }

    #[test]
    fn patch_writes_all_or_nothing() {
        let header = Header::new(RecordType::Stdout, 1, 2);
        let mut buffer = [0xff; HEADER_LEN + 1];
        assert!(patch(&mut buffer, header));
        assert_eq!(buffer, *b"\x01\x06\x00\x01\x00\x02\x00\x00\xff");
        let mut short = [0xff; HEADER_LEN - 1];
        assert!(!patch(&mut short, header));
        assert_eq!(short, [0xff; HEADER_LEN - 1]);
    }
}
