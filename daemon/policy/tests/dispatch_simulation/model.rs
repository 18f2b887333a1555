//! The model: what is so, kept in the plainest way.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stockade_policy::dispatch::{Event, RequestKey, Settings};
use stockade_policy::{PoolState, Time, WorkerId};

pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) pool: PoolState,
    pub(crate) now: Time,
    pub(crate) requests: BTreeMap<RequestKey, Request>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Who waits: those handed out before, and the new ones.
    pub(crate) replays: VecDeque<RequestKey>,
    pub(crate) arrivals: VecDeque<RequestKey>,
    /// Slots that another relay wants of this one.
    pub(crate) wanted: u32,
    /// Another has taken over.
    pub(crate) taken_over: bool,
    /// Slots that were asked of it and have not come.
    pub(crate) asked: u32,
    /// Of `scale`: the most workers that were busy at once, as told last, and when it was told that requests wait.
    pub(crate) told_busy: u32,
    pub(crate) told_waiting: Option<Time>,
    /// Workers that are to go as they become idle, until then.
    pub(crate) to_shed: u32,
    pub(crate) shed_until: Time,
    /// Reports that must come before the entry is over.
    pub(crate) due: BTreeSet<(WorkerId, &'static str)>,
}

pub(crate) struct Request {
    pub(crate) idempotent: bool,
    pub(crate) host_gone: bool,
    /// It was told of as slow.
    pub(crate) slow: bool,
    /// How it failed so far: had something been sent?
    pub(crate) failures: Vec<bool>,
    pub(crate) life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Life {
    Waiting {
        since: Time,
    },
    Running(Run),
    /// Undecided: the machine has to say what becomes of it before the entry is over.
    Failed {
        held: bool,
        head: bool,
    },
    /// Undecided: it has to be cut off.
    Overdue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) worker: WorkerId,
    pub(crate) since: Time,
    pub(crate) head: bool,
    pub(crate) spent: Duration,
    pub(crate) counting_since: Option<Time>,
    /// Behind the head: since when the worker is silent, as far as the machine was told.
    pub(crate) silent_since: Option<Time>,
    /// The machine has asked since when.
    pub(crate) asked: bool,
    /// It was answered for its worker, which is interrupted.
    pub(crate) over: bool,
}

