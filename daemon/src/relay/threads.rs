//! The relay's threads: one for the control socket and the workers' pipes, the others for pools, each a runtime of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use stockade_policy::{PoolId, WorkerId};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinSet, LocalSet},
};

use super::{
    failures,
    listener::{self, Accepting},
    output::{LastLines, Output},
    pool_thread::{PoolThread, ToPool},
    stacks::Questions,
    status::Observer,
    succession::{self, Incoming, Outgoing},
};
use crate::{
    config::resolved::LogLevel,
    control::{
        Channel, ChannelError, FromRelay, MAX_MESSAGE, ToRelay,
        relay::{PoolPlan, Told},
    },
    descriptor::own,
    log,
};

/// Where the launcher put the control socket.
const CONTROL: &str = "STOCKADE_CONTROL_FD";

/// Threads beside each of ours that write and read bodies in files.
const DISK_THREADS: usize = 4;
/// How long workers' pipes are read after the supervisor has gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the relay cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error(
        "could not take the control socket: {CONTROL} is not set; the relay is started by `stockade serve`"
    )]
    NoControl,
    #[error("could not {step}: {source}")]
    System {
        step: &'static str,
        source: io::Error,
    },
    #[error("could not read the control socket: {0}")]
    Control(#[from] ChannelError),
    #[error("could not read the supervisor's message: {0}")]
    Message(#[from] serde_json::Error),
    #[error(
        "could not begin: the supervisor's first message was not `begin` of version {}",
        crate::control::relay::VERSION
    )]
    NoBeginning,
}

/// Runs the relay until it has drained or the supervisor is gone.
pub(super) fn run() -> Result<(), RelayError> {
    let runtime = single_threaded()?;
    LocalSet::new().block_on(&runtime, serve())
}

fn single_threaded() -> Result<runtime::Runtime, RelayError> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(DISK_THREADS)
        .build()
        .map_err(|source| RelayError::System {
            step: "make a runtime",
            source,
        })
}

async fn serve() -> Result<(), RelayError> {
    // from the first moment on: without it the signal would end us
    let mut hangup = signal(SignalKind::hangup()).map_err(|source| RelayError::System {
        step: "take the signals",
        source,
    })?;
    let control = Channel::new(take_control()?).map_err(|source| RelayError::System {
        step: "register the control socket",
        source,
    })?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (message, status_listener) = receive(&control, &mut buffer).await?;
    let (threads, log_level, uptime) = beginning(&message)?;
    let _log = log::start(log_level);
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!("relay: could not raise the limit of descriptors: {error}");
    }
    let (report, mut reports) = mpsc::unbounded_channel();
    let (all_drained, mut drained) = mpsc::unbounded_channel();
    let mut relay = Relay::start(threads, uptime, status_listener, &report, &all_drained)?;
    loop {
        tokio::select! {
            message = receive(&control, &mut buffer) => match message {
                Ok((message, descriptors)) => relay.take(message, descriptors).await?,
                // the supervisor ended us by ending its side
                Err(RelayError::Control(ChannelError::Closed)) => {
                    relay.end().await;
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
            // a supervisor that does not listen has ended, which the next read tells
            Some(message) = reports.recv() => drop(control.send(&message.encode(), &[]).await),
            Some(pool) = drained.recv() => relay.pool_drained(pool),
            _ = hangup.recv() => relay.say(FromRelay::ReplaceMe),
            heard = relay.incoming.next() => relay.heard(heard),
            () = succession::handed_over(&mut relay.outgoing) => {
                relay.farewell().await;
                while let Ok(message) = reports.try_recv() {
                    drop(control.send(&message.encode(), &[]).await);
                }
                return Ok(());
            }
        }
    }
}

/// How to run: the supervisor's first message.
fn beginning(message: &ToRelay) -> Result<(usize, LogLevel, Duration), RelayError> {
    match message {
        ToRelay::Begin {
            version: crate::control::relay::VERSION,
            threads,
            log_level,
            uptime,
        } => Ok((*threads, *log_level, *uptime)),
        _ => Err(RelayError::NoBeginning),
    }
}

/// Each request takes two descriptors, and nothing is gained by a soft limit. Workers have the launcher's.
fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    listener::leave_room(most);
    Ok(())
}

async fn receive(
    control: &Channel,
    buffer: &mut [u8],
) -> Result<(ToRelay, Vec<OwnedFd>), RelayError> {
    let (length, descriptors) = control.receive(buffer).await?;
    Ok((serde_json::from_slice(&buffer[..length])?, descriptors))
}

