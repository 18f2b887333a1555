//! HUP: a new generation takes over without a failed request, or the old one goes on.

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    hosts::Gate,
    load::Load,
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade, gone},
};

#[test]
fn three_reloads_under_load_fail_no_request() {
    for keep in [true, false] {
        reloads_under_load(keep);
    }
}

#[test]
fn a_reload_brings_the_new_configuration() {
    let stockade = Stockade::scripted("processes = 1\nenvironment = { COLOUR = \"blue\" }");
    let mut host = stockade.connect();
    assert!(host.get("environment").body().contains("COLOUR=blue"));
    let pool = Pool::scripted(
        &stockade.site,
        &[],
        "processes = 2\nenvironment = { COLOUR = \"red\" }",
    );
    stockade.configure(&[pool]);
    stockade.signal(Signal::SIGHUP);
    wait_for("two workers of the new generation", || {
        let environment = host.get("environment").body();
        (environment.contains("COLOUR=red") && stockade.workers().len() == 2).then_some(())
    });
    assert!(
        host.get("environment")
            .body()
            .contains("STOCKADE_GENERATION=2")
    );
}

#[test]
fn a_generation_that_does_not_come_up_leaves_the_old_one_serving() {
    let stockade = Stockade::scripted("processes = 2\nbackoff-initial = \"50ms\"");
    stockade.wait_ready("app", 2);
    let mut host = stockade.connect();
    let broken = Pool::scripted(
        &stockade.site,
        &["exit=9"],
        "processes = 2\nbackoff-initial = \"50ms\"",
    );
    stockade.configure(&[broken]);
    stockade.signal(Signal::SIGHUP);
    let line = stockade
        .log
        .wait(&["pool app", "generation 2", "exit-code"]);
    assert!(line.contains('9'), "the line does not say why: {line}");
    for _ in 0..20 {
        assert_eq!(host.get("").status(), 200);
    }
    assert_eq!(stockade.workers().len(), 2);

    // and the way back is a further reload
    let pool = Pool::scripted(&stockade.site, &["generation=mended"], "processes = 2");
    stockade.configure(&[pool]);
    stockade.signal(Signal::SIGHUP);
    wait_for("the mended generation", || {
        (host.get("").fact("generation") == "mended").then_some(())
    });
}

#[test]
fn a_reload_ends_though_the_old_workers_do_not() {
    let stockade = Stockade::scripted("processes = 2\ngraceful-timeout = \"off\"");
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    // whichever is the first to go has a request that lasts
    let mut hosts = [stockade.connect(), stockade.connect()];
    for host in &mut hosts {
        host.begin("GET", &gate.word("begun"), &[]);
    }
    stockade.log.wait_times(2, &["begun"]);
    let old = stockade.workers();
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "pool app: generation 2 serves\n"),
        "{error}"
    );
    assert!(!old.contains(&stockade.connect().get("").pid()));
    gate.open();
    for mut host in hosts {
        assert!(old.contains(&host.answer().expect("an answer").pid()));
    }
    wait_for("the end of the old ones", || {
        old.iter().all(|pid| gone(*pid)).then_some(())
    });
}

#[test]
fn a_configuration_that_cannot_be_read_changes_nothing() {
    let mut stockade = Stockade::scripted("processes = 1");
    let worker = stockade.connect().get("").pid();
    stockade
        .site
        .write("stockade.toml", "[pool.app]\nprocessess = 1\n");
    stockade.signal(Signal::SIGHUP);
    stockade.log.wait(&[
        "WARN",
        "reload refused, nothing changes: ",
        "stockade.toml:2:1: pool app: unknown key `processess`",
    ]);
    // an event has one line
    let log = stockade.log.text();
    assert!(!log.contains(" | processess"), "{log}");
    assert_eq!(stockade.connect().get("").pid(), worker);
    assert!(stockade.exited().is_none());
}

fn reloads_under_load(keep: bool) {
    let site = Site::new();
    let pool = |generation: usize| {
        Pool::scripted(
            &site,
            &[&format!("generation={generation}")],
            "processes = 3",
        )
    };
    let pools: Vec<Pool> = (0..4).map(pool).collect();
    let stockade = Stockade::ready(site, &pools[..1]);
    let hosting = Hosting {
        keep,
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    let clients = (0..8).map(|_| nginx.client()).collect();
    let load = Load::start(clients, "/?sleep=2");
    for (generation, pool) in pools.iter().enumerate().skip(1) {
        load.wait_answered(100);
        stockade.configure(std::slice::from_ref(pool));
        stockade.signal(Signal::SIGHUP);
        let mut client = nginx.client();
        wait_for("the new generation alone", || {
            let workers = stockade.workers().len();
            let fresh = (0..8).all(|_| {
                client
                    .get("/")
                    .text()
                    .contains(&format!("generation {generation}\n"))
            });
            (fresh && workers == 3).then_some(())
        });
    }
    load.wait_answered(100);
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}
