//! What a listener looks like at a moment: everything that a picture of it needs, and no more than that however long it listens.

pub mod bars;
pub mod seen;
pub mod spread;
pub mod topic;

use std::collections::VecDeque;
use std::time::Duration;

use lapwing_wire::escape::escaped;
use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;

use self::seen::Seen;
use self::topic::TopicView;
use super::event::{Event, Retry, Whence};
use super::feed::OFFSET_MAX;
use super::log::{FileState, Said};
use super::status::Goal;
use super::text::{Sentence, Symbols, Talk, Tone};
use crate::clock::Now;
use crate::terminal::form;

/// The state of a listener, kept from its events; a copy of it is what is drawn.
///
/// Everything in it that comes from outside is escaped already, and of messages [`Seen::text`] gives nothing else.
#[derive(Clone, Debug)]
pub struct View {
    /// How the server calls us.
    pub name: Option<String>,
    /// The server; of several the one that is connected, or was last.
    pub url: String,
    /// Whether there is a connection.
    pub state: State,
    /// Since when it listens.
    pub began: Now,
    /// Up to when it has seen what happened.
    pub now: Now,
    /// How often it came back.
    pub reconnects: u64,
    /// How often something is known to be missing.
    pub gaps: u64,
    /// What came.
    pub messages: u64,
    /// The topics, in the order in which they came.
    pub topics: Vec<TopicView>,
    /// The last messages, the newest last.
    pub messages_seen: VecDeque<Seen>,
    /// What was told last, the newest last: kept apart, since a fast feed would carry it away before anybody has read it.
    pub told: VecDeque<Told>,
    /// How many messages and sentences there were: what came after what.
    count: u64,
    /// The file that is written, if there is one.
    pub file: Option<FileState>,
    /// What may be drawn.
    pub symbols: Symbols,
    /// What the run is to reach.
    goal: Option<Goal>,
    /// When it was connected first: from then on its time counts.
    connected: Option<Now>,
    talk: Talk,
}

/// Whether there is a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// None was there yet.
    Waiting(Outage),
    /// There is one.
    Live,
    /// It was lost.
    Lost(Outage),
}

/// A time without a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// When it began, on the monotonic clock.
    pub since: Duration,
    /// The attempt that comes next, and when, once one is planned.
    pub next: Option<(u32, Duration)>,
}

/// Something told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number among messages and sentences.
    pub number: u64,
    /// When.
    pub at: Now,
    /// What it is.
    pub tone: Tone,
    /// What it says.
    pub text: String,
    /// A way out: it stands below, where there is room for it.
    pub hint: Option<&'static str>,
}

impl View {
    /// Begins at `now`, with sentences from `talk`.
    #[must_use]
    pub fn new(url: String, talk: Talk, symbols: Symbols, now: Now) -> Self {
        let outage = Outage {
            since: Duration::from_nanos(now.mono),
            next: None,
        };
        Self {
            name: None,
            url,
            state: State::Waiting(outage),
            began: now,
            now,
            reconnects: 0,
            gaps: 0,
            messages: 0,
            topics: Vec::new(),
            messages_seen: VecDeque::new(),
            told: VecDeque::new(),
            count: 0,
            file: None,
            symbols,
            goal: None,
            connected: None,
            talk,
        }
    }

    /// The same for a run that is to reach something.
    #[must_use]
    pub fn towards(self, goal: Option<Goal>) -> Self {
        Self { goal, ..self }
    }

    /// How far it is to what it is to reach: `20 of 30 s`.
    #[must_use]
    pub fn progress(&self) -> Option<String> {
        Some(match self.goal? {
            Goal::Count(count) => {
                let messages = form::counted(count, "message");
                format!("{} of {messages}", form::count(self.messages.min(count)))
            }
            Goal::Time(time) => {
                let since = self.connected?;
                let passed = Duration::from_nanos(self.now.mono.saturating_sub(since.mono));
                format!("{} of {} s", passed.min(time).as_secs(), time.as_secs())
            }
        })
    }

