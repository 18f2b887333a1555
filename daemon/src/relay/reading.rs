//! How one pool stands at this moment: made on the pool's thread when somebody asks.

use std::time::Duration;

use stockade_policy::{
    Limit, Time, WorkerId,
    supervision::{Cause, WorkerState},
};

use super::{
    exits::Exit,
    ledger::{Histogram, Ledger},
    metrics::whole,
    pool::{State, Worker},
    request::Request,
};
use crate::control::{
    relay::{Lives, PoolPlan},
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
    /// Limits of the configuration that are set, by their keys: numbers, bytes, seconds.
    pub(super) limits: Vec<(&'static str, f64)>,
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
            limits: limits(&self.plan),
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
            workers: self.statuses(false, now),
            templates: self.statuses(true, now),
            exits: exits.iter().map(exit_status).collect(),
        }
    }

    fn statuses(&self, templates: bool, now: Time) -> Vec<WorkerStatus> {
        (self.workers.iter())
            .filter(|(_, worker)| worker.template == templates)
            .map(|(id, worker)| self.worker_status(*id, worker, now))
            .collect()
    }

    fn worker_status(&self, id: WorkerId, worker: &Worker, now: Time) -> WorkerStatus {
        let figures = self.dispatch.worker(id);
        let state = match (worker.retired, worker.offered) {
            (true, _) => WorkerState::Retiring,
            (false, true) => WorkerState::Ready,
            (false, false) if worker.template && self.has_forked(worker) => WorkerState::Ready,
            (false, false) => WorkerState::Starting,
        };
        let (age, then) = worker.age;
        WorkerStatus {
            id,
            pid: worker.pid,
            address: (worker.pid == 0)
                .then(|| worker.address.as_ref().map(ToString::to_string))
                .flatten(),
            place: worker.place,
            state,
            generation: worker.generation,
            age_seconds: seconds(age + now.since(then)),
            requests: figures.handed_out,
            busy: figures.busy,
            resident_bytes: None,
            private_bytes: None,
            cpu_seconds: None,
            current: self
                .requests
                .of_worker(id)
                .map(|request| current(request, now))
                .collect(),
        }
    }

    /// A template that has forked is ready: nobody says so here.
    fn has_forked(&self, template: &Worker) -> bool {
        let mut workers = self.workers.values();
        workers.any(|worker| !worker.template && worker.generation == template.generation)
    }
}

fn limits(plan: &PoolPlan) -> Vec<(&'static str, f64)> {
    let time = |limit: Limit| limit.0.map(seconds);
    let worker = plan.limits;
    let requests = Some(worker.maximum_requests).filter(|most| *most > 0);
    let all = [
        ("processes", Some(f64::from(plan.processes.maximum))),
        ("threads", Some(f64::from(worker.threads))),
        ("queue-limit", Some(f64::from(plan.settings.queue_limit))),
        ("queue-timeout", time(plan.settings.queue_timeout)),
        ("request-timeout", time(plan.settings.request_timeout)),
        ("maximum-requests", requests.map(whole)),
        ("maximum-memory", worker.maximum_memory.map(whole)),
        ("cpu-time-limit", time(worker.cpu_time_limit)),
        ("spool-limit", plan.bytes.spool_limit.map(whole)),
    ];
    let set = all.into_iter();
    set.filter_map(|(key, limit)| Some((key, limit?))).collect()
}

/// A request that runs, or did.
pub(super) fn current(request: &Request, now: Time) -> CurrentRequest {
    let text = |name: &[u8], longest: usize| {
        let value = request.param(name).unwrap_or_default();
        value[..value.len().min(longest)].escape_ascii().to_string()
    };
    let uri = text(b"REQUEST_URI", PATH);
    let path = uri.split('?').next().unwrap_or_default();
    CurrentRequest {
        id: request.name().into_owned(),
        method: text(b"REQUEST_METHOD", METHOD),
        path: if path.is_empty() {
            text(b"SCRIPT_NAME", PATH)
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
        current,
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
        core_dumped: death.core_dumped,
        out_of_memory: death.cause == Cause::OutOfMemory.to_string(),
        resident_bytes: death.sample.resident_bytes,
        cpu_seconds: death.sample.cpu.map(seconds),
        current: current.borrow().clone(),
        last_lines: death
            .not_launched
            .as_ref()
            .map_or_else(|| lines.all(), |why| vec![why.clone()]),
    }
}

/// To the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Of a path and a method, in bytes.
const PATH: usize = 256;
const METHOD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::record::Death, relay::exits::Exits};

    #[test]
    fn an_end_for_want_of_memory_is_told_as_one() {
        let death = |cause: Cause, detail: &str| Death {
            pid: 1,
            at: 0,
            cause: cause.to_string(),
            detail: detail.to_owned(),
            core_dumped: false,
            age: Duration::from_millis(1500),
            sample: Default::default(),
            obituary: None,
            not_launched: None,
        };
        let mut exits = Exits::default();
        exits.buried(WorkerId(1), death(Cause::OutOfMemory, ""));
        exits.buried(WorkerId(2), death(Cause::Signal(9), "SIGKILL"));
        let told: Vec<_> = exits.iter().map(exit_status).collect();
        assert_eq!((&*told[0].cause, told[0].out_of_memory), ("signal", false));
        assert_eq!(
            (&*told[1].cause, told[1].out_of_memory),
            ("out-of-memory", true)
        );
    }
}
