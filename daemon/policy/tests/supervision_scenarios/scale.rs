//! How many workers a pool has, told as timelines: as many as are used, on demand, as an operator says.

use crate::timeline::{play, resume};

#[test]
fn a_pool_grows_with_its_use_and_shrinks_by_what_is_idle() {
    play(
        "0      add scale=1..4 spare=1  | report starting, start 1 g1
         900    ready 1                 | offer 1, report serving
         1000   used 1 0                | start 2 g1
         1900   ready 2                 | offer 2
         2000   used 2 0                | start 3 g1
         2900   ready 3                 | offer 3
         3000   used 3 0                | start 4 g1
         3900   ready 4                 | offer 4
         4000   used 4 0                |
         60000  used 1 0                | shed 2
         60001  shed 2; shed 3          | retire 2 scaled-down, retire 3 scaled-down
         60002  drained 2; drained 3    | stop 2 scaled-down, stop 3 scaled-down
         60100  signal 2 15; exit 3 0   | forget 2 scaled-down, forget 3 scaled-down
         90000  used 0 0                | shed 1
         90001  shed 4                  | retire 4 scaled-down",
    );
}

#[test]
fn what_waits_grows_a_pool_by_the_slots_that_are_missing_and_doubles_it_at_most() {
    play(
        "0      add scale=1..20          | report starting, start 1 g1
         900    ready 1                  | offer 1, report serving
         1000   used 1 0                 |
         2000   used 1 9                 | start 2 g1
         2050   used 1 9                 | start 3 g1, start 4 g1
         2100   used 1 4                 | start 5 g1
         2150   used 1 4                 |
         2900   ready 2; ready 3; ready 4; ready 5 | offer 2, offer 3, offer 4, offer 5",
    );
    play(
        "0      add scale=1..20 threads=8   | report starting, start 1 g1
         900    ready 1                     | offer 1, report serving
         2000   used 1 9                    | start 2 g1
         2050   used 1 9                    | start 3 g1
         2100   used 1 16                   |
         2900   ready 2; ready 3            | offer 2, offer 3",
    );
}

#[test]
fn one_request_for_shedding_is_out_at_a_time_and_a_lost_one_is_asked_again() {
    play(
        "0      add scale=1..4             | report starting, start 1 g1
         900    ready 1; used 3 0          | offer 1, report serving, start 2 g1, start 3 g1
         1900   ready 2; ready 3           | offer 2, offer 3
         60000  used 2 0                   | shed 1
         61000  used 1 0; used 2 0; used 1 0 |
         61001  shed 3                     | retire 3 scaled-down, shed 1
         66001  tick                       | shed 1
         66002  shed 1                     | retire 1 scaled-down
         66003  drained 1                  | stop 1 scaled-down",
    );
}

#[test]
fn a_worker_that_was_shed_but_is_wanted_again_is_made_up_for() {
    play(
        "0      add scale=1..4             | report starting, start 1 g1
         900    ready 1; used 2 0          | offer 1, report serving, start 2 g1
         1900   ready 2                    | offer 2
         60000  used 1 0                   | shed 1
         60001  used 2 0; shed 1           | retire 1 scaled-down, start 3 g1",
    );
}

#[test]
fn a_pool_on_demand_rests_without_a_worker_and_starts_one_for_a_request() {
    let mut machine = play("0      add scale=0..2           | report serving");
    assert_eq!(machine.poll_timeout(), None, "at rest");
    resume(
        &mut machine,
        "1000   used 0 1                 | start 1 g1
         1900   ready 1                  | offer 1
         1901   used 1 0; served 1       |
         70000  used 0 0                 | shed 1
         70001  shed 1                   | retire 1 scaled-down
         70002  drained 1                | stop 1 scaled-down
         70100  exit 1 0                 | forget 1 scaled-down",
    );
    assert_eq!(machine.poll_timeout(), None, "at rest again");
}

#[test]
fn a_worker_that_is_not_wanted_is_not_replaced_whatever_it_goes_for() {
    play(
        "0      add scale=0..3           | report serving
         1000   used 0 2                 | start 1 g1
         1050   used 0 2                 | start 2 g1
         1900   ready 1; ready 2         | offer 1, offer 2
         1901   used 2 0; served 1; served 2 |
         2000   maximum 1                | start 3 g1
         2900   ready 3                  | offer 3, retire 1 maximum-requests
         2901   drained 1; exit 1 0      | stop 1 maximum-requests, forget 1 maximum-requests
         70000  used 0 0                 | shed 2
         70001  maximum 2                | retire 2 maximum-requests
         70002  signal 3 11              | forget 3 signal failed waits, report starting
         70003  exit 2 0                 | forget 2 maximum-requests
         75000..75000  tick              |",
    );
}

