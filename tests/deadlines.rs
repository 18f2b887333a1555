//! What takes too long: responses (`response-timeout`, `total-timeout`), hosts (`socket-timeout`), connections (`connect-timeout`).

use std::{
    fs,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
};

use nix::sys::{
    signal::Signal,
    socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, listen,
        socket,
    },
};
use serde_json::Value;
use stockade_protocol::{
    encode::{self, Role},
    record::{HEADER_LEN, RecordType},
};

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::{Answer, Fcgi, head, request},
    http::Request,
    nginx::{Hosting, Nginx},
    process::command,
    site::Site,
    stockade::{Pool, Stockade, configuration},
};

#[test]
fn a_worker_that_falls_silent_behind_the_head_is_cut_and_replaced() {
    let stockade = Stockade::scripted("processes = 1\nresponse-timeout = \"1s\"");
    let first = stockade.connect().get("").pid();
    let mut host = stockade.connect();
    let never = stockade.site.path().join("never");
    let cut = host.ask_cut("GET", &format!("stall={}", never.display()));
    assert_eq!((cut.status(), cut.body_length()), (200, 0));
    stockade
        .log
        .wait(&["response to request", "cut: response-timeout"]);
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), first);
    let exits = &status(&stockade)["exits"];
    assert_eq!(exits[0]["cause"], "request-timeout", "{exits}");
}

#[test]
fn a_response_that_goes_on_is_not_cut() {
    let stockade = Stockade::scripted("processes = 1\nresponse-timeout = \"2s\"");
    let answer = stockade.connect().get("big=320000&write-slowly=400");
    assert_eq!(answer.ended, Some(0));
    assert_eq!(answer.body_length(), 320_000);
}

#[test]
fn the_time_of_a_slow_client_is_not_its_workers() {
    let keys = "processes = 2\nresponse-timeout = \"1s\"\nresponse-buffer-size = \"16KiB\"";
    let stockade = Stockade::scripted(keys);
    stockade.wait_ready("app", 2);
    let mut slow = stockade.connect();
    slow.begin("GET", "big=5000000", &[]);
    // meanwhile more than twice the time passes
    for _ in 0..3 {
        assert_eq!(stockade.connect().get("sleep=900").status(), 200);
    }
    let answer = slow.answer().unwrap();
    assert_eq!(answer.ended, Some(0));
    assert_eq!(answer.body_length(), 5_000_000);
}

#[test]
fn total_timeout_ends_what_goes_on_for_too_long() {
    let stockade = Stockade::scripted("processes = 2\ntotal-timeout = \"2s\"");
    let cut = stockade
        .connect()
        .ask_cut("GET", "big=32000000&write-slowly=50");
    assert!(cut.body_length() > 0);
    stockade
        .log
        .wait(&["response to request", "cut: total-timeout"]);
    let answer = stockade.connect().get("sleep=600000");
    assert_eq!(cause(&answer), (504, "total-timeout".to_owned()));
}

#[test]
fn a_body_that_does_not_go_on_is_answered_408() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let mut host = stockade.connect();
    let mut bytes = head(1, "POST", "", Some(10));
    encode::stream(&mut bytes, RecordType::Stdin, 1, b"hello");
    host.write(&bytes).unwrap();
    let answer = host.answer().unwrap();
    assert_eq!(cause(&answer), (408, "socket-timeout".to_owned()));
    // the connection is good for another request
    assert_eq!(host.get("").status(), 200);
}

#[test]
fn a_worker_that_waited_for_such_a_body_is_free_again() {
    let keys = "processes = 1\nsocket-timeout = \"1s\"\nrequest-buffering = false";
    let stockade = Stockade::scripted(keys);
    let worker = stockade.connect().get("").pid();
    for _ in 0..2 {
        let mut host = stockade.connect();
        let mut bytes = head(1, "POST", "", Some(10));
        encode::stream(&mut bytes, RecordType::Stdin, 1, b"hello");
        host.write(&bytes).unwrap();
        let answer = host.answer().unwrap();
        assert_eq!(cause(&answer), (408, "socket-timeout".to_owned()));
        assert_eq!(stockade.connect().get("").pid(), worker);
    }
    wait_for("no busy slot", || {
        (status(&stockade)["slots"]["busy"] == 0).then_some(())
    });
}

