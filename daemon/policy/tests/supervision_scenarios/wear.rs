//! Wear, hangs and deaths of workers that serve, told as timelines.

use crate::timeline::play;

#[test]
fn a_worker_is_replaced_when_it_has_been_ready_for_the_restart_interval_less_a_jitter() {
    play(
        "0              add processes=2 interval=100000  | report starting, start 1 g1, start 2 g1
         900            ready 1; ready 2                 | offer 1, report serving, offer 2
         90900..100900  tick                             | start 3 g1
         90900..100900  tick                             |
         101000         ready 3                          | offer 3, retire 1 restart-interval
         101100         drained 1; exit 1 0              | stop 1 restart-interval, forget 1 restart-interval, start 4 g1
         102000         ready 4                          | offer 4, retire 2 restart-interval",
    );
}

#[test]
fn a_clock_jump_wears_nobody_out_before_a_replacement_is_there() {
    play(
        "0          add processes=2 interval=100000  | report starting, start 1 g1, start 2 g1
         900        ready 1; ready 2                 | offer 1, report serving, offer 2
         90000000   jump                             | start 3 g1
         90000001   jump                             |
         90000900   ready 3                          | offer 3, retire 1 restart-interval",
    );
}

#[test]
fn a_worker_that_leaks_is_replaced_first() {
    play(
        "0      add                       | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         2000   worn 1                    | start 2 g1
         2001   maximum 1                 |
         2900   ready 2                   | offer 2, retire 1 maximum-memory",
    );
}

#[test]
fn an_interrupted_worker_that_comes_back_serves_on() {
    let machine = play(
        "0      add interrupt=5000        | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         60000  timed-out 1               | interrupt 1
         62000  timed-out 1               | interrupt 1
         63000  recovered 1               |
         63001  recovered 1               |
         70000  timed-out 1               | interrupt 1
         72000  timed-out 1               | interrupt 1
         75000  tick                      | retire 1 request-timeout, start 2 g1, report starting
         75001  recovered 1; timed-out 1  |
         75002  drained 1                 | stop 1 request-timeout",
    );
    assert_eq!(machine.snapshot().ignored, 3);
}

#[test]
fn a_deadlocked_worker_is_stopped_with_what_it_has_then_killed() {
    play(
        "0      add processes=2           | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2          | offer 1, report serving, offer 2
         1000   deadlocked 1              | stop 1 deadlock overdue, start 3 g1
         1001   deadlocked 1              |
         6000   tick                      | kill 1
         6001   signal 1 9                | forget 1 deadlock
         6002   ready 3; served 2         | offer 3
         7000   timed-out 2               | retire 2 request-timeout, start 4 g1
         7001   deadlocked 2; deadlocked 4 | stop 2 deadlock overdue",
    );
}

#[test]
fn the_kernel_ends_one_for_want_of_memory() {
    play(
        "0      add                       | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         950    served 1                  |
         1000   out-of-memory 1           | forget 1 out-of-memory, start 2 g1, report starting
         1900   ready 2                   | offer 2, report serving
         2000   timed-out 2               | retire 2 request-timeout, start 3 g1, report starting
         2001   out-of-memory 2           | forget 2 out-of-memory",
    );
}
