//! The workers as the supervisor holds them: what each needs to live, and what a successor of ours would need to know.

use std::{collections::BTreeSet, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use nix::{fcntl::OFlag, sys::signal::Signal, unistd::pipe2};
use serde::{Deserialize, Serialize};
use stockade_policy::{Generation, PoolId, Random, Time, WorkerId};

use super::{
    adapter::Adapter,
    heartbeat::Heartbeat,
    leases::Leases,
    process::Process,
    relay_life::{RelayNumber, Role},
    runtime_dir::RuntimeDir,
    sockets::{self, SocketFile, set_nonblocking},
    spawn::{Launch, Spawner},
    usage::Usage,
};
use crate::{
    cgroup::Leaf,
    config::{
        confinement::Confinement,
        resolved::{Account, Application, Kind, Pool},
    },
    control::{Channel, ToRelay},
    launch::{
        plan::{Failure, Plan, Slot},
        python,
    },
};

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) description: WorkerDescription,
    /// The keys of its generation.
    keys: Arc<Pool>,
    /// Until it is reaped.
    pub(super) process: Option<Process>,
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
    /// `maximum-requests` with its jitter.
    pub(super) maximum_requests: u64,
}

/// What starting a worker takes.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) pool: PoolId,
    pub(super) worker: WorkerId,
    pub(super) generation: Generation,
    pub(super) keys: Arc<Pool>,
    pub(super) relay_user: Option<&'a Account>,
    pub(super) runtime_dir: &'a RuntimeDir,
    pub(super) adapter: &'a Adapter,
    pub(super) spawner: &'a Spawner,
    pub(super) leaf: Option<Leaf>,
}

impl Worker {
    /// Makes a worker's socket, pipes and process.
    pub(super) fn start(
        order: Order<'_>,
        random: &mut Random,
        now: Time,
    ) -> Result<(Self, Launch), Failure> {
        let keys = &order.keys;
        let socket = order.socket()?;
        let (output, output_end) = pipe(keys.account.as_ref()).map_err(step("make a pipe"))?;
        let (error, error_end) = pipe(keys.account.as_ref()).map_err(step("make a pipe"))?;
        let (control, theirs) = Channel::pair().map_err(step("make a control socket"))?;
        let mut descriptors = vec![
            (Slot::Output, output_end),
            (Slot::Error, error_end),
            (Slot::Control, theirs),
        ];
        let (socket, file) = match socket {
            Some((path, listener, file)) => {
                descriptors.push((Slot::Input, listener));
                (Some(path), Some(file))
            }
            None => (None, None),
        };
        let tells = !matches!(keys.application, Application::Command(_));
        let heartbeat = order.pass_on_more(&mut descriptors)?;
        let spawned = order.spawner.spawn(order.plan(), descriptors);
        let (process, launch) = spawned.map_err(step("start a process"))?;
        let description = WorkerDescription {
            pool: order.pool,
            pool_name: keys.name.clone(),
            worker: order.worker,
            generation: order.generation,
            pid: process.pid(),
            socket,
            started: now,
            tells,
            launched: false,
            probing: false,
            offered: false,
            retired: false,
            answer_due: None,
            stopped: false,
            maximum_requests: random.less_a_tenth(keys.wear.maximum_requests),
        };
        let usage = Usage::new(keys, random);
        let worker = Self {
            description,
            keys: order.keys,
            process: Some(process),
            output: [Arc::new(output), Arc::new(error)],
            control: Arc::new(control),
            heartbeat,
            leases: Leases::default(),
            drained: BTreeSet::new(),
            leaf: order.leaf,
            killed: None,
            usage,
            core_dumped: false,
            _socket: file,
        };
        Ok((worker, launch))
    }