#[test]
fn a_body_that_comes_slowly_is_waited_for() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let mut host = stockade.connect();
    host.write(&head(1, "POST", "", Some(9))).unwrap();
    for _ in 0..9 {
        // time passes, but less than the host has
        assert_eq!(stockade.connect().get("sleep=300").status(), 200);
        let mut byte = Vec::new();
        encode::stream(&mut byte, RecordType::Stdin, 1, b"x");
        host.write(&byte).unwrap();
    }
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), &*answer.fact("length")), (200, "9"));
}

#[test]
fn a_body_that_does_not_go_on_is_answered_408_whatever_else_the_connection_does() {
    let stockade = Stockade::scripted("processes = 2\nsocket-timeout = \"1s\"");
    let mut host = stockade.connect();
    host.write(&head(1, "POST", "", Some(1000))).unwrap();
    let stalled = wait_for("the answer to the request that stalls", || {
        host.write(&request(2, "GET", "show=REQUEST_METHOD", &[]))
            .unwrap();
        let mut stalled = Vec::new();
        loop {
            let (header, content) = host.read_record().unwrap().expect("it is kept");
            match (header.record_type(), header.request_id) {
                (Some(RecordType::Stdout), 1) => stalled.extend(content),
                (Some(RecordType::EndRequest), 2) => break,
                _ => {}
            }
        }
        (!stalled.is_empty()).then_some(stalled)
    });
    let stalled = String::from_utf8_lossy(&stalled);
    assert!(stalled.starts_with("Status: 408 "), "{stalled}");
}

#[test]
fn a_file_for_a_filter_that_does_not_go_on_is_answered_408() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let mut host = stockade.connect();
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, 1, Role::Filter, true);
    encode::params(&mut bytes, 1, &[]).unwrap();
    encode::stream_end(&mut bytes, RecordType::Stdin, 1);
    encode::stream(&mut bytes, RecordType::Data, 1, b"the beginning");
    host.write(&bytes).unwrap();
    let answer = host.answer().unwrap();
    assert_eq!(cause(&answer), (408, "socket-timeout".to_owned()));
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_slow_upload_behind_the_head_is_not_the_workers_silence() {
    let keys = "processes = 2\nrequest-buffering = false\nresponse-timeout = \"1s\"\nsocket-timeout = \"30s\"";
    let stockade = Stockade::scripted(keys);
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    let query = format!("unread&stall={}", gate.display());
    host.write(&head(1, "POST", &query, Some(1000))).unwrap();
    let (first, _) = host.read_record().unwrap().expect("the head comes first");
    assert_eq!(first.record_type(), Some(RecordType::Stdout));
    // twice as long as the worker may be silent, with a piece of the body now and then
    for _ in 0..8 {
        let mut piece = Vec::new();
        encode::stream(&mut piece, RecordType::Stdin, 1, b"piece");
        host.write(&piece).unwrap();
        assert_eq!(stockade.connect().get("sleep=300").status(), 200);
    }
    fs::write(gate, "").unwrap();
    assert_eq!(host.answer().unwrap().ended, Some(0));
}

#[test]
fn behind_the_head_no_body_is_waited_for() {
    let keys = "processes = 1\nsocket-timeout = \"1s\"\nrequest-buffering = false";
    let stockade = Stockade::scripted(keys);
    let mut host = stockade.connect();
    let query = "unread&big=320000&write-slowly=300";
    let mut bytes = head(1, "POST", query, Some(10));
    encode::stream(&mut bytes, RecordType::Stdin, 1, b"hello");
    host.write(&bytes).unwrap();
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    assert_eq!(answer.body_length(), 320_000);
}

