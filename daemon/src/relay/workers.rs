//! What the supervisor says of a pool's workers.

use std::{path::PathBuf, rc::Rc};

use stockade_policy::{
    PoolState, WorkerId,
    dispatch::{Event, Settings},
};

use super::pool::{State, Worker};

impl State {
    /// It was launched; nothing is given to it yet.
    pub(super) fn worker_launched(
        &mut self,
        worker: WorkerId,
        pid: i32,
        socket: PathBuf,
        tells: bool,
    ) {
        self.workers.insert(
            worker,
            Worker {
                socket,
                pid,
                tells,
                retired: false,
                obituary: Rc::default(),
                idle: Vec::new(),
            },
        );
    }

    /// It may be given requests.
    pub(super) fn worker_offered(&mut self, worker: WorkerId, slots: u32, maximum_requests: u64) {
        self.tell(Event::WorkerOffered {
            worker,
            slots,
            maximum_requests,
        });
        self.rest();
    }

    /// It is to be given no more. Its idle connections are closed: a program that waits for a request on one of them would not
    /// notice the stop-signal.
    pub(super) fn worker_retired(&mut self, worker: WorkerId) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.retired = true;
            for link in known.idle.drain(..) {
                link.drop_it();
            }
        }
        self.tell(Event::WorkerRetired { worker });
        self.rest();
    }

    /// Its time to finish is over.
    pub(super) fn worker_overdue(&mut self, worker: WorkerId) {
        self.tell(Event::WorkerOverdue { worker });
        self.rest();
    }

    /// Its process is gone. What it still runs ends by its connections, which may hold a whole answer.
    pub(super) fn worker_gone(&mut self, worker: WorkerId, done: bool) {
        let known = self.workers.remove(&worker);
        self.tell(Event::WorkerGone { worker });
        if let Some(known) = known {
            for link in known.idle {
                link.drop_it();
            }
            known.obituary.publish(done);
            for link in self.requests.links_of(worker) {
                link.connection.wake();
            }
        }
        self.rest();
    }

    /// How the pool stands.
    pub(super) fn reported(&mut self, state: PoolState) {
        self.tell(Event::PoolReported { state });
        self.rest();
    }

    /// Other keys, from the next request on.
    pub(super) fn changed(&mut self, settings: Settings) {
        self.dispatch.set_settings(settings);
        self.settle();
        self.rest();
    }
}
