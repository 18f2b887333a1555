//! Programs that crash, hang, leak, go into the background and do not listen.

use std::time::Duration;

use stockade_policy::supervision::{Cause, Event, Exit};
use stockade_policy::{Generation, Limit, PoolId, WorkerId};

use crate::world::{Coming, World};

pub(crate) const STOP_SIGNAL: i32 = 15;

#[derive(Clone, Copy)]
pub(crate) enum Program {
    Good,
    Flaky,
    Broken,
    Hung,
    /// It goes into the background: what was started ends, and what it left behind speaks.
    Forking,
}

pub(crate) struct Process {
    pub(crate) pool: PoolId,
    pub(crate) alive: bool,
    pub(crate) deaf: bool,
    /// How long it takes to finish its requests; None: it never does.
    pub(crate) drain: Option<Duration>,
    /// The relay gives it requests.
    pub(crate) in_rotation: bool,
}

/// What a process is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Worker,
    Template,
}

impl Process {
    /// One that was to be forked and is not there.
    pub(crate) fn of_nobody(pool: PoolId) -> Self {
        Self {
            pool,
            in_rotation: false,
            alive: false,
            deaf: true,
            drain: None,
        }
    }
}

impl World {
    /// A process starts: what it will do is decided by its program and chance.
    pub(crate) fn begin(
        &mut self,
        pool: PoolId,
        worker: WorkerId,
        generation: Generation,
        start: Start,
    ) {
        let settings = self.laws.settings(pool, generation).clone();
        let program = self.program_of(pool, generation);
        let never_drains = self.chance(5)
            && settings.graceful_timeout != Limit::OFF
            && settings.eviction_timeout != Limit::OFF;
        let process = Process {
            pool,
            in_rotation: false,
            alive: true,
            deaf: !self.calm && self.chance(4),
            drain: (!never_drains).then(|| Duration::from_millis(self.below(20_000))),
        };
        self.processes.insert(worker, process);
        let launch = self.below(50);
        let ready = launch + self.below(3000);
        if matches!(program, Program::Flaky | Program::Broken) && self.chance(6) {
            if let Some(process) = self.processes.get_mut(&worker) {
                process.alive = false;
            }
            return self.at(launch, Coming::Message(Event::LaunchFailed { worker }));
        }
        self.at(
            launch,
            Coming::Word(Event::WorkerLaunched { worker }, worker),
        );
        match program {
            Program::Broken => {
                return self.at(launch + ready / 2, Coming::Death(worker, Exit::Code(1)));
            }
            Program::Forking => {
                self.at(launch + ready / 2, Coming::Death(worker, Exit::Code(0)));
                let late = Event::WorkerReady { worker };
                return self.at(launch + ready, Coming::Message(late));
            }
            Program::Hung if settings.startup_timeout != Limit::OFF => return,
            Program::Good | Program::Flaky | Program::Hung => {}
        }
        self.at(ready, Coming::Word(Event::WorkerReady { worker }, worker));
        if start == Start::Template {
            if matches!(program, Program::Flaky) {
                let at = self.below(60_000);
                self.at(at, Coming::Death(worker, Exit::Signal(11)));
            }
            return;
        }
        self.serve(worker, ready, settings.preload);
        if matches!(program, Program::Flaky) {
            self.misbehave(worker);
        }
    }

    /// It is ready after so many milliseconds.
    fn serve(&mut self, worker: WorkerId, ready: u64, preload: bool) {
        let served = ready + self.below(5000);
        self.at(served, Coming::Word(Event::WorkerServed { worker }, worker));
        if preload && self.chance(2) {
            let seasoned = Event::WorkerSeasoned { worker };
            let at = served + self.below(60_000);
            self.at(at, Coming::Word(seasoned, worker));
        }
        if !self.calm && self.chance(2) {
            let at = served + self.below(60_000);
            let cause = if self.chance(2) {
                Cause::MaximumRequests
            } else {
                Cause::MaximumMemory
            };
            let event = Event::WorkerTired { worker, cause };
            self.at(at, Coming::Word(event, worker));
        }
    }

    /// It can, or cannot, or does not answer.
    pub(crate) fn become_template(&mut self, worker: WorkerId) {
        if !self.calm && self.chance(4) {
            self.later(2000, Coming::Death(worker, Exit::Code(6)));
        } else if self.calm || !self.chance(8) {
            let ready = Event::WorkerReady { worker };
            self.later(3000, Coming::Word(ready, worker));
        }
    }

    fn misbehave(&mut self, worker: WorkerId) {
        let at = self.below(12_000);
        let coming = match self.below(7) {
            5 => Coming::Death(worker, Exit::OutOfMemory),
            6 => Coming::Word(Event::WorkerDeadlocked { worker }, worker),
            0 => Coming::Death(worker, Exit::Signal(11)),
            1 => Coming::Death(worker, Exit::Code(0)),
            2 => Coming::Word(Event::RequestTimedOut { worker }, worker),
            3 => Coming::Word(Event::WorkerBroke { worker }, worker),
            _ => return,
        };
        self.at(at, coming);
    }

    fn program_of(&mut self, pool: PoolId, generation: Generation) -> Program {
        if self.calm {
            return Program::Good;
        }
        let chosen = match self.below(7) {
            0 => Program::Broken,
            1 => Program::Hung,
            2 | 3 => Program::Flaky,
            4 => Program::Forking,
            _ => Program::Good,
        };
        let usual = *self.programs.entry((pool, generation)).or_insert(chosen);
        // what it depends on comes and goes
        if self.chance(4) { chosen } else { usual }
    }
}
