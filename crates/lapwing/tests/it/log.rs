//! `lapwing log`: what a data directory holds, and damage in it made explicit.

use std::path::{Path, PathBuf};

use lapwing::log::store::DataDir;
use serde_json::Value;

use crate::support::server::lapwing;

/// A directory as version 1 of the format has it: offsets 0 to 8, 10 and 11 of the topic `orders` in two segments.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-format-1");

fn copy() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let topic = dir.path().join("topics/orders");
    std::fs::create_dir_all(&topic).unwrap();
    std::fs::copy(Path::new(DATA).join("lapwing-data"), dir.path().join("lapwing-data")).unwrap();
    for entry in std::fs::read_dir(Path::new(DATA).join("topics/orders")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), topic.join(entry.file_name())).unwrap();
    }
    (dir, topic)
}

fn dump(directory: &Path, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut all = vec!["log", "dump", directory.to_str().unwrap()];
    all.extend(arguments);
    let done = lapwing(&all);
    (
        done.code,
        done.out
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn offsets(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["offset"].as_u64()).collect()
}

#[test]
fn a_dump_prints_every_message_and_every_gap() {
    let (code, lines) = dump(Path::new(DATA), &[]);
    // Offset 9 was left out when it was written.
    assert_eq!(
        (code, offsets(&lines)),
        (Some(0), vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11])
    );
    assert_eq!(lines[9]["record"], "gap");
    assert_eq!(
        (&lines[9]["from"], &lines[9]["to"]),
        (&Value::from(9), &Value::from(10))
    );
    let first = serde_json::json!({
        "topic": "orders", "offset": 0, "epoch": "00000000000000000000000051d2e7b0", "time": "2026-11-21T19:00:01.000000Z",
        "source": 3, "sequence": 1000, "data": [0, 0, ""],
    });
    assert_eq!(lines[0], first);
    assert_eq!(dump(Path::new(DATA), &["orders"]).1, lines);
}

#[test]
fn a_dump_of_what_is_no_data_directory_says_so() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(dump(empty.path(), &[]).0, Some(2));
    std::fs::write(empty.path().join("thesis.txt"), "x").unwrap();
    let done = lapwing(&["log", "dump", empty.path().to_str().unwrap()]);
    assert_eq!(done.code, Some(2));
    assert!(done.err[0].contains("was not made by Lapwing"), "{:?}", done.err);
    assert_eq!(
        done.err[1],
        "hint: name the directory that a server was given with --data; nothing in this one was touched"
    );
    let done = lapwing(&["log", "dump", empty.path().join("nope").to_str().unwrap()]);
    assert_eq!(
        (done.code, done.err[1].as_str()),
        (Some(2), "hint: name the directory that a server was given with --data")
    );
    let done = lapwing(&["log", "dump", DATA, "users"]);
    assert_eq!((done.code, done.err[1].as_str()), (Some(2), "hint: it has: orders"));
}

#[test]
fn a_stray_file_among_the_topics_is_no_topic() {
    let (dir, _) = copy();
    std::fs::write(dir.path().join("topics/notes"), "hi").unwrap();
    assert_eq!(dump(dir.path(), &[]).1, dump(Path::new(DATA), &[]).1);
}

#[test]
fn f5_damage_is_dumped_repaired_and_then_a_gap() {
    let (dir, topic) = copy();
    let path = topic.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (code, lines) = dump(dir.path(), &[]);
    assert_eq!((code, offsets(&lines)), (Some(3), vec![3, 4, 5, 6, 7, 8, 10, 11]));
    assert_eq!(
        (&lines[0]["record"], &lines[0]["to"]),
        (&Value::from("damage"), &Value::from(3))
    );

    let held = DataDir::open(dir.path()).unwrap();
    let refused = lapwing(&["log", "repair", dir.path().to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err[0].contains("is used by another process"),
        "{:?}",
        refused.err
    );
    assert_eq!(refused.err[1], "hint: stop that process");
    drop(held);

    let done = lapwing(&["log", "repair", dir.path().to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{:?}", done.err);
    assert!(
        done.out[0].contains("offsets 0-2 are told as missing from now on"),
        "{:?}",
        done.out
    );
    let (code, lines) = dump(dir.path(), &[]);
    assert_eq!(
        (code, &lines[0]["record"], &lines[0]["reason"]),
        (Some(0), &Value::from("gap"), &Value::from("damage"))
    );
    assert_eq!(offsets(&lines), [3, 4, 5, 6, 7, 8, 10, 11]);
    let again = lapwing(&["log", "repair", dir.path().to_str().unwrap(), "--json"]);
    assert_eq!((again.code, again.out.len()), (Some(0), 0));
}

#[test]
fn f7_a_missing_segment_is_told_until_it_is_repaired_and_then_a_gap() {
    let (dir, topic) = copy();
    std::fs::remove_file(topic.join("00000000000000000000.log")).unwrap();
    std::fs::remove_file(topic.join("00000000000000000004.log")).unwrap();
    let (code, lines) = dump(dir.path(), &[]);
    assert_eq!(
        (code, &lines[0]["record"], &lines[0]["from"], &lines[0]["to"]),
        (Some(3), &"missing".into(), &0.into(), &12.into())
    );
    assert_eq!(lapwing(&["log", "repair", dir.path().to_str().unwrap()]).code, Some(0));
    let (code, lines) = dump(dir.path(), &[]);
    assert_eq!(
        (
            code,
            &lines[0]["record"],
            &lines[0]["from"],
            &lines[0]["to"],
            lines.len()
        ),
        (Some(0), &"gap".into(), &0.into(), &12.into(), 1)
    );
}
