//! How the pool is used: what of it must be told, and which workers may be shed.

use stockade_policy::dispatch::{Scale, Settings};
use stockade_policy::{Time, WorkerId};

use crate::model::{Life, Model, Worker};

impl Model {
    /// Other keys. With another scale, what was told counts no more.
    pub(crate) fn change(&mut self, settings: Settings) {
        if settings.scale != self.settings.scale {
            self.told_busy = 0;
            self.told_waiting = None;
        }
        self.settings = settings;
    }

    /// A request has left the worker, or it is heard that it had some.
    pub(crate) fn note_idle(&mut self, worker: WorkerId) {
        let (now, limit) = (self.now, self.settings.inactivity_timeout);
        if let Some(known) = self.workers.get_mut(&worker)
            && limit.deadline(now).is_some()
            && (known.usable() && known.busy() == 0 && known.handed_out > 0)
        {
            known.idle_since = Some(now);
        }
    }

    /// When it is to be told of as inactive.
    pub(crate) fn inactive_at(&self, worker: &Worker) -> Option<Time> {
        let since = worker.idle_since?;
        let idle = worker.usable() && worker.busy() == 0;
        self.settings
            .inactivity_timeout
            .deadline(since)
            .filter(|_| idle)
    }

    pub(crate) fn judge_inactive(&mut self, worker: WorkerId) {
        let at = self.inactive_at(&self.workers[&worker]);
        assert!(
            at.is_some_and(|at| at <= self.now),
            "{worker} is not inactive"
        );
        self.worker(worker).idle_since = None;
    }

    /// One that is busy is never shed, nor more than are to go.
    pub(crate) fn judge_shed(&mut self, worker: WorkerId) {
        let asked = self.to_shed > 0 && self.shed_until > self.now;
        assert!(asked, "shed, but nobody asked");
        self.to_shed -= 1;
        let known = self.worker(worker);
        assert!(known.usable() && known.busy() == 0, "{worker} is not idle");
        known.set_aside = true;
        let left = self
            .workers
            .values()
            .filter(|worker| worker.usable())
            .count();
        self.told_busy = self.told_busy.min(u32::try_from(left).expect("a few"));
    }

    pub(crate) fn judge_used(&mut self, busy: u32, waiting: u32) {
        let scale = self.reported().expect("its use is to be told");
        let waits = u32::try_from(self.waiting()).expect("a few") + self.wanted;
        assert!(
            waiting <= waits.min(scale.maximum),
            "more wait than there are"
        );
        let known = u32::try_from(self.workers.len()).expect("a few");
        assert!(
            (self.busy_workers()..=known.max(self.told_busy).max(8)).contains(&busy),
            "so many are not busy"
        );
        self.told_busy = busy;
        if waiting > 0 {
            self.told_waiting = Some(self.now);
        }
    }

    /// Judges what was not told.
    pub(crate) fn judge_load(&self, timed: bool) {
        let idle = |worker: &Worker| worker.usable() && worker.busy() == 0;
        let asked = self.to_shed > 0 && self.shed_until > self.now;
        let spared = asked && self.workers.values().any(idle);
        assert!(!spared, "an idle worker was to go");
        if timed {
            let late = |worker| self.inactive_at(worker).is_some_and(|at| at <= self.now);
            assert!(
                !self.workers.values().any(late),
                "one is inactive, and nobody was told"
            );
        }
        let Some(scale) = self.reported() else { return };
        assert!(
            self.told_busy >= self.busy_workers(),
            "more are busy than was told"
        );
        let usable = self
            .workers
            .values()
            .filter(|worker| worker.usable())
            .count();
        if timed && usable < scale.maximum as usize && self.waits_long(scale, usable) {
            let told = self.told_waiting.map(|at| at.after(scale.queue_wait));
            assert!(
                told.is_some_and(|again| again > self.now),
                "requests wait, and nobody was told"
            );
        }
    }

    fn waits_long(&self, scale: Scale, usable: usize) -> bool {
        let long = |since: Time| usable == 0 || since.after(scale.queue_wait) <= self.now;
        let waits = |life| matches!(life, Life::Waiting { since } if long(since));
        self.wanted > 0 || self.requests.values().any(|request| waits(request.life))
    }

    fn reported(&self) -> Option<Scale> {
        self.settings.scale.filter(|_| !self.taken_over)
    }

    fn busy_workers(&self) -> u32 {
        let busy = |worker: &&Worker| worker.usable() && worker.busy() > 0;
        u32::try_from(self.workers.values().filter(busy).count()).expect("a few")
    }
}
