//! `request-buffering` and what goes with it: bodies in memory and in files, and the limits of both.

use std::{fs, os::unix::fs::PermissionsExt as _};

use stockade_protocol::{
    encode::{self, Role},
    name_value::encode_pair,
    record::RecordType,
};

use crate::support::{
    deadline::wait_for,
    fcgi::head,
    process,
    site::Site,
    stockade::{Pool, Stockade},
};

const LARGE: usize = 10_000_000;

#[test]
fn a_slow_sender_occupies_no_worker() {
    let stockade = Stockade::scripted("processes = 1");
    let mut slow = stockade.connect();
    let body = vec![b'x'; LARGE];
    let mut bytes = head(1, "POST", "echo", Some(LARGE));
    encode::stream(&mut bytes, RecordType::Stdin, 1, &body[..LARGE / 2]);
    slow.write(&bytes).unwrap();
    slow.wait_read();
    // the only worker is free for others
    assert_eq!(stockade.connect().get("").status(), 200);
    let mut rest = Vec::new();
    encode::stream(&mut rest, RecordType::Stdin, 1, &body[LARGE / 2..]);
    encode::stream_end(&mut rest, RecordType::Stdin, 1);
    slow.write(&rest).unwrap();
    let answer = slow.answer().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        answer.stdout.ends_with(&body),
        "{} bytes",
        answer.stdout.len()
    );
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    let site = Site::new();
    let folder = spool_dir(&site);
    let keys = format!("spool-dir = {folder:?}\nrequest-buffer-size = \"10KiB\"");
    let worker = Pool::scripted(&site, &[], &keys);
    let stockade = Stockade::ready(site, &[worker]);
    let mut host = stockade.connect();
    for length in [
        0, 1, 10_239, 10_240, 10_241, 131_072, 200_000, 1_048_577, LARGE,
    ] {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let answer = host.ask("POST", "echo", &body);
        assert_eq!(answer.status(), 200, "{length}");
        assert!(answer.stdout.ends_with(&body), "{length}");
        assert_eq!(answer.body_length(), length);
    }
    // what was there had no name
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_body_in_a_file_comes_behind_parameters_of_any_length() {
    let stockade = Stockade::scripted("processes = 1\nheader-limit = \"1MiB\"");
    let mut host = stockade.connect();
    // around what waits for a worker at most before more is read from the file
    for length in [1000, 65_000, 65_536, 66_000, 140_000] {
        let mut bytes = Vec::new();
        encode::begin_request(&mut bytes, 1, Role::Responder, true);
        let mut params = Vec::new();
        for (number, part) in vec![b'x'; length].chunks(30_000).enumerate() {
            encode_pair(&mut params, format!("HTTP_X_{number}").as_bytes(), part);
        }
        encode_pair(&mut params, b"CONTENT_LENGTH", b"100000");
        encode::params(&mut bytes, 1, &params).unwrap();
        encode::stream(&mut bytes, RecordType::Stdin, 1, &vec![b'x'; 100_000]);
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        host.write(&bytes).unwrap();
        let answer = host.answer().unwrap();
        assert_eq!(answer.status(), 200, "{length}");
        assert_eq!(answer.fact("length"), "100000", "{length}");
    }
}

#[test]
fn trap_08_workers_get_a_length_where_hosts_sent_none() {
    let stockade = Stockade::scripted("");
    let mut host = stockade.connect();
    for (query, expected) in [("show=CONTENT_LENGTH", "5"), ("echo", "hello")] {
        let mut bytes = head(1, "POST", query, None);
        encode::stream(&mut bytes, RecordType::Stdin, 1, b"hel");
        encode::stream(&mut bytes, RecordType::Stdin, 1, b"lo");
        encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        host.write(&bytes).unwrap();
        assert_eq!(host.answer().unwrap().body(), expected);
    }
}

