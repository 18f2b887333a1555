//! The parameters: reassembly, lengths, limits.

use stockade_protocol::{
    application::Limits,
    encode::{self, PairTooLong},
    name_value::{PairError, Pairs, encode_pair},
    record::{Header, RecordType},
    values::Values,
};

use crate::wire::{ABORT, BEGIN, KEEP, LIMITS, PARAMS, STDIN, heard, listener, record, records};

/// FastCGI 1.0, 3.3, 3.4.
#[test]
fn trap_01_hosts_may_cut_params_anywhere() {
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

/// FastCGI 1.0, 3.4.
#[test]
fn trap_02_workers_get_whole_pairs_in_each_record() {
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

/// FastCGI 1.0, 3.4.
#[test]
fn trap_02_workers_get_no_pair_too_long_for_php() {
    let mut pairs = Vec::new();
    encode_pair(&mut pairs, b"A", b"b");
    encode_pair(&mut pairs, b"N", &[b'v'; 65_528]);
    let mut wire = b"before".to_vec();
    assert_eq!(encode::params(&mut wire, 1, &pairs), Err(PairTooLong));
    assert_eq!(wire, b"before", "nothing half-written");
}

/// FastCGI 1.0, 3.4.
#[test]
fn trap_03_hosts_and_workers_may_write_a_small_length_in_four_bytes() {
    let pairs =
        Pairs::new(b"\x80\x00\x00\x05\x80\x00\x00\x02HTTPSon").collect::<Result<Vec<_>, _>>();
    assert_eq!(pairs, Ok(vec![(&b"HTTPS"[..], &b"on"[..])]));
    let values = Values::read(b"\x80\x00\x00\x0f\x80\x00\x00\x01FCGI_MPXS_CONNS1");
    assert_eq!(values.map(|values| values.mpxs_conns), Ok(Some(true)));
}

/// FastCGI 1.0, 3.4.
#[test]
fn trap_03_lengths_of_hosts_and_workers_that_overflow_are_refused() {
    for lengths in [
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x00\x00\x01\xff\xff\xff\xff",
    ] {
        let stream = [&lengths[..], &[b'x'; 100]].concat();
        assert_eq!(
            Pairs::new(&stream).collect::<Vec<_>>(),
            [Err(PairError::Truncated)]
        );
        assert_eq!(Values::read(&stream), Err(PairError::Truncated));
    }
}

/// FastCGI 1.0, 3.4.
#[test]
fn trap_04_pairs_of_hosts_and_workers_longer_than_their_stream_are_malformed() {
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
        assert_eq!(Values::read(stream), Err(PairError::Truncated));
    }
    let mut pairs = Pairs::new(b"\x01\x01Ab\x05\x05x");
    assert_eq!(pairs.next(), Some(Ok((&b"A"[..], &b"b"[..]))));
    assert_eq!(pairs.next(), Some(Err(PairError::Truncated)));
    assert_eq!(pairs.next(), None);
}

/// FastCGI 1.0, 3.4.
#[test]
fn trap_05_hosts_may_send_empty_and_double_names_but_no_nul_or_equals() {
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

/// FastCGI 1.0, 5.2.
#[test]
fn trap_06_hosts_may_send_no_params() {
    let wire = [record(BEGIN, 1, &KEEP, 0), record(PARAMS, 1, b"", 0)].concat();
    assert_eq!(heard(&wire), ["begin 1 Responder keep", "params-end 1"]);
    assert_eq!(Pairs::new(b"").next(), None);
}

/// FastCGI 1.0, 5.2.
#[test]
fn trap_06_hosts_that_begin_stdin_before_the_end_of_params_break_that_request_alone() {
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

/// FastCGI 1.0, 5.2.
#[test]
fn trap_33_hosts_that_send_too_many_params_are_refused_before_they_are_received() {
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
    assert!(!host.application.input_ended(1));
    host.read(&record(STDIN, 1, b"", 0));
    assert!(host.application.input_ended(1), "known, though not told");
    assert_eq!(host.told.lines(), before);
    host.read(&record(ABORT, 1, b"", 0));
    assert_eq!(
        host.told.lines().last().map(String::as_str),
        Some("abort 1")
    );
}
