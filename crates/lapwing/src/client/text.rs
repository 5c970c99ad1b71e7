//! What a listener's events look like to people: one form for the console, the same uncut for a text file.

use std::fmt::Write as _;
use std::time::Duration;

use lapwing_wire::block::{BlockTiming, Flags};
use lapwing_wire::escape::{escape_into, escaped, escaped_cut};
use lapwing_wire::position::Offset;
use lapwing_wire::start::Start;
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;

use super::event::{Back, Connected, Event, MissedMeanwhile, Mode, Retry, Whence};
use crate::clock::Now;
use crate::recording::arrival::{Arrival, Value};
use crate::recording::note::Missed;
use crate::terminal::form;
use crate::terminal::paint::{Painter, Role};

/// Whether characters beyond ASCII may be used in what we draw ourselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symbols {
    /// `…`, `⟳`, bars of blocks.
    Unicode,
    /// `...` and words: in a pipe, on a dumb terminal, in another locale.
    Ascii,
}

/// How lines are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The colours.
    pub paint: Painter,
    /// To how many columns the line of a message is cut and a sentence is wrapped; none means not at all.
    pub width: Option<usize>,
    /// What may be drawn.
    pub symbols: Symbols,
    /// Which time stands before a line.
    pub time: TimeForm,
    /// How wide the column of topics is; grows.
    pub topic_width: usize,
    /// How wide the column of offsets is; grows.
    pub offset_width: usize,
}

/// Which time stands before a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeForm {
    /// The time of day here, for eyes.
    Clock,
    /// Date and time in UTC, for a file.
    Full,
}

impl Layout {
    /// The plain layout of a text file.
    pub const FILE: Self = Self {
        paint: Painter::PLAIN,
        width: None,
        symbols: Symbols::Ascii,
        time: TimeForm::Full,
        topic_width: 0,
        offset_width: 5,
    };

    /// Makes room for a topic.
    pub fn make_room(&mut self, topic: &TopicName) {
        self.topic_width = self.topic_width.max(topic.as_str().len());
    }

    /// The time before a line.
    #[must_use]
    pub fn time(&self, now: Now) -> String {
        match self.time {
            TimeForm::Full => micros_text(now.wall),
            // In a narrow window the payload needs the room more.
            TimeForm::Clock if self.width.is_some_and(|width| width < 60) => form::clock(now.wall, 0),
            TimeForm::Clock => form::clock(now.wall, 6),
        }
    }

    /// Appends the line of a message.
    pub fn message(&mut self, arrival: &Arrival<'_>, out: &mut String) {
        self.make_room(arrival.topic);
        let time = self.time(arrival.received);
        let topic_width = self.topic_width;
        let mut columns = time.len() + 2 + topic_width + 2;
        let _ = write!(out, "{}  ", self.paint.paint(Role::Time, &time));
        let _ = write!(
            out,
            "{}",
            self.paint
                .paint(Role::Name, format_args!("{:topic_width$}", arrival.topic.as_str()))
        );
        out.push_str("  ");
        if let Some(offset) = arrival.offset {
            let digits = offset.to_string();
            self.offset_width = self.offset_width.max(digits.len());
            let _ = write!(out, "{digits:>width$}  ", width = self.offset_width);
            columns += self.offset_width + 2;
        }
        match self.width {
            Some(width) => {
                let room = width.saturating_sub(columns).max(PAYLOAD_WIDTH_MIN);
                // No character is less than a byte, and an escaped one is at most 10 columns: enough for the cut below.
                let text = payload(arrival.value, room.saturating_mul(4).saturating_add(16), self.symbols);
                out.push_str(&self.cut(&text, room));
            }
            None => out.push_str(&payload(arrival.value, usize::MAX, self.symbols)),
        }
        out.push('\n');
    }

