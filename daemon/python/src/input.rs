//! `wsgi.input`: the request's body, read as it is asked for, never beyond its end.

use pyo3::{prelude::*, types::PyBytes};

use crate::exchange::Shared;

/// See the module.
#[pyclass(frozen, module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Input(Shared);

impl Input {
    pub(crate) fn new(exchange: Shared) -> Self {
        Self(exchange)
    }

    /// Reads `size` bytes, or to the end.
    fn take<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut exchange = self.0.lock(py);
        let body = exchange.body(py, |available| available.len() >= size)?;
        let available = body.available();
        let bytes = PyBytes::new(py, &available[..available.len().min(size)]);
        body.take(size);
        Ok(bytes)
    }

    /// Reads to the end of a line, `limit` bytes at most.
    fn take_line<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut exchange = self.0.lock(py);
        let mut scanned = 0;
        let mut end = None;
        let body = exchange.body(py, |available| {
            let seen = available.len().min(limit);
            if end.is_none() {
                end = memchr::memchr(b'\n', &available[scanned..seen]).map(|at| scanned + at + 1);
            }
            scanned = seen;
            end.is_some() || seen == limit
        })?;
        // a complete body is not shown to the closure
        let available = &body.available()[..body.available().len().min(limit)];
        let end = end
            .or_else(|| memchr::memchr(b'\n', &available[scanned..]).map(|at| scanned + at + 1))
            .unwrap_or(available.len());
        let line = PyBytes::new(py, &available[..end]);
        body.take(end);
        Ok(line)
    }
}

#[pymethods]
impl Input {
    /// Reads `size` bytes, fewer only at the end; without a size: everything.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, limit(size))
    }

    /// Reads one line, or `size` bytes of it.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take_line(py, limit(size))
    }

    /// Reads all lines, or as many as make up `hint` bytes.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(
        &self,
        py: Python<'py>,
        hint: Option<isize>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let enough = limit(hint.filter(|&hint| hint > 0));
        let mut lines = Vec::new();
        let mut length = 0;
        while length < enough {
            let line = self.take_line(py, usize::MAX)?;
            let count = line.as_bytes().len();
            if count == 0 {
                break;
            }
            length += count;
            lines.push(line);
        }
        Ok(lines)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.take_line(py, usize::MAX)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    /// Does nothing: the server closes.
    #[expect(clippy::unused_self, reason = "a method for Python")]
    fn close(&self) {}
}

/// Python's size: none or negative is no limit.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or(usize::MAX)
}
