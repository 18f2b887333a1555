//! Whose each of a worker's slots is: the serving relay's, that of one that was replaced, or nobody's.
//!
//! ```text
//!            the relay was replaced               it returns one
//! serving's ────────────────────────▶ former's ──────────────────▶ serving's
//!     │                                  │
//!     └──── the relay died ─▶ unknown ◀──┘
//!                                │ the worker answers
//!                                └───────────────────▶ serving's
//! ```

use std::collections::BTreeMap;

use super::relay_life::RelayNumber;

/// The slots of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases {
    /// All of them, once the worker is offered.
    slots: u32,
    /// By relays that were replaced.
    former: BTreeMap<RelayNumber, u32>,
    /// Whoever gave a request to these is gone.
    unknown: u32,
}

impl Leases {
    /// The worker has so many slots, all of the serving relay.
    pub(super) const fn offered(&mut self, slots: u32) {
        self.slots = slots;
    }

    /// How many are not the serving relay's.
    pub(super) fn elsewhere(&self) -> u32 {
        self.former.values().sum::<u32>() + self.unknown
    }

    /// How many are nobody's.
    pub(super) const fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Another relay serves in the place of `relay`, which keeps what it has until it returns it.
    pub(super) fn replaced(&mut self, relay: RelayNumber) {
        let has = self.slots.saturating_sub(self.elsewhere());
        if has > 0 {
            self.former.insert(relay, has);
        }
    }

    /// The serving relay is gone.
    pub(super) fn serving_gone(&mut self) {
        self.unknown += self.slots.saturating_sub(self.elsewhere());
    }

    /// A relay that was replaced is gone. Whether it had any slots left.
    pub(super) fn former_gone(&mut self, relay: RelayNumber) -> bool {
        let had = self.former.remove(&relay).unwrap_or_default();
        self.unknown += had;
        had > 0
    }

    /// A relay that was replaced returns a slot. False: it has none.
    pub(super) fn returned(&mut self, relay: RelayNumber) -> bool {
        let Some(has) = self.former.get_mut(&relay) else {
            return false;
        };
        *has -= 1;
        if *has == 0 {
            self.former.remove(&relay);
        }
        true
    }

    /// The serving relay lends a slot to one that was replaced.
    pub(super) fn lent(&mut self, to: RelayNumber) {
        *self.former.entry(to).or_default() += 1;
    }

    /// The worker has answered: what nobody knew of is free. How many.
    pub(super) const fn answered(&mut self) -> u32 {
        std::mem::replace(&mut self.unknown, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: RelayNumber = RelayNumber(1);
    const NEW: RelayNumber = RelayNumber(2);

    fn offered() -> Leases {
        let mut leases = Leases::default();
        leases.offered(3);
        leases
    }

    #[test]
    fn what_a_replaced_relay_has_is_elsewhere_until_it_returns_it() {
        let mut leases = offered();
        assert_eq!(leases.elsewhere(), 0);
        leases.replaced(OLD);
        for left in [2, 1, 0] {
            assert_eq!(leases.elsewhere(), left + 1);
            assert!(leases.returned(OLD));
        }
        assert!(!leases.returned(OLD));
        leases.lent(OLD);
        assert_eq!(leases.elsewhere(), 1);
        // and once more, while the first has one
        leases.replaced(NEW);
        assert_eq!(leases.elsewhere(), 3);
        assert!(leases.returned(NEW) && leases.returned(NEW));
        assert!(!leases.returned(NEW));
        assert!(leases.returned(OLD));
    }

    #[test]
    fn what_a_dead_relay_had_is_unknown_until_the_worker_answers() {
        let mut leases = offered();
        leases.replaced(OLD);
        assert!(leases.returned(OLD));
        leases.serving_gone();
        assert_eq!((leases.unknown(), leases.elsewhere()), (1, 3));
        assert!(leases.former_gone(OLD));
        assert!(!leases.former_gone(OLD));
        assert_eq!(leases.answered(), 3);
        assert_eq!(leases.elsewhere(), 0);
    }
}
