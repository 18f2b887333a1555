//! How long a request may run: `request-timeout` to the head, `response-timeout` behind it, `total-timeout` in all.
//!
//! Running requests are looked through only when [`Dispatch::next_check`] has come, and then it moves to the earliest deadline of those
//! left: most requests end unseen. Nor is a response that goes on told of: when its worker may have been silent for too long, the relay
//! is asked since when it has been.

use super::chain::Place;
use super::machine::Dispatch;
use super::requests::{Clock, Due, Run};
use super::vocabulary::{Action, RequestKey, TimeoutCause};
use super::workers::{Report, Slot, Standing};
use crate::Time;

impl Dispatch {
    /// The clock of `request-timeout` stops. When the time is over already, it runs on: the next entry says so.
    pub(super) fn body_awaited(&mut self, key: RequestKey, now: Time) {
        let settings = &self.settings;
        let Some(run) = self.requests.running(key) else {
            return;
        };
        let over = run
            .deadline(settings)
            .is_some_and(|deadline| deadline <= now);
        if let Clock::Counting { since } = run.clock
            && !over
        {
            run.spent = run.spent.saturating_add(now.since(since));
            run.clock = Clock::Held;
        }
    }

    pub(super) fn body_resumed(&mut self, key: RequestKey, now: Time) {
        if let Some(run) = self.requests.running(key)
            && run.clock == Clock::Held
        {
            run.clock = Clock::Counting { since: now };
            let run = *run;
            self.expect_deadline(run);
        }
    }

    /// A head that is here counts, even when its deadline was reached while nobody looked.
    pub(super) fn head_received(&mut self, key: RequestKey, now: Time) {
        if let Some(run) = self.requests.running(key)
            && !run.answering()
            && !run.over()
        {
            run.clock = Clock::Answering { since: now };
            let run = *run;
            self.expect_deadline(run);
        }
    }

    /// The worker was heard last at this time.
    pub(super) fn response_heard(&mut self, key: RequestKey, at: Time, now: Time) {
        if let Some(run) = self.requests.running(key)
            && let Clock::Asked { since } = run.clock
        {
            let since = since.max(at.min(now));
            run.clock = Clock::Answering { since };
            let (run, limit) = (*run, self.settings.response_timeout);
            if limit
                .deadline(since)
                .is_some_and(|deadline| deadline <= now)
            {
                self.time_out(key, run, TimeoutCause::ResponseTimeout, now);
            } else {
                self.expect_deadline(run);
            }
        }
    }

    /// Ends what has run for too long, and asks about what may have.
    pub(super) fn time_out_running(&mut self, now: Time) {
        if self.next_check.is_none_or(|check| now < check) {
            return;
        }
        for worker in self.workers.places() {
            // from the last: one that leaves is replaced by the last, which has been seen
            for position in (0..self.running_at(worker)).rev() {
                if let Some((key, run)) = self.runs_at(worker, position)
                    && let Some(due) = run.due_now(&self.settings, now)
                {
                    match due {
                        Due::Over(cause) => self.time_out(key, run, cause, now),
                        Due::Ask => self.ask_response(key),
                    }
                }
            }
        }
        self.next_check = self.earliest_deadline();
    }

    /// The earliest deadline among running requests.
    pub(super) fn earliest_deadline(&self) -> Option<Time> {
        self.workers
            .iter()
            .flat_map(|(_, worker)| &worker.running)
            .filter_map(|place| {
                let run = self.requests.at(*place)?.run()?;
                run.deadline(&self.settings)
            })
            .min()
    }

    /// A request has got another deadline.
    pub(super) fn expect_deadline(&mut self, run: Run) {
        if let Some(deadline) = run.deadline(&self.settings) {
            let check = self.next_check.map_or(deadline, |at| at.min(deadline));
            self.next_check = Some(check);
        }
    }

    /// The worker is given nothing more: what runs there cannot be stopped but with its process, unless it can be interrupted.
    fn time_out(&mut self, key: RequestKey, run: Run, cause: TimeoutCause, now: Time) {
        let interrupted = self.interrupts(run.worker);
        self.act(Action::TimeOut {
            request: key,
            cause,
            interrupted,
        });
        if interrupted {
            self.interrupt(key, run.worker);
            return;
        }
        self.requests.remove(key.index);
        if self.settings.shared {
            self.leave_worker(run, Slot::Freed, now);
            return;
        }
        self.workers.enter(run.worker, Standing::SetAside);
        self.report(run.worker, Report::TimedOut);
        self.leave_worker(run, Slot::Lost, now);
    }

    /// Only of one that serves on there is anything to gain: another is to end anyhow.
    fn interrupts(&self, worker: Place) -> bool {
        self.settings.interrupts
            && !self.settings.shared
            && (self.workers.at(worker)).is_some_and(|it| it.standing == Standing::Offered)
    }

    /// The request keeps its slot until the worker has come back from it. What becomes of its connection is of no account.
    fn interrupt(&mut self, key: RequestKey, worker: Place) {
        if let Some(request) = self.requests.at_mut(key.index) {
            request.host_gone = true;
            if let Some(run) = request.run_mut() {
                run.clock = Clock::Over;
            }
        }
        if let Some(worker) = self.workers.at(worker).map(|worker| worker.id) {
            self.act(Action::ReportTimedOut { worker });
        }
    }

    /// A request that was answered for the worker has left it: was it the last such?
    pub(super) fn came_back(&mut self, worker: Place) {
        let waits = (0..self.running_at(worker))
            .filter_map(|position| self.runs_at(worker, position))
            .any(|(_, run)| run.over());
        if let Some(known) = self.workers.at(worker)
            && known.standing == Standing::Offered
            && !waits
        {
            let worker = known.id;
            self.act(Action::ReportRecovered { worker });
        }
    }

    /// The worker is to end: it is not waited for any more that it comes back.
    pub(super) fn give_up_interrupted(&mut self, worker: Place, now: Time) {
        for position in (0..self.running_at(worker)).rev() {
            if let Some((key, run)) = self.runs_at(worker, position)
                && run.over()
            {
                self.requests.remove(key.index);
                self.leave_worker(run, Slot::Lost, now);
            }
        }
    }

    fn ask_response(&mut self, key: RequestKey) {
        if let Some(run) = self.requests.running(key)
            && let Clock::Answering { since } = run.clock
        {
            run.clock = Clock::Asked { since };
            self.act(Action::AskResponse { request: key });
        }
    }
}
