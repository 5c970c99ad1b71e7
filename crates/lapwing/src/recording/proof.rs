//! What a recording proves: each offset once and in order, or what is wrong with it.

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use super::glance::{self, Glance, RECEIVED_BYTES};
use super::line;
use super::lines::{Line, Text};
use super::note::{CLOCK_STEP_MS, Missed, Note};
use super::reader::{Damage, Record};

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
    findings: Vec<Finding>,
    tally: Tally,
    part: usize,
    line: u64,
    first_received: Option<[u8; RECEIVED_BYTES]>,
    received: Option<[u8; RECEIVED_BYTES]>,
    mono: Option<u64>,
    boot: Option<String>,
    /// The wall clock went back, and whether it was set will be told within [`STEP_TOLD_NS`].
    back: Option<(Finding, u64)>,
}

#[derive(Debug)]
struct Topic {
    name: TopicName,
    epoch: Option<Epoch>,
    epoch_text: Option<[u8; 32]>,
    /// What is to come next; none before anything is known.
    next: Option<u64>,
    /// Which of the histories it is in; none where it is beyond those that are held.
    history: Option<usize>,
    /// Offsets that did not come: one of them that comes later is out of order and no repeat.
    missing: Vec<(u64, u64)>,
}

/// One history of one topic, as far as the recording has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The topic; `-` for a feed without offsets.
    pub topic: TopicName,
    /// Its name, where it has one.
    pub epoch: Option<Epoch>,
    /// The first and the last offset; none for a feed without offsets.
    pub offsets: Option<(Offset, Offset)>,
    /// How many messages.
    pub messages: u64,
    /// How many offsets are missing without a word, repeated or out of order.
    pub wrong: u64,
    /// How many offsets are told as gone, or as lost by the server.
    pub announced: u64,
}

