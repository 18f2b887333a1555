//! systemd, played by the test: what it is told, and sockets that it passes. `tests/systemd/run` has the real one.

use std::{
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    process::Stdio,
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::DEADLINE,
    fcgi::Fcgi,
    process::command,
    site::Site,
    stockade::{Pool, Stockade, configuration},
};

#[test]
fn systemd_is_told_of_every_turn() {
    let site = Site::new();
    let keys = "processes = 1\nbackoff-initial = \"50ms\"";
    let pools = [
        Pool::scripted(&site, &[], keys),
        Pool::scripted(&site, &["exit=3"], keys).named("bad"),
    ];
    let config = configuration(&site, &pools);
    let (mut stockade, told) = notifying(site, &config);
    // the pool that fails does not keep the other from being used
    told.until("READY=1\nSTATUS=2 pools: 1 serving, 1 failing (bad)\n");

    let mended = [
        Pool::scripted(&stockade.site, &[], keys),
        Pool::scripted(&stockade.site, &[], keys).named("bad"),
    ];
    stockade.configure(&mended);
    stockade.signal(Signal::SIGHUP);
    let reloading = told.until("RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    told.until("READY=1\n");
    told.nothing_but("STATUS=");

    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{error}");
    told.until("RELOADING=1\n");
    told.until("READY=1\n");

    stockade.signal(Signal::SIGTERM);
    told.until("STOPPING=1\n");
    assert!(stockade.wait_exit().success());
}

#[test]
fn a_pool_serves_on_sockets_that_systemd_passes() {
    let site = Site::new();
    let socket = site.path().join("passed.sock");
    let unix = UnixListener::bind(&socket).expect("the site can be written to");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let pool = Pool::scripted(&site, &[], "processes = 1\nlisten = [\"systemd:blog\"]");
    let config = configuration(&site, &[pool]);
    let mut stockade = passing(site, &config, "blog:blog", unix, tcp);
    stockade.wait_ready("app", 1);
    let mut host = Fcgi::connect(&socket);
    assert_eq!(host.get("").status(), 200);
    // nothing of it reaches a worker
    let environment = host.get("environment").body();
    assert!(!environment.contains("LISTEN_"), "{environment}");

    stockade.signal(Signal::SIGHUP);
    stockade.log.wait(&["reload finished"]);
    assert_eq!(host.get("").status(), 200);
    drop(host);
    stockade.signal(Signal::SIGTERM);
    assert!(stockade.wait_exit().success());
    // it is systemd's, which goes on listening
    assert!(socket.exists());
}

#[test]
fn a_socket_that_was_not_passed_is_named() {
    let site = Site::new();
    let unix =
        UnixListener::bind(site.path().join("passed.sock")).expect("the site can be written to");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let pool = Pool::scripted(&site, &[], "processes = 1\nlisten = [\"systemd:blog\"]");
    let config = configuration(&site, &[pool]);
    let mut stockade = passing(site, &config, "blgo:shop", unix, tcp);
    assert_eq!(stockade.wait_exit().code(), Some(1));
    let line = stockade.log.wait(&["systemd:blog"]);
    assert!(
        line.contains("blgo, shop") && line.contains("FileDescriptorName=blog"),
        "{line}"
    );
}

#[test]
fn a_socket_that_nobody_takes_is_warned_of() {
    let site = Site::new();
    let unix =
        UnixListener::bind(site.path().join("passed.sock")).expect("the site can be written to");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let pool = Pool::scripted(&site, &[], "processes = 1\nlisten = [\"systemd:blog\"]");
    let config = configuration(&site, &[pool]);
    let stockade = passing(site, &config, "blog:shop", unix, tcp);
    stockade.log.wait(&["a socket shop", "no pool listens on"]);
    stockade.wait_ready("app", 1);
}

/// What systemd is told.
struct Told(UnixDatagram);

impl Told {
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next message that begins with `beginning`.
    fn until(&self, beginning: &str) -> String {
        loop {
            let message = self.next();
            if message.starts_with(beginning) {
                return message;
            }
        }
    }

    /// Everything that waits begins so.
    fn nothing_but(&self, beginning: &str) {
        self.0.set_nonblocking(true).expect("a socket can be told");
        let mut buffer = [0; 4096];
        while let Ok(length) = self.0.recv(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]);
            assert!(message.starts_with(beginning), "{message}");
        }
        self.0.set_nonblocking(false).expect("a socket can be told");
    }
}

/// A daemon that tells us what it would tell systemd.
fn notifying(site: Site, config: &str) -> (Stockade, Told) {
    let path = site.path().join("notify");
    let told = UnixDatagram::bind(&path).expect("the site can be written to");
    told.set_read_timeout(Some(DEADLINE))
        .expect("a socket takes a timeout");
    let mut starter = command(built::stockade());
    starter.stdin(Stdio::null()).env("NOTIFY_SOCKET", &path);
    (Stockade::start(site, config, &mut starter), Told(told))
}

/// A daemon that gets these two sockets as systemd would pass them.
fn passing(
    site: Site,
    config: &str,
    names: &str,
    first: UnixListener,
    second: TcpListener,
) -> Stockade {
    let script = "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$ exec \"$@\"";
    let mut starter = command("bash");
    starter
        .args(["-c", script, "systemd"])
        .arg(built::stockade())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .stdin(OwnedFd::from(first))
        .stdout(OwnedFd::from(second));
    Stockade::start(site, config, &mut starter)
}
