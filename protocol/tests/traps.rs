//! The places where FastCGI implementations have gone wrong, one test each: what hosts and applications really send, and
//! what has to come of it.

#[path = "../fuzz/src/told.rs"]
#[expect(
    unreachable_pub,
    dead_code,
    reason = "the fuzz crate exports it, and uses more of it"
)]
mod told;

use stockade_protocol::{
    application::{Application, Limits},
    encode::{self, PairTooLong, ProtocolStatus, Role},
    head::{self, HeadError},
    name_value::{PairError, Pairs, encode_pair},
    record::{Fragment, HEADER_LEN, Header, RecordType, Splitter},
};
use told::{Asker, Listener};

const BEGIN: u8 = 1;
const ABORT: u8 = 2;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const DATA: u8 = 8;
const GET_VALUES: u8 = 9;
const VALUES_RESULT: u8 = 10;
const UNKNOWN_TYPE: u8 = 11;

const LIMITS: Limits = Limits {
    params: 1 << 20,
    requests: 8,
};
const KEEP: [u8; 8] = [0, 1, 1, 0, 0, 0, 0, 0];
const CLOSE: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

#[test]
fn params_are_cut_anywhere_by_records() {
    let mut stream = Vec::new();
    encode_pair(&mut stream, &[b'N'; 200], &[b'v'; 300]);
    encode_pair(&mut stream, b"QUERY_STRING", b"");
    for size in [1, 2, 3, 7, 150, 511] {
        let mut wire = record(BEGIN, 1, &KEEP, 0);
        for piece in stream.chunks(size) {
            wire.extend(record(PARAMS, 1, piece, 0));
        }
        wire.extend(record(PARAMS, 1, b"", 0));
        let whole = format!("params 1 {}", stream.escape_ascii());
        assert_eq!(
            heard(&wire),
            ["begin 1 Responder keep", &whole, "params-end 1"]
        );
    }
}

#[test]
fn the_encoder_keeps_pairs_whole_in_their_records() {
    let mut pairs = Vec::new();
    for len in [1_000, 15_000, 500, 40_000, 20, 65_528 - 8 - 1, 9_000, 9_000] {
        encode_pair(&mut pairs, b"N", &vec![b'v'; len]);
    }
    let mut wire = Vec::new();
    encode::params(&mut wire, 1, &pairs).unwrap();
    let records = records(&wire);
    let mut together = Vec::new();
    for (fragment, content) in &records {
        let whole = Pairs::new(content)
            .collect::<Result<Vec<_>, _>>()
            .expect("whole pairs");
        assert!(content.len() <= 16 * 1024 || whole.len() == 1);
        assert!(content.len() <= 65_528);
        assert_eq!(fragment.header.padding_length, 0);
        together.extend_from_slice(content);
    }
    assert_eq!(together, pairs);
    assert_eq!(
        records
            .iter()
            .filter(|(_, content)| content.is_empty())
            .count(),
        1
    );
    assert!(
        records
            .last()
            .is_some_and(|(_, content)| content.is_empty())
    );
}

#[test]
fn a_pair_too_long_for_php_is_refused() {
    let mut pairs = Vec::new();
    encode_pair(&mut pairs, b"A", b"b");
    encode_pair(&mut pairs, b"N", &[b'v'; 65_528]);
    let mut wire = b"before".to_vec();
    assert_eq!(encode::params(&mut wire, 1, &pairs), Err(PairTooLong));
    assert_eq!(wire, b"before", "nothing half-written");
}

#[test]
fn a_small_length_in_four_bytes_is_accepted() {
    let pairs =
        Pairs::new(b"\x80\x00\x00\x05\x80\x00\x00\x02HTTPSon").collect::<Result<Vec<_>, _>>();
    assert_eq!(pairs, Ok(vec![(&b"HTTPS"[..], &b"on"[..])]));
}

#[test]
fn lengths_that_overflow_are_refused() {
    for lengths in [
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x00\x00\x01\xff\xff\xff\xff",
    ] {
        let stream = [&lengths[..], &[b'x'; 100]].concat();
        assert_eq!(
            Pairs::new(&stream).collect::<Vec<_>>(),
            [Err(PairError::Truncated)]
        );
    }
}

