//! The blocking helper on a connection of bytes: what comes is known, what goes is compared.

use std::io::{self, Read, Write};

use stockade_protocol::{
    application::ApplicationError,
    blocking::{Limits, Request, Response, serve},
    encode::{self, Role},
    name_value::encode_pair,
    record::RecordType,
    web_server::{Answer, WebServer},
};

/// Reads these pieces, one a call, then the end.
struct Connection<'a> {
    reads: Vec<&'a [u8]>,
    /// How often it was read.
    taken: usize,
    written: Vec<u8>,
}

impl Read for &mut Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(read) = self.reads.get(self.taken) else {
            return Ok(0);
        };
        self.taken += 1;
        buffer[..read.len()].copy_from_slice(read);
        Ok(read.len())
    }
}

impl Write for &mut Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LIMITS: Limits = Limits {
    params: 100,
    body: 10,
};

/// What was written, as a web server hears it, and how many of the reads were taken.
fn served(reads: &[Vec<u8>]) -> (io::Result<()>, Vec<u8>, usize) {
    let mut connection = Connection {
        reads: reads.iter().map(Vec::as_slice).collect(),
        taken: 0,
        written: Vec::new(),
    };
    let end = serve(&mut connection, LIMITS, echo);
    (end, connection.written, connection.taken)
}

fn echo(request: &Request, response: &mut Response<'_>) -> io::Result<()> {
    if request.text("FAIL") == "yes" {
        return Err(io::Error::other("asked to fail"));
    }
    if let Some(text) = request.param("REPORT") {
        response.report(&String::from_utf8_lossy(text))?;
    }
    write!(response, "A: {:?}\n\n", request.role())?;
    response.write_all(request.body())
}

/// What a web server hears that asked with id 1; ends are told as numbers.
fn heard(written: &[u8]) -> String {
    let mut web_server = WebServer::new();
    web_server.begin(1);
    let (mut told, mut at) = (String::new(), 0);
    while let Some(answer) = web_server.next(written, &mut at).expect("it is FastCGI") {
        match answer {
            Answer::Stdout(fragment) => {
                told += &String::from_utf8_lossy(fragment.content.of(written));
            }
            Answer::Stderr(fragment) => {
                told += &String::from_utf8_lossy(fragment.content.of(written));
                told.push('!');
            }
            Answer::End { status, .. } => {
                told += &format!("[{status}]");
                web_server.begin(1);
            }
            Answer::Values => told += &format!("{}", web_server.values().escape_ascii()),
            Answer::UnknownType(kind) => told += &format!("?{kind}"),
            Answer::StdoutEnd { .. } | Answer::Ignored => {}
        }
    }
    assert!(web_server.at_boundary());
    told
}

fn head(id: u16, role: Role, keep: bool, params: &[(&str, &str)]) -> Vec<u8> {
    let (mut out, mut pairs) = (Vec::new(), Vec::new());
    for (name, value) in params {
        encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
    }
    encode::begin_request(&mut out, id, role, keep);
    encode::params(&mut out, id, &pairs).expect("short pairs");
    out
}

fn stdin(id: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::stream(&mut out, RecordType::Stdin, id, body);
    encode::stream_end(&mut out, RecordType::Stdin, id);
    out
}

fn post(keep: bool, body: &[u8]) -> Vec<u8> {
    [head(1, Role::Responder, keep, &[]), stdin(1, body)].concat()
}

#[test]
fn requests_are_answered_one_after_the_other_until_one_closes() {
    let reads = [post(true, b"one"), post(false, b"two"), post(true, b"late")];
    let (end, written, taken) = served(&reads);
    end.unwrap();
    assert_eq!(
        heard(&written),
        "A: Responder\n\none[0]A: Responder\n\ntwo[0]"
    );
    assert_eq!(taken, 2, "closed after the second");

    // however they are read
    let bytes: Vec<_> = reads.concat().chunks(1).map(<[u8]>::to_vec).collect();
    assert_eq!(served(&bytes).1, written);
}

#[test]
fn an_authorizer_is_not_waited_for_and_a_report_is_stderr() {
    let ask = head(1, Role::Authorizer, true, &[("REPORT", "why")]);
    let (end, written, _) = served(&[ask, stdin(1, b"")]);
    end.unwrap();
    assert_eq!(heard(&written), "why!A: Authorizer\n\n[0]");
}

#[test]
fn a_second_request_at_a_time_and_a_filter_are_refused() {
    let second = [head(3, Role::Responder, true, &[]), stdin(3, b"")].concat();
    let (end, written, _) = served(&[
        head(1, Role::Responder, true, &[]),
        second,
        stdin(1, b"first"),
        [head(1, Role::Filter, true, &[]), stdin(1, b"")].concat(),
        post(true, b"more"),
    ]);
    end.unwrap();
    let mut refused = Vec::new();
    encode::end_request(&mut refused, 3, 0, encode::ProtocolStatus::CantMpxConn);
    assert!(written.starts_with(&refused));
    assert_eq!(
        heard(&written),
        "A: Responder\n\nfirst[0][3]A: Responder\n\nmore[0]"
    );
}

