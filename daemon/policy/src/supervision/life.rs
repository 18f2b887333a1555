//! One worker's life, from its start until its process is gone.
//!
//! ```text
//!            ready          told to go, shed,   drained, or       shutdown-timeout
//!                           timed out, broke    its deadline
//! Starting ─────────▶ Ready ────────▶ Retiring ────────▶ Stopping ────────▶ Killing ─┐ every 5 s
//!    │                  │                │                 ▲  │                │ ▲───┘
//!    ├── startup-timeout, broke, no longer wanted ─────────┤  │                │
//!    │                  └── the daemon stops, deadlocked ──┘  │                │
//!    └───────┬──────────┴────────┬───────┴────────────────────┴────────────────┴──▶ Gone
//!      launch failed     exited, in any state                 (fast stop: from any state to Killing)
//! ```
//! Each event has one method, which decides for every state; what comes late or twice is [`Effect::Stale`]. A life
//! never looks at its pool: the pool tells it to go ([`Life::retire`], [`Life::stop`], [`Life::kill`]) and learns by
//! the effect what it has to make up for.

use core::{mem, time::Duration};

use serde::{Deserialize, Serialize};

use self::state::State;
pub(super) use self::state::{End, Role};
use super::{Action, Cause, Exit, Settings, context::Context};
use crate::{Generation, PoolId, Time, WorkerId};

mod asked;
mod moves;
mod state;

/// A process that KILL did not end at once (it hangs in the kernel) is sent it again after this long.
const KILL_AGAIN: Duration = Duration::from_secs(5);
/// One that so many did not end is not waited for when the daemon ends.
const KILLS: u32 = 2;
/// The signal's number.
const KILL: i32 = 9;
/// One that is told to go and is not gone after this long holds nobody up any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    /// Nothing: it came late, twice, or before its time.
    Stale,
    /// It was taken in; the pool's counts may have changed.
    Taken,
    /// The worker became ready.
    Ready,
    /// It has served its first request.
    Served,
    /// It is to be a template from here on.
    Promoted,
    /// The relay has let go of it: it retires.
    Shed,
    /// It has been ready for long enough, and that is all that can be asked of it.
    Proven,
    /// It failed, and is gone or on its way.
    Failed(Cause),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Life {
    pool: PoolId,
    worker: WorkerId,
    role: Role,
    generation: Generation,
    /// Those of its generation: a later one's timeouts are not this one's.
    settings: Settings,
    started: Time,
    since: Time,
    /// There is an exit to wait for: a launch can no longer fail.
    launched: bool,
    /// It has answered a request, or can be asked none.
    served: bool,
    /// When a worker that can be asked nothing is ready; and of one that is, when it has shown its health.
    proof: Option<Time>,
    /// When it was told to go.
    told: Option<Time>,
    /// When it has been ready for `restart-interval`.
    worn: Option<Time>,
    /// It becomes a template when it has retired for [`Cause::Refork`].
    seasoned: bool,
    state: State,
}

impl Life {
    /// Starts one. `startup-timeout` counts from here: the launch is part of it.
    pub(super) fn start(
        pool: PoolId,
        generation: Generation,
        role: Role,
        settings: &Settings,
        context: &mut Context,
    ) -> Self {
        let worker = context.new_worker();
        context.act(match role {
            Role::Worker => Action::StartWorker {
                pool,
                worker,
                generation,
            },
            Role::Forked(template) => Action::ForkWorker {
                pool,
                worker,
                generation,
                template,
            },
            Role::Template => Action::StartTemplate {
                pool,
                worker,
                generation,
            },
        });
        Self {
            pool,
            worker,
            role,
            generation,
            settings: settings.clone(),
            started: context.now(),
            since: context.now(),
            launched: false,
            served: false,
            proof: None,
            told: None,
            worn: None,
            seasoned: false,
            state: State::Starting {
                deadline: settings.startup_timeout.deadline(context.now()),
            },
        }
    }

    // What happened to it.

    pub(super) fn launched(&mut self, context: &mut Context) -> Effect {
        if mem::replace(&mut self.launched, true) {
            return Effect::Stale;
        }
        let ready_after = self.settings.ready_after;
        self.proof = ready_after.map(|wait| context.now().after(wait));
        Effect::Taken
    }

    pub(super) fn launch_failed(&mut self, context: &mut Context) -> Effect {
        if self.launched {
            return Effect::Stale;
        }
        match self.state {
            State::Starting { .. } => {
                let cause = Cause::NotExecutable;
                let end = End::failure(cause);
                self.enter(State::Gone { end }, context);
                Effect::Failed(cause)
            }
            State::Stopping { end, .. } | State::Killing { end, .. } => {
                self.enter(State::Gone { end }, context);
                Effect::Taken
            }
            State::Ready { .. } | State::Retiring { .. } | State::Gone { .. } => Effect::Stale,
        }
    }

