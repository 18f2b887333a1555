//! Hosts by hand at work, and what a test of relays looks at: a gate for requests, and how the pool stands.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::Value;

use super::{deadline::wait_for, fcgi::Fcgi, stockade::Stockade};

/// Raw hosts at work: kept connections and fresh ones, GET, POST and long responses.
pub(crate) struct Hosts {
    enough: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    hosts: Vec<JoinHandle<()>>,
}

impl Hosts {
    /// Each asks again and again until it is told to stop.
    pub(crate) fn start(stockade: &Stockade) -> Self {
        let (enough, answered) = (Arc::default(), Arc::default());
        let works: [fn(&PathBuf, &mut Fcgi); 4] = [
            |_, kept| assert_eq!(kept.get("").status(), 200),
            |_, kept| {
                let body = vec![b'x'; 100_000];
                let answer = kept.ask("POST", "echo", &body);
                assert_eq!((answer.ended, answer.body_length()), (Some(0), body.len()));
            },
            |socket, _| {
                assert_eq!(
                    Fcgi::connect(socket).ask("POST", "echo", b"ab").body(),
                    "ab"
                );
            },
            |_, kept| {
                let answer = kept.get("big=600000&write-slowly=3");
                assert_eq!((answer.ended, answer.body_length()), (Some(0), 600_000));
            },
        ];
        let host = |work: fn(&PathBuf, &mut Fcgi)| {
            let socket = stockade.socket("app");
            let (enough, answered): (Arc<AtomicBool>, Arc<AtomicUsize>) =
                (Arc::clone(&enough), Arc::clone(&answered));
            thread::spawn(move || {
                let mut kept = Fcgi::connect(&socket);
                while !enough.load(Ordering::Relaxed) {
                    work(&socket, &mut kept);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let hosts = works.into_iter().map(host).collect();
        Self {
            enough,
            answered,
            hosts,
        }
    }

    /// Waits until so many more have been answered, or one was not.
    pub(crate) fn wait_answered(&self, further: usize) {
        let aim = self.answered.load(Ordering::Relaxed) + further;
        wait_for("the hosts by hand to be answered", || {
            let failed = self.hosts.iter().any(JoinHandle::is_finished);
            (failed || self.answered.load(Ordering::Relaxed) >= aim).then_some(())
        });
    }

    /// Stops; fails when one was not answered. How many were.
    pub(crate) fn stop(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        for host in self.hosts {
            host.join().expect("every request was answered");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// A file that requests wait for.
pub(crate) struct Gate(PathBuf);

impl Gate {
    /// Closed.
    pub(crate) fn new(stockade: &Stockade) -> Self {
        Self(stockade.site.path().join("gate"))
    }

    /// A query that says a line, and waits.
    pub(crate) fn word(&self, line: &str) -> String {
        format!("stderr={line}&wait={}", self.0.display())
    }

    /// Whoever waits goes on.
    pub(crate) fn open(&self) {
        fs::write(&self.0, "").expect("the test's folder can be written to");
    }
}

/// The pool `app` as the status shows it.
pub(crate) fn pool(stockade: &Stockade) -> Value {
    let (code, text, error) = stockade.ask(&["status", "--json"]);
    assert_eq!((code, &*error), (Some(0), ""));
    let mut status: Value = serde_json::from_str(&text).expect("JSON");
    status["pools"][0].take()
}

/// Waits until so many slots are free, and none is not.
pub(crate) fn wait_all_idle(stockade: &Stockade, slots: u64) {
    wait_for("every slot free", || {
        let pool = pool(stockade);
        (pool["slots"]["idle"] == slots && pool["slots"]["busy"] == 0).then_some(())
    });
}

/// In order, to be compared.
pub(crate) fn sorted(mut pids: Vec<i32>) -> Vec<i32> {
    pids.sort_unstable();
    pids
}
