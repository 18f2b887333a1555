//! The relay between slow hosts, hosts that go away, workers that hang and a log that nobody takes: what is owed is given, and a slot is
//! free when its worker is.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    process::Stdio,
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::{self, Fcgi},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade, configuration, pid_in},
};

#[test]
fn a_stop_lets_a_slow_reader_have_its_whole_response() {
    let mut stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    host.begin("GET", "stderr=begun&big=900000", &[]);
    stockade.log.wait(&["begun"]);
    stockade.signal(Signal::SIGTERM);
    wait_for("new connections to be refused", || {
        UnixStream::connect(stockade.socket("app")).err()
    });
    let answer = host.answer().unwrap();
    assert_eq!(answer.ended, Some(0), "the response was cut");
    assert_eq!(answer.body().len(), 900_000);
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

#[test]
fn a_body_that_does_not_belong_to_the_response_is_not_passed_on() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    // the head alone in its record or not, passed on as it lies or not
    for words in ["", "together", "cause", "cause&together", "big=300000"] {
        for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
            let answer = host.ask(method, &format!("status={status}&{words}"), b"");
            assert_eq!(
                (answer.body_length(), answer.ended),
                (0, Some(0)),
                "{words}"
            );
            assert_eq!(answer.status().to_string(), status);
            assert_eq!(answer.header("Content-Type").as_deref(), Some("text/plain"));
        }
        let answer = host.ask("GET", words, b"");
        assert!(answer.body_length() > 0, "{words}");
    }
}

#[test]
fn a_response_that_waits_for_its_host_leaves_the_worker_ready_for_the_next() {
    let stockade = Stockade::scripted("processes = 1\nrequest-timeout = \"5s\"");
    for size in (1_200_000..1_400_000).step_by(20_000) {
        let mut slow = stockade.connect();
        slow.begin("GET", &format!("big={size}"), &[]);
        let mut next = stockade.connect();
        next.begin("GET", "", &[]);
        assert_eq!(slow.answer().unwrap().body().len(), size);
        assert_eq!(next.answer().unwrap().status(), 200, "after {size} bytes");
    }
}

#[test]
fn a_worker_that_is_still_at_a_request_nobody_waits_for_is_given_no_other() {
    let stockade =
        Stockade::scripted("request-buffering = false\nprocesses = 2\nrequest-timeout = \"30s\"");
    stockade.wait_ready("app", 2);
    let gate = stockade.site.path().join("gate");
    let busy = {
        let mut leaving = stockade.connect();
        let query = format!("unread&stderr=begun&wait={}", gate.display());
        leaving
            .write(&fcgi::head(1, "POST", &query, Some(10)))
            .unwrap();
        pid_in(&stockade.log.wait(&["begun"]))
    };
    let mut host = stockade.connect();
    for _ in 0..6 {
        assert_ne!(host.get("").pid(), busy);
    }
    fs::write(&gate, "").unwrap();
    wait_for("the worker to be used again", || {
        let mut others = [stockade.connect(), stockade.connect()];
        for other in &mut others {
            other.begin("GET", "sleep=20", &[]);
        }
        others
            .map(|mut other| other.answer().unwrap().pid())
            .contains(&busy)
            .then_some(())
    });
}

#[test]
fn a_worker_that_hangs_when_the_relay_dies_is_replaced() {
    let keys = "processes = 1\nstartup-timeout = \"2s\"\nrequest-timeout = \"1s\"\ngraceful-timeout = \"1s\"\nshutdown-timeout = \"1s\"";
    let stockade = Stockade::scripted(keys);
    let worker = stockade.workers()[0];
    let mut host = stockade.connect();
    let gate = stockade.site.path().join("gate");
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGKILL));
    stockade.log.wait(&["does not answer the new relay"]);
    let answer = Fcgi::connect(&stockade.socket("app")).get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), worker);
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], "processes = 1");
    let file = site.write("stockade.toml", &configuration(&site, &[pool]));
    let mut daemon = command(built::stockade())
        .args(["serve", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(File::options().write(true).open("/dev/full").unwrap())
        .spawn()
        .unwrap();
    let socket = site.path().join("app.sock");
    wait_for("the pool's socket", || UnixStream::connect(&socket).ok());
    let mut host = Fcgi::connect(&socket);
    for _ in 0..20 {
        assert_eq!(host.get("stderr=a%20line").status(), 200);
    }
    let pid = i32::try_from(daemon.id()).unwrap();
    assert!(process::signal(pid, Signal::SIGTERM));
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
