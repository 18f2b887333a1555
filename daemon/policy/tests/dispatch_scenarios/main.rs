//! What the dispatch machine does, told as timelines (see `timeline`).

mod timeline;

use stockade_policy::Limit;
use stockade_policy::dispatch::{Retry, Settings};
use timeline::{run, run_with, settings};

#[test]
fn a_request_runs_where_a_slot_is_free() {
    run("0 offer 1 1
         0 pool serving
         0 slots 0 1 0
         1 arrive a      -> hand a 1
         1 slots 1 0 0
         2 head a
         3 end a         -> served 1
         3 idle
         4 arrive a      -> hand a 1
         5 head a
         6 end a");
}

#[test]
fn requests_wait_in_order_and_leave_when_a_slot_is_free() {
    run("0 arrive a
         1 arrive b
         2 arrive c
         3 slots 0 0 3
         4 offer 1 1     -> hand a 1
         5 head a
         6 end a         -> served 1; hand b 1
         7 head b
         7 offer 2 2     -> hand c 2
         8 slots 2 1 0");
}

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
fn queue_limit_refuses_what_comes_on_top() {
    run_with(
        Settings {
            queue_limit: 1,
            ..settings()
        },
        "0 offer 1 1
         1 arrive a      -> hand a 1
         1 arrive b
         1 arrive c      -> refuse c queue-limit
         2 leave b
         2 arrive c
         3 set queue-limit 0
         3 arrive d      -> refuse d queue-limit
         4 end a         -> hand c 1
         5 arrive d      -> refuse d queue-limit
         6 end c
         7 arrive d      -> hand d 1",
    );
}

#[test]
fn queue_timeout_is_exact() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 head a
         100 arrive b
         200 arrive c
         300 deadline 1100
         1099 timeout
         1100 timeout    -> refuse b queue-timeout
         1100 deadline 1200
         1200 end a      -> served 1; refuse c queue-timeout
         1200 idle");
}

#[test]
fn those_whose_time_is_over_make_room() {
    run_with(
        Settings {
            queue_limit: 1,
            ..settings()
        },
        "0 arrive a
         1000 arrive b   -> refuse a queue-timeout
         1000 slots 0 0 1",
    );
}

#[test]
fn a_changed_queue_timeout_holds_for_those_who_wait() {
    run("0 arrive a
         0 deadline 1000
         1 set queue-timeout off
         1 deadline none
         9000 timeout
         9001 set queue-timeout 9500
         9001 deadline 9500
         9500 timeout    -> refuse a queue-timeout");
}

#[test]
fn retry_after_is_the_queue_at_the_rate_at_which_slots_become_free() {
    run_with(
        Settings {
            queue_limit: 2,
            queue_timeout: Limit::OFF,
            ..settings()
        },
        "0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         0 arrive c
         0 head a
         2000 end a      -> served 1; hand b 1
         2000 head b
         2000 arrive d
         4000 end b      -> hand c 1
         4000 head c
         4000 arrive e
         4000 arrive f   -> refuse f queue-limit 6s
         40000 arrive g  -> refuse g queue-limit 60s",
    );
}

#[test]
fn request_timeout_is_exact_and_the_slot_is_lost() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         10 arrive b     -> hand b 1
         20 arrive c
         21 slots 2 0 1
         30 leave c
         4999 timeout
         5000 timeout    -> time-out a; timed-out 1
         5000 slots 2 0 0
         5001 arrive c
         5005 head b
         5006 end a
         5007 end b      -> served 1
         5008 slots 1 0 1
         5009 offer 1 2
         5010 retire 1   -> drained 1
         5011 gone 1
         5011 slots 0 0 1
         5012 offer 2 1  -> hand c 2");
}

#[test]
fn siblings_of_a_timed_out_request_have_their_own_time() {
    run("0 offer 1 3
         0 arrive a      -> hand a 1
         100 arrive b    -> hand b 1
         200 arrive c    -> hand c 1
         5000 timeout    -> time-out a; timed-out 1
         5000 deadline 5100
         5100 timeout    -> time-out b
         5150 head c
         9000 retire 1
         9001 end c      -> served 1; drained 1");
}

#[test]
fn time_spent_waiting_for_the_body_is_not_counted() {
    run("0 offer 1 1
         0 arrive a post -> hand a 1
         3000 await a
         5000 timeout
         5000 deadline none
         90000 resume a
         90000 deadline 92000
         90500 await a
         90500 await a
         90600 resume a
         90700 resume a
         92099 timeout
         92100 timeout   -> time-out a; timed-out 1");
}

#[test]
fn a_body_awaited_too_late_does_not_save_a_request() {
    run("0 offer 1 1
         0 arrive a post -> hand a 1
         5001 await a
         5002 timeout    -> time-out a; timed-out 1");
}

#[test]
fn the_head_ends_request_timeout() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         10 head a
         5000 timeout
         5000 deadline none
         60000 end a     -> served 1");
}

#[test]
fn a_changed_request_timeout_holds_for_what_runs() {
    run("0 offer 1 2
         0 arrive a      -> hand a 1
         0 set request-timeout off
         0 deadline none
         7000 set request-timeout 8000
         7000 deadline 8000
         7500 set request-timeout 7200
         7500 timeout    -> time-out a; timed-out 1");
}

#[test]
fn an_idempotent_request_is_replayed_elsewhere() {
    run("0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 head a
         3 end a         -> served 2");
}

#[test]
fn a_replay_goes_before_all_who_wait() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         2 gone 1
         3 fail a sent   -> replay a
         4 offer 2 1     -> hand a 2
         5 head a
         6 end a         -> served 2; hand b 2");
}

#[test]
fn a_replay_waits_anew_and_is_then_failed_as_it_may_have_been_executed() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         900 arrive b
         950 gone 1
         950 fail a sent -> replay a
         1900 timeout    -> refuse b queue-timeout
         1950 timeout    -> 502 a");
}

#[test]
fn a_replay_of_which_nothing_was_sent_is_refused() {
    run("0 offer 1 1
         0 arrive a post   -> hand a 1
         10 fail a unsent  -> broken 1; replay a
         1010 timeout      -> refuse a queue-timeout");
}

#[test]
fn a_request_whose_worker_died_twice_is_failed() {
    let patient = Settings {
        retry_limit: 9,
        ..settings()
    };
    run_with(
        patient,
        "0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 fail a sent   -> 502 a",
    );
}

#[test]
fn what_may_not_be_replayed_is_failed() {
    run("0 offer 1 1
         0 arrive a post  -> hand a 1
         1 fail a sent    -> 502 a
         2 arrive b       -> hand b 1
         3 fail b released -> 502 b
         4 arrive c       -> hand c 1
         5 head c
         6 fail c sent    -> 502 c
         7 set retry unsent
         8 arrive d       -> hand d 1
         9 fail d sent    -> 502 d
         10 set retry off
         11 arrive e      -> hand e 1
         12 fail e unsent -> broken 1; 502 e
         13 idle");
}

#[test]
fn retry_limit_0_replays_nothing_that_was_sent() {
    run_with(
        Settings {
            retry_limit: 0,
            ..settings()
        },
        "0 offer 1 1
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 fail a unsent -> broken 1; replay a; hand a 2
         2 fail a sent   -> 502 a",
    );
}

#[test]
fn unsent_replays_are_bounded() {
    run_with(
        Settings {
            retry: Retry::Unsent,
            ..settings()
        },
        "0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 offer 4 1
         0 offer 5 1
         0 arrive a post -> hand a 1
         1 fail a unsent -> broken 1; replay a; hand a 2
         2 fail a unsent -> broken 2; replay a; hand a 3
         3 fail a unsent -> broken 3; replay a; hand a 4
         4 fail a unsent -> broken 4; 502 a",
    );
}

#[test]
fn once_sent_a_request_is_replayed_only_while_its_body_is_held() {
    run("0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 arrive a      -> hand a 1
         1 fail a sent   -> replay a; hand a 2
         2 fail a unsent -> broken 2; replay a; hand a 3
         3 set retry unsent
         4 gone 3
         4 fail a unsent -> 502 a");
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
fn a_failing_or_stopped_pool_refuses() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         2 pool failing  -> refuse b pool-failing
         3 arrive c      -> refuse c pool-failing
         4 end a
         5 arrive d      -> refuse d pool-failing
         6 pool stopped
         7 arrive e      -> refuse e pool-stopped
         8 pool serving
         9 arrive f      -> hand f 1");
}

#[test]
fn replays_of_a_failing_pool_are_refused_only_when_nothing_was_sent() {
    run("0 offer 1 1
         0 offer 2 1
         0 offer 3 1
         0 offer 4 1
         0 arrive a      -> hand a 1
         0 arrive b      -> hand b 2
         0 arrive c      -> hand c 3
         0 arrive d      -> hand d 4
         1 gone 1
         1 gone 2
         1 gone 3
         1 gone 4
         2 fail a sent   -> replay a
         2 fail b unsent -> replay b
         3 pool failing  -> 502 a; refuse b pool-failing
         4 fail c sent   -> 502 c
         4 fail d unsent -> refuse d pool-failing
         4 idle");
}

#[test]
fn a_host_that_went_away_leaves_the_queue_but_not_its_slot() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         0 arrive c
         1 leave b
         2 leave a
         3 slots 1 0 1
         4 fail a sent   -> hand c 1
         5 leave c
         5005 timeout    -> time-out c; timed-out 1
         5005 idle");
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
fn what_is_said_of_an_ended_request_is_ignored() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 end a
         2 end a
         3 head a
         4 arrive a      -> hand a 1
         5 end a'
         5 fail a' sent
         5 leave a'
         5 head a'
         5 await a'
         5 resume a'
         6 slots 1 0 0
         5000 timeout
         5004 timeout    -> time-out a; timed-out 1");
}

#[test]
fn a_place_used_again_has_ended_its_earlier_request() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         0 arrive b
         1 arrive a      -> hand b 1
         2 arrive b      -> hand a 1
         3 slots 1 0 1");
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

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    run("100 offer 1 1
         100 arrive a     -> hand a 1
         50 arrive b
         60 deadline 1100
         50 head a
         20 end a         -> served 1; hand b 1
         20 deadline 5100");
}
