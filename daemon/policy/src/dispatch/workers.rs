//! The table of workers: their slots, how they stand, what was told of them.
//!
//! ```text
//! offered ──▶ Offered ──▶ SetAside ──▶ Retired ──▶ Gone ──▶ not in the table once nothing of it runs
//!                │            │           ▲          ▲
//!                ├────────────│───────────┘          │
//!                └────────────┴──────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use super::chain::Place;
use super::ranks::{Rank, Ranks};
use super::vocabulary::WorkerFigures;
use crate::{Time, WorkerId};

/// One worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) standing: Standing,
    /// Its last connection ended without an answer.
    pub(super) suspect: bool,
    /// The places of the requests that have one of its slots each.
    pub(super) running: Vec<Place>,
    /// Slots whose request was answered for the worker, which may still be at it: never used again.
    pub(super) lost: u32,
    /// Slots that are another relay's, or of which nobody knows.
    pub(super) leased: u32,
    pub(super) slots: u32,
    maximum_requests: u64,
    handed_out: u64,
    /// What has been reported, a bit each.
    told: u8,
    /// It has had requests, and none since then; none: that was told of.
    idle_since: Option<Time>,
    /// It counts as one that is busy, and as one that is offered.
    counted: (bool, bool),
    /// How it is ranked; None: it is not given requests, or has no free slot.
    pub(super) rank: Option<Rank>,
}

/// May the worker be given requests? It only goes down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Yes.
    Offered,
    /// No: it timed out, broke the protocol or cannot be reached. Supervision will replace it.
    SetAside,
    /// No: supervision takes it out of use, and waits until nothing of it runs.
    Retired,
    /// There is no process any more; its connections have yet to end.
    Gone,
}

/// What is reported once in a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Served = 1,
    MaximumRequests = 2,
    TimedOut = 4,
    Broken = 8,
    Drained = 16,
}

/// The workers, by place. A place is used again when its worker is gone and nothing of it runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Workers {
    table: Vec<Option<Worker>>,
    ranks: Ranks,
    /// Those that may be given requests, and of them those that have some.
    offered: u32,
    busy: u32,
}

impl Worker {
    /// Slots that could take a request.
    pub(super) fn free(&self) -> u32 {
        match self.standing {
            Standing::Offered => self.slots.saturating_sub(self.busy()),
            Standing::SetAside | Standing::Retired | Standing::Gone => 0,
        }
    }

    /// What is shown of it.
    pub(super) fn figures(&self) -> WorkerFigures {
        WorkerFigures {
            busy: self.busy(),
            handed_out: self.handed_out,
        }
    }

    /// Slots with a request, lost and leased ones included.
    pub(super) fn busy(&self) -> u32 {
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        running
            .saturating_add(self.lost)
            .saturating_add(self.leased)
    }
}

impl Workers {
    /// The worker to give the next request to.
    pub(super) fn choose(&mut self) -> Option<Place> {
        self.ranks.first()
    }

    /// No slot is free.
    pub(super) const fn all_busy(&self) -> bool {
        self.ranks.is_empty()
    }

    /// Workers that may be given requests.
    pub(super) const fn offered(&self) -> u32 {
        self.offered
    }

    /// Of them those with a request.
    pub(super) const fn busy(&self) -> u32 {
        self.busy
    }

    /// The idle one that could be spared most easily.
    pub(super) fn longest_unused(&self) -> Option<Place> {
        self.ranks.longest_unused()
    }

    pub(super) fn at(&self, place: Place) -> Option<&Worker> {
        self.table.get(place as usize)?.as_ref()
    }

    /// The place of a worker; these events are rare, the table is short.
    pub(super) fn find(&self, id: WorkerId) -> Option<Place> {
        self.iter()
            .find_map(|(place, worker)| (worker.id == id).then_some(place))
    }

