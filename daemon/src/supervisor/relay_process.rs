//! The relay as the supervisor sees it: a process to start, to talk to, to start again when it dies, and to replace while it serves.
//!
//! A relay that says what it should not, or does not listen, is killed; its successor is told everything again (`succession`). While one is
//! replaced there are several: the one that serves, the next one until it serves, and those that end what they have.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io, mem,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stockade_policy::{Backoff, Random, Time};

use super::{
    admin::Asked,
    error::SupervisorError,
    line::Line,
    process::Process,
    relay_life::{Heard, Life, RelayNumber, Role},
    sockets,
    spawn::{Launch, Spawner},
    words::{Ended, Seconds},
};
use crate::{
    config::{
        confinement::Confinement,
        resolved::{Account, Daemon, LogLevel},
    },
    control::{
        Channel, ToRelay,
        admin::Answer,
        relay::{Told, VERSION},
    },
    launch::plan::{Failure, Plan, Slot},
};

/// Before a relay that died is started again, when it dies again and again.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    maximum: Duration::from_secs(5),
};
/// A relay that lived this long had no bad start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// Connections to `status-listen` that the system keeps until they are accepted.
const STATUS_BACKLOG: i32 = 128;
/// How long a relay that is to take another's place may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Relays that were replaced and have not ended. With so many there is no further replacement.
const MAX_FORMER: usize = 8;

/// The relay.
#[derive(Debug)]
pub(super) struct RelayProcess {
    account: Option<Account>,
    threads: usize,
    log_level: LogLevel,
    /// The listening socket of `status-listen`.
    status: Option<Arc<OwnedFd>>,
    /// The one that serves, if it is there; those that were replaced; last, the one that is to take its place.
    lives: Vec<Life>,
    next_number: u64,
    random: Random,
    /// Short lives in a row.
    failures: u32,
    /// When it is to be started again.
    restart: Option<Time>,
    /// It was told to drain: when it goes there is nothing to start it again for.
    draining: bool,
    /// It has drained, or is gone since it was told to.
    drained: bool,
}

