//! Templates: of a generation there is one at a time, and workers are forked of it alone.

use stockade_policy::supervision::{Action, Snapshot, WorkerState};
use stockade_policy::{Generation, PoolId, Time, WorkerId};

use super::{
    Laws,
    worker::{Told, Worker},
};

impl Laws {
    /// Something is started.
    pub(super) fn started(&mut self, action: &Action, now: Time) {
        match *action {
            Action::StartWorker {
                pool,
                worker,
                generation,
            } => self.start(pool, worker, generation, now),
            Action::StartTemplate {
                pool,
                worker,
                generation,
            } => self.start_template(pool, worker, generation, now),
            Action::ForkWorker {
                pool,
                worker,
                generation,
                template,
            } => self.fork(pool, worker, generation, template, now),
            _ => {}
        }
    }

    pub(super) fn start_template(
        &mut self,
        id: PoolId,
        template: WorkerId,
        generation: Generation,
        now: Time,
    ) {
        assert!(self.stop.is_none(), "started while stopping");
        let same = |other: &Worker| other.is_useful() && other.generation == generation;
        let twice = self.templates(id).any(same);
        assert!(!twice, "{template} is one too many");
        let pool = self.pool(id);
        assert!(pool.runs() && pool.settings[&generation].preload);
        assert!(!pool.abandoned.contains(&generation));
        if generation == pool.accepted {
            // 8
            assert!(pool.not_before <= now && pool.wanted > 0);
        } else {
            assert_eq!(generation, pool.newest, "neither accepted nor asked for");
        }
        self.add(id, template, generation, now);
        self.worker(template).template = true;
    }

    pub(super) fn fork(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        generation: Generation,
        template: WorkerId,
        now: Time,
    ) {
        self.start(pool, worker, generation, now);
        let template = &self.workers[&template];
        assert!(template.template && template.is_useful());
        assert_eq!((template.pool, template.generation), (pool, generation));
    }

    /// 2
    pub(super) fn add(&mut self, id: PoolId, worker: WorkerId, generation: Generation, now: Time) {
        assert!(
            self.last.replace(worker) < Some(worker),
            "{worker} is used again"
        );
        let settings = &self.pools[&id].settings[&generation];
        self.workers
            .insert(worker, Worker::new(id, generation, settings, now));
    }

    pub(super) fn templates(&self, pool: PoolId) -> impl Iterator<Item = &Worker> {
        let all = self.workers.values();
        all.filter(move |worker| worker.pool == pool && worker.template)
    }

    /// Every template is of use; a pool that has a worker of one has it still, unless it died.
    pub(super) fn templates_are_well(&self, snapshot: &Snapshot) {
        for template in &snapshot.templates {
            let mut pools = snapshot.pools.iter();
            let pool = pools.find(|pool| pool.id == template.pool);
            let pool = pool.expect("a template is of a pool");
            assert_eq!(template.state, WorkerState::Ready, "{template:?}");
            assert_eq!(template.generation, pool.generation);
            assert!(pool.wanted > 0 || pool.minimum > 0, "{pool:?} rests");
        }
    }
}

impl Laws {
    pub(super) fn seasoned(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.seasoned = true;
        }
    }

    /// Only who has served for long, and has nothing left.
    pub(super) fn make_template(&mut self, id: WorkerId, now: Time) {
        let worker = self.worker(id);
        assert!(worker.seasoned && worker.served || worker.settings.ready_after.is_some());
        assert!(worker.settings.preload && !worker.template && !worker.ended);
        assert_eq!(worker.told, Told::Retire);
        worker.template = true;
        worker.told = Told::Nothing;
        (worker.offered, worker.left) = (None, None);
        worker.started = now;
    }
}
