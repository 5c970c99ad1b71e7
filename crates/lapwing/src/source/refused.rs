//! Lines that a source left out: told, but not thousands a second.

use std::sync::Arc;

use super::SourceEvents;
use crate::clock::Now;
use crate::terminal::form;

/// Tells the first ten of each second, and how many more there were.
pub struct Refused {
    events: Arc<dyn SourceEvents>,
    second: u64,
    told: u32,
    more: u64,
}

impl Refused {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new(events: Arc<dyn SourceEvents>) -> Self {
        Self {
            events,
            second: 0,
            told: 0,
            more: 0,
        }
    }

    /// A line was left out at this time; the sentence says which, and why.
    pub fn tell(&mut self, now: Now, sentence: impl FnOnce() -> String) {
        let second = now.mono / 1_000_000_000;
        if second != self.second {
            self.finish();
            self.second = second;
        }
        if self.told == TOLD_PER_SECOND {
            self.more += 1;
            return;
        }
        self.told += 1;
        self.events.tell(sentence());
    }

    /// The second or the feed is over: tells how many were not told.
    pub fn finish(&mut self) {
        self.told = 0;
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            self.events.tell(format!(
                "{} more left out for such reasons",
                form::counted(more, "line")
            ));
        }
    }
}

const TOLD_PER_SECOND: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::Told;

    #[test]
    fn ten_a_second_are_told_and_the_others_counted() {
        let told = Arc::new(Told::default());
        let mut refused = Refused::new(told.clone());
        let second = |second: u64| Now {
            mono: second * 1_000_000_000,
            ..Now::default()
        };
        for line in 0..1010 {
            refused.tell(second(5), || format!("line {line}"));
        }
        assert_eq!(told.take().len(), 10);
        refused.tell(second(6), || "line 1010".to_owned());
        assert_eq!(told.take(), ["1,000 lines more left out for such reasons", "line 1010"]);
        refused.finish();
        assert_eq!(told.take(), [""; 0]);
    }
}
