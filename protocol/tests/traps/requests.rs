//! The lives of requests on a connection.

use stockade_protocol::{
    application::{Application, Limits},
    encode::{self, Role},
    head,
    record::RecordType,
};

use crate::told::Asker;
use crate::wire::{
    ABORT, BEGIN, CLOSE, DATA, END, KEEP, LIMITS, PARAMS, STDERR, STDIN, STDOUT, answered, heard,
    listener, record, records,
};

/// FastCGI 1.0, 5.3.
#[test]
fn trap_07_hosts_may_leave_out_the_end_of_stdin_or_send_it_late() {
    let mut host = listener(LIMITS);
    host.read(&[record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat());
    assert_eq!(
        host.told.lines(),
        ["begin 1 Responder keep", "params-end 1"]
    );
    assert!(!host.application.input_ended(1));
    assert!(!host.application.finished(1), "kept");
    assert!(host.application.idle());
    host.read(&record(STDIN, 1, b"", 0));
    assert_eq!(host.told.lines().len(), 2, "swallowed");
    assert!(host.application.idle());
}

/// FastCGI 1.0, 6.4.
#[test]
fn a_filter_has_sent_all_when_its_file_has_ended_too() {
    let mut host = listener(LIMITS);
    host.read(&record(BEGIN, 1, &[0, 3, 1, 0, 0, 0, 0, 0], 0));
    host.read(&[record(PARAMS, 1, b"", 0), record(STDIN, 1, b"", 0)].concat());
    assert!(!host.application.input_ended(1));
    host.read(&[record(DATA, 1, b"a", 0), record(DATA, 1, b"", 0)].concat());
    assert!(host.application.input_ended(1));
}

/// FastCGI 1.0, 3.3.
#[test]
fn trap_09_hosts_may_send_more_after_the_end_of_a_stream() {
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
fn what_only_applications_send_is_ignored_from_a_host() {
    let wire = [
        record(BEGIN, 1, &KEEP, 0),
        record(STDOUT, 1, b"x", 0),
        record(END, 1, &[0; 8], 0),
    ];
    assert_eq!(heard(&wire.concat()), ["begin 1 Responder keep"]);
}

/// FastCGI 1.0, 5.3, 5.5.
#[test]
fn trap_16_hosts_may_be_answered_before_the_end_of_stdin() {
    let mut host = listener(LIMITS);
    let begin = [record(BEGIN, 1, &CLOSE, 0), record(PARAMS, 1, b"", 0)].concat();
    host.read(&[&begin[..], &record(STDIN, 1, b"half", 0)].concat());
    assert!(!host.application.input_ended(1), "more is on its way");
    assert!(host.application.finished(1));
    let told = host.told.lines();
    let rest = [record(STDIN, 1, b"half", 0), record(STDIN, 1, b"", 0)].concat();
    host.read(&rest);
    assert_eq!(host.told.lines(), told, "ignored");
    assert_eq!(host.application.ignored(), rest.len() as u64, "and counted");
}

/// FastCGI 1.0, 3.3, 5.1.
#[test]
fn trap_22_hosts_that_begin_an_active_id_break_the_connection() {
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

/// FastCGI 1.0, 5.5.
#[test]
fn trap_23_hosts_that_begin_one_request_too_many_have_it_refused_and_the_first_served() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_24_hosts_may_use_any_id_and_the_same_again_after_the_answer() {
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

/// FastCGI 1.0, 3.3.
#[test]
fn trap_24_workers_may_be_given_any_id_and_the_same_again_after_the_end() {
    let mut worker = Asker::new(None);
    worker.read(&record(END, 1, &[0; 8], 0));
    for id in [65_535, 256, 255, 1, 1, 32_767] {
        let mut out = Vec::new();
        encode::begin_request(&mut out, id, Role::Responder, true);
        assert_eq!(out[2..4], id.to_be_bytes(), "as it is");
        worker.web_server.begin(id);
        let other = id ^ 0x0101;
        worker.read(&[record(STDOUT, other, b"no", 0), record(END, id, &[0; 8], 0)].concat());
    }
    assert_eq!(worker.told.lines(), ["end 0 0"; 7]);
}

/// FastCGI 1.0, 3.3.
#[test]
fn trap_25_records_of_hosts_and_workers_with_an_inactive_id_are_ignored() {
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

/// FastCGI 1.0, 5.4.
#[test]
fn trap_26_hosts_may_abort_at_any_phase_and_twice() {
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

/// FastCGI 1.0, 5.4, 5.5.
#[test]
fn trap_26_workers_that_end_an_aborted_request_twice_have_ended_it_once() {
    let mut out = Vec::new();
    encode::abort_request(&mut out, 7);
    assert_eq!(out, b"\x01\x02\0\x07\0\0\0\0");
    let wire = [
        record(END, 1, &[0; 8], 0),
        record(STDOUT, 1, b"still running", 0),
        record(STDOUT, 1, b"", 0),
        record(END, 1, &[0; 8], 0),
    ];
    assert_eq!(answered(&wire.concat()), ["end 0 0"]);
}

/// FastCGI 1.0, 5.4.
#[test]
fn trap_27_hosts_that_abort_one_request_keep_the_others() {
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

/// FastCGI 1.0, 5.1.
#[test]
fn trap_29_hosts_that_keep_no_connection_are_closed_after_the_last_request() {
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

/// FastCGI 1.0, 6.
#[test]
fn trap_31_hosts_may_ask_for_every_role_and_an_unknown_one_is_refused() {
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

/// FastCGI 1.0, 6.3, 6.4.
#[test]
fn trap_31_workers_may_be_asked_to_authorize_and_to_filter() {
    let mut out = Vec::new();
    encode::begin_request(&mut out, 1, Role::Filter, true);
    encode::params(&mut out, 1, b"\x10\x01FCGI_DATA_LENGTH4").expect("a short pair");
    encode::stream_end(&mut out, RecordType::Stdin, 1);
    encode::stream(&mut out, RecordType::Data, 1, b"file");
    encode::stream_end(&mut out, RecordType::Data, 1);
    let told = [
        "begin 1 Filter keep",
        "params 1 \\x10\\x01FCGI_DATA_LENGTH4",
        "params-end 1",
        "stdin-end 1",
        "data 1 file",
        "data-end 1",
    ];
    assert_eq!(heard(&out), told);

    let head = b"Status: 200\nVariable-AUTH_METHOD: database\nvariable-A: b\n\n";
    let variables: Vec<_> = head::fields(head)
        .filter_map(|(name, value)| Some((head::variable(name)?, value)))
        .collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"AUTH_METHOD", b"database"), (b"A", b"b")];
    assert_eq!(variables, expected);
    assert_eq!(head::variable(b"Variable-"), None);
}

/// FastCGI 1.0, 5.1.
#[test]
fn trap_33_hosts_may_open_so_many_requests_and_no_more() {
    let mut host = listener(LIMITS);
    for id in 1..=u16::MAX {
        host.read(&record(BEGIN, id, &KEEP, 0));
    }
    assert_eq!(host.application.active(), LIMITS.requests);
    assert_eq!(Application::new(LIMITS).active(), 0);
}
