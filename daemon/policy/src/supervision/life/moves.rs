//! How a life moves from state to state, and what is done on the way.

use core::time::Duration;

use super::{End, KILL, KILL_AGAIN, Life, Role, State};
use crate::{
    Limit, Time,
    supervision::{Action, Exit, context::Context},
};

impl Life {
    /// What a worker that was told to stop makes of it: it exits, or the signal ends it.
    pub(super) fn is_ours(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(_) => true,
            Exit::Signal(KILL) => matches!(self.state, State::Killing { .. }),
            Exit::Signal(signal) => signal == self.settings.stop_signal,
            Exit::OutOfMemory => false,
        }
    }

    /// When it will have been ready for `restart-interval`, less up to a tenth: workers that started together are not to
    /// go together.
    pub(super) fn wears_out(&self, context: &mut Context) -> Option<Time> {
        let interval = self.settings.restart_interval.0?;
        let most = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let age = Duration::from_nanos(context.random.less_a_tenth(most));
        Some(context.now().after(age))
    }

    /// It has served: what ends it from here on is no failure of the application's.
    pub(super) fn become_template(&mut self, context: &mut Context) {
        self.role = Role::Template;
        self.served = true;
        (self.worn, self.proof) = (None, None);
        let deadline = self.settings.startup_timeout.deadline(context.now());
        self.enter(State::Starting { deadline }, context);
        self.told = None;
        context.act(Action::MakeTemplate {
            worker: self.worker,
        });
    }

    pub(super) fn let_finish(&mut self, end: End, limit: Limit, context: &mut Context) {
        let deadline = limit.deadline(context.now());
        self.enter(State::Retiring { end, deadline }, context);
        context.act(Action::RetireWorker {
            worker: self.worker,
            cause: end.cause,
        });
    }

    pub(super) fn terminate(&mut self, end: End, overdue: bool, context: &mut Context) {
        let deadline = context.now().after(self.settings.shutdown_timeout);
        self.enter(State::Stopping { end, deadline }, context);
        context.act(Action::StopWorker {
            worker: self.worker,
            cause: end.cause,
            overdue,
        });
    }

    pub(super) fn enter_killing(&mut self, end: End, context: &mut Context) {
        let again = context.now().after(KILL_AGAIN);
        let times = match self.state {
            State::Killing { times, .. } => times.saturating_add(1),
            State::Starting { .. }
            | State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Gone { .. } => 1,
        };
        self.enter(State::Killing { end, again, times }, context);
        context.act(Action::KillWorker {
            worker: self.worker,
        });
    }

    /// The only way from one state into another.
    pub(super) fn enter(&mut self, next: State, context: &Context) {
        assert!(
            self.state.leads_to(&next),
            "worker {} cannot go from {:?} to {next:?}",
            self.worker,
            self.state
        );
        self.state = next;
        self.since = context.now();
        if self.leaving().is_some() {
            self.told.get_or_insert(self.since);
        }
    }
}
