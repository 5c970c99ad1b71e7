//! What the frames of one thread's listeners mean for its books.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use lapwing_wire::control::{CONTROL_PREFIX, ServerMessage, Subscribed};
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::time::TimeReader;
use lapwing_wire::topic::TopicName;

use super::books::Books;
use super::core_time::CoreTime;
use super::course::Course;
use super::crowd::{Crowd, is_watched};
use super::glance::{self, Glance, Time};
use super::plan::Plan;
use super::slice::Slice;
use super::stamp::Stamps;
use super::track::{Order, Track};
use crate::clock::Now;

/// The books of a thread, and what it needs to keep them.
pub struct Ear {
    plan: Arc<Plan>,
    course: Arc<Course>,
    /// The payloads of messages that the load test publishes itself.
    stamps: Option<Stamps>,
    topics: Vec<Topic>,
    times: TimeReader,
    /// The moment of the read that is looked at.
    now: Now,
    window: (u64, u64),
    stride: u64,
    /// The counts.
    pub books: Books,
    /// The second under way.
    pub slice: Slice,
    slices: Sender<(usize, Slice)>,
    thread: usize,
    origin: Now,
    border: u64,
    core: CoreTime,
}

/// A topic, as a thread knows it.
struct Topic {
    name: String,
    number: usize,
    followers: u64,
    crowd: Crowd,
}

impl Ear {
    /// The ear of a thread of a run that began at `origin`.
    #[must_use]
    pub fn new(
        plan: Arc<Plan>,
        course: Arc<Course>,
        stamps: Option<Stamps>,
        slices: Sender<(usize, Slice)>,
        thread: usize,
        origin: Now,
    ) -> Self {
        Self {
            plan,
            course,
            stamps,
            topics: Vec::new(),
            times: TimeReader::default(),
            now: origin,
            window: (0, 0),
            stride: 1,
            books: Books::default(),
            slice: Slice {
                begin: origin.mono,
                ..Slice::default()
            },
            slices,
            thread,
            origin,
            border: border(origin.mono, origin.mono, (0, 0)),
            core: CoreTime::read(),
        }
    }

    /// What is heard from now on came at this moment; a second that is over is sent off.
    pub fn at(&mut self, now: Now) {
        self.now = now;
        if now.mono >= self.border {
            self.send_slice(now.mono);
        }
    }

    /// Looks at what the threads agree on; once a round is enough.
    pub fn refresh(&mut self) {
        self.stride = self.course.stride();
        let window = self.course.window();
        if window != self.window {
            self.window = window;
            self.border = border(self.slice.begin, self.origin.mono, window);
        }
    }

    /// Takes a text frame; `lapwing` says that the subprotocol was agreed on.
    pub fn text(&mut self, tracks: &mut Vec<Track>, lapwing: bool, text: &str) {
        self.slice.messages += 1;
        self.slice.bytes += text.len() as u64;
        if lapwing && text.starts_with(CONTROL_PREFIX) {
            self.slice.messages -= 1;
            // A control message that a later server sends says nothing to us.
            if let Ok(message) = serde_json::from_str(text) {
                self.control(tracks, message);
            }
        } else if let Some((glance, number)) =
            glance::message(text).and_then(|glance| Some((glance, self.topic(glance.topic)?)))
        {
            self.message(tracks, number, &glance);
        } else {
            self.foreign(tracks);
        }
    }

    /// Takes a binary frame: an array, or anything.
    pub fn binary(&mut self, tracks: &mut Vec<Track>, bytes: &[u8]) {
        self.slice.messages += 1;
        self.slice.bytes += bytes.len() as u64;
        match glance::array(bytes).and_then(|glance| Some((glance, self.topic(glance.topic)?))) {
            Some((glance, number)) => self.message(tracks, number, &glance),
            None => self.foreign(tracks),
        }
    }

