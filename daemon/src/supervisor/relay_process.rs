//! The relay as the supervisor sees it: a process to start, to talk to, and to start again when it dies.
//!
//! A relay that says what it should not, or does not listen, is killed; its successor is told everything again
//! (`execute`).

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use stockade_policy::{Backoff, Random, Time};
use tokio::{select, time::timeout};

use super::{
    admin::Asked,
    error::SupervisorError,
    line::Line,
    process::{End, Process},
    sockets,
    spawn::{Launch, Spawner},
    words::{Ended, Seconds},
};
use crate::{
    config::resolved::{Account, Daemon, LogLevel},
    control::{Channel, ChannelError, FromRelay, ToRelay, admin::Answer, relay::VERSION},
    launch::plan::{Failure, Plan, Slot},
};

/// Messages that may wait for a relay before it is taken for hung.
const MAX_WAITING: usize = 10_000;
/// Before a relay that died is started again: at first, and when it dies again and again.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    maximum: Duration::from_secs(5),
};
/// A relay that lived this long had no bad start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// Connections to `status-listen` that the system keeps until they are accepted.
const STATUS_BACKLOG: i32 = 128;
/// What the last relay has to read what workers wrote last.
const FAREWELL: Duration = Duration::from_secs(2);

/// The relay.
#[derive(Debug)]
pub(super) struct RelayProcess {
    account: Option<Account>,
    threads: usize,
    log_level: LogLevel,
    /// The listening socket of `status-listen`.
    status: Option<Arc<OwnedFd>>,
    life: Option<Life>,
    random: Random,
    /// Short lives in a row.
    failures: u32,
    /// When it is to be started again.
    restart: Option<Time>,
    /// It was told to drain: when it goes there is nothing to start it again for.
    draining: bool,
}

/// One process.
#[derive(Debug)]
struct Life {
    process: Process,
    end: End,
    line: Line,
    since: Time,
    /// It was killed, and is not listened to any more.
    given_up: bool,
}

/// What came of the relay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard {
    /// A message.
    Said(FromRelay),
    /// Its process is gone; [`RelayProcess::bury`] is next.
    Gone,
}

impl RelayProcess {
    /// A relay to be started. Binds `status-listen` for it.
    pub(super) fn new(daemon: &Daemon, seed: u64) -> Result<Self, SupervisorError> {
        let status = match daemon.status_listen {
            Some(address) => {
                let listener = sockets::bind_tcp(address, STATUS_BACKLOG)?;
                let bound = listener.local_addr().map_err(SupervisorError::step(
                    "look at the address of status-listen",
                ))?;
                tracing::info!("status on http://{bound}/v1/status");
                Some(listener)
            }
            None => None,
        };
        Ok(Self {
            account: daemon.relay_user.clone(),
            threads: daemon.relay_threads,
            log_level: daemon.log_level,
            status: status.map(|listener| Arc::new(listener.into())),
            life: None,
            random: Random::new(seed),
            failures: 0,
            restart: None,
            draining: false,
        })
    }

    /// Starts the process and tells it how to begin.
    pub(super) fn start(&mut self, spawner: &Spawner, now: Time) -> Result<Launch, Failure> {
        self.restart = None;
        let launched = self
            .launch(spawner)
            .map_err(|error| Failure::of("start a process", error));
        let (process, launch, channel) = match launched {
            Ok(launched) => launched,
            Err(failure) => {
                self.put_off(Duration::ZERO, now);
                return Err(failure);
            }
        };
        self.life = Some(Life {
            end: process.end(),
            process,
            line: Line::new(channel),
            since: now,
            given_up: false,
        });
        let begin = ToRelay::Begin {
            version: VERSION,
            threads: self.threads,
            log_level: self.log_level,
            uptime: now.since_origin(),
        };
        self.tell(&begin, self.status.iter().cloned().collect());
        Ok(launch)
    }

    fn launch(&self, spawner: &Spawner) -> io::Result<(Process, Launch, Channel)> {
        let (channel, theirs) = Channel::pair()?;
        let log = io::stderr().as_fd().try_clone_to_owned()?;
        let plan = Plan {
            program: None,
            arguments: vec!["stockade".to_owned(), "relay".to_owned()],
            environment: BTreeMap::new(),
            account: self.account.clone(),
            home: PathBuf::from("/"),
            umask: 0o077,
            descriptors: Vec::new(),
            parent: std::process::id().cast_signed(),
        };
        let descriptors = vec![
            (Slot::Program, spawner.executable()?),
            (Slot::Error, log),
            (Slot::Control, theirs),
        ];
        let (process, launch) = spawner.spawn(plan, descriptors)?;
        Ok((process, launch, channel))
    }

