//! Compares what was acknowledged, what the logs hold and what the files hold: one pass, with hash maps.
//!
//! Offsets give the order, so no search for cycles is needed. Each position that anybody saw is a slot; whoever sees it
//! later must see the same.

mod reader;
mod slice;
#[cfg(test)]
mod tests;
mod topic;
mod verdict;

use std::collections::{BTreeMap, HashMap};

pub use verdict::{Figures, Invariant, Verdict, Violation};

use crate::epoch::Epoch;
use crate::history::{Entry, Event, History, HistoryError, Level, Origin, Setup, Turn};
use crate::line::{Block, Line};
use crate::payload::{Message, Payload};
use reader::{Reader, ToldGap, Track};
use topic::{Dump, Slot, Topic};

/// Violations of one kind that are listed; the rest is counted. The first tells most, and a bug tells thousands.
pub const LISTED_MAX: u64 = 20;

/// Open files that a server may have more at the end than in its first second: connections that come and go.
const DESCRIPTORS_MORE_MAX: u64 = 32;

/// Threads that a server may have more at the end: blocking threads of the runtime that linger.
const THREADS_MORE_MAX: u64 = 16;

/// Memory that a server may have more at the end beside what its topics keep: buffers and what the allocator holds.
const RSS_MORE_MAX: u64 = 96 << 20;

/// Milliseconds by which the sum of blocks may exceed the span of the file: each is rounded on its own.
const BLOCKS_SLACK_MS: f64 = 10.0;

/// Checks a history.
pub fn check(history: &dyn History) -> Result<Verdict, HistoryError> {
    let mut checker = Checker::new(history.setup());
    history.each(&mut |origin, entry| checker.take(origin, entry))?;
    let mut verdict = checker.finish();
    verdict.slice = slice::around_first(history, &verdict)?;
    Ok(verdict)
}

/// A body that was sent.
#[derive(Debug)]
struct Publish {
    topic: usize,
    invoked: u64,
    hashes: Vec<u32>,
    acks: Vec<Ack>,
    /// Where its messages stand: part, history, offset.
    places: Vec<(u32, usize, u64)>,
    is_unknown: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ack {
    at: u64,
    history: usize,
    first: u64,
    count: u64,
}

/// Where a line stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    origin: &'a str,
    line: u64,
    at: Option<u64>,
}

/// A process in its first second: when, memory, open files, threads.
struct Usage {
    rss_bytes: u64,
    descriptors: u64,
    threads: u64,
}

struct Checker {
    topics: Vec<Topic>,
    publishes: HashMap<u32, BTreeMap<u64, Publish>>,
    readers: HashMap<String, Reader>,
    origins: Vec<String>,
    turns: Vec<(u64, Turn)>,
    told: HashMap<(usize, Epoch), (u64, u64)>,
    told_gaps: Vec<ToldGap>,
    usages: HashMap<u32, Usage>,
    drained: Option<u64>,
    are_acks_settled: bool,
    verdict: Verdict,
}

impl Checker {
    fn new(setup: &Setup) -> Self {
        let mut checker = Self {
            topics: setup.topics.iter().cloned().map(Topic::new).collect(),
            publishes: HashMap::new(),
            readers: HashMap::new(),
            origins: vec!["acknowledgements".to_owned()],
            turns: Vec::new(),
            told: HashMap::new(),
            told_gaps: Vec::new(),
            usages: HashMap::new(),
            drained: None,
            are_acks_settled: false,
            verdict: Verdict::default(),
        };
        for file in &setup.files {
            let witness = checker.origin(&file.name);
            let follows = file.topics.iter().filter_map(|name| checker.topic(name)).collect();
            let reader = Reader {
                witness,
                from_start: file.from_start,
                to_end: file.to_end,
                follows,
                ..Reader::default()
            };
            checker.readers.insert(file.name.clone(), reader);
        }
        checker
    }

