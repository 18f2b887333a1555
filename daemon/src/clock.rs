//! The one clock: the system's monotonic time as the machines' [`Time`].

use std::time::Instant;

use stockade_policy::Time;

/// A monotonic clock; its origin is when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed since the start.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::new(self.0.elapsed())
    }

    /// `time` as the system has it, for timers.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.0 + time.since_origin()
    }
}
