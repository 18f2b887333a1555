//! Every (state, event) pair of a life, and every edge between its states.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::Limit;
use crate::{Backoff, supervision::Scale};

/// What each event does in each state: the effect, the state after it, the actions. `-`: nothing at all.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 9])] = &[
    // launching: not launched. loading: launched, not ready. ready: not served. served: has served. killing: launched.
    // event        launching                            loading                             ready                             served                            retiring                         aborting: stopping, not launched      stopping               killing              gone
    ("launched",    ["taken launching",                  "-",                                "-",                              "-",                              "-",                             "taken stopping",                     "-",                   "-",                 "-"]),
    ("launch failed", ["failed gone",                    "-",                                "-",                              "-",                              "-",                             "taken gone",                         "-",                   "-",                 "-"]),
    ("ready",       ["ready ready offer",                "ready ready offer",                "-",                              "-",                              "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("served",      ["-",                                "-",                                "served ready",                   "-",                              "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("maximum",     ["-",                                "-",                                "taken tired",                    "taken tired",                    "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("timed out",   ["-",                                "-",                                "taken retiring retire",          "taken retiring retire",          "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("shed",        ["-",                                "-",                                "shed retiring retire",           "shed retiring retire",           "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("deadlocked",  ["-",                                "-",                                "taken stopping stop overdue",    "taken stopping stop overdue",    "taken stopping stop overdue",   "-",                                  "-",                   "-",                 "-"]),
    ("recovered",   ["-",                                "-",                                "-",                              "-",                              "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("broke",       ["failed stopping stop",             "failed stopping stop",             "failed retiring retire",         "taken retiring retire",          "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("drained",     ["-",                                "-",                                "-",                              "-",                              "taken stopping stop",           "-",                                  "-",                   "-",                 "-"]),
    ("exited 0",    ["failed gone",                      "failed gone",                      "failed gone",                    "taken gone",                     "taken gone",                    "taken gone",                         "taken gone",          "taken gone",        "-"]),
    ("signalled",   ["failed gone",                      "failed gone",                      "failed gone",                    "taken gone",                     "taken gone",                    "taken gone",                         "taken gone",          "taken gone",        "-"]),
    ("deadline",    ["failed stopping stop",             "failed stopping stop",             "-",                              "-",                              "taken stopping stop overdue",   "taken killing kill",                 "taken killing kill",  "taken killing kill", "-"]),
    ("too early",   ["-",                                "-",                                "-",                              "-",                              "-",                             "-",                                  "-",                   "-",                 "-"]),
    ("stop",        ["told stopping stop",               "told stopping stop",               "told stopping stop",             "told stopping stop",             "told stopping stop",            "told stopping",                      "told stopping",       "told killing",      "told gone"]),
    ("stop overdue", ["told stopping stop",              "told stopping stop",               "told stopping stop overdue",     "told stopping stop overdue",     "told stopping stop overdue",    "told stopping",                      "told stopping",       "told killing",      "told gone"]),
    ("kill",        ["told killing kill",                "told killing kill",                "told killing kill",              "told killing kill",              "told killing kill",             "told killing kill",                  "told killing kill",   "told killing",      "told gone"]),
];

#[test]
fn every_event_in_every_state() {
    for (event, expected) in TABLE {
        for (column, expected) in expected.iter().enumerate() {
            let (mut life, mut context) = lives().swap_remove(column);
            let before = format!("{life:?}");
            let told = feed(event, &mut life, &mut context);
            let actions = actions(&mut context);
            let got = if told == "stale" && actions.is_empty() {
                assert_eq!(before, format!("{life:?}"), "{event} in column {column}");
                "-".to_owned()
            } else {
                [told, name(&life.state).to_owned(), actions].join(" ")
            };
            assert_eq!(
                got.trim_end(),
                *expected,
                "{event} in column {column}: {before}"
            );
        }
    }
}

/// Rows: from; columns: to, in the order of `states()`. `1`: legal.
const EDGES: [[u8; 6]; 6] = [
    [0, 1, 0, 1, 1, 1], // Starting
    [0, 0, 1, 1, 1, 1], // Ready
    [1, 0, 0, 1, 1, 1], // Retiring: one becomes a template
    [0, 0, 0, 0, 1, 1], // Stopping
    [0, 0, 0, 0, 1, 1], // Killing
    [0, 0, 0, 0, 0, 0], // Gone
];

#[test]
fn only_legal_edges_are_entered() {
    for (from, row) in states().into_iter().zip(EDGES) {
        for (to, legal) in states().into_iter().zip(row) {
            let (mut life, context) = lives().swap_remove(0);
            life.state = from;
            let entered = catch_unwind(AssertUnwindSafe(|| life.enter(to, &context))).is_ok();
            assert_eq!(entered, legal == 1, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_worker_that_breaks_is_cleared_by_an_answer() {
    let (mut life, mut context) = lives().swap_remove(2);
    assert_eq!(
        life.broke(&mut context),
        Effect::Failed(Cause::ProtocolError)
    );
    assert_eq!(life.served(&mut context), Effect::Served);
    assert_eq!(life.drained(&mut context), Effect::Taken);
    assert_eq!(life.exited(Exit::Signal(15), &mut context), Effect::Taken);
    assert_eq!(life.end(), Some(End::ours(Cause::ProtocolError)));
}

#[test]
fn a_crash_while_retiring_is_told_as_it_was() {
    for (exit, cause) in [
        (Exit::Code(0), Cause::MaximumRequests),
        (Exit::Code(3), Cause::ExitCode(3)),
        (Exit::Signal(11), Cause::Signal(11)),
        (Exit::OutOfMemory, Cause::OutOfMemory),
    ] {
        let (mut life, mut context) = lives().swap_remove(3);
        life.retire(Cause::MaximumRequests, &mut context);
        assert_eq!(life.exited(exit, &mut context), Effect::Taken);
        assert_eq!(life.end(), Some(End::ours(cause)));
    }
}

/// What it died of is told when that was not our doing, however far we had gone; a failure stays one.
#[test]
fn the_signal_that_was_not_ours_is_the_cause_and_what_was_ours_is_not() {
    let ours = Cause::ProtocolError;
    let signal = |number| (Exit::Signal(number), Cause::Signal(number));
    let memory = (Exit::OutOfMemory, Cause::OutOfMemory);
    let code = |status| (Exit::Code(status), Cause::ExitCode(status));
    let stopped = (Exit::Signal(15), ours);
    let (ended, gave_up) = ((Exit::Code(0), ours), (Exit::Code(3), ours));
    for (steps, exits) in [
        (
            "broke",
            vec![signal(9), signal(15), signal(11), memory, code(0), code(3)],
        ),
        (
            "broke drained",
            vec![signal(9), signal(6), memory, stopped, ended, gave_up],
        ),
        (
            "broke drained deadline",
            vec![signal(11), memory, (Exit::Signal(9), ours), stopped, ended],
        ),
    ] {
        for ((exit, cause), (column, failed)) in exits
            .into_iter()
            .flat_map(|exit| [(exit, (2, true)), (exit, (3, false))])
        {
            let (mut life, mut context) = lives().swap_remove(column);
            for step in steps.split(' ') {
                feed(step, &mut life, &mut context);
            }
            assert_eq!(life.exited(exit, &mut context), Effect::Taken);
            assert_eq!(life.end(), Some(End { cause, failed }), "{steps}: {exit:?}");
        }
    }
}

#[test]
fn an_interrupted_worker_recovers_or_retires_by_its_first_deadline() {
    let settings = Settings {
        interrupt_timeout: Duration::from_secs(5),
        restart_interval: Limit::of(Duration::from_secs(100)),
        ..settings()
    };
    let mut context = Context::new(0);
    let mut life = Life::start(
        PoolId(1),
        Generation(1),
        Role::Worker,
        &settings,
        &mut context,
    );
    assert_eq!(life.ready(&mut context), Effect::Ready);
    let worn = life.deadline().unwrap();
    assert!(worn > Time::new(Duration::from_secs(90)));
    for seconds in [10, 12] {
        context.advance(Time::new(Duration::from_secs(seconds)));
        assert_eq!(life.request_timed_out(&mut context), Effect::Taken);
        let first = Time::new(Duration::from_secs(15));
        assert_eq!(
            (life.deadline(), name(&life.state)),
            (Some(first), "interrupted")
        );
    }
    assert_eq!(life.recovered(&mut context), Effect::Taken);
    assert_eq!((life.deadline(), name(&life.state)), (Some(worn), "ready"));
    assert_eq!(life.request_timed_out(&mut context), Effect::Taken);
    context.advance(Time::new(Duration::from_secs(200)));
    assert_eq!(life.expire(&mut context), Effect::Taken);
    assert_eq!(life.leaving(), Some(Cause::RequestTimeout));
    actions(&mut context);
}

#[test]
fn timeouts_that_are_off_never_come() {
    let settings = Settings {
        startup_timeout: Limit::OFF,
        graceful_timeout: Limit::OFF,
        ..settings()
    };
    let mut context = Context::new(0);
    let mut life = Life::start(
        PoolId(1),
        Generation(1),
        Role::Worker,
        &settings,
        &mut context,
    );
    assert_eq!(life.deadline(), None);
    assert_eq!(life.ready(&mut context), Effect::Ready);
    life.retire(Cause::RequestTimeout, &mut context);
    context.advance(Time::new(Duration::MAX));
    assert_eq!(life.expire(&mut context), Effect::Stale);
}

fn feed(event: &str, life: &mut Life, context: &mut Context) -> String {
    let effect = match event {
        "launched" => life.launched(context),
        "launch failed" => life.launch_failed(context),
        "ready" => life.ready(context),
        "served" => life.served(context),
        "maximum" => life.tired(Cause::MaximumRequests, context),
        "timed out" => life.request_timed_out(context),
        "shed" => life.shed(context),
        "deadlocked" => life.deadlocked(context),
        "recovered" => life.recovered(context),
        "broke" => life.broke(context),
        "drained" => life.drained(context),
        "exited 0" => life.exited(Exit::Code(0), context),
        "signalled" => life.exited(Exit::Signal(11), context),
        "too early" => life.expire(context),
        "deadline" => {
            context.advance(Time::new(Duration::from_secs(3600)));
            life.expire(context)
        }
        "stop" | "stop overdue" => {
            life.stop(event == "stop overdue", context);
            return "told".to_owned();
        }
        "kill" => {
            life.kill(context);
            return "told".to_owned();
        }
        other => panic!("no such event: {other}"),
    };
    match effect {
        Effect::Stale => "stale",
        Effect::Taken => "taken",
        Effect::Ready => "ready",
        Effect::Served => "served",
        Effect::Shed => "shed",
        Effect::Promoted => "promoted",
        Effect::Proven => "proven",
        Effect::Failed(_) => "failed",
    }
    .to_owned()
}

/// One life per column of the table, its actions taken.
fn lives() -> Vec<(Life, Context)> {
    let steps: [&[&str]; 9] = [
        &[],
        &["launched"],
        &["launched", "ready"],
        &["launched", "ready", "served"],
        &["launched", "ready", "served", "timed out"],
        &["stop"],
        &["launched", "stop"],
        &["launched", "kill"],
        &["launched", "exited 0"],
    ];
    steps
        .into_iter()
        .map(|steps| {
            let mut context = Context::new(0);
            let mut life = Life::start(
                PoolId(1),
                Generation(1),
                Role::Worker,
                &settings(),
                &mut context,
            );
            for step in steps {
                feed(step, &mut life, &mut context);
            }
            actions(&mut context);
            (life, context)
        })
        .collect()
}

fn states() -> [State; 6] {
    let end = End::ours(Cause::Requested);
    let at = Time::default();
    [
        State::Starting { deadline: None },
        State::READY,
        State::Retiring {
            end,
            deadline: None,
        },
        State::Stopping { end, deadline: at },
        State::Killing {
            end,
            again: at,
            times: 1,
        },
        State::Gone { end },
    ]
}

const fn name(state: &State) -> &'static str {
    match state {
        State::Starting { .. } => "launching",
        State::Ready {
            interrupted: Some(_),
            ..
        } => "interrupted",
        State::Ready { tired: None, .. } => "ready",
        State::Ready { tired: Some(_), .. } => "tired",
        State::Retiring { .. } => "retiring",
        State::Stopping { .. } => "stopping",
        State::Killing { .. } => "killing",
        State::Gone { .. } => "gone",
    }
}

fn actions(context: &mut Context) -> String {
    let mut names = Vec::new();
    while let Some(action) = context.poll_action() {
        let (worker, name) = match action {
            Action::StartWorker { worker, .. } => (worker, "start"),
            Action::OfferWorker { worker } => (worker, "offer"),
            Action::RetireWorker { worker, .. } => (worker, "retire"),
            Action::StopWorker {
                worker,
                overdue: true,
                ..
            } => (worker, "stop overdue"),
            Action::StopWorker { worker, .. } => (worker, "stop"),
            Action::KillWorker { worker } => (worker, "kill"),
            Action::InterruptWorker { worker } => (worker, "interrupt"),
            Action::ForgetWorker { .. }
            | Action::ReportPool { .. }
            | Action::FinishReload { .. }
            | Action::AbandonReload { .. }
            | Action::ShedWorkers { .. }
            | Action::ForgetPool { .. }
            | Action::DrainRelay
            | Action::StartTemplate { .. }
            | Action::ForkWorker { .. }
            | Action::MakeTemplate { .. }
            | Action::Finish => panic!("not a life's action: {action:?}"),
        };
        assert_eq!(worker, WorkerId(1));
        names.push(name);
    }
    names.join(" ")
}

const fn settings() -> Settings {
    Settings {
        scale: Scale::of(1),
        threads: 1,
        surge: 1,
        startup_timeout: Limit::of(Duration::from_secs(15)),
        graceful_timeout: Limit::of(Duration::from_secs(65)),
        eviction_timeout: Limit::of(Duration::from_secs(30)),
        shutdown_timeout: Duration::from_secs(5),
        stop_signal: 15,
        restart_interval: Limit::OFF,
        interrupt_timeout: Duration::ZERO,
        backoff: Backoff {
            initial: Duration::from_millis(500),
            maximum: Duration::from_secs(60),
        },
        ready_after: None,
        preload: false,
        first_alone: false,
        development: false,
    }
}