    /// Takes an event.
    pub fn on_event(&mut self, event: &Event<'_>, now: Now) {
        self.now = now;
        match event {
            Event::Message(arrival) => {
                self.messages += 1;
                let second = self.second(now);
                let topic = self.place(arrival.topic);
                self.topics[topic].on_message(arrival.offset, second);
                let number = self.number();
                let old = make_room(&mut self.messages_seen, MESSAGES_MAX);
                let seen = Seen::new(number, topic, arrival, self.symbols, old);
                self.messages_seen.push_back(seen);
            }
            Event::Block { topic, timing } => self.topic(topic).on_block(timing),
            Event::Retry(retry) => self.on_retry(retry, now),
            Event::Connected(connected) => {
                self.name = connected.name.map(escaped);
                self.on_server(connected.server);
                self.connected = Some(now);
                self.state = State::Live;
                let second = self.second(now);
                for (topic, offset) in connected.grants {
                    self.topic(topic).on_followed(*offset, second);
                }
            }
            Event::Back(back) => {
                self.on_server(back.server);
                self.reconnects += 1;
                self.state = State::Live;
            }
            Event::Lost { .. } => {
                let since = Duration::from_nanos(now.mono);
                self.state = State::Lost(Outage { since, next: None });
            }
            Event::Granted { topic, from, end, .. } => {
                let end = Some(*end).filter(is_possible);
                self.topic(topic).on_granted(*from, end);
            }
            Event::Heartbeat { ends } => {
                for topic in &mut self.topics {
                    topic.on_end(ends.get(&topic.name).copied().filter(is_possible));
                }
            }
            Event::Gap { topic, to, .. } => {
                self.gaps += 1;
                self.topic(topic).on_gap(*to);
            }
            Event::Reset {
                topic, first, whence, ..
            } => {
                self.gaps += 1;
                let end = match *whence {
                    Whence::New { end } => end,
                    Whence::Known { end } => Some(end),
                };
                self.topic(topic).on_granted(*first, end.filter(is_possible));
            }
            Event::Diverged { topic, at, .. } => {
                self.gaps += 1;
                self.topic(topic).on_granted(*at, None);
            }
            _ => {}
        }
        if matches!(event, Event::Message(_) | Event::Block { .. }) {
            return;
        }
        if let Some(sentence) = self.talk.sentence(event) {
            self.tell(sentence, now);
        }
    }

    /// Takes what is told of the file.
    pub fn on_said(&mut self, said: &Said, now: Now) {
        let sentence = Sentence {
            timed: false,
            tone: if said.warning { Tone::Warning } else { Tone::Plain },
            text: said.text.clone(),
            hint: said.hint,
        };
        self.tell(sentence, now);
    }

    /// Time passed, and the file stands so.
    pub fn on_tick(&mut self, now: Now, file: Option<FileState>) {
        self.now = now;
        self.file = file;
    }

    /// For how long it has listened.
    #[must_use]
    pub fn listened(&self) -> Duration {
        Duration::from_nanos(self.now.mono.saturating_sub(self.began.mono))
    }

    /// How many messages a second came of a topic lately; none before there is a whole second.
    #[must_use]
    pub fn rate(&self, topic: &TopicView) -> Option<f64> {
        topic.rate(self.second(self.now))
    }

    /// What is there of a topic and did not come yet; unknown without a connection.
    #[must_use]
    pub fn lag(&self, topic: &TopicView) -> Option<u64> {
        topic.lag().filter(|_| self.state == State::Live)
    }

    fn second(&self, now: Now) -> u64 {
        now.mono.saturating_sub(self.began.mono) / 1_000_000_000
    }

    /// Of several servers it is this one now.
    fn on_server(&mut self, server: Option<&str>) {
        if let Some(server) = server {
            self.url = server.to_owned();
        }
    }

    fn on_retry(&mut self, retry: &Retry<'_>, now: Now) {
        let at = Duration::from_nanos(now.mono) + retry.wait;
        match &mut self.state {
            State::Waiting(outage) | State::Lost(outage) => {
                outage.since = retry.since;
                outage.next = Some((retry.attempt, at));
            }
            State::Live => {}
        }
    }

    fn topic(&mut self, name: &TopicName) -> &mut TopicView {
        let at = self.place(name);
        &mut self.topics[at]
    }

    /// Where a topic is among the others; no topic ever moves.
    fn place(&mut self, name: &TopicName) -> usize {
        let at = self.topics.iter().position(|topic| topic.name == *name);
        at.unwrap_or_else(|| {
            self.topics.push(TopicView::new(name.clone()));
            self.topics.len() - 1
        })
    }

