//! WSGI applications through the bundled adapter, behind nginx.

use crate::support::{
    deadline::wait_for,
    fcgi::Fcgi,
    http::Request,
    load::Load,
    nginx::Nginx,
    pattern::Checker,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const MIB: u64 = 1024 * 1024;

/// One application for all tests, a path each.
const APPLICATION: &str = r#"
import os
import time
from wsgiref.validate import validator


def application(environ, start_response):
    return PAGES.get(environ["PATH_INFO"], missing)(environ, start_response)


def missing(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1")]


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, ", environ.get("QUERY_STRING", "").encode("latin-1"), b"!\n"]


def who(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = "multithread", "multiprocess", "run_once"
    text = " ".join(str(environ["wsgi." + name]) for name in names)
    return [f"{os.environ['STOCKADE_POOL']} {os.getpid()} {text}".encode()]


def read(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    length = wrong = block = 0
    while piece := environ["wsgi.input"].read(65536):
        wrong += int.from_bytes(piece[:8], "big") != block if len(piece) >= 8 else 0
        length += len(piece)
        block += 1
    return [f"length {length} wrong {wrong}".encode()]


def validated(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read(1000) or b"nothing"]


def broken(environ, start_response):
    raise RuntimeError("the application's own words")


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for block in range(320):
        yield block.to_bytes(8, "big") + bytes(65528)


def cut(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"x" * 200000
    raise RuntimeError("half way")


def slow(environ, start_response):
    time.sleep(0.01)
    return hello(environ, start_response)


def errors(environ, start_response):
    print("to wsgi.errors", file=environ["wsgi.errors"])
    print("to standard output", flush=True)
    return hello(environ, start_response)


INPUT = os.readlink("/proc/self/fd/0")


def given(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [INPUT.encode()]


PAGES = {
    "/input": given,
    "/": hello,
    "/broken": broken,
    "/cut": cut,
    "/errors": errors,
    "/read": read,
    "/slow": slow,
    "/stream": stream,
    "/validated": validator(validated),
    "/who": who,
}
"#;

#[test]
fn hello() {
    let stockade = serve("processes = 2");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    let response = client.get("/?Ada");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "Hello, Ada!\n")
    );
    assert_eq!(response.header("Content-Type"), Some("text/plain"));
    // what the application starts when it is imported does not inherit the listening socket
    assert_eq!(client.get("/input").text(), "/dev/null");
    let response = client.send(Request::new("HEAD", "/?Ada"));
    assert_eq!((response.status, response.body.len()), (200, 0));
    let response = client.get("/caf%C3%A9");
    assert_eq!(
        (response.status, response.text().as_str()),
        (404, "/caf\u{e9}")
    );
}

#[test]
fn the_application_is_told_how_it_is_run() {
    for (keys, told) in [
        ("processes = 2\nthreads = 1", "False True False"),
        // one process is two while it is being replaced
        ("processes = 1\nthreads = 4", "True True False"),
    ] {
        let stockade = serve(keys);
        let nginx = Nginx::keeping(&stockade.socket("app"));
        let text = nginx.client().get("/who").text();
        assert!(
            text.starts_with("app ") && text.ends_with(told),
            "{keys}: {text}"
        );
    }
}

#[test]
fn threads_serve_at_the_same_time() {
    let stockade = serve("processes = 1\nthreads = 8\nqueue-limit = 0");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    // the log tells of a ready worker before the relay is offered it
    wait_for("the relay to have the worker", || {
        (nginx.client().get("/").status == 200).then_some(())
    });
    let load = Load::start((0..8).map(|_| nginx.client()).collect(), "/slow");
    load.wait_answered(200);
    // without a queue, a request that found no free slot would have been refused
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}

#[test]
fn the_validator_of_the_standard_library_is_content() {
    let stockade = serve("processes = 1");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    assert_eq!(
        client.get("/validated").text(),
        "nothing",
        "{}",
        stockade.log.text()
    );
    let response = client.post("/validated", "text/plain", b"a body");
    assert_eq!(response.text(), "a body", "{}", stockade.log.text());
    let traces = stockade.log.matching(&["AssertionError"]);
    assert!(traces.is_empty(), "{traces:?}");
}

#[test]
fn an_exception_is_a_500_and_a_traceback_with_the_request_s_id() {
    let stockade = serve("processes = 1");
    let answer = {
        let nginx = Nginx::keeping(&stockade.socket("app"));
        nginx.client().get("/broken")
    };
    assert_eq!((answer.status, answer.complete), (500, true));
    let text = answer.text();
    assert!(
        !text.contains("the application's own words"),
        "told to the client: {text}"
    );
    let line = stockade
        .log
        .wait(&["RuntimeError: the application's own words"]);
    assert!(
        line.contains("pool app") && line.contains("worker 1"),
        "{line}"
    );
    stockade.log.wait(&["pool app", "in broken"]);
    // whoever has the client's page finds the traceback
    let id = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(|word| word.len() >= 8 && !stockade.log.matching(&[word]).is_empty());
    assert!(
        id.is_some(),
        "no id of {text:?} in:\n{}",
        stockade.log.text()
    );
    let mut host: Fcgi = stockade.connect();
    assert_eq!(host.get("").status(), 200, "the worker did not survive");
}

#[test]
fn a_generator_streams() {
    let stockade = serve("processes = 1");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut checker = Checker::default();
    let response = nginx
        .client()
        .stream(&Request::new("GET", "/stream"), &mut |bytes| {
            checker.take(bytes);
        });
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (20 * MIB, 0));
}

#[test]
fn a_generator_that_fails_looks_cut_to_the_client() {
    let stockade = serve("processes = 1");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let response = nginx.client().get("/cut");
    assert_eq!(
        (response.status, response.complete),
        (200, false),
        "{} bytes",
        response.body.len()
    );
    stockade.log.wait(&["RuntimeError: half way"]);
    assert_eq!(nginx.client().get("/").status, 200);
}

#[test]
fn an_upload_is_read_whole() {
    let stockade = serve("processes = 1");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    for length in [0, 1, 64 * 1024, 20 * MIB] {
        let response = nginx
            .client()
            .send(Request::new("POST", "/read").pattern(length));
        assert_eq!(
            (response.status, response.text()),
            (200, format!("length {length} wrong 0"))
        );
    }
}

#[test]
fn what_the_application_writes_is_logged() {
    let stockade = serve("processes = 1");
    stockade.connect();
    let nginx = Nginx::keeping(&stockade.socket("app"));
    assert_eq!(nginx.client().get("/errors").status, 200);
    for text in ["to wsgi.errors", "to standard output"] {
        let line = stockade.log.wait(&[text]);
        assert!(
            line.contains("pool app") && line.contains("worker 1"),
            "{line}"
        );
    }
}

#[test]
fn an_application_that_does_not_load_says_why() {
    let site = Site::new();
    site.write("broken.py", "import no_such_module_anywhere\n");
    let keys = format!(
        "wsgi = \"broken:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1\nbackoff-initial = \"50ms\"",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade
        .log
        .wait(&["pool app", "No module named 'no_such_module_anywhere'"]);
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 503, "{answer:?}");
}

#[test]
fn a_script_may_be_named_by_its_path() {
    let site = Site::new();
    let script = site.write("hello.wsgi", APPLICATION);
    let keys = format!(
        "wsgi = {script:?}\npython-home = {:?}\nprocesses = 1",
        tools::python()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    assert_eq!(nginx.client().get("/?script").text(), "Hello, script!\n");
}

fn serve(keys: &str) -> Stockade {
    let site = Site::new();
    site.write("pages.py", APPLICATION);
    let keys = format!(
        "wsgi = \"pages:application\"\npython-home = {:?}\npython-path = [{:?}]\n{keys}",
        tools::python(),
        site.path()
    );
    Stockade::ready(site, &[Pool::new(&keys)])
}
