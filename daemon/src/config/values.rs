//! The form of values: what a key may be set to, judged by the value alone.
//!
//! A wrong value is answered with the rest of a sentence that begins with the key: "is 30, a number without a unit: write ...".

mod addresses;

use std::{collections::BTreeMap, ops::Range, path::PathBuf, time::Duration};

use stockade_policy::{Limit, dispatch::Retry};
use toml::{Spanned, de::DeValue};

use super::resolved::LogLevel;
pub(super) use addresses::{HttpListen, StatusListen, UpstreamAddress};

/// A value made of what TOML has for it.
pub(super) trait Value: Sized {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong>;
}

/// What is wrong with a value, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: Range<usize>,
    pub why: String,
}

/// A time that cannot be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(pub Duration);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const MIN: u32, const MAX: u32>(pub u32);

/// A number of times; 0: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub u64);

/// Bits of a file's mode: an octal number in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode(pub u32);

/// Words that name a locale; none: "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Locale(pub Option<String>);

/// A word of a command line; it may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(pub String);

/// Where an application is mounted, without the slash at its end: "" is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount(pub String);

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub String);

/// The path of a request, with a query or not; none: "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target(pub Option<String>);

/// Variables and their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment(pub BTreeMap<String, String>);

impl Value for String {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let Word(text) = Word::from_toml(value)?;
        if text.is_empty() {
            return Err(wrong(value, "is empty: write a name, or remove the key"));
        }
        Ok(text)
    }
}

impl Value for Word {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let text = string(value, "a string in quotes")?;
        if text.contains('\0') {
            return Err(wrong(value, "contains a NUL character: remove it"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Value for PathBuf {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        String::from_toml(value).map(Self::from)
    }
}

impl<T: Value> Value for Vec<Spanned<T>> {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        match value.get_ref() {
            DeValue::Array(elements) => elements
                .iter()
                .map(|element| Ok(Spanned::new(element.span(), T::from_toml(element)?)))
                .collect(),
            DeValue::String(text) => Err(wrong(
                value,
                format!("is {text:?}, but must be a list: write [{text:?}]"),
            )),
            other => Err(wrong(
                value,
                format!("is {}, but must be a list of strings", found(other)),
            )),
        }
    }
}

impl<const MIN: u32, const MAX: u32> Value for Whole<MIN, MAX> {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = format!("a whole number from {MIN} to {MAX}");
        integer(value, &wanted)?
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| must_be(value, &wanted))
    }
}

impl Value for Count {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(0));
        }
        let wanted = "a whole number, or \"off\"";
        integer(value, wanted)?
            .and_then(|number| u64::try_from(number).ok())
            .map(Self)
            .ok_or_else(|| must_be(value, wanted))
    }
}

impl Value for Period {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Err(wrong(
                value,
                "is \"off\", but cannot be switched off: write a time like \"30s\"",
            ));
        }
        duration(value).map(Self)
    }
}

impl Value for Limit {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) || matches!(integer(value, ""), Ok(Some(0))) {
            return Ok(Self::OFF);
        }
        let duration = duration(value)?;
        Ok(if duration.is_zero() {
            Self::OFF
        } else {
            Self::of(duration)
        })
    }
}

impl Value for Mode {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "an octal number in quotes, like \"0660\"";
        let digits = string(value, wanted)?;
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|&mode| octal && mode <= 0o777)
            .map(Self)
            .ok_or_else(|| {
                wrong(
                    value,
                    format!("is {digits:?}, but must be {wanted}, at most \"0777\""),
                )
            })
    }
}

impl Value for Locale {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(None));
        }
        string(value, "the name of a locale, like \"C.UTF-8\", or \"off\"")?;
        String::from_toml(value).map(Some).map(Self)
    }
}

impl Value for Pattern {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        glob::Pattern::new(&text).map_err(|error| {
            wrong(
                value,
                format!("is {text:?}, which is no pattern: {error}: mend it"),
            )
        })?;
        Ok(Self(text))
    }
}