    /// A listener is gone, and follows nothing any more.
    pub fn unfollow(&mut self, tracks: &[Track]) {
        for track in tracks {
            if let Some(topic) = self.topics.iter_mut().find(|topic| topic.number == track.topic) {
                topic.followers -= 1;
            }
        }
    }

    /// Sends off the second under way.
    pub fn send_slice(&mut self, now: u64) {
        let mut end = self.border.min(now);
        loop {
            let next = border(end, self.origin.mono, self.window);
            if next > now {
                self.border = next;
                break;
            }
            end = next;
        }
        let core = CoreTime::read();
        let mut slice = std::mem::take(&mut self.slice);
        self.slice.begin = end;
        slice.end = end;
        let spent = core.since(std::mem::replace(&mut self.core, core));
        slice.strain.busy = spent.busy;
        slice.strain.waited = spent.waited;
        slice.strain.over = Duration::from_nanos(end.saturating_sub(slice.begin));
        // Nobody takes it any more: then the run is over.
        let _ = self.slices.send((self.thread, slice));
    }

    fn message(&mut self, tracks: &mut Vec<Track>, topic: usize, glance: &Glance<'_>) {
        let number = self.topics[topic].number;
        let at = match tracks.iter().position(|track| track.topic == number) {
            Some(at) => at,
            None => {
                self.follow(tracks, topic, glance.offset, glance.offset);
                tracks.len() - 1
            }
        };
        let order = tracks[at].on_message(glance.offset);
        self.books.topic(number).messages += 1;
        match order {
            Order::Next => {}
            Order::Ahead(missed) => self.slice.missed += missed,
            Order::Behind | Order::Again => {
                self.slice.astray += 1;
                return;
            }
        }
        let source = self.latency(glance);
        self.arrival(&mut tracks[at], topic, glance.offset, source, order);
    }

    /// Notes the latency of a message; gives when its source made it, on the wall clock.
    fn latency(&mut self, glance: &Glance<'_>) -> Option<u64> {
        let (from, until) = self.window;
        let Now { wall, mono } = self.now;
        let intended = self.stamps.as_ref().and_then(|stamps| stamps.read(glance.value));
        if let Some(intended) = intended {
            let latency = mono.saturating_sub(intended);
            self.slice.latency.record(latency);
            if (from..until).contains(&intended) {
                self.books.latency.record(latency);
            }
            let since = i64::try_from(intended.saturating_sub(self.origin.mono)).unwrap_or(i64::MAX);
            return u64::try_from(self.origin.wall.nanos().saturating_add(since)).ok();
        }
        let made = match glance.time {
            Time::Text(text) => self.times.read(text)?.nanos(),
            Time::Wall(time) => time.nanos(),
        };
        if self.stamps.is_none() {
            let counts = (from..until).contains(&mono);
            match u64::try_from(wall.nanos().saturating_sub(made)) {
                Ok(latency) => {
                    self.slice.latency.record(latency);
                    if counts {
                        self.books.latency.record(latency);
                    }
                }
                Err(_) => self.books.before_made += u64::from(counts),
            }
        }
        u64::try_from(made).ok()
    }

    fn arrival(&mut self, track: &mut Track, topic: usize, offset: u64, source: Option<u64>, order: Order) {
        let (from, until) = self.window;
        let mono = self.now.mono;
        let counts = (from..until).contains(&mono);
        let topic = &mut self.topics[topic];
        let book = self.books.topic(topic.number);
        track.on_arrival(offset, mono, source, order, |block| {
            if counts {
                book.on_block(block);
            }
        });
        if counts && is_watched(offset, self.stride) {
            let heard = topic.crowd.on_arrival(topic.number, offset, mono, topic.followers);
            self.slice.heard.extend(heard);
        }
    }

