//! After a long time without faults: all pools serve in full, and every reload was answered.

use stockade_policy::supervision::{PoolSnapshot, Snapshot, WorkerState};
use stockade_policy::{Generation, Limit, PoolState};

use super::{Laws, pool::Standing, size};

impl Laws {
    pub(crate) fn all_is_well(&self, snapshot: &Snapshot) {
        for (pool, known) in &self.pools {
            let there = snapshot.pools.iter().any(|each| each.id == *pool);
            let expected = matches!(known.standing, Standing::Runs | Standing::Halted);
            assert_eq!(there, expected, "{:?}", known.standing);
        }
        self.templates_are_well(snapshot);
        let live = snapshot.workers.len();
        let shares = self.maximum > 0;
        for pool in &snapshot.pools {
            let known = &self.pools[&pool.id];
            let answered = known.finished.contains(&known.newest)
                || known.abandoned.contains(&known.newest)
                || known.newest == Generation(1);
            // what wears out goes on being replaced
            let wears = known.keys().restart_interval != Limit::OFF;
            assert!(answered, "reload {} has no answer", known.newest);
            assert_ne!(pool.state, PoolState::Failing, "nothing fails");
            if known.standing == Standing::Halted {
                assert_eq!(states(pool, snapshot), [], "it is stopped");
            } else if shares {
                self.shares(pool, snapshot, wears, live);
            } else {
                serves(pool, snapshot, wears);
            }
        }
    }

    /// No pool is short while there is room, none below its minimum, and none that is wanted without a worker.
    fn shares(&self, pool: &PoolSnapshot, snapshot: &Snapshot, wears: bool, live: usize) {
        let ready = states(pool, snapshot)
            .iter()
            .filter(|state| **state == (WorkerState::Ready, pool.generation))
            .count();
        let missing = usize::from(wears);
        let least = pool.minimum.max(pool.wanted.min(1));
        assert!(ready + missing >= size(least), "{pool:?} has {ready}");
        if live < size(self.maximum)
            && !snapshot
                .workers
                .iter()
                .any(|worker| worker.state != WorkerState::Ready)
        {
            assert!(
                ready + missing >= size(pool.wanted),
                "{pool:?} has {ready}, and there is room"
            );
        }
    }
}

fn serves(pool: &PoolSnapshot, snapshot: &Snapshot, wears: bool) {
    let states = states(pool, snapshot);
    let full = vec![(WorkerState::Ready, pool.generation); size(pool.wanted)];
    if wears {
        let ready = states.iter().filter(|state| full.contains(state)).count();
        assert!(ready >= full.len(), "{pool:?}: {states:?}");
    } else {
        assert_eq!(states, full, "{pool:?}");
    }
    if pool.wanted > 0 {
        assert_eq!(pool.state, PoolState::Serving);
    }
}

fn states(pool: &PoolSnapshot, snapshot: &Snapshot) -> Vec<(WorkerState, Generation)> {
    let workers = snapshot.workers.iter();
    workers
        .filter(|worker| worker.pool == pool.id)
        .map(|worker| (worker.state, worker.generation))
        .collect()
}
