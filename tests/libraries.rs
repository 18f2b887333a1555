//! The libraries that FastCGI programs are made with, as workers: the same things asked of each (tests/libraries/), and what differs between
//! them in one table, that of docs/libraries.md.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use nix::sys::signal::Signal;
use stockade_protocol::{
    encode::{self, Role},
    name_value::encode_pair,
    record::RecordType,
};

use crate::support::{
    deadline::wait_for,
    document::assert_has_table,
    fcgi::{Answer, Fcgi},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

/// A library, and how it behaves as a worker.
struct Library {
    name: &'static str,
    /// The program's words, made in the site.
    program: fn(&Site) -> Vec<PathBuf>,
    /// Its connection is kept for further requests.
    keeps: bool,
    /// Requests at a time.
    threads: usize,
    /// They come on one connection.
    multiplexes: bool,
    /// Where its log goes: to the request's error stream, or to the process's.
    errors: &'static str,
    /// The variable that lets it end, unannounced, after so many requests.
    ends: Option<&'static str>,
}

/// A test for every one.
macro_rules! libraries {
    ($($test:ident: $library:expr;)*) => {
        const LIBRARIES: &[Library] = &[$($library),*];
        $(
            #[test]
            fn $test() {
                conforms(&$library);
            }
        )*
    };
}

libraries! {
    libfcgi: Library { name: "libfcgi", program: in_c, keeps: true, threads: 1, multiplexes: false, errors: "FCGI_STDERR", ends: Some("REQUESTS") };
    perl: Library { name: "Perl", program: in_perl, keeps: true, threads: 1, multiplexes: false, errors: "FCGI_STDERR", ends: Some("REQUESTS") };
    php_cgi: Library { name: "php-cgi", program: in_php, keeps: true, threads: 1, multiplexes: false, errors: "FCGI_STDERR", ends: Some("PHP_FCGI_MAX_REQUESTS") };
    go: Library { name: "Go", program: in_go, keeps: true, threads: 8, multiplexes: false, errors: "stderr", ends: None };
    go_multiplex: Library { name: "Go, `multiplex`", program: in_go, keeps: true, threads: 8, multiplexes: true, errors: "stderr", ends: None };
    flup_single: Library { name: "flup, single", program: |site| on_flup(site, "single"), keeps: true, threads: 1, multiplexes: false, errors: "FCGI_STDERR", ends: None };
    flup_threads: Library { name: "flup, threads", program: |site| on_flup(site, "threads"), keeps: true, threads: 4, multiplexes: false, errors: "FCGI_STDERR", ends: None };
    flup_multiplex: Library { name: "flup, `multiplex`", program: |site| on_flup(site, "multiplexed"), keeps: true, threads: 4, multiplexes: true, errors: "FCGI_STDERR", ends: None };
}

#[test]
fn the_document_has_this_table() {
    assert_has_table("docs/libraries.md", &table());
}

fn table() -> Vec<String> {
    let mut lines = vec![
        "| library | its connection is kept | requests at a time | its error log | ends by itself after |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for library in LIBRARIES {
        lines.push(format!(
            "| {} | {} | {} | {} | {} |",
            library.name,
            if library.keeps { "yes" } else { "no" },
            match (library.threads, library.multiplexes) {
                (1, _) => "one",
                (_, true) => "many, on one connection",
                (_, false) => "many, each on a connection",
            },
            library.errors,
            match library.ends {
                Some("PHP_FCGI_MAX_REQUESTS") => "`PHP_FCGI_MAX_REQUESTS`",
                Some(_) => "what the program says",
                None => "-",
            }
        ));
    }
    lines
}

fn conforms(library: &Library) {
    let mut scene = Scene::new(library, "");
    scene.answers_every_request(library);
    scene.keeps_its_connection(library);
    scene.answers_early();
    scene.answers_many(library);
    scene.stops();
    if let Some(variable) = library.ends {
        Scene::new(library, &format!("environment = {{ {variable} = \"7\" }}"))
            .fails_none_when_it_ends_by_itself();
    }
}

#[test]
fn go_ends_an_aborted_request_twice_and_nobody_gets_the_second() {
    let gate = Site::new();
    let path = gate.path().join("gate");
    let go = LIBRARIES.iter().find(|library| library.multiplexes);
    let go = Library {
        threads: 2,
        ..*go.expect("it is in the table")
    };
    let keys = format!("request-buffering = false\nenvironment = {{ GATE = {path:?} }}");
    let scene = Scene::new(&go, &keys);
    let mut leaves = scene.stockade.connect();
    let request = scene.request("POST", "wait", b"abc", 10);
    leaves.write(&request).unwrap();
    scene.stockade.log.wait_times(1, &["begun"]);
    let mut stays = scene.stockade.connect();
    scene.begin(&mut stays, "GET", "wait", b"");
    scene.stockade.log.wait_times(2, &["begun"]);
    let (header, _) = leaves.read_record().unwrap().unwrap();
    assert_eq!(header.record_type(), Some(RecordType::Stdout));
    drop(leaves);
    // a slot is free, though the handler is still at it
    assert_eq!(scene.ask("GET", "", b"").body(), "hello GET");
    fs::write(&path, "").unwrap();
    assert_eq!(stays.answer().unwrap().body(), "begun, waited");
    for _ in 0..50 {
        assert_eq!(scene.ask("GET", "", b"").body(), "hello GET");
    }
    assert_eq!(scene.stockade.workers().len(), 1);
    assert_eq!(scene.stockade.log.matching(&[" ready after"]).len(), 1);
}

/// A pool with one worker.
struct Scene {
    stockade: Stockade,
    script: PathBuf,
}

impl Scene {
    fn new(library: &Library, keys: &str) -> Self {
        let site = Site::new();
        let words = (library.program)(&site);
        let script = words.last().cloned().unwrap_or_default();
        let mut keys = format!(
            "command = {words:?}\nprocesses = 1\nthreads = {}\nmultiplex = {}\n{keys}\n",
            library.threads, library.multiplexes
        );
        if words[0].ends_with("php-cgi") {
            keys = keys.replacen(&format!(", {script:?}"), "", 1);
        }
        let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
        Self { stockade, script }
    }

    fn answers_every_request(&self, library: &Library) {
        assert_eq!(self.ask("GET", "", b"").body(), "hello GET");
        let head = self.ask("HEAD", "", b"");
        assert_eq!((head.status(), head.ended), (200, Some(0)));
        let body: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
        for body in [&body[..], b"a=1", b""] {
            let answer = self.ask("POST", "echo", body);
            assert!(answer.body_bytes() == body, "{} bytes", body.len());
        }
        let answer = self.ask("GET", "big", b"");
        assert!(answer.body_bytes() == vec![b'b'; 10_000_000]);
        assert_eq!(self.ask("GET", "stderr", b"").body(), "hello GET");
        self.stockade
            .log
            .wait(&["pool app: worker 1", library.errors, "trouble"]);
    }

    fn keeps_its_connection(&self, library: &Library) {
        let worker = self.stockade.workers()[0];
        self.ask("GET", "", b"");
        // its listening socket and its control socket it always has
        let expected = if library.keeps { 3 } else { 2 };
        let before = wait_for("its connections to be as they should", || {
            let open = process::sockets(worker);
            (open.len() == expected || library.threads > 1 && open.len() > 2).then_some(open)
        });
        for _ in 0..10 {
            self.ask("GET", "", b"");
        }
        assert!(!library.keeps || process::sockets(worker) == before);
    }

    /// An answer without the body's having been read.
    fn answers_early(&self) {
        let worker = self.stockade.workers();
        for length in [3, 1_000_000] {
            for _ in 0..3 {
                let answer = self.ask("POST", "early", &vec![b'x'; length]);
                assert_eq!(answer.body(), "early", "{length}");
                assert_eq!(self.ask("GET", "", b"").body(), "hello GET", "{length}");
            }
        }
        assert_eq!(self.stockade.workers(), worker);
    }

    fn answers_many(&self, library: &Library) {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert_eq!(self.ask("GET", "", b"").body(), "hello GET");
                        assert_eq!(self.ask("POST", "echo", b"a=1").body(), "a=1");
                    }
                });
            }
        });
        if library.multiplexes {
            assert_eq!(process::sockets(self.stockade.workers()[0]).len(), 3);
        }
    }

    /// By the stop-signal alone, though its connection is kept.
    fn stops(&mut self) {
        let _idle = self.stockade.connect();
        self.ask("GET", "", b"");
        self.stockade.signal(Signal::SIGTERM);
        assert_eq!(self.stockade.wait_exit().code(), Some(0));
        let log = self.stockade.log.text();
        assert!(!log.contains("SIGKILL") && !log.contains("killed"), "{log}");
    }

    fn fails_none_when_it_ends_by_itself(&self) {
        let mut host = self.stockade.connect();
        for turn in 0..60 {
            let answer = self.ask_on(&mut host, "GET", "", b"");
            assert_eq!(answer.body(), "hello GET", "{turn}: {answer:?}");
            let answer = self.ask_on(&mut host, "POST", "echo", b"a=1");
            assert_eq!(answer.body(), "a=1", "{turn}: {answer:?}");
        }
        let ends = self.stockade.log.matching(&["pool app", "gone after"]);
        assert!(ends.len() >= 10, "{ends:?}");
    }

    fn ask(&self, method: &str, query: &str, body: &[u8]) -> Answer {
        self.ask_on(&mut self.stockade.connect(), method, query, body)
    }

    fn ask_on(&self, host: &mut Fcgi, method: &str, query: &str, body: &[u8]) -> Answer {
        self.begin(host, method, query, body);
        let answer = host.answer();
        answer.unwrap_or_else(|error| panic!("{method} {query}: {error}"))
    }

    fn begin(&self, host: &mut Fcgi, method: &str, query: &str, body: &[u8]) {
        let request = self.request(method, query, body, body.len());
        host.write(&request).expect("the pool takes requests");
    }

    /// A request with a body of this length, as much of it as `body`.
    fn request(&self, method: &str, query: &str, body: &[u8], length: usize) -> Vec<u8> {
        let mut pairs = Vec::new();
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "localhost"),
            ("SERVER_PORT", "80"),
            ("REQUEST_METHOD", method),
            ("SCRIPT_NAME", "/worker"),
            ("SCRIPT_FILENAME", &self.script.display().to_string()),
            ("REQUEST_URI", &format!("/worker?{query}")),
            ("QUERY_STRING", query),
            ("CONTENT_LENGTH", &length.to_string()),
            ("CONTENT_TYPE", "application/octet-stream"),
            ("REDIRECT_STATUS", "200"),
        ] {
            encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
        }
        let mut bytes = Vec::new();
        encode::begin_request(&mut bytes, 1, Role::Responder, true);
        encode::params(&mut bytes, 1, &pairs).expect("short pairs fit into records");
        encode::stream(&mut bytes, RecordType::Stdin, 1, body);
        if body.len() == length {
            encode::stream_end(&mut bytes, RecordType::Stdin, 1);
        }
        bytes
    }
}

