//! What happened when, in bounded memory.

use std::time::Duration;

/// What happened in one stretch of time, to be put together with what follows it.
pub trait Stretch: Default {
    /// Takes what happened in the stretch behind this one.
    fn join(&mut self, later: Self);
}

/// Stretches of equal length, one behind the other from the start of a run.
///
/// A run that gets longer than [`STRETCHES_MAX`] of them has each two neighbours put together, so stretches are twice as long from
/// then on: memory is bounded however long it lasts, and between half as many and all of them are in use.
#[derive(Debug)]
pub struct Timeline<S> {
    length: Duration,
    stretches: Vec<S>,
}

impl<S: Stretch> Timeline<S> {
    /// The stretch in which a moment lies, counted from the start of the run.
    pub fn at(&mut self, moment: Duration) -> &mut S {
        let place = |length: Duration| (moment.as_nanos() / length.as_nanos()) as usize;
        while place(self.length) >= STRETCHES_MAX {
            self.put_together();
        }
        let at = place(self.length);
        if self.stretches.len() <= at {
            self.stretches.resize_with(at + 1, S::default);
        }
        &mut self.stretches[at]
    }

    /// How long each stretch is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// All stretches in their order, up to the last in which something happened.
    #[must_use]
    pub fn stretches(&self) -> &[S] {
        &self.stretches
    }

    fn put_together(&mut self) {
        let mut each = std::mem::take(&mut self.stretches).into_iter();
        while let Some(mut first) = each.next() {
            if let Some(second) = each.next() {
                first.join(second);
            }
            self.stretches.push(first);
        }
        self.length *= 2;
    }
}

impl<S> Default for Timeline<S> {
    fn default() -> Self {
        Self {
            length: LENGTH_FIRST,
            stretches: Vec::new(),
        }
    }
}

/// More than a picture has room for side by side.
pub const STRETCHES_MAX: usize = 1024;

/// 50 ms: fine enough for a run of a few seconds, and a minute has room.
const LENGTH_FIRST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq)]
    struct Seen(Vec<u64>);

    impl Stretch for Seen {
        fn join(&mut self, later: Self) {
            self.0.extend(later.0);
        }
    }

    #[track_caller]
    fn check(seconds: &[u64], length_ms: u64) {
        let mut timeline = Timeline::<Seen>::default();
        for &second in seconds {
            timeline.at(Duration::from_secs(second)).0.push(second);
        }
        assert_eq!(timeline.length(), Duration::from_millis(length_ms));
        assert!(timeline.stretches().len() <= STRETCHES_MAX);
        let all: Vec<u64> = timeline.stretches().iter().flat_map(|seen| seen.0.clone()).collect();
        assert_eq!(all, seconds);
        for (at, seen) in timeline.stretches().iter().enumerate() {
            let (begin, end) = (timeline.length() * at as u32, timeline.length() * (at as u32 + 1));
            assert!(
                seen.0
                    .iter()
                    .all(|second| (begin..end).contains(&Duration::from_secs(*second)))
            );
        }
    }

    #[test]
    fn a_longer_run_has_longer_stretches_and_loses_nothing() {
        check(&[], 50);
        check(&[0, 1, 51], 50);
        check(&[0, 1, 52], 100);
        check(&[0, 1, 52, 103, 400], 400);
        // A year.
        check(&[7, 8, 86_400, 31_536_000], 50 << 20);
    }
}