    fn origin(&mut self, name: &str) -> u16 {
        let index = self.origins.iter().position(|known| known == name).unwrap_or_else(|| {
            self.origins.push(name.to_owned());
            self.origins.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.setup.name == name)
    }

    fn turns_after(&self, at: u64, turn: Turn) -> bool {
        self.turns.iter().any(|(when, which)| *which == turn && *when > at)
    }

    fn turns_of(&self, turn: Turn) -> usize {
        self.turns.iter().filter(|(_, which)| *which == turn).count()
    }

    fn blame(
        &mut self,
        invariant: Invariant,
        topic: usize,
        position: Option<(usize, u64)>,
        place: Place<'_>,
        said: String,
    ) {
        self.blame_publish(invariant, topic, position, None, place, said);
    }

    fn blame_publish(
        &mut self,
        invariant: Invariant,
        topic: usize,
        position: Option<(usize, u64)>,
        publish: Option<(u32, u64)>,
        place: Place<'_>,
        said: String,
    ) {
        let topic = &self.topics[topic];
        self.verdict.take(Violation {
            invariant,
            topic: topic.setup.name.clone(),
            epoch: position.map(|(history, _)| topic.histories[history].epoch),
            offset: position.map(|(_, offset)| offset),
            publish,
            origin: place.origin.to_owned(),
            line: (place.line > 0).then_some(place.line),
            at: place.at,
            said,
        });
    }

    fn take(&mut self, origin: Origin<'_>, entry: Entry<'_>) {
        match (origin, entry) {
            (Origin::Events(_), Entry::Event(event)) => self.on_event(event),
            (Origin::Dump(name), Entry::Line(number, line)) => self.on_dump(name, number, line),
            (Origin::File(name), Entry::Line(number, line)) => {
                self.settle_acks();
                self.on_file(name, number, line);
            }
            (_, Entry::Event(_)) | (Origin::Events(_), Entry::Line(..)) => {}
        }
    }

    // Events

    fn on_event(&mut self, event: Event) {
        let figures = &mut self.verdict.figures;
        match event {
            Event::Invoke {
                at,
                topic,
                source,
                sequence,
                hashes,
            } => {
                figures.messages += hashes.len() as u64;
                let Some(topic) = self.topic(&topic) else { return };
                let publish = Publish {
                    topic,
                    invoked: at,
                    hashes,
                    acks: Vec::new(),
                    places: Vec::new(),
                    is_unknown: false,
                };
                self.publishes.entry(source).or_default().insert(sequence, publish);
            }
            Event::Ack {
                at,
                topic,
                source,
                sequence,
                epoch,
                first,
                count,
                repeated,
            } => {
                figures.repeated += u64::from(repeated);
                let Some(index) = self.topic(&topic) else { return };
                let history = self.topics[index].history_of(epoch);
                let Some(publish) = publish_of(&mut self.publishes, source, sequence) else {
                    return;
                };
                if publish.acks.is_empty() {
                    self.verdict.figures.acknowledged += count;
                }
                publish.acks.push(Ack {
                    at,
                    history,
                    first,
                    count,
                });
            }
            Event::Info { source, sequence, .. } => {
                if let Some(publish) = publish_of(&mut self.publishes, source, sequence)
                    && !publish.is_unknown
                {
                    publish.is_unknown = true;
                    figures.unknown += 1;
                }
            }
            Event::Nack { topic, held: true, .. } => *figures.held.entry(topic).or_default() += 1,
            Event::Nack { .. } | Event::End { .. } => {}
            Event::GivenUp {
                at,
                topic,
                source,
                sequence,
            } => self.on_given_up(at, &topic, (source, sequence)),
            Event::Begin { fault, .. } => *figures.faults.entry(fault).or_default() += 1,
            Event::Server { at, turn } => self.turns.push((at, turn)),
            Event::Told {
                at,
                topic,
                epoch,
                first: _,
                next,
                durable,
            } => self.on_told(at, &topic, epoch, next, durable),
            Event::Usage {
                at,
                pid,
                end,
                rss_bytes,
                descriptors,
                threads,
            } => {
                self.on_usage(
                    at,
                    pid,
                    end,
                    Usage {
                        rss_bytes,
                        descriptors,
                        threads,
                    },
                );
            }
            Event::Drained { at, seconds, behind } => {
                self.drained = Some(seconds);
                for name in behind {
                    let place = Place {
                        origin: &name,
                        line: 0,
                        at: Some(at),
                    };
                    let said = format!("it had not caught up {seconds} s after the last fault");
                    self.blame(Invariant::I10, 0, None, place, said);
                }
            }
        }
    }

    fn on_given_up(&mut self, at: u64, topic: &str, publish: (u32, u64)) {
        let Some(topic) = self.topic(topic) else { return };
        let place = Place {
            origin: "publisher",
            line: 0,
            at: Some(at),
        };
        let said = format!("body {} of publisher {} was never taken", publish.1, publish.0);
        self.blame_publish(Invariant::I10, topic, None, Some(publish), place, said);
    }

    fn on_told(&mut self, at: u64, topic: &str, epoch: Epoch, next: u64, durable: Option<u64>) {
        let Some(index) = self.topic(topic) else { return };
        let history = self.topics[index].history_of(epoch);
        let place = Place {
            origin: "probe",
            line: 0,
            at: Some(at),
        };
        let before = self.told.entry((index, epoch)).or_default();
        let durable = durable.unwrap_or(before.1);
        let fell = (next < before.0).then_some(("next", before.0, next));
        let fell = fell.or_else(|| (durable < before.1).then_some(("durable", before.1, durable)));
        *before = (next.max(before.0), durable.max(before.1));
        if let Some((what, from, to)) = fell {
            let said = format!("{what} fell from {from} to {to}");
            self.blame(Invariant::I9, index, Some((history, to)), place, said);
        }
    }

    fn on_usage(&mut self, at: u64, pid: u32, end: bool, usage: Usage) {
        let Some(before) = self.usages.get(&pid) else {
            self.usages.insert(pid, usage);
            return;
        };
        if !end || self.topics.is_empty() {
            return;
        }
        let kept: u64 = self.topics.iter().map(|topic| topic.setup.keep_bytes).sum();
        let bounds = [
            (
                "bytes of memory",
                usage.rss_bytes,
                before.rss_bytes + before.rss_bytes / 10 + kept + kept / 2 + RSS_MORE_MAX,
            ),
            (
                "open files",
                usage.descriptors,
                before.descriptors + DESCRIPTORS_MORE_MAX,
            ),
            ("threads", usage.threads, before.threads + THREADS_MORE_MAX),
        ];
        for (what, now, most) in bounds {
            if now > most {
                let place = Place {
                    origin: "usage",
                    line: 0,
                    at: Some(at),
                };
                self.blame(
                    Invariant::I14,
                    0,
                    None,
                    place,
                    format!("the server has {now} {what}, more than {most}"),
                );
            }
        }
    }

    // Positions

    /// Somebody saw a message at a position.
    fn witness(&mut self, topic: usize, history: usize, offset: u64, payload: Payload, witness: u16, place: Place<'_>) {
        let owner = self.topics[topic].owner(history, offset);
        let at = Some((owner, offset));
        let Payload::Intact(message) = payload else {
            self.blame(
                Invariant::I3,
                topic,
                at,
                place,
                "what stands here was not sent by anybody, or was changed".to_owned(),
            );
            return;
        };
        let is_dump = matches!(self.topics[topic].dumps.last(), Some(dump) if dump.name == place.origin);
        let id = Some((message.source, message.sequence));
        if let Some(slot) = self.topics[topic].histories[owner].slot(offset) {
            slot.dumped |= is_dump;
            slot.delivered |= !is_dump;
            let (known, by, invoked) = (slot.message, slot.witness, slot.invoked);
            if known != message {
                let said = format!(
                    "{} is here, but {} had {}",
                    named(message),
                    self.origins.get(usize::from(by)).map_or("somebody", String::as_str),
                    named(known)
                );
                self.blame_publish(Invariant::I1, topic, at, id, place, said);
            } else if place.at.is_some_and(|at| at < invoked) {
                let said = format!("{} was received before it was sent", named(message));
                self.blame_publish(Invariant::I3, topic, at, id, place, said);
            }
            return;
        }
        let Some(publish) = publish_of(&mut self.publishes, message.source, message.sequence) else {
            let said = format!("{} was never sent", named(message));
            self.blame_publish(Invariant::I3, topic, at, id, place, said);
            return;
        };
        let sent = usize::try_from(message.part)
            .ok()
            .and_then(|part| publish.hashes.get(part));
        let invoked = publish.invoked;
        let is_as_sent =
            sent == Some(&message.hash) && publish.topic == topic && place.at.is_none_or(|at| at >= invoked);
        let elsewhere = publish
            .places
            .iter()
            .find(|(part, of, other)| *part == message.part && *of == owner && *other != offset)
            .map(|(_, _, other)| *other);
        publish.places.push((message.part, owner, offset));
        let slot = Slot {
            message,
            witness,
            dumped: is_dump,
            delivered: !is_dump && witness > 0,
            invoked,
        };
        *self.topics[topic].histories[owner].slot(offset) = Some(slot);
        if !is_as_sent {
            let said = format!("{} is not what was sent, or before it was sent", named(message));
            self.blame_publish(Invariant::I3, topic, at, id, place, said);
        }
        if let Some(other) = elsewhere {
            let said = format!("{} stands at {other}, too", named(message));
            self.blame_publish(Invariant::I2, topic, at, id, place, said);
        }
    }

    // Dumps

    fn on_dump(&mut self, name: &str, number: u64, line: Line<'_>) {
        let Some(topic) = line.topic().and_then(|topic| self.topic(topic)) else {
            return;
        };
        if self.topics[topic].dumps.last().is_none_or(|dump| dump.name != name) {
            let dump = Dump {
                name: name.to_owned(),
                lineage: Vec::new(),
                first: None,
                next: None,
                end: None,
                holes: Vec::new(),
            };
            self.topics[topic].dumps.push(dump);
        }
        let index = self.topics[topic].dumps.len() - 1;
        let witness = self.origin(name);
        let place = Place {
            origin: name,
            line: number,
            at: None,
        };
        match line {
            Line::Lineage {
                lineage, first, next, ..
            } => {
                for (epoch, start) in lineage {
                    let history = self.topics[topic].history_of(epoch);
                    self.topics[topic].extend_lineage(index, history, start);
                }
                let dump = &mut self.topics[topic].dumps[index];
                (dump.first, dump.next) = (Some(first), Some(next));
            }
            Line::Message {
                epoch: Some(epoch),
                offset,
                payload,
                ..
            } => {
                let history = self.topics[topic].history_of(epoch);
                self.topics[topic].extend_lineage(index, history, offset);
                self.on_dumped(topic, index, offset..offset + 1, history, place);
                self.witness(topic, history, offset, payload, witness, place);
                self.verdict.figures.dumped += 1;
            }
            Line::Gap { from, to, .. } => {
                let history = self.topics[topic].dumps[index]
                    .lineage
                    .last()
                    .map(|(history, _)| *history);
                if let Some(history) = history {
                    self.on_dumped(topic, index, from..to, history, place);
                }
                self.topics[topic].dumps[index].holes.push(from..to);
            }
            _ => {
                let said = "a line of the dump cannot be read".to_owned();
                self.blame(Invariant::I11, topic, None, place, said);
            }
        }
    }

    fn on_dumped(&mut self, topic: usize, dump: usize, range: std::ops::Range<u64>, history: usize, place: Place<'_>) {
        let dump = &mut self.topics[topic].dumps[dump];
        let first = *dump.first.get_or_insert(range.start);
        let expected = dump.end.unwrap_or(first);
        dump.end = Some(range.end);
        if range.start != expected {
            let said = format!("the log goes on at {}, not at {expected}", range.start);
            self.blame(Invariant::I11, topic, Some((history, range.start)), place, said);
        }
    }

    // Acknowledgements

    /// Holds every acknowledgement against the dumps; once, when all dumps are known.
    fn settle_acks(&mut self) {
        if std::mem::replace(&mut self.are_acks_settled, true) {
            return;
        }
        let mut acks: Vec<(Ack, usize, u64, Vec<Message>)> = Vec::new();
        for (source, publishes) in &self.publishes {
            for (sequence, publish) in publishes {
                for ack in &publish.acks {
                    let messages = (0..).zip(&publish.hashes);
                    let messages = messages
                        .map(|(part, hash)| Message {
                            source: *source,
                            sequence: *sequence,
                            part,
                            hash: *hash,
                        })
                        .collect();
                    acks.push((*ack, publish.topic, publish.invoked, messages));
                }
            }
        }
        acks.sort_by_key(|(ack, ..)| ack.at);
        for (ack, topic, invoked, messages) in acks {
            self.settle_ack(ack, topic, invoked, &messages);
        }
        self.settle_dump_ends();
    }

    fn settle_ack(&mut self, ack: Ack, topic: usize, invoked: u64, messages: &[Message]) {
        let place = Place {
            origin: "acknowledgements",
            line: 0,
            at: Some(ack.at),
        };
        let publish = messages.first().map(|message| (message.source, message.sequence));
        if ack.count != messages.len() as u64 {
            let said = format!("{} messages were acknowledged of {}", ack.count, messages.len());
            self.blame_publish(
                Invariant::I8,
                topic,
                Some((ack.history, ack.first)),
                publish,
                place,
                said,
            );
        }
        for (offset, message) in (ack.first..).zip(messages) {
            self.witness(topic, ack.history, offset, Payload::Intact(*message), 0, place);
            if let Some(why) = self.why_lost(topic, ack.history, offset, *message, invoked) {
                let said = format!("{} was acknowledged, but {why}", named(*message));
                self.blame_publish(Invariant::I8, topic, Some((ack.history, offset)), publish, place, said);
                break;
            }
        }
    }

    /// Why what stood at a position should be in a dump but is not; `None` if it is, or need not be.
    fn why_lost(
        &self,
        topic: usize,
        history: usize,
        offset: u64,
        message: Message,
        since: u64,
    ) -> Option<&'static str> {
        let topic = &self.topics[topic];
        let owner = topic.owner(history, offset);
        if let Some(dump) = topic.dump_with(owner, offset) {
            let is_gone =
                dump.first.is_some_and(|first| offset < first) || dump.holes.iter().any(|hole| hole.contains(&offset));
            let is_there = topic.histories[owner]
                .at(offset)
                .is_some_and(|slot| slot.dumped && slot.message == message);
            return (!is_gone && !is_there).then_some("the log does not have it");
        }
        let (killed, cut, wiped) = (
            self.turns_after(since, Turn::Started),
            self.turns_after(since, Turn::PowerCut),
            self.turns_after(since, Turn::Wiped),
        );
        let may_be_lost = match topic.level() {
            Level::None => killed || topic.dumps.is_empty(),
            Level::Os => cut || wiped,
            Level::Fsync => wiped,
        };
        (!may_be_lost).then_some("its history is not that of the log any more")
    }

