//! What a run of `listen` amounts to, told at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use lapwing_wire::block::{BlockTiming, Flags};
use lapwing_wire::escape::escaped;
use lapwing_wire::position::Offset;
use lapwing_wire::topic::TopicName;

use super::event::Event;
use crate::clock::Now;
use crate::recording::arrival::Value;
use crate::terminal::form;

/// Counts what happens; every number in it was seen, none is guessed.
#[derive(Debug, Default)]
pub struct Summary {
    name: Option<String>,
    began: Option<Now>,
    messages: u64,
    bytes: u64,
    /// Some of them came as binary frames.
    binary: bool,
    reconnects: u64,
    down: Duration,
    topics: Vec<(TopicName, Tally)>,
    untimed: BTreeMap<Untimed, u64>,
    /// Of several servers those that were connected, and how many messages came from each.
    servers: Vec<(String, u64)>,
    /// Which of them it is now.
    server: usize,
    /// The connection is lost now.
    away: bool,
}

#[derive(Debug)]
struct Tally {
    messages: u64,
    /// The first and last offset of the newest histories, at most [`HISTORIES_SHOWN`].
    offsets: Vec<(Offset, Offset)>,
    /// The next offset begins another history.
    turned: bool,
    blocks: u64,
    partial: u64,
    /// Block times in microseconds.
    timed: Histogram<u32>,
    /// The longest of them.
    longest: u64,
    gaps: u64,
    missing: u64,
    histories: u64,
    repeats: u64,
}

/// Why a whole block does not count; one with several reasons is told by the first of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Untimed {
    First,
    Catchup,
    Interrupted,
    Gap,
    Stalled,
    After,
}