    /// Appends a sentence that stands behind `indent` columns, wrapped under itself where there is a width.
    fn words(&self, text: &str, indent: usize, role: Option<Role>, out: &mut String) {
        let lines = match self.width {
            Some(width) => form::wrapped(text, width.saturating_sub(indent).max(SENTENCE_WIDTH_MIN)),
            None => vec![text],
        };
        for (at, line) in lines.into_iter().enumerate() {
            if at > 0 {
                let _ = write!(out, "{:indent$}", "");
            }
            let _ = match role {
                Some(role) => writeln!(out, "{}", self.paint.paint(role, line)),
                None => writeln!(out, "{line}"),
            };
        }
    }

    fn cut(&self, text: &str, width: usize) -> String {
        match self.symbols {
            Symbols::Unicode => form::cut(text, width).into_owned(),
            Symbols::Ascii => match form::cut(text, width.saturating_sub(2)) {
                std::borrow::Cow::Borrowed(text) => text.to_owned(),
                std::borrow::Cow::Owned(cut) => cut.replace('…', "..."),
            },
        }
    }
}

/// One thing said about a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sentence {
    /// Whether its time stands before it.
    pub timed: bool,
    /// What it is.
    pub tone: Tone,
    /// What it says.
    pub text: String,
    /// A way out.
    pub hint: Option<&'static str>,
}

/// What a sentence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Something happened.
    Plain,
    /// Something is well again.
    Good,
    /// Something is not well.
    Bad,
    /// Something is missing or wrong, and the feed goes on.
    Warning,
}

impl Sentence {
    fn timed(tone: Tone, text: String) -> Self {
        Self {
            timed: true,
            tone,
            text,
            hint: None,
        }
    }

    fn warning(text: String, hint: Option<&'static str>) -> Self {
        Self {
            timed: false,
            tone: Tone::Warning,
            text,
            hint,
        }
    }

    /// Appends its lines.
    pub fn write(&self, layout: &Layout, now: Now, out: &mut String) {
        let mut indent = 0;
        if self.timed || layout.time == TimeForm::Full {
            let time = layout.time(now);
            indent += time.len() + 1;
            let _ = write!(out, "{} ", layout.paint.paint(Role::Time, time));
        }
        if self.tone == Tone::Warning {
            indent += WARNING.len() + 1;
            let _ = write!(out, "{} ", layout.paint.paint(Role::Attention, WARNING));
        }
        let role = match self.tone {
            Tone::Good => Some(Role::Good),
            Tone::Bad => Some(Role::Bad),
            Tone::Plain | Tone::Warning => None,
        };
        layout.words(&self.text, indent, role, out);
        if let Some(hint) = self.hint.filter(|_| layout.time == TimeForm::Clock) {
            let _ = write!(out, "{} ", layout.paint.paint(Role::Hint, HINT));
            layout.words(hint, HINT.len() + 1, None, out);
        }
    }
}

/// Turns events into sentences; remembers what belongs to a sentence that comes later.
#[derive(Clone, Debug)]
pub struct Talk {
    target: String,
    /// Which of several servers was connected last.
    server: Option<String>,
    start: Start,
    /// Connected once, and lost since.
    away: bool,
    /// New histories found while away: told with the return.
    histories: Vec<(TopicName, Option<Offset>)>,
}

impl Talk {
    /// About a feed from `target` that was asked to begin at `start`.
    #[must_use]
    pub fn new(target: String, start: Start) -> Self {
        Self {
            target,
            server: None,
            start,
            away: false,
            histories: Vec::new(),
        }
    }

