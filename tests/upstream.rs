//! `upstream`: processes that somebody else runs, behind the relay's queue.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    process::{Child, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    built,
    deadline::{now, wait_for},
    load::Load,
    nginx::{Hosting, Nginx},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn requests_go_to_whoever_listens_there() {
    let site = Site::new();
    let _theirs = Theirs::start(&site, "one");
    let stockade = relaying(site, &["one"], "");
    stockade.log.wait(&["pool app: serving"]);
    let mut host = stockade.connect();
    for _ in 0..3 {
        let answer = host.get("");
        assert_eq!(
            (answer.status(), answer.fact("generation")),
            (200, "one".to_owned())
        );
    }
    let pool = status(&stockade);
    assert_eq!(pool["state"], "serving");
    assert_eq!(pool["workers"][0]["requests"], 3);
    assert!(
        pool["workers"][0]["address"]
            .as_str()
            .is_some_and(|address| address.ends_with("/one.sock")),
        "{pool}"
    );
    assert!(stockade.workers().is_empty());
}

#[test]
fn while_one_of_two_is_away_only_what_it_was_running_can_fail() {
    let site = Site::new();
    let (mut first, _second) = (Theirs::start(&site, "one"), Theirs::start(&site, "two"));
    let stockade = relaying(
        site,
        &["one", "two"],
        "threads = 1\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"100ms\"",
    );
    stockade
        .log
        .wait_times(2, &["pool app: upstream", "answers"]);
    let nginx = Nginx::start(&stockade.socket("app"), &Hosting::default());
    let clients = (0..4).map(|_| nginx.client()).collect();
    let load = Load::start(clients, "/?sleep=2");
    for times in 2..5 {
        load.wait_answered(50);
        first.stop();
        load.wait_answered(50);
        first = Theirs::start(&stockade.site, "one");
        stockade
            .log
            .wait_times(times + 1, &["pool app: upstream", "answers"]);
    }
    load.wait_answered(50);
    let (answered, failures) = load.stop();
    // at each of its ends what it was reading just then, and what its socket still took while it was dying
    let died = |failure: &String| {
        let cut = failure.starts_with("200") || failure.contains("end of file");
        cut || failure.contains("worker-died")
    };
    assert!(
        failures.len() <= 3 * 3 && failures.iter().all(died),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}

#[test]
fn the_relay_is_replaced_without_a_failed_request() {
    let site = Site::new();
    let (_first, _second) = (Theirs::start(&site, "one"), Theirs::start(&site, "two"));
    let stockade = relaying(site, &["one", "two"], "threads = 1");
    stockade
        .log
        .wait_times(2, &["pool app: upstream", "answers"]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let load = Load::start((0..4).map(|_| nginx.client()).collect(), "/?sleep=2");
    for _ in 0..5 {
        load.wait_answered(30);
        stockade.replace_relay();
    }
    load.wait_answered(30);
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
    wait_for("one relay", || (stockade.relays().len() == 1).then_some(()));
}

#[test]
fn with_none_the_pool_fails_at_once_and_comes_back_by_itself() {
    let site = Site::new();
    let stockade = relaying(
        site,
        &["one"],
        "backoff-initial = \"50ms\"\nbackoff-maximum = \"100ms\"",
    );
    let line = stockade
        .log
        .wait(&["pool app: upstream", "does not answer"]);
    assert!(
        line.contains("one.sock") && line.contains("correct `upstream`"),
        "{line}"
    );
    stockade.log.wait(&["pool app: failing"]);
    let refused = stockade.connect().get("");
    assert_eq!(
        (refused.status(), refused.header("Stockade-Cause")),
        (503, Some("pool-failing".to_owned()))
    );
    let _theirs = Theirs::start(&stockade.site, "one");
    wait_for("an answer", || {
        (stockade.connect().get("").status() == 200).then_some(())
    });
    // said once, however often it was asked
    assert_eq!(stockade.log.text().matches("does not answer").count(), 1);
}

#[test]
fn a_request_that_takes_too_long_costs_the_others_nothing() {
    let site = Site::new();
    let theirs = [Theirs::start(&site, "one"), Theirs::start(&site, "two")];
    let stockade = relaying(
        site,
        &["one", "two"],
        "threads = 1\nrequest-timeout = \"300ms\"",
    );
    stockade
        .log
        .wait_times(2, &["pool app: upstream", "answers"]);
    let start = now();
    assert_eq!(stockade.connect().get("sleep=1500").status(), 504);
    assert!(start.elapsed().as_millis() >= 300);
    for _ in 0..4 {
        let mut host = stockade.connect();
        wait_for("an answer", || (host.get("").status() == 200).then_some(()));
    }
    assert_eq!(status(&stockade)["state"], "serving");
    drop(theirs);
}

#[test]
fn many_requests_share_a_connection_to_an_address() {
    let site = Site::new();
    let _theirs = Theirs::start_with(&site, "one", &["multiplex"]);
    let stockade = relaying(site, &["one"], "multiplex = true\nthreads = 8");
    stockade.log.wait(&["pool app: serving"]);
    let gate = stockade.site.path().join("gate");
    let mut hosts: Vec<_> = (0..8).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin("POST", &format!("wait={}", gate.display()), b"a=1");
        host.wait_read();
    }
    std::fs::write(&gate, "").expect("the site can be written to");
    let connections: Vec<String> = hosts
        .iter_mut()
        .map(|host| host.answer().expect("an answer").fact("connections"))
        .collect();
    assert!(
        connections.iter().all(|number| *number == connections[0]),
        "{connections:?}"
    );
}

#[test]
fn the_address_with_the_fewest_requests_is_next() {
    let site = Site::new();
    let _theirs =
        ["one", "two", "three"].map(|name| Theirs::start_with(&site, name, &["multiplex"]));
    let stockade = relaying(site, &["one", "two", "three"], "");
    stockade
        .log
        .wait_times(3, &["pool app: upstream", "answers"]);
    let gate = stockade.site.path().join("gate");
    let mut hosts: Vec<_> = (0..9).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin("GET", &format!("wait={}", gate.display()), &[]);
        host.wait_read();
    }
    std::fs::write(&gate, "").expect("the site can be written to");
    let mut names: Vec<String> = hosts
        .iter_mut()
        .map(|host| host.answer().expect("an answer").fact("generation"))
        .collect();
    names.sort_unstable();
    let expected = ["one", "three", "two"].map(|name| [name; 3]).concat();
    assert_eq!(names, expected);
}

