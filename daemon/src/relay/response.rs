//! How a worker's answer comes back: its bytes go to the host as they lie in the read buffer, with the record headers put right in
//! place. Only the response head is looked at.

use std::{io::IoSlice, rc::Rc};

use stockade_policy::dispatch::{Event, RequestKey};
use stockade_protocol::{
    encode::{self, Role},
    head,
    record::{self, Fragment, HEADER_LEN, Header, RecordType},
    web_server,
};

use tokio::task;

use super::{
    access_log::Ending,
    answers::{self, Answer},
    connection::End,
    link::Link,
    own_header::passable,
    pool::State,
    probe,
    request::Request,
    response_head::gather,
};

/// What a worker may still say to a host that is gone before its connection is closed. In bytes.
const DISCARD_LIMIT: usize = 256 * 1024;
/// What every program takes in one read, or not at all: the buffer of libfcgi, less what the records of a request add. In bytes.
const ONE_READ: usize = 8 * 1024 - 128;
/// Stretches of the read buffer that one write takes.
const STRETCHES: usize = 16;

/// What of the read buffer is to go to the host, in order.
pub(super) struct Forward {
    stretches: [(usize, usize); STRETCHES],
    count: usize,
}

impl Forward {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            stretches: [(0, 0); STRETCHES],
            count: 0,
        }
    }

    /// It has to be written before more can be noted.
    pub(super) fn full(&self) -> bool {
        self.count == STRETCHES
    }

    /// A record whose header was put right.
    pub(super) fn push_record(&mut self, fragment: Fragment) {
        let content = fragment.content;
        let (start, end) = (content.start - HEADER_LEN, content.end);
        match self
            .count
            .checked_sub(1)
            .and_then(|last| self.stretches.get_mut(last))
        {
            Some(last) if last.1 == start => last.1 = end,
            _ => {
                self.stretches[self.count] = (start, end);
                self.count += 1;
            }
        }
    }
}

