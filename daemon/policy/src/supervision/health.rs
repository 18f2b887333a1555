//! Failures in a row, and when the next worker may be started because of them.
//!
//! A failure is a worker that ended before its first request (a service: before it had been ready for long) without
//! anybody having asked for its end. Each puts the pool's next start off; after one, workers are started one at a time
//! until one is ready. Workers that were started together and fail together double the wait once: ten processes with
//! the same typing error are one mistake.

use serde::{Deserialize, Serialize};

use crate::{Backoff, Random, Time};

/// This many failures in a row without a ready worker: the pool is failing. Of a worker that was not ready in time one is enough:
/// whoever waits for it has waited for long; and in development.
const FAILING: u32 = 5;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Health {
    /// Workers that failed since one served.
    failures: u32,
    /// The same, with those that were started together counted once: what the wait is reckoned by.
    rounds: u32,
    /// No start before this.
    not_before: Time,
    /// A failure was the last news of a worker that started, or there is to be a first one alone: one at a time.
    probing: bool,
}

impl Health {
    /// Of a pool whose first worker starts alone.
    pub(super) fn first_alone() -> Self {
        Self {
            probing: true,
            ..Self::default()
        }
    }

    /// A worker that was started at `started` failed.
    pub(super) fn fail(
        &mut self,
        started: Time,
        now: Time,
        backoff: &Backoff,
        random: &mut Random,
    ) {
        self.failures = self.failures.saturating_add(1);
        if self.rounds == 0 || started >= self.not_before {
            self.rounds = self.rounds.saturating_add(1);
        }
        let wait = backoff.wait(self.rounds, random);
        self.not_before = self.not_before.max(now.after(wait));
        self.probing = true;
    }

    /// Nobody is left to serve, and who waits is to be told at once.
    pub(super) fn be_failing(&mut self) {
        self.failures = self.failures.max(FAILING);
    }

    /// A worker became ready: the others may follow together. Only a served request proves health.
    pub(super) const fn ready(&mut self) {
        self.probing = false;
    }

    /// A worker served its first request.
    pub(super) fn serve(&mut self) {
        *self = Self::default();
    }

    /// The next start decides whether it is failing.
    pub(super) fn give_another_chance(&mut self) {
        self.failures = self.failures.min(FAILING - 1);
    }

    /// Whether one more may be started while `starting` are on their way.
    pub(super) fn may_start(&self, starting: usize, now: Time) -> bool {
        self.not_before <= now && (!self.probing || starting == 0)
    }

    pub(super) const fn not_before(&self) -> Time {
        self.not_before
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.failures >= FAILING
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(1000),
        maximum: Duration::from_secs(60),
    };

    fn at(millis: u64) -> Time {
        Time::new(Duration::from_millis(millis))
    }

    #[test]
    fn workers_that_fail_together_double_the_wait_once() {
        let mut random = Random::new(1);
        let mut health = Health::default();
        for _ in 0..10 {
            health.fail(at(0), at(5), &BACKOFF, &mut random);
        }
        assert!(health.is_failing());
        assert!(health.not_before() <= at(1005), "{health:?}");
        let retry = health.not_before();
        health.fail(retry, retry, &BACKOFF, &mut random);
        assert!(health.not_before().since(retry) > Duration::from_millis(1500));
    }

    #[test]
    fn one_at_a_time_until_one_is_ready() {
        let mut health = Health::default();
        assert!(health.may_start(7, at(0)));
        health.fail(at(0), at(0), &BACKOFF, &mut Random::new(1));
        assert!(!health.may_start(0, at(0)));
        assert!(health.may_start(0, at(1000)));
        assert!(!health.may_start(1, at(1000)));
        health.ready();
        assert!(health.may_start(1, at(1000)) && health.has_failed());
        health.serve();
        assert!(!health.has_failed() && health.may_start(3, at(0)));
    }
}
