//! The places where FastCGI implementations have gone wrong, and the tests that mind them: those of the crate stockade-protocol
//! (`protocol/tests/traps`) for what can be said of bytes alone, and those here for what takes a relay between a host and a worker. `trap_NN_hosts_`
//! is about what web servers send or want, `trap_NN_workers_` about applications.

use std::fs;

use stockade_protocol::{
    encode::{self, Role},
    name_value::encode_pair,
    record::RecordType,
};

use crate::support::{
    document::test_names,
    fcgi::{self, Answer, Fcgi},
    stockade::Stockade,
};

/// Number, section of FastCGI 1.0, what may come, and whether it may come from hosts and from workers.
const TRAPS: [(u8, &str, &str, [bool; 2]); 35] = [
    (
        1,
        "3.4",
        "PARAMS cut within a pair, even within a length",
        [true, false],
    ),
    (
        2,
        "3.4",
        "applications that need whole pairs in each record",
        [false, true],
    ),
    (
        3,
        "3.4",
        "lengths longer than need be, and lengths that overflow",
        [true, true],
    ),
    (4, "3.4", "a pair longer than its stream", [true, true]),
    (
        5,
        "3.4",
        "empty and double names, NUL and '='",
        [true, false],
    ),
    (6, "5.2", "PARAMS empty, or not ended", [true, false]),
    (7, "5.3", "STDIN not ended", [true, false]),
    (
        8,
        "6.2",
        "a body shorter or longer than CONTENT_LENGTH, or without one",
        [true, true],
    ),
    (9, "3.3", "more after the end of a stream", [true, false]),
    (
        10,
        "3.3",
        "padding of any record, in a packet of its own",
        [true, true],
    ),
    (11, "3.3", "the longest content and padding", [true, true]),
    (12, "3.3", "reads that end anywhere", [true, true]),
    (13, "5.3", "an empty STDOUT before the end", [true, true]),
    (14, "5.3", "STDERR at any time, never ended", [false, true]),
    (
        15,
        "5.5",
        "END_REQUEST without the end of STDOUT",
        [false, true],
    ),
    (
        16,
        "5.5",
        "an answer before the end of the request",
        [true, true],
    ),
    (
        17,
        "5.5",
        "an END_REQUEST too long or too short, a status that there is not",
        [false, true],
    ),
    (
        18,
        "5.5",
        "requests refused: CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE",
        [true, true],
    ),
    (19, "4.2", "records of an unknown type", [true, true]),
    (
        20,
        "4.1",
        "GET_VALUES at any time, for any names",
        [true, true],
    ),
    (
        21,
        "3.3",
        "the id 0 for a request, an id for management",
        [true, true],
    ),
    (22, "5.1", "BEGIN_REQUEST for an active id", [true, false]),
    (
        23,
        "5.1",
        "a second request on the connection",
        [true, false],
    ),
    (24, "3.3", "any id, and the same again", [true, true]),
    (
        25,
        "3.3",
        "records of an id that is not active",
        [true, true],
    ),
    (
        26,
        "5.4",
        "ABORT_REQUEST at any phase; a request ended twice",
        [true, true],
    ),
    (
        27,
        "5.4",
        "one of several requests aborted, or slow",
        [true, true],
    ),
    (
        28,
        "5.1",
        "a connection that is closed after the answer",
        [true, false],
    ),
    (
        29,
        "5.1",
        "requests of one connection that differ in FCGI_KEEP_CONN",
        [true, false],
    ),
    (
        30,
        "3.3",
        "another version, or another protocol",
        [true, true],
    ),
    (31, "6", "every role, and others", [true, true]),
    (32, "3.3", "reserved bytes", [true, true]),
    (
        33,
        "5.1",
        "requests begun in masses or at length",
        [true, false],
    ),
    (34, "6.2", "heads of responses", [false, true]),
    (
        35,
        "5.1",
        "a kept connection that its worker closes",
        [false, true],
    ),
];

