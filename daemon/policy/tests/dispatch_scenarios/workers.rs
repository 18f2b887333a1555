//! Which worker is chosen, and what becomes of it.

use crate::timeline::run;

#[test]
fn the_worker_with_fewest_busy_slots_is_chosen_then_the_one_last_used() {
    run("0 offer 1 2
         0 offer 2 2
         0 offer 3 1
         1 arrive a      -> hand a 1
         1 arrive b      -> hand b 2
         2 head b
         2 end b         -> served 2
         3 arrive b      -> hand b 2
         3 arrive c      -> hand c 3
         3 arrive d      -> hand d 2
         3 arrive e      -> hand e 1
         3 arrive f
         4 head c
         4 end c         -> served 3; hand f 3");
}

#[test]
fn a_suspect_is_chosen_last_until_it_has_answered() {
    run("0 offer 1 2
         0 offer 2 2
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 arrive b      -> hand b 2
         3 arrive c      -> hand c 1
         4 head c
         5 end c         -> served 1
         6 arrive c      -> hand c 1");
}

#[test]
fn a_broken_worker_is_given_nothing_and_reported_once() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         1 broke 1       -> broken 1
         2 broke 1
         2 offer 1 2
         3 arrive b
         4 head a
         5 end a         -> served 1
         6 slots 0 0 1
         7 retire 1      -> drained 1");
}

#[test]
fn a_retired_worker_finishes_and_is_reported_drained_once() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 1
         1 retire 1
         2 arrive c
         3 head a
         3 end a         -> served 1
         4 end b         -> drained 1
         5 retire 1
         6 offer 1 2
         7 slots 0 0 1
         8 gone 1
         9 retire 1      -> drained 1");
}

#[test]
fn a_worker_with_nothing_to_finish_is_drained_at_once() {
    run("0 offer 1 2
         1 retire 1      -> drained 1
         2 retire 7      -> drained 7");
}

#[test]
fn an_overdue_worker_is_answered_for() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 1
         1 head a
         2 retire 1
         3 overdue 1     -> cut b; cut a; drained 1
         3 idle
         3 slots 2 0 0
         4 end a
         4 fail b sent
         5 overdue 1
         6 gone 1
         6 slots 0 0 0");
}

#[test]
fn a_gone_workers_requests_end_by_their_connections() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         0 arrive b post -> hand b 1
         1 head a
         2 gone 1
         3 slots 2 0 0
         4 end a         -> served 1
         5 fail b sent   -> 502 b
         6 slots 0 0 0
         7 offer 2 1");
}

#[test]
fn maximum_requests_is_reported_once_and_the_worker_goes_on_until_retired() {
    run("0 offer 1 1 2
         0 arrive a      -> hand a 1
         1 end a
         2 arrive a      -> hand a 1; maximum 1
         3 end a
         4 arrive a      -> hand a 1
         5 retire 1
         6 end a         -> drained 1");
}

#[test]
fn a_lower_maximum_of_a_known_worker_counts_what_it_had() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 end a
         2 offer 1 1 1   -> maximum 1
         3 offer 1 1 1");
}

#[test]
fn a_host_that_went_away_is_not_the_workers_fault() {
    run("0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 leave a
         2 fail a unsent
         3 arrive b      -> hand b 1
         4 leave b
         5 fail b sent
         6 arrive c      -> hand c 1");
}

#[test]
fn fewer_slots_are_reached_as_requests_end() {
    run("0 offer 1 3
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 1
         1 offer 1 1
         2 arrive c
         3 end a
         4 slots 1 0 1
         5 end b         -> hand c 1");
}
