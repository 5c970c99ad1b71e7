//! What servers tell each other: a line of JSON that says what it is, and behind it lines as `$clients`, `$events` and `$reports` have
//! them.

use std::str::FromStr as _;

use bytes::Bytes;
use lapwing_wire::name::ClientName;
use lapwing_wire::topic::TopicName;
use serde::{Deserialize, Serialize};

use crate::mail::LETTER_BYTES_MAX;
use crate::server::watch::Counts;

/// What a letter says; lines may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The form of everything here. Letters of another form are not read.
    form: u32,
    /// The server that wrote it.
    pub from: String,
    /// What it is about.
    #[serde(flatten)]
    pub what: What,
}

/// What a letter is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum What {
    /// The server is here.
    Here(Box<Here>),
    /// It leaves.
    Leaves,
    /// Its clients, or what changed of them.
    Clients(Part),
    /// What happened on it.
    Events,
    /// What its clients reported.
    Reports,
}

/// How a server is, once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Here {
    /// How it is called, 1 to 64 characters; not yet harmless.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// What runs there.
    pub version: String,
    /// Since when, as text.
    pub started: String,
    /// How many clients it has.
    pub clients: u64,
    /// The same by cause, while its clients are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Whether somebody watches it, so that it wants to know of the clients of all.
    pub watches: bool,
    /// The servers of whose clients it wants to be told all, not what changed alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<String>,
    /// How far it has copied each topic.
    pub topics: Vec<Copied>,
}

/// How far a server has copied a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The topic.
    pub topic: TopicName,
    /// The offset that it copies next.
    pub next: u64,
    /// The stream's end, as far as is known there.
    pub end: u64,
    /// Messages of the stream that it does not have.
    #[serde(default)]
    pub lag: u64,
    /// The stream cannot be reached from there: it may have more.
    pub stale: bool,
}

/// Which part of what a server tells of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Parts belong together that have the same number here; another one begins with all clients.
    pub run: u64,
    /// The number of the part in its run, from 0.
    pub part: u64,
    /// With it all clients were told that were there when the run began.
    pub whole: bool,
}

impl Head {
    /// Of a letter that `from` writes.
    #[must_use]
    pub fn new(from: &str, what: What) -> Self {
        Self {
            form: FORM,
            from: from.to_owned(),
            what,
        }
    }

    /// The letter with these lines.
    #[must_use]
    pub fn text<'l>(&self, lines: impl IntoIterator<Item = &'l str>) -> Bytes {
        let mut text = serde_json::to_string(self).expect("every field has a form in JSON");
        for line in lines {
            text.push('\n');
            text.push_str(line);
        }
        text.into()
    }

    /// Reads a letter: what it says, and its lines. None when it is none of this form.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<(Self, std::str::Split<'_, char>)> {
        let mut lines = std::str::from_utf8(text).ok()?.split('\n');
        let head: Self = serde_json::from_str(lines.next()?).ok()?;
        let is_known = head.form == FORM && is_id(&head.from) && head.what.is_good();
        is_known.then_some((head, lines))
    }
}

impl What {
    fn is_good(&self) -> bool {
        match self {
            Self::Here(here) => here.is_good(),
            Self::Leaves | Self::Clients(_) | Self::Events | Self::Reports => true,
        }
    }
}

impl Here {
    fn is_good(&self) -> bool {
        let texts = [&self.name, &self.address, &self.version, &self.started];
        texts
            .iter()
            .all(|text| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control))
            && ClientName::from_str(&self.name).is_ok()
            && self.topics.len() <= TOPICS_MAX
            && self.wants.iter().all(|id| is_id(id))
    }
}

