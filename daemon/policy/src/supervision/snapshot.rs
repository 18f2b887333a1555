//! How everything stands: what `stockade status` and the metrics show.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{Generation, PoolId, PoolState, Time, WorkerId};

/// Every pool and every worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The pools, in the order of their numbers.
    pub pools: Vec<PoolSnapshot>,
    /// Their workers until they are gone, pool by pool in the order of their numbers.
    pub workers: Vec<WorkerSnapshot>,
    /// Their templates, the same way.
    pub templates: Vec<WorkerSnapshot>,
    /// Events that came late, twice or about nobody since the start.
    pub ignored: u64,
}

/// One pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSnapshot {
    /// Its number.
    pub id: PoolId,
    /// How it stands, as reported last.
    pub state: PoolState,
    /// The generation that serves, or is to.
    pub generation: Generation,
    /// The newest generation asked for; above `generation` while it has no ready worker, or was abandoned.
    pub newest: Generation,
    /// The fewest workers by its scale.
    pub minimum: u32,
    /// The most workers by its scale.
    pub maximum: u32,
    /// Workers wanted; 0 while it is stopped.
    pub wanted: u32,
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// Its number.
    pub id: WorkerId,
    /// Whose.
    pub pool: PoolId,
    /// What it is about.
    pub state: WorkerState,
    /// Its generation.
    pub generation: Generation,
    /// When it was started.
    pub started: Time,
    /// When it came into this state.
    pub since: Time,
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Started, not ready.
    Starting,
    /// May be given requests.
    Ready,
    /// Finishes what it has.
    Retiring,
    /// The stop-signal or KILL was sent.
    Stopping,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
        })
    }
}
