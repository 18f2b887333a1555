//! Templates (`preload`): processes that have loaded the application and of which workers are forked.
//!
//! A generation has one, started before its first worker and kept until the generation is nobody's any more; in a pool on demand it
//! goes with the last worker. It fails as a worker does, and what it fails of is what its workers would have. A worker that fails takes
//! its template along: what it was forked of may be what is wrong, so the next one is started fresh.
//!
//! Once in a generation a worker becomes the next template (`refork-after`): the first that has served for long enough. It is replaced,
//! as for wear, and when it has no request left it is told. When it can be forked the template before it goes, and all whom that had
//! forked are replaced, one at a time. When it cannot, it goes, and everything stays as it was.

use serde::{Deserialize, Serialize};

use super::{Phase, Plan, Pool};
use crate::{
    WorkerId,
    supervision::{
        Cause,
        context::Context,
        life::{Effect, Life, Role},
    },
};

/// So many workers are being forked at a time: what is said to a template waits in a socket, which is not endless.
const FORKS: usize = 16;

/// Whether a worker of this generation has become a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refork {
    /// The next one that is seasoned will.
    #[default]
    Open,
    /// This one is to.
    Underway(WorkerId),
    /// One has.
    Done,
    /// One could not.
    Failed,
}

impl Pool {
    /// How a worker of `plan` is to be started. None: its template is to be ready first, and is on its way, or is busy with others.
    pub(super) fn role(&mut self, plan: &Plan, context: &mut Context) -> Option<Role> {
        if !plan.settings.preload {
            return Some(Role::Worker);
        }
        let useful = |life: &&Life| life.is_useful() && life.generation() == plan.generation;
        let own = || self.templates.values().filter(useful);
        if let Some(ready) = own().rfind(|life| life.is_ready()) {
            let full = self.count(Life::is_forking) >= FORKS;
            return (!full).then(|| Role::Forked(ready.id()));
        }
        if own().next().is_some() {
            return None;
        }
        let Plan {
            generation,
            settings,
        } = plan;
        let life = Life::start(self.id, *generation, Role::Template, settings, context);
        self.templates.insert(life.id(), life);
        None
    }

    /// Stops the templates of which nothing is to be forked any more.
    pub(super) fn keep_templates(&mut self, context: &mut Context) {
        let accepted = self.accepted.generation;
        let candidate = self.candidate.as_ref().map(|plan| plan.generation);
        let rests = self.scale().minimum == 0 && self.wanted() == 0 && self.workers.is_empty();
        let runs = self.phase == Phase::Running;
        let mut ready = self.templates.values().filter(|life| life.is_ready());
        let newest = ready.rfind(|life| life.generation() == accepted);
        let newest = newest.map(Life::id);
        for life in self.templates.values_mut() {
            let generation = life.generation();
            let outdone = newest.is_some_and(|newest| life.id() < newest);
            let wanted = generation == accepted && !rests && !outdone;
            let wanted = wanted || candidate == Some(generation);
            if life.is_useful() && !(runs && wanted) {
                life.stop(false, context);
            }
        }
    }

    /// A worker that this template forked is ready.
    pub(super) fn prove(&mut self, template: Option<WorkerId>) {
        let template = template.and_then(|template| self.templates.get_mut(&template));
        if let Some(life) = template {
            life.prove();
        }
    }

    /// A worker that this template forked has failed.
    pub(super) fn forsake(&mut self, template: Option<WorkerId>, context: &mut Context) {
        let template = template.and_then(|template| self.templates.get_mut(&template));
        if let Some(life) = template.filter(|life| life.is_useful()) {
            life.stop(false, context);
        }
    }

    /// A worker has served for long enough to become a template. Where that cannot be it has had its day all the same: it will not be
    /// heard of again.
    pub(in super::super) fn season(&mut self, worker: WorkerId, context: &mut Context) -> bool {
        let stays = self.candidate.is_none() && !self.rolling && self.phase == Phase::Running;
        let generation = self.accepted.generation;
        let mut own = self.workers.get_mut(&worker);
        let own = own.take_if(|life| life.generation() == generation && life.template().is_some());
        let Some(life) = own.filter(|_| stays) else {
            return false;
        };
        match self.refork {
            Refork::Open => {
                let taken = life.season(context);
                if taken {
                    self.refork = Refork::Underway(worker);
                }
                taken
            }
            // it is replaced when that one is ready, or was forked of it
            Refork::Underway(_) | Refork::Done => false,
            Refork::Failed => life.tired(Cause::MaximumRequests, context) == Effect::Taken,
        }
    }

    /// It has no request left.
    pub(super) fn promote(&mut self, worker: WorkerId) {
        if let Some(life) = self.workers.remove(&worker) {
            self.templates.insert(worker, life);
        }
    }

    /// Sees what has become of the worker that is to be a template.
    pub(super) fn follow_refork(&mut self, context: &mut Context) {
        let Refork::Underway(worker) = self.refork else {
            return;
        };
        let comes = |life: &Life| life.is_useful() || life.leaving() == Some(Cause::Refork);
        if self.workers.get(&worker).is_some_and(comes) {
            return;
        }
        let template = self.templates.get(&worker);
        if template.is_some_and(Life::is_starting) {
            return;
        }
        if !template.is_some_and(Life::is_ready) {
            self.refork = Refork::Failed;
            return;
        }
        self.refork = Refork::Done;
        let others = self.workers.values_mut();
        for life in others.filter(|life| life.template().is_some_and(|of| of != worker)) {
            // who goes already is no matter
            life.outdone(context);
        }
    }
}
