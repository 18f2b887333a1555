//! The workers as the supervisor holds them: what each needs to live, and what a successor of ours would need to know.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use stockade_policy::{Generation, PoolId, Random, Time, WorkerId};
use tokio::task::AbortHandle;

use super::{
    heartbeat::Heartbeat,
    leases::Leases,
    order::{Made, Order, step},
    process::Process,
    relay_life::{RelayNumber, Role},
    sockets::SocketFile,
    spawn::Launch,
    usage::Usage,
};
use crate::{
    cgroup::Leaf,
    config::resolved::{Application, Kind, Pool},
    control::{Channel, ToRelay, worker::ToWorker},
    launch::plan::Failure,
};

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) description: WorkerDescription,
    /// The keys of its generation.
    keys: Arc<Pool>,
    /// Until it is reaped.
    pub(super) process: Option<Process>,
    /// Its template is to fork it: the task that waits for that.
    pub(super) forking: Option<AbortHandle>,
    /// The read ends of its standard output and standard error: the relay has copies; held, so that a relay's death is
    /// not the worker's.
    output: [Arc<OwnedFd>; 2],
    /// Our end of its control socket.
    pub(super) control: Arc<Channel>,
    /// Where it shows that its interpreter goes on; not of every worker.
    pub(super) heartbeat: Option<Heartbeat>,
    /// Whose its slots are.
    pub(super) leases: Leases,
    /// Relays that have said of it, when it was retired, that nothing is left.
    pub(super) drained: BTreeSet<RelayNumber>,
    /// Its cgroup, where there are any.
    pub(super) leaf: Option<Leaf>,
    /// What is to be said of a SIGKILL that was not ours.
    pub(super) killed: Option<String>,
    /// What it takes of the machine.
    pub(super) usage: Usage,
    /// At its end a core file was written or handed on.
    pub(super) core_dumped: bool,
    _socket: Option<SocketFile>,
}

/// What is to be known of a worker besides its descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkerDescription {
    pub(super) pool: PoolId,
    /// The pool's name.
    pub(super) pool_name: String,
    pub(super) worker: WorkerId,
    pub(super) generation: Generation,
    /// Workers are forked of it, and it gets no requests.
    pub(super) template: bool,
    /// 0 while its template is to fork it.
    pub(super) pid: i32,
    /// A service has none.
    pub(super) socket: Option<PathBuf>,
    pub(super) started: Time,
    /// It tells by itself that it is ready; else the relay asks.
    pub(super) tells: bool,
    /// Exec has succeeded.
    pub(super) launched: bool,
    /// It is up, and a relay asks it for `probe`.
    pub(super) probing: bool,
    /// The relay may give it requests.
    pub(super) offered: bool,
    /// The relay is to give it no more.
    pub(super) retired: bool,
    /// It was offered to a relay that is gone, and is broken if it has not answered the next one by then.
    pub(super) answer_due: Option<Time>,
    /// The stop-signal was sent.
    pub(super) stopped: bool,
    /// `maximum-requests` with its jitter; or `refork-after`.
    pub(super) maximum_requests: u64,
    /// It is `refork-after`: then it may become the template.
    pub(super) seasons: bool,
}

impl Worker {
    /// Makes a worker's socket, pipes and process.
    pub(super) fn start(
        order: Order<'_>,
        random: &mut Random,
        now: Time,
    ) -> Result<(Self, Launch), Failure> {
        let (made, mut descriptors) = order.make()?;
        order.pass_on_more(&mut descriptors)?;
        let spawned = order.spawner.spawn(order.plan(), descriptors);
        let (process, launch) = spawned.map_err(step("start a process"))?;
        let mut worker = Self::of(order, made, random, now);
        worker.runs_as(process);
        Ok((worker, launch))
    }

