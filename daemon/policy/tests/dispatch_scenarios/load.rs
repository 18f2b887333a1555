//! `scale`: what supervision is told of how the pool is used, and which workers are shed.

use crate::timeline::run;

#[test]
fn more_that_are_busy_are_told_of_at_once_fewer_at_the_end_of_a_window() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 set scale 9/50/1000
         0 timeout
         0 offer 1 1
         0 offer 2 1
         0 deadline 1000
         100 arrive a    -> hand a 1; used 1 0
         200 arrive b    -> hand b 2; used 2 0
         300 end a
         400 arrive a    -> hand a 1
         500 end a
         600 end b
         1199 timeout
         1200 timeout    -> used 2 0
         1300 arrive c   -> hand c 2
         2200 timeout    -> used 1 0
         3200 end c
         3200 timeout
         4200 timeout    -> used 0 0
         4200 deadline none
         9000 timeout");
}

#[test]
fn who_waits_is_told_of_after_the_wait_and_again_each_such_time() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 set scale 4/50/100000
         0 offer 1 1
         10 arrive a     -> hand a 1; used 1 0
         20 arrive b
         40 arrive c
         40 deadline 70
         70 timeout      -> used 1 1
         70 deadline 120
         120 timeout     -> used 1 2
         150 offer 2 1   -> hand b 2; used 2 1
         160 offer 3 1   -> hand c 3; used 3 0
         170 arrive d
         220 timeout     -> used 3 1
         230 offer 4 1   -> hand d 4; used 4 0
         240 arrive e
         900 timeout");
}

#[test]
fn the_first_request_of_a_pool_on_demand_is_told_of_at_once() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 set scale 2/50/1000
         0 timeout
         1000 timeout    -> used 0 0
         1000 deadline none
         5000 arrive a   -> used 0 1
         5010 arrive b
         5050 timeout    -> used 0 2
         5090 offer 1 1  -> hand a 1; used 1 1
         5100 timeout
         5140 timeout    -> used 1 1
         5150 end a      -> hand b 1
         5200 end b
         6090 timeout    -> used 1 0
         7090 timeout    -> used 0 0
         7090 shed 1     -> shed 1
         7090 retire 1   -> drained 1
         7090 gone 1
         8000 arrive c   -> used 0 1");
}

#[test]
fn idle_workers_are_shed_the_longest_unused_first_and_no_busy_one() {
    run("0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 offer 4 2
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 2
         0 arrive c      -> hand c 3
         0 arrive d      -> hand d 4
         10 end b
         20 end a
         30 end c
         40 shed 1       -> shed 2
         50 shed 9       -> shed 1; shed 3
         60 arrive e     -> hand e 4
         70 arrive f
         80 end d        -> hand f 4
         90 shed 1
         100 end f
         105 end e       -> shed 4
         110 offer 5 1
         120 shed 2      -> shed 5
         4119 offer 6 1  -> shed 6
         4200 shed 1
         8200 offer 7 1");
}

#[test]
fn the_worker_used_last_is_used_again_so_that_the_others_can_be_spared() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 set scale 9/50/1000
         0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         10 arrive a     -> hand a 1; used 1 0
         20 end a
         30 arrive b     -> hand b 1
         40 end b
         50 arrive c     -> hand c 1
         60 end c
         1010 timeout    -> used 1 0
         1010 shed 2     -> shed 3; shed 2");
}

#[test]
fn nothing_is_told_of_a_fixed_number_and_nothing_by_a_relay_that_was_replaced() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 arrive a
         90 timeout
         100 offer 1 1   -> hand a 1
         200 end a
         200 deadline none
         200 set scale 9/50/1000
         200 timeout
         300 taken-over  -> return 1
         300 deadline none
         400 arrive b    -> ask
         900 timeout");
}

#[test]
fn what_waits_elsewhere_for_a_slot_counts() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 set scale 9/50/100000
         0 timeout
         10 wanted       -> used 0 1
         20 arrive a
         60 timeout      -> used 0 2
         70 offer 1 1    -> return 1; used 1 1");
}

#[test]
fn after_another_scale_it_is_told_again() {
    run("0 set queue-timeout off
         0 set request-timeout off
         0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         100 set scale 9/50/1000
         100 deadline 0
         100 timeout     -> used 1 0
         100 deadline 1100
         200 end a
         1100 timeout    -> used 1 0
         2100 timeout    -> used 0 0
         2100 set scale 5/50/1000
         2100 timeout
         3100 timeout    -> used 0 0
         3100 deadline none");
}
