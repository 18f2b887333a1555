//! A host's connection: from its bytes to what happens to its requests.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
};

use stockade_policy::dispatch::RequestKey;
use stockade_protocol::{
    application::{Application, ApplicationError, Event, Limits},
    encode::{self, ProtocolStatus},
    record::HEADER_LEN,
    values::Values,
};

use super::{
    connection::{Connection, End, Peer, drive},
    listener::Place,
    pool::{Pool, State},
    socket_timeout::Watch,
};

/// Requests at a time on one connection.
const REQUESTS_LIMIT: usize = 256;

/// A host is not read while it has not taken so much of what we say to it beside answers. In bytes.
const REPLIES: usize = 64 * 1024;

/// One connection of a host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) connection: Connection,
    /// It can be reset.
    pub(super) tcp: bool,
    /// The number of the address that it has connected to.
    pub(super) address: u32,
    application: RefCell<Application>,
    /// Ids whose answer has been written, to be told to `application` when it is not busy.
    finished: RefCell<Vec<u16>>,
    /// The requests that have not ended, by their ids.
    pub(super) active: RefCell<Vec<(u16, RequestKey)>>,
    /// What we have said to it beside answers since it last took everything, in bytes.
    replied: Cell<usize>,
    /// For `socket-timeout`.
    pub(super) watch: Cell<Watch>,
    /// A response on it was cut: it ends with its other requests.
    pub(super) cut: Cell<bool>,
    /// Its place in the pool's list.
    pub(super) number: Cell<usize>,
    _place: Place,
    pool: Rc<Pool>,
}

impl Host {
    /// Serves a connection that was accepted, in a task of its own.
    pub(super) fn serve(
        pool: &Rc<Pool>,
        socket: OwnedFd,
        (address, tcp): (u32, bool),
        place: Place,
    ) -> io::Result<()> {
        let limits = limits(pool.state().plan.bytes.header_limit);
        let host = Rc::new(Self {
            connection: Connection::new(socket)?,
            tcp,
            address,
            application: RefCell::new(Application::new(limits)),
            finished: RefCell::default(),
            active: RefCell::default(),
            replied: Cell::new(0),
            watch: Cell::default(),
            cut: Cell::new(false),
            number: Cell::new(0),
            _place: place,
            pool: Rc::clone(pool),
        });
        pool.state().host_came(&host);
        tokio::task::spawn_local(run(HostTask(host)));
        Ok(())
    }

    /// The request of `id`, if it is active.
    pub(super) fn request(&self, id: u16) -> Option<RequestKey> {
        self.active
            .borrow()
            .iter()
            .find(|(active, _)| *active == id)
            .map(|(_, key)| *key)
    }

    /// The request at this place of the list of active ones.
    pub(super) fn active_at(&self, index: usize) -> Option<RequestKey> {
        self.active.borrow().get(index).map(|(_, key)| *key)
    }

    /// The answer to `id` was written: the connection is ready for more, or is to be closed.
    pub(super) fn answered(&self, id: u16) {
        self.active.borrow_mut().retain(|(active, _)| *active != id);
        self.finished.borrow_mut().push(id);
        self.settle();
        self.break_off_if_alone();
    }

    /// Tells the decoder what was answered, unless it is just now in use (then its user does).
    fn settle(&self) {
        let Ok(mut application) = self.application.try_borrow_mut() else {
            return;
        };
        for id in self.finished.borrow_mut().drain(..) {
            let heard_out = application.input_ended(id);
            if application.finished(id) {
                if heard_out {
                    self.connection.close();
                } else {
                    self.connection.end_output();
                }
            }
        }
    }

    /// Writes something short that is no answer to a request.
    pub(super) fn reply(&self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.connection.waiting() == 0 {
            self.replied.set(0);
        }
        self.connection.queue(|out| {
            let before = out.len();
            put(out);
            self.replied.set(self.replied.get() + out.len() - before);
        });
        self.connection.flush();
    }

    /// It asks, or lets itself be refused, and does not read.
    pub(super) fn does_not_take_replies(&self) -> bool {
        self.replied.get() > REPLIES && self.connection.waiting() > REPLIES
    }

    /// It took everything.
    pub(super) fn took_all(&self) {
        self.replied.set(0);
    }

