//! What goes into and comes out of the dispatch machine.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::load::Scale;
use crate::{Limit, PoolState, Time, WorkerId};

/// A request, by its place in the relay's table and a serial number that tells it from earlier ones in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKey {
    /// The place; the machine keeps a table of its own by it, so places should be used again.
    pub index: u32,
    /// New for each request.
    pub serial: u32,
}

/// `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Never.
    Off,
    /// Only a request of which nothing was written to the worker.
    Unsent,
    /// Also an idempotent one whose whole body is still held.
    Idempotent,
}

/// The keys of a pool that dispatch needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `queue-limit`: requests that may wait; 0: none waits.
    pub queue_limit: u32,
    /// `queue-timeout`: for a slot.
    pub queue_timeout: Limit,
    /// `request-timeout`: from the hand-out to the response head; time spent waiting for the host's body not counted.
    pub request_timeout: Limit,
    /// `slow-request`: a request that has run this long is told of.
    pub slow_request: Limit,
    /// `response-timeout`: silence of the worker after the head, while there is room for its bytes.
    pub response_timeout: Limit,
    /// `total-timeout`: from the hand-out to the end of the response.
    pub total_timeout: Limit,
    /// `inactivity-timeout`: a worker that has had requests, and then none for this long, is told of.
    pub inactivity_timeout: Limit,
    /// `retry`.
    pub retry: Retry,
    /// `retry-limit`: replays of one request.
    pub retry_limit: u32,
    /// `upstream`: a worker is an address with processes of somebody else's behind it. That one of them takes too long, or does not
    /// speak FastCGI, is no reason to use the others no more.
    pub shared: bool,
    /// `interrupt-timeout` is set: a worker whose request timed out is not set aside, for it is interrupted, and its slot is free when
    /// it is done with the request. Whether that takes too long is supervision's to say.
    pub interrupts: bool,
    /// `scale`: supervision is told how the pool is used; none: the number of workers is fixed.
    pub scale: Option<Scale>,
}

/// Why nothing of a request was written to a worker (503, manual section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCause {
    /// `queue-limit` requests wait already.
    QueueLimit,
    /// No slot was free within `queue-timeout`.
    QueueTimeout,
    /// The pool is failing.
    PoolFailing,
    /// The pool is stopped.
    PoolStopped,
}

impl fmt::Display for RefusalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueLimit => "queue-limit",
            Self::QueueTimeout => "queue-timeout",
            Self::PoolFailing => "pool-failing",
            Self::PoolStopped => "pool-stopped",
        })
    }
}

/// Which time of a running request is over (504, or the response is cut).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutCause {
    /// No head within `request-timeout`.
    RequestTimeout,
    /// Silence for `response-timeout` after the head.
    ResponseTimeout,
    /// No end within `total-timeout`.
    TotalTimeout,
}

impl fmt::Display for TimeoutCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestTimeout => "request-timeout",
            Self::ResponseTimeout => "response-timeout",
            Self::TotalTimeout => "total-timeout",
        })
    }
}

