//! Workers that hang, each noticed from outside by a deadline of its own: nobody else is harmed, and every client is answered.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::{wait_for, wait_within},
    hangs::{cause, hang, pool, serve, wait_gone},
    process,
    site::Site,
    stockade::{Pool, Stockade, gone, pid_in},
};

mod disk;

#[test]
fn at_import_it_is_the_startup_timeout_that_sees_it() {
    let site = Site::new();
    site.write("import", "");
    let keys = "processes = 1\nstartup-timeout = \"1s\"\nshutdown-timeout = \"300ms\"\nbackoff-initial = \"50ms\"";
    let stuck = pool(&site, keys);
    let other = Pool::scripted(&site, &[], "processes = 1").named("other");
    let stockade = Stockade::serve(site, &[stuck, other]);
    let mut waiting = stockade.connect();
    waiting.begin("GET", "", &[]);
    let line = stockade
        .log
        .wait(&["pool app: worker ", "gone", "startup-timeout"]);
    // the client is not kept waiting for a pool that fails
    assert_eq!(
        cause(&waiting.answer().unwrap()),
        (503, "pool-failing".to_owned())
    );
    wait_for("every process of it to be gone", || {
        gone(pid_in(&line)).then_some(())
    });
    let mut other = crate::support::fcgi::Fcgi::connect(&stockade.socket("other"));
    assert_eq!(other.get("").status(), 200);
    // and it is tried again
    fs::remove_file(stockade.site.path().join("import")).expect("the file is there");
    stockade.log.wait(&["pool app: serving"]);
    wait_for("an answer", || {
        (stockade.connect().get("").status() == 200).then_some(())
    });
}

#[test]
fn at_import_during_a_reload_the_old_generation_goes_on() {
    let stockade = serve(
        "processes = 1\nstartup-timeout = \"1s\"\nshutdown-timeout = \"300ms\"\nbackoff-initial = \"50ms\"",
    );
    let worker = stockade.connect().get("").pid();
    stockade.site.write("import", "");
    let (code, _, said) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("did not come up"), "{said}");
    assert_eq!(stockade.connect().get("").pid(), worker);
}

#[test]
fn in_every_thread_it_is_the_request_timeout_that_sees_it() {
    let stockade = serve(
        "processes = 1\nthreads = 2\nrequest-timeout = \"1s\"\nshutdown-timeout = \"300ms\"\ndeadlock-timeout = \"off\"",
    );
    let worker = stockade.connect().get("").pid();
    let mut stuck = [hang(&stockade, "sleep"), hang(&stockade, "loop")];
    thread::scope(|scope| {
        for _ in 0..4 {
            // what waits is served by the replacement
            scope.spawn(|| {
                let answer = stockade.connect().get("");
                assert_eq!(answer.status(), 200);
                assert_ne!(answer.pid(), worker);
            });
        }
    });
    for host in &mut stuck {
        assert_eq!(
            cause(&host.answer().unwrap()),
            (504, "request-timeout".to_owned())
        );
    }
    wait_gone(&stockade.log, worker, "request-timeout");
}

#[test]
fn with_the_interpreters_lock_it_is_the_deadlock_timeout_that_sees_it() {
    let stockade = serve(
        "processes = 1\nthreads = 3\nrequest-timeout = \"off\"\ngraceful-timeout = \"off\"\n\
         shutdown-timeout = \"300ms\"\ndeadlock-timeout = \"1s\"",
    );
    let worker = stockade.connect().get("").pid();
    let mut sibling = hang(&stockade, "wait=never");
    let mut stuck = hang(&stockade, "lock");
    stockade.log.wait(&[&format!(
        "(pid {worker}) has not got its interpreter's lock for"
    )]);
    for host in [&mut stuck, &mut sibling] {
        assert_eq!(host.answer().unwrap().status(), 504);
    }
    wait_gone(&stockade.log, worker, "deadlock");
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), worker);
}