    /// Says `message`, after what waits. Without a relay it is lost: the next one is told everything.
    pub(super) fn tell(&mut self, message: &ToRelay, descriptors: Vec<Arc<OwnedFd>>) {
        if let ToRelay::Drain = message {
            self.draining = true;
            self.restart = None;
        }
        let Some(life) = self.life.as_mut().filter(|life| !life.given_up) else {
            return;
        };
        match serde_json::to_vec(message) {
            Ok(bytes) => {
                if life.line.say(bytes, descriptors) > MAX_WAITING {
                    life.give_up("does not listen");
                }
            }
            Err(error) => tracing::error!("could not word a message to the relay: {error}"),
        }
    }

    /// Has it answer an operator's question for the status. Without a relay the question is answered here.
    pub(super) fn ask_status(&mut self, asked: Asked) {
        if self.life.as_ref().is_some_and(|life| !life.given_up) {
            self.tell(&ToRelay::StatusAsked, vec![Arc::new(asked.connection)]);
            return;
        }
        let answer = Answer::Failed {
            code: 75,
            lines: vec!["the relay is being started again: try again".to_owned()],
        };
        // who asked may have gone
        drop(asked.reply.send(answer));
    }

    /// The next thing that comes of it; meanwhile what waits is said. May be dropped at any time.
    pub(super) async fn hear(&mut self) -> Heard {
        match &mut self.life {
            Some(life) => life.hear().await,
            None => pending().await,
        }
    }

    /// Reaps it. Starts it again later, unless it was draining: then false.
    pub(super) fn bury(&mut self, now: Time) -> bool {
        let Some(life) = self.life.take() else {
            return true;
        };
        let lived = now.since(life.since);
        let pid = life.process.pid();
        let exit = Ended(life.process.reap());
        if self.draining {
            tracing::warn!("relay (pid {pid}) gone while it drained: {exit}");
            return false;
        }
        let wait = self.put_off(lived, now);
        let lived = Seconds(lived);
        tracing::warn!("relay (pid {pid}) gone after {lived}: {exit}; next start in {wait}");
        true
    }

    fn put_off(&mut self, lived: Duration, now: Time) -> Seconds {
        self.failures = if lived < GOOD_LIFE {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let wait = BACKOFF.wait(self.failures, &mut self.random);
        self.restart = Some(now.after(wait));
        Seconds(wait)
    }

    /// When it is to be started again.
    pub(super) const fn restart(&self) -> Option<Time> {
        self.restart
    }

    /// Whether there is a process.
    pub(super) const fn is_there(&self) -> bool {
        self.life.is_some()
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<i32> {
        self.life.as_ref().map(|life| life.process.pid())
    }

    /// Ends it: what waits is said, its socket closed, and it has a moment to read workers' last words.
    pub(super) async fn end(&mut self) {
        let Some(mut life) = self.life.take() else {
            return;
        };
        if let Ok(Err(error)) = timeout(FAREWELL, life.line.finish()).await {
            tracing::debug!("relay: {error}");
        }
        drop(life.line);
        if timeout(FAREWELL, life.end.come()).await.is_err() {
            tracing::warn!("relay (pid {}) did not end: killed", life.process.pid());
            kill(&life.process);
            life.end.come().await;
        }
        life.process.reap();
    }
}

impl Life {
    async fn hear(&mut self) -> Heard {
        while !self.given_up {
            select! {
                biased;
                received = self.line.next() => match received {
                    Ok(Some(message)) => return Heard::Said(message),
                    Ok(None) => self.give_up("said what it should not"),
                    // It is dead or as good as dead.
                    Err(ChannelError::Closed) => self.silence(),
                    Err(error) => self.give_up(&format!("cannot be talked to ({error})")),
                },
                () = self.end.come() => return Heard::Gone,
            }
        }
        self.end.come().await;
        Heard::Gone
    }

    fn give_up(&mut self, why: &str) {
        tracing::warn!("relay (pid {}) {why}: killed", self.process.pid());
        self.silence();
    }

    fn silence(&mut self) {
        self.given_up = true;
        self.line.clear();
        kill(&self.process);
    }
}

fn kill(process: &Process) {
    if let Err(error) = process.signal(Signal::SIGKILL) {
        tracing::debug!("could not kill the relay: {error}");
    }
}
