//! The shim as its clients see it: pages, files, large bodies both ways, and how things end.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    http::{Address, Client, Request},
    pattern::Checker,
    process,
    running::{address, service},
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools::{self, RELAY_USER},
};

const MIB: u64 = 1024 * 1024;

/// Scripted workers behind a shim, which serves the folder `files` too.
fn served(keys: &str) -> Stockade {
    served_with(keys, "")
}

fn served_with(keys: &str, shim_keys: &str) -> Stockade {
    let site = Site::new();
    let config = config(&site, keys, shim_keys);
    served_by(site, &config)
}

fn served_by(site: Site, config: &str) -> Stockade {
    let stockade = Stockade::run(site, config);
    stockade.wait_ready("app", 1);
    stockade
}

fn config(site: &Site, keys: &str, shim_keys: &str) -> String {
    fs::create_dir(site.path().join("files")).expect("the test's folder is ours");
    let pool = Pool::scripted(site, &[], keys);
    let account = if tools::root() {
        format!("user = {RELAY_USER:?}\n")
    } else {
        String::new()
    };
    configuration(site, &[pool])
        + "[shim]\nlisten = [\"127.0.0.1:0\"]\n"
        + &account
        + shim_keys
        + "[[shim.route]]\npath = \"/\"\npool = \"app\"\n"
        + "[[shim.route]]\npath = \"/files/\"\nfiles = \"files\"\n"
}

fn client(stockade: &Stockade) -> Client {
    Client::new(Address::Tcp(address(&stockade.log)))
}

fn connect(stockade: &Stockade) -> TcpStream {
    let stream = TcpStream::connect(address(&stockade.log)).expect("the shim listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a minute is a timeout");
    stream
}

#[test]
fn a_page_has_its_parameters_and_connections_are_kept() {
    let stockade = served("processes = 1");
    let mut client = client(&stockade);
    for (path, value) in [
        ("/a%20b?show=PATH_INFO", "/a b"),
        ("/a%20b?show=REQUEST_URI", "/a%20b?show=REQUEST_URI"),
        ("/?show=SCRIPT_NAME", ""),
        ("/?show=REQUEST_METHOD", "GET"),
        ("/?show=HTTP_HOST", "localhost"),
    ] {
        let response = client.get(path);
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, value),
            "{path}"
        );
    }
    let port = client.get("/?show=REMOTE_PORT").text();
    assert_eq!(client.get("/?show=REMOTE_PORT").text(), port);
    assert_eq!(client.get("/?status=404").status, 404);
}

#[test]
fn a_head_has_no_body_and_leaves_the_connection_usable() {
    let stockade = served("processes = 1");
    let mut client = client(&stockade);
    let port = client.get("/?show=REMOTE_PORT").text();
    let head = client.send(Request::new("HEAD", "/?status=404"));
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(client.get("/?show=REMOTE_PORT").text(), port);
}

#[test]
fn files_are_served_and_nothing_outside_of_their_folder() {
    let stockade = served("processes = 1");
    stockade.site.write("files/page.html", "<p>0123456789");
    stockade.site.write("files/index.html", "the index");
    fs::create_dir(stockade.site.path().join("files/sub")).unwrap();
    let mut client = client(&stockade);
    let page = client.get("/files/page.html");
    assert_eq!((page.status, page.text().as_str()), (200, "<p>0123456789"));
    assert_eq!(page.header("content-type"), Some("text/html"));
    let etag = page.header("etag").unwrap().to_owned();
    let modified = page.header("last-modified").unwrap().to_owned();
    for (name, value) in [("If-None-Match", etag), ("If-Modified-Since", modified)] {
        let again = client.send(Request::new("GET", "/files/page.html").header(name, value));
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
    }
    let part = client.send(Request::new("GET", "/files/page.html").header("Range", "bytes=3-5"));
    assert_eq!((part.status, part.text().as_str()), (206, "012"));
    assert_eq!(part.header("content-range"), Some("bytes 3-5/13"));
    let part = client.send(Request::new("GET", "/files/page.html").header("Range", "bytes=50-"));
    assert_eq!(part.status, 416);
    let head = client.send(Request::new("HEAD", "/files/page.html"));
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("13"))
    );
    assert_eq!(client.get("/files/").text(), "the index");
    assert_eq!(
        client.post("/files/page.html", "text/plain", b"x").status,
        405
    );
    let folder = client.get("/files/sub?a=b");
    assert_eq!(
        (folder.status, folder.header("location")),
        (301, Some("/files/sub/?a=b"))
    );
    for path in [
        "/files/../stockade.toml",
        "/files/%2e%2e/stockade.toml",
        "/files/sub%2f..%2f..%2fstockade.toml",
        "/files/sub/",
        "/files/none",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    assert_eq!(client.get("/files/a%00b").status, 400);
}

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    let stockade = served("processes = 2");
    let mut client = client(&stockade);
    let response = client.send(Request::new("POST", "/").pattern(20 * MIB));
    let text = response.text();
    assert!(text.contains(&format!("length {}\n", 20 * MIB)), "{text}");
    assert!(text.contains("wrong 0\n"), "{text}");
    let mut checker = Checker::default();
    let path = format!("/?big={}", 64 * MIB);
    let request = Request::new("GET", &path);
    let response = client.stream(&request, &mut |bytes| checker.take(bytes));
    assert!(response.complete);
    assert_eq!((checker.length(), checker.wrong()), (64 * MIB, 0));
    let file = fs::File::create(stockade.site.path().join("files/large")).unwrap();
    file.set_len(64 * MIB).unwrap();
    let mut length = 0;
    let request = Request::new("GET", "/files/large");
    let response = client.stream(&request, &mut |bytes| length += bytes.len() as u64);
    assert_eq!((response.complete, length), (true, 64 * MIB));
    let peak = process::peak_resident_kib(service(stockade.pid(), "shim")).unwrap();
    assert!(peak < 32 * 1024, "{peak} KiB");
}

