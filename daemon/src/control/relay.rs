//! The messages between the supervisor and the relay.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use stockade_policy::{Backoff, Generation, Limit, PoolId, PoolState, WorkerId, dispatch};

use super::{
    record::{Death, Sample, WorkerLimits},
    stacks::Question,
    status::Processes,
};
use crate::config::{
    access_log::Format,
    resolved::{Bytes, Listen, LogLevel, Stderr},
};

/// The version of both vocabularies. A reader takes this one only.
pub const VERSION: u16 = 1;

/// What a pool is to the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPlan {
    /// Its number.
    pub pool: PoolId,
    /// Its name, for logs.
    pub name: String,
    /// The generation that serves, for the status.
    pub generation: Generation,
    /// How many workers there are to be, for the status.
    pub processes: Processes,
    /// Its addresses, for the status.
    pub listen: Vec<String>,
    /// The keys that dispatch needs.
    pub settings: dispatch::Settings,
    /// What its workers may take, for the metrics.
    pub limits: WorkerLimits,
    /// How long a relay that is replaced may still be at what it runs.
    pub graceful_timeout: Limit,
    /// What is held of requests and responses.
    pub bytes: Bytes,
    /// The lines of the access log; none: it is off.
    pub access_log: Option<Format>,
    /// Where FCGI_STDERR of workers goes.
    pub stderr: Stderr,
    /// `allowed-clients`: of TCP connections.
    pub allowed_clients: Vec<IpNet>,
    /// `connect-timeout`.
    pub connect_timeout: Duration,
    /// `socket-timeout`.
    pub socket_timeout: Limit,
    /// Sources are watched: a developer is shown why the pool is failing.
    pub development: bool,
    /// Where the processes listen, when they are somebody else's.
    pub upstream: Option<UpstreamPlan>,
}

/// `upstream`: the relay finds out by itself who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPlan {
    /// The addresses.
    pub addresses: Vec<Listen>,
    /// Requests at a time on each.
    pub slots: u32,
    /// `multiplex`.
    pub multiplexes: bool,
    /// Between two questions to one that does not answer.
    pub backoff: Backoff,
}

/// What a pool's supervision has counted, for the metrics of a new relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    /// Workers started.
    pub starts: u64,
    /// Workers gone, by cause.
    pub exits: BTreeMap<String, u64>,
}

/// A line for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The line.
    pub line: String,
    /// The worker that it is about.
    pub worker: Option<(PoolId, WorkerId)>,
}

impl Told {
    /// One that is about none.
    #[must_use]
    pub const fn of(line: String) -> Self {
        Self { line, worker: None }
    }
}

