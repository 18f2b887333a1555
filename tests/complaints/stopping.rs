//! The daemon stops: what was taken is answered.

use std::{path::Path, thread};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    fcgi::Fcgi,
    hosts::{Gate, pool},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn a_stop_answers_what_waits_in_the_queue_and_in_the_backlog() {
    let mut stockade = Stockade::scripted("processes = 1");
    let gate = Gate::new(&stockade);
    let mut running = stockade.connect();
    running.begin("POST", &gate.word("begun"), b"a=1");
    stockade.log.wait(&["begun"]);
    let ask = |_| {
        let mut host = stockade.connect();
        host.begin("POST", "echo", b"waits");
        host
    };
    let mut hosts: Vec<Fcgi> = (0..20).map(ask).collect();
    wait_for("twenty to wait", || {
        (pool(&stockade)["queue"]["length"] == 20).then_some(())
    });
    // a relay that has no time leaves what comes in the backlog
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGSTOP));
    hosts.extend((0..20).map(ask));
    stockade.signal(Signal::SIGTERM);
    stockade.log.wait(&["stopping"]);
    assert!(process::signal(relay, Signal::SIGCONT));
    gate.open();
    assert_eq!(running.answer().unwrap().status(), 200);
    for host in &mut hosts {
        assert_eq!(host.answer().unwrap().body(), "waits");
    }
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

#[test]
fn a_stop_under_load_answers_every_connection_that_was_taken() {
    let mut stockade = Stockade::scripted("processes = 2");
    let socket = stockade.socket("app");
    let answered: usize = thread::scope(|scope| {
        let hosts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| until_refused(&socket)))
            .collect();
        stockade.log.wait(&["served enough"]);
        stockade.signal(Signal::SIGTERM);
        hosts.into_iter().map(|host| host.join().unwrap()).sum()
    });
    assert!(answered > 100, "{answered}");
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

#[test]
fn a_program_on_libfcgi_that_is_idle_ends_at_term() {
    let site = Site::new();
    let program = site.path().join("hello");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c/hello.c");
    let status = command(tools::cc())
        .arg(source)
        .arg("-lfcgi")
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap();
    assert!(status.success());
    let keys = format!("command = [{program:?}]\nprocesses = 2\nshutdown-timeout = \"60s\"");
    let mut stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    stockade.wait_ready("app", 2);
    // one has had a request, the other none
    assert_eq!(stockade.connect().get("").status(), 200);
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert_eq!(stockade.log.matching(&["killed"]), [""; 0]);
}

/// Asks on a new connection each time, until none can be made; how many were answered, which is all of them.
fn until_refused(socket: &Path) -> usize {
    let mut answered = 0;
    while let Ok(mut host) = Fcgi::try_connect(socket) {
        let enough = if answered == 50 {
            "stderr=served+enough"
        } else {
            ""
        };
        let answer = host.ask("POST", enough, b"a=1");
        assert_eq!(
            (answer.status(), answer.ended),
            (200, Some(0)),
            "{answer:?}"
        );
        answered += 1;
    }
    answered
}
