//! Chance as an argument: a small seeded generator (SplitMix64), part of a machine's state.

use serde::{Deserialize, Serialize};

/// A sequence that its seed decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(rest) => rest,
            None => 0,
        }
    }

    /// `most` less by up to a tenth, so that what began together does not end together; 0 stays 0.
    pub const fn less_a_tenth(&mut self, most: u64) -> u64 {
        most.saturating_sub(self.below((most / 10).saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_sequence() {
        let mut random = Random::new(1_234_567);
        let got = [random.next(), random.next(), random.next()];
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(got, published);
    }

    #[test]
    fn below_its_bound() {
        let mut random = Random::new(1);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[usize::try_from(random.below(6)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 6]);
    }

    #[test]
    fn jitter_takes_a_tenth_at_most() {
        let mut random = Random::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| random.less_a_tenth(1000)).collect();
        assert!(drawn.iter().all(|each| (900..=1000).contains(each)));
        assert!(drawn.iter().any(|each| *each < 910));
        assert!(drawn.iter().any(|each| *each > 990));
    }

    #[test]
    fn no_limit_stays_none_and_a_small_one_stays_one() {
        let mut random = Random::new(7);
        assert_eq!(random.less_a_tenth(0), 0);
        assert_eq!(random.less_a_tenth(1), 1);
        assert_eq!(random.less_a_tenth(9), 9);
    }
}
