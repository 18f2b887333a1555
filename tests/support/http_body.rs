//! How long an HTTP response's body is, and reading it without holding it.

use std::io::{self, BufRead};

/// How the end of a body is known.
pub(crate) enum Length {
    Exactly(u64),
    Chunked,
    UntilClosed,
}

impl Length {
    /// Whether the connection can be used again behind the body.
    pub(crate) fn delimited(&self) -> bool {
        !matches!(self, Self::UntilClosed)
    }
}

/// The length that the head announces.
pub(crate) fn length(
    method: &str,
    status: u16,
    headers: &[(String, String)],
) -> io::Result<Length> {
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(Length::Exactly(0));
    }
    if header("transfer-encoding") == Some("chunked") {
        return Ok(Length::Chunked);
    }
    match header("content-length") {
        None => Ok(Length::UntilClosed),
        Some(length) => length
            .parse()
            .map(Length::Exactly)
            .map_err(|_| io::Error::other(format!("not a length: {length:?}"))),
    }
}

/// Gives the body to `sink`, piece by piece. False: the connection ended before the body did.
pub(crate) fn read(
    from: &mut impl BufRead,
    length: &Length,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    match length {
        Length::Exactly(length) => read_exactly(from, *length, sink),
        Length::Chunked => read_chunks(from, sink),
        Length::UntilClosed => {
            while read_piece(from, u64::MAX, sink)? > 0 {}
            Ok(true)
        }
    }
}

/// A line without its end.
pub(crate) fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(io::Error::other)
}

fn read_exactly(
    from: &mut impl BufRead,
    length: u64,
    sink: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    let mut left = length;
    while left > 0 {
        match read_piece(from, left, sink)? {
            0 => return Ok(false),
            taken => left -= taken,
        }
    }
    Ok(true)
}

fn read_chunks(from: &mut impl BufRead, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    loop {
        let Ok(size) = line(from) else {
            return Ok(false);
        };
        let size = u64::from_str_radix(&size, 16)
            .map_err(|_| io::Error::other(format!("not a chunk's size: {size:?}")))?;
        if !read_exactly(from, size, sink)? || line(from).is_err() {
            return Ok(false);
        }
        if size == 0 {
            return Ok(true);
        }
    }
}

/// What is there, at most `limit` bytes. A reset counts as an end: the server cut the response.
fn read_piece(from: &mut impl BufRead, limit: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let bytes = match from.fill_buf() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
        other => other?,
    };
    let taken = bytes
        .len()
        .min(usize::try_from(limit).unwrap_or(usize::MAX));
    sink(&bytes[..taken]);
    from.consume(taken);
    Ok(taken as u64)
}
