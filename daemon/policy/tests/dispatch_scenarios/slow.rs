//! `slow-request`: who is told of, when, and how often.

use crate::timeline::run;

#[test]
fn a_slow_request_is_told_of_once_while_it_runs() {
    run("0 set slow-request 1000
         0 offer 1 2
         0 arrive a      -> hand a 1
         0 deadline 1000
         400 arrive b    -> hand b 1
         900 end a
         999 timeout
         1000 timeout
         1000 deadline 1400
         1400 timeout    -> slow b
         4000 timeout
         5400 timeout    -> time-out b; timed-out 1");
}

#[test]
fn what_waits_is_not_slow_and_neither_head_nor_body_nor_host_end_the_count() {
    run("0 set slow-request 1000
         0 set request-timeout off
         0 offer 1 1
         0 arrive a post -> hand a 1
         500 arrive b
         600 await a
         1000 timeout    -> slow a
         1001 resume a
         1100 head a
         1200 end a      -> served 1; hand b 1
         1200 head b
         1300 leave b
         2199 timeout
         2200 timeout    -> slow b
         2200 deadline none
         9000 end b");
}

#[test]
fn a_replay_is_the_same_request() {
    run("0 set slow-request 1000
         0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1000 timeout    -> slow a
         1500 fail a sent -> replay a; hand a 2
         2500 timeout
         3000 head a
         3000 end a      -> served 2");
}

#[test]
fn another_slow_request_holds_for_what_runs() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 deadline 5000
         2000 set slow-request 3000
         2000 deadline 3000
         2500 set slow-request off
         2500 deadline 5000
         4000 set slow-request 1000
         4000 timeout    -> slow a
         4500 set slow-request 4500
         4500 timeout
         4600 end a");
}
