//! A timeline in words: what happens when, and what the machine says to do.
//!
//! ```text
//! <milliseconds> <what happens> [-> <action>[; <action>]...]
//! ```
//! Every action must be there, in this order. A request is a name; used again, it is a new request in the same place,
//! and `name'` is the earlier one. `slots` gives busy, idle and queued slots, `deadline` what `poll_timeout` says.

use core::time::Duration;
use std::collections::BTreeMap;

use stockade_policy::dispatch::{
    Action, Dispatch, Event, RequestKey, Retry, Scale, Settings, TimeoutCause,
};
use stockade_policy::{Limit, PoolState, Time, WorkerId};

/// Ten may wait, for a second; five seconds to the head, no other limit for what runs; one replay of an idempotent request.
pub(crate) fn settings() -> Settings {
    Settings {
        queue_limit: 10,
        queue_timeout: Limit::of(Duration::from_secs(1)),
        request_timeout: Limit::of(Duration::from_secs(5)),
        slow_request: Limit::OFF,
        response_timeout: Limit::OFF,
        total_timeout: Limit::OFF,
        retry: Retry::Idempotent,
        retry_limit: 1,
        shared: false,
        inactivity_timeout: Limit::OFF,
        scale: None,
        interrupts: false,
    }
}

/// Runs a timeline with [`settings`].
pub(crate) fn run(timeline: &str) {
    run_with(settings(), timeline);
}

/// Runs a timeline.
pub(crate) fn run_with(settings: Settings, timeline: &str) {
    let mut world = World {
        machine: Dispatch::new(settings.clone(), 1),
        settings,
        requests: BTreeMap::new(),
        keys: BTreeMap::new(),
        serial: 0,
    };
    for line in timeline.lines().map(str::trim) {
        if !line.is_empty() {
            world.step(line);
        }
    }
}

struct World {
    machine: Dispatch,
    settings: Settings,
    /// Name to key; an earlier one under `name'`.
    requests: BTreeMap<String, RequestKey>,
    keys: BTreeMap<RequestKey, String>,
    serial: u32,
}

