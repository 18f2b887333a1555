//! When workers are looked at ([`samples`]): when somebody asks how they are, and while a pool has a limit that only looking can tell of
//! (`maximum-memory`, `cpu-time-limit`). A worker is looked at once in five seconds at most; where nobody asks and nothing is limited, never.

use std::{mem, time::Duration};

use stockade_policy::{Time, WorkerId, supervision::Event};

use super::{
    relay_life::RelayNumber,
    samples::{self, Subject, glance},
    shell::Shell,
    usage::Verdict,
    words::Size,
    workers::Worker,
};
use crate::{
    config::resolved::Kind,
    control::{ToRelay, record::Sample},
};

/// Between two looks at a worker.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a look may take without having the next one left out.
const ROUND: Duration = Duration::from_millis(250);
/// Workers in one message, of which each takes a hundred bytes.
const IN_ONE: usize = 400;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// Since when workers are looked at, while they are.
    round: Option<Time>,
    /// Who waits for the end of that.
    asked: Vec<RelayNumber>,
    /// Somebody has asked since it began, when not all were looked at.
    again: bool,
    /// When those with a limit are looked at.
    due: Option<Time>,
}

impl Sampling {
    /// When there is something to do.
    pub(super) const fn due(&self) -> Option<Time> {
        self.due
    }
}

impl Shell {
    /// Somebody asks a relay how workers are.
    pub(super) fn sample_wanted(&mut self, from: RelayNumber) {
        if !self.sampling.asked.contains(&from) {
            self.sampling.asked.push(from);
        }
        self.sampling.again = self.sampling.round.is_some();
        self.look_at(|_| true);
    }

    /// It is time to look at workers with limits.
    pub(super) fn expire_samples(&mut self, now: Time) {
        if self.sampling.due.is_some_and(|due| due <= now) {
            self.sampling.due = None;
            self.look_at(|known| known.usage.is_limited());
            self.expect_look();
        }
    }

    /// A worker is ready: what it takes from here on is its own doing.
    pub(super) fn sample_ready(&mut self, worker: WorkerId) {
        let now = self.clock.now();
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        if !known.usage.is_limited() {
            return;
        }
        // a service has none to serve
        known.usage.served = known.kind() == Kind::Service;
        known.usage.ready(glance(known.description.pid), now);
        self.look_at(|known| known.description.worker == worker);
        self.expect_look();
    }

    /// Looks at workers, those that were looked at lately left out.
    fn look_at(&mut self, wanted: impl Fn(&Worker) -> bool) {
        let now = self.clock.now();
        if let Some(since) = self.sampling.round {
            if now.since(since) < INTERVAL {
                return;
            }
            // it hangs with one of them
            self.sampling.again = false;
            let glanced: Vec<_> = (self.subjects(wanted, now))
                .map(|(worker, pid)| (worker, glance(pid)))
                .collect();
            self.sampled(glanced);
            self.sampling.round = Some(since);
            return;
        }
        let subjects: Vec<Subject> = (self.subjects(wanted, now))
            .filter_map(|(worker, pid)| Subject::new(worker, pid))
            .collect();
        if subjects.is_empty() {
            self.sampled(Vec::new());
            return;
        }
        self.sampling.round = Some(now);
        if let Err(error) = samples::look(subjects, self.senders.samples()) {
            tracing::warn!("could not look at workers: {error}");
            self.sampled(Vec::new());
        }
    }

    fn subjects(
        &self,
        wanted: impl Fn(&Worker) -> bool,
        now: Time,
    ) -> impl Iterator<Item = (WorkerId, i32)> {
        let old = move |known: &Worker| {
            let at = known.usage.at;
            at.is_none_or(|at| now.since(at) >= INTERVAL)
        };
        let subjects = self.workers.values().filter(move |known| {
            let there = known.description.launched && known.process.is_some();
            there && old(known) && wanted(known)
        });
        subjects.map(|known| (known.description.worker, known.description.pid))
    }

    /// Workers were looked at: says so to who asked, and finds out who takes too much.
    pub(super) fn sampled(&mut self, samples: Vec<(WorkerId, Sample)>) {
        let now = self.clock.now();
        self.sampling.round = None;
        for (worker, sample) in samples {
            if let Some(known) = self.workers.get_mut(&worker) {
                known.usage.took(sample, now);
            }
            self.judge(worker, now);
        }
        if mem::take(&mut self.sampling.again) {
            return self.look_at(|_| true);
        }
        let asked = mem::take(&mut self.sampling.asked);
        if asked.is_empty() {
            return;
        }
        let all: Vec<(WorkerId, Sample)> = (self.workers.iter())
            .filter(|(_, known)| known.usage.at.is_some())
            .map(|(worker, known)| (*worker, known.usage.sample))
            .collect();
        let mut rest = all.as_slice();
        loop {
            let (samples, left) = rest.split_at(rest.len().min(IN_ONE));
            rest = left;
            let message = ToRelay::WorkersSampled {
                samples: samples.to_vec(),
                whole: rest.is_empty(),
            };
            for relay in &asked {
                self.relay.tell_one(*relay, &message);
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    fn judge(&mut self, worker: WorkerId, now: Time) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        if known.description.retired || known.description.template {
            return;
        }
        let verdict = known.usage.judge(now);
        let size = Size(known.usage.sample.resident_bytes.unwrap_or_default());
        let name = known.name();
        match verdict {
            Some(Verdict::Tired(cause)) => {
                tracing::info!("{name} is to be replaced: {cause} ({size})");
                self.tell_machine(Event::WorkerTired { worker, cause });
            }
            Some(Verdict::Heavy) => tracing::warn!(
                "{name} is above maximum-memory ({size}) when it has loaded: raise it; it is replaced when it has grown by half, 16 MiB at least"
            ),
            None => {}
        }
    }

    /// There is a next time while there is a worker with a limit.
    fn expect_look(&mut self) {
        let limited = |known: &Worker| known.description.offered && known.usage.is_limited();
        if self.sampling.due.is_none() && self.workers.values().any(limited) {
            self.sampling.due = Some(self.clock.now().after(INTERVAL + ROUND));
        }
    }
}

impl Worker {
    /// Before we end it: of what is gone nothing is known.
    pub(super) fn glance(&mut self, now: Time) {
        let fresh = |at| now.since(at) < INTERVAL;
        if self.process.is_some() && !self.usage.at.is_some_and(fresh) {
            self.usage.took(glance(self.description.pid), now);
        }
    }
}
