//! Which worker is given the next request.
//!
//! The one with the fewest busy slots: its slots share an interpreter, a core, a memory limit. Among equals the most
//! recently used: its caches are warm, and those left idle can be spared. A suspect (its last connection ended without
//! an answer) only when no other has a free slot, so that a dying worker does not eat one request after another.

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Links, Place};

/// A worker's rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rank {
    pub(super) suspect: bool,
    /// Its busy slots.
    pub(super) level: u32,
}

/// The workers that have a free slot and may be given requests, by place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ranks {
    links: Links,
    trusted: Levels,
    suspects: Levels,
}

/// Workers by their busy slots, most recently used first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Levels {
    chains: Vec<Chain>,
    /// No level below this one has a worker.
    lowest: usize,
    workers: u32,
}

impl Ranks {
    /// The worker to choose.
    pub(super) fn first(&mut self) -> Option<Place> {
        self.trusted.first().or_else(|| self.suspects.first())
    }

    /// The worker with nothing to do that has had nothing to do for longest; suspects first.
    pub(super) fn longest_unused(&self) -> Option<Place> {
        [&self.suspects, &self.trusted]
            .into_iter()
            .find_map(|levels| levels.chains.first()?.last())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.trusted.workers == 0 && self.suspects.workers == 0
    }

    /// Adds a worker that was just used.
    pub(super) fn insert_used(&mut self, place: Place, rank: Rank) {
        let chain = Self::levels(&mut self.trusted, &mut self.suspects, rank).opened(rank.level);
        if let Some(chain) = chain {
            chain.push_first(place, &mut self.links);
        }
    }

    /// Adds a worker that was not just used: it comes after its equals.
    pub(super) fn insert_unused(&mut self, place: Place, rank: Rank) {
        let chain = Self::levels(&mut self.trusted, &mut self.suspects, rank).opened(rank.level);
        if let Some(chain) = chain {
            chain.push_last(place, &mut self.links);
        }
    }

    /// Takes out a worker that was added with `rank`.
    pub(super) fn remove(&mut self, place: Place, rank: Rank) {
        let levels = Self::levels(&mut self.trusted, &mut self.suspects, rank);
        if let Some(chain) = levels.chains.get_mut(rank.level as usize) {
            chain.remove(place, &mut self.links);
            levels.workers = levels.workers.saturating_sub(1);
        }
    }

    /// Every worker with its rank.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, Rank)> {
        [(&self.trusted, false), (&self.suspects, true)]
            .into_iter()
            .flat_map(|(levels, suspect)| {
                (0_u32..)
                    .zip(&levels.chains)
                    .map(move |(level, chain)| (Rank { suspect, level }, chain))
            })
            .flat_map(|(rank, chain)| chain.iter(&self.links).map(move |place| (place, rank)))
    }

    const fn levels<'a>(
        trusted: &'a mut Levels,
        suspects: &'a mut Levels,
        rank: Rank,
    ) -> &'a mut Levels {
        if rank.suspect { suspects } else { trusted }
    }
}

impl Levels {
    fn first(&mut self) -> Option<Place> {
        if self.workers == 0 {
            return None;
        }
        loop {
            let first = self.chains.get(self.lowest)?.first();
            if first.is_some() {
                return first;
            }
            self.lowest = self.lowest.saturating_add(1);
        }
    }

    /// The chain of a level that is about to have one more worker.
    fn opened(&mut self, level: u32) -> Option<&mut Chain> {
        let level = level as usize;
        if self.chains.len() <= level {
            self.chains
                .resize_with(level.saturating_add(1), Chain::default);
        }
        self.lowest = self.lowest.min(level);
        self.workers = self.workers.saturating_add(1);
        self.chains.get_mut(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rank(level: u32) -> Rank {
        Rank {
            suspect: false,
            level,
        }
    }

    #[test]
    fn fewest_busy_first_then_most_recently_used_then_suspects() {
        let mut ranks = Ranks::default();
        let suspect = Rank {
            suspect: true,
            level: 0,
        };
        ranks.insert_used(1, suspect);
        ranks.insert_used(2, rank(3));
        ranks.insert_used(3, rank(1));
        ranks.insert_used(4, rank(1));
        ranks.insert_unused(5, rank(1));
        let added = [
            (4, rank(1)),
            (3, rank(1)),
            (5, rank(1)),
            (2, rank(3)),
            (1, suspect),
        ];
        assert_eq!(ranks.iter().collect::<Vec<_>>(), added);
        for (place, rank) in added {
            assert_eq!(ranks.first(), Some(place));
            ranks.remove(place, rank);
        }
        assert_eq!(ranks.first(), None);
        assert!(ranks.is_empty());
        ranks.insert_unused(6, rank(0));
        assert_eq!(ranks.first(), Some(6));
    }
}
