//! Two relays never both think a slot free: two dispatch machines, one taking over from the other, with the supervisor between them, for
//! many seeds and orders of what is said and heard.

use std::collections::{BTreeMap, VecDeque};

use stockade_policy::dispatch::{Action, Dispatch, Event, RequestKey, Retry, Settings};
use stockade_policy::{Limit, PoolState, Random, Time, WorkerId};

const WORKERS: u64 = 3;
const SLOTS: u32 = 2;
const SEEDS: u64 = 256;

#[test]
fn a_slot_is_one_machines_at_a_time() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
        world.finish(seed);
    }
}

/// A machine, and what was said to it that it has not heard.
struct Side {
    machine: Dispatch,
    unheard: VecDeque<Event>,
    /// What runs, and where.
    running: BTreeMap<RequestKey, WorkerId>,
    /// By worker: slots that are this side's, whatever it does with them.
    owns: BTreeMap<WorkerId, u32>,
    serial: u32,
    answered: u32,
}

struct World {
    old: Side,
    new: Side,
    random: Random,
    taken_over: bool,
}

impl Side {
    fn new(seed: u64, owns: u32) -> Self {
        let settings = Settings {
            queue_limit: 1000,
            queue_timeout: Limit::OFF,
            request_timeout: Limit::OFF,
            response_timeout: Limit::OFF,
            total_timeout: Limit::OFF,
            slow_request: Limit::OFF,
            retry: Retry::Off,
            retry_limit: 0,
            shared: false,
            inactivity_timeout: Limit::OFF,
            scale: None,
            interrupts: false,
        };
        let mut side = Self {
            machine: Dispatch::new(settings, seed),
            unheard: VecDeque::new(),
            running: BTreeMap::new(),
            owns: (1..=WORKERS).map(|id| (WorkerId(id), owns)).collect(),
            serial: 0,
            answered: 0,
        };
        let state = PoolState::Serving;
        side.unheard.push_back(Event::PoolReported { state });
        for worker in (1..=WORKERS).map(WorkerId) {
            side.unheard.push_back(Event::WorkerOffered {
                worker,
                slots: SLOTS,
                leased: SLOTS - owns,
                maximum_requests: 0,
            });
        }
        while side.hear().is_some() {}
        side
    }

    /// Hears what was said first, and gives what is to be done.
    fn hear(&mut self) -> Option<Vec<Action>> {
        let event = self.unheard.pop_front()?;
        if let Event::LeaseReturned { worker, slots } = event {
            *self.owns.entry(worker).or_default() += slots;
        }
        Some(self.happen(event))
    }

    fn happen(&mut self, event: Event) -> Vec<Action> {
        self.machine.handle(event, Time::default());
        let mut said = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::HandOut { request, worker } => {
                    self.running.insert(request, worker);
                    let busy = self.running.values().filter(|at| **at == worker).count();
                    let owned = self.owns[&worker] as usize;
                    assert!(busy <= owned, "{worker} runs more than it has slots here");
                }
                Action::ReturnLease { worker } => {
                    let owned = self.owns.get_mut(&worker).expect("it is known");
                    *owned = owned.checked_sub(1).expect("it gives what it has");
                }
                Action::Refuse { .. } => panic!("nothing is to be refused"),
                _ => {}
            }
            said.push(action);
        }
        said
    }

    fn arrive(&mut self) -> Vec<Action> {
        self.serial += 1;
        let request = RequestKey {
            index: self.serial,
            serial: self.serial,
        };
        self.happen(Event::RequestArrived {
            request,
            idempotent: false,
        })
    }

    fn end(&mut self, random: &mut Random) -> Vec<Action> {
        let place = random.below(self.running.len().max(1) as u64);
        let place = usize::try_from(place).expect("a few run");
        let Some(request) = self.running.keys().nth(place).copied() else {
            return Vec::new();
        };
        self.running.remove(&request);
        self.answered += 1;
        self.happen(Event::RequestEnded { request })
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            old: Side::new(seed, SLOTS),
            new: Side::new(seed, 0),
            random: Random::new(seed),
            taken_over: false,
        }
    }

    fn step(&mut self) {
        let old = self.random.below(2) == 0;
        let what = self.random.below(8);
        let side = if old { &mut self.old } else { &mut self.new };
        let said = match what {
            0..2 => side.arrive(),
            2..4 => side.end(&mut self.random),
            4..7 => side.hear().unwrap_or_default(),
            _ if !self.taken_over && self.random.below(8) == 0 => {
                self.taken_over = true;
                self.old.unheard.push_back(Event::TakenOver);
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.pass_on(old, said);
        self.judge();
    }

    /// The supervisor: what one side gives or asks is said to the other.
    fn pass_on(&mut self, from_old: bool, said: Vec<Action>) {
        let to = if from_old {
            &mut self.new
        } else {
            &mut self.old
        };
        for action in said {
            match action {
                Action::ReturnLease { worker } => {
                    to.unheard
                        .push_back(Event::LeaseReturned { worker, slots: 1 });
                }
                Action::AskForSlot => to.unheard.push_back(Event::SlotWanted),
                _ => {}
            }
        }
    }

    /// Every slot is the old one's, the new one's, or on its way.
    fn judge(&self) {
        for worker in (1..=WORKERS).map(WorkerId) {
            let on_its_way = [&self.old, &self.new]
                .iter()
                .flat_map(|side| &side.unheard)
                .filter(|event| matches!(event, Event::LeaseReturned { worker: id, .. } if *id == worker))
                .count();
            let owned = self.old.owns[&worker] + self.new.owns[&worker];
            assert_eq!(owned as usize + on_its_way, SLOTS as usize);
        }
    }

    /// Everything ends: each request is answered, and every slot is the new one's.
    fn finish(&mut self, seed: u64) {
        if !self.taken_over {
            self.old.unheard.push_back(Event::TakenOver);
        }
        for _ in 0..1_000 {
            for old in [true, false] {
                let side = if old { &mut self.old } else { &mut self.new };
                let mut said = side.hear().unwrap_or_default();
                said.extend(side.end(&mut self.random));
                self.pass_on(old, said);
                self.judge();
            }
        }
        for side in [&self.old, &self.new] {
            assert!(side.machine.idle(), "seed {seed}: something is left");
            assert_eq!(side.answered, side.serial, "seed {seed}");
        }
        let slots = u32::try_from(WORKERS).expect("a few") * SLOTS;
        assert_eq!(self.new.machine.snapshot().idle, slots, "seed {seed}");
        assert_eq!(self.old.machine.snapshot().idle, 0, "seed {seed}");
    }
}
