//! The keys about what is logged of requests: `access-log`, `access-log-format`, `slow-request`, `stderr`.

use std::path::{Path, PathBuf};

use stockade_policy::Limit;
use toml::{Spanned, de::DeValue};

use super::{
    access_log::Format,
    errors::Problem,
    file::{Given, PoolKeys},
    resolve::{absolute, value},
    resolved::{AccessLog, Logging, Stderr},
    surroundings::{Found, Surroundings},
    values::{Value, Wrong, is_off, one_of, wrong},
};

/// The keys of a pool; the path of `access-log` is relative to `folder`.
pub(super) fn logging(
    keys: &PoolKeys,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Logging, Problem> {
    let access_log = match &keys.access_log {
        Some(given) => access_log(given, folder, surroundings)?,
        None => AccessLog::Off,
    };
    Ok(Logging {
        access_log,
        access_log_format: value(
            keys.access_log_format.as_ref(),
            Format::clone,
            Format::default(),
        ),
        slow_request: value(keys.slow_request.as_ref(), |given| *given, Limit::OFF),
        stderr: value(keys.stderr.as_ref(), |given| *given, Stderr::Log),
    })
}

fn access_log(
    given: &Given<AccessLog>,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<AccessLog, Problem> {
    let AccessLog::File(path) = &given.value else {
        return Ok(given.value.clone());
    };
    let path = absolute(folder, path);
    let shown = path.display();
    if matches!(surroundings.find(&path), Ok(Found::Folder)) {
        return Err(given
            .spot
            .wrong(format!("is {shown}, a folder: name a file in it")));
    }
    match surroundings.find(path.parent().unwrap_or(&path)) {
        Ok(Found::Folder) => Ok(AccessLog::File(path)),
        Ok(Found::File | Found::Program) => Err(given.spot.wrong(format!(
            "is {shown}, which is not in a folder: correct the path"
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {shown}, whose folder cannot be found: {reason}: make the folder, or name a file in another"
        ))),
    }
}

/// A path, `"-"` or `"off"`.
impl Value for AccessLog {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self::Off);
        }
        match String::from_toml(value)?.as_str() {
            "-" => Ok(Self::StandardOutput),
            "journal" => Err(wrong(
                value,
                "is \"journal\", which is not supported yet: write a path, or \"-\" for standard output",
            )),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

/// The letters of a line.
impl Value for Format {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(super::values::must_be(value, "a string in quotes"));
        };
        Self::try_from(text.to_string()).map_err(|error| {
            let mut wrong = wrong(value, error.to_string());
            // where nothing in the file is written otherwise than it is meant, its very place is known
            if value.span().len() == text.len() + 2 && error.length > 0 {
                let start = value.span().start + 1 + error.at;
                wrong.at = start..start + error.length;
            }
            wrong
        })
    }
}

impl Value for Stderr {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let words = [
            ("log", Self::Log),
            ("host", Self::Host),
            ("both", Self::Both),
        ];
        one_of(value, &words)
    }
}
