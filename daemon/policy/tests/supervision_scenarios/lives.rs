//! What supervision does, told as timelines: starting, failing, replacing, stopping.

use crate::timeline::{play, resume};
use stockade_policy::supervision::{Supervision, WorkerState};

#[test]
fn a_pool_starts_all_its_processes_at_once() {
    play(
        "0     add processes=3                     | report starting, start 1 g1, start 2 g1, start 3 g1
         20    launched 1; launched 2; launched 3  |
         900   ready 2                             | offer 2, report serving
         950   ready 1; ready 3                    | offer 1, offer 3",
    );
}

#[test]
fn where_the_first_is_to_start_alone_the_others_follow_when_it_is_ready() {
    play(
        "0     add processes=3 first-alone=1       | report starting, start 1 g1
         20    launched 1                          |
         900   ready 1                             | offer 1, start 2 g1, start 3 g1, report serving
         950   exit 2 1                            | forget 2 exit-code failed waits",
    );
}

#[test]
fn in_development_one_failure_is_told_at_once_unless_another_worker_serves() {
    play(
        "0           add development=1   | report starting, start 1 g1
         100         exit 1 3            | forget 1 exit-code failed waits, report failing
         475..600    tick                | start 2 g1
         900         ready 2             | offer 2, report serving",
    );
    play(
        "0     add processes=2 development=1 | report starting, start 1 g1, start 2 g1
         900   ready 1                       | offer 1, report serving
         950   exit 2 3                      | forget 2 exit-code failed waits",
    );
}

#[test]
fn readiness_may_overtake_the_launch() {
    play(
        "0     add                     | report starting, start 1 g1
         900   ready 1; launched 1     | offer 1, report serving",
    );
}

#[test]
fn a_worker_that_served_and_died_is_replaced_at_once() {
    play(
        "0     add processes=2         | report starting, start 1 g1, start 2 g1
         900   ready 1; ready 2        | offer 1, report serving, offer 2
         950   served 1; served 2      |
         5000  signal 1 11             | forget 1 signal, start 3 g1
         5001  exit 2 0                | forget 2 exit-code, start 4 g1, report starting
         5900  ready 4                 | offer 4, report serving",
    );
}

#[test]
fn a_worker_that_died_before_its_first_request_costs_a_wait_which_doubles() {
    play(
        "0           add          | report starting, start 1 g1
         100         exit 1 1     | forget 1 exit-code failed waits
         475..600    tick         | start 2 g1
         1000        exit 2 1     | forget 2 exit-code failed waits
         1750..2000  tick         | start 3 g1
         2900        ready 3      | offer 3, report serving
         3000        exit 3 0     | forget 3 exit-code failed waits, report starting
         4500..5000  tick         | start 4 g1
         6000        ready 4      | offer 4, report serving
         6001        served 4     |
         7000        signal 4 9   | forget 4 signal, start 5 g1, report starting
         7100        exit 5 1     | forget 5 exit-code failed waits
         7475..7600  tick         | start 6 g1",
    );
}

#[test]
fn after_a_failure_one_probes_and_the_rest_follow_when_it_is_ready() {
    play(
        "0          add processes=3                   | report starting, start 1 g1, start 2 g1, start 3 g1
         100        exit 1 1; exit 2 1; exit 3 1      | forget 1 exit-code failed waits, forget 2 exit-code failed waits, forget 3 exit-code failed waits
         475..600   tick                              | start 4 g1
         1500       ready 4                           | offer 4, start 5 g1, start 6 g1, report serving",
    );
}

#[test]
fn five_failures_in_a_row_without_a_ready_worker_make_the_pool_failing_until_one_is_ready() {
    play(
        "0            add              | report starting, start 1 g1
         10           exit 1 1         | forget 1 exit-code failed waits
         300..600     tick             | start 2 g1
         700          launch-failed 2  | forget 2 not-executable failed waits
         1400..1700   tick             | start 3 g1
         1800         exit 3 1         | forget 3 exit-code failed waits
         3200..3800   tick             | start 4 g1
         4000         exit 4 1         | forget 4 exit-code failed waits
         7000..8000   tick             | start 5 g1
         8100         exit 5 1         | forget 5 exit-code failed waits, report failing
         14100..16100 tick             | start 6 g1
         17000        exit 6 1         | forget 6 exit-code failed waits
         29000..33000 tick             | start 7 g1
         34000        ready 7          | offer 7, report serving",
    );
}

