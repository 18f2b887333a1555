//! What must hold whatever happens. The numbers are the architecture's properties.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockade_policy::supervision::{Action, Cause, Event, Settings, Snapshot, WorkerState};
use stockade_policy::{Generation, PoolId, PoolState, Time, WorkerId};

use crate::world::{LATEST, SLOWEST_KILL};

pub(crate) struct Laws {
    shutdown: Duration,
    pools: BTreeMap<PoolId, Pool>,
    workers: BTreeMap<WorkerId, Worker>,
    /// When the stop was asked for, and when it must be over.
    stop: Option<Time>,
    over_by: Option<Time>,
    fast: bool,
    drained: bool,
    finished: bool,
}

struct Pool {
    settings: BTreeMap<Generation, Settings>,
    /// For the next generation.
    changed: Option<Settings>,
    accepted: Generation,
    newest: Generation,
    state: Option<PoolState>,
    /// By the backoffs that were announced.
    not_before: Time,
    /// A reload was asked for while no worker was ready: it may be accepted at once.
    down: bool,
    finished: BTreeSet<Generation>,
    abandoned: BTreeSet<Generation>,
    ready_once: BTreeSet<Generation>,
}

struct Worker {
    pool: PoolId,
    generation: Generation,
    started: Time,
    offered: bool,
    served: bool,
    /// How far it was told to go, and when.
    told: Told,
    since: Time,
    /// The event that ends it was delivered.
    ended: bool,
    forgotten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Retire,
    Stop,
    Kill,
}

impl Laws {
    pub(crate) fn new(shutdown: Duration) -> Self {
        Self {
            shutdown,
            pools: BTreeMap::new(),
            workers: BTreeMap::new(),
            stop: None,
            over_by: None,
            fast: false,
            drained: false,
            finished: false,
        }
    }

    pub(crate) fn settings(&self, pool: PoolId, generation: Generation) -> &Settings {
        &self.pools[&pool].settings[&generation]
    }