impl Value for Target {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a path, like \"/healthz\", or \"off\"";
        let text = string(value, wanted)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        if !text.starts_with('/') || !text.chars().all(plain) {
            return Err(must_be(value, wanted));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

impl Value for Mount {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a path, like \"/\" or \"/shop\"";
        let text = string(value, wanted)?;
        if !text.starts_with('/') {
            return Err(must_be(value, wanted));
        }
        if text == "/" {
            return Ok(Self(String::new()));
        }
        let mut parts = text.split('/').skip(1);
        if parts.any(|part| matches!(part, "" | "." | "..")) {
            return Err(wrong(
                value,
                format!(
                    "is {text:?}, which no request is for: write it without \"//\", \".\", \"..\" and a slash at its end"
                ),
            ));
        }
        if text.contains(|c: char| c.is_control() || matches!(c, '?' | '#' | '%')) {
            return Err(wrong(
                value,
                format!(
                    "is {text:?}: write the path alone, with characters as they are and not as %20"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Value for LogLevel {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(
            value,
            &[
                ("error", Self::Error),
                ("warn", Self::Warn),
                ("info", Self::Info),
                ("debug", Self::Debug),
                ("trace", Self::Trace),
            ],
        )
    }
}

impl Value for Retry {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(
            value,
            &[
                ("off", Self::Off),
                ("unsent", Self::Unsent),
                ("idempotent", Self::Idempotent),
            ],
        )
    }
}

impl Value for Environment {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(must_be(value, "a table, like { NAME = \"value\" }"));
        };
        let variable = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &str = std::borrow::Cow::as_ref(name.get_ref());
            variable(name, value).map(|text| (name.to_owned(), text))
        };
        table
            .iter()
            .map(variable)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The value of the variable `name`.
fn variable(name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(wrong(
            value,
            format!("has a variable {name:?}: a name is not empty and has no = in it"),
        ));
    }
    if let Some(why) = reserved(name) {
        return Err(wrong(
            value,
            format!("has the variable {name}, which {why}"),
        ));
    }
    match value.get_ref() {
        DeValue::String(text) if text.contains('\0') => Err(wrong(
            value,
            format!("has a NUL character in {name}: remove it"),
        )),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => Err(wrong(
            value,
            format!(
                "has {name} = {0}, but variables are strings: write \"{0}\"",
                found(other)
            ),
        )),
        other => Err(wrong(
            value,
            format!("has {} for {name}, but variables are strings", found(other)),
        )),
    }
}

/// Why nobody but the daemon may set the variable `name`.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    (name.starts_with("STOCKADE_") || name == "FCGI_WEB_SERVER_ADDRS")
        .then_some("is the daemon's to set or not: remove it")
}

fn duration(value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrong> {
    let wanted = "a time: a whole number and a unit, like \"250ms\", \"30s\", \"5m\" or \"1h\"";
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(_) => found(value.get_ref()),
        _ => return Err(must_be(value, wanted)),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if !number.is_empty() && unit.is_empty() {
        return Err(wrong(
            value,
            format!(
                "is {}, a number without a unit: write \"{number}s\" for seconds or \"{number}ms\" for milliseconds",
                found(value.get_ref())
            ),
        ));
    }
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(must_be(value, wanted)),
    };
    if number.is_empty() {
        return Err(must_be(value, wanted));
    }
    number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .filter(|&duration| duration <= LONGEST)
        .ok_or_else(|| {
            wrong(
                value,
                format!("is {text:?}, more than a year: write at most \"8760h\""),
            )
        })
}

pub(super) fn one_of<T: Copy>(
    value: &Spanned<DeValue<'_>>,
    words: &[(&str, T)],
) -> Result<T, Wrong> {
    let wanted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let wanted = format!("one of {}", wanted.join(", "));
    let text = string(value, &wanted)?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| must_be(value, &wanted))
}

pub(super) fn is_off(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::String(text) if text == "off")
}

pub(super) fn string<'a>(value: &'a Spanned<DeValue<'_>>, wanted: &str) -> Result<&'a str, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(must_be(value, wanted)),
    }
}

/// The number; none when it is larger than any we know.
pub(super) fn integer(value: &Spanned<DeValue<'_>>, wanted: &str) -> Result<Option<i128>, Wrong> {
    match value.get_ref() {
        DeValue::Integer(number) => Ok(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::String(text) if text.parse::<i128>().is_ok() => Err(wrong(
            value,
            format!("is {text:?}, but must be {wanted}: leave out the quotes"),
        )),
        _ => Err(must_be(value, wanted)),
    }
}

pub(super) fn must_be(value: &Spanned<DeValue<'_>>, wanted: &str) -> Wrong {
    let found = found(value.get_ref());
    wrong(value, format!("is {found}, but must be {wanted}"))
}

pub(super) fn wrong(value: &Spanned<DeValue<'_>>, why: impl Into<String>) -> Wrong {
    Wrong {
        at: value.span(),
        why: why.into(),
    }
}

/// The value in the words of a sentence.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Any deadline must be far from the end of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
