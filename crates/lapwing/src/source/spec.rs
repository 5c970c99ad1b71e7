//! What was asked of a topic: `NAME=SOURCE?setting=value&…`, parsed and checked before anything starts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_wire::control::Level;
use lapwing_wire::escape::escaped;
use lapwing_wire::topic::TopicName;

use super::arrays::{ArraySpec, Dtype, Shape};
use super::pacer::Pace;
use super::people::Locale;
use crate::failure::Failure;
use crate::log::lag::OnLag;
use crate::log::retention::Retention;

/// One topic: its name, and what fills it.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// What fills it.
    pub source: SourceSpec,
}

/// What fills a topic, and what is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSpec {
    /// As it was typed, for the banner.
    pub text: String,
    /// Where messages come from.
    pub feed: Feed,
    /// Of what type the elements are, where messages are arrays.
    pub dtype: Option<Dtype>,
    /// How fast, when it is held to a pace.
    pub pace: Option<Pace>,
    /// What is kept.
    pub keep: Keep,
    /// What becomes of clients that fall behind.
    pub on_lag: OnLag,
    /// What follows the end of a source that ends.
    pub on_end: OnEnd,
    /// When the source starts.
    pub start: StartWhen,
}

/// What is asked to be kept of a topic; where nothing is, it depends on whether the topic is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Keep {
    /// What an acknowledgement means.
    pub level: Option<Level>,
    /// At most so many bytes.
    pub bytes: Option<u64>,
    /// Every message so long.
    pub age: Option<Duration>,
    /// In a stream of a broker, how many replicas.
    pub replicas: Option<u8>,
    /// In a stream of a broker, where it lies.
    pub storage: Option<StreamStorage>,
}

/// Where a broker keeps a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStorage {
    /// In files.
    File,
    /// In memory: gone when all its servers are.
    Memory,
}

impl Keep {
    /// The topic's level, on a server where topics have `default` unless they say otherwise.
    #[must_use]
    pub fn level(&self, default: Level) -> Level {
        self.level.unwrap_or(default)
    }

    /// What is kept at this level: in memory, or on disk.
    #[must_use]
    pub fn retention(&self, level: Level) -> Retention {
        let default = match level {
            Level::None => Retention::DEFAULT,
            Level::Os | Level::Fsync | Level::External => Retention::DURABLE,
        };
        Retention {
            bytes: self.bytes.unwrap_or(default.bytes),
            age: self.age.unwrap_or(default.age),
        }
    }
}

impl SourceSpec {
    /// Whether it is held back for slow clients.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.on_lag == OnLag::Wait
    }
}

/// Where messages come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// Random people.
    Users(Locale),
    /// Random arrays.
    Arrays(ArraySpec),
    /// The lines of this process's standard input.
    Stdin,
    /// The lines of a file as it grows, as `tail -F` follows it.
    Tail(PathBuf, TailFrom),
    /// A recorded log with its timing, so many times as fast; of one topic of it, or of all.
    Replay(PathBuf, Speed, Option<TopicName>),
    /// The lines of a command's standard output.
    Exec(String, Restart),
    /// What publishers send.
    Push,
    /// What the server tells of itself.
    Own,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was received.
    Times(f64),
    /// As fast as it goes.
    Max,
}

/// Where a file that is followed is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TailFrom {
    /// At its start.
    Start,
    /// At its end, as `tail -F` does: what is in it already is not news.
    #[default]
    End,
}

/// When a command is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restart {
    /// However it ended.
    Always,
    /// When it failed: a code other than 0, or a signal.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

/// What follows the end of a source that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnEnd {
    /// The topic stays, with what it keeps.
    #[default]
    Keep,
    /// Those who follow nothing else are closed with 1000 when they have everything.
    Close,
}

/// When a source starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartWhen {
    /// At once.
    #[default]
    Now,
    /// When the first listener comes.
    Listener,
}

