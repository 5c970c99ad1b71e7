//! A model of a topic, its faults and its clients, to try the checker on; with bugs that can be planted.
//!
//! It knows what PROTOCOL.md promises and nothing of how the product does it. Without a bug its history must give no
//! alarm; with one the checker must find it. Preconditions are forced: little is kept and clients stay away for long, or a
//! bug at retention would hardly ever show.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use crate::dice::Dice;
use crate::epoch::Epoch;
use crate::history::{Event, FileSetup, Level, Memory, Setup, TopicSetup, Turn};
use crate::line::Line;
use crate::payload::{self, Message, Payload};

/// A bug that is planted into the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A retry is appended again.
    RetryTwice,
    /// An offset is given to two messages.
    OffsetReused,
    /// The acknowledgement does not wait for the disk.
    AckBeforeFsync,
    /// What was lost does not change the epoch.
    EpochKept,
    /// The epoch of a position is not looked at.
    EpochIgnored,
    /// What a power cut left half-written is taken for a message.
    TornTail,
    /// What retention took is not told.
    SilentGap,
    /// A resume begins one too far.
    ResumeOffByOne,
    /// A resume repeats one.
    ReplayedOne,
    /// Two messages change places.
    Reordered,
    /// A message is left out.
    Dropped,
    /// The client's cursor is one behind after a restart of the server.
    CursorBehind,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::RetryTwice,
        Self::OffsetReused,
        Self::AckBeforeFsync,
        Self::EpochKept,
        Self::EpochIgnored,
        Self::TornTail,
        Self::SilentGap,
        Self::ResumeOffByOne,
        Self::ReplayedOne,
        Self::Reordered,
        Self::Dropped,
        Self::CursorBehind,
    ];

    /// Whether it can show at a level.
    pub fn can_show_at(self, level: Level) -> bool {
        match self {
            Self::AckBeforeFsync => level == Level::Fsync,
            Self::TornTail => level != Level::None,
            // At fsync no history is ever lost; with none a reset hides the cursor.
            Self::EpochKept | Self::EpochIgnored => level != Level::Fsync,
            Self::CursorBehind => level != Level::None,
            _ => true,
        }
    }
}

/// How large a run of the model is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Steps; about half of them publish.
    pub steps: u64,
    /// Clients.
    pub clients: usize,
    /// Messages that the topic keeps.
    pub keep: usize,
    /// One step in so many is a fault of the server, or of one client.
    pub fault_once_in: u64,
}

impl Size {
    /// As in the tests: small, and with a fault every few dozen steps.
    pub const SMALL: Self = Self {
        steps: 1500,
        clients: 4,
        keep: 40,
        fault_once_in: 60,
    };
}

/// The name of the model's topic.
const TOPIC: &str = "model";

/// Publishers of the model.
const SOURCES: u32 = 3;

/// Kinds of faults, by number; the last is a power cut where there is a disk.
const FAULTS: u64 = 5;

/// Most messages of a body.
const PARTS_MAX: u64 = 4;

/// Most messages that a client takes at once.
const READ_MAX: u64 = 12;

/// Runs the model and returns what it leaves behind.
pub fn run(seed: u64, level: Level, bug: Option<Bug>, size: Size) -> Memory {
    let mut model = Model::new(seed, level, bug, size);
    for _ in 0..size.steps {
        model.step();
    }
    model.heal();
    model.evidence()
}

/// The payload of a message of the model: the same whenever it is asked for.
pub fn payload_of(seed: u64, source: u32, sequence: u64, part: u32) -> (String, Message) {
    let number = (u64::from(source) << 48) ^ (sequence << 8) ^ u64::from(part);
    payload::make(source, sequence, part, &mut Dice::apart(seed, "payload", number))
}

#[derive(Clone, Copy)]
struct Kept {
    offset: u64,
    owner: Epoch,
    payload: Payload,
    /// The body's first and last message, between which nothing may be cut.
    body: (u64, u64),
}

struct Client {
    lines: Vec<Line<'static>>,
    place: Option<(Epoch, u64)>,
    is_connected: bool,
    back_at: u64,
    has_restarted: bool,
}

struct Outstanding {
    sequence: u64,
    messages: Vec<Message>,
    is_waiting_for_disk: bool,
}