    /// What is to be said of an event, if anything is. Messages have lines of their own, retries a line that is rewritten.
    pub fn sentence(&mut self, event: &Event<'_>) -> Option<Sentence> {
        let sentence = match event {
            Event::NoServer { why, status, of } => Sentence {
                timed: false,
                tone: Tone::Bad,
                text: self.no_server(why, *status, *of),
                hint: None,
            },
            Event::PassedOver { server, why } => Sentence::warning(format!("{server} is passed over: {why}"), None),
            Event::Connected(connected) => {
                self.server = connected.server.map(str::to_owned);
                Sentence {
                    timed: false,
                    tone: Tone::Plain,
                    text: self.connected(connected),
                    hint: None,
                }
            }
            Event::Lost { why } => {
                self.away = true;
                let to = self
                    .server
                    .as_ref()
                    .map_or(String::new(), |server| format!(" to {server}"));
                Sentence::timed(Tone::Bad, format!("lost the connection{to}: {why}"))
            }
            Event::Back(back) => {
                self.away = false;
                let tone = match back.missed {
                    MissedMeanwhile::History => Tone::Bad,
                    _ => Tone::Good,
                };
                Sentence::timed(tone, self.back(back))
            }
            Event::Block { topic, timing } => block(topic, timing)?,
            Event::Gap {
                topic,
                from,
                to,
                reason,
                away,
            } => gap(topic, *from, *to, *reason, *away),
            Event::Reset {
                topic,
                first,
                whence: Whence::New { end },
                last,
                ..
            } => self.reset(topic, *first, *end, *last)?,
            Event::Reset {
                topic,
                first,
                whence: Whence::Known { end },
                last,
                ..
            } => returned(topic, *first, *end, *last),
            Event::Diverged { topic, at, last, .. } => diverged(topic, *at, *last),
            Event::Silent { topic, retained } => Sentence {
                timed: false,
                tone: Tone::Plain,
                text: format!(
                    "{topic} is quiet: {} retained; --from earliest shows them",
                    form::counted(*retained, "message")
                ),
                hint: None,
            },
            Event::Warned { message } => {
                let (message, _) = escaped_cut(message, 400);
                Sentence::warning(format!("the server says: {message}"), None)
            }
            Event::ClockStep { ms } => {
                let way = if *ms < 0.0 { "back" } else { "forward" };
                let text = format!(
                    "the clock of this machine was set {way} by {}; block times do not depend on it",
                    form::signed_ms(ms.abs())
                );
                Sentence::warning(text, None)
            }
            Event::Message(_)
            | Event::Retry(_)
            | Event::Granted { .. }
            | Event::Heartbeat { .. }
            | Event::Continued { .. }
            | Event::Repeat { .. } => return None,
        };
        Some(sentence)
    }

    fn no_server(&self, why: &str, status: Option<u16>, of: usize) -> String {
        let target = &self.target;
        match status {
            _ if of > 1 => format!("none of {of} servers takes us, the last of them {why}; trying until one does"),
            None => format!("no server at {target} ({why}); trying until it comes"),
            Some(503) => format!("the server at {target} has no place for us now (503); trying until it has"),
            Some(_) => format!("the server at {target} does not take us now ({why}); trying until it does"),
        }
    }

    fn connected(&self, connected: &Connected<'_>) -> String {
        let target = connected.server.unwrap_or(&self.target);
        if connected.mode == Mode::Plain {
            return format!("connected to {target}: a plain feed, nothing to resume from and no reports");
        }
        let name = connected
            .name
            .map(|name| format!(" as {}", escaped(name)))
            .unwrap_or_default();
        if connected.grants.is_empty() {
            return format!("connected to {target}{name}: it has no topics");
        }
        let grants = listed(connected.grants, |(topic, from)| format!("{topic} from {from}"));
        let which = match self.start {
            Start::Latest => " (newest)",
            Start::Earliest => " (oldest)",
            _ => "",
        };
        format!("connected to {target}{name}: {grants}{which}")
    }

