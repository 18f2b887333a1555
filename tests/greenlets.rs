//! WSGI applications in greenlets of gevent and eventlet, behind nginx.

use std::thread;

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    hosts::wait_all_idle,
    http::Request,
    nginx::Nginx,
    pattern::Checker,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const MIB: u64 = 1024 * 1024;
const PAGES: &str = include_str!("python/green_pages.py");

#[test]
fn gevent_serves_every_kind_of_page() {
    every_kind_of_page("gevent");
}

#[test]
fn eventlet_serves_every_kind_of_page() {
    every_kind_of_page("eventlet");
}

fn every_kind_of_page(hub: &str) {
    let (stockade, nginx) = serve(hub, "processes = 1");
    let mut client = nginx.client();
    assert_eq!(client.get("/?Ada").text(), "Hello, Ada!\n");
    let head = client.send(Request::new("HEAD", "/?Ada"));
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("12"))
    );
    // what the application starts when it is imported does not inherit the listening socket
    assert_eq!(client.get("/input").text(), "/dev/null");
    // Python's library was replaced before the application was imported
    let told = client.get("/hub").text();
    assert!(told.contains(hub) && told.ends_with("True True"), "{told}");
    for length in [0, 1, 65537, 20 * MIB] {
        let response = client.send(Request::new("POST", "/read").pattern(length));
        assert_eq!(
            (response.status, response.text()),
            (200, format!("length {length} wrong 0"))
        );
    }
    assert_eq!(
        client
            .post("/validated", "text/plain", b"one\ntwo\n")
            .text(),
        "one\n"
    );
    assert_eq!(
        client
            .send(Request::new("POST", "/early").pattern(20 * MIB))
            .text(),
        "early\n"
    );
    assert_eq!(client.get("/write").text(), "written returned");
    let again = client.get("/again");
    assert_eq!((again.status, again.text().as_str()), (409, "again"));
    let mut checker = Checker::default();
    let stream = client.stream(&Request::new("GET", "/stream"), &mut |bytes| {
        checker.take(bytes);
    });
    assert_eq!((stream.status, stream.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (20 * MIB, 0));
    for (path, words) in [
        ("/broken", "RuntimeError: the application's own words"),
        (
            "/twice",
            "start_response was called a second time without exc_info",
        ),
    ] {
        assert_eq!(client.get(path).status, 500, "{path}");
        stockade.log.wait(&[words]);
    }
    let cut = client.get("/cut");
    assert_eq!((cut.status, cut.complete), (200, false));
    assert_eq!(client.get("/").status, 200, "the worker did not survive");
    assert!(stockade.log.matching(&["gone after"]).is_empty());
}

#[test]
fn many_requests_at_once_in_one_process() {
    for hub in ["gevent", "eventlet"] {
        let (stockade, nginx) = serve(hub, "processes = 1\nconnections = 50\nqueue-limit = 0");
        wait_all_idle(&stockade, 50);
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = nginx.client();
                thread::spawn(move || client.get("/together").text())
            })
            .collect();
        for client in clients {
            assert_eq!(
                client.join().expect("a client does not panic"),
                "together\n",
                "{hub}"
            );
        }
    }
}

#[test]
fn what_runs_is_answered_before_the_end() {
    for hub in ["gevent", "eventlet"] {
        let (stockade, nginx) = serve(hub, "processes = 1");
        let mut client = nginx.client();
        assert_eq!(client.get("/").status, 200);
        let slow = thread::spawn(move || client.get("/slow").text());
        wait_for("the request to run", || {
            let (_, status, _) = stockade.ask(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            (status["pools"][0]["slots"]["busy"] == 1).then_some(())
        });
        stockade.signal(Signal::SIGTERM);
        assert_eq!(
            slow.join().expect("a client does not panic"),
            "slow\n",
            "{hub}"
        );
        stockade.log.wait(&["gone after", "requested"]);
        assert!(stockade.log.matching(&["killed"]).is_empty(), "{hub}");
    }
}

#[test]
fn an_exit_of_the_application_ends_the_worker() {
    for hub in ["gevent", "eventlet"] {
        let (stockade, nginx) = serve(hub, "processes = 1");
        assert_eq!(nginx.client().get("/exit").status, 500, "{hub}");
        stockade.log.wait(&["gone after", "exit-code 7"]);
        stockade.wait_ready("app", 2);
        assert_eq!(nginx.client().get("/").status, 200, "{hub}");
    }
}

#[test]
fn a_hub_that_is_not_installed_is_said_with_the_remedy() {
    let site = Site::new();
    site.write("pages.py", PAGES);
    let keys = format!(
        "wsgi = \"pages:application\"\nconcurrency = \"gevent\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade
        .log
        .wait(&["could not use concurrency = \"gevent\": No module named 'gevent'"]);
    stockade
        .log
        .wait(&["remedy: install it with `/usr/bin/python3 -m pip install gevent`"]);
}

fn serve(hub: &str, keys: &str) -> (Stockade, Nginx) {
    let environment = tools::python_environment(hub);
    let site = Site::new();
    let environment = site.reachable(&environment);
    site.write("pages.py", PAGES);
    let keys = format!(
        "wsgi = \"pages:application\"\nconcurrency = {hub:?}\npython-home = {environment:?}\npython-path = [{:?}]\n{keys}",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    (stockade, nginx)
}