#[test]
fn a_pair_longer_than_its_stream_is_malformed() {
    for stream in [
        &b"\x01"[..],
        b"\x01\x02N",
        b"\x01\x01N",
        b"\x80\x00\x00",
        b"\x00\x80",
    ] {
        assert_eq!(
            Pairs::new(stream).collect::<Vec<_>>(),
            [Err(PairError::Truncated)]
        );
    }
    let mut pairs = Pairs::new(b"\x01\x01Ab\x05\x05x");
    assert_eq!(pairs.next(), Some(Ok((&b"A"[..], &b"b"[..]))));
    assert_eq!(pairs.next(), Some(Err(PairError::Truncated)));
    assert_eq!(pairs.next(), None);
}

#[test]
fn empty_and_double_names_pass_but_nul_and_equals_do_not() {
    let pairs = Pairs::new(b"\x00\x01v\x01\x00A\x01\x01Ab\x00\x00").collect::<Result<Vec<_>, _>>();
    let expected: [(&[u8], &[u8]); 4] = [(b"", b"v"), (b"A", b""), (b"A", b"b"), (b"", b"")];
    assert_eq!(pairs.as_deref(), Ok(&expected[..]));
    for stream in [b"\x02\x01A=b", b"\x02\x01A\0b", b"\x01\x02Ab\0"] {
        assert_eq!(
            Pairs::new(stream).collect::<Vec<_>>(),
            [Err(PairError::Forbidden)]
        );
    }
    assert!(
        Pairs::new(b"\x01\x03Aa=b").all(|pair| pair.is_ok()),
        "'=' in a value"
    );
}

