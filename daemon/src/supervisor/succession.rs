//! Relays come and go while workers stay: what each is told, and whose the slots are (`leases`).
//!
//! A relay that asks to be replaced goes on until the next one, started beside it, was told everything and says that it serves. Then every
//! slot is still the old one's, until it returns it. Of slots that a dead relay had nobody knows anything until their worker answers.

use stockade_policy::{
    PoolId, Time, WorkerId,
    supervision::{Cause, Event},
};

use super::{
    relay_life::{Heard, RelayNumber, Role},
    relay_process::Buried,
    shell::Shell,
    workers::Worker,
};
use crate::control::{FromRelay, ToRelay};

/// Requests of replaced relays that may wait for a slot; a relay that goes mad is not to fill our memory.
const MAX_WANTING: usize = 100_000;

impl Shell {
    /// Something came of a relay.
    pub(super) fn heard(&mut self, from: RelayNumber, heard: Heard) {
        let said = match heard {
            Heard::Said(said) => said,
            Heard::Gone => return self.relay_gone(from),
        };
        match said {
            FromRelay::WorkerAnswered(worker) => self.answered(worker),
            FromRelay::WorkerServed(worker) => self.served(worker),
            FromRelay::SampleWanted => self.sample_wanted(from),
            FromRelay::StacksWanted(worker) => self.stacks_wanted(from, worker),
            FromRelay::MaximumRequestsReached(worker) => self.has_answered_many(worker),
            FromRelay::RequestTimedOut(worker) => {
                self.tell_machine(Event::RequestTimedOut { worker });
            }
            FromRelay::WorkerRecovered(worker) => self.recovered(worker),
            FromRelay::WorkerBroke(worker) => self.tell_machine(Event::WorkerBroke { worker }),
            FromRelay::WorkerDrained(worker) => self.drained(from, worker),
            FromRelay::Drained => {
                if self.relay.role(from) == Some(Role::Serving) {
                    self.relay.has_drained();
                    self.drained_when_all_have();
                }
            }
            FromRelay::LeaseReturned(worker) => self.lease_returned(from, worker),
            FromRelay::SlotWanted(pool) => {
                let former = self.relay.role(from) == Some(Role::Former);
                if former && self.wanting.len() < MAX_WANTING {
                    self.wanting.push_back((pool, from));
                    self.relay
                        .tell_serving(&ToRelay::SlotWanted { pool }, Vec::new());
                }
            }
            FromRelay::PoolUsed {
                pool,
                busy,
                waiting,
            } => self.pool_used(from, pool, busy, waiting),
            FromRelay::WorkerShed(worker) => self.tell_machine(Event::WorkerShed { worker }),
            FromRelay::WorkerInactive(worker) => {
                let cause = Cause::Inactivity;
                self.tell_machine(Event::WorkerTired { worker, cause });
            }
            FromRelay::Serving => self.relay_serves(from),
            FromRelay::ReplaceMe => self.replace_relay(from),
            FromRelay::WorkerProbed(worker) => self.tell_machine(Event::WorkerReady { worker }),
            FromRelay::PoolDrained(pool) => {
                if self.relay.role(from) == Some(Role::Serving) {
                    self.retire_pool(pool);
                }
            }
            FromRelay::PoolChanged(pool) => {
                if self.relay.role(from) == Some(Role::Serving) {
                    self.relay_heard_of(pool);
                }
            }
        }
    }

