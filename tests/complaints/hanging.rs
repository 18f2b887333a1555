//! Workers that hang, seen from outside.

use nix::sys::signal::Signal;

use super::wsgi;
use crate::support::{
    deadline::wait_for,
    site::Site,
    stockade::{Pool, Stockade, gone},
};

/// What brings a worker to its end.
type End = fn(&Stockade);

/// Ways to hang, by the query; without one it answers.
const HANGS: &str = r#"
import ctypes, os, signal, threading

lock = threading.Lock()


def application(environ, start_response):
    query = environ["QUERY_STRING"]
    if query:
        print("begun", flush=True)
    if query == "lock":
        lock.acquire()
        lock.acquire()
    if query == "interpreter":
        ctypes.PyDLL(None).pause()
    if query == "stopped":
        signal.raise_signal(signal.SIGSTOP)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"pid %d\n" % os.getpid()]
"#;

#[test]
fn a_worker_that_hangs_in_every_thread_is_replaced_and_its_clients_are_answered() {
    let keys = "processes = 1\nthreads = 2\nrequest-timeout = \"2s\"\nshutdown-timeout = \"300ms\"";
    for hang in ["lock", "interpreter", "stopped"] {
        let site = Site::new();
        let pool = wsgi(&site, HANGS, keys);
        let stockade = Stockade::ready(site, &[pool]);
        let worker = stockade.connect().get("").pid();
        let mut hosts = [(); 2].map(|()| stockade.connect());
        for host in &mut hosts {
            host.begin("GET", hang, &[]);
        }
        for host in &mut hosts {
            let answer = host.answer().unwrap();
            assert_eq!(answer.status(), 504, "{hang}: {answer:?}");
            assert_eq!(answer.header("Stockade-Cause").unwrap(), "request-timeout");
        }
        wait_for("its end", || gone(worker).then_some(()));
        let answer = stockade.connect().get("");
        assert_eq!(answer.status(), 200, "{hang}");
        assert_ne!(answer.pid(), worker, "{hang}");
    }
}

#[test]
fn each_limit_in_time_holds_without_the_others() {
    const LIMITS: [&str; 3] = ["startup-timeout", "request-timeout", "graceful-timeout"];
    let only = |limit: &str| {
        let times = LIMITS.map(|key| {
            let time = if key == limit { "1s" } else { "off" };
            format!("{key} = \"{time}\"\n")
        });
        times.concat() + "response-timeout = \"off\"\nshutdown-timeout = \"300ms\"\nprocesses = 1"
    };
    let site = Site::new();
    let pool = Pool::scripted(&site, &["mute"], &only(LIMITS[0]));
    let stockade = Stockade::serve(site, &[pool]);
    stockade.log.wait(&["pool app: worker 1", LIMITS[0]]);
    drop(stockade);

    for limit in &LIMITS[1..] {
        let stockade = Stockade::scripted(&only(limit));
        let mut host = stockade.connect();
        host.begin("GET", "stderr=begun&sleep=600000", &[]);
        stockade.log.wait(&["begun"]);
        if *limit == "graceful-timeout" {
            stockade.signal(Signal::SIGHUP);
        }
        let answer = host.answer().unwrap();
        assert_eq!(answer.header("Stockade-Cause").unwrap(), *limit);
    }
}

#[test]
fn a_worker_that_ignores_term_is_killed_whatever_ends_it() {
    let ends: [(&str, &str, End); 3] = [
        ("requested", "", |stockade| {
            let (code, _, error) = stockade.ask(&["reload", "--wait"]);
            assert_eq!(code, Some(0), "{error}");
        }),
        ("maximum-requests", "maximum-requests = 2", |stockade| {
            assert_eq!(stockade.connect().get("").status(), 200);
        }),
        ("request-timeout", "request-timeout = \"1s\"", |stockade| {
            assert_eq!(stockade.connect().get("sleep=600000").status(), 504);
        }),
    ];
    for (cause, keys, end) in ends {
        let site = Site::new();
        let keys = format!("processes = 1\nshutdown-timeout = \"200ms\"\n{keys}");
        let pool = Pool::scripted(&site, &["ignore-term"], &keys);
        let stockade = Stockade::ready(site, &[pool]);
        let worker = stockade.connect().get("").pid();
        end(&stockade);
        wait_for("its end", || gone(worker).then_some(()));
        stockade.log.wait(&[&format!("(pid {worker}) killed")]);
        stockade.log.wait(&[&format!("(pid {worker}) gone"), cause]);
    }
}
