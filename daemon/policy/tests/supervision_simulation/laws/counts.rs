//! How many workers there are, by the laws' own reckoning.

use std::time::Duration;

use stockade_policy::{PoolId, Time};

use super::Laws;
use super::worker::{Told, Worker};

/// One that is told to go may take this long before others are started in spite of it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Laws {
    pub(super) fn live(&self, pool: PoolId) -> usize {
        self.count(pool, |_| true)
    }

    pub(super) fn ready(&self, pool: PoolId) -> usize {
        self.count(pool, Worker::is_ready)
    }

    /// Those that serve or will, but for a candidate's.
    pub(super) fn useful(&self, id: PoolId) -> usize {
        let accepted = self.pools.get(&id).map(|pool| pool.accepted);
        self.count(id, |worker| {
            worker.is_useful() && Some(worker.generation) <= accepted
        })
    }

    pub(super) fn leaving(&self, pool: PoolId) -> usize {
        self.count(pool, |worker| worker.told > Told::Nothing)
    }

    /// Those of an older generation that were told to go some time ago and have not gone.
    pub(super) fn lingering(&self, id: PoolId, now: Time) -> usize {
        let accepted = self.pools.get(&id).map(|pool| pool.accepted);
        self.count(id, |worker| {
            let left = worker.left.is_some_and(|left| now.since(left) >= PATIENCE);
            left && Some(worker.generation) < accepted
        })
    }

    pub(super) fn count(&self, pool: PoolId, which: impl Fn(&Worker) -> bool) -> usize {
        let workers = self.workers.values();
        workers
            .filter(|worker| worker.pool == pool && !worker.template && which(worker))
            .count()
    }
}
