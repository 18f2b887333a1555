//! A thread and the pools that live on it: the way of a message to its pool.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
};

use stockade_policy::{PoolId, WorkerId, dispatch::Event};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task,
};

use super::{
    address::Address,
    exits,
    front::Host,
    health,
    listener::{self, Accepting, Listener, Parting, Place, over_tcp},
    output::LastLines,
    pool, probe,
    reading::Reading,
    successor::Parcel,
};
use crate::{
    clock::Clock,
    control::{
        FromRelay, ToRelay, handover::Handed, record::Death, relay::PoolPlan, stacks::WorkerStacks,
    },
    descriptor::register,
};

/// What a pool's thread is told.
#[derive(Debug)]
pub(super) enum ToPool {
    Added {
        plan: PoolPlan,
        seed: u64,
    },
    /// Where its hosts connect to has changed; the sockets of those addresses that are new.
    Listens(PoolId, ToRelay, Vec<OwnedFd>),
    /// It is gone.
    Removed(PoolId),
    Told(PoolId, ToRelay),
    /// The file of the pool's access log from here on.
    AccessLog(PoolId, OwnedFd),
    /// A worker was launched; what it writes last is kept there.
    Launched(PoolId, ToRelay, LastLines),
    /// What a worker that is gone wrote last.
    LastLines(PoolId, WorkerId, oneshot::Sender<LastLines>),
    /// What the threads of one of its workers are doing, for the log.
    Stacks(PoolId, WorkerStacks),
    /// Say how the pools stand.
    Read(mpsc::UnboundedSender<Vec<Reading>>),
    /// A relay that was replaced hands this to us.
    Handed(PoolId, Handed, Option<OwnedFd>),
    /// Another relay serves: hand over. The end of the second says that all counts are on their way.
    HandOver(mpsc::UnboundedSender<Parcel>, mpsc::UnboundedSender<()>),
    /// The end of this says that nothing is left.
    Leave(mpsc::UnboundedSender<()>),
    /// The daemon stops, and the relay that serves with it: idle hosts are let go.
    Drain,
    /// The relay ends: cut what is not complete, and say when.
    CutAll(mpsc::UnboundedSender<()>),
}

/// A thread with the pools that live on it.
pub(super) struct PoolThread {
    clock: Clock,
    report: mpsc::UnboundedSender<FromRelay>,
    all_drained: mpsc::UnboundedSender<PoolId>,
    accepting: watch::Receiver<Accepting>,
    pools: BTreeMap<PoolId, Rc<pool::Pool>>,
    /// What ends their listening sockets, with the numbers of their addresses.
    listeners: BTreeMap<PoolId, Vec<(u32, oneshot::Sender<Parting>)>>,
}

impl PoolThread {
    /// No pools yet. `all_drained` is told once for each that has drained.
    pub(super) fn new(
        report: mpsc::UnboundedSender<FromRelay>,
        all_drained: mpsc::UnboundedSender<PoolId>,
        accepting: watch::Receiver<Accepting>,
    ) -> Self {
        Self {
            clock: Clock::start(),
            report,
            all_drained,
            accepting,
            pools: BTreeMap::new(),
            listeners: BTreeMap::new(),
        }
    }

