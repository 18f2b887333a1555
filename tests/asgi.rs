//! ASGI applications through the bundled adapter, behind nginx.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    thread,
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket},
};

use crate::support::{
    hosts::wait_all_idle,
    http::Request,
    nginx::{Hosting, Nginx},
    pattern::Checker,
    running::Running,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const MIB: u64 = 1024 * 1024;
const PAGES: &str = include_str!("python/asgi_pages.py");

#[test]
fn hello() {
    let (_stockade, nginx) = serve("processes = 2");
    let mut client = nginx.client();
    let response = client.get("/?Ada");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "Hello, Ada!\n")
    );
    assert_eq!(response.header("Content-Length"), Some("12"));
    let response = client.send(Request::new("HEAD", "/?Ada"));
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(client.get("/empty").status, 204);
    // what the application starts when it is imported does not inherit the listening socket
    assert_eq!(client.get("/input").text(), "/dev/null");
    assert_eq!(client.get("/no/such").status, 404);
}

#[test]
fn the_scope_is_as_the_specification_says() {
    let (_stockade, nginx) = serve("processes = 1\nmount = \"/scope\"");
    let response = nginx.client().send(
        Request::new("GET", "/scope/caf%C3%A9%2Fx?a=%20b")
            .header("X-Some_Thing", "one")
            .header("Cookie", "c=1"),
    );
    let text = response.text();
    for line in [
        "type='http'",
        "method='GET'",
        "http_version='1.1'",
        "scheme='http'",
        "root_path='/scope'",
        "path='/scope/café/x'",
        "raw_path=b'/scope/caf%C3%A9%2Fx'",
        "query_string=b'a=%20b'",
        "asgi={'version': '3.0', 'spec_version': '2.4'}",
        "(b'cookie', b'c=1')",
        "(b'host', b",
        "state={'opened': ",
        "'request_id': '",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    // another site's path
    assert_eq!(nginx.client().get("/elsewhere").status, 404);
}

#[test]
fn bodies_of_every_length_both_ways() {
    let (_stockade, nginx) = serve("processes = 1");
    let mut client = nginx.client();
    for length in [0, 1, 65536, 65537, 20 * MIB] {
        let told = format!("length {length} wrong 0");
        for request in [
            Request::new("POST", "/read").pattern(length),
            Request::new("POST", "/read").chunks(length),
        ] {
            let response = client.send(request);
            assert_eq!((response.status, response.text()), (200, told.clone()));
        }
    }
    let mut checker = Checker::default();
    let response = client.stream(&Request::new("GET", "/stream"), &mut |bytes| {
        checker.take(bytes);
    });
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (20 * MIB, 0));
    // the next request of the connection is not met by a body that nobody read
    let early = client.send(Request::new("POST", "/early").pattern(20 * MIB));
    assert_eq!((early.status, early.text().as_str()), (200, "early\n"));
    assert_eq!(client.get("/").status, 200);
}

/// Each side speaks before the other has finished: nothing on the way waits for an end.
#[test]
fn a_dialogue() {
    let (_stockade, nginx) = serve_unbuffered();
    let mut socket = connect(&nginx);
    let head =
        "POST /dialogue HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = BufReader::new(socket.try_clone().unwrap());
    let mut line = String::new();
    while !line.ends_with("begin\n") {
        assert!(answer.read_line(&mut line).unwrap() > 0, "{line}");
    }
    for piece in ["abc\n", "def\n"] {
        socket.write_all(piece.as_bytes()).unwrap();
        line.clear();
        while !line.ends_with(&piece.to_uppercase()) {
            assert!(answer.read_line(&mut line).unwrap() > 0, "{line}");
        }
    }
}

#[test]
fn many_requests_at_once_in_one_process() {
    let (stockade, nginx) = serve("processes = 1\nconnections = 50\nqueue-limit = 0");
    wait_all_idle(&stockade, 50);
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = nginx.client();
            thread::spawn(move || client.get("/together").text())
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), "together\n");
    }
}

#[test]
fn a_loop_that_is_held_up_has_room_for_who_connects() {
    let stockade = start(Site::new(), "processes = 1\nconnections = 2");
    let held = stockade.site.path().join("hold");
    fs::write(&held, "").expect("the folder is ours");
    let mut host = stockade.connect();
    let query = held.display().to_string();
    host.begin_with("GET", &query, &[("PATH_INFO", "/hold")]);
    stockade.log.wait(&["held up"]);
    // for each slot one, and as many more as are asked about requests whose clients left
    let path = stockade.site.path().join("run/workers/app.1.sock");
    let address = UnixAddr::new(&path).expect("the path is short");
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connect = |_| {
        let ours = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        nix::sys::socket::connect(ours.as_raw_fd(), &address)?;
        nix::Result::Ok(ours)
    };
    let connections: Vec<_> = (0..32).map(connect).collect();
    fs::remove_file(&held).expect("it is there");
    assert!(connections.iter().all(Result::is_ok), "{connections:?}");
    assert_eq!(host.answer().unwrap().body(), "held\n");
}

