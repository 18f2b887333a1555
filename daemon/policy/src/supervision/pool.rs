//! One pool: what it is told, and what becomes of its workers.
//!
//! Everything that happens to a worker ends in [`Pool::reconcile`] (`balance`), which compares what there is with what is
//! wanted:
//!
//! - **Wanted** are as many as `demand` says: `processes`, or within `scale` what is used.
//! - **Useful** workers are those that serve or will. One that dies, breaks the protocol or times out is no longer
//!   useful and is made up for at once (or after the backoff, see `health`), while it is wanted.
//! - **Outdated** workers serve, but are of an older generation or tired (`maximum-requests` and the like). Their replacements come
//!   first: one outdated worker is retired for each worker that is ready above those wanted, never more. A reload
//!   replaces `surge` at a time, all else one.
//! - **Live** workers are all that are not gone. No start takes them above the most of the scale + `surge`: when workers that
//!   go slowly fill that room, whatever was to be started waits for them, voluntary or not. Workers of an older generation
//!   that linger (5 s after they were told to go) do not fill it, up to another `surge` of them: one that is stuck holds up no roll.
//! - What is ready above those wanted is **shed**: the relay is asked for idle ones (`shedding`).
//!
//! A generation that is asked for is a **candidate** until its first worker is ready (`generations`).
//!
//! A pool **on demand** (`minimum` 0) at rest has no worker and is serving: a request is enough. When it is failing, who
//! asked has been refused and nobody does any more: it is not tried until its backoff is over and somebody asks again.

mod balance;
mod generations;
mod templates;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::templates::Refork;
use super::{
    Action, Cause, PoolSnapshot, Scale, Settings, WorkerSnapshot,
    context::Context,
    demand::{Demand, Supply},
    health::Health,
    life::{Effect, Life},
    shedding::Shedding,
};
use crate::{Generation, PoolId, PoolState, Time, WorkerId};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    id: PoolId,
    /// As reported last.
    state: PoolState,
    phase: Phase,
    /// What serves, or is to.
    accepted: Plan,
    /// What was asked for and has no ready worker yet.
    candidate: Option<Plan>,
    /// The keys of the next generation, when they differ.
    changed: Option<Settings>,
    /// The newest number given to a generation.
    newest: Generation,
    /// `accepted` came by a reload that has not finished.
    rolling: bool,
    /// An operator's, until the next generation serves.
    scaled: Option<Scale>,
    demand: Demand,
    shedding: Shedding,
    /// Of `accepted`.
    health: Health,
    /// When a start that the backoff holds back is due.
    retry: Option<Time>,
    /// Its place among those that wait for room under `maximum-processes`.
    place: Option<u64>,
    /// It has let a worker go to make room for another.
    owed: bool,
    workers: BTreeMap<WorkerId, Life>,
    /// With `preload`.
    templates: BTreeMap<WorkerId, Life>,
    refork: Refork,
}

/// A generation and its keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    generation: Generation,
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Running,
    /// Stopped by the operator: workers finish, none is started until the operator starts it.
    Halted,
    /// The configuration is without it: the same, and when the last worker is gone it is forgotten.
    Removed,
    /// The daemon stops; ready workers finish the relay's requests. Nothing is started.
    Draining,
    /// Every worker has been told to go.
    Stopped,
}

impl Pool {
    pub(super) fn new(id: PoolId, settings: Settings, context: &mut Context) -> Self {
        let generation = Generation(1);
        let state = if settings.scale.minimum == 0 {
            PoolState::Serving
        } else {
            PoolState::Starting
        };
        context.act(Action::ReportPool { pool: id, state });
        let health = if settings.first_alone {
            Health::first_alone()
        } else {
            Health::default()
        };
        Self {
            id,
            state,
            phase: Phase::Running,
            accepted: Plan {
                generation,
                settings,
            },
            candidate: None,
            changed: None,
            newest: generation,
            rolling: false,
            scaled: None,
            demand: Demand::default(),
            shedding: Shedding::default(),
            health,
            retry: None,
            place: None,
            owed: false,
            workers: BTreeMap::new(),
            templates: BTreeMap::new(),
            refork: Refork::default(),
        }
    }

    /// How it is used is of use: who has one number of workers has none for it.
    pub(super) fn heeds_use(&self) -> bool {
        self.phase == Phase::Running && !self.scale().is_static()
    }