    /// Does what it is told until nobody is left to tell it anything.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<ToPool>) {
        while let Some(message) = messages.recv().await {
            match message {
                ToPool::Added { plan, seed } => self.add(plan, seed),
                ToPool::Listens(id, message, sockets) => self.listen(id, message, sockets),
                ToPool::Told(id, ToRelay::PoolClosing { .. }) => self.close(id),
                ToPool::Removed(id) => self.remove(id),
                ToPool::LastLines(id, worker, asker) => self.tell_lines(id, worker, asker),
                ToPool::CutAll(done) => self.cut_all(done),
                ToPool::Stacks(id, told) => {
                    if let Some(pool) = self.pools.get(&id) {
                        pool.state().log_stacks(&told);
                    }
                }
                ToPool::Told(id, message) => {
                    if let Some(pool) = self.pools.get(&id) {
                        tell(pool, message);
                    }
                }
                ToPool::AccessLog(id, file) => {
                    if let Some(pool) = self.pools.get(&id) {
                        pool.state().access_log_opened(file);
                    }
                }
                ToPool::Launched(id, message, lines) => {
                    if let Some(pool) = self.pools.get(&id) {
                        worker_launched(pool, message, lines);
                    }
                }
                ToPool::Handed(id, handed, descriptor) => {
                    if let Some(pool) = self.pools.get(&id) {
                        take(pool, handed, descriptor);
                    }
                }
                ToPool::HandOver(parcels, done) => {
                    for pool in self.pools.values() {
                        pool.state().hand_over(&parcels);
                    }
                    drop(done);
                }
                ToPool::Leave(left) => {
                    for pool in self.pools.values() {
                        pool.state().leave(left.clone());
                    }
                }
                ToPool::Drain => {
                    for pool in self.pools.values() {
                        pool.state().drain();
                    }
                }
                ToPool::Read(asker) => {
                    let readings = self.pools.values().map(|pool| pool.state().read());
                    // who asked may have lost patience
                    drop(asker.send(readings.collect()));
                }
            }
        }
    }

    fn cut_all(&self, done: mpsc::UnboundedSender<()>) {
        let cut = self.pools.values().map(|pool| {
            let mut state = pool.state();
            state.cut_all();
            Rc::clone(&state.telling)
        });
        task::spawn_local(exits::all_told(cut.collect(), done));
    }

    fn tell_lines(&self, id: PoolId, worker: WorkerId, asker: oneshot::Sender<LastLines>) {
        let pool = self.pools.get(&id);
        if let Some(lines) = pool.and_then(|pool| pool.state().last_lines(worker)) {
            // who asked may have lost patience
            drop(asker.send(lines));
        }
    }

    fn add(&mut self, plan: PoolPlan, seed: u64) {
        let id = plan.pool;
        let pool = pool::Pool::new(
            plan,
            self.clock,
            seed,
            self.report.clone(),
            self.all_drained.clone(),
        );
        pool.state().follow_access_log();
        task::spawn_local(pool::run_timer(Rc::clone(&pool)));
        pool.state().follow_upstream();
        self.pools.insert(id, pool);
    }

    /// Accepts on what is new, before it stops to accept on what is old: a pool that accepts nowhere drains.
    fn listen(&mut self, id: PoolId, message: ToRelay, sockets: Vec<OwnedFd>) {
        let ToRelay::PoolListens {
            begins,
            ends,
            leaves,
            ..
        } = message
        else {
            return;
        };
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let running = self.listeners.entry(id).or_default();
        for (address, socket) in begins.into_iter().zip(sockets) {
            match register(socket) {
                Ok(socket) => {
                    let (part, parting) = oneshot::channel();
                    running.push((address, part));
                    pool.state().listener_came();
                    let listener = Listener {
                        address,
                        socket,
                        parting,
                    };
                    let accepting = self.accepting.clone();
                    task::spawn_local(listener::run(Rc::clone(pool), listener, accepting));
                }
                Err(error) => tracing::error!(
                    "pool {}: could not register a listening socket: {error}",
                    pool.name
                ),
            }
        }
        for (addresses, how) in [(&ends, Parting::Ended), (&leaves, Parting::Left)] {
            for (_, part) in running.extract_if(.., |(address, _)| addresses.contains(address)) {
                // nobody hears it that has ended by itself
                part.send(how).unwrap_or_default();
            }
            pool.state().give_up_addresses(addresses);
        }
    }

    /// It accepts no more.
    fn close(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        pool.state().close();
        for (_, part) in self.listeners.remove(&id).unwrap_or_default() {
            // nobody hears it that has ended by itself
            part.send(Parting::Ended).unwrap_or_default();
        }
    }

    fn remove(&mut self, id: PoolId) {
        self.listeners.remove(&id);
        if let Some(pool) = self.pools.remove(&id) {
            pool.remove();
        }
    }
}

