//! The module `stockade` in applications of every kind: what it tells of requests is what the relay knows of them, and the reasons for
//! which workers end are the supervisor's.

use std::{fs, path::PathBuf, thread};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    fcgi::head,
    nginx::Nginx,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const APPLICATION: &str = include_str!("python/told.py");
const KINDS: [&str; 4] = ["threads", "gevent", "eventlet", "asgi"];

#[test]
fn requests_are_those_of_the_access_log() {
    for kind in KINDS {
        let slots = if kind == "threads" {
            "threads"
        } else {
            "connections"
        };
        let keys = format!(
            "processes = 1\n{slots} = 1\naccess-log-format = '%{{request-id}}n %s %{{queue}}t %r'"
        );
        let (stockade, nginx) = serve(kind, &keys);
        let go = stockade.site.path().join("go");
        let mut client = nginx.client();
        let held = {
            let go = go.display().to_string();
            thread::spawn(move || client.get(&format!("/held?{go}")).status)
        };
        stockade.log.wait(&["told: held"]);
        let mut client = nginx.client();
        let queued = thread::spawn(move || client.get("/queue").text());
        wait_for("a request in the queue", || {
            (stockade.pool("app")["queue"]["length"] == 1).then_some(())
        });
        fs::write(&go, "").unwrap();
        assert_eq!(held.join().unwrap(), 201, "{kind}");
        let told = queued.join().unwrap();
        let line = logged(&stockade, "/queue");
        let [id, status, waited] = [0, 1, 2].map(|word| line.split(' ').nth(word).unwrap());
        let waited: u64 = waited.parse().unwrap();
        assert!(waited > 0, "{line}");
        let seconds = format!("{}.{:06}", waited / 1_000_000, waited % 1_000_000);
        assert_eq!((&*told, status), (&*seconds, "201"), "{kind}: {line}");
        let finished = format!("told: request_finished {id} 201 started");
        stockade.log.wait(&[&finished]);
        // who did not wait is told nothing
        assert_eq!(nginx.client().get("/queue").text(), "0.000000", "{kind}");
    }
}

#[test]
fn what_an_application_logs_names_its_request() {
    for kind in KINDS {
        let keys = "processes = 1\naccess-log-format = '%{request-id}n %r'";
        let (stockade, nginx) = serve(kind, keys);
        assert_eq!(nginx.client().get("/log").status, 201, "{kind}");
        let line = logged(&stockade, "/log");
        let id = line.split(' ').next().unwrap();
        let tag = format!("stderr: WARNING pool=app worker=1 request={id} shop");
        stockade.log.wait(&[&format!("{tag}: one")]);
        stockade.log.wait(&[&format!("{tag}| two")]);
    }
}

#[test]
fn exceptions_are_told() {
    for kind in KINDS {
        let (stockade, nginx) = serve(kind, "processes = 1");
        assert_eq!(nginx.client().get("/raise").status, 500, "{kind}");
        stockade
            .log
            .wait(&["told: request_exception ", " ValueError"]);
        stockade
            .log
            .wait(&["told: request_finished ", " 500 started"]);
    }
}

#[test]
fn a_client_that_leaves_while_its_body_is_read_is_no_exception() {
    for kind in ["threads", "gevent", "eventlet"] {
        let (stockade, nginx) = serve(kind, "processes = 1\nrequest-buffering = false");
        let mut host = stockade.connect();
        host.write(&head(1, "POST", "body", Some(10))).unwrap();
        stockade.log.wait(&["told: reading"]);
        drop(host);
        stockade.log.wait(&["told: request_finished "]);
        let text = stockade.log.text();
        assert!(!text.contains("exception"), "{kind}: {text}");
        assert_eq!(nginx.client().get("/").status, 201, "{kind}");
    }
}

