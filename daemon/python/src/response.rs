//! `start_response`, and the `write` it returns.

use pyo3::{
    exceptions::{PyAssertionError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use crate::{exchange::Shared, head::Head};

/// `start_response`.
#[pyclass(frozen, module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct StartResponse(Shared);

/// `write`: the old way to send the body.
#[pyclass(frozen, module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Write(Shared);

impl StartResponse {
    pub(crate) fn new(exchange: Shared) -> Self {
        Self(exchange)
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info=None, /))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyTuple>>,
    ) -> PyResult<Write> {
        match exc_info {
            Some(exc_info) if self.0.lock(py).reply().sent() => return Err(raised(exc_info)?),
            None if self.0.lock(py).reply().started() => {
                return Err(PyAssertionError::new_err(
                    "start_response was called a second time without exc_info",
                ));
            }
            _ => {}
        }
        let head = checked(status, response_headers)?;
        self.0.lock(py).reply().start(head);
        Ok(Write(self.0.clone()))
    }
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = as_block(data)?.as_bytes();
        let mut exchange = self.0.lock(py);
        let exchange = &mut *exchange;
        py.detach(|| exchange.block(block).and_then(|()| exchange.flush()))?;
        Ok(())
    }
}

/// A block of a response's body.
pub(crate) fn as_block<'a, 'py>(data: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    data.cast::<PyBytes>()
        .map_err(|_| wrong_type("a block of the response's body must be bytes", data))
}

/// The exception in `exc_info`, to be raised again.
fn raised(exc_info: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    Ok(PyErr::from_value(exc_info.get_item(1)?))
}

pub(crate) fn checked(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let status = status
        .cast::<PyString>()
        .map_err(|_| wrong_type("the status must be str", status))?;
    let headers = headers
        .cast::<PyList>()
        .map_err(|_| wrong_type("the headers must be a list", headers))?;
    let mut head = Head::new(&text(status)?).map_err(refused)?;
    for header in headers {
        let pair = header
            .cast::<PyTuple>()
            .ok()
            .filter(|pair| pair.len() == 2)
            .ok_or_else(|| wrong_type("a header must be a tuple of name and value", &header))?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let name = name
            .cast::<PyString>()
            .map_err(|_| wrong_type("a header's name must be str", &name))?;
        let value = value.cast::<PyString>().map_err(|_| {
            wrong_type(
                &format!("the value of the header {name} must be str"),
                &value,
            )
        })?;
        head.field(&text(name)?, &text(value)?).map_err(refused)?;
    }
    Ok(head)
}

fn text<'a>(string: &'a Bound<'_, PyString>) -> PyResult<std::borrow::Cow<'a, str>> {
    string.to_cow()
}

fn refused(error: crate::head::HeadError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A TypeError: "the status must be str, not int".
pub(crate) fn wrong_type(demand: &str, found: &Bound<'_, PyAny>) -> PyErr {
    match found.get_type().name() {
        Ok(name) => PyTypeError::new_err(format!("{demand}, not {name}")),
        Err(error) => error,
    }
}
