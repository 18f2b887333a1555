//! What goes into and comes out of the supervision machine.

use core::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Backoff, Generation, Limit, PoolId, PoolState, Time, WorkerId};

/// The keys of a pool that supervision needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `processes`, or `scale`: how many ready workers are wanted.
    pub scale: Scale,
    /// `threads`: how many requests a worker takes at a time; at least 1.
    pub threads: u32,
    /// `reload.surge`: workers above those wanted while a voluntary replacement is under way; at least 1.
    pub surge: u32,
    /// `startup-timeout`: launch to ready.
    pub startup_timeout: Limit,
    /// `graceful-timeout`: a retiring worker may finish for this long.
    pub graceful_timeout: Limit,
    /// `eviction-timeout`: the same on a reload.
    pub eviction_timeout: Limit,
    /// `shutdown-timeout`: from the stop-signal to KILL.
    pub shutdown_timeout: Duration,
    /// `stop-signal`: its number.
    pub stop_signal: i32,
    /// `restart-interval`: a worker that has been ready for this long, less a jitter, has had its day.
    pub restart_interval: Limit,
    /// `interrupt-timeout`: a worker whose request timed out is interrupted, and serves on if it comes back within this; zero: off.
    pub interrupt_timeout: Duration,
    /// `backoff-initial`, `backoff-maximum`.
    pub backoff: Backoff,
    /// `service`: a worker that has run this long is ready. It gets no requests that could show its health: that shows when it
    /// has been ready for ten times `backoff-initial`.
    pub ready_after: Option<Duration>,
    /// `preload`: workers are forked from a template, which has loaded the application.
    pub preload: bool,
    /// The pool's first worker starts alone, the others when it is ready: a mistake that all would make is told once. For somebody
    /// who waits at a terminal; a daemon starts all at once.
    pub first_alone: bool,
    /// `reload.watch`: somebody waits to see why it does not start. One failure is enough to be failing when nobody is ready.
    pub development: bool,
}

/// How many ready workers a pool is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// `minimum`: never fewer; 0: started when requests come.
    pub minimum: u32,
    /// `maximum`: never more; at least 1, and at least `minimum`.
    pub maximum: u32,
    /// `spare`: idle ones above those that are busy.
    pub spare: u32,
}

impl Scale {
    /// `processes`: always as many.
    #[must_use]
    pub const fn of(processes: u32) -> Self {
        Self {
            minimum: processes,
            maximum: processes,
            spare: 0,
        }
    }

    /// There is one number only, so nobody needs to tell how many are used.
    #[must_use]
    pub const fn is_static(self) -> bool {
        self.minimum == self.maximum
    }
}

/// Why a worker's life ended or is to end (manual, section 8: causes of exits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A reload, a stop or an operator asked for it.
    Requested,
    /// The pool needs fewer workers (`scale`).
    ScaledDown,
    /// `maximum-requests` was reached.
    MaximumRequests,
    /// `restart-interval` was reached.
    RestartInterval,
    /// `maximum-memory` was exceeded.
    MaximumMemory,
    /// `cpu-time-limit` was reached.
    CpuTimeLimit,
    /// It was idle for `inactivity-timeout`.
    Inactivity,
    /// A newer template is there to be forked, or it is to become that itself (`refork-after`).
    Refork,
    /// A request ran into `request-timeout`, `response-timeout` or `total-timeout`.
    RequestTimeout,
    /// Its interpreter's lock was not obtained for `deadlock-timeout`.
    Deadlock,
    /// It was not ready within `startup-timeout`.
    StartupTimeout,
    /// It broke the protocol or no longer took connections.
    ProtocolError,
    /// It exited by itself with this status.
    ExitCode(i32),
    /// This signal ended it, and not one of ours.
    Signal(i32),
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// It could not be launched.
    NotExecutable,
    /// Nobody was there to see it.
    Unknown,
}

