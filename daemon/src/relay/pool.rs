//! One pool in the relay: its requests, its workers, its hosts' connections, and the machine that decides about them.
//!
//! Lives on one thread. Connections' tasks call the methods of [`State`]; none of them waits, so that everything that happens
//! to a pool happens one thing after the other. How a request goes out is in `start`, how its answer comes back in `response`,
//! what the policy decides is done in `actions`.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
    time::Duration,
};

use stockade_policy::{
    Generation, PoolId, PoolState, Time, WorkerId,
    dispatch::{Dispatch, Event},
};
use stockade_protocol::encode::{self, ProtocolStatus, Role};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use super::{
    access_log::AccessLog,
    actions::Refusals,
    address::Address,
    episode::Episode,
    exits::Lost,
    front::Host,
    ids::RequestIds,
    ledger::Ledger,
    link::Link,
    output::LastLines,
    request::Requests,
    slow::SlowLines,
    spool::Spooled,
    stack_log::StackLog,
    successor::Succession,
    trunk::{Obituary, Trunk},
    upstream::Upstream,
};
use crate::{
    clock::Clock,
    control::{FromRelay, relay::PoolPlan},
};

/// Requests on one connection whose parameters may be under way at a time: what they hold is bounded by `header-limit` alone.
const HALF_OPEN: usize = 16;

/// A pool on its thread.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: String,
    state: RefCell<State>,
    /// Idle hosts are another relay's.
    handing_over: Cell<bool>,
    /// When the timer is to fire; see [`run_timer`].
    armed: Cell<Option<Time>>,
    rearm: Notify,
    /// The pool is to be forgotten.
    removed: Cell<bool>,
    clock: Clock,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) me: Weak<Pool>,
    pub(super) clock: Clock,
    pub(super) dispatch: Dispatch,
    pub(super) requests: Requests,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) refusals: Refusals,
    /// Requests that were answered without a worker for what their hosts did, by cause.
    pub(super) turned_away: BTreeMap<String, Episode>,
    pub(super) slow_lines: SlowLines,
    pub(super) stack_log: StackLog,
    pub(super) access_log: Option<AccessLog>,
    /// It needs the heads of responses.
    pub(super) log_wants_head: bool,
    /// Hosts that do not speak FastCGI, that `socket-timeout` ended, and that may not connect.
    pub(super) malformed_hosts: Episode,
    pub(super) late_hosts: Episode,
    pub(super) strangers: Episode,
    pub(super) ledger: Ledger,
    /// Shared by those that are about to tell of an exit.
    pub(super) telling: Rc<()>,
    /// What the supervisor said of the pool last.
    pub(super) plan: PoolPlan,
    pub(super) standing: PoolState,
    /// Where the processes listen, when they are somebody else's.
    pub(super) upstream: Option<Upstream>,
    /// Links with something in their outbox that is to be written before the pool rests.
    pub(super) dirty: Vec<Rc<Link>>,
    /// The end of a response, made anew for each.
    pub(super) trailer: Vec<u8>,
    pub(super) hosts: BTreeMap<usize, Rc<Host>>,
    next_host: usize,
    /// When hosts are looked at for `socket-timeout`.
    pub(super) next_look: Option<Time>,
    pub(super) ids: RequestIds,
    /// Bodies that could not be written to a file.
    pub(super) spool_failures: Episode,
    /// What is in files.
    pub(super) spooled: Spooled,
    pub(super) report: UnboundedSender<FromRelay>,
    pub(super) succession: Succession,
    /// Listening sockets that still accept.
    listeners: usize,
    /// Addresses that hosts have connected to and that are the pool's no more.
    given_up: BTreeSet<u32>,
    draining: bool,
    drained: bool,
    all_drained: UnboundedSender<PoolId>,
}

/// A worker as the relay knows it.
#[derive(Debug)]
pub(super) struct Worker {
    /// Where it is reached; a service is not.
    pub(super) address: Option<Address>,
    /// Its process, for logs; 0: somebody else's, at `address`.
    pub(super) pid: i32,
    /// For the status.
    pub(super) generation: Generation,
    /// How old it was, and when.
    pub(super) age: (Duration, Time),
    /// It may be given requests, or might.
    pub(super) offered: bool,
    /// What it has written last.
    pub(super) lines: LastLines,
    /// Requests that it did not answer.
    pub(super) lost: Lost,
    /// The lowest number that no other worker of the pool had when it came.
    pub(super) place: u32,
    /// It is the adapter's, or one that cooperates like it: it says when a connection is not to be used again.
    pub(super) tells: bool,
    /// Workers are forked of it; it is never offered.
    pub(super) template: bool,
    /// It takes several requests at a time on one connection.
    pub(super) multiplexes: bool,
    /// The end of a request's connection tells its application that the client has gone.
    pub(super) hears_leaving: bool,
    /// Requests that it is given at a time.
    pub(super) slots: u32,
    /// It is to be given no more.
    pub(super) retired: bool,
    /// The news of its end.
    pub(super) obituary: Rc<Obituary>,
    /// Links of kept connections that run nothing; the last one used is last.
    pub(super) idle: Vec<Rc<Link>>,
    /// The connection that takes several requests, where one does.
    pub(super) trunk: Weak<Trunk>,
}