#[test]
fn with_the_interpreters_lock_the_request_timeout_sees_it_too() {
    let stockade =
        serve("processes = 1\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"");
    let worker = stockade.connect().get("").pid();
    let mut stuck = hang(&stockade, "lock");
    assert_eq!(
        cause(&stuck.answer().unwrap()),
        (504, "request-timeout".to_owned())
    );
    // it cannot take the stop-signal
    stockade.log.wait(&[&format!("(pid {worker}) killed")]);
    wait_gone(&stockade.log, worker, "request-timeout");
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn stopped_while_idle_it_is_the_deadlock_timeout_that_sees_it() {
    let stockade = serve("processes = 2\nshutdown-timeout = \"300ms\"\ndeadlock-timeout = \"1s\"");
    stockade.wait_ready("app", 2);
    let worker = stockade.connect().get("").pid();
    assert!(process::signal(worker, Signal::SIGSTOP));
    wait_gone(&stockade.log, worker, "deadlock");
    stockade.wait_ready("app", 3);
    assert_eq!(stockade.log.matching(&["gone after"]).len(), 1);
}

#[test]
fn stopped_while_idle_without_a_heartbeat_it_is_the_first_request_that_sees_it() {
    let stockade = Stockade::scripted(
        "processes = 1\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"",
    );
    let worker = stockade.connect().get("").pid();
    assert!(process::signal(worker, Signal::SIGSTOP));
    assert_eq!(
        cause(&stockade.connect().get("")),
        (504, "request-timeout".to_owned())
    );
    wait_gone(&stockade.log, worker, "request-timeout");
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn stopped_while_busy_it_is_the_request_timeout_that_sees_it() {
    let stockade = serve("processes = 2\nrequest-timeout = \"1s\"\nshutdown-timeout = \"300ms\"");
    stockade.wait_ready("app", 2);
    let mut stuck = hang(&stockade, "busy=0.2");
    let line = stockade.log.wait(&["stuck in busy"]);
    let worker = pid_in(&line);
    assert!(process::signal(worker, Signal::SIGSTOP));
    for _ in 0..20 {
        let answer = stockade.connect().get("");
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.pid(), worker);
    }
    assert_eq!(
        cause(&stuck.answer().unwrap()),
        (504, "request-timeout".to_owned())
    );
    wait_gone(&stockade.log, worker, "request-timeout");
}

#[test]
fn one_that_only_takes_its_time_is_left_alone() {
    let stockade = serve("processes = 2\nthreads = 2\ndeadlock-timeout = \"1s\"");
    stockade.wait_ready("app", 2);
    let workers = stockade.workers();
    // the other is idle meanwhile
    assert_eq!(stockade.connect().get("busy=4").status(), 200);
    assert_eq!(stockade.workers(), workers);
    assert!(stockade.log.matching(&["deadlock"]).is_empty());
}

#[test]
fn a_machine_that_was_stopped_costs_nobody_its_life() {
    let stockade = serve("processes = 1\ndeadlock-timeout = \"1s\"");
    let worker = stockade.connect().get("").pid();
    for pid in [stockade.pid(), worker] {
        assert!(process::signal(pid, Signal::SIGSTOP));
    }
    // as a laptop that sleeps
    let slept = wait_within(Duration::from_secs(3), || None::<()>);
    assert_eq!(slept, None);
    for pid in [stockade.pid(), worker] {
        assert!(process::signal(pid, Signal::SIGCONT));
    }
    assert_eq!(stockade.connect().get("busy=2.5").pid(), worker);
    assert!(stockade.log.matching(&["interpreter's lock"]).is_empty());
}

#[test]
fn one_that_blocks_every_signal_is_killed() {
    let stockade =
        serve("processes = 1\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"");
    let worker = stockade.connect().get("").pid();
    let mut stuck = hang(&stockade, "blocked");
    assert_eq!(stuck.answer().unwrap().status(), 504);
    stockade.log.wait(&[&format!("(pid {worker}) killed")]);
    wait_gone(&stockade.log, worker, "request-timeout");
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_child_that_holds_its_sockets_keeps_nobody_waiting() {
    let mut stockade = serve("processes = 1\nrequest-timeout = \"off\"");
    let worker = stockade.connect().get("").pid();
    let mut stuck = stockade.connect();
    stuck.begin("POST", "child", &[]);
    stockade.log.wait(&["child "]);
    assert!(process::signal(worker, Signal::SIGKILL));
    assert_eq!(stuck.answer().unwrap().status(), 502);
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), worker);
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
}
