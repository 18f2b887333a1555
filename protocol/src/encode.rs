//! Writing records, for both sides. All functions append to a buffer of the caller's.
//!
//! Nothing is padded: padding is allowed, never needed (FastCGI 1.0, section 3.3), and some hosts do not reuse a
//! connection on which bytes follow END_REQUEST. Records stay well below the greatest length, because php-cgi refuses the longest ones
//! and several applications need each PARAMS record to hold whole pairs.

use std::{error::Error, fmt};

use crate::{
    name_value::{encode_pair, pair_len, split_pair},
    record::{Header, MAX_CONTENT, RecordType},
};

/// The most bytes of pairs in one PARAMS record, unless one pair alone is longer.
const PARAMS_RECORD: usize = 16 * 1024;
/// The longest pair that every application can take: php-cgi refuses records with more content.
const MAX_PAIR: usize = 65_528;
/// The most bytes in one record of another stream.
const STREAM_RECORD: usize = 32 * 1024;

/// What an application is asked to be (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Role {
    /// Answers a request, as CGI does (section 6.2).
    Responder = 1,
    /// Says whether a request is allowed (section 6.3).
    Authorizer = 2,
    /// Answers a request by way of a file that it is given (section 6.4).
    Filter = 3,
}

impl Role {
    /// The role with this number (section 5.1), if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Responder,
            2 => Self::Authorizer,
            3 => Self::Filter,
            _ => return None,
        })
    }
}

/// How a request ended for the protocol (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProtocolStatus {
    /// It was answered.
    RequestComplete = 0,
    /// Refused: the connection has its one request already.
    CantMpxConn = 1,
    /// Refused: the application has no resources for it.
    Overloaded = 2,
    /// Refused: the application does not know the role.
    UnknownRole = 3,
}

impl ProtocolStatus {
    /// The status with this number, if there is one. An unknown one has to be taken as a failure.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::RequestComplete,
            1 => Self::CantMpxConn,
            2 => Self::Overloaded,
            3 => Self::UnknownRole,
            _ => return None,
        })
    }
}

/// Parameters that cannot be sent: a pair is longer than 65,528 bytes, or not there to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairTooLong;

impl fmt::Display for PairTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name-value pair is too long for one record")
    }
}

impl Error for PairTooLong {}

/// Starts request `id` (section 5.1).
pub fn begin_request(out: &mut Vec<u8>, id: u16, role: Role, keep_conn: bool) {
    let [high, low] = (role as u16).to_be_bytes();
    record(
        out,
        RecordType::BeginRequest,
        id,
        &[high, low, u8::from(keep_conn), 0, 0, 0, 0, 0],
    );
}

/// The whole PARAMS stream of request `id` (section 5.2), with the empty record that ends it. `pairs` is a stream that
/// [`crate::name_value::Pairs`] reads without an error.
///
/// No pair is split over two records. A record has at most 16 KiB, unless one pair alone is longer.
///
/// # Errors
/// A pair is longer than 65,528 bytes; then nothing is appended.
pub fn params(out: &mut Vec<u8>, id: u16, pairs: &[u8]) -> Result<(), PairTooLong> {
    let before = out.len();
    let mut rest = pairs;
    while !rest.is_empty() {
        let Some((whole, behind)) = rest.split_at_checked(whole_pairs(rest)) else {
            break;
        };
        if whole.is_empty() {
            out.truncate(before);
            return Err(PairTooLong);
        }
        record(out, RecordType::Params, id, whole);
        rest = behind;
    }
    stream_end(out, RecordType::Params, id);
    Ok(())
}

/// How many bytes at the start of `pairs` go into the next record: as many whole pairs as fit. 0: the first does not.
fn whole_pairs(pairs: &[u8]) -> usize {
    if pairs.len() <= PARAMS_RECORD {
        return pairs.len();
    }
    let mut length: usize = 0;
    let mut rest = pairs;
    while let Some((_, _, behind)) = split_pair(rest) {
        let with = pairs.len().saturating_sub(behind.len());
        let limit = if length == 0 { MAX_PAIR } else { PARAMS_RECORD };
        if with > limit {
            break;
        }
        length = with;
        rest = behind;
    }
    length
}

/// A piece of a stream (STDIN, STDOUT, STDERR or DATA, section 5.3) in records of at most 32 KiB. No bytes: no
/// record, since an empty one would end the stream.
pub fn stream(out: &mut Vec<u8>, kind: RecordType, id: u16, bytes: &[u8]) {
    for piece in bytes.chunks(STREAM_RECORD) {
        record(out, kind, id, piece);
    }
}

