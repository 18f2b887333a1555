//! The form of what only these keys have.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Spanned, de::DeValue};

use super::super::{
    sizes,
    values::{Value, Wrong, integer, is_off, must_be, one_of, wrong},
};

/// A path; none: "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct PathOrOff(pub Option<PathBuf>);

/// `cpu-priority`: -20 is before all others, 19 behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Priority(pub i32);

/// `cpu-policy`: how the system shares the processors out (`man 7 sched`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuPolicy {
    /// Who has come to have work waits until who is at work pauses, or has had its share: SCHED_BATCH.
    Batch,
    /// Only what nobody else wants: SCHED_IDLE.
    Idle,
    /// What the daemon has.
    #[default]
    Inherit,
}

/// `core-size`, in bytes; the largest number: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct CoreSize(pub u64);

impl Value for PathOrOff {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(None));
        }
        PathBuf::from_toml(value).map(|path| Self(Some(path)))
    }
}

impl Value for Priority {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a whole number from -20 (before all others) to 19";
        integer(value, wanted)?
            .and_then(|number| i32::try_from(number).ok())
            .filter(|number| (-20..=19).contains(number))
            .map(Self)
            .ok_or_else(|| must_be(value, wanted))
    }
}

impl Value for CpuPolicy {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(
            value,
            &[
                ("batch", Self::Batch),
                ("idle", Self::Idle),
                ("inherit", Self::Inherit),
            ],
        )
    }
}

impl Value for CoreSize {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        match value.get_ref() {
            DeValue::String(text) if text == "0" => Ok(Self(0)),
            DeValue::String(text) if text == "unlimited" => Ok(Self(u64::MAX)),
            DeValue::String(text) if text == "off" => Err(wrong(
                value,
                "is \"off\", which may mean two things: write \"0\" for none or \"unlimited\"",
            )),
            _ => sizes::size(value).map(Self),
        }
    }
}
