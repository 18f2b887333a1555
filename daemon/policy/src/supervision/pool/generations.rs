//! Generations: the one that serves, and the one that is to.
//!
//! A generation that is asked for is a **candidate** until its first worker is ready. Only then its settings count and
//! older workers are outdated; until then the pool is kept up with the generation that serves. A candidate whose worker
//! fails is abandoned. A pool that is down (no worker ready, the last ones failed) has nothing to go back to: there
//! the new generation takes over at once and is never abandoned; if it fails too, the pool is reported as failing. In
//! a pool on demand it is tried all the same: a worker is started for no request but to prove it.

use super::{Phase, Plan, Pool, balance::Started, templates::Refork};
use crate::{
    Generation,
    supervision::{
        Action, Cause, Settings, context::Context, demand::Demand, health::Health, life::Life, size,
    },
};

impl Pool {
    /// These are the keys of the next generation.
    pub(in super::super) fn change(&mut self, settings: Settings) -> bool {
        let takes = self.phase != Phase::Removed;
        if takes {
            self.changed = Some(settings);
        }
        takes
    }

    /// These are its keys from here on; of a generation that is to take over, if there is one.
    pub(in super::super) fn adjust(&mut self, settings: Settings) -> bool {
        let takes = self.phase != Phase::Removed;
        if takes {
            self.changed = None;
            let plan = self.candidate.as_mut().unwrap_or(&mut self.accepted);
            if plan.settings.scale != settings.scale {
                self.scaled = None;
            }
            plan.settings = settings;
            if self.scale().is_static() {
                self.demand = Demand::default();
            }
        }
        takes
    }

    /// A new generation is asked for. One that has no ready worker yet gives way to it. In a pool that an operator has
    /// stopped it is what will be started.
    pub(in super::super) fn reload(&mut self, context: &mut Context) -> bool {
        if self.phase == Phase::Removed {
            return false;
        }
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
        let always_wanted = self.scale().minimum > 0 && plan.settings.scale.minimum > 0;
        let down = always_wanted && self.ready() == 0 && self.health.has_failed();
        if down || self.phase == Phase::Halted {
            self.accept(plan, context);
        } else {
            self.candidate = Some(plan);
        }
        true
    }

    /// The first ready worker of a candidate makes it the accepted generation.
    pub(super) fn note_ready(&mut self, generation: Generation, context: &mut Context) {
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
        self.scaled = None;
        self.health = Health::default();
        self.rolling = true;
        self.refork = Refork::default();
        if self.scale().is_static() {
            self.demand = Demand::default();
        }
    }

    /// A worker of `generation` failed: if that is the candidate, it is given up.
    pub(super) fn abandon(&mut self, generation: Generation, cause: Cause, context: &mut Context) {
        let candidate = self.candidate.take_if(|plan| plan.generation == generation);
        if candidate.is_some() {
            self.give_up(generation, cause, context);
        }
    }

    pub(super) fn give_up(&mut self, generation: Generation, cause: Cause, context: &mut Context) {
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

    /// Starts up to `surge` workers of the candidate. The backoff is not the candidate's: one failure ends it. False:
    /// there was no room among all pools.
    pub(super) fn start_candidates(&mut self, context: &mut Context) -> bool {
        let Some(plan) = self.candidate.clone() else {
            return true;
        };
        let wanted = self.demand.wanted(plan.settings.scale).max(1);
        let wanted = wanted.min(size(self.accepted.settings.surge));
        let started = self.count(|life| life.generation() == plan.generation);
        let room = self.room(context.now()).saturating_sub(self.live());
        if started == 0 && room == 0 {
            self.retire_one_too_many(context);
        }
        for _ in 0..wanted.saturating_sub(started).min(room) {
            match self.start(&plan, context) {
                Started::Worker => {}
                Started::Template => return true,
                Started::Nothing => return false,
            }
        }
        true
    }

    /// An operator has scaled the pool down, and its workers are never idle: the candidate gets the room of one of them.
    fn retire_one_too_many(&mut self, context: &mut Context) {
        let leaving = self.count(|life| life.leaving().is_some());
        if leaving == 0 && self.ready() > self.wanted() {
            self.retire_first_ready(context);
        }
    }

    pub(super) fn finish_reload(&mut self, context: &mut Context) {
        let generation = self.accepted.generation;
        let older = |life: &Life| life.is_useful() && life.generation() < generation;
        // where all room is taken, it is as good as it gets
        let enough = if self.place.is_some() {
            size(self.scale().minimum).max(1)
        } else {
            self.wanted()
        };
        let finished = self.rolling
            && self.candidate.is_none()
            && self.count(older) == 0
            && self.ready() >= enough;
        if finished {
            self.rolling = false;
            context.act(Action::FinishReload {
                pool: self.id,
                generation,
            });
        }
    }
}
