//! The corners of PEP 3333, behind nginx, for every kind of worker: an application that `wsgiref.validate` watches.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::support::{
    http::{Client, Request},
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const CORNERS: &str = include_str!("python/corners.py");

#[test]
fn in_one_thread() {
    every_corner("processes = 1\nthreads = 1", "False True False");
}

#[test]
fn in_threads() {
    every_corner("processes = 1\nthreads = 4", "True True False");
}

#[test]
fn in_greenlets_of_gevent() {
    every_corner("processes = 1\nconcurrency = \"gevent\"", "True True False");
}

#[test]
fn in_greenlets_of_eventlet() {
    every_corner(
        "processes = 1\nconcurrency = \"eventlet\"",
        "True True False",
    );
}

/// `kind`: multithread, multiprocess and run_once, as the application is to be told.
fn every_corner(keys: &str, kind: &str) {
    let (stockade, nginx) = serve(keys);
    let mut client = nginx.client();
    assert_eq!(client.get("/kind").text(), kind, "{}", stockade.log.text());
    bodies(&mut client);
    responses(&mut client, &nginx);
    what_is_refused(&stockade, &mut client);
    what_the_environ_holds(&mut client);
    let before = stockade.log.matching(&["AssertionError"]);
    let expected = ["a second time", "without calling"];
    let strangers: Vec<_> = before
        .iter()
        .filter(|line| !expected.iter().any(|words| line.contains(words)))
        .collect();
    assert!(strangers.is_empty(), "the validator: {strangers:?}");
    close_is_called_once(&stockade, &nginx, &mut client);
    assert_eq!(client.get("/kind").status, 200);
    assert!(stockade.log.matching(&["gone after"]).is_empty());
}

fn bodies(client: &mut Client) {
    let body = b"one\ntwo\n\nthree and no end";
    for (how, pieces) in [
        ("all", 1),
        ("pieces", 4),
        ("line", 4),
        ("line-of-some", 11),
        ("lines", 4),
        ("lines-of-some", 4),
        ("each", 4),
        ("mixed", 4),
    ] {
        let answer = client.post(&format!("/read?{how}"), "text/plain", body);
        let told = [format!("{pieces}:").as_bytes(), body].concat();
        assert_eq!(
            (answer.status, answer.text()),
            (200, String::from_utf8(told).expect("it is ASCII")),
            "{how}"
        );
        assert_eq!(client.get(&format!("/read?{how}")).status, 200, "{how}");
    }
    assert_eq!(client.post("/readall", "text/plain", body).body, body);
    // without a Content-Length
    for length in [0, 1, 100_000] {
        let answer = client.send(Request::new("POST", "/readall").chunks(length));
        assert_eq!(
            (answer.status, answer.body.len() as u64),
            (200, length),
            "{length} bytes in chunks"
        );
    }
}

