//! `interrupt-timeout`: a worker whose request timed out is not set aside, for it may come back.

use core::time::Duration;

use stockade_policy::{Limit, dispatch::Settings};

use crate::timeline::{run_with, settings};

fn interrupts() -> Settings {
    Settings {
        interrupts: true,
        ..settings()
    }
}

#[test]
fn the_slot_is_free_when_the_worker_comes_back_and_its_others_are_used_meanwhile() {
    run_with(
        interrupts(),
        "0 offer 1 2
         0 arrive a      -> hand a 1
         5000 timeout    -> time-out a interrupted; timed-out 1
         5000 deadline none
         5001 slots 1 1 0
         5002 arrive b   -> hand b 1
         5003 arrive c
         5003 slots 2 0 1
         5010 end a      -> recovered 1; hand c 1
         5020 head b
         5030 end b      -> served 1
         5040 end c
         5040 idle",
    );
}

#[test]
fn it_has_come_back_when_it_is_at_none_that_timed_out() {
    run_with(
        interrupts(),
        "0 offer 1 3
         0 arrive a      -> hand a 1
         1000 arrive b   -> hand b 1
         1500 arrive c   -> hand c 1
         5000 timeout    -> time-out a interrupted; timed-out 1
         6000 timeout    -> time-out b interrupted; timed-out 1
         6001 fail a sent
         6002 end c
         6003 end b      -> recovered 1
         6004 arrive d   -> hand d 1
         11004 timeout   -> time-out d interrupted; timed-out 1
         11005 end d     -> recovered 1",
    );
}

#[test]
fn what_it_still_says_is_of_no_account() {
    run_with(
        Settings {
            total_timeout: Limit::of(Duration::from_secs(7)),
            slow_request: Limit::of(Duration::from_secs(6)),
            ..interrupts()
        },
        "0 offer 1 1
         0 arrive a      -> hand a 1
         5000 timeout    -> time-out a interrupted; timed-out 1
         5001 head a
         5002 await a
         5003 resume a
         5004 heard a 5004
         5005 leave a
         6000 timeout
         6000 deadline none
         9001 end a      -> recovered 1",
    );
}

#[test]
fn one_that_does_not_come_back_is_retired_without_it() {
    run_with(
        interrupts(),
        "0 offer 1 2
         0 offer 2 1
         0 arrive a      -> hand a 1
         2000 arrive b   -> hand b 2
         2000 arrive c   -> hand c 1
         5000 timeout    -> time-out a interrupted; timed-out 1
         5500 retire 1
         5600 end a
         5700 end c      -> drained 1
         5800 gone 1
         7000 timeout    -> time-out b interrupted; timed-out 2
         7100 overdue 2
         7100 idle
         7200 retire 2   -> drained 2",
    );
}

#[test]
fn one_that_is_to_end_anyhow_is_not_interrupted() {
    run_with(
        interrupts(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         1000 retire 1
         5000 timeout    -> time-out a; timed-out 1; drained 1
         5000 idle",
    );
}

#[test]
fn one_that_dies_does_not_come_back() {
    run_with(
        interrupts(),
        "0 offer 1 1
         0 arrive a      -> hand a 1
         5000 timeout    -> time-out a interrupted; timed-out 1
         5100 gone 1
         5101 fail a sent
         5101 idle",
    );
}