impl Cause {
    /// Nothing was wrong with the worker: it was asked to go, or had its day.
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        matches!(self, Self::Requested | Self::ScaledDown) || self.is_wear()
    }

    /// A worker that serves is replaced for it, its replacement first, one at a time in a pool.
    #[must_use]
    pub const fn is_wear(self) -> bool {
        match self {
            Self::MaximumRequests
            | Self::RestartInterval
            | Self::MaximumMemory
            | Self::CpuTimeLimit
            | Self::Inactivity
            | Self::Refork => true,
            Self::Requested
            | Self::ScaledDown
            | Self::RequestTimeout
            | Self::Deadlock
            | Self::StartupTimeout
            | Self::ProtocolError
            | Self::ExitCode(_)
            | Self::Signal(_)
            | Self::OutOfMemory
            | Self::NotExecutable
            | Self::Unknown => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested",
            Self::ScaledDown => "scaled-down",
            Self::MaximumRequests => "maximum-requests",
            Self::RestartInterval => "restart-interval",
            Self::MaximumMemory => "maximum-memory",
            Self::CpuTimeLimit => "cpu-time-limit",
            Self::Inactivity => "inactivity",
            Self::Refork => "refork",
            Self::RequestTimeout => "request-timeout",
            Self::Deadlock => "deadlock",
            Self::StartupTimeout => "startup-timeout",
            Self::ProtocolError => "protocol-error",
            Self::ExitCode(_) => "exit-code",
            Self::Signal(_) => "signal",
            Self::OutOfMemory => "out-of-memory",
            Self::NotExecutable => "not-executable",
            Self::Unknown => "unknown",
        })
    }
}

/// How a process ended, as the kernel said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// `exit(status)`.
    Code(i32),
    /// Ended by a signal.
    Signal(i32),
    /// Ended by the kernel for want of memory.
    OutOfMemory,
}

