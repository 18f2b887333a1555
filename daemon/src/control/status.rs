//! How everything stands, as programs read it: `stockade status --json` and `/v1/status` (manual, section 7). Fields are added, never
//! renamed; a reader passes over those it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_policy::{Generation, PoolState, WorkerId, supervision::WorkerState};

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// The supervisor's process.
    pub pid: i32,
    /// Since its start.
    pub uptime_seconds: f64,
    /// The pools, in the order of their names.
    pub pools: Vec<PoolStatus>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: PoolState,
    /// The generation that serves, or is to.
    pub generation: Generation,
    /// Its addresses, as they are in the configuration.
    pub listen: Vec<String>,
    /// How many workers there are to be.
    pub processes: Processes,
    /// Room for requests in ready workers.
    pub slots: Slots,
    /// Requests that wait for a slot.
    pub queue: Queue,
    /// Requests that have been answered, by workers or for them, refusals included.
    pub requests_total: u64,
    /// 503 answers by their cause.
    pub refused: BTreeMap<String, u64>,
    /// Requests given to another worker after the first one died.
    pub replays_total: u64,
    /// Its workers, in the order of their numbers.
    pub workers: Vec<WorkerStatus>,
    /// With `preload`: what its workers are forked of, in the order of their numbers. They are in no other number here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<WorkerStatus>,
    /// The last workers that are gone, the latest first; 20 at most.
    pub exits: Vec<ExitStatus>,
}

/// How many workers there are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// At least.
    pub minimum: u32,
    /// At most.
    pub maximum: u32,
    /// Now.
    pub wanted: u32,
}

/// Room for requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// With a request.
    pub busy: u32,
    /// Without.
    pub idle: u32,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Requests.
    pub length: u32,
    /// `queue-limit`.
    pub limit: u32,
    /// How long the oldest has waited; 0 when none waits.
    pub oldest_seconds: f64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub id: WorkerId,
    /// Its process; 0 of an upstream.
    pub pid: i32,
    /// Where an upstream listens; none of a worker of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its place in the pool, which is used again: its label in the metrics.
    #[serde(default)]
    pub place: u32,
    /// What it is about.
    pub state: WorkerState,
    /// Its generation.
    pub generation: Generation,
    /// Since its start.
    pub age_seconds: f64,
    /// Requests it was given.
    pub requests: u64,
    /// Requests it has now.
    pub busy: u32,
    /// Its part of the memory, with the processes below it: pages that others have too are counted in part (PSS); where that may not be
    /// read, its anonymous memory. None when the system does not tell.
    pub resident_bytes: Option<u64>,
    /// Of that, the pages that no other process has; the rest is its part of shared ones. None when the system does not tell.
    #[serde(default)]
    pub private_bytes: Option<u64>,
    /// Processor time it has used; none when the system does not tell.
    pub cpu_seconds: Option<f64>,
    /// What it has now.
    pub current: Vec<CurrentRequest>,
}

/// A request that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurrentRequest {
    /// Its name in logs.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Since it was handed out.
    pub age_seconds: f64,
}

/// A worker that is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Its number.
    pub worker: WorkerId,
    /// What its process was.
    pub pid: i32,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why (manual, causes of a worker's end).
    pub cause: String,
    /// The cause's number or name: "3", "SIGKILL"; else empty.
    pub detail: String,
    /// Requests it was given.
    pub requests: u64,
    /// How old it was.
    pub age_seconds: f64,
    /// The kernel has written a core file, or handed it on.
    #[serde(default)]
    pub core_dumped: bool,
    /// The kernel ended it for want of memory.
    #[serde(default)]
    pub out_of_memory: bool,
    /// What it took when it was looked at last; see [`WorkerStatus`].
    #[serde(default)]
    pub resident_bytes: Option<u64>,
    /// The same.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// Requests that it had and did not answer; their age at its end. 20 at most.
    #[serde(default)]
    pub current: Vec<CurrentRequest>,
    /// What it wrote last: 20 lines at most.
    pub last_lines: Vec<String>,
}
