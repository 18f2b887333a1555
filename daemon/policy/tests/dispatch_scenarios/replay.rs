//! What becomes of a request whose worker fails.

use stockade_policy::dispatch::{Retry, Settings};

use crate::timeline::{run, run_with, settings};

#[test]
fn an_idempotent_request_is_replayed_elsewhere() {
    run("0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 head a
         3 end a         -> served 2");
}

#[test]
fn a_replay_goes_before_all_who_wait() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         2 gone 1
         3 fail a sent   -> replay a
         4 offer 2 1     -> hand a 2
         5 head a
         6 end a         -> served 2; hand b 2");
}

#[test]
fn a_replay_waits_anew_and_is_then_failed_as_it_may_have_been_executed() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         900 arrive b
         950 gone 1
         950 fail a sent -> replay a
         1900 timeout    -> refuse b queue-timeout
         1950 timeout    -> 502 a");
}

#[test]
fn a_replay_of_which_nothing_was_sent_is_refused() {
    run("0 offer 1 1
         0 arrive a post   -> hand a 1
         10 fail a unsent  -> broken 1; replay a
         1010 timeout      -> refuse a queue-timeout");
}

#[test]
fn a_request_whose_worker_died_twice_is_failed() {
    let patient = Settings {
        retry_limit: 9,
        ..settings()
    };
    run_with(
        patient,
        "0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 fail a sent   -> 502 a",
    );
}

#[test]
fn what_may_not_be_replayed_is_failed() {
    run("0 offer 1 1
         0 arrive a post  -> hand a 1
         1 fail a sent    -> 502 a
         2 arrive b       -> hand b 1
         3 fail b released -> 502 b
         4 arrive c       -> hand c 1
         5 head c
         6 fail c sent    -> 502 c
         7 set retry unsent
         8 arrive d       -> hand d 1
         9 fail d sent    -> 502 d
         10 set retry off
         11 arrive e      -> hand e 1
         12 fail e unsent -> broken 1; 502 e
         13 idle");
}

#[test]
fn retry_limit_0_replays_nothing_that_was_sent() {
    run_with(
        Settings {
            retry_limit: 0,
            ..settings()
        },
        "0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 fail a unsent -> broken 1; replay a; hand a 2
         2 fail a sent   -> 502 a",
    );
}

#[test]
fn unsent_replays_are_bounded() {
    run_with(
        Settings {
            retry: Retry::Unsent,
            ..settings()
        },
        "0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 offer 4 1
         0 offer 5 1
         0 arrive a post -> hand a 1
         1 fail a unsent -> broken 1; replay a; hand a 2
         2 fail a unsent -> broken 2; replay a; hand a 3
         3 fail a unsent -> broken 3; replay a; hand a 4
         4 fail a unsent -> broken 4; 502 a",
    );
}

#[test]
fn once_sent_a_request_is_replayed_only_while_its_body_is_held() {
    run("0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 fail a unsent -> broken 2; replay a; hand a 3
         3 set retry unsent
         4 gone 3
         4 fail a unsent -> 502 a");
}

#[test]
fn replays_of_a_failing_pool_are_refused_only_when_nothing_was_sent() {
    run("0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 offer 4 1
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 2
         0 arrive c      -> hand c 3
         0 arrive d      -> hand d 4
         1 gone 1
         1 gone 2
         1 gone 3
         1 gone 4
         2 fail a sent   -> replay a
         2 fail b unsent -> replay b
         3 pool failing  -> 502 a; refuse b pool-failing
         4 fail c sent   -> 502 c
         4 fail d unsent -> refuse d pool-failing
         4 idle");
}
