//! How one pool stands at this moment: made on the pool's thread when somebody asks.

use std::time::Duration;

use stockade_policy::{Time, WorkerId, supervision::WorkerState};

use super::{
    ledger::{Exit, Histogram, Ledger},
    pool::{State, Worker},
    request::Request,
};
use crate::control::{
    relay::Lives,
    status::{CurrentRequest, ExitStatus, PoolStatus, Queue, Slots, WorkerStatus},
};

/// What is shown of one pool.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) status: PoolStatus,
    /// Answers by their status.
    pub(super) codes: Vec<(u16, u64)>,
    pub(super) request: Histogram,
    pub(super) queue_wait: Histogram,
    pub(super) startup: Histogram,
    pub(super) lives: Lives,
    /// Bytes from hosts, and to them.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Hosts' connections.
    pub(super) hosts: usize,
    /// It accepts no more.
    pub(super) leaves: bool,
    /// What the watchdog has found.
    pub(super) healed: u64,
}

impl State {
    /// How the pool stands.
    pub(super) fn read(&self) -> Reading {
        let ledger = &self.ledger;
        let live = self.hosts.values().map(|host| &host.connection);
        let (received, sent) = live.fold((ledger.received, ledger.sent), |(came, went), each| {
            (came + each.received(), went + each.sent())
        });
        Reading {
            status: self.status(),
            codes: ledger
                .codes
                .iter()
                .map(|(code, count)| (*code, *count))
                .collect(),
            request: ledger.request.clone(),
            queue_wait: ledger.queue_wait.clone(),
            startup: ledger.startup.clone(),
            lives: ledger.lives.clone(),
            received,
            sent,
            hosts: self.hosts.len(),
            leaves: self.draining(),
            healed: self.dispatch.snapshot().healed,
        }
    }

    fn status(&self) -> PoolStatus {
        let now = self.clock.now();
        let Ledger {
            codes,
            refused,
            replays,
            exits,
            ..
        } = &self.ledger;
        let stands = self.dispatch.snapshot();
        PoolStatus {
            name: self.plan.name.clone(),
            state: self.standing,
            generation: self.plan.generation,
            listen: self.plan.listen.clone(),
            processes: self.plan.processes,
            slots: Slots {
                busy: stands.busy,
                idle: stands.idle,
            },
            queue: Queue {
                length: stands.queued,
                limit: self.plan.settings.queue_limit,
                oldest_seconds: seconds(stands.oldest.map_or(Duration::ZERO, |at| now.since(at))),
            },
            requests_total: codes.values().sum(),
            refused: refused.clone(),
            replays_total: *replays,
            workers: self
                .workers
                .iter()
                .map(|(id, worker)| self.worker_status(*id, worker, now))
                .collect(),
            exits: exits.iter().map(exit_status).collect(),
        }
    }

    fn worker_status(&self, id: WorkerId, worker: &Worker, now: Time) -> WorkerStatus {
        let figures = self.dispatch.worker(id);
        let state = match (worker.retired, worker.offered) {
            (true, _) => WorkerState::Retiring,
            (false, true) => WorkerState::Ready,
            (false, false) => WorkerState::Starting,
        };
        let (age, then) = worker.age;
        WorkerStatus {
            id,
            pid: worker.pid,
            address: (worker.pid == 0)
                .then(|| worker.address.as_ref().map(ToString::to_string))
                .flatten(),
            state,
            generation: worker.generation,
            age_seconds: seconds(age + now.since(then)),
            requests: figures.handed_out,
            busy: figures.busy,
            resident_bytes: None,
            cpu_seconds: None,
            current: self
                .requests
                .of_worker(id)
                .map(|request| current(request, now))
                .collect(),
        }
    }
}

fn current(request: &Request, now: Time) -> CurrentRequest {
    let text = |name: &[u8]| {
        let value = request.param(name).unwrap_or_default();
        value[..value.len().min(LONGEST)].escape_ascii().to_string()
    };
    let uri = text(b"REQUEST_URI");
    let path = uri.split('?').next().unwrap_or_default();
    CurrentRequest {
        id: request.name().into_owned(),
        method: text(b"REQUEST_METHOD"),
        path: if path.is_empty() {
            text(b"SCRIPT_NAME")
        } else {
            path.to_owned()
        },
        age_seconds: seconds(now.since(request.handed_out)),
    }
}

fn exit_status(exit: &Exit) -> ExitStatus {
    let Exit {
        worker,
        death,
        requests,
        lines,
    } = exit;
    ExitStatus {
        worker: *worker,
        pid: death.pid,
        at: death.at,
        cause: death.cause.clone(),
        detail: death.detail.clone(),
        requests: *requests,
        age_seconds: seconds(death.age),
        last_lines: death
            .not_launched
            .as_ref()
            .map_or_else(|| lines.all(), |why| vec![why.clone()]),
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Of a method or path, in bytes.
const LONGEST: usize = 256;
