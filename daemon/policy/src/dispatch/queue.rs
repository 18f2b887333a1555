//! Who waits for a slot, in which order.
//!
//! Two lanes: replays, served first, and arrivals. Within a lane requests stand in the order in which they began to
//! wait, so the first of a lane is always the one whose `queue-timeout` ends first, whatever the limit is.

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Links, Place};

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Lane {
    /// Handed out once already.
    Replays,
    /// New.
    Arrivals,
}

impl Lane {
    /// In the order in which they are served.
    pub(super) const ALL: [Self; 2] = [Self::Replays, Self::Arrivals];
}

/// The requests that wait, by place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    links: Links,
    replays: Chain,
    arrivals: Chain,
}

impl Queue {
    pub(super) const fn length(&self) -> u32 {
        self.replays.length().saturating_add(self.arrivals.length())
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<Place> {
        self.replays.first().or_else(|| self.arrivals.first())
    }

    /// Who has waited longest in a lane.
    pub(super) const fn first_in(&self, lane: Lane) -> Option<Place> {
        match lane {
            Lane::Replays => self.replays.first(),
            Lane::Arrivals => self.arrivals.first(),
        }
    }

    pub(super) fn push(&mut self, place: Place, lane: Lane) {
        let chain = match lane {
            Lane::Replays => &mut self.replays,
            Lane::Arrivals => &mut self.arrivals,
        };
        chain.push_last(place, &mut self.links);
    }

    /// Takes out a request that waits in `lane`.
    pub(super) fn remove(&mut self, place: Place, lane: Lane) {
        let chain = match lane {
            Lane::Replays => &mut self.replays,
            Lane::Arrivals => &mut self.arrivals,
        };
        chain.remove(place, &mut self.links);
    }

    pub(super) fn iter(&self, lane: Lane) -> impl Iterator<Item = Place> + use<'_> {
        match lane {
            Lane::Replays => self.replays.iter(&self.links),
            Lane::Arrivals => self.arrivals.iter(&self.links),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_come_before_arrivals_each_in_order() {
        let mut queue = Queue::default();
        for (place, lane) in [
            (0, Lane::Arrivals),
            (1, Lane::Replays),
            (2, Lane::Arrivals),
            (3, Lane::Replays),
        ] {
            queue.push(place, lane);
        }
        assert_eq!(queue.length(), 4);
        let mut order = Vec::new();
        for lane in Lane::ALL {
            while let Some(place) = queue.first_in(lane) {
                assert_eq!(queue.first(), Some(place));
                order.push(place);
                queue.remove(place, lane);
            }
        }
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(queue.first(), None);
    }
}