    /// Makes a worker's socket and pipes; `template` is to fork its process.
    pub(super) fn fork(
        order: Order<'_>,
        template: &Self,
        random: &mut Random,
        now: Time,
    ) -> Result<Self, Failure> {
        let (made, descriptors) = order.make()?;
        let message = ToWorker::Fork(order.worker).encode();
        let descriptors: Vec<_> = (descriptors.iter())
            .map(|(_, descriptor)| descriptor.as_fd())
            .collect();
        (template.control.try_send(&message, &descriptors))
            .map_err(|error| Failure::of(format!("have {} fork it", template.name()), error))?;
        let mut worker = Self::of(order, made, random, now);
        worker.season(template);
        Ok(worker)
    }

    /// It may become a template, unless its own has been a worker before.
    fn season(&mut self, template: &Self) {
        let after = self.keys.preload.refork_after;
        let most = &mut self.description.maximum_requests;
        let sooner = *most == 0 || after < *most;
        if after > 0 && sooner && !template.description.seasons {
            *most = after;
            self.description.seasons = true;
        }
    }

    fn of(order: Order<'_>, made: Made, random: &mut Random, now: Time) -> Self {
        let keys = order.keys;
        let description = WorkerDescription {
            pool: order.pool,
            pool_name: keys.name.clone(),
            worker: order.worker,
            generation: order.generation,
            template: order.template,
            pid: 0,
            socket: made.socket.as_ref().map(|(path, _)| path.clone()),
            started: now,
            tells: !matches!(keys.application, Application::Command(_)),
            launched: false,
            probing: false,
            offered: false,
            retired: false,
            answer_due: None,
            stopped: false,
            maximum_requests: random.less_a_tenth(keys.wear.maximum_requests),
            seasons: false,
        };
        let usage = Usage::new(&keys, random);
        Self {
            description,
            keys,
            process: None,
            forking: None,
            output: made.output.map(Arc::new),
            control: Arc::new(made.control),
            heartbeat: made.heartbeat,
            leases: Leases::default(),
            drained: BTreeSet::new(),
            leaf: order.leaf,
            killed: None,
            usage,
            core_dumped: false,
            _socket: made.socket.map(|(_, file)| file),
        }
    }

    /// This is its process.
    pub(super) fn runs_as(&mut self, process: Process) {
        self.description.pid = process.pid();
        self.process = Some(process);
    }

    /// For the log: "pool blog: worker 3 (pid 4711)".
    pub(super) fn name(&self) -> String {
        let WorkerDescription {
            pool_name,
            worker,
            pid,
            template,
            ..
        } = &self.description;
        let what = if *template { "template" } else { "worker" };
        match pid {
            0 => format!("pool {pool_name}: {what} {worker}"),
            pid => format!("pool {pool_name}: {what} {worker} (pid {pid})"),
        }
    }

    /// Whom it has become; none: it is who we are.
    pub(super) fn user(&self) -> Option<u32> {
        self.keys.account.as_ref().map(|account| account.uid)
    }

    /// What it is told to end by.
    pub(super) fn stop_signal(&self) -> Signal {
        self.keys.start.stop_signal
    }

    /// How long ago it was started.
    pub(super) const fn age(&self, now: Time) -> Duration {
        now.since(self.description.started)
    }

    /// What the relay is told when it is launched; `probe`: whether to ask it if it is ready; `fresh`: no relay knows it yet.
    pub(super) fn launched(
        &self,
        probe: bool,
        fresh: bool,
        now: Time,
    ) -> (ToRelay, Vec<Arc<OwnedFd>>) {
        let WorkerDescription {
            pool,
            worker,
            generation,
            pid,
            socket,
            tells,
            template,
            ..
        } = &self.description;
        let message = ToRelay::WorkerLaunched {
            pool: *pool,
            worker: *worker,
            pid: *pid,
            generation: *generation,
            age: self.age(now),
            fresh,
            socket: socket.clone(),
            tells: *tells,
            template: *template,
            probe,
            multiplexes: self.keys.multiplex,
            hears_leaving: self.keys.application.is_asgi(),
        };
        (message, self.output.to_vec())
    }

