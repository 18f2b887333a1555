//! `preload`: workers are forked of a template.

use crate::timeline::play;

#[test]
fn workers_follow_when_their_template_is_ready() {
    play(
        "0      add processes=2 preload=1 | report starting, template 1 g1
         100    launched 1              |
         900    ready 1                 | fork 2 g1 of 1, fork 3 g1 of 1
         910    launched 2; ready 2     | offer 2, report serving
         915    launched 3; ready 3     | offer 3
         2000   served 2                |
         2000   exit 2 1                | forget 2 exit-code, fork 4 g1 of 1",
    );
}

#[test]
fn a_template_that_does_not_load_fails_as_a_worker_does() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    launched 1; exit 1 3    | forget 1 exit-code failed waits
         900..1100  tick                | template 2 g1
         1200   launched 2              |
         15900..16100 tick              | stop 2 startup-timeout, report failing
         16500  exit 2 0                | forget 2 startup-timeout failed waits",
    );
}

#[test]
fn a_worker_that_fails_takes_its_template_along() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         600    launched 2; exit 2 1    | stop 1 requested, forget 2 exit-code failed waits
         700    signal 1 15             | forget 1 requested
         1000..1200 tick                | template 3 g1
         2000   ready 3                 | fork 4 g1 of 3
         2010   ready 4                 | offer 4, report serving",
    );
}

#[test]
fn a_fork_that_does_not_come_is_not_waited_for() {
    play(
        "0      add preload=1 startup=2000 | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         2500   tick                    | stop 2 startup-timeout, stop 1 requested, report failing
         2510   launch-failed 2         | forget 2 startup-timeout failed waits
         2520   signal 1 15             | forget 1 requested",
    );
}

#[test]
fn a_template_that_dies_at_rest_is_missed_when_the_next_worker_is_wanted() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         600    ready 2; served 2       | offer 2, report serving
         700    signal 1 9              | forget 1 signal
         800    exit 2 0                | forget 2 exit-code, template 3 g1, report starting",
    );
}

#[test]
fn a_reload_takes_a_template_of_its_own() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         600    ready 2; served 2       | offer 2, report serving
         1000   reload                  | template 3 g2
         2000   ready 3                 | fork 4 g2 of 3
         2010   ready 4                 | offer 4, retire 2 requested, finish-reload g2, stop 1 requested
         2020   signal 1 15             | forget 1 requested
         3000   drained 2               | stop 2 requested
         3010   signal 2 15             | forget 2 requested
         4000   reload                  | template 5 g3
         4500   launched 5; exit 5 3    | forget 5 exit-code failed, abandon-reload g3 exit-code",
    );
}

#[test]
fn on_demand_the_template_goes_with_the_last_worker() {
    play(
        "0      add scale=0..2 preload=1 | report serving
         1000   used 0 1                | template 1 g1
         1500   ready 1                 | fork 2 g1 of 1
         1510   ready 2; served 2       | offer 2
         9000   used 0 0                | shed 1
         9010   shed 2                  | retire 2 scaled-down
         9020   drained 2               | stop 2 scaled-down
         9030   signal 2 15             | forget 2 scaled-down, stop 1 requested
         9040   signal 1 15             | forget 1 requested",
    );
}

#[test]
fn the_end_of_the_daemon_is_the_template_s_too() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         600    ready 2                 | offer 2, report serving
         700    stop                    | drain-relay, stop 1 requested
         710    signal 1 15             | forget 1 requested
         900    relay-drained           | report stopped, stop 2 requested
         910    signal 2 15             | forget 2 requested, finish",
    );
}

#[test]
fn a_seasoned_worker_becomes_the_template_and_the_others_follow() {
    play(
        "0      add processes=2 preload=1 | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1, fork 3 g1 of 1
         510    ready 2; served 2       | offer 2, report serving
         510    ready 3; served 3       | offer 3
         5000   seasoned 2              | fork 4 g1 of 1
         5010   ready 4                 | offer 4, retire 2 refork
         5015   seasoned 3              |
         5020   drained 2               | make-template 2
         5100   ready 2                 | fork 5 g1 of 2, stop 1 requested
         5110   ready 5; served 5       | offer 5, retire 3 refork
         5110   signal 1 15             | forget 1 requested
         5120   drained 3; exit 3 0     | stop 3 refork, forget 3 refork, fork 6 g1 of 2
         5130   ready 6                 | offer 6, retire 4 refork
         6000   drained 4; exit 4 0     | stop 4 refork, forget 4 refork
         7000   seasoned 5              |",
    );
}

#[test]
fn a_worker_that_cannot_be_forked_leaves_everything_as_it_was() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         510    ready 2; served 2       | offer 2, report serving
         5000   seasoned 2              | fork 3 g1 of 1
         5010   ready 3                 | offer 3, retire 2 refork
         5020   drained 2               | make-template 2
         5030   exit 2 6                | forget 2 exit-code
         6000   served 3; seasoned 3    | fork 4 g1 of 1
         6010   ready 4                 | offer 4, retire 3 maximum-requests
         6020   drained 3               | stop 3 maximum-requests",
    );
}

#[test]
fn a_worker_that_a_new_template_forks_and_that_fails_has_the_next_one_started_fresh() {
    play(
        "0      add preload=1           | report starting, template 1 g1
         500    ready 1                 | fork 2 g1 of 1
         510    ready 2; served 2       | offer 2, report serving
         5000   seasoned 2              | fork 3 g1 of 1
         5010   ready 3                 | offer 3, retire 2 refork
         5020   drained 2               | make-template 2
         5100   ready 2                 | fork 4 g1 of 2, stop 1 requested
         5110   launched 4; exit 4 1    | stop 2 requested, forget 4 exit-code failed waits
         5400..5700 tick                | template 5 g1",
    );
}

#[test]
fn sixteen_are_forked_at_a_time() {
    let forks = |workers: std::ops::RangeInclusive<u32>| {
        let each: Vec<String> = workers
            .map(|worker| format!("fork {worker} g1 of 1"))
            .collect();
        each.join(", ")
    };
    let (first, next, last) = (forks(2..=17), forks(18..=18), forks(19..=19));
    play(&format!(
        "0      add processes=18 preload=1 | report starting, template 1 g1
         500    ready 1                 | {first}
         510    launched 2              | {next}
         520    launched 7              | {last}
         530    launched 3              |"
    ));
}