/// Whether this is the id of a server: 16 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Lines in pieces, each of which fits a letter. What is too long for one is left out, and counted.
pub fn pieces(lines: Vec<String>) -> (Vec<Vec<String>>, u64) {
    let (mut pieces, mut bytes, mut left_out) = (Vec::<Vec<String>>::new(), usize::MAX, 0);
    for line in lines {
        if line.len() > LINE_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if bytes.saturating_add(line.len() + 1) > LETTER_BYTES_MAX - HEAD_BYTES_MAX {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += line.len() + 1;
        if let Some(piece) = pieces.last_mut() {
            piece.push(line);
        }
    }
    (pieces, left_out)
}

/// A line with who tells it; none when it is no JSON object of one line, or says already who tells it.
#[must_use]
pub fn signed(line: &str, server: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Glance {
        #[serde(default)]
        server: Option<serde::de::IgnoredAny>,
    }
    let is_one = line.len() <= LINE_BYTES_MAX && !line.bytes().any(|b| b.is_ascii_control());
    let rest = line.strip_prefix('{').filter(|rest| is_one && rest.starts_with('"'))?;
    let glance: Glance = serde_json::from_str(line).ok()?;
    let server = serde_json::to_string(server).ok()?;
    glance.server.is_none().then(|| format!("{{\"server\":{server},{rest}"))
}

/// An event of another server, with who tells it; none when it is none.
#[must_use]
pub fn event(line: &str, server: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Glance {
        event: String,
        #[serde(rename = "time")]
        _time: String,
    }
    let glance: Glance = serde_json::from_str(line).ok()?;
    (glance.event != REPORT).then(|| signed(line, server))?
}

/// A report of a client of another server, with who tells it; none when it is none.
#[must_use]
pub fn report(line: &str, server: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Glance {
        event: String,
        #[serde(rename = "time")]
        _time: String,
        #[serde(rename = "session")]
        _session: u64,
        #[serde(rename = "client")]
        _client: String,
        #[serde(rename = "topic")]
        _topic: TopicName,
    }
    let glance: Glance = serde_json::from_str(line).ok()?;
    (glance.event == REPORT).then(|| signed(line, server))?
}

const REPORT: &str = "report";
/// Rises when a server that knows only the form before would misunderstand.
const FORM: u32 = 1;
/// What a server says of itself in one place.
const TEXT_BYTES_MAX: usize = 256;
/// As many as a server may have.
const TOPICS_MAX: usize = 1000;
/// The first line of a letter that has others.
const HEAD_BYTES_MAX: usize = 1 << 10;
/// A client that follows a hundred topics is told in less.
pub const LINE_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    fn here(name: &str) -> What {
        What::Here(Box::new(Here {
            name: name.to_owned(),
            address: "192.0.2.1:8765".to_owned(),
            version: "0.1.0".to_owned(),
            started: "2026-11-22T19:00:00.000000Z".to_owned(),
            clients: 7,
            counts: None,
            watches: true,
            wants: vec![ID.to_owned()],
            topics: vec![Copied {
                topic: TopicName::parse("users").expect("valid"),
                next: 5,
                end: u64::MAX,
                lag: 3,
                stale: false,
            }],
        }))
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let part = Part {
            run: 7,
            part: 0,
            whole: true,
        };
        for what in [
            here("b"),
            What::Leaves,
            What::Clients(part),
            What::Events,
            What::Reports,
        ] {
            let head = Head::new(ID, what);
            let text = head.text(["{\"a\":1}", "{\"b\":2}"]);
            let (read, lines) = Head::read(&text).expect("it is one");
            assert_eq!(read, head);
            assert_eq!(lines.collect::<Vec<_>>(), ["{\"a\":1}", "{\"b\":2}"]);
        }
    }

    #[test]
    fn what_is_no_letter_is_not_read() {
        let good = String::from_utf8(Head::new(ID, here("b")).text([]).to_vec()).expect("text");
        assert!(Head::read(good.as_bytes()).is_some());
        for (from, to) in [
            ("\"form\":1", "\"form\":2"),
            ("\"from\":\"0", "\"from\":\"x"),
            ("\"from\":\"0", "\"from\":\""),
            ("\"name\":\"b\"", "\"name\":\"\""),
            ("\"name\":\"b\"", "\"name\":\"b\\u001b\""),
            ("\"is\":\"here\"", "\"is\":\"there\""),
            ("\"topic\":\"users\"", "\"topic\":\"a b\""),
            ("\"next\":5", "\"next\":-5"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Head::read(bad.as_bytes()).is_none(), "{bad}");
        }
        let long = good.replacen("192.0.2.1:8765", &"9".repeat(TEXT_BYTES_MAX + 1), 1);
        assert!(Head::read(long.as_bytes()).is_none());
        for bad in [&b""[..], b"\n", b"{}", b"[]", b"\xff", b"null"] {
            assert!(Head::read(bad).is_none());
        }
    }

    #[test]
    fn a_line_is_signed_once_and_only_where_it_is_an_object() {
        assert_eq!(
            signed("{\"a\":1}", "b\""),
            Some("{\"server\":\"b\\\"\",\"a\":1}".to_owned())
        );
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        for bad in [
            "",
            "{",
            "{}",
            "[1]",
            "5",
            "{\"a\":1",
            "{\"a\":1}x",
            "{\"server\":\"a\"}",
            "{\"a\":\t1}",
            &long,
        ] {
            assert_eq!(signed(bad, "b"), None, "{bad:.40}");
        }
    }

    #[test]
    fn an_event_is_no_report_and_a_report_no_event() {
        let joined = "{\"event\":\"joined\",\"time\":\"2026\",\"session\":1}";
        let reported = "{\"event\":\"report\",\"time\":\"2026\",\"session\":1,\"client\":\"c\",\"topic\":\"users\"}";
        assert!(event(joined, "b").is_some_and(|line| line.starts_with("{\"server\":\"b\",\"event\":\"joined\"")));
        assert!(report(reported, "b").is_some());
        assert_eq!((event(reported, "b"), report(joined, "b")), (None, None));
        assert_eq!(report(&reported.replace(":1", ":\"1\""), "b"), None);
        assert_eq!(event("{\"event\":5,\"time\":\"2026\"}", "b"), None);
    }

    #[test]
    fn pieces_fit_letters_and_nothing_gets_lost_but_what_is_too_long() {
        let line = |n: usize| "x".repeat(n);
        assert_eq!(pieces(Vec::new()), (Vec::new(), 0));
        let lines: Vec<_> = (0..40)
            .map(|n| line(10_000 + n))
            .chain([line(LINE_BYTES_MAX + 1)])
            .collect();
        let (found, left_out) = pieces(lines.clone());
        assert_eq!((found.len(), left_out), (2, 1));
        assert_eq!(found.concat(), lines[..40]);
        let head = Head::new(ID, What::Events);
        for piece in &found {
            assert!(head.text(piece.iter().map(String::as_str)).len() <= LETTER_BYTES_MAX);
        }
    }
}
