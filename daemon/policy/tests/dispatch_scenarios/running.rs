//! From the hand-out to the end: `request-timeout`, hosts that leave, what is said late.

use stockade_policy::dispatch::Settings;

use crate::timeline::{run, run_with, settings};

#[test]
fn request_timeout_is_exact_and_the_slot_is_lost() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         10 arrive b     -> hand b 1
         20 arrive c
         21 slots 2 0 1
         30 leave c
         4999 timeout
         5000 timeout    -> time-out a; timed-out 1
         5000 slots 2 0 0
         5001 arrive c
         5005 head b
         5006 end a
         5007 end b      -> served 1
         5008 slots 1 0 1
         5009 offer 1 2
         5010 retire 1   -> drained 1
         5011 gone 1
         5011 slots 0 0 1
         5012 offer 2 1  -> hand c 2");
}

#[test]
fn behind_a_shared_address_a_request_that_times_out_is_its_own_affair() {
    let shared = Settings {
        shared: true,
        ..settings()
    };
    run_with(
        shared,
        "0 offer 1 2
         0 arrive a      -> hand a 1
         10 arrive b     -> hand b 1
         4500 arrive c
         5000 timeout    -> time-out a; hand c 1
         5001 broke 1
         5002 head b
         5002 end b      -> served 1
         5003 arrive d   -> hand d 1",
    );
}

#[test]
fn siblings_of_a_timed_out_request_have_their_own_time() {
    run("0 offer 1 3
         0 arrive a      -> hand a 1
         100 arrive b    -> hand b 1
         200 arrive c    -> hand c 1
         5000 timeout    -> time-out a; timed-out 1
         5000 deadline 5100
         5100 timeout    -> time-out b
         5150 head c
         9000 retire 1
         9001 end c      -> served 1; drained 1");
}

#[test]
fn time_spent_waiting_for_the_body_is_not_counted() {
    run("0 offer 1 1
         0 arrive a post -> hand a 1
         3000 await a
         5000 timeout
         5000 deadline none
         90000 resume a
         90000 deadline 92000
         90500 await a
         90500 await a
         90600 resume a
         90700 resume a
         92099 timeout
         92100 timeout   -> time-out a; timed-out 1");
}

#[test]
fn a_body_awaited_too_late_does_not_save_a_request() {
    run("0 offer 1 1
         0 arrive a post -> hand a 1
         5001 await a
         5002 timeout    -> time-out a; timed-out 1");
}

#[test]
fn the_head_ends_request_timeout() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         10 head a
         5000 timeout
         5000 deadline none
         60000 end a     -> served 1");
}

#[test]
fn a_changed_request_timeout_holds_for_what_runs() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         0 set request-timeout off
         0 deadline none
         7000 set request-timeout 8000
         7000 deadline 8000
         7500 set request-timeout 7200
         7500 timeout    -> time-out a; timed-out 1");
}

#[test]
fn a_host_that_went_away_leaves_the_queue_but_not_its_slot() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         0 arrive c
         1 leave b
         2 leave a
         3 slots 1 0 1
         4 fail a sent   -> hand c 1
         5 leave c
         5005 timeout    -> time-out c; timed-out 1
         5005 idle");
}

#[test]
fn what_is_said_of_an_ended_request_is_ignored() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 end a
         2 end a
         3 head a
         4 arrive a      -> hand a 1
         5 end a'
         5 fail a' sent
         5 leave a'
         5 head a'
         5 await a'
         5 resume a'
         6 slots 1 0 0
         5000 timeout
         5004 timeout    -> time-out a; timed-out 1");
}

#[test]
fn a_place_used_again_has_ended_its_earlier_request() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         1 arrive a      -> hand b 1
         2 arrive b      -> hand a 1
         3 slots 1 0 1");
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    run("100 offer 1 1
         100 arrive a     -> hand a 1
         50 arrive b
         60 deadline 1100
         50 head a
         20 end a         -> served 1; hand b 1
         20 deadline 5100");
}
