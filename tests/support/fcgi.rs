//! A host by hand: one FastCGI connection, and full control over what is written on it and when.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use stockade_protocol::{
    encode::{self, Role},
    name_value::encode_pair,
    record::{HEADER_LEN, Header, RecordType},
};

/// Longer than any answer may take; a client must fail rather than hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Fcgi {
    stream: UnixStream,
}

/// What came back for one request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The response's head and body.
    pub(crate) stdout: Vec<u8>,
    /// The error stream.
    pub(crate) stderr: Vec<u8>,
    /// The END_REQUEST record came: protocolStatus.
    pub(crate) ended: Option<u8>,
}

impl Answer {
    /// The status in the head, 200 without one.
    pub(crate) fn status(&self) -> u16 {
        self.header("Status")
            .and_then(|status| status.get(..3)?.parse().ok())
            .unwrap_or(200)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.stdout[..self.body_start()]);
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    /// The body.
    pub(crate) fn body(&self) -> String {
        self.parts().1
    }

    /// How long the body is, in bytes.
    pub(crate) fn body_length(&self) -> usize {
        self.body_bytes().len()
    }

    /// The body as it came.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        &self.stdout[self.body_start()..]
    }

    /// One line of the scripted worker's facts: "pid 4711".
    pub(crate) fn fact(&self, name: &str) -> String {
        self.body()
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_owned()
    }

    /// The worker that answered.
    pub(crate) fn pid(&self) -> i32 {
        self.fact("pid").parse().expect("a pid is a number")
    }

    fn parts(&self) -> (String, String) {
        let (head, body) = self.stdout.split_at(self.body_start());
        let text = |bytes| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        (text(head), text(body))
    }

    /// Where the body begins; at the end, when the head has none.
    fn body_start(&self) -> usize {
        let lines = self.stdout.split_inclusive(|byte| *byte == b'\n');
        let mut length = 0;
        for line in lines {
            length += line.len();
            if matches!(line, b"\n" | b"\r\n") {
                break;
            }
        }
        length
    }
}

impl Fcgi {
    /// Connects to a pool.
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket)
            .unwrap_or_else(|error| panic!("connect to {}: {error}", socket.display()))
    }

    /// The same where it may be that nobody listens.
    pub(crate) fn try_connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("the timeout is not zero");
        Ok(Self { stream })
    }

    /// The bare connection.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Another handle of the connection.
    pub(crate) fn try_clone(&self) -> UnixStream {
        self.stream.try_clone().expect("there are descriptors left")
    }

    /// GET with this query string, on a connection that is kept, and its answer.
    pub(crate) fn get(&mut self, query: &str) -> Answer {
        self.ask("GET", query, &[])
    }

    /// GET with more parameters, and its answer.
    pub(crate) fn get_with(&mut self, query: &str, more: &[(&str, &str)]) -> Answer {
        let mut bytes = head_with(1, "GET", query, Some(0), more);
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        self.write(&bytes).expect("the pool takes requests");
        self.answer()
            .unwrap_or_else(|error| panic!("GET {query}: {error}"))
    }

    /// Any method, and its answer.
    pub(crate) fn ask(&mut self, method: &str, query: &str, body: &[u8]) -> Answer {
        self.begin(method, query, body);
        self.answer()
            .unwrap_or_else(|error| panic!("{method} {query}: {error}"))
    }

    /// Sends a whole request with id 1.
    pub(crate) fn begin(&mut self, method: &str, query: &str, body: &[u8]) {
        self.write(&request(1, method, query, body))
            .expect("the pool takes requests");
    }

    /// The same with more parameters, and without a body.
    pub(crate) fn begin_with(&mut self, method: &str, query: &str, more: &[(&str, &str)]) {
        let mut bytes = head_with(1, method, query, Some(0), more);
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        self.write(&bytes).expect("the pool takes requests");
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The answer to request 1; without END_REQUEST when the connection ended first.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        while let Some((header, content)) = self.read_record()? {
            match header.record_type() {
                Some(RecordType::Stdout) => answer.stdout.extend(content),
                Some(RecordType::Stderr) => answer.stderr.extend(content),
                Some(RecordType::EndRequest) => {
                    answer.ended = content.get(4).copied();
                    break;
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Waits until the relay has taken, and passed on, everything sent so far.
    pub(crate) fn wait_read(&mut self) {
        let mut question = Vec::new();
        encode::get_values(&mut question, &["FCGI_MPXS_CONNS"]);
        // the first may be taken together with what is before it, and is then answered before that is passed on
        for _ in 0..2 {
            self.write(&question).expect("the relay takes questions");
            let answer = self.read_record().expect("the relay answers questions");
            let kind = answer.and_then(|(header, _)| header.record_type());
            assert_eq!(kind, Some(RecordType::GetValuesResult));
        }
    }

    /// The next record; none at the end of the connection, however it ended.
    pub(crate) fn read_record(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        let mut header = [0; HEADER_LEN];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let header =
            Header::decode(&header).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let length = usize::from(header.content_length);
        let mut content = vec![0; length + usize::from(header.padding_length)];
        if !self.fill(&mut content)? {
            return Ok(None);
        }
        content.truncate(length);
        Ok(Some((header, content)))
    }

    /// Reads until the other side closes; what it said before.
    pub(crate) fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(bytes),
            other => other.map(|_| bytes),
        }
    }

    /// False: the connection ended.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.stream.read_exact(bytes) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }
}

/// The bytes of a whole request, the connection to be kept.
pub(crate) fn request(id: u16, method: &str, query: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(id, method, query, Some(body.len()));
    encode::stream(&mut bytes, RecordType::Stdin, id, body);
    encode::stream_end(&mut bytes, RecordType::Stdin, id);
    bytes
}

/// The same up to the body.
pub(crate) fn head(id: u16, method: &str, query: &str, length: Option<usize>) -> Vec<u8> {
    head_with(id, method, query, length, &[])
}

/// The same with more parameters.
fn head_with(
    id: u16,
    method: &str,
    query: &str,
    length: Option<usize>,
    more: &[(&str, &str)],
) -> Vec<u8> {
    let length = length.map(|length| length.to_string());
    let mut pairs = Vec::new();
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("REQUEST_METHOD", method),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/"),
        ("REQUEST_URI", "/"),
        ("QUERY_STRING", query),
        ("CONTENT_LENGTH", length.as_deref().unwrap_or_default()),
    ]
    .iter()
    .chain(more)
    {
        encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
    }
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, id, Role::Responder, true);
    encode::params(&mut bytes, id, &pairs).expect("short pairs fit into records");
    bytes
}
