//! A thousand pools on demand of which none has a worker: what they cost.

use std::{fs, time::Duration};

use crate::support::{
    deadline::{wait_for, wait_within},
    fcgi::Fcgi,
    process::resident_kib,
    site::Site,
    stockade::{Pool, Stockade, configuration},
};

const POOLS: usize = 1000;
/// Of supervisor and relay together: the whole resident size of both, what they share counted twice.
const MOST_KIB: u64 = 60 * 1024;
/// Nothing has to be done in this time. Longer than any period of ours at rest.
const REST: Duration = Duration::from_secs(4);

#[test]
fn a_thousand_pools_on_demand_take_little_memory_and_no_time() {
    let site = Site::new();
    let pools: Vec<Pool> = (0..POOLS)
        .map(|number| {
            let keys = "scale = { minimum = 0, maximum = 2, idle-timeout = \"500ms\" }";
            Pool::scripted(&site, &[], keys).named(&format!("site-{number}"))
        })
        .collect();
    let config = configuration(&site, &pools);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["serving 1000 pools"]);
    stockade.log.wait(&["relay", "serves"]);
    let processes = [stockade.pid(), stockade.relay()];
    // each of them would serve
    for number in (0..POOLS).step_by(POOLS / 20) {
        let socket = stockade.socket(&format!("site-{number}"));
        assert_eq!(Fcgi::connect(&socket).get("").status(), 200, "{number}");
    }
    wait_for("every worker to be gone", || {
        stockade.workers().is_empty().then_some(())
    });
    stockade.log.wait_times(20, &["gone", "scaled-down"]);
    let resident: Vec<u64> = processes
        .iter()
        .filter_map(|pid| resident_kib(*pid))
        .collect();
    assert!(
        resident.iter().sum::<u64>() < MOST_KIB,
        "supervisor and relay: {resident:?} KiB"
    );
    for pid in processes {
        let settled = wait_for("the process to rest", || {
            let before = ticks(pid);
            let more = wait_within(REST / 4, || (ticks(pid) > before).then_some(()));
            more.is_none().then_some(before)
        });
        let more = wait_within(REST, || (ticks(pid) > settled + 1).then_some(()));
        assert!(more.is_none(), "process {pid} is busy with nothing");
    }
}

/// Processor time that a process has used, in the system's ticks (10 ms).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let times = fields.split_whitespace().skip(11).take(2);
    times
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}