#[test]
fn every_trap_has_a_test() {
    let mut names = ["tests", "protocol/tests/traps"].map(test_names).concat();
    names.retain(|name| name.starts_with("trap_"));
    for (number, section, what, sides) in TRAPS {
        let prefix = format!("trap_{number:02}_");
        let own: Vec<_> = names
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .collect();
        for (side, wanted) in ["hosts", "workers"].into_iter().zip(sides) {
            let found = own.iter().any(|name| name.contains(side));
            assert!(
                found || !wanted,
                "{prefix}{side}: {what} ({section}): {own:?}"
            );
        }
    }
    let numbers = TRAPS.map(|(number, ..)| number);
    assert!(numbers.into_iter().eq(1..=35));
    for name in names {
        let number: u8 = name[5..7].parse().unwrap();
        assert!(numbers.contains(&number), "{name} is not in the list");
    }
}

#[test]
fn trap_04_hosts_that_cut_a_pair_get_a_400() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, 1, Role::Responder, true);
    encode::stream(&mut bytes, RecordType::Params, 1, b"\x0e\x04REQUEST_METHOD");
    encode::stream_end(&mut bytes, RecordType::Params, 1);
    encode::stream_end(&mut bytes, RecordType::Stdin, 1);
    host.write(&bytes).unwrap();
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), answer.ended), (400, Some(0)));
    assert_eq!(host.get("").status(), 200, "on the same connection");
}

#[test]
fn trap_07_hosts_that_do_not_end_a_body_that_there_is_not_are_answered() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for length in [None, Some(0)] {
        host.write(&fcgi::head(1, "GET", "", length)).unwrap();
        let answer = host.answer().unwrap();
        assert_eq!((answer.status(), answer.fact("length")), (200, "0".into()));
        let mut late = Vec::new();
        encode::stream_end(&mut late, RecordType::Stdin, 1);
        host.write(&late).unwrap();
    }
}

#[test]
fn trap_07_hosts_may_announce_a_body_of_a_get() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for (announced, body) in [
        ("HTTP_TRANSFER_ENCODING", "word"),
        ("HTTP_UPGRADE", "word"),
        ("HTTP_ACCEPT", ""),
    ] {
        let (mut bytes, mut pairs) = (Vec::new(), Vec::new());
        for (name, value) in [
            ("REQUEST_METHOD", "GET"),
            ("QUERY_STRING", "echo"),
            (announced, "chunked"),
        ] {
            encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
        }
        encode::begin_request(&mut bytes, 1, Role::Responder, true);
        encode::params(&mut bytes, 1, &pairs).unwrap();
        encode::stream(&mut bytes, RecordType::Stdin, 1, b"word");
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        host.write(&bytes).unwrap();
        assert_eq!(host.answer().unwrap().body(), body, "{announced}");
    }
}

#[test]
fn trap_08_hosts_that_send_less_than_the_length_get_a_400_and_of_more_it_is_cut() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for (length, status, body) in [
        (10, 400, None),
        (4, 200, Some("five")),
        (5, 200, Some("five!")),
    ] {
        let mut bytes = fcgi::head(1, "POST", "echo", Some(length));
        encode::stream(&mut bytes, RecordType::Stdin, 1, b"five!");
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        host.write(&bytes).unwrap();
        let answer = host.answer().unwrap();
        assert_eq!(
            (answer.status(), answer.ended),
            (status, Some(0)),
            "{length}"
        );
        assert!(body.is_none_or(|body| answer.body() == body), "{answer:?}");
    }
}

#[test]
fn trap_15_workers_may_end_a_request_without_the_end_of_stdout() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for _ in 0..2 {
        let answer = host.get("bare-end");
        assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    }
}

#[test]
fn trap_16_workers_may_answer_a_body_that_they_do_not_read() {
    for keys in ["request-buffering = false", "request-buffering = true"] {
        let stockade = Stockade::scripted(&format!("processes = 1\n{keys}"));
        let mut host = stockade.connect();
        let body = vec![b'x'; 3_000_000];
        for query in ["unread", "", "unread"] {
            let answer = host.ask("POST", query, &body);
            assert_eq!((answer.status(), answer.ended), (200, Some(0)), "{keys}");
        }
        // what was left unread is nobody's next request
        assert_eq!(host.get("").status(), 200);
    }
}

#[test]
fn trap_18_workers_that_reject_a_request_cost_a_502_and_nothing_else() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let worker = host.get("").pid();
    for status in [1, 2, 3, 4, 255] {
        let answer = host.ask("POST", &format!("reject={status}"), b"a=1");
        assert_eq!((answer.status(), answer.ended), (502, Some(0)), "{status}");
        assert_eq!(
            answer.header("Stockade-Cause").as_deref(),
            Some("request-rejected")
        );
    }
    assert_eq!(host.get("").pid(), worker);
}

