//! A relay dies: when it is started, while it takes over, while it hands over, while it serves. No worker goes with it, and no slot.

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    fcgi,
    hosts::{Gate, pool, sorted, wait_all_idle},
    load::Load,
    nginx::Nginx,
    process::{self, command},
    stockade::{Stockade, gone, pid_in},
};

#[test]
fn a_relay_that_cannot_be_started_leaves_the_old_one_serving() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    assert_eq!(host.get("").status(), 200);
    let old = stockade.relay();
    // as many descriptors as it has, and no more
    let limit = |soft: &str| {
        let status = command("prlimit")
            .arg(format!("--pid={}", stockade.pid()))
            .arg(format!("--nofile={soft}:"))
            .status()
            .unwrap();
        assert!(status.success());
    };
    limit("3");
    assert!(process::signal(old, Signal::SIGHUP));
    stockade.log.wait(&["relay not replaced"]);
    assert_eq!(host.get("").status(), 200);
    assert_eq!(stockade.connect().get("").status(), 200);
    assert_eq!(stockade.relays(), [old]);
    limit("1024");
    stockade.replace_relay();
    assert_eq!(host.get("").status(), 200);
}

#[test]
fn a_relay_that_dies_as_it_takes_over_is_survived() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let workers = sorted(stockade.workers());
    for _ in 0..10 {
        let old = stockade.relay();
        assert!(process::signal(old, Signal::SIGHUP));
        let new = wait_for("the next relay", || {
            stockade.relays().into_iter().find(|pid| *pid != old)
        });
        process::signal(new, Signal::SIGKILL);
        wait_for("its end", || gone(new).then_some(()));
        wait_for("one relay", || (stockade.relays().len() == 1).then_some(()));
        wait_for("an answer", || {
            let mut host = stockade.connect();
            host.begin("GET", "", &[]);
            host.answer().ok().filter(|answer| answer.ended == Some(0))
        });
    }
    assert_eq!(sorted(stockade.workers()), workers);
    wait_all_idle(&stockade, 2);
}

#[test]
fn a_relay_that_dies_while_the_next_one_is_started_is_survived() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let workers = sorted(stockade.workers());
    for _ in 0..10 {
        let old = stockade.relay();
        assert!(process::signal(old, Signal::SIGHUP));
        wait_for("the next relay", || {
            stockade.relays().into_iter().find(|pid| *pid != old)
        });
        process::signal(old, Signal::SIGKILL);
        wait_for("its end", || gone(old).then_some(()));
        wait_for("one relay", || (stockade.relays().len() == 1).then_some(()));
        assert_eq!(stockade.connect().get("").status(), 200);
    }
    assert_eq!(sorted(stockade.workers()), workers);
    wait_all_idle(&stockade, 2);
}

#[test]
fn what_an_old_relay_wants_of_one_that_dies_it_has_of_the_next() {
    let stockade = Stockade::scripted("processes = 1");
    let gate = Gate::new(&stockade);
    let worker = stockade.workers()[0];
    let mut late = stockade.connect();
    let head = fcgi::head(1, "POST", "echo", Some(10));
    late.write(&head).unwrap();
    late.wait_read();
    let first = stockade.replace_relay();
    // the second answers this when the first accepts no more
    pool(&stockade);
    // the only slot is the second relay's, and busy there, when the first wants it
    let mut broken = stockade.connect();
    broken.begin("POST", &gate.word("begun"), b"a=1");
    stockade.log.wait(&["begun"]);
    let whole = fcgi::request(1, "POST", "echo", b"0123456789");
    late.write(&whole[head.len()..]).unwrap();
    late.wait_read();
    let second = stockade.relay();
    assert!(process::signal(second, Signal::SIGKILL));
    assert_eq!(broken.answer().unwrap().ended, None);
    wait_for("the third relay", || {
        let relays = stockade.relays();
        (relays.len() == 2 && !relays.contains(&second)).then_some(())
    });
    assert!(process::alive(first));
    gate.open();
    assert_eq!(late.answer().unwrap().body(), "0123456789");
    wait_for("the end of the first relay", || gone(first).then_some(()));
    let answer = late.get("");
    assert_eq!((answer.status(), answer.pid()), (200, worker));
    wait_all_idle(&stockade, 1);
}

#[test]
fn slots_of_an_old_relay_that_is_killed_are_used_again_when_their_workers_answer() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    let mut host = stockade.connect();
    host.begin("POST", &gate.word("begun"), b"a=1");
    let worker = pid_in(&stockade.log.wait(&["begun"]));
    let old = stockade.replace_relay();
    assert!(process::signal(old, Signal::SIGKILL));
    assert_eq!(host.answer().unwrap().ended, None);
    wait_for("the end of the relay that was replaced", || {
        gone(old).then_some(())
    });
    for _ in 0..6 {
        assert_ne!(stockade.connect().get("").pid(), worker);
    }
    gate.open();
    wait_all_idle(&stockade, 2);
    assert!(stockade.workers().contains(&worker));
}

#[test]
fn a_killed_relay_costs_no_worker_and_no_slot() {
    let stockade = Stockade::scripted("processes = 3");
    stockade.wait_ready("app", 3);
    let workers = sorted(stockade.workers());
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let load = Load::start((0..6).map(|_| nginx.client()).collect(), "/?sleep=1");
    for _ in 0..4 {
        load.wait_answered(50);
        let relay = stockade.relay();
        assert!(process::signal(relay, Signal::SIGKILL));
        stockade.log.wait(&[&format!("relay (pid {relay}) gone")]);
    }
    load.wait_answered(50);
    load.stop();
    // the first is replaced at once, those that follow it soon not
    let first = stockade
        .log
        .matching(&["relay (pid", "gone", "next start in 0 ms"]);
    assert_eq!(first.len(), 1, "{first:?}");
    let mut client = nginx.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(sorted(stockade.workers()), workers);
    wait_all_idle(&stockade, 3);
}
