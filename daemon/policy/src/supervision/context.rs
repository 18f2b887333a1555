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
    pub(super) random: Random,
    actions: VecDeque<Action>,
}

impl Context {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            now: Time::new(core::time::Duration::ZERO),
            last_worker: 0,
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

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
