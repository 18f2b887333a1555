//! The relay is replaced while requests flow, and nothing is lost.

use std::{fs, os::unix::net::UnixStream};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::{self, Fcgi},
    hosts::{Gate, Hosts, pool, sorted, wait_all_idle},
    http::{Address, Client},
    load::Load,
    nginx::{Hosting, Nginx},
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration, gone, pid_in},
    tools,
};

const APPLICATION: &str = r#"
import time


def application(environ, start_response):
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read() or b"nothing"]
"#;

#[test]
fn thirty_replacements_under_load_fail_no_request() {
    let stockade = Stockade::scripted("processes = 4");
    stockade.wait_ready("app", 4);
    let workers = sorted(stockade.workers());
    let nginx = [true, false].map(|keep| {
        let hosting = Hosting {
            keep,
            ..Hosting::default()
        };
        Nginx::start(&stockade.socket("app"), &hosting)
    });
    let load = Load::start(
        nginx
            .iter()
            .flat_map(|each| [each.client(), each.client()])
            .collect(),
        "/?sleep=1",
    );
    let hosts = Hosts::start(&stockade);
    for _ in 0..30 {
        load.wait_answered(10);
        hosts.wait_answered(10);
        stockade.replace_relay();
    }
    load.wait_answered(20);
    let answered = hosts.stop();
    assert!(answered >= 300, "the hosts by hand had {answered} answers");
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
    wait_for("the last relay alone", || {
        (stockade.relays().len() == 1).then_some(())
    });
    assert_eq!(sorted(stockade.workers()), workers);
    wait_all_idle(&stockade, 4);
}

#[test]
fn replacements_with_several_requests_in_a_worker_fail_none() {
    let site = Site::new();
    site.write("pages.py", APPLICATION);
    let keys = format!(
        "wsgi = \"pages:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 2\nthreads = 4",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    stockade.wait_ready("app", 2);
    let workers = sorted(stockade.workers());
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let load = Load::start((0..12).map(|_| nginx.client()).collect(), "/");
    for _ in 0..10 {
        load.wait_answered(50);
        stockade.replace_relay();
    }
    load.wait_answered(50);
    let relay = stockade.relay();
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
    assert!(process::signal(relay, Signal::SIGKILL));
    wait_for("the next relay", || {
        let relays = stockade.relays();
        (relays.len() == 1 && relays[0] != relay).then_some(())
    });
    wait_all_idle(&stockade, 8);
    assert_eq!(nginx.client().get("/").status, 200);
    assert_eq!(sorted(stockade.workers()), workers);
}

#[test]
fn an_idle_kept_connection_is_answered_by_the_next_relay() {
    let stockade = Stockade::scripted("processes = 1");
    let mut hosts: Vec<Fcgi> = (0..200).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        assert_eq!(host.get("").status(), 200);
    }
    for _ in 0..3 {
        let old = stockade.replace_relay();
        wait_for("the end of the relay that was replaced", || {
            gone(old).then_some(())
        });
        for host in &mut hosts {
            assert_eq!(host.get("").status(), 200);
            assert_eq!(host.ask("POST", "echo", b"a body").body(), "a body");
        }
    }
}

#[test]
fn a_long_response_spans_the_replacement_and_its_connection_goes_over_then() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let mut long = stockade.connect();
    long.begin("GET", "stderr=begun&big=4000000", &[]);
    stockade.log.wait(&["begun"]);
    let old = stockade.replace_relay();
    let second = stockade.replace_relay();
    wait_for("the end of the second relay", || gone(second).then_some(()));
    for _ in 0..10 {
        assert_eq!(stockade.connect().get("").status(), 200);
    }
    assert!(process::alive(old), "it has not ended its response");
    let answer = long.answer().unwrap();
    assert_eq!((answer.ended, answer.body_length()), (Some(0), 4_000_000));
    wait_for("the end of the first relay", || gone(old).then_some(()));
    assert_eq!(long.get("").status(), 200);
    wait_all_idle(&stockade, 2);
}

#[test]
fn what_runs_and_waits_when_the_relay_is_replaced_is_answered_and_what_comes_later() {
    let stockade = Stockade::scripted("processes = 1");
    let gate = Gate::new(&stockade);
    let mut running = stockade.connect();
    running.begin("POST", &gate.word("begun"), b"a=1");
    stockade.log.wait(&["begun"]);
    let mut waiting: Vec<Fcgi> = (0..5)
        .map(|_| {
            let mut host = stockade.connect();
            host.begin("POST", "echo", b"waits");
            host.wait_read();
            host
        })
        .collect();
    wait_for("five to wait", || {
        (pool(&stockade)["queue"]["length"] == 5).then_some(())
    });
    let old = stockade.replace_relay();
    let mut later = stockade.connect();
    later.begin("POST", "echo", b"later");
    later.wait_read();
    gate.open();
    assert_eq!(running.answer().unwrap().status(), 200);
    for host in &mut waiting {
        assert_eq!(host.answer().unwrap().body(), "waits");
    }
    assert_eq!(later.answer().unwrap().body(), "later");
    wait_for("the end of the relay that was replaced", || {
        gone(old).then_some(())
    });
    wait_all_idle(&stockade, 1);
}

