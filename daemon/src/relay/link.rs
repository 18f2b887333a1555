//! A connection to a worker: one request at a time, kept for the next where the worker keeps it.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use stockade_policy::{Time, WorkerId, dispatch::RequestKey};
use stockade_protocol::web_server::WebServer;
use tokio::{sync::Notify, time::timeout};

use super::{
    connection::{Connection, End, Peer, drive},
    pool::{Pool, Worker},
};

/// The id of every request on a connection to a worker.
pub(super) const ID: u16 = 1;

/// How long a connection that ended without an answer waits for the news that its worker is gone. A worker dies a little after its
/// connections; what it leaves behind must not be given to it again.
const OBITUARY: Duration = Duration::from_secs(1);

/// The news of a worker's end, for its connections, which may end a little before or after it.
#[derive(Debug, Default)]
pub(super) struct Obituary {
    /// How it ended, when it has: by itself, with status 0.
    done: Cell<Option<bool>>,
    published: Notify,
}

impl Obituary {
    /// Its process is gone.
    pub(super) fn publish(&self, done: bool) {
        self.done.set(Some(done));
        self.published.notify_waiters();
    }

    fn published(&self) -> bool {
        self.done.get().is_some()
    }

    async fn wait(&self) {
        if self.done.get().is_none() {
            self.published.notified().await;
        }
    }
}

/// One connection to a worker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) worker: WorkerId,
    /// The connection may not have come about when it was made.
    under_way: bool,
    /// News of the worker's end come: it is no process of somebody else's.
    ours: bool,
    obituary: Rc<Obituary>,
    /// Reads what the worker sends.
    pub(super) web_server: RefCell<WebServer>,
    /// What it runs.
    pub(super) request: Cell<Option<RequestKey>>,
    /// The end of the request's body was queued.
    pub(super) body_sent: Cell<bool>,
    /// Bytes of a body in a file that were given to it.
    pub(super) fed: Cell<u64>,
    /// The worker said, by an exit status, that it does not use the connection again.
    pub(super) last: Cell<bool>,
    /// The worker has ended the STDOUT stream.
    pub(super) output_ended: Cell<bool>,
    /// The kernel took bytes of the request.
    pub(super) touched: Cell<bool>,
    /// When there was room for the worker's bytes again after there was none.
    pub(super) room: Cell<Time>,
    /// It has served a request before.
    pub(super) used: Cell<bool>,
    /// The pool has let go of it: whatever still comes is of no interest.
    pub(super) dropped: Cell<bool>,
    pool: Rc<Pool>,
}

impl Link {
    /// Connects to a worker.
    pub(super) fn connect(
        pool: &Rc<Pool>,
        worker: WorkerId,
        known: &Worker,
    ) -> io::Result<Rc<Self>> {
        let address = known.address.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let link = Rc::new(Self {
            connection: Connection::new(address.connect()?)?,
            under_way: address.takes_time(),
            ours: known.pid != 0,
            worker,
            obituary: Rc::clone(&known.obituary),
            web_server: RefCell::new(WebServer::new()),
            request: Cell::new(None),
            body_sent: Cell::new(false),
            fed: Cell::new(0),
            last: Cell::new(false),
            output_ended: Cell::new(false),
            touched: Cell::new(false),
            room: Cell::default(),
            used: Cell::new(false),
            dropped: Cell::new(false),
            pool: Rc::clone(pool),
        });
        tokio::task::spawn_local(run(Rc::clone(&link)));
        Ok(link)
    }

    /// Makes it ready for a request.
    pub(super) fn begin(&self, request: RequestKey) {
        self.web_server.borrow_mut().begin(ID);
        self.request.set(Some(request));
        self.body_sent.set(false);
        self.fed.set(0);
        self.output_ended.set(false);
        self.touched.set(false);
        self.connection.resume();
    }

    /// Writes what waits, and notes whether the worker may have seen any of it.
    pub(super) fn flush(&self) {
        if self.connection.flush() > 0 {
            self.touched.set(true);
        }
    }

    /// The worker ended by itself, as a program does that is to serve so many requests and no more, and left something unread that we
    /// had sent: the kernel says so by a reset. What a program takes in one read was then not begun.
    pub(super) fn left_unread(&self, end: End) -> bool {
        end == End::Broken && self.obituary.done.get() == Some(true)
    }

    /// Waits for a connection that is under way; one that does not come about is no connection.
    async fn came_about(self: &Rc<Self>) -> bool {
        let limit = self.pool.state().plan.connect_timeout;
        let error = match timeout(limit, self.connection.established()).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.pool.state().link_refused(self, &error);
        false
    }

    /// Lets go of it: the worker sees the connection closed.
    pub(super) fn drop_it(&self) {
        self.request.set(None);
        self.dropped.set(true);
        self.connection.abort();
    }
}

async fn run(link: Rc<Link>) {
    if link.under_way && !link.came_about().await {
        return;
    }
    let end = drive(&*link).await;
    if end == End::Done {
        return;
    }
    if link.ours && link.pool.state().unanswered(&link) {
        // either way it is known by then
        timeout(OBITUARY, link.obituary.wait())
            .await
            .unwrap_or_default();
    }
    link.pool.state().link_ended(&link, end);
}

impl Peer for Link {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn bytes(&self, buffer: &mut [u8]) {
        if !self.dropped.get() {
            self.pool.state().link_bytes(self, buffer);
        }
    }

    fn drained(&self) {
        self.touched.set(true);
        self.pool.state().link_drained(self);
    }

    fn write_failed(&self) -> bool {
        // what the worker answered before it stopped reading is still to be read
        self.dropped.get()
    }

    fn leaves_when_closed(&self) -> bool {
        false
    }

    fn starved(&self) -> Option<End> {
        // what a dead worker had said is here; another process may still hold its end of the connection open
        (self.obituary.published() && !self.connection.has_input()).then_some(End::Closed)
    }
}
