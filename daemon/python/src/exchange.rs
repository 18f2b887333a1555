//! One request and its response while the application runs: what `wsgi.input`, `start_response`, `write` and the caller share.
//!
//! The connection belongs to the exchange until the request is answered; an application that keeps `wsgi.input` longer finds it over.
//! The lock is never held while Python code runs.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pyo3::{exceptions, prelude::*, sync::MutexExt};

use crate::{
    body::Body,
    connection::Connection,
    reply::{Reply, ReplyError},
};

/// An exchange as Python objects hold it.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Exchange>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// None: the request is over.
    connection: Option<Box<Connection>>,
    reply: Reply,
    /// The peer cannot be reached: nothing is written any more.
    gone: bool,
}

/// Why an exchange cannot go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The application raised, or did what PEP 3333 forbids.
    Raised(PyErr),
    /// The client, or the relay, went away.
    Gone(io::Error),
    /// The body ended so many bytes before its `Content-Length`.
    Short(u64),
}

impl Shared {
    pub(crate) fn new(connection: Box<Connection>, head_only: bool) -> Self {
        Self(Arc::new(Mutex::new(Exchange {
            connection: Some(connection),
            reply: Reply::new(head_only),
            gone: false,
        })))
    }

    /// The exchange. The interpreter's lock is released while another thread has it.
    pub(crate) fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Exchange> {
        self.0
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    /// The response as far as it is out.
    pub(crate) fn reply(&mut self) -> &mut Reply {
        &mut self.reply
    }

    pub(crate) fn gone(&self) -> bool {
        self.gone
    }

    /// The response cannot be ended: the peer must see that it was cut.
    pub(crate) fn cut(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.wire.cut();
        }
    }

    /// The request is over.
    pub(crate) fn end(&mut self) -> Option<Box<Connection>> {
        self.connection.take()
    }

    /// A block of the body; the head goes first. What is small waits for [`flush`](Self::flush).
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<(), Fault> {
        let connection = self.connection.as_deref_mut().ok_or_else(over)?;
        let done = self.reply.block(block, connection);
        self.note(done)
    }

    /// The body is complete.
    pub(crate) fn complete(&mut self) -> Result<(), Fault> {
        let connection = self.connection.as_deref_mut().ok_or_else(over)?;
        let done = self.reply.complete(connection);
        self.note(done)
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        let written = self.connection()?.flush();
        self.note(written.map_err(ReplyError::Write))
    }

    /// The request's body, after reading until what is available is enough for `satisfied`, or it is complete.
    pub(crate) fn body(
        &mut self,
        py: Python<'_>,
        mut satisfied: impl FnMut(&[u8]) -> bool,
    ) -> PyResult<&mut Body> {
        loop {
            let connection = self.connection()?;
            let body = &connection.wire.request.body;
            if body.complete() || satisfied(body.available()) {
                break;
            }
            if connection.wire.request.aborted {
                return Err(client_left(
                    "the client went away before its request was complete",
                ));
            }
            // what the peer waits for must be out before we wait for it
            let read = py.detach(|| connection.flush().and_then(|()| connection.receive()));
            match read {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Ok(false) | Err(_) => {
                    self.gone = true;
                    return Err(client_left(
                        "the client went away before its request was complete",
                    ));
                }
            }
        }
        let body = &mut self.connection()?.wire.request.body;
        if let Some(missing) = body.missing()
            && !satisfied(body.available())
        {
            return Err(client_left(&format!(
                "the request's body ended {missing} bytes before its CONTENT_LENGTH"
            )));
        }
        Ok(body)
    }

    fn connection(&mut self) -> Result<&mut Connection, Fault> {
        self.connection.as_deref_mut().ok_or_else(over)
    }

    fn note(&mut self, done: Result<(), ReplyError>) -> Result<(), Fault> {
        done.map_err(|error| match error {
            ReplyError::Unstarted => Fault::Raised(unstarted()),
            ReplyError::Short(owed) => Fault::Short(owed),
            ReplyError::Write(error) => {
                self.gone = true;
                Fault::Gone(error)
            }
        })
    }
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Raised(error) => error,
            Fault::Gone(error) => error.into(),
            Fault::Short(owed) => exceptions::PyValueError::new_err(format!(
                "the response's body ended {owed} bytes before its Content-Length"
            )),
        }
    }
}

fn client_left(message: &str) -> PyErr {
    exceptions::PyOSError::new_err(message.to_owned())
}

fn over() -> Fault {
    Fault::Raised(exceptions::PyValueError::new_err("the request is over"))
}

/// A WSGI application's.
pub(crate) fn unstarted() -> PyErr {
    let message = "the application sent its response without calling start_response";
    exceptions::PyAssertionError::new_err(message)
}
