//! Reloads: who is stopped when, and what cannot hold them up.

use std::fs;

use nix::sys::signal::Signal;

use super::wsgi;
use crate::support::{
    deadline::wait_for,
    hosts::{Gate, sorted},
    site::Site,
    stockade::{Stockade, gone, pid_in},
};

#[test]
fn a_reload_stops_no_old_worker_before_a_new_one_is_ready() {
    let site = Site::new();
    let gate = site.path().join("gate");
    // the first generation has its gate open
    fs::write(&gate, "").unwrap();
    let slow = format!(
        "import os, time\n\
         print('importing', flush=True)\n\
         while not os.path.exists({gate:?}): time.sleep(0.01)\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
             return [b'pid %d\\n' % os.getpid()]\n"
    );
    let pool = wsgi(&site, &slow, "processes = 2\nstartup-timeout = \"60s\"");
    let stockade = Stockade::ready(site, &[pool]);
    stockade.wait_ready("app", 2);
    let old = sorted(stockade.workers());
    fs::remove_file(&gate).unwrap();
    stockade.signal(Signal::SIGHUP);
    stockade.log.wait_times(3, &["importing"]);
    for _ in 0..50 {
        assert!(old.contains(&stockade.connect().get("").pid()));
    }
    assert!(old.iter().all(|worker| !gone(*worker)));
    fs::write(&gate, "").unwrap();
    stockade.log.wait(&["reload finished: generation 2 serves"]);
    assert!(!old.contains(&stockade.connect().get("").pid()));
}

#[test]
fn an_old_worker_that_is_stuck_does_not_hold_up_the_reload() {
    let stockade = Stockade::scripted("processes = 3\ngraceful-timeout = \"1s\"");
    stockade.wait_ready("app", 3);
    let mut stuck = stockade.connect();
    stuck.begin("GET", "stderr=begun&sleep=600000", &[]);
    let worker = pid_in(&stockade.log.wait(&["begun"]));
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "pool app: generation 2 serves\n"),
        "{error}"
    );
    wait_for("the end of the stuck worker", || gone(worker).then_some(()));
    let answer = stuck.answer().unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.header("Stockade-Cause").unwrap(), "graceful-timeout");
}

#[test]
fn requests_are_answered_while_the_slowest_outlasts_the_reload() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    let mut slow = stockade.connect();
    slow.begin("GET", &gate.word("begun"), &[]);
    let worker = pid_in(&stockade.log.wait(&["begun"]));
    stockade.signal(Signal::SIGHUP);
    stockade.log.wait(&["worker 3", " ready"]);
    let answers = (0..200).map(|_| stockade.connect().get(""));
    for answer in answers {
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.pid(), worker);
    }
    gate.open();
    assert_eq!(slow.answer().unwrap().pid(), worker);
    stockade.log.wait(&["reload finished: generation 2 serves"]);
}