/// `--topic NAME=SOURCE` as it was typed.
pub fn parse_topic(text: &str) -> Result<TopicSpec, Failure> {
    // A source without a name before it, settings and all.
    let nameless = ["users", "arrays"].into_iter().find(|source| {
        let settings = text.strip_prefix(source);
        settings.is_some_and(|settings| settings.is_empty() || settings.starts_with('?'))
    });
    let Some((name, source)) = text.split_once('=').filter(|_| nameless.is_none()) else {
        let hint = nameless.map_or_else(
            || "write --topic NAME=SOURCE, such as --topic vm=stdin or --topic orders=push".to_owned(),
            |source| {
                escaped(&format!(
                    "write --topic NAME=SOURCE: did you mean --topic '{source}={text}'?"
                ))
            },
        );
        return Err(Failure::usage(format!("--topic {text:?} names no source"), hint));
    };
    // It may stand in a file that somebody else wrote, and the sentence is printed on a terminal.
    let wrong = |what: String, hint| Failure::usage(escaped(&format!("{what} in --topic {text}")), hint);
    let name = TopicName::parse(name)
        .map_err(|error| wrong(format!("{error},"), "choose another name before the =".to_owned()))?;
    if name.is_reserved() {
        let hint = "names that begin with $ are the server's own; choose another name before the =";
        return Err(wrong(format!("the name {name} is reserved"), hint.to_owned()));
    }
    let source = parse_source(source).map_err(|Wrong { what, hint }| wrong(what, hint))?;
    Ok(TopicSpec { name, source })
}

impl TopicSpec {
    /// A topic of the server's own, which no command line asks for.
    #[must_use]
    pub fn own(name: TopicName) -> Self {
        Self {
            name,
            source: SourceSpec {
                text: "own".to_owned(),
                feed: Feed::Own,
                dtype: None,
                pace: None,
                keep: Keep::default(),
                on_lag: OnLag::default(),
                on_end: OnEnd::default(),
                start: StartWhen::default(),
            },
        }
    }
}

/// The two topics that run when none is asked for.
#[must_use]
pub fn default_topics() -> Vec<TopicSpec> {
    ["users=users?every=1s", "arrays=arrays?every=2s&burst=5"]
        .map(|text| parse_topic(text).expect("our own defaults are valid"))
        .into()
}

/// What is wrong with a source, and the way out.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    what: String,
    hint: String,
}

impl Wrong {
    fn new(what: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            what: what.to_string(),
            hint: hint.into(),
        }
    }
}

fn parse_source(text: &str) -> Result<SourceSpec, Wrong> {
    let (head, settings) = split_settings(text);
    let mut settings = Settings::parse(settings)?;
    let feed = parse_feed(head, &mut settings)?;
    let pace = parse_pace(&feed, &mut settings)?;
    let spec = SourceSpec {
        text: text.to_owned(),
        dtype: parse_dtype(&feed, &mut settings)?,
        pace,
        keep: Keep {
            level: settings.take("durability", None, |value| parse_level(value).map(Some))?,
            bytes: settings.take("keep_bytes", None, |value| parse_keep_bytes(value).map(Some))?,
            age: settings.take("keep", None, |value| parse_span(value, KEEP_MIN, KEEP_MAX).map(Some))?,
            replicas: settings.take("replicas", None, |value| match value.parse() {
                Ok(replicas) if (1..=REPLICAS_MAX).contains(&replicas) => Ok(Some(replicas)),
                _ => Err(format!("is out of range: 1 to {REPLICAS_MAX}")),
            })?,
            storage: settings.take("storage", None, |value| match value {
                "file" => Ok(Some(StreamStorage::File)),
                "memory" => Ok(Some(StreamStorage::Memory)),
                _ => Err("is not one of file, memory".to_owned()),
            })?,
        },
        on_lag: settings.take("slow", OnLag::default(), |value| {
            OnLag::ALL
                .into_iter()
                .find(|policy| policy.as_str() == value)
                .ok_or_else(|| "is not one of skip, close, latest, wait".to_owned())
        })?,
        on_end: settings.take("end", OnEnd::Keep, |value| match value {
            "keep" => Ok(OnEnd::Keep),
            "close" => Ok(OnEnd::Close),
            _ => Err("is not one of keep, close".to_owned()),
        })?,
        start: settings.take("start", StartWhen::Now, |value| match value {
            "now" => Ok(StartWhen::Now),
            "listener" => Ok(StartWhen::Listener),
            _ => Err("is not one of now, listener".to_owned()),
        })?,
        feed,
    };
    settings.nothing_left(head)?;
    Ok(spec)
}

/// Splits settings from the rest. In `exec:` and `file:` a question mark may belong to the command or the path, so there
/// settings begin at the last one, and only when every key behind it is known.
fn split_settings(text: &str) -> (&str, &str) {
    let literal = text.starts_with("exec:") || text.starts_with("file:");
    let at = if literal { text.rfind('?') } else { text.find('?') };
    let Some(at) = at else { return (text, "") };
    let (head, settings) = (&text[..at], &text[at + 1..]);
    let known = |setting: &str| setting.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key));
    if literal && !settings.split('&').all(known) {
        (text, "")
    } else {
        (head, settings)
    }
}

