//! What a pool's thread counts, for the status and the metrics: plain numbers, changed where things happen, read only when somebody
//! asks.

use std::{collections::BTreeMap, mem, rc::Rc, time::Duration};

use stockade_policy::WorkerId;

use super::{
    exits::{Exit, Exits},
    output::LastLines,
};
use crate::control::{
    handover::{self, Counts},
    record::Death,
    relay::Lives,
};

/// The counts of one pool.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Answers by their status.
    pub(super) codes: BTreeMap<u16, u64>,
    /// 503 answers by their cause.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) replays: u64,
    /// From a request's arrival to the end of its answer.
    pub(super) request: Histogram,
    /// From a request's arrival to its hand-out.
    pub(super) queue_wait: Histogram,
    /// From a worker's launch until it was ready.
    pub(super) startup: Histogram,
    /// Bytes from hosts whose connection has ended, and to them.
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) lives: Lives,
    pub(super) exits: Exits,
}

impl Ledger {
    /// A request was answered with this status, this long after it had arrived.
    pub(super) fn answered(&mut self, status: u16) {
        *self.codes.entry(status).or_default() += 1;
    }

    /// A request was refused.
    pub(super) fn refused(&mut self, cause: &str) {
        match self.refused.get_mut(cause) {
            Some(count) => *count += 1,
            None => drop(self.refused.insert(cause.to_owned(), 1)),
        }
    }

    /// A worker that is gone, or was not started, ended so.
    pub(super) fn buried(&mut self, worker: WorkerId, death: Death) -> Rc<Exit> {
        // of one that was launched the start was counted then
        self.lives.starts += u64::from(death.not_launched.is_some());
        *self.lives.exits.entry(death.cause.clone()).or_default() += 1;
        self.exits.buried(worker, death)
    }

    /// What a worker that is gone wrote last, or why it was not launched.
    pub(super) fn last_lines(&self, worker: WorkerId) -> Option<LastLines> {
        let Some(exit) = self.exits.iter().find(|exit| exit.worker == worker) else {
            return self.exits.lines_of_departed(worker);
        };
        let not_launched = exit.death.not_launched.clone();
        Some(not_launched.map_or_else(|| exit.lines.clone(), |why| LastLines::of(vec![why])))
    }

    /// Gives away what was counted of requests: it counts from zero again.
    pub(super) fn take_counts(&mut self) -> Counts {
        Counts {
            codes: mem::take(&mut self.codes),
            refused: mem::take(&mut self.refused),
            replays: mem::take(&mut self.replays),
            request: mem::take(&mut self.request).into(),
            queue_wait: mem::take(&mut self.queue_wait).into(),
            startup: mem::take(&mut self.startup).into(),
            received: mem::take(&mut self.received),
            sent: mem::take(&mut self.sent),
            handed_out: BTreeMap::new(),
        }
    }

    /// Adds what another relay has counted.
    pub(super) fn add(&mut self, counts: Counts) {
        for (code, count) in counts.codes {
            *self.codes.entry(code).or_default() += count;
        }
        for (cause, count) in counts.refused {
            *self.refused.entry(cause).or_default() += count;
        }
        self.replays += counts.replays;
        self.request.add(&counts.request);
        self.queue_wait.add(&counts.queue_wait);
        self.startup.add(&counts.startup);
        self.received += counts.received;
        self.sent += counts.sent;
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// How often, by the first of [`BOUNDS`] that it did not exceed; the last: it exceeded all.
    counts: [u64; BOUNDS.len() + 1],
    /// All of it together, in seconds.
    pub(super) sum: f64,
}

/// In seconds.
const BOUNDS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

impl Histogram {
    /// It took this long once more.
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[place] += 1;
        self.sum += seconds;
    }

    /// All that another relay has observed.
    fn add(&mut self, others: &handover::Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&others.counts) {
            *count += more;
        }
        self.sum += others.sum;
    }

    /// How often in all.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, and how often it was not exceeded.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS
            .iter()
            .zip(&self.counts)
            .scan(0, |sum, (bound, count)| {
                *sum += count;
                Some((*bound, *sum))
            })
    }
}

impl From<Histogram> for handover::Histogram {
    fn from(own: Histogram) -> Self {
        Self {
            counts: own.counts.to_vec(),
            sum: own.sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_has_counted_is_added_and_it_counts_from_zero_again() {
        let (mut old, mut new) = (Ledger::default(), Ledger::default());
        for ledger in [&mut old, &mut new] {
            ledger.answered(200);
            ledger.refused("queue-limit");
            ledger.request.observe(Duration::from_millis(40));
            ledger.received = 7;
        }
        new.add(old.take_counts());
        assert_eq!((new.codes[&200], new.refused["queue-limit"]), (2, 2));
        assert_eq!((new.request.count(), new.received), (2, 14));
        assert_eq!(old.take_counts(), Ledger::default().take_counts());
    }

    #[test]
    fn a_histogram_counts_up() {
        let mut histogram = Histogram::default();
        for milliseconds in [0, 1, 1, 40, 61_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let counted: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(counted[0], (0.000_5, 1));
        assert_eq!(counted[1], (0.001, 3));
        assert_eq!(counted[6], (0.05, 4));
        assert_eq!(counted[15], (60.0, 4));
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum - 61.042).abs() < 1e-9);
    }
}
