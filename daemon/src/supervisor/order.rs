//! What starting a worker takes: its socket, pipes and control socket, and the launcher's plan.

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use nix::{fcntl::OFlag, unistd::pipe2};
use stockade_policy::{Generation, PoolId, WorkerId};

use super::{
    adapter::Adapter,
    heartbeat::Heartbeat,
    runtime_dir::RuntimeDir,
    sockets::{self, SocketFile, set_nonblocking},
    spawn::Spawner,
};
use crate::{
    cgroup::Leaf,
    config::{
        confinement::Confinement,
        resolved::{Account, Application, Kind, Pool},
    },
    control::Channel,
    launch::{
        plan::{Failure, Plan, Slot},
        python,
    },
};

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
    /// It is to be a template.
    pub(super) template: bool,
}

/// What a worker has before it has a process: our ends.
#[derive(Debug)]
pub(super) struct Made {
    /// Where it listens, and the name's keeper; a service and a template do not.
    pub(super) socket: Option<(PathBuf, SocketFile)>,
    /// The read ends of its standard output and standard error.
    pub(super) output: [OwnedFd; 2],
    pub(super) control: Channel,
    pub(super) heartbeat: Option<Heartbeat>,
}

impl Order<'_> {
    /// Makes what the worker has before it has a process, and the other ends, in the order in which a template is given them.
    pub(super) fn make(&self) -> Result<(Made, Vec<(Slot, OwnedFd)>), Failure> {
        let account = self.keys.account.as_ref();
        let (output, output_end) = pipe(account).map_err(step("make a pipe"))?;
        let (error, error_end) = pipe(account).map_err(step("make a pipe"))?;
        let pair = Channel::pair_with_credentials();
        let (control, theirs) = pair.map_err(step("make a control socket"))?;
        let mut descriptors = vec![
            (Slot::Control, theirs),
            (Slot::Output, output_end),
            (Slot::Error, error_end),
        ];
        let socket = self.socket()?.map(|(path, listener, file)| {
            descriptors.push((Slot::Input, listener));
            (path, file)
        });
        let heartbeat = self.heartbeat()?.map(|(ours, theirs)| {
            descriptors.push((Slot::Heartbeat, theirs));
            ours
        });
        let made = Made {
            socket,
            output: [output, error],
            control,
            heartbeat,
        };
        Ok((made, descriptors))
    }

    /// The worker's socket: its path, itself, and its name; a service and a template have none.
    fn socket(&self) -> Result<Option<(PathBuf, OwnedFd, SocketFile)>, Failure> {
        let keys = &self.keys;
        if keys.application.kind() == Kind::Service || self.template {
            return Ok(None);
        }
        let path = self.runtime_dir.worker_socket(&keys.name, self.worker);
        let relay = self.relay_user.map(|account| (account.uid, account.gid));
        let (listener, file) = sockets::bind_worker(&path, relay, keys.threads)
            .map_err(step(format!("make the socket {}", path.display())))?;
        Ok(Some((path, listener, file)))
    }

    /// The heartbeat's two ends; none where nobody looks.
    fn heartbeat(&self) -> Result<Option<(Heartbeat, OwnedFd)>, Failure> {
        let timeout = self.keys.deadlines.deadlock_timeout.0;
        let made = timeout.filter(|_| !self.template).map(Heartbeat::new);
        made.transpose()
            .map_err(step("make a file for its heartbeat"))
    }

    /// Adds what only a launcher needs.
    pub(super) fn pass_on_more(
        &self,
        descriptors: &mut Vec<(Slot, OwnedFd)>,
    ) -> Result<(), Failure> {
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
        Ok(())
    }

    pub(super) fn plan(&self) -> Plan {
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
                arguments.extend(python::of_loading(&keys.preload, self.template));
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

pub(super) fn step(name: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    |error| Failure::of(name, error)
}
