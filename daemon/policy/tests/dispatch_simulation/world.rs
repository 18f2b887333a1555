//! The world around the machine: by the seed, requests come and end, hosts leave, workers die, hang, are retired and
//! replaced, keys are reloaded, the clock jumps, and things are said late and twice.

use core::time::Duration;

use stockade_policy::dispatch::{Action, Dispatch, Event, RequestKey, Retry, Scale, Settings};
use stockade_policy::{Limit, PoolState, Random, Time, WorkerId};

use crate::model::{Life, Model};

/// Runs a seed, judged by the laws. Returns what the machine said.
pub(crate) fn run(seed: u64) -> Vec<(Time, Action)> {
    let mut random = Random::new(seed);
    let settings = some_settings(&mut random);
    let mut world = World {
        machine: Dispatch::new(settings.clone(), seed),
        model: Model::new(settings),
        // a calm world has long stretches in which only requests come and end
        calm: random.below(4) * 20,
        pace: 1 + random.below(200),
        random,
        places: Vec::new(),
        serial: 0,
        workers: 0,
        said: Vec::new(),
    };
    for _ in 0..600 {
        world.pass_time();
        world.step();
    }
    world.finish();
    world.said
}

struct World {
    machine: Dispatch,
    model: Model,
    random: Random,
    /// Of a hundred steps, how many are free of faults.
    calm: u64,
    /// Milliseconds between steps, at most.
    pace: u64,
    /// By place, the last key used there.
    places: Vec<RequestKey>,
    serial: u32,
    /// Workers there have been.
    workers: u64,
    said: Vec<(Time, Action)>,
}

impl World {
    fn step(&mut self) {
        let calm = self.random.below(100) < self.calm;
        match self.random.below(if calm { 60 } else { 100 }) {
            0..25 => self.arrive(),
            25..35 => self.of_running(|request| Event::HeadReceived { request }),
            35..55 => self.of_running(|request| Event::RequestEnded { request }),
            55..60 => self.offer(),
            60..64 => self.of_running(|request| Event::BodyAwaited { request }),
            64..68 => self.of_running(|request| Event::BodyResumed { request }),
            68..78 => self.fail(),
            78..82 => self.leave(),
            82..94 => self.of_worker(),
            94..96 => self.report_pool(),
            96..98 => self.say_late(),
            98 => self.reload(),
            _ if self.random.below(2) == 0 => self.lease(),
            _ => self.serialise(),
        }
    }

    /// Another relay asks, returns what it had, or, seldom, takes over.
    fn lease(&mut self) {
        let workers: Vec<WorkerId> = self.model.workers.keys().copied().collect();
        let worker = self.one_of(&workers).unwrap_or(WorkerId(1_000_000));
        let event = match self.random.below(24) {
            0..8 => Event::SlotWanted,
            8..17 => Event::LeaseReturned {
                worker,
                slots: below(&mut self.random, 4),
            },
            17..19 => Event::RequestsCounted {
                worker,
                requests: self.random.below(9),
            },
            19..23 => Event::PoolShed {
                count: below(&mut self.random, 4),
            },
            _ => Event::TakenOver,
        };
        self.happen(event);
    }

