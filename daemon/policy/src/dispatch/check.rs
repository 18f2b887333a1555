//! What must be true between two entries. Our own book-keeping wrong is a bug: these assert.

use super::machine::Dispatch;
use super::queue::Lane;
use super::requests::State;
use super::workers::Standing;

impl Dispatch {
    /// Asserts the invariants; builds with debug assertions do it after every entry.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check(&self) {
        self.check_requests();
        self.check_queue();
        self.check_workers();
        self.check_times();
    }

    /// Every running request has exactly one slot, and every slot it has is its own.
    fn check_requests(&self) {
        let (mut queued, mut running) = (0_usize, 0_usize);
        for request in self.requests.iter() {
            match request.state {
                State::Queued { .. } => queued = queued.saturating_add(1),
                State::Running(run) => {
                    running = running.saturating_add(1);
                    let worker = self.workers.at(run.worker);
                    let slot = worker.and_then(|worker| worker.running.get(run.position as usize));
                    assert_eq!(
                        slot,
                        Some(&request.key.index),
                        "a running request has its slot"
                    );
                }
            }
        }
        let slots: usize = self
            .workers
            .iter()
            .map(|(_, worker)| worker.running.len())
            .sum();
        assert_eq!(running, slots, "a slot has one request");
        assert_eq!(
            queued,
            self.queue.length() as usize,
            "a request that waits is in the queue"
        );
        assert_eq!(
            queued.saturating_add(running),
            self.requests.live() as usize,
            "requests are counted"
        );
    }

    /// Who waits does so for a slot, in the order in which the waiting began.
    fn check_queue(&self) {
        for lane in Lane::ALL {
            let mut last = None;
            for place in self.queue.iter(lane) {
                let since = self.requests.queued_since(place);
                assert!(since.is_some(), "the queue has only requests that wait");
                assert!(last <= since, "a lane is in order");
                last = since;
            }
        }
        assert!(
            self.queue.length() == 0 || self.workers.all_busy(),
            "none waits while a slot is free"
        );
        assert!(
            !self.owes_slot() || self.workers.all_busy(),
            "no slot is free that another relay is to have"
        );
    }

    /// A worker is ranked, where it belongs, exactly when it has a slot to give.
    fn check_workers(&self) {
        let mut ranked = 0_usize;
        for (place, rank) in self.workers.ranked() {
            ranked = ranked.saturating_add(1);
            let worker = self.workers.at(place);
            assert!(
                worker.is_some_and(|worker| worker.rank == Some(rank)
                    && worker.suspect == rank.suspect
                    && worker.busy() == rank.level),
                "a worker has one rank"
            );
        }
        let mut free = 0_usize;
        for (_, worker) in self.workers.iter() {
            if worker.free() > 0 {
                free = free.saturating_add(1);
            }
            assert!(
                worker.standing != Standing::Gone || !worker.running.is_empty(),
                "a gone worker stays only for what it ran"
            );
        }
        assert_eq!(ranked, free, "a worker with a free slot is ranked");
        let offered = || {
            let workers = self.workers.iter().map(|(_, worker)| worker);
            workers.filter(|worker| worker.standing == Standing::Offered)
        };
        let busy = offered().filter(|worker| worker.busy() > 0).count();
        assert_eq!(
            (
                self.workers.offered() as usize,
                self.workers.busy() as usize
            ),
            (offered().count(), busy),
            "workers are counted"
        );
    }

    /// No deadline is missed.
    fn check_times(&self) {
        if let Some(deadline) = self.earliest_deadline() {
            assert!(
                self.next_check.is_some_and(|check| check <= deadline),
                "a running request's deadline is waited for"
            );
        }
        if let Some(inactive) = self.earliest_inactive() {
            assert!(
                self.next_inactive.is_some_and(|next| next <= inactive),
                "a worker that is inactive is waited for"
            );
        }
        if let Some(slow) = self.earliest_slow() {
            assert!(
                self.next_slow.is_some_and(|check| check <= slow),
                "a request that becomes slow is waited for"
            );
        }
    }
}
