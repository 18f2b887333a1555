//! What workers take of the machine: memory and processor time are told to who asks, and limited by `maximum-memory` and `cpu-time-limit`.

use std::fs;

use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};

/// The worker's part of the memory as the kernel tells it, in bytes.
fn pss(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it is ours");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .expect("a number");
    kib * 1024
}

fn worker(stockade: &Stockade) -> Value {
    stockade.pool("app")["workers"][0].clone()
}

#[test]
fn the_memory_and_time_of_a_worker_and_of_what_it_started_are_told() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let pid = host.get("leak=64&spin=300").pid();
    let told = worker(&stockade);
    let bytes = told["resident_bytes"].as_u64().expect("a number");
    let now = pss(pid);
    assert!(
        bytes > 64 << 20 && bytes.abs_diff(now) < 8 << 20,
        "{bytes}, {now}"
    );
    let seconds = told["cpu_seconds"].as_f64().expect("a number");
    assert!((0.25..30.0).contains(&seconds), "{told}");
    assert_eq!(told["place"], 0);
    // what it took when it was looked at last is told of it when it is gone
    assert!(process::signal(pid, nix::sys::signal::Signal::SIGKILL));
    let exit = stockade.wait_exit_of("app");
    assert_eq!(exit["resident_bytes"], bytes);
    let line = stockade.log.wait(&[&format!("(pid {pid}) gone after")]);
    assert!(line.contains(" MiB of memory; 1 request"), "{line}");
}

#[test]
fn the_place_of_a_worker_is_taken_by_the_next_one_and_nobody_moves() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let places = || -> Vec<(i64, u64)> {
        let pool = stockade.pool("app");
        let workers = pool["workers"].as_array().expect("a list");
        (workers.iter())
            .filter_map(|worker| Some((worker["pid"].as_i64()?, worker["place"].as_u64()?)))
            .collect()
    };
    let before = wait_for("both", || Some(places()).filter(|all| all.len() == 2));
    let (one, other) = (before[0], before[1]);
    assert_eq!(one.1 + other.1, 1, "places 0 and 1");
    let pid = i32::try_from(one.0).expect("a process's number fits");
    assert!(process::signal(pid, nix::sys::signal::Signal::SIGKILL));
    let after = wait_for("the next one", || {
        Some(places()).filter(|all| all.len() == 2 && !all.contains(&one))
    });
    assert_eq!(after[0], other);
    assert_eq!(after[1].1, one.1);
}

#[test]
fn processes_that_a_worker_has_started_count_with_it() {
    let site = Site::new();
    let program = site.program(
        "family",
        &format!(
            "#!/bin/sh\n{} -c 'import time; kept = b\"x\" * (48 << 20); time.sleep(1000)' &\nwait\n",
            tools::python().display()
        ),
    );
    let keys = format!("service = [{:?}]", program.display().to_string());
    let config = configuration(&site, &[Pool::new(&keys)]);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["pool app: serving"]);
    wait_for("the memory of its child", || {
        let bytes = worker(&stockade)["resident_bytes"].as_u64()?;
        (bytes > 48 << 20).then_some(())
    });
}

#[test]
fn maximum_memory_replaces_a_worker_that_has_grown_and_no_request_fails() {
    let stockade = Stockade::scripted("processes = 1\nmaximum-memory = \"48MiB\"");
    let mut host = stockade.connect();
    let pid = host.get("leak=64").pid();
    let line = stockade.log.wait(&["is to be replaced: maximum-memory ("]);
    assert!(line.contains("INFO") && line.contains("6"), "{line}");
    let next = wait_for("the next worker", || {
        let answer = host.get("");
        assert_eq!(answer.status(), 200);
        (answer.pid() != pid).then(|| answer.pid())
    });
    stockade
        .log
        .wait(&[&format!("(pid {pid}) gone after"), ": maximum-memory"]);
    let exit = stockade.wait_exit_of("app");
    assert_eq!(exit["cause"], "maximum-memory");
    // which is small enough: it stays
    assert_eq!(stockade.log.matching(&["is to be replaced"]).len(), 1);
    assert_eq!(stockade.workers(), [next]);
}

#[test]
fn one_that_is_above_maximum_memory_at_once_is_told_of_and_not_replaced_for_ever() {
    let stockade = Stockade::scripted("processes = 1\nmaximum-memory = \"64KiB\"");
    let line = stockade.log.wait(&["is above maximum-memory"]);
    assert!(line.contains("WARN") && line.contains("raise it"), "{line}");
    let mut host = stockade.connect();
    let pid = host.get("").pid();
    wait_for("it to be looked at twice more", || {
        assert_eq!(host.get("").pid(), pid);
        (worker(&stockade)["age_seconds"].as_f64() > Some(11.0)).then_some(())
    });
    assert!(stockade.log.matching(&["is to be replaced"]).is_empty());
    // it is when it has grown
    host.get("leak=32");
    stockade.log.wait(&["is to be replaced: maximum-memory"]);
    stockade
        .log
        .wait(&[&format!("(pid {pid}) gone after"), ": maximum-memory"]);
}

#[test]
fn cpu_time_limit_replaces_a_worker_that_has_worked_enough() {
    let stockade = Stockade::scripted("processes = 1\ncpu-time-limit = \"500ms\"");
    let mut host = stockade.connect();
    let pid = host.get("spin=700").pid();
    stockade.log.wait(&["is to be replaced: cpu-time-limit"]);
    stockade
        .log
        .wait(&[&format!("(pid {pid}) gone after"), ": cpu-time-limit"]);
    assert_eq!(host.get("").status(), 200);
}

#[test]
fn one_worker_at_a_time_is_replaced() {
    let stockade = Stockade::scripted("processes = 3\nmaximum-memory = \"48MiB\"");
    stockade.wait_ready("app", 3);
    let gate = stockade.site.path().join("gate");
    let mut hosts: Vec<_> = (0..3).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin(
            "GET",
            &format!("leak=64&stderr=grown&wait={}", gate.display()),
            &[],
        );
    }
    stockade.log.wait_times(3, &["stderr: grown"]);
    fs::write(&gate, "").expect("the site can be written to");
    for host in &mut hosts {
        assert_eq!(host.answer().expect("an answer").status(), 200);
    }
    stockade
        .log
        .wait_times(3, &["gone after", ": maximum-memory"]);
    let text = stockade.log.text();
    let mut retiring = 0;
    for line in text.lines().filter(|line| line.contains("maximum-memory")) {
        retiring += i32::from(line.contains("retiring: maximum-memory"));
        retiring -= i32::from(line.contains("gone after"));
        assert!(retiring <= 1, "{text}");
    }
}
