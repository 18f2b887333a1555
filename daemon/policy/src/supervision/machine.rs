//! The machine: every pool, and the end of them all.
//!
//! Stopping the daemon: `StopRequested` has the relay drained (workers that are not ready are stopped meanwhile, none
//! is started); once it is, or at the deadline, every worker is stopped; when none is left, the
//! daemon is finished. `FastStopRequested`, or a second `StopRequested`, kills every worker at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Action, Event, PoolSnapshot, Settings, Snapshot,
    context::Context,
    life::{Effect, Life},
    pool::Pool,
};
use crate::{PoolId, Time, WorkerId};

/// All pools and their workers. See the [module](super) for what it decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervision {
    pub(super) pools: BTreeMap<PoolId, Pool>,
    phase: Phase,
    /// 0: no limit.
    pub(super) maximum_processes: u32,
    ignored: u64,
    pub(super) context: Context,
}

/// How far the daemon is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Running,
    /// The relay finishes its requests.
    Draining {
        deadline: Time,
    },
    /// Every worker has been told to go.
    Stopping,
    /// The last one is gone.
    Finished,
}

impl Supervision {
    /// No pools yet. `seed` decides the jitter of every backoff.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            pools: BTreeMap::new(),
            phase: Phase::Running,
            maximum_processes: 0,
            ignored: 0,
            context: Context::new(seed),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        self.context.advance(now);
        if self.phase == Phase::Finished {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        let taken = match event {
            Event::PoolAdded { pool, settings } => self.add(pool, settings),
            Event::PoolChanged { pool, settings } => {
                self.tell_pool(pool, |pool, _| pool.change(settings))
            }
            Event::PoolAdjusted { pool, settings } => {
                self.tell_pool(pool, |pool, _| pool.adjust(settings))
            }
            Event::PoolRemoved { pool } => self.tell_pool(pool, Pool::remove),
            Event::PoolStopped { pool } => self.tell_pool(pool, Pool::halt),
            Event::PoolStarted { pool } => self.tell_pool(pool, Pool::resume),
            Event::PoolScaled { pool, scale } => {
                self.tell_pool(pool, |pool, _| pool.scale_to(scale))
            }
            Event::PoolUsed {
                pool,
                busy,
                waiting,
            } => self.tell_use(pool, busy, waiting),
            Event::ReloadRequested { pool } => self.tell_pool(pool, Pool::reload),
            Event::StopRequested { deadline } => self.stop(deadline),
            Event::FastStopRequested => self.stop_fast(),
            Event::RelayDrained => self.relay_drained(),
            Event::WorkerLaunched { worker } => self.tell_worker(worker, Life::launched),
            Event::LaunchFailed { worker } => self.tell_worker(worker, Life::launch_failed),
            Event::WorkerReady { worker } => self.tell_worker(worker, Life::ready),
            Event::WorkerServed { worker } => self.tell_worker(worker, Life::served),
            Event::WorkerTired { worker, cause } => {
                self.tell_worker(worker, |life, context| life.tired(cause, context))
            }
            Event::WorkerSeasoned { worker } => self.season(worker),
            Event::WorkerShed { worker } => self.tell_worker(worker, Life::shed),
            Event::WorkerRecovered { worker } => self.tell_worker(worker, Life::recovered),
            Event::WorkerDeadlocked { worker } => self.tell_worker(worker, Life::deadlocked),
            Event::RequestTimedOut { worker } => self.tell_worker(worker, Life::request_timed_out),
            Event::WorkerBroke { worker } => self.tell_worker(worker, Life::broke),
            Event::WorkerDrained { worker } => self.tell_worker(worker, Life::drained),
            Event::WorkerExited { worker, exit } => {
                self.tell_worker(worker, |life, context| life.exited(exit, context))
            }
        };
        if !taken {
            self.ignored = self.ignored.saturating_add(1);
        }
        self.finish_when_empty();
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.context.advance(now);
        if self.phase == Phase::Finished {
            return;
        }
        for pool in self.pools.values_mut() {
            pool.expire(&mut self.context);
            pool.reconcile(&mut self.context);
        }
        self.forget_pools();
        self.share_room();
        if let Phase::Draining { deadline } = self.phase
            && deadline <= self.context.now()
        {
            self.stop_workers(true);
        }
        self.finish_when_empty();
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.context.poll_action()
    }

