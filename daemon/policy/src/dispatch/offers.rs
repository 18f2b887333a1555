//! What becomes of a worker: offered, set aside, retired, overdue, gone; and what supervision is told of it.

use super::chain::Place;
use super::machine::Dispatch;
use super::vocabulary::Action;
use super::workers::{Report, Standing};
use crate::{Time, WorkerId};

impl Dispatch {
    /// An offer of a worker that is known and not offered any more changes nothing: it was on its way.
    pub(super) fn worker_offered(
        &mut self,
        id: WorkerId,
        slots: u32,
        leased: u32,
        maximum_requests: u64,
    ) {
        if let Some(place) = self.workers.offer(id, slots, leased, maximum_requests) {
            self.drain.restart();
            self.owe_report();
            self.report_used_up(place);
        }
    }

    pub(super) fn worker_retired(&mut self, id: WorkerId, now: Time) {
        match self.workers.find(id) {
            Some(place) => {
                self.workers.enter(place, Standing::Retired);
                self.give_up_interrupted(place, now);
                self.left(place);
            }
            // never offered: nothing of it runs
            None => self.act(Action::ReportDrained { worker: id }),
        }
    }

    pub(super) fn worker_overdue(&mut self, id: WorkerId, now: Time) {
        if let Some(place) = self.workers.find(id) {
            self.workers.enter(place, Standing::SetAside);
            self.give_up_interrupted(place, now);
            self.cut_off(place, now);
        }
    }

    pub(super) fn worker_gone(&mut self, id: WorkerId) {
        if let Some(place) = self.workers.find(id) {
            self.workers.enter(place, Standing::Gone);
            self.left(place);
        }
    }

    pub(super) fn worker_broke(&mut self, id: WorkerId) {
        if self.settings.shared {
            return;
        }
        if let Some(place) = self.workers.find(id) {
            self.workers.enter(place, Standing::SetAside);
            self.report(place, Report::Broken);
        }
    }

    /// A request has left the worker, or the worker stands differently: is that the end of it?
    pub(super) fn left(&mut self, place: Place) {
        let Some(worker) = self.workers.at(place) else {
            return;
        };
        if !worker.running.is_empty() {
            return;
        }
        match worker.standing {
            Standing::Offered | Standing::SetAside => {}
            Standing::Retired => self.report(place, Report::Drained),
            Standing::Gone => self.workers.forget_gone(place),
        }
    }

    pub(super) fn report_used_up(&mut self, place: Place) {
        if self.workers.used_up(place) {
            self.report(place, Report::MaximumRequests);
        }
    }

    /// Tells supervision, once in the worker's life.
    pub(super) fn report(&mut self, place: Place, report: Report) {
        let Some(worker) = self.workers.tell_once(place, report) else {
            return;
        };
        self.act(match report {
            Report::Served => Action::ReportServed { worker },
            Report::MaximumRequests => Action::ReportMaximumRequests { worker },
            Report::TimedOut => Action::ReportTimedOut { worker },
            Report::Broken => Action::ReportBroken { worker },
            Report::Drained => Action::ReportDrained { worker },
        });
    }
}
