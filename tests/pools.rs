//! A configuration that is read again by a daemon that runs: pools that come, go and change, and those that do not notice.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::Path,
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::Fcgi,
    load::Load,
    nginx::{Hosting, Nginx},
    process::command,
    site::Site,
    stockade::{Pool, Stockade, gone},
};

#[test]
fn pools_come_go_and_change_and_the_others_do_not_notice() {
    let site = Site::new();
    let pools: Vec<Pool> = ["stays", "goes", "changes"]
        .map(|name| pool(&site, name, "old", "processes = 2"))
        .into();
    let stockade = Stockade::ready(site, &pools);
    let nginx = Nginx::start(&stockade.socket("stays"), &Hosting::default());
    let load = Load::start((0..4).map(|_| nginx.client()).collect(), "/?sleep=2");
    stockade.wait_ready("stays", 2);
    load.wait_answered(50);
    for round in 0..3 {
        let comes = format!("comes-{round}");
        stockade.configure(&[
            pools[0].clone(),
            pool(
                &stockade.site,
                "changes",
                &round.to_string(),
                "processes = 2",
            ),
            pool(&stockade.site, &comes, "new", "processes = 1"),
        ]);
        let (code, out, error) = stockade.ask(&["reload", "--changed", "--wait"]);
        assert_eq!((code, &*error), (Some(0), ""), "{out}");
        assert!(out.contains(&format!("pool {comes}: serves\n")), "{out}");
        assert!(
            out.contains(&format!("pool changes: generation {} serves", round + 2)),
            "{out}"
        );
        assert!(!out.contains("stays"), "{out}");
        let mut host = Fcgi::connect(&stockade.socket(&comes));
        assert_eq!(host.get("").fact("generation"), "new");
        let mut host = Fcgi::connect(&stockade.socket("changes"));
        assert_eq!(host.get("").fact("generation"), round.to_string());
        load.wait_answered(50);
    }
    for name in ["goes", "comes-0", "comes-1"] {
        stockade.log.wait(&[&format!("pool {name}: gone")]);
        assert!(!stockade.socket(name).exists(), "{name}");
    }
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
    let of_stays = |word: &str| stockade.log.matching(&["pool stays: worker ", word]).len();
    assert_eq!(
        (of_stays("started"), of_stays("retiring"), of_stays("gone")),
        (2, 0, 0)
    );
    let (_, status, _) = stockade.ask(&["status"]);
    assert!(
        status.contains("comes-2") && !status.contains("goes"),
        "{status}"
    );
}

#[test]
fn a_pool_that_goes_answers_what_it_has_accepted() {
    let site = Site::new();
    let pools = [
        pool(&site, "app", "one", "processes = 1"),
        pool(&site, "other", "two", "processes = 1"),
    ];
    let stockade = Stockade::ready(site, &pools);
    let gate = stockade.site.path().join("gate");
    let mut running = stockade.connect();
    running.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let mut waiting = stockade.connect();
    waiting.begin("POST", "", b"a=1");
    waiting.wait_read();
    stockade.configure(&pools[1..]);
    assert_eq!(stockade.ask(&["reload", "--changed"]).0, Some(0));
    wait_for("the address to be gone", || {
        UnixStream::connect(stockade.socket("app")).err()
    });
    assert!(!stockade.socket("app").exists());
    fs::write(gate, "").expect("the test's folder can be written to");
    assert_eq!(running.answer().expect("an answer").status(), 200);
    assert_eq!(waiting.answer().expect("an answer").status(), 200);
    stockade.log.wait(&["pool app: gone"]);
    assert_eq!(
        Fcgi::connect(&stockade.socket("other")).get("").status(),
        200
    );
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let pools = ["app", "goes"].map(|name| pool(&site, name, "old", "processes = 1"));
    let stockade = Stockade::ready(site, &pools);
    let worker = stockade.connect().get("").pid();
    let comes = format!("processes = 1\nlisten = [\"{address}\"]");
    stockade.configure(&[
        pool(
            &stockade.site,
            "app",
            "new",
            "processes = 1\nsocket-mode = \"0600\"",
        ),
        pool(&stockade.site, "before", "new", "processes = 1"),
        pool(&stockade.site, "comes", "new", &comes),
    ]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(75), "{error}");
    assert!(
        error.contains("nothing changes: pool comes: could not listen on 127.0.0.1:"),
        "{error}"
    );
    assert!(!stockade.socket("before").exists());
    assert_eq!(mode(&stockade.socket("app")), 0o660);
    assert_eq!(stockade.connect().get("").pid(), worker);
    assert_eq!(
        Fcgi::connect(&stockade.socket("goes")).get("").status(),
        200
    );

    // it is free: the same file is taken over
    drop(taken);
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert_eq!(mode(&stockade.socket("app")), 0o600);
    assert_eq!(call(&address.to_string()), Some("new".to_owned()));
}

