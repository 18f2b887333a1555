//! What a worker's death tells: the cause, the request, the last lines; once in the log, and to those who ask.

use std::{fs, path::PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    fcgi::{Answer, Fcgi},
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};

/// A request that has begun at its worker, and waits there for a file.
fn begun(stockade: &Stockade, path: &str, gate: &str) -> (Fcgi, PathBuf) {
    let gate = stockade.site.path().join(gate);
    let mut host = stockade.connect();
    let name = gate.file_name().expect("it has one").to_string_lossy();
    let query = format!("stderr=begun-{name}&wait={}", gate.display());
    host.begin_with(
        "GET",
        &query,
        &[("REQUEST_URI", &format!("{path}?{query}"))],
    );
    stockade.log.wait(&[&format!("stderr: begun-{name}")]);
    (host, gate)
}

/// The one line of the log about the end of a worker.
fn line(stockade: &Stockade, pid: i32) -> String {
    let line = stockade.log.wait(&[&format!("(pid {pid}) gone after")]);
    let all = stockade.log.matching(&[&format!("(pid {pid}) gone")]);
    assert_eq!(all.len(), 1, "{all:?}");
    line
}

fn paths(exit: &Value) -> Vec<&str> {
    let current = exit["current"].as_array().expect("a list");
    let mut paths: Vec<&str> = (current.iter())
        .filter_map(|request| request["path"].as_str())
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn a_crash_while_three_requests_run_names_the_signal_and_all_three() {
    let site = Site::new();
    let keys = "processes = 1\nthreads = 3\nmultiplex = true\nretry = \"off\"";
    let pool = Pool::scripted(&site, &["multiplex"], keys);
    let stockade = Stockade::ready(site, &[pool]);
    let pid = stockade.connect().get("").pid();
    let hosts: Vec<Fcgi> = ["/one", "/two", "/three"]
        .iter()
        .zip(["a", "b", "c"])
        .map(|(path, gate)| begun(&stockade, path, gate).0)
        .collect();
    // the first one, for which there is no reason, is passed over by Rust's own handler
    wait_for("its end", || {
        process::signal(pid, Signal::SIGSEGV);
        (!process::alive(pid)).then_some(())
    });
    for mut host in hosts {
        assert_eq!(host.answer().expect("an answer").status(), 502);
    }
    let line = line(&stockade, pid);
    for words in [
        "WARN",
        "pool app: worker 1",
        "signal SIGSEGV",
        "; 4 requests; it had ",
    ] {
        assert!(line.contains(words), "{words} is not in: {line}");
    }
    for path in ["GET /one (", "GET /two (", "GET /three ("] {
        assert!(line.contains(path), "{path} is not in: {line}");
    }
    assert!(!line.contains("wait="), "the query may be secret: {line}");
    let exit = stockade.wait_exit_of("app");
    assert_eq!(
        (&exit["cause"], &exit["detail"]),
        (&"signal".into(), &"SIGSEGV".into())
    );
    assert_eq!(exit["out_of_memory"], false);
    assert!(exit["core_dumped"].is_boolean());
    assert_eq!(paths(&exit), ["/one", "/three", "/two"]);
    assert_eq!(exit["current"][0]["method"], "GET");
    assert!(exit["current"][0]["age_seconds"].is_f64());
    let (_, text, _) = stockade.ask(&["status", "app"]);
    let told = text.lines().find(|line| line.contains("signal SIGSEGV"));
    let told = told.unwrap_or_else(|| panic!("{text}"));
    assert!(
        told.contains("4 requests") && told.contains("GET /two ("),
        "{told}"
    );
}

#[test]
fn an_exit_under_a_request_is_told_with_its_last_line() {
    let stockade = Stockade::scripted("processes = 1\nretry = \"off\"");
    let mut host = stockade.connect();
    let pid = host.get("").pid();
    assert_eq!(host.get("stdout=bye&exit=3").status(), 502);
    let line = line(&stockade, pid);
    assert!(line.contains(": exit-code 3"), "{line}");
    assert!(
        line.contains("it had ") && line.ends_with("its last line: bye"),
        "{line}"
    );
    let exit = stockade.wait_exit_of("app");
    assert_eq!((&exit["detail"], paths(&exit)), (&"3".into(), vec!["/"]));
    assert_eq!(exit["last_lines"][0], "bye");
}

#[test]
fn a_request_that_kills_two_workers_is_in_the_record_of_both() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    assert_eq!(stockade.connect().get("crash=before-head").status(), 502);
    let exits = wait_for("two exits", || {
        let exits = stockade.pool("app")["exits"].clone();
        (exits.as_array().map(Vec::len) == Some(2)).then_some(exits)
    });
    let name = &exits[0]["current"][0]["id"];
    assert!(
        name.is_string() && *name == exits[1]["current"][0]["id"],
        "{exits}"
    );
    assert_eq!(exits[0]["detail"], "SIGKILL");
}

