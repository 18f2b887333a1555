//! Who runs at once, who waits, who is refused.

use stockade_policy::Limit;
use stockade_policy::dispatch::Settings;

use crate::timeline::{run, run_with, settings};

#[test]
fn a_request_runs_where_a_slot_is_free() {
    run("0 offer 1 1
         0 pool serving
         0 slots 0 1 0
         1 arrive a      -> hand a 1
         1 slots 1 0 0
         2 head a
         3 end a         -> served 1
         3 idle
         4 arrive a      -> hand a 1
         5 head a
         6 end a");
}

#[test]
fn requests_wait_in_order_and_leave_when_a_slot_is_free() {
    run("0 arrive a
         1 arrive b
         2 arrive c
         3 slots 0 0 3
         4 offer 1 1     -> hand a 1
         5 head a
         6 end a         -> served 1; hand b 1
         7 head b
         7 offer 2 2     -> hand c 2
         8 slots 2 1 0");
}

#[test]
fn queue_limit_refuses_what_comes_on_top() {
    run_with(
        Settings {
            queue_limit: 1,
            ..settings()
        },
        "0 offer 1 1
         1 arrive a      -> hand a 1
         1 arrive b
         1 arrive c      -> refuse c queue-limit
         2 leave b
         2 arrive c
         3 set queue-limit 0
         3 arrive d      -> refuse d queue-limit
         4 end a         -> hand c 1
         5 arrive d      -> refuse d queue-limit
         6 end c
         7 arrive d      -> hand d 1",
    );
}

#[test]
fn queue_timeout_is_exact() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 head a
         100 arrive b
         200 arrive c
         300 deadline 1100
         1099 timeout
         1100 timeout    -> refuse b queue-timeout
         1100 deadline 1200
         1200 end a      -> served 1; refuse c queue-timeout
         1200 idle");
}

#[test]
fn those_whose_time_is_over_make_room() {
    run_with(
        Settings {
            queue_limit: 1,
            ..settings()
        },
        "0 arrive a
         1000 arrive b   -> refuse a queue-timeout
         1000 slots 0 0 1",
    );
}

#[test]
fn a_changed_queue_timeout_holds_for_those_who_wait() {
    run("0 arrive a
         0 deadline 1000
         1 set queue-timeout off
         1 deadline 1000
         9000 timeout
         9001 set queue-timeout 9500
         9001 deadline 9500
         9500 timeout    -> refuse a queue-timeout");
}

#[test]
fn retry_after_is_the_queue_at_the_rate_at_which_slots_become_free() {
    run_with(
        Settings {
            queue_limit: 2,
            queue_timeout: Limit::OFF,
            ..settings()
        },
        "0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         0 arrive c
         0 head a
         2000 end a      -> served 1; hand b 1
         2000 head b
         2000 arrive d
         4000 end b      -> hand c 1
         4000 head c
         4000 arrive e
         4000 arrive f   -> refuse f queue-limit 6s
         40000 arrive g  -> refuse g queue-limit 60s",
    );
}

#[test]
fn a_failing_or_stopped_pool_refuses() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         2 pool failing  -> refuse b pool-failing
         3 arrive c      -> refuse c pool-failing
         4 end a
         5 arrive d      -> refuse d pool-failing
         6 pool stopped
         7 arrive e      -> refuse e pool-stopped
         8 pool serving
         9 arrive f      -> hand f 1");
}
