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
        let quarter = full.checked_div(4).unwrap_or_default().as_nanos();
        let quarter = u64::try_from(quarter).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_nanos(random.below(quarter)))
    }

    /// What has gone well for this long counts as healthy, where nothing else can show it: ten times `initial`.
    #[must_use]
    pub const fn steady(&self) -> Duration {
        self.initial.saturating_mul(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(500),
        maximum: Duration::from_secs(60),
    };

    #[test]
    fn the_wait_doubles_up_to_the_maximum_less_a_quarter_at_most() {
        let mut random = Random::new(3);
        let full = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
        for (failures, full) in (1..).zip(full) {
            for _ in 0..100 {
                let wait = BACKOFF.wait(failures, &mut random);
                assert!(wait <= Duration::from_millis(full), "{failures}: {wait:?}");
                assert!(
                    wait > Duration::from_millis(full * 3 / 4),
                    "{failures}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let huge = Backoff {
            initial: Duration::MAX,
            maximum: Duration::MAX,
        };
        let none = Backoff {
            initial: Duration::ZERO,
            maximum: Duration::ZERO,
        };
        for failures in [0, 1, 40, u32::MAX] {
            assert!(huge.wait(failures, &mut Random::new(1)) > Duration::MAX / 2);
            assert_eq!(none.wait(failures, &mut Random::new(1)), Duration::ZERO);
        }
    }
}
