//! Does what the supervision machine wants done: one arm per action. What fails goes back as an event.

use std::{mem, sync::Arc};

use nix::sys::signal::Signal;
use stockade_policy::{
    Generation, PoolId, PoolState, WorkerId,
    supervision::{Action, Cause, Event, Exit},
};

use super::{
    Source,
    burial::hint,
    order::Order,
    shell::Shell,
    sockets,
    words::{Seconds, Why},
    workers::Worker,
};
use crate::cgroup::{Killer, Leaf};
use crate::control::{ToRelay, worker::ToWorker};

impl Shell {
    pub(super) fn execute(&mut self, action: Action) {
        match action {
            Action::StartWorker {
                pool,
                worker,
                generation,
            } => self.start_worker(pool, worker, generation, How::Launched),
            Action::StartTemplate {
                pool,
                worker,
                generation,
            } => self.start_worker(pool, worker, generation, How::Template),
            Action::ForkWorker {
                pool,
                worker,
                generation,
                template,
            } => self.start_worker(pool, worker, generation, How::Forked(template)),
            Action::MakeTemplate { worker } => self.make_template(worker),
            Action::OfferWorker { worker } => self.offer_worker(worker),
            Action::RetireWorker { worker, cause } => self.retire_worker(worker, cause),
            Action::StopWorker {
                worker,
                cause,
                overdue,
            } => self.stop_worker(worker, cause, overdue),
            Action::KillWorker { worker } => self.kill_worker(worker),
            Action::ForgetWorker {
                pool,
                worker,
                cause,
                failed,
                backoff,
            } => self.forget_worker(pool, worker, cause, failed, backoff),
            Action::ReportPool { pool, state } => self.report_pool(pool, state),
            Action::FinishReload { pool, generation } => self.finish_reload(pool, generation),
            Action::AbandonReload {
                pool,
                generation,
                cause,
            } => self.abandon_reload(pool, generation, cause),
            Action::InterruptWorker { worker } => self.interrupt_worker(worker),
            Action::ShedWorkers { pool, count } => self.shed_workers(pool, count),
            Action::ForgetPool { pool } => self.forget_pool(pool),
            Action::DrainRelay => self.drain_relay(),
            Action::Finish => self.finished = true,
        }
    }

    fn start_worker(&mut self, pool: PoolId, worker: WorkerId, generation: Generation, how: How) {
        let now = self.clock.now();
        let record = self
            .pools
            .get_mut(&pool)
            .expect("the machine knows the pools it was told of, until it has them forgotten");
        record.lives.starts += 1;
        let (name, keys) = (record.name.clone(), record.keys_of(generation));
        let leaf = match self.cgroups.leaf(&name, keys.cgroup, worker) {
            Ok(leaf) => leaf,
            Err(lack) => return self.not_started(worker, &name, &lack.to_string()),
        };
        let order = Order {
            pool,
            worker,
            generation,
            keys,
            relay_user: self.daemon.relay_user.as_ref(),
            runtime_dir: &self.runtime_dir,
            adapter: &self.adapter,
            spawner: &self.spawner,
            leaf,
            template: how == How::Template,
        };
        let started = match how {
            How::Launched | How::Template => {
                Worker::start(order, &mut self.random, now).map(|(started, launch)| {
                    if let Some(process) = &started.process {
                        self.senders.follow(worker, launch, process.end());
                    }
                    started
                })
            }
            How::Forked(template) => {
                let from = (self.workers.get(&template))
                    .expect("the machine has workers forked of what it has not forgotten");
                Worker::fork(order, from, &mut self.random, now).map(|mut started| {
                    let control = Arc::clone(&started.control);
                    started.forking = Some(self.senders.expect_fork(worker, control));
                    started
                })
            }
        };
        match started {
            Ok(started) => drop(self.workers.insert(worker, started)),
            Err(failure) => self.not_started(worker, &name, &failure.to_string()),
        }
    }