#[test]
fn a_body_over_its_limit_is_answered_413_declared_or_not() {
    let stockade = Stockade::scripted("request-body-limit = \"100KiB\"\nprocesses = 1");
    let limit = 100 << 10;
    assert_eq!(
        stockade
            .connect()
            .ask("POST", "", &vec![b'x'; limit])
            .status(),
        200
    );
    let mut declared = stockade.connect();
    declared
        .write(&head(1, "POST", "", Some(limit + 1)))
        .unwrap();
    let answer = declared.answer().unwrap();
    assert_eq!(cause(&answer), (413, "request-body-limit".to_owned()));
    let mut undeclared = stockade.connect();
    let mut bytes = head(1, "POST", "", None);
    encode::stream(&mut bytes, RecordType::Stdin, 1, &vec![b'x'; limit + 1]);
    undeclared.write(&bytes).unwrap();
    let answer = undeclared.answer().unwrap();
    assert_eq!(cause(&answer), (413, "request-body-limit".to_owned()));
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn files_of_a_pool_have_a_limit_together_and_are_given_back() {
    let stockade =
        Stockade::scripted("spool-limit = \"1MiB\"\nrequest-buffer-size = \"1KiB\"\nprocesses = 1");
    let body = vec![b'x'; 600_000];
    let mut first = stockade.connect();
    let mut bytes = head(1, "POST", "", Some(body.len()));
    encode::stream(&mut bytes, RecordType::Stdin, 1, &body[..599_999]);
    first.write(&bytes).unwrap();
    first.wait_read();
    let answer = stockade.connect().ask("POST", "", &body);
    assert_eq!(cause(&answer), (503, "spool-limit".to_owned()));
    // with the first one gone there is room
    drop(first);
    wait_for("room for a body", || {
        (stockade.connect().ask("POST", "", &body).status() == 200).then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_made_is_a_503_with_the_reason_in_the_log() {
    let site = Site::new();
    let folder = spool_dir(&site);
    let worker = Pool::scripted(&site, &[], &format!("spool-dir = {folder:?}"));
    let stockade = Stockade::ready(site, &[worker]);
    fs::remove_dir(&folder).unwrap();
    let answer = stockade.connect().ask("POST", "", &vec![b'x'; LARGE]);
    assert_eq!(cause(&answer), (503, "spool-failed".to_owned()));
    stockade.log.wait(&[
        "WARN",
        "pool app",
        "could not write",
        &folder,
        "`spool-dir`",
    ]);
    assert_eq!(stockade.connect().ask("POST", "", b"short").status(), 200);
}

#[test]
fn a_put_of_any_length_is_replayed() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = stockade.site.path().join("gate");
    let query = format!("wait={}", gate.display());
    let mut host = stockade.connect();
    host.begin("PUT", &query, &vec![b'x'; LARGE]);
    let busy = wait_for("a busy worker", || {
        let (_, status, _) = stockade.ask(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let workers = status["pools"][0]["workers"].as_array()?;
        let busy = workers.iter().find(|worker| worker["busy"] == 1)?;
        i32::try_from(busy["pid"].as_i64()?).ok()
    });
    assert!(process::signal(busy, nix::sys::signal::Signal::SIGKILL));
    stockade.log.wait(&["pool app: request", "is replayed"]);
    fs::write(gate, "").unwrap();
    let answer = host.answer().unwrap();
    assert_eq!(
        (answer.status(), &*answer.fact("length")),
        (200, "10000000")
    );
}

#[test]
fn not_buffered_a_body_is_passed_on_as_it_comes() {
    let stockade = Stockade::scripted("request-buffering = false\nprocesses = 1");
    let mut slow = stockade.connect();
    let mut bytes = head(1, "POST", "unread", Some(10));
    encode::stream(&mut bytes, RecordType::Stdin, 1, b"hello");
    slow.write(&bytes).unwrap();
    // its worker answers without having seen the end
    assert_eq!(slow.answer().unwrap().status(), 200);
}

#[test]
fn parameters_and_heads_have_the_limits_that_are_set() {
    let stockade = Stockade::scripted("header-limit = \"2KiB\"\nheader-buffer-size = \"1KiB\"");
    let long = "x".repeat(3000);
    let answer = stockade.connect().get(&long);
    assert_eq!(cause(&answer), (431, "header-limit".to_owned()));
    let answer = stockade
        .connect()
        .get(&format!("status=200+{}", &long[..1500]));
    assert_eq!(cause(&answer), (502, "response-head-too-large".to_owned()));
    assert_eq!(stockade.connect().get("").status(), 200);
}

/// A folder that the relay's account may write to.
fn spool_dir(site: &Site) -> String {
    let folder = site.path().join("spool");
    fs::create_dir(&folder).expect("the site can be written to");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    folder.display().to_string()
}

fn cause(answer: &crate::support::fcgi::Answer) -> (u16, String) {
    (
        answer.status(),
        answer.header("Stockade-Cause").unwrap_or_default(),
    )
}
