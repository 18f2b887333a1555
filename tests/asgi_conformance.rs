//! What an ASGI application is told, and what it may tell, message by message: an application that compares it with `asgiref.typing`
//! and the specification's words, behind nginx.

use nix::sys::signal::Signal;

use crate::support::{
    http::Request,
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const CHECKED: &str = include_str!("python/asgi_checked.py");

#[test]
fn scopes_and_messages_are_those_of_the_specification() {
    let (stockade, nginx) = serve("");
    let mut client = nginx.client();
    let conforms = |response: crate::support::http::Response, length: u64| {
        let told = format!("{length}: conforms");
        assert_eq!(
            (response.status, response.text()),
            (200, told),
            "{}",
            stockade.log.text()
        );
    };
    conforms(client.get("/scope"), 0);
    conforms(client.get("/scope/caf%C3%A9%2F?a=%20b"), 0);
    let request = Request::new("GET", "/scope")
        .header("X-Some-Thing", "one")
        .header("Cookie", "a=1")
        .header("Accept-Language", "");
    conforms(client.send(request), 0);
    for length in [1, 70_000, 1_000_000] {
        conforms(
            client.send(Request::new("POST", "/scope").pattern(length)),
            length,
        );
        conforms(
            client.send(Request::new("PUT", "/scope").chunks(length)),
            length,
        );
    }
    let behind = stockade.log.matching(&["behind the response"]);
    assert!(
        behind.iter().all(|line| line.ends_with("conforms")),
        "{behind:?}"
    );
    stockade.log.wait(&["behind the response: conforms"]);
    stockade.signal(Signal::SIGTERM);
    stockade.log.wait(&["lifespan: conforms"]);
}

#[test]
fn what_is_told_of_the_connection() {
    let (_stockade, nginx) = serve("");
    let text = nginx.client().get("/fields?x").text();
    for line in [
        // as nginx tells it of a client on a unix socket
        "client=('unix:', 0)",
        "server=('localhost', ",
        "scheme='https'",
        "http_version='1.1'",
        "raw_path=b'/fields'",
        "query_string=b'x'",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}

#[test]
fn what_may_be_left_out_or_be_any_iterable() {
    let (_stockade, nginx) = serve("");
    let response = nginx.client().get("/kinds");
    assert_eq!((response.status, response.text().as_str()), (201, "kinds"));
    assert_eq!(response.header("X-Kind"), Some("iterable"));
}

#[test]
fn what_is_against_the_specification_is_refused_with_words() {
    let (stockade, nginx) = serve("");
    let mut client = nginx.client();
    for (case, words) in [
        (
            "body-first",
            "http.response.body was sent before http.response.start",
        ),
        (
            "unknown",
            "a message of the type 'http.response.stop' cannot be sent",
        ),
        ("untyped", "a message of the type None cannot be sent"),
        (
            "no-status",
            "the status of http.response.start must be int, not NoneType",
        ),
        (
            "status-text",
            "the status of http.response.start must be int, not str",
        ),
        ("status-100", "its number from 200 on, not \"100 Continue\""),
        ("header-text", "must be bytes"),
        ("header-triple", "a header must be a pair"),
        ("header-name", "\"x a\" cannot be the name of a header"),
        (
            "header-hop",
            "the header connection is not the application's",
        ),
        ("body-text", "must be bytes"),
        (
            "websocket",
            "a message of the type 'websocket.accept' cannot be sent",
        ),
    ] {
        let response = client.get(&format!("/wrong?{case}"));
        assert_eq!((response.status, response.complete), (500, true), "{case}");
        stockade.log.wait(&["wrong raised", words]);
        assert_eq!(client.get("/kinds").status, 201, "behind {case}");
    }
}

#[test]
fn a_wsgi_application_of_asgiref() {
    let (stockade, nginx) = serve("");
    let response = nginx.client().post("/wsgi", "text/plain", b"a body");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "wsgi a body"),
        "{}",
        stockade.log.text()
    );
}

fn serve(keys: &str) -> (Stockade, Nginx) {
    let environment = tools::python_environment("django");
    let site = Site::new();
    site.write("checked.py", CHECKED);
    let environment = site.reachable(&environment);
    let keys = format!(
        "asgi = \"checked:application\"\npython-home = {environment:?}\npython-path = [{:?}]\nprocesses = 1\nstartup-timeout = \"60s\"\n{keys}",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let hosting = Hosting {
        keep: true,
        location: "fastcgi_request_buffering off; fastcgi_param HTTPS on;",
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    (stockade, nginx)
}