#[test]
fn requests_at_the_same_time_have_each_their_own() {
    for kind in KINDS {
        let keys = if kind == "threads" {
            "processes = 1\nthreads = 2\naccess-log-format = '%{request-id}n %r'"
        } else {
            "processes = 1\naccess-log-format = '%{request-id}n %r'"
        };
        let (stockade, nginx) = serve(kind, keys);
        let clients: Vec<_> = (0..2)
            .map(|number| {
                let mut client = nginx.client();
                thread::spawn(move || (number, client.get(&format!("/pair?{number}")).text()))
            })
            .collect();
        for client in clients {
            let (number, told) = client.join().unwrap();
            let line = logged(&stockade, &format!("/pair?{number}"));
            let id = line.split(' ').next().unwrap();
            if kind == "asgi" {
                // in its tasks and threads as well
                let whole = told.starts_with(&format!("('{id}', 'GET', '/pair', True, "));
                assert!(whole && told.ends_with(" True"), "{told}");
            } else {
                assert!(told.starts_with(&format!("{id} [")), "{kind}: {told}");
            }
        }
    }
}

#[test]
fn the_reason_is_the_supervisors() {
    for kind in KINDS {
        let (mut stockade, nginx) = serve(kind, "processes = 1\nmaximum-requests = 3");
        let mut client = nginx.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 201, "{kind}");
        }
        stockade
            .log
            .wait(&["worker 1 ", "told: process_stopping maximum-requests True"]);
        stockade
            .log
            .wait(&["worker 1 ", "told: before_retire again"]);
        stockade.log.wait(&["worker 1 ", "gone after"]);
        stockade.wait_ready("app", 2);
        stockade.signal(Signal::SIGTERM);
        assert!(stockade.wait_exit().success(), "{kind}");
        stockade
            .log
            .wait(&["worker 2 ", "told: process_stopping requested True"]);
        stockade
            .log
            .wait(&["worker 2 ", "told: before_retire None"]);
        // what raises there is told of, and keeps nothing from ending
        stockade
            .log
            .wait(&["exception in the hook told.goodbye of before_retire of pool app"]);
    }
}

#[test]
fn a_worker_that_is_to_finish_knows_it_before_it_has() {
    for (kind, keys) in [
        ("threads", "processes = 1\nthreads = 2"),
        ("asgi", "processes = 1"),
    ] {
        let (stockade, nginx) = serve(kind, keys);
        let go = stockade.site.path().join("go");
        let mut client = nginx.client();
        let held = {
            let go = go.display().to_string();
            thread::spawn(move || client.get(&format!("/held?{go}")).status)
        };
        stockade.log.wait(&["told: held"]);
        assert_eq!(stockade.ask(&["reload"]).0, Some(0));
        stockade
            .log
            .wait(&["worker 1 ", "told: process_stopping requested True"]);
        assert!(
            stockade
                .log
                .matching(&["worker 1 ", "before_retire"])
                .is_empty()
        );
        fs::write(&go, "").unwrap();
        assert_eq!(held.join().unwrap(), 201, "{kind}");
        stockade
            .log
            .wait(&["worker 1 ", "told: before_retire again"]);
    }
}

/// The line of the access log about this path.
fn logged(stockade: &Stockade, path: &str) -> String {
    let file = access_log(&stockade.site);
    let request = format!(" GET {path} ");
    wait_for(&format!("{path} in the access log"), || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(&request));
        line.map(str::to_owned)
    })
}

fn access_log(site: &Site) -> PathBuf {
    site.path().join("access.log")
}

fn serve(kind: &str, keys: &str) -> (Stockade, Nginx) {
    let site = Site::new();
    site.write("told.py", APPLICATION);
    let (python, application) = match kind {
        "threads" => (tools::python(), "wsgi = \"told:application\"".to_owned()),
        "asgi" => (tools::python(), "asgi = \"told:later\"".to_owned()),
        hub => (
            site.reachable(&tools::python_environment(hub)),
            format!("wsgi = \"told:application\"\nconcurrency = {hub:?}"),
        ),
    };
    let keys = format!(
        "{application}\npython-home = {python:?}\npython-path = [{:?}]\naccess-log = {:?}\n{keys}",
        site.path(),
        access_log(&site)
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    (stockade, nginx)
}
