//! Reloads, told as timelines.

use crate::timeline::play;

#[test]
fn a_new_generation_takes_over_one_by_one() {
    play(
        "0      add processes=2        | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2       | offer 1, report serving, offer 2
         5000   reload                 | start 3 g2
         5900   ready 3                | offer 3, retire 1 requested
         6000   drained 1              | stop 1 requested
         6100   signal 1 15            | forget 1 requested, start 4 g2
         7000   ready 4                | offer 4, retire 2 requested, finish-reload g2
         7100   drained 2              | stop 2 requested
         7200   exit 2 0               | forget 2 requested",
    );
}

#[test]
fn the_surge_is_how_many_take_over_at_a_time() {
    play(
        "0      add processes=3 surge=2          | report starting, start 1 g1, start 2 g1, start 3 g1
         900    ready 1; ready 2; ready 3        | offer 1, report serving, offer 2, offer 3
         5000   reload                           | start 4 g2, start 5 g2
         5900   ready 5                          | offer 5, retire 1 requested
         5950   ready 4                          | offer 4, retire 2 requested
         6000   drained 1; exit 1 0              | stop 1 requested, forget 1 requested, start 6 g2
         6900   ready 6                          | offer 6, retire 3 requested, finish-reload g2",
    );
}

#[test]
fn a_generation_whose_first_worker_fails_is_abandoned() {
    play(
        "0      add processes=2 surge=2        | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2               | offer 1, report serving, offer 2
         950    served 1; served 2             |
         5000   change processes=5; reload     | start 3 g2, start 4 g2
         5100   exit 3 1                       | forget 3 exit-code failed, stop 4 requested, abandon-reload g2 exit-code
         5200   ready 4                        |
         5300   signal 4 15                    | forget 4 requested
         5400   exit 1 1                       | forget 1 exit-code, start 5 g1
         6000   ready 5                        | offer 5
         7000   reload                         | start 6 g3, start 7 g3
         7100   launch-failed 7                | forget 7 not-executable failed, stop 6 requested, abandon-reload g3 not-executable",
    );
}

#[test]
fn a_generation_that_is_not_ready_in_time_is_abandoned() {
    play(
        "0      add                     | report starting, start 1 g1
         900    ready 1                 | offer 1, report serving
         5000   change startup=3000     |
         5000   reload                  | start 2 g2
         8000   tick                    | stop 2 startup-timeout, abandon-reload g2 startup-timeout
         8100   signal 2 15             | forget 2 startup-timeout failed",
    );
}

#[test]
fn until_a_generation_is_ready_the_old_one_is_kept_up() {
    play(
        "0      add processes=2         | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2        | offer 1, report serving, offer 2
         950    served 1; served 2      |
         5000   reload                  | start 3 g2
         5100   exit 1 0                | forget 1 exit-code, start 4 g1
         5900   ready 3                 | offer 3, stop 4 requested
         6000   signal 4 15             | forget 4 requested, start 5 g2
         6900   ready 5                 | offer 5, retire 2 requested, finish-reload g2",
    );
}

#[test]
fn a_later_failure_of_a_generation_that_serves_only_delays_it() {
    play(
        "0           add processes=2        | report starting, start 1 g1, start 2 g1
         900         ready 1; ready 2       | offer 1, report serving, offer 2
         5000        reload                 | start 3 g2
         5900        ready 3                | offer 3, retire 1 requested
         6000        drained 1; exit 1 0    | stop 1 requested, forget 1 requested, start 4 g2
         6100        exit 4 1               | forget 4 exit-code failed waits
         6475..6600  tick                   | start 5 g2
         7000        ready 5                | offer 5, retire 2 requested, finish-reload g2",
    );
}

#[test]
fn the_new_keys_count_from_the_first_ready_worker_on() {
    play(
        "0      add processes=3                     | report starting, start 1 g1, start 2 g1, start 3 g1
         900    ready 1; ready 2; ready 3           | offer 1, report serving, offer 2, offer 3
         5000   change processes=1 eviction=1000    |
         5001   reload                              | start 4 g2
         5900   ready 4                             | offer 4, retire 1 requested, retire 2 requested, retire 3 requested, finish-reload g2
         45900  tick                                | stop 1 requested overdue, stop 2 requested overdue, stop 3 requested overdue",
    );
}

#[test]
fn a_newer_reload_supersedes_one_without_a_ready_worker_and_keeps_its_keys() {
    play(
        "0      add                              | report starting, start 1 g1
         900    ready 1                          | offer 1, report serving
         5000   change processes=2               |
         5001   reload                           | start 2 g2
         5100   reload                           | stop 2 requested
         5200   exit 2 1                         | forget 2 requested, start 3 g3
         6000   ready 3                          | offer 3, start 4 g3
         6900   ready 4                          | offer 4, retire 1 requested, finish-reload g3",
    );
}

