//! Slots are leases: while one relay takes over from another, each slot is one machine's at a time.
//!
//! A machine that was taken over from gives every slot away as it becomes free, and asks for one for each request that still waits with
//! it; the other machine answers before it serves its own queue, for those have waited longer. What is given away is `leased` until it
//! is returned.

use serde::{Deserialize, Serialize};

use super::machine::Dispatch;
use super::vocabulary::Action;
use crate::{Time, WorkerId};

/// What is owed between this machine and another.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Leases {
    /// Slots that the other wants, for requests that wait with it.
    wanted: u32,
    /// Another has taken over: nothing new is to come here.
    pub(super) taken_over: bool,
    /// Slots that were asked for and have not come.
    asked: u32,
}

impl Leases {
    /// Slots that the other wants.
    pub(super) const fn wanted(&self) -> u32 {
        self.wanted
    }
}

impl Dispatch {
    /// What is said of a worker that is not known, or of more than was leased, was on its way.
    pub(super) fn lease_returned(&mut self, id: WorkerId, slots: u32) {
        self.leases.asked = self.leases.asked.saturating_sub(slots);
        if let Some(place) = self.workers.find(id) {
            self.workers.return_leases(place, slots);
            self.next_inactive = self.earliest_inactive();
        }
    }

    pub(super) const fn slot_wanted(&mut self) {
        self.leases.wanted = self.leases.wanted.saturating_add(1);
    }

    /// Said once more when yet another takes over, who knows nothing of what was asked.
    pub(super) const fn taken_over(&mut self) {
        self.leases = Leases {
            taken_over: true,
            wanted: 0,
            asked: 0,
        };
    }

    /// Requests that another machine gave the worker count for `maximum-requests`.
    pub(super) fn requests_counted(&mut self, id: WorkerId, requests: u64, now: Time) {
        if let Some(place) = self.workers.find(id) {
            self.workers.count(place, requests);
            self.report_used_up(place);
            self.expect_inactive(place, now);
        }
    }

    /// Gives free slots to the other machine's requests, which are older than ours.
    pub(super) fn lend_slots(&mut self) {
        while self.leases.wanted > 0 && self.give_away() {
            self.leases.wanted = self.leases.wanted.saturating_sub(1);
        }
    }

    /// Gives away what nobody waits for, and asks for what somebody waits for, when another has taken over.
    pub(super) fn hand_over_slots(&mut self) {
        if !self.leases.taken_over {
            return;
        }
        while self.give_away() {}
        while self.leases.asked < self.queue.length() {
            self.leases.asked = self.leases.asked.saturating_add(1);
            self.act(Action::AskForSlot);
        }
    }

    /// Whether a slot of the other machine's is due.
    pub(super) const fn owes_slot(&self) -> bool {
        self.leases.wanted > 0 || self.leases.taken_over
    }

    /// False: there is none.
    fn give_away(&mut self) -> bool {
        let Some(place) = self.workers.choose() else {
            return false;
        };
        match self.workers.lease(place) {
            Some(worker) => {
                self.act(Action::ReturnLease { worker });
                true
            }
            None => false,
        }
    }
}
