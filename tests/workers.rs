//! Workers that die, hang, refuse to stop or reach their limits, and what their clients and the log get.

use std::{fs, path::Path, thread};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::{now, wait_for},
    fcgi::Answer,
    process,
    site::Site,
    stockade::{Pool, Stockade, gone},
};

#[test]
fn a_killed_worker_is_replaced() {
    let stockade = Stockade::scripted("processes = 1");
    let first = stockade.connect().get("").pid();
    assert!(process::signal(first, Signal::SIGKILL));
    stockade
        .log
        .wait(&["pool app: worker 1", &format!("pid {first}"), "SIGKILL"]);
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), first);
}

#[test]
fn a_worker_that_dies_at_its_start_is_put_off_longer_and_longer() {
    let site = Site::new();
    let pool = Pool::scripted(
        &site,
        &["exit=3"],
        "processes = 1\nbackoff-initial = \"100ms\"\nbackoff-maximum = \"400ms\"",
    );
    let stockade = Stockade::serve(site, &[pool]);
    let start = now();
    let exits = stockade
        .log
        .wait_times(4, &["pool app: worker ", "exit-code", "3"]);
    // 100 + 200 + 400 ms, each less a jitter
    assert!(start.elapsed().as_millis() >= 300, "no backoff: {exits:?}");

    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
}

#[test]
fn who_waits_for_a_worker_that_is_stuck_at_its_start_is_refused_after_one_startup_timeout() {
    let keys = "command = [\"sleep\", \"1000\"]\nprocesses = 1\nstartup-timeout = \"500ms\"\n\
                backoff-initial = \"60s\"\nqueue-timeout = \"off\"";
    let stockade = Stockade::serve(Site::new(), &[Pool::new(keys)]);
    let answer = stockade.connect().get("");
    assert_refused(&answer, 503, "pool-failing");
    // the answer may come before the log does
    stockade.log.wait(&["stopping: startup-timeout"]);
    let tries = stockade.log.matching(&["stopping: startup-timeout"]);
    assert_eq!(tries.len(), 1, "{tries:?}");
}

#[test]
fn a_request_timeout_costs_the_worker_its_life_and_nobody_else_anything() {
    let stockade = Stockade::scripted(
        "processes = 2\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"",
    );
    stockade.wait_ready("app", 2);
    let mut slow = stockade.connect();
    slow.begin("GET", "sleep=60000", &[]);
    for _ in 0..50 {
        assert_eq!(stockade.connect().get("").status(), 200);
    }
    let answer = slow.answer().unwrap();
    assert_refused(&answer, 504, "request-timeout");
    stockade.log.wait(&["pool app: worker ", "request-timeout"]);
    stockade.wait_ready("app", 3);
    wait_for("two workers again", || {
        (stockade.workers().len() == 2).then_some(())
    });
    // the answer was a whole one: its connection is still good
    assert_eq!(slow.get("").status(), 200);
}

#[test]
fn trap_18_hosts_get_a_full_queue_as_a_whole_response() {
    let stockade = Stockade::scripted("processes = 1\nqueue-limit = 2");
    let gate = stockade.site.path().join("gate");
    let mut running = stockade.connect();
    running.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);

    // of four, two find room in the queue; which two is for the relay to say
    let mut others: Vec<_> = (0..4).map(|_| stockade.connect()).collect();
    for other in &mut others {
        other.begin("POST", "", b"a=1");
    }
    let answers: Vec<Answer> = thread::scope(|scope| {
        let waiting: Vec<_> = others
            .iter_mut()
            .map(|other| scope.spawn(|| other.answer().unwrap()))
            .collect();
        stockade.log.wait(&["queue-limit"]);
        wait_for("the two that found no room to be answered", || {
            (waiting.iter().filter(|answer| answer.is_finished()).count() == 2).then_some(())
        });
        fs::write(&gate, "").unwrap();
        waiting
            .into_iter()
            .map(|answer| answer.join().unwrap())
            .collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status() == 200);
    assert_eq!((served.len(), refused.len()), (2, 2), "{answers:?}");
    for answer in refused {
        assert_refused(answer, 503, "queue-limit");
        assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    }
    assert_eq!(running.answer().unwrap().status(), 200);
}

#[test]
fn a_request_does_not_wait_longer_than_the_queue_timeout() {
    let stockade = Stockade::scripted("processes = 1\nqueue-timeout = \"200ms\"");
    let gate = stockade.site.path().join("gate");
    let mut running = stockade.connect();
    running.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let mut other = stockade.connect();
    let answer = other.get("");
    assert_refused(&answer, 503, "queue-timeout");
    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    fs::write(&gate, "").unwrap();
    assert_eq!(running.answer().unwrap().status(), 200);
    assert_eq!(other.get("").status(), 200);
}

