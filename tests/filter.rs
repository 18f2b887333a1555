//! The role of a filter: a request with a body and a file behind it, which no web server sends and the specification has.

use std::thread;

use serde_json::Value;
use stockade_protocol::{
    encode::{self, Role},
    record::RecordType,
};

use crate::support::{deadline::wait_for, fcgi, pattern::Maker, stockade::Stockade};

const ID: u16 = 1;
const MIB: u64 = 1024 * 1024;

#[test]
fn a_filter_gets_its_body_and_its_file() {
    let stockade = Stockade::scripted("processes = 1");
    for (body, file) in [(0, 0), (5, 100_000), (100_000, 0), (3 * MIB, 20 * MIB)] {
        let mut host = stockade.connect();
        host.write(&head("", body)).unwrap();
        send(&mut host, RecordType::Stdin, body);
        send(&mut host, RecordType::Data, file);
        let answer = host.answer().unwrap();
        assert_eq!((answer.status(), answer.ended), (200, Some(0)));
        for (name, value) in [
            ("length", body),
            ("wrong", 0),
            ("file", file),
            ("file-wrong", 0),
        ] {
            assert_eq!(answer.fact(name), value.to_string(), "{body} {file} {name}");
        }
    }
}

#[test]
fn a_filter_that_waits_for_a_worker_is_not_lost() {
    let stockade = Stockade::scripted("processes = 1");
    let open = stockade.site.path().join("open");
    let mut first = stockade.connect();
    first.begin("GET", &format!("wait={}", open.display()), &[]);
    let mut host = stockade.connect();
    // more than is held: the rest waits with the host
    let sender = thread::spawn(move || {
        host.write(&head("", 7)).unwrap();
        send(&mut host, RecordType::Stdin, 7);
        send(&mut host, RecordType::Data, 3 * MIB);
        host.answer().unwrap()
    });
    wait_for("the filter to wait", || {
        let (_, status, _) = stockade.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("JSON");
        (status["pools"][0]["queue"]["length"] == 1).then_some(())
    });
    stockade.site.write("open", "");
    assert_eq!(first.answer().unwrap().status(), 200);
    let answer = sender.join().expect("it is answered");
    assert_eq!(answer.fact("file-wrong"), "0");
    assert_eq!(
        (answer.fact("length"), answer.fact("file")),
        ("7".into(), (3 * MIB).to_string())
    );
}

#[test]
fn a_worker_that_is_no_filter_is_a_bad_gateway() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    host.write(&head("refuse-role", 0)).unwrap();
    send(&mut host, RecordType::Stdin, 0);
    send(&mut host, RecordType::Data, 10);
    let answer = host.answer().unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(
        answer.header("Stockade-Cause").as_deref(),
        Some("request-rejected")
    );
    assert_eq!(stockade.connect().get("").status(), 200);
}

/// BEGIN_REQUEST and the parameters.
fn head(query: &str, length: u64) -> Vec<u8> {
    let length = usize::try_from(length).expect("it fits in memory");
    let responder = fcgi::head(ID, "POST", query, Some(length));
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, ID, Role::Filter, true);
    let begin = bytes.len();
    bytes.extend_from_slice(&responder[begin..]);
    bytes
}

/// A stream of so much of the pattern, to its end.
fn send(host: &mut fcgi::Fcgi, kind: RecordType, length: u64) {
    let mut maker = Maker::new(length);
    let mut bytes = Vec::new();
    while let Some(piece) = maker.next_piece() {
        bytes.clear();
        encode::stream(&mut bytes, kind, ID, piece);
        host.write(&bytes).expect("the pool takes all of it");
    }
    bytes.clear();
    encode::stream_end(&mut bytes, kind, ID);
    host.write(&bytes).expect("the pool takes all of it");
}
