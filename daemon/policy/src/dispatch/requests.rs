//! The table of requests that have not ended, by the relay's places.
//!
//! ```text
//! arrived ──▶ Queued ◀──▶ Running
//!    │           │           │
//!    └───────────┴───────────┴──▶ ended: not in the table
//! ```
//!
//! A request that arrives while a slot is free runs at once; it goes back to the queue only to be replayed.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::chain::Place;
use super::queue::Lane;
use super::vocabulary::{RequestKey, Settings, TimeoutCause};
use crate::Time;

/// A request that has not ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) key: RequestKey,
    pub(super) idempotent: bool,
    /// Nobody reads the answer.
    pub(super) host_gone: bool,
    /// Something of it was written to a worker that then failed: it may have been executed.
    pub(super) sent: bool,
    /// Workers that failed after something was written to them.
    pub(super) deaths: u32,
    /// Replays after nothing had been written.
    pub(super) unsent_replays: u32,
    /// It was told of as slow.
    pub(super) told_slow: bool,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum State {
    /// Waits for a slot.
    Queued { lane: Lane, since: Time },
    /// Has a slot.
    Running(Run),
}

/// Where a request runs and how long it has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// The worker's place.
    pub(super) worker: Place,
    /// The place among the worker's running requests.
    pub(super) position: u32,
    /// The hand-out.
    pub(super) since: Time,
    /// Counted before the present stretch.
    pub(super) spent: Duration,
    pub(super) clock: Clock,
}

/// How `request-timeout` stands, and behind the head `response-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Clock {
    /// It counts, on top of what is spent.
    Counting { since: Time },
    /// The worker waits for the host's body.
    Held,
    /// The response head has come; the worker has been silent since then, as far as is known.
    Answering { since: Time },
    /// The same, and the relay was asked since when.
    Asked { since: Time },
    /// Its time is over and it was answered; the worker is being interrupted.
    Over,
}

/// What is to happen to a running request next, unless something else does before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It has run for too long.
    Over(TimeoutCause),
    /// Has its worker been silent for too long?
    Ask,
}

/// The requests that have not ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Requests {
    table: Vec<Option<Request>>,
    live: u32,
}

impl Run {
    /// When something is due, and what; None: nothing as things stand.
    pub(super) fn due(&self, settings: &Settings) -> Option<(Time, Due)> {
        if self.clock == Clock::Over {
            return None;
        }
        let total = settings.total_timeout.deadline(self.since);
        let total = total.map(|at| (at, Due::Over(TimeoutCause::TotalTimeout)));
        let own = match self.clock {
            Clock::Counting { since } => settings.request_timeout.0.map(|limit| {
                let at = since.after(limit.saturating_sub(self.spent));
                (at, Due::Over(TimeoutCause::RequestTimeout))
            }),
            Clock::Answering { since } => {
                let at = settings.response_timeout.deadline(since);
                at.map(|at| (at, Due::Ask))
            }
            Clock::Held | Clock::Asked { .. } | Clock::Over => None,
        };
        [own, total].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// What is due at this time. There is nothing to ask of a request whose time is over anyway.
    pub(super) fn due_now(&self, settings: &Settings, now: Time) -> Option<Due> {
        let reached = |at: &Time| *at <= now;
        let (_, due) = self.due(settings).filter(|(at, _)| reached(at))?;
        let total = settings.total_timeout.deadline(self.since);
        let over = due == Due::Ask && total.as_ref().is_some_and(reached);
        Some(if over {
            Due::Over(TimeoutCause::TotalTimeout)
        } else {
            due
        })
    }

    /// The time of [`Run::due`].
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Time> {
        self.due(settings).map(|(at, _)| at)
    }

    /// It was answered for its worker, which has not come back from it.
    pub(super) fn over(&self) -> bool {
        self.clock == Clock::Over
    }

    /// The response head has come.
    pub(super) const fn answering(&self) -> bool {
        matches!(self.clock, Clock::Answering { .. } | Clock::Asked { .. })
    }
}

impl Requests {
    pub(super) const fn live(&self) -> u32 {
        self.live
    }

    /// Puts a request into its place, which is vacant.
    pub(super) fn insert(&mut self, request: Request) {
        let place = request.key.index as usize;
        if self.table.len() <= place {
            self.table.resize(place.saturating_add(1), None);
        }
        if let Some(entry) = self.table.get_mut(place)
            && entry.replace(request).is_none()
        {
            self.live = self.live.saturating_add(1);
        }
    }