    /// The relay tells how it is used. True: that is something new.
    pub(super) fn used(&mut self, busy: u32, waiting: u32) -> bool {
        let before = self.demand;
        self.demand.told(busy, waiting, self.supply());
        let hopes = self.shedding.was_in_vain();
        self.shedding.hope();
        hopes || self.demand != before
    }

    fn supply(&self) -> Supply {
        let generation = self.accepted.generation;
        let useful = |life: &Life| life.is_useful() && life.generation() <= generation;
        Supply {
            useful: number(self.count(useful)),
            starting: number(self.count(|life| useful(life) && life.is_starting())),
            threads: self.accepted.settings.threads,
        }
    }

    /// An operator wants as many.
    pub(super) const fn scale_to(&mut self, scale: Scale) -> bool {
        let takes = matches!(self.phase, Phase::Running | Phase::Halted);
        if takes {
            self.scaled = Some(scale);
        }
        takes
    }

    /// An operator stops it.
    pub(super) fn halt(&mut self, context: &mut Context) -> bool {
        let takes = self.phase == Phase::Running;
        if takes {
            self.empty(Phase::Halted, context);
        }
        takes
    }

    /// An operator starts it again: what went wrong before is forgotten.
    pub(super) fn resume(&mut self, _context: &mut Context) -> bool {
        let takes = self.phase == Phase::Halted;
        if takes {
            self.phase = Phase::Running;
            self.health = Health::default();
        }
        takes
    }

    /// The configuration is without it.
    pub(super) fn remove(&mut self, context: &mut Context) -> bool {
        let takes = matches!(self.phase, Phase::Running | Phase::Halted);
        if takes {
            self.empty(Phase::Removed, context);
        }
        takes
    }

    /// Has every worker finish. Whoever waits for a reload is answered.
    fn empty(&mut self, phase: Phase, context: &mut Context) {
        self.phase = phase;
        self.rest();
        if let Some(plan) = self.candidate.take() {
            self.give_up(plan.generation, Cause::Requested, context);
        }
        for life in self.workers.values_mut() {
            if life.is_ready() {
                life.retire(Cause::Requested, context);
            } else if life.is_starting() {
                life.stop(false, context);
            }
        }
    }

