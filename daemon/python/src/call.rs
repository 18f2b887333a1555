//! One request: the application is called (PEP 3333), its response sent.

use std::sync::Arc;

use pyo3::{
    exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit, PyTypeError},
    prelude::*,
    types::{PyDict, PyIterator, PyList, PyTuple},
};

use crate::{
    connection::Connection,
    control::{Control, Heard},
    environ::{EnvironError, Environs},
    exchange::{Fault, Shared},
    head::Head,
    input::Input,
    interrupt::{Interrupts, RequestTimeout},
    module::{Module, Seat},
    page,
    reply::Sink as _,
    report::{Report, RequestName},
    response::{StartResponse, as_block, wrong_type},
    server::{Server, Wake},
    stacks::Stacks,
};

/// What serves: the same for all threads.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) server: Server,
    pub(crate) application: Py<PyAny>,
    /// How the pool names it.
    pub(crate) target: String,
    /// The environ's constant part.
    pub(crate) base: Py<PyDict>,
    /// Where the application is mounted, without a slash at its end.
    pub(crate) mount: String,
    pub(crate) report: Arc<Report>,
    /// The application's view of all this.
    pub(crate) module: Arc<Module>,
    /// The supervisor's socket.
    pub(crate) control: Option<Arc<Control>>,
    /// Which thread is at what, when requests may have to be broken off.
    pub(crate) interrupts: Option<Interrupts>,
    /// What every thread is doing.
    pub(crate) stacks: Stacks,
}

/// A list of at most so many bytes is sent without releasing the interpreter's lock for it.
const SMALL: usize = 64 * 1024;

impl Worker {
    /// Serves in this thread until the worker is to end.
    pub(crate) fn serve(&self, py: Python<'_>) {
        let (place, seat) = match self.enter(py) {
            Ok(entered) => entered,
            Err(error) => {
                let line = "the worker ends, for it could not begin to serve";
                self.report.worker(line, Some(&error), py);
                return self.server.stop.exit(1);
            }
        };
        let mut environs = Environs::new(py, self.base.clone_ref(py), &self.mount);
        let mut answered = None;
        loop {
            let given_back = answered.take();
            match py.detach(|| self.server.next(given_back)) {
                Wake::Request(connection) => {
                    answered = Some(self.answer(py, &mut environs, connection, (place, &seat)));
                }
                Wake::Signal => self.handle_signals(py),
                Wake::Retiring => self.tell_end(py),
                Wake::Stop => return,
                Wake::Failed(error) => self.fail(py, &error),
            }
        }
    }

    /// This thread serves: its places.
    fn enter(&self, py: Python<'_>) -> PyResult<(usize, Seat)> {
        self.stacks.name_thread(py)?;
        let place = self
            .interrupts
            .as_ref()
            .map(|it| it.enter(py))
            .transpose()?;
        Ok((place.unwrap_or_default(), self.module.seat(py)?))
    }

    /// Runs the handlers of signals that arrived: ours, or the application's, which may raise.
    pub(crate) fn handle_signals(&self, py: Python<'_>) {
        if let Err(error) = py.check_signals() {
            self.report
                .worker("exception in a signal handler", Some(&error), py);
            self.end_if_asked(py, &error);
        }
    }

    /// The worker cannot go on.
    pub(crate) fn fail(&self, py: Python<'_>, error: &std::io::Error) {
        let line = format!("the worker ends, for it cannot wait for requests: {error}");
        self.report.worker(&line, None, py);
        self.server.stop.exit(1);
    }

    /// Requests whose time is over are broken off.
    pub(crate) fn break_off(&self, py: Python<'_>) {
        let Some(interrupts) = &self.interrupts else {
            return;
        };
        if let Err(error) = interrupts.interrupt(py) {
            let line = "could not break off a request whose time is over";
            self.report.worker(line, Some(&error), py);
        }
    }

    /// Tells the application that the worker is going to end, and why. In the main thread; once.
    pub(crate) fn tell_end(&self, py: Python<'_>) {
        let reason = self.cause(py).unwrap_or_else(|| self.server.stop.reason());
        self.told(py, self.module.stopping(reason, py));
    }

    /// Lets the application do what is to be done before the worker ends. In the main thread, when nothing is served any more.
    pub(crate) fn before_retire(&self, py: Python<'_>) {
        self.told(py, self.module.before_retire(py));
    }