    fn back(&mut self, back: &Back<'_>) -> String {
        let at = back.server.map_or(String::new(), |server| format!(" at {server}"));
        let begin = format!(
            "back after {} (attempt {}){at}",
            form::short_span(back.down),
            back.attempt
        );
        let before = std::mem::replace(&mut self.server, back.server.map(str::to_owned));
        // Two servers that have the same topics of one origin have the same histories.
        let apart = match (before.as_deref(), back.server) {
            (Some(before), Some(server)) if before != server => {
                format!("; {server} and {before} do not have the same history")
            }
            _ => String::new(),
        };
        let resumed = || {
            let mut first = true;
            listed(back.grants, |(topic, from)| match std::mem::take(&mut first) {
                true => format!("{topic} resumes at {from}"),
                false => format!("{topic} at {from}"),
            })
        };
        match back.missed {
            MissedMeanwhile::Nothing => format!("{begin}: {}, nothing missed", resumed()),
            MissedMeanwhile::Told => format!("{begin}: {}", resumed()),
            MissedMeanwhile::Unknown => format!("{begin}: a plain feed, so what was missed is unknown"),
            MissedMeanwhile::History => {
                let histories = std::mem::take(&mut self.histories);
                let known: Vec<_> = histories
                    .iter()
                    .filter_map(|(topic, last)| Some((topic, (*last)?)))
                    .collect();
                match known.is_empty() {
                    // What became of it was told at once.
                    true if histories.is_empty() => format!("{begin}: {}{apart}", resumed()),
                    true => format!("{begin}: new history, {}{apart}", resumed()),
                    false => {
                        let after = listed(&known, |(topic, last)| format!("{topic} {last}"));
                        format!("{begin}: new history, what came after {after} is unknown{apart}")
                    }
                }
            }
        }
    }

    fn reset(
        &mut self,
        topic: &TopicName,
        first: Offset,
        end: Option<Offset>,
        last: Option<Offset>,
    ) -> Option<Sentence> {
        if self.away {
            self.histories.retain(|(known, _)| known != topic);
            self.histories.push((topic.clone(), last));
            return None;
        }
        let text = match (last, self.start, end) {
            (Some(last), ..) => format!("new history, what came after {topic} {last} is unknown"),
            (None, Start::Offset(asked), Some(end)) if asked > end => {
                format!("offset {asked} is ahead of {topic}, which ends at {end}; it begins with {first}")
            }
            (None, ..) => format!("{topic} has no such place: it begins with {first}"),
        };
        Some(Sentence::warning(text, None))
    }
}

/// The line that counts attempts.
#[must_use]
pub fn retry(retry: &Retry<'_>, left: Duration, now: Now, symbols: Symbols, was_connected: bool) -> String {
    let down = Duration::from_nanos(now.mono).saturating_sub(retry.since);
    let mark = match symbols {
        Symbols::Unicode => "⟳ ",
        Symbols::Ascii => "",
    };
    let at = retry.server.map_or(String::new(), |server| format!(" at {server}"));
    let state = if was_connected { "down" } else { "waiting" };
    format!(
        "{mark}attempt {}{at} in {:.1} s, {state} for {}",
        retry.attempt,
        left.as_secs_f64(),
        long_span(down)
    )
}

/// Seconds with one digit, also below one: it counts up.
fn long_span(span: Duration) -> String {
    match span < Duration::from_secs(1) {
        true => format!("{:.1} s", span.as_secs_f64()),
        false => form::short_span(span),
    }
}

fn block(topic: &TopicName, timing: &BlockTiming) -> Option<Sentence> {
    if timing.flags.has(Flags::PARTIAL) {
        return None;
    }
    let of = if topic.as_str() == "-" {
        String::new()
    } else {
        format!(" of {topic}")
    };
    let mut text = format!(
        "block {}{of}: {}",
        timing.block,
        form::counted(timing.messages, "message")
    );
    match timing.elapsed {
        None => text.push_str(", the first block"),
        Some(elapsed) => {
            let _ = write!(text, " in {}", form::span(elapsed));
            let seconds = elapsed.as_secs_f64();
            if timing.flags.is_empty() && seconds > 0.0 {
                let _ = write!(text, " ({}/s)", rate(timing.messages as f64 / seconds));
            }
            for name in timing.flags.names() {
                let _ = write!(text, ", {name}");
            }
        }
    }
    let _ = write!(
        text,
        ", spread {}, {}",
        form::span(timing.spread),
        form::bytes(timing.bytes)
    );
    Some(Sentence::timed(Tone::Plain, text))
}

