//! A file that cannot be written: full, too long, moved away, gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::feed::{Feed, Guest};
use crate::foreign::recorded;
use crate::program::{DEADLINE, Program, record, skip};
use crate::verify::verify;

#[test]
fn f9_a_full_disk_pauses_the_feed_and_nothing_is_lost_when_room_returns() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(_disk) = Disk::small(dir.path()) else {
        return skip(
            "f9_a_full_disk_pauses_the_feed_and_nothing_is_lost_when_room_returns",
            "a small tmpfs cannot be mounted",
        );
    };
    let log = dir.path().join("feed.ndjson");
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![0; 900 << 10]).expect("room");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--quiet", "--count", "1500"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..1500);
    listener.says("feed.ndjson: disk full after ");
    let held = std::fs::metadata(&log).expect("there").len();
    std::fs::remove_file(&ballast).expect("there");
    listener.says("feed.ndjson: written again after ");
    let end = listener.finish().with_code(0);
    end.said("reading is paused");
    end.said("hint: free some space and it goes on by itself");
    assert!(held > 0 && recorded(&log).len() == 1500);
    verify(&[], &log).with_code(0);
}

#[test]
fn f9_a_full_disk_ends_it_where_that_is_wanted_and_the_file_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(_disk) = Disk::small(dir.path()) else {
        return skip(
            "f9_a_full_disk_ends_it_where_that_is_wanted_and_the_file_is_whole",
            "a small tmpfs cannot be mounted",
        );
    };
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--quiet", "--on-log-error", "exit"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..6000);
    let end = listener.finish().with_code(1);
    let messages = recorded(&log).len();
    assert!(messages > 100, "{messages}");
    let said = format!("disk full after {} messages", grouped(messages));
    end.said(&said);
    end.said(&in_the_file(messages));
    verify(&[], &log).with_code(0);
}

#[test]
fn f12_a_file_system_that_turns_read_only_pauses_the_feed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    // The second to the fourth write of the file fail.
    let fault = ["-e", "trace=write", "-e", "inject=write:error=EROFS:when=2..4"];
    let Some((listener, mut guest, _feed)) = with_fault(&log, &fault, &["--count", "6"]) else {
        return skip(
            "f12_a_file_system_that_turns_read_only_pauses_the_feed",
            "strace is not there",
        );
    };
    guest.messages("users", 0..3);
    listener.says("feed.ndjson: the file system is read-only now after ");
    guest.messages("users", 3..6);
    listener.says("feed.ndjson: written again after ");
    listener.finish().with_code(0);
    assert_eq!(recorded(&log).len(), 6);
    verify(&[], &log).with_code(0);
}

#[test]
fn f10_a_sync_that_fails_is_final() {
    for sync in ["each", "interval"] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("feed.ndjson");
        // The first is that of the start record.
        let fault = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2+"];
        let Some((listener, mut guest, _feed)) = with_fault(&log, &fault, &["--sync", sync]) else {
            return skip("f10_a_sync_that_fails_is_final", "strace is not there");
        };
        guest.messages("users", 0..3);
        let end = listener.finish().with_code(1);
        end.said("feed.ndjson: the disk did not keep what was written: input/output error");
    }
}

#[test]
fn f13_a_file_that_may_not_be_longer_pauses_or_ends_the_feed() {
    let dir = tempfile::tempdir().expect("a directory");
    let feed = Feed::bind();
    let limited = |name: &str, more: &str| {
        let mut shell = Command::new("sh");
        let (program, url, log) = (env!("CARGO_BIN_EXE_lapwing"), feed.url(), dir.path().join(name));
        let command = format!(
            "ulimit -f 64; exec {program} listen {url} --quiet --log {} {more}",
            log.display()
        );
        let listener = Program::start(shell.args(["-c", &command]));
        let mut guest = feed.accept_lapwing();
        guest.welcome_and_grant(7, &[("users", 0)]);
        guest.messages("users", 0..600);
        (listener, guest, log)
    };
    let (listener, _guest, log) = limited("ends.ndjson", "--on-log-error exit");
    listener.finish().with_code(1).said("the file may not be longer after ");
    verify(&[], &log).with_code(0);
    let (listener, _guest, log) = limited("waits.ndjson", "");
    listener.says("the file may not be longer after ");
    listener.signal(rustix::process::Signal::INT);
    let end = listener.finish().with_code(1);
    // What came is not what is there.
    end.said(&in_the_file(recorded(&log).len()));
    verify(&[], &log).with_code(0);
    let (listener, _guest, log) = limited("for-people.txt", "--on-log-error exit");
    let end = listener.finish().with_code(1);
    let lines = std::fs::read_to_string(&log).expect("there");
    end.said(&in_the_file(lines.matches("]\n").count()));
    // Files that stay below the limit.
    let (listener, _guest, log) = limited("rotates.ndjson", "--rotate 20KB --count 600");
    listener.finish().with_code(0);
    let end = verify(&[], &log).with_code(0);
    assert!(end.stdout[0].contains(": 600 messages, "), "{end:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn f19_a_rotation_waits_for_descriptors() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--quiet", "--count", "600", "--rotate", "20KB"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    guest.messages("users", 0..3);
    wait_for(|| log.exists() && recorded(&log).len() == 3);
    let process = Pid::from_raw(i32::try_from(listener.id()).expect("small"));
    let limit = |current| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        prlimit(process, Resource::Nofile, Rlimit { current, maximum }).expect("ours");
    };
    // No new descriptor has a number below this.
    limit(Some(3));
    guest.messages("users", 3..600);
    listener.says("feed.ndjson: too many open files after ");
    limit(getrlimit(Resource::Nofile).current);
    listener.says("feed.ndjson: written again after ");
    let end = listener.finish().with_code(0);
    end.said("hint: raise the limit of open files and it goes on by itself");
    let end = verify(&[], &log).with_code(0);
    assert!(end.stdout[0].contains(": 600 messages, "), "{end:#?}");
}

