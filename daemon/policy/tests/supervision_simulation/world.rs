//! A world with faults: messages that come late and twice, a clock that jumps, and what the modules beside this one add.
//! Its seed decides everything.

use std::collections::BTreeMap;
use std::time::Duration;

use stockade_policy::supervision::{Action, Event, Exit, Settings, Supervision};
use stockade_policy::{Generation, PoolId, Random, Time, WorkerId};

use crate::laws::Laws;
use crate::programs::{Process, Program, STOP_SIGNAL, Start};
use crate::relay::Use;

/// How long KILL takes at most: a process may hang in the kernel.
pub(crate) const SLOWEST_KILL: Duration = Duration::from_secs(12);
/// How long a message is under way at most, and a timer late.
pub(crate) const LATEST: Duration = Duration::from_millis(200);
/// The faults end here.
pub(crate) const TURMOIL: Duration = Duration::from_secs(20 * 60);
/// And what they left behind is over by then.
const CALM: Duration = Duration::from_secs(90 * 60);

pub(crate) struct World {
    pub(crate) machine: Supervision,
    /// From some moment on, a copy that was saved and read back: it must do the same.
    copy: Option<Supervision>,
    /// `shutdown-timeout` of the daemon.
    shutdown: Duration,
    pub(crate) laws: Laws,
    now: Time,
    /// What is to come, by time and serial number.
    coming: BTreeMap<(Time, u64), Coming>,
    serial: u64,
    random: Random,
    pub(crate) calm: bool,
    /// `maximum-processes`; 0: none.
    pub(crate) maximum: u32,
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    /// How the pools are used.
    pub(crate) uses: BTreeMap<PoolId, Use>,
    /// How the programs of a generation behave.
    pub(crate) programs: BTreeMap<(PoolId, Generation), Program>,
    /// Writing it down takes longer than doing it.
    pub(crate) keeps_log: bool,
    /// Everything that was done, to compare runs.
    pub(crate) log: Vec<String>,
}

pub(crate) enum Coming {
    /// A message arrives.
    Message(Event),
    /// A process says something, if it is alive.
    Word(Event, WorkerId),
    /// A process ends, if it is alive.
    Death(WorkerId, Exit),
    Copy,
    Jump(Duration),
    Reload(PoolId, Option<Settings>),
    /// Other keys hold at once.
    Adjust(PoolId, Settings),
    /// So many requests are there at a time from here on.
    Use(PoolId, u32),
    /// The relay looks whether there is something to tell.
    Look(PoolId),
}