#[test]
fn a_body_that_comes_while_the_relay_is_replaced_is_served() {
    for keys in [
        "request-buffering = true",
        "request-buffering = false",
        "queue-limit = 0",
    ] {
        let stockade = Stockade::scripted(&format!("processes = 1\n{keys}"));
        let mut host = stockade.connect();
        host.write(&fcgi::head(1, "POST", "echo", Some(10)))
            .unwrap();
        host.wait_read();
        let old = stockade.replace_relay();
        // the next one answers this when the old one has given its slots away
        pool(&stockade);
        let whole = fcgi::request(1, "POST", "echo", b"0123456789");
        let head = fcgi::head(1, "POST", "echo", Some(10)).len();
        host.write(&whole[head..]).unwrap();
        assert_eq!(host.answer().unwrap().body(), "0123456789", "{keys}");
        wait_for("the end of the relay that was replaced", || {
            gone(old).then_some(())
        });
        assert_eq!(host.get("").status(), 200);
        wait_all_idle(&stockade, 1);
    }
}

#[test]
fn a_request_of_the_old_relay_whose_worker_dies_is_replayed() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    let mut host = stockade.connect();
    host.begin("GET", &gate.word("begun"), &[]);
    let worker = pid_in(&stockade.log.wait(&["begun"]));
    stockade.replace_relay();
    assert!(process::signal(worker, Signal::SIGKILL));
    stockade.log.wait_times(2, &["begun"]);
    gate.open();
    let answer = host.answer().unwrap();
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), worker);
}

#[test]
fn the_relay_is_replaced_before_a_worker_is_ready() {
    let site = Site::new();
    let gate = site.path().join("gate");
    let worker = site.reachable(&built::scripted_worker());
    let script = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.02; done\nexec {}\n",
        gate.display(),
        worker.display()
    );
    let slow = site.program("slow", &script);
    let slow = Pool::new(&format!("command = [{slow:?}]\nprocesses = 1"));
    let stockade = Stockade::serve(site, &[slow]);
    stockade.log.wait(&["worker 1", "started"]);
    let mut host = stockade.connect();
    host.begin("POST", "echo", b"early");
    host.wait_read();
    let old = stockade.replace_relay();
    fs::write(&gate, "").unwrap();
    assert_eq!(host.answer().unwrap().body(), "early");
    wait_for("the end of the relay that was replaced", || {
        gone(old).then_some(())
    });
    wait_all_idle(&stockade, 1);
}

#[test]
fn replacements_in_the_middle_of_reloads_fail_no_request() {
    let stockade = Stockade::scripted("processes = 2");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let load = Load::start((0..4).map(|_| nginx.client()).collect(), "/?sleep=1");
    for generation in 2..7 {
        load.wait_answered(20);
        stockade.signal(Signal::SIGHUP);
        stockade.replace_relay();
        stockade.replace_relay();
        stockade
            .log
            .wait(&[&format!("reload finished: generation {generation} serves")]);
    }
    load.wait_answered(20);
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
    wait_for("two workers", || {
        (stockade.workers().len() == 2).then_some(())
    });
    wait_all_idle(&stockade, 2);
}

#[test]
fn a_retired_worker_is_stopped_when_both_relays_are_done_with_it() {
    let stockade = Stockade::scripted("processes = 1");
    let gate = Gate::new(&stockade);
    let mut host = stockade.connect();
    host.begin("GET", &gate.word("begun"), &[]);
    stockade.log.wait(&["begun"]);
    let worker = stockade.workers()[0];
    stockade.replace_relay();
    stockade.signal(Signal::SIGHUP);
    stockade.log.wait(&[&format!("(pid {worker}) retiring")]);
    assert_ne!(stockade.connect().get("").pid(), worker);
    assert!(
        process::alive(worker),
        "it was stopped while it had a request"
    );
    gate.open();
    assert_eq!(host.answer().unwrap().pid(), worker);
    wait_for("the end of the retired worker", || {
        gone(worker).then_some(())
    });
}

