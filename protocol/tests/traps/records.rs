//! Records of any kind: headers, padding, ids, management.

use stockade_protocol::{
    encode::{self, ProtocolStatus, Role},
    record::HEADER_LEN,
    values::{NAMES, Values},
};

use crate::told::Asker;
use crate::wire::{
    ABORT, BEGIN, DATA, END, GET_VALUES, KEEP, LIMITS, PARAMS, STDERR, STDIN, STDOUT, UNKNOWN_TYPE,
    VALUES_RESULT, answered, heard, listener, record,
};

/// FastCGI 1.0, 3.3.
#[test]
fn trap_10_hosts_and_workers_may_pad_any_record_and_send_the_padding_later() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_11_hosts_and_workers_may_send_the_longest_content_with_the_longest_padding() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_12_hosts_and_workers_may_cut_a_header_at_any_byte() {
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

    let wire = [
        record(BEGIN, 1, &KEEP, 1),
        record(PARAMS, 1, b"\x01\x00A", 0),
        record(PARAMS, 1, b"", 0),
        record(STDIN, 1, b"body", 2),
        record(STDIN, 1, b"", 0),
    ]
    .concat();
    let whole = heard(&wire);
    assert_eq!(whole.len(), 5, "{whole:?}");
    for at in 0..wire.len() {
        let mut host = listener(LIMITS);
        host.read(&wire[..at]);
        host.read(&wire[at..]);
        assert_eq!(host.told.lines(), whole, "cut at {at}");
    }
}

/// FastCGI 1.0, 4.2.
#[test]
fn trap_19_unknown_types_of_hosts_and_workers_are_answered_for_id_0_only() {
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
    let wire = [
        out,
        record(UNKNOWN_TYPE, 0, b"", 0),
        record(UNKNOWN_TYPE, 0, b"\x0c", 3),
    ];
    assert_eq!(
        answered(&wire.concat()),
        ["unknown-type 99", "unknown-type 12"],
        "what a worker does not know"
    );
}

/// FastCGI 1.0, 4.1.
#[test]
fn trap_20_hosts_may_ask_for_values_at_any_time() {
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
}

/// FastCGI 1.0, 4.1.
#[test]
fn trap_20_hosts_get_the_values_that_they_asked_for_and_no_other() {
    let known = Values {
        max_conns: Some(1),
        max_reqs: None,
        mpxs_conns: Some(false),
    };
    for (asked, answer) in [
        (&b""[..], &b"\x01\x0a\0\0\0\0\0\0"[..]),
        (
            b"\x0d\x00FCGI_MAX_REQS\x05\x00OTHER",
            b"\x01\x0a\0\0\0\0\0\0",
        ),
        (
            b"\x0f\x00FCGI_MPXS_CONNS\x0f\x00FCGI_MPXS_CONNS",
            b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS0",
        ),
        (
            b"\x0e\x00FCGI_MAX_CONNS\x7fbroken",
            b"\x01\x0a\0\0\0\x11\0\0\x0e\x01FCGI_MAX_CONNS1",
        ),
    ] {
        let mut out = Vec::new();
        known.answer(&mut out, asked);
        assert_eq!(out, answer, "{}", asked.escape_ascii());
    }
}

/// FastCGI 1.0, 4.1.
#[test]
fn trap_20_workers_may_answer_a_question_late_partly_or_not_at_all() {
    let mut out = Vec::new();
    encode::get_values(&mut out, &NAMES[1..2]);
    assert_eq!(out, b"\x01\x09\0\0\0\x0f\0\0\x0d\x00FCGI_MAX_REQS");

    out.clear();
    encode::get_values_result(&mut out, &[("FCGI_MPXS_CONNS", "1")]);
    assert_eq!(out, b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS1");
    let wire = [
        record(STDOUT, 1, b"a", 0),
        out,
        record(VALUES_RESULT, 0, b"", 0),
        record(VALUES_RESULT, 0, &[b'x'; 4097], 0),
        record(END, 1, &[0; 8], 0),
    ];
    let told = [
        "stdout a",
        "values \\x0f\\x01FCGI_MPXS_CONNS1",
        "values ",
        "values ",
        "end 0 0",
    ];
    assert_eq!(answered(&wire.concat()), told);
    let mut cut = Asker::new(None);
    for byte in wire.concat().chunks(1) {
        cut.read(byte);
    }
    assert_eq!(cut.told.lines(), told, "byte by byte");
}

/// FastCGI 1.0, 3.3.
#[test]
fn trap_21_hosts_and_workers_may_not_send_records_of_requests_with_id_0() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_21_management_records_of_hosts_and_workers_with_an_id_are_ignored() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_25_rests_of_records_of_hosts_and_workers_are_not_the_next_requests() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_30_hosts_and_workers_of_another_version_are_known_by_the_first_byte() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_32_hosts_and_workers_get_reserved_bytes_of_0_and_may_send_any() {
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
