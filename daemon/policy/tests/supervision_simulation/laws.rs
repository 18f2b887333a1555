//! What must hold whatever happens. The numbers are the architecture's properties.

mod counts;
mod peace;
mod pool;
mod templates;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockade_policy::supervision::{Action, Cause, Event, Scale, Settings, Snapshot, WorkerState};
use stockade_policy::{Generation, PoolId, PoolState, Time, WorkerId};

use self::pool::{Pool, Standing};
use self::worker::{Told, Worker};
use crate::world::{LATEST, SLOWEST_KILL};

pub(crate) struct Laws {
    shutdown: Duration,
    /// `maximum-processes`; 0: none.
    pub(crate) maximum: u32,
    pools: BTreeMap<PoolId, Pool>,
    /// Those that are not gone.
    workers: BTreeMap<WorkerId, Worker>,
    /// The newest.
    last: Option<WorkerId>,
    /// When the stop was asked for, and when it must be over.
    stop: Option<Time>,
    over_by: Option<Time>,
    fast: bool,
    drained: bool,
    finished: bool,
}

impl Laws {
    pub(crate) fn new(shutdown: Duration) -> Self {
        Self {
            shutdown,
            maximum: 0,
            pools: BTreeMap::new(),
            workers: BTreeMap::new(),
            last: None,
            stop: None,
            over_by: None,
            fast: false,
            drained: false,
            finished: false,
        }
    }

    /// Those that a worker of this generation is started with.
    pub(crate) fn settings(&self, pool: PoolId, generation: Generation) -> &Settings {
        &self.pools[&pool].settings[&generation]
    }

    /// Those that an adjustment is of.
    pub(crate) fn newest_keys(&self, pool: PoolId) -> Option<&Settings> {
        let pool = self.pools.get(&pool)?;
        Some(&pool.settings[&pool.adjustable()])
    }

    /// How many workers it has by its keys, or by an operator's word.
    pub(crate) fn scale(&self, pool: PoolId) -> Option<Scale> {
        self.pools.get(&pool).map(Pool::scale)
    }

    pub(crate) fn threads(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(1, |pool| pool.keys().threads)
    }

    /// Before the machine is told.
    pub(crate) fn happened(&mut self, event: &Event, now: Time, before: &Snapshot) {
        match event {
            Event::PoolAdded { .. }
            | Event::PoolChanged { .. }
            | Event::PoolAdjusted { .. }
            | Event::PoolRemoved { .. }
            | Event::PoolStopped { .. }
            | Event::PoolStarted { .. }
            | Event::PoolScaled { .. }
            | Event::PoolUsed { .. }
            | Event::ReloadRequested { .. } => {
                if self.stop.is_none() {
                    self.happened_to_pool(event);
                }
            }
            Event::StopRequested { .. } | Event::FastStopRequested => {
                self.stop_asked(*event == Event::FastStopRequested, now);
            }
            Event::RelayDrained => {}
            Event::WorkerServed { worker } => self.served(*worker, before),
            Event::WorkerSeasoned { worker } => self.seasoned(*worker),
            Event::WorkerShed { worker }
            | Event::WorkerExited { worker, .. }
            | Event::LaunchFailed { worker }
            | Event::WorkerLaunched { worker }
            | Event::WorkerReady { worker }
            | Event::WorkerTired { worker, .. }
            | Event::RequestTimedOut { worker }
            | Event::WorkerRecovered { worker }
            | Event::WorkerDeadlocked { worker }
            | Event::WorkerBroke { worker }
            | Event::WorkerDrained { worker } => self.happened_to_worker(*worker, event, now),
        }
    }

    fn happened_to_pool(&mut self, event: &Event) {
        if let Event::PoolAdded { pool, settings } = event {
            self.pools
                .entry(*pool)
                .or_insert_with(|| Pool::new(settings));
        }
        let (Event::PoolAdded { pool, .. }
        | Event::PoolChanged { pool, .. }
        | Event::PoolAdjusted { pool, .. }
        | Event::PoolRemoved { pool }
        | Event::PoolStopped { pool }
        | Event::PoolStarted { pool }
        | Event::PoolScaled { pool, .. }
        | Event::PoolUsed { pool, .. }
        | Event::ReloadRequested { pool }) = event
        else {
            return;
        };
        let down = self.ready(*pool) == 0;
        let useful = u32::try_from(self.useful(*pool)).expect("few");
        let Some(pool) = self.pools.get_mut(pool).filter(|pool| pool.is_there()) else {
            return;
        };
        match event {
            Event::PoolChanged { settings, .. } => pool.changed = Some(settings.clone()),
            Event::PoolAdjusted { settings, .. } => pool.adjust(settings),
            Event::PoolRemoved { .. } => pool.empty(Standing::Removed),
            Event::PoolStopped { .. } if pool.runs() => pool.empty(Standing::Halted),
            Event::PoolStarted { .. } if !pool.runs() => {
                pool.standing = Standing::Runs;
                pool.not_before = Time::default();
            }
            Event::PoolScaled { scale, .. } => pool.scaled = Some(*scale),
            Event::PoolUsed { busy, waiting, .. } => pool.told(*busy, *waiting, useful),
            Event::ReloadRequested { .. } => pool.reload(down),
            _ => {}
        }
    }