    /// Time goes on, and the machine is called when it wants to be; now and then nobody looks for a while.
    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.random.below(self.pace));
        if self.random.below(100) == 0 {
            let jump = Duration::from_millis(self.random.below(20_000));
            self.model.now = self.model.now.after(jump);
            if self.random.below(2) == 0 {
                self.time_out();
            }
            return;
        }
        let until = self.model.now.after(by);
        while let Some(at) = self.machine.poll_timeout()
            && at <= until
        {
            self.model.now = self.model.now.max(at);
            self.time_out();
        }
        self.model.now = until;
    }

    fn time_out(&mut self) {
        let now = self.model.now;
        self.machine.handle_timeout(now);
        self.follow(None);
        let next = self.machine.poll_timeout();
        assert!(
            next.is_none_or(|at| at > now),
            "it would be called for ever"
        );
    }

    fn happen(&mut self, event: Event) {
        self.model.happened(event);
        self.machine.handle(event, self.model.now);
        if self.random.below(50) == 0 {
            self.serialise();
        }
        self.follow(Some(event));
    }

    /// Takes what the machine says to the model.
    fn follow(&mut self, event: Option<Event>) {
        self.machine.check();
        let mut asked = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            self.model.judge(action, event);
            self.said.push((self.model.now, action));
            if let Action::AskResponse { request } = action {
                asked.push(request);
            }
        }
        self.model.judge_standing(event.is_none());
        self.model.judge_account(
            self.machine.snapshot(),
            self.machine.idle(),
            self.machine.poll_timeout(),
        );
        for request in asked {
            let ago = Duration::from_millis(self.random.below(8_000));
            let at = Time::new(self.model.now.since_origin().saturating_sub(ago));
            self.happen(Event::ResponseHeard { request, at });
        }
    }

    fn arrive(&mut self) {
        self.serial += 1;
        let vacant = self
            .places
            .iter()
            .position(|key| !self.model.requests.contains_key(key));
        let place = vacant.unwrap_or(self.places.len());
        let request = RequestKey {
            index: u32::try_from(place).expect("a few places"),
            serial: self.serial,
        };
        match self.places.get_mut(place) {
            Some(key) => *key = request,
            None => self.places.push(request),
        }
        let idempotent = self.random.below(3) > 0;
        self.happen(Event::RequestArrived {
            request,
            idempotent,
        });
    }

    fn of_running(&mut self, event: fn(RequestKey) -> Event) {
        if let Some(request) = self.some_running() {
            self.happen(event(request));
        }
    }

    fn fail(&mut self) {
        let Some(request) = self.some_running() else {
            return;
        };
        // now and then, one after another cannot be reached
        if self.random.below(8) == 0 {
            for _ in 0..6 {
                self.happen(Event::RequestFailed {
                    request,
                    sent: false,
                    held: true,
                });
                self.offer();
            }
            return;
        }
        let sent = self.random.below(3) > 0;
        let held = self.random.below(4) > 0;
        self.happen(Event::RequestFailed {
            request,
            sent,
            held,
        });
    }

    fn leave(&mut self) {
        let keys: Vec<RequestKey> = self.model.requests.keys().copied().collect();
        if let Some(request) = self.one_of(&keys) {
            self.happen(Event::HostGone { request });
        }
    }

    fn offer(&mut self) {
        if self.model.workers.len() >= 8 {
            return;
        }
        self.workers += 1;
        let worker = WorkerId(self.workers);
        let event = self.offer_of(worker);
        self.happen(event);
    }

    fn of_worker(&mut self) {
        let workers: Vec<WorkerId> = self.model.workers.keys().copied().collect();
        let Some(worker) = self.one_of(&workers) else {
            return;
        };
        let event = match self.random.below(12) {
            0..4 => Event::WorkerRetired { worker },
            4..6 => Event::WorkerOverdue { worker },
            6..9 => Event::WorkerGone { worker },
            9 => Event::WorkerBroke { worker },
            10 => self.offer_of(worker),
            // one that never was
            _ => Event::WorkerRetired {
                worker: WorkerId(1_000_000 + self.random.below(9)),
            },
        };
        self.happen(event);
        // a process that is gone takes its connections with it, sooner or later
        if let Event::WorkerGone { worker } = event
            && self.random.below(2) == 0
        {
            self.end_connections(worker);
        }
    }

    fn end_connections(&mut self, of: WorkerId) {
        let runs = |life: Life| matches!(life, Life::Running(run) if run.worker == of);
        let requests: Vec<(RequestKey, Life)> = self
            .model
            .requests
            .iter()
            .filter(|(_, request)| runs(request.life))
            .map(|(key, request)| (*key, request.life))
            .collect();
        for (request, life) in requests {
            let head = matches!(life, Life::Running(run) if run.head);
            self.happen(if head {
                Event::RequestEnded { request }
            } else {
                Event::RequestFailed {
                    request,
                    sent: true,
                    held: true,
                }
            });
        }
    }

    fn report_pool(&mut self) {
        let state = match self.random.below(6) {
            0 => PoolState::Starting,
            1 => PoolState::Failing,
            2 => PoolState::Stopped,
            _ => PoolState::Serving,
        };
        self.happen(Event::PoolReported { state });
    }

    /// Something about a request that has ended.
    fn say_late(&mut self) {
        let ended: Vec<RequestKey> = self
            .places
            .iter()
            .flat_map(|key| {
                [
                    *key,
                    RequestKey {
                        serial: key.serial.saturating_sub(1),
                        ..*key
                    },
                ]
            })
            .filter(|key| !self.model.requests.contains_key(key))
            .collect();
        let Some(request) = self.one_of(&ended) else {
            return;
        };
        let before = self.said_of_requests();
        for event in [
            Event::BodyAwaited { request },
            Event::BodyResumed { request },
            Event::HeadReceived { request },
            Event::ResponseHeard {
                request,
                at: Time::default(),
            },
            Event::RequestFailed {
                request,
                sent: true,
                held: true,
            },
            Event::RequestEnded { request },
            Event::HostGone { request },
        ] {
            self.happen(event);
        }
        assert_eq!(
            self.said_of_requests(),
            before,
            "something came of what was late"
        );
    }

    /// How the pool is used is told in whatever entry it is due.
    fn said_of_requests(&self) -> usize {
        let of_requests =
            |(_, action): &&(Time, Action)| !matches!(action, Action::ReportUsed { .. });
        self.said.iter().filter(of_requests).count()
    }

    fn reload(&mut self) {
        let settings = some_settings(&mut self.random);
        self.model.change(settings.clone());
        self.machine.set_settings(settings);
    }

    /// The machine is taken down in writing, and goes on from that.
    fn serialise(&mut self) {
        let written = serde_json::to_string(&self.machine).expect("it can be written");
        self.machine = serde_json::from_str(&written).expect("it can be read back");
    }

    /// Nothing more comes: everything ends, by an answer or by its deadline.
    fn finish(&mut self) {
        let settings = Settings {
            queue_timeout: Limit::of(Duration::from_secs(1)),
            ..self.model.settings.clone()
        };
        self.model.change(settings.clone());
        self.machine.set_settings(settings);
        self.time_out();
        while let Some(request) = self.some_running() {
            self.happen(Event::RequestEnded { request });
        }
        self.model.now = self.model.now.after(Duration::from_secs(1));
        self.time_out();
        assert!(self.machine.idle(), "something was never answered");
    }

    fn offer_of(&mut self, worker: WorkerId) -> Event {
        let maximum = self.random.below(3) * self.random.below(20);
        Event::WorkerOffered {
            worker,
            slots: 1 + below(&mut self.random, 4),
            leased: below(&mut self.random, 4) / 2,
            maximum_requests: maximum,
        }
    }

    fn some_running(&mut self) -> Option<RequestKey> {
        let running: Vec<RequestKey> = self
            .model
            .requests
            .iter()
            .filter(|(_, request)| matches!(request.life, Life::Running(_)))
            .map(|(key, _)| *key)
            .collect();
        self.one_of(&running)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let bound = u32::try_from(of.len()).expect("a few to choose from");
        of.get(below(&mut self.random, bound) as usize).copied()
    }
}

fn some_settings(random: &mut Random) -> Settings {
    let mut limit = |longest: u64| match random.below(6) {
        0 => Limit::OFF,
        _ => Limit::of(Duration::from_millis(1 + random.below(longest))),
    };
    let (queue_timeout, request_timeout, slow_request) = (limit(3_000), limit(6_000), limit(3_000));
    let (response_timeout, total_timeout) = (limit(4_000), limit(12_000));
    let inactivity_timeout = limit(2_000);
    Settings {
        queue_limit: below(random, 12),
        queue_timeout,
        request_timeout,
        slow_request,
        response_timeout,
        total_timeout,
        retry: match random.below(6) {
            0 => Retry::Off,
            1 => Retry::Unsent,
            _ => Retry::Idempotent,
        },
        retry_limit: below(random, 4),
        shared: random.below(4) == 0,
        inactivity_timeout,
        scale: (random.below(3) > 0).then(|| Scale {
            maximum: 1 + below(random, 8),
            queue_wait: Duration::from_millis(1 + random.below(300)),
            idle_timeout: Duration::from_millis(1 + random.below(3_000)),
        }),
        interrupts: random.below(2) == 0,
    }
}

fn below(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(random.below(u64::from(bound))).expect("it is below a u32")
}