#[test]
fn what_the_application_gets_wrong_is_said_and_looks_wrong() {
    let (stockade, nginx) = serve("processes = 1");
    let mut client = nginx.client();
    for (path, words) in [
        ("/broken", "RuntimeError: the application's own words"),
        (
            "/silent",
            "the application returned before the end of its response in GET /silent",
        ),
        ("/twice", "http.response.start was sent a second time"),
        (
            "/forged",
            "the value of the header x-one has control characters",
        ),
    ] {
        let response = client.get(path);
        assert_eq!((response.status, response.complete), (500, true), "{path}");
        assert!(!response.text().contains("own words"));
        let log = stockade.log.wait(&[words.split(" in GET").next().unwrap()]);
        assert!(log.contains("pool app: worker 1"), "{log}");
    }
    let response = client.get("/cut");
    assert_eq!((response.status, response.complete), (200, false));
    // so early that nginx may not have begun to answer
    if let Ok(response) = nginx.client().try_send(Request::new("GET", "/short")) {
        assert!(!response.complete || response.status == 502, "{response:?}");
    }
    stockade
        .log
        .wait(&["the response's body ended 7 bytes before its Content-Length"]);
    let long = client.get("/long");
    assert_eq!(
        (long.status, long.text().as_str(), long.complete),
        (200, "abc", true)
    );
    let behind = client.get("/behind");
    assert_eq!((behind.status, behind.text().as_str()), (200, "whole"));
    stockade
        .log
        .wait(&["was sent behind the end of the response"]);
    assert_eq!(client.get("/").status, 200, "the worker did not survive");
    assert!(stockade.log.matching(&["gone after"]).is_empty());
}

