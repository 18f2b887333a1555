//! Pools that come and go, and the room they share, told as timelines.

use crate::timeline::play;

#[test]
fn a_pool_that_was_removed_finishes_and_is_forgotten() {
    let machine = play(
        "0      add processes=2; add p2     | report starting, start 1 g1, start 2 g1, report starting p2, start 3 g1 p2
         900    ready 1; ready 3            | offer 1, report serving, offer 3, report serving p2
         1000   remove                      | retire 1 requested, stop 2 requested, report stopped
         1001   remove; reload; halt; resume; change; scale scale=3..3 |
         1100   exit 2 1                    | forget 2 requested
         41000  tick                        | stop 1 requested overdue
         41100  signal 1 15                 | forget 1 requested, forget-pool
         41200  reload; exit 1 0            |
         42000  remove p2                   | retire 3 requested, report stopped p2
         42100  exit 3 0                    | forget 3 requested p2, forget-pool p2",
    );
    assert_eq!(machine.snapshot().pools, []);
    assert_eq!(machine.snapshot().ignored, 8);
}

#[test]
fn a_pool_without_a_worker_is_forgotten_at_once() {
    play(
        "0      add scale=0..3       | report serving
         1000   remove               | report stopped, forget-pool",
    );
}

#[test]
fn a_removed_pool_ends_with_the_daemon() {
    play(
        "0      add                         | report starting, start 1 g1
         900    ready 1                     | offer 1, report serving
         1000   remove                      | retire 1 requested, report stopped
         1100   stop                        | drain-relay
         1200   relay-drained               | stop 1 requested
         1300   exit 1 0                    | forget 1 requested, forget-pool, finish",
    );
}

#[test]
fn an_operator_stops_and_starts_a_pool() {
    play(
        "0      add processes=2             | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2            | offer 1, report serving, offer 2
         1000   halt                        | retire 1 requested, retire 2 requested, report stopped
         1100   drained 1; exit 1 0         | stop 1 requested, forget 1 requested
         1200   resume                      | start 3 g1, start 4 g1, report starting
         2000   ready 3; ready 4            | offer 3, report serving, offer 4",
    );
}

#[test]
fn a_pool_that_was_stopped_reloads_without_starting_anything() {
    play(
        "0      add                         | report starting, start 1 g1
         900    ready 1                     | offer 1, report serving
         1000   halt                        | retire 1 requested, report stopped
         1100   change processes=2; reload  | finish-reload g2
         1200   drained 1; exit 1 0         | stop 1 requested, forget 1 requested
         1300   resume                      | start 2 g2, start 3 g2, report starting",
    );
}

#[test]
fn who_waits_for_a_reload_is_answered_when_the_pool_is_stopped() {
    play(
        "0      add                         | report starting, start 1 g1
         900    ready 1                     | offer 1, report serving
         1000   reload                      | start 2 g2
         1100   halt                        | stop 2 requested, abandon-reload g2 requested, retire 1 requested, report stopped",
    );
    play(
        "0      add processes=2             | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2            | offer 1, report serving, offer 2
         1000   reload                      | start 3 g2
         1900   ready 3                     | offer 3, retire 1 requested
         2000   halt                        | retire 2 requested, retire 3 requested, finish-reload g2, report stopped",
    );
}

#[test]
fn starting_a_pool_forgets_its_failures() {
    play(
        "0      add                         | report starting, start 1 g1
         100    exit 1 1                    | forget 1 exit-code failed waits
         200    halt                        | report stopped
         210    resume                      | start 2 g1, report starting",
    );
}

#[test]
fn nothing_is_started_above_the_maximum_and_who_waits_is_served_in_turn() {
    play(
        "0      maximum-processes 4         |
         0      add processes=3             | report starting, start 1 g1, start 2 g1, start 3 g1
         1      add p2 processes=2          | report starting p2, start 4 g1 p2
         900    ready 1; ready 2; ready 3; ready 4 | offer 1, report serving, offer 2, offer 3, offer 4, report serving p2
         950    served 1; served 2; served 3; served 4 |
         1000   signal 1 11                 | forget 1 signal, start 5 g1 p2
         1100   signal 5 11                 | forget 5 signal failed waits p2, start 6 g1
         1200   signal 4 11                 | forget 4 signal p2, report starting p2
         1450..1600   tick                  | start 7 g1 p2",
    );
}

