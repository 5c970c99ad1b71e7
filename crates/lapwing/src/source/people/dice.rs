//! Fair choices from a key stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::source::seed::key_stream;

/// Draws bounded numbers from 32-bit words of a key stream.
///
/// The arithmetic is spelled out because it decides who comes out of a seed: `rand` may change how it bounds a number in
/// any minor release.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(key_stream(seed, stream))
    }

    /// A number in `0..bound`, each equally likely (Lemire 2019, "Fast random integer generation in an interval").
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        debug_assert!(bound > 0);
        let mut product = u64::from(self.0.next_u32()) * u64::from(bound);
        if (product as u32) < bound {
            let unfair = bound.wrapping_neg() % bound;
            while (product as u32) < unfair {
                product = u64::from(self.0.next_u32()) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// A number in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_is_equally_likely() {
        let mut dice = Dice::new(1, 0);
        let mut seen = [0_u32; 7];
        for _ in 0..70_000 {
            seen[dice.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (9_600..10_400).contains(&count)), "{seen:?}");
    }

    #[test]
    fn the_ends_of_a_range_are_drawn() {
        let mut dice = Dice::new(1, 0);
        let drawn: Vec<u32> = (0..100).map(|_| dice.between(18, 20)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&18), Some(&20)));
        assert_eq!(dice.between(5, 5), 5);
    }
}