    fn settle_dump_ends(&mut self) {
        for topic in 0..self.topics.len() {
            for index in 0..self.topics[topic].dumps.len() {
                let dump = &self.topics[topic].dumps[index];
                let (Some(next), Some(first)) = (dump.next, dump.first) else {
                    continue;
                };
                let end = dump.end.unwrap_or(first);
                if end != next {
                    let name = dump.name.clone();
                    let place = Place {
                        origin: &name,
                        line: 0,
                        at: None,
                    };
                    self.blame(
                        Invariant::I11,
                        topic,
                        None,
                        place,
                        format!("the log ends at {end}, and says {next}"),
                    );
                }
            }
        }
    }

    // Files

    fn on_file(&mut self, name: &str, number: u64, line: Line<'_>) {
        // Taken out and put back, so that it and the rest can be changed side by side.
        let Some(mut reader) = self.readers.remove(name) else {
            return;
        };
        self.on_line(&mut reader, name, number, line);
        self.readers.insert(name.to_owned(), reader);
    }

    fn on_line(&mut self, reader: &mut Reader, name: &str, number: u64, line: Line<'_>) {
        let place = |at| Place {
            origin: name,
            line: number,
            at,
        };
        let first_topic = reader.follows.first().copied().unwrap_or(0);
        if std::mem::take(&mut reader.torn) {
            let said = "the line before is torn, and yet something follows".to_owned();
            self.blame(Invariant::I3, first_topic, None, place(None), said);
        }
        let topic = match line.topic() {
            Some(name) => match self.topic(name) {
                Some(topic) => topic,
                None => return,
            },
            None => first_topic,
        };
        match line {
            Line::Message {
                epoch,
                offset,
                mono,
                payload,
                ..
            } => {
                self.on_time(reader, topic, mono, place(mono));
                self.verdict.figures.delivered += 1;
                match epoch {
                    Some(epoch) => self.on_message(reader, topic, epoch, offset, payload, place(mono)),
                    None => self.blame(
                        Invariant::I7,
                        topic,
                        None,
                        place(mono),
                        "a message has no epoch".to_owned(),
                    ),
                }
            }
            Line::Start { mono } => {
                reader.mono = mono;
                reader.began = reader.began.or(mono);
                self.on_disturbance(reader, None);
            }
            Line::Positions(wanted) => self.on_positions(reader, &wanted, place(None)),
            Line::Gap {
                from, to, reason, mono, ..
            } => self.on_gap(reader, topic, from, to, &reason, place(mono)),
            Line::Reset {
                epoch,
                first,
                last,
                mono,
                ..
            } => self.on_reset(reader, topic, epoch, first, last, place(mono)),
            Line::Continued { epoch, at, mono, .. } => self.on_continued(reader, topic, epoch, at, place(mono)),
            Line::Diverged { epoch, at, mono, .. } => self.on_diverged(reader, topic, epoch, at, place(mono)),
            Line::Reconnect { mono, lost } => {
                self.verdict.figures.reconnects += 1;
                self.on_time(reader, topic, mono, place(mono));
                self.on_disturbance(reader, lost);
            }
            Line::Block(block) => self.on_block(reader, topic, &block, place(block.mono)),
            Line::Damaged(why) => {
                self.blame(
                    Invariant::I3,
                    topic,
                    None,
                    place(None),
                    format!("the line is damaged: {why}"),
                );
            }
            Line::Torn => {
                self.verdict.figures.torn += 1;
                reader.torn = true;
            }
            Line::Lineage { .. } | Line::Other => {}
        }
    }

