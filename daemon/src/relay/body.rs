//! How a request comes in: its parameters and its body, until it waits for a worker or its worker has all of it.
//!
//! With `request-buffering` a request waits for its whole body first: in memory, and what is too long for that in a file
//! ([`super::spool`]). Without, its body is passed on as it comes.

use std::io::IoSlice;

use stockade_policy::dispatch::{Event, RequestKey};
use stockade_protocol::{
    encode::{self, Role},
    record::{Header, RecordType},
};

use super::{answers, front::Host, link::Link, pool::State};

/// A host's bytes of at least this length go to the worker as they lie; shorter ones are gathered into one write. In bytes.
const DIRECT: usize = 4096;
/// Bytes of a body for a worker in one record (php takes no more than 65,528 with padding).
const BODY_RECORD: usize = 32 * 1024;
/// No more is taken from a host while this much of its request's body waits for the worker. In bytes.
const BODY_AHEAD: usize = 128 * 1024;

impl State {
    /// A piece of the parameters.
    pub(super) fn params(&mut self, host: &Host, id: u16, bytes: &[u8]) {
        if let Some(request) = host.request(id).and_then(|key| self.requests.get_mut(key)) {
            request.params.extend_from_slice(bytes);
        }
    }

    /// The parameters are complete: the request has arrived, unless it is to wait for its body.
    pub(super) fn params_end(&mut self, host: &Host, id: u16) {
        let Some(key) = host.request(id) else { return };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.params_ended = true;
        let Ok(idempotent) = request.read_params(&mut self.ids) else {
            self.turn_away(key, &answers::MALFORMED);
            return;
        };
        request.idempotent = idempotent;
        // some hosts do not end the body of a request that has none, and some workers wait for its end
        request.body_ended = request.bodyless();
        let keys = &self.plan.bytes;
        let limit = keys.request_body_limit.unwrap_or(u64::MAX);
        if request.body_left.is_some_and(|left| left > limit) {
            self.turn_away(key, &answers::BODY_TOO_LONG);
            return;
        }
        let comes = !request.body_ended && (request.body_left.is_some() || request.may_have_body);
        // what a filter gets is its host's file, not a client's slow upload: it is passed on as it comes
        if comes && keys.request_buffering && request.role != Some(Role::Filter) {
            request.collects = true;
        } else {
            self.arrive(key);
        }
    }

