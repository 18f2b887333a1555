//! What a configuration that was read again changes: which pools come and go, and which keys need new workers.

use std::{collections::BTreeSet, mem};

use super::resolved::{Application, Deadlines, Pool};

/// What a pool that runs makes of the keys that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// They are the same.
    Nothing,
    /// They hold at once: workers that run go on.
    AtOnce,
    /// They are those of a new generation.
    NewWorkers,
    /// It runs something else (a `service` instead of a `command`, ...): another pool takes its place.
    Replaced,
}

/// What is different from what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pools that are new.
    pub added: Vec<Pool>,
    /// Pools that are there, with their keys as read.
    pub kept: Vec<(Pool, Change)>,
    /// Pools that are there no more, by their names.
    pub removed: Vec<String>,
}

impl Changes {
    /// Between what runs and what was read; of the pool `only` alone, if it is named.
    #[must_use]
    pub fn between(running: &[&Pool], read: Vec<Pool>, only: Option<&str>) -> Self {
        let names: BTreeSet<String> = read.iter().map(|pool| pool.name.clone()).collect();
        let meant = |name: &str| only.is_none_or(|only| only == name);
        let mut changes = Self {
            removed: (running.iter())
                .filter(|pool| meant(&pool.name) && !names.contains(&pool.name))
                .map(|pool| pool.name.clone())
                .collect(),
            ..Self::default()
        };
        for pool in read.into_iter().filter(|pool| meant(&pool.name)) {
            match running.iter().find(|other| other.name == pool.name) {
                Some(other) => {
                    let change = change(other, &pool);
                    changes.kept.push((pool, change));
                }
                None => changes.added.push(pool),
            }
        }
        changes
    }

    /// Every pool that there is to be, with its keys.
    pub fn wanted(&self) -> impl Iterator<Item = &Pool> {
        let kept = self.kept.iter().map(|(pool, _)| pool);
        self.added.iter().chain(kept)
    }
}

/// What `read` changes of `running`.
fn change(running: &Pool, read: &Pool) -> Change {
    let mut same_workers = running.clone();
    take_what_holds_at_once(&mut same_workers, read);
    if running == read {
        Change::Nothing
    } else if running.application.kind() != read.application.kind() {
        Change::Replaced
    } else if same_workers == *read {
        Change::AtOnce
    } else {
        Change::NewWorkers
    }
}

/// The keys that are no matter to workers that run. Whatever is not named here needs new ones.
fn take_what_holds_at_once(pool: &mut Pool, read: &Pool) {
    pool.listen.clone_from(&read.listen);
    pool.socket = read.socket;
    pool.listen_backlog = read.listen_backlog;
    pool.allowed_clients.clone_from(&read.allowed_clients);
    pool.processes = read.processes;
    pool.scale = read.scale;
    take_renewal(pool, read);
    pool.cgroup = read.cgroup;
    pool.startup_timeout = read.startup_timeout;
    pool.request_timeout = read.request_timeout;
    take_deadlines(&mut pool.deadlines, read.deadlines);
    pool.queue_timeout = read.queue_timeout;
    pool.queue_limit = read.queue_limit;
    pool.graceful_timeout = read.graceful_timeout;
    pool.eviction_timeout = read.eviction_timeout;
    pool.shutdown_timeout = read.shutdown_timeout;
    pool.wear.inactivity_timeout = read.wear.inactivity_timeout;
    pool.retry = read.retry;
    pool.retry_limit = read.retry_limit;
    pool.backoff = read.backoff;
    pool.bytes.clone_from(&read.bytes);
    pool.logging.clone_from(&read.logging);
}

/// A Python worker is told at its start whether clients may see its exceptions: what may not be seen any more must not be.
fn take_renewal(pool: &mut Pool, read: &Pool) {
    let told = mem::replace(&mut pool.renewal, read.renewal.clone());
    let python = matches!(pool.application, Application::Python { .. });
    if python && told.development() != read.renewal.development() {
        pool.renewal.watch = told.watch;
    }
}

/// A worker is told at its start whether it will be interrupted, and how often it has to show that it lives.
fn take_deadlines(deadlines: &mut Deadlines, read: Deadlines) {
    let told = *deadlines;
    *deadlines = read;
    deadlines.deadlock_timeout = told.deadlock_timeout;
    if told.interrupt_timeout.0.is_some() != read.interrupt_timeout.0.is_some() {
        deadlines.interrupt_timeout = told.interrupt_timeout;
    }
}
