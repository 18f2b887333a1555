//! The addresses of a pool whose processes somebody else runs (`upstream`): which of them are given requests.
//!
//! ```text
//!            answered                  broke
//! Asked ─────────────▶ Used ────────────────────▶ Waiting ──┐
//!   │ ▲                                            ▲  │     │ the backoff is over
//!   │ └────────────────────────────────────────────┼──┘◀────┘
//!   └──────────────── unreachable ─────────────────┘
//! ```
//! An address that is used is a worker to [`crate::dispatch`], with a number of its own for each time it comes into use. One that cannot
//! be connected to is set aside, asked again after a wait that doubles, and used again when it answers. The pool is starting until
//! every address was asked once or one is used, serving while one is used, and failing while none is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Backoff, PoolState, Random, Time, WorkerId};

/// An address, by its number in this pool's life. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u32);

/// What happened. What comes late, of an address that was removed or of another time, is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The configuration has this address.
    MemberAdded {
        /// Its number, which is new.
        member: MemberId,
    },
    /// The configuration has it no longer.
    MemberRemoved {
        /// The address.
        member: MemberId,
    },
    /// It took a connection; the answer to [`Action::AskMember`].
    MemberAnswered {
        /// The address.
        member: MemberId,
    },
    /// It did not; the other answer.
    MemberUnreachable {
        /// The address.
        member: MemberId,
    },
    /// A request could not be given to it.
    WorkerBroke {
        /// The number that it was used under.
        worker: WorkerId,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Connect to it, and say whether it answered.
    AskMember {
        /// The address.
        member: MemberId,
    },
    /// Offer it to dispatch.
    OfferWorker {
        /// The address.
        member: MemberId,
        /// The number that it is used under.
        worker: WorkerId,
    },
    /// Give it no more; what it runs goes on.
    RetireWorker {
        /// The number that it was used under.
        worker: WorkerId,
    },
    /// How the pool stands has changed.
    ReportPool {
        /// How it stands.
        state: PoolState,
    },
}

/// The addresses of one pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upstream {
    members: Vec<Member>,
    backoff: Backoff,
    random: Random,
    next_worker: u64,
    /// As reported last.
    state: PoolState,
    latest: Time,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    id: MemberId,
    /// Failures since it was used last.
    failures: u32,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    /// It was asked, and has not answered yet.
    Asked,
    /// It is given requests under this number.
    Used(WorkerId),
    /// It is asked again then.
    Waiting(Time),
}

impl Upstream {
    /// No addresses. `backoff` is between two questions to one that does not answer.
    #[must_use]
    pub const fn new(backoff: Backoff, seed: u64) -> Self {
        Self {
            members: Vec::new(),
            backoff,
            random: Random::new(seed),
            next_worker: 1,
            state: PoolState::Starting,
            latest: Time::new(core::time::Duration::ZERO),
            actions: VecDeque::new(),
        }
    }

