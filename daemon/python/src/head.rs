//! The response head: what `start_response` was given, checked and in CGI form.

use std::fmt;

/// A checked head.
#[derive(Debug)]
pub(crate) struct Head {
    /// The lines, without the empty one that ends them.
    lines: Vec<u8>,
    /// `Content-Length`, when the application gave it.
    length: Option<u64>,
    status: u16,
}

/// Why a head cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Not "200 OK" or the like.
    Status(String),
    /// Not a token, or none at all.
    Name(String),
    /// It belongs to the connection, or to CGI.
    Reserved(String),
    /// It has line ends, other control characters, or characters beyond Latin-1.
    Value { name: String, value: String },
    /// Not a number, or two that differ.
    Length(String),
}

impl Head {
    pub(crate) fn new(status: &str) -> Result<Self, HeadError> {
        let refused = || HeadError::Status(status.to_owned());
        let code = status
            .get(..3)
            .filter(|code| code.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|code| code.parse().ok())
            // one below 200 is no answer yet, and no other would follow
            .filter(|code| (200..1000).contains(code))
            .ok_or_else(refused)?;
        let reason = &status[3..];
        if !(reason.is_empty() || reason.starts_with(' ')) {
            return Err(refused());
        }
        let mut lines = Vec::with_capacity(256);
        lines.extend_from_slice(b"Status: ");
        append(&mut lines, status).ok_or_else(refused)?;
        lines.extend_from_slice(b"\r\n");
        Ok(Self {
            lines,
            length: None,
            status: code,
        })
    }

    /// The head of the adapter's own answer when the application failed.
    pub(crate) fn internal_server_error(kind: &str) -> Self {
        Self {
            lines: format!("Status: 500 Internal Server Error\r\nContent-Type: {kind}\r\n")
                .into_bytes(),
            length: None,
            status: 500,
        }
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, name: &str, value: &str) -> Result<(), HeadError> {
        self.name(name, value)?;
        append(&mut self.lines, value).ok_or_else(|| wrong_value(name, value))?;
        self.lines.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Adds a field whose value is bytes.
    pub(crate) fn field_of_bytes(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        let name = String::from_utf8_lossy(name);
        let text = String::from_utf8_lossy(value);
        self.name(&name, &text)?;
        if value.iter().copied().any(is_control) {
            return Err(wrong_value(&name, &text));
        }
        self.lines.extend_from_slice(value);
        self.lines.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The name of a field, and what its value says to us.
    fn name(&mut self, name: &str, value: &str) -> Result<(), HeadError> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeadError::Name(name.to_owned()));
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            return Err(HeadError::Reserved(name.to_owned()));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let length =
                number(value).filter(|&length| *self.length.get_or_insert(length) == length);
            length.ok_or_else(|| HeadError::Length(value.to_owned()))?;
        }
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        Ok(())
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Sets `Content-Length` when the application did not, and the status allows it.
    pub(crate) fn complete_length(&mut self, length: u64) {
        if self.length.is_none() && !self.bodiless() {
            self.length = Some(length);
            let line = format!("Content-Length: {length}\r\n");
            self.lines.extend_from_slice(line.as_bytes());
        }
    }

    /// A response with this status has no body.
    pub(crate) fn bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }

    /// The bytes, without the empty line.
    pub(crate) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => {
                write!(
                    f,
                    "the status must look like \"200 OK\", its number from 200 on, not {status:?}"
                )
            }
            Self::Name(name) => write!(f, "{name:?} cannot be the name of a header"),
            Self::Reserved(name) => write!(
                f,
                "the header {name} is not the application's: it is the web server's"
            ),
            Self::Value { name, value } => write!(
                f,
                "the value of the header {name} has control characters, or some beyond Latin-1: {value:?}"
            ),
            Self::Length(value) => {
                write!(f, "Content-Length must be one number, not {value:?}")
            }
        }
    }
}

fn wrong_value(name: &str, value: &str) -> HeadError {
    HeadError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// Appends as Latin-1; none: it has characters that no line of a head may have.
fn append(lines: &mut Vec<u8>, text: &str) -> Option<()> {
    if text.is_ascii() {
        if text.bytes().any(is_control) {
            return None;
        }
        lines.extend_from_slice(text.as_bytes());
        return Some(());
    }
    for character in text.chars() {
        let byte = u8::try_from(character)
            .ok()
            .filter(|&byte| !is_control(byte))?;
        lines.push(byte);
    }
    Some(())
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

fn number(value: &str) -> Option<u64> {
    let value = value.trim_matches([' ', '\t']);
    let digits = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Hop-by-hop (RFC 2616 section 13.5.1, as PEP 3333 demands), and the one that CGI takes for itself.
const RESERVED: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "status",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
];
