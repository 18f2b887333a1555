//! Processes that are nobody's: as PID 1 the daemon gets them all. And those that would be left.

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::{wait_for, wait_within},
    fcgi::Fcgi,
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};
use std::{process::Stdio, time::Duration};

#[test]
fn a_stranger_that_ends_as_pid_1_looks_on_is_reaped_and_nothing_else_happens() {
    let site = Site::new();
    let worker = site.reachable(&built::scripted_worker());
    // orphans, whose ends 3 and 4 would be those of a worker that cannot load its application
    let leaves = format!(
        "#!/bin/sh\nfor status in 3 4; do setsid -f sh -c \"sleep 0.2; echo a stranger ends; exit $status\"; done\nexec {}\n",
        worker.display()
    );
    let program = site.program("leaves", &leaves);
    let pool = Pool::new(&format!("command = [{program:?}]\nprocesses = 2"));
    let config = configuration(&site, &[pool]);
    let mut unshare = command("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !tools::root() {
        unshare.args(["--user", "--map-current-user"]);
    }
    unshare
        .arg("--")
        .arg(built::stockade())
        .stdin(Stdio::null());
    let mut stockade = Stockade::start(site, &config, &mut unshare);
    stockade.wait_ready("app", 2);
    stockade.log.wait_times(4, &["a stranger ends"]);
    let supervisor = process::children(stockade.pid())[0];
    wait_for("the strangers to be reaped", || {
        let children = process::children(supervisor);
        children.into_iter().all(process::alive).then_some(())
    });
    assert_eq!(Fcgi::connect(&stockade.socket("app")).get("").status(), 200);
    assert_eq!(stockade.log.matching(&["gone"]), [""; 0]);
    assert!(process::signal(supervisor, Signal::SIGTERM));
    assert_eq!(stockade.wait_exit().code(), Some(0));
}

#[test]
fn a_worker_that_was_killed_costs_no_time_afterwards() {
    const LOOKS: Duration = Duration::from_secs(1);
    /// Hundredths of a second: a loop without a pause would take a hundred.
    const MOST: u64 = 50;
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    for worker in stockade.workers() {
        assert!(process::signal(worker, Signal::SIGKILL));
    }
    stockade.wait_ready("app", 4);
    let ours = [stockade.pid(), stockade.relay()];
    let spent = || ours.map(process::processor_time).iter().sum::<u64>();
    let before = spent();
    let busy = wait_within(LOOKS, || (spent() > before + MOST).then_some(()));
    assert!(busy.is_none(), "it is busy with nothing");
}