#[test]
fn a_body_in_chunks_gets_its_length() {
    let stockade = served("processes = 1");
    let mut stream = connect(&stockade);
    // more than is kept in memory
    for (query, chunks) in [("show=CONTENT_LENGTH", 1), ("show=CONTENT_LENGTH", 100)] {
        let head = format!(
            "POST /?{query} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..chunks {
            stream.write_all(b"400\r\n").unwrap();
            stream.write_all(&[b'x'; 0x400]).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let length = (chunks * 0x400).to_string();
        let text = read_until(&mut stream, &format!("{length}\r\n0\r\n\r\n"));
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[test]
fn a_response_that_breaks_off_looks_so() {
    let stockade = served("processes = 1\nbackoff-initial = \"10ms\"");
    let mut client = client(&stockade);
    let path = format!("/?big={}&crash=mid-body", 4 * MIB);
    let request = Request::new("POST", &path);
    let response = client.stream(&request, &mut |_| {});
    assert_eq!((response.status, response.complete), (200, false));
    stockade.wait_ready("app", 2);

    // the only sign that is left where the end of the connection is the end of the body
    let mut stream = connect(&stockade);
    stream
        .write_all(format!("POST {path} HTTP/1.0\r\n\r\n").as_bytes())
        .unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn term_lets_a_running_request_finish() {
    let mut stockade = served("processes = 1");
    let gate = stockade.site.path().join("gate");
    let mut idle = connect(&stockade);
    let mut stream = connect(&stockade);
    let head = format!(
        "GET /?stderr=begun&wait={}&show=REQUEST_METHOD HTTP/1.1\r\nHost: localhost\r\n\r\n",
        gate.display()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stockade.log.wait(&["begun"]);
    stockade.signal(Signal::SIGTERM);
    wait_for("new connections to be refused", || {
        TcpStream::connect(address(&stockade.log)).err()
    });
    assert_eq!(
        idle.read(&mut [0]).unwrap(),
        0,
        "an idle connection is closed"
    );
    assert!(stockade.exited().is_none(), "{}", stockade.log.text());
    fs::write(&gate, "").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.contains("GET"),
        "{text}"
    );
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

#[test]
fn what_outlasts_the_stop_is_answered_before_its_worker_goes() {
    let site = Site::new();
    let daemon = "[daemon]\nshutdown-timeout = \"1s\"\n";
    let config = config(&site, "processes = 1", "").replacen("[daemon]\n", daemon, 1);
    let mut stockade = served_by(site, &config);
    let mut stream = connect(&stockade);
    let head = "GET /?stderr=begun&sleep=600000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stockade.log.wait(&["begun"]);
    stockade.signal(Signal::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 504 ") && text.contains("graceful-timeout"),
        "{text}"
    );
    assert_eq!(stockade.wait_exit().code(), Some(0));
    let log = stockade.log.text();
    assert!(!log.contains("killed"), "{log}");
}

#[test]
fn a_pool_that_cannot_be_reached_is_a_bad_gateway() {
    let stockade = served("processes = 1");
    fs::remove_file(stockade.socket("app")).unwrap();
    let response = client(&stockade).get("/");
    assert_eq!(response.status, 502);
    assert_eq!(response.header("stockade-cause"), Some("pool-unreachable"));
    stockade.log.wait(&["shim: pool app: could not ask"]);
}

#[test]
fn what_is_no_request_is_refused() {
    let stockade = served("processes = 1");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let mut stream = connect(&stockade);
        stream.write_all(request.as_bytes()).unwrap();
        let text = read_until(&mut stream, "\r\n\r\n");
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[test]
fn a_client_that_takes_its_time_is_left() {
    let limits = "header-timeout = \"200ms\"\nkeep-alive-timeout = \"400ms\"\n";
    let stockade = served_with("processes = 1", limits);
    let mut rest = Vec::new();
    for begun in ["", "GET / HTTP/1.1\r\n"] {
        let mut stream = connect(&stockade);
        stream.write_all(begun.as_bytes()).unwrap();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "{begun:?}");
    }
    // a request that takes its time is not, and the connection is kept for a while after it
    let mut stream = connect(&stockade);
    for _ in 0..2 {
        let request = "GET /?sleep=600&show=REQUEST_METHOD HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let text = read_until(&mut stream, "\r\n0\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(stockade.log.matching(&["WARN"]).len(), 0);
}

#[test]
fn the_shim_is_never_root() {
    let stockade = served("processes = 1");
    let user = process::user_of(service(stockade.pid(), "shim"));
    assert_ne!(user, Some(0));
}

/// What comes, until it contains `end`.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(end) {
        let read = stream.read(&mut piece).expect("the shim answers in time");
        assert!(read > 0, "the end came before {end:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}
