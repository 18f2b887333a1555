//! A small HTTP/1.1 client: keeps its connection and its cookies, streams large bodies, and says whether a response was complete.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use super::{http_body, pattern::Maker};

/// Longer than any test's server may take; a client must fail rather than hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a server listens.
#[derive(Clone)]
pub(crate) enum Address {
    /// On a unix socket.
    Unix(PathBuf),
    /// On TCP.
    Tcp(SocketAddr),
}

/// What to ask.
pub(crate) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Body<'a>,
}

enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    Pattern(u64),
    Chunks(u64),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub(crate) status: u16,
    /// The body, unless it was streamed into a sink.
    pub(crate) body: Vec<u8>,
    /// The body came to the end that the server had announced. A cut response must not.
    pub(crate) complete: bool,
    headers: Vec<(String, String)>,
}

/// The client.
pub(crate) struct Client {
    address: Address,
    kept: Option<Connection>,
    cookies: BTreeMap<String, String>,
}

type Connection = BufReader<Box<dyn Stream>>;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl<'a> Request<'a> {
    /// Any method.
    pub(crate) fn new(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            path,
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body.
    pub(crate) fn body(mut self, bytes: &'a [u8]) -> Self {
        self.body = Body::Bytes(bytes);
        self
    }

    /// With `length` bytes of the pattern as body, which are never held.
    pub(crate) fn pattern(mut self, length: u64) -> Self {
        self.body = Body::Pattern(length);
        self
    }

    /// The same in chunks: its length is not told before its end.
    pub(crate) fn chunks(mut self, length: u64) -> Self {
        self.body = Body::Chunks(length);
        self
    }
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Connects with the first request.
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            kept: None,
            cookies: BTreeMap::new(),
        }
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(Request::new("GET", path))
    }

    /// POST.
    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> Response {
        self.send(
            Request::new("POST", path)
                .header("Content-Type", content_type)
                .body(body),
        )
    }

    /// A cookie that the server has set.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Any request; the test fails when not even a response head comes.
    pub(crate) fn send(&mut self, request: Request<'_>) -> Response {
        let what = format!("{} {}", request.method, request.path);
        self.try_send(request)
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The same; an error when no response head comes.
    pub(crate) fn try_send(&mut self, request: Request<'_>) -> io::Result<Response> {
        let mut body = Vec::new();
        let mut response = self.exchange(&request, &mut |bytes| body.extend_from_slice(bytes))?;
        response.body = body;
        Ok(response)
    }

    /// The same, the response's body given to `sink` as it comes; the test fails when not even a response head comes.
    pub(crate) fn stream(
        &mut self,
        request: &Request<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Response {
        self.exchange(request, sink)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    fn exchange(
        &mut self,
        request: &Request<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Response> {
        let mut connection = match self.kept.take() {
            Some(kept) => kept,
            None => BufReader::new(self.address.connect()?),
        };
        let sent = self.write(connection.get_mut(), request);
        // a server may answer before it has taken the whole body; its answer counts
        let (status, headers) = match (read_head(&mut connection), sent) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        let length = http_body::length(request.method, status, &headers)?;
        let complete = http_body::read(&mut connection, &length, sink)?;
        self.remember_cookies(&headers);
        let response = Response {
            status,
            body: Vec::new(),
            complete,
            headers,
        };
        if complete && response.header("connection") != Some("close") && length.delimited() {
            self.kept = Some(connection);
        }
        Ok(response)
    }

    fn write(&self, to: &mut dyn Write, request: &Request<'_>) -> io::Result<()> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\n",
            request.method, request.path
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            head.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        match request.body {
            Body::None if matches!(request.method, "GET" | "HEAD") => {}
            Body::None => head.push_str("Content-Length: 0\r\n"),
            Body::Bytes(bytes) => head.push_str(&format!("Content-Length: {}\r\n", bytes.len())),
            Body::Pattern(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Body::Chunks(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        to.write_all(head.as_bytes())?;
        match request.body {
            Body::None => {}
            Body::Bytes(bytes) => to.write_all(bytes)?,
            Body::Pattern(length) => {
                let mut maker = Maker::new(length);
                while let Some(piece) = maker.next_piece() {
                    to.write_all(piece)?;
                }
            }
            Body::Chunks(length) => {
                let mut maker = Maker::new(length);
                while let Some(piece) = maker.next_piece() {
                    write!(to, "{:x}\r\n", piece.len())?;
                    to.write_all(piece)?;
                    to.write_all(b"\r\n")?;
                }
                to.write_all(b"0\r\n\r\n")?;
            }
        }
        to.flush()
    }

    fn remember_cookies(&mut self, headers: &[(String, String)]) {
        for (name, value) in headers {
            if !name.eq_ignore_ascii_case("set-cookie") {
                continue;
            }
            let pair = value.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies
                    .insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
}

impl Address {
    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                // a request goes out in several pieces, and none is to wait for the other side's word about the one before
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }
}

type Head = (u16, Vec<(String, String)>);

fn read_head(connection: &mut Connection) -> io::Result<Head> {
    let status = http_body::line(connection)?;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::other(format!("not a status line: {status:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = http_body::line(connection)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}