#[test]
fn trap_26_hosts_that_abort_get_one_end() {
    let stockade = Stockade::scripted("processes = 1");
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let mut abort = Vec::new();
    encode::abort_request(&mut abort, 1);
    encode::abort_request(&mut abort, 1);
    host.write(&abort).unwrap();
    let answer = host.answer().unwrap();
    assert_eq!((answer.ended, answer.stdout.len()), (Some(0), 0));
    fs::write(&gate, "").unwrap();
    // a second end would be taken for this request's
    assert_eq!(host.get("").status(), 200);
}

#[test]
fn trap_27_hosts_get_an_answer_while_another_of_the_connection_is_slow() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    let slow = format!("stderr=begun&wait={}", gate.display());
    host.write(&fcgi::request(1, "GET", &slow, &[])).unwrap();
    stockade.log.wait(&["begun"]);
    for id in [3, 65_535] {
        host.write(&fcgi::request(id, "GET", "", &[])).unwrap();
        assert_eq!(answer_to(&mut host, id).status(), 200);
    }
    fs::write(&gate, "").unwrap();
    assert_eq!(answer_to(&mut host, 1).status(), 200);
}

#[test]
fn trap_28_hosts_that_keep_no_connection_get_every_byte_before_it_is_closed() {
    let stockade = Stockade::scripted("processes = 1\nrequest-buffering = false");
    for (query, length) in [
        ("big=5000000", 0),
        ("big=5000000&unread", 0),
        ("unread", 2_000_000),
    ] {
        let mut host = stockade.connect();
        let mut bytes = fcgi::request(1, "POST", query, &vec![b'x'; length]);
        // the flags of BEGIN_REQUEST
        bytes[10] = 0;
        host.write(&bytes).unwrap();
        let said = host.read_to_close().unwrap();
        let mut end = Vec::new();
        encode::response_end(&mut end, 1, 0);
        assert!(said.ends_with(&end), "{query}: {} bytes", said.len());
        assert!(!query.starts_with("big") || said.len() > 5_000_000);
    }
}

#[test]
fn trap_31_hosts_are_refused_the_roles_that_there_are_not() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    // the third is the filter, which has tests of its own
    for (role, status) in [(0, 3), (1, 0), (2, 0), (4, 3)] {
        let mut bytes = fcgi::request(1, "GET", "", &[]);
        bytes[9] = role;
        host.write(&bytes).unwrap();
        let answer = host.answer().unwrap();
        assert_eq!(answer.ended, Some(status), "role {role}");
        assert_eq!(answer.stdout.is_empty(), status == 3, "role {role}");
    }
}

#[test]
fn trap_33_hosts_may_open_so_many_requests_on_a_connection_and_no_more() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = stockade.site.path().join("gate");
    let query = format!("wait={}", gate.display());
    // 16 without parameters; 256 in all
    for (requests, open) in [(false, 16), (true, 256)] {
        let mut host = stockade.connect();
        let mut bytes = Vec::new();
        for id in 1..=300 {
            if requests {
                bytes.extend(fcgi::request(id, "GET", &query, &[]));
            } else {
                encode::begin_request(&mut bytes, id, Role::Responder, true);
            }
        }
        host.write(&bytes).unwrap();
        // each of the others is refused
        for id in open + 1..=300 {
            assert_eq!(answer_to(&mut host, id).ended, Some(1), "CANT_MPX_CONN");
        }
    }
    fs::write(gate, "").unwrap();
    assert_eq!(stockade.connect().get("").status(), 200);
}

/// The answer to request `id`, the next to come.
fn answer_to(host: &mut Fcgi, id: u16) -> Answer {
    let mut answer = Answer::default();
    while answer.ended.is_none() {
        let record = host.read_record().expect("the connection is open");
        let (header, content) = record.expect("an answer comes");
        assert_eq!(header.request_id, id);
        match header.record_type() {
            Some(RecordType::Stdout) => answer.stdout.extend(content),
            Some(RecordType::EndRequest) => answer.ended = content.get(4).copied(),
            other => panic!("{other:?}"),
        }
    }
    answer
}