    /// There is a part of an answer in what it does not take.
    pub(super) fn is_owed_an_answer(&self) -> bool {
        self.connection.waiting() > self.replied.get()
    }

    /// Something has begun that is not a request yet.
    pub(super) fn has_begun(&self) -> bool {
        let application = self.application.try_borrow();
        application.is_ok_and(|application| !application.idle())
    }

    /// Nothing of a request is here, begun or running.
    fn idle(&self) -> bool {
        self.active.borrow().is_empty() && self.connection.waiting() == 0 && !self.has_begun()
    }
}

/// The connection's task: it owns the only way from the reader to the pool.
struct HostTask(Rc<Host>);

async fn run(task: HostTask) {
    let end = drive(&task).await;
    let host = task.0;
    tracing::trace!(
        "pool {}: a host's connection ended: {end:?}",
        host.pool.name
    );
    host.pool.state().host_left(&host);
}

impl Peer for HostTask {
    fn connection(&self) -> &Connection {
        &self.0.connection
    }

    fn bytes(&self, buffer: &mut [u8]) {
        let host = &self.0;
        if !host.connection.open() {
            return;
        }
        let mut state = host.pool.state();
        let mut input = &buffer[HEADER_LEN..];
        let limits = limits(state.plan.bytes.header_limit);
        host.application.borrow_mut().set_limits(limits);
        loop {
            let mut application = host.application.borrow_mut();
            match application.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => take(&mut state, host, event),
                Err(error) => {
                    state.malformed(host, &error);
                    break;
                }
            }
            drop(application);
            host.settle();
        }
        state.host_read(host);
    }

    fn drained(&self) {
        self.0.pool.state().host_drained(&self.0);
    }

    fn write_failed(&self) -> bool {
        true
    }

    fn leaves_when_closed(&self) -> bool {
        true
    }

    fn moved(&self) -> bool {
        let host = &self.0;
        host.pool.handing_over() && host.idle() && host.pool.state().hand_host(host)
    }

    fn starved(&self) -> Option<End> {
        let over = self.0.pool.state().lets_go(&self.0) && self.0.idle();
        (over && !self.0.connection.has_input()).then_some(End::Done)
    }
}

const fn limits(params: usize) -> Limits {
    Limits {
        params,
        requests: REQUESTS_LIMIT,
    }
}

fn take(state: &mut State, host: &Rc<Host>, event: Event<'_>) {
    match event {
        Event::Begin {
            id,
            role,
            keep_conn,
        } => state.begin(host, id, role, keep_conn),
        Event::Params { id, bytes } => state.params(host, id, bytes),
        Event::ParamsEnd { id } => state.params_end(host, id),
        Event::ParamsUnfinished { id } => state.params_unfinished(host, id),
        Event::ParamsTooLong { id } => state.params_too_long(host, id),
        Event::Stdin { id, bytes } => state.body(host, id, bytes),
        Event::StdinEnd { id } => state.body_end(host, id),
        Event::Data { id, bytes } => state.file(host, id, bytes),
        Event::DataEnd { id } => state.file_end(host, id),
        Event::Abort { id } => state.abort(host, id),
        Event::UnknownRole { id } => state.reject(host, id, ProtocolStatus::UnknownRole),
        Event::TooManyRequests { id } => state.reject(host, id, ProtocolStatus::CantMpxConn),
        Event::GetValues { pairs } => get_values(host, &pairs),
        Event::UnknownType { kind } => {
            host.reply(|out| encode::unknown_type(out, kind));
        }
    }
}

fn get_values(host: &Host, asked: &[u8]) {
    let values = Values {
        max_conns: Some(1024),
        max_reqs: u32::try_from(REQUESTS_LIMIT).ok(),
        mpxs_conns: Some(true),
    };
    host.reply(|out| values.answer(out, asked));
}

impl State {
    /// What comes is not FastCGI.
    fn malformed(&mut self, host: &Host, error: &ApplicationError) {
        if let Some(more) = self.malformed_hosts.happened(self.clock.now()) {
            let name = self.name();
            tracing::warn!("pool {name}: closing a host's connection: {error}{more}");
        }
        host.connection.close();
    }
}
