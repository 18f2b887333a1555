//! The loop around the supervision machine: what happens goes in as events, what is to be done comes out as actions
//! (`execute`). It decides nothing about workers.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{pending, ready},
    sync::Arc,
};

use nix::sys::signal::Signal;
use stockade_policy::{
    PoolId, Random, Time, WorkerId,
    supervision::{Event, Supervision},
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    Source,
    access_logs::AccessLogs,
    adapter::Adapter,
    admin::{self, Admin},
    forking::Forked,
    hangs::Looks,
    pools::PoolRecord,
    process::{End, Process},
    relay_life::RelayNumber,
    relay_process::RelayProcess,
    reload::{Reload, Reloads},
    runtime_dir::RuntimeDir,
    sampling::Sampling,
    shim_process::{ShimProcess, gone as shim_gone},
    signals::{Asked, Signals},
    spawn::{Launch, Spawner},
    stacks::{Questions, Seen},
    strays::{Living, Strays},
    systemd::Systemd,
    watching::Watcher,
    workers::Worker,
};
use crate::{
    cgroup::{Cgroups, Leaf},
    clock::Clock,
    config::resolved::Daemon,
    control::{
        Channel, ChannelError,
        admin::{Answer, Request},
        record::Sample,
        worker::{FromWorker, MESSAGE_LEN},
    },
    launch::plan::Failure,
};

/// Events in a row after which the clock is looked at and the relay has to wait for a turn, so that a chatty one
/// starves nobody.
const STREAK: u32 = 64;

/// Everything the supervisor has.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) clock: Clock,
    pub(super) machine: Supervision,
    pub(super) sampling: Sampling,
    /// Where the configuration came from, for reading it again.
    pub(super) source: Source,
    /// `[daemon]`, as it was at the start.
    pub(super) daemon: Daemon,
    pub(super) pools: BTreeMap<PoolId, PoolRecord>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Why workers were not launched, until the machine has them forgotten.
    pub(super) launch_failures: BTreeMap<WorkerId, String>,
    /// When workers are looked at for a heartbeat.
    pub(super) looks: Looks,
    /// For what the threads of workers are doing.
    pub(super) questions: Questions,
    pub(super) relay: RelayProcess,
    /// Whose requests wait for a slot of the relay that serves, and of which pool.
    pub(super) wanting: VecDeque<(PoolId, RelayNumber)>,
    pub(super) shim: Option<ShimProcess>,
    pub(super) spawner: Spawner,
    pub(super) adapter: Adapter,
    pub(super) access_logs: AccessLogs,
    /// Last to go but for the runtime-dir: what is left in them is killed.
    pub(super) cgroups: Cgroups,
    pub(super) runtime_dir: RuntimeDir,
    pub(super) _admin: Admin,
    /// The number of the next pool; none is given again.
    pub(super) next_pool: u32,
    /// Pools that are to go and still answer what waits; until when.
    pub(super) closing: BTreeMap<PoolId, Time>,
    /// Who waits for the end of a reload.
    pub(super) reloads: Reloads,
    /// Files whose change reloads a pool.
    pub(super) watcher: Watcher,
    pub(super) systemd: Systemd,
    pub(super) strays: Strays,
    pub(super) random: Random,
    pub(super) senders: Senders,
    pub(super) stopping: bool,
    pub(super) finished: bool,
    /// The pool because of which the daemon ends: see [`Source::CommandLine`].
    pub(super) never_served: Option<String>,
}

/// What becomes of a worker's process.
#[derive(Debug)]
pub(super) enum Turn {
    /// Exec succeeded.
    Launched,
    /// A step failed, and the process is gone.
    LaunchFailed(Failure),
    /// The process is gone, not reaped.
    Gone,
    /// A template has forked it, and it waits to be taken over.
    Forked(Forked),
    /// It was to be forked, and was not; why.
    NotForked(&'static str),
}

/// Where the tasks that wait for workers report.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    turns: mpsc::Sender<(WorkerId, Turn)>,
    said: mpsc::Sender<(WorkerId, FromWorker)>,
    samples: mpsc::Sender<Vec<(WorkerId, Sample)>>,
    threads: mpsc::Sender<Seen>,
}

