//! A small world without threads, sockets and clocks: real logs, readers and sessions, and what happens to them one step at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapwing::clock::Now;
use lapwing::config::Limits;
use lapwing::log::batch::NewMessage;
use lapwing::log::hold::Pin;
use lapwing::log::lag::OnLag;
use lapwing::log::reader::View;
use lapwing::log::retention::Retention;
use lapwing::log::{Grant, Log};
use lapwing::server::feeds::Feeds;
use lapwing::server::key::Key;
use lapwing::server::topics::{TopicId, Topics};
use lapwing::session::{Cursor, Mode, Next, Readers as _, Session};
use lapwing::source::spec::parse_topic;
use lapwing_wire::control::{Answer, GapReason, ServerMessage};
use lapwing_wire::decoder::{Decoder, DecoderLimits, Event};
use lapwing_wire::deflate::{Inflater, Room};
use lapwing_wire::envelope::Kind;
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::Role;
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::time::WallTime;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// A source appends so many messages to a topic, as far as they fit.
    Append(usize, usize),
    /// A publisher appends two messages, both or none.
    Publish(usize),
    /// A source appends a message behind a hole of so many offsets.
    Hole(usize, u64),
    /// So many seconds pass, and the tick comes.
    Pass(u64),
    /// The delivery thread is woken and looks at its logs.
    Look,
    /// The delivery thread tells where its followers are.
    TellPlaces,
    /// The socket of a client has room for so many bytes, and the client has its turn.
    Turn(usize, usize),
    /// Everything that is on its way reaches the client.
    Arrive(usize),
    /// The connection of a client breaks; what was on its way is lost.
    Break(usize),
    /// A client that is away asks to go on where it was, and is granted a place.
    Ask(usize),
    /// The delivery thread takes in a client that was granted a place.
    Adopt(usize),
    /// The delivery thread sweeps: who was overtaken is let go, if that is the policy.
    Sweep,
}

/// One client and its connection.
#[derive(Default)]
struct Client {
    /// By topic: the offset wanted next.
    wanted: Vec<u64>,
    granted: Option<Granted>,
    link: Option<Link>,
}

/// The places that a client was granted, and what keeps them.
type Granted = (Vec<Grant>, Vec<(TopicId, Pin)>);

/// A connection.
struct Link {
    session: Session,
    decoder: Decoder,
    /// What of a cut frame the socket still has to send.
    rest: Vec<u8>,
    /// What the socket took and the client has not received.
    on_the_way: Vec<u8>,
}

/// Everything.
pub struct World {
    topics: Topics,
    feeds: Feeds,
    clients: Vec<Client>,
    /// Of clients whose messages are compressed.
    inflater: Inflater,
    room: Room,
    now: Now,
    /// By topic: the offsets of all messages ever.
    model: Vec<BTreeSet<u64>>,
    /// A connection broke, with what was on its way.
    cut_off: bool,
}

impl World {
    /// A topic for each policy, and clients that all follow all of them but are not connected yet.
    pub fn new(policies: &[OnLag], clients: usize) -> Self {
        let spec = |(at, policy): (usize, &OnLag)| {
            let mut spec = parse_topic(&format!("t{at}=push?slow={}", policy.as_str())).expect("valid");
            spec.source.keep.bytes = Some(KEEPS.bytes);
            spec.source.keep.age = Some(KEEPS.age);
            let epoch = Epoch::from_bits(1 + at as u128);
            let log = Log::new(spec.name.clone(), epoch, KEEPS).with_lag(*policy);
            (spec, Arc::new(log))
        };
        let topics = Topics::new(policies.iter().enumerate().map(spec).collect(), Vec::new());
        let client = || Client {
            wanted: vec![0; policies.len()],
            ..Client::default()
        };
        Self {
            feeds: Feeds::new(&topics),
            clients: (0..clients).map(|_| client()).collect(),
            inflater: Inflater::default(),
            room: Room::new(1 << 20),
            now: Now {
                wall: WallTime::from_nanos(0),
                mono: 0,
            },
            model: vec![BTreeSet::new(); policies.len()],
            topics,
            cut_off: false,
        }
    }