struct Model {
    size: Size,
    seed: u64,
    dice: Dice,
    level: Level,
    bug: Option<Bug>,
    clock: u64,
    steps: u64,
    events: Vec<Event>,
    lineage: Vec<(Epoch, u64)>,
    log: VecDeque<Kept>,
    next: u64,
    durable: u64,
    known: HashMap<(u32, u64), (u64, u64)>,
    outstanding: Vec<Option<Outstanding>>,
    sequences: Vec<u64>,
    waiting: Vec<(u32, u64)>,
    clients: Vec<Client>,
}

impl Model {
    fn new(seed: u64, level: Level, bug: Option<Bug>, size: Size) -> Self {
        let mut model = Self {
            size,
            seed,
            dice: Dice::apart(seed, "model", 0),
            level,
            bug,
            clock: 0,
            steps: 0,
            events: Vec::new(),
            lineage: Vec::new(),
            log: VecDeque::new(),
            next: 0,
            durable: 0,
            known: HashMap::new(),
            outstanding: (0..SOURCES).map(|_| None).collect(),
            sequences: vec![0; SOURCES as usize],
            waiting: Vec::new(),
            clients: Vec::new(),
        };
        model.new_history(0);
        model.turn(Turn::Started);
        for _ in 0..size.clients {
            let mono = Some(model.tick());
            let client = Client {
                lines: vec![Line::Start { mono }],
                place: None,
                is_connected: false,
                back_at: 0,
                has_restarted: false,
            };
            model.clients.push(client);
        }
        for client in 0..size.clients {
            model.connect(client);
        }
        model
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1000;
        self.clock
    }

    fn turn(&mut self, turn: Turn) {
        let at = self.tick();
        self.events.push(Event::Server { at, turn });
    }

