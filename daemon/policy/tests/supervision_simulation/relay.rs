//! A relay: what it tells of the use of the pools, and what it takes out of rotation. Now and then it is replaced, and
//! what it was asked is lost.

use stockade_policy::supervision::Event;
use stockade_policy::{PoolId, PoolState, WorkerId};

use crate::world::{Coming, LATEST, World};

/// How a pool is used.
#[derive(Default)]
pub(crate) struct Use {
    /// Requests that are there at a time.
    demand: u32,
    /// What was told last: busy, waiting.
    told: Option<(u32, u32)>,
    /// Requests are refused.
    refuses: bool,
    /// It will look soon.
    looks: bool,
}

impl World {
    pub(crate) fn use_changes(&mut self, pool: PoolId, demand: u32) {
        self.uses.entry(pool).or_default().demand = demand;
        self.soon(pool);
    }

    /// Some use that stays: first of every second pool, which may take all the room that there is, then of the others.
    pub(crate) fn settle_use(&mut self, rest: u32) {
        let pools: Vec<PoolId> = self.uses.keys().copied().collect();
        for pool in pools {
            if pool.0 % 2 == rest {
                let demand = 1 + self.few(20);
                self.use_changes(pool, demand);
            } else if rest == 1 {
                self.use_changes(pool, 0);
            }
        }
    }

    pub(crate) fn reported(&mut self, pool: PoolId, state: PoolState) {
        let known = self.uses.entry(pool).or_default();
        known.refuses = matches!(state, PoolState::Failing | PoolState::Stopped);
        if state == PoolState::Stopped {
            known.told = None;
        }
        self.soon(pool);
    }

    /// The relay hears of other keys.
    pub(crate) fn changed(&mut self, pool: PoolId) {
        self.uses.entry(pool).or_default().told = None;
        self.soon(pool);
    }

    pub(crate) fn rotate(&mut self, worker: WorkerId, into: bool) {
        let process = self.processes.get_mut(&worker).expect("it was started");
        process.in_rotation = into && process.alive;
        let pool = process.pool;
        self.soon(pool);
    }

    pub(crate) fn soon(&mut self, pool: PoolId) {
        self.look_within(pool, 50);
    }

    fn look_within(&mut self, pool: PoolId, most: u64) {
        let looks = &mut self.uses.entry(pool).or_default().looks;
        if !std::mem::replace(looks, true) {
            self.later(most, Coming::Look(pool));
        }
    }

    /// Tells how the pool is used, when that has changed or something waits.
    pub(crate) fn look(&mut self, pool: PoolId) {
        let used = self.used(pool);
        let known = self.uses.entry(pool).or_default();
        known.looks = false;
        if self.laws.scale(pool).is_none_or(|scale| scale.is_static()) {
            known.told = None;
            return;
        }
        let (busy, waiting) = used;
        if waiting > 0 || known.told != Some(used) {
            known.told = Some(used);
            self.deliver(Event::PoolUsed {
                pool,
                busy,
                waiting,
            });
        }
        if waiting > 0 {
            self.look_within(pool, if self.calm { 60_000 } else { 2000 });
        }
    }

    pub(crate) fn shed(&mut self, pool: PoolId, count: u32) {
        if !self.calm && self.chance(8) {
            return;
        }
        let (busy, _) = self.used(pool);
        let ready = self.in_rotation(pool);
        // even where all are busy, one may be idle at this moment
        let resting = u32::from(self.calm && self.chance(2)).min(ready);
        let idle = ready.saturating_sub(busy).max(resting).min(count);
        let workers = self.processes.iter_mut().rev();
        let idle: Vec<WorkerId> = workers
            .filter(|(_, process)| process.pool == pool && process.in_rotation)
            .take(usize::try_from(idle).expect("few"))
            .map(|(worker, process)| {
                process.in_rotation = false;
                *worker
            })
            .collect();
        for worker in idle {
            self.later(
                Self::millis(LATEST),
                Coming::Message(Event::WorkerShed { worker }),
            );
        }
    }

    /// Busy workers, and requests that wait.
    fn used(&self, pool: PoolId) -> (u32, u32) {
        let known = &self.uses[&pool];
        let ready = self.in_rotation(pool);
        let threads = self.laws.threads(pool);
        let demand = if known.refuses { 0 } else { known.demand };
        let busy = demand.div_ceil(threads).min(ready);
        (busy, demand.saturating_sub(ready * threads))
    }

    fn in_rotation(&self, pool: PoolId) -> u32 {
        let workers = self.processes.values();
        let workers = workers.filter(|process| process.pool == pool && process.in_rotation);
        u32::try_from(workers.count()).expect("few")
    }
}