/// A rate with as many digits as mean something.
fn rate(per_second: f64) -> String {
    match per_second >= 100.0 {
        true => form::count(per_second.round() as u64),
        false => format!("{per_second:.1}"),
    }
}

fn gap(topic: &TopicName, from: Offset, to: Offset, reason: Missed, away: Option<Duration>) -> Sentence {
    let missing = to.since(from);
    let range = match missing {
        1 => format!("{topic} {from} is gone"),
        _ => format!("{topic} {from}-{} are gone", to.previous().unwrap_or(from)),
    };
    let why = match (reason, away) {
        (Missed::Retention, Some(away)) => {
            format!("away for {}, longer than the server keeps them", form::short_span(away))
        }
        (Missed::Retention, None) => "the server does not keep them any more".to_owned(),
        (Missed::Policy, _) => "we were too slow, and the topic skips ahead".to_owned(),
        (Missed::Damage, _) => "damaged on the server's disk".to_owned(),
        (Missed::Purge, _) => "removed on the server".to_owned(),
        (Missed::Away, _) => "they came while the connection was lost, and a plain feed has no resume".to_owned(),
        (Missed::Unannounced, _) => "the server skipped them without a word".to_owned(),
    };
    let hint = match reason {
        Missed::Retention => {
            "keep= and keep_bytes= on the topic keep more; --fail-on-gap ends with code 3 when this happens"
        }
        _ => "--fail-on-gap ends with code 3 when this happens",
    };
    let text = format!("{range} ({}): {why}", form::counted(missing, "message"));
    Sentence::warning(text, Some(hint))
}

fn diverged(topic: &TopicName, at: Offset, last: Option<Offset>) -> Sentence {
    let text = match last.filter(|last| *last >= at) {
        Some(last) => {
            format!(
                "the server has lost {topic} {at}-{last}, which came before; other messages follow under these offsets"
            )
        }
        None => format!("the server has lost {topic} from {at} on, and goes on there"),
    };
    Sentence::warning(text, Some("--fail-on-gap ends with code 3 when this happens"))
}

/// A history that came before is back.
fn returned(topic: &TopicName, at: Offset, end: Offset, last: Option<Offset>) -> Sentence {
    if end < at {
        return Sentence::warning(
            format!("{topic} ends at {end} on the server, and came up to {at} before; nothing is taken below {at}"),
            Some("was the server set back to an older state? another --log FILE begins anew"),
        );
    }
    let unknown = last.map_or(String::new(), |last| {
        format!("; what came after {last} of the other one is unknown")
    });
    Sentence::warning(
        format!("{topic} has its earlier history again, and goes on with it at {at}{unknown}"),
        None,
    )
}

/// The first few of many, with how many more there are.
fn listed<T>(items: &[T], mut form: impl FnMut(&T) -> String) -> String {
    let mut text = String::new();
    for (at, item) in items.iter().take(LISTED_MAX).enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(&form(item));
    }
    if items.len() > LISTED_MAX {
        let _ = write!(text, " and {} more", items.len() - LISTED_MAX);
    }
    text
}

/// A payload as one line that drives no terminal, of about `bytes_max` bytes at most.
#[must_use]
pub fn payload(value: Value<'_>, bytes_max: usize, symbols: Symbols) -> String {
    match value {
        Value::Json(json) => escaped_cut(json, bytes_max).0,
        Value::Text(text) => {
            let text = &text[..text.floor_char_boundary(bytes_max.min(text.len()))];
            let mut out = String::with_capacity(text.len() + 2);
            out.push('"');
            escape_into(text, &mut out);
            out.push('"');
            out
        }
        Value::Bytes(bytes) => binary(bytes.len(), &bytes[..bytes.len().min(HEX_BYTES)], symbols),
        Value::Array(array) => binary(
            array.elements.len(),
            &array.elements[..array.elements.len().min(HEX_BYTES)],
            symbols,
        ),
        Value::Base64(quoted) => {
            let inner = quoted.trim_matches('"');
            let padding = inner.bytes().rev().take_while(|&byte| byte == b'=').count();
            let len = (inner.len() / 4 * 3).saturating_sub(padding);
            binary(len, &base64_begin(inner), symbols)
        }
    }
}

