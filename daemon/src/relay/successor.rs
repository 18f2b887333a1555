//! A pool whose relay is replaced: its idle hosts go to the next relay, what it runs ends here, and every slot goes as it becomes free.

use std::{collections::BTreeMap, os::fd::OwnedFd, rc::Rc};

use stockade_policy::{PoolId, WorkerId, dispatch::Event};
use tokio::{sync::mpsc::UnboundedSender, task, time::sleep};

use super::{answers, exits::Exit, front::Host, output::Output, pool::Pool, pool::State};
use crate::control::{
    FromRelay,
    handover::{Counts, Handed},
};

/// Something for the next relay.
#[derive(Debug)]
pub(super) enum Parcel {
    /// A message, and the descriptor that comes with it.
    Message(Box<Handed>, Option<OwnedFd>),
    /// There is nothing more.
    Last,
}

impl Parcel {
    /// A pipe of a worker's.
    pub(super) fn pipe(output: Output) -> Self {
        let last = output.last.all();
        let message = Handed::Pipe {
            pool: output.pool,
            worker: output.worker,
            title: output.title,
            stream: output.stream,
            pending: output.pending,
            last,
        };
        Self::Message(Box::new(message), Some(output.pipe))
    }
}

/// What a pool is left with.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Where to put what is for the next relay; none while this one serves.
    parcels: Option<UnboundedSender<Parcel>>,
    /// Dropped when nothing is left.
    left: Option<UnboundedSender<()>>,
    /// Requests that the next relay was told of, by worker.
    told: BTreeMap<WorkerId, u64>,
}

impl Succession {
    /// Another relay serves.
    pub(super) const fn begun(&self) -> bool {
        self.parcels.is_some()
    }
}

/// Workers whose counts are in one message, which has room for some 4,000.
const COUNTS: usize = 1000;

impl State {
    /// Another relay serves from here on, or yet another.
    pub(super) fn hand_over(&mut self, parcels: &UnboundedSender<Parcel>) {
        let first = !self.succession.begun();
        self.succession.parcels = Some(parcels.clone());
        if first {
            self.hand_counts();
            for exit in self.ledger.exits.iter().map(Exit::told) {
                let pool = self.plan.pool;
                self.hand(Handed::Exited { pool, exit }, None);
            }
            if let Some(pool) = self.me.upgrade() {
                pool.hands_over();
                task::spawn_local(give_up(pool));
            }
        }
        // the addresses of an upstream are asked by each relay for itself, and their slots are not leased
        if self.upstream.is_none() {
            self.tell(Event::TakenOver);
        }
        for host in self.hosts.values() {
            host.connection.wake();
        }
        self.rest();
    }

    /// Gives a connection that is idle to the next relay. False: it stays.
    pub(super) fn hand_host(&self, host: &Host) -> bool {
        if self.lets_go(host) || !host.connection.open() || host.connection.deaf() {
            return false;
        }
        match host.connection.copy() {
            Ok(copy) => {
                let pool = self.plan.pool;
                let address = host.address;
                self.hand(Handed::Host { pool, address }, Some(copy))
            }
            Err(error) => {
                tracing::warn!(
                    "pool {}: could not hand a host's connection to the next relay: {error}",
                    self.name()
                );
                false
            }
        }
    }

    /// The supervisor is told when nothing is left, by the end of `left`.
    pub(super) fn leave(&mut self, left: UnboundedSender<()>) {
        self.succession.left = Some(left);
        self.rest();
    }

    /// If nothing is left, says so.
    pub(super) fn leave_if_empty(&mut self) {
        if self.succession.left.is_some() && self.hosts.is_empty() && self.dispatch.idle() {
            self.hand_counts();
            self.succession.left = None;
        }
    }

    /// What another relay has counted.
    pub(super) fn counted(&mut self, mut counts: Counts) {
        for (worker, requests) in std::mem::take(&mut counts.handed_out) {
            self.tell(Event::RequestsCounted { worker, requests });
        }
        self.ledger.add(counts);
        self.rest();
    }

    /// A slot of the worker is another relay's: the connection that was kept for it would keep that relay's out.
    pub(super) fn return_lease(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker)
            && !known.idle.is_empty()
        {
            known.idle.remove(0).drop_it();
        }
        self.say(FromRelay::LeaseReturned(worker));
    }

    fn hand_counts(&mut self) {
        let pool: PoolId = self.plan.pool;
        let mut counts = self.ledger.take_counts();
        for worker in self.workers.keys() {
            let all = self.dispatch.worker(*worker).handed_out;
            let told = self.succession.told.insert(*worker, all);
            let more = all.saturating_sub(told.unwrap_or_default());
            // an upstream's workers have numbers of this relay's own
            if more > 0 && self.upstream.is_none() {
                counts.handed_out.insert(*worker, more);
            }
            if counts.handed_out.len() == COUNTS {
                let counts = std::mem::take(&mut counts);
                self.hand(Handed::Counted { pool, counts }, None);
            }
        }
        self.hand(Handed::Counted { pool, counts }, None);
    }

    fn hand(&self, message: Handed, descriptor: Option<OwnedFd>) -> bool {
        let parcel = Parcel::Message(Box::new(message), descriptor);
        self.succession
            .parcels
            .as_ref()
            .is_some_and(|parcels| parcels.send(parcel).is_ok())
    }

    /// What has not ended in time is cut, as at a graceful stop. A slot is returned when its worker is free all the same.
    fn give_up(&mut self) {
        let mut cut = 0_usize;
        for key in self.requests.running() {
            cut += 1;
            let Some(request) = self.requests.get_mut(key) else {
                continue;
            };
            let answer = if request.worker.is_some() {
                &answers::GRACEFUL_TIMEOUT
            } else {
                &answers::RELAY_REPLACED
            };
            self.turn_away(key, answer);
        }
        for host in self.hosts.values() {
            if host.cut.get() {
                // it ends by itself, a moment later
            } else if host.has_begun() {
                host.connection.close();
            } else {
                host.connection.wake();
            }
        }
        if cut > 0 {
            let name = self.name();
            tracing::warn!(
                "pool {name}: cut {cut} requests of the relay that was replaced: graceful-timeout"
            );
        }
        self.rest();
    }
}

/// Waits for `graceful-timeout`.
async fn give_up(pool: Rc<Pool>) {
    let limit = pool.state().plan.graceful_timeout.0;
    if let Some(limit) = limit {
        sleep(limit).await;
        pool.state().give_up();
    }
}
