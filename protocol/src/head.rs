//! The head of a CGI response (RFC 3875, section 6): the header fields before the body, up to and with a blank line.
//!
//! Lines end with LF or CRLF. What hosts do not read alike is refused, so that nobody behind us is misled: folded
//! lines, control characters, names that are no tokens, contradicting `Status` or `Content-Length` fields, and whole HTTP responses
//! ("NPH", section 5), which do not exist in FastCGI.

use std::{error::Error, fmt};

use memchr::{memchr, memchr_iter, memchr3};

/// The offset just behind the blank line that ends the head; None when it has not come yet.
///
/// `scanned_before` says how many bytes of the same head an earlier call has seen in vain (0: none): of these, only the last three are
/// looked at again.
///
/// ```
/// use stockade_protocol::head::find_end;
///
/// let response = b"Content-Type: text/plain\r\n\r\nhello";
/// assert_eq!(find_end(&response[..26], 0), None);
/// assert_eq!(find_end(response, 26), Some(28));
/// ```
pub fn find_end(bytes: &[u8], scanned_before: usize) -> Option<usize> {
    // a blank line behind another is LF LF or LF CR LF
    let start = scanned_before.saturating_sub(3);
    let rest = bytes.get(start..)?;
    let end = if start == 0 { blank(rest) } else { None };
    end.or_else(|| {
        memchr_iter(b'\n', rest).find_map(|at| {
            let behind = at.saturating_add(1);
            blank(rest.get(behind..)?).map(|length| behind.saturating_add(length))
        })
    })
    .map(|end| start.saturating_add(end))
}

/// The length of the blank line that `bytes` begin with.
fn blank(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status: that of the `Status` field; without one, 302 if there is a `Location`, else 200 (RFC 3875, section 6.3.3).
    pub status: u16,
    /// There is a `Status` field.
    pub has_status: bool,
    /// There is a `Location` which is not empty (section 6.3.2). One that begins with `/` is for the host to follow.
    pub has_location: bool,
    /// There is a `Content-Type` (section 6.3.1).
    pub has_content_type: bool,
    /// The value of `Content-Length`.
    pub content_length: Option<u64>,
}

/// Why a head is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// The blank line is missing.
    Unfinished,
    /// There is no field at all.
    Empty,
    /// It is a whole HTTP response, with a status line.
    NonParsed,
    /// A line begins with a space: it would continue the one before.
    Folded,
    /// A line has no colon.
    NoColon,
    /// A name is empty or has a character that is not allowed in one.
    Name,
    /// A value has NUL, or CR inside a line.
    Value,
    /// `Status` is not a number of three digits, 100 or more, and perhaps a text; or there are two different ones.
    Status,
    /// `Content-Length` is not a number, or there are two different ones.
    ContentLength,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unfinished => "the response head has no blank line at its end",
            Self::Empty => "the response head has no header field",
            Self::NonParsed => "the response begins with an HTTP status line",
            Self::Folded => "the response head has a folded line",
            Self::NoColon => "the response head has a line without a colon",
            Self::Name => "the response head has a field with a bad name",
            Self::Value => "the response head has a field with a control character in its value",
            Self::Status => "the response head has a bad Status field",
            Self::ContentLength => "the response head has a bad Content-Length field",
        })
    }
}

impl Error for HeadError {}

/// Reads a head, complete with its blank line ([`find_end`]); what follows that is not looked at.
///
/// # Errors
/// The head is malformed: see [`HeadError`].
pub fn parse(head: &[u8]) -> Result<Head, HeadError> {
    let mut status = None;
    let mut content_length = None;
    let mut has_location = false;
    let mut has_content_type = false;
    let mut first = true;
    let mut lines = Lines { rest: head };
    loop {
        let line = lines.next().ok_or(HeadError::Unfinished)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = field(line, first)?;
        first = false;
        if name.eq_ignore_ascii_case(b"status") {
            agree(&mut status, status_code(value)).ok_or(HeadError::Status)?;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            agree(&mut content_length, number(value)).ok_or(HeadError::ContentLength)?;
        } else if name.eq_ignore_ascii_case(b"location") {
            has_location |= !value.is_empty();
        } else if name.eq_ignore_ascii_case(b"content-type") {
            has_content_type = true;
        }
    }
    if first {
        return Err(HeadError::Empty);
    }
    Ok(Head {
        status: status.unwrap_or(if has_location { 302 } else { 200 }),
        has_status: status.is_some(),
        has_location,
        has_content_type,
        content_length,
    })
}

/// The fields of a head that [`parse`] accepts: name and value, without white space around them. Names are as they were
/// written: compare them without regard to case.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Lines { rest: head }
        .take_while(|line| !line.is_empty())
        .filter_map(split_field)
}

