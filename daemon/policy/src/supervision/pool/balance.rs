//! Brings what there is towards what is wanted.

use super::{Phase, Plan, Pool, number};
use crate::{
    Generation, Time, WorkerId,
    supervision::{Action, Cause, context::Context, life::Life, size},
};

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// A worker.
    Worker,
    /// A template, or it is on its way: workers follow when it is ready.
    Template,
    /// Nothing: there was no room among all pools.
    Nothing,
}

impl Pool {
    /// Compares what there is with what is wanted, and starts, retires, asks for what is missing.
    pub(in super::super) fn reconcile(&mut self, context: &mut Context) {
        match self.phase {
            Phase::Running => {
                self.follow_refork(context);
                self.retire_outdated(context);
                self.start_wanted(context);
                self.shed(context);
                self.finish_reload(context);
            }
            Phase::Halted | Phase::Removed => self.finish_reload(context),
            Phase::Draining | Phase::Stopped => {}
        }
        self.keep_templates(context);
        self.report(context);
    }

    /// Retires outdated workers while there are more ready ones than wanted: older generations first.
    fn retire_outdated(&mut self, context: &mut Context) {
        while self.ready() > self.wanted() {
            let Some((worker, cause)) = self.outdated() else {
                return;
            };
            self.retire(worker, cause, context);
        }
    }

    /// The ready worker that is to be replaced first, and why.
    fn outdated(&self) -> Option<(WorkerId, Cause)> {
        let generation = self.accepted.generation;
        let old = self.first(|life| life.is_ready() && life.generation() < generation);
        let old = old.map(|worker| (worker, Cause::Requested));
        old.or_else(|| {
            let mut workers = self.workers.iter();
            workers.find_map(|(worker, life)| Some((*worker, life.is_tired_of()?)))
        })
    }

    /// Starts what is missing. Keeps its place in the line while it has started nothing for want of room. A candidate
    /// for which another worker made room comes first there.
    fn start_wanted(&mut self, context: &mut Context) {
        let before = self.live();
        let all = if context.is_limited() {
            let tried = self.start_candidates(context);
            self.start_missing(context) && tried
        } else {
            self.start_missing(context);
            self.start_candidates(context)
        };
        let patience = self.patience(context.now());
        self.retry = self.retry.into_iter().chain(patience).min();
        let waits = self.place.filter(|_| self.live() == before);
        self.place = match all {
            true => None,
            false => waits.or_else(|| Some(context.new_place())),
        };
    }

    /// Starts workers of the accepted generation, as far as room and health allow. False: there was no room among all
    /// pools.
    fn start_missing(&mut self, context: &mut Context) -> bool {
        self.retry = None;
        if self.wanted() == 0 {
            self.leave_alone(context);
        }
        for _ in 0..self.missing() {
            if self.live() >= self.room(context.now()) {
                return true;
            }
            let starting = self.starting(self.accepted.generation);
            if !self.health.may_start(starting, context.now()) {
                let retry = self.health.not_before();
                self.retry = (retry > context.now()).then_some(retry);
                return true;
            }
            let plan = self.accepted.clone();
            match self.start(&plan, context) {
                Started::Worker => {}
                Started::Template => return true,
                Started::Nothing => return false,
            }
        }
        true
    }

    /// Those of a generation that are not ready yet, its template included.
    fn starting(&self, generation: Generation) -> usize {
        let starts = |life: &&Life| life.is_untried() && life.generation() == generation;
        self.all().filter(starts).count()
    }

    /// Nobody asks for it: a pool that is failing may be tried again by the first who does, when its backoff is over.
    fn leave_alone(&mut self, context: &Context) {
        let retry = self.health.not_before();
        if self.health.is_failing() && retry > context.now() {
            self.retry = Some(retry);
        } else if self.health.is_failing() {
            self.health.give_another_chance();
        }
    }