    /// All that the request is to wait for is here: it waits for a worker.
    fn arrive(&mut self, key: RequestKey) {
        let now = self.clock.now();
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut request.collects) {
            request.supply_length();
        }
        request.arrived = Some(now);
        let idempotent = request.idempotent;
        self.tell(Event::RequestArrived {
            request: key,
            idempotent,
        });
        if let Some(request) = self.requests.get_mut(key) {
            request.waited = request.link.is_none();
        }
    }

    /// The body began before the parameters had ended.
    pub(super) fn params_unfinished(&mut self, host: &Host, id: u16) {
        if let Some(key) = host.request(id) {
            self.turn_away(key, &answers::MALFORMED);
        }
    }

    /// The parameters are over the limit.
    pub(super) fn params_too_long(&mut self, host: &Host, id: u16) {
        if let Some(key) = host.request(id) {
            self.turn_away(key, &answers::PARAMS_TOO_LONG);
        }
    }

    /// A piece of the body.
    pub(super) fn body(&mut self, host: &Host, id: u16, bytes: &[u8]) {
        let Some(key) = host.request(id) else { return };
        let keys = &self.plan.bytes;
        let (limit, held) = (keys.request_body_limit, keys.request_buffer_size);
        let now = self.clock.now();
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.body_ended {
            return;
        }
        let taken = request.take_body(bytes, held);
        if limit.is_some_and(|limit| request.body_length > limit) {
            self.turn_away(key, &answers::BODY_TOO_LONG);
            return;
        }
        let complete = request.body_left == Some(0);
        if request.collects {
            self.collect(key, taken);
        } else if let Some(link) = request.link.clone() {
            request.heard = now;
            send_body(&link, RecordType::Stdin, taken);
            self.dirty.push(link);
        }
        if complete {
            self.body_end(host, id);
        }
    }

    /// The end of the body.
    pub(super) fn body_end(&mut self, host: &Host, id: u16) {
        let Some(key) = host.request(id) else { return };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.body_ended {
            return;
        }
        if request.body_left.is_some_and(|left| left > 0) {
            self.turn_away(key, &answers::BODY_CUT_SHORT);
            return;
        }
        request.body_ended = true;
        if request.collects {
            self.collected(key);
        } else if let Some(link) = request.link.clone() {
            let whole = request.input_ended();
            end_body(&link);
            link.body_sent.set(whole);
            self.dirty.push(link);
        }
    }

    /// A piece of the file for a filter. Some hosts send it without waiting for the end of the body.
    pub(super) fn file(&mut self, host: &Host, id: u16, bytes: &[u8]) {
        let held = self.plan.bytes.request_buffer_size;
        let now = self.clock.now();
        let Some(key) = host.request(id) else { return };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.take_file(bytes, held);
        if let Some(link) = request.link.clone() {
            request.heard = now;
            send_body(&link, RecordType::Data, bytes);
            self.dirty.push(link);
        }
    }

    /// The end of the file for a filter.
    pub(super) fn file_end(&mut self, host: &Host, id: u16) {
        let Some(key) = host.request(id) else { return };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.file_ended = true;
        if let Some(link) = request.link.clone() {
            link.body_sent.set(request.input_ended());
            link.trunk
                .connection
                .queue(|out| encode::stream_end(out, RecordType::Data, link.id));
            self.dirty.push(link);
        }
    }

    /// The whole body came; what of it is on its way to a file is waited for.
    pub(super) fn collected(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        match &request.spool {
            Some(spool) if !spool.complete() => self.spool(key),
            Some(_) | None => self.arrive(key),
        }
    }

    /// Everything that one read brought from a host has been taken.
    pub(super) fn host_read(&mut self, host: &Host) {
        self.rest();
        let (mut full, mut awaited) = (None, false);
        // a host that does not read is not answered without end
        let mut ahead = host.connection.waiting() > self.plan.bytes.response_buffer_size
            || host.does_not_take_replies();
        let held = self.plan.bytes.request_buffer_size;
        let mut index = 0;
        while let Some(key) = host.active_at(index) {
            index += 1;
            self.weigh_body(key);
            let Some(request) = self.requests.get_mut(key) else {
                continue;
            };
            awaited |= request.body_awaited;
            ahead |= request
                .link
                .as_ref()
                .is_some_and(|link| link.trunk.connection.waiting() > BODY_AHEAD);
            ahead |= request.spool.as_ref().is_some_and(|spool| spool.behind());
            if request.full(held) {
                full = Some(key);
            }
        }
        match full {
            // a slot that is taken waits for bytes that are behind those of one that waits for a slot
            Some(key) if awaited => self.turn_away(key, &answers::QUEUE_LIMIT),
            Some(_) => host.connection.pause(),
            None if ahead => host.connection.pause(),
            None => {}
        }
        self.rest();
    }

    /// A host took all that waited for it: its workers may be read again.
    pub(super) fn host_drained(&mut self, host: &Host) {
        host.took_all();
        host.connection.resume();
        let now = self.clock.now();
        for (_, key) in host.active.borrow().iter() {
            if let Some(link) = self
                .requests
                .get_mut(*key)
                .and_then(|request| request.link.as_ref())
            {
                link.trunk.room.set(now);
                link.trunk.connection.resume();
            }
        }
    }

    /// Keeps the machine informed of whether we wait for the host's body: that time is not the worker's.
    pub(super) fn weigh_body(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Some(link) = &request.link else { return };
        let awaited = !request.input_ended() && link.trunk.connection.waiting() == 0;
        if awaited != request.body_awaited {
            request.body_awaited = awaited;
            request.heard = self.clock.now();
            let event = if awaited {
                Event::BodyAwaited { request: key }
            } else {
                Event::BodyResumed { request: key }
            };
            self.tell(event);
        }
    }
}

/// Gives a worker a piece of the body.
pub(super) fn send_body(link: &Link, kind: RecordType, bytes: &[u8]) {
    if bytes.len() < DIRECT {
        link.trunk
            .connection
            .queue(|out| encode::stream(out, kind, link.id, bytes));
        return;
    }
    link.flush();
    for part in bytes.chunks(BODY_RECORD) {
        let length = u16::try_from(part.len()).expect("a record's part is at most 32 KiB");
        let header = Header::new(kind, link.id, length).encode();
        let parts = [IoSlice::new(&header), IoSlice::new(part)];
        link.trunk.connection.write(&parts);
    }
}

/// Tells a worker that this was the whole body.
pub(super) fn end_body(link: &Link) {
    link.body_sent.set(true);
    link.trunk
        .connection
        .queue(|out| encode::stream_end(out, RecordType::Stdin, link.id));
}