fn take_control() -> Result<OwnedFd, RelayError> {
    let raw = std::env::var(CONTROL)
        .ok()
        .and_then(|number| number.parse().ok())
        .ok_or(RelayError::NoControl)?;
    // the launcher made it for us, and nothing else in the process knows it
    Ok(own(raw))
}

/// The relay's process, on the thread of the control socket.
pub(super) struct Relay {
    pub(super) threads: Vec<mpsc::UnboundedSender<ToPool>>,
    /// Which thread a pool lives on.
    pub(super) pools: BTreeMap<PoolId, (usize, String)>,
    /// Those that listen and have not drained.
    listening: BTreeSet<PoolId>,
    /// Those that are to go, and have not drained.
    closing: BTreeSet<PoolId>,
    /// The daemon stops.
    draining: bool,
    pub(super) accepting: watch::Sender<Accepting>,
    /// What reads workers' pipes, and what stops it.
    pub(super) outputs: JoinSet<Option<Output>>,
    pub(super) stop_reading: watch::Sender<bool>,
    pub(super) observer: Observer,
    /// Answers to operators that are under way.
    pub(super) answers: JoinSet<()>,
    questions: Questions,
    report: mpsc::UnboundedSender<FromRelay>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Option<Outgoing>,
}

impl Relay {
    fn start(
        threads: usize,
        uptime: Duration,
        status: Vec<OwnedFd>,
        report: &mpsc::UnboundedSender<FromRelay>,
        all_drained: &mpsc::UnboundedSender<PoolId>,
    ) -> Result<Self, RelayError> {
        let accepting = watch::Sender::new(Accepting::NotYet);
        let mut senders = Vec::new();
        for number in 0..threads.max(1) {
            let accepting = accepting.subscribe();
            senders.push(start_thread(
                number,
                report.clone(),
                all_drained.clone(),
                accepting,
            )?);
        }
        Ok(Self {
            observer: Observer::new(senders.clone(), uptime, report.clone()),
            threads: senders,
            pools: BTreeMap::new(),
            listening: BTreeSet::new(),
            closing: BTreeSet::new(),
            draining: false,
            accepting,
            outputs: JoinSet::new(),
            stop_reading: watch::Sender::new(false),
            answers: JoinSet::new(),
            questions: Questions::default(),
            report: report.clone(),
            incoming: Incoming::new(status),
            outgoing: None,
        })
    }

    /// Says something to the supervisor.
    pub(super) fn say(&self, message: FromRelay) {
        // who takes it is our own loop, which has its end as long as we are here
        self.report.send(message).unwrap_or_default();
    }

    fn drain(&mut self) {
        if self.outgoing.is_some() {
            for thread in &self.threads {
                // a thread that has ended has no hosts
                drop(thread.send(ToPool::Drain));
            }
            return;
        }
        self.draining = true;
        self.accepting.send_replace(Accepting::Draining);
        self.say_if_drained();
    }

    fn pool_drained(&mut self, pool: PoolId) {
        if self.closing.remove(&pool) {
            self.say(FromRelay::PoolDrained(pool));
        }
        if self.listening.remove(&pool) {
            self.say_if_drained();
        }
    }

    fn say_if_drained(&mut self) {
        if self.draining && self.listening.is_empty() {
            self.draining = false;
            self.say(FromRelay::Drained);
        }
    }

    /// The pool is gone from here on.
    fn remove(&mut self, pool: PoolId) {
        self.tell(pool, ToPool::Removed(pool));
        self.pools.remove(&pool);
        self.closing.remove(&pool);
        if self.listening.remove(&pool) {
            self.say_if_drained();
        }
    }

    async fn take(
        &mut self,
        message: ToRelay,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), RelayError> {
        match message {
            ToRelay::PoolAdded(plan) => self.add_pool(plan)?,
            ToRelay::PoolRemoved { pool } => self.remove(pool),
            ToRelay::Serve { awaits } => self.serve(awaits, descriptors)?,
            ToRelay::HandOver => self.hand_over(descriptors).await?,
            ToRelay::FailureTold { lines } => self.tell_failure(&lines, descriptors),
            ToRelay::WorkersSampled { samples, whole } => self.observer.sampled(samples, whole),
            ToRelay::StatusAsked => self.asked(descriptors),
            ToRelay::Stacks(question) => {
                if let Some(complete) = self.questions.told(question, descriptors) {
                    while self.answers.try_join_next().is_some() {}
                    let threads = self.threads.clone();
                    self.answers.spawn_local(complete.answer(threads));
                }
            }
            ToRelay::Drain => self.drain(),
            ToRelay::LogLevelSet { log_level } => log::set_level(log_level),
            ToRelay::Begin { .. } => {}
            about_pool => self.pass_on(about_pool, descriptors),
        }
        Ok(())
    }

