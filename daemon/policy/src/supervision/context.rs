//! What every decision may use besides its own state: the time, chance, the next worker's number, and where to put
//! actions.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Action;
use crate::{Random, Time, WorkerId};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Context {
    now: Time,
    last_worker: u64,
    last_place: u64,
    /// How many more workers may be started; None: any number.
    room: Option<u32>,
    pub(super) random: Random,
    actions: VecDeque<Action>,
}

impl Context {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            now: Time::new(core::time::Duration::ZERO),
            last_worker: 0,
            last_place: 0,
            room: None,
            random: Random::new(seed),
            actions: VecDeque::new(),
        }
    }

    /// The clock was read. A reading that is older than the last one counts as the last one.
    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(super) const fn now(&self) -> Time {
        self.now
    }

    /// A number that no worker has had.
    pub(super) const fn new_worker(&mut self) -> WorkerId {
        self.last_worker = self.last_worker.saturating_add(1);
        WorkerId(self.last_worker)
    }

    /// A place behind all others that wait for room.
    pub(super) const fn new_place(&mut self) -> u64 {
        self.last_place = self.last_place.saturating_add(1);
        self.last_place
    }

    /// Room is given worker by worker, or there is no end of it.
    pub(super) fn limit(&mut self, limited: bool) {
        self.room = limited.then_some(0);
    }

    /// One worker may be started.
    pub(super) const fn give_room(&mut self) {
        self.room = Some(1);
    }

    pub(super) const fn is_limited(&self) -> bool {
        self.room.is_some()
    }

    /// Whether a worker may be started; it is.
    pub(super) const fn take_room(&mut self) -> bool {
        match self.room {
            None => true,
            Some(0) => false,
            Some(room) => {
                self.room = Some(room.saturating_sub(1));
                true
            }
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