#[test]
fn a_failing_pool_on_demand_is_left_alone_until_its_backoff_is_over_and_somebody_asks() {
    let mut machine = play(
        "0            add scale=0..2   | report serving
         0            used 0 1         | start 1 g1
         10           exit 1 1         | forget 1 exit-code failed waits, report starting
         300..600     tick             | start 2 g1
         700          exit 2 1         | forget 2 exit-code failed waits
         1400..1700   tick             | start 3 g1
         1800         exit 3 1         | forget 3 exit-code failed waits
         3200..3800   tick             | start 4 g1
         4000         exit 4 1         | forget 4 exit-code failed waits
         7000..8000   tick             | start 5 g1
         8100         exit 5 1         | forget 5 exit-code failed waits, report failing
         14100..16100 tick             | report starting",
    );
    assert_eq!(machine.poll_timeout(), None, "left alone");
    resume(
        &mut machine,
        "20000          used 0 1       | start 6 g1
         20100          exit 6 1       | forget 6 exit-code failed waits, report failing
         21000          used 0 1       |
         32000..36100   tick           | start 7 g1
         37000          exit 7 1       | forget 7 exit-code failed waits
         61000..69000   tick           | start 8 g1
         70000          ready 8        | offer 8, report serving
         70001          served 8       |",
    );
}

#[test]
fn a_reload_at_rest_starts_a_worker_to_prove_itself() {
    play(
        "0      add scale=0..2           | report serving
         1000   reload                   | start 1 g2
         1900   ready 1                  | offer 1, shed 1, finish-reload g2
         1901   shed 1                   | retire 1 scaled-down
         1902   drained 1; exit 1 0      | stop 1 scaled-down, forget 1 scaled-down
         3000   reload                   | start 2 g3
         3100   exit 2 1                 | forget 2 exit-code failed, abandon-reload g3 exit-code
         4000   used 0 1                 | start 3 g2",
    );
}

#[test]
fn a_reload_of_a_pool_on_demand_that_is_failing_is_tried_beside_it() {
    play(
        "0            add scale=0..2   | report serving
         0            used 0 1         | start 1 g1
         10           exit 1 1         | forget 1 exit-code failed waits, report starting
         20           reload           | start 2 g2
         30           exit 2 1         | forget 2 exit-code failed, abandon-reload g2 exit-code
         40           reload           | start 3 g3
         350          ready 3          | offer 3, finish-reload g3, report serving",
    );
}

#[test]
fn a_pool_that_is_used_is_reloaded_at_the_size_it_has() {
    play(
        "0      add scale=0..4           | report serving
         1000   used 0 2                 | start 1 g1
         1050   used 0 2                 | start 2 g1
         1900   ready 1; ready 2; used 2 0 | offer 1, offer 2
         5000   reload                   | start 3 g2
         5900   ready 3                  | offer 3, retire 1 requested, start 4 g2
         6900   ready 4                  | offer 4, retire 2 requested, finish-reload g2",
    );
}

#[test]
fn a_reload_does_not_wait_for_workers_above_the_scale_that_are_never_idle() {
    play(
        "0      add processes=3          | report starting, start 1 g1, start 2 g1, start 3 g1
         900    ready 1; ready 2; ready 3 | offer 1, report serving, offer 2, offer 3
         1000   scale scale=2..2         | shed 1
         1001   change processes=2; reload | retire 1 requested
         1100   drained 1; exit 1 0      | stop 1 requested, forget 1 requested, start 4 g2
         1900   ready 4                  | offer 4, retire 2 requested",
    );
}

#[test]
fn an_operator_scales_until_the_next_reload() {
    let mut machine = play(
        "0      add processes=1          | report starting, start 1 g1
         900    ready 1                  | offer 1, report serving
         1000   scale scale=3..3         | start 2 g1, start 3 g1
         1900   ready 2; ready 3         | offer 2, offer 3
         2000   scale scale=2..2         | shed 1
         2050   shed 1                   | retire 1 scaled-down
         2001   used 1 1                 |
         2100   drained 1; exit 1 0      | stop 1 scaled-down, forget 1 scaled-down
         3000   reload                   | start 4 g2
         3900   ready 4                  | offer 4, retire 2 requested, retire 3 requested, finish-reload g2",
    );
    assert_eq!(machine.snapshot().ignored, 1, "of one number");
    let pool = machine.snapshot().pools[0];
    assert_eq!((pool.minimum, pool.maximum, pool.wanted), (1, 1, 1));
    resume(
        &mut machine,
        "5000   scale scale=1..5 spare=1; used 2 0   | start 5 g2, start 6 g2",
    );
    let pool = machine.snapshot().pools[0];
    assert_eq!((pool.minimum, pool.maximum, pool.wanted), (1, 5, 3));
}