/// The empty record that ends a stream (section 3.3).
pub fn stream_end(out: &mut Vec<u8>, kind: RecordType, id: u16) {
    record(out, kind, id, &[]);
}

/// Ends request `id` (section 5.5).
pub fn end_request(out: &mut Vec<u8>, id: u16, app_status: u32, status: ProtocolStatus) {
    let [a, b, c, d] = app_status.to_be_bytes();
    record(
        out,
        RecordType::EndRequest,
        id,
        &[a, b, c, d, status as u8, 0, 0, 0],
    );
}

/// Ends the response to request `id`: the end of STDOUT and END_REQUEST (sections 5.3, 5.5). They belong in one write: some hosts
/// are done at the first, others only at the second.
pub fn response_end(out: &mut Vec<u8>, id: u16, app_status: u32) {
    stream_end(out, RecordType::Stdout, id);
    end_request(out, id, app_status, ProtocolStatus::RequestComplete);
}

/// Asks for the early end of request `id` (section 5.4).
pub fn abort_request(out: &mut Vec<u8>, id: u16) {
    record(out, RecordType::AbortRequest, id, &[]);
}

/// Asks an application for the values of these names (section 4.1). Names that do not fit in one record are left out.
pub fn get_values(out: &mut Vec<u8>, names: &[&str]) {
    values(
        out,
        RecordType::GetValues,
        names.iter().map(|name| (*name, "")),
    );
}

/// Answers GET_VALUES (section 4.1). Pairs that do not fit in one record are left out.
pub fn get_values_result(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    values(out, RecordType::GetValuesResult, pairs.iter().copied());
}

/// Answers a management record of an unknown type (section 4.2).
pub fn unknown_type(out: &mut Vec<u8>, kind: u8) {
    record(
        out,
        RecordType::UnknownType,
        0,
        &[kind, 0, 0, 0, 0, 0, 0, 0],
    );
}

fn values<'a>(
    out: &mut Vec<u8>,
    kind: RecordType,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let mut body = Vec::new();
    for (name, value) in pairs {
        let with = body.len().saturating_add(pair_len(name.len(), value.len()));
        if with <= MAX_CONTENT {
            encode_pair(&mut body, name.as_bytes(), value.as_bytes());
        }
    }
    record(out, kind, 0, &body);
}

/// One record. Every caller's content fits; what would not is left off rather than put the stream out of step.
fn record(out: &mut Vec<u8>, kind: RecordType, id: u16, content: &[u8]) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&Header::new(kind, id, length).encode());
    out.extend_from_slice(content.get(..usize::from(length)).unwrap_or(content));
}

#[cfg(test)]
mod tests {
    use super::{get_values, params, response_end, stream, stream_end};
    use crate::record::{HEADER_LEN, RecordType};

    #[test]
    fn parameters_in_one_record_are_followed_by_the_empty_one() {
        let mut out = Vec::new();
        params(&mut out, 7, b"\x01\x01Ab").unwrap();
        assert_eq!(
            out,
            b"\x01\x04\x00\x07\x00\x04\x00\x00\x01\x01Ab\x01\x04\x00\x07\x00\x00\x00\x00"
        );
        out.clear();
        params(&mut out, 7, b"").unwrap();
        assert_eq!(
            out, b"\x01\x04\x00\x07\x00\x00\x00\x00",
            "only the empty one"
        );
    }

    #[test]
    fn a_long_stream_takes_several_records() {
        let mut out = Vec::new();
        stream(&mut out, RecordType::Stdin, 1, &[b'x'; 32 * 1024 + 1]);
        assert_eq!(out.len(), 32 * 1024 + 1 + 2 * HEADER_LEN);
        assert!(out.ends_with(b"\x01\x05\x00\x01\x00\x01\x00\x00x"));
        stream_end(&mut out, RecordType::Stdin, 1);
        assert!(out.ends_with(b"\x01\x05\x00\x01\x00\x00\x00\x00"));
    }

    #[test]
    fn a_response_ends_with_both_records() {
        let mut out = Vec::new();
        response_end(&mut out, 258, 1);
        assert_eq!(
            out,
            b"\x01\x06\x01\x02\x00\x00\x00\x00\x01\x03\x01\x02\x00\x08\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"
        );
    }

    #[test]
    fn values_that_do_not_fit_are_left_out() {
        let long = "N".repeat(65_000);
        let mut out = Vec::new();
        get_values(&mut out, &[&long, &long, "FCGI_MAX_REQS"]);
        assert_eq!(out.len(), HEADER_LEN + 5 + 65_000 + 15);
        assert!(out.ends_with(b"FCGI_MAX_REQS"));
    }
}
