//! Names, places and times: parsed once, then trusted.

use lapwing_wire::name::ClientName;
use lapwing_wire::position::Epoch;
use lapwing_wire::sse;
use lapwing_wire::start::Start;
use lapwing_wire::time::{TimeReader, TimeWriter, WallTime};
use lapwing_wire::topic::TopicName;

use crate::Entry;
use crate::input::{assert_harmless, text};

/// Lines, each of which is taken for each of them.
pub const ENTRY: Entry = Entry {
    name: "places",
    take,
    seeds: || {
        [
            (
                "starts",
                "latest\nearliest\n17\nlast:100\n-30s\n-5m\n-1h\n-250ms\n@00000000000000000000000000000001:4",
            ),
            ("names", "users\nclient 5\nsensor-2\n J\u{f6}rg \nclient x"),
            (
                "times",
                "2026-11-21T19:00:00.123456Z\n2026-11-21T19:00:00.123457Z\n2026-11-21T19:00:01Z",
            ),
            (
                "last-second",
                "2262-04-11T23:47:16.000000Z\n2262-04-11T23:47:16.999999Z",
            ),
            (
                "first-second",
                "1677-09-21T00:12:43.145225Z\n1677-09-21T00:12:43.000000Z",
            ),
            ("last-event-id", "00000000000000000000000000000001:4\n17\n:"),
            ("long-ago", "-18446744073709551615s\n-18446744073709551615ms"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut times = TimeReader::default();
    for line in text.split('\n') {
        start(line);
        name(line);
        let time = WallTime::parse(line);
        assert_eq!(times.read(line), time, "what was read before changes no time");
        if let Some(time) = time {
            let mut out = Vec::new();
            TimeWriter::default().nanos(time, &mut out);
            let written = String::from_utf8(out).expect("digits and separators");
            assert_eq!(WallTime::parse(&written), Some(time));
        }
    }
}

fn start(text: &str) {
    match text.parse::<Start>() {
        Ok(start) => assert_eq!(start.to_string().parse(), Ok(start)),
        Err(error) => assert_harmless(error),
    }
    match sse::last_event_id(text) {
        Ok(place) => {
            // It comes back as it was written, but for capitals and zeros in front.
            let mut out = Vec::new();
            sse::write_place(place, &mut out);
            let written = String::from_utf8(out).expect("digits");
            let id = written.strip_prefix("id: ").and_then(|rest| rest.strip_suffix("\n\n"));
            assert_eq!(id.map(sse::last_event_id), Some(Ok(place)));
        }
        Err(error) => assert_harmless(error),
    }
    if let Ok(epoch) = Epoch::parse(text) {
        assert_eq!(epoch.to_string(), text.to_ascii_lowercase());
    }
}

fn name(text: &str) {
    match TopicName::parse(text) {
        Ok(topic) => {
            assert_eq!(topic.as_str(), text);
            assert!((1..=TopicName::BYTES_MAX).contains(&text.len()));
            assert_harmless(topic);
        }
        Err(error) => assert_harmless(error),
    }
    match ClientName::parse(text) {
        Ok(name) => assert_eq!(ClientName::parse(name.as_str()), Ok(name)),
        Err(error) => assert_harmless(error),
    }
}