impl Pool {
    /// A pool without workers. `all_drained` is told once, when it has drained.
    pub(super) fn new(
        plan: PoolPlan,
        clock: Clock,
        seed: u64,
        report: UnboundedSender<FromRelay>,
        all_drained: UnboundedSender<PoolId>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            name: plan.name.clone(),
            state: RefCell::new(State {
                me: Weak::clone(me),
                clock,
                dispatch: Dispatch::new(plan.settings.clone(), seed),
                requests: Requests::default(),
                workers: BTreeMap::new(),
                refusals: Refusals::default(),
                turned_away: BTreeMap::new(),
                slow_lines: SlowLines::default(),
                stack_log: StackLog::default(),
                access_log: None,
                log_wants_head: false,
                malformed_hosts: Episode::default(),
                late_hosts: Episode::default(),
                strangers: Episode::default(),
                ledger: Ledger::default(),
                telling: Rc::default(),
                standing: PoolState::Starting,
                upstream: plan
                    .upstream
                    .as_ref()
                    .map(|upstream| Upstream::new(upstream, seed.rotate_left(16))),
                plan,
                dirty: Vec::new(),
                trailer: Vec::new(),
                hosts: BTreeMap::new(),
                next_host: 0,
                next_look: None,
                ids: RequestIds::new(seed.rotate_left(32)),
                spool_failures: Episode::default(),
                spooled: Spooled::default(),
                report,
                succession: Succession::default(),
                listeners: 0,
                given_up: BTreeSet::new(),
                draining: false,
                drained: false,
                all_drained,
            }),
            handing_over: Cell::new(false),
            armed: Cell::new(None),
            rearm: Notify::new(),
            removed: Cell::new(false),
            clock,
        })
    }

    /// Its state, for one step.
    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Whether idle hosts are another relay's.
    pub(super) const fn handing_over(&self) -> bool {
        self.handing_over.get()
    }

    /// They are from here on.
    pub(super) fn hands_over(&self) {
        self.handing_over.set(true);
    }

    /// Forgets the pool: what it still has is cut.
    pub(super) fn remove(&self) {
        self.removed.set(true);
        self.rearm.notify_one();
        let mut state = self.state();
        state.cut_all();
        state.drain();
    }

    /// Makes sure that the timer fires at `deadline` or before.
    pub(super) fn arm(&self, deadline: Option<Time>) {
        let Some(deadline) = deadline else { return };
        if self.armed.get().is_none_or(|armed| deadline < armed) {
            self.armed.set(Some(deadline));
            self.rearm.notify_one();
        }
    }
}

/// Calls the machine at its deadlines, for as long as the pool lives.
pub(super) async fn run_timer(pool: Rc<Pool>) {
    while !pool.removed.get() {
        let Some(deadline) = pool.armed.get() else {
            pool.rearm.notified().await;
            continue;
        };
        let at = tokio::time::Instant::from_std(pool.clock.instant(deadline));
        tokio::select! {
            () = pool.rearm.notified() => {}
            () = tokio::time::sleep_until(at) => {
                pool.armed.set(None);
                pool.state().time_passed();
            }
        }
    }
}

impl State {
    /// For logs.
    pub(super) fn name(&self) -> String {
        self.me
            .upgrade()
            .map_or_else(String::new, |pool| pool.name.clone())
    }

    /// Whether the pool accepts no more.
    pub(super) const fn draining(&self) -> bool {
        self.draining
    }

    /// Whether the host's connection ends when it is idle.
    pub(super) fn lets_go(&self, host: &Host) -> bool {
        self.draining || self.given_up.contains(&host.address)
    }

    /// The pool has these addresses no more: hosts that are idle there are let go.
    pub(super) fn give_up_addresses(&mut self, addresses: &[u32]) {
        self.given_up.extend(addresses);
        for host in self.hosts.values() {
            if self.given_up.contains(&host.address) {
                host.connection.wake();
            }
        }
    }

    /// Tells the machine, and does what it says.
    pub(super) fn tell(&mut self, event: Event) {
        self.dispatch.handle(event, self.clock.now());
        self.settle();
    }

