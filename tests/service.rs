//! `service`: a program without requests, kept running.

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration, gone, refusal},
    tools::{self, POOL_USER},
};

/// Runs until it is told to go, and says what it was given.
const CONSUMER: &str = "#!/bin/sh
echo \"consuming $COLOUR as $(id -un), pool $STOCKADE_POOL, generation $STOCKADE_GENERATION\"
trap 'echo going; exit 0' TERM
while :; do sleep 1 & wait $!; done
";

#[test]
fn a_service_runs_with_the_pools_identity_environment_and_log() {
    let (mut stockade, _) = serving("environment = { COLOUR = \"blue\" }");
    let line = stockade
        .log
        .wait(&["pool jobs: worker 1", "stdout: consuming blue"]);
    assert!(line.contains("pool jobs, generation 1"), "{line}");
    if tools::root() {
        assert!(line.contains(&format!("as {POOL_USER}")), "{line}");
    }
    stockade.log.wait(&["pool jobs: serving"]);
    let pid = only_worker(&stockade);
    let input = fs::read_link(format!("/proc/{pid}/fd/0")).expect("we may look");
    assert_eq!(input, Path::new("/dev/null"));
    let pool = status(&stockade);
    assert_eq!(pool["state"], "serving");
    assert_eq!(pool["workers"][0]["state"], "ready");
    assert_eq!(pool["slots"]["idle"], 0);
    assert!(pool["listen"].as_array().is_some_and(Vec::is_empty));

    stockade.signal(Signal::SIGTERM);
    assert!(stockade.wait_exit().success());
    stockade.log.wait(&["stdout: going"]);
    assert!(gone(pid));
}

#[test]
fn one_that_dies_is_started_again_and_one_that_cannot_run_is_put_off() {
    let (stockade, _) = serving("backoff-initial = \"100ms\"");
    stockade.log.wait(&["pool jobs: serving"]);
    let first = only_worker(&stockade);
    assert!(process::signal(first, Signal::SIGKILL));
    // it had run well: at once
    stockade.log.wait(&["pool jobs: worker 2", "started"]);
    stockade.log.wait_times(2, &["pool jobs: serving"]);
    assert_ne!(only_worker(&stockade), first);

    let site = Site::new();
    let program = site.program("broken", "#!/bin/sh\nexit 7\n");
    let keys = format!(
        "service = [{:?}]\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"100ms\"",
        shown(&program)
    );
    let config = configuration(&site, &[service(&keys)]);
    let broken = Stockade::run(site, &config);
    broken.log.wait(&["pool jobs", "exit-code 7"]);
    broken.log.wait(&["pool jobs: failing"]);
}

#[test]
fn a_reload_starts_the_new_one_and_stops_the_old_one() {
    let (stockade, program) = serving("environment = { COLOUR = \"blue\" }");
    stockade.log.wait(&["pool jobs: serving"]);
    let old = only_worker(&stockade);
    let keys = format!(
        "service = [{:?}]\nenvironment = {{ COLOUR = \"red\" }}",
        shown(&program)
    );
    stockade.site.write(
        "stockade.toml",
        &configuration(&stockade.site, &[service(&keys)]),
    );
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert_eq!(out, "pool jobs: generation 2 serves\n");
    stockade.log.wait(&["consuming red"]);
    wait_for("the end of the old one", || gone(old).then_some(()));
}

#[test]
fn a_relay_that_dies_leaves_it_running() {
    let (stockade, _) = serving("");
    stockade.log.wait(&["pool jobs: serving"]);
    let pid = only_worker(&stockade);
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGKILL));
    wait_for("the service as the new relay knows it", || {
        let (code, text, _) = stockade.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&text).ok()?;
        let worker = &status["pools"][0]["workers"][0];
        (code == Some(0) && worker["state"] == "ready" && worker["pid"] == pid).then_some(())
    });
}

#[test]
fn keys_about_requests_are_refused() {
    for (key, named) in [
        ("listen = [\"unix:/run/x.sock\"]", "`listen`"),
        ("queue-limit = 5", "`queue-limit`"),
        ("threads = 2", "`threads`"),
    ] {
        let site = Site::new();
        let user = if tools::root() {
            "user = \"www-data\"\n"
        } else {
            ""
        };
        let config = format!(
            "{}[pool.jobs]\nservice = [\"/bin/sh\"]\n{user}{key}\n",
            crate::support::stockade::daemon_table(&site)
        );
        let (code, text) = refusal(&site.write("stockade.toml", &config));
        assert_eq!(code, Some(78));
        assert!(
            text.contains(named) && text.contains("gets no requests"),
            "{text}"
        );
    }
}

/// The consumer in a pool `jobs`, and its program.
fn serving(keys: &str) -> (Stockade, std::path::PathBuf) {
    let site = Site::new();
    let program = site.program("consumer", CONSUMER);
    let config = configuration(
        &site,
        &[service(&format!(
            "service = [{:?}]\n{keys}",
            shown(&program)
        ))],
    );
    (Stockade::run(site, &config), program)
}

fn service(keys: &str) -> Pool {
    Pool::new(keys).named("jobs")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn only_worker(stockade: &Stockade) -> i32 {
    wait_for("one worker", || match stockade.workers()[..] {
        [pid] => Some(pid),
        _ => None,
    })
}

fn status(stockade: &Stockade) -> Value {
    let (_, text, _) = stockade.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    status["pools"][0].clone()
}