#[test]
fn f14_a_file_that_was_moved_away_is_gone_on_with_in_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let (listener, mut guest) = recording(&feed, &log);
    guest.messages("users", 0..3);
    wait_for(|| log.exists() && recorded(&log).len() == 3);
    let moved = dir.path().join("moved.ndjson");
    std::fs::rename(&log, &moved).expect("there");
    listener.says("was moved away or deleted while it was written; it goes on in a new file of that name");
    guest.messages("users", 3..6);
    listener.finish().with_code(0);
    assert_eq!((recorded(&moved).len(), recorded(&log).len()), (3, 3));
    verify(&[], &moved).with_code(0);
    verify(&[], &log).with_code(0);
}

#[test]
fn f14_a_folder_that_is_gone_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("logs");
    std::fs::create_dir(&folder).expect("made");
    let log = folder.join("feed.ndjson");
    let feed = Feed::bind();
    let (listener, mut guest) = recording(&feed, &log);
    guest.messages("users", 0..3);
    wait_for(|| log.exists() && recorded(&log).len() == 3);
    std::fs::remove_dir_all(&folder).expect("there");
    listener.says("its folder is gone after ");
    guest.messages("users", 3..6);
    std::fs::create_dir(&folder).expect("made");
    listener.says("written again after ");
    listener.finish().with_code(0);
    assert_eq!(recorded(&log).len(), 3);
    verify(&[], &log).with_code(0);
}

#[test]
fn f14_another_file_in_its_place_is_not_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let (listener, mut guest) = recording(&feed, &log);
    guest.messages("users", 0..3);
    wait_for(|| log.exists() && recorded(&log).len() == 3);
    let other = dir.path().join("other");
    std::fs::write(&other, "mine\n").expect("written");
    std::fs::rename(&other, &log).expect("there");
    listener
        .finish()
        .with_code(1)
        .said("was moved away while it was written, and another file is there now");
    assert_eq!(std::fs::read_to_string(&log).expect("there"), "mine\n");
}

#[test]
fn f17_the_second_listener_on_a_file_is_told_who_writes_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let (listener, mut guest) = recording(&feed, &log);
    guest.message("users", 0);
    wait_for(|| log.exists() && recorded(&log).len() == 1);
    let before = std::fs::read(&log).expect("there");
    let end = record(&feed.url(), &log, &[]).finish().with_code(1);
    if cfg!(target_os = "linux") {
        end.said(&format!(
            "is being written by another listener (process {})",
            listener.id()
        ));
    }
    assert_eq!(std::fs::read(&log).expect("there"), before);
}

/// A listener that records six messages, and its server's side.
fn recording(feed: &Feed, log: &Path) -> (Program, Guest) {
    let listener = record(&feed.url(), log, &["--quiet", "--count", "6"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    (listener, guest)
}

/// A listener of which calls on the file fail as strace is told, and its server's side.
fn with_fault(log: &Path, fault: &[&str], more: &[&str]) -> Option<(Program, Guest, Feed)> {
    let there = Command::new("strace")
        .arg("-V")
        .stdout(std::process::Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        return None;
    }
    let feed = Feed::bind();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-P", text(log)]).args(fault);
    strace
        .args([
            env!("CARGO_BIN_EXE_lapwing"),
            "listen",
            &feed.url(),
            "--quiet",
            "--log",
            text(log),
        ])
        .args(more);
    let listener = Program::start(&mut strace);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 0)]);
    Some((listener, guest, feed))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What the summary says of a file that could not be written to its end.
fn in_the_file(messages: usize) -> String {
    format!("in the file: {} messages; the ", grouped(messages))
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    match digits.len() {
        4 => format!("{},{}", &digits[..1], &digits[1..]),
        _ => digits,
    }
}

#[track_caller]
fn wait_for(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "it did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file system of 1 MiB, for as long as it is held.
struct Disk(PathBuf);

impl Disk {
    fn small(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "lapwing-test"])
            .arg(at)
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