#[test]
fn maximum_requests_recycles_without_a_failure() {
    let stockade = Stockade::scripted("processes = 2\nmaximum-requests = 10");
    stockade.wait_ready("app", 2);
    let mut host = stockade.connect();
    for _ in 0..100 {
        assert_eq!(host.get("").status(), 200);
    }
    stockade
        .log
        .wait_times(3, &["pool app: worker ", "maximum-requests"]);
}

#[test]
fn trap_35_workers_may_exit_between_requests_on_kept_connections() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let first = host.get("exit-after=1").pid();
    wait_for("the worker to be gone", || gone(first).then_some(()));
    assert_eq!(host.get("").status(), 200);
}

#[test]
fn what_a_worker_left_unread_when_it_ended_by_itself_goes_to_another() {
    let by_itself: fn(&Path, i32) = |gate, _| fs::write(gate, "").unwrap();
    let killed: fn(&Path, i32) = |_, pid| assert!(process::signal(pid, Signal::SIGKILL));
    for (length, end, status) in [
        (3, by_itself, 200),
        // it may have been begun: not all of it need be unread
        (10_000, by_itself, 502),
        (3, killed, 502),
    ] {
        let stockade = Stockade::scripted("processes = 1");
        let gate = stockade.site.path().join("gate");
        let mut host = stockade.connect();
        let first = host.get(&format!("exit-after=1&linger={}", gate.display()));
        host.begin("POST", "", &vec![b'x'; length]);
        host.wait_read();
        end(&gate, first.pid());
        let answer = host.answer().unwrap();
        assert_eq!(answer.status(), status, "{length} bytes: {answer:?}");
    }
}

#[test]
fn a_worker_that_ignores_term_is_killed() {
    let site = Site::new();
    let pool = Pool::scripted(
        &site,
        &["ignore-term"],
        "processes = 1\nshutdown-timeout = \"200ms\"",
    );
    let mut stockade = Stockade::ready(site, &[pool]);
    let worker = stockade.connect().get("").pid();
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert!(gone(worker), "the worker survived the daemon");
}

#[test]
fn a_worker_that_dies_on_a_post_is_a_502_and_on_a_get_a_replay() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let answer = stockade.connect().ask("POST", "crash=before-head", b"a=1");
    assert_eq!(answer.status(), 502, "{answer:?}");
    let cause = answer.header("Stockade-Cause").unwrap_or_default();
    assert!(!cause.is_empty(), "{answer:?}");

    // it kills the second worker too: a request is replayed once
    let answer = stockade.connect().get("crash=before-head");
    assert_eq!(answer.status(), 502, "{answer:?}");
    stockade
        .log
        .wait_times(3, &["pool app: worker ", "SIGKILL"]);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_replayed_request_is_answered_by_another_worker() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let mut host = stockade.connect();
    let gate = stockade.site.path().join("gate");
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    let begun = stockade.log.wait(&["begun"]);
    let worker = stockade
        .workers()
        .into_iter()
        .find(|worker| begun.contains(&worker.to_string()))
        .unwrap();
    assert!(process::signal(worker, Signal::SIGKILL));
    stockade.log.wait_times(2, &["begun"]);
    fs::write(&gate, "").unwrap();
    let answer = host.answer().unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_ne!(answer.pid(), worker);
}

#[test]
fn a_broken_answer_is_a_502() {
    let stockade = Stockade::scripted("processes = 2");
    for query in ["garbage", "no-head", "exit=1"] {
        let answer = stockade.connect().ask("POST", query, b"a=1");
        assert_eq!(answer.status(), 502, "{query}: {answer:?}");
        assert_eq!(answer.ended, Some(0), "{query}: {answer:?}");
    }
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn an_application_cannot_say_that_it_was_not_run() {
    let stockade = Stockade::scripted("processes = 1");
    let answer = stockade.connect().get("status=503+Busy&cause");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("Stockade-Cause"), None, "{answer:?}");
}

#[test]
fn what_workers_write_is_logged_with_pool_worker_and_pid() {
    let stockade = Stockade::scripted("processes = 1");
    let pid = stockade
        .connect()
        .get("stdout=one+word&stderr=another+word&report=a+third")
        .pid();
    let tag = format!("pid {pid}");
    for text in ["one word", "another word", "a third"] {
        let line = stockade.log.wait(&[text]);
        for word in ["pool app", "worker 1", &tag] {
            assert!(line.contains(word), "{word:?} in: {line}");
        }
    }
}

/// An answer of ours: the status, the cause, and a body with a request id.
fn assert_refused(answer: &Answer, status: u16, cause: &str) {
    assert_eq!(
        (answer.status(), answer.ended),
        (status, Some(0)),
        "{answer:?}"
    );
    let told = answer.header("Stockade-Cause").unwrap_or_default();
    assert!(told.starts_with(cause), "{answer:?}");
    assert!(!answer.body().trim().is_empty(), "{answer:?}");
}