fn tell(pool: &Rc<pool::Pool>, message: ToRelay) {
    match message {
        ToRelay::PoolChanged(plan) => pool.state().changed(plan),
        ToRelay::PoolCounted { lives, .. } => pool.state().ledger.lives = lives,
        ToRelay::PoolReported { state, .. } => pool.state().reported(state),
        ToRelay::PoolWanted { processes, .. } => pool.state().plan.processes = processes,
        ToRelay::PoolShed { count, .. } => happened(pool, Event::PoolShed { count }),
        ToRelay::WorkerOffered {
            worker,
            slots,
            leased,
            maximum_requests,
            startup,
            ..
        } => {
            pool.state()
                .worker_offered(worker, (slots, leased), maximum_requests, startup);
        }
        ToRelay::LeaseReturned { worker, slots, .. } => {
            happened(pool, Event::LeaseReturned { worker, slots });
        }
        ToRelay::SlotWanted { .. } => happened(pool, Event::SlotWanted),
        ToRelay::WorkerDoubted { worker, .. } => {
            let address = address_of(pool, worker);
            if let Some(address) = address {
                task::spawn_local(probe::run(Rc::clone(pool), worker, address));
            }
        }
        ToRelay::WorkerProbed { worker, path, .. } => {
            let known = pool.state().workers.get(&worker).map(|known| {
                let lines = known.lines.clone();
                (known.address.clone(), lines)
            });
            if let Some((Some(address), lines)) = known {
                task::spawn_local(health::run(Rc::clone(pool), worker, address, path, lines));
            }
        }
        ToRelay::TemplateMade { worker, .. } => pool.state().template_made(worker),
        ToRelay::WorkerRetired { worker, .. } => pool.state().worker_retired(worker),
        ToRelay::WorkerOverdue { worker, .. } => pool.state().worker_overdue(worker),
        ToRelay::WorkerGone { worker, done, .. } => pool.state().worker_gone(worker, done),
        ToRelay::WorkerBuried { worker, death, .. } => worker_buried(pool, worker, death),
        ToRelay::Begin { .. }
        | ToRelay::PoolAdded(_)
        | ToRelay::PoolListens { .. }
        | ToRelay::PoolClosing { .. }
        | ToRelay::PoolRemoved { .. }
        | ToRelay::AccessLogOpened { .. }
        | ToRelay::WorkerLaunched { .. }
        | ToRelay::WorkersSampled { .. }
        | ToRelay::Stacks(_)
        | ToRelay::StatusAsked
        | ToRelay::FailureTold { .. }
        | ToRelay::LogLevelSet { .. }
        | ToRelay::Serve { .. }
        | ToRelay::HandOver
        | ToRelay::Drain => {}
    }
}

fn address_of(pool: &Rc<pool::Pool>, worker: WorkerId) -> Option<Address> {
    let state = pool.state();
    state.workers.get(&worker)?.address.clone()
}

fn worker_buried(pool: &Rc<pool::Pool>, worker: WorkerId, death: Death) {
    let mut state = pool.state();
    let exit = state.ledger.buried(worker, death);
    task::spawn_local(exit.tell(Rc::clone(pool), Rc::clone(&state.telling)));
}

fn happened(pool: &Rc<pool::Pool>, event: Event) {
    let mut state = pool.state();
    state.tell(event);
    state.rest();
}

/// What a relay that was replaced hands to us.
fn take(pool: &Rc<pool::Pool>, handed: Handed, descriptor: Option<OwnedFd>) {
    match (handed, descriptor) {
        (Handed::Host { address, .. }, Some(socket)) => {
            let from = (address, over_tcp(&socket));
            if let Err(error) = Host::serve(pool, socket, from, Place::of_open()) {
                let name = &pool.name;
                tracing::error!("pool {name}: could not take over a host's connection: {error}");
            }
        }
        (Handed::Counted { counts, .. }, _) => pool.state().counted(counts),
        (Handed::Exited { exit, .. }, _) => pool.state().ledger.exits.add(exit),
        (Handed::Host { .. } | Handed::Pipe { .. } | Handed::Told, _) => {}
    }
}

fn worker_launched(pool: &Rc<pool::Pool>, message: ToRelay, lines: LastLines) {
    let ToRelay::WorkerLaunched {
        worker,
        pid,
        generation,
        age,
        fresh,
        socket,
        tells,
        template,
        probe,
        multiplexes,
        hears_leaving,
        ..
    } = message
    else {
        return;
    };
    let mut state = pool.state();
    let launched = pool::Worker {
        address: socket.clone().map(Address::Unix),
        pid,
        generation,
        age: (age, state.clock.now()),
        tells,
        template,
        multiplexes,
        hears_leaving,
        slots: 0,
        offered: false,
        retired: false,
        lines,
        lost: Default::default(),
        place: state.free_place(),
        obituary: Rc::default(),
        idle: Vec::new(),
        trunk: Weak::new(),
    };
    state.worker_launched(worker, launched, fresh);
    drop(state);
    if let (true, Some(socket)) = (probe, socket) {
        let socket = Address::Unix(socket);
        task::spawn_local(probe::run(Rc::clone(pool), worker, socket));
    }
}
