//! Behind the head and in all: `response-timeout`, `total-timeout`.

use core::time::Duration;

use stockade_policy::{Limit, dispatch::Settings};

use crate::timeline::{run_with, settings};

/// Two seconds of silence behind the head.
fn silence() -> Settings {
    Settings {
        response_timeout: Limit::of(Duration::from_secs(2)),
        ..settings()
    }
}

/// Seven seconds in all.
fn total() -> Settings {
    Settings {
        total_timeout: Limit::of(Duration::from_secs(7)),
        ..settings()
    }
}

#[test]
fn a_worker_that_falls_silent_behind_the_head_is_lost() {
    run_with(
        silence(),
        "0 offer 1 2
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 1
         100 head a
         100 deadline 2100
         2099 timeout
         2100 timeout    -> ask a
         2100 heard a 100 -> time-out a response-timeout; timed-out 1
         2101 slots 2 0 0
         2102 end a
         2200 head b
         2300 end b      -> served 1",
    );
}

#[test]
fn a_response_that_goes_on_is_asked_about_once_in_a_while() {
    run_with(
        silence(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         100 head a
         2100 timeout    -> ask a
         2100 heard a 1900
         2100 deadline 3900
         3900 timeout    -> ask a
         3900 heard a 3900
         5900 timeout    -> ask a
         5900 heard a 3901
         5900 deadline 5901
         5901 timeout    -> ask a
         5901 heard a 3901 -> time-out a response-timeout; timed-out 1",
    );
}

#[test]
fn silence_counts_from_the_head_whatever_is_said_of_the_time_before() {
    run_with(
        silence(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         1000 head a
         1500 head a
         3000 timeout    -> ask a
         3000 heard a 0  -> time-out a response-timeout; timed-out 1",
    );
}

#[test]
fn a_response_that_ends_while_it_is_asked_about_has_ended() {
    run_with(
        silence(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         100 head a
         2100 timeout    -> ask a
         2100 end a      -> served 1
         2100 heard a 100
         2100 arrive a   -> hand a 1
         2100 heard a' 0
         2100 slots 1 0 0
         2101 heard a 0
         2101 deadline 7100",
    );
}

#[test]
fn request_timeout_and_silence_each_have_their_own_time() {
    run_with(
        silence(),
        "0 offer 1 3
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 1
         4000 head b
         5000 timeout    -> time-out a; timed-out 1
         5000 deadline 6000
         6000 timeout    -> ask b
         6000 heard b 5500
         7500 timeout    -> ask b
         7500 heard b 5500 -> time-out b response-timeout",
    );
}

#[test]
fn a_host_that_is_gone_does_not_keep_a_silent_worker() {
    run_with(
        silence(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         100 head a
         200 leave a
         2100 timeout    -> ask a
         2100 heard a 100 -> time-out a response-timeout; timed-out 1",
    );
}

#[test]
fn total_timeout_counts_everything_from_the_hand_out_on() {
    run_with(
        total(),
        "0 offer 1 3
         0 arrive a post -> hand a 1
         0 arrive b      -> hand b 1
         100 await a
         5000 timeout    -> time-out b; timed-out 1
         5000 deadline 7000
         6999 timeout
         7000 timeout    -> time-out a total-timeout
         7001 slots 2 0 0",
    );
}

#[test]
fn total_timeout_ends_a_response_that_goes_on() {
    run_with(
        total(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         900 head a
         7000 timeout    -> refuse b queue-timeout; time-out a total-timeout; timed-out 1",
    );
}

#[test]
fn a_replay_has_its_own_total() {
    run_with(
        Settings {
            request_timeout: Limit::OFF,
            ..total()
        },
        "0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         6000 fail a sent -> replay a; hand a 2
         7000 timeout
         7000 deadline 13000
         13000 timeout   -> time-out a total-timeout; timed-out 2",
    );
}

#[test]
fn behind_a_shared_address_the_slot_is_free() {
    run_with(
        Settings {
            shared: true,
            ..silence()
        },
        "0 offer 1 1
         0 arrive a      -> hand a 1
         100 head a
         2000 arrive b
         2100 timeout    -> ask a
         2100 heard a 0  -> time-out a response-timeout; hand b 1",
    );
}

#[test]
fn changed_limits_hold_for_what_runs() {
    run_with(
        settings(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         100 head a
         3000 set response-timeout 4000
         3000 deadline 4100
         3000 set total-timeout 3500
         3500 timeout    -> time-out a total-timeout; timed-out 1",
    );
}
