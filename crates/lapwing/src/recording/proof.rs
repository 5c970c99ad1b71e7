//! What a recording proves: each offset once and in order, or what is wrong with it.

use std::collections::BTreeMap;

use lapwing_wire::position::{Epoch, Position};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use super::glance::{self, Glance, RECEIVED_BYTES};
use super::line;
use super::lines::{Line, Text};
use super::note::{Missed, Note};
use super::reader::{Damage, Record};

mod clocks;
pub mod finding;
pub mod history;
pub mod tally;
mod topic;

use clocks::Clocks;
use finding::{Finding, Place, What};
use history::History;
use tally::Tally;
use topic::{Left, Topic};

/// Takes a recording line by line, and finds what is wrong with it.
///
/// It holds no message and no more than so many findings, topics and histories: what is beyond them is counted. Lines laid out as
/// ours are read at a glance, others are parsed.
#[derive(Debug, Default)]
pub struct Proof {
    topics: Vec<Topic>,
    /// The topic of the line before: most often that of the next one, too.
    recent: usize,
    histories: Vec<History>,
    /// Histories that topics have left, by topic and name.
    left: BTreeMap<(usize, Epoch), Left>,
    findings: Vec<Finding>,
    tally: Tally,
    place: Place,
    clocks: Clocks,
}

/// What a recording amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// Each history, in the order in which they begin.
    pub histories: Vec<History>,
    /// The first findings, in the order of the lines.
    pub findings: Vec<Finding>,
    /// All of them, counted.
    pub tally: Tally,
    /// When the first and the last line were received.
    pub span: Option<(WallTime, WallTime)>,
}

impl Proof {
    /// What follows stands in the next file of the recording.
    pub fn next_part(&mut self) {
        self.place = Place {
            part: self.place.part + 1,
            line: 0,
        };
    }

    /// The file is compressed, and damaged behind the last line taken; what it held there is told as missing by what follows.
    pub fn on_unpackable(&mut self) {
        self.find(None, What::Unpackable);
    }

    /// Takes a line.
    pub fn take(&mut self, line: &Line<'_>) {
        self.place.line = line.number;
        let text = match line.text {
            Text::Whole(text) => text,
            Text::TooLong => return self.find(None, What::Damaged(Damage::TooLong { bytes: line.bytes })),
            Text::Torn => return self.find(None, What::Torn { bytes: line.bytes }),
        };
        if let Err(error) = line::check(text) {
            return self.find(None, What::Damaged(error.into()));
        }
        self.tally.records += 1;
        if let Some(glance) = glance::message(text) {
            self.times(glance.received, glance.mono);
            match self.on_glance(&glance) {
                Some(()) => {}
                None => self.parse(line),
            }
        } else if let Some((received, mono)) = glance::block(text) {
            self.times(received, mono);
        } else {
            self.parse(line);
        }
    }

    /// How much of what there is so far: what the last line added says whether it stood in its place.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What it amounts to.
    #[must_use]
    pub fn finish(mut self) -> Proven {
        if let Some(finding) = self.clocks.finish() {
            self.keep(finding);
        }
        Proven {
            span: self.clocks.span(),
            histories: self.histories,
            findings: self.findings,
            tally: self.tally,
        }
    }

    /// Takes a message as it was seen at a glance; none if it must be parsed.
    fn on_glance(&mut self, glance: &Glance<'_>) -> Option<()> {
        let at = match self.topics.get(self.recent) {
            Some(topic) if topic.name.as_str().as_bytes() == glance.topic => self.recent,
            _ => {
                let named = |topic: &Topic| topic.name.as_str().as_bytes() == glance.topic;
                self.topics.iter().position(named)?
            }
        };
        let topic = &mut self.topics[at];
        if topic.epoch_text.as_ref() != glance.epoch {
            return None;
        }
        self.recent = at;
        self.tally.messages += 1;
        match glance.offset {
            Some(offset) if topic.next == Some(offset) => {
                topic.next = Some(offset + 1);
                if let Some(history) = topic.history.and_then(|history| self.histories.get_mut(history)) {
                    history.came(offset);
                }
            }
            Some(offset) => self.place(at, offset),
            None => self.unplaced(at),
        }
        Some(())
    }