    /// What the relay is told when it may be given requests; `startup`: how long it took, the first time.
    pub(super) fn offered(&self, startup: Option<Duration>) -> ToRelay {
        ToRelay::WorkerOffered {
            pool: self.description.pool,
            worker: self.description.worker,
            slots: self.slots(),
            leased: self.leases.elsewhere(),
            maximum_requests: self.description.maximum_requests,
            startup,
        }
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        self.keys.application.kind()
    }

    /// Our adapter is in it.
    pub(super) fn is_python(&self) -> bool {
        matches!(self.keys.application, Application::Python { .. })
    }

    /// Requests at a time; a service has none.
    pub(super) fn slots(&self) -> u32 {
        match self.kind() {
            Kind::Workers => self.keys.threads,
            Kind::Service | Kind::Upstream => 0,
        }
    }

    /// A relay is asking it whether it is ready.
    pub(super) fn is_asked(&self) -> bool {
        let WorkerDescription {
            tells,
            launched,
            probing,
            offered,
            ..
        } = self.description;
        launched && !probing && !offered && !tells && self.may_be_asked()
    }

    /// It is up: what the relay is told that is to ask it for `probe`, if it has to answer that first.
    pub(super) fn probed(&mut self) -> Option<ToRelay> {
        let path = self.keys.renewal.probe.clone()?;
        self.description.probing = true;
        Some(self.probe_of(path))
    }

    /// What another relay is told that is to ask it for `probe`, if that is not over.
    pub(super) fn probed_again(&self) -> Option<ToRelay> {
        let description = &self.description;
        let asked = description.probing && !description.offered && self.may_be_asked();
        let path = self.keys.renewal.probe.clone().filter(|_| asked)?;
        Some(self.probe_of(path))
    }

    const fn probe_of(&self, path: String) -> ToRelay {
        ToRelay::WorkerProbed {
            pool: self.description.pool,
            worker: self.description.worker,
            path,
        }
    }

    /// It may be used, and there is something of it that answers.
    pub(super) fn may_be_asked(&self) -> bool {
        let is_one = self.kind() == Kind::Workers;
        is_one && self.process.is_some() && !self.description.retired
    }

    /// What the relay is told when nobody knows what it runs.
    pub(super) const fn doubted(&self) -> ToRelay {
        ToRelay::WorkerDoubted {
            pool: self.description.pool,
            worker: self.description.worker,
        }
    }

    /// Requests that a dead relay gave it are lost, but it may still run them. It has as long as they may take; what answers no more is
    /// replaced.
    pub(super) fn expect_answer(&mut self, now: Time) {
        let Some(request) = self.keys.request_timeout.0 else {
            return;
        };
        let startup = self.keys.startup_timeout.0.unwrap_or_default();
        self.description.answer_due = Some(now.after(request.max(startup)));
    }

    /// What a new relay is told that has this role. It is to ask what nobody else asks.
    pub(super) fn handover(&mut self, role: Role, now: Time) -> Vec<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let WorkerDescription {
            pool,
            worker,
            launched,
            offered,
            retired,
            ..
        } = self.description;
        if !launched || self.process.is_none() {
            return Vec::new();
        }
        let doubted = self.leases.unknown() > 0 && self.may_be_asked();
        if doubted && role == Role::Serving {
            self.expect_answer(now);
        }
        let probe = role == Role::Serving && (doubted || self.is_asked());
        let mut again = self.offered(None);
        if let (Role::Next, ToRelay::WorkerOffered { slots, leased, .. }) = (role, &mut again) {
            *leased = *slots;
        }
        let again = offered.then(|| (again, Vec::new()));
        let probed = self.probed_again().filter(|_| role == Role::Serving);
        let probed = probed.map(|probed| (probed, Vec::new()));
        let retired = retired.then(|| (ToRelay::WorkerRetired { pool, worker }, Vec::new()));
        [self.launched(probe, false, now)]
            .into_iter()
            .chain(again)
            .chain(probed)
            .chain(retired)
            .collect()
    }
}