#[test]
fn what_needs_no_new_workers_holds_at_once() {
    let site = Site::new();
    // who asks before the relay has heard waits
    let keys = "processes = 1\nqueue-timeout = \"100ms\"";
    let pools = [pool(&site, "app", "old", keys)];
    let stockade = Stockade::ready(site, &pools);
    let gate = stockade.site.path().join("gate");
    let worker = stockade.connect().get("").pid();
    let mut running = stockade.connect();
    running.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let keys = "processes = 1\nqueue-limit = 0\nsocket-mode = \"0600\"";
    stockade.configure(&[pool(&stockade.site, "app", "old", keys)]);
    let (code, out, _) = stockade.ask(&["reload", "--changed", "--wait"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "pool app: the new configuration holds\n")
    );
    assert_eq!(mode(&stockade.socket("app")), 0o600);
    wait_for("the queue to be closed", || {
        let answer = stockade.connect().get("");
        (answer.header("Stockade-Cause")? == "queue-limit").then_some(())
    });
    fs::write(gate, "").expect("the test's folder can be written to");
    assert_eq!(running.answer().expect("an answer").status(), 200);
    assert_eq!(stockade.connect().get("").pid(), worker);

    let keys = "processes = 3";
    stockade.configure(&[pool(&stockade.site, "app", "old", keys)]);
    assert_eq!(stockade.ask(&["reload", "--changed"]).0, Some(0));
    stockade.wait_ready("app", 3);
    assert!(!gone(worker));

    let (code, out, _) = stockade.ask(&["reload", "--changed", "--wait"]);
    assert_eq!((code, &*out), (Some(0), "nothing has changed\n"));
}

#[test]
fn addresses_come_and_go_while_the_workers_stay() {
    let site = Site::new();
    let [first, second] = ["first", "second"].map(|name| site.path().join(name));
    let listen = |paths: &[&Path]| {
        let addresses: Vec<String> = (paths.iter())
            .map(|path| format!("unix:{}", path.display()))
            .collect();
        format!("processes = 1\nlisten = {addresses:?}")
    };
    let stockade = Stockade::run(
        Site::new(),
        &crate::support::stockade::configuration(
            &site,
            &[pool(&site, "app", "old", &listen(&[&first]))],
        ),
    );
    stockade.wait_ready("app", 1);
    let configure = |paths: &[&Path]| {
        let pools = [pool(&site, "app", "old", &listen(paths))];
        let text = crate::support::stockade::configuration(&site, &pools);
        stockade.site.write("stockade.toml", &text);
        let (code, out, error) = stockade.ask(&["reload", "--changed", "--wait"]);
        assert_eq!((code, &*error), (Some(0), ""), "{out}");
    };
    let worker = Fcgi::connect(&first).get("").pid();
    configure(&[&first, &second]);
    assert_eq!(Fcgi::connect(&first).get("").pid(), worker);
    let mut kept = Fcgi::connect(&first);
    assert_eq!(kept.get("").pid(), worker);
    configure(&[&second]);
    assert!(!first.exists());
    // who connected there is let go
    assert_eq!(kept.read_to_close().expect("an orderly end"), b"");
    assert_eq!(Fcgi::connect(&second).get("").pid(), worker);

    // somebody has removed the name: it is made again
    fs::remove_file(&second).expect("it is there");
    configure(&[&second]);
    assert_eq!(Fcgi::connect(&second).get("").pid(), worker);
}

