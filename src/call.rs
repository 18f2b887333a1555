//! `stockade call`: one FastCGI request, its answer printed. For looking at a pool without a host, or at any FastCGI program.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use stockade_protocol::{
    encode::{self, Role},
    head,
    name_value::encode_pair,
    record::RecordType,
    web_server::{Answer, WebServer},
};

use crate::{cli::Call, exit, failed};

/// The id of the request.
const ID: u16 = 1;
/// Bytes taken in one read.
const READ_SIZE: usize = 64 * 1024;
/// Of a response head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// Where to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `unix:PATH`, or a path.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

/// Asks, and prints what is answered.
pub(crate) fn call(asked: &Call) -> ExitCode {
    let body = match body(asked.data.as_deref()) {
        Ok(body) => body,
        Err(error) => return failed(&error, exit::FAILED),
    };
    let request = match request(asked, &body) {
        Ok(request) => request,
        Err(error) => return failed(&error, exit::USAGE),
    };
    let shown = &asked.address;
    let connection = match connect(shown, asked.timeout) {
        Ok(connection) => connection,
        Err(error) => return failed(&unreachable(shown, &error), code(&error)),
    };
    match exchange(connection, request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{shown}: {error}"), exit::FAILED),
    }
}

/// What `-d` says: the bytes themselves, those of a file, or of standard input.
fn body(data: Option<&str>) -> Result<Vec<u8>, String> {
    match data.map(|data| (data, data.strip_prefix('@'))) {
        None => Ok(Vec::new()),
        Some(("-", _)) => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| format!("could not read standard input: {error}"))?;
            Ok(bytes)
        }
        Some((_, Some(file))) => {
            fs::read(file).map_err(|error| format!("could not read the body from {file}: {error}"))
        }
        Some((text, None)) => Ok(text.as_bytes().to_vec()),
    }
}

/// The whole request as it is on the wire.
fn request(asked: &Call, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut pairs = Vec::new();
    for (name, value) in parameters(asked, body.len()) {
        encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
    }
    let mut out = Vec::new();
    encode::begin_request(&mut out, ID, Role::Responder, false);
    encode::params(&mut out, ID, &pairs)
        .map_err(|_| "a parameter is too long: shorten what -p says".to_owned())?;
    encode::stream(&mut out, RecordType::Stdin, ID, body);
    encode::stream_end(&mut out, RecordType::Stdin, ID);
    Ok(out)
}

/// CGI's parameters, as a host would send them; what `-p` says comes over them.
fn parameters(asked: &Call, length: usize) -> Vec<(String, String)> {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let has_body = asked.data.is_some();
    let method = asked
        .method
        .as_deref()
        .unwrap_or(if has_body { "POST" } else { "GET" });
    let mut all: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        (
            "SERVER_SOFTWARE",
            concat!("stockade/", env!("CARGO_PKG_VERSION")),
        ),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "0"),
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", &asked.path),
        ("SCRIPT_NAME", path),
        ("QUERY_STRING", query),
        ("HTTP_HOST", "localhost"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if has_body {
        all.push(("CONTENT_LENGTH".to_owned(), length.to_string()));
        let form = "application/x-www-form-urlencoded";
        all.push(("CONTENT_TYPE".to_owned(), form.to_owned()));
    }
    // as cgi-fcgi does: a script is called by its file
    if Path::new(path).is_file() {
        all.push(("SCRIPT_FILENAME".to_owned(), path.to_owned()));
    }
    all.retain(|(name, _)| asked.parameters.iter().all(|(given, _)| given != name));
    all.extend(asked.parameters.iter().cloned());
    all
}

/// A connection, read and written at the same time.
enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

