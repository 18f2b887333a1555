//! What its pool asks a life.

use super::{End, Life, PATIENCE, Role, State};
use crate::{
    Generation, Time, WorkerId,
    supervision::{Cause, WorkerSnapshot, WorkerState},
};

impl Life {
    pub(in super::super) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(in super::super) const fn id(&self) -> WorkerId {
        self.worker
    }

    /// The template that forked it.
    pub(in super::super) const fn template(&self) -> Option<WorkerId> {
        match self.role {
            Role::Forked(template) => Some(template),
            Role::Worker | Role::Template => None,
        }
    }

    /// Its template was told of it, and it is not there yet.
    pub(in super::super) const fn is_forking(&self) -> bool {
        self.is_starting() && !self.launched && self.template().is_some()
    }

    pub(in super::super) const fn started(&self) -> Time {
        self.started
    }

    pub(in super::super) const fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// It is starting, and is no worker that becomes a template.
    pub(in super::super) const fn is_untried(&self) -> bool {
        self.is_starting() && !self.served
    }

    pub(in super::super) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// It serves, or will: it counts towards `processes`.
    pub(in super::super) const fn is_useful(&self) -> bool {
        self.is_starting() || self.is_ready()
    }

    /// Of what it is tired: it serves, and a replacement is due.
    pub(in super::super) const fn is_tired_of(&self) -> Option<Cause> {
        match self.state {
            State::Ready { tired, .. } => tired,
            State::Starting { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => None,
        }
    }

    pub(in super::super) const fn is_tired(&self) -> bool {
        self.is_tired_of().is_some()
    }

    /// What it goes for, while it goes.
    pub(in super::super) const fn leaving(&self) -> Option<Cause> {
        match self.state {
            State::Retiring { end, .. }
            | State::Stopping { end, .. }
            | State::Killing { end, .. } => Some(end.cause),
            State::Starting { .. } | State::Ready { .. } | State::Gone { .. } => None,
        }
    }

    /// KILL does not end it: it hangs in the kernel.
    pub(in super::super) const fn is_out_of_reach(&self) -> bool {
        matches!(self.state, State::Killing { times, .. } if times > super::KILLS)
    }

    /// From when on it lingers, while it goes.
    pub(in super::super) fn lingers_from(&self) -> Option<Time> {
        let told = self.told.filter(|_| self.leaving().is_some());
        told.map(|told| told.after(PATIENCE))
    }

    /// It has answered a request; or it is ready, can be asked none, and has been for long enough.
    pub(super) fn is_proven(&self, now: Time) -> bool {
        self.served || self.is_ready() && self.proof.is_some_and(|proof| proof <= now)
    }

    /// How it ended, once its process is gone.
    pub(in super::super) const fn end(&self) -> Option<End> {
        match self.state {
            State::Gone { end } => Some(end),
            State::Starting { .. }
            | State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. } => None,
        }
    }

    /// When [`Life::expire`] has something to do.
    pub(in super::super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Starting { deadline } => deadline.into_iter().chain(self.proof).min(),
            State::Retiring { deadline, .. } => deadline,
            State::Stopping { deadline, .. } => Some(deadline),
            State::Killing { again, .. } => Some(again),
            State::Ready { tired, interrupted } => {
                let worn = self.worn.filter(|_| tired.is_none());
                let proof = self.proof.filter(|_| !self.served);
                interrupted.into_iter().chain(worn).chain(proof).min()
            }
            State::Gone { .. } => None,
        }
    }

    pub(in super::super) const fn snapshot(&self) -> WorkerSnapshot {
        WorkerSnapshot {
            id: self.worker,
            pool: self.pool,
            state: match self.state {
                State::Starting { .. } => WorkerState::Starting,
                State::Ready { .. } => WorkerState::Ready,
                State::Retiring { .. } => WorkerState::Retiring,
                State::Stopping { .. } | State::Killing { .. } | State::Gone { .. } => {
                    WorkerState::Stopping
                }
            },
            generation: self.generation,
            started: self.started,
            since: self.since,
        }
    }
}