/// How the daemon is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Graceful,
    Overdue,
    Twice,
    Fast,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shutdown = Duration::from_millis(random.below(30_000));
        let mut world = Self {
            machine: Supervision::new(random.next()),
            copy: None,
            shutdown,
            laws: Laws::new(shutdown),
            now: Time::default(),
            coming: BTreeMap::new(),
            serial: 0,
            random,
            calm: false,
            maximum: 0,
            processes: BTreeMap::new(),
            uses: BTreeMap::new(),
            programs: BTreeMap::new(),
            keeps_log: false,
            log: Vec::new(),
        };
        world.plan();
        for _ in 0..world.below(3) {
            let by = Duration::from_secs(world.below(24 * 3600));
            world.later(Self::millis(TURMOIL), Coming::Jump(by));
        }
        world.later(Self::millis(TURMOIL), Coming::Copy);
        world
    }

    /// The faults, then a calm in which everything must come right again.
    pub(crate) fn live(&mut self) {
        self.run(self.now.after(TURMOIL));
        self.calm = true;
        self.run(self.now.after(CALM / 3));
        self.settle_use(1);
        self.run(self.now.after(CALM / 3));
        self.settle_use(0);
        self.run(self.now.after(CALM / 3));
        self.laws.all_is_well(&self.machine.snapshot());
    }

    /// Only the faults: what comes next comes in the middle of them.
    pub(crate) fn live_badly(&mut self) {
        let until = self.random.below(Self::millis(TURMOIL));
        self.run(self.now.after(Duration::from_millis(until)));
    }

    /// From here on the clock runs evenly, so that the end can be timed.
    pub(crate) fn end(&mut self) {
        self.coming
            .retain(|_, coming| !matches!(coming, Coming::Jump(_)));
        let ending = match self.below(4) {
            0 => Ending::Graceful,
            1 => Ending::Overdue,
            2 => Ending::Twice,
            _ => Ending::Fast,
        };
        self.note(format_args!("{ending:?}"));
        let stop = Event::StopRequested {
            deadline: self.now.after(self.shutdown),
        };
        match ending {
            Ending::Graceful => {
                self.deliver(stop);
                self.later(20_000, Coming::Message(Event::RelayDrained));
            }
            Ending::Overdue => self.deliver(stop),
            Ending::Twice => {
                self.deliver(stop.clone());
                self.later(20_000, Coming::Message(stop));
            }
            Ending::Fast => self.deliver(Event::FastStopRequested),
        }
        self.run(self.now.after(CALM));
        self.laws.is_finished();
        assert_eq!(
            self.machine.poll_timeout(),
            None,
            "nothing is left to wait for"
        );
    }

    /// Whatever comes until `end`; what a jump made late is taken in late.
    fn run(&mut self, end: Time) {
        loop {
            let late = Duration::from_millis(self.below(Self::millis(LATEST)));
            let timer = self.machine.poll_timeout().map(|due| due.after(late));
            let message = self.coming.keys().next().map(|(time, _)| *time);
            let Some(next) = timer.into_iter().chain(message).min() else {
                return;
            };
            if next > end {
                return;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.coming.first_entry()
                && entry.key().0 <= self.now
            {
                let coming = entry.remove();
                self.happen(coming);
            }
            self.tick();
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Message(event) => self.deliver(event),
            Coming::Word(event, worker) => {
                if self
                    .processes
                    .get(&worker)
                    .is_some_and(|process| process.alive)
                {
                    self.deliver(event);
                }
            }
            Coming::Death(worker, exit) => {
                let Some(process) = self.processes.get_mut(&worker) else {
                    return;
                };
                process.in_rotation = false;
                if std::mem::replace(&mut process.alive, false) {
                    let event = Event::WorkerExited { worker, exit };
                    self.later(Self::millis(LATEST), Coming::Message(event));
                }
            }
            Coming::Copy => {
                let saved = serde_json::to_string(&self.machine).expect("it can be saved");
                self.copy = Some(serde_json::from_str(&saved).expect("it can be read back"));
            }
            Coming::Use(pool, demand) => self.use_changes(pool, demand),
            Coming::Look(pool) => self.look(pool),
            Coming::Adjust(pool, settings) => self.adjust(pool, settings),
            Coming::Jump(by) => self.now = self.now.after(by),
            Coming::Reload(pool, settings) => {
                if let Some(settings) = settings {
                    self.deliver(Event::PoolChanged { pool, settings });
                }
                self.deliver(Event::ReloadRequested { pool });
            }
        }
    }

    /// Timers, now and then without need.
    fn tick(&mut self) {
        for _ in 0..4 {
            let due = self
                .machine
                .poll_timeout()
                .is_some_and(|due| due <= self.now);
            if !due && !self.chance(10) {
                return;
            }
            self.laws.prove_services(self.now);
            self.machine.handle_timeout(self.now);
            if let Some(copy) = &mut self.copy {
                copy.handle_timeout(self.now);
            }
            let done = self.act();
            assert!(due || done == 0, "nothing was due, and something was done");
        }
        let due = self.machine.poll_timeout();
        assert!(
            due.is_none_or(|due| due > self.now),
            "a timer is never done"
        );
    }

    pub(crate) fn deliver(&mut self, event: Event) {
        let once = matches!(
            event,
            Event::PoolAdded { .. }
                | Event::PoolAdjusted { .. }
                | Event::ReloadRequested { .. }
                | Event::PoolStopped { .. }
                | Event::PoolStarted { .. }
                | Event::PoolScaled { .. }
                | Event::PoolUsed { .. }
                | Event::StopRequested { .. }
                | Event::FastStopRequested
        );
        if !once && !self.calm && self.chance(8) {
            self.later(100_000, Coming::Message(event.clone()));
        }
        self.note(format_args!("{event:?}"));
        self.laws
            .happened(&event, self.now, &self.machine.snapshot());
        self.machine.handle(event.clone(), self.now);
        if let Some(copy) = &mut self.copy {
            copy.handle(event, self.now);
        }
        self.act();
    }

    /// Takes every action, shows it to the laws, and lets it have its effect.
    fn act(&mut self) -> usize {
        let mut done = 0;
        let snapshot = self.machine.snapshot();
        while let Some(action) = self.machine.poll_action() {
            if let Some(copy) = &mut self.copy {
                assert_eq!(copy.poll_action().as_ref(), Some(&action), "a copy differs");
            }
            self.note(format_args!("  {action:?}"));
            self.laws.done(&action, self.now, &snapshot);
            self.affect(&action);
            done += 1;
        }
        self.laws.settled(&snapshot);
        done
    }

    fn affect(&mut self, action: &Action) {
        match *action {
            Action::StartWorker { .. }
            | Action::StartTemplate { .. }
            | Action::ForkWorker { .. } => self.start(action),
            Action::MakeTemplate { worker } => self.become_template(worker),
            Action::OfferWorker { worker } => self.rotate(worker, true),
            Action::RetireWorker { worker, .. } => {
                self.rotate(worker, false);
                if let Some(drain) = self.processes[&worker].drain {
                    let event = Event::WorkerDrained { worker };
                    self.later(Self::millis(drain), Coming::Message(event));
                }
            }
            Action::StopWorker { worker, .. } => {
                self.rotate(worker, false);
                if !self.processes[&worker].deaf {
                    let exit = match self.below(8) {
                        0..4 => Exit::Code(0),
                        4 => Exit::Signal(11),
                        _ => Exit::Signal(STOP_SIGNAL),
                    };
                    self.later(3000, Coming::Death(worker, exit));
                }
            }
            Action::KillWorker { worker } => {
                let takes = if self.chance(10) {
                    Self::millis(SLOWEST_KILL)
                } else {
                    50
                };
                self.later(takes, Coming::Death(worker, Exit::Signal(9)));
            }
            Action::InterruptWorker { worker } => {
                if self.chance(2) {
                    let event = Event::WorkerRecovered { worker };
                    self.later(12_000, Coming::Word(event, worker));
                }
            }
            Action::ShedWorkers { pool, count } => self.shed(pool, count),
            Action::ReportPool { pool, state } => self.reported(pool, state),
            Action::FinishReload { pool, .. } => self.changed(pool),
            Action::ForgetWorker { pool, worker, .. } => {
                self.processes.remove(&worker);
                self.soon(pool);
            }
            Action::AbandonReload { .. }
            | Action::ForgetPool { .. }
            | Action::DrainRelay
            | Action::Finish => {}
        }
    }

    fn start(&mut self, action: &Action) {
        match *action {
            Action::StartWorker {
                pool,
                worker,
                generation,
            } => self.begin(pool, worker, generation, Start::Worker),
            Action::StartTemplate {
                pool,
                worker,
                generation,
            } => self.begin(pool, worker, generation, Start::Template),
            Action::ForkWorker {
                pool,
                worker,
                generation,
                template,
            } => {
                if self.processes[&template].alive {
                    self.begin(pool, worker, generation, Start::Worker);
                } else {
                    self.processes.insert(worker, Process::of_nobody(pool));
                    self.later(50, Coming::Message(Event::LaunchFailed { worker }));
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        if self.keeps_log {
            self.log.push(format!("{:?} {what}", self.now));
        }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// One time in `times`.
    pub(crate) fn chance(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Within `most` milliseconds.
    pub(crate) fn later(&mut self, most: u64, coming: Coming) {
        let delay = self.below(most);
        self.at(delay, coming);
    }

    pub(crate) fn at(&mut self, delay: u64, coming: Coming) {
        self.serial += 1;
        let time = self.now.after(Duration::from_millis(delay));
        self.coming.insert((time, self.serial), coming);
    }

    pub(crate) fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).expect("a short time")
    }
}
