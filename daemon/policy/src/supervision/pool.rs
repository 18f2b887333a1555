//! One pool: how many workers, of which generation, and which of them may go.
//!
//! Everything that happens to a worker ends in [`Pool::reconcile`], which compares what there is with what is wanted:
//!
//! - **Useful** workers are those that serve or will. The pool keeps `processes` of them; one that dies, breaks the
//!   protocol or times out is no longer useful and is made up for at once (or after the backoff, see `health`).
//! - **Outdated** workers serve, but are of an older generation or tired (`maximum-requests` and the like). Their replacements come
//!   first: one outdated worker is retired for each worker that is ready above `processes`, never more. A reload
//!   replaces `surge` at a time, all else one.
//! - **Live** workers are all that are not gone. No start takes them above `processes` + `surge`: when workers that
//!   go slowly fill that room, whatever was to be started waits for them, voluntary or not.
//!
//! A generation that is asked for is a **candidate** until its first worker is ready. Only then its settings count and
//! older workers are outdated; until then the pool is kept up with the generation that serves. A candidate whose worker
//! fails is abandoned. A pool that is down (no worker ready, the last ones failed) has nothing to go back to: there
//! the new generation takes over at once and is never abandoned; if it fails too, the pool is reported as failing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Action, Cause, PoolSnapshot, Settings, WorkerSnapshot,
    context::Context,
    health::Health,
    life::{Effect, Life},
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
    /// Of `accepted`.
    health: Health,
    /// When a start that the backoff holds back is due.
    retry: Option<Time>,
    workers: BTreeMap<WorkerId, Life>,
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
    /// The daemon stops; ready workers finish the relay's requests. Nothing is started.
    Draining,
    /// Every worker has been told to go.
    Stopped,
}

impl Pool {
    pub(super) fn new(id: PoolId, settings: Settings, context: &mut Context) -> Self {
        let generation = Generation(1);
        context.act(Action::ReportPool {
            pool: id,
            state: PoolState::Starting,
        });
        let health = if settings.first_alone {
            Health::first_alone()
        } else {
            Health::default()
        };
        Self {
            id,
            state: PoolState::Starting,
            phase: Phase::Running,
            accepted: Plan {
                generation,
                settings,
            },
            candidate: None,
            changed: None,
            newest: generation,
            rolling: false,
            health,
            retry: None,
            workers: BTreeMap::new(),
        }
    }

    /// These are the keys of the next generation.
    pub(super) fn change(&mut self, settings: Settings) {
        self.changed = Some(settings);
    }

    /// A new generation is asked for. One that has no ready worker yet gives way to it.
    pub(super) fn reload(&mut self, context: &mut Context) {
        let superseded = self.candidate.take();
        if let Some(plan) = &superseded {
            self.stop_starting(plan.generation, context);
        }
        self.newest = Generation(self.newest.0.saturating_add(1));
        let newest_keys = self
            .changed
            .take()
            .or_else(|| superseded.map(|plan| plan.settings));
        let plan = Plan {
            generation: self.newest,
            settings: newest_keys.unwrap_or_else(|| self.accepted.settings.clone()),
        };
        if self.ready() == 0 && self.health.has_failed() {
            self.accept(plan, context);
        } else {
            self.candidate = Some(plan);
        }
    }

    /// The daemon stops: nothing is started, what is not ready goes.
    pub(super) fn drain(&mut self, context: &mut Context) {
        self.phase = Phase::Draining;
        self.candidate = None;
        self.retry = None;
        for life in self.workers.values_mut().filter(|life| life.is_starting()) {
            life.stop(false, context);
        }
        self.report(context);
    }

    /// Stops every worker. `overdue`: the relay still has requests with them.
    pub(super) fn stop(&mut self, overdue: bool, context: &mut Context) {
        self.close(context);
        for life in self.workers.values_mut() {
            life.stop(overdue, context);
        }
    }