#[test]
fn a_request_that_timed_out_is_in_the_record_of_its_worker() {
    let site = Site::new();
    let keys = "processes = 1\nrequest-timeout = \"300ms\"\nshutdown-timeout = \"100ms\"";
    let pool = Pool::scripted(&site, &["ignore-term"], keys);
    let stockade = Stockade::ready(site, &[pool]);
    let pid = stockade.connect().get("").pid();
    let (mut host, _) = begun(&stockade, "/slow", "gate");
    assert_eq!(host.answer().expect("an answer").status(), 504);
    let line = line(&stockade, pid);
    assert!(
        line.contains(": request-timeout") && line.contains("GET /slow ("),
        "{line}"
    );
    // it was looked at before it was ended
    assert!(line.contains(" MiB of memory"), "{line}");
    let exit = stockade.wait_exit_of("app");
    assert_eq!(paths(&exit), ["/slow"]);
    assert!(exit["resident_bytes"].as_u64() > Some(50_000), "{exit}");
}

#[test]
fn what_was_answered_before_is_not_what_it_died_of() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    let pid = host.get("").pid();
    assert!(process::signal(pid, Signal::SIGABRT));
    let line = line(&stockade, pid);
    assert!(
        line.ends_with("; 1 request") && line.contains("signal SIGABRT"),
        "{line}"
    );
    assert!(paths(&stockade.wait_exit_of("app")).is_empty());
}

#[test]
fn an_application_that_does_not_import_says_so_in_one_line() {
    let site = Site::new();
    site.write("broken.py", "import no_such_module_anywhere\n");
    let keys = format!(
        "wsgi = \"broken:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1\nbackoff-initial = \"50ms\"",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    let line = stockade.log.wait(&["gone after", "exit-code"]);
    assert!(
        line.contains(", before it answered a request: exit-code"),
        "{line}"
    );
    assert!(line.contains("; its last line: "), "{line}");
    let exit = stockade.wait_exit_of("app");
    let lines = exit["last_lines"].to_string();
    assert!(lines.contains("no_such_module_anywhere"), "{exit}");
    // and it does not try at full speed
    stockade.log.wait(&["pool app: next start in"]);
    stockade.log.wait(&["pool app: failing"]);
}

#[test]
fn a_log_of_warnings_has_the_lines_that_it_would_lack() {
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], "processes = 1");
    let config = configuration(&site, &[pool]);
    let config = config.replacen("[daemon]", "[daemon]\nlog-level = \"warn\"", 1);
    let stockade = Stockade::run(site, &config);
    let socket = stockade.socket("app");
    wait_for("the pool's socket", || {
        fs::exists(&socket).unwrap_or(false).then_some(())
    });
    let mut host = stockade.connect();
    let pid = host.get("stderr=the-last-words").pid();
    assert!(process::signal(pid, Signal::SIGKILL));
    let line = line(&stockade, pid);
    assert!(line.contains("its last line: the-last-words"), "{line}");
    stockade
        .log
        .wait(&[&format!("(pid {pid}) had written: the-last-words")]);
}

#[test]
fn what_a_worker_had_goes_to_the_next_relay() {
    let stockade = Stockade::scripted("processes = 1\nretry = \"off\"");
    let pid = stockade.connect().get("").pid();
    let (mut host, _) = begun(&stockade, "/lost", "gate");
    assert!(process::signal(pid, Signal::SIGKILL));
    let answer: Answer = host.answer().expect("an answer");
    assert_eq!(answer.status(), 502);
    line(&stockade, pid);
    stockade.replace_relay();
    let exit = stockade.wait_exit_of("app");
    assert_eq!((&exit["pid"], paths(&exit)), (&pid.into(), vec!["/lost"]));
}
