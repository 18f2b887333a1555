//! `maximum-processes`: the room that all pools have together.
//!
//! At the maximum nothing is started but in the place of what is gone. Who waits is served in turn, one worker at a
//! time: first pools without any worker, then pools below their minimum, then whoever has waited longest. For the
//! first two another one that is above its minimum gives an idle one up. A replacement finds no room beside the
//! worker it is for: that one retires first.

use super::{machine::Supervision, pool::Pool, size};

impl Supervision {
    /// `maximum-processes`: the most workers of all pools together; 0: no limit.
    pub fn set_maximum_processes(&mut self, maximum: u32) {
        self.maximum_processes = maximum;
        self.context.limit(maximum > 0);
        for pool in self.pools.values_mut() {
            pool.reconcile(&mut self.context);
        }
        self.share_room();
    }

    /// Gives the room that is left to those who wait for it.
    pub(super) fn share_room(&mut self) {
        if self.maximum_processes == 0 {
            return;
        }
        let maximum = size(self.maximum_processes);
        let mut live: usize = self.pools.values().map(Pool::live).sum();
        while live < maximum {
            let waiting = self
                .pools
                .values_mut()
                .filter(|pool| pool.place().is_some());
            let Some(pool) = waiting.min_by_key(|pool| pool.place()) else {
                return;
            };
            let before = pool.live();
            self.context.give_room();
            pool.reconcile(&mut self.context);
            self.context.limit(true);
            live = live.saturating_add(pool.live()).saturating_sub(before);
        }
        for pool in self.pools.values_mut() {
            pool.retire_first(&mut self.context);
        }
        self.make_room();
    }

    /// A pool that has no worker at all, or fewer than it must, gets one of a pool that has more than it must.
    fn make_room(&mut self) {
        let needed = self.pools.values().filter(|pool| pool.is_poor()).count();
        let coming: usize = self.pools.values().map(Pool::gives).sum();
        for _ in coming..needed {
            let able = self
                .pools
                .values_mut()
                .filter(|pool| pool.spares().is_some());
            let Some(pool) = able.max_by_key(|pool| pool.spares()) else {
                return;
            };
            pool.give_room(&mut self.context);
        }
    }
}
