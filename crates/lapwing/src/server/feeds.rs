//! A worker's readers of all topics, and which of its connections follow which.

use std::collections::BTreeSet;
use std::sync::Arc;

use lapwing_wire::deflate::Deflater;
use lapwing_wire::position::Offset;

use super::key::Key;
use super::topics::{Topic, TopicId, Topics};
use crate::log::hold::Pin;
use crate::log::reader::{Fetched, Reader, View};
use crate::session::Readers;

/// One worker's view of all topics.
pub struct Feeds {
    feeds: Vec<Feed>,
    /// Of all topics, for clients that want compressed messages.
    deflater: Deflater,
    /// The topics that hold back their source for their slowest reader.
    holds: Vec<Hold>,
    /// The topics whose followers were woken in this round, and when the oldest of what woke them was appended.
    woken: Vec<(TopicId, u64)>,
    /// Connections that wait to be told where they begin.
    unsettled: BTreeSet<Key>,
}

/// This worker's say in what a topic holds.
struct Hold {
    topic: TopicId,
    pin: Pin,
    /// Of places that were granted, until the followers' places are told anew.
    granted: Vec<Pin>,
}

struct Feed {
    canonical: Reader,
    /// Of views that the log does not hold: each is made when the first session comes that wants it, and let go with the last.
    others: Vec<Other>,
    /// The visible end when followers were last woken.
    seen: Offset,
    seen_end: bool,
    seen_generation: u16,
    followers: BTreeSet<Key>,
}

struct Other {
    reader: Reader,
    followers: usize,
}

impl Feed {
    fn other(&self, view: View) -> Option<usize> {
        self.others.iter().position(|other| other.reader.view() == view)
    }
}

impl Feeds {
    /// Readers of all topics, nobody following.
    #[must_use]
    pub fn new(topics: &Topics) -> Self {
        let feed = |log: &Arc<crate::log::Log>| Feed {
            canonical: Reader::new(log.clone(), View::Canonical),
            others: Vec::new(),
            seen: log.next(),
            seen_end: log.has_ended(),
            seen_generation: log.generation(),
            followers: BTreeSet::new(),
        };
        let hold = |topic: &Topic| {
            Some(Hold {
                topic: topic.id,
                pin: topic.log.pin()?,
                granted: Vec::new(),
            })
        };
        Self {
            feeds: topics.iter().map(|topic| feed(&topic.log)).collect(),
            deflater: Deflater::default(),
            holds: topics.iter().filter_map(hold).collect(),
            woken: Vec::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Connection `key` is woken at every ring, until it is settled.
    pub fn unsettle(&mut self, key: Key) {
        self.unsettled.insert(key);
    }

    /// Whether connection `key` was waiting to be told where it begins; it is not from now on.
    pub fn settle(&mut self, key: Key) -> bool {
        !self.unsettled.is_empty() && self.unsettled.remove(&key)
    }

    /// The connections that wait to be told where they begin.
    pub fn unsettled(&self) -> impl Iterator<Item = Key> {
        self.unsettled.iter().copied()
    }

    /// Keeps hold of a place that was granted in a topic, until the followers' places are told.
    pub fn keep(&mut self, topic: TopicId, pin: Pin) {
        if let Some(hold) = self.holds.iter_mut().find(|hold| hold.topic == topic) {
            hold.granted.push(pin);
        }
    }

    /// Tells the topics that hold back their source where the slowest follower is, if it matters. `place` gives the place of
    /// a connection in a topic. Between two calls a topic holds more than it must, never less.
    pub fn tell_places(&mut self, place: impl Fn(Key, TopicId) -> Option<Offset>) {
        for hold in &mut self.holds {
            if hold.granted.is_empty() && !hold.pin.is_wanted() {
                continue;
            }
            let followers = self.feeds[hold.topic.0 as usize].followers.iter();
            hold.pin.put(followers.filter_map(|key| place(*key, hold.topic)).min());
            hold.granted.clear();
        }
    }

    /// Connection `key` follows a topic in this view from now on.
    pub fn follow(&mut self, topic: TopicId, view: View, key: Key) {
        let feed = &mut self.feeds[topic.0 as usize];
        if !feed.followers.insert(key) {
            return;
        }
        let log = feed.canonical.log();
        log.on_follow();
        match feed.other(view) {
            _ if view == View::Canonical => {}
            Some(at) => feed.others[at].followers += 1,
            None => feed.others.push(Other {
                reader: Reader::new(log.clone(), view),
                followers: 1,
            }),
        }
    }

    /// Connection `key` follows it no longer.
    pub fn unfollow(&mut self, topic: TopicId, view: View, key: Key) {
        let feed = &mut self.feeds[topic.0 as usize];
        if !feed.followers.remove(&key) {
            return;
        }
        feed.canonical.log().on_unfollow();
        if let Some(at) = feed.other(view) {
            feed.others[at].followers -= 1;
            if feed.others[at].followers == 0 {
                feed.others.swap_remove(at);
            }
        }
    }

    /// Takes a page of a file that a follower wants to read in this view.
    pub fn put(&mut self, topic: TopicId, view: View, page: Fetched) {
        let feed = &mut self.feeds[topic.0 as usize];
        match feed.other(view) {
            Some(at) => feed.others[at].reader.put(page),
            None => feed.canonical.put(page),
        }
    }

    /// Brings the readers up to date, and tells `wake` every follower of a topic that has something new.
    pub fn refresh(&mut self, mut wake: impl FnMut(Key)) {
        for (at, feed) in self.feeds.iter_mut().enumerate() {
            let (next, end) = feed.canonical.refresh();
            for other in &mut feed.others {
                other.reader.refresh();
            }
            let generation = feed.canonical.generation();
            if next != feed.seen || end != feed.seen_end || generation != feed.seen_generation {
                // Those who watch the server's own topics are no measure of how it serves the others.
                let counts = !feed.followers.is_empty() && !feed.canonical.log().topic().is_reserved();
                let appended = counts.then(|| feed.canonical.appended(feed.seen));
                self.woken
                    .extend(appended.flatten().map(|mono| (TopicId(at as u32), mono)));
                feed.seen = next;
                feed.seen_end = end;
                feed.seen_generation = generation;
                feed.followers.iter().copied().for_each(&mut wake);
            }
        }
        self.unsettled.iter().copied().for_each(wake);
    }
}

impl Feeds {
    /// The topics whose followers were woken since this was last asked, each with the instant at which the oldest of what woke them
    /// was appended.
    pub fn take_woken(&mut self) -> impl Iterator<Item = (TopicId, u64)> {
        self.woken.drain(..)
    }
}

impl Readers for Feeds {
    fn reader(&self, topic: u32, view: View) -> &Reader {
        let feed = &self.feeds[topic as usize];
        feed.other(view).map_or(&feed.canonical, |at| &feed.others[at].reader)
    }
    fn prepare(&mut self, topic: u32, view: View, cursor: Offset) {
        let feed = &mut self.feeds[topic as usize];
        if let Some(at) = feed.other(view) {
            feed.others[at].reader.prepare(cursor, &mut self.deflater);
        }
    }
}
