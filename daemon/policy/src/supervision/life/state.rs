//! The states of a life, and which may follow which.

use serde::{Deserialize, Serialize};

use crate::{Time, WorkerId, supervision::Cause};

/// Why it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct End {
    pub(in super::super) cause: Cause,
    /// Before its first request, and nobody had asked for it.
    pub(in super::super) failed: bool,
}

impl End {
    pub(super) const fn ours(cause: Cause) -> Self {
        Self {
            cause,
            failed: false,
        }
    }

    pub(super) const fn failure(cause: Cause) -> Self {
        Self {
            cause,
            failed: true,
        }
    }
}

/// What it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Role {
    /// To serve.
    Worker,
    /// To serve; this template forked it.
    Forked(WorkerId),
    /// To have workers forked of it. It is ready when it can.
    Template,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Being launched, or loading the application.
    Starting { deadline: Option<Time> },
    /// Given requests by the relay.
    Ready {
        /// It has had its day and waits for its replacement.
        tired: Option<Cause>,
        /// Its requests that timed out were interrupted; it is to have recovered by then.
        interrupted: Option<Time>,
    },
    /// Finishing what it has.
    Retiring { end: End, deadline: Option<Time> },
    /// The stop-signal was sent.
    Stopping { end: End, deadline: Time },
    /// KILL was sent, so many times.
    Killing { end: End, again: Time, times: u32 },
    /// Its process is gone: to be forgotten.
    Gone { end: End },
}

impl State {
    pub(super) const READY: Self = Self::Ready {
        tired: None,
        interrupted: None,
    };

    /// Whether a life may go from here into `next`.
    pub(super) const fn leads_to(&self, next: &Self) -> bool {
        match (self, next) {
            // it becomes a template
            (Self::Retiring { .. }, Self::Starting { .. }) => true,
            (_, Self::Starting { .. }) | (Self::Gone { .. }, _) => false,
            (state, Self::Ready { .. }) => matches!(state, Self::Starting { .. }),
            (state, Self::Retiring { .. }) => matches!(state, Self::Ready { .. }),
            (state, Self::Stopping { .. }) => matches!(
                state,
                Self::Starting { .. } | Self::Ready { .. } | Self::Retiring { .. }
            ),
            (_, Self::Killing { .. } | Self::Gone { .. }) => true,
        }
    }
}