impl Summary {
    /// Begins to count at `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            began: Some(now),
            ..Self::default()
        }
    }

    /// Messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether anything is known to be missing, announced or not.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.topics.iter().any(|(_, tally)| tally.gaps > 0)
    }

    /// Takes an event.
    pub fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Connected(connected) => {
                self.name = connected.name.map(escaped);
                self.on_server(connected.server);
                for (topic, _) in connected.grants {
                    self.tally(topic);
                }
            }
            Event::Message(arrival) => {
                self.messages += 1;
                if let Some((_, messages)) = self.servers.get_mut(self.server) {
                    *messages += 1;
                }
                self.bytes += arrival.bytes;
                self.binary |= matches!(arrival.value, Value::Bytes(_));
                let tally = self.tally(arrival.topic);
                tally.messages += 1;
                if let Some(offset) = arrival.offset {
                    tally.on_offset(offset);
                }
            }
            Event::Block { topic, timing } => self.on_block(topic, timing),
            Event::Gap { topic, from, to, .. } => {
                let tally = self.tally(topic);
                tally.gaps += 1;
                tally.missing = tally.missing.saturating_add(to.since(*from));
            }
            Event::Reset { topic, .. } | Event::Diverged { topic, .. } => {
                let tally = self.tally(topic);
                tally.gaps += 1;
                tally.histories += 1;
                tally.turned = true;
            }
            Event::Repeat { topic } => self.tally(topic).repeats += 1,
            Event::Lost { .. } => self.away = true,
            Event::Back(back) => {
                self.away = false;
                self.on_server(back.server);
                self.reconnects += 1;
                self.down += back.down;
            }
            _ => {}
        }
    }

    /// The whole text, one line each, without a newline at the end of a line; laid out to `width` columns where there are so many.
    ///
    /// `unwritten` of the messages came and are not in the file.
    #[must_use]
    pub fn lines(&self, now: Now, width: Option<usize>, unwritten: u64) -> Vec<String> {
        let wrapped = |text: String| match width {
            Some(width) if form::wrapped(&text, width).len() > 1 => {
                form::wrapped(&text, width.saturating_sub(INDENT.len())).join(&format!("\n{INDENT}"))
            }
            _ => text,
        };
        let mut lines = vec![wrapped(self.first_line(now))];
        if self.messages == 0 {
            return lines;
        }
        if unwritten > 0 {
            lines.push(wrapped(format!(
                "in the file: {}; the {} that came last could not be written",
                form::counted(self.messages.saturating_sub(unwritten), "message"),
                form::count(unwritten),
            )));
        }
        lines.extend(self.table(width));
        lines.extend(self.not_timed().map(wrapped));
        lines.extend(self.by_server().map(wrapped));
        lines.push(wrapped(self.verdict()));
        lines
    }

    fn first_line(&self, now: Now) -> String {
        let began = self.began.map_or(now.mono, |began| began.mono);
        let span = Duration::from_nanos(now.mono.saturating_sub(began));
        let name = self.name.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
        let mut line = format!(
            "listened for {}{name}: {}, {}{}, {}",
            form::short_span(span),
            form::counted(self.messages, "message"),
            form::bytes(self.bytes),
            if self.binary { "" } else { " of text" },
            form::counted(self.reconnects, "reconnect"),
        );
        if self.reconnects > 0 {
            let _ = write!(line, " ({} down)", form::short_span(self.down));
        }
        line
    }

    fn table(&self, width: Option<usize>) -> Vec<String> {
        let mut rows = vec![HEAD.map(str::to_owned)];
        for (topic, tally) in &self.topics {
            rows.push([
                topic.to_string(),
                form::count(tally.messages),
                tally.offsets_text(),
                form::count(tally.blocks),
                form::count(tally.timed.len()),
                tally.quantile(0.5),
                tally.quantile(0.99),
                form::count(tally.gaps),
                form::count(tally.repeats),
            ]);
        }
        fitted(&rows, width.unwrap_or(usize::MAX))
    }

    /// How much came from which of several servers.
    fn by_server(&self) -> Option<String> {
        let servers = self.servers.iter();
        let each = servers.map(|(server, messages)| format!("{} from {server}", form::count(*messages)));
        let each: Vec<_> = each.collect();
        (!each.is_empty()).then(|| format!("messages: {}", each.join(", ")))
    }

    fn not_timed(&self) -> Option<String> {
        let whole: Vec<_> = self.untimed.iter().map(|(why, count)| why.told(*count)).collect();
        let partial: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, tally)| tally.partial > 0)
            .map(|(topic, tally)| {
                let blocks = form::counted(tally.partial, "partial block");
                match topic.as_str() {
                    "-" => blocks,
                    topic => format!("{blocks} of {topic}"),
                }
            })
            .collect();
        let parts: Vec<_> = [whole.join(", "), partial.join(", ")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        (!parts.is_empty()).then(|| format!("not timed: {}", parts.join("; ")))
    }

    fn verdict(&self) -> String {
        let sum = |of: fn(&Tally) -> u64| self.topics.iter().map(|(_, tally)| of(tally)).sum::<u64>();
        let (histories, missing) = (sum(|t| t.histories), sum(|t| t.missing));
        let gaps = sum(|t| t.gaps) - histories;
        let mut known = Vec::new();
        if gaps > 0 {
            known.push(format!(
                "{} in {}",
                form::counted(missing, "message"),
                form::counted(gaps, "gap")
            ));
        }
        match histories {
            0 => {}
            1 => known.push("what came before 1 new history".to_owned()),
            _ => known.push(format!("what came before {histories} new histories")),
        }
        if !known.is_empty() {
            return format!("missing: {}", known.join(", "));
        }
        let placed = |tally: &Tally| tally.messages == 0 || !tally.offsets.is_empty();
        match self.topics.iter().all(|(_, tally)| placed(tally)) {
            true if self.away => "nothing lost up to the loss of the connection: each offset once, in order".to_owned(),
            true => "nothing lost: each offset once, in order".to_owned(),
            false => "not checked for loss: this feed has no offsets".to_owned(),
        }
    }

    fn on_server(&mut self, server: Option<&str>) {
        let Some(server) = server else { return };
        let known = self.servers.iter().position(|(known, _)| known == server);
        self.server = known.unwrap_or_else(|| {
            self.servers.push((server.to_owned(), 0));
            self.servers.len() - 1
        });
    }

    fn on_block(&mut self, topic: &TopicName, timing: &BlockTiming) {
        let tally = self.tally(topic);
        if timing.flags.has(Flags::PARTIAL) {
            tally.partial += 1;
            return;
        }
        tally.blocks += 1;
        if let Some(elapsed) = timing.timed() {
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            // It grows to what comes; a block of more than a day counts as one of a day.
            let micros = micros.min(DAY_MICROS);
            let _ = tally.timed.record(micros);
            tally.longest = tally.longest.max(micros);
        } else {
            *self.untimed.entry(Untimed::of(timing.flags)).or_default() += 1;
        }
    }

    fn tally(&mut self, topic: &TopicName) -> &mut Tally {
        let at = self.topics.iter().position(|(known, _)| known == topic);
        let at = at.unwrap_or_else(|| {
            self.topics.push((topic.clone(), Tally::new(self.topics.len())));
            self.topics.len() - 1
        });
        &mut self.topics[at].1
    }
}