fn binary(len: usize, begin: &[u8], symbols: Symbols) -> String {
    let mut text = format!("<binary {}", form::counted(len as u64, "byte"));
    if !begin.is_empty() {
        text.push(' ');
    }
    for byte in begin {
        let _ = write!(text, "{byte:02x}");
    }
    if begin.len() < len {
        text.push_str(match symbols {
            Symbols::Unicode => "…",
            Symbols::Ascii => "...",
        });
    }
    text.push('>');
    text
}

fn base64_begin(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let end = text.floor_char_boundary((HEX_BYTES / 3 * 4).min(text.len()));
    base64::engine::general_purpose::STANDARD
        .decode(&text[..end])
        .unwrap_or_default()
}

/// As many bytes as show the beginning of a format: a multiple of 3, as base64 likes it.
const HEX_BYTES: usize = 12;

/// However narrow the window, so much of a payload is shown.
const PAYLOAD_WIDTH_MIN: usize = 12;

/// However narrow the window, a sentence has so much of it.
const SENTENCE_WIDTH_MIN: usize = 20;

const WARNING: &str = "warning:";
const HINT: &str = "hint:";

/// More topics than these in one sentence are counted.
const LISTED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use lapwing_wire::time::WallTime;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    fn said(talk: &mut Talk, event: &Event<'_>) -> String {
        talk.sentence(event).expect("something is said").text
    }

    fn talk() -> Talk {
        Talk::new("ws://127.0.0.1:8765".to_owned(), Start::Latest)
    }

    #[test]
    fn the_first_contact_names_topics_and_places() {
        let grants = [(topic("users"), Offset::new(13)), (topic("arrays"), Offset::new(35))];
        let connected = Connected {
            mode: Mode::Lapwing,
            server: None,
            name: Some("sensor-1"),
            grants: &grants,
        };
        assert_eq!(
            said(&mut talk(), &Event::Connected(connected)),
            "connected to ws://127.0.0.1:8765 as sensor-1: users from 13, arrays from 35 (newest)"
        );
    }

    #[test]
    fn a_return_says_what_was_missed() {
        let grants = [(topic("users"), Offset::new(66)), (topic("arrays"), Offset::new(165))];
        let back = |missed| {
            Event::Back(Back {
                mode: Mode::Lapwing,
                server: None,
                down: Duration::from_millis(1302),
                attempt: 2,
                why: "reset",
                grants: &grants,
                missed,
            })
        };
        let mut talk = talk();
        assert_eq!(
            said(&mut talk, &back(MissedMeanwhile::Nothing)),
            "back after 1.3 s (attempt 2): users resumes at 66, arrays at 165, nothing missed"
        );
        said(&mut talk, &Event::Lost { why: "reset" });
        let users = topic("users");
        let reset = Event::Reset {
            topic: &users,
            epoch: None,
            first: Offset::ZERO,
            whence: Whence::New { end: None },
            last: Some(Offset::new(139)),
        };
        assert_eq!(talk.sentence(&reset), None);
        assert_eq!(
            said(&mut talk, &back(MissedMeanwhile::History)),
            "back after 1.3 s (attempt 2): new history, what came after users 139 is unknown"
        );
    }

    #[test]
    fn a_gap_says_which_and_why() {
        let arrays = topic("arrays");
        let away = Some(Duration::from_millis(54_800));
        let sentence = gap(&arrays, Offset::new(1200), Offset::new(1210), Missed::Retention, away);
        assert_eq!(
            sentence.text,
            "arrays 1200-1209 are gone (10 messages): away for 54.8 s, longer than the server keeps them"
        );
        let sentence = gap(&arrays, Offset::new(7), Offset::new(8), Missed::Unannounced, None);
        assert_eq!(
            sentence.text,
            "arrays 7 is gone (1 message): the server skipped them without a word"
        );
    }

    #[test]
    fn a_block_says_why_it_does_not_count() {
        let arrays = topic("arrays");
        let timing = BlockTiming {
            block: 8,
            size: NonZeroU64::new(5).expect("not zero"),
            first: Offset::new(40),
            last: Offset::new(44),
            messages: 5,
            bytes: 520,
            elapsed: Some(Duration::from_secs(2)),
            spread: Duration::from_micros(100),
            flags: Flags::NONE,
        };
        let text = |timing| block(&arrays, &timing).expect("whole").text;
        assert_eq!(
            text(timing),
            "block 8 of arrays: 5 messages in 2.000 s (2.5/s), spread 0.1 ms, 520 B"
        );
        let interrupted = BlockTiming {
            flags: Flags::INTERRUPTED,
            ..timing
        };
        assert_eq!(
            text(interrupted),
            "block 8 of arrays: 5 messages in 2.000 s, interrupted, spread 0.1 ms, 520 B"
        );
        let first = BlockTiming {
            flags: Flags::FIRST,
            elapsed: None,
            ..timing
        };
        assert_eq!(
            text(first),
            "block 8 of arrays: 5 messages, the first block, spread 0.1 ms, 520 B"
        );
    }

    #[test]
    fn columns_align_and_payloads_are_cut_to_the_width() {
        let users = topic("users");
        let mut layout = Layout {
            width: Some(56),
            symbols: Symbols::Unicode,
            time: TimeForm::Full,
            ..Layout::FILE
        };
        layout.make_room(&topic("arrays"));
        let mut line = |value, offset| {
            let arrival = Arrival {
                topic: &users,
                offset: Some(Offset::new(offset)),
                epoch: None,
                time: None,
                received: Now {
                    wall: WallTime::from_nanos(0),
                    mono: 0,
                },
                value,
                bytes: 0,
            };
            let mut out = String::new();
            layout.message(&arrival, &mut out);
            out
        };
        assert_eq!(
            line(Value::Json("{\"name\":\"Jonas\"}"), 13),
            "1970-01-01T00:00:00.000000Z  users      13  {\"name\":\"Jo…\n"
        );
        assert_eq!(
            line(Value::Text("\u{1b}[2J"), 14),
            "1970-01-01T00:00:00.000000Z  users      14  \"\\u{1b}[2J\"\n"
        );
    }

    #[test]
    fn a_sentence_wraps_under_itself() {
        let layout = Layout {
            width: Some(40),
            time: TimeForm::Clock,
            ..Layout::FILE
        };
        let mut out = String::new();
        let text = "users 1-9 are gone (9 messages): damaged on the server's disk".to_owned();
        Sentence::warning(text, Some("--fail-on-gap ends with code 3 when this happens")).write(
            &layout,
            Now::default(),
            &mut out,
        );
        assert_eq!(
            out,
            "warning: users 1-9 are gone\n         (9 messages): damaged on the\n         server's disk\n\
             hint: --fail-on-gap ends with code\n      3 when this happens\n"
        );
    }

    #[test]
    fn bytes_are_shown_as_a_size_and_a_beginning() {
        assert_eq!(
            payload(Value::Bytes(&[10, 27, 44]), 99, Symbols::Ascii),
            "<binary 3 bytes 0a1b2c>"
        );
        let long = [7; 1234];
        let shown = "<binary 1,234 bytes 070707070707070707070707";
        assert_eq!(payload(Value::Bytes(&long), 99, Symbols::Ascii), format!("{shown}...>"));
        let mut base64 = Vec::new();
        lapwing_wire::envelope::write_value(lapwing_wire::envelope::Kind::Bytes, &long, &mut base64);
        let base64 = String::from_utf8(base64).expect("ASCII");
        assert_eq!(
            payload(Value::Base64(&base64), 99, Symbols::Unicode),
            format!("{shown}…>")
        );
        assert_eq!(payload(Value::Base64("\"\""), 99, Symbols::Ascii), "<binary 0 bytes>");
    }
}