#[test]
fn failures_beside_a_ready_worker_leave_the_pool_serving() {
    let rows = "0    add processes=6    | report starting, start 1 g1, start 2 g1, start 3 g1, start 4 g1, start 5 g1, start 6 g1
                100  ready 1            | offer 1, report serving
                200  exit 2 1; exit 3 1; exit 4 1; exit 5 1; exit 6 1 | forget 2 exit-code failed waits, forget 3 exit-code failed waits, forget 4 exit-code failed waits, forget 5 exit-code failed waits, forget 6 exit-code failed waits
                250  served 1           | start 7 g1, start 8 g1, start 9 g1, start 10 g1, start 11 g1";
    play(rows);
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_stopped_then_killed_and_counts_as_a_failure() {
    play(
        "0             add startup=1000   | report starting, start 1 g1
         50            launched 1         |
         1000          tick               | stop 1 startup-timeout, report failing
         1375..1500    tick               | start 2 g1
         1600          ready 2            | offer 2, report serving
         1700          ready 1            |
         6000          tick               | kill 1
         11000         tick               | kill 1
         11500         signal 1 9         | forget 1 startup-timeout failed",
    );
}

#[test]
fn at_maximum_requests_the_replacement_comes_first_and_one_at_a_time() {
    play(
        "0      add processes=2 surge=2  | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2         | offer 1, report serving, offer 2
         950    served 1; served 2       |
         5000   maximum 1; maximum 2     | start 3 g1
         5001   maximum 1                |
         6000   ready 3                  | offer 3, retire 1 maximum-requests
         6500   drained 1                | stop 1 maximum-requests
         6600   signal 1 15              | forget 1 maximum-requests, start 4 g1
         7000   ready 4                  | offer 4, retire 2 maximum-requests
         72000  tick                     | stop 2 maximum-requests overdue
         72100  exit 2 0                 | forget 2 maximum-requests",
    );
}

#[test]
fn a_replacement_that_fails_leaves_the_old_one_serving() {
    play(
        "0           add          | report starting, start 1 g1
         900         ready 1      | offer 1, report serving
         950         served 1     |
         5000        maximum 1    | start 2 g1
         5100        exit 2 1     | forget 2 exit-code failed waits
         5475..5600  tick         | start 3 g1
         6000        ready 3      | offer 3, retire 1 maximum-requests",
    );
}

#[test]
fn a_tired_worker_that_dies_first_needs_no_second_replacement() {
    play(
        "0      add                      | report starting, start 1 g1
         900    ready 1                  | offer 1, report serving
         950    served 1                 |
         5000   maximum 1                | start 2 g1
         5100   exit 1 0                 | forget 1 exit-code, report starting
         5500   ready 2                  | offer 2, report serving",
    );
}

#[test]
fn a_request_timeout_retires_the_worker_and_replaces_it_at_once() {
    play(
        "0      add                       | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         61000  timed-out 1               | retire 1 request-timeout, start 2 g1, report starting
         61001  timed-out 1; broke 1      |
         61002  drained 1                 | stop 1 request-timeout
         61003  drained 1                 |
         61100  signal 1 15               | forget 1 request-timeout
         61900  ready 2                   | offer 2, report serving",
    );
}

#[test]
fn replacements_wait_for_room_when_more_go_slowly_than_the_surge_allows() {
    play(
        "0      add processes=2           | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2          | offer 1, report serving, offer 2
         950    served 1; served 2        |
         2000   timed-out 1; timed-out 2  | retire 1 request-timeout, start 3 g1, retire 2 request-timeout, report starting
         2900   ready 3                   | offer 3, report serving
         67000  tick                      | stop 1 request-timeout overdue, stop 2 request-timeout overdue
         67100  exit 2 1                  | forget 2 request-timeout, start 4 g1",
    );
}

#[test]
fn a_worker_that_broke_the_protocol_is_replaced_and_waits_when_it_never_served() {
    play(
        "0           add          | report starting, start 1 g1
         900         ready 1      | offer 1, report serving
         950         broke 1      | retire 1 protocol-error, report starting
         951         drained 1    | stop 1 protocol-error
         960         signal 1 15  | forget 1 protocol-error failed waits
         1325..1450  tick         | start 2 g1
         2000        ready 2      | offer 2, report serving
         2100        served 2     |
         3000        broke 2      | retire 2 protocol-error, start 3 g1, report starting
         3001        signal 2 11  | forget 2 signal",
    );
}

#[test]
fn stopping_drains_then_stops_then_kills_then_finishes() {
    let machine = play(
        "0      add processes=2; add p2       | report starting, start 1 g1, start 2 g1, report starting p2, start 3 g1 p2
         900    ready 1; ready 3              | offer 1, report serving, offer 3, report serving p2
         1000   stop                          | drain-relay, stop 2 requested
         1100   exit 2 1                      | forget 2 requested
         1200   signal 1 11                   | forget 1 signal failed, report stopped
         1300   reload; add p3; change; ready 9 |
         2000   relay-drained                 | report stopped p2, stop 3 requested
         2001   relay-drained                 |
         7000   tick                          | kill 3
         7100   signal 3 9                    | forget 3 requested p2, finish
         7200   stop; fast-stop               |",
    );
    assert_eq!(machine.poll_timeout(), None);
    assert_eq!(machine.snapshot().ignored, 7);
}

#[test]
fn a_relay_that_does_not_drain_in_time_is_overdue() {
    play(
        "0      add                       | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         1000   stop                      | drain-relay
         31000  tick                      | report stopped, stop 1 requested overdue
         31100  exit 1 0                  | forget 1 requested, finish",
    );
}

#[test]
fn a_worker_that_retires_while_the_relay_drains_keeps_its_cause() {
    play(
        "0      add                       | report starting, start 1 g1
         900    ready 1                   | offer 1, report serving
         950    served 1                  |
         1000   stop                      | drain-relay
         1100   timed-out 1               | retire 1 request-timeout, report starting
         1200   relay-drained             | report stopped, stop 1 request-timeout
         1300   signal 1 15               | forget 1 request-timeout, finish",
    );
}

#[test]
fn a_second_stop_and_a_fast_stop_kill_at_once() {
    let start = "0     add processes=2   | report starting, start 1 g1, start 2 g1
                 900   ready 1           | offer 1, report serving";
    let mut fast = play(start);
    let mut twice = play(start);
    resume(
        &mut fast,
        "1000  fast-stop         | report stopped, kill 1, kill 2
         1001  launch-failed 2   | forget 2 requested
         1002  signal 1 9        | forget 1 requested, finish",
    );
    resume(
        &mut twice,
        "1000  stop              | drain-relay, stop 2 requested
         1500  stop              | report stopped, kill 1, kill 2
         1501  fast-stop         |
         1502  signal 1 9        | forget 1 requested
         6500  tick              | kill 2
         6501  signal 2 9        | forget 2 requested, finish",
    );
}

#[test]
fn without_workers_the_stop_waits_for_the_relay_only() {
    play(
        "0    add            | report starting, start 1 g1
         10   exit 1 1       | forget 1 exit-code failed waits
         20   stop           | drain-relay, report stopped
         30   relay-drained  | finish",
    );
}

#[test]
fn a_clock_jump_costs_a_healthy_worker_nothing_and_gives_a_stopping_one_its_time() {
    play(
        "0         add processes=2           | report starting, start 1 g1, start 2 g1
         900       ready 1; ready 2          | offer 1, report serving, offer 2
         950       served 1; served 2        |
         1000      timed-out 1               | retire 1 request-timeout, start 3 g1
         90000000  ready 3; jump             | offer 3, stop 1 request-timeout overdue
         90000001  jump                      |
         90005000  tick                      | kill 1",
    );
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    play(
        "10000         add startup=1000   | report starting, start 1 g1
         5000          exit 1 1           | forget 1 exit-code failed waits
         10375..10500  tick               | start 2 g1
         5500          jump               |
         11375..11500  tick               | stop 2 startup-timeout, report failing",
    );
}

#[test]
fn what_is_late_or_about_nobody_is_counted_and_changes_nothing() {
    let machine = play(
        "0     add                        | report starting, start 1 g1
         0     add; reload p7; change p7  |
         100   served 1; maximum 1; timed-out 1; drained 1; relay-drained; ready 2; exit 9 0  |
         900   ready 1; ready 1; launch-failed 1    | offer 1, report serving",
    );
    assert_eq!(machine.snapshot().ignored, 12);
}

#[test]
fn the_snapshot_tells_pools_and_workers() {
    let machine = play(
        "0     add processes=2      | report starting, start 1 g1, start 2 g1
         900   ready 1              | offer 1, report serving
         1000  reload               | start 3 g2",
    );
    let snapshot = machine.snapshot();
    let states: Vec<_> = snapshot
        .workers
        .iter()
        .map(|worker| (worker.id.0, worker.state, worker.generation.0))
        .collect();
    assert_eq!(
        states,
        [
            (1, WorkerState::Ready, 1),
            (2, WorkerState::Starting, 1),
            (3, WorkerState::Starting, 2)
        ]
    );
    let json = serde_json::to_value(snapshot.pools).unwrap();
    let pool = r#"[{"id":1,"state":"serving","generation":1,"newest":2,"minimum":2,"maximum":2,"wanted":2}]"#;
    assert_eq!(
        json,
        serde_json::from_str::<serde_json::Value>(pool).unwrap()
    );
}

#[test]
fn a_saved_machine_goes_on_as_the_one_it_was_saved_from() {
    let mut machine = play(
        "0     add processes=2          | report starting, start 1 g1, start 2 g1
         100   exit 1 1                 | forget 1 exit-code failed waits
         400   ready 2                  | offer 2, report serving",
    );
    let saved = serde_json::to_string(&machine).unwrap();
    let mut copy: Supervision = serde_json::from_str(&saved).unwrap();
    for machine in [&mut machine, &mut copy] {
        resume(
            machine,
            "475..600  tick             | start 3 g1
             900       exit 3 1         | forget 3 exit-code failed waits
             950       reload           | start 4 g2",
        );
    }
    assert_eq!(
        serde_json::to_string(&machine).unwrap(),
        serde_json::to_string(&copy).unwrap()
    );
}

#[test]
fn a_service_is_ready_when_it_has_run_for_a_while() {
    play(
        "0            add ready-after=1000       | report starting, start 1 g1
         20           launched 1                 |
         1020..1020   tick                       | offer 1, report serving
         6020..6020   tick                       |
         9000         signal 1 11                | forget 1 signal, start 2 g1, report starting
         9020         launched 2                 |
         9500         exit 2 1                   | forget 2 exit-code failed waits
         9875..10000  tick                       | start 3 g1
         10010        launched 3                 |
         11010..11010 tick                       | offer 3, report serving
         12000        exit 3 0                   | forget 3 exit-code failed waits, report starting
         12750..13000 tick                       | start 4 g1",
    );
}

#[test]
fn a_service_that_ends_whenever_it_is_ready_waits_longer_each_time_and_is_failing() {
    play(
        "0            add ready-after=1000       | report starting, start 1 g1
         0            launched 1                 |
         1000         tick                       | offer 1, report serving
         2000         exit 1 1                   | forget 1 exit-code failed waits, report starting
         2375..2500   tick                       | start 2 g1
         2500         ready 2                    | offer 2, report serving
         3000         exit 2 1                   | forget 2 exit-code failed waits, report starting
         3750..4000   tick                       | start 3 g1
         4000         ready 3                    | offer 3, report serving
         5000         exit 3 1                   | forget 3 exit-code failed waits, report starting
         6500..7000   tick                       | start 4 g1
         7000         ready 4                    | offer 4, report serving
         8000         exit 4 1                   | forget 4 exit-code failed waits, report starting
         11000..12000 tick                       | start 5 g1
         12000        ready 5                    | offer 5, report serving
         13000        exit 5 1                   | forget 5 exit-code failed waits, report failing
         19000..21000 tick                       | start 6 g1
         21000        ready 6                    | offer 6, report serving
         26000        tick                       |
         27000        exit 6 1                   | forget 6 exit-code, start 7 g1, report starting",
    );
}

#[test]
fn a_worker_that_somebody_killed_died_of_that_though_the_relay_noticed_first() {
    play(
        "0      add processes=2          | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2         | offer 1, report serving, offer 2
         950    served 1                 |
         1000   broke 1; drained 1       | retire 1 protocol-error, start 3 g1, stop 1 protocol-error
         1001   signal 1 9               | forget 1 signal
         1100   broke 2                  | retire 2 protocol-error, report starting
         1101   out-of-memory 2          | forget 2 out-of-memory failed waits
         1475..1650 tick                 |
         1900   ready 3; served 3        | offer 3, start 4 g1, report serving
         2000   ready 4; served 4        | offer 4
         3000   broke 4                  | retire 4 protocol-error, start 5 g1
         3001   exit 4 0                 | forget 4 exit-code",
    );
}

#[test]
fn a_pool_that_is_stuck_at_its_start_is_failing_at_once_unless_one_is_ready() {
    play(
        "0             add processes=2    | report starting, start 1 g1, start 2 g1
         900           ready 1            | offer 1, report serving
         15000         tick               | stop 2 startup-timeout
         15100         signal 2 15        | forget 2 startup-timeout failed waits
         15375..15600  tick               | start 3 g1
         15700         signal 1 11        | forget 1 signal failed waits, report starting
         16075..16200  tick               |
         30375..30600  tick               | stop 3 startup-timeout, report failing",
    );
}

#[test]
fn a_service_may_say_that_it_is_ready() {
    play(
        "0            add ready-after=1000       | report starting, start 1 g1
         20           launched 1                 |
         30           ready 1                    | offer 1, report serving
         5000         reload                     | start 2 g2
         5010         launched 2                 |
         5030         tick                       |
         6010..6010   tick                       | offer 2, retire 1 requested, finish-reload g2
         6011         drained 1                  | stop 1 requested
         6100         signal 1 15                | forget 1 requested",
    );
}

#[test]
fn one_that_hangs_in_the_kernel_does_not_keep_the_daemon_from_ending() {
    let mut machine = play(
        "0      add processes=2       | report starting, start 1 g1, start 2 g1
         900    ready 1; ready 2      | offer 1, report serving, offer 2
         950    fast-stop             | report stopped, kill 1, kill 2
         1000   signal 2 9            | forget 2 requested
         5950   tick                  | kill 1
         10950  tick                  | kill 1, finish
         11000  signal 1 9            |",
    );
    assert_eq!(machine.poll_timeout(), None);
    resume(&mut machine, "60000  tick  |");
}