    /// Takes a line by parsing it.
    fn parse(&mut self, line: &Line<'_>) {
        match Record::of(line) {
            Record::Message(message) => {
                self.times_of(message.received, message.mono_ns);
                self.tally.messages += 1;
                let Some(at) = self.topic(&message.topic) else { return };
                match message.offset {
                    None => self.unplaced(at),
                    Some(offset) if offset.get() < OFFSET_MAX => {
                        if self.topics[at].next.is_none() {
                            self.begin(at, message.epoch, None);
                        } else if self.topics[at].epoch != message.epoch {
                            self.find(Some(at), What::HistoryChanged);
                            self.begin(at, message.epoch, None);
                        }
                        self.place(at, offset.get());
                    }
                    Some(_) => self.find(Some(at), What::NotUnderstood),
                }
            }
            Record::Note(stamped) => {
                if let Note::Start(start) = &stamped.note {
                    let found = self.clocks.on_start(start.boot.clone());
                    found.into_iter().for_each(|finding| self.keep(finding));
                }
                if let Some(received) = WallTime::parse(&stamped.received) {
                    self.times_of(received, stamped.mono);
                }
                self.on_note(stamped.note);
            }
            Record::Unknown { .. } if is_later_record(line) => self.tally.unknown += 1,
            Record::Unknown { .. } => self.find(None, What::NotUnderstood),
            // Looked at above.
            Record::Damaged(damage) => self.find(None, What::Damaged(damage)),
            Record::Torn { bytes } => self.find(None, What::Torn { bytes }),
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Start(_) | Note::Connect { .. } | Note::Block(_) => {}
            Note::Reconnect { .. } => self.tally.reconnects += 1,
            Note::ClockStep { ms } => {
                self.tally.clock_steps += 1;
                if ms < 0.0 {
                    self.clocks.on_set_back();
                }
            }
            Note::Positions { topics } => {
                for (name, wanted) in topics {
                    let Some(at) = self.topic(&name) else { continue };
                    if self.topics[at].next.is_none() {
                        self.on_past(at, wanted.past());
                    }
                    self.on_position(at, wanted.epoch(), wanted.offset().get());
                }
            }
            Note::Gap {
                topic,
                from,
                to,
                reason,
                ..
            } => {
                let Some(at) = self.topic(&topic) else { return };
                self.on_gap(at, from.get(), to.get(), reason);
            }
            Note::Reset {
                topic,
                epoch,
                first,
                last,
            } => {
                let Some(at) = self.topic(&topic) else { return };
                let before = self.topics[at].next.and_then(|next| next.checked_sub(1));
                if let (Some(last), Some(next)) = (last, self.topics[at].next)
                    && let said = last.get().saturating_add(1)
                    && said != next
                    && !self.topics[at].misses_all_from(said)
                {
                    self.find(Some(at), What::Contradiction { said, next });
                }
                if let Some(last) = before {
                    self.find(Some(at), What::Reset { last });
                }
                self.begin(at, epoch, Some(first.get()));
            }
            Note::Continued { topic, epoch, at: said } => {
                let Some(at) = self.topic(&topic) else { return };
                let said = said.get();
                match self.topics[at].next {
                    Some(next) if said != next => self.find(Some(at), What::Contradiction { said, next }),
                    _ => {}
                }
                self.go_on(at, epoch, said);
            }
            Note::Diverged {
                topic, epoch, at: from, ..
            } => {
                let Some(at) = self.topic(&topic) else { return };
                let from = from.get();
                match self.topics[at].next {
                    Some(to) if from < to => self.find(Some(at), What::Orphaned { from, to }),
                    Some(next) if from > next => self.find(Some(at), What::Contradiction { said: from, next }),
                    _ => {}
                }
                self.go_on(at, epoch, from);
            }
        }
    }

    fn on_position(&mut self, at: usize, epoch: Option<Epoch>, said: u64) {
        match self.topics[at].next {
            None => self.begin(at, epoch, Some(said)),
            Some(_) if self.topics[at].epoch != epoch => {
                self.find(Some(at), What::HistoryChanged);
                self.begin(at, epoch, Some(said));
            }
            Some(next) if said > next => {
                self.find(Some(at), What::Missing { from: next, to: said });
                self.topics[at].miss(next, said);
            }
            Some(next) if said < next => self.find(Some(at), What::Contradiction { said, next }),
            Some(_) => {}
        }
    }

    fn on_gap(&mut self, at: usize, from: u64, to: u64, reason: Missed) {
        let next = self.topics[at].next.unwrap_or(from);
        if from > next {
            self.find(Some(at), What::Missing { from: next, to: from });
        } else if from < next {
            self.find(Some(at), What::Contradiction { said: from, next });
        }
        let from = from.max(next);
        if to <= from {
            return;
        }
        if self.topics[at].history.is_none() && self.topics[at].next.is_none() {
            self.begin(at, self.topics[at].epoch, Some(from));
        }
        self.find(Some(at), What::Gap { from, to, reason });
        self.topics[at].miss(next, to);
    }

    /// Takes an offset that is not simply the next one.
    fn place(&mut self, at: usize, offset: u64) {
        let topic = &mut self.topics[at];
        let next = topic.next.unwrap_or(offset);
        if offset >= next {
            if offset > next {
                topic.miss(next, offset);
                self.find(Some(at), What::Missing { from: next, to: offset });
            }
            let topic = &mut self.topics[at];
            topic.next = Some(offset + 1);
            if topic.history.is_none() && topic.epoch_text.is_none() && topic.epoch.is_none() {
                self.begin(at, None, Some(offset + 1));
            }
            if let Some(history) = self.history(at) {
                history.came(offset);
            }
            return;
        }
        let (from, to) = (offset, offset + 1);
        let what = match topic.misses(offset) {
            true => What::OutOfOrder { from, to },
            false => What::Repeated { from, to },
        };
        self.find(Some(at), what);
    }

