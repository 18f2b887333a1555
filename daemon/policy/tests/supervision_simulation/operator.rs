//! An operator who reloads, scales, stops, adds and removes pools at bad moments.

use std::time::Duration;

use stockade_policy::supervision::{Event, Scale, Settings};
use stockade_policy::{Backoff, Limit, PoolId};

use crate::programs::STOP_SIGNAL;
use crate::world::{Coming, TURMOIL, World};

impl World {
    /// What will be done while there are faults.
    pub(crate) fn plan(&mut self) {
        let first = 1 + self.few(3);
        let later = self.few(3);
        if self.chance(3) {
            // every pool can have its minimum
            self.maximum = 2 * (first + later) + self.few(2);
            self.machine.set_maximum_processes(self.maximum);
            self.laws.maximum = self.maximum;
        }
        for number in 1..=first + later {
            let within = if number <= first {
                1000
            } else {
                Self::millis(TURMOIL)
            };
            self.plan_pool(PoolId(number), within);
        }
    }

    fn plan_pool(&mut self, pool: PoolId, within: u64) {
        let settings = self.new_settings();
        let turmoil = Self::millis(TURMOIL);
        self.later(within, Coming::Message(Event::PoolAdded { pool, settings }));
        for _ in 0..self.below(8) {
            let settings = self.chance(2).then(|| self.new_settings());
            self.later(turmoil, Coming::Reload(pool, settings));
        }
        for _ in 0..self.below(4) {
            let settings = self.new_settings();
            self.later(turmoil, Coming::Adjust(pool, settings));
        }
        for _ in 0..self.below(3) {
            let scale = self.new_scale();
            self.later(turmoil, Coming::Message(Event::PoolScaled { pool, scale }));
        }
        for _ in 0..self.below(3) {
            self.later(turmoil, Coming::Message(Event::PoolStopped { pool }));
            self.later(turmoil, Coming::Message(Event::PoolStarted { pool }));
        }
        if self.chance(6) {
            self.later(turmoil, Coming::Message(Event::PoolRemoved { pool }));
        }
        for _ in 0..self.below(30) {
            let demand = self.few(12);
            self.later(turmoil, Coming::Use(pool, demand));
        }
    }

    /// Where all pools share what there is, none has to have much.
    fn new_scale(&mut self) -> Scale {
        let most = if self.maximum > 0 { 2 } else { 5 };
        if self.chance(2) {
            return Scale::of(1 + self.few(most));
        }
        let minimum = self.few(3);
        Scale {
            minimum,
            maximum: minimum.max(1) + self.few(5),
            spare: self.few(3),
        }
    }

    pub(crate) fn new_settings(&mut self) -> Settings {
        let seconds = |world: &mut Self, most: u64| Duration::from_millis(world.below(most * 1000));
        let limit = |world: &mut Self, most: u64| {
            if world.chance(10) {
                Limit::OFF
            } else {
                Limit::of(seconds(world, most))
            }
        };
        // a service has no application that could be loaded before
        let service = self.chance(8);
        Settings {
            scale: self.new_scale(),
            threads: if self.chance(2) { 1 } else { 4 },
            surge: u32::try_from(1 + self.below(3)).expect("few"),
            // long enough for a good program
            startup_timeout: Limit(
                limit(self, 20)
                    .0
                    .map(|limit| limit.max(Duration::from_secs(5))),
            ),
            graceful_timeout: limit(self, 65),
            eviction_timeout: limit(self, 65),
            shutdown_timeout: if self.chance(10) {
                Duration::ZERO
            } else {
                seconds(self, 8)
            },
            stop_signal: STOP_SIGNAL,
            restart_interval: if self.chance(4) {
                Limit::of(Duration::from_secs(300 + self.below(900)))
            } else {
                Limit::OFF
            },
            interrupt_timeout: if self.chance(2) {
                seconds(self, 10)
            } else {
                Duration::ZERO
            },
            backoff: Backoff {
                initial: Duration::from_millis(500),
                maximum: Duration::from_secs(60),
            },
            ready_after: service.then_some(Duration::from_secs(1)),
            preload: !service && self.chance(3),
            first_alone: self.chance(8),
            development: self.chance(8),
        }
    }

    /// Only what needs no new workers: what a program is, and how many requests it takes, is another generation's.
    pub(crate) fn adjust(&mut self, pool: PoolId, settings: Settings) {
        let Some(keys) = self.laws.newest_keys(pool) else {
            return;
        };
        let settings = Settings {
            threads: keys.threads,
            ready_after: keys.ready_after,
            preload: keys.preload,
            first_alone: keys.first_alone,
            stop_signal: keys.stop_signal,
            ..settings
        };
        self.deliver(Event::PoolAdjusted { pool, settings });
        self.changed(pool);
    }

    pub(crate) fn few(&mut self, bound: u64) -> u32 {
        u32::try_from(self.below(bound)).expect("few")
    }
}
