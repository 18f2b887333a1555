//! What its pool asks a life.

use super::{End, Life, State};
use crate::{
    Generation, Time,
    supervision::{Cause, WorkerSnapshot, WorkerState},
};

impl Life {
    pub(in super::super) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(in super::super) const fn started(&self) -> Time {
        self.started
    }

    pub(in super::super) const fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
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
                interrupted.into_iter().chain(worn).min()
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