fn in_c(site: &Site) -> Vec<PathBuf> {
    let program = site.path().join("worker");
    let mut compiler = command(tools::cc());
    compiler
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program);
    compiler.arg(source("worker.c")).arg("-lfcgi");
    assert!(compiler.status().expect("the compiler runs").success());
    vec![program]
}

fn in_go(site: &Site) -> Vec<PathBuf> {
    let program = site.path().join("worker");
    let mut compiler = command(tools::go());
    compiler.args(["build", "-o"]).arg(&program);
    compiler
        .arg(source("worker.go"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath");
    assert!(compiler.status().expect("the compiler runs").success());
    vec![program]
}

fn in_perl(site: &Site) -> Vec<PathBuf> {
    vec![tools::perl(), site.copy_for_pool(&source("worker.pl"))]
}

/// The script is told in each request.
fn in_php(site: &Site) -> Vec<PathBuf> {
    vec![tools::php_cgi(), site.copy_for_pool(&source("worker.php"))]
}

fn on_flup(site: &Site, kind: &str) -> Vec<PathBuf> {
    let python = tools::python_environment("flup").join("bin/python");
    vec![
        python,
        site.copy_for_pool(&source("worker.py")),
        PathBuf::from(kind),
    ]
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/libraries")
        .join(name)
}
