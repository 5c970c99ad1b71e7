//! Feeds of servers that know nothing of Lapwing.

use lapwing::recording::reader::{Reader, Record, RecordedMessage};
use lapwing_wire::envelope::Kind;

use crate::feed::Feed;
use crate::program::{lapwing, record};

pub fn recorded(path: &std::path::Path) -> Vec<RecordedMessage> {
    let entries = Reader::open(path).expect("there").map(|entry| entry.expect("readable"));
    entries
        .filter_map(|entry| match entry.record {
            Record::Message(message) => Some(message),
            Record::Note(_) => None,
            other => panic!("line {}: {other:?}", entry.line),
        })
        .collect()
}

#[test]
fn any_websocket_feed_is_recorded_as_it_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let url = format!("{}/stream?pair=BTC", feed.url());
    let listener = record(&url, &log, &["--count", "4"]);
    let mut guest = feed.accept_plain();
    assert_eq!(guest.path, "/stream?pair=BTC");
    let every_byte: Vec<u8> = (0..=255).collect();
    guest.send("{ \"price\": 1.50,\n \"x\": \"a b\" }");
    guest.send("hello \"you\"");
    guest.send_bytes(&every_byte);
    guest.send(&format!("\"{}\"", "é".repeat(3 << 20)));
    let (_, code) = guest.until_closed();
    assert_eq!(code, Some(1000));
    let end = listener.finish().with_code(0);
    assert!(
        end.stdout[0].ends_with("  -  {\"price\":1.50,\"x\":\"a b\"}"),
        "{}",
        end.stdout[0]
    );
    assert!(
        end.stdout[2].ends_with("<binary 256 bytes 000102030405060708090a0b...>"),
        "{}",
        end.stdout[2]
    );
    assert_eq!(end.stdout.len(), 4);
    end.said("a plain feed");
    end.said("4 messages, 6.0 MiB");
    end.said("not checked for loss");
    let messages = recorded(&log);
    let payloads: Vec<_> = messages.iter().map(|m| (m.kind, m.payload.as_slice())).collect();
    assert_eq!(payloads[0], (Kind::Json, &b"{\"price\":1.50,\"x\":\"a b\"}"[..]));
    assert_eq!(payloads[1], (Kind::Text, &b"hello \"you\""[..]));
    assert_eq!(payloads[2], (Kind::Bytes, every_byte.as_slice()));
    assert_eq!(payloads[3].1.len(), 6 << 20);
    assert!(
        messages
            .iter()
            .all(|message| message.offset.is_none() && message.topic.as_str() == "-")
    );
}

#[test]
fn a_plain_stream_of_lapwing_has_topics_and_offsets() {
    let feed = Feed::bind();
    let url = format!("{}/?topics=users", feed.url());
    let listener = lapwing(&["listen", &url, "--count", "5", "--block", "2"]);
    let mut guest = feed.accept_plain();
    assert_eq!(guest.path, "/?topics=users");
    guest.messages("users", 4..6);
    guest.messages("users", 8..11);
    let end = listener.finish().with_code(0);
    assert!(end.stdout[0].ends_with("  users      4  [4]"), "{}", end.stdout[0]);
    end.said("warning: users 6-7 are gone (2 messages)");
    end.said("missing: 2 messages in 1 gap");
}

#[test]
fn c14_nothing_from_outside_drives_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.txt");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "3"]);
    let mut guest = feed.accept_plain();
    guest.send("\u{1b}]0;owned\u{7}\r\nline two \u{9b}31m \u{202e}");
    guest.send("\"\u{9b}2J\u{202e}\"");
    guest.close(1012, "retry=0 \u{1b}[2J");
    let mut guest = feed.accept_plain();
    guest.send("{\"a\":\"\u{85}\"}");
    let end = listener.finish().with_code(0);
    assert!(end.stdout[0].ends_with("\"\\u{1b}]0;owned\\u{7}\\r\\nline two \\u{9b}31m \\u{202e}\""));
    let file = std::fs::read_to_string(&log).expect("there");
    for text in end
        .stdout
        .iter()
        .chain(&end.stderr)
        .map(String::as_str)
        .chain([file.replace('\n', "").as_str()])
    {
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
    end.said("\\u{1b}[2J");
    assert!(file.contains("lost the connection: 1012, server restarts"), "{file}");
}

#[test]
fn in_a_pipe_nothing_is_cut_coloured_or_rewritten() {
    let feed = Feed::bind();
    let listener = lapwing(&["listen", &feed.url(), "--count", "1"]);
    feed.accept_plain().send(&"x".repeat(5000));
    let end = listener.finish().with_code(0);
    assert!(end.stdout[0].len() > 5000);
    let all = [end.stdout.concat(), end.stderr.concat()].concat();
    assert!(!all.contains(['\u{1b}', '\r', '…', '⟳', '█']), "{all}");
}
