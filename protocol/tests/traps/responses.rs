//! What applications answer.

use stockade_protocol::{
    encode::{self, ProtocolStatus},
    head::{self, HeadError},
    record::RecordType,
    web_server::{Answer, WebServer},
};

use crate::told::Asker;
use crate::wire::{
    ABORT, BEGIN, DATA, END, GET_VALUES, KEEP, PARAMS, STDERR, STDIN, STDOUT, answered, record,
    records,
};

/// FastCGI 1.0, 3.3, 5.3.
#[test]
fn trap_13_workers_end_the_response_with_an_empty_stdout() {
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(STDOUT, 1, b"", 0),
        record(STDOUT, 1, b"late", 0),
        record(STDOUT, 1, b"", 0),
        record(END, 1, &[0; 8], 0),
    ];
    assert_eq!(
        answered(&wire.concat()),
        ["stdout a", "stdout-end", "end 0 0"]
    );
}

/// FastCGI 1.0, 3.3, 5.3.
#[test]
fn trap_13_hosts_get_no_empty_stdout_in_the_middle() {
    let mut out = Vec::new();
    encode::stream(&mut out, RecordType::Stdout, 1, b"");
    assert_eq!(out, b"");
    encode::stream(&mut out, RecordType::Stdout, 1, &[b'x'; 64 * 1024]);
    encode::response_end(&mut out, 1, 0);
    let lengths: Vec<_> = records(&out)
        .iter()
        .map(|(fragment, _)| (fragment.header.kind, fragment.header.content_length))
        .collect();
    assert_eq!(
        lengths,
        [(STDOUT, 32_768), (STDOUT, 32_768), (STDOUT, 0), (END, 8)]
    );
}

/// FastCGI 1.0, 5.3.
#[test]
fn trap_14_workers_may_send_stderr_at_any_time_and_never_end_it() {
    let wire = [
        record(STDERR, 1, b"one", 0),
        record(STDOUT, 1, b"a", 0),
        record(STDERR, 1, b"", 0),
        record(STDERR, 1, b"two", 0),
        record(STDOUT, 1, b"", 0),
        record(STDERR, 1, b"three", 0),
        record(END, 1, &[0; 8], 0),
    ];
    let told = [
        "stderr one",
        "stdout a",
        "stderr two",
        "stdout-end",
        "stderr three",
        "end 0 0",
    ];
    assert_eq!(answered(&wire.concat()), told);
}

/// FastCGI 1.0, 5.3.
#[test]
fn trap_15_workers_may_leave_out_the_end_of_stdout() {
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(END, 1, &[0, 0, 0, 9, 0, 0, 0, 0], 0),
    ];
    assert_eq!(answered(&wire.concat()), ["stdout a", "end 9 0"]);
}

/// FastCGI 1.0, 5.5.
#[test]
fn trap_16_workers_may_answer_before_they_have_the_whole_request() {
    // nothing of STDIN was written: the end is told all the same, and nothing is pending
    let mut worker = Asker::new(None);
    let mut out = Vec::new();
    encode::stream(&mut out, RecordType::Stdout, 1, b"Status: 413\n\n");
    encode::response_end(&mut out, 1, 0);
    worker.read(&out);
    let told = ["stdout Status: 413\\n\\n", "stdout-end", "end 0 0"];
    assert_eq!(worker.told.lines(), told);
    assert!(worker.web_server.at_boundary());
}

/// FastCGI 1.0, 5.5.
#[test]
fn trap_17_workers_may_send_an_end_that_is_too_long_but_none_too_short() {
    let wire = record(END, 1, b"\0\0\x01\x02\0\0\0\0and more", 0);
    assert_eq!(answered(&wire), ["end 258 0"]);
    let error = "error: the application sent EndRequest with 7 bytes, not 8";
    assert_eq!(answered(&record(END, 1, &[0; 7], 0)), [error]);
}

/// FastCGI 1.0, 5.5.
#[test]
fn trap_17_workers_may_end_with_any_status() {
    for (status, known) in [
        (0, Some(ProtocolStatus::RequestComplete)),
        (1, Some(ProtocolStatus::CantMpxConn)),
        (2, Some(ProtocolStatus::Overloaded)),
        (3, Some(ProtocolStatus::UnknownRole)),
        (4, None),
        (255, None),
    ] {
        let wire = record(END, 1, &[0, 0, 0, 0, status, 0, 0, 0], 0);
        assert_eq!(answered(&wire), [format!("end 0 {status}")]);
        assert_eq!(ProtocolStatus::from_number(status), known);
    }
}

