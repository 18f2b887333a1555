//! Workers that do not start, start slowly, or die as they start.

use nix::sys::signal::Signal;

use super::{backoff, wsgi};
use crate::support::{
    deadline::{now, wait_for},
    fcgi::Fcgi,
    process,
    site::Site,
    stockade::{Pool, Stockade, gone, pid_in},
};

/// Answers at once.
const ANSWERS: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here\n"]
"#;

/// Ways to be stuck at the import.
const STUCK: [&str; 4] = [
    "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    // in C, with the interpreter's lock
    "import ctypes\nctypes.PyDLL(None).pause()",
    "import signal\nsignal.raise_signal(signal.SIGSTOP)",
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
];

#[test]
fn a_worker_that_is_stuck_at_its_import_is_killed_at_startup_timeout() {
    let site = Site::new();
    let keys = "processes = 1\nstartup-timeout = \"2s\"\nshutdown-timeout = \"200ms\"";
    let pools: Vec<Pool> = STUCK
        .iter()
        .enumerate()
        .map(|(number, stuck)| {
            let name = format!("stuck{number}");
            site.write(
                &format!("{name}.py"),
                &format!("print('begun', flush=True)\n{stuck}\n"),
            );
            wsgi(&site, ANSWERS, keys)
                .with("pages:", &format!("{name}:"))
                .named(&name)
        })
        .collect();
    let stockade = Stockade::serve(site, &pools);
    for number in 0..STUCK.len() {
        let of_pool = &*format!("pool stuck{number}: worker ");
        stockade.log.wait(&[of_pool, "begun"]);
        let line = stockade.log.wait(&[of_pool, "startup-timeout"]);
        wait_for("its end", || gone(pid_in(&line)).then_some(()));
        // and the application is given another try
        stockade.log.wait_times(2, &[of_pool, "begun"]);
    }
}

#[test]
fn an_application_may_take_longer_to_start_than_a_request_may_take() {
    let site = Site::new();
    let slow = format!("import time\ntime.sleep(3)\n{ANSWERS}");
    let keys = "processes = 1\nstartup-timeout = \"30s\"\nrequest-timeout = \"2s\"";
    let pool = wsgi(&site, &slow, keys);
    let stockade = Stockade::serve(site, &[pool]);
    // it waits for the worker, in the queue
    let answer = stockade.connect().get("");
    assert_eq!((answer.status(), &*answer.body()), (200, "here\n"));
    assert_eq!(started(&stockade, "app"), 1);
}

#[test]
fn a_request_may_take_longer_than_a_worker_may_take_to_start() {
    let stockade = Stockade::scripted("processes = 1\nstartup-timeout = \"2s\"");
    let mut host = stockade.connect();
    let worker = host.get("").pid();
    assert_eq!(host.get("sleep=3000").pid(), worker);
}

#[test]
fn a_worker_that_is_busy_at_its_import_is_not_taken_for_dead() {
    let site = Site::new();
    // longer than others ask their children for a sign of life, and with the interpreter's lock
    let busy =
        "import time\nend = time.monotonic() + 6\nwhile time.monotonic() < end: pow(3, 400_000)\n";
    let pool = wsgi(
        &site,
        &format!("{busy}{ANSWERS}"),
        "processes = 1\nstartup-timeout = \"60s\"\nrequest-timeout = \"5s\"",
    );
    let stockade = Stockade::serve(site, &[pool]);
    assert_eq!(stockade.connect().get("").status(), 200);
    assert_eq!(started(&stockade, "app"), 1);
}

#[test]
fn a_worker_that_segfaults_at_its_start_is_named_and_put_off() {
    let site = Site::new();
    let faulty = "import os, resource, signal\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n\
                  print('about to fail', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)\n";
    let pool = wsgi(
        &site,
        faulty,
        &format!("processes = 1\n{}", backoff(200, 400)),
    );
    let start = now();
    let stockade = Stockade::serve(site, &[pool]);
    stockade
        .log
        .wait_times(5, &["pool app: worker ", "signal SIGSEGV"]);
    // 200 and three times 400 ms, each less a jitter
    assert!(start.elapsed().as_millis() >= 900, "it was not put off");
    stockade.log.wait(&["pool app: failing"]);
    let (_, text, _) = stockade.ask(&["status", "app"]);
    for words in ["failing", "SIGSEGV", "about to fail"] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
}

