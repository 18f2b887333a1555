//! `environ`: a request's parameters as PEP 3333 wants them.
//!
//! On a kept connection most parameters are the same from request to request: their names and last values are kept as Python strings
//! ([`Environs`], one a thread). SCRIPT_NAME and PATH_INFO are cut where the application is mounted, whatever the host made of them.

use std::collections::HashMap;

use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};
use stockade_protocol::{
    name_value::{PairError, Pairs},
    path::Sent,
};

/// How many names are remembered. A client that invents more makes us begin anew, not grow.
pub(crate) const REMEMBERED: usize = 256;
/// The room kept for a value.
const LONG: usize = 256;

/// Makes environs.
#[pyclass(module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Environs {
    /// What every request has; copied.
    base: Py<PyDict>,
    /// `mount`: SCRIPT_NAME of every request, as bytes and as in `base`.
    mount: Box<[u8]>,
    script_name: Py<PyString>,
    /// Where a name is in `known`.
    places: HashMap<Box<[u8]>, usize>,
    known: Vec<Known>,
}

/// What the adapter itself needs to know of a request.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The method is HEAD.
    pub(crate) head_only: bool,
    /// `CONTENT_LENGTH`.
    pub(crate) content_length: Option<u64>,
}

/// A name that came before.
#[derive(Debug)]
struct Known {
    name: Py<PyString>,
    meaning: Meaning,
    /// The value that came last, and its string.
    bytes: Vec<u8>,
    value: Py<PyString>,
}

/// The names that are more than an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Plain,
    /// Not passed on: the application would take it for its own environment's, or it is there without the prefix.
    Dropped,
    ContentLength,
    ContentType,
    Method,
    PathInfo,
    ScriptName,
    DocumentUri,
    RequestUri,
    Https,
    RequestScheme,
}

/// What was seen of a request's path and scheme while its parameters went by.
#[derive(Default)]
struct Seen<'a> {
    path: Sent<'a>,
    https: bool,
}

/// Why there is no environ.
#[derive(Debug)]
pub(crate) enum EnvironError {
    /// The parameters are not well-formed.
    Parameters(PairError),
    /// The path is not below `mount`.
    Elsewhere,
    /// Python's: no memory.
    Python(PyErr),
}

impl Environs {
    pub(crate) fn new(py: Python<'_>, base: Py<PyDict>, mount: &str) -> Self {
        Self {
            base,
            mount: mount.as_bytes().into(),
            script_name: latin_1(py, mount.as_bytes()).unbind(),
            places: HashMap::new(),
            known: Vec::new(),
        }
    }

    /// The environ of a request, but for `wsgi.input`.
    pub(crate) fn make<'py>(
        &mut self,
        py: Python<'py>,
        parameters: &[u8],
    ) -> Result<(Bound<'py, PyDict>, Facts), EnvironError> {
        let environ = self.base.bind(py).copy()?;
        let mut facts = Facts::default();
        let mut seen = Seen::default();
        for pair in Pairs::new(parameters) {
            let (name, value) = pair.map_err(EnvironError::Parameters)?;
            let known = self.known(py, name, value);
            match known.meaning {
                Meaning::Plain => {}
                Meaning::Dropped => continue,
                Meaning::ContentLength | Meaning::ContentType if value.is_empty() => continue,
                Meaning::ContentLength => {
                    facts.declare(value);
                }
                Meaning::ContentType => {}
                Meaning::Method => facts.head_only = value == b"HEAD",
                Meaning::PathInfo => seen.path.path_info = Some(value),
                Meaning::ScriptName => seen.path.script_name = Some(value),
                Meaning::DocumentUri => seen.path.document_uri = Some(value),
                Meaning::RequestUri => seen.path.request_uri = Some(value),
                Meaning::Https => seen.https |= value.eq_ignore_ascii_case(b"on") || value == b"1",
                Meaning::RequestScheme => seen.https |= value.eq_ignore_ascii_case(b"https"),
            }
            environ.set_item(&known.name, &known.value)?;
        }
        if seen.https {
            environ.set_item(
                pyo3::intern!(py, "wsgi.url_scheme"),
                pyo3::intern!(py, "https"),
            )?;
        }
        self.settle(&seen.path, &environ)?;
        Ok((environ, facts))
    }

    /// Sets SCRIPT_NAME and PATH_INFO where the host's are others.
    fn settle(&self, sent: &Sent<'_>, environ: &Bound<'_, PyDict>) -> Result<(), EnvironError> {
        let py = environ.py();
        let path_info = sent
            .path_info_below(&self.mount)
            .ok_or(EnvironError::Elsewhere)?;
        if sent.path_info.unwrap_or_default() != &*path_info {
            environ.set_item(pyo3::intern!(py, "PATH_INFO"), latin_1(py, &path_info))?;
        }
        if sent.script_name.is_some_and(|name| *name != *self.mount) {
            environ.set_item(pyo3::intern!(py, "SCRIPT_NAME"), &self.script_name)?;
        }
        Ok(())
    }

    /// What is known of a name, with this value.
    fn known(&mut self, py: Python<'_>, name: &[u8], value: &[u8]) -> &Known {
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => self.learn(py, name, value),
        };
        let known = &mut self.known[place];
        if known.bytes != value {
            known.value = latin_1(py, value).unbind();
            known.bytes.clear();
            known.bytes.extend_from_slice(value);
            known.bytes.shrink_to(LONG);
        }
        known
    }

    fn learn(&mut self, py: Python<'_>, name: &[u8], value: &[u8]) -> usize {
        if self.known.len() >= REMEMBERED {
            self.places.clear();
            self.known.clear();
        }
        let place = self.known.len();
        self.known.push(Known {
            name: latin_1(py, name).unbind(),
            meaning: Meaning::of(name),
            bytes: value.to_vec(),
            value: latin_1(py, value).unbind(),
        });
        self.places.insert(name.into(), place);
        place
    }
}

impl Facts {
    /// `CONTENT_LENGTH` is this.
    pub(crate) fn declare(&mut self, length: &[u8]) {
        let text = str::from_utf8(length).ok();
        self.content_length = text.and_then(|text| text.trim().parse().ok());
    }
}

impl Meaning {
    fn of(name: &[u8]) -> Self {
        match name {
            b"HTTP_PROXY" | b"HTTP_CONTENT_LENGTH" | b"HTTP_CONTENT_TYPE" => Self::Dropped,
            b"CONTENT_LENGTH" => Self::ContentLength,
            b"CONTENT_TYPE" => Self::ContentType,
            b"REQUEST_METHOD" => Self::Method,
            b"PATH_INFO" => Self::PathInfo,
            b"SCRIPT_NAME" => Self::ScriptName,
            b"DOCUMENT_URI" => Self::DocumentUri,
            b"REQUEST_URI" => Self::RequestUri,
            b"HTTPS" => Self::Https,
            b"REQUEST_SCHEME" => Self::RequestScheme,
            _ => Self::Plain,
        }
    }
}

/// The bytes as a string of the characters with their numbers, as PEP 3333 wants.
pub(crate) fn latin_1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => PyString::new(
            py,
            &bytes.iter().copied().map(char::from).collect::<String>(),
        ),
    }
}

impl From<PyErr> for EnvironError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}
