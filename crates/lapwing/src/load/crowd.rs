//! How long one message takes from the first listener that has it to the last.

use std::collections::HashMap;

use super::times::Times;

/// The recent messages of one topic, as the listeners of one thread have them.
#[derive(Default)]
pub struct Crowd {
    recent: Vec<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// The offset and 1, so that 0 is none.
    place: u64,
    first: u64,
    last: u64,
    listeners: u64,
}

/// A message that all listeners of one thread have: when the first had it, and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The number of the topic.
    pub topic: usize,
    /// Its place.
    pub offset: u64,
    /// When the first had it.
    pub first: u64,
    /// When the last had it.
    pub last: u64,
}

impl Crowd {
    /// One more listener has a message, one of so many; gives the message when it was the last.
    ///
    /// A message that some still lack when `RECENT` later ones have come is forgotten.
    pub fn on_arrival(&mut self, topic: usize, offset: u64, at: u64, followers: u64) -> Option<Heard> {
        if self.recent.is_empty() {
            self.recent.resize(RECENT, Seen::default());
        }
        let seen = &mut self.recent[(offset % RECENT as u64) as usize];
        match (offset + 1).cmp(&seen.place) {
            // A listener that is further behind than is remembered.
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Greater => {
                *seen = Seen {
                    place: offset + 1,
                    first: at,
                    last: at,
                    listeners: 0,
                };
            }
            std::cmp::Ordering::Equal => {}
        }
        seen.last = at;
        seen.listeners += 1;
        let (first, last) = (seen.first, seen.last);
        (seen.listeners == followers).then_some(Heard {
            topic,
            offset,
            first,
            last,
        })
    }
}

/// Puts together what the threads have.
#[derive(Default)]
pub struct Gathering {
    open: HashMap<(usize, u64), (u64, u64, usize)>,
    /// First to last, of every message that all listeners have.
    pub spread: Times,
}

impl Gathering {
    /// One of so many threads has a message with all its listeners. Messages of before `since` do not count.
    pub fn take(&mut self, heard: Heard, threads: usize, since: u64) {
        if heard.first < since {
            return;
        }
        if self.open.len() >= OPEN_MAX {
            // Some thread is far behind: what waits for it is given up, and so is not counted.
            self.open.clear();
        }
        let key = (heard.topic, heard.offset);
        let (first, last, have) = self.open.entry(key).or_insert((heard.first, heard.last, 0));
        (*first, *last, *have) = ((*first).min(heard.first), (*last).max(heard.last), *have + 1);
        if *have == threads {
            self.spread.record(*last - *first);
            self.open.remove(&key);
        }
    }
}

/// Which offsets are looked at: all of them until they are more than [`WATCHED_PER_SECOND`], then every other, every fourth …
///
/// So all threads look at the same, and a fast feed costs no more than a slow one.
#[must_use]
pub fn is_watched(offset: u64, stride: u64) -> bool {
    offset & (stride - 1) == 0
}

/// Messages a second that are enough to see how a crowd is served.
pub const WATCHED_PER_SECOND: u64 = 5000;

/// Messages of one topic that are remembered.
const RECENT: usize = 4096;

const OPEN_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_when_all_have_it_in_every_thread() {
        let (mut one, mut two) = (Crowd::default(), Crowd::default());
        assert_eq!(one.on_arrival(0, 5, 100, 2), None);
        let here = one.on_arrival(0, 5, 130, 2).expect("both have it");
        let there = two.on_arrival(0, 5, 90, 1).expect("the only one has it");
        let mut gathering = Gathering::default();
        gathering.take(here, 2, 50);
        assert_eq!(gathering.spread.count(), 0);
        gathering.take(there, 2, 50);
        assert_eq!(gathering.spread.max(), Some(std::time::Duration::from_nanos(40)));
        assert!(gathering.open.is_empty());
        gathering.take(here, 1, 101);
        assert_eq!(gathering.spread.count(), 1, "it began too early");
    }

    #[test]
    fn memory_is_bounded_and_the_far_behind_are_not_waited_for() {
        let mut crowd = Crowd::default();
        for offset in 0..10_000 {
            assert_eq!(crowd.on_arrival(0, offset, offset, 2), None);
        }
        assert_eq!(crowd.on_arrival(0, 0, 20_000, 2), None);
        assert!(crowd.on_arrival(0, 9_999, 20_000, 2).is_some());
        assert_eq!(crowd.recent.len(), RECENT);
        let mut gathering = Gathering::default();
        for offset in 0..=OPEN_MAX as u64 {
            gathering.take(
                Heard {
                    topic: 0,
                    offset,
                    first: 1,
                    last: 2,
                },
                2,
                0,
            );
        }
        assert_eq!(gathering.open.len(), 1);
    }

    #[test]
    fn every_other_message_is_enough_when_there_are_many() {
        let watched = |stride| (0..16).filter(|offset| is_watched(*offset, stride)).count();
        assert_eq!([watched(1), watched(2), watched(8)], [16, 8, 2]);
    }
}