    /// The daemon stops: nothing is started, what is not ready goes.
    pub(super) fn drain(&mut self, context: &mut Context) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining;
        }
        self.rest();
        self.candidate = None;
        for life in self.workers.values_mut().filter(|life| life.is_starting()) {
            life.stop(false, context);
        }
        self.keep_templates(context);
        self.report(context);
    }

    /// Stops every worker. `overdue`: the relay still has requests with them.
    pub(super) fn stop(&mut self, overdue: bool, context: &mut Context) {
        self.close(context);
        for life in self.all_mut() {
            life.stop(overdue, context);
        }
    }

    /// Kills every worker.
    pub(super) fn kill(&mut self, context: &mut Context) {
        self.close(context);
        for life in self.all_mut() {
            life.kill(context);
        }
    }

    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.workers.contains_key(&worker) || self.templates.contains_key(&worker)
    }

    /// Its workers until they are gone.
    pub(super) fn live(&self) -> usize {
        self.workers.len()
    }

    /// Its processes are gone, but for those that KILL does not end.
    pub(super) fn is_empty_as_far_as_can_be(&self) -> bool {
        self.all().all(Life::is_out_of_reach)
    }

    /// It was removed, and its last process is gone.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Removed && self.all().next().is_none()
    }

    /// Something happened to one of its workers. False: it came late or twice.
    pub(super) fn tell(
        &mut self,
        worker: WorkerId,
        tell: impl FnOnce(&mut Life, &mut Context) -> Effect,
        context: &mut Context,
    ) -> bool {
        let Some(life) =
            (self.workers.get_mut(&worker)).or_else(|| self.templates.get_mut(&worker))
        else {
            return false;
        };
        let generation = life.generation();
        let started = life.started();
        let template = life.template();
        match tell(life, context) {
            Effect::Stale => return false,
            Effect::Taken => self.forget_if_gone(worker, context),
            Effect::Shed => {
                if self.shedding.answered() {
                    let useful = self.supply().useful;
                    self.demand.give_up(useful, self.scale().spare);
                }
            }
            Effect::Ready => {
                self.prove(template);
                self.note_ready(generation, context);
            }
            Effect::Promoted => self.promote(worker),
            Effect::Served | Effect::Proven => {
                if generation == self.accepted.generation {
                    self.health.serve();
                }
            }
            Effect::Failed(cause) => {
                if generation == self.accepted.generation {
                    let backoff = self.accepted.settings.backoff;
                    self.health
                        .fail(started, context.now(), &backoff, &mut context.random);
                    let enough =
                        cause == Cause::StartupTimeout || self.accepted.settings.development;
                    if enough && self.ready() == 0 {
                        self.health.be_failing();
                    }
                }
                self.forsake(template, context);
                self.forget_if_gone(worker, context);
                self.abandon(generation, cause, context);
            }
        }
        true
    }

    /// Deadlines may have passed.
    pub(super) fn expire(&mut self, context: &mut Context) {
        let all: Vec<WorkerId> = self.all().map(Life::id).collect();
        for worker in all {
            self.tell(worker, Life::expire, context);
        }
        self.shedding.expire(context.now());
    }

    /// When [`Pool::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.all()
            .filter_map(Life::deadline)
            .chain(self.retry)
            .chain(self.shedding.deadline())
            .min()
    }

    pub(super) fn snapshot(&self) -> PoolSnapshot {
        let scale = self.scale();
        PoolSnapshot {
            id: self.id,
            state: self.state,
            generation: self.accepted.generation,
            newest: self.newest,
            minimum: scale.minimum,
            maximum: scale.maximum,
            wanted: number(self.wanted()),
        }
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerSnapshot> {
        self.workers.values().map(Life::snapshot)
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = WorkerSnapshot> {
        self.templates.values().map(Life::snapshot)
    }

    /// Says how the pool stands when that has changed. A pool that drains with no worker left is stopped: what is
    /// queued there has nobody to wait for.
    fn report(&mut self, context: &mut Context) {
        let stopped = match self.phase {
            Phase::Running => false,
            Phase::Draining => self.workers.is_empty(),
            Phase::Halted | Phase::Removed | Phase::Stopped => true,
        };
        let on_demand = self.phase == Phase::Running && self.scale().minimum == 0;
        let state = if stopped {
            PoolState::Stopped
        } else if self.ready() > 0 || on_demand && !self.health.has_failed() {
            PoolState::Serving
        } else if self.health.is_failing() {
            PoolState::Failing
        } else {
            PoolState::Starting
        };
        if state != self.state {
            self.state = state;
            if state == PoolState::Failing {
                self.demand = Demand::default();
            }
            context.act(Action::ReportPool {
                pool: self.id,
                state,
            });
        }
    }

    fn forget_if_gone(&mut self, worker: WorkerId, context: &mut Context) {
        let life = self
            .workers
            .get(&worker)
            .or_else(|| self.templates.get(&worker));
        let Some((generation, end)) = life.and_then(|life| Some((life.generation(), life.end()?)))
        else {
            return;
        };
        self.workers.remove(&worker);
        self.templates.remove(&worker);
        let waits =
            end.failed && self.phase == Phase::Running && generation == self.accepted.generation;
        context.act(Action::ForgetWorker {
            pool: self.id,
            worker,
            cause: end.cause,
            failed: end.failed,
            backoff: if waits {
                self.health.not_before().since(context.now())
            } else {
                core::time::Duration::ZERO
            },
        });
    }

    fn close(&mut self, context: &mut Context) {
        if self.phase != Phase::Removed {
            self.phase = Phase::Stopped;
        }
        self.candidate = None;
        self.rest();
        self.report(context);
    }

    /// Its workers and templates.
    fn all(&self) -> impl Iterator<Item = &Life> {
        self.workers.values().chain(self.templates.values())
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Life> {
        self.workers.values_mut().chain(self.templates.values_mut())
    }

    /// Nothing is to be started or shed.
    fn rest(&mut self) {
        self.demand = Demand::default();
        self.shedding = Shedding::default();
        self.retry = None;
        self.place = None;
        self.owed = false;
    }

    fn scale(&self) -> Scale {
        self.scaled.unwrap_or(self.accepted.settings.scale)
    }

    /// How many ready workers there should be.
    fn wanted(&self) -> usize {
        match self.phase {
            Phase::Running => self.demand.wanted(self.scale()),
            Phase::Halted | Phase::Removed | Phase::Draining | Phase::Stopped => 0,
        }
    }

    fn ready(&self) -> usize {
        self.count(Life::is_ready)
    }

    fn count(&self, which: impl Fn(&Life) -> bool) -> usize {
        self.workers.values().filter(|life| which(life)).count()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