    fn epoch(&self) -> Epoch {
        self.lineage.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    fn new_history(&mut self, start: u64) {
        let epoch = Epoch(u128::from(self.dice.throw()) << 64 | u128::from(self.dice.throw()));
        self.lineage.push((epoch, start));
    }

    fn first(&self) -> u64 {
        self.log.front().map_or(self.next, |kept| kept.offset)
    }

    fn visible(&self) -> u64 {
        let waits = self.level == Level::Fsync && !self.has(Bug::AckBeforeFsync);
        if waits { self.durable } else { self.next }
    }

    fn step(&mut self) {
        self.steps += 1;
        for client in 0..self.clients.len() {
            if !self.clients[client].is_connected && self.clients[client].back_at <= self.steps {
                self.connect(client);
            }
        }
        if self.dice.once_in(self.size.fault_once_in) {
            let kind = self.dice.within(0, FAULTS);
            self.fault(kind);
        } else if self.steps % (self.size.steps / 4) == self.size.steps / 8 {
            // A few of the worst kind, whatever chance says: without one some bugs cannot show.
            self.fault(FAULTS - 1);
        }
        match self.dice.within(0, 10) {
            0..=4 => self.publish(),
            // What the system writes back by itself is rarer than what a publisher waits for.
            5 | 6 if self.level == Level::Fsync || self.dice.once_in(16) => self.sync(),
            _ => {
                let client = self.dice.within(0, self.clients.len() as u64) as usize;
                let most = self.dice.within(1, READ_MAX);
                self.read(client, most);
            }
        }
    }

    fn fault(&mut self, kind: u64) {
        let client = self.dice.within(0, self.clients.len() as u64) as usize;
        match kind {
            0 | 1 => {
                // Every other stays away for longer than the topic keeps.
                let keep = self.size.keep as u64;
                let (shortest, longest) = if self.dice.once_in(2) {
                    (3 * keep, 8 * keep)
                } else {
                    (1, 4)
                };
                self.begin("cut");
                self.leave(client, shortest, longest);
            }
            2 => {
                self.begin("kill-listener");
                let mono = Some(self.tick());
                self.leave(client, 1, 8);
                self.clients[client].lines.push(Line::Start { mono });
            }
            3 => {
                self.begin("kill");
                self.crash(Turn::Killed);
            }
            _ if self.level == Level::None => {
                self.begin("kill");
                self.crash(Turn::Killed);
            }
            _ => {
                self.begin("power-cut");
                // Something is on its way to the disk, and was read where that may be, or there is nothing to lose.
                for _ in 0..4 {
                    self.publish();
                }
                for client in 0..self.clients.len() {
                    self.read(client, READ_MAX);
                }
                self.crash(Turn::PowerCut);
            }
        }
    }

    fn begin(&mut self, fault: &str) {
        let at = self.tick();
        self.events.push(Event::Begin {
            at,
            fault: fault.to_owned(),
            detail: String::new(),
        });
    }

    // Publishing

    fn publish(&mut self) {
        let unknown = self
            .outstanding
            .iter()
            .position(|it| it.as_ref().is_some_and(|it| !it.is_waiting_for_disk));
        let source = unknown.unwrap_or_else(|| self.dice.within(0, u64::from(SOURCES)) as usize);
        if unknown.is_none() {
            if self.outstanding[source].is_some() {
                return;
            }
            self.invoke(source);
        }
        let is_lost_on_its_way = self.dice.once_in(8);
        if is_lost_on_its_way {
            return self.info(source);
        }
        let Some(Outstanding { sequence, messages, .. }) = &self.outstanding[source] else {
            return;
        };
        let (id, messages) = ((source as u32, *sequence), messages.clone());
        let is_new = !self.known.contains_key(&id) || self.has(Bug::RetryTwice);
        if is_new {
            self.append(id, &messages);
        }
        let is_answer_lost = self.dice.once_in(6);
        if is_answer_lost {
            return self.info(source);
        }
        let (_, end) = self.known[&id];
        if self.level == Level::Fsync && self.durable < end && !self.has(Bug::AckBeforeFsync) {
            self.waiting.push(id);
            if let Some(outstanding) = &mut self.outstanding[source] {
                outstanding.is_waiting_for_disk = true;
            }
        } else {
            self.ack(id, !is_new);
        }
    }

    fn invoke(&mut self, source: usize) {
        let sequence = self.sequences[source];
        self.sequences[source] += 1;
        let parts = self.dice.within(1, PARTS_MAX) as u32;
        let messages: Vec<Message> = (0..parts)
            .map(|part| payload_of(self.seed, source as u32, sequence, part).1)
            .collect();
        let at = self.tick();
        self.events.push(Event::Invoke {
            at,
            topic: TOPIC.to_owned(),
            source: source as u32,
            sequence,
            hashes: messages.iter().map(|message| message.hash).collect(),
        });
        self.outstanding[source] = Some(Outstanding {
            sequence,
            messages,
            is_waiting_for_disk: false,
        });
    }

    fn append(&mut self, id: (u32, u64), messages: &[Message]) {
        let is_reused = self.has(Bug::OffsetReused) && self.log.len() > 1 && self.dice.once_in(8);
        if is_reused && self.visible() == self.next {
            self.next -= 1;
            self.log.pop_back();
        }
        let body = (self.next, self.next + messages.len() as u64);
        for message in messages {
            let kept = Kept {
                offset: self.next,
                owner: self.epoch(),
                payload: Payload::Intact(*message),
                body,
            };
            self.log.push_back(kept);
            self.next += 1;
        }
        self.known.insert(id, body);
        while self.log.len() > self.size.keep && self.log.front().is_some_and(|kept| kept.offset < self.visible()) {
            self.log.pop_front();
        }
    }

    fn sync(&mut self) {
        self.durable = self.next;
        for id in std::mem::take(&mut self.waiting) {
            self.ack(id, false);
        }
    }

    fn ack(&mut self, id: (u32, u64), repeated: bool) {
        let Some((first, end)) = self.known.get(&id).copied() else {
            return;
        };
        self.outstanding[id.0 as usize] = None;
        let at = self.tick();
        self.events.push(Event::Ack {
            at,
            topic: TOPIC.to_owned(),
            source: id.0,
            sequence: id.1,
            epoch: self.epoch(),
            first,
            count: end - first,
            repeated,
        });
    }

    fn info(&mut self, source: usize) {
        let at = self.tick();
        if let Some(outstanding) = &mut self.outstanding[source] {
            outstanding.is_waiting_for_disk = false;
            let (sequence, why) = (outstanding.sequence, "lost".to_owned());
            self.events.push(Event::Info {
                at,
                topic: TOPIC.to_owned(),
                source: source as u32,
                sequence,
                why,
            });
        }
    }

    // Faults of the server

    fn crash(&mut self, turn: Turn) {
        self.turn(turn);
        for source in 0..SOURCES as usize {
            self.info(source);
        }
        self.waiting.clear();
        for client in 0..self.clients.len() {
            self.leave(client, 1, 6);
            self.clients[client].has_restarted = true;
        }
        match (self.level, turn) {
            (Level::None, _) => {
                self.log.clear();
                self.known.clear();
                (self.next, self.durable) = (0, 0);
                if !self.has(Bug::EpochKept) {
                    self.lineage.clear();
                    self.new_history(0);
                }
            }
            (_, Turn::PowerCut) => self.lose_power(),
            _ => self.durable = self.next,
        }
        self.turn(Turn::Started);
    }

    fn lose_power(&mut self) {
        // Bodies are whole or not there, so the cut falls between two.
        let mut cut = self.dice.within(self.durable, self.next + 1);
        let torn = self
            .log
            .iter()
            .find(|kept| kept.body.0 <= cut && cut < kept.body.1)
            .map(|kept| kept.body.0);
        cut = torn.unwrap_or(cut).max(self.durable);
        let is_something_lost = cut < self.next;
        self.log.retain(|kept| kept.offset < cut);
        self.known.retain(|_, (_, end)| *end <= cut);
        self.next = cut;
        if self.level == Level::Os && !self.has(Bug::EpochKept) {
            self.new_history(cut);
        }
        if self.has(Bug::TornTail) && is_something_lost {
            let body = (cut, cut + 1);
            self.log.push_back(Kept {
                offset: cut,
                owner: self.epoch(),
                payload: Payload::Broken,
                body,
            });
            self.next += 1;
        }
        self.durable = self.next;
    }

    // Clients

    fn leave(&mut self, client: usize, shortest: u64, longest: u64) {
        let away = self.dice.within(shortest, longest + 1);
        let steps = self.steps;
        let client = &mut self.clients[client];
        client.is_connected = false;
        client.back_at = client.back_at.max(steps + away);
    }

    fn connect(&mut self, index: usize) {
        let mono = Some(self.tick());
        let (first, next, epoch) = (self.first(), self.visible(), self.epoch());
        let topic = TOPIC.to_owned();
        let has_restarted = std::mem::take(&mut self.clients[index].has_restarted);
        let place = self.clients[index].place;
        let mut told = Vec::new();
        let granted = match place {
            None => {
                told.push(Line::Positions(vec![(topic, Some(epoch), first)]));
                first
            }
            Some((theirs, mut wanted)) => {
                told.push(Line::Reconnect { mono, lost: mono });
                if self.has(Bug::CursorBehind) && has_restarted {
                    wanted = wanted.saturating_sub(1);
                }
                let last = wanted.checked_sub(1);
                match self.start(theirs, wanted) {
                    Start::At(from) => from,
                    Start::Gap(to) => {
                        let reason = "retention".to_owned();
                        if !self.has(Bug::SilentGap) {
                            told.push(Line::Gap {
                                topic,
                                from: wanted,
                                to,
                                reason,
                                mono,
                            });
                        }
                        to
                    }
                    Start::Diverged(at) => {
                        told.push(Line::Diverged {
                            topic: topic.clone(),
                            epoch,
                            at,
                            mono,
                        });
                        if at < first {
                            told.push(Line::Gap {
                                topic,
                                from: at,
                                to: first,
                                reason: "retention".to_owned(),
                                mono,
                            });
                        }
                        at.max(first)
                    }
                    Start::Reset => {
                        told.push(Line::Reset {
                            topic,
                            epoch: Some(epoch),
                            first,
                            last,
                            mono,
                        });
                        first
                    }
                }
            }
        };
        let is_resumed = place.is_some() && granted > first && granted < next;
        let granted = match self.bug {
            Some(Bug::ResumeOffByOne) if is_resumed => granted + 1,
            Some(Bug::ReplayedOne) if is_resumed => granted - 1,
            _ => granted,
        };
        let client = &mut self.clients[index];
        client.lines.extend(told);
        client.place = Some((epoch, granted));
        client.is_connected = true;
    }

    fn start(&self, theirs: Epoch, wanted: u64) -> Start {
        let (first, next) = (self.first(), self.visible());
        let place = self.lineage.iter().position(|(epoch, _)| *epoch == theirs);
        let cut = place
            .and_then(|place| self.lineage.get(place + 1))
            .map(|(_, start)| *start);
        if self.has(Bug::EpochIgnored) {
            return if wanted < first {
                Start::Gap(first)
            } else {
                Start::At(wanted)
            };
        }
        match (place, cut) {
            (None, _) => Start::Reset,
            (_, Some(cut)) if wanted > cut => Start::Diverged(cut),
            _ if wanted > next => Start::Reset,
            _ if wanted < first => Start::Gap(first),
            _ => Start::At(wanted),
        }
    }

    fn read(&mut self, index: usize, most: u64) {
        if !self.clients[index].is_connected {
            return;
        }
        let (first, visible) = (self.first(), self.visible());
        let Some((epoch, mut cursor)) = self.clients[index].place else {
            return;
        };
        let mono = Some(self.tick());
        if cursor < first {
            if !self.has(Bug::SilentGap) {
                let reason = "retention".to_owned();
                let line = Line::Gap {
                    topic: TOPIC.to_owned(),
                    from: cursor,
                    to: first,
                    reason,
                    mono,
                };
                self.clients[index].lines.push(line);
            }
            cursor = first;
        }
        let end = visible.min(cursor + most);
        let mut lines = Vec::new();
        for offset in cursor..end {
            let Some(kept) = self.log.get((offset - first) as usize) else {
                break;
            };
            let topic = Cow::Borrowed(TOPIC);
            lines.push(Line::Message {
                topic,
                epoch: Some(epoch),
                offset,
                mono,
                payload: kept.payload,
            });
        }
        cursor = cursor.max(end);
        if lines.len() > 1 && self.dice.once_in(10) {
            if self.has(Bug::Reordered) {
                lines.swap(0, 1);
            }
            if self.has(Bug::Dropped) {
                lines.remove(0);
            }
        }
        let client = &mut self.clients[index];
        client.lines.extend(lines);
        client.place = Some((epoch, cursor));
    }

    // The end

    fn heal(&mut self) {
        while self.outstanding.iter().any(Option::is_some) {
            self.publish();
            self.sync();
        }
        for client in 0..self.clients.len() {
            if !self.clients[client].is_connected {
                self.connect(client);
            }
            self.read(client, u64::MAX >> 1);
        }
        let at = self.tick();
        self.events.push(Event::Drained {
            at,
            seconds: 0,
            behind: Vec::new(),
        });
    }

    fn evidence(mut self) -> Memory {
        let name = format!("{TOPIC}.0.ndjson");
        let topic = TOPIC.to_owned();
        let lineage = std::mem::take(&mut self.lineage);
        let mut dump = vec![Line::Lineage {
            topic,
            lineage,
            first: self.first(),
            next: self.next,
        }];
        dump.extend(self.log.iter().map(|kept| Line::Message {
            topic: Cow::Borrowed(TOPIC),
            epoch: Some(kept.owner),
            offset: kept.offset,
            mono: None,
            payload: kept.payload,
        }));
        let names: Vec<String> = (0..self.clients.len())
            .map(|client| format!("listen-{client}.ndjson"))
            .collect();
        let file = |name: &String| FileSetup {
            name: name.clone(),
            topics: vec![TOPIC.to_owned()],
            from_start: true,
            to_end: true,
        };
        Memory {
            setup: Setup {
                seed: self.seed,
                topics: vec![TopicSetup {
                    name: TOPIC.to_owned(),
                    level: self.level,
                    slow: "skip".to_owned(),
                    keep_bytes: 0,
                }],
                files: names.iter().map(file).collect(),
                ..Setup::default()
            },
            events: self.events,
            dumps: vec![(name, dump)],
            files: names
                .into_iter()
                .zip(self.clients.into_iter().map(|client| client.lines))
                .collect(),
        }
    }
}

enum Start {
    At(u64),
    Gap(u64),
    Diverged(u64),
    Reset,
}

#[cfg(test)]
mod tests {
    use super::{Bug, Size, run};
    use crate::checker::{Invariant, check};
    use crate::history::Level;

