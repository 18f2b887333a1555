//! Workers that have had enough.

use crate::support::{
    load::Load,
    nginx::{Hosting, Nginx},
    stockade::{Stockade, pid_in},
};

const PROCESSES: usize = 3;
const MOST: u64 = 40;

#[test]
fn maximum_requests_under_load_fails_none_and_replaces_one_worker_at_a_time() {
    for keep in [true, false] {
        let keys = format!("processes = {PROCESSES}\nmaximum-requests = {MOST}");
        let stockade = Stockade::scripted(&keys);
        stockade.wait_ready("app", PROCESSES);
        let hosting = Hosting {
            keep,
            ..Hosting::default()
        };
        let nginx = Nginx::start(&stockade.socket("app"), &hosting);
        let load = Load::start((0..6).map(|_| nginx.client()).collect(), "/?sleep=1");
        stockade.log.wait_times(12, &["gone", "maximum-requests"]);
        let (answered, failures) = load.stop();
        assert!(failures.is_empty(), "of {answered}: {failures:?}");
        one_at_a_time(&stockade);
    }
}

/// By the log: before each retirement there is one ready worker more than the pool has.
fn one_at_a_time(stockade: &Stockade) {
    let mut serving: Vec<i32> = Vec::new();
    for line in stockade.log.text().lines() {
        if !line.contains("pool app: worker ") {
            continue;
        }
        if line.contains(" ready") {
            serving.push(pid_in(line));
        } else if line.contains(" retiring") {
            let retired = pid_in(line);
            serving.retain(|worker| *worker != retired);
            assert!(serving.len() >= PROCESSES, "{line}");
        }
    }
}