impl Tally {
    fn new(topics: usize) -> Self {
        let digits = if topics < TOPICS_FEW { DIGITS_FEW } else { DIGITS_MANY };
        Self {
            messages: 0,
            offsets: Vec::new(),
            turned: false,
            blocks: 0,
            partial: 0,
            timed: Histogram::new(digits).expect("2 to 4 digits are allowed"),
            longest: 0,
            gaps: 0,
            missing: 0,
            histories: 0,
            repeats: 0,
        }
    }
}

impl Tally {
    fn on_offset(&mut self, offset: Offset) {
        let turned = std::mem::take(&mut self.turned);
        match self.offsets.last_mut() {
            Some((_, last)) if !turned => *last = offset,
            _ => {
                if self.offsets.len() == HISTORIES_SHOWN {
                    self.offsets.remove(0);
                }
                self.offsets.push((offset, offset));
            }
        }
    }

    fn offsets_text(&self) -> String {
        let texts: Vec<_> = self
            .offsets
            .iter()
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        match texts.is_empty() {
            true => "-".to_owned(),
            false => texts.join(", "),
        }
    }

    fn quantile(&self, quantile: f64) -> String {
        if self.timed.is_empty() {
            return "-".to_owned();
        }
        // The histogram rounds up; beyond the longest that there was it would tell more than was seen.
        let micros = self.timed.value_at_quantile(quantile).min(self.longest);
        form::span(Duration::from_micros(micros))
    }
}

impl Untimed {
    fn of(flags: Flags) -> Self {
        match () {
            () if flags.has(Flags::FIRST) => Self::First,
            () if flags.has(Flags::INTERRUPTED) => Self::Interrupted,
            () if flags.has(Flags::GAP) => Self::Gap,
            () if flags.has(Flags::STALLED) => Self::Stalled,
            () if flags.has(Flags::AFTER) => Self::After,
            () => Self::Catchup,
        }
    }

    fn told(self, count: u64) -> String {
        match self {
            Self::First => form::counted(count, "first block"),
            Self::Catchup => format!("{count} that were there before us"),
            Self::Interrupted => format!("{count} interrupted by a reconnect"),
            Self::Gap => format!("{count} with a gap"),
            Self::Stalled => format!("{count} while we stood still"),
            Self::After => format!("{count} behind one that was held up"),
        }
    }
}

/// The table in `room` columns of a terminal: moved together first, then without what matters least; nothing in it is cut.
fn fitted(rows: &[[String; 9]], room: usize) -> Vec<String> {
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    let mut columns: Vec<usize> = (0..HEAD.len()).collect();
    let mut apart = APART;
    let mut expendable = EXPENDABLE.iter();
    while columns.iter().map(|&column| widths[column] + apart).sum::<usize>() > room.saturating_add(apart) {
        if apart == APART {
            apart = APART_NARROW;
        } else if let Some(next) = expendable.next() {
            columns.retain(|column| HEAD[*column] != *next);
        } else {
            break;
        }
    }
    rows.iter().map(|row| aligned(row, &widths, &columns, apart)).collect()
}

/// The `columns` of a row; the first and the third stand left, numbers right.
fn aligned(row: &[String; 9], widths: &[usize], columns: &[usize], apart: usize) -> String {
    let mut line = String::new();
    for &column in columns {
        let (text, width) = (&row[column], widths[column]);
        if column > 0 {
            let _ = write!(line, "{:apart$}", "");
        }
        let _ = match column {
            0 | 2 => write!(line, "{text:width$}"),
            _ => write!(line, "{text:>width$}"),
        };
    }
    line
}

/// Between two columns.
const APART: usize = 3;
const APART_NARROW: usize = 2;

/// Before what goes on in another line.
const INDENT: &str = "  ";

/// What a narrow window goes without, in this order: losses are told again below the table.
const EXPENDABLE: [&str; 5] = ["repeats", "gaps", "p99 block", "timed", "blocks"];

const HEAD: [&str; 9] = [
    "topic",
    "messages",
    "offsets",
    "blocks",
    "timed",
    "p50 block",
    "p99 block",
    "gaps",
    "repeats",
];

/// A server that loses its memory a hundred times does not fill the table.
const HISTORIES_SHOWN: usize = 3;

const DAY_MICROS: u64 = 24 * 3600 * 1_000_000;

