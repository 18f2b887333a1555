//! What the threads of workers are doing (`stockade stacks`, and for the log when a request is slow or its time is over): a worker that
//! cooperates is given the end of a pipe to write it to, and the relay the other end, and the connection to answer on. What is written is not
//! read here; what the kernel says of the threads (`threads`) is told to the relay besides.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{errno::Errno, fcntl::OFlag, unistd::pipe2};
use stockade_policy::{Time, WorkerId};

use super::{
    admin::Asked,
    relay_life::RelayNumber,
    shell::Shell,
    threads::{self, Subject},
    workers::Worker,
};
use crate::{
    config::resolved::Kind,
    control::{
        ChannelError, ToRelay,
        admin::Answer,
        stacks::{About, Question, Thread},
        worker::ToWorker,
    },
};

/// Workers in one answer.
const MOST: usize = 100;
/// Looks at threads at a time: one that hangs is not to bring more and more.
const LOOKS: u32 = 4;
/// A relay has a worker asked once in this time at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Questions that were asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    number: u64,
    /// Looks that are under way.
    looks: u32,
    /// When a relay has had a worker asked last.
    last: BTreeMap<WorkerId, Time>,
}

/// What was seen of a worker's threads, and whom to tell; at last nothing.
#[derive(Debug)]
pub(super) struct Seen {
    relay: RelayNumber,
    number: u64,
    seen: Option<(WorkerId, Vec<Thread>)>,
}

impl Shell {
    /// `stockade stacks`.
    pub(super) fn stacks_asked(&mut self, of: &str, asked: Asked) {
        let failed = |code, line: String| Answer::Failed {
            code,
            lines: vec![line],
        };
        let answer = match (self.workers_of(of), self.relay.listener()) {
            (Err(line), _) => failed(1, line),
            (Ok(_), None) => failed(75, "the relay is being started again: try again".to_owned()),
            (Ok(workers), Some(relay)) => {
                return self.ask_stacks(relay, &workers, Some(asked.connection));
            }
        };
        // who asked may have gone
        drop(asked.reply.send(answer));
    }

    /// A relay tells the log what a worker is doing.
    pub(super) fn stacks_wanted(&mut self, from: RelayNumber, worker: WorkerId) {
        let now = self.clock.now();
        let last = &mut self.questions.last;
        last.retain(|_, at| now.since(*at) < PAUSE);
        if self.workers.contains_key(&worker) && last.insert(worker, now).is_none() {
            self.ask_stacks(from, &[worker], None);
        }
    }

    /// A worker seems to hang: the log is to say in what.
    pub(super) fn log_stacks(&mut self, worker: WorkerId) {
        if let Some(relay) = self.relay.listener() {
            self.stacks_wanted(relay, worker);
        }
    }

    /// What was seen of threads goes to who has asked.
    pub(super) fn threads_seen(&mut self, seen: Seen) {
        let Some((worker, threads)) = seen.seen else {
            self.questions.looks = self.questions.looks.saturating_sub(1);
            return;
        };
        let about = About::Seen { worker, threads };
        self.tell_question(seen.relay, seen.number, about, Vec::new());
    }

    fn ask_stacks(
        &mut self,
        relay: RelayNumber,
        workers: &[WorkerId],
        connection: Option<OwnedFd>,
    ) {
        self.questions.number += 1;
        let number = self.questions.number;
        let mut subjects = Vec::new();
        let mut asked = Vec::new();
        for known in workers.iter().filter_map(|it| self.workers.get(it)) {
            let description = &known.description;
            let told = known.ask_stacks();
            let (why, pipe) = match told {
                Ok(pipe) => (None, vec![Arc::new(pipe)]),
                Err(why) => (Some(why), Vec::new()),
            };
            let about = About::Worker {
                pool: description.pool,
                name: description.pool_name.clone(),
                worker: description.worker,
                pid: description.pid,
                why,
            };
            asked.push((about, pipe));
            if known.process.is_some() {
                subjects.extend(Subject::new(description.worker, description.pid));
            }
        }
        for (about, pipe) in asked {
            self.tell_question(relay, number, about, pipe);
        }
        let connection = connection.into_iter().map(Arc::new).collect();
        self.tell_question(relay, number, About::Answer, connection);
        self.look_at_threads(relay, number, subjects);
    }

