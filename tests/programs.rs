//! The programs in `examples/`, each on a FastCGI library of its language: C on libfcgi, the reference implementation of the
//! application's side, Perl on FCGI.pm, which is built on it, Go on net/http/fcgi, Rust on stockade-protocol.

use std::path::{Path, PathBuf};

use crate::support::{
    built,
    load::Load,
    nginx::{Hosting, Nginx},
    process::command,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn c_on_libfcgi() {
    let site = Site::new();
    let program = site.path().join("hello");
    let status = command(tools::cc())
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(example("c/hello.c"))
        .arg("-lfcgi")
        .status()
        .unwrap();
    assert!(status.success());
    let stockade = serve(site, &[&program], "");
    answers(&stockade);
    stockade.log.wait(&["pool app", "a body of 200000 bytes"]);
}

#[test]
fn perl_on_fcgi_pm() {
    let site = Site::new();
    let program = site.copy_for_pool(&example("perl/hello.pl"));
    let stockade = serve(site, &[&tools::perl(), &program], "");
    answers(&stockade);
    stockade.log.wait(&["pool app", "a body of 200000 bytes"]);
}

#[test]
fn a_program_that_ends_after_so_many_requests_fails_none() {
    let site = Site::new();
    let program = site.copy_for_pool(&example("perl/hello.pl"));
    let keys = "environment = { REQUESTS = \"50\" }";
    let stockade = serve(site, &[&tools::perl(), &program], keys);
    for keep in [true, false] {
        let hosting = Hosting {
            keep,
            ..Hosting::default()
        };
        survives_load(&Nginx::start(&stockade.socket("app"), &hosting));
    }
    let ends = stockade.log.matching(&["pool app", "gone after"]).len();
    assert!(ends >= 10, "only {ends} workers ended");
}

#[test]
fn go_on_net_http_fcgi() {
    let site = Site::new();
    let program = site.path().join("hello");
    let status = command(tools::go())
        .args(["build", "-o"])
        .arg(&program)
        .arg(example("go/hello.go"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath")
        .status()
        .unwrap();
    assert!(status.success());
    let stockade = serve(site, &[&program], "threads = 8\nmultiplex = true");
    answers(&stockade);
    stockade.log.wait(&["pool app", "a body of 200000 bytes"]);
}

#[test]
fn rust_on_stockade_protocol() {
    let site = Site::new();
    let program = site.reachable(&built::example());
    let stockade = serve(site, &[&program], "");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    assert_eq!(client.get("/greeting?x=1").text(), "GET /greeting?x=1\n");
    let response = client.post("/", "text/plain", b"a word");
    assert_eq!(response.text(), "POST /\na word");
    survives_load(&nginx);
}

/// GET, POST and a load, connections kept.
fn answers(stockade: &Stockade) {
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    let response = client.get("/greeting?x=1");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.text(),
        "GET /greeting?x=1\nThe body has 0 bytes.\n"
    );
    let body = vec![b'x'; 200_000];
    let response = client.post("/", "text/plain", &body);
    assert_eq!(response.text(), "POST /\nThe body has 200000 bytes.\n");
    survives_load(&nginx);
}

fn survives_load(nginx: &Nginx) {
    let load = Load::start((0..8).map(|_| nginx.client()).collect(), "/");
    load.wait_answered(500);
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}

fn serve(site: Site, words: &[&Path], keys: &str) -> Stockade {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.display().to_string())
        .collect();
    let pool = Pool::new(&format!("command = {words:?}\nprocesses = 2\n{keys}"));
    Stockade::ready(site, &[pool])
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}