#[test]
fn a_stop_waits_for_what_the_old_relay_runs() {
    let mut stockade = Stockade::scripted("processes = 1");
    let gate = Gate::new(&stockade);
    let mut host = stockade.connect();
    host.begin("POST", &gate.word("begun"), b"a=1");
    stockade.log.wait(&["begun"]);
    let mut idle = stockade.connect();
    assert!(idle.write(&[]).is_ok());
    stockade.replace_relay();
    stockade.signal(Signal::SIGTERM);
    wait_for("the relay to be closed", || {
        UnixStream::connect(stockade.socket("app")).err()
    });
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGHUP), "it drains");
    gate.open();
    assert_eq!(host.answer().unwrap().status(), 200);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert!(idle.read_to_close().unwrap().is_empty());
}

#[test]
fn what_outlasts_graceful_timeout_is_cut_and_its_slot_is_back_when_the_worker_is_free() {
    let keys = "processes = 2\ngraceful-timeout = \"1s\"";
    let stockade = Stockade::scripted(keys);
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    let mut stuck = stockade.connect();
    stuck.begin("GET", &gate.word("begun"), &[]);
    let worker = pid_in(&stockade.log.wait(&["begun"]));
    let mut half = stockade.connect();
    half.write(&fcgi::head(1, "POST", "echo", Some(10)))
        .unwrap();
    half.wait_read();
    let old = stockade.replace_relay();
    let answer = stuck.answer().unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.header("Stockade-Cause").unwrap(), "graceful-timeout");
    let answer = half.answer().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("Stockade-Cause").unwrap(), "relay-replaced");
    for _ in 0..6 {
        assert_ne!(stockade.connect().get("").pid(), worker);
    }
    gate.open();
    wait_for("the end of the relay that was replaced", || {
        gone(old).then_some(())
    });
    wait_all_idle(&stockade, 2);
    assert_eq!(
        stuck.get("").status(),
        200,
        "a connection that is idle is kept"
    );
}

#[test]
fn counts_survive_a_replacement() {
    let site = Site::new();
    let pool_keys = Pool::scripted(&site, &[], "processes = 1\nmaximum-requests = 9");
    let config = configuration(&site, &[pool_keys]).replacen(
        "[daemon]",
        "[daemon]\nstatus-listen = \"127.0.0.1:0\"",
        1,
    );
    let stockade = Stockade::run(site, &config);
    stockade.wait_ready("app", 1);
    let line = stockade.log.wait(&["status on http://"]);
    let address = line.split_once("http://").unwrap().1;
    let address = address.split('/').next().unwrap().parse().unwrap();
    let mut host = stockade.connect();
    let first = host.get("stderr=lived").pid();
    host.begin("GET", "crash=before-head", &[]);
    stockade.log.wait(&[&format!("(pid {first}) gone")]);
    let status = host.answer().unwrap().status();
    assert_eq!(status, 502);
    let second = host.get("").pid();
    for round in 1..4_u64 {
        stockade.replace_relay();
        assert_eq!(host.get("status=404").status(), 404);
        // the old one may have answered it, and adds it when it ends
        let pool = wait_for("every request in the counts", || {
            Some(pool(&stockade)).filter(|pool| pool["requests_total"] == 3 + round)
        });
        let exits = pool["exits"].as_array().unwrap().clone();
        let of_first: Vec<_> = exits.iter().filter(|exit| exit["pid"] == first).collect();
        assert_eq!(of_first.len(), 1, "{exits:?}");
        assert!(of_first[0]["last_lines"].to_string().contains("lived"));
        let text = Client::new(Address::Tcp(address)).get("/metrics").text();
        for line in [
            format!("stockade_requests_total{{pool=\"app\",code=\"404\"}} {round}"),
            format!(
                "stockade_request_seconds_count{{pool=\"app\"}} {}",
                3 + round
            ),
            "stockade_replays_total{pool=\"app\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
    // and its requests count for maximum-requests, whichever relay gave them
    let mut host = stockade.connect();
    let line = wait_for("the end of maximum-requests", || {
        host.get("");
        let lines = stockade.log.matching(&["retiring: maximum-requests"]);
        lines.into_iter().next()
    });
    assert_eq!(pid_in(&line), second);
    let served = stockade.log.matching(&["maximum-requests"]);
    assert!(!served.is_empty());
}

#[test]
fn what_workers_write_is_logged_once_whoever_reads_it() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for number in 0..200 {
        assert_eq!(host.get(&format!("stderr=line-{number}-end")).status(), 200);
        if number % 20 == 10 {
            stockade.replace_relay();
        }
    }
    for number in 0..200 {
        let line = format!("line-{number}-end");
        stockade.log.wait(&[&line]);
        assert_eq!(stockade.log.matching(&[&line]).len(), 1, "{line}");
    }
}