    fn on_time(&mut self, reader: &mut Reader, topic: usize, mono: Option<u64>, place: Place<'_>) {
        let Some(now) = mono else { return };
        if let Some(before) = reader.mono
            && now < before
        {
            let said = format!("the monotonic clock went back by {} ns", before - now);
            self.blame(Invariant::I15, topic, None, place, said);
        }
        reader.mono = Some(now);
    }

    /// A topic of which something came after `since` was back before the others, and disturbed at a place that the file does not tell.
    fn on_disturbance(&mut self, reader: &mut Reader, since: Option<u64>) {
        for track in reader.tracks.values_mut() {
            let was_back = since.is_some_and(|since| track.latest.is_some_and(|latest| latest > since));
            if !was_back {
                track.disturbed = track.expected;
            }
            track.let_go = None;
        }
    }

    fn on_positions(&mut self, reader: &mut Reader, wanted: &[(String, Option<Epoch>, u64)], place: Place<'_>) {
        for (name, epoch, offset) in wanted {
            let Some(topic) = self.topic(name) else { continue };
            let history = epoch.map(|epoch| self.topics[topic].history_of(epoch));
            let (from_start, track) = (reader.from_start, reader.tracks.entry(topic).or_default());
            if track.expected.is_some() {
                continue;
            }
            (track.history, track.expected) = (history, Some(*offset));
            if from_start && *offset > 0 {
                let said = format!("the file begins at {offset}, not at 0, and nothing says why");
                self.blame(
                    Invariant::I6,
                    topic,
                    history.map(|history| (history, *offset)),
                    place,
                    said,
                );
            }
        }
    }

