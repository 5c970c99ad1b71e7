//! What one thread has counted, and what all threads have together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pace;
use super::times::Times;
use super::track::{Block, Track};
use crate::client::dial::DialError;

/// The counts of a run.
#[derive(Default)]
pub struct Books {
    /// By the number of the topic.
    pub topics: Vec<TopicBook>,
    /// Delivery latency of the messages that count.
    pub latency: Times,
    /// Messages that came before they were made, which have no latency: the clocks differ.
    pub before_made: u64,
    /// From the first step of a connect to the server's 101.
    pub connect: Times,
    /// When the first connect began.
    pub first_connect: Option<u64>,
    /// When the latest connection was open.
    pub last_open: u64,
    /// Connections that were opened.
    pub connected: u64,
    /// Why the others were not, and how often.
    pub refused: BTreeMap<String, u64>,
    /// The first of these.
    pub first_refusal: Option<DialError>,
    /// How connections ended before we ended them, and how often.
    pub ended: BTreeMap<String, u64>,
    /// Listeners that missed something, announced or not.
    pub listeners_missing: u64,
    /// Frames that are no envelope of Lapwing.
    pub foreign: u64,
    /// What a server said of a wish that it does not grant.
    pub complaint: Option<String>,
}

/// The counts of one topic.
#[derive(Default)]
pub struct TopicBook {
    /// Listeners that followed it to the end.
    pub followers: u64,
    /// The offset from which on all of them follow it.
    pub from: u64,
    /// The offset up to which all of them have it, none while there are none.
    pub next: Option<u64>,
    /// Messages that came, over all listeners.
    pub messages: u64,
    /// Announced as gone.
    pub announced: u64,
    /// Missing without a word.
    pub silent: u64,
    /// Came twice.
    pub repeated: u64,
    /// Came behind a later one.
    pub disordered: u64,
    /// By the size of the blocks.
    pub blocks: Vec<BlockBook>,
}

/// The times of the blocks of one size.
#[derive(Clone, Default)]
pub struct BlockBook {
    /// As they arrived.
    pub elapsed: Times,
    /// As they were made.
    pub source: Times,
    /// How much longer than their making those took that came late, all together.
    pub late: Duration,
}

impl Books {
    /// The counts of a topic, by its number.
    pub fn topic(&mut self, number: usize) -> &mut TopicBook {
        if self.topics.len() <= number {
            self.topics.resize_with(number + 1, TopicBook::default);
        }
        &mut self.topics[number]
    }

    /// Takes what a listener has counted, whose run ended at `end`; `stayed` says that nobody else ended it.
    pub fn close(&mut self, tracks: &[Track], end: u64, stayed: bool) {
        let mut missing = 0;
        for track in tracks {
            let silent = track.silent(end);
            missing += silent + track.announced;
            let book = self.topic(track.topic);
            book.announced += track.announced;
            book.silent += silent;
            book.repeated += track.repeated;
            book.disordered += track.disordered;
            if stayed {
                book.followers += 1;
                book.from = book.from.max(track.from);
                book.next = Some(book.next.map_or(track.next, |next| next.min(track.next)));
            }
        }
        self.listeners_missing += u64::from(missing > 0);
    }

    /// From the first connect to the last that was open.
    #[must_use]
    pub fn ramp(&self) -> Duration {
        let first = self.first_connect.unwrap_or(self.last_open);
        Duration::from_nanos(self.last_open.saturating_sub(first))
    }

    /// Notes that a connect begins.
    pub fn on_connect(&mut self, at: u64) {
        self.first_connect.get_or_insert(at);
    }

    /// Notes that a connection, which began at `began`, is open.
    pub fn on_open(&mut self, began: u64, at: u64) {
        self.connected += 1;
        self.connect.record(at.saturating_sub(began));
        self.last_open = self.last_open.max(at);
    }

    /// Notes why a connection was not opened.
    pub fn refuse(&mut self, error: DialError) {
        *self.refused.entry(error.to_string()).or_default() += 1;
        self.first_refusal.get_or_insert(error);
    }

    /// Takes what another thread has.
    pub fn merge(&mut self, other: Self) {
        for (number, theirs) in other.topics.into_iter().enumerate() {
            self.topic(number).merge(theirs);
        }
        self.latency.add(&other.latency);
        self.before_made += other.before_made;
        self.connect.add(&other.connect);
        self.first_connect = self.first_connect.into_iter().chain(other.first_connect).min();
        self.last_open = self.last_open.max(other.last_open);
        self.connected += other.connected;
        other
            .refused
            .into_iter()
            .for_each(|(why, count)| *self.refused.entry(why).or_default() += count);
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
        other
            .ended
            .into_iter()
            .for_each(|(how, count)| *self.ended.entry(how).or_default() += count);
        self.listeners_missing += other.listeners_missing;
        self.foreign += other.foreign;
        self.complaint = self.complaint.take().or(other.complaint);
    }
}

impl TopicBook {
    /// Takes the time of a block.
    pub fn on_block(&mut self, block: Block) {
        if self.blocks.len() <= block.size {
            self.blocks.resize_with(block.size + 1, BlockBook::default);
        }
        let book = &mut self.blocks[block.size];
        book.take(block.elapsed, block.source);
    }

    fn merge(&mut self, other: Self) {
        self.followers += other.followers;
        self.from = self.from.max(other.from);
        self.next = match (self.next, other.next) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.messages += other.messages;
        self.announced += other.announced;
        self.silent += other.silent;
        self.repeated += other.repeated;
        self.disordered += other.disordered;
        if self.blocks.len() < other.blocks.len() {
            self.blocks.resize_with(other.blocks.len(), BlockBook::default);
        }
        for (ours, theirs) in self.blocks.iter_mut().zip(&other.blocks) {
            ours.elapsed.add(&theirs.elapsed);
            ours.source.add(&theirs.source);
            ours.late += theirs.late;
        }
    }
}

impl BlockBook {
    /// Takes the time of a block, and its source's.
    pub fn take(&mut self, elapsed: Duration, source: Option<Duration>) {
        self.elapsed.record(nanos(elapsed));
        if let Some(source) = source {
            self.source.record(nanos(source));
            let longer = elapsed.saturating_sub(source);
            if longer > pace::lateness(source) {
                self.late += longer;
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_lies_between_the_last_to_come_and_the_first_to_end() {
        let heard = |from, to| {
            let mut track = Track::new(0, from, from, &[]);
            for offset in from..to {
                track.on_message(offset);
            }
            track
        };
        let mut books = Books::default();
        books.close(&[heard(10, 50)], 0, true);
        books.close(&[heard(12, 48)], 0, true);
        let mut other = Books::default();
        other.close(&[heard(11, 60)], 0, true);
        other.close(&[heard(30, 31)], 0, false);
        books.merge(other);
        let topic = &books.topics[0];
        assert_eq!((topic.followers, topic.from, topic.next), (3, 12, Some(48)));
        assert_eq!(books.listeners_missing, 0);
    }
}
