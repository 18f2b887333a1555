//! The request before, as a beginning for the next: its parameters, and the environ that was made of them.
//!
//! While the names and their order stay the same, a parameter that is the same byte by byte needs nothing but this comparison, and one
//! that differs is one entry replaced. The application gets a copy: what it does to it, the next request never sees.

use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};
use stockade_protocol::name_value::Pairs;

use crate::environ::{EnvironError, Facts, Meaning, Seen, latin_1};

/// Parameters beyond this, in bytes, are not kept for the next request.
const KEPT: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Previous {
    /// As they were sent. None: the next request cannot begin with them.
    parameters: Option<Vec<u8>>,
    /// In the order in which they are in `parameters`.
    list: Vec<Parameter>,
    environ: Py<PyDict>,
    facts: Facts,
}

/// One parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Py<PyString>,
    pub(crate) meaning: Meaning,
    /// The length of its name.
    pub(crate) named: usize,
    /// The length of its value.
    pub(crate) value: usize,
    /// Where it ends in the parameters.
    pub(crate) end: usize,
}

impl Previous {
    /// None, yet.
    pub(crate) fn new(base: Py<PyDict>) -> Self {
        Self {
            parameters: None,
            list: Vec::new(),
            environ: base,
            facts: Facts::default(),
        }
    }

    /// A copy of the environ.
    pub(crate) fn environ<'py>(
        &self,
        py: Python<'py>,
    ) -> Result<(Bound<'py, PyDict>, Facts), EnvironError> {
        Ok((self.environ.bind(py).copy()?, self.facts))
    }

    /// Becomes this request; `once`: it has no name twice.
    pub(crate) fn replace(
        &mut self,
        py: Python<'_>,
        parameters: &[u8],
        list: Vec<Parameter>,
        environ: Py<PyDict>,
        once: bool,
        mount: &[u8],
    ) -> Result<(), EnvironError> {
        self.parameters = None;
        self.list = list;
        self.environ = environ;
        self.settle(py, parameters, mount)?;
        if once && parameters.len() <= KEPT {
            self.parameters = Some(parameters.to_vec());
        }
        Ok(())
    }

    /// Becomes this request, when it has the same names in the same order. False: it has not, and this is no beginning any more.
    pub(crate) fn repeat(
        &mut self,
        py: Python<'_>,
        parameters: &[u8],
        mount: &[u8],
    ) -> Result<bool, EnvironError> {
        let Some(mut kept) = self.parameters.take() else {
            return Ok(false);
        };
        if parameters == kept {
            self.parameters = Some(kept);
            return Ok(true);
        }
        if parameters.len() > KEPT {
            return Ok(false);
        }
        let Some(settled) = self.update(py, parameters, &kept)? else {
            return Ok(false);
        };
        if !settled {
            self.settle(py, parameters, mount)?;
        }
        kept.clear();
        kept.extend_from_slice(parameters);
        self.parameters = Some(kept);
        Ok(true)
    }

    /// Replaces the values that differ. None: the names or their order do. False: what is to be settled differs too.
    fn update(
        &mut self,
        py: Python<'_>,
        parameters: &[u8],
        kept: &[u8],
    ) -> Result<Option<bool>, EnvironError> {
        let environ = self.environ.bind(py);
        let mut settled = true;
        let mut rest = parameters;
        let mut start = 0;
        for parameter in &mut self.list {
            let before = &kept[start..parameter.end];
            start = parameter.end;
            if let Some(behind) = rest.strip_prefix(before) {
                rest = behind;
            } else {
                let mut pairs = Pairs::new(rest);
                let Some(Ok((name, value))) = pairs.next() else {
                    return Ok(None);
                };
                let (before, last) = before.split_at(before.len() - parameter.value);
                let meaning = parameter.meaning;
                if name != &before[before.len() - parameter.named..]
                    || meaning.is_entry(last) != meaning.is_entry(value)
                {
                    return Ok(None);
                }
                if meaning.is_entry(value) {
                    environ.set_item(&parameter.name, latin_1(py, value))?;
                }
                settled &= matches!(meaning, Meaning::Plain | Meaning::Dropped);
                parameter.value = value.len();
                rest = pairs.rest();
            }
            parameter.end = parameters.len() - rest.len();
        }
        Ok(rest.is_empty().then_some(settled))
    }

    /// Sets what follows from several parameters.
    fn settle(
        &mut self,
        py: Python<'_>,
        parameters: &[u8],
        mount: &[u8],
    ) -> Result<(), EnvironError> {
        let mut seen = Seen::default();
        for parameter in &self.list {
            let value = &parameters[parameter.end - parameter.value..parameter.end];
            seen.note(parameter.meaning, value);
        }
        self.facts = seen.facts;
        seen.settle(self.environ.bind(py), mount)
    }
}