#[test]
fn a_newer_reload_goes_on_from_one_half_done_and_falls_back_to_it() {
    play(
        "0      add processes=2                  | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2                 | offer 1, report serving, offer 2
         5000   reload                           | start 3 g2
         5900   ready 3                          | offer 3, retire 1 requested
         6000   reload                           |
         6100   drained 1; exit 1 0              | stop 1 requested, forget 1 requested, start 4 g3
         6200   exit 4 1                         | forget 4 exit-code failed, abandon-reload g3 exit-code, start 5 g2
         6900   ready 5                          | offer 5, retire 2 requested, finish-reload g2",
    );
}

#[test]
fn the_newest_of_three_generations_replaces_both_older_ones() {
    play(
        "0      add processes=2                  | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2                 | offer 1, report serving, offer 2
         5000   reload                           | start 3 g2
         5900   ready 3                          | offer 3, retire 1 requested
         6000   drained 1; exit 1 0              | stop 1 requested, forget 1 requested, start 4 g2
         6100   ready 4                          | offer 4, retire 2 requested, finish-reload g2
         6200   drained 2; exit 2 0              | stop 2 requested, forget 2 requested
         7000   reload                           | start 5 g3
         7900   ready 5                          | offer 5, retire 3 requested
         8000   exit 3 0                         | forget 3 requested, start 6 g3
         8900   ready 6                          | offer 6, retire 4 requested, finish-reload g3",
    );
}

#[test]
fn a_pool_that_is_down_starts_afresh_at_once() {
    play(
        "0           add processes=2      | report starting, start 1 g1, start 2 g1
         100         exit 1 1; exit 2 1   | forget 1 exit-code failed waits, forget 2 exit-code failed waits
         475..600    tick                 | start 3 g1
         650         change processes=2   |
         700         reload               | stop 3 requested, start 4 g2, start 5 g2
         710         exit 3 1             | forget 3 requested
         1500        ready 4              | offer 4, report serving
         1600        ready 5              | offer 5, finish-reload g2",
    );
}

#[test]
fn a_reload_while_the_first_workers_start_does_not_lose_them() {
    play(
        "0      add                     | report starting, start 1 g1
         100    reload                  | start 2 g2
         200    exit 2 1                | forget 2 exit-code failed, abandon-reload g2 exit-code
         900    ready 1                 | offer 1, report serving",
    );
}

#[test]
fn an_old_worker_that_lingers_holds_up_no_reload() {
    play(
        "0      add processes=2 eviction=9000    | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2                 | offer 1, report serving, offer 2
         5000   reload                           | start 3 g2
         5900   ready 3                          | offer 3, retire 1 requested
         10900  tick                             | start 4 g2
         11800  ready 4                          | offer 4, retire 2 requested, finish-reload g2
         12000  reload                           |
         14900  tick                             | stop 1 requested overdue
         16000  signal 2 15                      | forget 2 signal, start 5 g3",
    );
}

#[test]
fn more_old_workers_that_linger_than_the_surge_hold_the_reload_until_one_is_gone() {
    play(
        "0      add processes=3                  | report starting, start 1 g1, start 2 g1, start 3 g1
         900    ready 1; ready 2; ready 3        | offer 1, report serving, offer 2, offer 3
         5000   reload                           | start 4 g2
         5900   ready 4                          | offer 4, retire 1 requested
         10900  tick                             | start 5 g2
         11800  ready 5                          | offer 5, retire 2 requested
         16800  tick                             |
         45900  tick                             | stop 1 requested overdue
         50900  tick                             | kill 1
         50901  signal 1 9                       | forget 1 requested, start 6 g2
         51700  ready 6                          | offer 6, retire 3 requested, finish-reload g2",
    );
}

#[test]
fn a_reload_waits_for_a_replacement_that_is_under_way() {
    play(
        "0      add                              | report starting, start 1 g1
         900    ready 1                          | offer 1, report serving
         950    served 1                         |
         1000   maximum 1                        | start 2 g1
         1100   reload                           |
         1900   ready 2                          | offer 2, retire 1 maximum-requests
         2000   drained 1; exit 1 0              | stop 1 maximum-requests, forget 1 maximum-requests, start 3 g2
         2900   ready 3                          | offer 3, retire 2 requested, finish-reload g2",
    );
}

#[test]
fn keys_that_need_no_new_workers_hold_at_once() {
    play(
        "0      add processes=1          | report starting, start 1 g1
         900    ready 1                  | offer 1, report serving
         1000   adjust processes=2       | start 2 g1
         1100   ready 2                  | offer 2
         2000   reload                   | start 3 g2
         2100   adjust processes=3       |
         2900   ready 3                  | offer 3, start 4 g2
         3000   ready 4                  | offer 4, retire 1 requested",
    );
}