    /// Seeds a level, as in the prototype that the invariants come from.
    const SEEDS: u64 = 60;

    const LEVELS: [Level; 3] = [Level::None, Level::Os, Level::Fsync];

    #[test]
    fn a_model_without_a_bug_gives_no_alarm() {
        for level in LEVELS {
            let (mut gaps, mut resets, mut diverged) = (0, 0, 0);
            for seed in 0..SEEDS {
                let verdict = check(&run(seed, level, None, Size::SMALL)).expect("memory can be read");
                assert!(
                    verdict.is_proven(),
                    "{level:?} {seed}: {:#?}\n{:#?}",
                    verdict.violations,
                    verdict.slice
                );
                gaps += verdict.figures.gaps;
                resets += verdict.figures.resets;
                diverged += verdict.figures.diverged;
            }
            // What a bug would hide in must have happened.
            assert!(gaps > SEEDS, "{level:?}: only {gaps} gaps");
            assert_eq!(resets > SEEDS, level == Level::None, "{level:?}: {resets} resets");
            assert_eq!(diverged > SEEDS, level == Level::Os, "{level:?}: {diverged} diverged");
        }
    }

    #[track_caller]
    fn check_bug(bug: Bug, by: &[Invariant]) {
        for level in LEVELS.into_iter().filter(|level| bug.can_show_at(*level)) {
            let mut found = std::collections::BTreeSet::new();
            for seed in 0..SEEDS {
                let verdict = check(&run(seed, level, Some(bug), Size::SMALL)).expect("memory can be read");
                assert!(
                    !verdict.is_proven(),
                    "{bug:?} at {level:?} with seed {seed} was not found"
                );
                assert!(
                    !verdict.slice.is_empty(),
                    "{bug:?} at {level:?} with seed {seed} has no slice"
                );
                found.extend(verdict.broken());
            }
            for invariant in by {
                assert!(
                    found.contains(invariant),
                    "{bug:?} at {level:?} broke {found:?}, not {invariant:?}"
                );
            }
        }
    }

