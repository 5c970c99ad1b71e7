//! One line of the operator's log: taken whole when it comes, made harmless, and written later as text or JSON. Pure.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use lapwing_wire::escape::escape_into;
use lapwing_wire::time::{WallTime, micros_text};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::config::Limits;
use crate::terminal::form;
use crate::terminal::paint::{Painter, Role};

/// A line on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    level: Level,
    target: Cow<'static, str>,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Whole(i128),
    Real(f64),
    Flag(bool),
}

impl Entry {
    /// Without message and fields.
    #[must_use]
    pub fn new(level: Level, target: Cow<'static, str>) -> Self {
        Self {
            level,
            target,
            message: String::new(),
            fields: Vec::new(),
        }
    }

    /// With this message, from wherever it comes.
    #[must_use]
    pub fn with_message(mut self, message: impl fmt::Display) -> Self {
        self.message = harmless(format_args!("{message}"));
        self
    }

    /// With a number beside it.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: u64) -> Self {
        self.fields.push((name, Value::Whole(number.into())));
        self
    }

    /// What lines of its kind are called in a sum: the word of a life event, for its sentence is another each time, otherwise the
    /// message.
    #[must_use]
    pub fn label(&self) -> Label {
        let word = self.fields.iter().find_map(|(name, value)| match value {
            Value::Text(word) if *name == "event" => Some(word),
            _ => None,
        });
        let text = word.unwrap_or(&self.message);
        Label {
            level: self.level,
            target: self.target.clone(),
            text: text[..text.floor_char_boundary(LABEL_BYTES_MAX)].to_owned(),
        }
    }

    /// About how much memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        let fields = self.fields.iter().map(|(_, value)| match value {
            Value::Text(text) => size_of::<(&str, Value)>() + text.len(),
            _ => size_of::<(&str, Value)>(),
        });
        size_of::<Self>() + self.target.len() + self.message.len() + fields.sum::<usize>()
    }

    /// As a line for people, with its end.
    #[must_use]
    pub fn to_text(&self, time: WallTime, paint: Painter) -> String {
        let role = match self.level {
            Level::ERROR => Role::Bad,
            Level::WARN => Role::Attention,
            _ => Role::Heading,
        };
        let mut line = format!(
            "{}  {}  {}  {}",
            paint.paint(Role::Time, micros_text(time)),
            paint.paint(role, format_args!("{:<5}", word(self.level))),
            self.target,
            self.message
        );
        for (name, value) in &self.fields {
            // Writing to a String cannot fail.
            let _ = match value {
                Value::Text(text) => write!(line, " {name}=\"{}\"", text.replace('"', "\\\"")),
                Value::Whole(number) => write!(line, " {name}={number}"),
                Value::Real(number) => write!(line, " {name}={number}"),
                Value::Flag(flag) => write!(line, " {name}={flag}"),
            };
        }
        line.push('\n');
        line
    }

    /// As an object for programs, with the line's end.
    #[must_use]
    pub fn to_json(&self, time: WallTime) -> String {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            time: String,
            level: &'static str,
            target: &'a str,
            message: &'a str,
            fields: Fields<'a>,
        }
        let line = Line {
            time: micros_text(time),
            level: word(self.level),
            target: &self.target,
            message: &self.message,
            fields: Fields(&self.fields),
        };
        let mut text = serde_json::to_string(&line).expect("every field has a form in JSON");
        text.push('\n');
        text
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_text(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), Value::Whole(value.into())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), Value::Whole(value.into())));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), Value::Real(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), Value::Flag(value)));
    }
}

impl Entry {
    fn record_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let text = harmless(text);
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, Value::Text(text))),
        }
    }
}

/// What lines of a kind are called in a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    level: Level,
    target: Cow<'static, str>,
    text: String,
}

impl Label {
    /// That so many more of the kind came in a while and were not told.
    #[must_use]
    pub fn summed(&self, count: u64, within: std::time::Duration) -> Entry {
        let seconds = within.as_secs().max(1);
        let Self { level, target, text } = self;
        Entry::new(*level, target.clone())
            .with_message(format_args!(
                "{} more like it in {seconds} s: {text}",
                form::count(count)
            ))
            .with_number("more", count)
            .with_number("seconds", seconds)
    }
}

struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            match value {
                Value::Text(text) => map.serialize_entry(name, text)?,
                Value::Whole(number) => map.serialize_entry(name, number)?,
                Value::Real(number) => map.serialize_entry(name, number)?,
                Value::Flag(flag) => map.serialize_entry(name, flag)?,
            }
        }
        map.end()
    }
}

/// The level as every surface writes it.
fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        _ => "trace",
    }
}

/// Text from anywhere: cut while it is written, however much there is of it, then escaped.
fn harmless(text: fmt::Arguments<'_>) -> String {
    let mut cut = Cut::default();
    // It takes everything, and what it is given may fail to write itself: then what came stands there.
    let _ = cut.write_fmt(text);
    let mut out = String::with_capacity(cut.kept.len());
    escape_into(&cut.kept, &mut out);
    if cut.left_out > 0 {
        out.push_str(&format!(" and {} more bytes", form::count(cut.left_out as u64)));
    }
    out
}

/// Keeps the beginning of what is written, and counts the rest.
#[derive(Default)]
struct Cut {
    kept: String,
    left_out: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = match self.left_out {
            0 => Limits::LOG_TEXT_BYTES_MAX - self.kept.len(),
            _ => 0,
        };
        let end = text.floor_char_boundary(room.min(text.len()));
        self.kept.push_str(&text[..end]);
        self.left_out += text.len() - end;
        Ok(())
    }
}

/// Enough to know a line by.
const LABEL_BYTES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::new(Level::WARN, "lapwing::store".into()).with_message("slow sync");
        entry.fields.push(("topic", Value::Text("or\"ders".to_owned())));
        entry.fields.push(("ok", Value::Flag(false)));
        entry.fields.push(("ratio", Value::Real(0.5)));
        entry.with_number("took_ms", 1812)
    }

    const TIME: WallTime = WallTime::from_nanos(1_795_287_600_123_456_789);

    #[test]
    fn a_line_has_time_level_target_message_and_fields() {
        assert_eq!(
            entry().to_text(TIME, Painter::PLAIN),
            "2026-11-21T19:00:00.123456Z  warn   lapwing::store  slow sync topic=\"or\\\"ders\" ok=false ratio=0.5 \
             took_ms=1812\n"
        );
        assert_eq!(
            entry().to_json(TIME),
            "{\"time\":\"2026-11-21T19:00:00.123456Z\",\"level\":\"warn\",\"target\":\"lapwing::store\",\
             \"message\":\"slow sync\",\"fields\":{\"topic\":\"or\\\"ders\",\"ok\":false,\"ratio\":0.5,\
             \"took_ms\":1812}}\n"
        );
    }

    #[test]
    fn what_comes_from_outside_is_escaped_and_cut() {
        assert_eq!(
            harmless(format_args!("a\u{1b}[2J\n\u{202e}b")),
            "a\\u{1b}[2J\\n\\u{202e}b"
        );
        let most = "x".repeat(Limits::LOG_TEXT_BYTES_MAX);
        assert_eq!(harmless(format_args!("{most}")), most, "at the limit");
        assert_eq!(
            harmless(format_args!("{most}{}", "yy")),
            format!("{most} and 2 more bytes")
        );
        let cut = harmless(format_args!("{}é{}", &most[1..], "z"));
        assert_eq!(cut, format!("{} and 3 more bytes", &most[1..]), "nothing behind a cut");
    }

    #[test]
    fn a_sum_says_what_there_was_more_of() {
        let sum = entry().label().summed(1412, Duration::from_millis(10_400));
        assert_eq!(
            sum.to_text(TIME, Painter::PLAIN),
            "2026-11-21T19:00:00.123456Z  warn   lapwing::store  1,412 more like it in 10 s: slow sync more=1412 \
             seconds=10\n"
        );
        let mut life = entry();
        life.fields.insert(0, ("event", Value::Text("joined".to_owned())));
        assert_eq!(life.label().text, "joined");
    }
}