#[test]
fn who_has_no_worker_is_first_then_who_is_below_its_minimum_whoever_has_waited_longest() {
    play(
        "0      maximum-processes 3         |
         0      add scale=1..4              | report starting, start 1 g1
         1      add p2 processes=2          | report starting p2, start 2 g1 p2, start 3 g1 p2
         2      add p3 scale=0..1           | report serving p3
         900    ready 1; ready 2; ready 3   | offer 1, report serving, offer 2, report serving p2, offer 3
         950    served 2; served 3          |
         1000   used 1 1                    |
         1100   signal 2 11                 | forget 2 signal p2, start 4 g1 p2
         2000   ready 4; served 4           | offer 4
         2100   used 0 1 p3                 |
         2200   signal 3 11                 | forget 3 signal p2, start 5 g1 p3
         2300   signal 4 11                 | forget 4 signal p2, report starting p2, start 6 g1 p2",
    );
}

#[test]
fn at_the_maximum_a_replacement_retires_first() {
    play(
        "0      maximum-processes 2         |
         0      add processes=2             | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2            | offer 1, report serving, offer 2
         950    served 1; served 2          |
         1000   maximum 1; maximum 2        | retire 1 maximum-requests
         1100   drained 1; exit 1 0         | stop 1 maximum-requests, forget 1 maximum-requests, start 3 g1
         2000   ready 3                     | offer 3, retire 2 maximum-requests
         2100   exit 2 0                    | forget 2 maximum-requests, start 4 g1
         3000   ready 4                     | offer 4
         4000   reload                      | retire 3 requested
         4100   exit 3 0                    | forget 3 requested, start 5 g2
         4200   exit 5 1                    | forget 5 exit-code failed, abandon-reload g2 exit-code, start 6 g1
         5000   ready 6                     | offer 6
         6000   reload                      | retire 4 requested
         6100   exit 4 0                    | forget 4 requested, start 7 g3
         7000   ready 7                     | offer 7, retire 6 requested
         7100   exit 6 0                    | forget 6 requested, start 8 g3
         8000   ready 8                     | offer 8, finish-reload g3",
    );
}

#[test]
fn a_pool_without_a_worker_gets_the_idle_one_of_a_pool_above_its_minimum() {
    play(
        "0      maximum-processes 3         |
         0      add scale=1..3; add p2 scale=0..3 | report starting, start 1 g1, report serving p2
         900    ready 1; used 3 0           | offer 1, report serving, start 2 g1, start 3 g1
         1900   ready 2; ready 3            | offer 2, offer 3
         2000   used 0 1 p2                 | shed 1
         2001   shed 2                      | retire 2 scaled-down
         2100   drained 2; exit 2 0         | stop 2 scaled-down, forget 2 scaled-down, start 4 g1 p2
         3000   ready 4                     | offer 4",
    );
}

#[test]
fn who_has_made_room_does_not_want_it_back_for_what_is_over() {
    play(
        "0      maximum-processes 1         |
         0      add scale=0..3; add p2 scale=0..3 | report serving, report serving p2
         100    used 0 1                    | start 1 g1
         900    ready 1; used 1 0           | offer 1
         1000   used 0 1 p2                 | shed 1
         1500   shed 1                      | retire 1 scaled-down
         1600   drained 1; exit 1 0         | stop 1 scaled-down, forget 1 scaled-down, start 2 g1 p2
         2400   ready 2; used 1 0 p2        | offer 2
         60000  jump                        |
         60000  used 0 1                    | shed 1 p2",
    );
}

#[test]
fn of_pools_above_their_minimum_the_one_that_had_none_idle_is_asked_last() {
    play(
        "0      maximum-processes 4         |
         0      add scale=1..2; add scale=1..2 p2; add scale=0..2 p3 | report starting, start 1 g1, report starting p2, start 2 g1 p2, report serving p3
         900    ready 1; used 2 0           | offer 1, report serving, start 3 g1
         901    ready 2; used 2 0 p2        | offer 2, report serving p2, start 4 g1 p2
         1900   ready 3; ready 4            | offer 3, offer 4
         2000   used 0 1 p3                 | shed 1 p2
         7000   tick                        | shed 1
         7001   shed 1                      | retire 1 scaled-down
         7100   drained 1; exit 1 0         | stop 1 scaled-down, forget 1 scaled-down, start 5 g1 p3",
    );
}

#[test]
fn lifting_the_maximum_starts_what_waited() {
    play(
        "0      maximum-processes 1         |
         0      add processes=3             | report starting, start 1 g1
         100    maximum-processes 2         | start 2 g1
         200    maximum-processes 0         | start 3 g1",
    );
}
