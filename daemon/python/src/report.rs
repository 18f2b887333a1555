//! What the adapter says on standard error, each report in one write: exceptions of the application, responses that were not as
//! announced.

use pyo3::{prelude::*, types::PyString};
use stockade_protocol::name_value::Pairs;

/// Where reports go.
#[derive(Debug)]
pub(crate) struct Report {
    /// The Python function that writes a line and the traceback of an exception.
    write: Py<PyAny>,
    /// `STOCKADE_POOL`.
    pool: Option<String>,
    /// Clients are told of exceptions.
    development: bool,
}

/// A request's name in reports.
#[derive(Debug, Default)]
pub(crate) struct RequestName {
    /// `REQUEST_ID`.
    pub(crate) id: Option<String>,
    method: String,
    path: String,
}

impl Report {
    pub(crate) fn new(write: Py<PyAny>, pool: Option<String>, development: bool) -> Self {
        Self {
            write,
            pool,
            development,
        }
    }

    /// An exception that the application raised while it answered a request. What the client may be told of it.
    pub(crate) fn exception(
        &self,
        request: &RequestName,
        error: &PyErr,
        py: Python<'_>,
    ) -> Option<String> {
        let line = format!("{}: exception in {}", self.subject(request), request.what());
        let text = self.put(py, &line, Some(error))?;
        self.development.then(|| text.extract(py).ok()).flatten()
    }

    /// A request that was broken off, and where it was then.
    pub(crate) fn interrupted(&self, request: &RequestName, error: &PyErr, py: Python<'_>) {
        let subject = self.subject(request);
        let line = format!(
            "{subject}: broken off, for its time is over: {}",
            request.what()
        );
        drop(self.put(py, &line, Some(error)));
    }

    /// Something else that is wrong with a response.
    pub(crate) fn response(&self, request: &RequestName, fault: &str, py: Python<'_>) {
        let line = format!("{}: {fault}: {}", self.subject(request), request.what());
        drop(self.put(py, &line, None));
    }

    /// Something that concerns no request.
    pub(crate) fn worker(&self, line: &str, error: Option<&PyErr>, py: Python<'_>) {
        drop(self.put(py, line, error));
    }

    fn subject(&self, request: &RequestName) -> String {
        let mut subject = String::from("request");
        if let Some(id) = &request.id {
            subject.push(' ');
            subject.push_str(id);
        }
        if let Some(pool) = &self.pool {
            subject.push_str(" of pool ");
            subject.push_str(pool);
        }
        subject
    }

    fn put(&self, py: Python<'_>, line: &str, error: Option<&PyErr>) -> Option<Py<PyAny>> {
        let line = PyString::new(py, line);
        let exception = error.map(|error| error.value(py));
        let traceback = error.and_then(|error| error.traceback(py));
        // when standard error cannot be written there is nowhere to say so
        self.write.call1(py, (line, exception, traceback)).ok()
    }
}

impl RequestName {
    /// From a request's parameters. Control characters are escaped: a client must not write lines into the log.
    pub(crate) fn of(parameters: &[u8]) -> Self {
        let mut name = Self::default();
        for (key, value) in Pairs::new(parameters).map_while(Result::ok) {
            match key {
                b"REQUEST_ID" if !value.is_empty() => name.id = Some(printable(value)),
                b"REQUEST_METHOD" => name.method = printable(value),
                b"PATH_INFO" if !value.is_empty() => name.path = printable(value),
                b"SCRIPT_NAME" if name.path.is_empty() => name.path = printable(value),
                _ => {}
            }
        }
        name
    }

    fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}