    /// A frame that is no envelope: it is counted, and its arrival has a place in a topic without a name.
    fn foreign(&mut self, tracks: &mut Vec<Track>) {
        self.books.foreign += 1;
        let Some(topic) = self.topic(FOREIGN) else { return };
        let number = self.topics[topic].number;
        if !tracks.iter().any(|track| track.topic == number) {
            self.follow(tracks, topic, 0, 0);
        }
        let Some(track) = tracks.iter_mut().find(|track| track.topic == number) else {
            return;
        };
        let place = track.next;
        let order = track.on_message(place);
        self.books.topic(number).messages += 1;
        let book = self.books.topic(number);
        let counts = (self.window.0..self.window.1).contains(&self.now.mono);
        track.on_arrival(place, self.now.mono, None, order, |block| {
            if counts {
                book.on_block(block);
            }
        });
    }

    fn control(&mut self, tracks: &mut Vec<Track>, message: ServerMessage) {
        match message {
            ServerMessage::Subscribed(granted) => self.subscribed(tracks, &granted),
            ServerMessage::Gap(gap) => {
                let number = self.topic(gap.topic.as_str()).map(|topic| self.topics[topic].number);
                if let Some(track) = tracks.iter_mut().find(|track| Some(track.topic) == number) {
                    let before = track.next;
                    track.on_gap(gap.from.get(), gap.to.get());
                    self.slice.missed += track.next.saturating_sub(before);
                }
            }
            ServerMessage::Heartbeat { next, .. } | ServerMessage::Bye { next, .. } => {
                for (name, next) in next {
                    let number = self.topic(name.as_str()).map(|topic| self.topics[topic].number);
                    if let Some(track) = tracks.iter_mut().find(|track| Some(track.topic) == number) {
                        track.on_end_told(next.get(), self.now.mono);
                    }
                }
            }
            ServerMessage::Error { message, .. } => {
                self.books.complaint.get_or_insert_with(|| escaped_cut(&message, 400).0);
            }
            ServerMessage::Welcome(_)
            | ServerMessage::Unsubscribed { .. }
            | ServerMessage::Expiring { .. }
            | ServerMessage::Authorized { .. } => {}
        }
    }

    fn subscribed(&mut self, tracks: &mut Vec<Track>, granted: &Subscribed) {
        if let Some(topic) = self.topic(granted.topic.as_str()) {
            self.follow(tracks, topic, granted.from.get(), granted.next.get());
        }
    }

    fn follow(&mut self, tracks: &mut Vec<Track>, topic: usize, from: u64, live_from: u64) {
        let topic = &mut self.topics[topic];
        topic.followers += 1;
        tracks.push(Track::new(topic.number, from, live_from, &self.plan.blocks));
    }

    /// Where a topic stands here; none when its name is none, or when there are too many.
    fn topic(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.topics.iter().position(|topic| topic.name == name) {
            return Some(at);
        }
        if name != FOREIGN {
            TopicName::parse(name).ok()?;
        }
        let number = self.course.topic(name)?;
        self.topics.push(Topic {
            name: name.to_owned(),
            number,
            followers: 0,
            crowd: Crowd::default(),
        });
        Some(self.topics.len() - 1)
    }
}

/// The next border behind a moment: a whole second of the run, the beginning or the end of what is measured.
fn border(after: u64, origin: u64, window: (u64, u64)) -> u64 {
    let second = origin + ((after.saturating_sub(origin)) / SECOND_NANOS + 1) * SECOND_NANOS;
    [window.0, window.1]
        .into_iter()
        .filter(|border| *border > after)
        .fold(second, u64::min)
}

/// What the topic of frames without an envelope is called: no topic can have this name.
pub const FOREIGN: &str = "(frames)";

/// A second.
pub const SECOND_NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_end_at_whole_seconds_and_at_the_ends_of_what_is_measured() {
        let second = SECOND_NANOS;
        assert_eq!(border(7, 7, (0, 0)), 7 + second);
        assert_eq!(border(7 + second, 7, (0, 0)), 7 + 2 * second);
        assert_eq!(border(7, 7, (100, 200)), 100);
        assert_eq!(border(100, 7, (100, 200)), 200);
        assert_eq!(border(200, 7, (100, 200)), 7 + second);
    }
}