    /// Every worker with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Worker)> {
        (0_u32..)
            .zip(&self.table)
            .filter_map(|(place, entry)| entry.as_ref().map(|worker| (place, worker)))
    }

    /// Every ranked worker.
    pub(super) fn ranked(&self) -> impl Iterator<Item = (Place, Rank)> {
        self.ranks.iter()
    }

    /// Places there are; some may be vacant.
    pub(super) fn places(&self) -> core::ops::Range<Place> {
        0..u32::try_from(self.table.len()).unwrap_or(u32::MAX)
    }

    /// Adds a worker, or gives one that is still offered other numbers. Returns its place; None: it is not offered
    /// any more, and stays so.
    pub(super) fn offer(
        &mut self,
        id: WorkerId,
        slots: u32,
        leased: u32,
        maximum_requests: u64,
    ) -> Option<Place> {
        let place = self.find(id).unwrap_or_else(|| self.add(id, leased));
        let worker = self.at_mut(place)?;
        if worker.standing != Standing::Offered {
            return None;
        }
        worker.slots = slots;
        worker.maximum_requests = maximum_requests;
        self.rank(place, Ranks::insert_unused);
        Some(place)
    }

    /// Gives a slot of the worker to `request`. Returns its position among the worker's running requests.
    pub(super) fn take(&mut self, place: Place, request: Place) -> u32 {
        let Some(worker) = self.at_mut(place) else {
            return 0;
        };
        let position = u32::try_from(worker.running.len()).unwrap_or(u32::MAX);
        worker.running.push(request);
        worker.handed_out = worker.handed_out.saturating_add(1);
        worker.idle_since = None;
        self.rank(place, Ranks::insert_used);
        position
    }

    /// Leases a slot of the worker, which has a free one.
    pub(super) fn lease(&mut self, place: Place) -> Option<WorkerId> {
        let worker = self.at_mut(place)?;
        worker.leased = worker.leased.saturating_add(1);
        let id = worker.id;
        self.rank(place, Ranks::insert_unused);
        Some(id)
    }

    /// So many slots of the worker are leased no more.
    pub(super) fn return_leases(&mut self, place: Place, slots: u32) {
        if let Some(worker) = self.at_mut(place) {
            worker.leased = worker.leased.saturating_sub(slots);
        }
        self.rank(place, Ranks::insert_unused);
    }

    /// The worker was given so many requests by somebody else.
    pub(super) fn count(&mut self, place: Place, requests: u64) {
        if let Some(worker) = self.at_mut(place) {
            worker.handed_out = worker.handed_out.saturating_add(requests);
        }
    }

    /// Takes the request at `position` off the worker. Returns the request that has that position instead.
    pub(super) fn leave(&mut self, place: Place, position: u32, slot: Slot) -> Option<Place> {
        let worker = self.at_mut(place)?;
        let position = position as usize;
        if position < worker.running.len() {
            worker.running.swap_remove(position);
            match (slot, worker.standing) {
                // nobody is at it any more
                (Slot::Freed, _) | (Slot::Lost, Standing::Gone) => {}
                (Slot::Lost, Standing::Offered | Standing::SetAside | Standing::Retired) => {
                    worker.lost = worker.lost.saturating_add(1);
                }
            }
        }
        let moved = worker.running.get(position).copied();
        self.rank(place, Ranks::insert_used);
        moved
    }

    /// The worker has nothing to do from here on, after requests. False: it has, or had none.
    pub(super) fn idle_from(&mut self, place: Place, now: Time) -> bool {
        let idle = self.at(place).is_some_and(|worker| {
            worker.standing == Standing::Offered && worker.busy() == 0 && worker.handed_out > 0
        });
        if let Some(worker) = self.at_mut(place).filter(|_| idle) {
            worker.idle_since = Some(now);
        }
        idle
    }

    /// Since when the worker has had nothing to do, if that is to be told.
    pub(super) fn idle_since(&self, place: Place) -> Option<Time> {
        let worker = self.at(place)?;
        let idle = worker.standing == Standing::Offered && worker.busy() == 0;
        worker.idle_since.filter(|_| idle)
    }

    /// It is told of; not again until it has had another request.
    pub(super) fn told_idle(&mut self, place: Place) -> Option<WorkerId> {
        let worker = self.at_mut(place)?;
        worker.idle_since = None;
        Some(worker.id)
    }

    /// Ranks a worker that should be and is not. False: its rank is as it should be.
    pub(super) fn mend_rank(&mut self, place: Place) -> bool {
        let lost = |worker: &Worker| worker.free() > 0 && worker.rank.is_none();
        let lost = self.at(place).is_some_and(lost);
        if lost {
            self.rank(place, Ranks::insert_unused);
        }
        lost
    }

    /// The worker's connection ended without an answer, or (false) it has answered since.
    pub(super) fn suspect(&mut self, place: Place, suspect: bool) {
        if let Some(worker) = self.at_mut(place)
            && worker.suspect != suspect
        {
            worker.suspect = suspect;
            self.rank(place, Ranks::insert_used);
        }
    }

    /// The worker stands like this from here on, unless it is further down already.
    pub(super) fn enter(&mut self, place: Place, standing: Standing) {
        if let Some(worker) = self.at_mut(place) {
            worker.standing = worker.standing.max(standing);
            if worker.standing == Standing::Gone {
                worker.lost = 0;
                worker.leased = 0;
            }
        }
        self.rank(place, Ranks::insert_used);
    }

    /// Notes that `report` is made of the worker. None: it was before, or the worker is gone (what was served still counts).
    pub(super) fn tell_once(&mut self, place: Place, report: Report) -> Option<WorkerId> {
        let worker = self.at_mut(place)?;
        let bit = report as u8;
        let late = worker.standing == Standing::Gone && report != Report::Served;
        if late || worker.told & bit != 0 {
            return None;
        }
        worker.told |= bit;
        Some(worker.id)
    }

    /// The worker has been handed all the requests it may have.
    pub(super) fn used_up(&self, place: Place) -> bool {
        self.at(place).is_some_and(|worker| {
            worker.maximum_requests != 0 && worker.handed_out >= worker.maximum_requests
        })
    }

    /// Frees the place of a worker that is gone with nothing running.
    pub(super) fn forget_gone(&mut self, place: Place) {
        if let Some(entry) = self.table.get_mut(place as usize)
            && entry.as_ref().is_some_and(|worker| {
                worker.standing == Standing::Gone && worker.running.is_empty()
            })
        {
            *entry = None;
        }
    }

    fn add(&mut self, id: WorkerId, leased: u32) -> Place {
        let worker = Worker {
            id,
            standing: Standing::Offered,
            suspect: false,
            running: Vec::new(),
            lost: 0,
            leased,
            slots: 0,
            maximum_requests: 0,
            handed_out: 0,
            told: 0,
            idle_since: None,
            counted: (false, false),
            rank: None,
        };
        let vacant = self.table.iter().position(Option::is_none);
        let place = vacant.unwrap_or_else(|| {
            self.table.push(None);
            self.table.len().saturating_sub(1)
        });
        if let Some(entry) = self.table.get_mut(place) {
            *entry = Some(worker);
        }
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Brings the worker's rank up to date.
    fn rank(&mut self, place: Place, insert: fn(&mut Ranks, Place, Rank)) {
        let Some(worker) = self.table.get_mut(place as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(rank) = worker.rank.take() {
            self.ranks.remove(place, rank);
        }
        if worker.free() > 0 {
            let rank = Rank {
                suspect: worker.suspect,
                level: worker.busy(),
            };
            worker.rank = Some(rank);
            insert(&mut self.ranks, place, rank);
        }
        let offered = worker.standing == Standing::Offered;
        let counts = (offered && worker.busy() > 0, offered);
        let counted = core::mem::replace(&mut worker.counted, counts);
        let step = |count: u32, before: bool, after: bool| {
            count
                .saturating_add(u32::from(after))
                .saturating_sub(u32::from(before))
        };
        self.busy = step(self.busy, counted.0, counts.0);
        self.offered = step(self.offered, counted.1, counts.1);
    }

    /// Forgets every rank, which nothing but a mistake does.
    #[cfg(test)]
    pub(super) fn lose_sight(&mut self) {
        self.ranks = Ranks::default();
        for worker in self.table.iter_mut().flatten() {
            worker.rank = None;
        }
    }

    fn at_mut(&mut self, place: Place) -> Option<&mut Worker> {
        self.table.get_mut(place as usize)?.as_mut()
    }
}

/// What becomes of a slot whose request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The worker is done with it.
    Freed,
    /// The request was answered for the worker.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_leaves_hands_its_position_on() {
        let mut workers = Workers::default();
        let place = workers.offer(WorkerId(1), 3, 0, 0).unwrap();
        for (position, request) in [(0, 10), (1, 11), (2, 12)] {
            assert_eq!(workers.choose(), Some(place));
            assert_eq!(workers.take(place, request), position);
        }
        assert_eq!(workers.choose(), None);
        assert_eq!(workers.leave(place, 0, Slot::Freed), Some(12));
        assert_eq!(workers.leave(place, 1, Slot::Lost), None);
        let worker = workers.at(place).unwrap();
        assert_eq!((worker.busy(), worker.free()), (2, 1));
    }

    #[test]
    fn standing_only_goes_down() {
        let mut workers = Workers::default();
        let place = workers.offer(WorkerId(1), 1, 0, 0).unwrap();
        for (entered, standing) in [
            (Standing::SetAside, Standing::SetAside),
            (Standing::Offered, Standing::SetAside),
            (Standing::Retired, Standing::Retired),
            (Standing::SetAside, Standing::Retired),
            (Standing::Gone, Standing::Gone),
            (Standing::Retired, Standing::Gone),
        ] {
            workers.enter(place, entered);
            assert_eq!(workers.at(place).unwrap().standing, standing);
            assert_eq!(workers.choose(), None);
            assert_eq!(workers.offer(WorkerId(1), 1, 0, 0), None);
        }
        workers.forget_gone(place);
        assert!(workers.at(place).is_none());
        assert_eq!(workers.offer(WorkerId(2), 1, 0, 0), Some(place));
    }

    #[test]
    fn a_report_is_made_once() {
        let mut workers = Workers::default();
        let place = workers.offer(WorkerId(1), 1, 0, 0).unwrap();
        assert_eq!(workers.tell_once(place, Report::Broken), Some(WorkerId(1)));
        assert_eq!(workers.tell_once(place, Report::Broken), None);
        workers.enter(place, Standing::Gone);
        assert_eq!(workers.tell_once(place, Report::TimedOut), None);
        assert_eq!(workers.tell_once(place, Report::Served), Some(WorkerId(1)));
    }
}