    /// Says something to the supervisor.
    pub(super) fn say(&self, message: FromRelay) {
        if self.report.send(message).is_err() {
            tracing::debug!(
                "pool {}: nobody takes {message:?}: the relay is ending",
                self.name()
            );
        }
    }

    /// The end of every step: what is to be written is written, the timer is set.
    pub(super) fn rest(&mut self) {
        while let Some(link) = self.dirty.pop() {
            link.flush();
            if link.trunk.connection.deaf() && !link.touched() {
                self.stale(&link);
            } else if let Some(key) = link.request.get() {
                self.weigh_body(key);
            }
        }
        if let Some(pool) = self.me.upgrade() {
            pool.arm(self.dispatch.poll_timeout());
            pool.arm(self.next_look);
            pool.arm(
                self.upstream
                    .as_ref()
                    .and_then(|upstream| upstream.machine.poll_timeout()),
            );
        }
        if self.draining && !self.drained && self.hosts.is_empty() && self.dispatch.idle() {
            self.drained = true;
            if self.all_drained.send(self.plan.pool).is_err() {
                tracing::debug!("pool {}: drained while the relay is ending", self.name());
            }
        }
        self.leave_if_empty();
    }

    fn time_passed(&mut self) {
        let now = self.clock.now();
        self.dispatch.handle_timeout(now);
        self.settle();
        if let Some(upstream) = &mut self.upstream {
            upstream.machine.handle_timeout(now);
            self.settle_upstream();
        }
        self.look_at_hosts(now);
        self.rest();
    }

    /// One more listening socket accepts.
    pub(super) fn listener_came(&mut self) {
        self.listeners += 1;
    }

    /// A listening socket accepts no more. With the last one, idle hosts are let go, and the others when their answers are written.
    pub(super) fn listener_left(&mut self) {
        self.listeners = self.listeners.saturating_sub(1);
        if self.listeners == 0 {
            self.drain();
        }
    }

    /// The pool is to go; it says again that it has drained, for that was not listened to before. Listening sockets that have not taken
    /// what the kernel has accepted are waited for.
    pub(super) fn close(&mut self) {
        self.drained = false;
        if self.listeners == 0 {
            self.drain();
        }
    }

    /// Idle hosts are let go, and the others when their answers are written.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        for host in self.hosts.values() {
            host.connection.wake();
        }
        self.rest();
    }

    // what hosts do

    /// A host connected.
    pub(super) fn host_came(&mut self, host: &Rc<Host>) {
        host.number.set(self.next_host);
        self.hosts.insert(self.next_host, Rc::clone(host));
        self.next_host += 1;
        self.expect_look();
        if let Some(pool) = self.me.upgrade() {
            pool.arm(self.next_look);
        }
    }

    /// A host's connection ended.
    pub(super) fn host_left(&mut self, host: &Rc<Host>) {
        self.hosts.remove(&host.number.get());
        self.ledger.received += host.connection.received();
        self.ledger.sent += host.connection.sent();
        let active = std::mem::take(&mut *host.active.borrow_mut());
        for (_, key) in active {
            self.host_gone(key);
        }
        self.rest();
    }

    /// BEGIN_REQUEST.
    pub(super) fn begin(&mut self, host: &Rc<Host>, id: u16, role: Role, keep_conn: bool) {
        if self.half_open(host) >= HALF_OPEN {
            self.reject(host, id, ProtocolStatus::CantMpxConn);
            return;
        }
        let key = self.requests.insert(Rc::clone(host), id, role);
        if let Some(request) = self.requests.get_mut(key) {
            request.seen.keep_conn = keep_conn;
            request.seen.begun = self.access_log.as_ref().map(|_| self.clock.now());
        }
        host.active.borrow_mut().push((id, key));
    }

    /// Requests of the host without all their parameters.
    fn half_open(&mut self, host: &Host) -> usize {
        let active = host.active.borrow();
        if active.len() < HALF_OPEN {
            return 0;
        }
        let unfinished = active.iter().filter(|(_, key)| {
            let request = self.requests.get_mut(*key);
            request.is_some_and(|request| !request.params_ended)
        });
        unfinished.count()
    }

    /// END_REQUEST with a status other than complete.
    pub(super) fn reject(&self, host: &Host, id: u16, status: ProtocolStatus) {
        tracing::debug!(
            "pool {}: rejected request id {id} of a host: {status:?}",
            self.name()
        );
        host.reply(|out| {
            encode::end_request(out, id, 0, status);
        });
        host.answered(id);
    }

    /// ABORT_REQUEST: the host wants no answer.
    pub(super) fn abort(&mut self, host: &Host, id: u16) {
        let Some(key) = host.request(id) else { return };
        host.reply(|out| {
            encode::end_request(out, id, 0, ProtocolStatus::RequestComplete);
        });
        host.answered(id);
        self.host_gone(key);
    }
}
