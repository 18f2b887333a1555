//! Tells what the threads of workers are doing: reads what they write about it, which the supervisor never does, and answers the operator who
//! has asked, or has the pool write it to the log.
//!
//! A worker has [`PATIENCE`] to write, and is read so far; of one that has written nothing the kernel's view is told.

use std::{
    collections::BTreeMap, os::fd::OwnedFd, os::unix::net::UnixStream as StdUnixStream,
    time::Duration,
};

use stockade_policy::{PoolId, WorkerId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixStream, unix::pipe},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{pool_thread::ToPool, reading::Reading, status};
use crate::control::{
    admin::Answer,
    stacks::{About, Question, Source, Thread, WorkerStacks},
    status::CurrentRequest,
};

/// How long a worker may take. It tries for a second to get its interpreter's lock.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel's view of a silent one is waited for behind that, and who asked may take to read.
const A_MOMENT: Duration = Duration::from_secs(1);
/// What is read of one worker.
const MOST: u64 = 256 * 1024;

/// Questions that are not told completely, or not answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    coming: BTreeMap<u64, Vec<Asked>>,
    /// Where the kernel's view of a worker goes.
    looks: BTreeMap<(u64, WorkerId), oneshot::Sender<Vec<Thread>>>,
}

/// A worker that is asked about.
#[derive(Debug)]
struct Asked {
    pool: PoolId,
    name: String,
    worker: WorkerId,
    pid: i32,
    why: Option<String>,
    pipe: Option<OwnedFd>,
    threads: oneshot::Receiver<Vec<Thread>>,
}

/// A question that is to be answered.
#[derive(Debug)]
pub(super) struct Complete {
    workers: Vec<Asked>,
    /// None: for the log.
    connection: Option<OwnedFd>,
}

impl Questions {
    /// The supervisor says something of one; if it is to be answered now, what to do.
    pub(super) fn told(
        &mut self,
        question: Question,
        mut descriptors: Vec<OwnedFd>,
    ) -> Option<Complete> {
        let number = question.number;
        match question.about {
            About::Worker {
                pool,
                name,
                worker,
                pid,
                why,
            } => {
                let (look, threads) = oneshot::channel();
                self.looks.retain(|_, look| !look.is_closed());
                self.looks.insert((number, worker), look);
                self.coming.entry(number).or_default().push(Asked {
                    pool,
                    name,
                    worker,
                    pid,
                    why,
                    pipe: descriptors.pop(),
                    threads,
                });
                None
            }
            About::Seen { worker, threads } => {
                if let Some(look) = self.looks.remove(&(number, worker)) {
                    // it was answered without
                    drop(look.send(threads));
                }
                None
            }
            About::Answer => Some(Complete {
                workers: self.coming.remove(&number).unwrap_or_default(),
                connection: descriptors.pop(),
            }),
        }
    }
}

impl Complete {
    /// Answers.
    pub(super) async fn answer(self, threads: Vec<mpsc::UnboundedSender<ToPool>>) {
        let Self {
            workers,
            connection,
        } = self;
        let readings = status::read(&threads).await;
        let pools: Vec<PoolId> = workers.iter().map(|asked| asked.pool).collect();
        // all at the same time
        let mut telling = tokio::task::JoinSet::new();
        for (place, asked) in workers.into_iter().enumerate() {
            let requests = requests_of(&readings, asked.worker);
            telling.spawn_local(async move { (place, asked.tell(requests).await) });
        }
        let mut told = telling.join_all().await;
        told.sort_by_key(|(place, _)| *place);
        let workers = told.into_iter().map(|(_, told)| told);
        match connection {
            Some(connection) => say(connection, workers.collect()).await,
            None => {
                for (pool, told) in pools.into_iter().zip(workers) {
                    for thread in &threads {
                        // a thread that has ended has no pools
                        drop(thread.send(ToPool::Stacks(pool, told.clone())));
                    }
                }
            }
        }
    }
}

impl Asked {
    async fn tell(self, requests: Vec<CurrentRequest>) -> WorkerStacks {
        let mut written = Vec::new();
        if let Some(pipe) = self.pipe {
            read(pipe, &mut written).await;
        }
        let mut told = WorkerStacks {
            pool: self.name,
            worker: self.worker,
            pid: self.pid,
            requests,
            source: Source::Kernel,
            text: String::new(),
            why: None,
            threads: Vec::new(),
        };
        if written.is_empty() {
            let silent = || "it does not answer".to_owned();
            told.why = Some(self.why.unwrap_or_else(silent));
            let seen = timeout(A_MOMENT, self.threads).await;
            told.threads = seen.ok().and_then(Result::ok).unwrap_or_default();
        } else {
            (told.source, told.text) = Source::of(&written);
        }
        told
    }
}

/// What comes until its end, or so much of it, or for so long.
async fn read(pipe: OwnedFd, written: &mut Vec<u8>) {
    let pipe = match pipe::Receiver::from_owned_fd(pipe) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::warn!("relay: could not register a pipe for stacks: {error}");
            return;
        }
    };
    // what has come by then is told
    drop(timeout(PATIENCE, pipe.take(MOST).read_to_end(written)).await);
}

fn requests_of(readings: &[Reading], worker: WorkerId) -> Vec<CurrentRequest> {
    let mut workers = readings.iter().flat_map(|reading| &reading.status.workers);
    let known = workers.find(|known| known.id == worker && known.address.is_none());
    known.map_or_else(Vec::new, |known| known.current.clone())
}

async fn say(connection: OwnedFd, workers: Vec<WorkerStacks>) {
    let Ok(mut line) = serde_json::to_vec(&Answer::Stacks { workers }) else {
        return;
    };
    line.push(b'\n');
    let Ok(mut connection) = UnixStream::from_std(StdUnixStream::from(connection)) else {
        return;
    };
    // who asked may have gone
    drop(timeout(A_MOMENT, connection.write_all(&line)).await);
}
