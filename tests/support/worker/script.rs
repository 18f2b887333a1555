//! What a request's query string can ask for, in the order in which it is done:
//!
//! | word | effect |
//! | --- | --- |
//! | `refuse-role` | ends the request with UNKNOWN_ROLE |
//! | `unread` | the body is not read |
//! | `stdout=TEXT` `stderr=TEXT` | a line on the worker's own standard output or error |
//! | `report=TEXT` | FCGI_STDERR |
//! | `reports=BYTES` | so much of FCGI_STDERR, in lines of 64 bytes |
//! | `leak=MIB` | takes memory and keeps it |
//! | `wait-midway=PATH` | does the same in the middle of a `big` body |
//! | `wait=PATH` | does not go on while there is no such file |
//! | `sleep=MS` | takes its time, deaf to everything |
//! | `spin=MS` | uses so much processor time |
//! | `crash=PLACE` | is killed (SIGKILL, no core file) at that place |
//! | `close=PLACE` | closes the connection there, and takes the next one |
//! | `once=PATH` | crashes and closes only while there is no such file, and makes it |
//! | `exit=STATUS` | exits before the head |
//! | `reject=STATUS` | only END_REQUEST, with this protocolStatus |
//! | `garbage` | writes what is not FastCGI, and goes on to the next connection |
//! | `together` | the head and a short body in one record |
//! | `no-head` | a body without a head |
//! | `head=BYTES` | a head that is so long |
//! | `strangers` | records for ids that are not its own, before the head and behind the end |
//! | `late-output` | STDOUT behind the end of STDOUT |
//! | `end-twice` | END_REQUEST a second time, and STDOUT behind it |
//! | `status=LINE` | the Status header; default none, so 200 |
//! | `cause` | a Stockade-Cause header of its own |
//! | `length=BYTES` | a Content-Length header |
//! | `variable=NAME` | a header Variable-NAME with the role that is asked for |
//! | `write-slowly=MS` | waits that long before each record of the body |
//! | `big=BYTES` | the body is so much of the pattern |
//! | `echo` | the body is the request's |
//! | `show=NAME` | the body is this parameter |
//! | `environment` | the body is the process's environment |
//! | `stall=PATH` | behind the head, does not go on while there is no such file |
//! | `close-early` | closes the connection before the end of the response |
//! | `bare-end` | ends the request without the end of the response |
//! | `no-end` | the end of STDOUT, none of the request, and the connection is closed |
//! | `exit-after=N` | exits with status 0 when N requests have been answered, unannounced |
//! | `linger=PATH` | before that, waits until there is such a file |
//!
//! Places are `before-head`, `mid-head`, `after-head`, `mid-body`, `before-end` (of the request, behind that of STDOUT), `when-idle`.
//!
//! Whatever comes on the connection behind the request and before its end is reported on standard error.
//!
//! Without a word about the body it is a few facts, one a line: `pid`, `requests` and `connections` so far (of a connection that takes
//! many: of itself, and its number), `generation`, `length` and `wrong` of the request's body against the pattern; for a filter, `file` and
//! `file-wrong` of its file.

use std::{
    env,
    fs::File,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process,
    time::Duration,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    signal::{Signal, raise},
    time::TimeValLike as _,
};

use crate::{
    Life,
    pattern::{Checker, Maker},
    records::{self, Kind, Request},
    tell,
};

const RECORD: usize = 32 * 1024;

/// What comes after a request.
pub(crate) enum Outcome {
    /// The next one.
    Next,
    /// The end, with this status.
    Exit(u8),
}

/// Answers one request.
pub(crate) fn run(
    connection: &mut UnixStream,
    request: Request,
    life: &mut Life,
) -> io::Result<Outcome> {
    let script = Script::of(&request);
    if script.has("refuse-role") {
        request.refuse_role(connection)?;
        return Ok(Outcome::Next);
    }
    let (checker, body) = script.read_body(connection, &request)?;
    let file = script.read_file(connection, &request)?;
    if let Some(status) = script.before_head(connection, &request, life)? {
        return Ok(Outcome::Exit(status));
    }
    if let Some(status) = script.small("reject") {
        request.end_with(connection, status)?;
        return Ok(Outcome::Next);
    }
    let mut answer = Answer {
        connection,
        id: request.id,
        slowly: script.milliseconds("write-slowly"),
    };
    if script.has("together") {
        let text = script.text(&request, life, [checker, file]);
        answer.write((script.head(&request) + &text).as_bytes())?;
    } else {
        script.answer(&mut answer, &request, life, [checker, file], &body)?;
    }
    if script.has("close-early") {
        return Err(io::Error::other("asked to close early"));
    }
    script.end(connection, &request)?;
    script.may_fail_at("when-idle")?;
    match script.number("exit-after") {
        Some(limit) if life.requests >= limit => {
            script.wait_for_file("linger");
            Ok(Outcome::Exit(0))
        }
        _ => Ok(Outcome::Next),
    }
}