fn responses(client: &mut Client, nginx: &Nginx) {
    assert_eq!(client.get("/write").text(), "written twice returned");
    assert_eq!(client.get("/early").text(), "early");
    assert_eq!(client.get("/file").text(), CORNERS);
    let again = client.get("/again");
    assert_eq!((again.status, again.text().as_str()), (409, "again"));
    for status in [200, 204, 304, 404, 500, 503, 599] {
        let answer = client.get(&format!("/status?{status}+Words"));
        let length = if matches!(status, 204 | 304) { 0 } else { 4 };
        assert_eq!((answer.status, answer.body.len()), (status, length));
        assert!(answer.complete);
        let head = client.send(Request::new("HEAD", &format!("/status?{status}+Words")));
        assert_eq!((head.status, head.body.len()), (status, 0));
    }
    let head = client.send(Request::new("HEAD", "/write"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let cookies = raw(
        nginx,
        "GET /cookies HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    for line in [
        "Set-Cookie: a=1\r\n",
        "Set-Cookie: b=2\r\n",
        "X-Latin: caf\u{e9}\r\n",
    ] {
        assert!(cookies.contains(line), "no {line:?} in {cookies}");
    }
    let late = client.get("/late");
    assert_eq!((late.status, late.complete), (200, false));
}

fn what_is_refused(stockade: &Stockade, client: &mut Client) {
    for (path, words) in [
        (
            "/bad?newline",
            "the value of the header X-A has control characters",
        ),
        ("/bad?name", "\"X A\" cannot be the name of a header"),
        (
            "/bad?bytes",
            "the value of the header X-A must be str, not bytes",
        ),
        ("/bad?hop", "the header Connection is not the application's"),
        ("/bad?wide", "beyond Latin-1"),
        ("/bad?status", "the headers must be a list, not NoneType"),
        (
            "/bad?status-newline",
            "the status must look like \"200 OK\"",
        ),
        ("/bad?status-bytes", "the status must be str, not bytes"),
        (
            "/informational",
            "its number from 200 on, not \"103 Early Hints\"",
        ),
        (
            "/twice",
            "start_response was called a second time without exc_info",
        ),
        ("/silent", "without calling start_response"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.complete), (500, true), "{path}");
        stockade.log.wait(&[words]);
    }
}

fn what_the_environ_holds(client: &mut Client) {
    let long = "c".repeat(30_000);
    let ask = |client: &mut Client, name: &str, header: (&str, &str)| {
        let path = format!("/environment?{name}");
        let answer = client.send(Request::new("GET", &path).header(header.0, header.1));
        answer.text()
    };
    assert_eq!(ask(client, "HTTP_COOKIE", ("Cookie", &long)), long);
    assert_eq!(ask(client, "HTTP_X_EMPTY", ("X-Empty", "")), "");
    assert_eq!(
        ask(client, "HTTP_X_UTF", ("X-Utf", "caf\u{e9} \u{20ac}")),
        "caf\u{e9} \u{20ac}"
    );
    assert_eq!(
        ask(client, "HTTP_PROXY", ("Proxy", "http://evil")),
        "absent"
    );
    assert_eq!(ask(client, "CONTENT_LENGTH", ("X-A", "b")), "absent");
    assert_eq!(ask(client, "SCRIPT_NAME", ("X-A", "b")), "");
    // as many characters as the path has bytes, whatever they stand for
    for path in ["caf%C3%A9", "%E9", "a%2Fb", "a+b%20c"] {
        let answer = client.get(&format!("/environment/{path}?PATH_INFO"));
        let decoded = percent(path);
        assert_eq!(answer.body, [b"/environment/", &decoded[..]].concat());
    }
}

fn close_is_called_once(stockade: &Stockade, nginx: &Nginx, client: &mut Client) {
    assert_eq!(client.get("/closing?end").body.len(), 200_000);
    stockade.log.wait(&["closed 1"]);
    let cut = nginx.client().get("/closing?raise");
    assert_eq!((cut.status, cut.complete), (200, false));
    stockade.log.wait(&["closed 2"]);
    // a client that leaves amid a response without an end
    let mut socket = UnixStream::connect(nginx.address()).expect("nginx listens");
    socket
        .write_all(b"GET /closing?endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("nginx takes it");
    socket.read_exact(&mut [0; 100_000]).expect("nginx answers");
    drop(socket);
    stockade.log.wait(&["closed 3"]);
    assert_eq!(client.get("/closing?end").status, 200);
    stockade.log.wait(&["closed 4"]);
    assert!(stockade.log.matching(&["closed 5"]).is_empty());
}

/// Decodes percent signs.
fn percent(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// The whole answer, as Latin-1.
fn raw(nginx: &Nginx, request: &str) -> String {
    let mut socket = UnixStream::connect(nginx.address()).expect("nginx listens");
    socket
        .write_all(request.as_bytes())
        .expect("nginx takes it");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("nginx answers");
    answer.into_iter().map(char::from).collect()
}

fn serve(keys: &str) -> (Stockade, Nginx) {
    let environment = tools::python_environment("gevent");
    tools::python_environment("eventlet");
    let site = Site::new();
    site.write("corners.py", CORNERS);
    let environment = site.reachable(&environment);
    let keys = format!(
        "wsgi = \"corners:application\"\npython-home = {environment:?}\npython-path = [{:?}]\nstartup-timeout = \"60s\"\n{keys}",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let hosting = Hosting {
        keep: true,
        location: "fastcgi_request_buffering off; fastcgi_buffering off; fastcgi_buffer_size 64k; fastcgi_buffers 8 64k;",
        server: "large_client_header_buffers 4 64k;",
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    (stockade, nginx)
}