/// Where the loop reads it.
#[derive(Debug)]
pub(super) struct Inbox {
    signals: Signals,
    admin: mpsc::Receiver<admin::Asked>,
    turns: mpsc::Receiver<(WorkerId, Turn)>,
    said: mpsc::Receiver<(WorkerId, FromWorker)>,
    samples: mpsc::Receiver<Vec<(WorkerId, Sample)>>,
    threads: mpsc::Receiver<Seen>,
}

/// Both ends.
pub(super) fn inbox(signals: Signals, admin: mpsc::Receiver<admin::Asked>) -> (Senders, Inbox) {
    let (turns_in, turns) = mpsc::channel(STREAK as usize);
    let (said_in, said) = mpsc::channel(STREAK as usize);
    let (samples_in, samples) = mpsc::channel(1);
    let (threads_in, threads) = mpsc::channel(1);
    let senders = Senders {
        turns: turns_in,
        said: said_in,
        samples: samples_in,
        threads: threads_in,
    };
    let inbox = Inbox {
        signals,
        admin,
        turns,
        said,
        samples,
        threads,
    };
    (senders, inbox)
}

impl Shell {
    /// Runs until the machine says that all is finished.
    pub(super) async fn run(&mut self, mut inbox: Inbox) {
        let mut streak = 0;
        loop {
            // 1. What the machine wants done.
            while let Some(action) = self.machine.poll_action() {
                self.execute(action);
            }
            if self.finished {
                return;
            }
            // 2. The deadline, after all changes, and against the clock: a timer alone would be late behind a streak.
            let deadline = self.deadline();
            let patient = streak < STREAK;
            if !patient {
                self.expire();
            }
            let relay = &mut self.relay;
            let shim = &self.shim;
            let watcher = &mut self.watcher;
            streak += 1;
            select! {
                biased;
                // 3. Signals.
                asked = inbox.signals.next() => self.asked(asked),
                // 4. The relay's messages; before the ends of workers, for they may say what a worker had done.
                (number, heard) = relay.hear(), if patient => self.heard(number, heard),
                // 5. Workers' messages.
                Some((worker, message)) = inbox.said.recv() => self.said(worker, message),
                // 6. Workers' processes.
                Some((worker, turn)) = inbox.turns.recv() => self.turned(worker, turn),
                // 7. The shim's process.
                () = shim_gone(shim.as_ref()) => self.shim_gone(),
                // 8. Operators' commands.
                Some(asked) = inbox.admin.recv() => self.admin_asked(asked),
                // 9. Files that are watched.
                seen = watcher.next() => self.watcher.saw(&seen, self.clock.now()),
                // 10. What workers take.
                Some(samples) = inbox.samples.recv() => self.sampled(samples),
                // 11. What their threads are doing.
                Some(seen) = inbox.threads.recv() => self.threads_seen(seen),
                // 12. Time; after what happened, so that good news that came in time counts.
                () = until(self.clock, deadline) => {
                    streak = 0;
                    self.expire();
                }
                () = ready(()), if !patient => streak = 0,
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let shim = self.shim.as_ref().and_then(ShimProcess::due);
        let answers = self
            .workers
            .values()
            .filter_map(|worker| worker.description.answer_due);
        [
            self.machine.poll_timeout(),
            self.relay.restart(),
            self.relay.patience(),
            self.sampling.due(),
            self.looks.next(),
            shim,
            self.watcher.due(),
        ]
        .into_iter()
        .flatten()
        .chain(answers)
        .chain(self.closing.values().copied())
        .min()
    }

    /// Does what is due.
    fn expire(&mut self) {
        let now = self.clock.now();
        self.machine.handle_timeout(now);
        if self.relay.restart().is_some_and(|due| due <= now) {
            self.restart_relay(now);
        }
        self.relay.expire(now);
        self.expire_shim(now);
        self.expire_closing(now);
        self.expire_watches(now);
        self.expire_samples(now);
        self.give_up_silent_workers(now);
        self.look_for_deadlocks(now);
    }

    /// Workers that run what a relay gave them which is gone, and do not answer the new one.
    fn give_up_silent_workers(&mut self, now: Time) {
        let mut silent = Vec::new();
        for (worker, known) in &mut self.workers {
            if known.description.answer_due.is_some_and(|due| due <= now) {
                known.description.answer_due = None;
                tracing::warn!("{} does not answer the new relay", known.name());
                silent.push(*worker);
            }
        }
        for worker in silent {
            self.tell_machine(Event::WorkerBroke { worker });
        }
    }

    /// Hands an event to the machine.
    pub(super) fn tell_machine(&mut self, event: Event) {
        self.machine.handle(event, self.clock.now());
    }

    fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::Stop => {
                let how = if self.stopping {
                    "at once"
                } else {
                    "gracefully"
                };
                tracing::info!("stopping {how}");
                if self.stopping {
                    self.stop_at_once(Signal::SIGKILL);
                } else {
                    self.stop();
                }
            }
            Asked::FastStop => {
                tracing::info!("stopping at once");
                self.stop_at_once(Signal::SIGKILL);
            }
            Asked::Reload => {
                if let Err(refusal) = self.reload(&Reload::default()) {
                    refusal.log();
                }
            }
            Asked::ReopenLogs => self.reopen_logs(),
            Asked::Unsupported(signal) => tracing::warn!("{signal} is not supported yet: ignored"),
            Asked::Reap => self.reap_strangers(),
        }
    }