#[test]
fn what_passes_a_limit_is_answered_and_its_rest_read() {
    let long = "x".repeat(100);
    let too_many = head(1, Role::Responder, true, &[("A", &long)]);
    let mut early = Vec::new();
    encode::begin_request(&mut early, 1, Role::Responder, true);
    for (keep, request, status) in [
        (true, post(true, b"eleven byte"), "413"),
        (false, post(false, b"eleven byte"), "413"),
        (true, [too_many, stdin(1, b"")].concat(), "431"),
        (true, [early.clone(), stdin(1, b"x")].concat(), "400"),
    ] {
        let (end, written, _) = served(&[request, post(true, b"next")]);
        end.unwrap();
        let told = heard(&written);
        assert!(told.starts_with(&format!("Status: {status} ")), "{told}");
        assert_eq!(told.ends_with("[0]A: Responder\n\nnext[0]"), keep, "{told}");
    }
}

#[test]
fn a_connection_is_not_closed_before_the_rest_of_a_refused_body_has_come() {
    let request = post(false, b"twelve bytes");
    let (now, later) = request.split_at(request.len() - 8);
    let late = post(false, b"late");
    let (end, written, taken) = served(&[now.to_vec(), later.to_vec(), late]);
    end.unwrap();
    assert!(heard(&written).starts_with("Status: 413 "));
    assert_eq!(taken, 2);
}

#[test]
fn pairs_that_are_cut_are_a_bad_request() {
    let mut request = Vec::new();
    encode::begin_request(&mut request, 1, Role::Responder, true);
    encode::stream(&mut request, RecordType::Params, 1, b"\x05\x00A");
    encode::stream_end(&mut request, RecordType::Params, 1);
    let (end, written, _) = served(&[request, stdin(1, b"")]);
    end.unwrap();
    assert!(heard(&written).starts_with("Status: 400 "));
}

#[test]
fn an_aborted_request_is_ended_and_not_run() {
    let mut abort = Vec::new();
    encode::abort_request(&mut abort, 1);
    for keep in [true, false] {
        let reads = [
            head(1, Role::Responder, keep, &[]),
            abort.clone(),
            abort.clone(),
        ];
        let (end, written, taken) = served(&reads);
        end.unwrap();
        assert_eq!(heard(&written), "[0]");
        assert_eq!(taken, if keep { 3 } else { 2 });
    }
}

#[test]
fn questions_are_answered() {
    let mut question = Vec::new();
    encode::get_values(&mut question, &["FCGI_MPXS_CONNS", "FCGI_MAX_CONNS"]);
    question.extend(b"\x01\x63\0\0\0\0\0\0");
    let (end, written, _) = served(&[question]);
    end.unwrap();
    assert_eq!(heard(&written), "\\x0f\\x01FCGI_MPXS_CONNS0?99");
}

#[test]
fn long_responses_are_written_as_they_come() {
    let request = post(true, b"");
    let mut connection = Connection {
        reads: vec![&request],
        taken: 0,
        written: Vec::new(),
    };
    serve(&mut connection, LIMITS, |_, response| {
        response.write_all(b"A: b\n\n")?;
        response.flush()?;
        for _ in 0..100 {
            response.write_all(&[b'x'; 1000])?;
        }
        Ok(())
    })
    .unwrap();
    let told = heard(&connection.written);
    assert_eq!(told.len(), "A: b\n\n[0]".len() + 100_000);
    assert_eq!(connection.written[4..6], [0, 6], "flushed by itself");
}

#[test]
fn errors_end_the_connection_without_the_end_of_the_response() {
    let (end, written, _) = served(&[
        [
            head(1, Role::Responder, true, &[("FAIL", "yes")]),
            stdin(1, b""),
        ]
        .concat(),
        post(true, b"late"),
    ]);
    assert_eq!(end.unwrap_err().to_string(), "asked to fail");
    assert_eq!(written, b"");

    let (end, ..) = served(&[b"GET / HTTP/1.1".to_vec()]);
    let error = end.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let cause = error.get_ref().unwrap();
    assert!(cause.downcast_ref::<ApplicationError>().is_some());
}

#[test]
fn a_body_that_does_not_end_is_not_read_for_ever() {
    let mut endless = Vec::new();
    encode::stream(&mut endless, RecordType::Stdin, 1, &[b'x'; 16_000]);
    for keep in [true, false] {
        let mut reads = vec![head(1, Role::Responder, keep, &[])];
        reads.resize(2000, endless.clone());
        let (end, written, taken) = served(&reads);
        end.unwrap();
        assert!(heard(&written).starts_with("Status: 413 "));
        let in_vain = (taken - 2) * 16_000;
        assert!((16 << 20..17 << 20).contains(&in_vain), "{in_vain} bytes");
    }
}