#[test]
fn headers_that_come_twice_and_those_beyond_ascii() {
    let (_stockade, nginx) = serve("processes = 1");
    let mut socket = connect(&nginx);
    socket
        .write_all(b"GET /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    for line in [
        &b"set-cookie: a=1\r\n"[..],
        b"set-cookie: b=2\r\n",
        b"x-latin: caf\xe9\r\n",
    ] {
        assert!(
            answer
                .windows(line.len())
                .any(|part| part.eq_ignore_ascii_case(line)),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[test]
fn a_client_that_leaves_is_told_of() {
    let (stockade, nginx) = serve_unbuffered();
    let mut socket = connect(&nginx);
    socket
        .write_all(b"GET /leaving HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = BufReader::new(socket.try_clone().unwrap());
    let mut text = String::new();
    while !text.contains("begin") {
        assert!(answer.read_line(&mut text).unwrap() > 0, "{text}");
    }
    drop((socket, answer));
    stockade.log.wait(&["leaving: disconnect was told"]);
    stockade.log.wait(&["leaving: send raised Gone"]);
    assert_eq!(nginx.client().get("/").status, 200);
    assert!(
        stockade.log.matching(&["Traceback"]).is_empty(),
        "blamed on the application"
    );
}

#[test]
fn its_lifespan_begins_and_ends_with_the_worker() {
    let (stockade, nginx) = serve("processes = 1");
    assert_eq!(nginx.client().get("/").status, 200);
    stockade.signal(Signal::SIGTERM);
    stockade.log.wait(&["lifespan: closed"]);
    stockade.log.wait(&["gone after", "requested"]);
}

#[test]
fn a_startup_that_fails_is_a_worker_that_is_not_ready() {
    let keys = "processes = 1\nenvironment = { FAIL_STARTUP = \"1\" }\nbackoff-initial = \"50ms\"";
    let stockade = unready(Site::new(), keys, "pages:application");
    stockade
        .log
        .wait(&["the application's startup failed: the database is away"]);
    stockade.log.wait(&["gone after", "exit-code 3"]);
    assert_eq!(stockade.connect().get("").status(), 503);
}

#[test]
fn background_tasks_are_finished_or_cancelled_at_the_end() {
    for (time, timeout, words) in [
        ("0.3", "30s", "background: done"),
        ("600", "1s", "background: cancelled"),
    ] {
        let (stockade, nginx) = serve(&format!("processes = 1\nshutdown-timeout = {timeout:?}"));
        assert_eq!(
            nginx.client().get(&format!("/background?{time}")).text(),
            "soon\n"
        );
        stockade.signal(Signal::SIGTERM);
        stockade.log.wait(&[words]);
        // the lifespan is closed behind them, and the worker need not be killed
        stockade.log.wait(&["lifespan: closed"]);
        stockade.log.wait(&["gone after", "requested"]);
        assert!(stockade.log.matching(&["killed"]).is_empty());
    }
}

#[test]
fn a_reload_lets_what_runs_finish() {
    let (stockade, nginx) = serve("processes = 1");
    let mut slow = nginx.client();
    let waiting = thread::spawn(move || slow.get("/background?0.5").text());
    assert_eq!(waiting.join().unwrap(), "soon\n");
    let (code, said, _) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{said}");
    stockade.log.wait(&["background: done"]);
    assert_eq!(nginx.client().get("/").status, 200);
    stockade.log.wait(&["worker 1 ", "gone after", "requested"]);
}

#[test]
fn an_exit_of_the_application_ends_the_worker() {
    let (stockade, nginx) = serve("processes = 1");
    assert_eq!(nginx.client().get("/exit").status, 500);
    stockade.log.wait(&["gone after", "exit-code 7"]);
    stockade.wait_ready("app", 2);
    assert_eq!(nginx.client().get("/").status, 200);
}

#[test]
fn one_kind_in_the_place_of_the_other_is_said() {
    let stockade = unready(Site::new(), "processes = 1", "pages:wsgi");
    stockade.log.wait(&[
        "wsgi takes (environ, start_response), as WSGI applications do: name it with `wsgi` instead of `asgi`",
    ]);
    let site = Site::new();
    site.write("pages.py", PAGES);
    let keys = format!(
        "wsgi = \"pages:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade.log.wait(&[
        "application is asynchronous, as ASGI applications are: name it with `asgi` instead of `wsgi`",
    ]);
}

/// Frameworks, as their tutorials begin, behind nginx. uvloop is in the environment, so it is the loop.
#[test]
fn frameworks() {
    let environment = tools::python_environment("starlette");
    for package in ["fastapi", "quart", "django", "uvloop"] {
        tools::python_environment(package);
    }
    let site = Site::new();
    site.write("frameworks.py", FRAMEWORKS);
    site.write("pages.py", PAGES);
    let environment = site.reachable(&environment);
    let pools: Vec<Pool> = ["star", "fast", "quart", "django", "pages"]
        .iter()
        .map(|name| {
            let target = match *name {
                "pages" => "pages:application".to_owned(),
                name => format!("frameworks:{name}_app"),
            };
            let keys = format!(
                "asgi = {target:?}\npython-home = {environment:?}\npython-path = [{:?}]\nprocesses = 1\nstartup-timeout = \"60s\"",
                site.path()
            );
            Pool::new(&keys).named(name)
        })
        .collect();
    let stockade = Stockade::ready(site, &pools);
    for name in ["star", "fast", "quart", "django"] {
        let nginx = Nginx::keeping(&stockade.socket(name));
        let mut client = nginx.client();
        let hello = client.get("/hello/Ada?x=1");
        assert_eq!(
            (hello.status, hello.text().as_str()),
            (200, "Hello Ada 1"),
            "{name}: {}",
            stockade.log.text()
        );
        let body = vec![b'x'; 300_000];
        let length = client.post("/length", "text/plain", &body);
        assert_eq!(
            (length.status, length.text().as_str()),
            (200, "300000"),
            "{name}"
        );
        let stream = client.get("/stream");
        assert_eq!(
            (stream.status, stream.complete, stream.body.len()),
            (200, true, 200_000),
            "{name}"
        );
        assert_eq!(client.get("/nothing/there").status, 404, "{name}");
        assert_eq!(client.get("/error").status, 500, "{name}");
    }
    stockade.log.wait(&["lifespan of starlette: opened"]);
    let nginx = Nginx::keeping(&stockade.socket("pages"));
    assert!(nginx.client().get("/loop").text().starts_with("uvloop"));
    stockade.signal(Signal::SIGTERM);
    stockade.log.wait(&["lifespan of starlette: closed"]);
}

const FRAMEWORKS: &str = include_str!("python/frameworks.py");

#[test]
fn run_serves_one() {
    let site = Site::new();
    site.write("pages.py", PAGES);
    let words = ["--asgi", "pages:application", "--processes", "1"];
    let running = Running::start(site, &words);
    let mut client = running.client();
    assert_eq!(client.get("/?run").text(), "Hello, run!\n");
}

fn serve(keys: &str) -> (Stockade, Nginx) {
    let stockade = start(Site::new(), keys);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    (stockade, nginx)
}

/// Nothing waits in nginx for its end.
fn serve_unbuffered() -> (Stockade, Nginx) {
    let stockade = start(Site::new(), "processes = 1");
    let hosting = Hosting {
        keep: true,
        location: "fastcgi_request_buffering off; fastcgi_buffering off;",
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    (stockade, nginx)
}

fn start(site: Site, keys: &str) -> Stockade {
    let stockade = unready(site, keys, "pages:application");
    stockade.wait_ready("app", 1);
    stockade
}

fn unready(site: Site, keys: &str, target: &str) -> Stockade {
    site.write("pages.py", PAGES);
    let keys = format!(
        "asgi = {target:?}\npython-home = {:?}\npython-path = [{:?}]\n{keys}",
        tools::python(),
        site.path()
    );
    Stockade::serve(site, &[Pool::new(&keys)])
}

/// A plain connection to nginx.
fn connect(nginx: &Nginx) -> UnixStream {
    UnixStream::connect(nginx.address()).expect("nginx listens")
}
