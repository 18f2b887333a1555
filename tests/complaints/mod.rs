//! What users of other process managers complain about, and what this one promises instead: a test for each.
//!
//! The list is the table of docs/comparison.md. A complaint is named by the thread it was made in, or by what was seen of the program.

mod hanging;
mod recycling;
mod reloading;
mod sharing;
mod starting;
mod stopping;
mod strangers;
mod under_load;

use std::{fs, path::Path};

use crate::support::{document::test_names, site::Site, stockade::Pool, tools};

/// What goes wrong elsewhere, where that was told, and the tests of what is promised here.
type Complaint = (&'static str, &'static str, &'static [&'static str]);

const COMPLAINTS: &[Complaint] = &[
    (
        "a reload costs requests",
        "gunicorn#3394, granian#921",
        &[
            "twenty_reloads_under_load_fail_no_request",
            "three_reloads_under_load_fail_no_request",
        ],
    ),
    (
        "a worker that is killed costs the requests that others could have had",
        "granian#921",
        &["twenty_killed_workers_fail_no_get"],
    ),
    (
        "a stop drops what is queued in the backlog",
        "gunicorn#3397, #2529, #2409",
        &[
            "a_stop_answers_what_waits_in_the_queue_and_in_the_backlog",
            "a_stop_under_load_answers_every_connection_that_was_taken",
        ],
    ),
    (
        "a restart after so many requests resets connections",
        "gunicorn#3038, #2567; php-src#1421, #1333; roadrunner#614",
        &[
            "maximum_requests_under_load_fails_none_and_replaces_one_worker_at_a_time",
            "maximum_requests_recycles_without_a_failure",
        ],
    ),
    (
        "all workers are recycled at once",
        "gunicorn#862, granian#372, granian#34",
        &["maximum_requests_under_load_fails_none_and_replaces_one_worker_at_a_time"],
    ),
    (
        "a worker that has had its requests never ends under steady load",
        "mod_wsgi",
        &["maximum_requests_under_load_fails_none_and_replaces_one_worker_at_a_time"],
    ),
    (
        "a reload stops the old workers before slow new ones are there",
        "gunicorn#2443, #1757; uvicorn: 5 s",
        &["a_reload_stops_no_old_worker_before_a_new_one_is_ready"],
    ),
    (
        "a bad deploy and a reload stop the site",
        "gunicorn#2443, #554, #1199",
        &[
            "a_reload_onto_an_application_that_raises_fails_no_request",
            "a_generation_that_does_not_come_up_leaves_the_old_one_serving",
            "a_generation_that_does_not_come_up_is_said_with_exit_code_1",
        ],
    ),
    (
        "a rolling restart tries a broken worker for ever",
        "uwsgi#1052",
        &["a_broken_generation_is_tried_with_one_worker_and_given_up"],
    ),
    (
        "one process that is stuck holds up the whole restart",
        "passenger#1927",
        &[
            "an_old_worker_that_is_stuck_does_not_hold_up_the_reload",
            "a_reload_ends_though_the_old_workers_do_not",
        ],
    ),
    (
        "a reload takes no request until the slowest has ended",
        "php-src#3758",
        &["requests_are_answered_while_the_slowest_outlasts_the_reload"],
    ),
    (
        "a signal that killed a worker is not told",
        "gunicorn#2762, #1663",
        &[
            "a_worker_that_segfaults_at_its_start_is_named_and_put_off",
            "an_exit_is_shown_with_its_cause_and_last_lines",
        ],
    ),
    (
        "a crash loop fills the disk, takes the processor, and all looks healthy",
        "gunicorn#2504, #1663; php-src#9632; frankenphp#1162",
        &[
            "a_crash_loop_is_bounded_and_seen_and_answered_at_once",
            "a_worker_that_dies_at_its_start_is_put_off_longer_and_longer",
            "a_pool_that_fails_is_not_ready",
        ],
    ),
    (
        "a crash loop of one application holds up the others",
        "uWSGI: forkbomb-delay",
        &["a_crash_loop_in_one_pool_holds_up_no_other"],
    ),
    (
        "a worker that hangs at its import is never killed",
        "gunicorn#3529",
        &[
            "a_worker_that_is_stuck_at_its_import_is_killed_at_startup_timeout",
            "who_waits_for_a_worker_that_is_stuck_at_its_start_is_refused_after_one_startup_timeout",
        ],
    ),
    (
        "the time to start and the time of a request are one",
        "gunicorn#2196, #2545, #3436; unit#676",
        &[
            "an_application_may_take_longer_to_start_than_a_request_may_take",
            "a_request_may_take_longer_than_a_worker_may_take_to_start",
        ],
    ),
    (
        "a child that is busy at its start misses a sign of life and is killed, again and again",
        "uvicorn#2506, #2500, #2397",
        &["a_worker_that_is_busy_at_its_import_is_not_taken_for_dead"],
    ),
    (
        "a worker of which all threads are stuck is not noticed",
        "gunicorn gthread; uwsgi#2776",
        &["a_worker_that_hangs_in_every_thread_is_replaced_and_its_clients_are_answered"],
    ),
    (
        "a limit that holds only when another one is set",
        "mod_wsgi",
        &["each_limit_in_time_holds_without_the_others"],
    ),
    (
        "a request's timeout leaves the process running; a client that left is not noticed",
        "unit#408",
        &[
            "a_request_timeout_costs_the_worker_its_life_and_nobody_else_anything",
            "a_host_that_goes_away_while_it_waits_is_not_the_workers_fault",
        ],
    ),
    (
        "TERM is not followed by KILL",
        "php-src#4460",
        &[
            "a_worker_that_ignores_term_is_killed_whatever_ends_it",
            "a_worker_that_ignores_term_is_killed",
        ],
    ),
    (
        "a program on libfcgi ignores TERM while it is idle",
        "MapServer#7504",
        &["a_program_on_libfcgi_that_is_idle_ends_at_term"],
    ),
    (
        "TERM reloads instead of stopping, or kills what runs; there is no way to be quick",
        "uwsgi#515, #849; lagoon-images#444",
        &[
            "term_lets_a_running_request_finish",
            "a_stop_under_load_answers_every_connection_that_was_taken",
            "a_second_term_stops_at_once",
        ],
    ),
    (
        "the backlog is too small, shows nothing on unix sockets, and nobody says that it is full",
        "uwsgi#1804, #2444, #2709; zulip#20679",
        &[
            "what_waits_is_counted_and_answered_however_many_it_is",
            "the_backlog_has_room_while_the_relay_has_no_time",
            "a_full_queue_is_said_in_the_log_and_counted",
        ],
    ),
    (
        "one worker gets most of the requests",
        "gunicorn#1984, #2817, #3105",
        &[
            "the_worker_with_the_fewest_requests_is_next",
            "the_address_with_the_fewest_requests_is_next",
        ],
    ),
    (
        "the end of a stranger stops the daemon, or frightens it",
        "gunicorn#3220, php-src#8100",
        &["a_stranger_that_ends_as_pid_1_looks_on_is_reaped_and_nothing_else_happens"],
    ),
    (
        "the parent is killed, its children stay",
        "fcgiwrap#19",
        &["everything_ends_with_a_killed_supervisor"],
    ),
    (
        "a child that was killed leaves the parent busy",
        "fcgiwrap#18",
        &["a_worker_that_was_killed_costs_no_time_afterwards"],
    ),
    (
        "workers are not recycled by their memory, or only at the end of a request",
        "granian#34, php-src#17661, #15274; uWSGI: reload-on-rss",
        &[
            "maximum_memory_replaces_a_worker_that_has_grown_and_no_request_fails",
            "one_worker_at_a_time_is_replaced",
        ],
    ),
    (
        "the status tells the memory of the last request, not what a worker has",
        "php-src#10600, #9494, #16221",
        &[
            "the_memory_and_time_of_a_worker_and_of_what_it_started_are_told",
            "the_place_of_a_worker_is_taken_by_the_next_one_and_nobody_moves",
        ],
    ),
    (
        "a crash tells neither what was asked nor what was written last",
        "gunicorn#1663, #2215",
        &[
            "a_crash_while_three_requests_run_names_the_signal_and_all_three",
            "an_exit_under_a_request_is_told_with_its_last_line",
        ],
    ),
    (
        "a worker that hangs in C, with the interpreter's lock or stopped, is not noticed",
        "gunicorn#2917, uwsgi#2776",
        &[
            "with_the_interpreters_lock_it_is_the_deadlock_timeout_that_sees_it",
            "stopped_while_idle_it_is_the_deadlock_timeout_that_sees_it",
            "stopped_while_busy_it_is_the_request_timeout_that_sees_it",
        ],
    ),
    (
        "the end of one request's time ends all requests of its process",
        "uwsgi#2614, #2606",
        &[
            "what_else_the_process_is_at_goes_on",
            "under_load_nobody_else_is_hit",
        ],
    ),
    (
        "on demand, fewer workers are started than are needed, or more than are",
        "php-src#1308, #4101; roadrunner#2086",
        &[
            "it_has_as_many_as_requests_need_at_once",
            "after_maximum_requests_none_is_started_without_need",
            "it_grows_with_what_waits_and_shrinks_to_the_low_water_mark",
        ],
    ),
    (
        "spare workers are not used, and one that is busy is taken away",
        "unit#1617, uwsgi#1983",
        &["spare_workers_are_ready_beside_the_busy_ones_and_are_used"],
    ),
    (
        "what a worker has started outlives it",
        "fcgiwrap#19",
        &[
            "descendants_die_with_their_worker_wherever_they_went",
            "descendants_in_sessions_of_their_own_end_with_their_worker",
        ],
    ),
];

