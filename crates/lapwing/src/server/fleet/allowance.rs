//! How much may be told in a second. Pure: time is an argument.

use std::time::Duration;

/// Bytes that are left of a second.
pub struct Allowance {
    per_second: usize,
    began: Duration,
    used: usize,
    lost: u64,
}

impl Allowance {
    /// So many bytes a second.
    #[must_use]
    pub fn new(per_second: usize) -> Self {
        Self {
            per_second,
            began: Duration::ZERO,
            used: 0,
            lost: 0,
        }
    }

    /// Takes room for something so long; false, and counted, when this second has none for it.
    pub fn take(&mut self, bytes: usize, now: Duration) -> bool {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            (self.began, self.used) = (now, 0);
        }
        let fits = self.used + bytes <= self.per_second;
        match fits {
            true => self.used += bytes,
            false => self.lost += 1,
        }
        fits
    }

    /// How many found no room since this was asked last; none when all did.
    pub fn lost(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.lost)).filter(|lost| *lost > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_much_and_the_next_one_again() {
        let at = Duration::from_millis;
        let mut allowance = Allowance::new(10);
        assert!(allowance.take(4, at(5000)) && allowance.take(6, at(5999)));
        assert!(!allowance.take(1, at(5999)));
        assert_eq!((allowance.lost(), allowance.lost()), (Some(1), None));
        assert!(allowance.take(10, at(6000)));
        assert!(!allowance.take(11, at(7000)), "it never fits");
    }
}