    /// What is said of a pool goes to its thread.
    fn pass_on(&mut self, message: ToRelay, descriptors: Vec<OwnedFd>) {
        let Some(pool) = message.pool() else {
            return;
        };
        let told = match message {
            ToRelay::PoolListens { .. } => {
                if !descriptors.is_empty() {
                    self.listening.insert(pool);
                }
                ToPool::Listens(pool, message, descriptors)
            }
            ToRelay::WorkerLaunched { worker, pid, .. } => {
                let lines = self.read_output(pool, worker, pid, descriptors);
                ToPool::Launched(pool, message, lines)
            }
            ToRelay::AccessLogOpened { .. } => {
                for file in descriptors {
                    self.tell(pool, ToPool::AccessLog(pool, file));
                }
                return;
            }
            ToRelay::PoolClosing { .. } => {
                self.closing.insert(pool);
                ToPool::Told(pool, message)
            }
            _ => ToPool::Told(pool, message),
        };
        self.tell(pool, told);
    }

    fn tell_failure(&mut self, lines: &[Told], connections: Vec<OwnedFd>) {
        while self.answers.try_join_next().is_some() {}
        for connection in connections {
            let threads = self.threads.clone();
            self.answers
                .spawn_local(failures::tell(threads, lines.to_vec(), connection));
        }
    }

    fn add_pool(&mut self, plan: PoolPlan) -> Result<(), RelayError> {
        let thread = self.pools.len() % self.threads.len().max(1);
        self.pools.insert(plan.pool, (thread, plan.name.clone()));
        let seed = getrandom::u64().map_err(|error| RelayError::System {
            step: "get randomness",
            source: io::Error::other(error),
        })?;
        self.tell(plan.pool, ToPool::Added { plan, seed });
        Ok(())
    }

    pub(super) fn tell(&self, pool: PoolId, message: ToPool) {
        let thread = self
            .pools
            .get(&pool)
            .and_then(|(thread, _)| self.threads.get(*thread));
        if thread.is_none_or(|thread| thread.send(message).is_err()) {
            // a relay that was replaced may know a pool that was removed
            tracing::debug!("relay: pool {pool} has no thread");
        }
    }

    fn read_output(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        pid: i32,
        descriptors: Vec<OwnedFd>,
    ) -> LastLines {
        let lines = LastLines::from_pipes(descriptors.len());
        for (stream, pipe) in descriptors.into_iter().enumerate() {
            self.read(Output {
                pool,
                pool_name: self.pool_name(pool),
                worker,
                title: format!("worker {worker} (pid {pid})"),
                stream,
                pipe,
                pending: Vec::new(),
                last: lines.clone(),
            });
        }
        lines
    }

    /// The supervisor is gone, and so are the workers, or soon: what is not complete is cut, and their last words are logged.
    async fn end(&mut self) {
        let (done, mut all_done) = mpsc::unbounded_channel();
        for thread in &self.threads {
            if thread.send(ToPool::CutAll(done.clone())).is_err() {
                tracing::debug!("relay: a thread has ended before the relay");
            }
        }
        drop(done);
        let all = async {
            while all_done.recv().await.is_some() {}
            while self.outputs.join_next().await.is_some() {}
        };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::info!("relay: some worker's output is still open");
        }
    }
}

fn start_thread(
    number: usize,
    report: mpsc::UnboundedSender<FromRelay>,
    all_drained: mpsc::UnboundedSender<PoolId>,
    accepting: watch::Receiver<Accepting>,
) -> Result<mpsc::UnboundedSender<ToPool>, RelayError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new()
        .name(format!("relay-{number}"))
        .spawn(move || {
            let thread = PoolThread::new(report, all_drained, accepting);
            // a runtime may not be dropped inside another: it is made where it runs
            match single_threaded() {
                Ok(runtime) => LocalSet::new().block_on(&runtime, thread.run(receiver)),
                Err(error) => tracing::error!("relay: {error}"),
            }
        })
        .map_err(|source| RelayError::System {
            step: "start a thread",
            source,
        })?;
    Ok(sender)
}