/// What the supervisor says. In the message's comment: the descriptors that come with it, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToRelay {
    /// The first message: how to run. Descriptors: the listening socket of `status-listen`, if there is one.
    Begin {
        /// [`VERSION`].
        version: u16,
        /// `relay-threads`.
        threads: usize,
        /// `log-level`.
        log_level: LogLevel,
        /// How long the daemon has run.
        uptime: Duration,
    },
    /// Serve this pool. No descriptors.
    PoolAdded(PoolPlan),
    /// Where hosts connect to has changed. Descriptors: the listening sockets of `begins`.
    PoolListens {
        /// The pool.
        pool: PoolId,
        /// Accept on these, by the number of the address that each is of; an address that systemd knows may have several.
        begins: Vec<u32>,
        /// Nobody accepts on these any more: take what the kernel has accepted; their hosts are let go when they are idle.
        ends: Vec<u32>,
        /// Another pool accepts on these: leave it what the kernel has accepted; their hosts are let go when they are idle.
        leaves: Vec<u32>,
    },
    /// The pool is to go: accept no more; answer what waits and runs; say `PoolDrained`.
    PoolClosing {
        /// The pool.
        pool: PoolId,
    },
    /// Its last worker is gone: forget it. What it still has is cut.
    PoolRemoved {
        /// The pool.
        pool: PoolId,
    },
    /// The pool's keys are these from the next request on; say so. No descriptors.
    PoolChanged(PoolPlan),
    /// Where the lines of the pool's access log go from here on. Descriptor: the file.
    AccessLogOpened {
        /// The pool.
        pool: PoolId,
    },
    /// What was counted before this relay was there. No descriptors.
    PoolCounted {
        /// The pool.
        pool: PoolId,
        /// What.
        lives: Lives,
    },
    /// How the pool stands.
    PoolReported {
        /// The pool.
        pool: PoolId,
        /// How it stands.
        state: PoolState,
    },
    /// How many workers there are to be now, for the status.
    PoolWanted {
        /// The pool.
        pool: PoolId,
        /// How many.
        processes: Processes,
    },
    /// There are more workers than it has use for: take so many idle ones out of rotation, and say `WorkerShed` of each.
    PoolShed {
        /// The pool.
        pool: PoolId,
        /// How many.
        count: u32,
    },
    /// A worker was launched. Descriptors: the read ends of its standard output and standard error.
    WorkerLaunched {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// Its process, for logs.
        pid: i32,
        /// Its generation, for the status.
        generation: Generation,
        /// How long ago it was started.
        age: Duration,
        /// It was launched just now: no relay has been told of it before.
        fresh: bool,
        /// Its socket; a service has none.
        socket: Option<PathBuf>,
        /// It is one that cooperates: it says when a connection is not to be used again.
        tells: bool,
        /// Workers are forked of it; it gets no requests.
        #[serde(default)]
        template: bool,
        /// Ask it by GET_VALUES whether it is ready, and say `WorkerAnswered`.
        probe: bool,
        /// `multiplex`.
        multiplexes: bool,
        /// The end of a request's connection tells its application that the client has gone.
        #[serde(default)]
        hears_leaving: bool,
    },
    /// A worker that was retired is a template from here on.
    TemplateMade {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
    },
    /// It may be given requests.
    WorkerOffered {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// Requests at a time; 0 of a service.
        slots: u32,
        /// How many of them are another relay's, or nobody knows.
        leased: u32,
        /// Requests in its life; 0: no limit.
        maximum_requests: u64,
        /// Launch to ready, when it is offered for the first time.
        startup: Option<Duration>,
    },
    /// Slots of it that were leased are this relay's.
    LeaseReturned {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// How many.
        slots: u32,
    },
    /// A relay that this one has replaced has a request that waits for a slot.
    SlotWanted {
        /// The pool.
        pool: PoolId,
    },
    /// Nobody knows what it runs: ask it by GET_VALUES, and say `WorkerAnswered`.
    WorkerDoubted {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
    },
    /// Ask it for this path until it answers below 500, and say `WorkerProbed`.
    WorkerProbed {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// `probe`.
        path: String,
    },
    /// It is to be given no more; its idle connections are to be closed; say `WorkerDrained` when nothing is left.
    WorkerRetired {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
    },
    /// Its time is over: answer for it what it still runs.
    WorkerOverdue {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
    },
    /// Its process is gone; read its pipes to their end.
    WorkerGone {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// It ended by itself, with status 0.
        done: bool,
    },
    /// Why a worker is gone, or was not started.
    WorkerBuried {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// How it ended.
        death: Death,
    },
    /// The answer to `SampleWanted`, in one message or several.
    WorkersSampled {
        /// What workers take of the machine.
        samples: Vec<(WorkerId, Sample)>,
        /// These are the last ones.
        whole: bool,
    },
    /// Write the answer to `status` (`control::admin`) to a connection and close it. Descriptor: the connection.
    StatusAsked,
    /// Something of a question for what the threads of workers are doing.
    Stacks(Question),
    /// Write the answer to a reload that failed to a connection and close it: these lines, and behind each what its worker wrote
    /// last. Descriptor: the connection.
    FailureTold {
        /// The lines.
        lines: Vec<Told>,
    },
    /// All that there is was told: accept, and say `Serving`. Descriptors: sockets to the relays that hand over to this one
    /// (`control::handover`).
    Serve {
        /// The first of them has served until now, and its counts are waited for.
        awaits: bool,
    },
    /// Another relay serves: accept no more, give it what is idle over the socket, answer what waits and runs, return each slot as it
    /// becomes free, and end. Said again when yet another serves. Descriptor: the socket.
    HandOver,
    /// The least important lines to write to the log from here on.
    LogLevelSet {
        /// `log-level`.
        log_level: LogLevel,
    },
    /// Stop accepting; answer what waits and runs; say `Drained`.
    Drain,
}

