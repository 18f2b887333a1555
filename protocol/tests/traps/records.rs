//! Records of any kind: headers, padding, ids, management.

use stockade_protocol::{
    encode::{self, ProtocolStatus, Role},
    record::HEADER_LEN,
};

use crate::told::Asker;
use crate::wire::{
    ABORT, BEGIN, DATA, END, GET_VALUES, KEEP, LIMITS, PARAMS, STDERR, STDIN, STDOUT, UNKNOWN_TYPE,
    VALUES_RESULT, answered, heard, listener, record,
};

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