/// What happened. Events about a request that has ended are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker may be given requests (again).
    WorkerOffered {
        /// The worker.
        worker: WorkerId,
        /// Requests at a time; 0: none, for it is a service.
        slots: u32,
        /// How many of them are another relay's, or nobody knows; of a worker that is new.
        leased: u32,
        /// Requests in its life, jitter applied; 0: no limit.
        maximum_requests: u64,
    },
    /// Slots of the worker that were leased are ours.
    LeaseReturned {
        /// The worker.
        worker: WorkerId,
        /// How many.
        slots: u32,
    },
    /// A relay that we took over from has a request that waits for a slot.
    SlotWanted,
    /// Another relay has taken over: it is given every slot that becomes free, and asked for one for each request that waits here.
    TakenOver,
    /// Another relay gave the worker so many requests.
    RequestsCounted {
        /// The worker.
        worker: WorkerId,
        /// How many.
        requests: u64,
    },
    /// The worker is to be given no more requests.
    WorkerRetired {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's time to finish is over: what it runs is answered for it.
    WorkerOverdue {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's process is gone. Its running requests end by their connections (`RequestFailed`, `RequestEnded`).
    WorkerGone {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker could not be reached (connection refused) or broke the protocol.
    WorkerBroke {
        /// The worker.
        worker: WorkerId,
    },
    /// Supervision has no need of so many workers: those that are idle are to go.
    PoolShed {
        /// How many.
        count: u32,
    },
    /// How the pool stands has changed.
    PoolReported {
        /// How it stands.
        state: PoolState,
    },
    /// A request's parameters are complete and well-formed.
    RequestArrived {
        /// The request; a new key.
        request: RequestKey,
        /// Its method is GET, HEAD, OPTIONS, PUT or DELETE.
        idempotent: bool,
    },
    /// The host has sent no more of the body, the worker has all of it, and more is to come.
    BodyAwaited {
        /// The request.
        request: RequestKey,
    },
    /// More of the body came, or its end.
    BodyResumed {
        /// The request.
        request: RequestKey,
    },
    /// The response head is complete: `request-timeout` is over.
    HeadReceived {
        /// The request.
        request: RequestKey,
    },
    /// The answer to `AskResponse`.
    ResponseHeard {
        /// The request.
        request: RequestKey,
        /// When the worker was heard last, or there was no room for its bytes last: what it may be silent for counts from here.
        at: Time,
    },
    /// The response is complete, or was cut after its head: the slot is free.
    RequestEnded {
        /// The request.
        request: RequestKey,
    },
    /// The worker's connection ended before a byte of the response.
    RequestFailed {
        /// The request.
        request: RequestKey,
        /// Something of it had been written to the worker.
        sent: bool,
        /// The whole body is still held (or there is none).
        held: bool,
    },
    /// The host went away. Queued: it leaves the queue. Running: its slot stays busy until `RequestEnded`.
    HostGone {
        /// The request.
        request: RequestKey,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Write the request to a free slot of this worker.
    HandOut {
        /// The request.
        request: RequestKey,
        /// The worker.
        worker: WorkerId,
    },
    /// Answer 503: nothing of it was ever written to a worker. The request has ended.
    Refuse {
        /// The request.
        request: RequestKey,
        /// Why.
        cause: RefusalCause,
        /// `Retry-After`, in seconds; at least 1.
        retry_after: u32,
    },
    /// Its time is over: answer 504, or cut the response if its head has gone out.
    TimeOut {
        /// The request.
        request: RequestKey,
        /// Which time.
        cause: TimeoutCause,
        /// The worker is to be interrupted: end our side of its connection, throw away what comes, and say `RequestEnded` when the
        /// worker is done. Else close its connection; the request has ended.
        interrupted: bool,
    },
    /// As far as is known here the worker has been silent for `response-timeout`: say `ResponseHeard` at once. So a response that goes on
    /// costs nothing here.
    AskResponse {
        /// The request.
        request: RequestKey,
    },
    /// The worker is overdue: answer 504, or cut the response if its head has gone out. The request has ended.
    CutOff {
        /// The request.
        request: RequestKey,
    },
    /// Answer 502: the worker died or broke the protocol before the head and it may not be replayed, or its replay found
    /// no slot in time. The request has ended.
    Fail {
        /// The request.
        request: RequestKey,
    },
    /// The replay of a request was decided (it waits before all new ones, or is handed out in the same breath): log and
    /// count it.
    NoteReplay {
        /// The request.
        request: RequestKey,
    },
    /// `slow-request`: say that it has run this long, and goes on. Once for each request.
    NoteSlow {
        /// The request.
        request: RequestKey,
    },
    /// Give a slot of this worker to the other relay; it is leased from here on.
    ReturnLease {
        /// The worker.
        worker: WorkerId,
    },
    /// Ask the relay that has taken over for a slot of any worker.
    AskForSlot,
    /// Tell supervision: this worker answered its first request.
    ReportServed {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: this worker has been given all the requests it may have; it is still given more until it is retired.
    ReportMaximumRequests {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: a request of this worker timed out. Once in its life; with `interrupts` each time.
    ReportTimedOut {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: every slot of this worker whose request had timed out is free again.
    ReportRecovered {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: this worker broke the protocol or cannot be reached.
    ReportBroken {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: so many workers were busy at once, and so many requests wait for want of one.
    ReportUsed {
        /// The most since the last window began.
        busy: u32,
        /// Requests.
        waiting: u32,
    },
    /// Tell supervision: this worker, which is idle, is given nothing more (after `PoolShed`).
    ReportShed {
        /// The worker.
        worker: WorkerId,
    },
    /// Tell supervision: this worker has had requests, and then none for `inactivity-timeout`.
    ReportInactive {
        /// The worker.
        worker: WorkerId,
    },
    /// The watchdog found requests waiting though this worker had a free slot, and has seen to it: log and count it. Cannot happen.
    NoteHealed {
        /// The worker.
        worker: WorkerId,
        /// Requests that waited.
        waiting: u32,
    },
    /// Tell supervision: this retired worker has no request left.
    ReportDrained {
        /// The worker.
        worker: WorkerId,
    },
}

/// How a pool's slots and queue stand: what a status page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Slots with a request (timed-out ones included while their worker lives), or another relay's.
    pub busy: u32,
    /// Slots that could take one.
    pub idle: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Since when the oldest of them waits.
    pub oldest: Option<Time>,
    /// How often the watchdog found a free slot that requests waited for.
    pub healed: u64,
}

/// How one worker stands: see [`Snapshot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFigures {
    /// Slots with a request, or another relay's.
    pub busy: u32,
    /// Requests it was given in its life.
    pub handed_out: u64,
}