    fn on_message(
        &mut self,
        reader: &mut Reader,
        topic: usize,
        epoch: Epoch,
        offset: u64,
        payload: Payload,
        place: Place<'_>,
    ) {
        let history = self.topics[topic].history_of(epoch);
        let owner = self.topics[topic].owner(history, offset);
        self.witness(topic, history, offset, payload, reader.witness, place);
        let from_start = reader.from_start;
        let track = reader.tracks.entry(topic).or_default();
        self.blame_let_go(track.let_go.take());
        let at = Some((owner, offset));
        let expected = track.expected.unwrap_or(if from_start { 0 } else { offset });
        if let Some(before) = track.history
            && before != history
            && let Some((invariant, said)) = self.why_not_after(topic, track, before, history)
        {
            self.blame(invariant, topic, at, place, said);
            // Blamed once: what follows is held against the new history.
            track.expected = Some(offset + 1);
        } else if offset > expected {
            self.blame(
                Invariant::I6,
                topic,
                at,
                place,
                format!("{expected} should come, and no notice covers the jump"),
            );
            track.expected = Some(offset + 1);
        } else if offset < expected {
            let invariant = if track.has(owner, offset) {
                Invariant::I4
            } else {
                Invariant::I5
            };
            self.blame(
                invariant,
                topic,
                at,
                place,
                format!("{expected} should come; the file is beyond this already"),
            );
        } else {
            track.expected = Some(offset + 1);
        }
        track.history = Some(history);
        track.latest = place.at.or(track.latest);
        track.has_now(owner, offset);
    }