impl World {
    fn step(&mut self, line: &str) {
        let (happening, expected) = line.split_once("->").unwrap_or((line, ""));
        let words: Vec<&str> = happening.split_whitespace().collect();
        let now = Time::new(Duration::from_millis(number(words[0])));
        match words[1..] {
            ["timeout"] => self.machine.handle_timeout(now),
            ["set", key, value] => self.set(key, value),
            ["deadline", "none"] => assert_eq!(self.machine.poll_timeout(), None, "{line}"),
            ["deadline", at] => assert_eq!(
                self.machine.poll_timeout(),
                Some(Time::new(Duration::from_millis(number(at)))),
                "{line}"
            ),
            ["slots", busy, idle, queued] => {
                let is = self.machine.snapshot();
                let expected = [number(busy), number(idle), number(queued)];
                assert_eq!(
                    [is.busy, is.idle, is.queued].map(u64::from),
                    expected,
                    "{line}"
                );
            }
            ["idle"] => assert!(self.machine.idle(), "{line}"),
            _ => {
                let event = self.event(&words[1..]);
                self.machine.handle(event, now);
            }
        }
        self.machine.check();
        let mut actions = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            actions.push(action);
        }
        let expected: Vec<String> = expected
            .split(';')
            .map(|action| action.trim().to_owned())
            .filter(|action| !action.is_empty())
            .collect();
        let with_seconds = expected.iter().any(|action| action.ends_with('s'));
        let came: Vec<String> = actions
            .into_iter()
            .map(|action| self.words(action, with_seconds))
            .collect();
        assert_eq!(came, expected, "{line}");
    }

    fn event(&mut self, words: &[&str]) -> Event {
        match *words {
            ["offer", id, slots] => Event::WorkerOffered {
                worker: worker(id),
                slots: small(slots),
                leased: 0,
                maximum_requests: 0,
            },
            ["offer", id, slots, "leased", leased] => Event::WorkerOffered {
                worker: worker(id),
                slots: small(slots),
                leased: small(leased),
                maximum_requests: 0,
            },
            ["offer", id, slots, maximum] => Event::WorkerOffered {
                worker: worker(id),
                slots: small(slots),
                leased: 0,
                maximum_requests: number(maximum),
            },
            ["retire", id] => Event::WorkerRetired { worker: worker(id) },
            ["overdue", id] => Event::WorkerOverdue { worker: worker(id) },
            ["gone", id] => Event::WorkerGone { worker: worker(id) },
            ["shed", count] => Event::PoolShed {
                count: small(count),
            },
            ["broke", id] => Event::WorkerBroke { worker: worker(id) },
            ["pool", state] => Event::PoolReported { state: pool(state) },
            ["arrive", name] => self.arrival(name, true),
            ["arrive", name, "post"] => self.arrival(name, false),
            ["await", name] => Event::BodyAwaited {
                request: self.requests[name],
            },
            ["resume", name] => Event::BodyResumed {
                request: self.requests[name],
            },
            ["head", name] => Event::HeadReceived {
                request: self.requests[name],
            },
            ["heard", name, at] => Event::ResponseHeard {
                request: self.requests[name],
                at: Time::new(Duration::from_millis(number(at))),
            },
            ["end", name] => Event::RequestEnded {
                request: self.requests[name],
            },
            ["fail", name, how] => Event::RequestFailed {
                request: self.requests[name],
                sent: how != "unsent",
                held: how != "released",
            },
            ["leave", name] => Event::HostGone {
                request: self.requests[name],
            },
            _ => lease(words),
        }
    }

    fn arrival(&mut self, name: &str, idempotent: bool) -> Event {
        let places = u32::try_from(self.requests.len()).expect("a few requests");
        let earlier = self.requests.get(name).copied();
        if let Some(earlier) = earlier {
            self.requests.insert(format!("{name}'"), earlier);
        }
        self.serial += 1;
        let request = RequestKey {
            index: earlier.map_or(places, |earlier| earlier.index),
            serial: self.serial,
        };
        self.requests.insert(name.to_owned(), request);
        self.keys.insert(request, name.to_owned());
        Event::RequestArrived {
            request,
            idempotent,
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let limit = match value {
            "off" => Limit::OFF,
            _ => Limit::of(Duration::from_millis(value.parse().unwrap_or_default())),
        };
        match key {
            "queue-limit" => self.settings.queue_limit = small(value),
            "queue-timeout" => self.settings.queue_timeout = limit,
            "request-timeout" => self.settings.request_timeout = limit,
            "slow-request" => self.settings.slow_request = limit,
            "response-timeout" => self.settings.response_timeout = limit,
            "total-timeout" => self.settings.total_timeout = limit,
            "inactivity-timeout" => self.settings.inactivity_timeout = limit,
            "scale" => self.settings.scale = scale(value),
            "retry" => {
                self.settings.retry = match value {
                    "off" => Retry::Off,
                    "unsent" => Retry::Unsent,
                    _ => Retry::Idempotent,
                }
            }
            _ => panic!("not a key: {key}"),
        }
        self.machine.set_settings(self.settings.clone());
    }

    fn words(&self, action: Action, with_seconds: bool) -> String {
        let name = |request: RequestKey| self.keys[&request].clone();
        match action {
            Action::HandOut { request, worker } => format!("hand {} {worker}", name(request)),
            Action::Refuse {
                request,
                cause,
                retry_after,
            } => {
                assert!((1..=60).contains(&retry_after));
                if with_seconds {
                    format!("refuse {} {cause} {retry_after}s", name(request))
                } else {
                    format!("refuse {} {cause}", name(request))
                }
            }
            Action::TimeOut {
                request,
                cause,
                interrupted,
            } => {
                let mut words = format!("time-out {}", name(request));
                if cause != TimeoutCause::RequestTimeout {
                    words += &format!(" {cause}");
                }
                if interrupted {
                    words += " interrupted";
                }
                words
            }
            Action::AskResponse { request } => format!("ask {}", name(request)),
            Action::CutOff { request } => format!("cut {}", name(request)),
            Action::Fail { request } => format!("502 {}", name(request)),
            Action::NoteReplay { request } => format!("replay {}", name(request)),
            Action::NoteSlow { request } => format!("slow {}", name(request)),
            Action::ReturnLease { worker } => format!("return {worker}"),
            Action::AskForSlot => "ask".to_owned(),
            Action::ReportServed { worker } => format!("served {worker}"),
            Action::ReportMaximumRequests { worker } => format!("maximum {worker}"),
            Action::ReportTimedOut { worker } => format!("timed-out {worker}"),
            Action::ReportRecovered { worker } => format!("recovered {worker}"),
            Action::ReportBroken { worker } => format!("broken {worker}"),
            Action::ReportDrained { worker } => format!("drained {worker}"),
            Action::ReportUsed { busy, waiting } => format!("used {busy} {waiting}"),
            Action::ReportShed { worker } => format!("shed {worker}"),
            Action::ReportInactive { worker } => format!("inactive {worker}"),
            Action::NoteHealed { .. } => panic!("the watchdog found something"),
        }
    }
}

/// `maximum/queue-wait/idle-timeout`, or off.
fn scale(value: &str) -> Option<Scale> {
    let mut parts = value.split('/').map(number);
    let mut time = || parts.next().map(Duration::from_millis);
    (value != "off").then(|| Scale {
        maximum: u32::try_from(time().expect("a number").as_millis()).expect("a small number"),
        queue_wait: time().expect("a time"),
        idle_timeout: time().expect("a time"),
    })
}

/// What happens between two relays.
fn lease(words: &[&str]) -> Event {
    match *words {
        ["returned", id, slots] => Event::LeaseReturned {
            worker: worker(id),
            slots: small(slots),
        },
        ["wanted"] => Event::SlotWanted,
        ["taken-over"] => Event::TakenOver,
        ["counted", id, requests] => Event::RequestsCounted {
            worker: worker(id),
            requests: number(requests),
        },
        _ => panic!("not an event: {words:?}"),
    }
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn small(word: &str) -> u32 {
    u32::try_from(number(word)).expect("a small number")
}

fn worker(word: &str) -> WorkerId {
    WorkerId(number(word))
}

fn pool(word: &str) -> PoolState {
    match word {
        "starting" => PoolState::Starting,
        "serving" => PoolState::Serving,
        "failing" => PoolState::Failing,
        "stopped" => PoolState::Stopped,
        _ => panic!("not a state: {word}"),
    }
}