    /// A reload changed the backoff: it holds from the next wait on.
    pub const fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// Something happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        self.latest = self.latest.max(now);
        match event {
            Event::MemberAdded { member } => self.add(member),
            Event::MemberRemoved { member } => self.remove(member),
            Event::MemberAnswered { member } => self.answered(member),
            Event::MemberUnreachable { member } => {
                let asked = |each: &Member| each.id == member && each.standing == Standing::Asked;
                self.set_aside(asked);
            }
            Event::WorkerBroke { worker } => {
                let used = |each: &Member| each.standing == Standing::Used(worker);
                if self.set_aside(used) {
                    self.act(Action::RetireWorker { worker });
                }
            }
        }
        self.report();
    }

    /// Asks those whose wait is over.
    pub fn handle_timeout(&mut self, now: Time) {
        self.latest = self.latest.max(now);
        let mut due = Vec::new();
        for member in &mut self.members {
            if let Standing::Waiting(until) = member.standing
                && until <= self.latest
            {
                member.standing = Standing::Asked;
                due.push(member.id);
            }
        }
        for member in due {
            self.act(Action::AskMember { member });
        }
        self.report();
    }

    /// The next thing to do; none: nothing more for now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let until = |member: &Member| match member.standing {
            Standing::Waiting(until) => Some(until),
            Standing::Asked | Standing::Used(_) => None,
        };
        self.members.iter().filter_map(until).min()
    }

    /// The address that is used under this number.
    #[must_use]
    pub fn member(&self, worker: WorkerId) -> Option<MemberId> {
        let used = |member: &&Member| member.standing == Standing::Used(worker);
        self.members.iter().find(used).map(|member| member.id)
    }

    fn add(&mut self, id: MemberId) {
        if self.members.iter().any(|member| member.id == id) {
            return;
        }
        self.members.push(Member {
            id,
            failures: 0,
            standing: Standing::Asked,
        });
        self.act(Action::AskMember { member: id });
    }

    fn remove(&mut self, id: MemberId) {
        let Some(place) = self.members.iter().position(|member| member.id == id) else {
            return;
        };
        if let Standing::Used(worker) = self.members.remove(place).standing {
            self.act(Action::RetireWorker { worker });
        }
    }

    fn answered(&mut self, id: MemberId) {
        let worker = WorkerId(self.next_worker);
        let asked = |member: &&mut Member| member.id == id && member.standing == Standing::Asked;
        let Some(member) = self.members.iter_mut().find(asked) else {
            return;
        };
        member.standing = Standing::Used(worker);
        self.next_worker = self.next_worker.saturating_add(1);
        self.act(Action::OfferWorker { member: id, worker });
    }

    /// False: there is none such.
    fn set_aside(&mut self, which: impl Fn(&Member) -> bool) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| which(member)) else {
            return false;
        };
        // one that was used and is reached at once again was restarted, and has not failed twice
        member.failures = match member.standing {
            Standing::Used(_) => 1,
            Standing::Asked | Standing::Waiting(_) => member.failures.saturating_add(1),
        };
        let wait = self.backoff.wait(member.failures, &mut self.random);
        member.standing = Standing::Waiting(self.latest.after(wait));
        true
    }

    fn report(&mut self) {
        let used = |member: &Member| matches!(member.standing, Standing::Used(_));
        let fresh = |member: &Member| member.standing == Standing::Asked && member.failures == 0;
        let state = if self.members.iter().any(used) {
            PoolState::Serving
        } else if self.members.iter().any(fresh) {
            PoolState::Starting
        } else {
            PoolState::Failing
        };
        if state != self.state {
            self.state = state;
            self.act(Action::ReportPool { state });
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(500),
        maximum: Duration::from_secs(8),
    };

    fn at(millis: u64) -> Time {
        Time::new(Duration::from_millis(millis))
    }

    fn done(upstream: &mut Upstream) -> Vec<Action> {
        std::iter::from_fn(|| upstream.poll_action()).collect()
    }

    fn two() -> Upstream {
        let mut upstream = Upstream::new(BACKOFF, 1);
        for member in [MemberId(1), MemberId(2)] {
            upstream.handle(Event::MemberAdded { member }, at(0));
            assert_eq!(done(&mut upstream), [Action::AskMember { member }]);
        }
        upstream
    }

    #[test]
    fn an_address_is_used_when_it_answers_and_the_pool_serves_with_one() {
        let mut upstream = two();
        upstream.handle(
            Event::MemberUnreachable {
                member: MemberId(1),
            },
            at(5),
        );
        assert_eq!(done(&mut upstream), []);
        upstream.handle(
            Event::MemberAnswered {
                member: MemberId(2),
            },
            at(6),
        );
        let (member, worker) = (MemberId(2), WorkerId(1));
        assert_eq!(
            done(&mut upstream),
            [
                Action::OfferWorker { member, worker },
                Action::ReportPool {
                    state: PoolState::Serving
                }
            ]
        );
        assert_eq!(upstream.member(worker), Some(member));
        // once is enough
        upstream.handle(Event::MemberAnswered { member }, at(7));
        assert_eq!(done(&mut upstream), []);
    }

    #[test]
    fn one_that_does_not_answer_is_asked_after_a_wait_that_doubles() {
        let mut upstream = two();
        let member = MemberId(1);
        upstream.handle(
            Event::MemberAnswered {
                member: MemberId(2),
            },
            at(0),
        );
        done(&mut upstream);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..6 {
            upstream.handle(Event::MemberUnreachable { member }, now);
            let due = upstream.poll_timeout().unwrap();
            waits.push(due.since(now).as_millis());
            upstream.handle_timeout(due);
            assert_eq!(done(&mut upstream), [Action::AskMember { member }]);
            now = due;
        }
        for (wait, most) in waits.iter().zip([500, 1000, 2000, 4000, 8000, 8000]) {
            assert!((most * 3 / 4..=most).contains(wait), "{waits:?}");
        }
    }

    #[test]
    fn with_the_last_one_the_pool_fails_and_it_serves_when_one_is_back() {
        let mut upstream = two();
        for member in [MemberId(1), MemberId(2)] {
            upstream.handle(Event::MemberAnswered { member }, at(0));
        }
        done(&mut upstream);
        for (number, report) in [(1, None), (2, Some(PoolState::Failing))] {
            let worker = WorkerId(number);
            upstream.handle(Event::WorkerBroke { worker }, at(10));
            let mut expected = vec![Action::RetireWorker { worker }];
            expected.extend(report.map(|state| Action::ReportPool { state }));
            assert_eq!(done(&mut upstream), expected);
            // said again by a request that was under way
            upstream.handle(Event::WorkerBroke { worker }, at(11));
            assert_eq!(done(&mut upstream), []);
        }
        let due = upstream.poll_timeout().unwrap();
        upstream.handle_timeout(due);
        let Some(Action::AskMember { member }) = upstream.poll_action() else {
            panic!("nobody is asked");
        };
        upstream.handle(Event::MemberAnswered { member }, due);
        let state = PoolState::Serving;
        let worker = WorkerId(3);
        assert!(done(&mut upstream).ends_with(&[
            Action::OfferWorker { member, worker },
            Action::ReportPool { state }
        ]));
    }

    #[test]
    fn one_that_was_removed_is_given_no_more() {
        let mut upstream = two();
        let member = MemberId(1);
        upstream.handle(Event::MemberAnswered { member }, at(0));
        upstream.handle(
            Event::MemberUnreachable {
                member: MemberId(2),
            },
            at(0),
        );
        done(&mut upstream);
        upstream.handle(Event::MemberRemoved { member }, at(5));
        let worker = WorkerId(1);
        let state = PoolState::Failing;
        assert_eq!(
            done(&mut upstream),
            [
                Action::RetireWorker { worker },
                Action::ReportPool { state }
            ]
        );
        upstream.handle(Event::MemberAnswered { member }, at(6));
        upstream.handle(Event::WorkerBroke { worker }, at(6));
        assert_eq!(done(&mut upstream), []);
        upstream.handle(
            Event::MemberRemoved {
                member: MemberId(2),
            },
            at(7),
        );
        assert_eq!(upstream.poll_timeout(), None);
    }
}
