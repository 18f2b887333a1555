//! The values as TOML has them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stockade_policy::Limit;
use toml::Value;

use super::super::{resolved::Account, sizes, surroundings::Surroundings};

pub(in crate::config) fn user_name(uid: u32, surroundings: &dyn Surroundings) -> String {
    match surroundings.user_of(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

pub(in crate::config) fn group_name(gid: u32, surroundings: &dyn Surroundings) -> String {
    match surroundings.group_of(gid) {
        Ok(Some(name)) => name,
        Ok(None) | Err(_) => gid.to_string(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a key has a value or none")]
pub(in crate::config) fn string(text: &str) -> Option<Value> {
    Some(Value::from(text))
}

pub(super) fn name(account: &Account) -> Option<Value> {
    string(&account.name)
}

pub(in crate::config) fn path(path: &Path) -> Option<Value> {
    string(&path.to_string_lossy())
}

#[expect(clippy::unnecessary_wraps, reason = "a key has a value or none")]
pub(super) fn strings<T: ToString>(all: &[T]) -> Option<Value> {
    let all = all.iter().map(|each| Value::from(each.to_string()));
    Some(Value::Array(all.collect()))
}

pub(in crate::config) fn number<T: TryInto<i64>>(number: T) -> Option<Value> {
    number.try_into().ok().map(Value::Integer)
}

pub(super) fn size(bytes: usize) -> Option<Value> {
    string(&sizes::in_words(bytes as u64))
}

pub(in crate::config) fn ceiling(bytes: Option<u64>) -> Option<Value> {
    string(&bytes.map_or_else(|| "off".to_owned(), sizes::in_words))
}

/// A size, of which one number has a word.
pub(in crate::config) fn size_or(bytes: Option<u64>, number: u64, word: &str) -> Option<Value> {
    match bytes {
        Some(0) => string("0"),
        Some(bytes) if bytes == number => string(word),
        bytes => string(&sizes::in_words(bytes?)),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a key has a value or none")]
pub(in crate::config) fn strings_of_paths(paths: &[PathBuf]) -> Option<Value> {
    let paths = paths.iter().filter_map(|each| path(each));
    Some(Value::Array(paths.collect()))
}

pub(super) fn mode(mode: u32) -> Option<Value> {
    string(&format!("{mode:04o}"))
}

pub(super) fn limit(limit: Limit) -> Option<Value> {
    match limit.0 {
        None => string("off"),
        Some(duration) => time(duration),
    }
}

/// In the largest unit that it is a whole number of; one minute is 60 s, as in the manual.
pub(super) fn time(duration: Duration) -> Option<Value> {
    let milliseconds = duration.as_millis();
    let units = [(3_600_000, 1, "h"), (60_000, 2, "m"), (1_000, 1, "s")];
    let (size, _, unit) = units
        .into_iter()
        .find(|(size, least, _)| milliseconds.is_multiple_of(*size) && milliseconds >= size * least)
        .unwrap_or((1, 1, "ms"));
    string(&format!("{}{unit}", milliseconds / size))
}