    pub(super) fn not_started(&mut self, worker: WorkerId, pool: &str, why: &str) {
        tracing::warn!("pool {pool}: worker {worker} not started: {why}");
        self.launch_failures.insert(worker, why.to_owned());
        self.tell_machine(Event::LaunchFailed { worker });
    }

    /// It is `started` (exec succeeded) or `forked`: the relay reads what it writes, and asks it when it does not tell by itself.
    pub(super) fn launched(&mut self, worker: WorkerId, how: &str) {
        let now = self.clock.now();
        if let Some(known) = self.workers.get_mut(&worker) {
            known.description.launched = true;
            let (name, generation) = (known.name(), known.description.generation);
            tracing::info!("{name} {how}, generation {generation}");
            let (message, descriptors) = known.launched(!known.description.tells, true, now);
            self.relay.tell(&message, &descriptors);
            self.senders
                .listen(worker, Arc::clone(&known.control), name);
        }
        self.tell_machine(Event::WorkerLaunched { worker });
    }

    fn offer_worker(&mut self, worker: WorkerId) {
        let now = self.clock.now();
        if let Some(known) = self.workers.get_mut(&worker) {
            known.description.offered = true;
            let age = known.age(now);
            tracing::info!("{} ready after {}", known.name(), Seconds(age));
            known.leases.offered(known.slots());
            let offered = known.offered(Some(age));
            // before it has a request
            self.sample_ready(worker);
            self.relay.tell(&offered, &[]);
        }
        self.expect_heartbeat(worker, now);
    }

