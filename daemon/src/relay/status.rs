//! Answers those who ask how everything stands: puts the pools' readings together, and adds what the supervisor, which may look, says of what
//! the workers take.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
    os::fd::OwnedFd,
    os::unix::net::UnixStream as StdUnixStream,
    rc::Rc,
    time::Duration,
};

use nix::unistd::getppid;
use stockade_policy::WorkerId;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{
    pool_thread::ToPool,
    reading::{Reading, seconds},
};
use crate::{
    clock::Clock,
    control::{FromRelay, admin::Answer, record::Sample, status::Status},
};

/// How long a pool's thread may take to read its pools, and who asked to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the supervisor may take to look at the workers; then it is told what was seen before.
const A_LOOK: Duration = Duration::from_secs(1);

/// Whom to ask, and since when the daemon runs.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    threads: Vec<mpsc::UnboundedSender<ToPool>>,
    clock: Clock,
    /// The daemon's, when the clock began.
    uptime: Duration,
    samples: Rc<Samples>,
}

/// What workers take, as the supervisor said last.
#[derive(Debug)]
struct Samples {
    report: mpsc::UnboundedSender<FromRelay>,
    known: RefCell<BTreeMap<WorkerId, Sample>>,
    /// Those that come.
    coming: RefCell<BTreeMap<WorkerId, Sample>>,
    /// The supervisor was asked, and has not answered.
    asked: Cell<bool>,
    news: Notify,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub(super) struct Overview {
    pub(super) status: Status,
    /// What was read of the pools, in the same order.
    pub(super) readings: Vec<Reading>,
}

impl Observer {
    /// An observer of the pools on `threads`, in a daemon that has run for `uptime`.
    pub(super) fn new(
        threads: Vec<mpsc::UnboundedSender<ToPool>>,
        uptime: Duration,
        report: mpsc::UnboundedSender<FromRelay>,
    ) -> Self {
        Self {
            threads,
            clock: Clock::start(),
            uptime,
            samples: Rc::new(Samples {
                report,
                known: RefCell::default(),
                coming: RefCell::default(),
                asked: Cell::new(false),
                news: Notify::new(),
            }),
        }
    }

    /// The supervisor says what workers take.
    pub(super) fn sampled(&self, samples: Vec<(WorkerId, Sample)>, whole: bool) {
        let mut coming = self.samples.coming.borrow_mut();
        coming.extend(samples);
        if whole {
            self.samples.known.replace(mem::take(&mut coming));
            self.samples.asked.set(false);
            self.samples.news.notify_waiters();
        }
    }

    /// How everything stands. A thread that does not answer is left out.
    pub(super) async fn look(&self) -> Overview {
        self.samples.ask().await;
        let mut all = read(&self.threads).await;
        all.sort_by(|one, other| {
            let key = |reading: &Reading| (reading.status.name.clone(), reading.leaves);
            key(one).cmp(&key(other))
        });
        // a pool that goes may have given its name to another
        all.dedup_by(|next, one| next.status.name == one.status.name);
        let known = self.samples.known.borrow();
        let pools = all.iter_mut().map(|reading| &mut reading.status);
        for worker in pools.flat_map(|pool| pool.workers.iter_mut().chain(&mut pool.templates)) {
            // an upstream's has a number of ours, and no process
            let sample = known.get(&worker.id).filter(|_| worker.pid != 0);
            worker.resident_bytes = sample.and_then(|sample| sample.resident_bytes);
            worker.private_bytes = sample.and_then(|sample| sample.private_bytes);
            worker.cpu_seconds = sample.and_then(|sample| sample.cpu).map(seconds);
        }
        drop(known);
        let uptime = self.uptime + self.clock.now().since_origin();
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: getppid().as_raw(),
            uptime_seconds: uptime.as_secs_f64(),
            pools: all.iter().map(|reading| reading.status.clone()).collect(),
        };
        Overview {
            status,
            readings: all,
        }
    }

    /// Answers an operator's question on the connection that came with it.
    pub(super) async fn answer(self, connection: OwnedFd) {
        let answer = Answer::Status(self.look().await.status);
        let Ok(mut line) = serde_json::to_vec(&answer) else {
            return;
        };
        line.push(b'\n');
        let Ok(mut connection) = UnixStream::from_std(StdUnixStream::from(connection)) else {
            return;
        };
        // who asked may have gone
        drop(timeout(PATIENCE, connection.write_all(&line)).await);
    }
}

/// How the pools on these threads stand. One that does not answer is left out.
pub(super) async fn read(threads: &[mpsc::UnboundedSender<ToPool>]) -> Vec<Reading> {
    let (sender, mut readings) = mpsc::unbounded_channel();
    for thread in threads {
        if thread.send(ToPool::Read(sender.clone())).is_err() {
            tracing::debug!("relay: a thread has ended before the relay");
        }
    }
    drop(sender);
    let mut all = Vec::new();
    let gather = async {
        while let Some(some) = readings.recv().await {
            all.extend(some);
        }
    };
    if timeout(PATIENCE, gather).await.is_err() {
        tracing::warn!("relay: a thread did not say how its pools stand");
    }
    all
}

impl Samples {
    /// Asks the supervisor, which decides how often it looks, and waits for a while.
    async fn ask(&self) {
        let news = self.news.notified();
        if !self.asked.replace(true) && self.report.send(FromRelay::SampleWanted).is_err() {
            return;
        }
        if timeout(A_LOOK, news).await.is_err() {
            self.asked.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer() -> (Observer, mpsc::UnboundedReceiver<FromRelay>) {
        let (report, reports) = mpsc::unbounded_channel();
        (Observer::new(Vec::new(), Duration::ZERO, report), reports)
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_ask_once_and_all_hear_the_answer() {
        let (observer, mut reports) = observer();
        let sample = Sample {
            resident_bytes: Some(7),
            private_bytes: None,
            cpu: None,
        };
        let answer = async {
            assert_eq!(reports.recv().await, Some(FromRelay::SampleWanted));
            observer.sampled(vec![(WorkerId(1), sample)], false);
            observer.sampled(vec![(WorkerId(2), sample)], true);
        };
        tokio::join!(observer.samples.ask(), observer.samples.ask(), answer);
        assert!(reports.try_recv().is_err());
        assert_eq!(observer.samples.known.borrow().len(), 2);
        // what is left out the next time is forgotten
        observer.sampled(vec![(WorkerId(3), sample)], true);
        assert_eq!(observer.samples.known.borrow().len(), 1);
    }

    #[tokio::test]
    async fn a_supervisor_that_is_silent_is_asked_again() {
        let (observer, _reports) = observer();
        observer.samples.ask().await;
        assert!(!observer.samples.asked.get());
    }
}
