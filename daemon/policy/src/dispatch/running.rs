//! From the hand-out to the end: replay, what an end says of the worker.

use core::time::Duration;

use super::chain::Place;
use super::machine::Dispatch;
use super::requests::{Clock, Run, State};
use super::vocabulary::{Action, RequestKey, Retry};
use super::workers::{Report, Slot, Standing};
use crate::Time;

impl Dispatch {
    /// Gives a request that is not in the queue a slot of this worker, which has a free one.
    pub(super) fn hand_out(&mut self, place: Place, worker: Place, now: Time) {
        let position = self.workers.take(worker, place);
        let run = Run {
            worker,
            position,
            since: now,
            spent: Duration::ZERO,
            clock: Clock::Counting { since: now },
        };
        if let Some(request) = self.requests.at_mut(place)
            && let Some(chosen) = self.workers.at(worker)
        {
            request.state = State::Running(run);
            let (request, worker) = (request.key, chosen.id);
            self.act(Action::HandOut { request, worker });
        }
        self.expect_deadline(run);
        self.expect_slow(place);
        self.report_used_up(worker);
    }

    pub(super) fn request_ended(&mut self, key: RequestKey, now: Time) {
        let Some(&mut run) = self.requests.running(key) else {
            return;
        };
        self.requests.remove(key.index);
        if run.answering() {
            self.workers.suspect(run.worker, false);
            self.report(run.worker, Report::Served);
        }
        self.leave_worker(run, Slot::Freed, now);
        if run.over() {
            self.came_back(run.worker);
        }
    }

    /// The worker's connection ended without an answer: again elsewhere, if the manual's rule allows it. What befell a
    /// request whose host went away is not held against the worker: its connection may have been closed for that.
    pub(super) fn request_failed(&mut self, key: RequestKey, sent: bool, held: bool, now: Time) {
        let Some(&mut run) = self.requests.running(key) else {
            return;
        };
        let host_gone = self
            .requests
            .find(key)
            .is_some_and(|request| request.host_gone);
        if host_gone {
            self.requests.remove(key.index);
        } else if sent {
            self.workers.suspect(run.worker, true);
        } else {
            self.workers.enter(run.worker, Standing::SetAside);
            self.report(run.worker, Report::Broken);
        }
        self.leave_worker(run, Slot::Freed, now);
        if run.over() {
            self.came_back(run.worker);
        }
        if host_gone {
            return;
        }
        if !run.answering() && self.replays(key, sent, held) {
            self.wait_again(key.index, now);
        } else {
            self.requests.remove(key.index);
            self.act(Action::Fail { request: key });
        }
    }

    /// Counts the failure; may the request be handed out again?
    fn replays(&mut self, key: RequestKey, sent: bool, held: bool) -> bool {
        let (retry, retry_limit) = (self.settings.retry, self.settings.retry_limit);
        let Some(request) = self.requests.at_mut(key.index) else {
            return false;
        };
        if sent {
            request.sent = true;
            request.deaths = request.deaths.saturating_add(1);
        } else {
            request.unsent_replays = request.unsent_replays.saturating_add(1);
        }
        if request.unsent_replays > UNSENT_REPLAYS || request.deaths >= DEATHS {
            return false;
        }
        match retry {
            Retry::Off => false,
            Retry::Unsent => !request.sent,
            Retry::Idempotent => {
                !request.sent || (request.idempotent && held && request.deaths <= retry_limit)
            }
        }
    }

    /// Queued: it leaves the queue. Running: its slot stays busy.
    pub(super) fn host_gone(&mut self, key: RequestKey) {
        let Some(request) = self.requests.find(key) else {
            return;
        };
        match request.state {
            State::Queued { .. } => {
                self.leave_queue(key.index);
                self.requests.remove(key.index);
            }
            State::Running(_) => {
                if let Some(request) = self.requests.at_mut(key.index) {
                    request.host_gone = true;
                }
            }
        }
    }

    /// Ends, without an action, whatever is still at a place.
    pub(super) fn clear_place(&mut self, place: Place, now: Time) {
        let Some(request) = self.requests.at(place) else {
            return;
        };
        match request.state {
            State::Queued { .. } => {
                self.leave_queue(place);
                self.requests.remove(place);
            }
            State::Running(run) => {
                self.requests.remove(place);
                self.leave_worker(run, Slot::Freed, now);
            }
        }
    }

    /// Answers for the worker whatever it runs.
    pub(super) fn cut_off(&mut self, worker: Place, now: Time) {
        for position in (0..self.running_at(worker)).rev() {
            if let Some((key, run)) = self.runs_at(worker, position) {
                self.requests.remove(key.index);
                self.act(Action::CutOff { request: key });
                self.leave_worker(run, Slot::Lost, now);
            }
        }
    }

    /// Takes a request off its worker.
    pub(super) fn leave_worker(&mut self, run: Run, slot: Slot, now: Time) {
        let moved = self.workers.leave(run.worker, run.position, slot);
        if let Some(moved) = moved.and_then(|place| self.requests.at_mut(place))
            && let Some(its) = moved.run_mut()
        {
            its.position = run.position;
        }
        if slot == Slot::Freed
            && self
                .workers
                .at(run.worker)
                .is_some_and(|worker| worker.standing == Standing::Offered)
        {
            self.drain.freed(now);
        }
        self.expect_inactive(run.worker, now);
        self.left(run.worker);
    }

    pub(super) fn running_at(&self, worker: Place) -> u32 {
        let running = self
            .workers
            .at(worker)
            .map_or(0, |worker| worker.running.len());
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    pub(super) fn runs_at(&self, worker: Place, position: u32) -> Option<(RequestKey, Run)> {
        let place = *self.workers.at(worker)?.running.get(position as usize)?;
        let request = self.requests.at(place)?;
        Some((request.key, request.run()?))
    }
}

/// A request nobody can be found for is not carried about for ever.
const UNSENT_REPLAYS: u32 = 3;
/// A request whose worker died this often is taken for the cause.
const DEATHS: u32 = 2;