    /// When to call [`Supervision::handle_timeout`]; changes with every call to the machine.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let draining = match self.phase {
            Phase::Draining { deadline } => Some(deadline),
            Phase::Running | Phase::Stopping => None,
            Phase::Finished => return None,
        };
        self.pools
            .values()
            .filter_map(Pool::deadline)
            .chain(draining)
            .min()
    }

    /// How a pool stands; none: it is not known.
    #[must_use]
    pub fn pool(&self, pool: PoolId) -> Option<PoolSnapshot> {
        self.pools.get(&pool).map(Pool::snapshot)
    }

    /// How everything stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            pools: self.pools.values().map(Pool::snapshot).collect(),
            workers: self.pools.values().flat_map(Pool::workers).collect(),
            templates: self.pools.values().flat_map(Pool::templates).collect(),
            ignored: self.ignored,
        }
    }

    fn add(&mut self, id: PoolId, settings: Settings) -> bool {
        if self.phase != Phase::Running || self.pools.contains_key(&id) {
            return false;
        }
        let pool = Pool::new(id, settings, &mut self.context);
        self.pools.insert(id, pool);
        self.settle(id);
        true
    }

    fn tell_pool(
        &mut self,
        id: PoolId,
        tell: impl FnOnce(&mut Pool, &mut Context) -> bool,
    ) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else {
            return false;
        };
        if self.phase != Phase::Running {
            return false;
        }
        let taken = tell(pool, &mut self.context);
        self.settle(id);
        taken
    }

    /// What waits is told of again and again. As long as it means nothing new, nobody is asked: hundreds of pools may wait for room.
    fn tell_use(&mut self, id: PoolId, busy: u32, waiting: u32) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else {
            return false;
        };
        let told = self.phase == Phase::Running && pool.heeds_use();
        if told && pool.used(busy, waiting) {
            self.settle(id);
        }
        told
    }

    fn tell_worker(
        &mut self,
        worker: WorkerId,
        tell: impl FnOnce(&mut Life, &mut Context) -> Effect,
    ) -> bool {
        let mut pools = self.pools.iter_mut();
        let Some((&id, pool)) = pools.find(|(_, pool)| pool.has(worker)) else {
            return false;
        };
        let taken = pool.tell(worker, tell, &mut self.context);
        self.settle(id);
        taken
    }

    fn season(&mut self, worker: WorkerId) -> bool {
        let mut pools = self.pools.iter_mut();
        let Some((&id, pool)) = pools.find(|(_, pool)| pool.has(worker)) else {
            return false;
        };
        let taken = pool.season(worker, &mut self.context);
        self.settle(id);
        taken
    }

    /// Something happened to a pool.
    fn settle(&mut self, id: PoolId) {
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.reconcile(&mut self.context);
            if pool.is_over() {
                self.forget_pools();
            }
        }
        self.share_room();
    }

    fn forget_pools(&mut self) {
        let context = &mut self.context;
        self.pools.retain(|id, pool| {
            let over = pool.is_over();
            if over {
                context.act(Action::ForgetPool { pool: *id });
            }
            !over
        });
    }

    fn stop(&mut self, deadline: Time) -> bool {
        if self.phase != Phase::Running {
            return self.stop_fast();
        }
        self.phase = Phase::Draining { deadline };
        self.context.act(Action::DrainRelay);
        for pool in self.pools.values_mut() {
            pool.drain(&mut self.context);
        }
        true
    }

    fn relay_drained(&mut self) -> bool {
        match self.phase {
            Phase::Draining { .. } => {
                self.stop_workers(false);
                true
            }
            Phase::Running | Phase::Stopping | Phase::Finished => false,
        }
    }

    /// `overdue`: the relay still has requests with them.
    fn stop_workers(&mut self, overdue: bool) {
        self.phase = Phase::Stopping;
        for pool in self.pools.values_mut() {
            pool.stop(overdue, &mut self.context);
        }
    }

    fn stop_fast(&mut self) -> bool {
        if self.phase == Phase::Finished {
            return false;
        }
        self.phase = Phase::Stopping;
        for pool in self.pools.values_mut() {
            pool.kill(&mut self.context);
        }
        true
    }

    fn finish_when_empty(&mut self) {
        let empty = Pool::is_empty_as_far_as_can_be;
        if self.phase == Phase::Stopping && self.pools.values().all(empty) {
            self.phase = Phase::Finished;
            self.context.act(Action::Finish);
        }
    }
}