    /// For the log: "pool blog: worker 3 (pid 4711)".
    pub(super) fn name(&self) -> String {
        let WorkerDescription {
            pool_name,
            worker,
            pid,
            ..
        } = &self.description;
        format!("pool {pool_name}: worker {worker} (pid {pid})")
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
            probe,
            multiplexes: self.keys.multiplex,
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

impl Order<'_> {
    /// The worker's socket: its path, itself, and its name; a service has none.
    fn socket(&self) -> Result<Option<(PathBuf, OwnedFd, SocketFile)>, Failure> {
        let keys = &self.keys;
        if keys.application.kind() == Kind::Service {
            return Ok(None);
        }
        let path = self.runtime_dir.worker_socket(&keys.name, self.worker);
        let relay = self.relay_user.map(|account| (account.uid, account.gid));
        let (listener, file) = sockets::bind_worker(&path, relay, keys.threads)
            .map_err(step(format!("make the socket {}", path.display())))?;
        Ok(Some((path, listener, file)))
    }

    /// Adds the descriptors that not every worker has. Our end of the one by which it shows that its interpreter goes on; none where
    /// nobody looks.
    fn pass_on_more(
        &self,
        descriptors: &mut Vec<(Slot, OwnedFd)>,
    ) -> Result<Option<Heartbeat>, Failure> {
        if let Some(leaf) = &self.leaf {
            let entrance = leaf.entrance().map_err(step("open its cgroup"))?;
            descriptors.push((Slot::Cgroup, entrance));
        }
        if matches!(self.keys.application, Application::Python { .. }) {
            let adapter = self.adapter.descriptor();
            descriptors.push((
                Slot::Adapter,
                adapter.map_err(step("pass on the Python adapter"))?,
            ));
        }
        let timeout = self.keys.deadlines.deadlock_timeout.0;
        let made = timeout.map(Heartbeat::new).transpose();
        let heartbeat = made.map_err(step("make a file for its heartbeat"))?;
        Ok(heartbeat.map(|(ours, theirs)| {
            descriptors.push((Slot::Heartbeat, theirs));
            ours
        }))
    }

    fn plan(&self) -> Plan {
        let keys = &*self.keys;
        let title = &keys.start.display_name;
        let (program, arguments) = match &keys.application {
            Application::Python {
                interface,
                concurrency,
                target,
                interpreter,
                python_path,
            } => {
                let mut arguments = python::arguments(
                    *interface,
                    *concurrency,
                    interpreter,
                    target,
                    python_path,
                    keys,
                );
                arguments.extend(python::of_start(&keys.start));
                (interpreter.clone(), arguments)
            }
            Application::Command(words) | Application::Service(words) => {
                let mut arguments = words.clone();
                if let (Some(name), Some(title)) = (arguments.first_mut(), title) {
                    title.clone_into(name);
                }
                (
                    words.first().map(PathBuf::from).unwrap_or_default(),
                    arguments,
                )
            }
            Application::Upstream(_) => unreachable!("supervision knows nothing of upstreams"),
        };
        let mut environment = keys.environment.clone();
        environment.extend([
            ("STOCKADE_POOL".to_owned(), keys.name.clone()),
            ("STOCKADE_WORKER".to_owned(), self.worker.to_string()),
            (
                "STOCKADE_GENERATION".to_owned(),
                self.generation.to_string(),
            ),
        ]);
        Plan {
            program: Some(program),
            arguments,
            environment,
            account: keys.account.clone(),
            home: keys.home.clone(),
            umask: keys.umask,
            confinement: confinement(keys),
            descriptors: Vec::new(),
            parent: std::process::id().cast_signed(),
        }
    }
}

/// What the pool says, and the kernel's own limit of processor time: for a worker that goes on when it should have gone. Each of its threads may
/// use a processor for as long as that takes.
fn confinement(keys: &Pool) -> Confinement {
    let mut confinement = keys.confinement.clone();
    let (limit, graceful) = (keys.wear.cpu_time_limit.0, keys.graceful_timeout.0);
    confinement.limits.cpu = limit.zip(graceful).map(|(limit, graceful)| {
        let startup = keys.startup_timeout.0.unwrap_or_default();
        let ending = startup + graceful + keys.shutdown_timeout + MARGIN;
        (limit + ending * keys.threads.max(1)).as_secs()
    });
    confinement
}

/// Between two looks at its processor time, and some more.
const MARGIN: Duration = Duration::from_secs(10);

/// A pipe: its read end, non-blocking, and its write end, which `account` may open again (`/dev/stderr`).
fn pipe(account: Option<&Account>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    if let Some(account) = account {
        std::os::unix::fs::fchown(&write, Some(account.uid), Some(account.gid))?;
    }
    set_nonblocking(&read)?;
    Ok((read, write))
}

fn step(name: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    |error| Failure::of(name, error)
}