#[test]
fn an_empty_params_stream_is_legal() {
    let wire = [record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat();
    assert_eq!(heard(&wire), ["begin 1 Responder keep", "params-end 1"]);
    assert_eq!(Pairs::new(b"").next(), None);
}

#[test]
fn stdin_before_the_end_of_params_is_the_requests_error_alone() {
    for early in [record(STDIN, 1, b"body", 0), record(STDIN, 1, b"", 0)] {
        let wire = [
            record(BEGIN, 1, &KEEP, 0),
            record(BEGIN, 2, &KEEP, 0),
            record(PARAMS, 1, b"\x01\x00A", 0),
            early,
            record(PARAMS, 1, b"", 0),
            record(STDIN, 1, b"", 0),
            record(PARAMS, 2, b"", 0),
        ];
        let begins = ["begin 1 Responder keep", "begin 2 Responder keep"];
        let rest = [
            "params 1 \\x01\\x00A",
            "params-unfinished 1",
            "params-end 2",
        ];
        assert_eq!(heard(&wire.concat()), [&begins[..], &rest].concat());
    }
}

#[test]
fn a_late_or_missing_end_of_stdin_is_not_waited_for() {
    let mut host = listener(LIMITS);
    host.read(&[record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat());
    assert_eq!(
        host.told.lines(),
        ["begin 1 Responder keep", "params-end 1"]
    );
    assert!(!host.application.stdin_ended(1));
    assert!(!host.application.finished(1), "kept");
    assert!(host.application.idle());
    host.read(&record(STDIN, 1, b"", 0));
    assert_eq!(host.told.lines().len(), 2, "swallowed");
    assert!(host.application.idle());
}

#[test]
fn what_follows_the_end_of_a_stream_is_ignored() {
    let wire = [
        record(BEGIN, 1, &[0, 3, 1, 0, 0, 0, 0, 0], 0),
        record(PARAMS, 1, b"", 0),
        record(PARAMS, 1, b"\x01\x00A", 0),
        record(PARAMS, 1, b"", 0),
        record(STDIN, 1, b"a", 0),
        record(STDIN, 1, b"", 0),
        record(STDIN, 1, b"b", 0),
        record(STDIN, 1, b"", 0),
        record(DATA, 1, b"c", 0),
        record(DATA, 1, b"", 0),
        record(DATA, 1, b"d", 0),
        record(DATA, 1, b"", 0),
    ];
    let told = [
        "begin 1 Filter keep",
        "params-end 1",
        "stdin 1 a",
        "stdin-end 1",
        "data 1 c",
        "data-end 1",
    ];
    assert_eq!(heard(&wire.concat()), told);
}

#[test]
fn any_record_may_be_padded_and_the_padding_come_later() {
    for padding in [1, 7, 255] {
        let mut host = listener(LIMITS);
        for (kind, content) in [
            (BEGIN, &KEEP[..]),
            (PARAMS, b""),
            (STDIN, b"x"),
            (STDIN, b""),
            (GET_VALUES, b""),
        ] {
            let id = if kind == GET_VALUES { 0 } else { 1 };
            let wire = record(kind, id, content, padding);
            let (now, later) = wire.split_at(HEADER_LEN + content.len());
            host.read(now);
            assert!(!host.application.idle());
            host.read(later);
        }
        let told = [
            "begin 1 Responder keep",
            "params-end 1",
            "stdin 1 x",
            "stdin-end 1",
            "values ",
        ];
        assert_eq!(host.told.lines(), told);

        let mut worker = Asker::new(None);
        let wire = record(END, 1, &[0; 8], padding);
        let (now, later) = wire.split_at(HEADER_LEN + 8);
        worker.read(now);
        assert_eq!(worker.told.lines(), ["end 0 0"]);
        assert!(
            !worker.web_server.at_boundary(),
            "the padding is on its way"
        );
        worker.web_server.begin(1);
        worker.read(&[later, &record(STDOUT, 1, b"x", padding)].concat());
        assert_eq!(worker.told.lines(), ["end 0 0", "stdout x"]);
        assert!(worker.web_server.at_boundary());
    }
}

#[test]
fn the_longest_content_with_the_longest_padding_is_accepted() {
    let content = vec![b'x'; 65_535];
    let begin = [record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat();
    let told = heard(
        &[
            begin,
            record(STDIN, 1, &content, 255),
            record(STDIN, 1, b"", 0),
        ]
        .concat(),
    );
    assert_eq!(told[2].len(), "stdin 1 ".len() + 65_535);
    assert_eq!(told[3], "stdin-end 1");
    let told = answered(&[record(STDOUT, 1, &content, 255), record(STDOUT, 1, b"", 0)].concat());
    assert_eq!(
        (told[0].len(), &told[1][..]),
        ("stdout ".len() + 65_535, "stdout-end")
    );
}

#[test]
fn a_header_may_be_cut_at_any_byte() {
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(STDOUT, 1, b"b", 3),
        record(END, 1, &[0; 8], 0),
    ]
    .concat();
    for at in 0..wire.len() {
        let mut worker = Asker::new(None);
        worker.read(&wire[..at]);
        worker.read(&wire[at..]);
        assert_eq!(worker.told.lines(), ["stdout ab", "end 0 0"], "cut at {at}");
    }
    let mut worker = Asker::new(None);
    for byte in wire.chunks(1) {
        worker.read(byte);
    }
    assert_eq!(
        worker.told.lines(),
        ["stdout ab", "end 0 0"],
        "byte by byte"
    );
}

#[test]
fn an_empty_stdout_ends_the_response_and_the_encoder_never_sends_one_in_the_middle() {
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(STDOUT, 1, b"", 0),
        record(STDOUT, 1, b"late", 0),
    ];
    let end = [record(STDOUT, 1, b"", 0), record(END, 1, &[0; 8], 0)].concat();
    assert_eq!(
        answered(&[wire.concat(), end].concat()),
        ["stdout a", "stdout-end", "end 0 0"]
    );
    let mut out = Vec::new();
    encode::stream(&mut out, RecordType::Stdout, 1, b"");
    assert_eq!(out, b"");
}

#[test]
fn stderr_comes_at_any_time_and_needs_no_end() {
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

#[test]
fn an_end_without_the_end_of_stdout_is_accepted() {
    let wire = [
        record(STDOUT, 1, b"a", 0),
        record(END, 1, &[0, 0, 0, 9, 0, 0, 0, 0], 0),
    ];
    assert_eq!(answered(&wire.concat()), ["stdout a", "end 9 0"]);
}

#[test]
fn an_end_that_is_too_long_is_tolerated_and_one_too_short_is_not() {
    let wire = record(END, 1, b"\0\0\x01\x02\0\0\0\0and more", 0);
    assert_eq!(answered(&wire), ["end 258 0"]);
    let error = "error: the application sent EndRequest with 7 bytes, not 8";
    assert_eq!(answered(&record(END, 1, &[0; 7], 0)), [error]);
}

#[test]
fn every_protocol_status_is_told_even_one_that_there_is_not() {
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
fn an_unknown_type_is_answered_for_id_0_only() {
    let wire = [
        record(BEGIN, 1, &KEEP, 0),
        record(99, 1, b"?", 0),
        record(99, 7, b"?", 0),
        record(99, 0, b"?", 0),
        record(0, 0, b"", 0),
    ];
    assert_eq!(
        heard(&wire.concat()),
        [
            "begin 1 Responder keep",
            "unknown-type 99",
            "unknown-type 0"
        ]
    );
    let mut out = Vec::new();
    encode::unknown_type(&mut out, 99);
    assert_eq!(out, b"\x01\x0b\0\0\0\x08\0\0\x63\0\0\0\0\0\0\0");
    assert_eq!(
        answered(&[record(99, 0, b"?", 0), record(99, 1, b"?", 0)].concat()),
        [""; 0]
    );
}

#[test]
fn get_values_is_heard_at_any_time() {
    let question = record(GET_VALUES, 0, b"\x0e\x00FCGI_MAX_CONNS", 0);
    let wire = [
        question.clone(),
        record(BEGIN, 1, &KEEP, 0),
        question.clone(),
        record(PARAMS, 1, b"", 0),
        record(STDIN, 1, b"a", 0),
        record(GET_VALUES, 0, b"", 0),
        record(GET_VALUES, 0, &[b'x'; 4097], 0),
    ];
    let values = "values \\x0e\\x00FCGI_MAX_CONNS";
    let told = [
        values,
        "begin 1 Responder keep",
        values,
        "params-end 1",
        "stdin 1 a",
        "values ",
        "values ",
    ];
    assert_eq!(heard(&wire.concat()), told);

    let mut cut = listener(LIMITS);
    for byte in question.chunks(1) {
        cut.read(byte);
    }
    assert_eq!(cut.told.lines(), [values]);
    assert!(!cut.application.finished(0), "a question does not close");

    let mut out = Vec::new();
    encode::get_values_result(&mut out, &[("FCGI_MPXS_CONNS", "1")]);
    assert_eq!(out, b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS1");
    assert_eq!(answered(&out), ["values"]);
    out.clear();
    encode::get_values_result(&mut out, &[]);
    assert_eq!(out, b"\x01\x0a\0\0\0\0\0\0", "no name is known");
    out.clear();
    encode::get_values(&mut out, &["FCGI_MAX_REQS"]);
    assert_eq!(out, b"\x01\x09\0\0\0\x0f\0\0\x0d\x00FCGI_MAX_REQS");
}

#[test]
fn a_requests_record_with_id_0_breaks_the_connection() {
    for kind in [BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA] {
        let told = heard(&record(kind, 0, &KEEP, 0));
        assert!(
            told[0].starts_with("error") && told[0].contains("request id 0"),
            "{told:?}"
        );
    }
    for kind in [END, STDOUT, STDERR] {
        let told = answered(&record(kind, 0, &[0; 8], 0));
        assert!(
            told[0].starts_with("error") && told[0].contains("request id 0"),
            "{told:?}"
        );
    }
}

#[test]
fn a_management_record_with_an_id_is_ignored() {
    for kind in [GET_VALUES, VALUES_RESULT, UNKNOWN_TYPE] {
        for id in [1, 2] {
            let wire = [
                record(BEGIN, 1, &KEEP, 0),
                record(kind, id, b"\x01\x00A", 0),
            ]
            .concat();
            assert_eq!(heard(&wire), ["begin 1 Responder keep"]);
        }
    }
    for kind in [VALUES_RESULT, UNKNOWN_TYPE] {
        assert_eq!(answered(&record(kind, 1, &[0; 8], 0)), [""; 0]);
    }
}

#[test]
fn answers_to_what_was_never_asked_are_not_answered() {
    let wire = [
        record(VALUES_RESULT, 0, b"", 0),
        record(UNKNOWN_TYPE, 0, &[0; 8], 0),
    ];
    assert_eq!(heard(&wire.concat()), [""; 0]);
}

#[test]
fn a_program_that_echoes_is_no_application() {
    for kind in [BEGIN, ABORT, PARAMS, STDIN, DATA, GET_VALUES] {
        let told = answered(&record(kind, 1, &KEEP, 0));
        assert!(told[0].starts_with("error"), "{told:?}");
    }
}

#[test]
fn what_only_applications_send_is_ignored_from_a_host() {
    let wire = [
        record(BEGIN, 1, &KEEP, 0),
        record(STDOUT, 1, b"x", 0),
        record(END, 1, &[0; 8], 0),
    ];
    assert_eq!(heard(&wire.concat()), ["begin 1 Responder keep"]);
}

#[test]
fn begin_for_an_active_id_breaks_the_connection() {
    let wire = [record(BEGIN, 5, &KEEP, 0), record(BEGIN, 5, &KEEP, 0)].concat();
    assert_eq!(
        heard(&wire)[1],
        "error: the web server began request 5 twice"
    );
    let short = heard(&record(BEGIN, 5, &KEEP[..7], 0));
    assert_eq!(
        short,
        ["error: the web server sent BeginRequest with 7 bytes, not 8"]
    );
    assert_eq!(
        heard(&record(BEGIN, 5, &[&KEEP[..], b"more"].concat(), 0)),
        ["begin 5 Responder keep"]
    );
}

#[test]
fn one_request_too_many_is_refused_and_the_first_served() {
    let mut host = listener(Limits {
        requests: 1,
        ..LIMITS
    });
    host.read(
        &[
            record(BEGIN, 1, &KEEP, 0),
            record(BEGIN, 3, &KEEP, 0),
            record(PARAMS, 3, b"\x01\x00A", 0),
            record(PARAMS, 3, b"", 0),
            record(STDIN, 3, b"", 0),
            record(ABORT, 3, b"", 0),
            record(PARAMS, 1, b"", 0),
        ]
        .concat(),
    );
    assert_eq!(
        host.told.lines(),
        [
            "begin 1 Responder keep",
            "too-many-requests 3",
            "params-end 1"
        ]
    );
    assert_eq!(host.application.active(), 1);
    assert!(!host.application.finished(3));
    assert!(!host.application.finished(1));
    host.read(&record(BEGIN, 3, &KEEP, 0));
    assert_eq!(host.told.lines()[3], "begin 3 Responder keep");
}

#[test]
fn ids_are_any_and_free_again_after_the_answer() {
    let mut host = listener(LIMITS);
    let ids = [1, 255, 256, 257, 32_767, 65_535, 1, 65_535, 2];
    for id in ids {
        host.read(
            &[
                record(BEGIN, id, &KEEP, 0),
                record(PARAMS, id, b"", 0),
                record(STDIN, id, b"", 0),
            ]
            .concat(),
        );
        let told = host.told.lines();
        let last: Vec<_> = told.iter().rev().take(3).rev().collect();
        assert_eq!(
            last,
            [
                &format!("begin {id} Responder keep"),
                &format!("params-end {id}"),
                &format!("stdin-end {id}")
            ]
        );
        assert!(!host.application.finished(id));

        let mut out = Vec::new();
        encode::response_end(&mut out, id, 0);
        assert!(
            records(&out)
                .iter()
                .all(|(fragment, _)| fragment.header.request_id == id),
            "echoed"
        );
    }
    assert!(host.application.idle());
}

#[test]
fn records_of_an_inactive_id_are_ignored_and_counted() {
    let mut host = listener(LIMITS);
    let late = [
        record(STDIN, 9, &[b'x'; 1000], 0),
        record(PARAMS, 9, b"x", 0),
        record(ABORT, 9, b"", 0),
    ]
    .concat();
    host.read(&late);
    assert_eq!(host.told.lines(), [""; 0]);
    assert_eq!(host.application.ignored(), late.len() as u64);
    host.read(&late);
    assert_eq!(host.application.ignored(), 2 * late.len() as u64);
    host.read(&record(BEGIN, 1, &KEEP, 0));
    assert_eq!(host.application.ignored(), 0);

    let wire = [
        record(STDOUT, 2, b"x", 0),
        record(END, 2, &[0; 8], 0),
        record(STDERR, 2, b"x", 0),
    ];
    assert_eq!(answered(&wire.concat()), [""; 0]);
}

#[test]
fn the_rest_of_a_record_that_is_over_is_not_the_next_requests() {
    let mut worker = Asker::new(None);
    worker.read(&record(END, 1, &[0; 8], 0));
    let late = record(STDOUT, 1, b"late", 0);
    worker.read(&late[..HEADER_LEN + 2]);
    worker.web_server.begin(1);
    worker.read(&late[HEADER_LEN + 2..]);
    worker.read(&record(STDOUT, 1, b"new", 0));
    assert_eq!(worker.told.lines(), ["end 0 0", "stdout new"]);

    let mut host = listener(LIMITS);
    host.read(&[record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat());
    let body = record(STDIN, 1, b"body", 0);
    host.read(&body[..HEADER_LEN + 2]);
    assert!(!host.application.finished(1));
    host.read(&body[HEADER_LEN + 2..]);
    host.read(&record(BEGIN, 1, &KEEP, 0));
    let begin = "begin 1 Responder keep";
    assert_eq!(
        host.told.lines(),
        [begin, "params-end 1", "stdin 1 bo", begin]
    );
}

#[test]
fn abort_is_told_once_at_any_phase() {
    let phases = [
        record(BEGIN, 1, &KEEP, 0),
        record(PARAMS, 1, b"\x01\x00A", 0),
        record(PARAMS, 1, b"", 0),
        record(STDIN, 1, b"a", 0),
        record(STDIN, 1, b"", 0),
    ];
    for until in 1..=phases.len() {
        let mut host = listener(LIMITS);
        host.read(&phases[..until].concat());
        let before = host.told.lines();
        host.read(&record(ABORT, 1, b"", 0));
        host.read(&record(ABORT, 1, b"", 0));
        host.read(&phases[until..].concat());
        let told = host.told.lines();
        assert_eq!(
            told,
            [&before[..], &["abort 1".to_owned()]].concat(),
            "after {until} records"
        );
        assert_eq!(host.application.active(), 1, "until it is finished");
        assert!(!host.application.finished(1));
        host.read(&record(ABORT, 1, b"", 0));
        assert_eq!(host.told.lines(), told, "late");
    }
}

#[test]
fn abort_does_not_hurt_the_siblings() {
    let wire = [
        record(BEGIN, 1, &KEEP, 0),
        record(BEGIN, 2, &KEEP, 0),
        record(PARAMS, 2, b"", 0),
        record(STDIN, 2, b"a", 0),
        record(ABORT, 1, b"", 0),
        record(STDIN, 2, b"b", 0),
        record(STDIN, 2, b"", 0),
    ];
    let told = heard(&wire.concat());
    assert_eq!(
        told[2..],
        [
            "params-end 2",
            "stdin 2 a",
            "abort 1",
            "stdin 2 b",
            "stdin-end 2"
        ]
    );
}

#[test]
fn the_connection_closes_after_the_last_request_if_one_asked_for_it() {
    let mut host = listener(LIMITS);
    host.read(&record(BEGIN, 1, &KEEP, 0));
    assert!(!host.application.finished(1));
    host.read(&[record(BEGIN, 1, &CLOSE, 0), record(BEGIN, 2, &KEEP, 0)].concat());
    assert!(!host.application.finished(1), "another is active");
    assert!(host.application.finished(2));

    let mut refused = listener(LIMITS);
    refused.read(&record(BEGIN, 1, &[0, 9, 0, 0, 0, 0, 0, 0], 0));
    assert_eq!(refused.told.lines(), ["unknown-role 1"]);
    assert!(
        refused.application.finished(1),
        "a refused request closes, too"
    );
}

#[test]
fn another_version_or_protocol_breaks_the_connection_at_its_first_byte() {
    for byte in [0, 2, 0xff, 0x16, b'G'] {
        let told = heard(&[record(BEGIN, 1, &KEEP, 0), vec![byte]].concat());
        assert_eq!(
            told,
            [
                "begin 1 Responder keep",
                "error: the web server does not send FastCGI records"
            ]
        );
        assert_eq!(
            answered(&[byte]),
            ["error: the application does not send FastCGI records"]
        );
    }
}

#[test]
fn every_role_is_told_and_an_unknown_one_refused() {
    for (role, name) in [(1, "Responder"), (2, "Authorizer"), (3, "Filter")] {
        let wire = record(BEGIN, 1, &[0, role, 0, 0, 0, 0, 0, 0], 0);
        assert_eq!(heard(&wire), [format!("begin 1 {name} close")]);
    }
    for role in [[0, 0], [0, 4], [1, 1]] {
        let begin = record(BEGIN, 1, &[role[0], role[1], 1, 0, 0, 0, 0, 0], 0);
        let wire = [begin, record(PARAMS, 1, b"", 0), record(STDIN, 1, b"", 0)].concat();
        assert_eq!(heard(&wire), ["unknown-role 1"]);
    }
    let responder = [
        record(BEGIN, 1, &KEEP, 0),
        record(PARAMS, 1, b"", 0),
        record(DATA, 1, b"x", 0),
    ]
    .concat();
    assert_eq!(
        heard(&responder)[1..],
        ["params-end 1"],
        "only a filter gets data"
    );
}

#[test]
fn reserved_bytes_are_written_0_and_not_read() {
    let mut out = Vec::new();
    encode::begin_request(&mut out, 0x0102, Role::Responder, true);
    encode::end_request(&mut out, 0x0102, 0x0304_0506, ProtocolStatus::Overloaded);
    encode::abort_request(&mut out, 0x0102);
    assert_eq!(
        out,
        b"\x01\x01\x01\x02\0\x08\0\0\0\x01\x01\0\0\0\0\0\
          \x01\x03\x01\x02\0\x08\0\0\x03\x04\x05\x06\x02\0\0\0\
          \x01\x02\x01\x02\0\0\0\0"
    );
    let mut wire = record(BEGIN, 1, &[0, 1, 0xff, 9, 9, 9, 9, 9], 0);
    wire[7] = 0x55;
    assert_eq!(heard(&wire), ["begin 1 Responder keep"]);
}

#[test]
fn too_many_parameters_are_refused_before_they_are_received() {
    let mut host = listener(Limits {
        params: 100,
        ..LIMITS
    });
    host.read(
        &[
            record(BEGIN, 1, &KEEP, 0),
            record(PARAMS, 1, &[b'p'; 100], 0),
        ]
        .concat(),
    );
    let header = Header::new(RecordType::Params, 1, 1000).encode();
    host.read(&[&header[..], b"p"].concat());
    assert_eq!(
        host.told.lines().last().map(String::as_str),
        Some("params-too-long 1")
    );
    let before = host.told.lines();
    host.read(
        &[
            vec![b'p'; 999],
            record(PARAMS, 1, b"", 0),
            record(STDIN, 1, b"x", 0),
        ]
        .concat(),
    );
    assert!(!host.application.stdin_ended(1));
    host.read(&record(STDIN, 1, b"", 0));
    assert!(host.application.stdin_ended(1), "known, though not told");
    assert_eq!(host.told.lines(), before);
    host.read(&record(ABORT, 1, b"", 0));
    assert_eq!(
        host.told.lines().last().map(String::as_str),
        Some("abort 1")
    );
}

#[test]
fn open_requests_are_limited() {
    let mut host = listener(LIMITS);
    for id in 1..=u16::MAX {
        host.read(&record(BEGIN, id, &KEEP, 0));
    }
    assert_eq!(host.application.active(), LIMITS.requests);
    assert_eq!(Application::new(LIMITS).active(), 0);
}

#[test]
fn response_heads_are_read_as_hosts_read_them_or_refused() {
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

/// What an application hears that answers nothing.
fn heard(wire: &[u8]) -> Vec<String> {
    let mut host = listener(LIMITS);
    host.read(wire);
    host.told.lines()
}

/// What a web server hears that has asked once, with id 1.
fn answered(wire: &[u8]) -> Vec<String> {
    let mut worker = Asker::new(None);
    worker.read(wire);
    worker.told.lines()
}

fn listener(limits: Limits) -> Listener {
    Listener::new(limits, false)
}

fn record(kind: u8, request_id: u16, content: &[u8], padding_length: u8) -> Vec<u8> {
    let content_length = u16::try_from(content.len()).unwrap();
    let header = Header {
        kind,
        request_id,
        content_length,
        padding_length,
    };
    let mut record = header.encode().to_vec();
    record.extend_from_slice(content);
    record.resize(record.len() + usize::from(padding_length), 0xaa);
    record
}

fn records(wire: &[u8]) -> Vec<(Fragment, &[u8])> {
    let mut splitter = Splitter::new();
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(fragment) = splitter.next(wire, at).unwrap() {
        assert!(fragment.is_whole());
        records.push((fragment, fragment.content.of(wire)));
        at = fragment.end;
    }
    assert!(splitter.at_boundary());
    records
}
