//! What of requests stands in the log: those that are slow, and what workers say by FCGI_STDERR.

use std::fs;

use crate::support::{
    apache::Apache,
    nginx::{Hosting, Nginx},
    stockade::Stockade,
};

#[test]
fn a_slow_request_is_told_of_while_it_runs_and_at_its_end() {
    let stockade = Stockade::scripted("processes = 1\nslow-request = \"100ms\"");
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    let wait = format!("wait={}", gate.display());
    host.begin("GET", &wait, &[]);
    let line = stockade.log.wait(&["WARN", "is slow", "in worker 1 (pid "]);
    assert!(line.contains(" GET / is slow: it has run for "), "{line}");
    assert!(line.contains(" in the queue"), "{line}");
    let name = line
        .split("request ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(stockade.log.matching(&["has ended"]).is_empty());
    fs::write(&gate, "").unwrap();
    assert_eq!(host.answer().unwrap().status(), 200);
    stockade
        .log
        .wait(&["slow request", name, "has ended: it ran for"]);
    // one that is not slow is not told of
    assert_eq!(host.get("").status(), 200);
    assert_eq!(stockade.log.matching(&["slow"]).len(), 2);
}

#[test]
fn a_slow_request_that_is_answered_for_its_worker_has_its_end_too() {
    let keys = "processes = 1\nslow-request = \"50ms\"\nrequest-timeout = \"300ms\"";
    let stockade = Stockade::scripted(keys);
    let mut host = stockade.connect();
    assert_eq!(host.get("sleep=60000").status(), 504);
    stockade.log.wait(&["is slow"]);
    stockade.log.wait(&["slow request", "has ended"]);
}

#[test]
fn fcgi_stderr_goes_to_the_log_unless_it_is_the_hosts() {
    for (key, logged, passed) in [
        ("", true, false),
        ("stderr = \"log\"", true, false),
        ("stderr = \"host\"", false, true),
        ("stderr = \"both\"", true, true),
    ] {
        let stockade = Stockade::scripted(key);
        let answer = stockade.connect().get("report=broken");
        assert_eq!((answer.status(), answer.ended), (200, Some(0)), "{key}");
        assert_eq!(
            answer.stderr,
            if passed { b"broken".as_slice() } else { b"" },
            "{key}"
        );
        if logged {
            stockade.log.wait(&["FCGI_STDERR: broken"]);
        } else {
            // its own standard error is in the log whatever the key says, and comes after
            stockade.connect().get("stderr=after");
            stockade.log.wait(&["stderr: after"]);
            assert!(stockade.log.matching(&["FCGI_STDERR"]).is_empty(), "{key}");
        }
    }
}

#[test]
fn a_flood_of_fcgi_stderr_is_bounded_on_both_ways_and_hurts_no_response() {
    let stockade = Stockade::scripted("processes = 1\nstderr = \"both\"");
    let mut host = stockade.connect();
    let answer = host.get("reports=1000000&big=200000");
    assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    assert_eq!(answer.body_length(), 200_000);
    let told = String::from_utf8(answer.stderr).unwrap();
    assert!(
        told.ends_with("FCGI_STDERR is left out\n"),
        "{}",
        told.len()
    );
    let note = told.lines().last().unwrap().len() + 1;
    assert_eq!(told.len() - note, 64 * 1024);
    stockade
        .log
        .wait(&["FCGI_STDERR: what else it says about request"]);
    assert_eq!(
        stockade.log.matching(&["FCGI_STDERR: ", "report"]).len(),
        500
    );
    // each request has its own share
    let answer = host.get("reports=128");
    assert_eq!(answer.stderr.len(), 128);
}

#[test]
fn a_response_that_is_cut_looks_cut_whatever_was_said_by_fcgi_stderr() {
    let stockade = Stockade::scripted("processes = 1\nstderr = \"host\"");
    let mut host = stockade.connect();
    host.begin("GET", "report=broken&crash=after-head", &[]);
    // the record of no version
    let error = loop {
        match host.read_record() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the connection ended as if all was well"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("ersion"), "{error}");
}

#[test]
fn nginx_logs_fcgi_stderr_and_passes_the_response_on() {
    for keep in [true, false] {
        let stockade = Stockade::scripted("processes = 1\nstderr = \"host\"");
        let hosting = Hosting {
            keep,
            ..Hosting::default()
        };
        let nginx = Nginx::start(&stockade.socket("app"), &hosting);
        let mut client = nginx.client();
        for query in ["report=broken", "reports=200000&big=100000"] {
            let response = client.get(&format!("/?{query}"));
            assert_eq!((response.status, response.complete), (200, true), "{query}");
        }
        nginx
            .log
            .wait(&["[error]", "FastCGI sent in stderr", "broken"]);
        assert!(nginx.log.matching(&["upstream sent"]).is_empty());
    }
}

#[test]
fn apache_logs_fcgi_stderr_and_passes_the_response_on() {
    let stockade = Stockade::scripted("processes = 1\nstderr = \"host\"");
    let apache = Apache::keeping(&stockade);
    let mut client = apache.client();
    for query in ["report=broken", "reports=200000&big=100000"] {
        let response = client.get(&format!("/?{query}"));
        assert_eq!((response.status, response.complete), (200, true), "{query}");
    }
    apache.log().wait(&["AH01071", "broken"]);
}