impl From<Exit> for Cause {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(status) => Self::ExitCode(status),
            Exit::Signal(signal) => Self::Signal(signal),
            Exit::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pool was configured and its sockets are bound.
    PoolAdded {
        /// The pool; its number is new.
        pool: PoolId,
        /// Its keys.
        settings: Settings,
    },
    /// The configuration was read again: these are the pool's keys from its next generation on.
    PoolChanged {
        /// The pool.
        pool: PoolId,
        /// Its keys.
        settings: Settings,
    },
    /// The configuration was read again: these are the pool's keys from here on, for nothing in them needs new workers. Those that
    /// run keep the time-outs that they were started with.
    PoolAdjusted {
        /// The pool.
        pool: PoolId,
        /// Its keys.
        settings: Settings,
    },
    /// The configuration is without the pool: its workers are to finish within `eviction-timeout`. Ends with
    /// [`Action::ForgetPool`].
    PoolRemoved {
        /// The pool.
        pool: PoolId,
    },
    /// An operator stops the pool: its workers are to finish, and none is started until [`Event::PoolStarted`].
    PoolStopped {
        /// The pool.
        pool: PoolId,
    },
    /// An operator starts the pool that was stopped.
    PoolStarted {
        /// The pool.
        pool: PoolId,
    },
    /// An operator wants another scale, until the next reload.
    PoolScaled {
        /// The pool.
        pool: PoolId,
        /// How many workers.
        scale: Scale,
    },
    /// The relay tells how the pool is used. Only of pools whose scale is not static.
    PoolUsed {
        /// The pool.
        pool: PoolId,
        /// The most workers that were busy at once since the last report's window began.
        busy: u32,
        /// Requests that have waited for `scale.queue-wait`, or that wait where there is no worker at all.
        waiting: u32,
    },
    /// A new generation is asked for (`stockade reload`, HUP). During a reload: that one is given up for a newer.
    ReloadRequested {
        /// The pool.
        pool: PoolId,
    },
    /// The daemon is to stop gracefully (TERM, INT). A second time: same as [`Event::FastStopRequested`].
    StopRequested {
        /// The relay may drain until then.
        deadline: Time,
    },
    /// The daemon is to stop at once (QUIT).
    FastStopRequested,
    /// The relay has no request left and takes no more (after [`Action::DrainRelay`]).
    RelayDrained,
    /// The launcher became the worker: exec succeeded.
    WorkerLaunched {
        /// The worker.
        worker: WorkerId,
    },
    /// The launch failed and no process is left; the answer to [`Action::StartWorker`] instead of an exit.
    LaunchFailed {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker may be given requests: the adapter said so, or it answered the relay.
    WorkerReady {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker has answered its first request.
    WorkerServed {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker has had its day; it serves on until its replacement is ready.
    WorkerTired {
        /// The worker.
        worker: WorkerId,
        /// Of what; see [`Cause::is_wear`].
        cause: Cause,
    },
    /// The worker, which a template forked, has answered `refork-after` requests.
    WorkerSeasoned {
        /// The worker.
        worker: WorkerId,
    },
    /// The relay has taken the worker, which was idle, out of rotation (after [`Action::ShedWorkers`]).
    WorkerShed {
        /// The worker.
        worker: WorkerId,
    },
    /// A request of this worker took too long; the host has its 504, or a response that was cut. Its slot is given no
    /// more requests until it is free again.
    RequestTimedOut {
        /// The worker.
        worker: WorkerId,
    },
    /// Every slot of this worker whose request had timed out is free again.
    WorkerRecovered {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's interpreter has not answered for `deadlock-timeout`.
    WorkerDeadlocked {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker broke the protocol or does not take connections; it is given no more requests.
    WorkerBroke {
        /// The worker.
        worker: WorkerId,
    },
    /// A retiring worker has no request left (requests that timed out do not count).
    WorkerDrained {
        /// The worker.
        worker: WorkerId,
    },
    /// The process is gone and has been reaped. The only end of a worker that was launched.
    WorkerExited {
        /// The worker.
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
    },
}

/// What to do. Each names its object; one that fails comes back as an event. Part of the machine's state until it is
/// taken, hence serialisable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Launch a worker. Comes back as `WorkerLaunched` or `LaunchFailed`.
    StartWorker {
        /// Whose.
        pool: PoolId,
        /// Its new number.
        worker: WorkerId,
        /// The generation it belongs to.
        generation: Generation,
    },
    /// Launch a template of which workers are to be forked. It has a worker's number and a worker's life: comes back as
    /// `WorkerLaunched` or `LaunchFailed`, then `WorkerReady`.
    StartTemplate {
        /// Whose.
        pool: PoolId,
        /// Its new number.
        worker: WorkerId,
        /// The generation it belongs to.
        generation: Generation,
    },
    /// Have a worker that has no request left become a template. Comes back as `WorkerReady`, or it ends.
    MakeTemplate {
        /// The worker.
        worker: WorkerId,
    },
    /// Have a template that is ready fork a worker. Comes back as `WorkerLaunched` or `LaunchFailed`.
    ForkWorker {
        /// Whose.
        pool: PoolId,
        /// Its new number.
        worker: WorkerId,
        /// The generation it belongs to.
        generation: Generation,
        /// The template.
        template: WorkerId,
    },
    /// Let the relay give it requests.
    OfferWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// Interrupt the requests of this worker that timed out. Comes back as `WorkerRecovered`, or never.
    InterruptWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// Let the relay take up to so many idle workers out of rotation. Comes back as a `WorkerShed` each.
    ShedWorkers {
        /// The pool.
        pool: PoolId,
        /// How many, at least 1.
        count: u32,
    },
    /// Let the relay give it no more requests, and say `WorkerDrained` when it has none.
    RetireWorker {
        /// The worker.
        worker: WorkerId,
        /// Why.
        cause: Cause,
    },
    /// Send the stop-signal to its process group. `overdue`: it still has requests: its time to finish is over.
    StopWorker {
        /// The worker.
        worker: WorkerId,
        /// Why.
        cause: Cause,
        /// `graceful-timeout` or `eviction-timeout` ended it; the relay answers its requests with 504 first.
        overdue: bool,
    },
    /// Send KILL to its process group.
    KillWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker is gone: forget its socket and its pipes, log the cause.
    ForgetWorker {
        /// Whose.
        pool: PoolId,
        /// The worker.
        worker: WorkerId,
        /// Why it ended: ours if we ended it, else what the kernel said. A signal that is not ours, or the want of memory, is told
        /// whatever the worker had been told before.
        cause: Cause,
        /// Whether it ended before its first request and nobody had asked for its end.
        failed: bool,
        /// When the next one is started is put off by this much (0: at once or not at all).
        backoff: Duration,
    },
    /// How the pool stands has changed.
    ReportPool {
        /// The pool.
        pool: PoolId,
        /// How it stands.
        state: PoolState,
    },
    /// The new generation serves alone; every older worker has been retired.
    FinishReload {
        /// The pool.
        pool: PoolId,
        /// The generation that serves.
        generation: Generation,
    },
    /// The new generation did not come up; the old one goes on. New generations are numbered on.
    AbandonReload {
        /// The pool.
        pool: PoolId,
        /// The generation that was given up.
        generation: Generation,
        /// What its worker died of; [`Cause::Requested`]: its pool was stopped or removed before.
        cause: Cause,
    },
    /// The last worker of a pool that was removed is gone: its number is nobody's from here on.
    ForgetPool {
        /// The pool.
        pool: PoolId,
    },
    /// Stop accepting; answer what is queued and running; say `RelayDrained`.
    DrainRelay,
    /// Every worker is gone, but for those that hang in the kernel and that KILL does not end, and the daemon is to end. Nothing follows.
    Finish,
}