    /// Why a file may not go on from one history to another without a notice.
    fn why_not_after(&self, topic: usize, track: &Track, before: usize, now: usize) -> Option<(Invariant, String)> {
        match self.topics[topic].cut_between(before, now) {
            Some(cut) if track.end_of(before).is_some_and(|end| end > cut) => Some((
                Invariant::I16,
                format!("the server lost everything from {cut} on, and the file was not told"),
            )),
            Some(_) => None,
            None => {
                let before = self.topics[topic].histories[before].epoch;
                Some((
                    Invariant::I7,
                    format!("the epoch was {before:?}, and no notice tells of a new one"),
                ))
            }
        }
    }

    fn on_gap(&mut self, reader: &mut Reader, topic: usize, from: u64, to: u64, reason: &str, place: Place<'_>) {
        self.verdict.figures.gaps += 1;
        self.verdict.figures.missing += to.saturating_sub(from);
        let from_start = reader.from_start;
        let track = reader.tracks.entry(topic).or_default();
        let expected = track.expected.unwrap_or(if from_start { 0 } else { from });
        let at = track
            .history
            .map(|history| (self.topics[topic].owner(history, from), from));
        let was_away = track.disturbed == Some(expected);
        track.expected = Some(expected.max(to));
        track.disturbed = track.expected;
        let told = ToldGap {
            topic,
            history: at.map_or(0, |(history, _)| history),
            from,
            to,
            origin: place.origin.to_owned(),
            line: place.line,
            at: place.at,
        };
        if self.topics[topic].setup.holds() && !was_away && matches!(reason, "retention" | "policy") {
            track.let_go.get_or_insert(told.clone());
        }
        if at.is_some() && reason != "policy" {
            self.told_gaps.push(told);
        }
        if !matches!(reason, "retention" | "policy" | "damage" | "purge") {
            self.blame(
                Invariant::I6,
                topic,
                at,
                place,
                format!("offsets {from} to {to} were left out without a word ({reason})"),
            );
        }
        if from > expected {
            self.blame(
                Invariant::I6,
                topic,
                at,
                place,
                format!("{expected} should come; the notice covers {from} to {to} only"),
            );
        } else if from < expected || to <= from {
            self.blame(
                Invariant::I13,
                topic,
                at,
                place,
                format!("{from} to {to} is told as missing, but the file is at {expected}"),
            );
        }
    }

    /// A topic that holds back its source let go what a listener was there to read: nothing says that it came back.
    fn blame_let_go(&mut self, gap: Option<ToldGap>) {
        let Some(gap) = gap else { return };
        let said = format!(
            "{} to {} was let go, and this listener was there to read it",
            gap.from, gap.to
        );
        let at = Some((gap.history, gap.from));
        self.blame(Invariant::I17, gap.topic, at, gap.place(), said);
    }

    fn on_reset(
        &mut self,
        reader: &mut Reader,
        topic: usize,
        epoch: Option<Epoch>,
        first: u64,
        last: Option<u64>,
        place: Place<'_>,
    ) {
        self.verdict.figures.resets += 1;
        let history = epoch.map(|epoch| self.topics[topic].history_of(epoch));
        let track = reader.tracks.entry(topic).or_default();
        let (before, expected) = (track.history, track.expected);
        (track.history, track.expected, track.disturbed) = (history, Some(first), Some(first));
        let at = history.map(|history| (history, first));
        // After a history of which nothing came the last is that of the one before.
        let ends = [expected, track.end()];
        if let Some(last) = last
            && expected.is_some()
            && !ends.contains(&Some(last + 1))
        {
            let said = format!("the notice says that {last} was the last, but the file goes up to {ends:?}");
            self.blame(Invariant::I7, topic, at, place, said);
        }
        if before.is_some() && before == history {
            self.blame(
                Invariant::I7,
                topic,
                at,
                place,
                "a new history is told, and it is the old one".to_owned(),
            );
        }
        let may_be = match self.topics[topic].level() {
            Level::None => self.turns_of(Turn::Started) > 1,
            Level::Os | Level::Fsync => self.turns_of(Turn::Wiped) > 0,
        };
        if !may_be {
            let said = format!(
                "the server forgot the history of a topic of level {}",
                self.topics[topic].level().word()
            );
            self.blame(Invariant::I7, topic, at, place, said);
        }
    }

