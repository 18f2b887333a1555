//! `socket-timeout`: hosts that owe us bytes, or do not take ours.
//!
//! Nothing is noted while bytes come and go: now and then every connection is looked at, and its counters are compared with what they
//! were. So the time is coarse, up to a quarter longer than it says. Parameters have to be complete within it, however they come; of
//! a body only silence counts. A connection on which nothing has begun owes nothing.

use std::{rc::Rc, time::Duration};

use stockade_policy::{Time, dispatch::RequestKey};

use super::{
    answers,
    front::Host,
    pool::State,
    request::{Request, Requests},
};

/// Between two looks, at most and at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// How a connection was at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    received: u64,
    sent: u64,
    /// Since when it owes us bytes and none came.
    silent: Option<Time>,
    /// Since when bytes wait for it and it took none.
    stuck: Option<Time>,
}

/// What a host owes.
#[derive(Debug, Default)]
struct Debts {
    /// Requests whose parameters have not been complete for too long.
    params: Vec<RequestKey>,
    /// Requests of whose body nothing has come for too long.
    bodies: Vec<RequestKey>,
    /// Parameters or a body that may still come in time, the rest of a record, or its end of the connection.
    other: bool,
    /// Something else runs or waits on the connection.
    others: bool,
}

impl State {
    /// When hosts are to be looked at is known from here on, if there are any.
    pub(super) fn expect_look(&mut self) {
        if let (None, Some(limit), false) = (
            self.next_look,
            self.plan.socket_timeout.0,
            self.hosts.is_empty(),
        ) {
            self.next_look = Some(self.clock.now().after(pause(limit)));
        }
    }

    /// Looks at every host's connection, if it is time to.
    pub(super) fn look_at_hosts(&mut self, now: Time) {
        if self.next_look.is_none_or(|at| now < at) {
            return;
        }
        self.next_look = None;
        let Some(limit) = self.plan.socket_timeout.0 else {
            return;
        };
        self.expect_look();
        let mut late = Vec::new();
        for host in self.hosts.values() {
            let debts = debts(host, &mut self.requests, limit, now);
            let (silent, stuck) = watch(host, &debts, limit, now);
            if stuck || silent || debts.late() {
                late.push((Rc::clone(host), debts, silent, stuck));
            }
        }
        for (host, debts, silent, stuck) in late {
            self.late(&host, &debts, silent, stuck);
        }
    }

    fn late(&mut self, host: &Host, debts: &Debts, silent: bool, stuck: bool) {
        if stuck {
            self.cut_stuck(host);
            return;
        }
        // a request that has begun to run on the same connection is not to suffer
        let begun = debts.params.iter().filter(|_| debts.others);
        for key in debts.bodies.iter().chain(begun) {
            self.turn_away(*key, &answers::SOCKET_TIMEOUT);
        }
        let alone = !debts.others;
        if alone && (!debts.params.is_empty() || (silent && debts.bodies.is_empty())) {
            self.log_late("does not go on with what it has begun");
            host.connection.close();
        }
    }

    /// Nobody waits for a host that does not read.
    fn cut_stuck(&mut self, host: &Host) {
        let open = host.connection.open();
        if open {
            self.log_late("takes nothing of what is sent to it");
        }
        let active = std::mem::take(&mut *host.active.borrow_mut());
        for (_, key) in active {
            self.host_gone(key);
        }
        if host.tcp || !open || host.is_owed_an_answer() {
            host.break_off_now();
        } else {
            host.connection.abort();
        }
    }

    fn log_late(&mut self, what: &str) {
        if let Some(more) = self.late_hosts.happened(self.clock.now()) {
            let name = self.name();
            tracing::warn!(
                "pool {name}: closing the connection of a host that {what}: socket-timeout{more}"
            );
        }
    }
}

fn pause(limit: Duration) -> Duration {
    (limit / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Whether the host has owed bytes, and whether it has not taken ours, for too long.
fn watch(host: &Host, debts: &Debts, limit: Duration, now: Time) -> (bool, bool) {
    let (connection, last) = (&host.connection, host.watch.get());
    let (received, sent) = (connection.received(), connection.sent());
    let since = |owes: bool, began: Option<Time>, moved: bool| {
        owes.then(|| began.filter(|_| !moved).unwrap_or(now))
    };
    let watch = Watch {
        received,
        sent,
        silent: since(debts.any(), last.silent, received != last.received),
        stuck: since(connection.waiting() > 0, last.stuck, sent != last.sent),
    };
    host.watch.set(watch);
    let over = |since: Option<Time>| since.is_some_and(|since| now.since(since) >= limit);
    (over(watch.silent), over(watch.stuck))
}

fn debts(host: &Host, requests: &mut Requests, limit: Duration, now: Time) -> Debts {
    let mut debts = Debts::default();
    if host.connection.paused() {
        return debts;
    }
    if !host.connection.open() {
        debts.other = host.connection.awaits_close();
        return debts;
    }
    let mut index = 0;
    while let Some(key) = host.active_at(index) {
        index += 1;
        let Some(request) = requests.get_mut(key) else {
            continue;
        };
        if !request.params_ended {
            let since = *request.params_seen.get_or_insert(now);
            if now.since(since) >= limit {
                debts.params.push(key);
            } else {
                debts.other = true;
            }
        } else {
            debts.others = true;
            match silent_since(request, now) {
                Some(since) if now.since(since) >= limit => debts.bodies.push(key),
                Some(_) => debts.other = true,
                None => {}
            }
        }
    }
    debts.other |= index == 0 && host.has_begun();
    debts
}

/// Since when nothing has come of the body that a request waits for, other requests of the same connection apart.
fn silent_since(request: &mut Request, now: Time) -> Option<Time> {
    if !owes_body(request) {
        request.owed = None;
        return None;
    }
    let came = request.body_length + request.file_length;
    let since = match request.owed {
        Some((before, since)) if before == came => since,
        _ => now,
    };
    request.owed = Some((came, since));
    Some(since)
}

/// Nothing goes on before more of its body comes, or of a filter's file. Behind the head, many hosts send no more of it.
fn owes_body(request: &Request) -> bool {
    !request.input_ended() && !request.head_sent && (request.collects || request.body_awaited)
}

impl Debts {
    fn any(&self) -> bool {
        self.other || self.late()
    }

    fn late(&self) -> bool {
        !self.params.is_empty() || !self.bodies.is_empty()
    }
}