fn connect(address: &Address, patience: Duration) -> io::Result<Connection> {
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(Connection::Unix(stream))
        }
        Address::Tcp(text) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in text.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, patience) {
                    Ok(stream) => {
                        stream.set_read_timeout(Some(patience))?;
                        stream.set_write_timeout(Some(patience))?;
                        return Ok(Connection::Tcp(stream));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

fn unreachable(address: &Address, error: &io::Error) -> String {
    let remedy = match (address, error.kind()) {
        (_, io::ErrorKind::ConnectionRefused) => {
            "nobody listens there: start it, or correct the address"
        }
        (Address::Unix(_), io::ErrorKind::NotFound) => {
            "there is no such socket: start what makes it, or correct the path"
        }
        (Address::Unix(_), io::ErrorKind::PermissionDenied) => {
            "this account may not write to the socket or enter its folder: call as root, or as one of the socket's group"
        }
        _ => "correct the address, or look whether it can be reached",
    };
    format!("could not connect to {address}: {error}: {remedy}")
}

fn code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied {
        exit::NOT_PERMITTED
    } else {
        exit::UNREACHABLE
    }
}

/// Sends the request and prints the answer as it comes.
fn exchange(connection: Connection, request: Vec<u8>) -> Result<(), String> {
    let mut writer = connection.try_clone().map_err(|error| error.to_string())?;
    // one that answers before it has read everything must not make us wait for each other
    let sender = thread::spawn(move || writer.write_all(&request));
    let printed = print(&connection);
    connection.end();
    match (printed, sender.join()) {
        (Err(error), _) => Err(error),
        (Ok(()), Ok(_) | Err(_)) => Ok(()),
    }
}

fn print(mut connection: &Connection) -> Result<(), String> {
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr().lock());
    let mut web_server = WebServer::new();
    web_server.begin(ID);
    let mut beginning = Some(Vec::new());
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let count = match connection.read(&mut buffer) {
            Ok(0) => {
                return Err("the connection was closed before the end of the answer".to_owned());
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err("no answer in time: wait longer with --timeout".to_owned());
            }
            Err(error) => {
                return Err(format!(
                    "the connection broke before the end of the answer: {error}"
                ));
            }
        };
        let (input, mut at) = (&buffer[..count], 0);
        while let Some(answer) = web_server
            .next(input, &mut at)
            .map_err(|error| strange(input, &error))?
        {
            match answer {
                Answer::Stdout(fragment) => {
                    let bytes = fragment.content.of(input);
                    if let Some(begun) = beginning.as_mut().filter(|begun| begun.len() < HEAD_LIMIT)
                    {
                        begun.extend_from_slice(bytes);
                    }
                    write(&mut out, bytes)?;
                }
                Answer::Stderr(fragment) => write(&mut errors, fragment.content.of(input))?,
                Answer::End { status: 0, .. } => {
                    out.flush()
                        .map_err(|error| format!("could not print the answer: {error}"))?;
                    return well_formed(&beginning.take().unwrap_or_default());
                }
                Answer::End { status, .. } => {
                    return Err(format!(
                        "the request was rejected with protocol status {status}"
                    ));
                }
                Answer::StdoutEnd { .. }
                | Answer::Values
                | Answer::UnknownType(_)
                | Answer::Ignored => {}
            }
        }
    }
}

fn strange(input: &[u8], error: &dyn std::fmt::Display) -> String {
    if input.starts_with(b"HTTP/") {
        "the answer is HTTP, not FastCGI: ask there with curl".to_owned()
    } else {
        format!("the answer is not FastCGI: {error}: name the address of a FastCGI program")
    }
}

fn well_formed(beginning: &[u8]) -> Result<(), String> {
    let end = head::find_end(beginning, 0)
        .ok_or("the answer has no head: no blank line ends its headers")?;
    head::parse(&beginning[..end])
        .map_err(|error| format!("the head of the answer is malformed: {error}"))?;
    Ok(())
}

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<(), String> {
    to.write_all(bytes)
        .map_err(|error| format!("could not print the answer: {error}"))
}

impl Connection {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    /// Whoever writes to it still notices.
    fn end(&self) {
        // it may have ended already
        drop(match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        });
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => (&mut &*stream).read(buffer),
            Connection::Tcp(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix("unix:")
            .or_else(|| text.contains('/').then_some(text));
        match path {
            Some("") => Err("write unix:PATH with the path of a socket".to_owned()),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None if text
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) =>
            {
                Ok(Self::Tcp(text.to_owned()))
            }
            None => Err(
                "write unix:PATH or HOST:PORT, like unix:/run/stockade/blog.sock or 127.0.0.1:9001"
                    .to_owned(),
            ),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_host_and_a_port() {
        for (text, address) in [
            ("unix:/run/a.sock", Address::Unix("/run/a.sock".into())),
            ("./a.sock", Address::Unix("./a.sock".into())),
            ("localhost:9000", Address::Tcp("localhost:9000".to_owned())),
            ("[::1]:9000", Address::Tcp("[::1]:9000".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(address));
        }
        for text in ["", "unix:", "9000", ":9000", "host:port", "a.sock"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
