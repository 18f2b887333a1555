//! `stockade reload` and the admin socket: what an operator is told, and who may ask.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::{DEADLINE, wait_for},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade},
    tools::{self, POOL_USER},
};

#[test]
fn a_reload_that_is_waited_for_serves_when_the_command_ends() {
    let stockade = Stockade::scripted("processes = 2");
    let pool = Pool::scripted(&stockade.site, &["generation=new"], "processes = 2");
    stockade.configure(&[pool]);
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert_eq!(out, "pool app: generation 2 serves\n");
    let mut host = stockade.connect();
    for _ in 0..10 {
        assert_eq!(host.get("").fact("generation"), "new");
    }
}

#[test]
fn a_reload_of_one_pool_leaves_the_others() {
    let site = Site::new();
    let pools =
        ["first", "second"].map(|name| Pool::scripted(&site, &[], "processes = 1").named(name));
    let stockade = Stockade::ready(site, &pools);
    let pid = |name: &str| {
        crate::support::fcgi::Fcgi::connect(&stockade.socket(name))
            .get("")
            .pid()
    };
    let (first, second) = (pid("first"), pid("second"));
    let (code, out, _) = stockade.ask(&["reload", "second", "--wait"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "pool second: generation 2 serves\n")
    );
    assert_eq!(pid("first"), first);
    assert_ne!(pid("second"), second);
    let (code, _, error) = stockade.ask(&["reload", "third"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("first, second"), "{error}");
}

#[test]
fn a_generation_that_does_not_come_up_is_said_with_exit_code_1() {
    let stockade = Stockade::scripted("processes = 1");
    let broken = Pool::scripted(&stockade.site, &["exit=9"], "processes = 1");
    stockade.configure(&[broken]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("generation 2 did not come up (exit-code 9); the old one goes on"),
        "{error}"
    );
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_pool_that_is_down_and_stays_down_is_said_too() {
    let site = Site::new();
    let keys = "processes = 1\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"100ms\"";
    let broken = Pool::scripted(&site, &["exit=9"], keys);
    let stockade = Stockade::serve(site, &[broken]);
    stockade.log.wait(&["pool app: failing"]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(
        (code, &*error),
        (Some(1), "pool app: failing: see `stockade status app`\n")
    );
    let mended = Pool::scripted(&stockade.site, &[], "processes = 1");
    stockade.configure(&[mended]);
    let (code, out, _) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn a_wrong_configuration_is_shown_to_who_asked() {
    let stockade = Stockade::scripted("processes = 1");
    stockade.site.write(
        "stockade.toml",
        &format!(
            "{}[pool.app]\nprocessess = 1\n",
            crate::support::stockade::daemon_table(&stockade.site)
        ),
    );
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(78));
    assert!(
        error.contains("nothing changes") && error.contains("did you mean `processes`?"),
        "{error}"
    );
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn who_waits_for_a_reload_of_a_pool_that_is_stopped_is_told() {
    let keys = "processes = 1\nstartup-timeout = \"off\"";
    let stockade = Stockade::scripted(keys);
    stockade.configure(&[Pool::scripted(&stockade.site, &["mute"], keys)]);
    let waiting = stockade
        .asking(&["reload", "--wait"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be started");
    stockade.log.wait(&["generation 2"]);
    assert_eq!(stockade.ask(&["stop", "app"]).0, Some(0));
    let answer = waiting.wait_with_output().expect("our child");
    assert_eq!(answer.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&answer.stderr),
        "pool app: the pool was stopped before generation 2 was ready\n"
    );
}

#[test]
fn the_stop_answers_those_who_wait() {
    let mut stockade = Stockade::scripted("processes = 1\nstartup-timeout = \"off\"");
    let stuck = Pool::scripted(
        &stockade.site,
        &["mute"],
        "processes = 1\nstartup-timeout = \"off\"",
    );
    stockade.configure(&[stuck]);
    let mut waiting = stockade
        .asking(&["reload", "--wait"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be started");
    stockade.log.wait(&["generation 2"]);
    stockade.signal(Signal::SIGTERM);
    let status = wait_for("the end of the command", || {
        waiting.try_wait().expect("our child")
    });
    assert_eq!(status.code(), Some(1));
    let mut error = String::new();
    waiting
        .stderr
        .take()
        .expect("it was asked for")
        .read_to_string(&mut error)
        .expect("text");
    assert_eq!(error, "pool app: the daemon is stopping\n");
    assert!(stockade.wait_exit().success());
    assert!(!stockade.site.path().join("run/admin.sock").exists());
}

#[test]
fn without_a_daemon_the_exit_code_is_69() {
    let site = Site::new();
    let socket = site.path().join("admin.sock");
    for words in [["status"], ["reload"]] {
        let output = command(built::stockade())
            .args(words)
            .arg("--socket")
            .arg(&socket)
            .output()
            .expect("the built binary can be started");
        assert_eq!(output.status.code(), Some(69));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(&*socket.to_string_lossy()), "{error}");
    }
}

#[test]
fn strangers_are_kept_out() {
    let stockade = Stockade::scripted("processes = 1");
    let socket = stockade.site.path().join("run/admin.sock");
    let found = std::fs::metadata(&socket).expect("the socket is there");
    assert_eq!(found.mode() & 0o777, 0o600);
    if !tools::root() {
        return;
    }
    let user = tools::account(POOL_USER);
    let binary = stockade.site.reachable(built::stockade());
    let mut asking = command(&binary);
    std::os::unix::process::CommandExt::uid(&mut asking, user.uid.as_raw());
    let output = asking
        .args(["status", "--socket"])
        .arg(&socket)
        .output()
        .expect("the built binary can be started");
    assert_eq!(output.status.code(), Some(77));
}

#[test]
fn garbage_and_silence_on_the_socket_hurt_nobody() {
    let stockade = Stockade::scripted("processes = 1");
    let socket = stockade.site.path().join("run/admin.sock");
    let connect = || {
        let stream = UnixStream::connect(&socket).expect("the daemon listens");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket takes a timeout");
        stream
    };
    for garbage in [
        &b"\x00\xff\n"[..],
        b"{\"ask\":\"dance\"}\n",
        &[b'a'; 10_000],
    ] {
        let mut stream = connect();
        // it may be closed before all of it is written
        drop(stream.write_all(garbage));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
    }
    // more than are served at a time, all silent
    let silent: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    assert_eq!(stockade.connect().get("").status(), 200);
    let mut last = silent.last().expect("there are some");
    last.set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket takes a timeout");
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("no request came"), "{answer}");
    assert!(process::alive(stockade.pid()));
    drop(silent);
    assert_eq!(stockade.ask(&["status"]).0, Some(0));
}
