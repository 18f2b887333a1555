//! Time as an argument.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: what has passed since an origin that the shell chose (a monotonic clock's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(Duration);

impl Time {
    /// The time `since_origin` after the origin.
    #[must_use]
    pub const fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// What has passed since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// `self` plus `by`; stays at the end of time instead of overflowing.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long ago `earlier` was; zero when it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration that may be switched off (`"off"` or `0` in the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limit(pub Option<Duration>);

impl Limit {
    /// No limit.
    pub const OFF: Self = Self(None);

    /// A limit of `duration`.
    #[must_use]
    pub const fn of(duration: Duration) -> Self {
        Self(Some(duration))
    }

    /// When the limit that began to count at `from` is reached.
    #[must_use]
    pub fn deadline(self, from: Time) -> Option<Time> {
        self.0.map(|duration| from.after(duration))
    }
}
