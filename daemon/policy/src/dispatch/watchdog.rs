//! Nobody waits while a slot is free: by construction, and should that ever fail, by looking now and then while somebody waits.
//!
//! The construction finds free slots by their ranks. The watchdog looks at the slots themselves.

use core::time::Duration;

use super::machine::Dispatch;
use super::vocabulary::Action;
use crate::Time;

impl Dispatch {
    /// Looks, when it is time.
    pub(super) fn watch(&mut self, now: Time) {
        if self.next_watch.is_none_or(|next| now < next) {
            return;
        }
        self.next_watch = None;
        if self.queue.length() == 0 {
            return;
        }
        for place in self.workers.places() {
            if self.workers.mend_rank(place)
                && let Some(worker) = self.workers.at(place)
            {
                let (worker, waiting) = (worker.id, self.queue.length());
                self.healed = self.healed.saturating_add(1);
                self.act(Action::NoteHealed { worker, waiting });
            }
        }
    }

    /// Part of every entry: it looks again when somebody has waited for a while.
    pub(super) fn expect_watch(&mut self, now: Time) {
        if self.queue.length() == 0 {
            self.next_watch = None;
        } else if self.next_watch.is_none() {
            self.next_watch = Some(now.after(INTERVAL));
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Event, RequestKey, Retry, Settings};
    use super::*;
    use crate::{Limit, WorkerId};

    #[test]
    fn a_free_slot_that_was_lost_sight_of_is_found_and_told_of() {
        let settings = Settings {
            queue_limit: 10,
            queue_timeout: Limit::OFF,
            request_timeout: Limit::OFF,
            slow_request: Limit::OFF,
            response_timeout: Limit::OFF,
            total_timeout: Limit::OFF,
            inactivity_timeout: Limit::OFF,
            retry: Retry::Off,
            retry_limit: 0,
            shared: false,
            scale: None,
            interrupts: false,
        };
        let at = |ms| Time::new(Duration::from_millis(ms));
        let mut dispatch = Dispatch::new(settings, 1);
        let offered = Event::WorkerOffered {
            worker: WorkerId(7),
            slots: 1,
            leased: 0,
            maximum_requests: 0,
        };
        dispatch.handle(offered, at(0));
        assert_eq!(dispatch.poll_timeout(), None);
        // what no entry can do
        dispatch.workers.lose_sight();
        let request = RequestKey {
            index: 0,
            serial: 1,
        };
        dispatch.request_arrived(request, true, at(10));
        dispatch.expect_watch(at(10));
        assert_eq!(dispatch.poll_action(), None);
        assert_eq!(dispatch.poll_timeout(), Some(at(1010)));
        dispatch.handle_timeout(at(1010));
        let worker = WorkerId(7);
        let healed = Action::NoteHealed { worker, waiting: 1 };
        assert_eq!(dispatch.poll_action(), Some(healed));
        let handed_out = Action::HandOut { request, worker };
        assert_eq!(dispatch.poll_action(), Some(handed_out));
        assert_eq!(dispatch.snapshot().healed, 1);
        assert_eq!(dispatch.poll_timeout(), None);
    }
}