#[test]
fn what_is_begun_has_to_come_to_its_end_and_what_is_idle_stays() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let mut unused = stockade.connect();
    let mut kept = stockade.connect();
    assert_eq!(kept.get("").status(), 200);
    let begin = begun();
    let parameters = head(1, "GET", "", Some(0));
    let most = &parameters[..parameters.len() - HEADER_LEN];
    // a half of a record; a request without parameters; parameters without an end
    for part in [&begin[..3], &begin, most] {
        let mut host = stockade.connect();
        host.write(part).unwrap();
        assert_eq!(host.read_to_close().unwrap(), b"");
    }
    // a few bytes now and then are no way to stay
    let mut dripping = stockade.connect();
    let (mut drips, mut sent) = (parameters.iter().cycle(), 0);
    dripping.write(&begin).unwrap();
    wait_for("the end of a connection with drips", || {
        let drip = [*drips.next()?];
        sent += 1;
        // with the length that is announced nothing is ever complete
        let announced = [1, RecordType::Params as u8, 0, 1, 255, 255, 0, 0];
        let bytes = if sent == 1 { &announced[..] } else { &drip };
        dripping.write(bytes).err()
    });
    stockade.log.wait(&[
        "WARN",
        "does not go on with what it has begun",
        "socket-timeout",
    ]);
    assert_eq!(kept.get("").status(), 200);
    assert_eq!(unused.get("").status(), 200);
}

#[test]
fn a_request_beside_one_that_is_never_complete_is_answered() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    let query = format!("wait={}", gate.display());
    host.begin("GET", &query, &[]);
    let mut half = Vec::new();
    encode::begin_request(&mut half, 2, Role::Responder, true);
    host.write(&half).unwrap();
    let (header, content) = host.read_record().unwrap().unwrap();
    assert_eq!(header.request_id, 2);
    assert!(content.starts_with(b"Status: 408 "), "{content:?}");
    fs::write(&gate, "").unwrap();
    let answer = host.answers(1).unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_host_that_does_not_read_is_cut_and_its_worker_goes_on() {
    let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
    let mut deaf = stockade.connect();
    deaf.begin("GET", "big=50000000", &[]);
    stockade
        .log
        .wait(&["WARN", "takes nothing of what is sent to it"]);
    assert_eq!(stockade.connect().get("").status(), 200);
    // when it reads on, it sees that it was cut
    assert_eq!(deaf.cut_answer().ended, None);
}

#[test]
fn over_tcp_such_a_host_is_told_at_once() {
    let site = Site::new();
    let port = free_port();
    let keys = format!("listen = [\"127.0.0.1:{port}\"]\nsocket-timeout = \"1s\"");
    let stockade = ready_on_tcp(site, &keys);
    let mut deaf = TcpStream::connect(("127.0.0.1", port)).unwrap();
    deaf.write_all(&request(1, "GET", "big=50000000", &[]))
        .unwrap();
    stockade
        .log
        .wait(&["WARN", "takes nothing of what is sent to it"]);
    let error = wait_for("the reset of the connection", || deaf.take_error().unwrap());
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_response_that_was_not_taken_looks_cut_to_the_client() {
    for keep in [true, false] {
        let stockade = Stockade::scripted("processes = 1\nsocket-timeout = \"1s\"");
        let hosting = Hosting {
            keep,
            location: "fastcgi_buffering off;",
            ..Hosting::default()
        };
        let nginx = Nginx::start(&stockade.socket("app"), &hosting);
        let (mut read, request) = (0, Request::new("GET", "/?big=20000000"));
        let response = nginx.client().stream(&request, &mut |bytes| {
            // it goes on too late
            stockade.log.wait(&["takes nothing of what is sent to it"]);
            read += bytes.len();
        });
        assert_eq!(response.status, 200);
        assert!(
            !response.complete,
            "kept {keep}: {read} bytes passed for all"
        );
    }
}

#[test]
fn an_upstream_has_its_time_to_take_a_connection() {
    // nobody accepts, and with the backlog full nobody is let in
    let flags = SockFlag::SOCK_CLOEXEC;
    let full = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    bind(full.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    listen(&full, Backlog::new(0).unwrap()).unwrap();
    let address: SockaddrIn = getsockname(full.as_raw_fd()).unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let waits = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
            // under way, or there
            connect(waits.as_raw_fd(), &address).unwrap_or_default();
            waits
        })
        .collect();
    let site = Site::new();
    let upstream = |name: &str, time: &str| {
        let keys = format!("upstream = [\"{address}\"]\nconnect-timeout = \"{time}\"");
        Pool::new(&keys).named(name)
    };
    let pools = [upstream("patient", "10m"), upstream("hasty", "500ms")];
    let stockade = Stockade::serve(site, &pools);
    stockade
        .log
        .wait(&["pool hasty: upstream", "does not answer", "timed out"]);
    let patient = stockade.log.matching(&["pool patient", "does not answer"]);
    assert!(patient.is_empty(), "{patient:?}");
    drop(waiting);
}

