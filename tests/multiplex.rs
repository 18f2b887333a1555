//! `multiplex`: many requests on one connection to a worker.

use std::{fs, path::PathBuf, thread, time::Duration};

use serde_json::Value;

use crate::support::{
    deadline::{wait_for, wait_within},
    fcgi::Fcgi,
    pattern::{Checker, Maker},
    site::Site,
    stockade::{Pool, Stockade},
};

#[test]
fn many_requests_share_a_connection_and_no_more_than_there_are_slots() {
    let stockade = serve("processes = 1\nthreads = 8");
    let gates: Vec<PathBuf> = (0..9).map(|number| gate(&stockade, number)).collect();
    let mut hosts: Vec<Fcgi> = gates
        .iter()
        .map(|gate| begun(&stockade, "GET", &format!("wait={}", gate.display()), b""))
        .collect();
    stockade.log.wait_times(8, &["begun"]);
    fs::write(&gates[3], "").unwrap();
    // the ninth got the slot of the first that ended
    stockade.log.wait_times(9, &["begun"]);
    for gate in &gates {
        fs::write(gate, "").unwrap();
    }
    let answers: Vec<_> = hosts
        .iter_mut()
        .map(|host| host.answer().unwrap())
        .collect();
    let connection = answers[0].fact("connections");
    for answer in &answers {
        assert_eq!(
            (answer.status(), answer.fact("connections")),
            (200, connection.clone())
        );
    }
    for further in 0..50 {
        let answer = stockade.connect().get("");
        assert_eq!(answer.fact("connections"), connection);
        assert_eq!(answer.fact("requests"), (10 + further).to_string());
    }
}

#[test]
fn bodies_that_come_at_the_same_time_are_not_mixed() {
    for keys in [
        "",
        "request-buffering = false",
        "request-buffer-size = \"16KiB\"",
    ] {
        let stockade = serve(&format!("processes = 1\nthreads = 6\n{keys}"));
        let body = pattern(1_500_000);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut host = stockade.connect();
                    for _ in 0..3 {
                        let answer = host.ask("POST", "", &body);
                        assert_eq!(answer.fact("length"), "1500000", "{keys}");
                        assert_eq!(answer.fact("wrong"), "0", "{keys}");
                        let answer = host.ask("POST", "echo", &body);
                        assert!(well_made(answer.body_bytes(), body.len()), "{keys}");
                    }
                });
            }
        });
    }
}

#[test]
fn trap_27_workers_go_on_when_one_of_their_requests_is_aborted() {
    let stockade = serve("processes = 1\nthreads = 2");
    let (first, second) = (gate(&stockade, 1), gate(&stockade, 2));
    let mut stays = begun(
        &stockade,
        "POST",
        &format!("wait={}", first.display()),
        b"a=1",
    );
    stockade.log.wait_times(1, &["begun"]);
    let mut leaves = stockade.connect();
    leaves.begin("GET", "big=3000000&write-slowly=20", &[]);
    let (_, head) = leaves.read_record().unwrap().unwrap();
    assert!(head.starts_with(b"Content-Type"));
    drop(leaves);
    // its slot is free, and what still comes of it is nobody's
    let mut third = begun(&stockade, "GET", &format!("wait={}", second.display()), b"");
    stockade.log.wait_times(2, &["begun"]);
    fs::write(&second, "").unwrap();
    fs::write(&first, "").unwrap();
    let (stayed, third) = (stays.answer().unwrap(), third.answer().unwrap());
    assert_eq!((stayed.status(), third.status()), (200, 200));
    assert_eq!(
        stayed.pid(),
        third.pid(),
        "the worker was replaced:\n{}",
        stockade.log.text()
    );
    assert_ne!(
        stayed.fact("connections"),
        third.fact("connections"),
        "a connection was used on after an abort"
    );
}