    fn retire_worker(&mut self, worker: WorkerId, cause: Cause) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        known.description.retired = true;
        if cause.is_wanted() {
            tracing::info!("{} retiring: {}", known.name(), Why(cause));
        } else {
            tracing::warn!("{} retiring: {}", known.name(), Why(cause));
        }
        // one that is to become a template goes on, and the others hear of it with the stop-signal
        if cause != Cause::Refork {
            tell_to_retire(known, cause);
        }
        let pool = known.description.pool;
        self.relay
            .tell(&ToRelay::WorkerRetired { pool, worker }, &[]);
    }

    fn stop_worker(&mut self, worker: WorkerId, cause: Cause, overdue: bool) {
        let now = self.clock.now();
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        if known.forking.is_some() {
            return self.not_forked(worker, unforked(cause));
        }
        if !cause.is_wanted() {
            known.glance(now);
        }
        let pool = known.description.pool;
        if cause == Cause::StartupTimeout
            && let Some(record) = self.pools.get_mut(&pool)
        {
            record.last_failed = Some(worker);
        }
        known.description.stopped = true;
        let name = known.name();
        let was_retired = mem::replace(&mut known.description.retired, true);
        if !was_retired || cause == Cause::Refork {
            tell_to_retire(known, cause);
        }
        if !was_retired {
            // The relay's idle connections are closed by it: a program that waits on one would not notice the signal.
            self.relay
                .tell(&ToRelay::WorkerRetired { pool, worker }, &[]);
        }
        if overdue {
            tracing::warn!(
                "{name} stopping, though it has not finished: {}",
                Why(cause)
            );
            self.relay
                .tell(&ToRelay::WorkerOverdue { pool, worker }, &[]);
        } else if cause.is_wanted() {
            tracing::info!("{name} stopping: {}", Why(cause));
        } else {
            let hint = hint(known, cause);
            tracing::warn!("{name} stopping: {}{hint}", Why(cause));
        }
        send(known, known.stop_signal());
        if let Some(socket) = &known.description.socket
            && let Err(error) = sockets::knock(socket)
        {
            tracing::debug!("{name}: could not knock: {error}");
        }
    }

    fn kill_worker(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get(&worker) {
            if known.forking.is_some() {
                return self.not_forked(worker, unforked(Cause::Requested));
            }
            tracing::warn!("{} killed", known.name());
            send(known, Signal::SIGKILL);
            kill_descendants(known);
        }
    }

    /// Its process is gone, and is reaped here.
    pub(super) fn gone(&mut self, worker: WorkerId) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        let Some(process) = known.process.take() else {
            return;
        };
        kill_descendants(known);
        let (mut exit, core_dumped) = process.reap_with_core();
        known.core_dumped = core_dumped;
        if exit == Exit::Signal(Signal::SIGKILL as i32) {
            let pool = &known.description.pool_name;
            known.killed = match self.cgroups.killer(pool, known.leaf.as_ref()) {
                Killer::Memory(words) => {
                    exit = Exit::OutOfMemory;
                    Some(words)
                }
                Killer::Somebody => None,
                Killer::Unknown => Some(UNKNOWN_KILLER.to_owned()),
            };
        }
        let user = known.user();
        let pool = known.description.pool;
        let done = exit == Exit::Code(0);
        self.relay
            .tell(&ToRelay::WorkerGone { pool, worker, done }, &[]);
        self.tell_machine(Event::WorkerExited { worker, exit });
        self.end_strays(user);
    }

    fn report_pool(&mut self, pool: PoolId, state: PoolState) {
        let first = state == PoolState::Serving && !self.ever_served();
        let mut is_new = false;
        if let Some(record) = self.pools.get_mut(&pool) {
            record.state = Some(state);
            record.served |= state == PoolState::Serving;
            is_new = record.is_new;
            record.is_new &= !matches!(state, PoolState::Serving | PoolState::Failing);
        }
        let name = self.pool_name(pool);
        match state {
            PoolState::Failing => {
                tracing::warn!("pool {name}: {state}");
                self.reload_failed(pool, &format!("failing: see `stockade status {name}`"));
            }
            PoolState::Serving if is_new => {
                tracing::info!("pool {name}: {state}");
                self.reload_ended(pool, "serves");
            }
            PoolState::Starting | PoolState::Serving | PoolState::Stopped => {
                tracing::info!("pool {name}: {state}");
                if first && self.source == Source::CommandLine {
                    self.welcome();
                }
            }
        }
        self.relay.tell(&ToRelay::PoolReported { pool, state }, &[]);
        self.tell_systemd();
    }

    /// Says to who waits at the terminal where to look.
    fn welcome(&self) {
        let listen = self.shim.iter().flat_map(|shim| &shim.keys().listen);
        // which port 0 has become is said where it is bound
        for address in listen.filter(|address| address.port() != 0) {
            tracing::info!("http://{address}/ is served; Ctrl-C stops it");
        }
    }

    /// How the pools stand.
    pub(super) fn tell_systemd(&mut self) {
        let pools: Vec<(&str, PoolState)> = self
            .pools
            .values()
            .filter(|record| !record.closing)
            .map(|record| (&*record.name, record.standing()))
            .collect();
        self.systemd.pools(&pools);
        if pools.iter().all(|(_, state)| *state != PoolState::Starting) {
            // what was needed to get here is not needed again for long
            if let Err(error) = stockade_mappings::give_up_code() {
                tracing::debug!("the supervisor keeps the code of its start: {error}");
            }
        }
    }

    fn finish_reload(&mut self, pool: PoolId, generation: Generation) {
        // asked for during the reload, at whose end the machine goes by the keys again
        let scaled = self.pools.get(&pool).and_then(|record| record.scaled);
        if let Some(scale) = scaled {
            self.tell_machine(Event::PoolScaled { pool, scale });
        }
        self.tell_wanted(pool);
        if let Some(record) = self.pools.get_mut(&pool) {
            record.finish_reload(generation);
            for (message, descriptors) in record.changed(&self.access_logs) {
                self.relay.tell(&message, &descriptors);
            }
        }
        if !self.relay.is_there() {
            self.relay_heard_of(pool);
        }
    }

    /// A pool's relay has heard that an older generation is not to be used any more, or there is none that could use it.
    pub(super) fn relay_heard_of(&mut self, pool: PoolId) {
        let record = self.pools.get_mut(&pool);
        if let Some(generation) = record.and_then(|record| record.heard_of()) {
            let stopped = self.pools.get(&pool).is_some_and(|record| record.stopped);
            let name = self.pool_name(pool);
            let how = if stopped {
                format!("is stopped: generation {generation} comes with `stockade start {name}`")
            } else {
                format!("generation {generation} serves")
            };
            tracing::info!("pool {name}: reload finished: {how}");
            self.reload_ended(pool, &how);
        }
    }

    fn abandon_reload(&mut self, pool: PoolId, generation: Generation, cause: Cause) {
        if let Some(record) = self.pools.get_mut(&pool) {
            record.abandon_reload(generation);
        }
        let (name, why) = (self.pool_name(pool), Why(cause));
        if cause == Cause::Requested {
            let why = format!("the pool was stopped before generation {generation} was ready");
            tracing::info!("pool {name}: reload abandoned: {why}");
            return self.failed_because_of(pool, None, &why);
        }
        tracing::warn!(
            "pool {name}: reload abandoned: generation {generation} did not come up ({why}); the old one goes on"
        );
        self.generation_failed(
            pool,
            generation,
            &format!("generation {generation} did not come up ({why}); the old one goes on: see `stockade status {name}`"),
        );
    }

    /// The relay takes what its listeners have accepted already, then closes them, as we do ours.
    fn drain_relay(&mut self) {
        // names go first: who connects by one that is there is to be among those that the relay takes last
        for record in self.pools.values_mut() {
            record.listeners.close();
        }
        self.relay.drain();
        self.drained_when_all_have();
    }

    /// Somebody waits at a terminal for an application that does not start.
    pub(super) fn give_up(&mut self, pool: PoolId) {
        if self.never_served.is_none() {
            self.never_served = Some(self.pool_name(pool));
            self.stop_at_once(Signal::SIGTERM);
        }
    }

    pub(super) fn ever_served(&self) -> bool {
        self.pools.values().any(|record| record.served)
    }

    /// See [`Renewal::development`](crate::config::resolved::Renewal::development).
    pub(super) fn in_development(&self, pool: PoolId) -> bool {
        let record = self.pools.get(&pool);
        record.is_some_and(|record| record.in_development())
    }

    pub(super) fn pool_name(&self, pool: PoolId) -> String {
        self.pools
            .get(&pool)
            .map_or_else(|| pool.to_string(), |record| record.name.clone())
    }
}