#[test]
fn who_is_not_allowed_is_closed_logged_once_and_counted() {
    let site = Site::new();
    let port = free_port();
    let keys =
        format!("listen = [\"127.0.0.1:{port}\"]\nallowed-clients = [\"192.0.2.0/24\", \"::1\"]");
    let stockade = ready_on_tcp(site, &keys);
    let address = format!("127.0.0.1:{port}");
    for _ in 0..20 {
        let (code, _, error) = call(&address);
        assert_eq!(code, Some(1), "{error}");
    }
    wait_for("twenty refusals in the status", || {
        (status(&stockade)["refused"]["allowed-clients"] == 20).then_some(())
    });
    let lines = stockade.log.matching(&[
        "WARN",
        "refused a connection from 127.0.0.1",
        "`allowed-clients`",
    ]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    // a reload allows him
    let keys = format!(
        "processes = 1\nlisten = [\"127.0.0.1:{port}\"]\nallowed-clients = [\"127.0.0.1\"]"
    );
    stockade.configure(&[Pool::scripted(&stockade.site, &[], &keys)]);
    stockade.signal(Signal::SIGHUP);
    wait_for("an answer to a client that is allowed", || {
        (call(&address).0 == Some(0)).then_some(())
    });
}

#[test]
fn an_address_that_other_machines_can_reach_serves_who_is_allowed() {
    for (host, allowed) in [("0.0.0.0", "127.0.0.0/8"), ("[::]", "127.0.0.1")] {
        let site = Site::new();
        let port = free_port();
        let keys = format!("listen = [\"{host}:{port}\"]\nallowed-clients = [\"{allowed}\"]");
        let _stockade = ready_on_tcp(site, &keys);
        let (code, answer, error) = call(&format!("127.0.0.1:{port}"));
        assert_eq!(code, Some(0), "{host}: {answer}{error}");
        assert!(answer.contains("pid "), "{answer}");
    }
}

/// BEGIN_REQUEST alone.
fn begun() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, 1, Role::Responder, true);
    bytes
}

fn ready_on_tcp(site: Site, keys: &str) -> Stockade {
    let pool = Pool::scripted(&site, &[], &format!("processes = 1\n{keys}"));
    let config = configuration(&site, &[pool]);
    let stockade = Stockade::run(site, &config);
    stockade.wait_ready("app", 1);
    stockade
}

/// One request over TCP: the exit code of the command, its standard output and standard error.
fn call(address: &str) -> (Option<i32>, String, String) {
    let output = command(built::stockade())
        .args(["call", address, "/"])
        .output()
        .expect("the built binary can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn status(stockade: &Stockade) -> Value {
    let (_, status, error) = stockade.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap_or_else(|_| panic!("{status}{error}"));
    status["pools"][0].clone()
}

fn cause(answer: &Answer) -> (u16, String) {
    (
        answer.status(),
        answer.header("Stockade-Cause").unwrap_or_default(),
    )
}

impl Fcgi {
    /// Asks, and takes what comes before the response is cut.
    pub(crate) fn ask_cut(&mut self, method: &str, query: &str) -> Answer {
        self.begin(method, query, &[]);
        self.cut_answer()
    }

    /// What comes before the response is cut.
    fn cut_answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        let end = loop {
            match self.read_record() {
                Ok(Some((header, content))) if header.record_type() == Some(RecordType::Stdout) => {
                    answer.stdout.extend(content);
                }
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(end.is_err(), "no record that is broken: {end:?}");
        answer
    }

    /// The answer to request `id`, of several.
    fn answers(&mut self, id: u16) -> io::Result<Answer> {
        let mut answer = Answer::default();
        while let Some((header, content)) = self.read_record()? {
            match header.record_type() {
                Some(RecordType::Stdout) if header.request_id == id => {
                    answer.stdout.extend(content);
                }
                Some(RecordType::EndRequest) if header.request_id == id => {
                    answer.ended = content.get(4).copied();
                    break;
                }
                _ => {}
            }
        }
        Ok(answer)
    }
}
