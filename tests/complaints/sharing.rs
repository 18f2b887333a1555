//! Who waits, who is next, and what is known of it.

use std::{sync::mpsc, thread};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::{DEADLINE, wait_for},
    fcgi::Fcgi,
    hosts::{Gate, pool},
    process,
    site::Site,
    stockade::{Pool, Stockade},
};

/// More than the backlog of 100 or 128 that other daemons have.
const MANY: usize = 600;

#[test]
fn what_waits_is_counted_and_answered_however_many_it_is() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let gate = Gate::new(&stockade);
    let mut hosts: Vec<Fcgi> = (0..MANY).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin("GET", &gate.word("begun"), &[]);
    }
    wait_for("all but two to wait", || {
        let queue = &pool(&stockade)["queue"];
        (queue["length"] == MANY - 2 && queue["oldest_seconds"].as_f64() > Some(0.0)).then_some(())
    });
    gate.open();
    for host in &mut hosts {
        assert_eq!(host.answer().unwrap().status(), 200);
    }
}

#[test]
fn the_backlog_has_room_while_the_relay_has_no_time() {
    let stockade = Stockade::scripted("processes = 2");
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGSTOP));
    let (told, connected) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            // each waits until the backlog has room for it
            let hosts: Vec<Fcgi> = (0..MANY).map(|_| stockade.connect()).collect();
            told.send(hosts).unwrap();
        });
        let hosts = connected.recv_timeout(DEADLINE);
        assert!(process::signal(relay, Signal::SIGCONT));
        for mut host in hosts.expect("the backlog takes them all") {
            assert_eq!(host.get("").status(), 200);
        }
    });
}

#[test]
fn a_full_queue_is_said_in_the_log_and_counted() {
    let stockade = Stockade::scripted("processes = 1\nqueue-limit = 3");
    let gate = Gate::new(&stockade);
    let mut running = stockade.connect();
    running.begin("GET", &gate.word("begun"), &[]);
    stockade.log.wait(&["begun"]);
    let mut hosts: Vec<Fcgi> = (0..50).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin("GET", "", &[]);
    }
    wait_for("the others to be refused", || {
        (pool(&stockade)["refused"]["queue-limit"] == 47).then_some(())
    });
    let line = stockade.log.wait(&["WARN", "pool app", "queue-limit"]);
    assert!(line.contains("503"), "{line}");
    gate.open();
    let statuses: Vec<u16> = hosts
        .iter_mut()
        .map(|host| host.answer().unwrap().status())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3);
}

#[test]
fn the_worker_with_the_fewest_requests_is_next() {
    let site = Site::new();
    let keys = "processes = 3\nthreads = 8\nmultiplex = true";
    let pool = Pool::scripted(&site, &["multiplex"], keys);
    let stockade = Stockade::ready(site, &[pool]);
    stockade.wait_ready("app", 3);
    let gate = Gate::new(&stockade);
    let mut hosts: Vec<Fcgi> = (0..12).map(|_| stockade.connect()).collect();
    for host in &mut hosts {
        host.begin("GET", &gate.word("begun"), &[]);
        host.wait_read();
    }
    gate.open();
    let mut pids: Vec<i32> = hosts
        .iter_mut()
        .map(|host| host.answer().unwrap().pid())
        .collect();
    pids.sort_unstable();
    let counts: Vec<usize> = pids.chunk_by(i32::eq).map(<[i32]>::len).collect();
    assert_eq!(counts, [4, 4, 4]);
}
