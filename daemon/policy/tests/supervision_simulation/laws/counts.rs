//! How many workers there are, by the laws' own reckoning.

use stockade_policy::PoolId;

use super::Laws;
use super::worker::{Told, Worker};

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

    pub(super) fn count(&self, pool: PoolId, which: impl Fn(&Worker) -> bool) -> usize {
        let workers = self.workers.values();
        workers
            .filter(|worker| worker.pool == pool && which(worker))
            .count()
    }
}