    /// Lets a step happen; one that cannot happen now does nothing.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Append(topic, count) => {
                let message = NewMessage::new(Kind::Json, PAYLOAD.as_bytes());
                let appended = self.log(topic).append_fitting(&vec![message; count], self.now);
                let appended = appended.expect("nobody ends it").offsets;
                self.model[topic].extend(appended.start.get()..appended.end.get());
                self.check_memory(topic, 0);
            }
            Step::Publish(topic) => {
                let message = NewMessage::new(Kind::Json, PAYLOAD.as_bytes());
                if let Ok(appended) = self.log(topic).append(&[message; 2], self.now) {
                    let appended = appended.offsets;
                    self.model[topic].extend(appended.start.get()..appended.end.get());
                }
                self.check_memory(topic, 2 * PAYLOAD.len() as u64);
            }
            Step::Hole(topic, offsets) => {
                let message = NewMessage::new(Kind::Json, PAYLOAD.as_bytes());
                let at = self.log(topic).next().plus(offsets);
                if let Ok(appended) = self.log(topic).append_at(at, &[message], self.now) {
                    assert_eq!(appended.offsets.start, at);
                    self.model[topic].insert(at.get());
                }
            }
            Step::Pass(seconds) => {
                self.now.mono += Duration::from_secs(seconds).as_nanos() as u64;
                self.topics.iter().for_each(|topic| topic.log.tick(self.now));
            }
            Step::Look => self.feeds.refresh(|_| {}),
            Step::TellPlaces => {
                let clients = &self.clients;
                self.feeds.tell_places(|key, topic| {
                    let session = &clients[key.place()].link.as_ref()?.session;
                    Some(session.cursor(topic.0)?.offset)
                });
            }
            Step::Turn(client, room) => self.turn(client, room),
            Step::Arrive(client) => self.arrive(client),
            Step::Break(client) => self.cut(client),
            Step::Ask(client) => self.ask(client),
            Step::Adopt(client) => self.adopt(client),
            Step::Sweep => {
                for client in &mut self.clients {
                    let Some(link) = &mut client.link else { continue };
                    if let Some(missed) = link.session.overtaken(&self.feeds) {
                        let topic = TopicId(link.session.cursors()[missed.nth].topic);
                        link.session.on_overtaken(&missed, self.topics.get(topic).name());
                    }
                }
            }
        }
    }

    /// Heals everything: whoever is away comes back, everyone reads to the end, sources go on. Then nothing is missing.
    pub fn heal(&mut self) {
        for round in 0..3 {
            for topic in 0..self.model.len() {
                let before = self.log(topic).next();
                self.step(Step::Append(topic, 3));
                // A log that is found to be full is told where its readers are, and its source tries again.
                self.step(Step::TellPlaces);
                self.step(Step::Append(topic, 1));
                let goes_on = self.log(topic).next() > before;
                assert!(goes_on || round == 0, "with everything read there is room");
            }
            for _ in 0..4 {
                for client in 0..self.clients.len() {
                    for step in [
                        Step::Ask(client),
                        Step::Adopt(client),
                        Step::Look,
                        Step::Turn(client, usize::MAX),
                        Step::Arrive(client),
                        Step::TellPlaces,
                    ] {
                        self.step(step);
                    }
                }
            }
            for client in &self.clients {
                assert!(client.link.is_some(), "everyone is back");
                for (wanted, topic) in client.wanted.iter().zip(self.topics.iter()) {
                    assert_eq!(*wanted, topic.log.next().get(), "everyone has everything");
                }
            }
        }
        for (topic, appended) in self.model.iter().zip(self.topics.iter().map(|topic| topic.log.clone())) {
            assert_eq!(
                topic.last().map_or(0, |last| last + 1),
                appended.next().get(),
                "the log has what was appended"
            );
        }
    }

    fn log(&self, topic: usize) -> &Log {
        &self.topics.get(id(topic)).log
    }

    /// A topic's memory passes its bound by one segment at most, or by one body.
    fn check_memory(&self, topic: usize, body: u64) {
        let bytes = self.log(topic).memory().bytes();
        assert!(bytes <= KEEPS.bytes + SEGMENT_BYTES + body, "{bytes} bytes are kept");
    }

    fn ask(&mut self, client: usize) {
        let alone = self.clients.len() == 1;
        let Client { wanted, granted, link } = &mut self.clients[client];
        if granted.is_some() || link.is_some() {
            return;
        }
        let (mut grants, mut pins) = (Vec::new(), Vec::new());
        for topic in self.topics.iter() {
            let wanted = wanted[topic.id.0 as usize];
            let start = Start::Position(Position {
                epoch: topic.log.epoch(),
                offset: Offset::new(wanted),
            });
            let (grant, pin) = topic.log.grant_pinned(start, self.now);
            match grant.answer {
                Answer::Ok => assert_eq!(grant.from.get(), wanted, "as asked"),
                Answer::Gap => {
                    assert_eq!(grant.missing_from.map(Offset::get), Some(wanted));
                    assert!(grant.from == grant.first && grant.from.get() > wanted);
                    // Others go on without a client that is not there yet, or not any more.
                    let waited_for = alone && !self.cut_off && topic.log.on_lag() == OnLag::Wait;
                    let lost = self.model[topic.id.0 as usize].range(wanted..grant.from.get());
                    assert!(
                        !waited_for || lost.count() == 0,
                        "nothing is let go before the only client has it"
                    );
                }
                other => panic!("{other:?} to a position that was handed out"),
            }
            assert!(grant.first <= grant.from && grant.from <= grant.next);
            grants.push(grant);
            pins.extend(pin.map(|pin| (topic.id, pin)));
        }
        *granted = Some((grants, pins));
    }

    fn adopt(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let Some((grants, pins)) = client.granted.take() else {
            return;
        };
        let cursors = grants.iter().enumerate().map(|(topic, grant)| {
            // What `subscribed` tells.
            client.wanted[topic] = grant.from.get();
            Cursor::new(id(topic).0, grant)
        });
        let limits = DecoderLimits {
            message_bytes_max: 1 << 20,
            fragments_max: 1,
        };
        client.link = Some(Link {
            session: Session::new(Mode::LapwingV1, compression(key), cursors.collect()),
            decoder: Decoder::new(Role::Client, limits).with_compression(compression(key)),
            rest: Vec::new(),
            on_the_way: Vec::new(),
        });
        pins.into_iter().for_each(|(topic, pin)| self.feeds.keep(topic, pin));
        for topic in self.topics.iter() {
            self.feeds.follow(topic.id, view(key), Key::new(key));
        }
    }

    fn cut(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if client.granted.take().is_none() && client.link.take().is_none() {
            return;
        }
        self.cut_off = true;
        for topic in self.topics.iter() {
            self.feeds.unfollow(topic.id, view(key), Key::new(key));
        }
    }

    /// As a connection's writes: the rest of a cut frame first, then what the session gives, until the socket is full.
    fn turn(&mut self, key: usize, mut room: usize) {
        let Some(link) = &mut self.clients[key].link else {
            return;
        };
        let mut take = |offered: &[u8], on_the_way: &mut Vec<u8>| {
            let taken = room.min(offered.len());
            room -= taken;
            on_the_way.extend_from_slice(&offered[..taken]);
            taken
        };
        let taken = take(&link.rest, &mut link.on_the_way);
        link.rest.drain(..taken);
        while link.rest.is_empty() {
            let blocked = match link.session.next(&mut self.feeds, Limits::WRITE_BYTES_MAX) {
                Next::Control(bytes) => {
                    let taken = take(bytes, &mut link.on_the_way);
                    link.rest = link.session.on_control_written(taken);
                    !link.rest.is_empty()
                }
                Next::Frames(nth, run) => {
                    let taken = take(run.bytes(), &mut link.on_the_way);
                    let split = run.split(taken);
                    link.session.on_written(nth, taken, &split);
                    link.rest = split.rest.to_vec();
                    taken < run.bytes().len()
                }
                Next::Missed(missed) => {
                    let topic = link.session.cursors()[missed.nth].topic;
                    let range = missed.range.start.get()..missed.range.end.get();
                    let log = self.feeds.log(topic, View::Canonical);
                    let lost = self.model[topic as usize].range(range.clone()).count();
                    match missed.reason {
                        GapReason::Purge => assert_eq!(lost, 0, "{range:?} never were"),
                        GapReason::Retention => assert!(
                            log.on_lag() != OnLag::Wait && log.on_lag() != OnLag::Close,
                            "{range:?} are gone with {:?}",
                            log.on_lag()
                        ),
                        GapReason::Policy => assert_eq!(log.on_lag(), OnLag::Latest),
                        GapReason::Damage => panic!("nothing is damaged"),
                    }
                    link.session.on_missed(&missed, self.topics.get(TopicId(topic)).name());
                    false
                }
                Next::Overtaken(missed) => {
                    let topic = TopicId(link.session.cursors()[missed.nth].topic);
                    assert_eq!(self.topics.get(topic).log.on_lag(), OnLag::Close);
                    link.session.on_overtaken(&missed, self.topics.get(topic).name());
                    false
                }
                Next::CaughtUp => return,
                Next::Ended | Next::OnDisk(_) | Next::Loading | Next::Superseded(_) => {
                    panic!("nobody ends it or begins it anew, and all is in memory")
                }
                // Our close frame is out: the client has what was on its way, and goes.
                Next::Closed => {
                    self.arrive(key);
                    self.cut(key);
                    return;
                }
            };
            if blocked {
                link.session.on_held_up();
                return;
            }
        }
    }

    /// What the client makes of what it receives: each offset once and in order, or told.
    fn arrive(&mut self, key: usize) {
        let Client { wanted, link, .. } = &mut self.clients[key];
        let Some(link) = link else { return };
        let mut bytes = std::mem::take(&mut link.on_the_way);
        let mut bytes = &mut bytes[..];
        loop {
            let decoded = link
                .decoder
                .decode(bytes)
                .expect("frames are whole, in order, and right");
            let consumed = decoded.consumed;
            match decoded.event {
                None => return,
                Some(Event::Text(text)) => hear(text, wanted, &self.model),
                Some(Event::Deflated(deflated)) => {
                    let inflated = self
                        .inflater
                        .inflate(deflated, 1 << 20, &self.room)
                        .expect("it was compressed");
                    match inflated.event() {
                        Ok(Event::Text(text)) => hear(text, wanted, &self.model),
                        other => panic!("{other:?}"),
                    }
                }
                Some(Event::Close(_)) => {}
                Some(other) => panic!("{other:?}"),
            }
            bytes = &mut std::mem::take(&mut bytes)[consumed..];
        }
    }
}

