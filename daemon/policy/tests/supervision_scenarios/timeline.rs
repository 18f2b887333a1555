//! A timeline: at a time, what happens, and what is done about it.
//!
//! ```text
//! 0           add processes=2          | report starting, start 1 g1, start 2 g1
//! 900         ready 1; ready 2         | offer 1, report serving, offer 2
//! 1400..1500  tick                     |
//! ```
//! Left: milliseconds (a range: whenever in it the machine asked to be called), then events; right: the actions they
//! led to, all of them, in order. A timer that is due before a row's time fails the test, unless the row is a `jump`:
//! nothing happens unseen. Names follow the vocabulary; the pool is 1 unless a word `p2` names another.

use std::time::Duration;

use stockade_policy::supervision::{Action, Cause, Event, Exit, Scale, Settings, Supervision};
use stockade_policy::{Backoff, Limit, PoolId, Time, WorkerId};

const DAEMON_SHUTDOWN: Duration = Duration::from_secs(30);

/// Plays the rows and returns the machine as it stands after them.
pub(crate) fn play(rows: &str) -> Supervision {
    let mut machine = Supervision::new(1);
    resume(&mut machine, rows);
    machine
}

pub(crate) fn resume(machine: &mut Supervision, rows: &str) {
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (happens, expected) = row.split_once('|').expect("a row has a bar");
        let (time, events) = happens
            .trim()
            .split_once(char::is_whitespace)
            .expect("a row has a time and an event");
        let now = row_time(machine, time, row);
        if !events.contains("jump")
            && let Some(due) = machine.poll_timeout()
        {
            assert!(due >= now, "a timer was due at {due:?} before: {row}");
        }
        for event in events.split(';').map(str::trim) {
            match event {
                "tick" | "jump" => machine.handle_timeout(now),
                event if event.starts_with("maximum-processes ") => {
                    let maximum = event.split_whitespace().nth(1);
                    let maximum = maximum.and_then(|most| most.parse().ok());
                    machine.set_maximum_processes(maximum.expect(row));
                }
                event => machine.handle(parse(event, now), now),
            }
        }
        let mut done = Vec::new();
        while let Some(action) = machine.poll_action() {
            done.push(name(&action));
        }
        assert_eq!(done.join(", "), expected.trim(), "at: {row}");
    }
}

fn row_time(machine: &Supervision, time: &str, row: &str) -> Time {
    let millis = |text: &str| Time::new(Duration::from_millis(text.parse().expect(row)));
    let Some((from, to)) = time.split_once("..") else {
        return millis(time);
    };
    let due = machine.poll_timeout().expect(row);
    assert!(
        millis(from) <= due && due <= millis(to),
        "due at {due:?}: {row}"
    );
    due
}

fn parse(text: &str, now: Time) -> Event {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pool = words
        .iter()
        .find_map(|word| word.strip_prefix('p')?.parse().ok())
        .map_or(PoolId(1), PoolId);
    let number = |place: usize| -> u64 { words[place].parse().expect(text) };
    match words[0] {
        "add" => Event::PoolAdded {
            pool,
            settings: settings(&words),
        },
        "change" => Event::PoolChanged {
            pool,
            settings: settings(&words),
        },
        "adjust" => Event::PoolAdjusted {
            pool,
            settings: settings(&words),
        },
        "used" => Event::PoolUsed {
            pool,
            busy: u32::try_from(number(1)).expect(text),
            waiting: u32::try_from(number(2)).expect(text),
        },
        "scale" => Event::PoolScaled {
            pool,
            scale: settings(&words).scale,
        },
        "halt" => Event::PoolStopped { pool },
        "resume" => Event::PoolStarted { pool },
        "remove" => Event::PoolRemoved { pool },
        "reload" => Event::ReloadRequested { pool },
        "stop" => Event::StopRequested {
            deadline: now.after(DAEMON_SHUTDOWN),
        },
        "fast-stop" => Event::FastStopRequested,
        "relay-drained" => Event::RelayDrained,
        _ => of_worker(&words),
    }
}