/// The tests of the list itself.
const LIST: [&str; 2] = [
    "the_document_has_every_complaint",
    "every_complaint_has_a_test",
];

#[test]
fn the_document_has_every_complaint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/comparison.md");
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<String> = COMPLAINTS.iter().map(line).collect();
    let head = text.lines().position(|line| line == HEAD).expect(HEAD);
    let found: Vec<&str> = text.lines().skip(head + 2).take(lines.len()).collect();
    assert_eq!(found, lines, "it is to be:\n{}\n", lines.join("\n"));
}

#[test]
fn every_complaint_has_a_test() {
    let (all, own) = (test_names("tests"), test_names("tests/complaints"));
    for (complaint, _, names) in COMPLAINTS {
        for name in *names {
            assert!(all.contains(&(*name).to_owned()), "{complaint}: {name}");
        }
    }
    let listed = |name: &str| COMPLAINTS.iter().any(|(_, _, names)| names.contains(&name));
    for name in own {
        assert!(
            listed(&name) || LIST.contains(&&*name),
            "{name} is not in the list"
        );
    }
}

const HEAD: &str = "| complaint | told in | test of what is promised here |";

fn line((complaint, told, names): &Complaint) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("| {complaint} | {told} | {} |", names.join(", "))
}

/// A WSGI application, `pages.py` in the site.
fn wsgi(site: &Site, text: &str, keys: &str) -> Pool {
    site.write("pages.py", text);
    Pool::new(&format!(
        "wsgi = \"pages:application\"\npython-home = {:?}\npython-path = [{:?}]\n{keys}",
        tools::python(),
        site.path()
    ))
}

/// The keys for the first wait and the longest, in milliseconds.
fn backoff(initial: u32, maximum: u32) -> String {
    format!("backoff-initial = \"{initial}ms\"\nbackoff-maximum = \"{maximum}ms\"")
}