/// Every second client has its messages compressed.
fn compression(key: usize) -> Compression {
    match key % 2 {
        0 => Compression::Off,
        _ => Compression::Deflate,
    }
}

fn view(key: usize) -> View {
    Mode::LapwingV1.view(compression(key))
}

fn hear(text: &str, wanted: &mut [u64], model: &[BTreeSet<u64>]) {
    let topic_of = |name: &str| name.strip_prefix('t').and_then(|at| at.parse::<usize>().ok());
    if let Ok(ServerMessage::Gap(gap)) = serde_json::from_str(text) {
        let topic = topic_of(gap.topic.as_str()).expect("one of ours");
        assert_eq!(gap.from.get(), wanted[topic], "a gap begins where delivery was");
        assert!(gap.to > gap.from, "a gap is not empty");
        wanted[topic] = gap.to.get();
        return;
    }
    let message: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let topic = message["topic"].as_str().and_then(topic_of).expect("one of ours");
    let offset = message["offset"].as_u64().expect("a number");
    assert_eq!(offset, wanted[topic], "delivery is dense");
    assert!(model[topic].contains(&offset), "it was appended");
    wanted[topic] = offset + 1;
}

fn id(topic: usize) -> TopicId {
    TopicId(u32::try_from(topic).expect("a handful"))
}

/// Some five messages, in two or three segments.
const KEEPS: Retention = Retention {
    bytes: 14 << 10,
    age: Duration::from_secs(60),
};
/// Frames and index of the largest of them.
const SEGMENT_BYTES: u64 = 8 << 10;
/// Two of them fill a segment.
const PAYLOAD: &str = const {
    match std::str::from_utf8(&QUOTED) {
        Ok(text) => text,
        Err(_) => panic!("ASCII"),
    }
};
const QUOTED: [u8; 1500] = {
    let mut quoted = [b'x'; 1500];
    (quoted[0], quoted[1499]) = (b'"', b'"');
    quoted
};