fn of_worker(words: &[&str]) -> Event {
    let number = |place: usize| -> u64 { words[place].parse().expect(words[0]) };
    let worker = || WorkerId(number(1));
    let code = || i32::try_from(number(2)).expect(words[0]);
    match words[0] {
        "launched" => Event::WorkerLaunched { worker: worker() },
        "launch-failed" => Event::LaunchFailed { worker: worker() },
        "ready" => Event::WorkerReady { worker: worker() },
        "served" => Event::WorkerServed { worker: worker() },
        "maximum" => Event::WorkerTired {
            worker: worker(),
            cause: Cause::MaximumRequests,
        },
        "worn" => Event::WorkerTired {
            worker: worker(),
            cause: Cause::MaximumMemory,
        },
        "seasoned" => Event::WorkerSeasoned { worker: worker() },
        "shed" => Event::WorkerShed { worker: worker() },
        "recovered" => Event::WorkerRecovered { worker: worker() },
        "deadlocked" => Event::WorkerDeadlocked { worker: worker() },
        "out-of-memory" => Event::WorkerExited {
            worker: worker(),
            exit: Exit::OutOfMemory,
        },
        "timed-out" => Event::RequestTimedOut { worker: worker() },
        "broke" => Event::WorkerBroke { worker: worker() },
        "drained" => Event::WorkerDrained { worker: worker() },
        "exit" => Event::WorkerExited {
            worker: worker(),
            exit: Exit::Code(code()),
        },
        "signal" => Event::WorkerExited {
            worker: worker(),
            exit: Exit::Signal(code()),
        },
        other => panic!("no such event: {other}"),
    }
}

/// The manual's defaults, but for one process and what the words say (in milliseconds, `off`: none).
fn settings(words: &[&str]) -> Settings {
    let mut settings = Settings {
        scale: Scale::of(1),
        threads: 1,
        surge: 1,
        startup_timeout: Limit::of(Duration::from_secs(15)),
        graceful_timeout: Limit::of(Duration::from_secs(65)),
        eviction_timeout: Limit::of(Duration::from_secs(40)),
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
    };
    for (key, value) in words.iter().filter_map(|word| word.split_once('=')) {
        let millis = value.parse().ok().map(Duration::from_millis);
        match key {
            "preload" => settings.preload = true,
            "development" => settings.development = true,
            "first-alone" => settings.first_alone = true,
            "ready-after" => settings.ready_after = millis,
            "processes" => settings.scale = Scale::of(value.parse().expect(value)),
            "scale" => {
                let (minimum, maximum) = value.split_once("..").expect(value);
                settings.scale.minimum = minimum.parse().expect(value);
                settings.scale.maximum = maximum.parse().expect(value);
            }
            "spare" => settings.scale.spare = value.parse().expect(value),
            "threads" => settings.threads = value.parse().expect(value),
            "interval" => settings.restart_interval = Limit(millis),
            "interrupt" => settings.interrupt_timeout = millis.expect(value),
            "surge" => settings.surge = value.parse().expect(value),
            "startup" => settings.startup_timeout = Limit(millis),
            "graceful" => settings.graceful_timeout = Limit(millis),
            "eviction" => settings.eviction_timeout = Limit(millis),
            other => panic!("no such key: {other}"),
        }
    }
    settings
}

fn name(action: &Action) -> String {
    let of = |pool: &PoolId| match pool.0 {
        1 => String::new(),
        other => format!(" p{other}"),
    };
    match action {
        Action::StartWorker {
            pool,
            worker,
            generation,
        } => format!("start {worker} g{generation}{}", of(pool)),
        Action::StartTemplate {
            pool,
            worker,
            generation,
        } => format!("template {worker} g{generation}{}", of(pool)),
        Action::ForkWorker {
            pool,
            worker,
            generation,
            template,
        } => format!("fork {worker} g{generation} of {template}{}", of(pool)),
        Action::MakeTemplate { worker } => format!("make-template {worker}"),
        Action::OfferWorker { worker } => format!("offer {worker}"),
        Action::RetireWorker { worker, cause } => format!("retire {worker} {cause}"),
        Action::StopWorker {
            worker,
            cause,
            overdue,
        } => format!(
            "stop {worker} {cause}{}",
            if *overdue { " overdue" } else { "" }
        ),
        Action::KillWorker { worker } => format!("kill {worker}"),
        Action::ForgetWorker {
            pool,
            worker,
            cause,
            failed,
            backoff,
        } => format!(
            "forget {worker} {cause}{}{}{}",
            if *failed { " failed" } else { "" },
            if backoff.is_zero() { "" } else { " waits" },
            of(pool)
        ),
        Action::ReportPool { pool, state } => format!("report {state}{}", of(pool)),
        Action::FinishReload { pool, generation } => {
            format!("finish-reload g{generation}{}", of(pool))
        }
        Action::AbandonReload {
            pool,
            generation,
            cause,
        } => format!("abandon-reload g{generation} {cause}{}", of(pool)),
        Action::InterruptWorker { worker } => format!("interrupt {worker}"),
        Action::ShedWorkers { pool, count } => format!("shed {count}{}", of(pool)),
        Action::ForgetPool { pool } => format!("forget-pool{}", of(pool)),
        Action::DrainRelay => "drain-relay".to_owned(),
        Action::Finish => "finish".to_owned(),
    }
}