#[test]
fn a_reload_takes_up_other_addresses() {
    let site = Site::new();
    let _theirs = [Theirs::start(&site, "one"), Theirs::start(&site, "two")];
    let stockade = relaying(site, &["one"], "");
    assert_eq!(stockade.connect().get("").fact("generation"), "one");
    stockade.configure(&[pool(&stockade.site, &["two"], "")]);
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert_eq!(out, "pool app: the new configuration holds\n");
    wait_for("the other address", || {
        (stockade.connect().get("").fact("generation") == "two").then_some(())
    });
    for _ in 0..5 {
        assert_eq!(stockade.connect().get("").fact("generation"), "two");
    }
}

#[test]
fn a_socket_that_the_relay_may_not_write_to_is_named() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let _theirs = Theirs::start(&site, "one");
    let path = site.path().join("one.sock");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("it is ours");
    let stockade = relaying(site, &["one"], "");
    let line = stockade
        .log
        .wait(&["pool app: upstream", "does not answer"]);
    assert!(line.contains("the account of the relay"), "{line}");
}

#[test]
fn php_over_tcp() {
    let site = Site::new();
    let script = site.write("index.php", "<?php echo 'sum=', 2 + 3;");
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("it is bound");
    let mut starting = command(tools::php_cgi());
    let _theirs = Theirs(
        starting
            .args(["-b", &port.to_string()])
            .env("PHP_FCGI_CHILDREN", "2")
            .stdin(Stdio::null())
            .spawn()
            .expect("php-cgi can be started"),
    );
    let keys =
        format!("upstream = [\"{port}\"]\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"100ms\"");
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade.log.wait(&["pool app: serving"]);
    for _ in 0..5 {
        let output = stockade_call(&stockade, &script);
        assert!(output.contains("sum=5"), "{output}");
    }
}

fn stockade_call(stockade: &Stockade, script: &Path) -> String {
    let output = command(built::stockade())
        .arg("call")
        .arg(stockade.socket("app"))
        .arg(script)
        .args(["-p", "REDIRECT_STATUS=200"])
        .output()
        .expect("the built binary can be started");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of somebody else's; ended with the value.
struct Theirs(Child);

impl Theirs {
    /// A scripted worker that listens on a socket of its own, as if started by somebody else.
    fn start(site: &Site, name: &str) -> Self {
        Self::start_with(site, name, &[])
    }

    /// The same with these arguments.
    fn start_with(site: &Site, name: &str, arguments: &[&str]) -> Self {
        let path = site.path().join(format!("{name}.sock"));
        if path.exists() {
            std::fs::remove_file(&path).expect("it is ours");
        }
        let listener = UnixListener::bind(&path).expect("the site can be written to");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .expect("it is ours");
        built::stockade();
        let child = command(built::scripted_worker())
            .arg(format!("generation={name}"))
            .args(arguments)
            .stdin(OwnedFd::from(listener))
            .spawn()
            .expect("the scripted worker can be started");
        Self(child)
    }

    /// Ends it between two requests.
    fn stop(&mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process's number fits");
        process::signal(pid, Signal::SIGTERM);
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.stop();
    }
}

fn relaying(site: Site, names: &[&str], keys: &str) -> Stockade {
    let pool = pool(&site, names, keys);
    Stockade::serve(site, &[pool])
}

fn pool(site: &Site, names: &[&str], keys: &str) -> Pool {
    let addresses: Vec<String> = names
        .iter()
        .map(|name| format!("unix:{}/{name}.sock", site.path().display()))
        .collect();
    Pool::new(&format!("upstream = {addresses:?}\n{keys}"))
}

fn status(stockade: &Stockade) -> Value {
    let (_, text, _) = stockade.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    status["pools"][0].clone()
}
