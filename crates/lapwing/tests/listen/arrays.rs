//! Arrays that come as binary frames: recorded, timed and resumed as their text is.

use std::collections::BTreeMap;
use std::path::Path;

use lapwing_wire::array::ArrayWriter;
use lapwing_wire::dtype::Dtype;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::query::Encoding;
use lapwing_wire::time::WallTime;
use serde_json::json;

use crate::feed::{Feed, granted, topic};
use crate::foreign::recorded;
use crate::program::{lapwing, record, serve};
use crate::verify::verify;

#[test]
fn what_is_recorded_is_the_same_in_whichever_form_arrays_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_server, url) = serve(&[
        "--topic",
        "whole=arrays?every=1ms&burst=1&shape=2x3&pack=2&dtype=uint64&high=18446744073709551616",
        "--topic",
        "single=arrays?every=1ms&burst=1&dtype=float32&shape=7",
        "--topic",
        "double=arrays?every=1ms&burst=1&dtype=float64&shape=3",
        "--topic",
        "users=users?every=1ms",
    ]);
    let records = ["json", "binary"].map(|encoding| {
        let log = dir.path().join(format!("{encoding}.ndjson"));
        let flags = ["--from", "earliest", "--count", "1200", "--encoding", encoding];
        let end = record(&url, &log, &flags).finish().with_code(0);
        end.said("nothing lost");
        verify(&[], &log).with_code(0);
        messages(&log)
    });
    let mut compared = BTreeMap::new();
    for (place, message) in &records[0] {
        if let Some(other) = records[1].get(place) {
            assert_eq!(message, other, "{place:?}");
            *compared.entry(&place.0).or_insert(0) += 1;
        }
    }
    assert!(
        compared.len() == 4 && compared.values().all(|count| *count > 100),
        "{compared:?}"
    );
}

/// Time and payload of each message of a recording, by its place.
fn messages(log: &Path) -> BTreeMap<(String, u64), (Option<WallTime>, String)> {
    let message = |message: lapwing::recording::reader::RecordedMessage| {
        let offset = message.offset.expect("a place").get();
        let payload = String::from_utf8(message.payload).expect("text");
        ((message.topic.to_string(), offset), (message.time, payload))
    };
    recorded(log).into_iter().map(message).collect()
}

fn frame(offset: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    let writer = ArrayWriter::new(topic("n"), 1, Dtype::Int16);
    let time = WallTime::parse("2026-11-21T19:00:00.123456Z").expect("valid");
    assert!(writer.write(
        Offset::new(offset),
        time,
        format!("[[{offset}],[-1]]").as_bytes(),
        &mut frame
    ));
    frame
}

#[test]
fn after_a_cut_arrays_are_asked_for_again_and_go_on_where_they_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let flags = ["--encoding", "binary", "--block", "3", "--count", "6"];
    let listener = record(&feed.url(), &log, &flags);
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["n"]);
    assert_eq!(guest.subscribe().encoding, Some(Encoding::Binary));
    guest.grant(&granted("n", 7, 12));
    (12..15).for_each(|offset| guest.send_bytes(&frame(offset)));
    listener.shows("[[14],[-1]]");
    guest.vanish();
    let mut guest = feed.accept_lapwing();
    guest.welcome(&["n"]);
    let wish = guest.subscribe();
    assert_eq!(
        (wish.encoding, wish.offset),
        (Some(Encoding::Binary), Some(Offset::new(15)))
    );
    guest.grant(&granted("n", 7, 15));
    // One that is no array of its type comes as text between the others.
    guest.send_bytes(&frame(15));
    guest.message("n", 16);
    guest.send_bytes(&frame(17));
    let (reports, _) = guest.until_closed();
    let last = reports.last().expect("of the last block");
    assert_eq!((last.first.get(), last.last.get(), last.messages), (15, 17, 3));
    assert!(last.bytes > 2 * frame(15).len() as u64, "{last:?}");
    listener.finish().with_code(0).said("nothing lost");
    let payloads: Vec<String> = messages(&log).into_values().map(|(_, payload)| payload).collect();
    assert_eq!(
        payloads,
        [
            "[[12],[-1]]",
            "[[13],[-1]]",
            "[[14],[-1]]",
            "[[15],[-1]]",
            "[16]",
            "[[17],[-1]]"
        ]
    );
    assert!(
        recorded(&log)
            .iter()
            .all(|message| message.epoch == Some(Epoch::from_bits(7)))
    );
}

#[test]
fn a_plain_feed_of_arrays_is_told_by_its_url() {
    let (_server, url) = serve(&["--topic", "n=arrays?every=1ms&burst=1&dtype=int8&high=2&shape=2x2"]);
    let url = format!("{url}/?encoding=binary&from=earliest");
    let end = lapwing(&["listen", &url, "--count", "3", "--json"])
        .finish()
        .with_code(0);
    let lines: Vec<serde_json::Value> = end
        .stdout
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let messages: Vec<_> = lines.iter().filter(|line| line["offset"].is_u64()).collect();
    let places: Vec<_> = messages
        .iter()
        .map(|line| json!([line["topic"], line["offset"]]))
        .collect();
    assert_eq!(places, [json!(["n", 0]), json!(["n", 1]), json!(["n", 2])]);
    assert!(
        messages
            .iter()
            .all(|line| line["data"].as_array().map(Vec::len) == Some(2)),
        "{messages:?}"
    );
    let end = lapwing(&["listen", &url, "--encoding", "binary"]).finish().with_code(2);
    end.said("encoding= in the URL says what to ask for, and then --encoding says nothing");
}
