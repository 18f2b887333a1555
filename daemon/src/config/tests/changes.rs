//! What a configuration that was read again changes of the pools that run.

use super::{Imagined, read};
use crate::config::{
    changes::{Change, Changes},
    resolved::Pool,
};

const FIRST: &str = "command = [\"php-cgi\"]\n";

#[test]
fn pools_come_go_and_stay() {
    let running = [pool("a", FIRST), pool("b", FIRST), pool("c", FIRST)];
    let running: Vec<&Pool> = running.iter().collect();
    let now = [
        pool("a", FIRST),
        pool("b", "command = [\"php-cgi\", \"-q\"]\n"),
        pool("d", FIRST),
    ];
    let all = Changes::between(&running, now.to_vec(), None);
    assert_eq!(names(&all.added), ["d"]);
    assert_eq!(all.removed, ["c"]);
    let kept: Vec<(&str, Change)> = (all.kept.iter())
        .map(|(pool, change)| (pool.name.as_str(), *change))
        .collect();
    assert_eq!(kept, [("a", Change::Nothing), ("b", Change::NewWorkers)]);
    assert_eq!(all.wanted().count(), 3);

    let only = |name| Changes::between(&running, now.to_vec(), Some(name));
    assert_eq!(
        (only("c").removed.len(), only("c").wanted().count()),
        (1, 0)
    );
    assert_eq!(
        (only("d").removed.len(), only("d").wanted().count()),
        (0, 1)
    );
    assert_eq!(only("x"), Changes::default());
}

#[test]
fn keys_of_the_relay_and_of_supervision_hold_at_once() {
    for (keys, change) in [
        ("", Change::Nothing),
        ("queue-limit = 3\n", Change::AtOnce),
        ("request-timeout = \"9s\"\n", Change::AtOnce),
        ("listen = [\"unix:/run/other.sock\"]\n", Change::AtOnce),
        ("socket-mode = \"0600\"\n", Change::AtOnce),
        ("processes = 9\n", Change::AtOnce),
        ("access-log = \"-\"\n", Change::AtOnce),
        ("threads = 9\n", Change::NewWorkers),
        ("umask = \"0077\"\n", Change::NewWorkers),
        ("maximum-requests = 9\n", Change::NewWorkers),
        ("environment = { A = \"1\" }\n", Change::NewWorkers),
    ] {
        assert_eq!(changed(&format!("{FIRST}{keys}")), change, "{keys}");
    }
    assert_eq!(changed("service = [\"php-cgi\"]\n"), Change::Replaced);
}

#[test]
fn what_a_worker_was_told_of_interrupts_and_heartbeats_needs_new_ones() {
    let python = "wsgi = \"blog.wsgi:application\"\n";
    for (before, after, change) in [
        (
            "interrupt-timeout = \"1s\"\n",
            "interrupt-timeout = \"2s\"\n",
            Change::AtOnce,
        ),
        ("", "interrupt-timeout = \"0s\"\n", Change::Nothing),
        ("", "interrupt-timeout = \"2s\"\n", Change::NewWorkers),
        ("interrupt-timeout = \"2s\"\n", "", Change::NewWorkers),
        ("", "deadlock-timeout = \"30s\"\n", Change::NewWorkers),
        ("", "deadlock-timeout = \"off\"\n", Change::NewWorkers),
    ] {
        let (before, after) = (format!("{python}{before}"), format!("{python}{after}"));
        assert_eq!(between(&before, &after), change, "{before}{after}");
    }
}

fn changed(keys: &str) -> Change {
    between(FIRST, keys)
}

fn between(before: &str, after: &str) -> Change {
    let changes = Changes::between(&[&pool("a", before)], vec![pool("a", after)], None);
    changes.kept[0].1
}

fn names(pools: &[Pool]) -> Vec<&str> {
    pools.iter().map(|pool| pool.name.as_str()).collect()
}

fn pool(name: &str, keys: &str) -> Pool {
    let mut text = format!("[pool.{name}]\nuser = \"blog\"\n{keys}");
    if !keys.contains("listen = ") && !keys.contains("service = ") {
        text += &format!("listen = [\"unix:/run/{name}.sock\"]\n");
    }
    let config = read(&text, &Imagined::root()).unwrap_or_else(|error| panic!("{error}"));
    config.pools[0].clone()
}