/// The name of the variable that an authorizer hands on in a field called `field` (FastCGI 1.0, section 6.3): `Variable-AUTH_METHOD` sets
/// AUTH_METHOD for the request that it allowed. None: it is an ordinary field.
///
/// ```
/// use stockade_protocol::head::variable;
///
/// assert_eq!(variable(b"Variable-AUTH_METHOD"), Some(&b"AUTH_METHOD"[..]));
/// assert_eq!(variable(b"Content-Type"), None);
/// ```
pub fn variable(field: &[u8]) -> Option<&[u8]> {
    let (prefix, name) = field.split_at_checked(b"Variable-".len())?;
    (prefix.eq_ignore_ascii_case(b"Variable-") && !name.is_empty()).then_some(name)
}

/// The lines of a head, without their ends. What does not end with LF is not a line.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (line, rest) = self.rest.split_at_checked(memchr(b'\n', self.rest)?)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// The name and the value in a line, if they are good.
fn field(line: &[u8], first: bool) -> Result<(&[u8], &[u8]), HeadError> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(HeadError::Folded);
    }
    let status_line = first
        && line
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"));
    if status_line {
        return Err(HeadError::NonParsed);
    }
    let (name, value) = split_field(line).ok_or(HeadError::NoColon)?;
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(HeadError::Name);
    }
    if memchr3(0, b'\r', b'\n', value).is_some() {
        return Err(HeadError::Value);
    }
    Ok((name, value))
}

fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    let mut value = value.get(1..)?;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Some((name, value))
}

/// A character that names may have (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn status_code(value: &[u8]) -> Option<u16> {
    let (code, text) = value.split_at_checked(3)?;
    if !matches!(text, [] | [b' ' | b'\t', ..]) {
        return None;
    }
    let code = u16::try_from(number(code)?).ok()?;
    (code >= 100).then_some(code)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Puts a field's value where none was, or the same; None when it is malformed or another.
fn agree<T: Copy + PartialEq>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    let value = value?;
    (*place.get_or_insert(value) == value).then_some(())
}

#[cfg(test)]
mod tests {
    use super::{Head, HeadError, fields, find_end, parse};

    #[test]
    fn a_blank_line_ends_the_head() {
        for (bytes, end) in [
            (&b"A: b\n\nx"[..], Some(6)),
            (b"A: b\r\n\r\nx", Some(8)),
            (b"A: b\n\r\n\n", Some(7)),
            (b"A: b\r\n\n", Some(7)),
            (b"\n", Some(1)),
            (b"\r\n", Some(2)),
            (b"", None),
            (b"A: b\r\n\r", None),
            (b"A: b\r\r\n", None),
        ] {
            for scanned in 0..end.unwrap_or(bytes.len() + 1) {
                assert_eq!(
                    find_end(bytes, scanned),
                    end,
                    "{} from {scanned}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn all_fields_are_read() {
        let head = b"Status: 418 I'm a teapot\r\nCONTENT-TYPE: text/html\r\nLocation:\r\nContent-length: 12 \r\n\r\nA: b\n";
        let expected = Head {
            status: 418,
            has_status: true,
            has_location: false,
            has_content_type: true,
            content_length: Some(12),
        };
        assert_eq!(parse(head), Ok(expected));
        let pairs: Vec<_> = fields(head).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"Status", b"418 I'm a teapot"),
            (b"CONTENT-TYPE", b"text/html"),
            (b"Location", b""),
            (b"Content-length", b"12"),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn bad_lines_are_refused() {
        for (head, error) in [
            (&b"A: b\n"[..], HeadError::Unfinished),
            (b"A: b", HeadError::Unfinished),
            (b"\n", HeadError::Empty),
            (b"nonsense\n\n", HeadError::NoColon),
            (b": b\n\n", HeadError::Name),
            (b"A b: c\n\n", HeadError::Name),
            (b"A : c\n\n", HeadError::Name),
            (b"A\0: c\n\n", HeadError::Name),
            (b"A: b\rC: d\n\n", HeadError::Value),
            (b"A: b\0\n\n", HeadError::Value),
            (b" A: b\n\n", HeadError::Folded),
            (b"A: b\n\tc\n\n", HeadError::Folded),
            (b"HTTP/1.0 200 OK\nA: b\n\n", HeadError::NonParsed),
            (b"Status: 200\nStatus: 404\n\n", HeadError::Status),
            (b"Content-Length: -1\n\n", HeadError::ContentLength),
            (b"Content-Length:\n\n", HeadError::ContentLength),
            (b"Content-Length: 1, 2\n\n", HeadError::ContentLength),
            (
                b"Content-Length: 1\nContent-Length: 2\n\n",
                HeadError::ContentLength,
            ),
            (
                b"Content-Length: 99999999999999999999\n\n",
                HeadError::ContentLength,
            ),
        ] {
            assert_eq!(parse(head), Err(error), "{}", head.escape_ascii());
        }
        assert!(
            parse(b"Status: 200\nStatus: 200 OK\nContent-Length: 1\nContent-Length: 1\n\n").is_ok()
        );
    }
}
