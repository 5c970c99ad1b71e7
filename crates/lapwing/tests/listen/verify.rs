//! What `lapwing verify` says of a recording, and with which code it ends.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lapwing::clock::Now;
use lapwing::recording::arrival::{Arrival, Value};
use lapwing::recording::line::LineWriter;
use lapwing::recording::note::{Missed, Note};
use lapwing_wire::position::{Epoch, Offset};
use rustix::process::Signal;

use crate::feed::{Feed, topic};
use crate::program::{DEADLINE, Finished, lapwing, record};

#[test]
fn a_recording_of_ours_is_complete() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = recorded(dir.path());
    let end = verify(&[], &log).with_code(0);
    assert_eq!(end.stderr, [""; 0]);
    assert!(
        end.stdout[0].starts_with(&format!("{}: 6 messages, 1 topic, ", log.display())),
        "{end:#?}"
    );
    assert_eq!(
        end.stdout[1],
        "  users   epoch 00000000   3-8   6   each offset once, in order"
    );
    assert_eq!(
        end.stdout[2],
        "complete: nothing missing, repeated, damaged or out of order"
    );
}

#[test]
fn a_recording_without_a_message_is_intact_and_told_as_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = recorded(dir.path());
    let whole = std::fs::read_to_string(&log).expect("there");
    // A start, positions, then a message a line.
    let empty: String = whole.split_inclusive('\n').take(2).collect();
    std::fs::write(&log, empty).expect("written");
    let end = verify(&[], &log).with_code(0);
    assert_eq!(
        end.stdout[1..],
        ["empty: every line is as it was written, and none is a message"]
    );
}

#[test]
fn ctrl_c_ends_it_with_a_sentence_and_proves_nothing() {
    for json in [false, true] {
        let form = if json { "--json" } else { "--output=text" };
        // Standard input stays open.
        let verify = lapwing(&["verify", "-", form]);
        let status = format!("/proc/{}/status", verify.id());
        let catches_signals = || {
            let status = std::fs::read_to_string(&status).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a line of it").trim(), 16).expect("a mask");
            caught & (1 << (Signal::INT.as_raw() - 1)) != 0
        };
        let began = Instant::now();
        while !catches_signals() {
            assert!(began.elapsed() < DEADLINE, "it never catches signals");
            std::thread::yield_now();
        }
        verify.signal(Signal::INT);
        let end = verify.finish().with_code(1);
        end.said("stopped before the end: nothing is proven");
        assert!(end.stdout.is_empty(), "{end:?}");
    }
}

#[test]
fn each_fault_is_named_with_its_line_and_ends_it_with_3() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = recorded(dir.path());
    let whole = std::fs::read_to_string(&log).expect("there");
    let lines: Vec<_> = whole.lines().collect();
    let with = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<_> = lines.iter().map(|line| format!("{line}\n")).collect();
        edit(&mut lines);
        std::fs::write(&log, lines.concat()).expect("written");
        verify(&[], &log).with_code(3).stdout
    };
    // A start, positions, then a message a line.
    let said = with(&|lines| drop(lines.remove(4)));
    assert_eq!(
        said[2],
        "  line 5   users   missing   5   1 offset without a gap record"
    );
    assert_eq!(said.last().expect("a verdict"), "not proven: 1 missing");
    let said = with(&|lines| lines.insert(5, lines[4].clone()));
    assert_eq!(said[2], "  line 6   users   repeated   5   it came before");
    let said = with(&|lines| lines[4] = lines[4].replace("[5]", "[6]"));
    assert_eq!(
        said[2],
        "  line 5   -       damaged   -   its checksum is that of other bytes"
    );
    let said = with(&|lines| lines.push("{\"topic\"".to_owned()));
    assert!(
        said[2].ends_with("torn   -   the last record ends after 8 bytes"),
        "{said:#?}"
    );
    assert_eq!(
        said.last().expect("a hint"),
        &format!(
            "hint: lapwing listen --log {} cuts the torn record and goes on from there",
            log.display()
        )
    );
}

#[test]
fn a_gap_that_is_told_is_a_fault_unless_it_is_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let mut lines = messages(0..3);
    let gap = Note::Gap {
        topic: topic("users"),
        from: Offset::new(3),
        to: Offset::new(7),
        reason: Missed::Retention,
    };
    LineWriter::default().note(&gap, Now::default(), &mut lines);
    lines.extend(messages(7..9));
    std::fs::write(&log, lines).expect("written");
    let end = verify(&[], &log).with_code(3);
    assert_eq!(
        end.stdout[2],
        "  line 4   users   gap   3-6   4 offsets, announced: retention (--allow-gaps)"
    );
    assert_eq!(end.stdout[3], "not proven: 4 announced as gone");
    let end = verify(&["--allow-gaps"], &log).with_code(0);
    assert_eq!(end.stdout[3], "complete but for what was told: 4 announced as gone");
}

