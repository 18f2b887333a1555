//! Pools that go. A pool that is in the configuration no more takes no more connections; what waits in it is answered, for as long as it
//! might have to wait; then its workers are retired, and when the last is gone it is forgotten.

use stockade_policy::{PoolId, Time, supervision::Event};

use super::shell::Shell;
use crate::{config::resolved::Kind, control::ToRelay};

impl Shell {
    /// The pool is to go. Its addresses have been closed, or are another's.
    pub(super) fn close_pool(&mut self, pool: PoolId) {
        let now = self.clock.now();
        let Some(record) = self.pools.get_mut(&pool) else {
            return;
        };
        record.closing = true;
        let keys = record.in_force();
        // what an upstream runs ends with the pool; workers have their own time to finish
        let patience = match record.kind() {
            Kind::Upstream => keys.graceful_timeout.0,
            Kind::Workers | Kind::Service => keys.queue_timeout.0,
        };
        let until = now.after(patience.unwrap_or(LONGEST));
        tracing::info!("pool {}: removed: it takes no more requests", record.name);
        self.relay.tell(&ToRelay::PoolClosing { pool }, &[]);
        self.closing.insert(pool, until);
        self.reload_failed(pool, "removed by another reload");
    }

    /// Nothing waits in the pool any more.
    pub(super) fn retire_pool(&mut self, pool: PoolId) {
        if self.closing.remove(&pool).is_none() {
            return;
        }
        match self.pools.get(&pool).map(|record| record.kind()) {
            Some(Kind::Upstream) => self.forget_pool(pool),
            Some(Kind::Workers | Kind::Service) => self.tell_machine(Event::PoolRemoved { pool }),
            None => {}
        }
    }

    /// Nobody runs anything of it any more.
    pub(super) fn forget_pool(&mut self, pool: PoolId) {
        let Some(record) = self.pools.remove(&pool) else {
            return;
        };
        // another may have its name already, or may be about to go too
        let mut others = self.pools.values();
        if !others.any(|other| other.name == record.name && other.kind() != Kind::Upstream) {
            self.cgroups.forget(&record.name);
        }
        self.closing.remove(&pool);
        self.wanting.retain(|(of, _)| *of != pool);
        self.relay.tell(&ToRelay::PoolRemoved { pool }, &[]);
        tracing::info!("pool {}: gone", record.name);
        self.tell_systemd();
    }

    /// Pools in which something has waited for too long.
    pub(super) fn expire_closing(&mut self, now: Time) {
        let due: Vec<PoolId> = (self.closing.iter())
            .filter(|(_, until)| **until <= now)
            .map(|(pool, _)| *pool)
            .collect();
        for pool in due {
            self.retire_pool(pool);
        }
    }
}

/// Where requests may wait without end.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);