/// What became of a request with the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More is to come.
    Goes,
    /// The response is complete.
    Ended,
    /// It cannot be passed on, and the worker may still be at it; the cause for the 502.
    Bad(&'static str),
    /// The worker has ended the request without a response that can be passed on; the cause for the 502.
    Rejected(&'static str),
    /// The host is gone and the worker has said too much.
    Enough,
}

impl State {
    /// A piece of its answer.
    pub(super) fn take(
        &mut self,
        key: RequestKey,
        link: &Link,
        answer: web_server::Answer,
        buffer: &mut [u8],
        forward: &mut Forward,
    ) -> Step {
        match answer {
            web_server::Answer::Stdout(fragment) => self.output(key, fragment, buffer, forward),
            web_server::Answer::StdoutEnd { .. } => {
                link.output_ended.set(true);
                Step::Goes
            }
            web_server::Answer::Stderr(fragment) => {
                link.spoke.set(true);
                self.take_stderr(key, link, fragment, buffer, forward);
                Step::Goes
            }
            web_server::Answer::End {
                app_status,
                status: 0,
                ..
            } => {
                link.over.set(true);
                link.last.set(app_status != 0);
                let Some(request) = self.requests.get_mut(key) else {
                    return Step::Ended;
                };
                if request.head_sent || request.host.is_none() {
                    Step::Ended
                } else {
                    Step::Rejected("no-response-head")
                }
            }
            web_server::Answer::End { .. } => {
                link.over.set(true);
                if self.requests.get_mut(key).is_some_and(|it| it.over) {
                    Step::Ended
                } else {
                    Step::Rejected("request-rejected")
                }
            }
            web_server::Answer::Values
            | web_server::Answer::UnknownType(_)
            | web_server::Answer::Ignored => Step::Goes,
        }
    }

    /// A piece of STDOUT.
    fn output(
        &mut self,
        key: RequestKey,
        mut fragment: Fragment,
        buffer: &mut [u8],
        forward: &mut Forward,
    ) -> Step {
        let limit = self.plan.bytes.header_buffer_size;
        let Some(request) = self.requests.get_mut(key) else {
            return Step::Enough;
        };
        let Some(id) = request.host.as_ref().map(|(_, id)| *id) else {
            return self.unheard(key, fragment.content.len());
        };
        if !request.head_sent {
            let bytes = fragment.content.of(buffer);
            request.head_begun = true;
            let whole = request
                .head
                .is_empty()
                .then(|| head::find_end(bytes, 0).filter(|end| *end <= limit))
                .flatten()
                .and_then(|end| passable(&bytes[..end]).map(|status| (status, end)));
            if let Some((status, end)) = whole {
                (request.seen.status, request.seen.head) = (status, end as u64);
                if self.log_wants_head {
                    request.head.extend_from_slice(&bytes[..end]);
                }
            } else if let Some(step) = gather(request, bytes, limit) {
                return step;
            }
            request.head_sent = true;
            self.ledger.answered(request.seen.status);
            self.dispatch
                .handle(Event::HeadReceived { request: key }, self.clock.now());
            let Some((_, end)) = whole else {
                return Step::Goes;
            };
            if request.ends_at_head() {
                fragment.content.end = fragment.content.start + end;
            }
        } else if request.ends_at_head() {
            return Step::Goes;
        }
        request.seen.sent += fragment.content.len() as u64;
        put_header(buffer, RecordType::Stdout, fragment, id);
        forward.push_record(fragment);
        Step::Goes
    }

    /// A piece of STDOUT that nobody hears.
    fn unheard(&mut self, key: RequestKey, length: usize) -> Step {
        let Some(request) = self.requests.get_mut(key) else {
            return Step::Enough;
        };
        if request.over {
            return Step::Goes;
        }
        request.discarded += length;
        let discarded = request.discarded;
        if !std::mem::replace(&mut request.head_sent, true) {
            // the worker has answered all the same
            let now = self.clock.now();
            self.dispatch
                .handle(Event::HeadReceived { request: key }, now);
        }
        if discarded > DISCARD_LIMIT {
            Step::Enough
        } else {
            Step::Goes
        }
    }

    /// Writes to the host what is to go to it, with the end of the response when it is complete.
    pub(super) fn forward(
        &mut self,
        key: RequestKey,
        buffer: &[u8],
        forward: &mut Forward,
        ended: bool,
    ) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Some((host, id)) = &request.host else {
            return;
        };
        self.trailer.clear();
        if ended {
            encode::response_end(&mut self.trailer, *id, 0);
        }
        let mut parts = [IoSlice::new(&[]); STRETCHES + 1];
        let mut count = 0;
        let stretches = forward
            .stretches
            .iter()
            .take(forward.count)
            .filter_map(|&(start, end)| buffer.get(start..end));
        for (part, bytes) in parts
            .iter_mut()
            .zip(stretches.chain(ended.then_some(self.trailer.as_slice())))
        {
            *part = IoSlice::new(bytes);
            count += 1;
        }
        forward.count = 0;
        if count > 0 {
            host.connection.write(&parts[..count]);
            if !ended
                && host.connection.waiting() > self.plan.bytes.response_buffer_size
                && let Some(link) = request.link.clone()
                && (!link.trunk.multiplexes() || self.too_far_ahead(&link.trunk))
            {
                link.trunk.connection.pause();
            }
        }
    }

    /// Does what is to be done after a piece of its answer.
    pub(super) fn conclude(&mut self, key: RequestKey, link: &Link, step: Step, left_over: bool) {
        match step {
            Step::Goes => {
                if let Some(request) = self.requests.get_mut(key) {
                    request.heard = self.clock.now();
                }
                self.settle();
                let unheard = |request: &mut Request| {
                    request.host.is_none() && request.head_sent && !request.over
                };
                if self.requests.get_mut(key).is_some_and(unheard) {
                    self.part_with(key, link);
                }
            }
            Step::Ended => self.ended(key, link, left_over),
            Step::Enough => self.part_with(key, link),
            Step::Rejected(cause) => self.bad(key, cause),
            Step::Bad(cause) => {
                let answer = Answer {
                    status: 502,
                    cause,
                    retry_after: None,
                };
                self.log_answer(key, &answer);
                self.answer(key, &answer);
                self.part_with(key, link);
            }
        }
    }

    /// The response is complete; the connection is kept if nothing of the request is left on it.
    fn ended(&mut self, key: RequestKey, link: &Link, left_over: bool) {
        self.log_access(key, Ending::ANSWERED);
        self.end_slow(key);
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (host, kept) = (request.host.take(), request.link.take());
        let had_body = request.body_length > 0 || request.role == Some(Role::Filter);
        let arrived = request.arrived;
        if let Some((host, id)) = host {
            self.observe(arrived);
            self.host_answered(&host, id);
        }
        let trunk = &link.trunk;
        let tells = self
            .workers
            .get(&trunk.worker)
            .is_some_and(|worker| worker.tells);
        // whether it has read all of a body, no other worker says, and what it has not is in the way of the next request; but not of
        // one with another id
        let nothing_left = (tells || !had_body)
            && !link.last.get()
            && !left_over
            && trunk.connection.waiting() == 0
            && trunk.web_server.borrow().at_boundary();
        let clean = link.body_sent.get() && trunk.takes() && (nothing_left || trunk.multiplexes());
        trunk.used.set(true);
        match (kept, self.workers.get_mut(&trunk.worker)) {
            (Some(kept), Some(worker)) if clean && !worker.retired => {
                link.release();
                worker.idle.push(kept);
            }
            _ => link.drop_it(),
        }
        self.requests.remove(key);
        self.tell(Event::RequestEnded { request: key });
    }

    /// Closes the connection of a request that nobody waits for and the worker may still be at. Its slot is free when it takes
    /// another connection; where others share the connection, when it ends the request.
    pub(super) fn part_with(&mut self, key: RequestKey, link: &Link) {
        if link.trunk.multiplexes() {
            link.abort();
            return;
        }
        link.drop_it();
        if let Some(request) = self.requests.get_mut(key) {
            request.link = None;
        }
        let address = self
            .workers
            .get(&link.trunk.worker)
            .and_then(|worker| worker.address.clone())
            // behind an address of somebody else's there are others
            .filter(|_| self.upstream.is_none());
        match (self.me.upgrade(), address) {
            (Some(pool), Some(socket)) => {
                task::spawn_local(probe::until_free(pool, link.trunk.worker, socket, key));
            }
            _ => self.left(key),
        }
    }

    /// The worker is done with a request that nobody waited for.
    pub(super) fn left(&mut self, key: RequestKey) {
        self.end_slow(key);
        self.requests.remove(key);
        self.tell(Event::RequestEnded { request: key });
        self.rest();
    }

    fn end_link(&mut self, key: RequestKey, link: &Link) {
        self.end_slow(key);
        link.drop_it();
        self.requests.remove(key);
        self.tell(Event::RequestEnded { request: key });
    }

    /// Answers 502 for a worker whose answer cannot be passed on.
    pub(super) fn bad(&mut self, key: RequestKey, cause: &str) {
        self.answer_for_worker(
            key,
            &Answer {
                status: 502,
                cause,
                retry_after: None,
            },
        );
        self.tell(Event::RequestEnded { request: key });
    }

    /// Its connection ended by itself.
    pub(super) fn link_ended(&mut self, link: &Rc<Link>, end: End) {
        let Some(key) = link.release() else {
            return;
        };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.head_sent && link.output_ended.get() && end == End::Closed {
            // some programs leave out END_REQUEST
            self.forward(key, &[], &mut Forward::new(), true);
            self.ended(key, link, true);
        } else if request.host.is_none() {
            self.note_lost(key);
            self.end_link(key, link);
        } else if request.head_sent {
            self.answer_for_worker(key, &answers::WORKER_DIED);
            self.tell(Event::RequestEnded { request: key });
        } else {
            request.link = None;
            request.waited = true;
            let held = request.held();
            let unread = held && request.len() <= ONE_READ && link.left_unread(end);
            let sent = link.touched() && !unread;
            request.was_sent |= sent;
            if sent {
                self.note_lost(key);
            }
            self.tell(Event::RequestFailed {
                request: key,
                sent,
                held,
            });
        }
    }

    /// A worker took everything that waited for it: this request's host may send more.
    pub(super) fn body_drained(&mut self, key: RequestKey) {
        self.weigh_body(key);
        self.feed(key);
        self.rest();
        if let Some((host, _)) = self
            .requests
            .get_mut(key)
            .and_then(|request| request.host.as_ref())
        {
            host.connection.resume();
        }
    }
}

/// Gives a piece of content a header of its own, in the bytes before it: the record's header, or what the read buffer leaves free.
pub(super) fn put_header(buffer: &mut [u8], kind: RecordType, fragment: Fragment, id: u16) {
    let content = fragment.content;
    let length = u16::try_from(content.len()).expect("a fragment is a part of one record");
    let mut header = Header::new(kind, 0, length);
    header.request_id = id;
    let patched = record::patch(&mut buffer[content.start - HEADER_LEN..], header);
    debug_assert!(patched, "a header lies before every piece of content");
}