    /// What the supervisor has given as the cause: it comes before the stop-signal, but that may overtake who reads it.
    fn cause(&self, py: Python<'_>) -> Option<&'static str> {
        let control = self.control.as_ref()?;
        loop {
            match control.hear() {
                Heard::Retire => {}
                Heard::Template => self.server.stop.request_template(),
                // who asks is told what the kernel sees
                Heard::Stacks(_) => {}
                Heard::Interrupt => self.break_off(py),
                Heard::Nothing | Heard::Gone => return control.cause(),
            }
        }
    }

    /// What callbacks of the application raise is reported where they are called: this is what gets out of that.
    fn told(&self, py: Python<'_>, done: PyResult<()>) {
        if let Err(error) = done {
            self.report
                .worker("exception in the module stockade", Some(&error), py);
            self.end_if_asked(py, &error);
        }
    }

    fn answer(
        &self,
        py: Python<'_>,
        environs: &mut Environs,
        mut connection: Box<Connection>,
        (place, seat): (usize, &Seat),
    ) -> Box<Connection> {
        let (environ, facts) = match environs.make(py, &connection.wire.request.parameters) {
            Ok(made) => made,
            Err(error) => {
                self.refuse(py, &mut connection, &error);
                return connection;
            }
        };
        if let Some(length) = facts.content_length {
            connection.wire.request.body.declare(length);
        }
        let parameters = std::mem::take(&mut connection.wire.request.parameters);
        // a seat has the places that are set: it cannot fail
        let watched = self.module.sit(seat, &environ).unwrap_or_default();
        if let Some(interrupts) = &self.interrupts {
            interrupts.begin(place, &*connection);
        }
        let exchange = Shared::new(connection, facts.head_only);
        let begun = match watched {
            true => self.module.begin(seat, py).map_err(Fault::from),
            false => Ok(()),
        };
        let outcome = begun.and_then(|()| self.run(py, environ, &exchange, &parameters));
        let interrupts = self.interrupts.as_ref();
        let interrupted = interrupts.is_some_and(|it| it.end(place, py));
        self.report_overflow(py, &exchange, &parameters);
        let mut over = false;
        if let Err(fault) = outcome {
            over = interrupted && self.reported_timeout(py, &fault, &parameters);
            if watched {
                self.tell_raised(py, seat, &exchange, &fault);
            }
            if over {
                exchange.lock(py).cut();
            } else {
                self.answer_fault(py, &exchange, &fault, &parameters);
            }
        }
        if watched {
            // the relay has answered for one that was broken off
            let status = exchange.lock(py).reply().status().filter(|_| !over);
            self.told(py, self.module.end(seat, status, py));
        }
        self.module.stand_up(seat, py).unwrap_or_default();
        let mut connection = exchange
            .lock(py)
            .end()
            .expect("nobody but this function ends an exchange");
        connection.wire.request.parameters = parameters;
        connection
    }

    /// Calls the application and sends what it returns.
    fn run(
        &self,
        py: Python<'_>,
        environ: Bound<'_, PyDict>,
        exchange: &Shared,
        parameters: &[u8],
    ) -> Result<(), Fault> {
        let input = Bound::new(py, Input::new(exchange.clone()))?;
        environ.set_item(pyo3::intern!(py, "wsgi.input"), input)?;
        let start_response = Bound::new(py, StartResponse::new(exchange.clone()))?;
        let blocks = self.application.bind(py).call1((environ, start_response))?;
        if let Ok(list) = blocks.cast_exact::<PyList>() {
            return send_all(py, exchange, &list.to_tuple());
        }
        if let Ok(tuple) = blocks.cast_exact::<PyTuple>() {
            return send_all(py, exchange, tuple);
        }
        let sent = self
            .body(&blocks)
            .and_then(|body| send_each(py, exchange, &body));
        let closed = match blocks.getattr_opt(pyo3::intern!(py, "close")) {
            Ok(Some(close)) => close.call0().map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match (sent, closed) {
            // the response is complete all the same
            (Ok(()), Err(error)) => {
                let name = RequestName::of(parameters);
                drop(self.report.exception(&name, &error, py));
                self.end_if_asked(py, &error);
                Ok(())
            }
            (Err(fault), Err(error)) => {
                let name = RequestName::of(parameters);
                drop(self.report.exception(&name, &error, py));
                Err(fault)
            }
            (sent, Ok(())) => sent,
        }
    }

    /// What the application returned, block by block.
    fn body<'py>(&self, returned: &Bound<'py, PyAny>) -> Result<Bound<'py, PyIterator>, Fault> {
        let py = returned.py();
        returned.try_iter().map_err(|error| {
            // with a traceback it is the application's own
            if error.traceback(py).is_some() || !error.is_instance_of::<PyTypeError>(py) {
                return Fault::from(error);
            }
            let demand = format!(
                "the application {} must return an iterable of bytes",
                self.target
            );
            Fault::from(wrong_type(&demand, returned))
        })
    }