#[test]
fn json_is_one_object_with_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    std::fs::write(&log, [messages(3..5), messages(7..9)].concat()).expect("written");
    let end = verify(&["--json"], &log).with_code(3);
    let [line] = end.stdout.as_slice() else {
        panic!("{end:#?}")
    };
    let told: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(told["verdict"], "not_proven");
    let recording = &told["recordings"][0];
    assert_eq!((&recording["messages"], &recording["missing"]), (&4.into(), &2.into()));
    let history = &recording["topics"][0];
    assert_eq!(
        (&history["first"], &history["last"], &history["messages"]),
        (&3.into(), &8.into(), &4.into())
    );
    let finding = &recording["findings"][0];
    assert_eq!((&finding["kind"], &finding["line"]), (&"missing".into(), &3.into()));
    assert_eq!((&finding["from"], &finding["to"]), (&5.into(), &7.into()));
}

#[test]
fn stdin_and_compressed_parts_are_read_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let packed = zstd::encode_all(&messages(0..3)[..], 3).expect("memory");
    std::fs::write(dir.path().join("feed.000001.ndjson.zst"), &packed).expect("written");
    std::fs::write(dir.path().join("feed.000002.ndjson"), messages(3..6)).expect("written");
    std::fs::write(&log, messages(6..9)).expect("written");
    let end = verify(&[], &log).with_code(0);
    assert!(
        end.stdout[0].contains(": 9 messages, ") && end.stdout[0].ends_with(", in 3 files"),
        "{end:#?}"
    );
    // A shell's * names them all, and each counts once; without the second part something is missing.
    let part = dir.path().join("feed.000001.ndjson.zst");
    verify(&[part.to_str().expect("UTF-8")], &log).with_code(0);
    // Parts by themselves are what was named, and no other file.
    let second = dir.path().join("feed.000002.ndjson");
    let end = verify(&[part.to_str().expect("UTF-8")], &second).with_code(0);
    let first_line = format!("{} and {}: 6 messages, ", part.display(), second.display());
    assert!(end.stdout[0].starts_with(&first_line), "{end:#?}");
    std::fs::copy(&second, dir.path().join("feed.000003.ndjson")).expect("room");
    let third = dir.path().join("feed.000003.ndjson");
    let names = [part.to_str().expect("UTF-8"), second.to_str().expect("UTF-8")];
    let end = verify(&names, &third).with_code(3);
    let first_line = format!("{} to {}: 9 messages, ", part.display(), third.display());
    assert!(end.stdout[0].starts_with(&first_line), "{end:#?}");
    std::fs::remove_file(third).expect("there");
    std::fs::remove_file(second).expect("there");
    let end = verify(&[], &log).with_code(3);
    assert!(
        end.stdout[2].starts_with("  feed.ndjson line 1   users   missing   3-5"),
        "{end:#?}"
    );
    let mut shell = std::process::Command::new("sh");
    let command = format!("{} verify - < {}", env!("CARGO_BIN_EXE_lapwing"), part.display());
    let end = crate::program::Program::start(shell.args(["-c", &command]))
        .finish()
        .with_code(0);
    assert!(end.stdout[0].starts_with("stdin: 3 messages"), "{end:#?}");
}

#[test]
fn what_is_no_recording_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("notes.txt");
    let end = verify(&[], &log).with_code(1);
    end.said(&format!(
        "error: cannot read {}: no such file or directory",
        log.display()
    ));
    std::fs::write(&log, "19:00 users 3 [3]\n").expect("written");
    let end = verify(&[], &log).with_code(1);
    end.said("is no recording: no line of it ends in a checksum");
    std::fs::write(&log, "").expect("written");
    let end = verify(&[], &log).with_code(3);
    assert_eq!(
        end.stdout.last().expect("a verdict"),
        "not proven: there is no record in it"
    );
}

#[test]
fn a_damaged_compressed_part_is_named_and_the_others_are_proven() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = recorded(dir.path());
    let lines = std::fs::read_to_string(&log).expect("there");
    let packed = zstd::encode_all(lines.as_bytes(), 3).expect("memory");
    for wrong in [
        &packed[..packed.len() - 20],
        // A frame header that cannot be; what lies behind it may be text that takes any bytes.
        &[&packed[..4], &[0xff; 9], &packed[13..]].concat(),
    ] {
        let part = dir.path().join("other.000001.ndjson.zst");
        std::fs::write(&part, wrong).expect("written");
        std::fs::write(dir.path().join("other.ndjson"), &lines).expect("written");
        let said = verify(&[], &dir.path().join("other.ndjson")).with_code(3);
        let all = said.stdout.join("\n");
        assert!(
            all.contains("damaged") && all.contains("cannot be taken apart from here on"),
            "{all}"
        );
        assert!(all.contains("not proven"), "{all}");
    }
}

pub fn verify(flags: &[&str], log: &Path) -> Finished {
    let log = log.to_str().expect("UTF-8");
    lapwing(&[&["verify"], flags, &[log]].concat()).finish()
}

/// A recording that the program made.
fn recorded(folder: &Path) -> PathBuf {
    let log = folder.join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "6", "--block", "100"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    guest.messages("users", 3..9);
    listener.finish().with_code(0);
    log
}

/// The lines of messages, all of one moment.
fn messages(offsets: std::ops::Range<u64>) -> Vec<u8> {
    let mut lines = Vec::new();
    for offset in offsets {
        let arrival = Arrival {
            topic: &topic("users"),
            offset: Some(Offset::new(offset)),
            epoch: Some(Epoch::from_bits(7)),
            time: None,
            received: Now::default(),
            value: Value::Json("1"),
            bytes: 1,
        };
        LineWriter::default().message(&arrival, &mut lines);
    }
    lines
}