    /// It has answered a request.
    fn served(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.usage.served = true;
        }
        self.tell_machine(Event::WorkerServed { worker });
    }

    /// Another relay serves than the one that was to say that it has heard of a reload: it is told again, behind all that it was told
    /// before.
    fn ask_again(&mut self) {
        let asked: Vec<_> = (self.pools.values())
            .filter(|record| record.is_finishing())
            .map(|record| (record.id, record.changed(&self.access_logs)))
            .collect();
        for (pool, messages) in asked {
            if !self.relay.is_there() {
                self.relay_heard_of(pool);
            }
            for (message, descriptors) in messages {
                self.relay.tell_serving(&message, descriptors);
            }
        }
    }

    /// Starts a new relay and hands everything over.
    pub(super) fn restart_relay(&mut self, now: Time) {
        match self.relay.start(&self.spawner, now) {
            Ok(launch) => {
                tokio::spawn(async move {
                    // Its process ends by itself, and is started again.
                    if let Err(failure) = launch.outcome().await {
                        tracing::error!("relay not started: {failure}");
                    }
                });
                self.tell_everything(Role::Serving);
            }
            Err(failure) => tracing::error!("relay not started: {failure}"),
        }
    }

    /// Tells the relay that was started last, which knows nothing, everything.
    pub(super) fn tell_everything(&mut self, role: Role) {
        let logs = &self.access_logs;
        let pools = (self.pools.values()).flat_map(|record| record.handover(logs));
        let now = self.clock.now();
        let workers = self
            .workers
            .values_mut()
            .flat_map(|worker| worker.handover(role, now));
        for (message, descriptors) in pools.chain(workers) {
            self.relay.tell_newest(&message, descriptors);
        }
        self.relay.let_serve();
    }

    fn replace_relay(&mut self, from: RelayNumber) {
        let now = self.clock.now();
        match self.relay.start_next(from, &self.spawner, now) {
            None => tracing::debug!("relay not replaced: it is not the time for it"),
            Some(Ok(launch)) => {
                tracing::info!("relay: another is started in its place");
                tokio::spawn(async move {
                    if let Err(failure) = launch.outcome().await {
                        tracing::error!("relay not replaced: {failure}");
                    }
                });
                self.tell_everything(Role::Next);
            }
            Some(Err(failure)) => tracing::error!("relay not replaced: {failure}"),
        }
    }

    fn relay_serves(&mut self, number: RelayNumber) {
        // those that still want a slot ask the one that serves again
        self.wanting.clear();
        let Some(replaced) = self.relay.serves(number) else {
            return;
        };
        self.ask_again();
        for known in self.workers.values_mut() {
            known.leases.replaced(replaced);
            // the one that was replaced may end before they answer it
            let is_doubted = known.leases.unknown() > 0 && known.may_be_asked();
            if known.is_asked() || is_doubted {
                let doubted = known.doubted();
                self.relay.tell_serving(&doubted, Vec::new());
            }
            if let Some(probed) = known.probed_again() {
                self.relay.tell_serving(&probed, Vec::new());
            }
        }
    }

    fn relay_gone(&mut self, number: RelayNumber) {
        let now = self.clock.now();
        let buried = self.relay.bury(number, now);
        for known in self.workers.values_mut() {
            let lost = match buried {
                Some(Buried::Former) => known.leases.former_gone(number),
                Some(Buried::Serving) => {
                    known.leases.serving_gone();
                    known.leases.unknown() > 0
                }
                Some(Buried::Next) | None => false,
            };
            // a relay that is started later is told to ask them
            if lost && known.may_be_asked() {
                known.expect_answer(now);
            }
            let unasked = buried == Some(Buried::Serving) && known.is_asked();
            if (lost && known.may_be_asked()) || unasked {
                let doubted = known.doubted();
                self.relay.tell_serving(&doubted, Vec::new());
            }
            let is_next = buried == Some(Buried::Serving);
            if let Some(probed) = known.probed_again().filter(|_| is_next) {
                self.relay.tell_serving(&probed, Vec::new());
            }
        }
        if buried == Some(Buried::Serving) {
            self.ask_again();
        }
        self.wanting.retain(|(_, of)| *of != number);
        self.drained_by_the_others();
        self.drained_when_all_have();
        self.reap_strangers();
    }

    /// A slot that one relay does not use goes to the one that is to have it.
    fn lease_returned(&mut self, from: RelayNumber, worker: WorkerId) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        let pool = known.description.pool;
        let returned = ToRelay::LeaseReturned {
            pool,
            worker,
            slots: 1,
        };
        match self.relay.role(from) {
            Some(Role::Former) if known.leases.returned(from) => {
                self.relay.tell_serving(&returned, Vec::new());
            }
            Some(Role::Serving) => match next_wanting(&mut self.wanting, pool) {
                Some(of) => {
                    known.leases.lent(of);
                    self.relay.tell_one(of, &returned);
                }
                None => self.relay.tell_serving(&returned, Vec::new()),
            },
            Some(Role::Former | Role::Next) | None => {
                tracing::debug!("{}: a relay returned what it had not", known.name());
            }
        }
    }

    /// A worker answered: it is ready; or it was, and what a dead relay had of it is free.
    fn answered(&mut self, worker: WorkerId) {
        let known = self
            .workers
            .get_mut(&worker)
            .filter(|known| known.description.offered);
        let Some(known) = known else {
            return self.came_up(worker);
        };
        known.description.answer_due = None;
        let slots = known.leases.answered();
        if slots > 0 {
            let pool = known.description.pool;
            let returned = ToRelay::LeaseReturned {
                pool,
                worker,
                slots,
            };
            self.relay.tell_serving(&returned, Vec::new());
        }
    }

    /// Nothing runs in a retired worker as far as this relay knows.
    fn drained(&mut self, relay: RelayNumber, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.drained.insert(relay);
        }
        self.drained_by_all(worker);
    }

    fn drained_by_the_others(&mut self) {
        let retired = |worker: &&Worker| !worker.drained.is_empty();
        let workers: Vec<WorkerId> = self
            .workers
            .values()
            .filter(retired)
            .map(|known| known.description.worker)
            .collect();
        for worker in workers {
            self.drained_by_all(worker);
        }
    }

    fn drained_by_all(&mut self, worker: WorkerId) {
        let all = self.workers.get(&worker).is_none_or(|known| {
            let mut working = self.relay.working();
            working.all(|relay| known.drained.contains(&relay))
        });
        if all {
            self.tell_machine(Event::WorkerDrained { worker });
        }
    }

    pub(super) fn drained_when_all_have(&mut self) {
        if self.relay.all_drained() {
            self.tell_machine(Event::RelayDrained);
        }
    }
}

/// Whose request has waited longest for a slot of the pool.
fn next_wanting(
    wanting: &mut std::collections::VecDeque<(PoolId, RelayNumber)>,
    pool: PoolId,
) -> Option<RelayNumber> {
    let place = wanting.iter().position(|(of, _)| *of == pool)?;
    wanting.remove(place).map(|(_, number)| number)
}