    /// How many of the accepted generation should be started: to have those wanted, and as many more as are to take
    /// outdated workers' places now.
    fn missing(&self) -> usize {
        let generation = self.accepted.generation;
        let fresh = self
            .count(|life| life.is_useful() && life.generation() == generation && !life.is_tired());
        let most = self.wanted().saturating_add(self.replaced_at_a_time());
        most.saturating_sub(self.useful())
            .min(self.wanted().saturating_sub(fresh))
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

    /// Asks for the idle ones above those wanted.
    fn shed(&mut self, context: &mut Context) {
        let excess = self.ready().saturating_sub(self.wanted());
        if excess > 0 && self.shedding.expected() == 0 {
            self.ask_to_shed(excess, false, context);
        }
    }

    fn ask_to_shed(&mut self, count: usize, for_others: bool, context: &mut Context) {
        let count = number(count);
        self.shedding.ask(count, for_others, context.now());
        context.act(Action::ShedWorkers {
            pool: self.id,
            count,
        });
    }

    /// Starts a worker, or what has to be there first.
    pub(super) fn start(&mut self, plan: &Plan, context: &mut Context) -> Started {
        let Some(role) = self.role(plan, context) else {
            return Started::Template;
        };
        if !context.take_room() {
            return Started::Nothing;
        }
        let Plan {
            generation,
            settings,
        } = plan;
        let life = Life::start(self.id, *generation, role, settings, context);
        self.workers.insert(life.id(), life);
        self.owed = false;
        Started::Worker
    }

    pub(super) fn retire_first_ready(&mut self, context: &mut Context) {
        if let Some(worker) = self.first(Life::is_ready) {
            self.retire(worker, Cause::Requested, context);
        }
    }

    fn retire(&mut self, worker: WorkerId, cause: Cause, context: &mut Context) {
        if let Some(life) = self.workers.get_mut(&worker) {
            life.retire(cause, context);
        }
    }

    /// The most live workers that a start may lead to. Outdated ones that linger hold up no roll, as far as the surge goes.
    pub(super) fn room(&self, now: Time) -> usize {
        let surge = size(self.accepted.settings.surge);
        let lingering = self.lingering().filter(|from| *from <= now).count();
        size(self.scale().maximum)
            .saturating_add(surge)
            .saturating_add(lingering.min(surge))
    }

    /// When there will be more room for what is held back for want of it.
    fn patience(&self, now: Time) -> Option<Time> {
        let held_back = self.missing() > 0 || self.candidate.is_some();
        let full = held_back && self.live() >= self.room(now);
        self.lingering().filter(|from| full && *from > now).min()
    }

    /// From when on each worker of an older generation that was told to go lingers.
    fn lingering(&self) -> impl Iterator<Item = Time> {
        let generation = self.accepted.generation;
        let old = self.workers.values();
        old.filter(move |life| life.generation() < generation)
            .filter_map(Life::lingers_from)
    }

    /// Those that serve or will, but for a candidate's.
    fn useful(&self) -> usize {
        let generation = self.accepted.generation;
        self.count(|life| life.is_useful() && life.generation() <= generation)
    }

    fn first(&self, which: impl Fn(&Life) -> bool) -> Option<WorkerId> {
        let mut workers = self.workers.iter();
        workers.find_map(|(worker, life)| which(life).then_some(*worker))
    }

    // Under `maximum-processes`.

    /// Its place among those that wait for room: who has no worker at all is first, then who has fewer than its minimum or
    /// has made room for itself, then who has waited longest.
    pub(in super::super) fn place(&self) -> Option<(bool, bool, u64)> {
        let useful = self.useful();
        let first = self.owed || useful < size(self.scale().minimum);
        Some((useful > 0, !first, self.place?))
    }

    /// It waits for room, and of workers that serve or will it has none or fewer than its minimum.
    pub(in super::super) fn is_poor(&self) -> bool {
        let useful = self.count(Life::is_useful);
        self.place.is_some() && useful < size(self.scale().minimum).max(1)
    }

    /// All room is taken: its own worker makes some for its replacement, one at a time.
    pub(in super::super) fn retire_first(&mut self, context: &mut Context) {
        let below = self.useful() < size(self.scale().minimum);
        let changes = self.count(|life| life.is_starting() || life.leaving().is_some()) > 0;
        if self.place.is_none() || below || changes {
            return;
        }
        let candidate = self.candidate.is_some();
        let any = self.first(|life| candidate && life.is_ready());
        let any = any.map(|worker| (worker, Cause::Requested));
        if let Some((worker, cause)) = self.outdated().or(any) {
            self.retire(worker, cause, context);
            self.owed = true;
            self.finish_reload(context);
            self.report(context);
        }
    }

    /// Whether it can spare workers, and how readily: who has had none idle is asked last.
    pub(in super::super) fn spares(&self) -> Option<(bool, usize, usize)> {
        let ready = self.ready();
        let spare = ready.saturating_sub(size(self.scale().minimum));
        let gives = self.phase == Phase::Running && self.shedding.expected() == 0 && spare > 0;
        let unwanted = ready.saturating_sub(self.wanted());
        gives.then(|| (!self.shedding.was_in_vain(), unwanted, spare))
    }

    /// Room that it is about to make for others.
    pub(in super::super) fn gives(&self) -> usize {
        let shed = |life: &Life| life.leaving() == Some(Cause::ScaledDown);
        size(self.shedding.expected()).saturating_add(self.count(shed))
    }

    /// One of its workers that is idle is to make room for a pool that is poor.
    pub(in super::super) fn give_room(&mut self, context: &mut Context) {
        self.ask_to_shed(1, true, context);
    }
}