    fn admin_asked(&mut self, asked: admin::Asked) {
        match asked.request.clone() {
            Request::Status => self.relay.ask_status(asked),
            Request::Stacks { of } => self.stacks_asked(&of, asked),
            Request::Reload {
                pool,
                changed,
                wait,
            } => {
                let what = Reload { pool, changed };
                self.reload_asked(&what, wait, asked);
            }
            Request::Start { pool } => reply(asked.reply, self.start_asked(&pool)),
            Request::Stop { pool } => reply(asked.reply, self.stop_asked(&pool)),
            Request::Scale {
                pool,
                minimum,
                maximum,
            } => reply(asked.reply, self.scale_asked(&pool, minimum, maximum)),
        }
    }

    fn said(&mut self, worker: WorkerId, message: FromWorker) {
        match message {
            FromWorker::Ready => self.came_up(worker),
            // it is said once, before this is heard
            FromWorker::Forked => {}
        }
    }

    /// A worker says that it is ready, or has answered the relay. It is when it has answered `probe` too.
    pub(super) fn came_up(&mut self, worker: WorkerId) {
        let known = self.workers.get_mut(&worker);
        if known
            .as_ref()
            .is_some_and(|known| known.description.template)
        {
            return self.template_ready(worker);
        }
        match known.and_then(Worker::probed) {
            Some(message) => self.relay.tell_serving(&message, Vec::new()),
            None => self.tell_machine(Event::WorkerReady { worker }),
        }
    }

    fn turned(&mut self, worker: WorkerId, turn: Turn) {
        match turn {
            Turn::Launched => self.launched(worker, "started"),
            Turn::LaunchFailed(failure) => {
                if let Some(known) = self.workers.get_mut(&worker) {
                    tracing::warn!("{} not started: {failure}", known.name());
                    known.process.take().map(Process::reap);
                }
                self.launch_failures.insert(worker, failure.to_string());
                self.tell_machine(Event::LaunchFailed { worker });
                // it has run nothing that could leave anybody behind
                self.reap_strangers();
            }
            Turn::Gone => self.gone(worker),
            Turn::Forked(forked) => self.forked(worker, forked),
            Turn::NotForked(why) => self.not_forked(worker, why),
        }
    }