    /// Takes an ended request out.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(entry) = self.table.get_mut(place as usize)
            && entry.take().is_some()
        {
            self.live = self.live.saturating_sub(1);
        }
    }

    pub(super) fn at(&self, place: Place) -> Option<&Request> {
        self.table.get(place as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut Request> {
        self.table.get_mut(place as usize)?.as_mut()
    }

    /// The request of this key; None: it has ended.
    pub(super) fn find(&self, key: RequestKey) -> Option<&Request> {
        self.at(key.index).filter(|request| request.key == key)
    }

    /// The request of this key and how it runs; None: it has ended or waits.
    pub(super) fn running(&mut self, key: RequestKey) -> Option<&mut Run> {
        self.at_mut(key.index)
            .filter(|request| request.key == key)?
            .run_mut()
    }

    /// Since when a queued request waits.
    pub(super) fn queued_since(&self, place: Place) -> Option<Time> {
        match self.at(place)?.state {
            State::Queued { since, .. } => Some(since),
            State::Running(_) => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.table.iter().flatten()
    }
}

impl Request {
    pub(super) const fn run(&self) -> Option<Run> {
        match self.state {
            State::Running(run) => Some(run),
            State::Queued { .. } => None,
        }
    }

    pub(super) const fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(run) => Some(run),
            State::Queued { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::Retry;
    use super::*;
    use crate::Limit;

    fn request(index: u32, serial: u32) -> Request {
        Request {
            key: RequestKey { index, serial },
            idempotent: true,
            host_gone: false,
            sent: false,
            deaths: 0,
            unsent_replays: 0,
            told_slow: false,
            state: State::Queued {
                lane: Lane::Arrivals,
                since: Time::default(),
            },
        }
    }

    #[test]
    fn a_key_of_an_earlier_request_finds_nothing() {
        let mut requests = Requests::default();
        requests.insert(request(3, 1));
        requests.remove(3);
        requests.remove(3);
        requests.insert(request(3, 2));
        assert_eq!(requests.live(), 1);
        assert!(
            requests
                .find(RequestKey {
                    index: 3,
                    serial: 1
                })
                .is_none()
        );
        assert!(
            requests
                .find(RequestKey {
                    index: 3,
                    serial: 2
                })
                .is_some()
        );
        assert!(
            requests
                .find(RequestKey {
                    index: 9,
                    serial: 2
                })
                .is_none()
        );
    }

    #[test]
    fn what_is_due_first_counts() {
        let seconds = |seconds| Time::new(Duration::from_secs(seconds));
        let limit = |seconds| Limit::of(Duration::from_secs(seconds));
        let mut settings = Settings {
            queue_limit: 0,
            queue_timeout: Limit::OFF,
            request_timeout: limit(60),
            slow_request: Limit::OFF,
            response_timeout: limit(10),
            total_timeout: limit(65),
            inactivity_timeout: Limit::OFF,
            retry: Retry::Off,
            retry_limit: 0,
            shared: false,
            scale: None,
            interrupts: false,
        };
        let since = seconds(100);
        let mut run = Run {
            worker: 0,
            position: 0,
            since: seconds(80),
            spent: Duration::from_secs(20),
            clock: Clock::Counting { since },
        };
        let (request, total) = (
            Due::Over(TimeoutCause::RequestTimeout),
            Due::Over(TimeoutCause::TotalTimeout),
        );
        assert_eq!(run.due(&settings), Some((seconds(140), request)));
        settings.request_timeout = Limit::OFF;
        assert_eq!(run.due(&settings), Some((seconds(145), total)));
        run.clock = Clock::Answering { since };
        assert_eq!(run.due(&settings), Some((seconds(110), Due::Ask)));
        assert_eq!(run.due_now(&settings, seconds(109)), None);
        assert_eq!(run.due_now(&settings, seconds(144)), Some(Due::Ask));
        assert_eq!(run.due_now(&settings, seconds(145)), Some(total));
        run.clock = Clock::Asked { since };
        assert_eq!(run.due(&settings), Some((seconds(145), total)));
        settings.total_timeout = Limit::OFF;
        assert_eq!(run.due(&settings), None);
    }
}
