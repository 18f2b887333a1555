//! `include`: further files with pools, read as if they stood at the end of the first.
//!
//! So everything behind this knows one text, and one place in it for each value; [`Sources`] knows which file that is.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    errors::{Fault, LARGEST, Place, Problem, Problems},
    surroundings::read_file,
};

/// The text of a configuration, and the files that it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    text: String,
    /// Where each file begins, in their order.
    files: Vec<(usize, PathBuf)>,
}

impl Sources {
    /// One file.
    #[must_use]
    pub fn of(path: &Path, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            files: vec![(0, path.to_owned())],
        }
    }

    /// All of it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file that a place is in, its text, and the place there; without one, the first file.
    pub(super) fn locate(&self, at: Option<&Range<usize>>) -> (&Path, &str, Option<Range<usize>>) {
        let start = at.map_or(0, |at| at.start);
        let after = self.files.partition_point(|(begin, _)| *begin <= start);
        let place = after.saturating_sub(1);
        let Some((begin, path)) = self.files.get(place) else {
            return (Path::new(""), "", None);
        };
        let next = self.files.get(place + 1);
        let end = next.map_or(self.text.len(), |(next, _)| *next);
        let text = self.text.get(*begin..end).unwrap_or_default();
        (
            path,
            text,
            at.map(|at| at.start - begin..at.end.max(at.start) - begin),
        )
    }

    fn add(&mut self, path: &Path, text: &str) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.files.push((self.text.len(), path.to_owned()));
        self.text.push_str(text);
    }
}

/// Reads what `include` of the only file of `sources`, which lies in `folder`, names. A text that is no TOML is left to who reads it.
pub(super) fn follow(sources: &mut Sources, folder: &Path, problems: &mut Problems) {
    let text = sources.text.clone();
    let Ok(document) = DeTable::parse(&text) else {
        return;
    };
    let top = document.get_ref();
    let Some(value) = top.get("include") else {
        return;
    };
    let mut pools = BTreeMap::new();
    if let Some(DeValue::Table(table)) = top.get("pool").map(toml::Spanned::get_ref) {
        let places = table
            .keys()
            .map(|name| (name.get_ref().to_string(), name.span()));
        pools.extend(places);
    }
    let patterns = match value.get_ref() {
        DeValue::Array(patterns) => patterns.iter().collect(),
        _ => vec![value],
    };
    for pattern in patterns {
        let DeValue::String(words) = pattern.get_ref() else {
            let why = "is to be a list of paths in quotes: write [\"pools.d/*.toml\"]";
            problems.add(wrong(pattern.span(), why));
            continue;
        };
        match matches(folder, words) {
            Ok(paths) => {
                for path in paths {
                    add(sources, &path, &pattern.span(), &mut pools, problems);
                }
            }
            Err(why) => problems.add(wrong(pattern.span(), why)),
        }
    }
}

/// The files of a pattern, in the order of their names.
fn matches(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let full = folder.join(pattern);
    let is_pattern = pattern.contains(['*', '?', '[']);
    if !is_pattern {
        return Ok(vec![full]);
    }
    let own = glob::Pattern::escape(&folder.to_string_lossy());
    let pattern = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{own}/{pattern}")
    };
    let found = glob::glob(&pattern)
        .map_err(|error| format!("is {pattern:?}, which is no pattern: {error}: mend it"))?;
    found
        .filter(|path| path.as_ref().map_or(true, |path| !path.is_dir()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(|error| {
            let (path, error) = (error.path().display().to_string(), io::Error::from(error));
            format!(
                "leads to {path}, which cannot be read: {error}: make it readable, or remove it"
            )
        })
}

/// Adds the file `path`, if it has pools and nothing else. `pools`: those that there are, and where.
fn add(
    sources: &mut Sources,
    path: &Path,
    included: &Range<usize>,
    pools: &mut BTreeMap<String, Range<usize>>,
    problems: &mut Problems,
) {
    let shown = path.display();
    let bytes = match read_file(path, LARGEST + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            let why = format!(
                "names {shown}, which cannot be read: {error}: make it readable, or remove it"
            );
            return problems.add(wrong(included.clone(), why));
        }
    };
    if (bytes.len() + sources.text.len()) as u64 > LARGEST {
        let why = format!(
            "has {shown}, with which the configuration is larger than {LARGEST} bytes: include less"
        );
        return problems.add(wrong(included.clone(), why));
    }
    let text = String::from_utf8_lossy(&bytes);
    sources.add(path, &text);
    let base = sources.text.len() - text.len();
    if let Err(error) = std::str::from_utf8(&bytes) {
        return problems.add(Problem::not_text(base + error.valid_up_to()));
    }
    let here = |range: Range<usize>| range.start + base..range.end + base;
    // what is wrong with it is told when all is read
    let (document, faults) = DeTable::parse_recoverable(&text);
    if let Some(error) = faults.first() {
        return problems.add(Problem {
            at: error.span().map(here),
            fault: Fault::syntax(error.message()),
        });
    }
    if let Some(at) = beginning(&text) {
        problems.add(stray(here(at)));
    }
    for (name, value) in document.get_ref() {
        let is_pools = name.get_ref() == "pool";
        match value.get_ref() {
            DeValue::Table(table) if is_pools => {
                for name in table.keys() {
                    let at = here(name.span());
                    let name = name.get_ref().to_string();
                    if let Some(other) = pools.insert(name.clone(), at.clone()) {
                        problems.add(twice(sources, &name, at, &other));
                    }
                }
            }
            _ => problems.add(stray(here(name.span()))),
        }
    }
}

/// What stands before the first table: behind another file it would be that one's.
fn beginning(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim();
        if words.starts_with('[') {
            return None;
        }
        if !words.is_empty() && !words.starts_with('#') {
            let from = start + line.len() - line.trim_start().len();
            return Some(from..from + words.len());
        }
        start += line.len();
    }
    None
}

fn twice(sources: &Sources, name: &str, at: Range<usize>, other: &Range<usize>) -> Problem {
    let (path, text, place) = sources.locate(Some(other));
    let start = place.map_or(0, |place| place.start);
    let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    Problem {
        at: Some(at),
        fault: Fault::PoolTwice {
            name: name.to_owned(),
            other: format!("{}:{line}", path.display()),
        },
    }
}

fn stray(at: Range<usize>) -> Problem {
    Problem {
        at: Some(at),
        fault: Fault::Stray,
    }
}

fn wrong(at: Range<usize>, why: impl Into<String>) -> Problem {
    Problem {
        at: Some(at),
        fault: Fault::WrongValue {
            place: Place::Top,
            key: "include".to_owned(),
            why: why.into(),
        },
    }
}