    /// The word of readiness may overtake the word of the launch: it implies it.
    pub(super) fn ready(&mut self, context: &mut Context) -> Effect {
        match self.state {
            State::Starting { .. } if self.role == Role::Template => {
                self.launched = true;
                self.enter(State::READY, context);
                Effect::Taken
            }
            State::Starting { .. } => {
                self.launched = true;
                self.enter(State::READY, context);
                self.worn = self.wears_out(context);
                context.act(Action::OfferWorker {
                    worker: self.worker,
                });
                let steady = self.settings.backoff.steady();
                let service = self.settings.ready_after.is_some();
                self.proof = service.then(|| context.now().after(steady));
                Effect::Ready
            }
            State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// A retiring worker may answer its first request yet: it is as good a sign of health, and clears it of a failure.
    pub(super) fn served(&mut self, _context: &mut Context) -> Effect {
        if self.served {
            return Effect::Stale;
        }
        match &mut self.state {
            State::Ready { .. } => {}
            State::Retiring { end, .. } => end.failed = false,
            State::Starting { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => return Effect::Stale,
        }
        self.served = true;
        Effect::Served
    }

    /// It has had its day. The first reason stands.
    pub(super) fn tired(&mut self, cause: Cause, _context: &mut Context) -> Effect {
        match &mut self.state {
            State::Ready { tired, .. }
                if tired.is_none() && cause.is_wear() && self.role != Role::Template =>
            {
                *tired = Some(cause);
                Effect::Taken
            }
            State::Starting { .. }
            | State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// The request is at fault as much as the worker, so this is no failure, first request or not. A worker that can be
    /// interrupted may serve on: the first of its requests that timed out says until when it has to come back.
    pub(super) fn request_timed_out(&mut self, context: &mut Context) -> Effect {
        let timeout = self.settings.interrupt_timeout;
        match &mut self.state {
            State::Ready { .. } if timeout.is_zero() => {
                self.retire(Cause::RequestTimeout, context);
                Effect::Taken
            }
            State::Ready { interrupted, .. } => {
                interrupted.get_or_insert(context.now().after(timeout));
                context.act(Action::InterruptWorker {
                    worker: self.worker,
                });
                Effect::Taken
            }
            State::Starting { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// It came back from all that it was interrupted for.
    pub(super) const fn recovered(&mut self, _context: &mut Context) -> Effect {
        match &mut self.state {
            State::Ready { interrupted, .. } if interrupted.is_some() => {
                *interrupted = None;
                Effect::Taken
            }
            State::Starting { .. }
            | State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// The relay, which was asked for some that are idle, has taken this one.
    pub(super) fn shed(&mut self, context: &mut Context) -> Effect {
        match self.state {
            State::Ready { .. } => {
                self.retire(Cause::ScaledDown, context);
                Effect::Shed
            }
            State::Starting { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// Nothing that it has can be finished. Requests are at fault as much as the worker, so this is no failure.
    pub(super) fn deadlocked(&mut self, context: &mut Context) -> Effect {
        match self.state {
            State::Ready { .. } | State::Retiring { .. } if self.role != Role::Template => {
                self.terminate(End::ours(Cause::Deadlock), true, context);
                Effect::Taken
            }
            State::Starting { .. }
            | State::Ready { .. }
            | State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// A program that can do nothing but break the protocol must not be started as often as requests come: breaking it
    /// before the first request was served is a failure.
    pub(super) fn broke(&mut self, context: &mut Context) -> Effect {
        let cause = Cause::ProtocolError;
        let failed = !self.is_proven(context.now());
        let end = End { cause, failed };
        match self.state {
            State::Starting { .. } => self.terminate(end, false, context),
            State::Ready { .. } => {
                self.let_finish(end, self.settings.graceful_timeout, context);
            }
            State::Retiring { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => return Effect::Stale,
        }
        if failed {
            Effect::Failed(cause)
        } else {
            Effect::Taken
        }
    }

    pub(super) fn drained(&mut self, context: &mut Context) -> Effect {
        match self.state {
            State::Retiring { end, .. } if self.seasoned && end.cause == Cause::Refork => {
                self.become_template(context);
                Effect::Promoted
            }
            State::Retiring { end, .. } => {
                self.terminate(end, false, context);
                Effect::Taken
            }
            State::Starting { .. }
            | State::Ready { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Gone { .. } => Effect::Stale,
        }
    }

    /// A signal that is not ours, or the want of memory, is the cause however far we had gone: the word that a worker takes
    /// no connections may overtake the word of its death. A status is its own until the stop-signal was sent; but with 0 a
    /// retiring one went as it was told, unless it was found broken: it may have been gone by then.
    pub(super) fn exited(&mut self, exit: Exit, context: &mut Context) -> Effect {
        let cause = Cause::from(exit);
        let mut effect = Effect::Taken;
        let end = match self.state {
            State::Starting { .. } | State::Ready { .. } => {
                let failed = !self.is_proven(context.now());
                if failed {
                    effect = Effect::Failed(cause);
                }
                End { cause, failed }
            }
            State::Retiring { end, .. }
                if exit == Exit::Code(0) && end.cause != Cause::ProtocolError =>
            {
                end
            }
            State::Stopping { end, .. } | State::Killing { end, .. } if self.is_ours(exit) => end,
            State::Retiring { end, .. }
            | State::Stopping { end, .. }
            | State::Killing { end, .. } => End { cause, ..end },
            State::Gone { .. } => return Effect::Stale,
        };
        self.enter(State::Gone { end }, context);
        effect
    }

    /// Its deadline may have passed; harmless when it has not.
    pub(super) fn expire(&mut self, context: &mut Context) -> Effect {
        if self
            .deadline()
            .is_none_or(|deadline| deadline > context.now())
        {
            return Effect::Stale;
        }
        match self.state {
            State::Starting { .. } if self.proof.is_some_and(|proof| proof <= context.now()) => {
                self.ready(context)
            }
            State::Starting { .. } => {
                let cause = Cause::StartupTimeout;
                let failed = !self.served;
                self.terminate(End { cause, failed }, false, context);
                if failed {
                    Effect::Failed(cause)
                } else {
                    Effect::Taken
                }
            }
            State::Retiring { end, .. } => {
                self.terminate(end, true, context);
                Effect::Taken
            }
            State::Stopping { end, .. } | State::Killing { end, .. } => {
                self.enter_killing(end, context);
                Effect::Taken
            }
            State::Ready {
                interrupted: Some(deadline),
                ..
            } if deadline <= context.now() => {
                self.retire(Cause::RequestTimeout, context);
                Effect::Taken
            }
            State::Ready { .. } if !self.served && self.is_proven(context.now()) => {
                self.served = true;
                Effect::Proven
            }
            State::Ready { .. } => self.tired(Cause::RestartInterval, context),
            State::Gone { .. } => Effect::Stale,
        }
    }

    // What its pool tells it.

    /// A worker that this template forked is ready: what ends the template from here on is no fault of the application's start.
    pub(super) const fn prove(&mut self) {
        self.served = true;
    }

    /// There is a newer template than its own.
    pub(super) fn outdone(&mut self, context: &mut Context) {
        let taken = self.tired(Cause::Refork, context) == Effect::Taken;
        debug_assert!(taken || !self.is_ready() || self.is_tired());
    }

    /// It is to become a template, when its replacement is ready. False: it goes for something else.
    pub(super) fn season(&mut self, context: &mut Context) -> bool {
        self.seasoned = self.tired(Cause::Refork, context) == Effect::Taken;
        self.seasoned
    }

    /// Lets a ready worker finish within `eviction-timeout` (a reload) or `graceful-timeout` (all else), then go.
    pub(super) fn retire(&mut self, cause: Cause, context: &mut Context) {
        let limit = if cause == Cause::Requested {
            self.settings.eviction_timeout
        } else {
            self.settings.graceful_timeout
        };
        self.let_finish(End::ours(cause), limit, context);
    }

    /// Stops it without waiting for its requests; one that goes already keeps its first cause. `overdue`: it was given
    /// time to finish them, and that is over.
    pub(super) fn stop(&mut self, overdue: bool, context: &mut Context) {
        match self.state {
            State::Starting { .. } => self.terminate(End::ours(Cause::Requested), false, context),
            State::Ready { .. } => self.terminate(End::ours(Cause::Requested), overdue, context),
            State::Retiring { end, .. } => self.terminate(end, overdue, context),
            State::Stopping { .. } | State::Killing { .. } | State::Gone { .. } => {}
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self, context: &mut Context) {
        match self.state {
            State::Starting { .. } | State::Ready { .. } => {
                self.enter_killing(End::ours(Cause::Requested), context);
            }
            State::Retiring { end, .. } | State::Stopping { end, .. } => {
                self.enter_killing(end, context);
            }
            State::Killing { .. } | State::Gone { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
