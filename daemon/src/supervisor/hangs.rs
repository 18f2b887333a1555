//! Workers that hang: they are interrupted when their requests take too long, and looked at for a heartbeat.
//!
//! All are looked at at once, at most every five seconds unless a `deadlock-timeout` is so short that it takes more, and only while
//! there is one that has a heartbeat.

use std::time::Duration;

use stockade_policy::{Time, WorkerId, supervision::Event};

use super::{heartbeat::Heartbeat, shell::Shell, words::Seconds, workers::Worker};
use crate::control::worker::ToWorker;

/// When the workers are looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    next: Option<Time>,
}

impl Looks {
    /// When the next is due.
    pub(super) const fn next(&self) -> Option<Time> {
        self.next
    }

    /// One is to come after `interval` at the latest.
    fn expect(&mut self, interval: Duration, now: Time) {
        let due = now.after(interval);
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}

impl Shell {
    /// Its requests that timed out are to be broken off.
    pub(super) fn interrupt_worker(&self, worker: WorkerId) {
        let Some(known) = self.workers.get(&worker) else {
            return;
        };
        let name = known.name();
        match known.control.try_send(&ToWorker::Interrupt.encode(), &[]) {
            Ok(_) => tracing::info!("{name} interrupted: request-timeout"),
            // when it has not come back in time it is replaced
            Err(error) => tracing::warn!("{name}: could not interrupt it: {error}"),
        }
    }

    /// Nothing runs in it any more whose time was over.
    pub(super) fn recovered(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get(&worker) {
            tracing::info!("{} has come back from what was interrupted", known.name());
        }
        self.tell_machine(Event::WorkerRecovered { worker });
    }

    /// It is ready: from here on it is to show that it lives.
    pub(super) fn expect_heartbeat(&mut self, worker: WorkerId, now: Time) {
        let known = self.workers.get_mut(&worker);
        if let Some(heartbeat) = known.and_then(|known| known.heartbeat.as_mut()) {
            heartbeat.begin(now);
            self.looks.expect(heartbeat.interval(), now);
        }
    }

    /// Looks at every worker's heartbeat, when that is due.
    pub(super) fn look_for_deadlocks(&mut self, now: Time) {
        let Some(due) = self.looks.next.filter(|due| *due <= now) else {
            return;
        };
        self.looks.next = None;
        let late = now.since(due);
        let mut silent = Vec::new();
        for (worker, known) in &mut self.workers {
            let Some(heartbeat) = known.watched_heartbeat() else {
                continue;
            };
            let interval = heartbeat.interval();
            self.looks.expect(interval, now);
            if late > interval {
                // who has stopped us may have stopped them
                heartbeat.begin(now);
            } else if let Some(silence) = heartbeat.look(now) {
                silent.push(*worker);
                let (name, silence) = (known.name(), Seconds(silence));
                tracing::warn!("{name} has not got its interpreter's lock for {silence}");
            }
        }
        for worker in silent {
            self.log_stacks(worker);
            self.tell_machine(Event::WorkerDeadlocked { worker });
        }
    }
}

impl Worker {
    /// Its heartbeat, while it is to have one.
    fn watched_heartbeat(&mut self) -> Option<&mut Heartbeat> {
        let goes = self.description.stopped || self.process.is_none();
        self.heartbeat.as_mut().filter(|_| !goes)
    }
}
