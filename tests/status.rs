//! `stockade status` and `status-listen`: what is shown is what happened.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    fcgi::Fcgi,
    http::{Address, Client},
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration},
};

#[test]
fn the_status_has_every_field_and_counts_what_happened() {
    let stockade = Stockade::scripted("processes = 2\nthreads = 1");
    stockade.wait_ready("app", 2);
    let mut host = stockade.connect();
    for _ in 0..5 {
        assert_eq!(host.get("").status(), 200);
    }
    let status = status(&stockade);
    assert_eq!(status["pid"], stockade.pid());
    assert!(status["uptime_seconds"].as_f64() > Some(0.0));
    let pool = &status["pools"][0];
    assert_eq!(pool["name"], "app");
    assert_eq!(pool["state"], "serving");
    assert_eq!(pool["generation"], 1);
    assert!(
        pool["listen"][0]
            .as_str()
            .is_some_and(|address| address.starts_with("unix:/"))
    );
    assert_eq!(pool["processes"]["minimum"], 2);
    assert_eq!(pool["processes"]["maximum"], 2);
    assert_eq!(pool["processes"]["wanted"], 2);
    assert_eq!(pool["slots"]["busy"], 0);
    assert_eq!(pool["slots"]["idle"], 2);
    assert_eq!(pool["queue"]["length"], 0);
    assert_eq!(pool["queue"]["limit"], 1000);
    assert_eq!(pool["queue"]["oldest_seconds"], 0.0);
    assert_eq!(pool["requests_total"], 5);
    assert_eq!(pool["replays_total"], 0);
    assert!(
        pool["refused"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
    );
    assert!(pool["exits"].as_array().is_some_and(Vec::is_empty));
    let workers = pool["workers"].as_array().expect("a list");
    assert_eq!(workers.len(), 2);
    let served: u64 = workers
        .iter()
        .filter_map(|worker| worker["requests"].as_u64())
        .sum();
    assert_eq!(served, 5);
    for worker in workers {
        assert_eq!(worker["state"], "ready");
        assert_eq!(worker["generation"], 1);
        assert!(worker["resident_bytes"].as_u64() > Some(100_000));
        assert!(worker["cpu_seconds"].is_f64() && worker["age_seconds"].is_f64());
        assert!(worker["current"].as_array().is_some_and(Vec::is_empty));
    }
}

#[test]
fn what_runs_and_what_waits_is_shown() {
    let stockade = Stockade::scripted("processes = 1");
    let open = stockade.site.path().join("open");
    let hosts: Vec<std::thread::JoinHandle<u16>> = (0..2)
        .map(|_| {
            let mut host = stockade.connect();
            let question = format!("wait={}", open.display());
            std::thread::spawn(move || host.get(&question).status())
        })
        .collect();
    let pool = wait_for("one request running and one waiting", || {
        let pool = status(&stockade)["pools"][0].clone();
        (pool["queue"]["length"] == 1 && pool["slots"]["busy"] == 1).then_some(pool)
    });
    let current = &pool["workers"][0]["current"][0];
    assert_eq!(current["method"], "GET");
    assert!(
        current["path"]
            .as_str()
            .is_some_and(|path| path.starts_with('/') && !path.contains('?')),
        "{current}"
    );
    assert!(current["id"].as_str().is_some_and(|id| !id.is_empty()));
    let (_, text, _) = stockade.ask(&["status", "app"]);
    assert!(
        text.contains("1 of 1000, the oldest since") && text.contains("GET /"),
        "{text}"
    );
    std::fs::write(&open, "").expect("the site can be written to");
    for host in hosts {
        assert_eq!(host.join().expect("no panic"), 200);
    }
}

#[test]
fn an_exit_is_shown_with_its_cause_and_last_lines() {
    let stockade = Stockade::scripted("processes = 1\nretry = \"off\"");
    let mut host = stockade.connect();
    host.get("");
    let pid = host.get("").pid();
    host.get("stderr=the-last-words");
    stockade.log.wait(&["the-last-words"]);
    assert!(process::signal(pid, Signal::SIGABRT));
    let exit = wait_for("the exit", || {
        let exit = status(&stockade)["pools"][0]["exits"][0].clone();
        exit.is_object().then_some(exit)
    });
    assert_eq!(exit["pid"], pid);
    assert_eq!(exit["cause"], "signal");
    assert_eq!(exit["detail"], "SIGABRT");
    assert_eq!(exit["requests"], 3);
    assert_eq!(exit["last_lines"][0], "the-last-words");
    assert!(exit["at"].as_u64() > Some(1_700_000_000));
    let (_, text, _) = stockade.ask(&["status", "app"]);
    assert!(
        text.contains("signal SIGABRT after") && text.contains("the-last-words"),
        "{text}"
    );
    let (_, text, _) = stockade.ask(&["status"]);
    assert!(text.contains("signal SIGABRT"), "{text}");
}

#[test]
fn a_worker_that_cannot_be_started_says_why() {
    let site = Site::new();
    let program = site.program("broken", "no program");
    let keys = format!(
        "command = [{:?}]\nprocesses = 1",
        program.display().to_string()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade.log.wait(&["not started"]);
    let exit = wait_for("the exit", || {
        let exit = status(&stockade)["pools"][0]["exits"][0].clone();
        exit.is_object().then_some(exit)
    });
    assert_eq!(exit["cause"], "not-executable");
    let line = exit["last_lines"][0].as_str().expect("a line");
    assert!(line.contains("could not execute"), "{line}");
    assert!(line.contains("a script begins with `#!`"), "{line}");
}

#[test]
fn the_counts_of_lives_survive_the_relay() {
    let stockade = watched(&|site| vec![Pool::scripted(site, &[], "processes = 1")]);
    stockade.wait_ready("app", 1);
    let pid = stockade.connect().get("").pid();
    assert!(process::signal(pid, Signal::SIGKILL));
    stockade.wait_ready("app", 2);
    assert!(process::signal(stockade.relay(), Signal::SIGKILL));
    stockade.log.wait(&["relay", "gone"]);
    let address = status_address(&stockade);
    // a worker of the last relay's is offered when it has answered the new one
    let text = wait_for("a worker that is ready again", || {
        let mut client = Client::new(Address::Tcp(address));
        let text = client.get("/metrics").text();
        text.contains("stockade_slots{pool=\"app\",state=\"idle\"} 1")
            .then_some(text)
    });
    for line in [
        "stockade_worker_starts_total{pool=\"app\"} 2",
        "stockade_worker_exits_total{pool=\"app\",cause=\"signal\"} 1",
        "stockade_worker_startup_seconds_count{pool=\"app\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn metrics_and_health_are_served_over_http() {
    let stockade = watched(&|site| vec![Pool::scripted(site, &[], "processes = 1")]);
    stockade.wait_ready("app", 1);
    let mut client = Client::new(Address::Tcp(status_address(&stockade)));
    assert_eq!(client.get("/livez").status, 200);
    wait_for("ready", || {
        (client.get("/readyz").status == 200).then_some(())
    });
    let mut host = stockade.connect();
    assert_eq!(host.get("").status(), 200);
    assert_eq!(host.get("status=404").status(), 404);
    let text = client.get("/metrics").text();
    for line in [
        "# TYPE stockade_requests_total counter",
        "stockade_requests_total{pool=\"app\",code=\"200\"} 1",
        "stockade_requests_total{pool=\"app\",code=\"404\"} 1",
        "stockade_request_seconds_count{pool=\"app\"} 2",
        "stockade_queue_wait_seconds_count{pool=\"app\"} 2",
        "stockade_queue_length{pool=\"app\"} 0",
        "stockade_slots{pool=\"app\",state=\"idle\"} 1",
        "stockade_workers{pool=\"app\",state=\"ready\"} 1",
        "stockade_worker_starts_total{pool=\"app\"} 1",
        "stockade_worker_startup_seconds_count{pool=\"app\"} 1",
        "stockade_replays_total{pool=\"app\"} 0",
        "stockade_worker_resident_bytes{pool=\"app\",worker=\"0\"} ",
        "stockade_worker_cpu_seconds_total{pool=\"app\",worker=\"0\"} ",
        "stockade_pool_memory_bytes{pool=\"app\"} ",
        "stockade_generation{pool=\"app\"} 1",
        "stockade_saturation{pool=\"app\"} 0",
        "stockade_host_connections{pool=\"app\"} 1",
        "stockade_bytes_total{pool=\"app\",direction=\"in\"} ",
        "stockade_limit{pool=\"app\",name=\"processes\"} 1",
        "stockade_build_info{version=",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let status: Value = serde_json::from_str(&client.get("/v1/status").text()).expect("JSON");
    assert_eq!(status["pools"][0]["name"], "app");
    assert_eq!(client.get("/else").status, 404);
}

#[test]
fn a_pool_that_fails_is_not_ready() {
    let stockade = watched(&|site| {
        let good = Pool::scripted(site, &[], "processes = 1");
        let keys = "processes = 1\nbackoff-initial = \"50ms\"";
        vec![good, Pool::scripted(site, &["exit=3"], keys).named("bad")]
    });
    stockade.log.wait(&["pool bad: failing"]);
    let mut client = Client::new(Address::Tcp(status_address(&stockade)));
    let ready = client.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("pool bad: failing"),
        "{}",
        ready.text()
    );
    let text = client.get("/metrics").text();
    assert!(
        text.contains("stockade_worker_exits_total{pool=\"bad\",cause=\"exit-code\"}"),
        "{text}"
    );
}

#[test]
fn refusals_are_counted_by_cause() {
    let stockade = Stockade::scripted("processes = 1\nqueue-limit = 0");
    let open = stockade.site.path().join("open");
    // the relay hears a little later than the log that the worker is ready
    wait_for("the only slot", || {
        (status(&stockade)["pools"][0]["slots"]["idle"] == 1).then_some(())
    });
    let mut busy = stockade.connect();
    let question = format!("wait={}", open.display());
    let running = std::thread::spawn(move || busy.get(&question).status());
    wait_for("the only slot busy", || {
        (status(&stockade)["pools"][0]["slots"]["busy"] == 1).then_some(())
    });
    let refused: Vec<u16> = (0..3)
        .map(|_| Fcgi::connect(&stockade.socket("app")).get("").status())
        .collect();
    assert_eq!(refused, [503; 3]);
    std::fs::write(&open, "").expect("the site can be written to");
    assert_eq!(running.join().expect("no panic"), 200);
    let pool = status(&stockade)["pools"][0].clone();
    assert_eq!(pool["refused"]["queue-limit"], 3);
    assert_eq!(pool["requests_total"], 4);
}

#[test]
fn limits_stand_beside_what_they_limit() {
    let keys = "processes = 2\nthreads = 1\nmaximum-memory = \"100MiB\"\ncpu-time-limit = \"1h\"\nqueue-timeout = \"1500ms\"";
    let stockade = watched(&|site| vec![Pool::scripted(site, &[], keys)]);
    stockade.wait_ready("app", 2);
    let mut client = Client::new(Address::Tcp(status_address(&stockade)));
    let text = client.get("/metrics").text();
    for line in [
        "stockade_limit{pool=\"app\",name=\"processes\"} 2",
        "stockade_limit{pool=\"app\",name=\"threads\"} 1",
        "stockade_limit{pool=\"app\",name=\"queue-limit\"} 1000",
        "stockade_limit{pool=\"app\",name=\"queue-timeout\"} 1.5",
        "stockade_limit{pool=\"app\",name=\"request-timeout\"} 60",
        "stockade_limit{pool=\"app\",name=\"maximum-memory\"} 104857600",
        "stockade_limit{pool=\"app\",name=\"cpu-time-limit\"} 3600",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains("name=\"maximum-requests\""),
        "off is no number:\n{text}"
    );
}

fn status(stockade: &Stockade) -> Value {
    let (code, text, error) = stockade.ask(&["status", "--json"]);
    assert_eq!((code, &*error), (Some(0), ""));
    serde_json::from_str(&text).expect("JSON")
}

fn status_address(stockade: &Stockade) -> SocketAddr {
    let line = stockade.log.wait(&["status on http://"]);
    let (_, address) = line.split_once("http://").expect("it was waited for");
    let address = address
        .split('/')
        .next()
        .expect("there is one part at least");
    address.parse().expect("an address")
}

/// A daemon that is watched over HTTP.
fn watched(pools: &dyn Fn(&Site) -> Vec<Pool>) -> Stockade {
    let site = Site::new();
    let config = configuration(&site, &pools(&site));
    let listen = "[daemon]\nstatus-listen = \"127.0.0.1:0\"";
    Stockade::run(site, &config.replacen("[daemon]", listen, 1))
}
