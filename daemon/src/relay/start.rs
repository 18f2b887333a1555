//! How a request goes out to a worker, and what is left when that fails.

use std::{io, rc::Rc};

use stockade_policy::{
    WorkerId,
    dispatch::{Event, RequestKey},
};
use stockade_protocol::{
    encode::{self, Role},
    record::RecordType,
};

use super::{access_log::Ending, answers, link::Link, pool::State, trunk::Trunk};

/// Why a request could not be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Its worker does not take connections.
    Worker,
    /// We have no descriptor for a connection, or the worker's backlog has no room: nothing to blame the worker for.
    Ours,
}

impl State {
    /// Writes the request to a kept connection of the worker, or to a new one.
    pub(super) fn hand_out(&mut self, key: RequestKey, worker: WorkerId) {
        if self.left_the_queue(key) {
            return;
        }
        self.note_hand_out(key);
        match self.kept(worker).map_or_else(|| self.connect(worker), Ok) {
            Ok(link) => self.write_request(key, &link),
            Err(trouble) => self.not_handed_out(key, trouble),
        }
    }

    /// Whether the host of a request that has waited went away, which is not told in order with what made its slot free.
    fn left_the_queue(&mut self, key: RequestKey) -> bool {
        let Some(request) = self.requests.get_mut(key) else {
            return false;
        };
        let gone = request.waited
            && (request.host.as_ref()).is_some_and(|(host, _)| host.connection.peer_left());
        if gone {
            self.log_access(key, Ending::HOST_GONE);
            self.requests.remove(key);
            let now = self.clock.now();
            self.dispatch
                .handle(Event::RequestEnded { request: key }, now);
        }
        gone
    }

    fn note_hand_out(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.handed_out = self.clock.now();
        let queued = std::mem::take(&mut request.waited);
        if let (None, Some(arrived)) = (request.worker, request.arrived) {
            let waited = request.handed_out.since(arrived);
            request.seen.waited = Some(waited);
            if queued {
                request.tell_wait(waited);
            }
            self.ledger.queue_wait.observe(waited);
        }
    }

    /// A link that runs nothing.
    fn kept(&mut self, worker: WorkerId) -> Option<Rc<Link>> {
        let known = self.workers.get_mut(&worker)?;
        // behind what the hosts of others do not take, an answer would wait
        let clogged = (known.trunk.upgrade()).filter(|trunk| trunk.connection.paused());
        if let Some(trunk) = clogged {
            trunk.retire();
        }
        loop {
            match known.idle.pop() {
                Some(link) if !link.trunk.takes() => {}
                found => return found,
            }
        }
    }

    /// A link of its own on a connection that others share, or a connection.
    fn connect(&mut self, worker: WorkerId) -> Result<Rc<Link>, Trouble> {
        let shared = (self.workers.get(&worker)).and_then(|known| known.trunk.upgrade());
        let one_more = shared
            .filter(|trunk| trunk.takes())
            .and_then(|trunk| trunk.link());
        if let Some(link) = one_more {
            return Ok(link);
        }
        let trunk = self.new_trunk(worker)?;
        let known = self.workers.get_mut(&worker);
        if let Some(known) = known.filter(|known| known.multiplexes) {
            known.trunk = Rc::downgrade(&trunk);
        }
        trunk.link().ok_or(Trouble::Ours)
    }

    fn new_trunk(&self, worker: WorkerId) -> Result<Rc<Trunk>, Trouble> {
        let (Some(pool), Some(known)) = (self.me.upgrade(), self.workers.get(&worker)) else {
            return Err(Trouble::Worker);
        };
        Trunk::connect(&pool, worker, known).map_err(|error| {
            let (name, title) = (&pool.name, self.worker_title(worker));
            tracing::info!("pool {name}: could not connect to {title}: {error}");
            match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable => Trouble::Worker,
                _ => Trouble::Ours,
            }
        })
    }

    fn not_handed_out(&mut self, key: RequestKey, trouble: Trouble) {
        match trouble {
            Trouble::Worker => self.unsent(key),
            Trouble::Ours => {
                let was_sent = self
                    .requests
                    .get_mut(key)
                    .is_some_and(|request| request.was_sent);
                let answer = if was_sent {
                    &answers::WORKER_DIED
                } else {
                    &answers::NO_CONNECTION
                };
                self.answer_for_worker(key, answer);
                self.dispatch
                    .handle(Event::RequestEnded { request: key }, self.clock.now());
            }
        }
    }

    fn write_request(&mut self, key: RequestKey, link: &Rc<Link>) {
        let Some(request) = self.requests.get_mut(key) else {
            link.drop_it();
            return;
        };
        link.begin(key);
        let whole = request.body_ended && request.spool.is_none();
        link.body_sent.set(whole && request.input_ended());
        let mut fits = true;
        link.trunk.connection.queue(|out| {
            let (before, id) = (out.len(), link.id);
            encode::begin_request(out, id, request.role.unwrap_or(Role::Responder), true);
            fits = encode::params(out, id, &request.params).is_ok();
            if !fits {
                out.truncate(before);
                return;
            }
            if !request.body.is_empty() {
                encode::stream(out, RecordType::Stdin, id, &request.body);
            }
            if whole {
                encode::stream_end(out, RecordType::Stdin, id);
            }
            if !request.file.is_empty() {
                encode::stream(out, RecordType::Data, link.id, &request.file);
            }
            if request.file_ended {
                encode::stream_end(out, RecordType::Data, link.id);
            }
        });
        request.body_awaited = false;
        request.worker = Some(link.trunk.worker);
        request.link = Some(Rc::clone(link));
        if let Some((host, _)) = &request.host {
            host.connection.resume();
        }
        if fits {
            self.dirty.push(Rc::clone(link));
            self.feed(key);
        } else {
            link.over.set(true);
            self.answer_for_worker(key, &answers::PARAMS_TOO_LONG);
            self.dispatch
                .handle(Event::RequestEnded { request: key }, self.clock.now());
        }
    }

    /// The connection was closed before anything of the request was written to it. A kept one says nothing of its worker
    /// (many close between requests): a new one is tried.
    pub(super) fn stale(&mut self, link: &Rc<Link>) {
        let Some(key) = link.request.get() else {
            return;
        };
        link.drop_it();
        let again = if link.trunk.used.get() {
            self.connect(link.trunk.worker)
        } else {
            Err(Trouble::Worker)
        };
        match again {
            Ok(fresh) => self.write_request(key, &fresh),
            Err(trouble) => {
                self.not_handed_out(key, trouble);
                self.settle();
            }
        }
    }

    /// A connection that was under way has not come about.
    pub(super) fn trunk_refused(&mut self, trunk: &Trunk, error: &io::Error) {
        let (name, title) = (self.name(), self.worker_title(trunk.worker));
        tracing::info!("pool {name}: could not connect to {title}: {error}");
        trunk.retire();
        for link in trunk.running() {
            self.stale(&link);
        }
        self.rest();
    }

    fn unsent(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.link = None;
        request.waited = true;
        let held = request.held();
        self.dispatch.handle(
            Event::RequestFailed {
                request: key,
                sent: false,
                held,
            },
            self.clock.now(),
        );
        self.drop_if_alone(key);
    }

    /// Forgets a request that runs nowhere and whose host is gone.
    pub(super) fn drop_if_alone(&mut self, key: RequestKey) {
        if self
            .requests
            .get_mut(key)
            .is_some_and(|request| request.host.is_none() && request.link.is_none())
        {
            self.requests.remove(key);
        }
    }
}