    /// What went wrong is reported, and the client gets an error, or a response that is cut when a part of it is out.
    fn answer_fault(&self, py: Python<'_>, exchange: &Shared, fault: &Fault, parameters: &[u8]) {
        let name = RequestName::of(parameters);
        let (sent, gone) = {
            let mut state = exchange.lock(py);
            (state.reply().sent(), state.gone())
        };
        let told = match fault {
            // that the client left is no fault of the application
            Fault::Raised(error) if gone && error.is_instance_of::<PyOSError>(py) => None,
            Fault::Gone(_) => None,
            Fault::Raised(error) => {
                let told = self.report.exception(&name, error, py);
                self.end_if_asked(py, error);
                told
            }
            Fault::Short(owed) => {
                let line = format!(
                    "the response's body ended {owed} bytes before its Content-Length, the response is cut"
                );
                self.report.response(&name, &line, py);
                None
            }
        };
        let mut state = exchange.lock(py);
        let (head, body) = page::failure(name.id.as_deref(), told.as_deref(), parameters);
        if !sent && !gone && send_error(&mut state, head, &body).is_ok() {
            return;
        }
        state.cut();
    }

    fn report_overflow(&self, py: Python<'_>, exchange: &Shared, parameters: &[u8]) {
        let overflowed = exchange.lock(py).reply().overflowed();
        if overflowed {
            let fault =
                "the response's body is longer than its Content-Length, the rest is dropped";
            self.report
                .response(&RequestName::of(parameters), fault, py);
        }
    }

    /// Tells who wants to know it what the application raised.
    fn tell_raised(&self, py: Python<'_>, seat: &Seat, exchange: &Shared, fault: &Fault) {
        let Fault::Raised(error) = fault else {
            return;
        };
        // that the client left is no fault of the application
        if !(exchange.lock(py).gone() && error.is_instance_of::<PyOSError>(py)) {
            self.told(py, self.module.raised(seat, error, py));
        }
    }

    /// Whether the request was broken off: then it is told where it was.
    fn reported_timeout(&self, py: Python<'_>, fault: &Fault, parameters: &[u8]) -> bool {
        match fault {
            Fault::Raised(error) if error.is_instance_of::<RequestTimeout>(py) => {
                self.report
                    .interrupted(&RequestName::of(parameters), error, py);
                true
            }
            Fault::Raised(_) | Fault::Gone(_) | Fault::Short(_) => false,
        }
    }

    /// The application has nothing to do with the request: the parameters cannot be understood, or are for another place.
    fn refuse(&self, py: Python<'_>, connection: &mut Connection, error: &EnvironError) {
        let name = RequestName::of(&connection.wire.request.parameters);
        let response: &[u8] = match error {
            EnvironError::Parameters(error) => {
                self.report.response(&name, &error.to_string(), py);
                b"Status: 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nBad Request\n"
            }
            EnvironError::Elsewhere => {
                let line = format!(
                    "the request is not for a path below mount = {:?}",
                    self.mount
                );
                self.report.response(&name, &line, py);
                b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nNot Found\n"
            }
            EnvironError::Python(error) => {
                drop(self.report.exception(&name, error, py));
                b"Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nInternal Server Error\n"
            }
        };
        if connection.stdout(response).is_err() {
            connection.wire.cut();
        }
    }

    /// `sys.exit()` in the application ends the worker.
    fn end_if_asked(&self, py: Python<'_>, error: &PyErr) {
        if error.is_instance_of::<PySystemExit>(py) {
            let code = error.value(py).getattr("code");
            let status = match code {
                Ok(code) if code.is_none() => 0,
                Ok(code) => code.extract().unwrap_or(1),
                Err(_) => 1,
            };
            self.server.stop.exit(status);
        } else if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            self.server.stop.exit(1);
        }
    }
}

/// A body that is there as a whole.
fn send_all(py: Python<'_>, exchange: &Shared, blocks: &Bound<'_, PyTuple>) -> Result<(), Fault> {
    let mut total = 0;
    for block in blocks {
        total += as_block(&block)?.as_bytes().len();
    }
    let mut state = exchange.lock(py);
    state.reply().announce(total as u64);
    for block in blocks {
        let bytes = as_block(&block)?.as_bytes();
        if total <= SMALL {
            state.block(bytes)?;
        } else {
            let state = &mut *state;
            py.detach(|| state.block(bytes))?;
        }
    }
    state.complete()
}

/// A body that comes block by block: each is on its way before the next is asked for.
fn send_each(
    py: Python<'_>,
    exchange: &Shared,
    blocks: &Bound<'_, PyIterator>,
) -> Result<(), Fault> {
    for block in blocks {
        let block = block?;
        let bytes = as_block(&block)?.as_bytes();
        if !bytes.is_empty() {
            let mut state = exchange.lock(py);
            let state = &mut *state;
            py.detach(|| state.block(bytes).and_then(|()| state.flush()))?;
        }
    }
    let mut state = exchange.lock(py);
    let state = &mut *state;
    py.detach(|| state.complete().and_then(|()| state.flush()))
}

/// The answer to a request whose application failed before the head was sent.
fn send_error(
    exchange: &mut crate::exchange::Exchange,
    head: Head,
    body: &str,
) -> Result<(), Fault> {
    exchange.reply().restart(head);
    exchange.reply().announce(body.len() as u64);
    exchange.block(body.as_bytes())?;
    exchange.complete()
}
