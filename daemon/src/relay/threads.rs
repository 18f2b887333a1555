//! The relay's threads: one for the control socket and the workers' pipes, the others for pools, each a runtime of its own.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, thread, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use stockade_policy::{PoolId, WorkerId};
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::{self, JoinSet, LocalSet},
};

use super::{
    http, listener,
    output::{self, LastLines},
    pool_thread::{PoolThread, ToPool},
    status::Observer,
};
use crate::{
    config::resolved::LogLevel,
    control::{Channel, ChannelError, FromRelay, MAX_MESSAGE, ToRelay},
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
    let mut relay = Relay::default();
    for number in 0..threads.max(1) {
        relay.start_thread(number, report.clone(), all_drained.clone())?;
    }
    let observer = Observer::new(relay.threads.clone(), uptime);
    for listener in status_listener {
        task::spawn_local(http::serve(listener, observer.clone()));
    }
    let mut waits_for = None;
    loop {
        if waits_for == Some(0) {
            waits_for = None;
            drop(control.send(&FromRelay::Drained.encode(), &[]).await);
        }
        tokio::select! {
            message = receive(&control, &mut buffer) => {
                match message {
                    Ok((ToRelay::Drain, _)) => {
                        waits_for = Some(relay.listening);
                        relay.draining.send_replace(true);
                    }
                    Ok((ToRelay::StatusAsked, connections)) => {
                        for connection in connections {
                            task::spawn_local(observer.clone().answer(connection));
                        }
                    }
                    Ok((message, descriptors)) => relay.take(message, descriptors)?,
                    // the supervisor ended us by ending its side
                    Err(RelayError::Control(ChannelError::Closed)) => {
                        relay.end().await;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            // a supervisor that does not listen has ended, which the next read tells
            Some(message) = reports.recv() => drop(control.send(&message.encode(), &[]).await),
            Some(()) = drained.recv() => waits_for = waits_for.map(|left: usize| left.saturating_sub(1)),
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

#[derive(Default)]
struct Relay {
    threads: Vec<mpsc::UnboundedSender<ToPool>>,
    /// Which thread a pool lives on.
    pools: BTreeMap<PoolId, (usize, String)>,
    /// How many of them listen, and so have something to drain.
    listening: usize,
    draining: watch::Sender<bool>,
    /// What reads workers' pipes.
    outputs: JoinSet<()>,
}

impl Relay {
    fn start_thread(
        &mut self,
        number: usize,
        report: mpsc::UnboundedSender<FromRelay>,
        all_drained: mpsc::UnboundedSender<()>,
    ) -> Result<(), RelayError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let draining = self.draining.subscribe();
        thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                let thread = PoolThread::new(report, all_drained, draining);
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
        self.threads.push(sender);
        Ok(())
    }

    fn take(&mut self, message: ToRelay, descriptors: Vec<OwnedFd>) -> Result<(), RelayError> {
        let pool = match &message {
            ToRelay::PoolAdded(plan) => {
                let thread = self.pools.len() % self.threads.len().max(1);
                self.pools.insert(plan.pool, (thread, plan.name.clone()));
                self.listening += usize::from(!descriptors.is_empty());
                let seed = getrandom::u64().map_err(|error| RelayError::System {
                    step: "get randomness",
                    source: io::Error::other(error),
                })?;
                self.tell(
                    plan.pool,
                    ToPool::Added {
                        plan: plan.clone(),
                        seed,
                        listeners: descriptors,
                    },
                );
                return Ok(());
            }
            ToRelay::WorkerLaunched {
                pool, worker, pid, ..
            } => {
                let pool = *pool;
                let lines = self.read_output(pool, *worker, *pid, descriptors);
                self.tell(pool, ToPool::Launched(pool, message, lines));
                return Ok(());
            }
            ToRelay::AccessLogOpened { pool } => {
                for file in descriptors {
                    self.tell(*pool, ToPool::AccessLog(*pool, file));
                }
                return Ok(());
            }
            ToRelay::PoolChanged(plan) => plan.pool,
            ToRelay::PoolReported { pool, .. }
            | ToRelay::PoolCounted { pool, .. }
            | ToRelay::WorkerOffered { pool, .. }
            | ToRelay::WorkerRetired { pool, .. }
            | ToRelay::WorkerOverdue { pool, .. }
            | ToRelay::WorkerGone { pool, .. }
            | ToRelay::WorkerBuried { pool, .. } => *pool,
            ToRelay::Begin { .. } | ToRelay::StatusAsked | ToRelay::Drain => return Ok(()),
        };
        self.tell(pool, ToPool::Told(pool, message));
        Ok(())
    }

    fn tell(&self, pool: PoolId, message: ToPool) {
        let thread = self
            .pools
            .get(&pool)
            .and_then(|(thread, _)| self.threads.get(*thread));
        if thread.is_none_or(|thread| thread.send(message).is_err()) {
            tracing::error!("relay: pool {pool} has no thread");
        }
    }

    fn read_output(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        pid: i32,
        descriptors: Vec<OwnedFd>,
    ) -> LastLines {
        let lines = LastLines::default();
        while self.outputs.try_join_next().is_some() {}
        let name = self
            .pools
            .get(&pool)
            .map_or_else(|| pool.to_string(), |(_, name)| name.clone());
        for (pipe, stream) in descriptors.into_iter().zip(["stdout", "stderr"]) {
            let worker = format!("worker {worker} (pid {pid})");
            let last = lines.clone();
            self.outputs
                .spawn_local(output::run(name.clone(), worker, stream, pipe, last));
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