#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) slots: u32,
    pub(crate) maximum_requests: u64,
    pub(crate) handed_out: u64,
    pub(crate) running: u32,
    pub(crate) lost: u32,
    pub(crate) leased: u32,
    pub(crate) suspect: bool,
    pub(crate) set_aside: bool,
    pub(crate) retired: bool,
    pub(crate) gone: bool,
    pub(crate) told: BTreeSet<&'static str>,
    /// Since when it has had nothing to do, if somebody is to be told.
    pub(crate) idle_since: Option<Time>,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            pool: PoolState::Starting,
            now: Time::default(),
            requests: BTreeMap::new(),
            workers: BTreeMap::new(),
            replays: VecDeque::new(),
            arrivals: VecDeque::new(),
            wanted: 0,
            taken_over: false,
            asked: 0,
            told_busy: 0,
            told_waiting: None,
            to_shed: 0,
            shed_until: Time::default(),
            due: BTreeSet::new(),
        }
    }

    /// The facts of an event, before the machine says anything to it.
    pub(crate) fn happened(&mut self, event: Event) {
        match event {
            Event::PoolShed { count } => {
                self.to_shed = count;
                self.shed_until = self.now.after(Duration::from_secs(4));
            }
            Event::WorkerOffered {
                worker,
                slots,
                leased,
                maximum_requests,
            } => self.offered(worker, slots, leased, maximum_requests),
            Event::LeaseReturned { worker, slots } => self.lease_returned(worker, slots),
            Event::SlotWanted => self.wanted += 1,
            Event::TakenOver => {
                self.taken_over = true;
                self.wanted = 0;
                self.asked = 0;
            }
            Event::RequestsCounted { worker, requests } => self.counted(worker, requests),
            Event::WorkerRetired { worker } => match self.workers.get_mut(&worker) {
                Some(known) => {
                    known.retired = true;
                    self.give_up_interrupted(worker);
                }
                None => {
                    self.due.insert((worker, "drained"));
                }
            },
            Event::WorkerOverdue { worker } => self.overdue(worker),
            Event::WorkerGone { worker } => self.gone(worker),
            Event::WorkerBroke { .. } if self.settings.shared => {}
            Event::WorkerBroke { worker } => self.set_aside(worker, "broken"),
            Event::PoolReported { state } => self.pool = state,
            Event::RequestArrived {
                request,
                idempotent,
            } => self.arrived(request, idempotent),
            Event::BodyAwaited { request } => self.body_awaited(request),
            Event::BodyResumed { request } => self.body_resumed(request),
            Event::HeadReceived { request } => self.head_received(request),
            Event::ResponseHeard { request, at } => self.response_heard(request, at),
            Event::RequestEnded { request } => self.ended(request),
            Event::RequestFailed {
                request,
                sent,
                held,
            } => self.failed(request, sent, held),
            Event::HostGone { request } => self.host_gone(request),
        }
    }

    pub(crate) fn deadline(&self, key: RequestKey) -> Option<Time> {
        match self.requests[&key].life {
            Life::Waiting { since } => self.settings.queue_timeout.deadline(since),
            Life::Running(run) => self.times(&run).into_iter().flatten().min(),
            Life::Failed { .. } | Life::Overdue => None,
        }
    }

    /// When it is to be told of as slow.
    pub(crate) fn slow_at(&self, key: RequestKey) -> Option<Time> {
        match self.requests[&key] {
            Request {
                slow: false,
                life: Life::Running(run),
                ..
            } if !run.over => self.settings.slow_request.deadline(run.since),
            _ => None,
        }
    }

    /// When `request-timeout`, `response-timeout` and `total-timeout` are over.
    pub(crate) fn times(&self, run: &Run) -> [Option<Time>; 3] {
        if run.over {
            return [None; 3];
        }
        let settings = &self.settings;
        let left = |limit: Duration| limit.saturating_sub(run.spent);
        [
            run.counting_since
                .and_then(|since| Some(since.after(left(settings.request_timeout.0?)))),
            run.silent_since
                .filter(|_| !run.asked)
                .and_then(|since| settings.response_timeout.deadline(since)),
            settings.total_timeout.deadline(run.since),
        ]
    }

    fn offered(&mut self, worker: WorkerId, slots: u32, leased: u32, maximum_requests: u64) {
        let known = self.workers.entry(worker).or_insert_with(|| Worker {
            leased,
            ..Worker::default()
        });
        if known.usable() {
            known.slots = slots;
            known.maximum_requests = maximum_requests;
            self.note_used_up(worker);
        }
    }

    fn lease_returned(&mut self, worker: WorkerId, slots: u32) {
        self.asked = self.asked.saturating_sub(slots);
        if let Some(known) = self.workers.get_mut(&worker) {
            known.leased = known.leased.saturating_sub(slots);
        }
    }

    fn counted(&mut self, worker: WorkerId, requests: u64) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.handed_out += requests;
            self.note_used_up(worker);
            self.note_idle(worker);
        }
    }

    fn gone(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.gone = true;
            known.lost = 0;
            known.leased = 0;
        }
        self.forget_gone(worker);
    }

    fn body_awaited(&mut self, key: RequestKey) {
        let now = self.now;
        let over = self.requests.contains_key(&key)
            && self.deadline(key).is_some_and(|deadline| deadline <= now);
        if !over
            && let Some(run) = self.run_mut(key)
            && let Some(since) = run.counting_since.take()
        {
            run.spent += now.since(since);
        }
    }

    fn body_resumed(&mut self, key: RequestKey) {
        let now = self.now;
        if let Some(run) = self.run_mut(key)
            && !run.head
            && !run.over
        {
            run.counting_since = run.counting_since.or(Some(now));
        }
    }

    fn arrived(&mut self, request: RequestKey, idempotent: bool) {
        let since = self.now;
        self.arrivals.push_back(request);
        self.requests.insert(
            request,
            Request {
                idempotent,
                host_gone: false,
                slow: false,
                failures: Vec::new(),
                life: Life::Waiting { since },
            },
        );
    }

    fn head_received(&mut self, key: RequestKey) {
        let now = self.now;
        if let Some(run) = self.run_mut(key)
            && !run.over
        {
            run.head = true;
            run.counting_since = None;
            run.silent_since = run.silent_since.or(Some(now));
        }
    }

    fn response_heard(&mut self, key: RequestKey, at: Time) {
        let now = self.now;
        if let Some(run) = self.run_mut(key)
            && core::mem::take(&mut run.asked)
        {
            run.silent_since = run.silent_since.max(Some(at.min(now)));
        }
    }

    fn ended(&mut self, key: RequestKey) {
        let Some(&mut run) = self.run_mut(key) else {
            return;
        };
        self.requests.remove(&key);
        self.worker(run.worker).running -= 1;
        self.note_idle(run.worker);
        let known = self.worker(run.worker);
        if run.head {
            known.suspect = false;
            if !known.told.contains("served") {
                self.due.insert((run.worker, "served"));
            }
        }
        self.note_recovered(run);
        self.forget_gone(run.worker);
    }

    fn failed(&mut self, key: RequestKey, sent: bool, held: bool) {
        let Some(&mut run) = self.run_mut(key) else {
            return;
        };
        self.worker(run.worker).running -= 1;
        self.note_idle(run.worker);
        if self.live(key).host_gone {
            self.requests.remove(&key);
            self.note_recovered(run);
        } else {
            let head = run.head;
            self.live(key).failures.push(sent);
            self.live(key).life = Life::Failed { held, head };
            if sent {
                self.worker(run.worker).suspect = true;
            } else {
                self.set_aside(run.worker, "broken");
            }
        }
        self.forget_gone(run.worker);
    }

    fn host_gone(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(&key) else {
            return;
        };
        match request.life {
            Life::Waiting { .. } => self.end(key),
            _ => request.host_gone = true,
        }
    }

    fn overdue(&mut self, worker: WorkerId) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        known.set_aside = true;
        self.give_up_interrupted(worker);
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        let lost = core::mem::take(&mut known.running);
        if !known.gone {
            known.lost += lost;
        }
        for request in self.requests.values_mut() {
            if matches!(request.life, Life::Running(run) if run.worker == worker) {
                request.life = Life::Overdue;
            }
        }
        self.forget_gone(worker);
    }

    pub(crate) fn set_aside(&mut self, worker: WorkerId, report: &'static str) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        known.set_aside = true;
        if !known.gone && !known.told.contains(report) {
            self.due.insert((worker, report));
        }
    }

    pub(crate) fn note_used_up(&mut self, worker: WorkerId) {
        let known = &self.workers[&worker];
        let used_up = known.maximum_requests != 0 && known.handed_out >= known.maximum_requests;
        if used_up && !known.told.contains("maximum") {
            self.due.insert((worker, "maximum"));
        }
    }

    /// The request was answered for the worker, which is still at it.
    pub(crate) fn lose(&mut self, request: RequestKey, worker: WorkerId) {
        self.requests.remove(&request);
        let known = self.worker(worker);
        known.running -= 1;
        if !known.gone {
            known.lost += 1;
        }
        self.forget_gone(worker);
    }

    /// The request was answered for the worker, and its slot is free.
    pub(crate) fn leave(&mut self, request: RequestKey, worker: WorkerId) {
        self.requests.remove(&request);
        self.worker(worker).running -= 1;
        self.note_idle(worker);
        self.forget_gone(worker);
    }

    /// A worker that is gone, with nothing running, is heard of no more.
    fn forget_gone(&mut self, worker: WorkerId) {
        let over = |known: &Worker| known.gone && known.running == 0;
        if self.workers.get(&worker).is_some_and(over) {
            self.workers.remove(&worker);
        }
    }

    pub(crate) fn end(&mut self, request: RequestKey) {
        self.leave_lanes(request);
        self.requests.remove(&request);
    }

    pub(crate) fn leave_lanes(&mut self, request: RequestKey) {
        self.replays.retain(|key| *key != request);
        self.arrivals.retain(|key| *key != request);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.replays.len() + self.arrivals.len()
    }

    pub(crate) fn worker(&mut self, worker: WorkerId) -> &mut Worker {
        self.workers
            .get_mut(&worker)
            .expect("a request runs in a worker that is known")
    }

    pub(crate) fn pool_takes(&self) -> bool {
        matches!(self.pool, PoolState::Starting | PoolState::Serving)
    }

    /// An action may only name a request that has not been answered.
    pub(crate) fn live(&mut self, key: RequestKey) -> &mut Request {
        self.requests
            .get_mut(&key)
            .expect("it has not been answered before")
    }

    pub(crate) fn run_mut(&mut self, key: RequestKey) -> Option<&mut Run> {
        match &mut self.requests.get_mut(&key)?.life {
            Life::Running(run) => Some(run),
            _ => None,
        }
    }
}

impl Worker {
    pub(crate) fn usable(&self) -> bool {
        !(self.set_aside || self.retired || self.gone)
    }

    pub(crate) fn free(&self) -> u32 {
        if self.usable() {
            self.slots.saturating_sub(self.busy())
        } else {
            0
        }
    }

    pub(crate) fn busy(&self) -> u32 {
        self.running + self.lost + self.leased
    }

    /// Its place in the choice, lowest first; None: it has no slot to give.
    pub(crate) fn rank(&self) -> Option<(bool, u32)> {
        (self.free() > 0).then_some((self.suspect, self.busy()))
    }
}
