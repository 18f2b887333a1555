//! What the supervisor says of a pool's workers.

use std::{collections::BTreeSet, mem, time::Duration};

use stockade_policy::{
    PoolState, WorkerId,
    dispatch::{Event, RequestKey},
};

use tokio::{task, time::timeout};

use super::{
    exits::{LAST_WORDS, Remains},
    output::LastLines,
    pool::{State, Worker},
    reading::current,
};
use crate::control::{FromRelay, relay::PoolPlan};

impl State {
    /// It was launched, just now if `fresh`; nothing is given to it yet.
    pub(super) fn worker_launched(&mut self, worker: WorkerId, launched: Worker, fresh: bool) {
        self.ledger.lives.starts += u64::from(fresh);
        self.workers.insert(worker, launched);
    }

    /// It may be given requests, so many at a time, of which some are another relay's; `startup`: it took this long to be ready, and was not offered before.
    pub(super) fn worker_offered(
        &mut self,
        worker: WorkerId,
        (slots, leased): (u32, u32),
        maximum_requests: u64,
        startup: Option<Duration>,
    ) {
        if let Some(took) = startup {
            self.ledger.startup.observe(took);
        }
        if let Some(known) = self.workers.get_mut(&worker) {
            known.offered = true;
            known.slots = slots;
        }
        self.tell(Event::WorkerOffered {
            worker,
            slots,
            leased,
            maximum_requests,
        });
        self.rest();
    }

    /// It is to be given no more. Its idle connections are closed: a program that waits for a request on one of them would not
    /// notice the stop-signal.
    pub(super) fn worker_retired(&mut self, worker: WorkerId) {
        let now = self.clock.now();
        if let Some(known) = self.workers.get_mut(&worker) {
            if !mem::replace(&mut known.retired, true) {
                known.lost.forget_old(now);
            }
            for link in known.idle.drain(..) {
                link.trunk.retire();
            }
            if let Some(trunk) = known.trunk.upgrade() {
                trunk.retire();
            }
        }
        self.tell(Event::WorkerRetired { worker });
        self.rest();
    }

    /// It has been retired, and workers are forked of it from here on.
    pub(super) fn template_made(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.template = true;
            (known.offered, known.retired) = (false, false);
        }
    }

    /// Its time to finish is over.
    pub(super) fn worker_overdue(&mut self, worker: WorkerId) {
        self.tell(Event::WorkerOverdue { worker });
        self.rest();
    }

    /// Its process is gone. What it still runs ends by its connections, which may hold a whole answer.
    pub(super) fn worker_gone(&mut self, worker: WorkerId, done: bool) {
        let mut known = self.workers.remove(&worker);
        if let Some(known) = &mut known {
            let remains = self.remains(worker, known);
            self.ledger.exits.departed(worker, remains);
        }
        self.tell(Event::WorkerGone { worker });
        if let Some(known) = known {
            for link in known.idle {
                link.trunk.retire();
            }
            known.obituary.publish(done);
            for link in self.requests.links_of(worker) {
                link.trunk.connection.wake();
            }
        }
        self.rest();
    }

    /// What a worker wrote last that runs or is gone; or why it was not launched.
    pub(super) fn last_lines(&self, worker: WorkerId) -> Option<LastLines> {
        let known = self.workers.get(&worker);
        known.map_or_else(
            || self.ledger.last_lines(worker),
            |known| Some(known.lines.clone()),
        )
    }

    /// What is left of a worker whose process is gone.
    fn remains(&self, worker: WorkerId, known: &mut Worker) -> Remains {
        let now = self.clock.now();
        let mut lost = mem::take(&mut known.lost);
        if !known.retired {
            lost.forget_old(now);
        }
        let unheard = self.requests.unheard_of(worker);
        Remains {
            requests: self.dispatch.worker(worker).handed_out,
            current: lost.with(unheard.map(|request| current(request, now))),
            lines: known.lines.clone(),
        }
    }

    /// The request's worker did not answer it; if it is about to be gone, that is part of its record.
    pub(super) fn note_lost(&mut self, key: RequestKey) {
        let now = self.clock.now();
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (Some(worker), lost) = (request.worker, current(request, now)) else {
            return;
        };
        match self.workers.get_mut(&worker) {
            Some(known) => known.lost.add(lost, now),
            None => self.ledger.exits.lost(worker, lost),
        }
    }

    /// Whether it has a connection on which something runs.
    pub(super) fn runs(&self, worker: WorkerId) -> bool {
        self.requests.links_of(worker).next().is_some()
    }

    /// The lowest place that no worker has: so that what is counted by place does not change places.
    pub(super) fn free_place(&self) -> u32 {
        lowest_free(self.workers.values().map(|worker| worker.place))
    }

    /// How the pool stands. In development those who wait hear that it is failing when all is here that its worker wrote, for their
    /// page shows it.
    pub(super) fn reported(&mut self, state: PoolState) {
        self.standing = state;
        let shown = self.plan.development && state == PoolState::Failing;
        let last = self.ledger.exits.iter().next().filter(|_| shown);
        let (Some(lines), Some(pool)) = (last.map(|exit| exit.lines.clone()), self.me.upgrade())
        else {
            return self.stands();
        };
        task::spawn_local(async move {
            // it shows what there is by then
            drop(timeout(LAST_WORDS, lines.ended()).await);
            let mut pool = pool.state();
            if pool.standing == PoolState::Failing {
                pool.stands();
            }
        });
    }

    fn stands(&mut self) {
        let state = self.standing;
        self.tell(Event::PoolReported { state });
        self.rest();
    }

    /// Other keys, from the next request on.
    pub(super) fn changed(&mut self, plan: PoolPlan) {
        self.dispatch.set_settings(plan.settings.clone());
        self.plan = plan;
        self.next_look = None;
        self.expect_look();
        self.follow_upstream();
        self.follow_access_log();
        self.settle();
        self.rest();
        self.say(FromRelay::PoolChanged(self.plan.pool));
    }
}

fn lowest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: BTreeSet<u32> = taken.collect();
    (0..)
        .find(|place| !taken.contains(place))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_nobody_changes_his() {
        assert_eq!(lowest_free([].into_iter()), 0);
        assert_eq!(lowest_free([0, 2, 1].into_iter()), 3);
        assert_eq!(lowest_free([3, 0].into_iter()), 1);
    }
}
