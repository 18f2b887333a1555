//! `access-log-format`: the letters of Apache's LogFormat and of php-fpm's access.format, read once.
//!
//! Where the two differ (`%q`, `%r`, `%l`, `%T`, `%p`), it is Apache's meaning. What a letter is replaced with is the relay's to know
//! (`relay::access_log`).

use std::fmt;

use serde::{Deserialize, Serialize};
use time::format_description::{OwnedFormatItem, parse_strftime_owned};

/// Close to Apache's "combined"; behind it the microseconds that a request took and those of them that it waited for a slot, the cause
/// of an answer of ours, and the request's name.
pub const DEFAULT_FORMAT: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %D %{queue}t %{cause}n %{request-id}n"#;
/// It goes to the relay in the pool's message. In bytes.
const LONGEST: usize = 4096;
/// `%t`.
const COMMON_TIME: &str = "[%d/%b/%Y:%H:%M:%S %z]";

/// What a line consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format {
    text: String,
    items: Vec<Item>,
    parameters: Vec<String>,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// As it is.
    Text(String),
    /// The first of these parameters that is there, by their places in [`Format::parameters`].
    Parameter([usize; 2]),
    /// A header of the response.
    ResponseHeader(String),
    /// Method, address and protocol as in a request's first line: those parameters, and the path for want of an address.
    RequestLine([usize; 4]),
    /// The path without the query: of the address, or for want of it the script's name.
    Path([usize; 2]),
    /// The query with its `?`, or nothing.
    Query(usize),
    /// The status of the answer.
    Status,
    /// Bytes of the response's body; `dash`: none of them is a dash.
    Body {
        dash: bool,
    },
    /// Bytes of parameters and body.
    Received,
    /// Bytes of the response with its head.
    Sent,
    /// Both.
    Transferred,
    /// What the request took, in whole units of so many microseconds.
    Took(u64),
    /// The same, with three decimal places.
    TookExactly(u64),
    /// What of it the request waited for a slot, in microseconds.
    Waited,
    /// The time of the request, or of the end of its answer.
    Time {
        end: bool,
        shape: TimeShape,
    },
    /// The worker's number, or its process.
    Worker,
    Pid,
    /// Why the answer is ours, or was cut.
    Cause,
    /// The request's name.
    RequestId,
    /// The pool's name.
    Pool,
    /// What became of the host's connection.
    Connection,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeShape {
    /// As strftime does.
    Written(OwnedFormatItem),
    /// Since 1970, in whole units of so many microseconds.
    Since(u64),
    /// What is left of a second, in the same, with so many digits.
    Fraction(u64, usize),
}

/// Why a format is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The byte where what is wrong begins, and its length.
    pub(super) at: usize,
    pub(super) length: usize,
    /// The rest of a sentence that names it.
    why: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl TryFrom<String> for Format {
    type Error = FormatError;

    fn try_from(text: String) -> Result<Self, FormatError> {
        let mut reader = Reader {
            text: &text,
            at: 0,
            items: Vec::new(),
            parameters: Vec::new(),
        };
        reader.read()?;
        let (items, parameters) = (reader.items, reader.parameters);
        Ok(Self {
            text,
            items,
            parameters,
        })
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.text
    }
}

impl Default for Format {
    fn default() -> Self {
        Self::try_from(DEFAULT_FORMAT.to_owned()).expect("a test reads it")
    }
}

impl Format {
    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The pieces of a line, in order.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The parameters that a line needs.
    pub(crate) fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// A line needs the head of the response.
    pub(crate) fn wants_head(&self) -> bool {
        let is_header = |item: &Item| matches!(item, Item::ResponseHeader(_));
        self.items.iter().any(is_header)
    }
}

/// Reads a format from its beginning.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    items: Vec<Item>,
    parameters: Vec<String>,
}