    #[test]
    fn a_retry_that_is_appended_twice_is_found_with_every_seed() {
        check_bug(Bug::RetryTwice, &[Invariant::I2, Invariant::I12]);
    }

    #[test]
    fn an_offset_that_is_reused_is_found_with_every_seed() {
        check_bug(Bug::OffsetReused, &[Invariant::I1]);
    }

    #[test]
    fn an_acknowledgement_before_the_disk_is_found_with_every_seed() {
        check_bug(Bug::AckBeforeFsync, &[Invariant::I8]);
    }

    #[test]
    fn an_epoch_that_is_kept_after_a_loss_is_found_with_every_seed() {
        check_bug(Bug::EpochKept, &[Invariant::I1]);
    }

    #[test]
    fn an_epoch_that_is_ignored_is_found_with_every_seed() {
        check_bug(Bug::EpochIgnored, &[]);
    }

    #[test]
    fn a_torn_tail_that_is_accepted_is_found_with_every_seed() {
        check_bug(Bug::TornTail, &[Invariant::I3]);
    }

    #[test]
    fn a_silent_gap_is_found_with_every_seed() {
        check_bug(Bug::SilentGap, &[Invariant::I6]);
    }

    #[test]
    fn a_resume_one_too_far_is_found_with_every_seed() {
        check_bug(Bug::ResumeOffByOne, &[Invariant::I6]);
    }

    #[test]
    fn a_message_that_is_replayed_is_found_with_every_seed() {
        check_bug(Bug::ReplayedOne, &[Invariant::I4]);
    }

    #[test]
    fn messages_in_the_wrong_order_are_found_with_every_seed() {
        check_bug(Bug::Reordered, &[Invariant::I6]);
    }

    #[test]
    fn a_message_that_is_left_out_is_found_with_every_seed() {
        check_bug(Bug::Dropped, &[Invariant::I6]);
    }

    #[test]
    fn a_cursor_that_is_one_behind_after_a_restart_is_found_with_every_seed() {
        check_bug(Bug::CursorBehind, &[Invariant::I4]);
    }

    #[test]
    fn every_bug_is_tried_at_one_level_at_least() {
        for bug in Bug::ALL {
            assert!(LEVELS.into_iter().any(|level| bug.can_show_at(level)), "{bug:?}");
        }
    }
}
