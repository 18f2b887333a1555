//! What a relay that is replaced says to the next one, over a SOCK_SEQPACKET socket of theirs.
//!
//! Both are the same unprivileged account's, so this is JSON with descriptors attached. The supervisor makes the socket and never reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_policy::{PoolId, WorkerId};

use super::{record::Death, status::CurrentRequest};

/// One message. In its comment: the descriptors that come with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handed {
    /// A host's connection that is between two requests. Descriptor: the connection.
    Host {
        /// Whose.
        pool: PoolId,
        /// The number of the address that it had connected to.
        address: u32,
    },
    /// What a worker writes is the next relay's to read. Descriptor: the read end of the pipe.
    Pipe {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// Its name in logs.
        title: String,
        /// 0: standard output; 1: standard error.
        stream: usize,
        /// The beginning of a line.
        pending: Vec<u8>,
        /// The last lines of both.
        last: Vec<String>,
    },
    /// What was counted, to be added. No descriptors.
    Counted {
        /// Of this pool.
        pool: PoolId,
        /// What.
        counts: Counts,
    },
    /// A worker that is gone, the latest first. No descriptors.
    Exited {
        /// Whose.
        pool: PoolId,
        /// The worker.
        exit: Exit,
    },
    /// Pipes, counts and exits have been handed; more connections may come, and once more counts. No descriptors.
    Told,
}

/// What a pool has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Answers by their status.
    pub codes: BTreeMap<u16, u64>,
    /// 503 answers by their cause.
    pub refused: BTreeMap<String, u64>,
    /// Replays.
    pub replays: u64,
    /// See the ledger of the relay.
    pub request: Histogram,
    /// The same.
    pub queue_wait: Histogram,
    /// The same.
    pub startup: Histogram,
    /// Bytes from hosts.
    pub received: u64,
    /// Bytes to hosts.
    pub sent: u64,
    /// Requests that workers were given.
    pub handed_out: BTreeMap<WorkerId, u64>,
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// By the relay's bounds.
    pub counts: Vec<u64>,
    /// In seconds.
    pub sum: f64,
}

/// A worker that is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// The worker.
    pub worker: WorkerId,
    /// How it ended.
    pub death: Death,
    /// Requests that it was given.
    pub requests: u64,
    /// Those that it had.
    pub current: Vec<CurrentRequest>,
    /// The last lines that it wrote.
    pub lines: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_wire() {
        let handed = Handed::Counted {
            pool: PoolId(3),
            counts: Counts {
                codes: BTreeMap::from([(200, 7)]),
                handed_out: BTreeMap::from([(WorkerId(9), 2)]),
                ..Counts::default()
            },
        };
        let bytes = serde_json::to_vec(&handed).unwrap();
        assert_eq!(serde_json::from_slice::<Handed>(&bytes).unwrap(), handed);
    }
}
