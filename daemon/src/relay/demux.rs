//! What comes on a connection to a worker: each piece to the request that it belongs to ([`super::response`]), and what befalls
//! the connection to all of them.

use std::rc::Rc;

use stockade_policy::dispatch::Event;
use stockade_protocol::{record::HEADER_LEN, web_server::WebServerError};

use super::{
    connection::End,
    link::Link,
    pool::State,
    response::{Forward, Step},
    trunk::Trunk,
};

impl State {
    /// A worker sent `buffer[HEADER_LEN..]`.
    pub(super) fn worker_bytes(&mut self, trunk: &Trunk, buffer: &mut [u8]) {
        if trunk.idle() && !trunk.multiplexes() {
            tracing::info!(
                "pool {}: {} sent bytes unasked",
                self.name(),
                self.worker_title(trunk.worker)
            );
            self.forget_idle(trunk);
            trunk.close();
            return;
        }
        let mut forward = Forward::new();
        let mut at = HEADER_LEN;
        // whose stretches are to be written
        let mut link: Option<Rc<Link>> = None;
        while !trunk.dropped() {
            let next = trunk.web_server.borrow_mut().next(buffer, &mut at);
            let answer = match next {
                Ok(None) => break,
                Ok(Some(answer)) => answer,
                Err(error) => {
                    self.pass_on(link.take(), buffer, &mut forward);
                    self.broke(trunk, error);
                    break;
                }
            };
            let Some(id) = answer.id() else { continue };
            if link.as_ref().is_none_or(|link| link.id != id) {
                self.pass_on(link.take(), buffer, &mut forward);
                link = trunk.link_of(id);
            }
            let Some(current) = &link else { continue };
            let Some(key) = current.request.get() else {
                continue;
            };
            let step = self.take(key, current, answer, buffer, &mut forward);
            if step != Step::Goes || forward.full() {
                self.forward(key, buffer, &mut forward, step == Step::Ended);
            }
            if step != Step::Goes {
                self.conclude(key, current, step, at < buffer.len());
                link = None;
            }
        }
        self.pass_on(link, buffer, &mut forward);
        self.rest();
    }

    /// No more of this answer is here just now.
    fn pass_on(&mut self, link: Option<Rc<Link>>, buffer: &[u8], forward: &mut Forward) {
        if let Some(link) = link
            && let Some(key) = link.request.get()
        {
            self.forward(key, buffer, forward, false);
            self.conclude(key, &link, Step::Goes, false);
        }
    }

    /// The worker does not speak FastCGI. Of several requests there is no telling which it did not understand.
    fn broke(&mut self, trunk: &Trunk, error: WebServerError) {
        let (name, title) = (self.name(), self.worker_title(trunk.worker));
        tracing::warn!("pool {name}: {title} broke the protocol: {error}");
        let worker = trunk.worker;
        trunk.retire();
        let now = self.clock.now();
        self.dispatch.handle(Event::WorkerBroke { worker }, now);
        for link in trunk.running() {
            match link.request.get() {
                Some(key) if !trunk.multiplexes() => self.bad(key, "protocol-error"),
                _ => self.link_ended(&link, End::Closed),
            }
        }
        trunk.close();
        self.settle();
    }

    /// Whether the worker has not begun to answer something that runs on the connection.
    pub(super) fn unanswered(&mut self, trunk: &Trunk) -> bool {
        for link in trunk.running() {
            let request = link
                .request
                .get()
                .and_then(|key| self.requests.get_mut(key));
            if request.is_some_and(|request| !request.head_sent && request.host.is_some()) {
                return true;
            }
        }
        false
    }

    /// The connection to a worker ended by itself.
    pub(super) fn trunk_ended(&mut self, trunk: &Trunk, end: End) {
        self.forget_idle(trunk);
        trunk.retire();
        for link in trunk.running() {
            self.link_ended(&link, end);
        }
        self.rest();
    }

    /// A worker took everything that waited for it: its hosts may send more.
    pub(super) fn worker_drained(&mut self, trunk: &Trunk) {
        for link in trunk.running() {
            if let Some(key) = link.request.get() {
                self.body_drained(key);
            }
        }
    }

    /// Slow hosts have as much of this connection's responses before them as if each had a worker's connection of its own.
    pub(super) fn too_far_ahead(&mut self, trunk: &Trunk) -> bool {
        let slots = self
            .workers
            .get(&trunk.worker)
            .map_or(1, |known| known.slots);
        let limit = (self.plan.bytes.response_buffer_size).saturating_mul(slots as usize);
        let mut ahead = 0;
        for link in trunk.running() {
            let request = link
                .request
                .get()
                .and_then(|key| self.requests.get_mut(key));
            let host = request.and_then(|request| request.host.as_ref());
            ahead += host.map_or(0, |(host, _)| host.connection.waiting());
        }
        ahead > limit
    }

    /// A connection is no longer kept.
    pub(super) fn forget_idle(&mut self, trunk: &Trunk) {
        if let Some(worker) = self.workers.get_mut(&trunk.worker) {
            worker
                .idle
                .retain(|kept| !std::ptr::eq(&raw const *kept.trunk, trunk));
        }
    }
}
