//! Workers that do not keep to the protocol, and those beside them.

use std::fs;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::Answer,
    site::Site,
    stockade::{Pool, Stockade},
};

#[test]
fn records_that_belong_to_nobody_are_ignored() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let pid = host.get("").pid();
    for words in ["strangers", "late-output", "end-twice"] {
        for _ in 0..3 {
            let answer = host.get(&format!("{words}&big=1000"));
            assert_eq!((answer.status(), answer.ended), (200, Some(0)), "{words}");
            assert_eq!(answer.body_length(), 1000, "{words}: {answer:?}");
            assert_eq!(answer.stderr, b"", "{words}");
            // none of it was taken for a part of this one
            let next = host.get("");
            assert_eq!(next.pid(), pid, "{words}");
            assert!(next.stdout.starts_with(b"Content-Type"), "{words}");
        }
    }
}

#[test]
fn a_head_that_is_too_long_is_a_502_and_the_worker_goes_on() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let pid = host.get("").pid();
    for length in ["40000", "1000000", "100000000"] {
        let answer = host.get(&format!("head={length}"));
        assert_502(&answer, "response-head-too-large");
        assert_eq!(host.get("").pid(), pid);
    }
    assert_eq!(host.get("head=20000").status(), 200);
}

#[test]
fn what_is_not_fastcgi_is_a_502_and_the_worker_is_replaced_while_others_finish() {
    let site = Site::new();
    // each connection has a thread there
    let keys = "processes = 1\nthreads = 4";
    let pool = Pool::scripted(&site, &["multiplex"], keys);
    let stockade = Stockade::ready(site, &[pool]);
    let gate = stockade.site.path().join("gate");
    let mut beside = stockade.connect();
    beside.begin(
        "POST",
        &format!("stderr=begun&wait={}", gate.display()),
        b"a=1",
    );
    stockade.log.wait(&["begun"]);
    let answer = stockade.connect().ask("POST", "garbage", b"a=1");
    assert_502(&answer, "protocol-error");
    stockade.log.wait(&["broke the protocol"]);
    let after = stockade.connect().get("").pid();
    fs::write(&gate, "").unwrap();
    let beside = beside.answer().unwrap();
    assert_eq!(beside.status(), 200, "{beside:?}");
    assert_ne!(beside.pid(), after, "the worker was not replaced");
    stockade.log.wait(&["pool app: worker 1", "protocol-error"]);
    wait_for("the replacement alone", || {
        (stockade.workers() == [after]).then_some(())
    });
}

#[test]
fn the_causes_of_an_answer_that_is_none() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    for (words, cause) in [
        ("status=none", "malformed-response-head"),
        ("no-head&big=10", "no-response-head"),
        ("garbage", "protocol-error"),
        ("exit=1", "worker-died"),
        ("close-early&no-head&big=0", "worker-died"),
    ] {
        let answer = stockade.connect().ask("POST", words, b"a=1");
        assert_502(&answer, cause);
    }
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn standard_error_without_end_costs_the_request_its_worker_and_others_nothing() {
    let stockade = Stockade::scripted(
        "processes = 2\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"200ms\"",
    );
    stockade.wait_ready("app", 2);
    // much, and then an answer
    let mut host = stockade.connect();
    let answer = host.get("reports=320000");
    assert_eq!(answer.status(), 200);
    let pid = answer.pid();
    host.begin("GET", "reports=64000000000", &[]);
    for _ in 0..20 {
        assert_eq!(stockade.connect().get("").status(), 200);
    }
    let answer = host.answer().unwrap();
    assert_eq!(answer.status(), 504, "{answer:?}");
    wait_for("that worker to be replaced", || {
        let workers = stockade.workers();
        (workers.len() == 2 && !workers.contains(&pid)).then_some(())
    });
}

#[test]
fn lines_without_end_and_pause_do_not_keep_others_from_starting() {
    let site = Site::new();
    let worker = site.reachable(&built::scripted_worker());
    let script = format!("#!/bin/sh\nyes '' &\nexec {}\n", worker.display());
    let loud = site.program("loud", &script);
    let loud = Pool::new(&format!("command = [{loud:?}]\nprocesses = 1")).named("loud");
    let quiet = Pool::scripted(&site, &[], "processes = 1\nstartup-timeout = \"5s\"");
    let stockade = Stockade::serve(site, &[quiet, loud]);
    for _ in 0..3 {
        let (code, out, error) = stockade.ask(&["reload", "app", "--wait"]);
        assert_eq!((code, &*error), (Some(0), ""), "{out}");
    }
    assert_eq!(stockade.connect().get("").status(), 200);
}

fn assert_502(answer: &Answer, cause: &str) {
    let told = answer.header("Stockade-Cause");
    assert_eq!(
        (answer.status(), answer.ended, told.as_deref()),
        (502, Some(0), Some(cause)),
        "{answer:?}"
    );
}
