//! One request's way to its worker: an id on a connection ([`super::trunk`]), used again where nothing of the request was left on it.

use std::{cell::Cell, rc::Rc};

use stockade_policy::dispatch::RequestKey;
use stockade_protocol::encode;

use super::{connection::End, trunk::Trunk};

/// An id on a connection to a worker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) trunk: Rc<Trunk>,
    pub(super) id: u16,
    /// What runs on it.
    pub(super) request: Cell<Option<RequestKey>>,
    /// The end of the request's body was queued, or no more of it is to be.
    pub(super) body_sent: Cell<bool>,
    /// Bytes of a body in a file that were given to it.
    pub(super) fed: Cell<u64>,
    /// The worker said, by an exit status, that it does not use the connection again.
    pub(super) last: Cell<bool>,
    /// The worker has said something of the request: it has begun with it.
    pub(super) spoke: Cell<bool>,
    /// The worker has ended the STDOUT stream.
    pub(super) output_ended: Cell<bool>,
    /// The worker has ended the request.
    pub(super) over: Cell<bool>,
    /// The worker was told that nobody waits for the answer.
    aborted: Cell<bool>,
    /// What the connection will have sent before the request.
    start: Cell<u64>,
}

impl Link {
    /// A new id.
    pub(super) fn new(trunk: &Rc<Trunk>, id: u16) -> Rc<Self> {
        Rc::new(Self {
            trunk: Rc::clone(trunk),
            id,
            request: Cell::new(None),
            body_sent: Cell::new(false),
            fed: Cell::new(0),
            last: Cell::new(false),
            spoke: Cell::new(false),
            output_ended: Cell::new(false),
            over: Cell::new(false),
            aborted: Cell::new(false),
            start: Cell::new(0),
        })
    }

    /// Makes it ready for a request.
    pub(super) fn begin(&self, request: RequestKey) {
        self.trunk.begun(self.id);
        self.request.set(Some(request));
        self.body_sent.set(false);
        self.fed.set(0);
        self.spoke.set(false);
        self.output_ended.set(false);
        self.over.set(false);
        let connection = &self.trunk.connection;
        self.start
            .set(connection.sent() + connection.waiting() as u64);
        connection.resume();
    }

    /// Writes what waits.
    pub(super) fn flush(&self) {
        self.trunk.connection.flush();
    }

    /// The kernel took bytes of the request.
    pub(super) fn touched(&self) -> bool {
        self.trunk.connection.sent() > self.start.get()
    }

    /// Whether a body in a file goes on here behind `offset`.
    pub(super) fn wants(&self, offset: u64) -> bool {
        self.fed.get() == offset && !self.body_sent.get()
    }

    /// The worker ended by itself, as a program does that is to serve so many requests and no more, and left something unread that we
    /// had sent: the kernel says so by a reset. What a program takes in one read was then not begun. Of several requests
    /// there is no telling which.
    pub(super) fn left_unread(&self, end: End) -> bool {
        let silent = end == End::Broken && !self.spoke.get();
        silent && !self.trunk.multiplexes() && self.trunk.ended_by_itself()
    }

    /// The request on it is over.
    pub(super) fn release(&self) -> Option<RequestKey> {
        let request = self.request.take();
        if request.is_some() {
            self.trunk.released();
        }
        request
    }

    /// Tells the worker, which shares the connection among requests, that nobody waits for this one. Its end is waited for.
    pub(super) fn abort(&self) {
        if self.aborted.replace(true) {
            return;
        }
        self.body_sent.set(true);
        self.trunk.retire();
        let connection = &self.trunk.connection;
        connection.queue(|out| encode::abort_request(out, self.id));
        connection.flush();
        connection.resume();
    }

    /// Lets go of it: the worker sees the connection closed or, where other requests share it, this one aborted.
    pub(super) fn drop_it(&self) {
        let had = self.release();
        if self.trunk.idle() || !self.trunk.multiplexes() {
            self.trunk.close();
            return;
        }
        self.trunk.web_server.borrow_mut().forget(self.id);
        if had.is_some() && !self.over.get() {
            self.abort();
        }
        self.trunk.retire();
    }
}