#[test]
fn a_program_that_echoes_is_no_application() {
    for kind in [BEGIN, ABORT, PARAMS, STDIN, DATA, GET_VALUES] {
        let told = answered(&record(kind, 1, &KEEP, 0));
        assert!(told[0].starts_with("error"), "{told:?}");
    }
}

/// FastCGI 1.0, 6.2.
#[test]
fn trap_34_heads_of_workers_are_read_or_refused() {
    let status = |head: &str| {
        assert_eq!(head::find_end(head.as_bytes(), 0), Some(head.len()));
        head::parse(head.as_bytes()).map(|head| head.status)
    };
    assert_eq!(status("Content-Type: text/plain\n\n"), Ok(200));
    assert_eq!(status("Content-Type: text/plain\r\n\r\n"), Ok(200));
    assert_eq!(status("A: b\r\nstatus:404 Not Found\n\r\n"), Ok(404));
    assert_eq!(status("Location: /x\n\n"), Ok(302));
    assert_eq!(status("Status: 201\nLocation: /x\n\n"), Ok(201));
    assert_eq!(status("A: b\n c\n\n"), Err(HeadError::Folded));
    assert_eq!(
        status("HTTP/1.1 200 OK\nA: b\n\n"),
        Err(HeadError::NonParsed)
    );
    assert_eq!(status("\r\n"), Err(HeadError::Empty));
    for bad in ["OK", "20", "2000", "200OK", "099", "-20", ""] {
        assert_eq!(
            status(&format!("Status: {bad}\n\n")),
            Err(HeadError::Status),
            "{bad}"
        );
    }
    assert_eq!(
        head::parse(b"A: b\nC: d\n"),
        Err(HeadError::Unfinished),
        "the head is cut off"
    );
}

#[test]
fn several_requests_of_one_connection_are_told_apart_by_their_ids() {
    let mut web_server = WebServer::new();
    for id in [1, 2, 300] {
        web_server.begin(id);
    }
    // as Go's net/http/fcgi answers a request that was aborted: twice
    let wire = [
        record(STDOUT, 300, b"c", 0),
        record(STDOUT, 1, b"a", 3),
        record(END, 2, &[0; 8], 0),
        record(STDOUT, 2, b"late", 0),
        record(END, 2, &[0; 8], 0),
        record(STDOUT, 300, b"", 0),
        record(STDOUT, 7, b"of nobody", 0),
        record(STDOUT, 1, b"aa", 0),
        record(END, 1, &[0; 8], 0),
        record(END, 300, &[0; 8], 0),
    ];
    let told = [
        "stdout 300 c",
        "stdout 1 a",
        "end 2",
        "stdout-end 300",
        "stdout 1 aa",
        "end 1",
        "end 300",
    ];
    assert_eq!(told_by_id(&mut web_server, &wire.concat()), told);
}

#[test]
fn what_still_comes_of_a_request_that_was_forgotten_is_ignored() {
    let mut web_server = WebServer::new();
    web_server.begin(1);
    web_server.begin(2);
    web_server.forget(1);
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(STDOUT, 2, b"b", 0),
        record(END, 1, &[0; 8], 0),
        record(END, 2, &[0; 8], 0),
    ];
    let told = told_by_id(&mut web_server, &wire.concat());
    assert_eq!(told, ["stdout 2 b", "end 2"]);
    web_server.begin(1);
    let told = told_by_id(&mut web_server, &record(STDOUT, 1, b"again", 0));
    assert_eq!(told, ["stdout 1 again"]);
}

fn told_by_id(web_server: &mut WebServer, input: &[u8]) -> Vec<String> {
    let (mut told, mut at) = (Vec::new(), 0);
    while let Some(answer) = web_server.next(input, &mut at).expect("good records") {
        told.extend(match answer {
            Answer::Stdout(fragment) => {
                let text = String::from_utf8_lossy(fragment.content.of(input));
                Some(format!("stdout {} {text}", fragment.header.request_id))
            }
            Answer::StdoutEnd { id } => Some(format!("stdout-end {id}")),
            Answer::End { id, .. } => Some(format!("end {id}")),
            _ => None,
        });
    }
    told
}