    /// Kills every worker.
    pub(super) fn kill(&mut self, context: &mut Context) {
        self.close(context);
        for life in self.workers.values_mut() {
            life.kill(context);
        }
    }

    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.workers.contains_key(&worker)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Something happened to one of its workers. False: it came late or twice.
    pub(super) fn tell(
        &mut self,
        worker: WorkerId,
        tell: impl FnOnce(&mut Life, &mut Context) -> Effect,
        context: &mut Context,
    ) -> bool {
        let Some(life) = self.workers.get_mut(&worker) else {
            return false;
        };
        let generation = life.generation();
        let started = life.started();
        match tell(life, context) {
            Effect::Stale => return false,
            Effect::Taken => self.forget_if_gone(worker, context),
            Effect::Ready => self.note_ready(generation, context),
            Effect::Proven => {
                self.note_ready(generation, context);
                if generation == self.accepted.generation {
                    self.health.serve();
                }
            }
            Effect::Served => {
                if generation == self.accepted.generation {
                    self.health.serve();
                }
            }
            Effect::Failed(cause) => {
                if generation == self.accepted.generation {
                    let backoff = self.accepted.settings.backoff;
                    self.health
                        .fail(started, context.now(), &backoff, &mut context.random);
                }
                self.forget_if_gone(worker, context);
                self.abandon(generation, cause, context);
            }
        }
        true
    }

