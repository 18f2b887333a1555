//! FastCGI for an event loop: bytes in, a request; response messages in, bytes. The socket is the loop's.

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    environ::{EnvironError, Environs},
    exchange::unstarted,
    head::Head,
    page,
    reply::{Reply, ReplyError, Sink},
    response::{as_block, checked, wrong_type},
    scopes::Scopes,
    wire::{Fate, Stage, Wire},
};

/// One connection.
#[pyclass(module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Codec {
    wire: Wire,
    reply: Reply,
    source: Source,
}

/// What makes of parameters what the application gets.
#[derive(Debug, FromPyObject)]
enum Source {
    Scopes(Py<Scopes>),
    Environs(Py<Environs>),
}

#[pymethods]
impl Codec {
    #[new]
    fn new(source: Source, slots: u32) -> Self {
        Self {
            wire: Wire::new(slots),
            reply: Reply::default(),
            source,
        }
    }

    /// Takes what was read. True: a request can be answered, which could not be before.
    fn feed(&mut self, data: &[u8]) -> PyResult<bool> {
        let before = self.wire.request.stage;
        self.wire.take(data)?;
        Ok(before != Stage::Complete && self.wire.request.stage == Stage::Complete)
    }

    /// The request's scope or environ. None: it was refused; the answer waits to be written.
    fn request<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let parameters = &self.wire.request.parameters;
        let made = match &self.source {
            Source::Scopes(scopes) => scopes.borrow_mut(py).make(py, parameters),
            Source::Environs(environs) => environs.borrow_mut(py).make(py, parameters),
        };
        match made {
            Ok((scope, facts)) => {
                if let Some(length) = facts.content_length {
                    self.wire.request.body.declare(length);
                }
                self.reply = Reply::new(facts.head_only);
                Ok(Some(scope))
            }
            Err(EnvironError::Python(error)) => Err(error),
            Err(EnvironError::Parameters(_)) => {
                self.refuse("400 Bad Request", "Bad Request\n")?;
                Ok(None)
            }
            Err(EnvironError::Elsewhere) => {
                self.refuse("404 Not Found", "Not Found\n")?;
                Ok(None)
            }
        }
    }

    /// What arrived of the body and was not taken, and whether more is to come.
    fn body<'py>(&mut self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, bool)> {
        let body = &mut self.wire.request.body;
        let complete = body.complete();
        if let Some(missing) = body.missing() {
            return Err(pyo3::exceptions::PyOSError::new_err(format!(
                "the request's body ended {missing} bytes before its CONTENT_LENGTH"
            )));
        }
        let bytes = PyBytes::new(py, body.available());
        body.take(usize::MAX);
        Ok((bytes, !complete))
    }

    /// How many bytes of the body wait to be taken.
    #[getter]
    fn buffered(&self) -> usize {
        self.wire.request.body.available().len()
    }

    /// The web server does not want the answer any more.
    #[getter]
    fn aborted(&self) -> bool {
        self.wire.request.aborted
    }

    /// The application has begun its response.
    #[getter]
    fn started(&self) -> bool {
        self.reply.started()
    }

    /// There is no request whose response is to be completed.
    #[getter]
    fn complete(&self) -> bool {
        self.wire.request.stage == Stage::Absent
    }

    /// A part of the response is out.
    #[getter]
    fn sent(&self) -> bool {
        self.reply.sent()
    }

    /// The application gave more than its `Content-Length`.
    #[getter]
    fn overflowed(&self) -> bool {
        self.reply.overflowed()
    }

    /// `http.response.start`.
    fn start(&mut self, status: &str, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.reply.started() {
            return Err(PyRuntimeError::new_err(
                "http.response.start was sent a second time",
            ));
        }
        let mut head = Head::new(status).map_err(|error| value_error(&error))?;
        for header in headers.try_iter()? {
            let header = header?;
            let (name, value) = pair(&header)?;
            head.field_of_bytes(name.as_bytes(), value.as_bytes())
                .map_err(|error| value_error(&error))?;
        }
        self.reply.start(head);
        Ok(())
    }

    /// `start_response`, of which what was sent before is taken back.
    fn start_response(
        &mut self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let head = checked(status, headers)?;
        self.reply.restart(head);
        Ok(())
    }

    /// The whole body will be `length` bytes.
    fn announce(&mut self, length: u64) {
        self.reply.announce(length);
    }

    /// A block of the body; the last one ends the response.
    fn send(&mut self, body: &Bound<'_, PyAny>, more: bool) -> PyResult<()> {
        let body = as_block(body)?.as_bytes();
        let Self {
            wire,
            reply,
            source,
        } = self;
        let failed = |error| failed(error, source);
        if !more && !reply.sent() {
            reply.announce(body.len() as u64);
        }
        reply.block(body, wire).map_err(failed)?;
        if more {
            return reply.send_head(wire).map_err(failed);
        }
        reply.complete(wire).map_err(failed)?;
        wire.conclude();
        Ok(())
    }

    /// The adapter's own answer, instead of what the application began.
    fn fail(&mut self, request: Option<&str>, told: Option<&str>) -> PyResult<()> {
        let (head, body) = page::failure(request, told, &self.wire.request.parameters);
        self.reply.restart(head);
        self.finish(&body)
    }

    /// The response cannot be ended: the connection is to be closed behind what waits to be written.
    fn cut(&mut self) {
        self.wire.cut();
    }

    /// What waits to be written.
    fn outgoing<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let outbox = &mut self.wire.outbox;
        if outbox.is_empty() {
            return None;
        }
        let bytes = PyBytes::new(py, outbox);
        outbox.clear();
        outbox.shrink_to(KEPT);
        Some(bytes)
    }

    /// What becomes of the connection: "keep", "close", "linger".
    #[getter]
    fn fate(&self) -> &'static str {
        match self.wire.fate() {
            Fate::Keep => "keep",
            Fate::Close => "close",
            Fate::Linger(_) => "linger",
        }
    }

    /// So many bytes arrived on a connection that lingers. False: that was enough.
    fn dropped(&mut self, count: usize) -> bool {
        self.wire.drop(count)
    }
}

