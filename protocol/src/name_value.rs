//! Name-value pairs (FastCGI 1.0, section 3.4): the content of PARAMS streams, GET_VALUES and GET_VALUES_RESULT.
//!
//! A length below 128 takes one byte, any other four, of which the highest bit is set and does not count. A reader
//! accepts four bytes for a small length; the writer never uses them.
//!
//! What an environment variable cannot carry is refused: a NUL byte anywhere and `=` in a name. An empty name, an empty
//! value and a name that comes twice are passed on as they are.

use std::{error::Error, fmt};

/// The greatest length of a name or a value (section 3.4).
pub const MAX_LEN: usize = 0x7fff_ffff;
/// The greatest length that takes one byte.
const MAX_SHORT: usize = 0x7f;
/// In the first byte of a length: three more bytes follow.
const LONG: u8 = 0x80;

/// The pairs of a complete stream, in order. After an error nothing comes any more.
///
/// ```
/// use stockade_protocol::name_value::{Pairs, encode_pair};
///
/// let mut stream = Vec::new();
/// encode_pair(&mut stream, b"REQUEST_METHOD", b"GET");
/// encode_pair(&mut stream, b"QUERY_STRING", b"");
/// let pairs = Pairs::new(&stream).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(pairs, [(&b"REQUEST_METHOD"[..], &b"GET"[..]), (b"QUERY_STRING", b"")]);
/// # Ok::<(), stockade_protocol::name_value::PairError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Reads the pairs of `stream`, which is complete: the content of all records of a PARAMS stream, or of one
    /// GET_VALUES or GET_VALUES_RESULT.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream }
    }

    /// The part of the stream that was not read yet: nothing after the last pair, or after an error.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), PairError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((name, value, rest)) = split_pair(self.rest) else {
            self.rest = &[];
            return Some(Err(PairError::Truncated));
        };
        if memchr::memchr2(0, b'=', name).is_some() || memchr::memchr(0, value).is_some() {
            self.rest = &[];
            return Some(Err(PairError::Forbidden));
        }
        self.rest = rest;
        Some(Ok((name, value)))
    }
}

impl std::iter::FusedIterator for Pairs<'_> {}

/// Why a stream of pairs is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairError {
    /// A pair is declared to be longer than what is left of the stream.
    Truncated,
    /// A name contains NUL or `=`, or a value NUL.
    Forbidden,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a name-value pair is longer than its stream",
            Self::Forbidden => "a name contains NUL or '=', or a value NUL",
        })
    }
}

impl Error for PairError {}

/// Appends one pair. One with a name or a value longer than [`MAX_LEN`] has no encoding and is left out.
pub fn encode_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if let (Some(name_len), Some(value_len)) = (encodable(name.len()), encodable(value.len())) {
        encode_len(out, name_len);
        encode_len(out, value_len);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

/// How many bytes [`encode_pair`] appends for a name and a value of these lengths.
pub fn pair_len(name_len: usize, value_len: usize) -> usize {
    if encodable(name_len).is_none() || encodable(value_len).is_none() {
        return 0;
    }
    len_len(name_len)
        .saturating_add(len_len(value_len))
        .saturating_add(name_len)
        .saturating_add(value_len)
}

/// The name and the value of the first pair, and what follows; None when the pair is not there to its end.
pub(crate) fn split_pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_len, rest) = split_len(bytes)?;
    let (value_len, rest) = split_len(rest)?;
    // one at a time, so that no sum of the two can overflow
    let (name, rest) = rest.split_at_checked(name_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((name, value, rest))
}

fn split_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first & LONG == 0 {
        return Some((usize::from(first), rest));
    }
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*four) & !(u32::from(LONG) << 24);
    // where an address has fewer bits, nothing that long can be in memory
    Some((usize::try_from(length).ok()?, rest))
}

fn encodable(length: usize) -> Option<u32> {
    if length > MAX_LEN {
        return None;
    }
    u32::try_from(length).ok()
}

fn len_len(length: usize) -> usize {
    if length <= MAX_SHORT { 1 } else { 4 }
}

fn encode_len(out: &mut Vec<u8>, length: u32) {
    let [a, b, c, d] = length.to_be_bytes();
    if len_len(usize::try_from(length).unwrap_or(usize::MAX)) == 1 {
        out.push(d);
    } else {
        out.extend_from_slice(&[a | LONG, b, c, d]);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, Pairs, encode_pair, pair_len};

    #[test]
    fn a_length_takes_one_byte_below_128_and_four_from_there() {
        for (len, bytes) in [
            (0, &b"\x00"[..]),
            (127, b"\x7f"),
            (128, b"\x80\x00\x00\x80"),
            (65_536, b"\x80\x01\x00\x00"),
        ] {
            let value = vec![b'v'; len];
            let mut out = Vec::new();
            encode_pair(&mut out, b"N", &value);
            assert_eq!(out, [b"\x01", bytes, b"N", &value].concat());
            assert_eq!(pair_len(1, len), out.len());
            assert_eq!(pair_len(len, 1), out.len());
            let expected = (&b"N"[..], &value[..]);
            assert_eq!(Pairs::new(&out).collect::<Vec<_>>(), [Ok(expected)]);
        }
    }

    #[test]
    fn what_has_no_encoding_has_no_length() {
        assert_eq!(pair_len(MAX_LEN, 0), MAX_LEN + 5);
        assert_eq!(pair_len(MAX_LEN + 1, 0), 0);
        assert_eq!(pair_len(0, usize::MAX), 0);
    }
}