    /// Deadlines may have passed.
    pub(super) fn expire(&mut self, context: &mut Context) {
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            self.tell(worker, Life::expire, context);
        }
        self.reconcile(context);
    }

    /// When [`Pool::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.workers
            .values()
            .filter_map(Life::deadline)
            .chain(self.retry)
            .min()
    }

    pub(super) fn snapshot(&self) -> PoolSnapshot {
        PoolSnapshot {
            id: self.id,
            state: self.state,
            generation: self.accepted.generation,
            newest: self.newest,
            minimum: self.accepted.settings.scale.minimum,
            maximum: self.accepted.settings.scale.maximum,
            wanted: match self.phase {
                Phase::Running => self.accepted.settings.scale.minimum,
                Phase::Draining | Phase::Stopped => 0,
            },
        }
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerSnapshot> {
        self.workers.values().map(Life::snapshot)
    }

    /// Brings what there is towards what is wanted.
    pub(super) fn reconcile(&mut self, context: &mut Context) {
        if self.phase == Phase::Running {
            self.retire_outdated(context);
            self.start_missing(context);
            self.start_candidates(context);
            self.finish_reload(context);
        }
        self.report(context);
    }

    /// Retires outdated workers while there are more ready ones than wanted: older generations first.
    fn retire_outdated(&mut self, context: &mut Context) {
        let generation = self.accepted.generation;
        while self.ready() > self.processes() {
            let ready = || self.workers.iter().filter(|(_, life)| life.is_ready());
            let old = ready().find(|(_, life)| life.generation() < generation);
            let tired = ready().find_map(|(worker, life)| Some((worker, life.is_tired_of()?)));
            let (worker, cause) = match (old, tired) {
                (Some((worker, _)), _) => (*worker, Cause::Requested),
                (None, Some((worker, cause))) => (*worker, cause),
                (None, None) => return,
            };
            if let Some(life) = self.workers.get_mut(&worker) {
                life.retire(cause, context);
            }
        }
    }

    /// Starts workers of the accepted generation, as far as room and health allow.
    fn start_missing(&mut self, context: &mut Context) {
        self.retry = None;
        for _ in 0..self.missing() {
            if self.workers.len() >= self.room() {
                return;
            }
            let starting = self
                .count(|life| life.is_starting() && life.generation() == self.accepted.generation);
            if !self.health.may_start(starting, context.now()) {
                let retry = self.health.not_before();
                self.retry = (retry > context.now()).then_some(retry);
                return;
            }
            let plan = self.accepted.clone();
            self.start(&plan, context);
        }
    }

    /// How many of the accepted generation should be started: to have `processes` useful ones, and as many more as are
    /// to take outdated workers' places now.
    fn missing(&self) -> usize {
        let generation = self.accepted.generation;
        let useful = self.count(|life| life.is_useful() && life.generation() <= generation);
        let fresh = self
            .count(|life| life.is_useful() && life.generation() == generation && !life.is_tired());
        let most = self.processes().saturating_add(self.replaced_at_a_time());
        most.saturating_sub(useful)
            .min(self.processes().saturating_sub(fresh))
    }

    /// A candidate has the surge for itself. A replacement for wear is over when the old one is gone.
    fn replaced_at_a_time(&self) -> usize {
        let generation = self.accepted.generation;
        let old = |life: &Life| life.is_ready() && life.generation() < generation;
        if self.candidate.is_some() {
            0
        } else if self.count(old) > 0 {
            size(self.accepted.settings.surge)
        } else if self.count(|life| life.leaving().is_some_and(Cause::is_wear)) > 0 {
            0
        } else {
            self.count(Life::is_tired).min(1)
        }
    }

    /// Starts up to `surge` workers of the candidate. The backoff is not the candidate's: one failure ends it.
    fn start_candidates(&mut self, context: &mut Context) {
        let Some(plan) = self.candidate.clone() else {
            return;
        };
        let wanted = plan
            .settings
            .scale
            .minimum
            .min(self.accepted.settings.surge);
        let started = self.count(|life| life.generation() == plan.generation);
        let room = self.room().saturating_sub(self.workers.len());
        for _ in 0..size(wanted).saturating_sub(started).min(room) {
            self.start(&plan, context);
        }
    }

    fn finish_reload(&mut self, context: &mut Context) {
        let generation = self.accepted.generation;
        let finished = self.rolling
            && self.candidate.is_none()
            && self.count(|life| life.is_useful() && life.generation() < generation) == 0
            && self.ready() >= self.processes();
        if finished {
            self.rolling = false;
            context.act(Action::FinishReload {
                pool: self.id,
                generation,
            });
        }
    }

    /// Says how the pool stands when that has changed. A pool that drains with no worker left is stopped: what is
    /// queued there has nobody to wait for.
    fn report(&mut self, context: &mut Context) {
        let stopped = match self.phase {
            Phase::Running => false,
            Phase::Draining => self.workers.is_empty(),
            Phase::Stopped => true,
        };
        let state = if stopped {
            PoolState::Stopped
        } else if self.ready() > 0 {
            PoolState::Serving
        } else if self.health.is_failing() {
            PoolState::Failing
        } else {
            PoolState::Starting
        };
        if state != self.state {
            self.state = state;
            context.act(Action::ReportPool {
                pool: self.id,
                state,
            });
        }
    }

    /// The first ready worker of a candidate makes it the accepted generation.
    fn note_ready(&mut self, generation: Generation, context: &mut Context) {
        if let Some(plan) = self.candidate.take_if(|plan| plan.generation == generation) {
            self.accept(plan, context);
        }
        if generation == self.accepted.generation {
            self.health.ready();
        }
    }

    /// `plan` is what counts from here on. What starts of the former one is of no more use.
    fn accept(&mut self, plan: Plan, context: &mut Context) {
        self.stop_starting(self.accepted.generation, context);
        self.accepted = plan;
        self.health = Health::default();
        self.rolling = true;
    }

    /// A worker of `generation` failed: if that is the candidate, it is given up.
    fn abandon(&mut self, generation: Generation, cause: Cause, context: &mut Context) {
        if self
            .candidate
            .take_if(|plan| plan.generation == generation)
            .is_none()
        {
            return;
        }
        self.stop_starting(generation, context);
        context.act(Action::AbandonReload {
            pool: self.id,
            generation,
            cause,
        });
    }

    fn stop_starting(&mut self, generation: Generation, context: &mut Context) {
        for life in self.workers.values_mut() {
            if life.is_starting() && life.generation() == generation {
                life.stop(false, context);
            }
        }
    }

    fn start(&mut self, plan: &Plan, context: &mut Context) {
        let life = Life::start(self.id, plan.generation, &plan.settings, context);
        self.workers.insert(life.snapshot().id, life);
    }

    fn forget_if_gone(&mut self, worker: WorkerId, context: &mut Context) {
        let Some((generation, end)) = self
            .workers
            .get(&worker)
            .and_then(|life| Some((life.generation(), life.end()?)))
        else {
            return;
        };
        self.workers.remove(&worker);
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
        self.phase = Phase::Stopped;
        self.candidate = None;
        self.retry = None;
        self.report(context);
    }

    fn ready(&self) -> usize {
        self.count(Life::is_ready)
    }

    fn processes(&self) -> usize {
        size(self.accepted.settings.scale.minimum)
    }

    /// The most live workers that a start may lead to.
    fn room(&self) -> usize {
        self.processes()
            .saturating_add(size(self.accepted.settings.surge))
    }

    fn count(&self, which: impl Fn(&Life) -> bool) -> usize {
        self.workers.values().filter(|life| which(life)).count()
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
