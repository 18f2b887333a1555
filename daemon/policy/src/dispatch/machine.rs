//! The dispatch machine: its contract and its switchboard.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use super::leases::Leases;
use super::load::Load;
use super::queue::Queue;
use super::requests::Requests;
use super::vocabulary::{Action, Event, Settings, Snapshot, WorkerFigures};
use super::workers::{Worker, Workers};
use crate::{PoolState, Random, Time, WorkerId};

/// Decides for one pool which request goes to which worker, and when one has waited or run too long.
///
/// Serialised, it is the whole state: what was read back goes on as if nothing had happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dispatch {
    pub(super) settings: Settings,
    pub(super) pool: PoolState,
    pub(super) requests: Requests,
    pub(super) workers: Workers,
    /// Only what waits for a slot: when it is not empty, no slot is free.
    pub(super) queue: Queue,
    pub(super) drain: Drain,
    pub(super) leases: Leases,
    pub(super) random: Random,
    /// No running request's deadline is before this; there may be none at it.
    pub(super) next_check: Option<Time>,
    /// No running request becomes slow before this; see `slow`.
    pub(super) next_slow: Option<Time>,
    /// No worker has been idle for `inactivity-timeout` before this; see `inactivity`.
    pub(super) next_inactive: Option<Time>,
    /// When the watchdog looks; see `watchdog`.
    pub(super) next_watch: Option<Time>,
    /// How often it found something.
    pub(super) healed: u64,
    pub(super) load: Load,
    /// The latest time that was told: time does not go back.
    pub(super) latest: Time,
    actions: VecDeque<Action>,
}

impl Dispatch {
    /// A pool without workers, of which supervision has said nothing yet: requests wait.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            pool: PoolState::Starting,
            requests: Requests::default(),
            workers: Workers::default(),
            queue: Queue::default(),
            drain: Drain::default(),
            leases: Leases::default(),
            random: Random::new(seed),
            next_check: None,
            next_slow: None,
            next_inactive: None,
            next_watch: None,
            healed: 0,
            load: Load::default(),
            latest: Time::default(),
            actions: VecDeque::new(),
        }
    }

    /// A reload changed keys: they hold at once, for what waits and runs too. What waits beyond a lower `queue-limit`
    /// stays.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.settings.scale != settings.scale {
            self.forget_load();
        }
        self.settings = settings;
        self.next_inactive = self.earliest_inactive();
        self.next_check = self.earliest_deadline();
        self.next_slow = self.earliest_slow();
    }

    /// Something happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        let now = self.advance(now);
        match event {
            Event::WorkerOffered {
                worker,
                slots,
                leased,
                maximum_requests,
            } => self.worker_offered(worker, slots, leased, maximum_requests),
            Event::PoolShed { count } => self.pool_shed(count, now),
            Event::LeaseReturned { worker, slots } => self.lease_returned(worker, slots),
            Event::SlotWanted => self.slot_wanted(),
            Event::TakenOver => self.taken_over(),
            Event::RequestsCounted { worker, requests } => {
                self.requests_counted(worker, requests, now);
            }
            Event::WorkerRetired { worker } => self.worker_retired(worker, now),
            Event::WorkerOverdue { worker } => self.worker_overdue(worker, now),
            Event::WorkerGone { worker } => self.worker_gone(worker),
            Event::WorkerBroke { worker } => self.worker_broke(worker),
            Event::PoolReported { state } => self.pool_reported(state, now),
            Event::RequestArrived {
                request,
                idempotent,
            } => self.request_arrived(request, idempotent, now),
            Event::BodyAwaited { request } => self.body_awaited(request, now),
            Event::BodyResumed { request } => self.body_resumed(request, now),
            Event::HeadReceived { request } => self.head_received(request, now),
            Event::ResponseHeard { request, at } => self.response_heard(request, at, now),
            Event::RequestEnded { request } => self.request_ended(request, now),
            Event::RequestFailed {
                request,
                sent,
                held,
            } => self.request_failed(request, sent, held, now),
            Event::HostGone { request } => self.host_gone(request),
        }
        self.settle_entry(now);
    }

    /// A deadline may have been reached.
    pub fn handle_timeout(&mut self, now: Time) {
        let now = self.advance(now);
        self.watch(now);
        self.expire_waiting(now);
        self.note_slow(now);
        self.note_inactive(now);
        self.time_out_running(now);
        self.settle_entry(now);
    }

    /// The next thing to do; None: nothing more for now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before; it may be for nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            self.next_expiry(),
            self.next_check,
            self.next_slow,
            self.next_inactive,
            self.next_watch,
            self.next_load_report(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How slots and queue stand.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            queued: self.queue.length(),
            oldest: self.oldest(),
            healed: self.healed,
            ..Snapshot::default()
        };
        for (_, worker) in self.workers.iter() {
            snapshot.busy = snapshot.busy.saturating_add(worker.busy());
            snapshot.idle = snapshot.idle.saturating_add(worker.free());
        }
        snapshot
    }

    /// How a worker stands; all zero for one that was never offered.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> WorkerFigures {
        let place = self.workers.find(worker);
        place
            .and_then(|place| self.workers.at(place))
            .map(Worker::figures)
            .unwrap_or_default()
    }

    /// Nothing waits and nothing runs.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.requests.live() == 0
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// What every entry ends with.
    fn settle_entry(&mut self, now: Time) {
        self.lend_slots();
        self.hand_out_waiting(now);
        self.hand_over_slots();
        self.shed_idle(now);
        self.drain.observe(self.workers.all_busy(), now);
        self.expect_watch(now);
        self.report_load(now);
        if cfg!(debug_assertions) {
            self.check();
        }
    }
}
