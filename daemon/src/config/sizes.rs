//! Sizes: a whole number and a unit, in quotes; and switches.

use toml::{Spanned, de::DeValue};

use super::values::{Value, Wrong, is_off, must_be, wrong};

/// A size from `MIN` to `MAX` bytes, that cannot be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub u64);

/// The most that something may have, in bytes; none: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling(pub Option<u64>);

impl<const MIN: u64, const MAX: u64> Value for Size<MIN, MAX> {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            let why = "is \"off\", but cannot be switched off: write a size like \"64KiB\"";
            return Err(wrong(value, why));
        }
        let bytes = size(value)?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Self(bytes));
        }
        let (least, most) = (in_words(MIN), in_words(MAX));
        Err(wrong(
            value,
            format!("is {}, but must be from {least} to {most}", in_words(bytes)),
        ))
    }
}

impl Value for Ceiling {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(None));
        }
        let bytes = size(value).map_err(|error| or_off(value, error))?;
        Ok(Self(Some(bytes).filter(|bytes| *bytes > 0)))
    }
}

/// What can be switched off.
impl<T: Value> Value for Option<T> {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(None);
        }
        let read = T::from_toml(value).map_err(|error| or_off(value, error))?;
        Ok(Some(read))
    }
}

/// What others write for no limit has a word of its own.
fn or_off(value: &Spanned<DeValue<'_>>, error: Wrong) -> Wrong {
    match value.get_ref() {
        DeValue::String(text) if matches!(&**text, "unlimited" | "infinity" | "max") => wrong(
            value,
            format!("is {text:?}: write \"off\" where there is to be no limit"),
        ),
        _ => error,
    }
}

impl Value for bool {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(must_be(value, "true or false, without quotes")),
        }
    }
}

pub(super) fn size(value: &Spanned<DeValue<'_>>) -> Result<u64, Wrong> {
    let wanted = "a size: a whole number and a unit, like \"64KiB\", \"10MiB\" or \"1GiB\"";
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.as_str() == "0" => return Ok(0),
        DeValue::Integer(number) => {
            return Err(wrong(
                value,
                format!(
                    "is {0}, a number without a unit: write \"{0}KiB\" or \"{0}B\"",
                    number.as_str()
                ),
            ));
        }
        _ => return Err(must_be(value, wanted)),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => {
            let meant = binary(unit).filter(|_| digits > 0);
            return Err(meant.map_or_else(
                || must_be(value, wanted),
                |unit| {
                    let why = format!("is {text:?}, a size in a unit that is not known here: write \"{number}{unit}\"");
                    wrong(value, why)
                },
            ));
        }
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| must_be(value, wanted))
}

/// The unit that others write so: "512M", "1GB".
fn binary(unit: &str) -> Option<&'static str> {
    match &*unit.to_ascii_lowercase() {
        "k" | "kb" | "ki" | "kib" => Some("KiB"),
        "m" | "mb" | "mi" | "mib" => Some("MiB"),
        "g" | "gb" | "gi" | "gib" => Some("GiB"),
        "b" => Some("B"),
        _ => None,
    }
}

/// In the largest unit that it is a whole number of.
pub(crate) fn in_words(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units
        .into_iter()
        .find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    let (size, unit) = unit.unwrap_or((1, "B"));
    format!("{}{unit}", bytes / size)
}
