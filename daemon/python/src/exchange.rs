//! One request and its response while the application runs: what `wsgi.input`, `start_response`, `write` and the caller share.
//!
//! The connection belongs to the exchange until the request is answered; an application that keeps `wsgi.input` longer finds it over.
//! The lock is never held while Python code runs.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pyo3::{exceptions, prelude::*, sync::MutexExt};

use crate::{body::Body, connection::Connection, head::Head};

/// A body up to this goes into one record with the head.
const JOINED: usize = 16 * 1024;

/// An exchange as Python objects hold it.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Exchange>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// None: the request is over.
    connection: Option<Box<Connection>>,
    /// What `start_response` was given.
    head: Option<Head>,
    /// The head is on its way: it can be neither replaced nor taken back.
    sent: bool,
    /// The method is HEAD: nothing of the body is sent.
    head_only: bool,
    /// The length of the whole body, when it is known before the head is sent.
    total: Option<u64>,
    /// How many bytes `Content-Length` still allows.
    owed: Option<u64>,
    /// The application gave more than its `Content-Length`.
    overflowed: bool,
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
            head: None,
            sent: false,
            head_only,
            total: None,
            owed: None,
            overflowed: false,
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
    /// `start_response` was called with what became `head`.
    pub(crate) fn start(&mut self, head: Head) {
        self.head = Some(head);
    }

    pub(crate) fn started(&self) -> bool {
        self.head.is_some()
    }

    pub(crate) fn sent(&self) -> bool {
        self.sent
    }

    pub(crate) fn gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The whole body will be `length` bytes.
    pub(crate) fn announce(&mut self, length: u64) {
        self.total = Some(length);
    }

    /// Forgets what `start_response` was given, so that another response can be given instead. Only before the head is sent.
    pub(crate) fn restart(&mut self, head: Head) {
        self.head = Some(head);
        self.total = None;
    }

    /// The response cannot be ended: the peer must see that it was cut.
    pub(crate) fn cut(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.cut();
        }
    }

    /// The request is over.
    pub(crate) fn end(&mut self) -> Option<Box<Connection>> {
        self.connection.take()
    }

    /// A block of the body; the head goes first. What is small waits for [`flush`](Self::flush).
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<(), Fault> {
        if block.is_empty() {
            return Ok(());
        }
        if self.sent {
            let (allowed, connection) = self.allowed(block)?;
            let written = connection.stdout(allowed);
            return self.note(written);
        }
        self.head_with(block)
    }

    /// The body is complete.
    pub(crate) fn complete(&mut self) -> Result<(), Fault> {
        if !self.sent {
            self.head_with(b"")?;
        }
        match self.owed {
            Some(owed) if owed > 0 => Err(Fault::Short(owed)),
            _ => Ok(()),
        }
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        let written = self.connection()?.flush();
        self.note(written)
    }

    /// The request's body, after reading until what is available is enough for `satisfied`, or it is complete.
    pub(crate) fn body(
        &mut self,
        py: Python<'_>,
        mut satisfied: impl FnMut(&[u8]) -> bool,
    ) -> PyResult<&mut Body> {
        loop {
            let connection = self.connection()?;
            let body = &connection.request.body;
            if body.complete() || satisfied(body.available()) {
                break;
            }
            if connection.request.aborted {
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
        let body = &mut self.connection()?.request.body;
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

    /// Sends the head, with the first block of the body.
    fn head_with(&mut self, block: &[u8]) -> Result<(), Fault> {
        let connection = self.connection.as_deref_mut().ok_or_else(over)?;
        let head = self.head.as_mut().ok_or_else(unstarted)?;
        // the empty answer to HEAD tells nothing about the length of the one to GET
        if let Some(total) = self.total.filter(|&total| total > 0 || !self.head_only) {
            head.complete_length(total);
        }
        self.sent = true;
        self.head_only |= head.bodiless();
        self.owed = head.length().filter(|_| !self.head_only);
        let mut lines = std::mem::take(head.lines());
        lines.extend_from_slice(b"\r\n");
        if block.len() > JOINED {
            let written = connection.stdout(&lines);
            self.note(written)?;
            return self.block(block);
        }
        let (allowed, connection) = self.allowed(block)?;
        lines.extend_from_slice(allowed);
        let written = connection.stdout(&lines);
        self.note(written)
    }

    /// The part of a block that may be sent, and where to.
    fn allowed<'b>(&mut self, block: &'b [u8]) -> Result<(&'b [u8], &mut Connection), Fault> {
        let mut allowed = if self.head_only { &block[..0] } else { block };
        if let Some(owed) = &mut self.owed {
            let room = usize::try_from(*owed).unwrap_or(usize::MAX);
            if allowed.len() > room {
                allowed = &allowed[..room];
                self.overflowed = true;
            }
            *owed -= allowed.len() as u64;
        }
        Ok((allowed, self.connection()?))
    }

    fn note(&mut self, written: io::Result<()>) -> Result<(), Fault> {
        self.gone |= written.is_err();
        written.map_err(Fault::Gone)
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

fn unstarted() -> Fault {
    let message = "the application sent its response without calling start_response";
    Fault::Raised(exceptions::PyAssertionError::new_err(message))
}
