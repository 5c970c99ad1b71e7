//! Chance from a seed: the same numbers for a seed on every machine.

/// A small generator (SplitMix64): good enough to choose faults and sizes, and its whole state is one number.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one purpose, so that one purpose's throws never shift another's.
    pub fn apart(seed: u64, purpose: &str, number: u64) -> Self {
        // FNV-1a keeps purposes apart; the first throw mixes it well.
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut dice = Self(seed ^ name.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.throw();
        dice
    }

    /// The next 64 bits.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to below `high`; `low` if there is none.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            low
        } else {
            low + self.throw() % (high - low)
        }
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.within(0, times) == 0
    }

    /// One of several; `None` of none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::try_from(self.within(0, all.len() as u64)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_gives_the_same_throws_and_purposes_are_apart() {
        let throws = |mut dice: Dice| [dice.throw(), dice.throw(), dice.throw()];
        assert_eq!(throws(Dice::new(7)), throws(Dice::new(7)));
        assert_ne!(throws(Dice::apart(7, "proxy", 0)), throws(Dice::apart(7, "proxy", 1)));
        assert_ne!(throws(Dice::apart(7, "proxy", 0)), throws(Dice::apart(7, "nemesis", 0)));
    }

    #[test]
    fn a_number_stays_within_its_bounds() {
        let mut dice = Dice::new(1);
        assert!(
            (0..1000)
                .map(|_| dice.within(3, 9))
                .all(|number| (3..9).contains(&number))
        );
        assert_eq!(dice.within(5, 5), 5);
    }
}
