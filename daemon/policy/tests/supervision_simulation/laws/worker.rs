//! What a worker was told and has done, by the laws' own reckoning.

use std::time::Duration;

use stockade_policy::supervision::{Cause, Exit, Settings};
use stockade_policy::{Generation, PoolId, Time};

use super::Laws;

pub(super) struct Worker {
    pub(super) pool: PoolId,
    /// It is a template.
    pub(super) template: bool,
    /// It has answered `refork-after` requests.
    pub(super) seasoned: bool,
    pub(super) generation: Generation,
    /// Those that it was started with: no adjustment is of it.
    pub(super) settings: Settings,
    pub(super) started: Time,
    /// When it was ready.
    pub(super) offered: Option<Time>,
    pub(super) served: bool,
    /// The relay has let go of it.
    pub(super) shed: bool,
    pub(super) deadlocked: bool,
    /// A request timed out then, and it has not recovered.
    pub(super) timed_out: Option<Time>,
    /// How far it was told to go, and when.
    pub(super) told: Told,
    pub(super) since: Time,
    /// How often KILL was sent.
    pub(super) kills: u32,
    /// When it was first told to go.
    pub(super) left: Option<Time>,
    /// The event that ends it was delivered.
    pub(super) ended: bool,
    pub(super) exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Nothing,
    Retire,
    Stop,
    Kill,
}

impl Worker {
    pub(super) fn new(
        pool: PoolId,
        generation: Generation,
        settings: &Settings,
        now: Time,
    ) -> Self {
        Self {
            pool,
            template: false,
            seasoned: false,
            generation,
            settings: settings.clone(),
            started: now,
            offered: None,
            served: false,
            shed: false,
            deadlocked: false,
            timed_out: None,
            told: Told::Nothing,
            since: now,
            kills: 0,
            left: None,
            ended: false,
            exit: None,
        }
    }

    /// Serves, or will.
    pub(super) fn is_useful(&self) -> bool {
        self.told == Told::Nothing && !self.ended
    }

    pub(super) fn is_ready(&self) -> bool {
        self.offered.is_some() && self.told == Told::Nothing
    }

    /// It is a service that has been ready for long.
    pub(super) fn is_steady(&self, now: Time) -> bool {
        let long = self.settings.backoff.initial * 10;
        let offered = self.offered.filter(|_| self.is_useful());
        self.settings.ready_after.is_some()
            && offered.is_some_and(|offered| now.since(offered) >= long)
    }

    /// A signal that was not ours is told, and only then one is; so is the want of memory.
    pub(super) fn may_die_of(&self, cause: Cause) {
        let ours = match self.exit {
            Some(Exit::Signal(9)) => self.told == Told::Kill,
            Some(Exit::Signal(signal)) => {
                self.told >= Told::Stop && signal == self.settings.stop_signal
            }
            Some(Exit::OutOfMemory) => false,
            Some(Exit::Code(_)) | None => true,
        };
        let told = matches!(cause, Cause::Signal(_) | Cause::OutOfMemory);
        assert_eq!(told, !ours, "{:?} is told as {cause}", self.exit);
    }

    /// It may be told that it retires for this.
    pub(super) fn may_retire(&self, cause: Cause, now: Time) {
        let settings = &self.settings;
        let offered = self.offered.expect("it was ready");
        match cause {
            Cause::RequestTimeout => {
                let timed_out = self.timed_out.expect("a request timed out");
                assert!(now.since(timed_out) >= settings.interrupt_timeout);
            }
            Cause::RestartInterval => {
                let interval = settings.restart_interval.0.expect("there is a limit");
                let jitter = interval / 10;
                assert!(now.since(offered) >= interval.saturating_sub(jitter));
            }
            _ => {}
        }
    }

    /// 11: only a deadline that passed, the relay's word or the daemon's end stops a worker that was ready.
    pub(super) fn may_stop(&self, cause: Cause, overdue: bool, stopping: bool, now: Time) {
        let settings = &self.settings;
        let waited = now.since(self.since);
        if cause == Cause::StartupTimeout {
            let limit = settings.startup_timeout.0.expect("there is a limit");
            assert!(self.offered.is_none() && now.since(self.started) >= limit);
        } else if cause == Cause::Deadlock {
            assert!(self.deadlocked && self.offered.is_some() && overdue);
        } else if overdue && !stopping {
            let limit = if cause == Cause::Requested {
                settings.eviction_timeout
            } else {
                settings.graceful_timeout
            };
            assert_eq!(self.told, Told::Retire);
            assert!(waited >= limit.0.expect("there is a limit"));
        } else {
            assert!(stopping || self.offered.is_none() || self.told == Told::Retire);
        }
    }

    pub(super) fn may_be_killed(&self, fast: bool, now: Time) {
        let settings = &self.settings;
        let waited = now.since(self.since);
        match self.told {
            Told::Nothing | Told::Retire => assert!(fast, "killed without a stop"),
            Told::Stop => assert!(fast || waited >= settings.shutdown_timeout, "killed early"),
            Told::Kill => assert!(waited >= Duration::from_secs(5)),
        }
    }
}

impl Laws {
    /// Time is told: a service has shown all that it can when it has been ready for long.
    pub(crate) fn prove_services(&mut self, now: Time) {
        for worker in self.workers.values_mut() {
            if !worker.served && worker.is_steady(now) {
                worker.served = true;
                let pool = self.pools.get_mut(&worker.pool).expect("it was added");
                if worker.generation == pool.accepted {
                    pool.not_before = Time::default();
                }
            }
        }
    }
}
