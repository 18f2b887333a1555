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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stays_within_its_ends() {
        let second = Duration::from_secs(1);
        let early = Time::new(second);
        let late = early.after(second);
        assert_eq!(
            (late.since(early), early.since(late)),
            (second, Duration::ZERO)
        );
        assert_eq!(early.after(Duration::MAX), Time::new(Duration::MAX));
    }

    #[test]
    fn a_limit_that_is_off_has_no_deadline() {
        assert_eq!(Limit::OFF.deadline(Time::default()), None);
        let second = Duration::from_secs(1);
        assert_eq!(
            Limit::of(second).deadline(Time::new(second)),
            Some(Time::new(second * 2))
        );
    }
}
