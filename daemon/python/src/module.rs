//! The module `stockade` in the application's interpreter: `python/stockade.py`, and what the adapter calls of it.
//!
//! What a thread is at is in its seat, a list that it has for its life (`stockade._seats`): a request costs two assignments there, and a
//! look at whether somebody wants to be told of it.

use std::{
    ffi::CStr,
    time::{SystemTime, UNIX_EPOCH},
};

use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use crate::interrupt::RequestTimeout;

const STOCKADE: &CStr = pyo3::ffi::c_str!(include_str!("../python/stockade.py"));

/// Where a seat has the environ, the time when it was handed over, and the request's object.
const ENVIRON: usize = 0;
const START: usize = 1;
const REQUEST: usize = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Module {
    module: Py<PyModule>,
    /// Not empty: somebody wants to be told of requests.
    watched: Py<PyList>,
}

/// A thread's place for the request that it is at.
#[derive(Debug)]
pub(crate) struct Seat(Py<PyList>);

impl Module {
    /// Makes `stockade` importable.
    pub(crate) fn make(py: Python<'_>) -> PyResult<Self> {
        let module = PyModule::from_code(py, STOCKADE, c"<stockade stockade.py>", c"stockade")?;
        let timeout = py.get_type::<RequestTimeout>();
        module.call_method1("_activate", (env!("CARGO_PKG_VERSION"), timeout))?;
        let watched = module.getattr("_watched")?.cast_into()?.unbind();
        Ok(Self {
            module: module.unbind(),
            watched,
        })
    }

    /// This thread's seat.
    pub(crate) fn seat(&self, py: Python<'_>) -> PyResult<Seat> {
        let seat = self.module.call_method0(py, "_take_seat")?;
        Ok(Seat(seat.into_bound(py).cast_into()?.unbind()))
    }

    /// The thread is at this request. Whether somebody wants to be told of it.
    pub(crate) fn sit(&self, seat: &Seat, environ: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = environ.py();
        let seat = seat.0.bind(py);
        let start = SystemTime::now().duration_since(UNIX_EPOCH);
        seat.set_item(START, start.unwrap_or_default().as_secs_f64())?;
        seat.set_item(ENVIRON, environ)?;
        Ok(!self.watched.bind(py).is_empty())
    }

    /// The thread is at no request.
    pub(crate) fn stand_up(&self, seat: &Seat, py: Python<'_>) -> PyResult<()> {
        let seat = seat.0.bind(py);
        seat.set_item(ENVIRON, py.None())?;
        seat.set_item(REQUEST, py.None())
    }

    /// `request_started`. What it raises is the request's.
    pub(crate) fn begin(&self, seat: &Seat, py: Python<'_>) -> PyResult<()> {
        self.call(py, "_begin", (&seat.0,))
    }

    /// `request_exception`.
    pub(crate) fn raised(&self, seat: &Seat, error: &PyErr, py: Python<'_>) -> PyResult<()> {
        self.call(py, "_raised", (&seat.0, error.value(py)))
    }

    /// `request_finished`, with the status that was answered.
    pub(crate) fn end(&self, seat: &Seat, status: Option<u16>, py: Python<'_>) -> PyResult<()> {
        self.call(py, "_end", (&seat.0, status))
    }

    /// `process_stopping`; only the first time.
    pub(crate) fn stopping(&self, reason: &str, py: Python<'_>) -> PyResult<()> {
        self.call(py, "_stopping", (reason,))
    }

    /// Runs what is to run before the worker ends.
    pub(crate) fn before_retire(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, "_run_before_retire", ())
    }

    fn call<'py, A>(&self, py: Python<'py>, name: &str, arguments: A) -> PyResult<()>
    where
        A: pyo3::call::PyCallArgs<'py>,
    {
        self.module.bind(py).call_method1(name, arguments).map(drop)
    }
}