impl ToRelay {
    /// The pool that it is about; none: the relay itself.
    #[must_use]
    pub const fn pool(&self) -> Option<PoolId> {
        match self {
            Self::PoolAdded(plan) | Self::PoolChanged(plan) => Some(plan.pool),
            Self::PoolListens { pool, .. }
            | Self::PoolClosing { pool }
            | Self::PoolRemoved { pool }
            | Self::AccessLogOpened { pool }
            | Self::PoolReported { pool, .. }
            | Self::PoolWanted { pool, .. }
            | Self::PoolShed { pool, .. }
            | Self::PoolCounted { pool, .. }
            | Self::WorkerLaunched { pool, .. }
            | Self::TemplateMade { pool, .. }
            | Self::WorkerOffered { pool, .. }
            | Self::LeaseReturned { pool, .. }
            | Self::SlotWanted { pool }
            | Self::WorkerDoubted { pool, .. }
            | Self::WorkerProbed { pool, .. }
            | Self::WorkerRetired { pool, .. }
            | Self::WorkerOverdue { pool, .. }
            | Self::WorkerGone { pool, .. }
            | Self::WorkerBuried { pool, .. } => Some(*pool),
            Self::Begin { .. }
            | Self::Serve { .. }
            | Self::HandOver
            | Self::FailureTold { .. }
            | Self::WorkersSampled { .. }
            | Self::Stacks(_)
            | Self::StatusAsked
            | Self::LogLevelSet { .. }
            | Self::Drain => None,
        }
    }
}

/// What the relay says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromRelay {
    /// It answered GET_VALUES, or took the connection and closed it.
    WorkerAnswered(WorkerId),
    /// It answered its first request.
    WorkerServed(WorkerId),
    /// It was given `maximum-requests` requests.
    MaximumRequestsReached(WorkerId),
    /// A request of it timed out.
    RequestTimedOut(WorkerId),
    /// It broke the protocol or cannot be reached.
    WorkerBroke(WorkerId),
    /// Retired, and nothing is left.
    WorkerDrained(WorkerId),
    /// The answer to `Drain`.
    Drained,
    /// A slot of it is this relay's no more.
    LeaseReturned(WorkerId),
    /// A request of a relay that was replaced waits for a slot of this pool.
    SlotWanted(PoolId),
    /// The answer to `Serve`.
    Serving,
    /// It was asked to be replaced.
    ReplaceMe,
    /// The pool has its new keys, and has done whatever was said of it before.
    PoolChanged(PoolId),
    /// How a pool whose number of workers follows the load is used.
    PoolUsed {
        /// The pool.
        pool: PoolId,
        /// The most workers that were busy at once since the last window began.
        busy: u32,
        /// Requests that wait for want of a worker.
        waiting: u32,
    },
    /// It was idle, and is given no more requests (after `PoolShed`).
    WorkerShed(WorkerId),
    /// Every slot of it whose request had timed out is free again.
    WorkerRecovered(WorkerId),
    /// It has had requests, and then none for `inactivity-timeout`.
    WorkerInactive(WorkerId),
    /// The answer to `PoolClosing`.
    PoolDrained(PoolId),
    /// It has answered `probe` below 500.
    WorkerProbed(WorkerId),
    /// Somebody asks what workers take of the machine.
    SampleWanted,
    /// The log is to say what its threads are doing.
    StacksWanted(WorkerId),
}