/// The words of one query string.
struct Script {
    words: Vec<(String, String)>,
}

impl Script {
    fn of(request: &Request) -> Self {
        let query = request.parameters.get("QUERY_STRING");
        let words = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .map(|word| {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                (name.to_owned(), value.replace('+', " "))
            })
            .collect();
        Self { words }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.words
            .iter()
            .find(|(word, _)| word == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    fn small(&self, name: &str) -> Option<u8> {
        self.number(name)?.try_into().ok()
    }

    fn milliseconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    fn wait_for_file(&self, word: &str) {
        if let Some(path) = self.get(word) {
            while !Path::new(path).exists() {
                sleep(Duration::from_millis(5));
            }
        }
    }

    /// Comes to its end here, if that was asked for.
    fn may_fail_at(&self, place: &str) -> io::Result<()> {
        let (crashes, closes) = (self.get("crash"), self.get("close"));
        if crashes != Some(place) && closes != Some(place) {
            return Ok(());
        }
        if let Some(path) = self.get("once")
            && File::create_new(path).is_err()
        {
            return Ok(());
        }
        if crashes == Some(place) {
            raise(Signal::SIGKILL).expect("a process may signal itself");
        }
        Err(io::Error::other("asked to close the connection"))
    }

    /// What the body was, and the body itself when it is to be echoed.
    fn read_body(
        &self,
        connection: &mut UnixStream,
        request: &Request,
    ) -> io::Result<(Checker, Vec<u8>)> {
        let (mut checker, mut kept) = (Checker::default(), Vec::new());
        if self.has("unread") {
            return Ok((checker, kept));
        }
        while let Some(piece) = request.read_body(connection)? {
            checker.take(&piece);
            if self.has("echo") {
                kept.extend(piece);
            }
        }
        Ok((checker, kept))
    }

    /// What a filter's file was.
    fn read_file(&self, connection: &mut UnixStream, request: &Request) -> io::Result<Checker> {
        let mut checker = Checker::default();
        if !self.has("unread") {
            while let Some(piece) = request.read_file(connection)? {
                checker.take(&piece);
            }
        }
        Ok(checker)
    }

    /// Everything up to the head; a status to exit with, if that was asked for.
    fn before_head(
        &self,
        connection: &mut UnixStream,
        request: &Request,
        life: &mut Life,
    ) -> io::Result<Option<u8>> {
        if let Some(text) = self.get("stdout") {
            writeln!(io::stdout(), "{text}")?;
        }
        if let Some(text) = self.get("stderr") {
            tell(text);
        }
        if let Some(text) = self.get("report") {
            records::write(connection, Kind::STDERR, request.id, text.as_bytes())?;
        }
        for _ in 0..self.number("reports").unwrap_or_default() / 64 {
            let line = format!("{:>63}\n", "report");
            records::write(connection, Kind::STDERR, request.id, line.as_bytes())?;
        }
        if self.has("strangers") {
            strangers(connection, request.id)?;
        }
        if let Some(mebibytes) = self.number("leak") {
            for _ in 0..mebibytes {
                // written to, or the kernel would not give it
                life.leaked.push(vec![1; 1024 * 1024]);
            }
        }
        self.wait_for_file("wait");
        if let Some(duration) = self.milliseconds("sleep") {
            sleep(duration);
        }
        if let Some(duration) = self.milliseconds("spin") {
            spin(duration);
        }
        self.may_fail_at("before-head")?;
        if self.has("garbage") {
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            return Err(io::Error::other("asked to break the protocol"));
        }
        Ok(self.small("exit"))
    }

    /// The response, less its end.
    fn answer(
        &self,
        answer: &mut Answer<'_>,
        request: &Request,
        life: &Life,
        checkers: [Checker; 2],
        body: &[u8],
    ) -> io::Result<()> {
        if !self.has("no-head") {
            let head = self.head(request);
            let (before, behind) = head.split_at(head.len() / 2);
            answer.write(before.as_bytes())?;
            self.may_fail_at("mid-head")?;
            answer.write(behind.as_bytes())?;
        }
        self.may_fail_at("after-head")?;
        self.wait_for_file("stall");
        if let Some(length) = self.number("big") {
            answer.write_pattern(length, self)
        } else if self.has("echo") {
            answer.write(body)
        } else {
            answer.write(self.text(request, life, checkers).as_bytes())
        }
    }

    fn end(&self, connection: &mut UnixStream, request: &Request) -> io::Result<()> {
        if !self.has("bare-end") {
            records::write(connection, Kind::STDOUT, request.id, &[])?;
        }
        if self.has("late-output") {
            records::write(connection, Kind::STDOUT, request.id, b"late")?;
        }
        self.may_fail_at("before-end")?;
        if !self.has("unread") && records::pending(connection)? {
            tell("more came before the request was over");
        }
        if self.has("no-end") {
            return Err(io::Error::other("asked not to end the request"));
        }
        request.end_with(connection, 0)?;
        if self.has("end-twice") {
            records::write(connection, Kind::STDOUT, request.id, b"late")?;
            request.end_with(connection, 0)?;
        }
        if self.has("strangers") {
            strangers(connection, request.id)?;
        }
        Ok(())
    }

    fn head(&self, request: &Request) -> String {
        let mut head = String::from("Content-Type: text/plain\r\n");
        if let Some(length) = self.number("head") {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            head.push_str(&format!("X-Long: {}\r\n", "x".repeat(length)));
        }
        if let Some(status) = self.get("status") {
            head.push_str(&format!("Status: {status}\r\n"));
        }
        if let Some(length) = self.get("length") {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if let Some(name) = self.get("variable") {
            head.push_str(&format!("Variable-{name}: {}\r\n", request.role()));
        }
        if self.has("cause") {
            head.push_str("Stockade-Cause: forged\r\n");
        }
        head + "\r\n"
    }

    fn text(&self, request: &Request, life: &Life, [body, file]: [Checker; 2]) -> String {
        if let Some(name) = self.get("show") {
            return request.parameters.get(name).cloned().unwrap_or_default();
        }
        if self.has("environment") {
            return env::vars()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
        }
        let mut facts = format!(
            "pid {}\nrequests {}\nconnections {}\ngeneration {}\nlength {}\nwrong {}\n",
            process::id(),
            life.requests,
            life.connections,
            life.generation,
            body.length(),
            body.wrong()
        );
        if request.role() == "filter" {
            facts += &format!("file {}\nfile-wrong {}\n", file.length(), file.wrong());
        }
        facts
    }
}

/// Records for other ids, of every kind that an application sends.
fn strangers(connection: &mut UnixStream, id: u16) -> io::Result<()> {
    for kind in [Kind::STDOUT, Kind::STDERR, Kind::END_REQUEST] {
        records::write(connection, kind, id + 1, b"stranger")?;
    }
    Ok(())
}

/// The body of a response, in records.
struct Answer<'a> {
    connection: &'a mut UnixStream,
    id: u16,
    slowly: Option<Duration>,
}

impl Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(RECORD) {
            if let Some(pause) = self.slowly {
                sleep(pause);
            }
            records::write(self.connection, Kind::STDOUT, self.id, piece)?;
        }
        Ok(())
    }

    fn write_pattern(&mut self, length: u64, script: &Script) -> io::Result<()> {
        let (mut maker, mut written) = (Maker::new(length), 0);
        while let Some(piece) = maker.next_piece() {
            self.write(piece)?;
            written += piece.len() as u64;
            if written >= length / 2 {
                script.may_fail_at("mid-body")?;
                script.wait_for_file("wait-midway");
            }
        }
        Ok(())
    }
}

/// Works until this process has used so much more processor time.
fn spin(duration: Duration) {
    let until = cpu_used() + duration;
    while cpu_used() < until {
        std::hint::spin_loop();
    }
}

fn cpu_used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask this of itself");
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(time.num_microseconds().unsigned_abs())
}

#[expect(
    clippy::disallowed_methods,
    reason = "taking its time is what the request asked for"
)]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