/// What follows a percent sign.
#[derive(Clone, Copy)]
struct Directive<'a> {
    start: usize,
    end: usize,
    argument: Option<&'a str>,
    letter: char,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), FormatError> {
        if self.text.is_empty() {
            return Err(self.wrong(
                0,
                0,
                "is empty: write letters like \"%h %t\", or remove the key",
            ));
        }
        if self.text.len() > LONGEST {
            let why = format!("has {} bytes: use at most {LONGEST}", self.text.len());
            return Err(self.wrong(0, 0, why));
        }
        if let Some(at) = self.text.find(|c: char| c.is_control() && c != '\t') {
            let why = "has a control character, but a line of the log is one line: remove it";
            return Err(self.wrong(at, 1, why));
        }
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let literal = rest.find('%').unwrap_or(rest.len());
            self.literal(&rest[..literal]);
            self.at += literal;
            if self.at < self.text.len() {
                let directive = self.directive()?;
                self.at = directive.end;
                self.take(directive)?;
            }
        }
        Ok(())
    }

    /// From the percent sign to the letter.
    fn directive(&self) -> Result<Directive<'a>, FormatError> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        // of the first and the last of several requests of one inside the server: here they are the same
        let inner = rest.trim_start_matches(['<', '>']);
        let mut at = start + 1 + (rest.len() - inner.len());
        let mut argument = None;
        if let Some(after) = inner.strip_prefix('{') {
            let Some(length) = after.find('}') else {
                return Err(self.wrong(
                    start,
                    self.text.len() - start,
                    "has a { that is not closed",
                ));
            };
            argument = Some(&after[..length]);
            at += length + 2;
        }
        match self.text[at..].chars().next() {
            Some(letter) if letter == '!' || letter.is_ascii_digit() => {
                let why = "is a condition, which is not supported: remove it";
                Err(self.told(start, at + 1, why))
            }
            Some(letter) => Ok(Directive {
                start,
                end: at + letter.len_utf8(),
                argument,
                letter,
            }),
            None => Err(self.told(start, at, "has no letter: write %% for a percent sign")),
        }
    }

    fn take(&mut self, directive: Directive<'_>) -> Result<(), FormatError> {
        let item = match (directive.letter, directive.argument) {
            ('%', None) => {
                self.literal("%");
                return Ok(());
            }
            (letter, Some(argument)) => self.with_argument(letter, argument, directive)?,
            (letter, None) => self.plain(letter),
        };
        let Some(item) = item else {
            let why = match (directive.letter, directive.argument) {
                ('e' | 'i' | 'o', None) => "needs a name, like %{User-Agent}i",
                ('Q', None) => "is not known: %q has the ? before a query",
                ('%', Some(_)) => "is not known: write %% for a percent sign",
                (_, None) => "is not known: remove it, or write %% for a percent sign",
                (_, Some(_)) => "is not known: remove it",
            };
            return Err(self.told(directive.start, directive.end, why));
        };
        self.items.push(item);
        Ok(())
    }

    fn plain(&mut self, letter: char) -> Option<Item> {
        Some(match letter {
            'a' | 'R' => self.parameter("REMOTE_ADDR"),
            'A' => self.parameter("SERVER_ADDR"),
            'b' => Item::Body { dash: true },
            'B' => Item::Body { dash: false },
            'd' => Item::TookExactly(1_000_000),
            'D' => Item::Took(1),
            'f' => self.parameter("SCRIPT_FILENAME"),
            'h' => Item::Parameter([self.place("REMOTE_HOST"), self.place("REMOTE_ADDR")]),
            'H' => self.parameter("SERVER_PROTOCOL"),
            'I' => Item::Received,
            'l' => self.parameter("REMOTE_IDENT"),
            'm' => self.parameter("REQUEST_METHOD"),
            'n' => Item::Pool,
            'O' => Item::Sent,
            'p' => self.parameter("SERVER_PORT"),
            'P' => Item::Pid,
            'q' => Item::Query(self.place("QUERY_STRING")),
            'r' => Item::RequestLine(
                [
                    "REQUEST_METHOD",
                    "REQUEST_URI",
                    "SCRIPT_NAME",
                    "SERVER_PROTOCOL",
                ]
                .map(|name| self.place(name)),
            ),
            's' => Item::Status,
            'S' => Item::Transferred,
            't' => Item::Time {
                end: false,
                shape: TimeShape::Written(strftime(COMMON_TIME)?),
            },
            'T' => Item::Took(1_000_000),
            'u' => self.parameter("REMOTE_USER"),
            'U' => Item::Path([self.place("REQUEST_URI"), self.place("SCRIPT_NAME")]),
            'v' | 'V' => self.parameter("SERVER_NAME"),
            'X' => Item::Connection,
            _ => return None,
        })
    }

    fn with_argument(
        &mut self,
        letter: char,
        argument: &str,
        directive: Directive<'_>,
    ) -> Result<Option<Item>, FormatError> {
        if matches!(letter, 'e' | 'i' | 'o') && !named_well(argument) {
            let why = "needs the name of a parameter or header, like %{User-Agent}i";
            return Err(self.told(directive.start, directive.end, why));
        }
        Ok(Some(match (letter, argument) {
            ('a', "c") => self.parameter("REMOTE_ADDR"),
            ('d', unit) => match micros(unit) {
                Some(micros) => Item::TookExactly(micros),
                None => return Ok(None),
            },
            ('e', name) => self.parameter(name),
            ('i', name) => self.parameter(&header_parameter(name)),
            ('o', name) => Item::ResponseHeader(name.to_owned()),
            ('n', "worker") => Item::Worker,
            ('n', "cause") => Item::Cause,
            ('n', "request-id") => Item::RequestId,
            ('p', "canonical" | "local") => self.parameter("SERVER_PORT"),
            ('p', "remote") => self.parameter("REMOTE_PORT"),
            ('P', "pid") => Item::Pid,
            ('t', "queue") => Item::Waited,
            ('t', text) => match time(text) {
                Some(item) => item,
                None => {
                    let why = "is no time: write it as for strftime, like %{%Y-%m-%d %H:%M:%S}t, or sec, msec, usec, queue";
                    return Err(self.told(directive.start, directive.end, why));
                }
            },
            ('T', unit) => match micros(unit) {
                Some(micros) => Item::Took(micros),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn literal(&mut self, text: &str) {
        match self.items.last_mut() {
            _ if text.is_empty() => {}
            Some(Item::Text(before)) => before.push_str(text),
            _ => self.items.push(Item::Text(text.to_owned())),
        }
    }

    fn parameter(&mut self, name: &str) -> Item {
        let place = self.place(name);
        Item::Parameter([place, place])
    }

    fn place(&mut self, name: &str) -> usize {
        let known = self.parameters.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.parameters.push(name.to_owned());
            self.parameters.len() - 1
        })
    }

    /// The sentence names the directive and its place.
    fn told(&self, start: usize, end: usize, why: &str) -> FormatError {
        let what = &self.text[start..end];
        let place = self.text[..start].chars().count() + 1;
        let why = format!("has {what} (character {place}), which {why}");
        self.wrong(start, end - start, why)
    }

    #[expect(clippy::unused_self, reason = "reads like `told`")]
    fn wrong(&self, at: usize, length: usize, why: impl Into<String>) -> FormatError {
        let why = why.into();
        FormatError { at, length, why }
    }
}

/// Text that can be the name of a header or parameter.
fn named_well(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(fits)
}

/// The parameter that has a request's header (RFC 3875, section 4.1.18).
fn header_parameter(header: &str) -> String {
    let name = header.to_ascii_uppercase().replace('-', "_");
    match name.as_str() {
        "CONTENT_TYPE" | "CONTENT_LENGTH" => name,
        _ => format!("HTTP_{name}"),
    }
}

/// The microseconds in a unit: Apache's names and php-fpm's.
fn micros(unit: &str) -> Option<u64> {
    match unit {
        "s" | "sec" | "seconds" => Some(1_000_000),
        "ms" | "msec" | "milli" | "milliseconds" => Some(1_000),
        "us" | "usec" | "micro" | "microseconds" => Some(1),
        _ => None,
    }
}

/// The argument of `%{...}t`.
fn time(text: &str) -> Option<Item> {
    let (end, text) = match text.strip_prefix("end:") {
        Some(text) => (true, text),
        None => (false, text.strip_prefix("begin:").unwrap_or(text)),
    };
    let shape = match text {
        "" => TimeShape::Written(strftime(COMMON_TIME)?),
        "sec" => TimeShape::Since(1_000_000),
        "msec" => TimeShape::Since(1_000),
        "usec" => TimeShape::Since(1),
        "msec_frac" => TimeShape::Fraction(1_000, 3),
        "usec_frac" => TimeShape::Fraction(1, 6),
        _ => TimeShape::Written(strftime(text)?),
    };
    Some(Item::Time { end, shape })
}

fn strftime(text: &str) -> Option<OwnedFormatItem> {
    // a word without a percent sign is a slip, not a time; %n would end the line
    let sound = text.contains('%') && !text.contains("%n");
    parse_strftime_owned(text).ok().filter(|_| sound)
}

#[cfg(test)]
mod tests;