fn parse_feed(head: &str, settings: &mut Settings<'_>) -> Result<Feed, Wrong> {
    if let Some(path) = head.strip_prefix("file:") {
        if path.is_empty() {
            return Err(Wrong::new(
                "file: names no file",
                "write file:PATH, such as file:feed.ndjson",
            ));
        }
        let speed = settings.take("speed", None, parse_speed)?;
        let from = settings.take("from", TailFrom::default(), |value| match value {
            "start" if speed.is_none() => Ok(TailFrom::Start),
            "end" if speed.is_none() => Ok(TailFrom::End),
            "start" | "end" => Err("means nothing for a replay, which begins at the start".to_owned()),
            _ => Err("is not one of start, end".to_owned()),
        })?;
        let only = settings.take("only", None, |value| value.parse().map(Some).map_err(in_words))?;
        return Ok(match speed {
            Some(speed) => Feed::Replay(path.into(), speed, only),
            None if only.is_some() => {
                return Err(Wrong::new(
                    "only= means nothing for a file that is followed",
                    "add speed=1 to replay a recording",
                ));
            }
            None => Feed::Tail(path.into(), from),
        });
    }
    if let Some(command) = head.strip_prefix("exec:") {
        if command.trim().is_empty() {
            return Err(Wrong::new(
                "exec: names no command",
                "write exec:COMMAND, such as 'exec:vmstat 1'",
            ));
        }
        let restart = settings.take("restart", Restart::default(), |value| match value {
            "always" => Ok(Restart::Always),
            "on-failure" => Ok(Restart::OnFailure),
            "never" => Ok(Restart::Never),
            _ => Err("is not one of always, on-failure, never".to_owned()),
        })?;
        return Ok(Feed::Exec(command.to_owned(), restart));
    }
    match head {
        "users" => {
            Ok(Feed::Users(settings.take("locale", Locale::default(), |value| {
                value.parse().map_err(in_words)
            })?))
        }
        "arrays" => Ok(Feed::Arrays(parse_arrays(settings)?)),
        "stdin" => Ok(Feed::Stdin),
        "push" => Ok(Feed::Push),
        _ => {
            let name = head.split(':').next().unwrap_or(head);
            let near = nearest(name, SOURCES.iter().copied());
            let meant = near.map_or(String::new(), |known| format!("did you mean {known:?}? "));
            Err(Wrong::new(
                format!("unknown source {head:?}"),
                format!("{meant}Sources: users, arrays, stdin, file:PATH, exec:COMMAND, push"),
            ))
        }
    }
}

fn parse_arrays(settings: &mut Settings<'_>) -> Result<ArraySpec, Wrong> {
    let integer = |value: &str| value.parse().map(Some).map_err(|_| "is not an integer".to_owned());
    let shape = settings.take("shape", Shape::default(), |value| value.parse().map_err(in_words))?;
    let dtype = settings.take("dtype", Dtype::default(), |value| value.parse().map_err(in_words))?;
    let low = settings.take("low", None, integer)?;
    let high = settings.take("high", None, integer)?;
    let pack = settings.take("pack", 1, |value| {
        value.parse().map_err(|_| "is not a number from 1 on".to_owned())
    })?;
    ArraySpec::new(shape, dtype, low, high, pack).map_err(|error| {
        Wrong::new(
            error,
            "as in NumPy's integers(low, high, shape, dtype): high itself is left out",
        )
    })
}

/// What arrays are made of is a setting of theirs; of messages from elsewhere it says that they are arrays.
fn parse_dtype(feed: &Feed, settings: &mut Settings<'_>) -> Result<Option<Dtype>, Wrong> {
    match feed {
        Feed::Arrays(spec) => Ok(Some(spec.dtype())),
        Feed::Users(_) | Feed::Own => Ok(None),
        Feed::Stdin | Feed::Tail(..) | Feed::Replay(..) | Feed::Exec(..) | Feed::Push => {
            settings.take("dtype", None, |value| value.parse().map(Some).map_err(in_words))
        }
    }
}