#[test]
fn a_host_that_goes_away_before_the_answer_gives_its_slot_back() {
    let stockade = serve("processes = 1\nthreads = 2");
    for round in 0..5 {
        let left = gate(&stockade, round);
        let leaves = begun(&stockade, "GET", &format!("wait={}", left.display()), b"");
        stockade.log.wait_times(3 * round + 1, &["begun"]);
        drop(leaves);
        assert_eq!(stockade.connect().get("").status(), 200);
        fs::write(&left, "").unwrap();
        // both slots are free again
        let both = gate(&stockade, 100 + round);
        let query = format!("wait={}", both.display());
        let mut hosts = [(); 2].map(|()| begun(&stockade, "POST", &query, b"a=1"));
        stockade.log.wait_times(3 * round + 3, &["begun"]);
        fs::write(&both, "").unwrap();
        for host in &mut hosts {
            assert_eq!(host.answer().unwrap().status(), 200);
        }
    }
    assert_eq!(
        stockade.log.matching(&["pool app: worker", " ready"]).len(),
        1
    );
}

#[test]
fn a_request_timeout_of_one_costs_the_others_nothing() {
    let stockade = serve(
        "processes = 1\nthreads = 4\nrequest-timeout = \"600ms\"\ngraceful-timeout = \"30s\"",
    );
    let mut slow = stockade.connect();
    slow.begin("GET", "sleep=60000", &[]);
    let mut streams = stockade.connect();
    streams.begin("GET", "big=3000000&write-slowly=20", &[]);
    let timed_out = slow.answer().unwrap();
    assert_eq!(timed_out.status(), 504, "{timed_out:?}");
    let answer = streams.answer().unwrap();
    assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    assert!(well_made(answer.body_bytes(), 3_000_000));
    wait_for("another worker", || {
        (stockade.connect().get("").fact("generation") == "one").then_some(())
    });
}

#[test]
fn when_the_connection_breaks_each_request_ends_by_its_own_right() {
    for fault in ["crash=before-head", "garbage"] {
        let stockade = serve("processes = 2\nthreads = 4");
        stockade.wait_ready("app", 2);
        let gate = gate(&stockade, 1);
        let waits = format!("wait={}", gate.display());
        let mut read_only = begun(&stockade, "GET", &waits, b"");
        stockade.log.wait_times(1, &["begun"]);
        let mut changing = begun(&stockade, "POST", &waits, b"a=1");
        stockade.log.wait_times(2, &["begun"]);
        // each went to the worker with the fewest: two at one, so that they share a connection
        let mut others: Vec<Fcgi> = (0..2)
            .map(|_| begun(&stockade, "POST", &waits, b"a=1"))
            .collect();
        stockade.log.wait_times(4, &["begun"]);
        let once = stockade.site.folder_for_pool("once").join("done");
        let mut guilty = stockade.connect();
        guilty.begin("POST", &format!("{fault}&once={}", once.display()), b"a=1");
        assert_eq!(guilty.answer().unwrap().status(), 502, "{fault}");
        fs::write(&gate, "").unwrap();
        let mut statuses: Vec<u16> = [&mut changing]
            .into_iter()
            .chain(&mut others)
            .map(|host| host.answer().unwrap().status())
            .collect();
        statuses.sort_unstable();
        let of_get = read_only.answer().unwrap();
        assert_eq!(of_get.status(), 200, "{fault}: a GET is replayed");
        // the guilty one's worker had one or two of the POSTs beside it, the other the rest
        assert!(
            statuses == [200, 200, 502] || statuses == [200, 502, 502],
            "{fault}: {statuses:?}"
        );
        assert_eq!(stockade.connect().get("").status(), 200);
    }
}

