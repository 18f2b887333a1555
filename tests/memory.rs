//! What the relay keeps for hosts that do nothing, and for hosts that are slow.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{deadline::wait_for, fcgi::Fcgi, process::resident_kib, stockade::Stockade};

const IDLE: u64 = 10_000;
const IDLE_KIB: u64 = 4;
const SLOW: usize = 256;
const LARGE: usize = 10_000_000;

#[test]
fn an_idle_host_costs_four_kibibytes_at_most() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        most > IDLE + 500,
        "{most} descriptors are too few to try it"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let stockade = Stockade::scripted("processes = 2");
    let relay = stockade.relay();
    let ask = || {
        let mut host = stockade.connect();
        assert_eq!(host.get("").status(), 200);
        host
    };
    let first = ask();
    let before = resident_kib(relay).unwrap();
    let mut hosts: Vec<Fcgi> = (0..IDLE).map(|_| ask()).collect();
    let more = resident_kib(relay).unwrap() - before;
    assert!(more <= IDLE * IDLE_KIB, "{more} KiB for {IDLE}");
    // all are still served
    for host in hosts.iter_mut().rev().step_by(100) {
        assert_eq!(host.get("").status(), 200);
    }
    drop(first);
}

#[test]
fn slow_readers_occupy_no_worker() {
    let stockade = Stockade::scripted("processes = 2\nresponse-buffer-size = \"16MiB\"");
    let query = format!("big={LARGE}");
    let slow: Vec<Fcgi> = (0..SLOW)
        .map(|_| {
            let mut host = stockade.connect();
            host.begin("GET", &query, &[]);
            host
        })
        .collect();
    wait_for("every worker to be done", || {
        let (_, status, _) = stockade.ask(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let pool = &status["pools"][0];
        let done = pool["requests_total"] == SLOW && pool["slots"]["busy"] == 0;
        done.then_some(())
    });
    assert_eq!(stockade.connect().get("").status(), 200);
    for mut host in slow {
        let answer = host.answer().unwrap();
        assert_eq!((answer.status(), answer.body_length()), (200, LARGE));
        assert_eq!(answer.ended, Some(0));
    }
}
