//! The shim as the supervisor sees it: a process to start, to tell one thing, and to start again when it dies. Nothing that
//! it says is read.
//!
//! At the stop it goes first: it stops accepting, its requests are answered, and only then do relay and workers stop. After `[daemon]
//! shutdown-timeout` the workers are stopped all the same: the relay answers for them, the shim passes that on, and goes.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::PathBuf,
    time::Duration,
};

use nix::sys::signal::Signal;
use stockade_policy::{Backoff, Random, Time, supervision::Event};
use tokio::time::timeout;

use super::{
    error::SupervisorError,
    process::{End, Process},
    shell::Shell,
    sockets::bind_tcp,
    spawn::{Launch, Spawner},
    words::{Ended, Seconds},
};
use crate::{
    config::{
        confinement::Confinement,
        resolved::{LogLevel, Shim},
    },
    control::{
        Channel, ChannelError,
        shim::{ShimPlan, VERSION},
    },
    launch::plan::{Failure, Plan, Slot},
};

/// Connections the system keeps until the shim accepts them.
const BACKLOG: i32 = 4096;
/// Before a shim that died is started again: at first, and when it dies again and again.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    maximum: Duration::from_secs(5),
};
/// A shim that lived this long had no bad start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// What it has to pass on the last answers.
const FAREWELL: Duration = Duration::from_secs(2);

/// The shim.
#[derive(Debug)]
pub(super) struct ShimProcess {
    keys: Shim,
    log_level: LogLevel,
    /// Every shim gets copies; closed when the stop begins.
    listeners: Vec<TcpListener>,
    life: Option<Life>,
    random: Random,
    /// Short lives in a row.
    failures: u32,
    due: Due,
}

/// What is to happen at which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing.
    Never,
    /// It is to be started again.
    Restart(Time),
    /// It is stopping; it is to be gone by then.
    Gone(Time),
}

/// One process.
#[derive(Debug)]
struct Life {
    process: Process,
    end: End,
    since: Time,
    /// Held, so that the other end stays open.
    _control: Channel,
}

