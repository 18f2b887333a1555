//! `environ`: a request's parameters as PEP 3333 wants them.
//!
//! Most parameters are the same from request to request, and come in the same order: a thread's next environ begins as a copy of its last
//! one ([`Previous`]), in which only what differs is replaced. A request of another shape is put together name by name; the names and the
//! last values are kept as Python strings ([`Environs`], one a thread). SCRIPT_NAME and PATH_INFO are cut where the application is mounted,
//! whatever the host made of them.

use std::collections::HashMap;

use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};
use stockade_protocol::{
    name_value::{PairError, Pairs},
    path::Sent,
};

use crate::previous::{Parameter, Previous};

/// How many names are remembered. A client that invents more makes us begin anew, not grow.
pub(crate) const REMEMBERED: usize = 256;
/// A value beyond this, in bytes, is not remembered with its name.
const LONG: usize = 1024;

/// Makes environs.
#[pyclass(module = "stockade_python")]
#[derive(Debug)]
pub(crate) struct Environs {
    /// What every request has; copied.
    base: Py<PyDict>,
    /// `mount`: SCRIPT_NAME of every request, as `base` has it.
    mount: Box<[u8]>,
    /// Where a name is in `known`.
    places: HashMap<Box<[u8]>, usize>,
    known: Vec<Known>,
    previous: Previous,
    /// How many were put together name by name.
    assembled: u64,
}

/// What the adapter itself needs to know of a request.
#[derive(Clone, Copy, Debug, Default)]
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
    /// In which of the `assembled` it came last.
    assembled: u64,
}

/// The names that are more than an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
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
            previous: Previous::new(base.clone_ref(py)),
            base,
            mount: mount.as_bytes().into(),
            places: HashMap::new(),
            known: Vec::new(),
            assembled: 0,
        }
    }

    /// The environ of a request, but for `wsgi.input`.
    pub(crate) fn make<'py>(
        &mut self,
        py: Python<'py>,
        parameters: &[u8],
    ) -> Result<(Bound<'py, PyDict>, Facts), EnvironError> {
        if !self.previous.repeat(py, parameters, &self.mount)? {
            self.assemble(py, parameters)?;
        }
        self.previous.environ(py)
    }

    /// Puts an environ together, name by name.
    fn assemble(&mut self, py: Python<'_>, parameters: &[u8]) -> Result<(), EnvironError> {
        self.assembled += 1;
        let environ = self.base.bind(py).copy()?;
        let mut list = Vec::new();
        let mut once = true;
        let mut pairs = Pairs::new(parameters);
        while let Some(pair) = pairs.next() {
            let (name, value) = pair.map_err(EnvironError::Parameters)?;
            let assembled = self.assembled;
            let known = self.known(py, name, value);
            once &= std::mem::replace(&mut known.assembled, assembled) != assembled;
            if known.meaning.is_entry(value) {
                environ.set_item(&known.name, &known.value)?;
            }
            list.push(Parameter {
                name: known.name.clone_ref(py),
                meaning: known.meaning,
                named: name.len(),
                value: value.len(),
                end: parameters.len() - pairs.rest().len(),
            });
        }
        // names that were forgotten meanwhile may have come twice
        once &= list.len() <= self.known.len();
        let environ = environ.unbind();
        self.previous
            .replace(py, parameters, list, environ, once, &self.mount)
    }

    /// What is known of a name, with this value.
    fn known(&mut self, py: Python<'_>, name: &[u8], value: &[u8]) -> &mut Known {
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => self.learn(py, name),
        };
        let known = &mut self.known[place];
        // of a long one no bytes are kept
        if known.bytes != value || value.is_empty() {
            known.value = latin_1(py, value).unbind();
            known.bytes.clear();
            if value.len() <= LONG {
                known.bytes.extend_from_slice(value);
            }
        }
        known
    }

    fn learn(&mut self, py: Python<'_>, name: &[u8]) -> usize {
        if self.known.len() >= REMEMBERED {
            self.places.clear();
            self.known.clear();
        }
        let place = self.known.len();
        self.known.push(Known {
            name: latin_1(py, name).unbind(),
            meaning: Meaning::of(name),
            bytes: Vec::new(),
            value: pyo3::intern!(py, "").clone().unbind(),
            assembled: 0,
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

    /// Whether a parameter with this value is an entry of the environ as it is. SCRIPT_NAME and PATH_INFO are cut anew.
    pub(crate) fn is_entry(self, value: &[u8]) -> bool {
        match self {
            Self::Dropped | Self::PathInfo | Self::ScriptName => false,
            Self::ContentLength | Self::ContentType => !value.is_empty(),
            Self::Plain
            | Self::Method
            | Self::DocumentUri
            | Self::RequestUri
            | Self::Https
            | Self::RequestScheme => true,
        }
    }
}

/// What a request's parameters say of its path, scheme and body.
#[derive(Default)]
pub(crate) struct Seen<'a> {
    pub(crate) facts: Facts,
    path: Sent<'a>,
    https: bool,
}

impl<'a> Seen<'a> {
    pub(crate) fn note(&mut self, meaning: Meaning, value: &'a [u8]) {
        match meaning {
            Meaning::Plain | Meaning::Dropped | Meaning::ContentType => {}
            Meaning::ContentLength if value.is_empty() => {}
            Meaning::ContentLength => self.facts.declare(value),
            Meaning::Method => self.facts.head_only = value == b"HEAD",
            Meaning::PathInfo => self.path.path_info = Some(value),
            Meaning::ScriptName => self.path.script_name = Some(value),
            Meaning::DocumentUri => self.path.document_uri = Some(value),
            Meaning::RequestUri => self.path.request_uri = Some(value),
            Meaning::Https => self.https |= value.eq_ignore_ascii_case(b"on") || value == b"1",
            Meaning::RequestScheme => self.https |= value.eq_ignore_ascii_case(b"https"),
        }
    }

    /// Sets what follows from it.
    pub(crate) fn settle(
        &self,
        environ: &Bound<'_, PyDict>,
        mount: &[u8],
    ) -> Result<(), EnvironError> {
        let py = environ.py();
        let path_info = self
            .path
            .path_info_below(mount)
            .ok_or(EnvironError::Elsewhere)?;
        environ.set_item(pyo3::intern!(py, "PATH_INFO"), latin_1(py, &path_info))?;
        let scheme = match self.https {
            true => pyo3::intern!(py, "https"),
            false => pyo3::intern!(py, "http"),
        };
        environ.set_item(pyo3::intern!(py, "wsgi.url_scheme"), scheme)?;
        Ok(())
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