/// How a worker comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By a launcher.
    Launched,
    /// The same, as a template.
    Template,
    /// By this template.
    Forked(WorkerId),
}

/// Why nobody waits for a worker that its template was to fork.
fn unforked(cause: Cause) -> &'static str {
    match cause {
        Cause::StartupTimeout => "its template has not forked it within startup-timeout",
        _ => "its template has not forked it, and it is not wanted any more",
    }
}

fn tell_to_retire(worker: &Worker, cause: Cause) {
    let message = ToWorker::Retire(cause).encode();
    if let Err(error) = worker.control.try_send(&message, &[]) {
        // It has closed its end, or does not read it: most programs do not know of it.
        tracing::debug!("{}: could not tell it to retire: {error}", worker.name());
    }
}

fn send(worker: &Worker, signal: Signal) {
    let Some(process) = &worker.process else {
        return;
    };
    if let Err(error) = process.signal(signal) {
        tracing::warn!("{}: could not send it {signal}: {error}", worker.name());
    }
}

/// Those that have left its process group, too.
fn kill_descendants(worker: &Worker) {
    if let Some(Err(error)) = worker.leaf.as_ref().map(Leaf::kill) {
        tracing::warn!("{}: could not kill its cgroup: {error}", worker.name());
    }
}

/// Of a SIGKILL where memory is not counted.
const UNKNOWN_KILLER: &str = "if nobody sent it, the machine was out of memory: see `dmesg`";
