//! A wall clock that is set while a listener records.

use std::path::{Path, PathBuf};
use std::process::Command;

use lapwing::recording::note::Note;
use lapwing::recording::reader::{Reader, Record};

use crate::feed::Feed;
use crate::program::{Program, skip};
use crate::verify::verify;

#[test]
fn g1_a_clock_that_is_set_is_recorded_and_changes_no_block_time() {
    let name = "g1_a_clock_that_is_set_is_recorded_and_changes_no_block_time";
    let Some(library) = faketime() else {
        return skip(name, "libfaketime is not there");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (log, clock) = (dir.path().join("feed.ndjson"), dir.path().join("clock"));
    set(&clock, "+0");
    let feed = Feed::bind();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command
        .args(["listen", &feed.url(), "--block", "2", "--count", "6", "--log"])
        .arg(&log)
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let listener = Program::start(&mut command);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..2);
    listener.shows("[1]");
    set(&clock, "-3600");
    listener.says("the clock of this machine was set back by 1 h 00 m");
    guest.messages("users", 2..4);
    listener.shows("[3]");
    set(&clock, "+3600");
    listener.says("the clock of this machine was set forward by 2 h 00 m");
    guest.messages("users", 4..6);
    listener.finish().with_code(0);
    let (mut steps, mut blocks) = (Vec::new(), Vec::new());
    for entry in Reader::open(&log).expect("there") {
        match entry.expect("readable").record {
            Record::Note(stamped) => match stamped.note {
                Note::ClockStep { ms } => steps.push((ms / 1000.0).round()),
                Note::Block(block) => blocks.extend(block.elapsed_ms),
                _ => {}
            },
            Record::Message(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(steps, [-3600.0, 7200.0]);
    assert_eq!(blocks.len(), 2);
    assert!(blocks.iter().all(|ms| (0.0..600_000.0).contains(ms)), "{blocks:?}");
    verify(&[], &log).with_code(0);
}

/// Sets the clock of the process by so many seconds; it never reads half of that.
fn set(clock: &Path, by: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, by).expect("written");
    std::fs::rename(new, clock).expect("there");
}

fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.exists())
}