/// An outbox grown beyond this is not kept.
const KEPT: usize = 64 * 1024;

impl Codec {
    fn refuse(&mut self, status: &str, text: &str) -> PyResult<()> {
        let mut head = Head::new(status).map_err(|error| value_error(&error))?;
        head.field("Content-Type", "text/plain")
            .map_err(|error| value_error(&error))?;
        self.reply = Reply::new(false);
        self.reply.start(head);
        self.finish(text)
    }

    fn finish(&mut self, text: &str) -> PyResult<()> {
        let Self {
            wire,
            reply,
            source,
        } = self;
        let failed = |error| failed(error, source);
        reply.announce(text.len() as u64);
        reply.block(text.as_bytes(), wire).map_err(failed)?;
        reply.complete(wire).map_err(failed)?;
        wire.conclude();
        Ok(())
    }
}

impl Sink for Wire {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        Self::stdout(self, bytes);
        Ok(())
    }
}

/// A header's name and value.
fn pair<'py>(header: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let parts = match header.cast::<PyTuple>() {
        Ok(tuple) => tuple.clone(),
        Err(_) => PyTuple::new(
            header.py(),
            header.try_iter()?.collect::<PyResult<Vec<_>>>()?,
        )?,
    };
    if parts.len() != 2 {
        return Err(wrong_type("a header must be a pair of bytes", header));
    }
    let of_bytes = |part: Bound<'py, PyAny>| {
        part.cast_into::<PyBytes>().map_err(|error| {
            wrong_type(
                "the name and the value of a header must be bytes",
                &error.into_inner(),
            )
        })
    };
    Ok((of_bytes(parts.get_item(0)?)?, of_bytes(parts.get_item(1)?)?))
}

fn value_error(error: &crate::head::HeadError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn failed(error: ReplyError, source: &Source) -> PyErr {
    match error {
        ReplyError::Unstarted => match source {
            Source::Scopes(_) => {
                PyRuntimeError::new_err("http.response.body was sent before http.response.start")
            }
            Source::Environs(_) => unstarted(),
        },
        ReplyError::Short(owed) => PyValueError::new_err(format!(
            "the response's body ended {owed} bytes before its Content-Length"
        )),
        ReplyError::Write(error) => error.into(),
    }
}