/// The size of every message of the relay, in bytes: version, kind (both u16), four reserved, the worker or pool (u64); in the machine's
/// byte order. Of `PoolUsed` the four are the pool, and the eight are busy and waiting (both u32).
pub const FROM_RELAY_LEN: usize = 16;

impl FromRelay {
    /// The message's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; FROM_RELAY_LEN] {
        let mut bytes = [0; FROM_RELAY_LEN];
        let (kind, subject) = match self {
            Self::WorkerAnswered(worker) => (1_u16, worker.0),
            Self::WorkerServed(worker) => (2, worker.0),
            Self::MaximumRequestsReached(worker) => (3, worker.0),
            Self::RequestTimedOut(worker) => (4, worker.0),
            Self::WorkerBroke(worker) => (5, worker.0),
            Self::WorkerDrained(worker) => (6, worker.0),
            Self::Drained => (7, 0),
            Self::LeaseReturned(worker) => (8, worker.0),
            Self::SlotWanted(pool) => (9, u64::from(pool.0)),
            Self::Serving => (10, 0),
            Self::ReplaceMe => (11, 0),
            Self::PoolChanged(pool) => (12, u64::from(pool.0)),
            Self::PoolUsed {
                pool,
                busy,
                waiting,
            } => {
                bytes[4..8].copy_from_slice(&pool.0.to_ne_bytes());
                (13, u64::from(busy) << 32 | u64::from(waiting))
            }
            Self::WorkerShed(worker) => (14, worker.0),
            Self::WorkerRecovered(worker) => (15, worker.0),
            Self::WorkerInactive(worker) => (16, worker.0),
            Self::PoolDrained(pool) => (18, u64::from(pool.0)),
            Self::WorkerProbed(worker) => (19, worker.0),
            Self::SampleWanted => (17, 0),
            Self::StacksWanted(worker) => (20, worker.0),
        };
        bytes[..2].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[8..].copy_from_slice(&subject.to_ne_bytes());
        bytes
    }

    /// The message in `bytes`; none when the size, version or kind is not ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FROM_RELAY_LEN] = bytes.try_into().ok()?;
        let (version, kind) = (
            u16::from_ne_bytes([bytes[0], bytes[1]]),
            u16::from_ne_bytes([bytes[2], bytes[3]]),
        );
        let subject = u64::from_ne_bytes(bytes[8..].try_into().ok()?);
        let worker = WorkerId(subject);
        if version != VERSION {
            return None;
        }
        Some(match kind {
            1 => Self::WorkerAnswered(worker),
            2 => Self::WorkerServed(worker),
            3 => Self::MaximumRequestsReached(worker),
            4 => Self::RequestTimedOut(worker),
            5 => Self::WorkerBroke(worker),
            6 => Self::WorkerDrained(worker),
            7 => Self::Drained,
            8 => Self::LeaseReturned(worker),
            9 => Self::SlotWanted(PoolId(u32::try_from(subject).ok()?)),
            10 => Self::Serving,
            11 => Self::ReplaceMe,
            12 => Self::PoolChanged(PoolId(u32::try_from(subject).ok()?)),
            13 => Self::PoolUsed {
                pool: PoolId(u32::from_ne_bytes(bytes[4..8].try_into().ok()?)),
                busy: u32::try_from(subject >> 32).ok()?,
                waiting: u32::try_from(subject & u64::from(u32::MAX)).ok()?,
            },
            14 => Self::WorkerShed(worker),
            15 => Self::WorkerRecovered(worker),
            16 => Self::WorkerInactive(worker),
            18 => Self::PoolDrained(PoolId(u32::try_from(subject).ok()?)),
            19 => Self::WorkerProbed(worker),
            17 => Self::SampleWanted,
            20 => Self::StacksWanted(worker),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
