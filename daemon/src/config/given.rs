//! A value of the file with its place, to be told what is wrong with it.

use std::ops::Range;

use super::errors::{Fault, Place, Problem};

/// A value of the file, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub value: T,
    pub spot: Spot,
}

/// A key's place in the file.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub place: Place,
    pub key: &'static str,
    /// The value.
    pub at: Range<usize>,
}

impl Spot {
    /// It stands in the pool's own table, not in `[defaults]`.
    pub(super) fn own(&self) -> bool {
        self.place.is_of_pool()
    }

    /// A problem with the value; `why` continues the sentence that the key begins.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Problem {
        self.wrong_at(self.at.clone(), why)
    }

    /// A problem with a part of the value.
    pub(super) fn wrong_at(&self, at: Range<usize>, why: impl Into<String>) -> Problem {
        wrong(&self.place, self.key, at, why)
    }
}

/// A problem with what stands at `at`.
pub(super) fn wrong(place: &Place, key: &str, at: Range<usize>, why: impl Into<String>) -> Problem {
    Problem {
        at: Some(at),
        fault: Fault::WrongValue {
            place: place.clone(),
            key: key.to_owned(),
            why: why.into(),
        },
    }
}
