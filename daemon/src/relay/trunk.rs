//! A connection to a worker, kept for the next request where the worker keeps it. One request at a time, or with `multiplex` many.
//!
//! Each request has a [`Link`], an id that is used again. A connection on which a request did not come to a good end takes no new
//! one, so that nothing which still comes of the old one (Go's net/http/fcgi ends a request that was aborted twice) is
//! taken for another's; it is closed when the last that it has is over.

use std::{
    cell::{Cell, RefCell},
    io, iter,
    rc::Rc,
    time::Duration,
};

use stockade_policy::{Time, WorkerId};
use stockade_protocol::web_server::WebServer;
use tokio::{sync::Notify, time::timeout};

use super::{
    connection::{Connection, End, Peer, drive},
    link::Link,
    pool::{Pool, Worker},
};

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

/// One connection.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) connection: Connection,
    pub(super) worker: WorkerId,
    /// The connection may not have come about when it was made.
    under_way: bool,
    /// News of the worker's end come: it is no process of somebody else's.
    ours: bool,
    /// It takes several requests at a time.
    multiplexes: bool,
    obituary: Rc<Obituary>,
    /// Reads what the worker sends.
    pub(super) web_server: RefCell<WebServer>,
    /// By their ids, which begin at 1; one, unless it multiplexes.
    links: RefCell<Vec<Rc<Link>>>,
    /// How many of them run something.
    busy: Cell<usize>,
    /// It takes no new request.
    retired: Cell<bool>,
    /// When there was room for the worker's bytes again after there was none.
    pub(super) room: Cell<Time>,
    /// It has served a request.
    pub(super) used: Cell<bool>,
    /// The pool has let go of it: whatever still comes is of no interest.
    dropped: Cell<bool>,
    pool: Rc<Pool>,
}

impl Trunk {
    /// Connects to a worker.
    pub(super) fn connect(
        pool: &Rc<Pool>,
        worker: WorkerId,
        known: &Worker,
    ) -> io::Result<Rc<Self>> {
        let address = known.address.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let trunk = Rc::new(Self {
            connection: Connection::new(address.connect()?)?,
            worker,
            under_way: address.takes_time(),
            ours: known.pid != 0,
            multiplexes: known.multiplexes,
            obituary: Rc::clone(&known.obituary),
            web_server: RefCell::new(WebServer::new()),
            links: RefCell::default(),
            busy: Cell::new(0),
            retired: Cell::new(false),
            room: Cell::default(),
            used: Cell::new(false),
            dropped: Cell::new(false),
            pool: Rc::clone(pool),
        });
        tokio::task::spawn_local(run(Rc::clone(&trunk)));
        Ok(trunk)
    }

    /// A way for one more request at a time; none when there is no id left.
    pub(super) fn link(self: &Rc<Self>) -> Option<Rc<Link>> {
        let mut links = self.links.borrow_mut();
        let id = u16::try_from(links.len() + 1).ok()?;
        let link = Link::new(self, id);
        links.push(Rc::clone(&link));
        Some(link)
    }

    /// The link with this id.
    pub(super) fn link_of(&self, id: u16) -> Option<Rc<Link>> {
        let index = usize::from(id).checked_sub(1)?;
        self.links.borrow().get(index).cloned()
    }

    /// The links that run something. Any of them may end, and others begin, between two of them.
    pub(super) fn running(&self) -> impl Iterator<Item = Rc<Link>> {
        let mut behind = 0;
        iter::from_fn(move || {
            let links = self.links.borrow();
            let mut links = links.iter().skip(behind);
            let link = links.find(|link| link.request.get().is_some())?;
            behind = usize::from(link.id);
            Some(Rc::clone(link))
        })
    }

    /// It takes several requests at a time.
    pub(super) const fn multiplexes(&self) -> bool {
        self.multiplexes
    }

    /// It may be given requests.
    pub(super) fn takes(&self) -> bool {
        !self.retired.get() && !self.connection.deaf()
    }

    /// Nothing runs on it.
    pub(super) fn idle(&self) -> bool {
        self.busy.get() == 0
    }

    /// The pool has let go of it.
    pub(super) fn dropped(&self) -> bool {
        self.dropped.get()
    }

    /// A request begins.
    pub(super) fn begun(&self, id: u16) {
        self.web_server.borrow_mut().begin(id);
        self.busy.set(self.busy.get() + 1);
    }

    /// A request is over. It may have been the one whose host had too much before it; where that is true of another, its next bytes
    /// show it.
    pub(super) fn released(&self) {
        self.busy.set(self.busy.get() - 1);
        if self.multiplexes {
            self.connection.resume();
        }
    }

    /// It is to take no new request, and is closed when the last it has is over.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        if self.idle() {
            self.close();
        }
    }

    /// The worker sees it closed.
    pub(super) fn close(&self) {
        self.retired.set(true);
        self.dropped.set(true);
        self.connection.abort();
    }

    /// The worker is gone, and ended with status 0.
    pub(super) fn ended_by_itself(&self) -> bool {
        self.obituary.done.get() == Some(true)
    }

    /// Waits for a connection that is under way; one that does not come about is no connection.
    async fn came_about(self: &Rc<Self>) -> bool {
        let limit = self.pool.state().plan.connect_timeout;
        let error = match timeout(limit, self.connection.established()).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.pool.state().trunk_refused(self, &error);
        false
    }

    async fn live(self: &Rc<Self>) {
        if self.under_way && !self.came_about().await {
            return;
        }
        let end = drive(&**self).await;
        if end == End::Done {
            return;
        }
        // it is not given more while the news is waited for
        self.retired.set(true);
        if self.ours && self.pool.state().unanswered(self) {
            // either way it is known by then
            timeout(OBITUARY, self.obituary.wait())
                .await
                .unwrap_or_default();
        }
        self.pool.state().trunk_ended(self, end);
    }
}

async fn run(trunk: Rc<Trunk>) {
    trunk.live().await;
    trunk.pool.state().forget_idle(&trunk);
    // they hold it, as it holds them
    trunk.links.take();
}

impl Peer for Trunk {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn bytes(&self, buffer: &mut [u8]) {
        if !self.dropped.get() {
            self.pool.state().worker_bytes(self, buffer);
        }
    }

    fn drained(&self) {
        self.pool.state().worker_drained(self);
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
