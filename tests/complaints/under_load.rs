//! Twenty times the worst, under load, behind nginx: no request fails.

use nix::sys::signal::Signal;

use super::{backoff, wsgi};
use crate::support::{
    load::Load,
    nginx::{Hosting, Nginx},
    process,
    site::Site,
    stockade::{Pool, Stockade},
};

/// How often.
const TIMES: usize = 20;

const APPLICATION: &str = r#"
import time


def application(environ, start_response):
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here\n"]
"#;

#[test]
fn twenty_reloads_under_load_fail_no_request() {
    let site = Site::new();
    let pool = wsgi(&site, APPLICATION, "processes = 3\nthreads = 2");
    let stockade = Stockade::ready(site, &[pool]);
    let load = Running::start(&stockade, true);
    for _ in 0..TIMES {
        load.wait();
        let (code, _, error) = stockade.ask(&["reload", "--wait"]);
        assert_eq!(code, Some(0), "{error}");
    }
    load.stop();
}

#[test]
fn twenty_killed_workers_fail_no_get() {
    let site = Site::new();
    let pool = wsgi(&site, APPLICATION, "processes = 4\nthreads = 2");
    let stockade = Stockade::ready(site, &[pool]);
    stockade.wait_ready("app", 4);
    let load = Running::start(&stockade, false);
    for round in 0..TIMES {
        load.wait();
        let workers = stockade.workers();
        assert!(process::signal(
            workers[round % workers.len()],
            Signal::SIGKILL
        ));
        // a request is replayed once: the next to die must not be the one that got it
        stockade.wait_ready("app", 5 + round);
    }
    load.stop();
    let ends = stockade.log.matching(&["pool app: worker ", " gone after"]);
    assert_eq!(ends.len(), TIMES, "{ends:?}");
    // whoever was the first to notice
    let named = |line: &String| line.contains("signal SIGKILL");
    assert!(ends.iter().all(named), "{ends:?}");
}

#[test]
fn a_reload_onto_an_application_that_raises_fails_no_request() {
    let site = Site::new();
    let keys = format!("processes = 3\n{}", backoff(10, 50));
    let good = wsgi(&site, APPLICATION, &keys);
    site.write("broken.py", "raise ValueError('not today')\n");
    let stockade = Stockade::ready(site, std::slice::from_ref(&good));
    stockade.wait_ready("app", 3);
    let load = Running::start(&stockade, true);
    stockade.configure(&[broken(&good)]);
    for _ in 0..5 {
        load.wait();
        let (code, _, error) = stockade.ask(&["reload", "--wait"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("the old one goes on"), "{error}");
    }
    stockade.log.wait(&["ValueError: not today"]);
    stockade.configure(&[good]);
    load.wait();
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{error}");
    load.stop();
}

/// The pool with the module `broken`.
fn broken(good: &Pool) -> Pool {
    good.with("pages:application", "broken:application")
}

/// nginx with connections that are kept, nginx without, and clients of both.
struct Running {
    load: Load,
    _nginx: [Nginx; 2],
}

impl Running {
    fn start(stockade: &Stockade, posts: bool) -> Self {
        let nginx = [true, false].map(|keep| {
            let hosting = Hosting {
                keep,
                ..Hosting::default()
            };
            Nginx::start(&stockade.socket("app"), &hosting)
        });
        let clients = nginx
            .iter()
            .flat_map(|nginx| [(); 3].map(|()| nginx.client()))
            .collect();
        let methods: &'static [&'static str] = if posts { &["GET", "POST"] } else { &["GET"] };
        Self {
            load: Load::with_methods(clients, "/", methods),
            _nginx: nginx,
        }
    }

    fn wait(&self) {
        self.load.wait_answered(50);
    }

    fn stop(self) {
        self.wait();
        let (answered, failures) = self.load.stop();
        assert!(
            failures.is_empty(),
            "{} of {answered} failed: {failures:?}",
            failures.len()
        );
    }
}