    /// Before the machine is told.
    pub(crate) fn happened(&mut self, event: &Event, now: Time, before: &Snapshot) {
        match event {
            Event::PoolAdded { pool, settings } => self.added(*pool, settings),
            Event::PoolChanged { pool, settings } => {
                if let Some(pool) = self.pools.get_mut(pool) {
                    pool.changed = Some(settings.clone());
                }
            }
            Event::ReloadRequested { pool } => self.reload(*pool),
            Event::StopRequested { .. } | Event::FastStopRequested => {
                let again = self.stop.is_some();
                let fast = again || *event == Event::FastStopRequested;
                self.stop.get_or_insert(now);
                self.fast |= fast;
                let drain = if fast { Duration::ZERO } else { self.shutdown };
                let term = self
                    .pools
                    .values()
                    .flat_map(|pool| pool.settings.values())
                    .map(|settings| settings.shutdown_timeout)
                    .max();
                let timers = LATEST * 4;
                let over = now.after(drain + term.unwrap_or_default() + SLOWEST_KILL + timers);
                self.over_by = Some(self.over_by.map_or(over, |by| by.min(over)));
            }
            Event::WorkerServed { worker } => self.served(*worker, before),
            Event::WorkerExited { worker, .. } | Event::LaunchFailed { worker } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.ended = true;
                }
            }
            Event::PoolRemoved { .. }
            | Event::PoolStopped { .. }
            | Event::PoolStarted { .. }
            | Event::PoolScaled { .. }
            | Event::PoolUsed { .. }
            | Event::WorkerShed { .. }
            | Event::WorkerRecovered { .. }
            | Event::WorkerDeadlocked { .. }
            | Event::RelayDrained
            | Event::WorkerLaunched { .. }
            | Event::WorkerReady { .. }
            | Event::WorkerTired { .. }
            | Event::RequestTimedOut { .. }
            | Event::WorkerBroke { .. }
            | Event::WorkerDrained { .. } => {}
        }
    }

    /// `after`: as the machine stands after the event.
    pub(crate) fn done(&mut self, action: &Action, now: Time, after: &Snapshot) {
        self.follow(after);
        assert!(!self.finished, "nothing is done after the end: {action:?}");
        match *action {
            Action::StartWorker {
                pool,
                worker,
                generation,
            } => self.start(pool, worker, generation, now),
            Action::OfferWorker { worker } => self.offer(worker),
            Action::RetireWorker { worker, cause } => self.retire(worker, cause, now),
            Action::StopWorker {
                worker,
                cause,
                overdue,
            } => self.stop(worker, cause, overdue, now),
            Action::KillWorker { worker } => self.kill(worker, now),
            Action::ForgetWorker {
                worker,
                failed,
                backoff,
                ..
            } => self.forget(worker, failed, backoff, now),
            Action::ReportPool { pool, state } => {
                let pool = self.pool(pool);
                assert_ne!(pool.state, Some(state), "reported without a change");
                pool.state = Some(state);
            }
            Action::FinishReload { pool, generation } => {
                self.finish_reload(pool, generation);
            }
            Action::AbandonReload {
                pool, generation, ..
            } => {
                // 9: only a generation that never served is given up, once
                let pool = self.pool(pool);
                assert!(pool.abandoned.insert(generation), "abandoned twice");
                assert!(!pool.ready_once.contains(&generation), "it served");
                assert_ne!(pool.accepted, generation, "the old one serves on");
            }
            Action::InterruptWorker { .. }
            | Action::ShedWorkers { .. }
            | Action::ForgetPool { .. } => {}
            Action::DrainRelay => {
                assert!(!self.drained && self.stop.is_some(), "drained twice");
                self.drained = true;
            }
            Action::Finish => {
                assert!(self.workers.values().all(|worker| worker.forgotten));
                let by = self.over_by.expect("a stop was asked for");
                // 10
                assert!(now <= by, "stopping took until {now:?}, not {by:?}");
                self.finished = true;
            }
        }
    }

    fn offer(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let fresh = !worker.offered && worker.told == Told::Nothing;
        assert!(fresh, "offered twice");
        worker.offered = true;
        let (pool, generation) = (worker.pool, worker.generation);
        let pool = self.pool(pool);
        pool.ready_once.insert(generation);
        // a service has shown all that it can
        let proven = pool.settings[&generation].ready_after.is_some();
        if proven && generation == pool.accepted {
            pool.not_before = Time::default();
        }
        self.worker(id).served |= proven;
    }

    /// Every action was taken.
    pub(crate) fn settled(&mut self, snapshot: &Snapshot) {
        self.follow(snapshot);
        for pool in &snapshot.pools {
            let known = &self.pools[&pool.id];
            assert_eq!(Some(pool.state), known.state, "a change was not reported");
            if pool.state != PoolState::Stopped {
                let serves = self.ready(pool.id) > 0;
                assert_eq!(pool.state == PoolState::Serving, serves, "{:?}", pool.state);
            }
        }
        // 2: what was started and not forgotten is what the machine knows
        let known: BTreeSet<_> = snapshot.workers.iter().map(|worker| worker.id).collect();
        let living = self.workers.iter().filter(|(_, worker)| !worker.forgotten);
        assert!(
            known.iter().eq(living.map(|(id, _)| id)),
            "a worker was lost"
        );
    }

    /// After a long time without faults: all pools serve in full, and every reload was answered.
    pub(crate) fn all_is_well(&self, snapshot: &Snapshot) {
        for pool in &snapshot.pools {
            let known = &self.pools[&pool.id];
            let workers = snapshot
                .workers
                .iter()
                .filter(|worker| worker.pool == pool.id);
            let states: Vec<_> = workers
                .map(|worker| (worker.state, worker.generation))
                .collect();
            let wanted = (WorkerState::Ready, pool.generation);
            let processes = size(pool.wanted);
            assert_eq!(states, vec![wanted; processes], "{pool:?}");
            let answered = known.finished.contains(&known.newest)
                || known.abandoned.contains(&known.newest)
                || known.newest == Generation(1);
            assert!(answered, "reload {} has no answer", known.newest);
        }
    }

    pub(crate) fn is_finished(&self) {
        assert!(self.finished, "the daemon has not ended");
    }

    fn added(&mut self, pool: PoolId, settings: &Settings) {
        let first = Generation(1);
        self.pools.entry(pool).or_insert_with(|| Pool {
            settings: BTreeMap::from([(first, settings.clone())]),
            changed: None,
            accepted: first,
            newest: first,
            state: None,
            not_before: Time::default(),
            down: false,
            finished: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            ready_once: BTreeSet::new(),
        });
    }

    fn reload(&mut self, id: PoolId) {
        let down = self.ready(id) == 0;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let pending = !pool.abandoned.contains(&pool.newest);
        let base = if pending { pool.newest } else { pool.accepted };
        let settings = pool.changed.take();
        let settings = settings.unwrap_or_else(|| pool.settings[&base].clone());
        pool.newest = Generation(pool.newest.0 + 1);
        pool.settings.insert(pool.newest, settings);
        pool.down = down;
    }

    fn served(&mut self, id: WorkerId, before: &Snapshot) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let counts = worker.offered && worker.told <= Told::Retire && !worker.ended;
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
                ready || pool.down,
                "generation {generation} was accepted untried"
            );
            pool.accepted = generation;
            pool.not_before = Time::default();
        }
    }

    fn start(&mut self, id: PoolId, worker: WorkerId, generation: Generation, now: Time) {
        assert!(self.stop.is_none(), "started while stopping");
        let live = self.live(id);
        let pool = self.pool(id);
        let accepted = pool.settings[&pool.accepted].clone();
        // 1
        assert!(
            live < size(accepted.scale.minimum + accepted.surge),
            "no room for {worker}"
        );
        assert!(
            !pool.abandoned.contains(&generation),
            "started of an abandoned generation"
        );
        if generation == pool.accepted {
            // 8
            assert!(
                pool.not_before <= now,
                "the backoff was announced until {:?}",
                pool.not_before
            );
        } else {
            assert_eq!(generation, pool.newest, "neither accepted nor asked for");
            let tried = self
                .workers
                .values()
                .filter(|worker| worker.pool == id && worker.generation == generation)
                .count();
            // 8: an untried generation costs no more than the surge
            assert!(
                tried < size(accepted.surge),
                "generation {generation} is not bounded"
            );
        }
        let new = Worker {
            pool: id,
            generation,
            started: now,
            offered: false,
            served: false,
            told: Told::Nothing,
            since: now,
            ended: false,
            forgotten: false,
        };
        // 2
        assert!(
            self.workers.insert(worker, new).is_none(),
            "{worker} is used again"
        );
    }

    fn retire(&mut self, id: WorkerId, cause: Cause, now: Time) {
        let worker = self.tell(id, Told::Retire, now);
        assert!(worker.offered);
        let pool = worker.pool;
        let wanted = size(self.accepted(pool).scale.minimum);
        if cause.is_wanted() {
            // 9: who goes for our sake leaves enough behind
            assert!(self.ready(pool) >= wanted, "retired {id} below the minimum");
        }
    }

    fn stop(&mut self, id: WorkerId, cause: Cause, overdue: bool, now: Time) {
        let stopping = self.stop.is_some();
        let known = &self.workers[&id];
        let settings = self.settings(known.pool, known.generation).clone();
        // 11: only a deadline that passed, the relay's word or the daemon's end stops a worker that was ready
        if cause == Cause::StartupTimeout {
            let limit = settings.startup_timeout.0.expect("there is a limit");
            assert!(!known.offered && now.since(known.started) >= limit);
        } else if overdue && !stopping {
            let limit = if cause == Cause::Requested {
                settings.eviction_timeout
            } else {
                settings.graceful_timeout
            };
            assert_eq!(known.told, Told::Retire);
            assert!(now.since(known.since) >= limit.0.expect("there is a limit"));
        } else {
            assert!(stopping || !known.offered || known.told == Told::Retire);
        }
        self.tell(id, Told::Stop, now);
    }

    fn kill(&mut self, id: WorkerId, now: Time) {
        let known = &self.workers[&id];
        let settings = self.settings(known.pool, known.generation);
        match known.told {
            Told::Nothing | Told::Retire => assert!(self.fast, "killed without a stop"),
            Told::Stop => {
                let waited = now.since(known.since);
                assert!(
                    self.fast || waited >= settings.shutdown_timeout,
                    "killed early"
                );
            }
            Told::Kill => assert!(now.since(known.since) >= Duration::from_secs(5)),
        }
        self.tell(id, Told::Kill, now);
    }

    fn forget(&mut self, id: WorkerId, failed: bool, backoff: Duration, now: Time) {
        let stopping = self.stop.is_some();
        let worker = self.worker(id);
        // 2
        assert!(
            worker.ended && !worker.forgotten,
            "{id} is forgotten before its end or twice"
        );
        worker.forgotten = true;
        assert!(!failed || !worker.served, "{id} served: that is no failure");
        let by_itself = failed && worker.told == Told::Nothing && !stopping;
        let (id, generation) = (worker.pool, worker.generation);
        let pool = self.pool(id);
        if generation != pool.accepted || stopping {
            assert!(backoff.is_zero());
            return;
        }
        let keys = pool.settings[&generation].backoff;
        assert!(!by_itself || backoff > keys.initial * 3 / 4 && backoff <= keys.maximum);
        pool.not_before = pool.not_before.max(now.after(backoff));
    }

    fn finish_reload(&mut self, id: PoolId, generation: Generation) {
        let of_pool = |worker: &&Worker| worker.pool == id && !worker.forgotten;
        let useful: Vec<_> = self
            .workers
            .values()
            .filter(of_pool)
            .filter(|worker| worker.told == Told::Nothing && !worker.ended)
            .map(|worker| worker.generation)
            .collect();
        assert!(
            useful.iter().all(|of| *of == generation),
            "older ones serve"
        );
        assert!(self.ready(id) >= size(self.accepted(id).scale.minimum));
        let pool = self.pool(id);
        assert_eq!(pool.accepted, generation);
        assert!(pool.finished.insert(generation), "finished twice");
    }

    /// 3 and 4: only to what lives, only upwards (KILL may be repeated).
    fn tell(&mut self, id: WorkerId, told: Told, now: Time) -> &Worker {
        let worker = self.worker(id);
        assert!(
            !worker.ended && !worker.forgotten,
            "{told:?} for {id}, which is gone"
        );
        let upwards = worker.told < told || told == Told::Kill;
        assert!(upwards, "{told:?} for {id} after {:?}", worker.told);
        worker.told = told;
        worker.since = now;
        worker
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        self.workers.get_mut(&id).expect("it was started")
    }

    fn pool(&mut self, id: PoolId) -> &mut Pool {
        self.pools.get_mut(&id).expect("it was added")
    }

    fn accepted(&self, id: PoolId) -> &Settings {
        let pool = &self.pools[&id];
        &pool.settings[&pool.accepted]
    }

    fn live(&self, pool: PoolId) -> usize {
        let live = |worker: &&Worker| worker.pool == pool && !worker.forgotten;
        self.workers.values().filter(live).count()
    }

    fn ready(&self, pool: PoolId) -> usize {
        let ready = |worker: &&Worker| {
            worker.pool == pool
                && worker.offered
                && worker.told == Told::Nothing
                && !worker.forgotten
        };
        self.workers.values().filter(ready).count()
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).expect("few")
}
