//! One process of the relay: how it is talked to, and how its end is heard of.

use std::{os::fd::OwnedFd, pin::Pin, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use stockade_policy::Time;
use tokio::{
    select,
    time::{Sleep, sleep, timeout},
};

use super::{
    line::Line,
    process::{End, Process},
};
use crate::control::{ChannelError, FromRelay, ToRelay};

/// Messages that may wait for a relay before it is taken for hung.
const MAX_WAITING: usize = 10_000;
/// What a relay has to end, and to read what workers wrote last.
const FAREWELL: Duration = Duration::from_secs(2);

/// A relay's process, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RelayNumber(pub(super) u64);

/// What a process is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Started beside the one that serves, to take its place.
    Next,
    /// It serves.
    Serving,
    /// It was replaced, and ends what it has.
    Former,
}

/// One process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: RelayNumber,
    pub(super) role: Role,
    pub(super) process: Process,
    pub(super) end: End,
    pub(super) line: Line,
    pub(super) since: Time,
    /// It was killed, and is not listened to any more.
    pub(super) given_up: bool,
    /// How long its end is still waited for.
    pub(super) farewell: Option<Pin<Box<Sleep>>>,
    /// It has said that it serves.
    pub(super) has_served: bool,
    /// Sockets to it, for those that are to hand over to it when it serves.
    pub(super) sockets: Vec<(RelayNumber, OwnedFd)>,
}

/// What came of a relay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard {
    /// A message.
    Said(FromRelay),
    /// Its process is gone; it is to be buried.
    Gone,
}

impl Life {
    /// Says `message`, after what waits.
    pub(super) fn tell(&mut self, message: &ToRelay, descriptors: Vec<Arc<OwnedFd>>) {
        if self.given_up {
            return;
        }
        match serde_json::to_vec(message) {
            Ok(bytes) => {
                if self.line.say(bytes, descriptors) > MAX_WAITING {
                    self.give_up("does not listen");
                }
            }
            Err(error) => tracing::error!("could not word a message to the relay: {error}"),
        }
    }

    /// Says what all are told, as its role has it: a slot is one relay's, a worker is asked by one, and what it writes is read by one.
    pub(super) fn tell_as_role(&mut self, message: &ToRelay, descriptors: &[Arc<OwnedFd>]) {
        let mut message = message.clone();
        let mut descriptors = descriptors.to_vec();
        match (&mut message, self.role) {
            (ToRelay::WorkerLaunched { probe, .. }, Role::Next) => *probe = false,
            (ToRelay::WorkerLaunched { probe, .. }, Role::Former) => {
                *probe = false;
                descriptors.clear();
            }
            (
                ToRelay::WorkerOffered {
                    slots,
                    leased,
                    startup,
                    ..
                },
                Role::Next | Role::Former,
            ) => {
                *leased = *slots;
                *startup = None;
            }
            // one of them writes the line
            (ToRelay::WorkerBuried { death, .. }, Role::Next | Role::Former) => {
                death.obituary = None;
            }
            _ => {}
        }
        self.tell(&message, descriptors);
    }

    /// The next thing that comes of it; meanwhile what waits is said. May be dropped at any time.
    pub(super) async fn hear(&mut self) -> Heard {
        while !self.given_up {
            select! {
                biased;
                received = self.line.next() => match received {
                    Ok(Some(message)) => return Heard::Said(message),
                    Ok(None) => self.give_up("said what it should not"),
                    // It ends, with nothing left to say.
                    Err(ChannelError::Closed) if self.role == Role::Former => self.given_up = true,
                    // It is dead or as good as dead.
                    Err(ChannelError::Closed) => self.silence(),
                    Err(error) => self.give_up(&format!("cannot be talked to ({error})")),
                },
                () = self.end.come() => return Heard::Gone,
            }
        }
        let patience = self
            .farewell
            .get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        select! {
            biased;
            () = self.end.come() => return Heard::Gone,
            () = patience => kill(&self.process),
        }
        self.end.come().await;
        Heard::Gone
    }

    /// Kills it.
    pub(super) fn give_up(&mut self, why: &str) {
        tracing::warn!("relay (pid {}) {why}: killed", self.process.pid());
        self.silence();
    }

    fn silence(&mut self) {
        self.given_up = true;
        self.line.clear();
        kill(&self.process);
    }

    /// Ends it: what waits is said, its socket closed, and it has a moment to read workers' last words.
    pub(super) async fn end(mut self) {
        if let Ok(Err(error)) = timeout(FAREWELL, self.line.finish()).await {
            tracing::debug!("relay: {error}");
        }
        drop(self.line);
        if timeout(FAREWELL, self.end.come()).await.is_err() {
            tracing::warn!("relay (pid {}) did not end: killed", self.process.pid());
            kill(&self.process);
            self.end.come().await;
        }
        self.process.reap();
    }
}

fn kill(process: &Process) {
    if let Err(error) = process.signal(Signal::SIGKILL) {
        tracing::debug!("could not kill the relay: {error}");
    }
}