impl ShimProcess {
    /// Binds its addresses.
    pub(super) fn bind(keys: Shim, log_level: LogLevel) -> Result<Self, SupervisorError> {
        let bind = |address: &SocketAddr| bind_tcp(*address, BACKLOG);
        let listeners = keys.listen.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self {
            keys,
            log_level,
            listeners,
            life: None,
            random: Random::new(0),
            failures: 0,
            due: Due::Never,
        })
    }

    /// What its waits are drawn from.
    pub(super) fn seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// What the next shim that is started logs.
    pub(super) const fn set_log_level(&mut self, log_level: LogLevel) {
        self.log_level = log_level;
    }

    /// The keys that it runs by.
    pub(super) const fn keys(&self) -> &Shim {
        &self.keys
    }

    /// Starts the process and tells it how to run.
    pub(super) fn start(&mut self, spawner: &Spawner, now: Time) -> Result<Launch, Failure> {
        self.due = Due::Never;
        match self.launch(spawner, now) {
            Ok((life, launch)) => {
                self.life = Some(life);
                Ok(launch)
            }
            Err(error) => {
                self.put_off(Duration::ZERO, now);
                Err(Failure::of("start a process", error))
            }
        }
    }

    fn launch(&self, spawner: &Spawner, now: Time) -> Result<(Life, Launch), ChannelError> {
        let (control, theirs) = Channel::pair()?;
        let plan = ShimPlan {
            version: VERSION,
            log_level: self.log_level,
            header_timeout: self.keys.header_timeout,
            keep_alive_timeout: self.keys.keep_alive_timeout,
            routes: self.keys.routes.clone(),
        };
        let plan = serde_json::to_vec(&plan).map_err(io::Error::from)?;
        let listeners: Vec<_> = self.listeners.iter().map(AsFd::as_fd).collect();
        control.try_send(&plan, &listeners)?;
        let log = io::stderr().as_fd().try_clone_to_owned()?;
        let descriptors = vec![
            (Slot::Program, spawner.executable()?),
            (Slot::Error, log),
            (Slot::Control, theirs),
        ];
        let (process, launch) = spawner.spawn(self.plan(), descriptors)?;
        let life = Life {
            end: process.end(),
            process,
            since: now,
            _control: control,
        };
        Ok((life, launch))
    }

    fn plan(&self) -> Plan {
        Plan {
            program: None,
            arguments: vec!["stockade".to_owned(), "shim".to_owned()],
            environment: BTreeMap::new(),
            account: self.keys.account.clone(),
            home: PathBuf::from("/"),
            umask: 0o077,
            confinement: Confinement::default(),
            descriptors: Vec::new(),
            parent: std::process::id().cast_signed(),
        }
    }

    /// Where clients find it, for the log.
    pub(super) fn tell_addresses(&self) {
        for address in self.listeners.iter().map(TcpListener::local_addr) {
            match address {
                Ok(address) => tracing::info!("shim: listening on http://{address}"),
                Err(error) => tracing::warn!("shim: could not ask for its address: {error}"),
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<i32> {
        self.life.as_ref().map(|life| life.process.pid())
    }

    /// When something is to happen.
    pub(super) const fn due(&self) -> Option<Time> {
        match self.due {
            Due::Never => None,
            Due::Restart(time) | Due::Gone(time) => Some(time),
        }
    }

    /// Waits for its end, after it was told to go and all that it could still pass on has been said.
    pub(super) async fn end(&mut self) {
        let Some(life) = &self.life else { return };
        if timeout(FAREWELL, life.end.come()).await.is_err() {
            let pid = life.process.pid();
            tracing::warn!("shim (pid {pid}): clients have not taken their answers: killed");
            self.signal(Signal::SIGKILL);
            life.end.come().await;
        }
        if let Some(life) = self.life.take() {
            life.process.reap();
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(life) = &self.life else {
            return;
        };
        if let Err(error) = life.process.signal(signal) {
            tracing::warn!("could not send the shim {signal}: {error}");
        }
    }

    fn put_off(&mut self, lived: Duration, now: Time) -> Seconds {
        self.failures = if lived < GOOD_LIFE {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let wait = BACKOFF.wait(self.failures, &mut self.random);
        self.due = Due::Restart(now.after(wait));
        Seconds(wait)
    }
}

/// Waits until the process of `shim` is gone; for ever without one. May be dropped at any time.
pub(super) async fn gone(shim: Option<&ShimProcess>) {
    match shim.and_then(|shim| shim.life.as_ref()) {
        Some(life) => life.end.come().await,
        None => pending().await,
    }
}

impl Shell {
    /// Its process is gone, and is reaped here; started again later, unless it was to go.
    pub(super) fn shim_gone(&mut self) {
        let now = self.clock.now();
        let Some(shim) = &mut self.shim else {
            return;
        };
        let Some(life) = shim.life.take() else {
            return;
        };
        let (lived, pid) = (now.since(life.since), life.process.pid());
        let exit = Ended(life.process.reap());
        if self.stopping {
            tracing::info!("shim (pid {pid}) gone: {exit}");
            if let Due::Gone(deadline) = std::mem::replace(&mut shim.due, Due::Never) {
                self.tell_machine(Event::StopRequested { deadline });
            }
        } else {
            let wait = shim.put_off(lived, now);
            let lived = Seconds(lived);
            tracing::warn!("shim (pid {pid}) gone after {lived}: {exit}; next start in {wait}");
        }
        self.reap_strangers();
    }

    /// Stops gracefully: the shim first.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.reloads.give_up();
        self.systemd.stopping();
        let deadline = self.clock.now().after(self.daemon.shutdown_timeout);
        match &mut self.shim {
            Some(shim) if shim.life.is_some() => {
                shim.listeners.clear();
                shim.signal(Signal::SIGTERM);
                shim.due = Due::Gone(deadline);
            }
            shim => {
                if let Some(shim) = shim {
                    shim.due = Due::Never;
                }
                self.tell_machine(Event::StopRequested { deadline });
            }
        }
    }

    /// Stops at once; the shim by this signal.
    pub(super) fn stop_at_once(&mut self, signal: Signal) {
        self.stopping = true;
        self.reloads.give_up();
        self.systemd.stopping();
        if let Some(shim) = &mut self.shim {
            shim.listeners.clear();
            shim.due = Due::Never;
            shim.signal(signal);
        }
        self.tell_machine(Event::FastStopRequested);
    }

    /// Does what is due.
    pub(super) fn expire_shim(&mut self, now: Time) {
        let Some(shim) = &mut self.shim else {
            return;
        };
        match shim.due {
            Due::Restart(time) if time <= now => match shim.start(&self.spawner, now) {
                Ok(launch) => {
                    tokio::spawn(async move {
                        // Its process ends by itself, and is started again.
                        if let Err(failure) = launch.outcome().await {
                            tracing::error!("shim not started: {failure}");
                        }
                    });
                }
                Err(failure) => tracing::error!("shim not started: {failure}"),
            },
            Due::Gone(deadline) if deadline <= now => {
                tracing::warn!(
                    "shim: requests still run after shutdown-timeout: their workers are stopped"
                );
                shim.due = Due::Never;
                self.tell_machine(Event::StopRequested { deadline });
                self.machine.handle_timeout(now);
            }
            Due::Never | Due::Restart(_) | Due::Gone(_) => {}
        }
    }
}