/// Something that is wrong, or missing and told.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// In which of the files given, from 0.
    pub part: usize,
    /// In which line of it, from 1.
    pub line: u64,
    /// Of which topic.
    pub topic: Option<TopicName>,
    /// What it is.
    pub what: What,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Offsets `from` up to, not including, `to` are not there, and nothing says so.
    Missing {
        /// The first.
        from: u64,
        /// The first that is there.
        to: u64,
    },
    /// Offsets `from` up to, not including, `to`, one after the other, that have come before.
    Repeated {
        /// The first.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// Offsets `from` up to, not including, `to`, one after the other, that came behind a later one.
    OutOfOrder {
        /// The first.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// Offsets that did not come, as the recording says.
    Gap {
        /// The first.
        from: u64,
        /// The first that came.
        to: u64,
        /// Why.
        reason: Missed,
    },
    /// Another history began, as the recording says: what came behind `last` of the old one is unknown.
    Reset {
        /// The last offset of the old one.
        last: u64,
    },
    /// The server lost what stands above, as the recording says.
    Orphaned {
        /// The first offset.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// The history is another one, and nothing says so.
    HistoryChanged,
    /// A record says that `said` is to come next, and it is `next`.
    Contradiction {
        /// What the record says.
        said: u64,
        /// What is to come by the lines above.
        next: u64,
    },
    /// The wall clock went back, and no record says that it was set.
    TimeBack {
        /// By how many nanoseconds.
        by_ns: u64,
    },
    /// The monotonic clock went back.
    MonoBack {
        /// By how many nanoseconds.
        by_ns: u64,
    },
    /// A line that is not as it was written.
    Damaged(Damage),
    /// A compressed file that cannot be taken apart from here on.
    Unpackable,
    /// An intact line that says nothing that can be understood.
    NotUnderstood,
    /// The file ends within a line.
    Torn {
        /// How much of it is there.
        bytes: u64,
    },
    /// More topics than are looked at.
    TooManyTopics,
}

/// How much of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages, those without offsets among them.
    pub messages: u64,
    /// Messages without offsets, of which nothing can be proven.
    pub unplaced: u64,
    /// Whole lines of any kind.
    pub records: u64,
    /// Records of kinds that a later version writes.
    pub unknown: u64,
    /// How often the connection was lost and came back.
    pub reconnects: u64,
    /// How often the wall clock was set.
    pub clock_steps: u64,
    /// Offsets missing without a word.
    pub missing: u64,
    /// Offsets that came again.
    pub repeated: u64,
    /// Offsets that came too late.
    pub out_of_order: u64,
    /// Offsets told as gone.
    pub announced: u64,
    /// New histories: what came between is unknown, and told.
    pub resets: u64,
    /// Messages that the server lost after it had sent them, as told.
    pub orphaned: u64,
    /// Histories that changed, and records that say otherwise than the lines above.
    pub contradictions: u64,
    /// Lines that are not as they were written.
    pub damaged: u64,
    /// Ends within a line.
    pub torn: u64,
    /// Times that go back.
    pub back: u64,
    /// Findings that are counted and not held.
    pub findings_beyond: u64,
    /// Histories that are counted and not held.
    pub histories_beyond: u64,
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
        self.part += 1;
        self.line = 0;
    }

    /// The file is compressed, and damaged behind the last line taken; what it held there is told as missing by what follows.
    pub fn on_unpackable(&mut self) {
        self.find(None, What::Unpackable);
    }

    /// Takes a line.
    pub fn take(&mut self, line: &Line<'_>) {
        self.line = line.number;
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

    /// What it amounts to.
    #[must_use]
    pub fn finish(mut self) -> Proven {
        self.clock_was_not_set();
        let time = |text: Option<[u8; RECEIVED_BYTES]>| WallTime::parse(std::str::from_utf8(&text?).ok()?);
        Proven {
            span: time(self.first_received).zip(time(self.received)),
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
                    self.on_start(start.boot.clone());
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
            Note::Start(_) | Note::Block(_) => {}
            Note::Reconnect { .. } => self.tally.reconnects += 1,
            Note::ClockStep { ms } => {
                self.tally.clock_steps += 1;
                if ms < 0.0 {
                    self.back = None;
                }
            }
            Note::Positions { topics } => {
                for (name, wanted) in topics {
                    let Some(at) = self.topic(&name) else { continue };
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

    fn on_start(&mut self, boot: Option<String>) {
        self.clock_was_not_set();
        // Between two runs the clock may have been set without anyone there to tell.
        self.received = None;
        if boot.is_none() || boot != self.boot {
            self.mono = None;
        }
        self.boot = boot;
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
        if self.topics[at].history.is_none() {
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
        let late = topic.missing.iter().any(|&(from, to)| (from..to).contains(&offset));
        let (from, to) = (offset, offset + 1);
        let what = match late {
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

    /// Begins a history of a topic; without `next` its first message says where.
    fn begin(&mut self, at: usize, epoch: Option<Epoch>, next: Option<u64>) {
        let name = self.topics[at].name.clone();
        let history = self.hold(name, epoch);
        let topic = &mut self.topics[at];
        topic.epoch = epoch;
        topic.epoch_text = epoch.and_then(|epoch| epoch.to_string().into_bytes().try_into().ok());
        topic.next = next;
        topic.history = history;
        topic.missing.clear();
    }

    /// Goes on under another name at `next`, where what did not come before is still missing.
    fn go_on(&mut self, at: usize, epoch: Epoch, next: u64) {
        let mut missing = std::mem::take(&mut self.topics[at].missing);
        missing.retain_mut(|(from, to)| {
            *to = (*to).min(next);
            from < to
        });
        self.begin(at, Some(epoch), Some(next));
        self.topics[at].missing = missing;
    }

    fn hold(&mut self, topic: TopicName, epoch: Option<Epoch>) -> Option<usize> {
        if self.histories.len() == HISTORIES_MAX {
            self.tally.histories_beyond += 1;
            return None;
        }
        self.histories.push(History {
            topic,
            epoch,
            offsets: None,
            messages: 0,
            wrong: 0,
            announced: 0,
        });
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
        self.topics.push(Topic {
            name: name.clone(),
            epoch: None,
            epoch_text: None,
            next: None,
            history: None,
            missing: Vec::new(),
        });
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
        if let Some(before) = self.mono
            && mono < before
        {
            self.find(None, What::MonoBack { by_ns: before - mono });
        }
        self.mono = Some(mono);
        match &self.received {
            Some(before) if received < before => {
                let nanos = |text| Some(WallTime::parse(std::str::from_utf8(text).ok()?)?.nanos());
                let by = nanos(before)
                    .zip(nanos(received))
                    .map(|(before, now)| before.abs_diff(now));
                if self.back.is_none() && by.is_none_or(|by| by > CORRECTION_NS) {
                    let by_ns = by.unwrap_or_default();
                    self.back = Some((self.finding(None, What::TimeBack { by_ns }), mono));
                }
            }
            _ => {}
        }
        if self
            .back
            .as_ref()
            .is_some_and(|(_, since)| mono.saturating_sub(*since) > STEP_TOLD_NS)
        {
            self.clock_was_not_set();
        }
        self.first_received.get_or_insert(*received);
        self.received = Some(*received);
    }

    fn clock_was_not_set(&mut self) {
        if let Some((finding, _)) = self.back.take() {
            self.keep(finding);
        }
    }

    fn finding(&self, at: Option<usize>, what: What) -> Finding {
        Finding {
            part: self.part,
            line: self.line,
            topic: at.map(|at| self.topics[at].name.clone()),
            what,
        }
    }

    fn find(&mut self, at: Option<usize>, what: What) {
        let finding = self.finding(at, what);
        if let Some(history) = at.and_then(|at| self.history(at)) {
            match what {
                What::Missing { from, to } => history.wrong = history.wrong.saturating_add(to - from),
                What::Repeated { .. } | What::OutOfOrder { .. } | What::Contradiction { .. } => {
                    history.wrong = history.wrong.saturating_add(1);
                }
                What::Gap {
                    from,
                    to,
                    reason: Missed::Unannounced,
                } => history.wrong = history.wrong.saturating_add(to - from),
                What::Gap { from, to, .. } | What::Orphaned { from, to } => {
                    history.announced = history.announced.saturating_add(to - from);
                }
                _ => {}
            }
        }
        self.keep(finding);
    }

    fn keep(&mut self, finding: Finding) {
        let tally = &mut self.tally;
        let add = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        match finding.what {
            // The server skipped them without a word: the recorder saw it, nobody announced it.
            What::Missing { from, to }
            | What::Gap {
                from,
                to,
                reason: Missed::Unannounced,
            } => add(&mut tally.missing, to - from),
            What::Gap { from, to, .. } => add(&mut tally.announced, to - from),
            What::Repeated { .. } => tally.repeated += 1,
            What::OutOfOrder { .. } => tally.out_of_order += 1,
            What::Reset { .. } => tally.resets += 1,
            What::Orphaned { from, to } => add(&mut tally.orphaned, to - from),
            What::HistoryChanged | What::Contradiction { .. } => tally.contradictions += 1,
            What::TimeBack { .. } | What::MonoBack { .. } => tally.back += 1,
            What::Damaged(_) | What::Unpackable | What::NotUnderstood | What::TooManyTopics => tally.damaged += 1,
            What::Torn { .. } => tally.torn += 1,
        }
        if self.findings.last_mut().is_some_and(|last| last.goes_on_with(&finding)) {
            return;
        }
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding),
            false => self.tally.findings_beyond += 1,
        }
    }
}

impl Topic {
    /// Goes on behind offsets that did not come.
    fn miss(&mut self, from: u64, to: u64) {
        let is_full = self.missing.len() == MISSING_MAX;
        match self.missing.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            // The last one says whether anything came behind it.
            Some(last) if is_full => *last = (from, to),
            _ => self.missing.push((from, to)),
        }
        self.next = Some(to);
    }

    /// Whether nothing from `from` on has come, and all of it up to what comes next is found missing.
    fn misses_all_from(&self, from: u64) -> bool {
        let behind = self.missing.last().filter(|(_, to)| Some(*to) == self.next);
        behind.is_some_and(|missing| (missing.0..missing.1).contains(&from))
    }
}

impl Finding {
    /// Takes a repeat of the offset behind it as part of itself: a run that is there twice is one finding.
    fn goes_on_with(&mut self, next: &Self) -> bool {
        if (self.part, &self.topic) != (next.part, &next.topic) {
            return false;
        }
        match (&mut self.what, next.what) {
            (What::Repeated { to, .. }, What::Repeated { from, to: end })
            | (What::OutOfOrder { to, .. }, What::OutOfOrder { from, to: end })
                if *to == from =>
            {
                *to = end;
                true
            }
            _ => false,
        }
    }
}

impl History {
    fn came(&mut self, offset: u64) {
        self.messages += 1;
        let offset = Offset::new(offset);
        let first = self.offsets.map_or(offset, |(first, _)| first);
        self.offsets = Some((first, offset));
    }
}

impl Tally {
    /// Whether each offset is there once and in order, nothing is damaged, and nothing is told as gone unless that is allowed.
    #[must_use]
    pub fn is_proven(&self, gaps: Gaps) -> bool {
        let wrong = [
            self.missing,
            self.repeated,
            self.out_of_order,
            self.contradictions,
            self.damaged,
            self.torn,
            self.back,
        ];
        let told = [self.announced, self.resets, self.orphaned];
        let sound = wrong.iter().all(|&count| count == 0) && self.records > 0;
        sound && (gaps == Gaps::Allowed || told.iter().all(|&count| count == 0))
    }
}

/// Whether what a recording tells as gone may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It may.
    Allowed,
    /// Nothing may.
    Refused,
}

/// Whether an intact line is a record of a kind that this version does not know.
fn is_later_record(line: &Line<'_>) -> bool {
    matches!(line.text, Text::Whole(text) if text.starts_with(b"{\"record\":"))
}

/// 5 s: a listener looks at its clocks five times a second, and may be held up.
const STEP_TOLD_NS: u64 = 5_000_000_000;

/// So far a wall clock goes back that is corrected and not set.
const CORRECTION_NS: u64 = CLOCK_STEP_MS as u64 * 1_000_000;

/// As a listener takes them: no honest log is this long, and sums of smaller offsets fit.
const OFFSET_MAX: u64 = 1 << 62;

/// 10,000 findings are a few megabytes, and more than anybody reads.
const FINDINGS_MAX: usize = 10_000;

/// 10,000 histories: a server that lost its memory every minute for a week.
const HISTORIES_MAX: usize = 10_000;

/// Ten times what one listener follows.
const TOPICS_MAX: usize = 1000;

/// Ranges of one topic among which a late offset is looked for.
const MISSING_MAX: usize = 1000;

#[cfg(test)]
mod tests;
