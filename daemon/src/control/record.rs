//! What the supervisor knows of a worker's process, for the relay to show: what it takes of the machine, and how it ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade_policy::Limit;

/// What a worker takes of the machine, with the processes below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its part of the memory (PSS), or, where that may not be read, its anonymous memory; none when the system does not tell.
    pub resident_bytes: Option<u64>,
    /// Of that, what nobody else has; none where the kernel does not tell.
    #[serde(default)]
    pub private_bytes: Option<u64>,
    /// Processor time it has used, children that have ended included; none when the system does not tell.
    pub cpu: Option<Duration>,
}

/// What a worker may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// `threads`.
    pub threads: u32,
    /// `maximum-requests`; 0: no limit.
    pub maximum_requests: u64,
    /// `maximum-memory`, in bytes; none: no limit.
    pub maximum_memory: Option<u64>,
    /// `cpu-time-limit`.
    pub cpu_time_limit: Limit,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its process.
    pub pid: i32,
    /// Seconds since 1970.
    pub at: u64,
    /// Why.
    pub cause: String,
    /// The cause's number or name, or empty.
    pub detail: String,
    /// The kernel has written a core file, or handed it on.
    pub core_dumped: bool,
    /// How old it was.
    pub age: Duration,
    /// What it took when it was looked at last.
    pub sample: Sample,
    /// The line of the log about it as far as the supervisor knows it; none: there is to be none.
    pub obituary: Option<String>,
    /// Why it was not launched, when it was not.
    pub not_launched: Option<String>,
}
