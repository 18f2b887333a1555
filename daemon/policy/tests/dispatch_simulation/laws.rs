//! The laws: every action the machine takes, and how things stand after each entry, judged by the model.

use core::time::Duration;

use stockade_policy::dispatch::{
    Action, Event, RefusalCause, RequestKey, Retry, Snapshot, TimeoutCause,
};
use stockade_policy::{PoolState, Time, WorkerId};

use crate::model::{Life, Model, Run, Worker};

impl Model {
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
            Action::TimeOut {
                request,
                cause,
                interrupted,
            } => self.judge_time_out(request, cause, interrupted),
            Action::AskResponse { request } => self.judge_question(request),
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
            Action::ReportUsed { busy, waiting } => self.judge_used(busy, waiting),
            Action::ReportShed { worker } => self.judge_shed(worker),
            Action::ReportInactive { worker } => self.judge_inactive(worker),
            Action::NoteHealed { .. } => panic!("the watchdog found something"),
            Action::NoteSlow { request } => {
                let slow = self.slow_at(request).expect("it runs, and was not told of");
                assert!(slow <= self.now, "told of as slow before its time");
                self.live(request).slow = true;
            }
            Action::ReturnLease { worker } => self.judge_return(worker),
            Action::AskForSlot => self.judge_ask(),
            Action::ReportServed { worker } => self.judge_report(worker, "served"),
            Action::ReportMaximumRequests { worker } => self.judge_report(worker, "maximum"),
            Action::ReportTimedOut { worker } => self.judge_timed_out(worker),
            Action::ReportRecovered { worker } => self.judge_recovered(worker),
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

    fn judge_question(&mut self, request: RequestKey) {
        let Life::Running(mut run) = self.live(request).life else {
            panic!("asked about while it was not running");
        };
        let [_, silent, _] = self.times(&run);
        let due = silent.is_some_and(|at| at <= self.now);
        assert!(due, "asked about without need");
        run.asked = true;
        self.live(request).life = Life::Running(run);
    }

    fn judge_time_out(&mut self, request: RequestKey, cause: TimeoutCause, interrupted: bool) {
        let Life::Running(run) = self.live(request).life else {
            panic!("timed out while it was not running");
        };
        let [to_head, silent, total] = self.times(&run);
        let deadline = match cause {
            TimeoutCause::RequestTimeout => to_head,
            TimeoutCause::ResponseTimeout => silent,
            TimeoutCause::TotalTimeout => total,
        };
        let over = deadline.is_some_and(|at| at <= self.now);
        assert!(over, "timed out before its time: {cause}");
        let settings = &self.settings;
        let serves = self.workers[&run.worker].usable();
        let may = settings.interrupts && !settings.shared && serves;
        assert_eq!(interrupted, may, "one that serves on is interrupted");
        if interrupted {
            self.interrupt(request, run.worker);
        } else if self.settings.shared {
            self.leave(request, run.worker);
        } else {
            self.lose(request, run.worker);
            self.set_aside(run.worker, "timed-out");
        }
    }

    /// Judges how things stand when an entry is over.
    pub(crate) fn judge_standing(&self, timed: bool) {
        assert!(self.due.is_empty(), "not reported: {:?}", self.due);
        self.judge_load(timed);
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
                let slow = self.slow_at(*key);
                assert!(
                    slow.is_none_or(|at| at > self.now),
                    "{key:?} is slow, and nobody was told"
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
        let owed = self.wanted > 0 || self.taken_over;
        assert!(!(owed && free), "a slot is kept that another is to have");
        assert!(
            !self.taken_over || self.asked as usize >= self.waiting(),
            "one waits and no slot is asked for"
        );
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
            busy: workers().map(Worker::busy).sum(),
            idle: workers().map(Worker::free).sum(),
            queued: u32::try_from(self.waiting()).expect("a few wait"),
            oldest,
            healed: 0,
        };
        assert_eq!(is, should_be);
        assert_eq!(idle, self.requests.is_empty());
        let deadline = self
            .requests
            .keys()
            .flat_map(|key| [self.deadline(*key), self.slow_at(*key)])
            .chain(workers().map(|worker| self.inactive_at(worker)))
            .flatten()
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
            since: self.now,
            head: false,
            spent: Duration::ZERO,
            counting_since,
            silent_since: None,
            asked: false,
            over: false,
        });
        let known = self.worker(worker);
        known.running += 1;
        known.handed_out += 1;
        known.idle_since = None;
        self.note_used_up(worker);
    }

    fn judge_ask(&mut self) {
        assert!(self.taken_over, "asked, but nobody has taken over");
        self.asked += 1;
        assert!(self.asked as usize <= self.waiting(), "asked for nothing");
    }

    /// A slot goes to another relay: one that asked for it, or the one that has taken over if nobody waits here.
    fn judge_return(&mut self, worker: WorkerId) {
        let chosen = self.workers[&worker].rank().expect("it has a slot to give");
        let best = self.workers.values().filter_map(Worker::rank).min();
        assert_eq!(Some(chosen), best, "another worker is less busy");
        if self.wanted > 0 {
            self.wanted -= 1;
        } else {
            assert!(self.taken_over, "given away, but nobody asked");
            assert_eq!(self.waiting(), 0, "given away, but somebody waits here");
        }
        self.worker(worker).leased += 1;
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
                assert!(!self.taken_over, "those who are left could go nowhere else");
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

    pub(crate) fn judge_report(&mut self, worker: WorkerId, report: &'static str) {
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
}
