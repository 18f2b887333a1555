//! How the relay uses its connections to workers: which are kept, how many there are, and whose turn it is.

use std::{fs, path::PathBuf, thread};

use stockade_protocol::{encode, record::RecordType};

use crate::support::{
    fcgi::{Fcgi, head},
    site::Site,
    stockade::{Pool, Stockade},
};

/// What the scripted worker reports when a request comes before the one before it is over.
const PIPELINED: &str = "more came before the request was over";

#[test]
fn a_connection_is_kept_and_has_one_request_at_a_time() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut host = stockade.connect();
                for _ in 0..40 {
                    assert_eq!(host.get("").status(), 200);
                    assert_eq!(host.ask("POST", "", b"a=1").status(), 200);
                }
            });
        }
    });
    assert_eq!(stockade.log.matching(&[PIPELINED]), [""; 0]);
    let (mut host, mut connections) = (stockade.connect(), Vec::new());
    for _ in 0..20 {
        connections.push(host.get("").fact("connections"));
    }
    connections.dedup();
    assert_eq!(connections.len(), 1, "{connections:?}");
}

#[test]
fn a_connection_on_which_something_may_be_left_is_not_used_again() {
    let stockade = Stockade::scripted("processes = 1\nrequest-buffering = false");
    let mut host = stockade.connect();
    let mut number = || {
        let answer = host.get("");
        (answer.pid(), answer.fact("connections"))
    };
    let (pid, mut last) = number();
    let mut expect_another = |what: &str| {
        let (same, next) = number();
        assert_eq!(same, pid, "{what}");
        assert_ne!(next, last, "{what}");
        last = next;
    };
    // a body, which this worker has read; but it does not say so
    assert_eq!(stockade.connect().ask("POST", "", b"a=1").status(), 200);
    expect_another("a body");
    let answer = stockade.connect().ask("POST", "unread", b"a=1");
    assert_eq!(answer.status(), 200);
    expect_another("a body that was left");
    let mut early = stockade.connect();
    let mut bytes = head(1, "POST", "unread", Some(100_000));
    encode::stream(&mut bytes, RecordType::Stdin, 1, &[b'x'; 1000]);
    early.write(&bytes).unwrap();
    assert_eq!(early.answer().unwrap().status(), 200);
    expect_another("an answer before the end of the body");
    for words in ["strangers", "late-output&no-end", "end-twice"] {
        assert_eq!(stockade.connect().get(words).status(), 200, "{words}");
        expect_another(words);
    }
}

#[test]
fn each_slot_has_a_connection_of_its_own() {
    // a worker that takes many connections, and as many requests
    let stockade = concurrent("processes = 1\nthreads = 4");
    let gate = gate(&stockade, "gate");
    let mut hosts: Vec<Fcgi> = (0..4).map(|_| waiting(&stockade, &gate)).collect();
    stockade.log.wait_times(4, &["begun"]);
    fs::write(&gate, "").unwrap();
    let answers: Vec<_> = hosts
        .iter_mut()
        .map(|host| host.answer().unwrap())
        .collect();
    let mut connections: Vec<_> = answers
        .iter()
        .map(|answer| answer.fact("connections"))
        .collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 4, "{connections:?}");
    assert!(
        answers
            .iter()
            .all(|answer| answer.pid() == answers[0].pid())
    );
}

#[test]
fn the_worker_with_the_fewest_requests_is_next_and_of_equals_the_last_used() {
    let stockade = concurrent("processes = 3\nthreads = 2");
    stockade.wait_ready("app", 3);
    let gates = ["a", "b", "c", "d"].map(|name| gate(&stockade, name));
    let mut hosts: Vec<Fcgi> = Vec::new();
    for (number, gate) in gates.iter().enumerate() {
        hosts.push(waiting(&stockade, gate));
        stockade.log.wait_times(number + 1, &["begun"]);
    }
    let mut pids = Vec::new();
    for (host, gate) in hosts.iter_mut().zip(&gates) {
        fs::write(gate, "").unwrap();
        pids.push(host.answer().unwrap().pid());
    }
    let mut first_three = pids[..3].to_vec();
    first_three.sort_unstable();
    first_three.dedup();
    assert_eq!(first_three.len(), 3, "one each: {pids:?}");
    assert!(pids[..3].contains(&pids[3]));
    // all are idle: the one that ended last
    for _ in 0..10 {
        assert_eq!(stockade.connect().get("").pid(), pids[3]);
    }
}

/// Workers that serve each connection in a thread.
fn concurrent(keys: &str) -> Stockade {
    let site = Site::new();
    let pool = Pool::scripted(&site, &["multiplex"], keys);
    Stockade::ready(site, &[pool])
}

fn waiting(stockade: &Stockade, gate: &std::path::Path) -> Fcgi {
    let mut host = stockade.connect();
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    host
}

fn gate(stockade: &Stockade, name: &str) -> PathBuf {
    stockade.site.path().join(name)
}
