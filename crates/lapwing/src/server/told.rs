//! When something was last told that may come again and again.

use std::time::{Duration, Instant};

/// Lets it be told at most once a second, with how often it came since.
#[derive(Default)]
pub struct Repeats {
    told: Told,
    count: u64,
}

impl Repeats {
    /// It came. When it is to be told now: how often it came since it was told last, this time included.
    pub fn come(&mut self) -> Option<u64> {
        self.count += 1;
        self.told.is_due().then(|| std::mem::take(&mut self.count))
    }
}

/// Lets it be told at most once a second.
#[derive(Default)]
pub struct Told(Option<Instant>);

impl Told {
    /// Whether it is to be told now; then it counts as told.
    pub fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|told| told.elapsed() >= Duration::from_secs(1));
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_within_a_second_is_counted_for_the_next_time() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.come(), Some(1));
        repeats.told = Told(Some(Instant::now() + Duration::from_secs(1000)));
        assert_eq!([repeats.come(), repeats.come()], [None, None]);
        repeats.told = Told::default();
        assert_eq!(repeats.come(), Some(3));
    }
}
