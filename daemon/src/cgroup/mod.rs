//! cgroup v2: what bounds a pool's memory, processes and processor time, and what holds a worker together with its descendants.
//!
//! ```text
//! OURS                   the cgroup that the daemon was started in, when it may divide it (systemd: Delegate=yes)
//!   stockade/            this daemon's; stockade.2 and so on of others in the same cgroup. Locked (flock) while it runs
//!     supervisor/        the supervisor, the relay and the shim
//!     pool.NAME/         the limits of [pool.NAME.cgroup]
//!       worker.N/        a worker and all its descendants: its leaf
//! ```
//! The launcher enters the leaf before anything else. Limits need controllers, and are refused with the reason where those are not to be
//! had; leaves need none, and are there whenever the cgroup can be divided.
//!
//! - `place`: where OURS is; `lack`: why it will not do; `controller`: what limits need; `home`: `stockade/`; [`leaf`]: one worker's;
//!   `files`: reading and writing.

mod controller;
mod files;
mod home;
mod lack;
mod leaf;
mod place;

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::WorkerId;

use crate::config::{in_words, resolved::CgroupLimits};
use controller::Controller;
use home::Home;
pub(crate) use lack::Lack;
pub(crate) use leaf::Leaf;
pub(crate) use place::name_in;

/// The cgroups of this daemon, if it can have any.
#[derive(Debug)]
pub(crate) struct Cgroups {
    home: Result<Home, Lack>,
    pools: BTreeMap<String, PoolCgroup>,
    /// Pools that are gone, and in whose cgroups somebody was dying yet.
    leaving: BTreeSet<String>,
}

/// What is known of a pool's cgroup.
#[derive(Debug)]
struct PoolCgroup {
    limits: CgroupLimits,
    /// How often its own limit was reached and nothing could be freed, as far as anybody was told.
    out_of_memory: u64,
}

/// Who killed a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Killer {
    /// The kernel, for want of memory: in words, whose.
    Memory(String),
    /// Another process.
    Somebody,
    /// One of both: memory is not counted.
    Unknown,
}

impl Cgroups {
    /// Takes a cgroup for this daemon and enters it, with all threads. To be called before any process is started. Where there is none, only
    /// pools with limits have to know.
    pub(crate) fn take() -> Self {
        let home = Home::take();
        match &home {
            Ok(home) => tracing::debug!(
                "cgroup {}: each worker has one of its own in it",
                home.name()
            ),
            Err(lack) => tracing::debug!("no cgroups: {lack}"),
        }
        Self {
            home,
            pools: BTreeMap::new(),
            leaving: BTreeSet::new(),
        }
    }

    /// Whether these limits can be had. Changes nothing for workers.
    pub(crate) fn can_hold(&mut self, limits: &CgroupLimits) -> Result<(), Lack> {
        let mut needed = Controller::needed_by(limits).peekable();
        if needed.peek().is_none() {
            return Ok(());
        }
        let home = self.home.as_mut().map_err(|lack| lack.clone())?;
        needed.try_for_each(|controller| home.enable(controller))
    }

    /// Gives a pool these limits, which can be had; they hold at once, for workers that run too.
    pub(crate) fn limit(&mut self, pool: &str, limits: CgroupLimits) -> Result<(), Lack> {
        let Ok(home) = &self.home else {
            return Ok(());
        };
        // the cgroup of one without limits is made when there is a worker to be put in it
        if limits != CgroupLimits::default() || self.pools.contains_key(pool) {
            home.limit(pool, &limits)?;
            let known = self.pools.entry(pool.to_owned());
            let known = known.or_insert_with(|| PoolCgroup::of(home, pool));
            known.limits = limits;
        }
        Ok(())
    }

    /// Makes the leaf of a worker that is to be started; none where there are no cgroups. `limits` are those of a pool that has had none before.
    pub(crate) fn leaf(
        &mut self,
        pool: &str,
        limits: CgroupLimits,
        worker: WorkerId,
    ) -> Result<Option<Leaf>, Lack> {
        self.tidy();
        let Ok(home) = &self.home else {
            return Ok(None);
        };
        let limits = self.pools.get(pool).map_or(limits, |known| known.limits);
        // also of one that an earlier pool of this name has left
        let made = if self.pools.contains_key(pool) {
            Ok(())
        } else {
            home.limit(pool, &limits)
        };
        match made.and_then(|()| home.leaf(pool, worker)) {
            Ok(leaf) => {
                let known = self.pools.entry(pool.to_owned());
                let known = known.or_insert_with(|| PoolCgroup::of(home, pool));
                known.limits = limits;
                Ok(Some(leaf))
            }
            // better no cgroup than no worker
            Err(lack) if limits == CgroupLimits::default() => {
                tracing::warn!("pool {pool}: worker {worker} is in no cgroup of its own: {lack}");
                Ok(None)
            }
            Err(lack) => Err(lack),
        }
    }

    /// Who sent a SIGKILL that was not ours to a worker of this pool.
    pub(crate) fn killer(&mut self, pool: &str, leaf: Option<&Leaf>) -> Killer {
        let (Ok(home), Some(known)) = (&self.home, self.pools.get_mut(pool)) else {
            return Killer::Unknown;
        };
        match leaf.and_then(Leaf::out_of_memory) {
            None => return Killer::Unknown,
            Some(0) => return Killer::Somebody,
            Some(_) => {}
        }
        let count = home.out_of_memory(pool);
        let own = count > known.out_of_memory;
        known.out_of_memory = count;
        Killer::Memory(match known.limits.memory_max {
            Some(bytes) if own => format!("the pool reached memory-max {}", in_words(bytes)),
            _ => "the machine had none left, or a limit above the pool's was reached".to_owned(),
        })
    }

    /// A pool is gone, and its workers are.
    pub(crate) fn forget(&mut self, pool: &str) {
        if self.pools.remove(pool).is_some() {
            self.leaving.insert(pool.to_owned());
        }
        self.tidy();
    }

    /// Removes what is left of pools that are gone, unless others have their names.
    fn tidy(&mut self) {
        if let Ok(home) = &self.home {
            let pools = &self.pools;
            (self.leaving).retain(|pool| !pools.contains_key(pool) && !home.forget(pool));
        }
    }
}

impl PoolCgroup {
    /// Of a pool that comes; its cgroup may be there, with what has happened in it.
    fn of(home: &Home, pool: &str) -> Self {
        Self {
            limits: CgroupLimits::default(),
            out_of_memory: home.out_of_memory(pool),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pool_that_goes_leaves_its_cgroup_when_the_last_one_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups {
            home: Ok(home::imagined(folder.path())),
            pools: BTreeMap::new(),
            leaving: BTreeSet::new(),
        };
        let path = folder.path().join("daemon/stockade/pool.blog");
        let none = CgroupLimits::default();
        let leaf = cgroups.leaf("blog", none, WorkerId(1)).unwrap();
        // the worker's is there yet
        cgroups.forget("blog");
        assert!(path.is_dir());
        drop(leaf);
        drop(cgroups.leaf("shop", none, WorkerId(2)).unwrap());
        assert!(!path.exists());
        // another of its name has it, with what happened in it before
        let leaf = cgroups.leaf("blog", none, WorkerId(3)).unwrap();
        cgroups.forget("blog");
        fs::write(path.join("memory.events.local"), "oom 3\n").unwrap();
        let other = cgroups.leaf("blog", none, WorkerId(4)).unwrap();
        assert_eq!(cgroups.pools["blog"].out_of_memory, 3);
        drop((leaf, other));
        cgroups.forget("shop");
        assert!(path.is_dir());
    }
}
