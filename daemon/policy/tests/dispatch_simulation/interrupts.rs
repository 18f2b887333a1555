//! Workers that are interrupted: what they are still at, and what must be told of them.

use stockade_policy::WorkerId;
use stockade_policy::dispatch::RequestKey;

use crate::model::{Life, Model, Run, Worker};

impl Model {
    /// The request was answered for the worker, which is interrupted: it has its slot until it ends.
    pub(crate) fn interrupt(&mut self, request: RequestKey, worker: WorkerId) {
        self.live(request).host_gone = true;
        if let Some(run) = self.run_mut(request) {
            run.over = true;
            run.head = false;
            run.counting_since = None;
            run.silent_since = None;
            run.asked = false;
        }
        self.due.insert((worker, "interrupted"));
    }

    /// Of one that is interrupted it is told each time.
    pub(crate) fn judge_timed_out(&mut self, worker: WorkerId) {
        if !self.due.remove(&(worker, "interrupted")) {
            self.judge_report(worker, "timed-out");
        }
    }

    pub(crate) fn judge_recovered(&mut self, worker: WorkerId) {
        let due = self.due.remove(&(worker, "recovered"));
        assert!(due, "{worker} has not come back");
    }

    /// The worker that was interrupted has come back, if this was the last that it was at.
    pub(crate) fn note_recovered(&mut self, run: Run) {
        if run.over
            && self.interrupted_of(run.worker).is_empty()
            && self.workers.get(&run.worker).is_some_and(Worker::usable)
        {
            self.due.insert((run.worker, "recovered"));
        }
    }

    /// It is not waited for that the worker comes back.
    pub(crate) fn give_up_interrupted(&mut self, worker: WorkerId) {
        for request in self.interrupted_of(worker) {
            self.lose(request, worker);
        }
    }

    fn interrupted_of(&self, worker: WorkerId) -> Vec<RequestKey> {
        let of =
            |life: Life| matches!(life, Life::Running(run) if run.worker == worker && run.over);
        let requests = self.requests.iter();
        requests
            .filter(|(_, request)| of(request.life))
            .map(|(key, _)| *key)
            .collect()
    }
}
