//! A pool whose processes somebody else runs: asks its addresses whether they answer, and gives those that do to dispatch as workers
//! (`stockade_policy::upstream` decides which).
//!
//! The supervisor knows nothing of these workers: what dispatch reports of them stays here.

use std::{
    collections::BTreeMap,
    io,
    rc::{Rc, Weak},
    time::Duration,
};

use stockade_policy::{
    Generation, PoolState, WorkerId,
    dispatch::Event as ToDispatch,
    upstream::{Action, Event, MemberId, Upstream as Machine},
};
use tokio::{task, time::timeout};

use super::{
    address::Address,
    pool::{Pool, State, Worker},
};
use crate::control::relay::UpstreamPlan;

/// The addresses.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) machine: Machine,
    addresses: BTreeMap<MemberId, Address>,
    next: u32,
    slots: u32,
    multiplexes: bool,
    /// Those whose trouble was logged, until they answer.
    silent: Vec<MemberId>,
}

impl Upstream {
    /// No addresses yet.
    pub(super) const fn new(plan: &UpstreamPlan, seed: u64) -> Self {
        Self {
            machine: Machine::new(plan.backoff, seed),
            addresses: BTreeMap::new(),
            next: 1,
            slots: plan.slots,
            multiplexes: plan.multiplexes,
            silent: Vec::new(),
        }
    }
}

impl State {
    /// The addresses are those of the plan from here on. What an address that went away still runs, it may finish.
    pub(super) fn follow_upstream(&mut self) {
        let now = self.clock.now();
        let (Some(plan), Some(upstream)) = (&self.plan.upstream, &mut self.upstream) else {
            return;
        };
        let wanted: Vec<Address> = plan.addresses.iter().filter_map(Address::of).collect();
        upstream.slots = plan.slots;
        upstream.multiplexes = plan.multiplexes;
        upstream.machine.set_backoff(plan.backoff);
        let gone: Vec<MemberId> = upstream
            .addresses
            .iter()
            .filter(|(_, address)| !wanted.contains(address))
            .map(|(member, _)| *member)
            .collect();
        for address in wanted {
            if !upstream.addresses.values().any(|known| *known == address) {
                let member = MemberId(upstream.next);
                upstream.next += 1;
                upstream.addresses.insert(member, address);
                upstream.machine.handle(Event::MemberAdded { member }, now);
            }
        }
        for member in gone {
            upstream.addresses.remove(&member);
            upstream
                .machine
                .handle(Event::MemberRemoved { member }, now);
        }
        let (slots, multiplexes) = (upstream.slots, upstream.multiplexes);
        for known in self.workers.values_mut() {
            known.slots = slots;
            if std::mem::replace(&mut known.multiplexes, multiplexes) != multiplexes {
                // what runs on a connection of the other kind ends there
                known.idle.drain(..).for_each(|link| link.trunk.retire());
                if let Some(trunk) = known.trunk.upgrade() {
                    trunk.retire();
                }
            }
        }
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            // one that is offered already takes other numbers
            self.dispatch.handle(
                ToDispatch::WorkerOffered {
                    worker,
                    slots,
                    leased: 0,
                    maximum_requests: 0,
                },
                now,
            );
        }
        self.settle_upstream();
        self.rest();
    }

    /// Something happened to an address.
    pub(super) fn tell_upstream(&mut self, event: Event) {
        let now = self.clock.now();
        if let Some(upstream) = &mut self.upstream {
            upstream.machine.handle(event, now);
        }
        self.settle_upstream();
    }

    /// Does everything that the machine has decided.
    pub(super) fn settle_upstream(&mut self) {
        while let Some(action) = self
            .upstream
            .as_mut()
            .and_then(|upstream| upstream.machine.poll_action())
        {
            match action {
                Action::AskMember { member } => self.ask(member),
                Action::OfferWorker { member, worker } => self.offer_member(member, worker),
                Action::RetireWorker { worker } => self.worker_retired(worker),
                Action::ReportPool { state } => self.report_upstream(state),
            }
        }
    }

    fn ask(&self, member: MemberId) {
        let address = self
            .upstream
            .as_ref()
            .and_then(|upstream| upstream.addresses.get(&member));
        if let (Some(pool), Some(address)) = (self.me.upgrade(), address) {
            task::spawn_local(ask(pool, member, address.clone()));
        }
    }

    fn offer_member(&mut self, member: MemberId, worker: WorkerId) {
        let now = self.clock.now();
        let Some(upstream) = &mut self.upstream else {
            return;
        };
        let Some(address) = upstream.addresses.get(&member).cloned() else {
            return;
        };
        let (slots, multiplexes) = (upstream.slots, upstream.multiplexes);
        upstream.silent.retain(|silent| *silent != member);
        tracing::info!("pool {}: upstream {address} answers", self.name());
        let known = Worker {
            address: Some(address),
            pid: 0,
            generation: Generation(1),
            age: (Duration::ZERO, now),
            template: false,
            tells: false,
            multiplexes,
            hears_leaving: false,
            slots,
            offered: true,
            retired: false,
            lines: Default::default(),
            lost: Default::default(),
            place: self.free_place(),
            obituary: Rc::default(),
            idle: Vec::new(),
            trunk: Weak::new(),
        };
        self.workers.insert(worker, known);
        self.worker_offered(worker, (slots, 0), 0, None);
    }

    /// Nothing more of it runs: it is forgotten.
    pub(super) fn forget_member(&mut self, worker: WorkerId) {
        let known = self.workers.remove(&worker);
        for link in known.into_iter().flat_map(|known| known.idle) {
            link.trunk.retire();
        }
        self.tell(ToDispatch::WorkerGone { worker });
    }

    fn report_upstream(&mut self, state: PoolState) {
        let name = self.name();
        match state {
            PoolState::Failing => tracing::warn!("pool {name}: {state}: no upstream answers"),
            PoolState::Starting | PoolState::Serving | PoolState::Stopped => {
                tracing::info!("pool {name}: {state}");
            }
        }
        self.reported(state);
    }

    fn unreachable(&mut self, member: MemberId, error: &io::Error) {
        let name = self.name();
        if let Some(upstream) = &mut self.upstream
            && !upstream.silent.contains(&member)
            && let Some(address) = upstream.addresses.get(&member)
        {
            let remedy = remedy(address, error);
            tracing::warn!("pool {name}: upstream {address} does not answer: {error}{remedy}");
            upstream.silent.push(member);
        }
        self.tell_upstream(Event::MemberUnreachable { member });
    }
}

/// Asks an address whether it takes connections.
async fn ask(pool: Rc<Pool>, member: MemberId, address: Address) {
    let limit = pool.state().plan.connect_timeout;
    let answer = match timeout(limit, address.answers()).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let mut state = pool.state();
    match answer {
        Ok(()) => state.tell_upstream(Event::MemberAnswered { member }),
        Err(error) => state.unreachable(member, &error),
    }
    state.rest();
}

fn remedy(address: &Address, error: &io::Error) -> &'static str {
    match (address, error.kind()) {
        (Address::Unix(_), io::ErrorKind::PermissionDenied) => {
            "; the account of the relay may not write to it or enter its folder: give the socket to a group that the account is in"
        }
        (Address::Unix(_), io::ErrorKind::NotFound) => {
            "; start what makes the socket, or correct `upstream`"
        }
        (_, io::ErrorKind::ConnectionRefused) => {
            "; start what listens there, or correct `upstream`"
        }
        _ => "",
    }
}
