//! `service`: a program without requests, kept running.

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    process,
    server::writable,
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
    wait_proven(&stockade);
    assert!(process::signal(first, Signal::SIGKILL));
    // it had run well: at once
    stockade.log.wait(&["pool jobs: worker 2", "started"]);
    stockade.log.wait_times(2, &["pool jobs: serving"]);
    assert_ne!(only_worker(&stockade), first);
    assert!(stockade.log.matching(&["next start in"]).is_empty());

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
fn one_that_is_killed_has_a_record() {
    let (stockade, _) = serving("environment = { COLOUR = \"blue\" }\nbackoff-initial = \"100ms\"");
    stockade.log.wait(&["consuming blue"]);
    stockade.log.wait(&["pool jobs: serving"]);
    let pid = only_worker(&stockade);
    wait_proven(&stockade);
    assert!(process::signal(pid, Signal::SIGKILL));
    let line = stockade.log.wait(&[&format!("(pid {pid}) gone after")]);
    assert!(
        line.contains("signal SIGKILL") && line.contains("its last line: consuming blue"),
        "{line}"
    );
    assert!(!line.contains("request"), "it gets none: {line}");
    let exit = stockade.wait_exit_of("jobs");
    assert_eq!((&exit["pid"], &exit["requests"]), (&pid.into(), &0.into()));
    // it had run well, so the next one comes at once
    stockade.log.wait_times(2, &["pool jobs: serving"]);
    assert!(stockade.log.matching(&["next start in"]).is_empty());
}

#[test]
fn one_that_crashes_in_a_loop_waits_longer_each_time_and_is_failing() {
    let site = Site::new();
    let program = site.program("broken", "#!/bin/sh\necho no queue there\nexit 7\n");
    let keys = format!(
        "service = [{:?}]\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"10s\"",
        shown(&program)
    );
    let config = configuration(&site, &[service(&keys)]);
    let stockade = Stockade::run(site, &config);
    let waits: Vec<f64> = (stockade.log.wait_times(5, &["pool jobs: next start in"]))
        .iter()
        .map(|line| seconds_in(line))
        .collect();
    assert!(
        waits[4] >= 4.0 * waits[1].max(0.1) && waits[4] <= 10.0,
        "{waits:?}"
    );
    let line = stockade.log.wait(&["gone after", "exit-code 7"]);
    assert!(line.contains("its last line: no queue there"), "{line}");
    stockade.log.wait(&["pool jobs: failing"]);
    assert_eq!(stockade.pool("jobs")["state"], "failing");
}

#[test]
fn one_that_ends_whenever_it_is_ready_waits_longer_each_time() {
    let site = Site::new();
    let program = site.program("short", "#!/bin/sh\nsleep 1.5\nexit 0\n");
    let keys = format!(
        "service = [{:?}]\nbackoff-initial = \"300ms\"",
        shown(&program)
    );
    let config = configuration(&site, &[service(&keys)]);
    let stockade = Stockade::run(site, &config);
    let waits = stockade.log.wait_times(3, &["pool jobs: next start in"]);
    assert!(
        seconds_in(&waits[2]) > 2.0 * seconds_in(&waits[0]),
        "{waits:?}"
    );
    stockade.log.wait_times(3, &["pool jobs: serving"]);
    stockade
        .log
        .wait(&[" gone after", ", soon after its start: exit-code 0"]);
}

#[test]
fn one_that_has_grown_is_replaced_by_one_that_runs_before() {
    let site = Site::new();
    // grows once, so that the next one stays
    let program = site.program(
        "grower",
        &format!(
            "#!{}\nimport os, sys, time\nmark = sys.argv[1]\nfirst = not os.path.exists(mark)\n\
             open(mark, 'w').close()\nprint('first' if first else 'next', flush=True)\ntime.sleep(2)\n\
             kept = b'x' * (96 << 20) if first else b''\ntime.sleep(1000)\n",
            tools::python().display()
        ),
    );
    let folder = writable(&site, "marks");
    let keys = format!(
        "service = [{:?}, {:?}]\nmaximum-memory = \"64MiB\"",
        shown(&program),
        shown(&folder.join("mark"))
    );
    let config = configuration(&site, &[service(&keys)]);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["pool jobs: serving"]);
    let pid = only_worker(&stockade);
    stockade.log.wait(&["is to be replaced: maximum-memory ("]);
    stockade
        .log
        .wait(&[&format!("(pid {pid}) gone after"), ": maximum-memory"]);
    let text = stockade.log.text();
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}:\n{text}"))
    };
    assert!(
        at("worker 2 (pid") < at(&format!("(pid {pid}) retiring: maximum-memory")),
        "{text}"
    );
    assert_ne!(only_worker(&stockade), pid);
    assert_eq!(stockade.wait_exit_of("jobs")["cause"], "maximum-memory");
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
fn one_that_takes_a_lock_is_never_there_twice() {
    let site = Site::new();
    let program = site.program("consumer", CONSUMER);
    let folder = writable(&site, "locks");
    let keys = |colour: &str| {
        format!(
            "service = [\"flock\", \"--no-fork\", {:?}, {:?}]\nenvironment = {{ COLOUR = {colour:?} }}",
            shown(&folder.join("lock")),
            shown(&program)
        )
    };
    let config = configuration(&site, &[service(&keys("blue"))]);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["consuming blue"]);
    stockade.configure(&[service(&keys("red"))]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""));
    stockade.log.wait(&["consuming red"]);
    let text = stockade.log.text();
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}:\n{text}"))
    };
    assert!(at("worker 2 (pid") < at("stdout: going"), "{text}");
    assert!(at("stdout: going") < at("consuming red"), "{text}");
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

/// "next start in 0.4 s", "next start in 97 ms"
fn seconds_in(line: &str) -> f64 {
    let rest = line.split_once(" in ").map_or("", |(_, rest)| rest);
    let (number, unit) = rest.split_once(' ').unwrap_or((rest, ""));
    let number: f64 = number
        .parse()
        .unwrap_or_else(|_| panic!("no time in the line: {line}"));
    if unit == "ms" {
        number / 1000.0
    } else {
        number
    }
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

/// It has been ready for ten times its `backoff-initial` of 100 ms, so the next start is not put off when it dies.
fn wait_proven(stockade: &Stockade) {
    wait_for("a service that has run well", || {
        let age = status(stockade)["workers"][0]["age_seconds"].as_f64();
        (age? > 2.5).then_some(())
    });
}

fn status(stockade: &Stockade) -> Value {
    let (_, text, _) = stockade.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    status["pools"][0].clone()
}