    fn stop_asked(&mut self, fast: bool, now: Time) {
        let fast = fast || self.stop.is_some();
        self.stop.get_or_insert(now);
        self.fast |= fast;
        let drain = if fast { Duration::ZERO } else { self.shutdown };
        let term = self
            .workers
            .values()
            .map(|worker| worker.settings.shutdown_timeout)
            .max();
        let timers = LATEST * 4;
        let over = now.after(drain + term.unwrap_or_default() + SLOWEST_KILL + timers);
        self.over_by = Some(self.over_by.map_or(over, |by| by.min(over)));
    }

    fn happened_to_worker(&mut self, id: WorkerId, event: &Event, now: Time) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let serves = worker.is_ready() && !worker.ended;
        let pool = worker.pool;
        match event {
            Event::WorkerExited { exit, .. } if !worker.ended => {
                worker.ended = true;
                worker.exit = Some(*exit);
            }
            Event::LaunchFailed { .. } => worker.ended = true,
            Event::WorkerShed { .. } if serves => {
                worker.shed = true;
                self.pool(pool).shed();
            }
            Event::RequestTimedOut { .. } if serves => {
                worker.timed_out.get_or_insert(now);
            }
            Event::WorkerRecovered { .. } if serves => worker.timed_out = None,
            Event::WorkerDeadlocked { .. } => worker.deadlocked = true,
            _ => {}
        }
    }

    /// `after`: as the machine stands after the event.
    pub(crate) fn done(&mut self, action: &Action, now: Time, after: &Snapshot) {
        self.follow(after);
        assert!(!self.finished, "nothing is done after the end: {action:?}");
        match *action {
            Action::StartWorker { .. }
            | Action::StartTemplate { .. }
            | Action::ForkWorker { .. } => self.started(action, now),
            Action::MakeTemplate { worker } => self.make_template(worker, now),
            Action::OfferWorker { worker } => self.offer(worker, now),
            Action::RetireWorker { worker, cause } => self.retire(worker, cause, now),
            Action::StopWorker {
                worker,
                cause,
                overdue,
            } => self.stop(worker, cause, overdue, now),
            Action::KillWorker { worker } => self.kill(worker, now),
            Action::ForgetWorker {
                worker,
                cause,
                failed,
                backoff,
                ..
            } => {
                self.workers[&worker].may_die_of(cause);
                self.forget(worker, failed, backoff, now);
            }
            Action::ReportPool { pool, state } => self.report(pool, state),
            Action::FinishReload { pool, generation } => {
                self.finish_reload(pool, generation);
            }
            Action::AbandonReload {
                pool, generation, ..
            } => self.abandon_reload(pool, generation),
            Action::InterruptWorker { worker } => {
                let worker = self.worker(worker);
                assert!(worker.is_ready() && worker.timed_out.is_some());
            }
            Action::ShedWorkers { pool, count } => {
                let (ready, limited) = (self.ready(pool), self.maximum > 0);
                self.pool(pool).ask_to_shed(count, ready, limited, now);
            }
            Action::ForgetPool { pool } => self.forget_pool(pool),
            Action::DrainRelay => {
                assert!(!self.drained && self.stop.is_some(), "drained twice");
                self.drained = true;
            }
            Action::Finish => {
                let left = self.workers.values();
                assert!(
                    left.into_iter().all(|worker| worker.kills > 2),
                    "left behind"
                );
                let by = self.over_by.expect("a stop was asked for");
                // 10
                assert!(now <= by, "stopping took until {now:?}, not {by:?}");
                self.finished = true;
            }
        }
    }

    fn report(&mut self, pool: PoolId, state: PoolState) {
        let pool = self.pool(pool);
        assert_ne!(pool.state, Some(state), "reported without a change");
        pool.state = Some(state);
        if state == PoolState::Failing {
            pool.used = None;
        }
    }

    /// 9: only a generation that never served is given up, once.
    fn abandon_reload(&mut self, pool: PoolId, generation: Generation) {
        let pool = self.pool(pool);
        assert!(pool.abandoned.insert(generation), "abandoned twice");
        assert!(!pool.ready_once.contains(&generation), "it served");
        assert_ne!(pool.accepted, generation, "the old one serves on");
    }

    fn forget_pool(&mut self, pool: PoolId) {
        assert_eq!(self.live(pool), 0, "it has workers");
        assert_eq!(self.templates(pool).count(), 0, "it has templates");
        let pool = self.pool(pool);
        assert_eq!(pool.standing, Standing::Removed);
        pool.standing = Standing::Forgotten;
    }

    fn offer(&mut self, id: WorkerId, now: Time) {
        let worker = self.worker(id);
        let fresh = worker.offered.is_none() && worker.told == Told::Nothing;
        assert!(fresh, "offered twice");
        worker.offered = Some(now);
        let (pool, generation) = (worker.pool, worker.generation);
        self.pool(pool).ready_once.insert(generation);
    }

    /// Every action was taken.
    pub(crate) fn settled(&mut self, snapshot: &Snapshot) {
        self.follow(snapshot);
        for pool in &snapshot.pools {
            let known = &self.pools[&pool.id];
            assert_eq!(Some(pool.state), known.state, "a change was not reported");
            let ready = self.ready(pool.id) > 0;
            if known.runs() && self.stop.is_none() {
                let serves = pool.state == PoolState::Serving;
                // a pool on demand may rest
                assert!(
                    serves == ready || serves && pool.minimum == 0,
                    "{:?}",
                    pool.state
                );
                known.wants(pool.wanted);
            } else if self.stop.is_none() {
                assert_eq!((pool.state, pool.wanted), (PoolState::Stopped, 0));
            }
        }
        for (pool, known) in &self.pools {
            let there = snapshot.pools.iter().any(|each| each.id == *pool);
            assert_eq!(there, known.standing != Standing::Forgotten);
        }
        // 2: what was started and not forgotten is what the machine knows
        let all = snapshot.workers.iter().chain(&snapshot.templates);
        let known: BTreeSet<_> = all.map(|worker| worker.id).collect();
        assert!(known.iter().eq(self.workers.keys()), "a worker was lost");
    }

    pub(crate) fn is_finished(&self) {
        assert!(self.finished, "the daemon has not ended");
    }

    fn served(&mut self, id: WorkerId, before: &Snapshot) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let counts = worker.offered.is_some() && worker.told <= Told::Retire && !worker.ended;
        let (pool, generation) = (worker.pool, worker.generation);
        if counts && !std::mem::replace(&mut worker.served, true) {
            let accepted = before
                .pools
                .iter()
                .any(|known| known.id == pool && known.generation == generation);
            if accepted {
                self.pool(pool).not_before = Time::default();
            }
        }
    }

    /// A generation is accepted by its first ready worker, or at once in a pool that is down. Its failures are its own.
    fn follow(&mut self, after: &Snapshot) {
        for known in &after.pools {
            let pool = self.pools.get_mut(&known.id).expect("it was added");
            pool.wanted = known.wanted;
            if pool.accepted == known.generation {
                continue;
            }
            let generation = known.generation;
            assert!(generation > pool.accepted && generation == pool.newest);
            let ready = after.workers.iter().any(|worker| {
                worker.pool == known.id
                    && worker.generation == generation
                    && worker.state == WorkerState::Ready
            });
            assert!(
                ready || pool.down || !pool.runs(),
                "generation {generation} was accepted untried"
            );
            pool.accept(generation);
        }
    }

    fn start(&mut self, id: PoolId, worker: WorkerId, generation: Generation, now: Time) {
        assert!(self.stop.is_none(), "started while stopping");
        let live = self.live(id);
        // 1
        let processes = self.workers.values().filter(|worker| !worker.template);
        let room = self.maximum == 0 || processes.count() < size(self.maximum);
        assert!(room, "no room for {worker} among all pools");
        let useful = self.useful(id);
        let lingering = self.lingering(id, now);
        let pool = self.pool(id);
        let accepted = pool.keys().clone();
        // those of an older generation that linger hold up no others, as far as the surge goes
        let surge = size(accepted.surge);
        assert!(
            live < size(pool.scale().maximum) + surge + lingering.min(surge),
            "no room for {worker}"
        );
        assert!(pool.runs(), "started though it is stopped");
        assert!(
            !pool.abandoned.contains(&generation),
            "started of an abandoned generation"
        );
        if generation == pool.accepted {
            let needed = pool.wanted > 0 && useful < size(pool.wanted + accepted.surge);
            assert!(needed, "{worker} is not wanted");
            // 8
            assert!(
                pool.not_before <= now,
                "the backoff was announced until {:?}",
                pool.not_before
            );
        } else {
            assert_eq!(generation, pool.newest, "neither accepted nor asked for");
            let tried = pool.tried.entry(generation).or_default();
            // 8: an untried generation costs no more than the surge
            assert!(
                *tried < accepted.surge,
                "generation {generation} is not bounded"
            );
            *tried += 1;
        }
        self.add(id, worker, generation, now);
    }

    fn retire(&mut self, id: WorkerId, cause: Cause, now: Time) {
        let (shares, ready_before) = (self.maximum > 0, self.ready(self.workers[&id].pool));
        let leaving = self.leaving(self.workers[&id].pool);
        let worker = self.tell(id, Told::Retire, now);
        let (pool, shed) = (worker.pool, worker.shed);
        worker.may_retire(cause, now);
        let pool = &self.pools[&pool];
        let wanted = size(pool.wanted);
        // 9: who goes for our sake leaves enough behind; where all room is taken, one is replaced at a time
        let least = size(pool.scale().minimum);
        if cause == Cause::ScaledDown {
            // 7: the relay lets go of idle ones only
            assert!(shed, "{id} may be busy");
        } else if cause.is_wanted() && pool.runs() {
            let enough = ready_before > wanted;
            let first = shares && ready_before >= least && leaving == 0;
            assert!(enough || first, "retired {id} below the minimum");
        }
    }

    fn stop(&mut self, id: WorkerId, cause: Cause, overdue: bool, now: Time) {
        self.workers[&id].may_stop(cause, overdue, self.stop.is_some(), now);
        self.tell(id, Told::Stop, now);
    }

    fn kill(&mut self, id: WorkerId, now: Time) {
        self.workers[&id].may_be_killed(self.fast, now);
        self.tell(id, Told::Kill, now);
        if let Some(known) = self.workers.get_mut(&id) {
            known.kills += 1;
        }
    }

    fn forget(&mut self, id: WorkerId, failed: bool, backoff: Duration, now: Time) {
        let stopping = self.stop.is_some();
        // 2
        let worker = self.workers.remove(&id).expect("it was started");
        assert!(worker.ended, "{id} is forgotten before its end");
        assert!(!failed || !worker.served, "{id} served: that is no failure");
        let by_itself = failed && worker.told == Told::Nothing && !stopping;
        let (id, generation) = (worker.pool, worker.generation);
        let pool = self.pool(id);
        if generation != pool.accepted || stopping || !pool.runs() {
            assert!(backoff.is_zero());
            return;
        }
        let keys = pool.settings[&generation].backoff;
        assert!(!by_itself || backoff > keys.initial * 3 / 4 && backoff <= keys.maximum);
        pool.not_before = pool.not_before.max(now.after(backoff));
    }

    fn finish_reload(&mut self, id: PoolId, generation: Generation) {
        let older = |worker: &Worker| worker.is_useful() && worker.generation != generation;
        assert_eq!(self.count(id, older), 0, "older ones serve");
        let known = &self.pools[&id];
        let least = known.scale().minimum.max(known.wanted.min(1));
        let enough = if self.maximum > 0 {
            least
        } else {
            known.wanted
        };
        assert!(self.ready(id) >= size(enough) || !known.runs());
        let pool = self.pool(id);
        assert_eq!(pool.accepted, generation);
        assert!(pool.finished.insert(generation), "finished twice");
    }

    /// 3 and 4: only to what lives, only upwards (KILL may be repeated).
    fn tell(&mut self, id: WorkerId, told: Told, now: Time) -> &Worker {
        let worker = self.worker(id);
        assert!(!worker.ended, "{told:?} for {id}, which is gone");
        let upwards = worker.told < told || told == Told::Kill;
        assert!(upwards, "{told:?} for {id} after {:?}", worker.told);
        worker.told = told;
        worker.since = now;
        worker.left.get_or_insert(now);
        worker
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        self.workers.get_mut(&id).expect("it was started")
    }

    fn pool(&mut self, id: PoolId) -> &mut Pool {
        self.pools.get_mut(&id).expect("it was added")
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).expect("few")
}