#[test]
fn a_port_goes_from_one_pool_to_another() {
    let site = Site::new();
    let port = free_port();
    let ours = |name: &str, more: &str| {
        let own = format!("unix:{}", site.path().join(name).display());
        format!("processes = 1\nlisten = [{own:?}{more}]")
    };
    let with = format!(", {port:?}");
    let pools = |first: &str, second: &str| {
        [
            pool(&site, "first", "1", &ours("first", first)),
            pool(&site, "second", "2", &ours("second", second)),
        ]
    };
    let config = |pools: &[Pool]| crate::support::stockade::configuration(&site, pools);
    let stockade = Stockade::run(Site::new(), &config(&pools(&with, "")));
    for name in ["first", "second"] {
        stockade.wait_ready(name, 1);
    }
    assert_eq!(call(&port), Some("1".to_owned()));
    let text = config(&pools("", &with));
    stockade.site.write("stockade.toml", &text);
    let (code, _, error) = stockade.ask(&["reload", "second", "--changed"]);
    assert_eq!(code, Some(75), "{error}");
    assert!(error.contains("where pool first listens"), "{error}");
    assert_eq!(call(&port), Some("1".to_owned()));
    let (code, out, error) = stockade.ask(&["reload", "--changed", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert_eq!(call(&port), Some("2".to_owned()));
    assert_eq!(stockade.log.matching(&["ready after"]).len(), 2);
}

#[test]
fn a_pool_may_run_something_of_another_kind() {
    let site = Site::new();
    let theirs = pool(&site, "theirs", "theirs", "processes = 1");
    let pools = [pool(&site, "app", "ours", "processes = 1"), theirs];
    let stockade = Stockade::ready(site, &pools);
    let address = format!("unix:{}", stockade.socket("theirs").display());
    let relaying = Pool::new(&format!("upstream = [{address:?}]\nsocket-mode = \"0666\""));
    let worker = stockade.connect().get("").pid();
    // the relay is to be able to write to it
    let theirs = pool(
        &stockade.site,
        "theirs",
        "theirs",
        "processes = 1\nsocket-mode = \"0666\"",
    );
    stockade.configure(&[relaying, theirs]);
    let (code, out, error) = stockade.ask(&["reload", "--changed", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    wait_for("the upstream to answer", || {
        let mut host = stockade.connect();
        host.begin("GET", "", &[]);
        let answer = host.answer().ok()?;
        (answer.status() == 200 && answer.fact("generation") == "theirs").then_some(())
    });
    stockade.log.wait(&["pool app: gone"]);
    wait_for("the worker to be gone", || gone(worker).then_some(()));

    stockade.configure(&pools);
    let (code, out, error) = stockade.ask(&["reload", "--changed", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    wait_for("the pool's own worker", || {
        let mut host = stockade.connect();
        host.begin("GET", "", &[]);
        let answer = host.answer().ok()?;
        (answer.fact("generation") == "ours").then_some(())
    });
}

#[test]
fn one_pool_is_added_and_removed_by_its_name() {
    let site = Site::new();
    let pools = ["app", "tenant"].map(|name| pool(&site, name, "old", "processes = 1"));
    let mut stockade = Stockade::ready(site, &pools[..1]);
    let worker = stockade.connect().get("").pid();
    let before = fs::read_to_string(stockade.site.path().join("stockade.toml"))
        .expect("the test has written it");
    stockade.configure(&pools);
    let (code, out, _) = stockade.ask(&["reload", "tenant", "--wait"]);
    assert_eq!((code, &*out), (Some(0), "pool tenant: serves\n"));
    assert_eq!(
        Fcgi::connect(&stockade.socket("tenant")).get("").status(),
        200
    );
    stockade.site.write("stockade.toml", &before);
    let (code, out, _) = stockade.ask(&["reload", "tenant"]);
    assert_eq!((code, &*out), (Some(0), "pool tenant: removed\n"));
    stockade.log.wait(&["pool tenant: gone"]);
    let (code, _, error) = stockade.ask(&["reload", "tenant"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("the pools are app"), "{error}");
    // it may come back
    stockade.configure(&pools);
    assert_eq!(stockade.ask(&["reload", "tenant", "--wait"]).0, Some(0));
    assert_eq!(stockade.connect().get("").pid(), worker);
    // and the relay that comes next knows all of it
    stockade.replace_relay();
    assert_eq!(
        Fcgi::connect(&stockade.socket("tenant")).get("").status(),
        200
    );
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

/// Scripted workers that say they are of `generation`.
fn pool(site: &Site, name: &str, generation: &str, keys: &str) -> Pool {
    Pool::scripted(site, &[&format!("generation={generation}")], keys).named(name)
}

fn free_port() -> String {
    let bound = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    bound.local_addr().expect("it is bound").to_string()
}

/// Which generation answers at an address of TCP.
fn call(address: &str) -> Option<String> {
    let output = command(built::stockade())
        .args(["call", address])
        .output()
        .expect("the built binary can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("generation "));
    line.map(str::to_owned)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the socket is there").mode() & 0o777
}
