//! The shape of the tables in a pool's table, which `[defaults]` may have too. A pool that has such a table takes nothing of it from
//! `[defaults]`: its keys belong together.

use std::path::PathBuf;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    errors::{Place, Problems},
    file::{given, keys, refuse_strangers},
    given::{Given, Spot, wrong},
    sizes::Size,
    values::{Pattern, Period, Value, Whole, Wrong, integer, must_be},
};

keys! {
    /// `[pool.NAME.scale]`.
    ScaleKeys {
        minimum = "minimum": Whole<0, 10_000>,
        maximum = "maximum": Whole<1, 10_000>,
        spare = "spare": Whole<0, 10_000>,
        queue_wait = "queue-wait": Period,
        idle_timeout = "idle-timeout": Period,
    }
    later:
}

keys! {
    /// `[pool.NAME.reload]`.
    ReloadKeys {
        surge = "surge": Share,
        touch = "touch": Vec<Spanned<PathBuf>>,
        watch = "watch": Vec<Spanned<Pattern>>,
    }
    later:
}

keys! {
    /// `[pool.NAME.cgroup]`.
    CgroupKeys {
        memory_max = "memory-max": Option<Size<MIB, { 1 << 50 }>>,
        memory_high = "memory-high": Option<Size<MIB, { 1 << 50 }>>,
        pids_max = "pids-max": Option<Whole<1, 4_194_304>>,
        cpu_max = "cpu-max": Option<OfProcessor>,
        cpu_weight = "cpu-weight": Option<Whole<1, 10_000>>,
    }
    later:
}

/// Processor time, in hundredths of one processor: "150%".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OfProcessor(pub u32);

/// So many workers, or so many for each hundred: 1, "25%".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Workers(u32),
    Percent(u32),
}

/// A table that is read as a whole.
pub(super) trait Subtable: Sized {
    /// Reads it; what is wrong in it is noted.
    fn of(table: &DeTable<'_>, place: &Place, problems: &mut Problems) -> Self;
}

/// The table `key` in the table of `place`.
pub(super) fn subtable<T: Subtable>(
    table: &DeTable<'_>,
    place: &Place,
    key: &'static str,
    problems: &mut Problems,
) -> Option<Given<T>> {
    let value: &Spanned<DeValue<'_>> = table.get(key)?;
    let inner = Place::Table(Box::new(place.clone()), key);
    let DeValue::Table(keys) = value.get_ref() else {
        let heading = inner.heading();
        let why = format!("must be a table: write {heading} on a line of its own above its keys");
        problems.add(wrong(place, key, value.span(), why));
        return None;
    };
    Some(Given {
        value: T::of(keys, &inner, problems),
        spot: Spot {
            place: place.clone(),
            key,
            at: table
                .get_key_value(key)
                .map_or_else(|| value.span(), |(name, _)| name.span()),
        },
    })
}

impl Value for Share {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a whole number from 1 to 10000, or a part of the workers like \"25%\"";
        if let DeValue::String(text) = value.get_ref() {
            let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
            return percent
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::Percent)
                .ok_or_else(|| must_be(value, wanted));
        }
        integer(value, wanted)?
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=10_000).contains(number))
            .map(Self::Workers)
            .ok_or_else(|| must_be(value, wanted))
    }
}

impl Value for OfProcessor {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let percent = match value.get_ref() {
            DeValue::String(text) => text.strip_suffix('%').and_then(|text| text.parse().ok()),
            _ => None,
        };
        let wanted = "a part of one processor from \"1%\" to \"100000%\", like \"150%\"";
        percent
            .filter(|percent| (1..=100_000).contains(percent))
            .map(Self)
            .ok_or_else(|| must_be(value, wanted))
    }
}

const MIB: u64 = 1 << 20;
