//! The queue's rules: who waits, for how long, and who is refused.
//!
//! A refusal (503) promises that nothing was executed: a replay that may not wait any longer and of which something
//! was sent before is failed (502) instead.

use super::chain::Place;
use super::machine::Dispatch;
use super::queue::Lane;
use super::requests::{Request, State};
use super::vocabulary::{Action, RefusalCause, RequestKey};
use crate::{PoolState, Time};

impl Dispatch {
    /// A new request. A place is used again only when its last request is over: whatever is still there has ended.
    pub(super) fn request_arrived(&mut self, key: RequestKey, idempotent: bool, now: Time) {
        if self.requests.find(key).is_some() {
            return;
        }
        self.clear_place(key.index, now);
        self.hand_out_waiting(now);
        // those whose time is over make room
        self.expire_waiting(now);
        self.requests.insert(Request {
            key,
            idempotent,
            host_gone: false,
            sent: false,
            deaths: 0,
            unsent_replays: 0,
            told_slow: false,
            state: State::Queued {
                lane: Lane::Arrivals,
                since: now,
            },
        });
        if let Some(cause) = self.pool_refuses() {
            self.refuse(key.index, cause, now);
        } else if let Some(worker) = self.workers.choose() {
            self.hand_out(key.index, worker, now);
        } else if self.queue.length() >= self.settings.queue_limit && !self.leases.taken_over {
            self.refuse(key.index, RefusalCause::QueueLimit, now);
        } else {
            self.queue.push(key.index, Lane::Arrivals);
        }
    }

    /// Puts a request that lost its worker before all new ones; its `queue-timeout` begins anew. `queue-limit` is for
    /// new ones: this one was taken in already.
    pub(super) fn wait_again(&mut self, place: Place, now: Time) {
        if let Some(cause) = self.pool_refuses() {
            self.refuse(place, cause, now);
            return;
        }
        let Some(request) = self.requests.at_mut(place) else {
            return;
        };
        let key = request.key;
        request.state = State::Queued {
            lane: Lane::Replays,
            since: now,
        };
        self.queue.push(place, Lane::Replays);
        self.act(Action::NoteReplay { request: key });
    }

    pub(super) fn pool_reported(&mut self, state: PoolState, now: Time) {
        self.pool = state;
        let Some(cause) = self.pool_refuses() else {
            return;
        };
        while let Some(place) = self.queue.first() {
            self.leave_queue(place);
            self.refuse(place, cause, now);
        }
    }

    /// Gives free slots to those who wait; what has waited too long is not handed out any more.
    pub(super) fn hand_out_waiting(&mut self, now: Time) {
        while let Some(place) = self.queue.first() {
            let Some(worker) = self.workers.choose() else {
                return;
            };
            self.leave_queue(place);
            if self.expiry(place).is_some_and(|deadline| deadline <= now) {
                self.refuse(place, RefusalCause::QueueTimeout, now);
            } else {
                self.hand_out(place, worker, now);
            }
        }
    }

    /// Ends what has waited for `queue-timeout`.
    pub(super) fn expire_waiting(&mut self, now: Time) {
        for lane in Lane::ALL {
            while let Some(place) = self.queue.first_in(lane)
                && self.expiry(place).is_some_and(|deadline| deadline <= now)
            {
                self.leave_queue(place);
                self.refuse(place, RefusalCause::QueueTimeout, now);
            }
        }
    }

    /// When the next of those who wait has waited too long.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        Lane::ALL
            .into_iter()
            .filter_map(|lane| self.expiry(self.queue.first_in(lane)?))
            .min()
    }

    /// Since when the oldest of those who wait does.
    pub(super) fn oldest(&self) -> Option<Time> {
        Lane::ALL
            .into_iter()
            .filter_map(|lane| self.requests.queued_since(self.queue.first_in(lane)?))
            .min()
    }

    /// Takes a queued request out of the queue; it stays in the table.
    pub(super) fn leave_queue(&mut self, place: Place) {
        if let Some(request) = self.requests.at(place)
            && let State::Queued { lane, .. } = request.state
        {
            self.queue.remove(place, lane);
        }
    }

    /// Ends a request that is not (or no longer) in the queue.
    fn refuse(&mut self, place: Place, cause: RefusalCause, now: Time) {
        let Some(&Request { key, sent, .. }) = self.requests.at(place) else {
            return;
        };
        self.requests.remove(place);
        let action = if sent {
            Action::Fail { request: key }
        } else {
            Action::Refuse {
                request: key,
                cause,
                retry_after: self.retry_after(now),
            }
        };
        self.act(action);
    }

    /// What the drain says; else a few seconds, not the same for all, so that they do not come back together.
    fn retry_after(&mut self, now: Time) -> u32 {
        let seen = match self.pool_refuses() {
            Some(_) => None,
            None => self.drain.retry_after(self.queue.length(), now),
        };
        seen.unwrap_or_else(|| {
            let spread = u32::try_from(self.random.below(5)).unwrap_or_default();
            spread.saturating_add(1)
        })
    }

    fn expiry(&self, place: Place) -> Option<Time> {
        let since = self.requests.queued_since(place)?;
        self.settings.queue_timeout.deadline(since)
    }

    const fn pool_refuses(&self) -> Option<RefusalCause> {
        match self.pool {
            PoolState::Starting | PoolState::Serving => None,
            PoolState::Failing => Some(RefusalCause::PoolFailing),
            PoolState::Stopped => Some(RefusalCause::PoolStopped),
        }
    }
}
