//! How long to wait after a worker that died before its first request.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Random;

/// `backoff-initial` and `backoff-maximum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The wait after the first failure in a row.
    pub initial: Duration,
    /// No wait is longer than this.
    pub maximum: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 is the first): `initial` doubled for each further one, at most
    /// `maximum`, less up to a quarter of jitter so that pools that fell together do not rise together.
    #[must_use]
    pub fn wait(&self, failures: u32, random: &mut Random) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self
            .initial
            .saturating_mul(1_u32 << doublings)
            .min(self.maximum);
        let quarter = u64::try_from((full / 4).as_nanos()).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_nanos(random.below(quarter)))
    }
}
