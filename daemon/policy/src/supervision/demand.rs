//! How many workers a pool is to have, by what the relay tells of its use.
//!
//! Busy workers and `spare` idle ones, within `minimum` and `maximum`. Requests that wait ask for more: for as many as
//! take them, less those that are starting, and not for more than double what there is, so that one burst is not the
//! end of the machine. The relay reports lower numbers only at the end of a window, so nothing here waits or smooths.

use serde::{Deserialize, Serialize};

use super::{Scale, size};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Demand {
    /// Workers that were busy at once.
    busy: u32,
    /// Workers asked for by requests that wait; 0: none waits.
    grown: u32,
}

/// The workers that serve or will.
#[derive(Clone, Copy, Debug)]
pub(super) struct Supply {
    pub(super) useful: u32,
    /// Those of them that are not ready.
    pub(super) starting: u32,
    /// Requests that each takes at a time.
    pub(super) threads: u32,
}

impl Demand {
    /// The relay told.
    pub(super) fn told(&mut self, busy: u32, waiting: u32, supply: Supply) {
        let threads = supply.threads.max(1);
        let awaited = supply.starting.saturating_mul(threads);
        let missing = waiting.saturating_sub(awaited).div_ceil(threads);
        self.busy = busy;
        self.grown = if waiting == 0 {
            0
        } else {
            let more = missing.min(supply.useful.max(1));
            supply.useful.saturating_add(more)
        };
    }

    /// It has given workers up, and has so many left that serve or will: more are wanted when more is told, not for what was told before.
    pub(super) fn give_up(&mut self, useful: u32, spare: u32) {
        self.busy = self.busy.min(useful.saturating_sub(spare));
        self.grown = self.grown.min(useful);
    }

    /// How many workers are wanted.
    pub(super) fn wanted(self, scale: Scale) -> usize {
        let used = self.busy.saturating_add(scale.spare).max(self.grown);
        size(used.min(scale.maximum).max(scale.minimum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        minimum: 1,
        maximum: 10,
        spare: 2,
    };

    fn after(busy: u32, waiting: u32, useful: u32, starting: u32, threads: u32) -> usize {
        let mut demand = Demand::default();
        let supply = Supply {
            useful,
            starting,
            threads,
        };
        demand.told(busy, waiting, supply);
        demand.wanted(SCALE)
    }

    #[test]
    fn busy_and_spare_within_the_scale() {
        assert_eq!(Demand::default().wanted(SCALE), 2);
        assert_eq!(after(0, 0, 5, 0, 1), 2);
        assert_eq!(after(4, 0, 5, 0, 1), 6);
        assert_eq!(after(9, 0, 9, 0, 1), 10);
        assert_eq!(Demand::default().wanted(Scale::of(7)), 7);
        let on_demand = Scale {
            minimum: 0,
            spare: 0,
            ..SCALE
        };
        assert_eq!(Demand::default().wanted(on_demand), 0);
    }

    #[test]
    fn what_waits_doubles_at_most_and_counts_what_starts() {
        assert_eq!(after(0, 9, 0, 0, 1), 2, "spare");
        assert_eq!(after(3, 9, 3, 0, 1), 6);
        assert_eq!(after(3, 2, 3, 0, 1), 5);
        assert_eq!(after(3, 2, 5, 2, 1), 5, "two are on their way");
        assert_eq!(after(3, 9, 4, 1, 8), 5, "eight slots are on their way");
        assert_eq!(after(3, 9, 3, 0, 8), 5, "two more take them");
    }
}