/// Four digits take about a megabyte for blocks of seconds: `2.000 s` is then not told as `2.001 s`.
const DIGITS_FEW: u8 = 4;
const DIGITS_MANY: u8 = 3;
const TOPICS_FEW: usize = 8;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::client::event::{Back, MissedMeanwhile, Mode};
    use crate::client::track::Track;
    use crate::recording::arrival::Arrival;

    /// Lets `offsets` arrive, one every `ms` milliseconds from `at` on.
    fn arrive(summary: &mut Summary, track: &mut Track, offsets: std::ops::Range<u64>, at: u64, ms: u64) {
        let topic = track.topic().clone();
        for (count, offset) in offsets.enumerate() {
            track.place(Offset::new(offset));
            let arrival = Arrival {
                topic: &topic,
                offset: Some(Offset::new(offset)),
                epoch: None,
                time: None,
                received: Now::default(),
                value: Value::Json("1"),
                bytes: 100,
            };
            summary.on_event(&Event::Message(&arrival));
            let now = Duration::from_millis(at + count as u64 * ms);
            for timing in track.on_message(Some(Offset::new(offset)), now, 100) {
                summary.on_event(&Event::Block {
                    topic: &topic,
                    timing: &timing,
                });
            }
        }
    }

    fn track() -> Track {
        let users = TopicName::parse("users").expect("valid");
        Track::new(users, NonZeroU64::new(5).expect("not zero"))
    }

    #[test]
    fn a_run_with_a_reconnect_is_told_whole() {
        let mut summary = Summary::new(Now::default());
        let mut track = track();
        arrive(&mut summary, &mut track, 13..66, 0, 1000);
        track.on_lost();
        summary.on_event(&Event::Back(Back {
            mode: Mode::Lapwing,
            server: None,
            down: Duration::from_millis(1302),
            attempt: 2,
            why: "reset",
            grants: &[],
            missed: MissedMeanwhile::Nothing,
        }));
        arrive(&mut summary, &mut track, 66..133, 53_000, 1000);
        let topic = track.topic().clone();
        let last = track.finish().expect("three are open");
        summary.on_event(&Event::Block {
            topic: &topic,
            timing: &last,
        });
        let now = Now {
            mono: 120_000_000_000,
            ..Now::default()
        };
        assert_eq!(
            summary.lines(now, None, 0),
            [
                "listened for 2 m 00 s: 120 messages, 11.7 KiB of text, 1 reconnect (1.3 s down)",
                "topic   messages   offsets   blocks   timed   p50 block   p99 block   gaps   repeats",
                "users        120   13-132        23      21     5.000 s     5.000 s      0         0",
                "not timed: 1 interrupted by a reconnect, 1 behind one that was held up; 2 partial blocks of users",
                "nothing lost: each offset once, in order",
            ]
        );
        assert!(!summary.has_gaps());
        for (width, table) in [
            (
                80,
                "topic  messages  offsets  blocks  timed  p50 block  p99 block  gaps  repeats",
            ),
            (62, "topic  messages  offsets  blocks  timed  p50 block  p99 block"),
            (60, "topic  messages  offsets  blocks  timed  p50 block"),
        ] {
            let lines = summary.lines(now, Some(width), 0);
            assert!(lines.iter().any(|line| line == table), "{lines:#?}");
            let longest = lines.iter().flat_map(|line| line.lines()).map(str::len).max();
            assert!(longest <= Some(width), "{lines:#?}");
        }
    }

    #[test]
    fn nothing_lost_is_said_only_when_true() {
        let mut summary = Summary::new(Now::default());
        let mut track = track();
        arrive(&mut summary, &mut track, 0..3, 0, 1);
        summary.on_event(&Event::Lost { why: "reset" });
        assert!(
            summary
                .verdict()
                .starts_with("nothing lost up to the loss of the connection")
        );
        let topic = track.topic().clone();
        summary.on_event(&Event::Gap {
            topic: &topic,
            from: Offset::new(3),
            to: Offset::new(13),
            reason: crate::recording::note::Missed::Retention,
            away: None,
        });
        assert_eq!(summary.verdict(), "missing: 10 messages in 1 gap");
        summary.on_event(&Event::Reset {
            topic: &topic,
            epoch: None,
            first: Offset::ZERO,
            whence: crate::client::event::Whence::New { end: None },
            last: None,
        });
        assert_eq!(
            summary.verdict(),
            "missing: 10 messages in 1 gap, what came before 1 new history"
        );
        assert!(summary.has_gaps());
    }
}