/// What a relay was that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buried {
    /// It was to take another's place, which goes on.
    Next,
    /// It served. Another is started, or takes its place.
    Serving,
    /// It had been replaced.
    Former,
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
            lives: Vec::new(),
            next_number: 1,
            random: Random::new(seed),
            failures: 0,
            restart: None,
            draining: false,
            drained: false,
        })
    }

    /// Starts a process that serves, and tells it how to begin.
    pub(super) fn start(&mut self, spawner: &Spawner, now: Time) -> Result<Launch, Failure> {
        self.restart = None;
        let launched = self.launch_as(Role::Serving, spawner, now);
        if launched.is_err() {
            self.put_off(Duration::ZERO, now);
        }
        launched
    }

    /// Starts a process beside the one that serves, to take its place; none when this is not the time for it.
    pub(super) fn start_next(
        &mut self,
        from: RelayNumber,
        spawner: &Spawner,
        now: Time,
    ) -> Option<Result<Launch, Failure>> {
        let count = |role| self.lives.iter().filter(|life| life.role == role).count();
        let serves = self
            .serving()
            .is_some_and(|life| life.number == from && !life.given_up);
        if !serves || self.draining || count(Role::Next) > 0 {
            return None;
        }
        if count(Role::Former) >= MAX_FORMER {
            tracing::warn!(
                "relay not replaced: {MAX_FORMER} that were replaced have not ended yet"
            );
            return None;
        }
        Some(self.launch_as(Role::Next, spawner, now))
    }

    fn launch_as(&mut self, role: Role, spawner: &Spawner, now: Time) -> Result<Launch, Failure> {
        let (process, launch, channel) = self
            .launch(spawner)
            .map_err(|error| Failure::of("start a process", error))?;
        let mut life = Life {
            number: RelayNumber(self.next_number),
            role,
            end: process.end(),
            process,
            line: Line::new(channel),
            since: now,
            given_up: false,
            farewell: None,
            has_served: false,
            sockets: Vec::new(),
        };
        self.next_number += 1;
        let begin = ToRelay::Begin {
            version: VERSION,
            threads: self.threads,
            log_level: self.log_level,
            uptime: now.since_origin(),
        };
        life.tell(&begin, self.status.iter().cloned().collect());
        self.lives.push(life);
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
            confinement: Confinement::default(),
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

    /// The last of what a relay that was just started is told: it may accept. It gets a socket to each of the others.
    pub(super) fn let_serve(&mut self) {
        let Some((newest, others)) = self.lives.split_last_mut() else {
            return;
        };
        let mut theirs = Vec::new();
        let mut awaits = false;
        // the one that serves first: its word is waited for
        others.sort_by_key(|life| life.role != Role::Serving);
        for life in others.iter().filter(|life| !life.given_up) {
            awaits |= life.role == Role::Serving;
            match Channel::socket_pair() {
                Ok((one, other)) => {
                    newest.sockets.push((life.number, one));
                    theirs.push(Arc::new(other));
                }
                Err(error) => {
                    newest.give_up(&format!("cannot take over ({error})"));
                    return;
                }
            }
        }
        newest.tell(&ToRelay::Serve { awaits }, theirs);
    }

    /// A relay serves, and those before it hand over to it. Which one it has replaced.
    pub(super) fn serves(&mut self, number: RelayNumber) -> Option<RelayNumber> {
        let place = self.lives.iter().position(|life| life.number == number)?;
        let mut replaced = None;
        if self.lives[place].role == Role::Next {
            let old = self
                .lives
                .iter_mut()
                .find(|life| life.role == Role::Serving);
            if let Some(old) = old {
                old.role = Role::Former;
                replaced = Some(old.number);
                tracing::info!("relay (pid {}) replaced", old.process.pid());
            }
            self.lives[place].role = Role::Serving;
        }
        let life = &mut self.lives[place];
        if !mem::replace(&mut life.has_served, true) {
            tracing::info!("relay (pid {}) serves", life.process.pid());
        }
        for (of, socket) in mem::take(&mut self.lives[place].sockets) {
            if let Some(life) = self.lives.iter_mut().find(|life| life.number == of) {
                life.tell(&ToRelay::HandOver, vec![Arc::new(socket)]);
            }
        }
        replaced
    }

    /// Tells all of them. Without a relay it is lost: the next one is told everything.
    pub(super) fn tell(&mut self, message: &ToRelay, descriptors: &[Arc<OwnedFd>]) {
        for life in &mut self.lives {
            life.tell_as_role(message, descriptors);
        }
    }

    /// Tells the one that serves.
    pub(super) fn tell_serving(&mut self, message: &ToRelay, descriptors: Vec<Arc<OwnedFd>>) {
        let mut lives = self.lives.iter_mut();
        if let Some(life) = lives.find(|life| life.role == Role::Serving) {
            life.tell(message, descriptors);
        }
    }

    /// Whether there is one that serves.
    pub(super) fn is_there(&self) -> bool {
        self.lives.iter().any(|life| life.role == Role::Serving)
    }

    /// Whether there is one that serves and hears us.
    pub(super) fn listens(&self) -> bool {
        self.serving().is_some_and(|life| !life.given_up)
    }

    /// The one that serves, if it hears us.
    pub(super) fn listener(&self) -> Option<RelayNumber> {
        let serving = self.serving().filter(|life| !life.given_up);
        serving.map(|life| life.number)
    }

    /// Tells this one.
    pub(super) fn tell_one(&mut self, number: RelayNumber, message: &ToRelay) {
        self.hand_one(number, message, Vec::new());
    }

    /// Tells this one, and hands it descriptors.
    pub(super) fn hand_one(
        &mut self,
        number: RelayNumber,
        message: &ToRelay,
        descriptors: Vec<Arc<OwnedFd>>,
    ) {
        if let Some(life) = self.lives.iter_mut().find(|life| life.number == number) {
            life.tell(message, descriptors);
        }
    }

    /// Tells the one that was started last what it is to know.
    pub(super) fn tell_newest(&mut self, message: &ToRelay, descriptors: Vec<Arc<OwnedFd>>) {
        if let Some(life) = self.lives.last_mut() {
            life.tell(message, descriptors);
        }
    }

    /// It is to end when it has answered what there is.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.restart = None;
        for life in &mut self.lives {
            match life.role {
                Role::Next => life.give_up("is not needed"),
                Role::Serving | Role::Former => life.tell(&ToRelay::Drain, Vec::new()),
            }
        }
        self.drained = self.serving().is_none();
    }

    /// The one that serves has drained.
    pub(super) const fn has_drained(&mut self) {
        self.drained = true;
    }

    /// Nothing is left of what was to be drained.
    pub(super) fn all_drained(&self) -> bool {
        self.drained && !self.lives.iter().any(|life| life.role == Role::Former)
    }

    /// What this one is.
    pub(super) fn role(&self, number: RelayNumber) -> Option<Role> {
        let mut lives = self.lives.iter();
        let known = lives.find(|life| life.number == number);
        known.map(|life| life.role)
    }

    /// Those that may have requests.
    pub(super) fn working(&self) -> impl Iterator<Item = RelayNumber> {
        let working = self.lives.iter().filter(|life| life.role != Role::Next);
        working.map(|life| life.number)
    }

    fn serving(&self) -> Option<&Life> {
        self.lives.iter().find(|life| life.role == Role::Serving)
    }

    /// Has it answer an operator's question for the status. Without a relay the question is answered here.
    pub(super) fn ask_status(&mut self, asked: Asked) {
        if self.listens() {
            self.tell_serving(&ToRelay::StatusAsked, vec![Arc::new(asked.connection)]);
            return;
        }
        let answer = Answer::Failed {
            code: 75,
            lines: vec!["the relay is being started again: try again".to_owned()],
        };
        // who asked may have gone
        drop(asked.reply.send(answer));
    }

    /// From here on another `log-level`.
    pub(super) fn set_log_level(&mut self, log_level: LogLevel) {
        self.log_level = log_level;
        self.tell(&ToRelay::LogLevelSet { log_level }, &[]);
    }

    /// Has it tell an operator what has failed, with what the workers wrote last.
    pub(super) fn tell_failure(&mut self, lines: Vec<Told>, connection: OwnedFd) {
        let message = ToRelay::FailureTold { lines };
        self.tell_serving(&message, vec![Arc::new(connection)]);
    }

    /// The next thing that comes of one of them; meanwhile what waits is said. May be dropped at any time.
    pub(super) async fn hear(&mut self) -> (RelayNumber, Heard) {
        let mut hearing: Vec<_> = self
            .lives
            .iter_mut()
            .map(|life| (life.number, Box::pin(life.hear())))
            .collect();
        poll_fn(|context| {
            for (number, heard) in &mut hearing {
                if let Poll::Ready(heard) = heard.as_mut().poll(context) {
                    return Poll::Ready((*number, heard));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Reaps one. If it served, another takes its place or is started later, unless it was draining.
    pub(super) fn bury(&mut self, number: RelayNumber, now: Time) -> Option<Buried> {
        let place = self.lives.iter().position(|life| life.number == number)?;
        let life = self.lives.remove(place);
        let (lived, pid) = (now.since(life.since), life.process.pid());
        let exit = Ended(life.process.reap());
        match life.role {
            Role::Next if self.draining => return Some(Buried::Next),
            Role::Next => {
                tracing::warn!(
                    "relay (pid {pid}) gone before it served: {exit}; the one that serves goes on"
                );
                return Some(Buried::Next);
            }
            Role::Former => {
                tracing::info!("relay (pid {pid}) gone, which was replaced: {exit}");
                return Some(Buried::Former);
            }
            Role::Serving => {}
        }
        let next = self.lives.iter_mut().find(|life| life.role == Role::Next);
        let age = Seconds(lived);
        if self.draining {
            tracing::warn!("relay (pid {pid}) gone while it drained: {exit}");
            self.drained = true;
        } else if let Some(next) = next {
            next.role = Role::Serving;
            // the end of its socket tells the other that nothing comes of it
            next.sockets.retain(|(of, _)| *of != number);
            tracing::warn!("relay (pid {pid}) gone after {age}: {exit}; the next one is there");
        } else {
            let wait = self.put_off(lived, now);
            tracing::warn!("relay (pid {pid}) gone after {age}: {exit}; next start in {wait}");
        }
        Some(Buried::Serving)
    }

    fn put_off(&mut self, lived: Duration, now: Time) -> Seconds {
        self.failures = if lived < GOOD_LIFE {
            self.failures.saturating_add(1)
        } else {
            1
        };
        // the first one is replaced at once
        let wait = match self.failures.saturating_sub(1) {
            0 => Duration::ZERO,
            failures => BACKOFF.wait(failures, &mut self.random),
        };
        self.restart = Some(now.after(wait));
        Seconds(wait)
    }

    /// When it is to be started again.
    pub(super) const fn restart(&self) -> Option<Time> {
        self.restart
    }

    /// When [`RelayProcess::expire`] has something to do.
    pub(super) fn patience(&self) -> Option<Time> {
        let mut lives = self.lives.iter();
        let next = lives.find(|life| life.role == Role::Next && !life.given_up)?;
        Some(next.since.after(PATIENCE))
    }

    /// One that was to take another's place has not come up.
    pub(super) fn expire(&mut self, now: Time) {
        if self.patience().is_none_or(|due| due > now) {
            return;
        }
        for life in &mut self.lives {
            if life.role == Role::Next {
                life.give_up("did not come up");
            }
        }
    }

    /// Their processes.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.lives.iter().map(|life| life.process.pid())
    }

    /// Ends them.
    pub(super) async fn end(&mut self) {
        for life in mem::take(&mut self.lives) {
            life.end().await;
        }
    }
}