#[test]
fn a_crash_loop_is_bounded_and_seen_and_answered_at_once() {
    const LINES: usize = 50;
    let site = Site::new();
    let talks =
        format!("#!/bin/sh\nfor line in $(seq {LINES}); do echo a line >&2; done\nexit 3\n");
    let program = site.program("talks", &talks);
    let keys = format!(
        "command = [{program:?}]\nprocesses = 4\n{}",
        backoff(200, 100_000)
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade.log.wait(&["pool app: failing"]);
    let start = now();
    let before = started(&stockade, "app");
    stockade
        .log
        .wait_times(before + 2, &["pool app: worker ", "exit-code 3"]);
    for _ in 0..200 {
        let answer = stockade.connect().get("");
        assert_eq!(answer.header("Stockade-Cause").unwrap(), "pool-failing");
    }
    // the supervisor has time for others
    let (code, text, error) = stockade.ask(&["status"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert!(text.contains("failing"), "{text}");
    // each wait is twice the one before, so so many starts cannot have been more
    let starts = started(&stockade, "app");
    let most = 4 + 4 + usize::try_from((start.elapsed().as_millis() / 200).ilog2()).unwrap();
    assert!(starts <= most, "{starts} starts:\n{}", stockade.log.text());
    let lines = stockade.log.text().lines().count();
    assert!(
        lines <= starts * (LINES + 6) + 60,
        "{lines} lines of {starts} starts"
    );
}

#[test]
fn a_crash_loop_in_one_pool_holds_up_no_other() {
    let site = Site::new();
    let keys = format!("processes = 8\n{}", backoff(1, 1));
    let pools = [
        Pool::scripted(&site, &[], "processes = 2"),
        Pool::scripted(&site, &["exit=3"], &keys).named("bad"),
    ];
    let stockade = Stockade::serve(site, &pools);
    stockade.wait_ready("app", 2);
    stockade.log.wait(&["pool bad: failing"]);
    for _ in 0..5 {
        let before = started(&stockade, "bad");
        let worker = stockade.connect().get("").pid();
        assert!(process::signal(worker, Signal::SIGKILL));
        wait_for("another worker", || {
            (stockade.connect().get("").pid() != worker).then_some(())
        });
        wait_for("the loop to go on", || {
            (started(&stockade, "bad") > before).then_some(())
        });
    }
    stockade.wait_ready("app", 7);
    let (code, out, error) = stockade.ask(&["reload", "app", "--wait"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "pool app: generation 2 serves\n"),
        "{error}"
    );
}

#[test]
fn a_broken_generation_is_tried_with_one_worker_and_given_up() {
    let site = Site::new();
    let keys = format!("processes = 4\n{}", backoff(10, 10));
    let good = Pool::scripted(&site, &[], &keys);
    let broken = Pool::scripted(&site, &["exit=3"], &keys);
    let stockade = Stockade::ready(site, std::slice::from_ref(&good));
    stockade.wait_ready("app", 4);
    let mut old = stockade.workers();
    stockade.configure(&[broken]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1), "{error}");
    // the answer may come before the log does
    stockade.log.wait(&["reload abandoned"]);
    assert_eq!(started(&stockade, "app"), 5, "{}", stockade.log.text());
    // a worker that is lost is made up for with what serves
    let lost = Fcgi::connect(&stockade.socket("app")).get("").pid();
    assert!(process::signal(lost, Signal::SIGKILL));
    stockade.wait_ready("app", 5);
    old.retain(|worker| *worker != lost);
    let workers = stockade.workers();
    assert!(old.iter().all(|worker| workers.contains(worker)));
    assert_eq!(stockade.connect().get("").status(), 200);
    assert_eq!(started(&stockade, "app"), 6, "{}", stockade.log.text());
}

/// How many workers of the pool have been started.
fn started(stockade: &Stockade, pool: &str) -> usize {
    let words = [&*format!("pool {pool}: worker "), " started"];
    stockade.log.matching(&words).len()
}