    /// Every offset below is one of both histories: that they hold the same there is a matter of I1.
    fn on_continued(&mut self, reader: &mut Reader, topic: usize, epoch: Epoch, at: u64, place: Place<'_>) {
        let history = self.topics[topic].history_of(epoch);
        let track = reader.tracks.entry(topic).or_default();
        let (before, expected) = (track.history, track.expected);
        (track.history, track.disturbed) = (Some(history), Some(at));
        let said = match before {
            Some(before) if before == history => Some("a new history is told, and it is the old one".to_owned()),
            Some(before) => match self.topics[topic].cut_between(before, history) {
                Some(cut) if at > cut => Some(format!("the history is said to go on at {at}, but it was cut at {cut}")),
                _ => None,
            },
            None => None,
        };
        let said = said.or_else(|| {
            expected
                .filter(|&expected| expected != at)
                .map(|expected| format!("the history is said to go on at {at}, but the file is at {expected}"))
        });
        if let Some(said) = said {
            self.blame(Invariant::I7, topic, Some((history, at)), place, said);
        }
        if self.topics[topic].level() != Level::Os || self.turns_of(Turn::PowerCut) == 0 {
            let said = "the server changed its history, and no power cut excuses it".to_owned();
            self.blame(Invariant::I9, topic, Some((history, at)), place, said);
        }
    }

    fn on_diverged(&mut self, reader: &mut Reader, topic: usize, epoch: Epoch, cut: u64, place: Place<'_>) {
        self.verdict.figures.diverged += 1;
        let history = self.topics[topic].history_of(epoch);
        let track = reader.tracks.entry(topic).or_default();
        let (before, expected) = (track.history, track.expected);
        (track.history, track.expected, track.disturbed) = (Some(history), Some(cut), Some(cut));
        let at = Some((history, cut));
        if self.topics[topic].level() != Level::Os || self.turns_of(Turn::PowerCut) == 0 {
            let said = "the server lost what it had sent, and no power cut excuses it".to_owned();
            self.blame(Invariant::I9, topic, at, place, said);
        }
        let known = before.and_then(|before| self.topics[topic].cut_between(before, history));
        if known.is_some_and(|known| known != cut) || expected.is_some_and(|expected| cut > expected) {
            let said = format!("the notice says that all from {cut} on was lost; the lineage says {known:?}");
            self.blame(Invariant::I7, topic, at, place, said);
        }
    }

    fn on_block(&mut self, reader: &mut Reader, topic: usize, block: &Block, place: Place<'_>) {
        self.verdict.figures.blocks += 1;
        let track = reader.tracks.entry(topic).or_default();
        let is_clean = block.flags.is_empty();
        let elapsed = block.elapsed_ms.unwrap_or(0.0);
        let is_disturbed = track
            .disturbed
            .is_some_and(|offset| (block.first..=block.last).contains(&offset));
        let wrong = if elapsed < 0.0 || block.spread_ms < 0.0 {
            Some("a time is below 0")
        } else if is_clean && block.elapsed_ms.is_none() {
            Some("it counts, but has no time")
        } else if is_clean && block.spread_ms > elapsed + BLOCKS_SLACK_MS {
            Some("its spread is longer than itself")
        } else if is_clean && block.messages != block.block_size {
            Some("it counts, but is not full")
        } else if is_clean && is_disturbed {
            Some("it counts, though something came between")
        } else {
            None
        };
        if is_clean {
            track.clean_ns += elapsed * 1e6;
        }
        if let Some(wrong) = wrong {
            let at = track.history.map(|history| (history, block.first));
            self.blame(
                Invariant::I15,
                topic,
                at,
                place,
                format!("block of {} to {}: {wrong}", block.first, block.last),
            );
        }
    }

    // The end

    fn finish(mut self) -> Verdict {
        self.settle_acks();
        for topic in 0..self.topics.len() {
            self.finish_histories(topic);
            self.finish_epochs(topic);
        }
        self.finish_gaps();
        let readers = std::mem::take(&mut self.readers);
        let mut names: Vec<&String> = readers.keys().collect();
        names.sort();
        for name in names {
            self.finish_reader(name, &readers[name]);
        }
        self.verdict.figures.epochs = self.topics.iter().map(|topic| topic.histories.len() as u64).sum();
        // The order of time, then that of the evidence: the first is the cause more often than not.
        self.verdict
            .violations
            .sort_by_key(|violation| (violation.at.unwrap_or(u64::MAX), violation.line));
        self.verdict
    }

