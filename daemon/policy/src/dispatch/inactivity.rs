//! `inactivity-timeout`: a worker that has had requests, and then none for so long, is told of, once for each such time.
//!
//! As with `request-timeout`, workers are looked through only when `next_inactive` has come.

use super::chain::Place;
use super::machine::Dispatch;
use super::vocabulary::Action;
use crate::Time;

impl Dispatch {
    /// A request has left the worker, or it is heard that it has had some.
    pub(super) fn expect_inactive(&mut self, place: Place, now: Time) {
        let Some(at) = self.settings.inactivity_timeout.deadline(now) else {
            return;
        };
        if self.workers.idle_from(place, now) {
            self.next_inactive = Some(self.next_inactive.map_or(at, |next| next.min(at)));
        }
    }

    /// Tells of every worker whose time is over.
    pub(super) fn note_inactive(&mut self, now: Time) {
        if self.next_inactive.is_none_or(|next| now < next) {
            return;
        }
        let limit = self.settings.inactivity_timeout;
        for place in self.workers.places() {
            let since = self.workers.idle_since(place);
            let due = since.and_then(|since| limit.deadline(since));
            if due.is_some_and(|due| due <= now)
                && let Some(worker) = self.workers.told_idle(place)
            {
                self.act(Action::ReportInactive { worker });
            }
        }
        self.next_inactive = self.earliest_inactive();
    }

    /// When the next worker has been idle for so long.
    pub(super) fn earliest_inactive(&self) -> Option<Time> {
        let limit = self.settings.inactivity_timeout;
        self.workers
            .places()
            .filter_map(|place| limit.deadline(self.workers.idle_since(place)?))
            .min()
    }
}