/// `every` and `burst`, or `rate`; generators have a pace of their own without them, other sources none.
fn parse_pace(feed: &Feed, settings: &mut Settings<'_>) -> Result<Option<Pace>, Wrong> {
    let every = settings.take("every", None, |value| parse_span(value, EVERY_MIN, EVERY_MAX).map(Some))?;
    let rate = settings.take("rate", None, |value| Pace::parse_rate(value).map(Some))?;
    let burst = settings.take("burst", None, |value| match value.parse() {
        Ok(burst) if (1..=BURST_MAX).contains(&burst) => Ok(Some(burst)),
        _ => Err(format!("is out of range: 1 to {BURST_MAX} messages")),
    })?;
    let (every_default, burst_default) = match feed {
        Feed::Users(_) => (Some(Duration::from_secs(1)), 1),
        Feed::Arrays(_) => (Some(Duration::from_secs(2)), 5),
        _ => (None, 1),
    };
    match (every, rate, burst) {
        (Some(_), Some(_), _) => Err(Wrong::new("both every= and rate= are given", "leave one of them out")),
        (None, Some(rate), burst) => Ok(Some(rate.in_bursts_of(burst.unwrap_or(1)))),
        (None, None, Some(_)) if every_default.is_none() => Err(Wrong::new(
            "burst= is given without a pace",
            "add every=1s, or leave burst= out",
        )),
        (every, None, burst) => Ok(every
            .or(every_default)
            .map(|every| Pace::every(every, burst.unwrap_or(burst_default)))),
    }
}

fn parse_speed(value: &str) -> Result<Option<Speed>, String> {
    match value.parse::<f64>() {
        _ if value == "max" => Ok(Some(Speed::Max)),
        Ok(times) if (0.001..=1e6).contains(&times) => Ok(Some(Speed::Times(times))),
        _ => Err("is out of range: 0.001 to 1000000, or max".to_owned()),
    }
}

fn parse_level(value: &str) -> Result<Level, String> {
    match value {
        "none" => Ok(Level::None),
        "os" => Ok(Level::Os),
        "fsync" => Ok(Level::Fsync),
        _ => Err("is not one of fsync, os, none".to_owned()),
    }
}

fn parse_keep_bytes(value: &str) -> Result<u64, String> {
    let bytes = value
        .parse::<bytesize::ByteSize>()
        .map_err(|_| "is no size such as 64MiB".to_owned())?
        .as_u64();
    if (Retention::BYTES_MIN..=KEEP_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("is out of range: 64KiB to 1TiB".to_owned())
    }
}

/// A length of time such as `500ms`, `1s`, `1h30m`, of any sign: the one grammar for those in settings and flags.
pub fn span(value: &str) -> Option<jiff::SignedDuration> {
    value.parse().ok()
}

/// A length of time within bounds.
pub fn parse_span(value: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let span = span(value).ok_or("is no length of time such as 500ms or 1s")?;
    let words = |span: Duration| {
        let span = jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
        format!("{span:#}").replace(' ', "")
    };
    match Duration::try_from(span) {
        Ok(span) if (min..=max).contains(&span) => Ok(span),
        _ => Err(format!("is out of range: {} to {}", words(min), words(max))),
    }
}

fn in_words(error: impl fmt::Display) -> String {
    format!("is wrong: {error}")
}

/// The settings of one source, taken one by one; what is left at the end was not for it.
struct Settings<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Settings<'a> {
    fn parse(text: &'a str) -> Result<Self, Wrong> {
        let mut settings: Vec<(&str, &str)> = Vec::new();
        for setting in text.split('&').filter(|setting| !setting.is_empty()) {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Wrong::new(
                    format!("setting {setting:?} has no value"),
                    "write settings as key=value, separated by &",
                ));
            };
            if settings.iter().any(|(known, _)| *known == key) {
                return Err(Wrong::new(
                    format!("setting {key} is given twice"),
                    "leave one of them out",
                ));
            }
            settings.push((key, value));
        }
        Ok(Self(settings))
    }

    fn take<T>(&mut self, key: &str, default: T, parse: impl FnOnce(&'a str) -> Result<T, String>) -> Result<T, Wrong> {
        let Some(at) = self.0.iter().position(|(known, _)| *known == key) else {
            return Ok(default);
        };
        let (_, value) = self.0.remove(at);
        parse(value).map_err(|why| Wrong::new(format!("{key}={value} {why}"), hint_for(key)))
    }

    fn nothing_left(self, head: &str) -> Result<(), Wrong> {
        let Some((key, _)) = self.0.first() else { return Ok(()) };
        if KEYS.contains(key) {
            return Err(Wrong::new(
                format!("{key}= means nothing for the source {head:?}"),
                "leave it out",
            ));
        }
        let near = nearest(key, KEYS.iter().copied());
        let meant = near.map_or(String::new(), |known| format!("did you mean {known}? "));
        Err(Wrong::new(
            format!("unknown setting {key:?}"),
            format!("{meant}Settings: {}", KEYS.join(", ")),
        ))
    }
}

