//! FastCGI records on a blocking stream: the little that one request at a time needs.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};

/// The numbers of the specification.
pub(crate) struct Kind;

impl Kind {
    pub(crate) const BEGIN_REQUEST: u8 = 1;
    pub(crate) const ABORT_REQUEST: u8 = 2;
    pub(crate) const END_REQUEST: u8 = 3;
    pub(crate) const PARAMS: u8 = 4;
    pub(crate) const STDIN: u8 = 5;
    pub(crate) const STDOUT: u8 = 6;
    pub(crate) const STDERR: u8 = 7;
    pub(crate) const DATA: u8 = 8;
    pub(crate) const GET_VALUES: u8 = 9;
    pub(crate) const GET_VALUES_RESULT: u8 = 10;
}

const KEEP_CONN: u8 = 1;
const FILTER: u8 = 3;
const UNKNOWN_ROLE: u8 = 3;

/// One record.
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) content: Vec<u8>,
}

/// A request whose parameters are complete; its body is still on the connection.
pub(crate) struct Request {
    pub(crate) id: u16,
    pub(crate) keep: bool,
    /// Its number.
    role: u8,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Request {
    /// Reads the parameters behind `begin`.
    pub(crate) fn begin(connection: &mut UnixStream, begin: &Record) -> io::Result<Self> {
        let keep = begin
            .content
            .get(2)
            .is_some_and(|flags| flags & KEEP_CONN != 0);
        let mut encoded = Vec::new();
        loop {
            let record = read(connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if record.kind != Kind::PARAMS || record.id != begin.id {
                return Err(io::Error::other("a record amid the parameters"));
            }
            if record.content.is_empty() {
                break;
            }
            encoded.extend(record.content);
        }
        Ok(Self {
            id: begin.id,
            keep,
            role: begin.content.get(1).copied().unwrap_or_default(),
            parameters: pairs(&encoded)?,
        })
    }

    /// What the program is asked to be.
    pub(crate) fn role(&self) -> &'static str {
        match self.role {
            1 => "responder",
            2 => "authorizer",
            FILTER => "filter",
            _ => "unknown",
        }
    }

    /// The next piece of the body; none at its end.
    pub(crate) fn read_body(&self, connection: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
        self.read_stream(connection, Kind::STDIN)
    }

    /// The next piece of the file behind the body, which only a filter gets; none at its end.
    pub(crate) fn read_file(&self, connection: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
        if self.role == FILTER {
            self.read_stream(connection, Kind::DATA)
        } else {
            Ok(None)
        }
    }

    fn read_stream(&self, connection: &mut UnixStream, kind: u8) -> io::Result<Option<Vec<u8>>> {
        let record = read(connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if record.kind != kind || record.id != self.id {
            return Err(io::Error::other("a record amid a stream"));
        }
        Ok((!record.content.is_empty()).then_some(record.content))
    }

    /// Ends the request: the program is not what it is asked to be.
    pub(crate) fn refuse_role(&self, connection: &mut UnixStream) -> io::Result<()> {
        self.end_with(connection, UNKNOWN_ROLE)
    }

    /// Ends the request, with this protocolStatus.
    pub(crate) fn end_with(&self, connection: &mut UnixStream, status: u8) -> io::Result<()> {
        write(
            connection,
            Kind::END_REQUEST,
            self.id,
            &[0, 0, 0, 0, status, 0, 0, 0],
        )
    }
}

/// The next record; none when the peer has closed between two.
pub(crate) fn read(connection: &mut UnixStream) -> io::Result<Option<Record>> {
    let mut header = [0; 8];
    if connection.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    connection.read_exact(&mut header[1..])?;
    let [version, kind, id1, id0, length1, length0, padding, _] = header;
    if version != 1 {
        return Err(io::Error::other("not FastCGI version 1"));
    }
    let length = usize::from(u16::from_be_bytes([length1, length0]));
    let mut content = vec![0; length + usize::from(padding)];
    connection.read_exact(&mut content)?;
    content.truncate(length);
    Ok(Some(Record {
        kind,
        id: u16::from_be_bytes([id1, id0]),
        content,
    }))
}

/// Whether something was sent that has not been read.
pub(crate) fn pending(connection: &UnixStream) -> io::Result<bool> {
    let mut byte = [0];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(connection.as_raw_fd(), &mut byte, flags) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes one record; `content` fits into it.
pub(crate) fn write(
    connection: &mut UnixStream,
    kind: u8,
    id: u16,
    content: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(content.len()).map_err(io::Error::other)?;
    let [id1, id0] = id.to_be_bytes();
    let [length1, length0] = length.to_be_bytes();
    let mut record = vec![1, kind, id1, id0, length1, length0, 0, 0];
    record.extend_from_slice(content);
    connection.write_all(&record)
}

/// What a single-threaded program is able to do.
pub(crate) fn answer_values(connection: &mut UnixStream, asked: &[u8]) -> io::Result<()> {
    let mut answer = Vec::new();
    for name in pairs(asked)?.keys() {
        let value = match name.as_str() {
            "FCGI_MAX_CONNS" | "FCGI_MAX_REQS" => "1",
            "FCGI_MPXS_CONNS" => "0",
            _ => continue,
        };
        answer.extend([
            u8::try_from(name.len()).map_err(io::Error::other)?,
            u8::try_from(value.len()).map_err(io::Error::other)?,
        ]);
        answer.extend_from_slice(name.as_bytes());
        answer.extend_from_slice(value.as_bytes());
    }
    write(connection, Kind::GET_VALUES_RESULT, 0, &answer)
}

fn pairs(mut encoded: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    while !encoded.is_empty() {
        let name = length(&mut encoded)?;
        let value = length(&mut encoded)?;
        pairs.insert(text(&mut encoded, name)?, text(&mut encoded, value)?);
    }
    Ok(pairs)
}

fn length(from: &mut &[u8]) -> io::Result<usize> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes[3..])?;
    if bytes[3] & 0x80 != 0 {
        bytes[0] = bytes[3] & 0x7f;
        from.read_exact(&mut bytes[1..])?;
    }
    usize::try_from(u32::from_be_bytes(bytes)).map_err(io::Error::other)
}

fn text(from: &mut &[u8], length: usize) -> io::Result<String> {
    let (taken, rest) = from
        .split_at_checked(length)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    *from = rest;
    Ok(String::from_utf8_lossy(taken).into_owned())
}
