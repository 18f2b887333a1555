//! `inactivity-timeout`: which worker is told of, when, and how often.

use crate::timeline::run;

#[test]
fn a_worker_that_has_served_and_is_left_idle_is_told_of_once_a_stretch() {
    run("0 set request-timeout off
         0 set inactivity-timeout 1000
         0 offer 1 1
         0 deadline none
         0 arrive a      -> hand a 1
         100 head a
         200 end a       -> served 1
         200 deadline 1200
         1199 timeout
         1200 timeout    -> inactive 1
         1200 deadline none
         9000 timeout
         9500 arrive b   -> hand b 1
         9600 end b
         9600 deadline 10600
         10000 arrive c  -> hand c 1
         10600 timeout
         10700 end c
         11700 timeout   -> inactive 1");
}

#[test]
fn each_worker_has_its_own_time_and_one_that_is_retired_none() {
    run("0 set request-timeout off
         0 set inactivity-timeout 1000
         0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 2
         0 arrive c      -> hand c 3
         100 end a
         200 end b
         300 end c
         400 retire 2    -> drained 2
         1100 timeout    -> inactive 1
         1200 timeout
         1300 timeout    -> inactive 3
         1300 deadline none");
}

#[test]
fn without_it_nobody_waits_for_anything() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         100 end a
         100 timeout
         5000 timeout
         5000 deadline none");
}
