//! The text around a message, both ways.

use lapwing_wire::envelope::{EnvelopeWriter, Kind, Message, is_value, write_payload};
use lapwing_wire::json::compact;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use crate::Entry;
use crate::input::{Input, text};

/// A payload to be written, a value to be read, and a text to be taken for an envelope.
pub const ENTRY: Entry = Entry {
    name: "envelope",
    take,
    seeds: || {
        [
            (
                "message",
                "\0{\"topic\":\"users\",\"offset\":41,\"time\":\"2026-11-21T19:00:00.123456Z\",\"data\":{\"a\":1}}",
            ),
            (
                "bytes",
                "\u{2}{\"topic\":\"users\",\"offset\":0,\"time\":\"t\",\"data_base64\":\"AAEC\"}",
            ),
            ("json", "\0{\"a\":[1,2]}"),
            ("text", "\u{1}\"tab\\tquote\\\" \\u001f \\u0041\""),
            ("base64", "\u{2}\"AAECAw==\""),
            ("bad-base64", "\u{2}\"AAECAx==\""),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let kind = [Kind::Json, Kind::Text, Kind::Bytes][usize::from(choice % 3)];
    let payload = input.rest();
    let readable = write_payload(kind, payload, &mut Vec::new()).is_ok();
    assert_eq!(
        is_value(kind, payload),
        readable,
        "the quick look agrees with the parser"
    );
    if let Some(text) = text(payload)
        && let Ok(message) = Message::parse(text)
    {
        assert!(compact(message.value).is_some(), "a value is JSON");
    }
    match (kind, text(payload)) {
        (Kind::Bytes, _) => there_and_back(kind, payload, choice),
        (Kind::Text, Some(_)) => there_and_back(kind, payload, choice),
        (Kind::Json, Some(text)) => {
            if let Some(json) = compact(text) {
                there_and_back(kind, json.as_bytes(), choice);
            }
        }
        (_, None) => {}
    }
}

fn there_and_back(kind: Kind, payload: &[u8], choice: u8) {
    let topic = TopicName::parse("orders").expect("valid");
    let offset = Offset::new(u64::MAX >> (choice % 64));
    let time = WallTime::from_nanos(1_795_287_600_000_000_000 + i64::from(choice) * 1000);
    let mut out = b"before".to_vec();
    let place = EnvelopeWriter::new(&topic).write(offset, time, kind, payload, &mut out);
    let text = std::str::from_utf8(&out[b"before".len()..]).expect("an envelope is text");
    let message = Message::parse(text).expect("our own");
    assert_eq!((message.topic, message.offset), (topic.as_str(), offset));
    assert_eq!(WallTime::parse(message.time), Some(time));
    assert_eq!(message.base64, kind == Kind::Bytes);
    assert_eq!(
        message.value.as_bytes(),
        &out[place],
        "the value lies where it is said to"
    );
    let mut back = Vec::new();
    write_payload(kind, message.value.as_bytes(), &mut back).expect("our own");
    assert_eq!(back, payload);
}
