//! Templates (`preload`): processes that have loaded the application and of which workers are forked.
//!
//! A generation has one, started before its first worker and kept until the generation is nobody's any more; in a pool on demand it
//! goes with the last worker. It fails as a worker does, and what it fails of is what its workers would have. A worker that fails takes
//! its template along: what it was forked of may be what is wrong, so the next one is started fresh.

use super::{Phase, Plan, Pool};
use crate::{
    WorkerId,
    supervision::{
        context::Context,
        life::{Life, Role},
    },
};

impl Pool {
    /// How a worker of `plan` is to be started. None: its template is to be ready first, and is on its way.
    pub(super) fn role(&mut self, plan: &Plan, context: &mut Context) -> Option<Role> {
        if !plan.settings.preload {
            return Some(Role::Worker);
        }
        let mut own = self.templates.values();
        let own = own.find(|life| life.is_useful() && life.generation() == plan.generation);
        if let Some(template) = own {
            return template.is_ready().then(|| Role::Forked(template.id()));
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
        for life in self.templates.values_mut() {
            let generation = life.generation();
            let wanted = candidate == Some(generation) || generation == accepted && !rests;
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
}
