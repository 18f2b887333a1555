//! The model: what is so, kept in the plainest way, and the laws every action is judged by.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stockade_policy::dispatch::{
    Action, Event, RefusalCause, RequestKey, Retry, Settings, Snapshot,
};
use stockade_policy::{PoolState, Time, WorkerId};

pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) pool: PoolState,
    pub(crate) now: Time,
    pub(crate) requests: BTreeMap<RequestKey, Request>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Who waits: those handed out before, and the new ones.
    replays: VecDeque<RequestKey>,
    arrivals: VecDeque<RequestKey>,
    /// Reports that must come before the entry is over.
    due: BTreeSet<(WorkerId, &'static str)>,
}

pub(crate) struct Request {
    idempotent: bool,
    host_gone: bool,
    /// How it failed so far: had something been sent?
    failures: Vec<bool>,
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
    pub(crate) head: bool,
    spent: Duration,
    counting_since: Option<Time>,
}

#[derive(Default)]
pub(crate) struct Worker {
    slots: u32,
    maximum_requests: u64,
    handed_out: u64,
    running: u32,
    lost: u32,
    suspect: bool,
    set_aside: bool,
    retired: bool,
    gone: bool,
    told: BTreeSet<&'static str>,
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
            due: BTreeSet::new(),
        }
    }

    /// The facts of an event, before the machine says anything to it.
    pub(crate) fn happened(&mut self, event: Event) {
        match event {
            Event::WorkerOffered {
                worker,
                slots,
                maximum_requests,
            } => {
                let known = self.workers.entry(worker).or_default();
                if known.usable() {
                    known.slots = slots;
                    known.maximum_requests = maximum_requests;
                    self.note_used_up(worker);
                }
            }
            Event::WorkerRetired { worker } => match self.workers.get_mut(&worker) {
                Some(known) => known.retired = true,
                None => {
                    self.due.insert((worker, "drained"));
                }
            },
            Event::WorkerOverdue { worker } => self.overdue(worker),
            Event::WorkerGone { worker } => {
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.gone = true;
                    known.lost = 0;
                }
                self.forget_gone(worker);
            }
            Event::WorkerBroke { worker } => self.set_aside(worker, "broken"),
            Event::PoolReported { state } => self.pool = state,
            Event::RequestArrived {
                request,
                idempotent,
            } => {
                let since = self.now;
                self.arrivals.push_back(request);
                self.requests.insert(
                    request,
                    Request {
                        idempotent,
                        host_gone: false,
                        failures: Vec::new(),
                        life: Life::Waiting { since },
                    },
                );
            }
            Event::BodyAwaited { request } => self.body_awaited(request),
            Event::BodyResumed { request } => self.body_resumed(request),
            Event::HeadReceived { request } => {
                if let Some(run) = self.run_mut(request) {
                    run.head = true;
                    run.counting_since = None;
                }
            }
            Event::RequestEnded { request } => self.ended(request),
            Event::RequestFailed {
                request,
                sent,
                held,
            } => self.failed(request, sent, held),
            Event::HostGone { request } => self.host_gone(request),
        }
    }

    /// Judges one action and takes it as a fact.
    pub(crate) fn judge(&mut self, action: Action, event: Option<Event>) {
        match action {
            Action::HandOut { request, worker } => self.judge_hand_out(request, worker),
            Action::Refuse {
                request,
                cause,
                retry_after,
            } => {
                assert!((1..=60).contains(&retry_after));
                let failures = &self.live(request).failures;
                assert!(failures.iter().all(|sent| !sent), "503 for what was sent");
                self.judge_refusal(request, cause, event);
                self.end(request);
            }
            Action::TimeOut { request } => {
                let deadline = self.deadline(request).expect("it has a deadline");
                assert!(deadline <= self.now, "timed out before its time");
                let Life::Running(run) = self.live(request).life else {
                    panic!("timed out while it was not running");
                };
                self.lose(request, run.worker);
                self.set_aside(run.worker, "timed-out");
            }
            Action::CutOff { request } => {
                assert_eq!(self.live(request).life, Life::Overdue);
                self.requests.remove(&request);
            }
            Action::Fail { request } => {
                self.judge_failure(request);
                self.end(request);
            }
            Action::NoteReplay { request } => {
                assert!(self.pool_takes(), "a replay nobody will take");
                assert!(self.may_replay(request), "replayed against the rule");
                let since = self.now;
                self.replays.push_back(request);
                self.live(request).life = Life::Waiting { since };
            }
            Action::ReportServed { worker } => self.judge_report(worker, "served"),
            Action::ReportMaximumRequests { worker } => self.judge_report(worker, "maximum"),
            Action::ReportTimedOut { worker } => self.judge_report(worker, "timed-out"),
            Action::ReportBroken { worker } => self.judge_report(worker, "broken"),
            Action::ReportDrained { worker } => {
                if let Some(known) = self.workers.get(&worker) {
                    assert!(known.retired && !known.gone, "drained, but nobody asked");
                    assert_eq!(known.running, 0, "drained, but something runs");
                    self.due.insert((worker, "drained"));
                }
                self.judge_report(worker, "drained");
            }
        }
    }

    /// Judges how things stand when an entry is over.
    pub(crate) fn judge_standing(&self, timed: bool) {
        assert!(self.due.is_empty(), "not reported: {:?}", self.due);
        for (key, request) in &self.requests {
            match request.life {
                Life::Waiting { .. } | Life::Running(_) => {}
                Life::Failed { .. } | Life::Overdue => panic!("{key:?} was left undecided"),
            }
            if timed {
                let deadline = self.deadline(*key);
                assert!(
                    deadline.is_none_or(|at| at > self.now),
                    "{key:?} missed its deadline"
                );
            }
        }
        for (id, worker) in &self.workers {
            let drained = worker.retired && !worker.gone && worker.running == 0;
            assert!(
                !drained || worker.told.contains("drained"),
                "{id} is not told drained"
            );
        }
        let free = self.workers.values().any(|worker| worker.free() > 0);
        let waiting = self.waiting() > 0;
        assert!(!(waiting && free), "one waits while a slot is free");
        assert!(
            !waiting || self.pool_takes(),
            "one waits for a pool that takes none"
        );
    }

    /// The machine's own account must be the model's.
    pub(crate) fn judge_account(&self, is: Snapshot, idle: bool, poll_timeout: Option<Time>) {
        let oldest = [&self.replays, &self.arrivals]
            .into_iter()
            .filter_map(|lane| match self.requests[lane.front()?].life {
                Life::Waiting { since } => Some(since),
                _ => None,
            })
            .min();
        let workers = || self.workers.values();
        let should_be = Snapshot {
            busy: workers().map(|worker| worker.running + worker.lost).sum(),
            idle: workers().map(Worker::free).sum(),
            queued: u32::try_from(self.waiting()).unwrap(),
            oldest,
        };
        assert_eq!(is, should_be);
        assert_eq!(idle, self.requests.is_empty());
        let deadline = self
            .requests
            .keys()
            .filter_map(|key| self.deadline(*key))
            .min();
        if let Some(deadline) = deadline {
            let told = poll_timeout.expect("a deadline is waited for");
            assert!(told <= deadline, "called too late for a deadline");
        }
    }

    fn judge_hand_out(&mut self, request: RequestKey, worker: WorkerId) {
        assert!(self.pool_takes(), "handed out though the pool takes none");
        let first = self.replays.front().or_else(|| self.arrivals.front());
        assert_eq!(first, Some(&request), "handed out of turn");
        assert!(
            self.deadline(request).is_none_or(|at| at > self.now),
            "handed out too late"
        );
        let chosen = self.workers[&worker].rank().expect("it has a slot to give");
        let best = self.workers.values().filter_map(Worker::rank).min();
        assert_eq!(Some(chosen), best, "another worker is less busy");
        self.leave_lanes(request);
        let counting_since = Some(self.now);
        self.live(request).life = Life::Running(Run {
            worker,
            head: false,
            spent: Duration::ZERO,
            counting_since,
        });
        let known = self.workers.get_mut(&worker).unwrap();
        known.running += 1;
        known.handed_out += 1;
        self.note_used_up(worker);
    }

    fn judge_refusal(&mut self, request: RequestKey, cause: RefusalCause, event: Option<Event>) {
        let waits = matches!(self.live(request).life, Life::Waiting { .. });
        match cause {
            RefusalCause::QueueLimit => {
                let arrived = matches!(
                    event,
                    Some(Event::RequestArrived { request: arrived, .. }) if arrived == request
                );
                assert!(arrived, "a queue limit is for those who arrive");
                assert!(self.waiting() > self.settings.queue_limit as usize);
                assert!(self.workers.values().all(|worker| worker.free() == 0));
            }
            RefusalCause::QueueTimeout => {
                let deadline = self.deadline(request);
                assert!(
                    waits && deadline.is_some_and(|at| at <= self.now),
                    "refused early"
                );
            }
            RefusalCause::PoolFailing => assert_eq!(self.pool, PoolState::Failing),
            RefusalCause::PoolStopped => assert_eq!(self.pool, PoolState::Stopped),
        }
        if !waits {
            assert!(
                !self.pool_takes() && self.may_replay(request),
                "refused after a hand-out"
            );
        }
    }

    fn judge_failure(&mut self, request: RequestKey) {
        let sent = self.live(request).failures.contains(&true);
        let allowed = match self.live(request).life {
            // a replay that found no slot in time
            Life::Waiting { .. } => {
                let over = self.deadline(request).is_some_and(|at| at <= self.now);
                sent && (over || !self.pool_takes())
            }
            Life::Failed { .. } => !self.may_replay(request) || (sent && !self.pool_takes()),
            Life::Running(_) | Life::Overdue => false,
        };
        assert!(allowed, "failed without need");
    }

    fn judge_report(&mut self, worker: WorkerId, report: &'static str) {
        assert!(
            self.due.remove(&(worker, report)),
            "{worker} is not {report}"
        );
        if let Some(known) = self.workers.get_mut(&worker) {
            assert!(known.told.insert(report), "{worker} is told {report} again");
        }
    }

    /// The manual's rule.
    fn may_replay(&self, key: RequestKey) -> bool {
        let request = &self.requests[&key];
        let Life::Failed { held, head } = request.life else {
            return false;
        };
        let sent = request.failures.iter().filter(|sent| **sent).count();
        let unsent = request.failures.len() - sent;
        let allowed = match (self.settings.retry, sent) {
            (Retry::Off, _) => false,
            (_, 0) => true,
            (Retry::Unsent, _) => false,
            (Retry::Idempotent, 1) => request.idempotent && held && self.settings.retry_limit >= 1,
            (Retry::Idempotent, _) => false,
        };
        allowed && !head && unsent <= 3
    }

    fn deadline(&self, key: RequestKey) -> Option<Time> {
        match self.requests[&key].life {
            Life::Waiting { since } => self.settings.queue_timeout.deadline(since),
            Life::Running(run) => {
                let limit = self.settings.request_timeout.0?;
                Some(run.counting_since?.after(limit.saturating_sub(run.spent)))
            }
            Life::Failed { .. } | Life::Overdue => None,
        }
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
        {
            run.counting_since = run.counting_since.or(Some(now));
        }
    }

    fn ended(&mut self, key: RequestKey) {
        let Some(&mut run) = self.run_mut(key) else {
            return;
        };
        self.requests.remove(&key);
        let known = self.workers.get_mut(&run.worker).unwrap();
        known.running -= 1;
        if run.head {
            known.suspect = false;
            if !known.told.contains("served") {
                self.due.insert((run.worker, "served"));
            }
        }
        self.forget_gone(run.worker);
    }

    fn failed(&mut self, key: RequestKey, sent: bool, held: bool) {
        let Some(&mut run) = self.run_mut(key) else {
            return;
        };
        self.workers.get_mut(&run.worker).unwrap().running -= 1;
        if self.live(key).host_gone {
            self.requests.remove(&key);
        } else {
            let head = run.head;
            self.live(key).failures.push(sent);
            self.live(key).life = Life::Failed { held, head };
            if sent {
                self.workers.get_mut(&run.worker).unwrap().suspect = true;
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

    fn set_aside(&mut self, worker: WorkerId, report: &'static str) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        known.set_aside = true;
        if !known.gone && !known.told.contains(report) {
            self.due.insert((worker, report));
        }
    }

    fn note_used_up(&mut self, worker: WorkerId) {
        let known = &self.workers[&worker];
        let used_up = known.maximum_requests != 0 && known.handed_out >= known.maximum_requests;
        if used_up && !known.told.contains("maximum") {
            self.due.insert((worker, "maximum"));
        }
    }

    /// The request was answered for the worker, which is still at it.
    fn lose(&mut self, request: RequestKey, worker: WorkerId) {
        self.requests.remove(&request);
        let known = self.workers.get_mut(&worker).unwrap();
        known.running -= 1;
        if !known.gone {
            known.lost += 1;
        }
        self.forget_gone(worker);
    }

    /// A worker that is gone, with nothing running, is heard of no more.
    fn forget_gone(&mut self, worker: WorkerId) {
        let over = |known: &Worker| known.gone && known.running == 0;
        if self.workers.get(&worker).is_some_and(over) {
            self.workers.remove(&worker);
        }
    }

    fn end(&mut self, request: RequestKey) {
        self.leave_lanes(request);
        self.requests.remove(&request);
    }

    fn leave_lanes(&mut self, request: RequestKey) {
        self.replays.retain(|key| *key != request);
        self.arrivals.retain(|key| *key != request);
    }

    fn waiting(&self) -> usize {
        self.replays.len() + self.arrivals.len()
    }

    fn pool_takes(&self) -> bool {
        matches!(self.pool, PoolState::Starting | PoolState::Serving)
    }

    /// An action may only name a request that has not been answered.
    fn live(&mut self, key: RequestKey) -> &mut Request {
        self.requests
            .get_mut(&key)
            .expect("it has not been answered before")
    }

    fn run_mut(&mut self, key: RequestKey) -> Option<&mut Run> {
        match &mut self.requests.get_mut(&key)?.life {
            Life::Running(run) => Some(run),
            _ => None,
        }
    }
}

impl Worker {
    fn usable(&self) -> bool {
        !(self.set_aside || self.retired || self.gone)
    }

    fn free(&self) -> u32 {
        if self.usable() {
            self.slots.saturating_sub(self.running + self.lost)
        } else {
            0
        }
    }

    /// Its place in the choice, lowest first; None: it has no slot to give.
    fn rank(&self) -> Option<(bool, u32)> {
        (self.free() > 0).then_some((self.suspect, self.running + self.lost))
    }
}