#[test]
fn a_slow_host_does_not_hold_up_the_others_until_its_share_is_full() {
    let stockade = serve("processes = 1\nthreads = 16\nresponse-buffer-size = \"64KiB\"");
    // more than one host may have ahead of it, less than sixteen
    let mut slow = stockade.connect();
    slow.begin("GET", "big=800000", &[]);
    let connection = stockade.connect().get("").fact("connections");
    for _ in 0..20 {
        let answer = stockade.connect().get("");
        assert_eq!(answer.fact("connections"), connection);
    }
    let answer = slow.answer().unwrap();
    assert!(well_made(answer.body_bytes(), 800_000));

    // more than all may have: new ones go to another connection
    for reads in [true, false] {
        slow.begin("GET", "big=30000000", &[]);
        let mut other = stockade.connect();
        other.begin("GET", "big=100000", &[]);
        if reads {
            let answer = slow.answer().unwrap();
            assert!(well_made(answer.body_bytes(), 30_000_000));
        } else {
            slow = stockade.connect();
        }
        let answer = other.answer().unwrap();
        assert!(well_made(answer.body_bytes(), 100_000));
    }
}

#[test]
fn a_response_goes_on_whatever_another_one_is_ahead_by() {
    let stockade = serve("processes = 1\nthreads = 2\nresponse-buffer-size = \"16KiB\"");
    // among these are lengths of which a piece is too much, with one of the other response and the end behind it
    for length in (150_000..450_000).step_by(10_000) {
        let mut other = stockade.connect();
        other.begin("GET", "big=1500000&write-slowly=1", &[]);
        let other = thread::spawn(move || other.answer());
        let mut slow = stockade.connect();
        slow.begin("GET", &format!("big={length}"), &[]);
        // it is over, or as far as it gets while nobody reads
        let _over = wait_within(Duration::from_millis(100), || {
            let (_, status, _) = stockade.ask(&["status", "--json"]);
            let status: Value = serde_json::from_str(&status).ok()?;
            (status["pools"][0]["slots"]["busy"] == 1).then_some(())
        });
        let answer = slow.answer().unwrap();
        assert!(well_made(answer.body_bytes(), length));
        let other = other.join().expect("it is answered").unwrap();
        assert!(
            well_made(other.body_bytes(), 1_500_000),
            "behind {length} bytes"
        );
    }
}

#[test]
fn a_worker_that_is_replaced_finishes_what_shares_its_connection() {
    let stockade = serve("processes = 1\nthreads = 4");
    let gate = gate(&stockade, 1);
    let mut running: Vec<Fcgi> = (0..3)
        .map(|_| {
            begun(
                &stockade,
                "POST",
                &format!("wait={}", gate.display()),
                b"a=1",
            )
        })
        .collect();
    stockade.log.wait_times(3, &["begun"]);
    let (code, _, error) = stockade.ask(&["reload", "app"]);
    assert_eq!(code, Some(0), "{error}");
    stockade.wait_ready("app", 2);
    fs::write(&gate, "").unwrap();
    for host in &mut running {
        assert_eq!(host.answer().unwrap().status(), 200);
    }
    wait_for("the old worker to be gone", || {
        (stockade.workers().len() == 1).then_some(())
    });
}

/// Workers that take many requests on one connection.
fn serve(keys: &str) -> Stockade {
    let site = Site::new();
    let keys = format!("multiplex = true\n{keys}");
    let pool = Pool::scripted(&site, &["multiplex", "generation=one"], &keys);
    Stockade::ready(site, &[pool])
}

/// A request that says `begun` in the log when its worker is at it.
fn begun(stockade: &Stockade, method: &str, query: &str, body: &[u8]) -> Fcgi {
    let mut host = stockade.connect();
    host.begin(method, &format!("stderr=begun&{query}"), body);
    host
}

fn gate(stockade: &Stockade, number: usize) -> PathBuf {
    stockade.site.path().join(format!("gate-{number}"))
}

fn pattern(length: u64) -> Vec<u8> {
    let (mut maker, mut bytes) = (Maker::new(length), Vec::new());
    while let Some(piece) = maker.next_piece() {
        bytes.extend_from_slice(piece);
    }
    bytes
}

fn well_made(bytes: &[u8], length: usize) -> bool {
    let mut checker = Checker::default();
    checker.take(bytes);
    checker.wrong() == 0 && checker.length() == length as u64
}