fn hint_for(key: &str) -> &'static str {
    match key {
        "every" | "rate" => "write a length of time such as every=500ms, every=1s or rate=1000/s",
        "keep" => "write a length of time such as keep=60s or keep=5m",
        "keep_bytes" => "write a size such as keep_bytes=64MiB",
        "durability" => "durability=fsync or durability=os keeps it in --data DIR, durability=none in memory",
        "locale" => "such as locale=de, or locale=mixed",
        "speed" => "speed=1 keeps the recorded timing, speed=10 is ten times as fast, speed=max waits for nothing",
        _ => "see lapwing serve --help for the settings of each source",
    }
}

/// The word that was meant by another one, if it is near.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        // Others are no nearer than that, and what was typed may be long.
        .filter(|known| known.len().abs_diff(typed.len()) <= 2)
        .map(|known| (distance(typed, known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters have to change to make `a` into `b` (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (nth, y) in b.bytes().enumerate() {
            let change = before + usize::from(x != y);
            before = row[nth + 1];
            row[nth + 1] = change.min(before + 1).min(row[nth] + 1);
        }
    }
    row[b.len()]
}

const SOURCES: [&str; 6] = ["users", "arrays", "stdin", "file", "exec", "push"];
const KEYS: [&str; 21] = [
    "every",
    "burst",
    "rate",
    "keep",
    "keep_bytes",
    "durability",
    "replicas",
    "storage",
    "slow",
    "end",
    "start",
    "locale",
    "shape",
    "dtype",
    "low",
    "high",
    "pack",
    "speed",
    "from",
    "only",
    "restart",
];
const EVERY_MIN: Duration = Duration::from_millis(1);
const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
const KEEP_MIN: Duration = Duration::from_secs(1);
const KEEP_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
const KEEP_BYTES_MAX: u64 = 1 << 40;
/// What JetStream has at most.
const REPLICAS_MAX: u8 = 5;
/// A tick's messages are made and appended at once.
const BURST_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wrong(text: &str, what: &str, hint: &str) {
        let failure = parse_topic(text).expect_err(text);
        assert_eq!(failure.sentences, [(what.to_owned(), Some(hint.to_owned()))]);
    }

    fn source(text: &str) -> SourceSpec {
        parse_topic(&format!("x={text}"))
            .unwrap_or_else(|failure| panic!("{failure}"))
            .source
    }

    #[test]
    fn the_defaults_are_a_person_a_second_and_five_arrays_every_two() {
        let topics = default_topics();
        assert_eq!(topics[0].source.pace, Some(Pace::every(Duration::from_secs(1), 1)));
        assert_eq!(topics[1].source.pace, Some(Pace::every(Duration::from_secs(2), 5)));
        assert_eq!(topics[1].source.feed, source("arrays").feed);
        assert_eq!(topics[1].source.pace, source("arrays").pace);
    }

    #[test]
    fn settings_are_taken() {
        let spec = source(
            "arrays?every=500ms&burst=2&shape=2x3&dtype=uint8&low=1&high=7&pack=4&keep=5m&keep_bytes=1MiB&end=close",
        );
        assert_eq!(spec.pace, Some(Pace::every(Duration::from_millis(500), 2)));
        assert_eq!(
            spec.keep.retention(Level::None),
            Retention {
                bytes: 1 << 20,
                age: Duration::from_secs(300)
            }
        );
        assert_eq!(source("users").keep.retention(Level::None), Retention::DEFAULT);
        assert_eq!(source("users").keep.retention(Level::Fsync), Retention::DURABLE);
        let durable = source("push?durability=os&keep_bytes=1MiB").keep;
        assert_eq!(durable.level(Level::Fsync), Level::Os);
        assert_eq!(durable.retention(Level::Os).bytes, 1 << 20);
        assert_eq!(spec.on_end, OnEnd::Close);
        assert_eq!(source("stdin").pace, None);
        assert_eq!(
            source("stdin?rate=1000/s").pace,
            Some(Pace::every(Duration::from_millis(1), 1))
        );
    }

    #[test]
    fn messages_from_elsewhere_may_be_arrays() {
        assert_eq!(source("arrays").dtype, Some(Dtype::Int64));
        assert_eq!(source("arrays?dtype=uint8").dtype, Some(Dtype::Uint8));
        for from in ["push", "stdin", "file:a.ndjson", "exec:seq 5"] {
            assert_eq!(source(from).dtype, None, "{from}");
            assert_eq!(
                source(&format!("{from}?dtype=float32")).dtype,
                Some(Dtype::Float32),
                "{from}"
            );
        }
        assert_eq!(source("file:a.ndjson?speed=max&dtype=int8").dtype, Some(Dtype::Int8));
        assert_eq!(source("users").dtype, None);
        check_wrong(
            "x=push?dtype=float16",
            "dtype=float16 is wrong: unknown dtype \"float16\"; dtypes: int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64 in --topic x=push?dtype=float16",
            "see lapwing serve --help for the settings of each source",
        );
        check_wrong(
            "x=users?dtype=int8",
            "dtype= means nothing for the source \"users\" in --topic x=users?dtype=int8",
            "leave it out",
        );
    }

    #[test]
    fn commands_and_paths_are_taken_literally() {
        assert_eq!(
            source("exec:ls /tmp/a?.txt").feed,
            Feed::Exec("ls /tmp/a?.txt".to_owned(), Restart::OnFailure)
        );
        assert_eq!(
            source("exec:echo a?b=c").feed,
            Feed::Exec("echo a?b=c".to_owned(), Restart::OnFailure)
        );
        assert_eq!(
            source("exec:echo a?b?restart=always").feed,
            Feed::Exec("echo a?b".to_owned(), Restart::Always)
        );
        assert_eq!(source("file:a?b").feed, Feed::Tail("a?b".into(), TailFrom::End));
        assert_eq!(
            source("file:a.ndjson?speed=10").feed,
            Feed::Replay("a.ndjson".into(), Speed::Times(10.0), None)
        );
        assert_eq!(
            source("file:a.ndjson?speed=max&keep=5s").feed,
            Feed::Replay("a.ndjson".into(), Speed::Max, None)
        );
    }

    #[test]
    fn mistakes_get_a_sentence_and_a_way_out() {
        check_wrong(
            "x=array?every=2s",
            "unknown source \"array\" in --topic x=array?every=2s",
            "did you mean \"arrays\"? Sources: users, arrays, stdin, file:PATH, exec:COMMAND, push",
        );
        check_wrong(
            "users=users?every=-1s",
            "every=-1s is out of range: 1ms to 24h in --topic users=users?every=-1s",
            "write a length of time such as every=500ms, every=1s or rate=1000/s",
        );
        check_wrong(
            "a b=users",
            "a topic name is made of A-Z a-z 0-9 _ and -, not ' ', in --topic a b=users",
            "choose another name before the =",
        );
        check_wrong(
            "x=users?evry=1s",
            "unknown setting \"evry\" in --topic x=users?evry=1s",
            &format!("did you mean every? Settings: {}", KEYS.join(", ")),
        );
        check_wrong(
            "x=users?shape=3",
            "shape= means nothing for the source \"users\" in --topic x=users?shape=3",
            "leave it out",
        );
        check_wrong(
            "x=users?every=1s&rate=5/s",
            "both every= and rate= are given in --topic x=users?every=1s&rate=5/s",
            "leave one of them out",
        );
    }

    #[test]
    fn c14_a_source_that_is_wrong_cannot_drive_the_terminal_that_is_told() {
        check_wrong(
            "x=array?every=\u{1b}[2J",
            r#"unknown source "array" in --topic x=array?every=\u{1b}[2J"#,
            "did you mean \"arrays\"? Sources: users, arrays, stdin, file:PATH, exec:COMMAND, push",
        );
    }

    #[test]
    fn limits_hold_at_the_limit_and_not_beyond() {
        let good = [
            "every=1ms",
            "every=24h",
            "burst=100000",
            "keep=1s",
            "keep_bytes=64KiB",
            "keep_bytes=1TiB",
        ];
        let bad = [
            "every=999us",
            "every=24h 1s",
            "burst=100001",
            "burst=0",
            "keep=999ms",
            "keep_bytes=65535",
            "keep_bytes=2TiB",
        ];
        for setting in good {
            assert!(parse_topic(&format!("x=users?{setting}")).is_ok(), "{setting}");
        }
        for setting in bad {
            let failure = parse_topic(&format!("x=users?{setting}")).expect_err(setting);
            assert!(failure.sentences[0].0.contains("out of range"), "{failure}");
        }
    }
}
