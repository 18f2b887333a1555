//! A worker is gone: it is counted, the relay is told how it ended, and the log has a line. That of one whose end nobody wanted is written by
//! the relay, which knows what the worker had and what it wrote; by us when there is no relay.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use stockade_policy::{PoolId, Time, WorkerId, supervision::Cause};

use super::{
    Source,
    shell::Shell,
    words::{Seconds, Size, Why, detail},
    workers::Worker,
};
use crate::{
    config::resolved::Kind,
    control::{ToRelay, record::Death},
};

impl Shell {
    pub(super) fn forget_worker(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        cause: Cause,
        failed: bool,
        backoff: Duration,
    ) {
        let now = self.clock.now();
        let mut known = self.workers.remove(&worker);
        if let Some(leaf) = known.as_mut().and_then(|known| known.leaf.take()) {
            leaf.bury();
        }
        let said = known
            .as_ref()
            .map_or(cause, |known| in_our_words(known, cause));
        // One that was never launched has its line already: "not started".
        let launched = known.as_ref().filter(|known| known.description.launched);
        let mut line = launched.map(|known| obituary(known, now, said, failed));
        if cause.is_wanted() || !self.relay.listens() {
            match line.take() {
                Some(line) if cause.is_wanted() => tracing::info!("{line}"),
                Some(line) => tracing::warn!("{line}"),
                None => {}
            }
        }
        self.bury(pool, worker, known.as_ref(), (said, failed), line);
        // who watches sources mends them, and reads on a page what is wrong
        let ends = self.source == Source::CommandLine && !self.in_development(pool);
        if failed && ends && !self.ever_served() {
            self.give_up(pool);
        } else if !backoff.is_zero() {
            let wait = Seconds(backoff);
            tracing::info!("pool {}: next start in {wait}", self.pool_name(pool));
        }
    }

    /// Counts the end of a worker, and tells the relay, which shows it.
    fn bury(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        known: Option<&Worker>,
        (cause, failed): (Cause, bool),
        obituary: Option<String>,
    ) {
        if let Some(record) = self.pools.get_mut(&pool) {
            if failed {
                record.last_failed = Some(worker);
            }
            *record.lives.exits.entry(cause.to_string()).or_default() += 1;
        }
        let now = self.clock.now();
        let death = Death {
            pid: known.map_or(0, |known| known.description.pid),
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            cause: cause.to_string(),
            detail: known.map_or_else(|| detail(cause), |known| detail_of(known, cause)),
            core_dumped: known.is_some_and(|known| known.core_dumped),
            age: known.map_or(Duration::ZERO, |known| known.age(now)),
            sample: known.map(|known| known.usage.sample).unwrap_or_default(),
            obituary,
            not_launched: self.launch_failures.remove(&worker),
        };
        let message = ToRelay::WorkerBuried {
            pool,
            worker,
            death,
        };
        self.relay.tell(&message, &[]);
    }
}

/// What the kernel did on our behalf is said by our key.
fn in_our_words(worker: &Worker, cause: Cause) -> Cause {
    match cause {
        Cause::Signal(number)
            if number == Signal::SIGXCPU as i32 && worker.usage.has_cpu_limit() =>
        {
            Cause::CpuTimeLimit
        }
        cause => cause,
    }
}

/// What belongs to its cause.
fn detail_of(worker: &Worker, cause: Cause) -> String {
    match (cause, &worker.killed) {
        (Cause::OutOfMemory, Some(words)) => words.clone(),
        _ => detail(cause),
    }
}

fn obituary(worker: &Worker, now: Time, cause: Cause, failed: bool) -> String {
    let (name, age) = (worker.name(), Seconds(worker.age(now)));
    let why = match (cause, &worker.killed) {
        (Cause::OutOfMemory, Some(words)) => format!("{cause}: {words}"),
        (Cause::Signal(9), Some(words)) => format!("{}: {words}", Why(cause)),
        _ => Why(cause).to_string(),
    };
    let early = match worker.kind() {
        _ if !failed => "",
        _ if worker.description.template => ", before a worker of it was ready",
        Kind::Service => ", soon after its start",
        Kind::Workers | Kind::Upstream => ", before it answered a request",
    };
    // the line about its stop has said it of one that was too slow
    let hint = match cause {
        Cause::StartupTimeout => "",
        _ => hint(worker, cause),
    };
    let core = if worker.core_dumped {
        ", core dumped"
    } else {
        ""
    };
    let memory = worker.usage.sample.resident_bytes;
    let memory = memory.map_or_else(String::new, |bytes| format!("; {} of memory", Size(bytes)));
    format!("{name} gone after {age}{early}: {why}{core}{hint}{memory}")
}

/// What a program that was never ready may lack; one that fails has words of its own.
pub(super) fn hint(worker: &Worker, cause: Cause) -> &'static str {
    let description = &worker.description;
    if description.tells || description.offered {
        return "";
    }
    match cause {
        Cause::StartupTimeout => {
            ": it neither answered nor took a connection on descriptor 0: is it a FastCGI program?"
        }
        Cause::ExitCode(0) => {
            ": it ended without taking a connection on descriptor 0: is it a FastCGI program?"
        }
        _ => "",
    }
}