    fn unplaced(&mut self, at: usize) {
        self.tally.unplaced += 1;
        if self.topics[at].history.is_none() {
            let (topic, epoch) = (self.topics[at].name.clone(), self.topics[at].epoch);
            self.topics[at].history = self.hold(topic, epoch);
        }
        if let Some(history) = self.history(at) {
            history.messages += 1;
        }
    }

    /// Takes histories that the recording left before the files that are read.
    fn on_past(&mut self, at: usize, past: &[Position]) {
        for Position { epoch, offset } in past {
            self.keep_left(at, *epoch, Left::before(offset.get()));
        }
    }

    fn keep_left(&mut self, at: usize, epoch: Epoch, left: Left) {
        if self.left.len() < HISTORIES_MAX {
            self.left.insert((at, epoch), left);
        }
    }

    /// Goes on with a history that the topic had left, where `next` is said to come next; false if it is none of those.
    ///
    /// What it has already is not wanted again, whatever is said.
    fn come_back(&mut self, at: usize, epoch: Option<Epoch>, next: Option<u64>) -> bool {
        if let Some((epoch, left)) = self.topics[at].left() {
            self.keep_left(at, epoch, left);
        }
        let Some((epoch, left)) = epoch.and_then(|epoch| Some((epoch, self.left.remove(&(at, epoch))?))) else {
            return false;
        };
        let before = left.next;
        self.topics[at].come_back(epoch, left);
        if self.topics[at].history.is_none() {
            self.topics[at].history = self.hold(self.topics[at].name.clone(), Some(epoch));
        }
        if let Some(said) = next.filter(|said| *said > before) {
            self.find(Some(at), What::Missing { from: before, to: said });
            self.topics[at].miss(before, said);
        }
        true
    }

    /// Begins a history of a topic, or goes on with one that it had left; without `next` its first message says where.
    fn begin(&mut self, at: usize, epoch: Option<Epoch>, next: Option<u64>) {
        if self.come_back(at, epoch, next) {
            return;
        }
        let history = self.hold(self.topics[at].name.clone(), epoch);
        self.topics[at].begin(epoch, next, history);
    }

    /// Goes on with a topic under another name at `next`.
    fn go_on(&mut self, at: usize, epoch: Epoch, next: u64) {
        if self.come_back(at, Some(epoch), Some(next)) {
            return;
        }
        let history = self.hold(self.topics[at].name.clone(), Some(epoch));
        self.topics[at].go_on(epoch, next, history);
    }

    fn hold(&mut self, topic: TopicName, epoch: Option<Epoch>) -> Option<usize> {
        if self.histories.len() == HISTORIES_MAX {
            self.tally.histories_beyond += 1;
            return None;
        }
        self.histories.push(History::new(topic, epoch));
        Some(self.histories.len() - 1)
    }

    fn history(&mut self, at: usize) -> Option<&mut History> {
        self.histories.get_mut(self.topics[at].history?)
    }

    fn topic(&mut self, name: &TopicName) -> Option<usize> {
        if let Some(at) = self.topics.iter().position(|topic| topic.name == *name) {
            return Some(at);
        }
        if self.topics.len() == TOPICS_MAX {
            self.find(None, What::TooManyTopics);
            return None;
        }
        self.topics.push(Topic::new(name.clone()));
        Some(self.topics.len() - 1)
    }

    fn times_of(&mut self, received: WallTime, mono: u64) {
        let mut text = Vec::with_capacity(RECEIVED_BYTES);
        lapwing_wire::time::TimeWriter::default().nanos(received, &mut text);
        // Beyond the year 9999 the form is longer, and nobody compares.
        if let Ok(received) = text.as_slice().try_into() {
            self.times(received, mono);
        }
    }

    fn times(&mut self, received: &[u8; RECEIVED_BYTES], mono: u64) {
        let found = self.clocks.take(received, mono, self.place);
        found.for_each(|finding| self.keep(finding));
    }

    fn find(&mut self, at: Option<usize>, what: What) {
        if let Some(history) = at.and_then(|at| self.history(at)) {
            history.count(what);
        }
        let topic = at.map(|at| self.topics[at].name.clone());
        self.keep(Finding::new(self.place, topic, what));
    }

    fn keep(&mut self, finding: Finding) {
        self.tally.count(finding.what);
        if self.findings.last_mut().is_some_and(|last| last.goes_on_with(&finding)) {
            return;
        }
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding),
            false => self.tally.findings_beyond += 1,
        }
    }
}

/// Whether an intact line is a record of a kind that this version does not know.
fn is_later_record(line: &Line<'_>) -> bool {
    matches!(line.text, Text::Whole(text) if text.starts_with(b"{\"record\":"))
}

/// As a listener takes them: no honest log is this long, and sums of smaller offsets fit.
const OFFSET_MAX: u64 = 1 << 62;

/// 10,000 findings are a few megabytes, and more than anybody reads.
const FINDINGS_MAX: usize = 10_000;

/// 10,000 histories: a server that lost its memory every minute for a week.
const HISTORIES_MAX: usize = 10_000;

/// Ten times what one listener follows.
const TOPICS_MAX: usize = 1000;

#[cfg(test)]
mod tests;