    fn look_at_threads(&mut self, relay: RelayNumber, number: u64, subjects: Vec<Subject>) {
        if self.questions.looks == LOOKS {
            tracing::debug!("threads are not looked at: those who do are stuck");
            return;
        }
        let say = move |seen| Seen {
            relay,
            number,
            seen,
        };
        match threads::look(subjects, self.senders.threads(), say) {
            Ok(()) => self.questions.looks += 1,
            Err(error) => tracing::warn!("could not look at threads: {error}"),
        }
    }

    fn tell_question(
        &mut self,
        relay: RelayNumber,
        number: u64,
        about: About,
        descriptors: Vec<Arc<OwnedFd>>,
    ) {
        let message = ToRelay::Stacks(Question { number, about });
        self.relay.hand_one(relay, &message, descriptors);
    }

    /// The workers of the pool of this name, or the worker of this number, or of this process; else why there are none.
    fn workers_of(&self, of: &str) -> Result<Vec<WorkerId>, String> {
        let Some(pool) = self.known(of) else {
            let worker = self.worker_of(of).ok_or_else(|| {
                let pools = self.no_pool(of);
                if of.parse::<u64>().is_ok() {
                    format!("there is no worker {of}, by its number or process: see `stockade status`; {pools}")
                } else {
                    pools
                }
            });
            return worker.map(|worker| vec![worker]);
        };
        if (self.pools.get(&pool)).is_some_and(|record| record.kind() == Kind::Upstream) {
            return Err(format!(
                "pool {of}: its processes are somebody else's (`upstream`): ask for their stacks there"
            ));
        }
        let workers = self.workers.values().filter(|known| {
            let description = &known.description;
            let is_there = description.launched && known.process.is_some();
            // a template that can be forked is at nothing; it can be asked for by its number
            is_there && description.pool == pool && !description.template
        });
        let workers: Vec<WorkerId> = workers.map(|known| known.description.worker).collect();
        match workers.len() {
            0 => Err(format!("pool {of}: it has no worker at present")),
            1..=MOST => Ok(workers),
            count => Err(format!(
                "pool {of}: it has {count} workers, and {MOST} can be told of at a time: ask for one by its number"
            )),
        }
    }

    fn worker_of(&self, number: &str) -> Option<WorkerId> {
        let by_number = number.parse().ok().map(WorkerId);
        let known = by_number.filter(|worker| self.workers.contains_key(worker));
        let pid: i32 = number.parse().ok()?;
        let mut workers = self.workers.values();
        known.or_else(|| {
            let found = workers.find(|it| it.process.is_some() && it.description.pid == pid);
            found.map(|known| known.description.worker)
        })
    }
}

impl Worker {
    /// Has it write what its threads are doing: where that can be read; or why it is not asked.
    fn ask_stacks(&self) -> Result<OwnedFd, String> {
        if !self.is_python() {
            return Err("its program is not Python".to_owned());
        }
        if self.description.template {
            return Err("it is a template, which answers nobody".to_owned());
        }
        // the end that we give away waits for room, as any language's programs expect
        let (read, write) = pipe2(OFlag::O_CLOEXEC)
            .map_err(|errno| format!("no pipe could be made: {}", errno.desc()))?;
        let message = ToWorker::Stacks.encode();
        match self.control.try_send(&message, &[write.as_fd()]) {
            Ok(()) => Ok(read),
            Err(ChannelError::Io(error)) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => {
                Err("it has not heard what it was told before".to_owned())
            }
            Err(error) => Err(format!("it could not be asked: {error}")),
        }
    }
}
