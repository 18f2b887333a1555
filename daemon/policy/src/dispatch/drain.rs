//! How fast slots become free while none is: what `Retry-After` is computed from.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// What was seen of slots becoming free. Time in which a slot was idle is not in it: it says nothing of how long one
/// has to wait when none is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Drain {
    /// Slots that became free in `span`.
    freed: u32,
    span: Duration,
    /// No slot has been free, and none has become free, since then.
    busy_since: Option<Time>,
}

impl Drain {
    /// A slot became free.
    pub(super) fn freed(&mut self, now: Time) {
        let Some(since) = self.busy_since.replace(now) else {
            return;
        };
        self.freed = self.freed.saturating_add(1);
        self.span = self.span.saturating_add(now.since(since));
        if self.span > MEMORY {
            // never 0, so that a rate below one in `MEMORY` is known too
            self.freed = (self.freed / 2).max(1);
            self.span = self.span.checked_div(2).unwrap_or(MEMORY);
        }
    }

    /// There is a new worker: how long one waited for that says nothing of how long a request takes.
    pub(super) fn restart(&mut self) {
        self.busy_since = None;
    }

    /// How the pool stands after an entry.
    pub(super) fn observe(&mut self, all_busy: bool, now: Time) {
        if !all_busy {
            self.busy_since = None;
        } else if self.busy_since.is_none() {
            self.busy_since = Some(now);
        }
    }

    /// Seconds until a request behind `queued` others could be handed out, from 1 to 60; None: nothing was seen yet.
    pub(super) fn retry_after(&self, queued: u32, now: Time) -> Option<u32> {
        let usual = self.span.checked_div(self.freed)?;
        // a pool that has got stuck is not as fast as it was
        let silence = self.busy_since.map_or(Duration::ZERO, |at| now.since(at));
        let wait = usual.max(silence).saturating_mul(queued.saturating_add(1));
        let seconds = wait.as_nanos().div_ceil(1_000_000_000);
        Some(u32::try_from(seconds).unwrap_or(LONGEST).clamp(1, LONGEST))
    }
}

/// About this much busy time is remembered.
const MEMORY: Duration = Duration::from_secs(10);
const LONGEST: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::new(Duration::from_millis(ms))
    }

    #[test]
    fn nothing_is_known_before_a_slot_became_free_while_all_were_busy() {
        let mut drain = Drain::default();
        drain.freed(at(5));
        drain.observe(true, at(10));
        drain.observe(false, at(20));
        drain.freed(at(30));
        assert_eq!(drain.retry_after(3, at(30)), None);
    }

    #[test]
    fn the_wait_is_the_queue_at_the_rate_seen() {
        let mut drain = Drain::default();
        drain.observe(true, at(0));
        for second in 1..=4 {
            // two at a time, each second
            drain.freed(at(second * 1000));
            drain.freed(at(second * 1000));
        }
        assert_eq!(drain.retry_after(0, at(4000)), Some(1));
        assert_eq!(drain.retry_after(8, at(4000)), Some(5));
        assert_eq!(drain.retry_after(100_000, at(4000)), Some(60));
    }

    #[test]
    fn a_stuck_pool_is_slower_than_it_was() {
        let mut drain = Drain::default();
        drain.observe(true, at(0));
        drain.freed(at(10));
        assert_eq!(drain.retry_after(0, at(10)), Some(1));
        assert_eq!(drain.retry_after(1, at(10_010)), Some(20));
    }

    #[test]
    fn old_rates_are_forgotten() {
        let mut drain = Drain::default();
        drain.observe(true, at(0));
        for ms in 1..=9_000 {
            drain.freed(at(ms));
        }
        for minute in 1..=20 {
            drain.freed(at(9_000 + minute * 60_000));
        }
        assert_eq!(drain.retry_after(0, at(9_000 + 20 * 60_000)), Some(60));
    }
}