    /// One publisher's messages stand in their order, each once, and those of a body together; what was delivered is kept.
    fn finish_histories(&mut self, topic: usize) {
        let mut wrong: Vec<(Invariant, usize, u64, Message, String)> = Vec::new();
        for (index, history) in self.topics[topic].histories.iter().enumerate() {
            let mut latest: HashMap<u32, (u64, u32)> = HashMap::new();
            let mut before: Option<(u64, Message)> = None;
            for (offset, slot) in history.slots() {
                let message = slot.message;
                let place = (message.sequence, message.part);
                if let Some(known) = latest.insert(message.source, place)
                    && known >= place
                {
                    let said = format!(
                        "{} stands behind body {} part {} of its publisher",
                        named(message),
                        known.0,
                        known.1
                    );
                    wrong.push((Invariant::I12, index, offset, message, said));
                }
                let follows = before.is_some_and(|(before, _)| before + 1 == offset);
                let is_with_its_body = message.part == 0
                    || !follows
                    || before.is_some_and(|(_, before)| {
                        (before.source, before.sequence, before.part + 1)
                            == (message.source, message.sequence, message.part)
                    });
                if !is_with_its_body {
                    let said = format!("{} does not stand behind the part before it", named(message));
                    wrong.push((Invariant::I12, index, offset, message, said));
                }
                before = Some((offset, message));
                if slot.delivered && self.why_lost(topic, index, offset, message, slot.invoked).is_some() {
                    let by = self
                        .origins
                        .get(usize::from(slot.witness))
                        .map_or("somebody", String::as_str);
                    let said = format!("{} was seen by {by}, but the log does not have it", named(message));
                    wrong.push((Invariant::P9, index, offset, message, said));
                }
            }
        }
        for (invariant, history, offset, message, said) in wrong {
            let place = Place {
                origin: "",
                line: 0,
                at: None,
            };
            let publish = Some((message.source, message.sequence));
            self.blame_publish(invariant, topic, Some((history, offset)), publish, place, said);
        }
    }

    fn finish_epochs(&mut self, topic: usize) {
        let (cuts, wiped, starts) = (
            self.turns_of(Turn::PowerCut),
            self.turns_of(Turn::Wiped),
            self.turns_of(Turn::Started),
        );
        let most = match self.topics[topic].level() {
            Level::None => starts.max(1),
            Level::Os => 1 + cuts + wiped,
            Level::Fsync => 1 + wiped,
        };
        let found = self.topics[topic].histories.len();
        if found > most {
            let said = format!("it had {found} epochs, and at most {most} can be explained");
            self.blame(
                Invariant::I9,
                topic,
                None,
                Place {
                    origin: "",
                    line: 0,
                    at: None,
                },
                said,
            );
        }
    }

    /// What was told as missing must not stand in the dump.
    fn finish_gaps(&mut self) {
        for gap in std::mem::take(&mut self.told_gaps) {
            let topic = &self.topics[gap.topic];
            let kept = (gap.from..gap.to).rev().take_while(|offset| {
                topic
                    .dump_with(gap.history, *offset)
                    .is_some_and(|dump| dump.first.is_some_and(|first| *offset >= first))
            });
            let kept = kept.filter(|offset| topic.histories[gap.history].at(*offset).is_some_and(|slot| slot.dumped));
            if let Some(offset) = kept.last() {
                let said = format!("{} to {} is told as missing, but the log has it", gap.from, gap.to);
                self.blame(
                    Invariant::I13,
                    gap.topic,
                    Some((gap.history, offset)),
                    gap.place(),
                    said,
                );
            }
        }
    }

    fn finish_reader(&mut self, name: &str, reader: &Reader) {
        let place = Place {
            origin: name,
            line: 0,
            at: reader.mono,
        };
        let nothing = Track::default();
        for topic in &reader.follows {
            let track = reader.tracks.get(topic).unwrap_or(&nothing);
            self.blame_let_go(track.let_go.clone());
            let span_ms = reader
                .mono
                .zip(reader.began)
                .map(|(last, first)| last.saturating_sub(first) as f64 / 1e6);
            if span_ms.is_some_and(|span| track.clean_ns / 1e6 > span + BLOCKS_SLACK_MS) {
                let said = "its blocks together are longer than the time that they were timed in".to_owned();
                self.blame(Invariant::I15, *topic, None, place, said);
            }
            let (Some(seconds), true, Some(end)) = (self.drained, reader.to_end, self.topics[*topic].end()) else {
                continue;
            };
            let is_there = track.history == Some(end.0) && track.expected == Some(end.1);
            // A topic that nothing was sent to since its last history began tells a listener nothing.
            let is_empty = self.topics[*topic]
                .dumps
                .last()
                .is_some_and(|dump| dump.first == Some(end.1));
            let has_nothing_to_read = is_empty && track.end_of(end.0).is_none();
            if !is_there && !has_nothing_to_read {
                let said = format!(
                    "{seconds} s after the last fault it waits for {:?}, and the log is at {}",
                    track.expected, end.1
                );
                self.blame(Invariant::I10, *topic, Some(end), place, said);
            }
        }
        if reader.torn && reader.to_end {
            let topic = reader.follows.first().copied().unwrap_or(0);
            self.blame(
                Invariant::I3,
                topic,
                None,
                place,
                "its last line is torn, though nothing ended it".to_owned(),
            );
        }
    }
}

fn publish_of(
    publishes: &mut HashMap<u32, BTreeMap<u64, Publish>>,
    source: u32,
    sequence: u64,
) -> Option<&mut Publish> {
    publishes.get_mut(&source)?.get_mut(&sequence)
}

fn named(message: Message) -> String {
    format!(
        "message {} of body {} of publisher {}",
        message.part, message.sequence, message.source
    )
}