    /// Reaps what workers left behind; after each of our own was reaped, for that may have stood before one.
    pub(super) fn reap_strangers(&mut self) {
        for account in self.strays.reap(&self.living(None).known) {
            self.strays.end(&self.living(account));
        }
    }

    /// A worker of `account` (none: of our own) is gone, and reaped: what it left behind goes too.
    pub(super) fn end_strays(&mut self, account: Option<u32>) {
        self.strays.end(&self.living(account));
        self.reap_strangers();
    }

    /// Whom to leave alone when a worker of `account` is gone.
    pub(super) fn living(&self, account: Option<u32>) -> Living {
        let workers = self.workers.values();
        let alive = workers.filter_map(|worker| Some((worker, worker.process.as_ref()?.pid())));
        let mut living = Living {
            gone: account,
            ..Living::default()
        };
        for (worker, pid) in alive {
            living.known.insert(pid);
            living.leaves.extend(worker.leaf.as_ref().map(Leaf::name));
            living
                .others
                .extend(worker.user().filter(|user| Some(*user) != account));
        }
        living.known.extend(self.relay.pids());
        living
            .known
            .extend(self.shim.as_ref().and_then(ShimProcess::pid));
        living
    }
}

impl Senders {
    /// Where what workers take is said.
    pub(super) fn samples(&self) -> mpsc::Sender<Vec<(WorkerId, Sample)>> {
        self.samples.clone()
    }

    /// Where is said what becomes of a worker's process.
    pub(super) fn turns(&self) -> mpsc::Sender<(WorkerId, Turn)> {
        self.turns.clone()
    }

    /// Follows a process that runs to its end.
    pub(super) fn follow_to_the_end(&self, worker: WorkerId, end: End) {
        let turns = self.turns.clone();
        tokio::spawn(async move {
            end.come().await;
            drop(turns.send((worker, Turn::Gone)).await);
        });
    }

    /// Where what their threads are doing is said.
    pub(super) fn threads(&self) -> mpsc::Sender<Seen> {
        self.threads.clone()
    }

    /// Follows a worker's process from its launch to its end.
    pub(super) fn follow(&self, worker: WorkerId, launch: Launch, end: End) {
        let turns = self.turns.clone();
        tokio::spawn(async move {
            // The receiver is there as long as the loop, and nobody listens after it.
            let last = match launch.outcome().await {
                Ok(()) => {
                    drop(turns.send((worker, Turn::Launched)).await);
                    Turn::Gone
                }
                Err(failure) => Turn::LaunchFailed(failure),
            };
            end.come().await;
            drop(turns.send((worker, last)).await);
        });
    }

    /// Waits for the one message a worker may send; what it says after that, or if it says something else, is not read.
    pub(super) fn listen(&self, worker: WorkerId, control: Arc<Channel>, name: String) {
        let said = self.said.clone();
        tokio::spawn(async move {
            let mut buffer = [0; MESSAGE_LEN + 1];
            match control.receive(&mut buffer).await {
                Ok((length, _)) => match FromWorker::decode(&buffer[..length]) {
                    Some(message) => drop(said.send((worker, message)).await),
                    None => tracing::warn!("{name} said on its control socket what is no message"),
                },
                // It is gone, or does not want it; a reset: it had not read what we said.
                Err(ChannelError::Closed) => {}
                Err(error) => tracing::debug!("{name}: could not read its control socket: {error}"),
            }
        });
    }
}

fn reply(to: oneshot::Sender<Answer>, answer: Answer) {
    // who asked may have gone
    drop(to.send(answer));
}

/// Waits until `deadline`, for ever when there is none.
async fn until(clock: Clock, deadline: Option<Time>) {
    match deadline {
        Some(deadline) => sleep_until(clock.instant(deadline).into()).await,
        None => pending().await,
    }
}