    fn tell(&mut self, sentence: Sentence, now: Now) {
        let told = Told {
            number: self.number(),
            at: now,
            tone: sentence.tone,
            text: sentence.text,
            hint: sentence.hint,
        };
        make_room(&mut self.told, TOLD_MAX);
        self.told.push_back(told);
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Takes the oldest away where there are `max` already.
fn make_room<T>(items: &mut VecDeque<T>, max: usize) -> Option<T> {
    (items.len() == max).then(|| items.pop_front()).flatten()
}

/// No honest log is as long as others say.
fn is_possible(end: &Offset) -> bool {
    end.get() < OFFSET_MAX
}

/// More than the longest window shows.
const MESSAGES_MAX: usize = 200;

/// As many sentences as can matter at a time.
const TOLD_MAX: usize = 20;

#[cfg(test)]
pub(in crate::client) mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    use lapwing_wire::block::{BlockTiming, Flags};
    use lapwing_wire::position::Epoch;
    use lapwing_wire::start::Start;
    use lapwing_wire::time::WallTime;

    use super::*;
    use crate::client::event::{Back, Connected, MissedMeanwhile, Mode};
    use crate::recording::arrival::{Arrival, Value};
    use crate::recording::note::Missed;

    /// A moment of a run, in milliseconds.
    pub fn at(ms: u64) -> Now {
        Now {
            wall: WallTime::from_nanos(1_795_287_600_000_000_000 + ms as i64 * 1_000_000),
            mono: ms * 1_000_000,
        }
    }

    /// A topic.
    pub fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    /// A listener that was connected at once and follows these topics from these offsets.
    pub fn view(name: &str, topics: &[(&str, u64)]) -> View {
        let url = "ws://127.0.0.1:8765".to_owned();
        let talk = Talk::new(url.clone(), Start::Latest);
        let mut view = View::new(url, talk, Symbols::Unicode, at(0));
        let grants: Vec<_> = topics
            .iter()
            .map(|(name, from)| (topic(name), Offset::new(*from)))
            .collect();
        for (name, from) in &grants {
            let granted = Event::Granted {
                topic: name,
                epoch: Epoch::from_bits(1),
                from: *from,
                end: *from,
            };
            view.on_event(&granted, at(0));
        }
        let connected = Connected {
            mode: Mode::Lapwing,
            server: None,
            name: Some(name),
            grants: &grants,
        };
        view.on_event(&Event::Connected(connected), at(0));
        view
    }

    /// A message comes.
    pub fn message(view: &mut View, name: &str, offset: u64, ms: u64, text: &str) {
        let topic = topic(name);
        let arrival = Arrival {
            topic: &topic,
            offset: Some(Offset::new(offset)),
            epoch: None,
            time: None,
            received: at(ms),
            value: Value::Text(text),
            bytes: text.len() as u64,
        };
        view.on_event(&Event::Message(&arrival), at(ms));
    }

    /// A block ends.
    pub fn block(view: &mut View, name: &str, ms: u64, elapsed_micros: u64, flags: Flags) {
        let topic = topic(name);
        let timing = BlockTiming {
            block: 0,
            size: NonZeroU64::new(5).expect("not zero"),
            first: Offset::ZERO,
            last: Offset::ZERO,
            messages: 5,
            bytes: 0,
            elapsed: Some(Duration::from_micros(elapsed_micros)),
            spread: Duration::ZERO,
            flags,
        };
        let event = Event::Block {
            topic: &topic,
            timing: &timing,
        };
        view.on_event(&event, at(ms));
    }

    fn lag(view: &View) -> Option<u64> {
        view.lag(&view.topics[0])
    }

    fn heartbeat(view: &mut View, end: u64) {
        let ends = BTreeMap::from([(topic("users"), Offset::new(end)), (topic("unknown"), Offset::new(end))]);
        view.on_event(&Event::Heartbeat { ends: &ends }, at(1));
    }

    #[test]
    fn lag_is_what_the_server_has_beyond_what_came() {
        let mut view = view("sensor-1", &[("users", 10)]);
        assert_eq!(lag(&view), Some(0));
        heartbeat(&mut view, 13);
        assert_eq!(lag(&view), Some(3));
        message(&mut view, "users", 10, 1, "a");
        assert_eq!(lag(&view), Some(2));
        for offset in 11..20 {
            message(&mut view, "users", offset, 1, "a");
        }
        assert_eq!(lag(&view), Some(0), "what came is there");
        heartbeat(&mut view, u64::MAX);
        assert_eq!(lag(&view), None, "no log is that long");
        heartbeat(&mut view, 21);
        view.on_event(&Event::Lost { why: "reset" }, at(2));
        assert_eq!(lag(&view), None, "nobody knows");
        assert_eq!(view.topics.len(), 1, "a heartbeat makes no topics");
    }

    #[test]
    fn lag_at_a_join_from_earlier_is_what_is_retained() {
        let mut view = view("sensor-1", &[("users", 10)]);
        let users = topic("users");
        let granted = Event::Granted {
            topic: &users,
            epoch: Epoch::from_bits(2),
            from: Offset::new(5),
            end: Offset::new(105),
        };
        view.on_event(&granted, at(1));
        assert_eq!(lag(&view), Some(100));
        let gap = Event::Gap {
            topic: &users,
            from: Offset::new(5),
            to: Offset::new(65),
            reason: Missed::Policy,
            away: None,
        };
        view.on_event(&gap, at(2));
        assert_eq!((lag(&view), view.gaps), (Some(40), 1));
    }

    #[test]
    fn a_loss_and_a_return_are_told_once_each_and_counted() {
        let mut view = view("sensor-1", &[("users", 10)]);
        view.on_event(&Event::Lost { why: "reset" }, at(5000));
        let retry = Retry {
            attempt: 2,
            server: None,
            wait: Duration::from_secs(3),
            since: Duration::from_secs(5),
            why: "connection refused",
        };
        view.on_event(&Event::Retry(retry), at(6000));
        let outage = Outage {
            since: Duration::from_secs(5),
            next: Some((2, Duration::from_secs(9))),
        };
        assert_eq!(view.state, State::Lost(outage));
        let back = Back {
            mode: Mode::Lapwing,
            server: None,
            down: Duration::from_secs(5),
            attempt: 2,
            why: "reset",
            grants: &[(topic("users"), Offset::new(10))],
            missed: MissedMeanwhile::Nothing,
        };
        view.on_event(&Event::Back(back), at(10_000));
        assert_eq!((&view.state, view.reconnects), (&State::Live, 1));
        let told: Vec<_> = view.told.iter().map(|told| told.text.as_str()).collect();
        assert_eq!(
            told,
            [
                "connected to ws://127.0.0.1:8765 as sensor-1: users from 10 (newest)",
                "lost the connection: reset",
                "back after 5.0 s (attempt 2): users resumes at 10, nothing missed",
            ]
        );
    }

    #[test]
    fn rates_are_of_whole_seconds() {
        let mut view = view("sensor-1", &[("users", 0)]);
        let rate = |view: &View| view.rate(&view.topics[0]);
        for at in 0..35_u64 {
            message(&mut view, "users", at, at * 100, "a");
            assert_eq!(rate(&view), (at >= 10).then_some(10.0), "{at}");
        }
        view.on_tick(at(13_100), None);
        // Of the last ten whole seconds one had half a second of them.
        assert_eq!(rate(&view), Some(0.5));
        view.on_tick(at(60_000), None);
        assert_eq!(rate(&view), Some(0.0), "nothing came, which is not the same as unknown");
    }

    #[test]
    fn a_goal_is_told_as_how_far_it_is() {
        let mut view = view("sensor-1", &[("users", 0)]);
        assert_eq!(view.progress(), None);
        view = view.towards(Some(Goal::Time(Duration::from_secs(30))));
        view.on_tick(at(20_900), None);
        assert_eq!(view.progress().as_deref(), Some("20 of 30 s"));
        view.on_tick(at(31_000), None);
        assert_eq!(view.progress().as_deref(), Some("30 of 30 s"));
        view = view.towards(Some(Goal::Count(1000)));
        message(&mut view, "users", 0, 0, "a");
        assert_eq!(view.progress().as_deref(), Some("1 of 1,000 messages"));
        let waiting = View {
            connected: None,
            ..view.towards(Some(Goal::Time(Duration::from_secs(30))))
        };
        assert_eq!(waiting.progress(), None, "time counts from the first connection");
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut view = view("sensor-1", &[("users", 0)]);
        for at in 0..10_000 {
            message(&mut view, "users", at, at, &"\u{1b}".repeat(5000));
            block(&mut view, "users", at, at, Flags::NONE);
        }
        for _ in 0..100 {
            view.on_event(&Event::Warned { message: "slow" }, at(0));
        }
        assert_eq!((view.messages_seen.len(), view.told.len()), (MESSAGES_MAX, TOLD_MAX));
        let longest = view.messages_seen.iter().map(|seen| seen.text(Symbols::Unicode).len());
        // 1 KiB of it: an escape is six letters for one byte.
        assert_eq!(longest.max(), Some(1024 * 6 + 2));
        assert_eq!(view.topics[0].timed().count(), topic::BLOCKS_MAX);
    }

    #[test]
    fn what_the_file_says_stands_among_the_messages() {
        let mut view = view("sensor-1", &[]);
        let said = Said {
            warning: true,
            text: "feed.ndjson: disk full".to_owned(),
            hint: Some("free some space"),
        };
        view.on_said(&said, at(1));
        let told = view.told.back().map(|told| (told.tone, told.text.as_str(), told.hint));
        assert_eq!(
            told,
            Some((Tone::Warning, "feed.ndjson: disk full", Some("free some space")))
        );
    }
}
