//! A recorded log played again, with the timing with which it was received.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::escape::escaped;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::inlet::Inlet;
use super::refused::Refused;
use super::spec::Speed;
use super::{Ended, SourceEvents};
use crate::clock::Now;
use crate::log::AppendError;
use crate::log::batch::NewMessage;
use crate::reason::reason;
use crate::recording::note::Note;
use crate::recording::parts;
use crate::recording::reader::{Entry, Reader, Record, RecordedMessage};
use crate::terminal::form;

/// Plays the whole recording once: what was rotated away from `path` first, compressed or not.
pub async fn run(
    path: &Path,
    speed: Speed,
    only: Option<&TopicName>,
    mut inlet: Inlet,
    events: Arc<dyn SourceEvents>,
) -> Ended {
    let name = escaped(&path.display().to_string());
    let mut read = read_ahead(path.to_owned());
    let mut refused = Refused::new(events.clone());
    let mut unplayed = Unplayed::default();
    let mut left_out = |unplayed: &mut Unplayed, part: &str, line: u64, why: &dyn std::fmt::Display| {
        unplayed.lines += 1;
        refused.tell(Now::read(), || format!("{part} line {line} is left out: {why}"));
    };
    let mut played = 0;
    let mut topics = Vec::new();
    let mut schedule = Schedule::new(speed);
    let mut begin = Instant::now();
    while let Some((part, read)) = read.recv().await {
        let Entry { line, record, .. } = match read {
            Ok(entry) => entry,
            Err(Broken { line, error }) => {
                unplayed.on_broken(&part, line);
                events.tell(format!("{part} cannot be read: {}", reason(&error)));
                continue;
            }
        };
        match record {
            Record::Message(message) if only.is_some_and(|only| *only != message.topic) => {}
            Record::Message(message) => {
                if !topics.contains(&message.topic) {
                    topics.push(message.topic.clone());
                    if topics.len() == 2 {
                        events.tell(format!(
                            "{name} holds several topics; all are played into this one (only={} plays one)",
                            topics[0]
                        ));
                    }
                }
                if let Some(due) = schedule.due(&message) {
                    sleep_until(begin + due).await;
                }
                let new = NewMessage::new(message.kind, &message.payload);
                match inlet.append(&[new]).await {
                    Ok(held) => {
                        // The timing goes on from where it was held back.
                        begin += held;
                        played += 1;
                    }
                    Err(AppendError::Ended) => return Ended::OfItself,
                    Err(error) => left_out(&mut unplayed, &part, line, &error),
                }
            }
            Record::Note(stamped) => {
                if let Note::Start(start) = stamped.note {
                    schedule.on_start(start.boot);
                }
            }
            Record::Unknown { why } => left_out(&mut unplayed, &part, line, &escaped(&why)),
            Record::Damaged(damage) => left_out(&mut unplayed, &part, line, &damage),
            Record::Torn { bytes } => {
                unplayed.lines += 1;
                let bytes = form::bytes(bytes);
                events.tell(format!("{part} line {line} is torn after {bytes}, left out"));
            }
        }
    }
    refused.finish();
    let played = form::counted(played, "message");
    events.tell(format!("{name} was played: {played}{}", unplayed.told()));
    Ended::OfItself
}

/// What of a recording is not played.
#[derive(Default)]
struct Unplayed {
    lines: u64,
    /// The first files that could not be read to their end.
    broken: Vec<String>,
    more: u64,
}

impl Unplayed {
    fn on_broken(&mut self, part: &str, line: u64) {
        if self.broken.len() == BROKEN_TOLD {
            self.more += 1;
            return;
        }
        self.broken.push(match line {
            1 => format!("all of {part}"),
            line => format!("{part} from line {} on", form::count(line)),
        });
    }

    /// What the last sentence says of it.
    fn told(mut self) -> String {
        if self.lines > 0 {
            self.broken.insert(0, form::counted(self.lines, "line"));
        }
        if self.more > 0 {
            self.broken.push(form::counted(self.more, "more file"));
        }
        match self.broken.is_empty() {
            true => String::new(),
            false => format!("; not played: {}", self.broken.join(", ")),
        }
    }
}

/// A file that cannot be read from `line` on.
struct Broken {
    line: u64,
    error: io::Error,
}

/// A thread reads ahead, since files know no waiting; it ends with the receiver, or behind the last file.
///
/// Each entry comes with the name of its file, escaped. A file that breaks off is left for the next one.
fn read_ahead(path: PathBuf) -> mpsc::Receiver<(Arc<str>, Result<Entry, Broken>)> {
    let (entries, received) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        for part in parts::all(&path) {
            let name: Arc<str> = escaped(&part.display().to_string()).into();
            if !read_part(&part, |entry| entries.blocking_send((name.clone(), entry)).is_ok()) {
                return;
            }
        }
    });
    received
}

/// Reads a file up to where it ends or breaks off; false when nobody takes more.
fn read_part(part: &Path, mut give: impl FnMut(Result<Entry, Broken>) -> bool) -> bool {
    let mut line = 1;
    let reader = match Reader::open(part) {
        Ok(reader) => reader,
        Err(error) => return give(Err(Broken { line, error })),
    };
    for entry in reader {
        match entry {
            Err(error) => return give(Err(Broken { line, error })),
            Ok(entry) => {
                line = entry.line + 1;
                if !give(Ok(entry)) {
                    return false;
                }
            }
        }
    }
    true
}

/// When each message is due, from the first. Pure: it is given what was recorded.
struct Schedule {
    speed: Speed,
    due: Duration,
    before: Option<(WallTime, u64)>,
    boot: Option<String>,
    /// The machine was started anew since the message before: its monotonic clock began anew.
    anew: bool,
}

impl Schedule {
    fn new(speed: Speed) -> Self {
        Self {
            speed,
            due: Duration::ZERO,
            before: None,
            boot: None,
            anew: false,
        }
    }

    /// A run begins, or a file of it.
    fn on_start(&mut self, boot: Option<String>) {
        self.anew |= boot.is_none() || boot != self.boot;
        self.boot = boot;
    }

    /// Time passes as it did for the receiver: by its monotonic clock, or by the wall's when that one began anew between.
    fn due(&mut self, message: &RecordedMessage) -> Option<Duration> {
        let Speed::Times(times) = self.speed else { return None };
        let now = (message.received, message.mono_ns);
        let anew = std::mem::take(&mut self.anew);
        if let Some((wall, mono)) = self.before.replace(now) {
            let by_wall = u64::try_from(message.received.nanos().saturating_sub(wall.nanos())).unwrap_or(0);
            let by_mono = message.mono_ns.checked_sub(mono).filter(|_| !anew);
            let passed = by_mono.unwrap_or(by_wall);
            self.due += Duration::from_nanos(passed).div_f64(times);
        }
        Some(self.due)
    }
}

/// As many files as fit a line.
const BROKEN_TOLD: usize = 3;

/// Messages read before they are due.
const READ_AHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_wire::envelope::Kind;

    fn message(wall_ms: i64, mono_ms: u64) -> RecordedMessage {
        RecordedMessage {
            topic: TopicName::parse("t").expect("valid"),
            offset: None,
            epoch: None,
            time: None,
            received: WallTime::from_nanos(wall_ms * 1_000_000),
            mono_ns: mono_ms * 1_000_000,
            kind: Kind::Json,
            payload: Vec::new(),
        }
    }

    #[track_caller]
    fn check(times: f64, recorded: &[(i64, u64)], due_ms: &[u64]) {
        let mut schedule = Schedule::new(Speed::Times(times));
        let due: Vec<_> = recorded
            .iter()
            .filter_map(|(wall, mono)| schedule.due(&message(*wall, *mono)))
            .collect();
        assert_eq!(
            due,
            due_ms.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_recorded_timing_is_kept_or_sped_up() {
        check(1.0, &[(1000, 50), (2000, 1050), (2500, 1550)], &[0, 1000, 1500]);
        check(10.0, &[(1000, 50), (2000, 1050), (2500, 1550)], &[0, 100, 150]);
        check(0.5, &[(1000, 50), (2000, 1050)], &[0, 2000]);
    }

    #[test]
    fn a_wall_clock_that_stepped_does_not_matter_but_a_new_process_does() {
        check(1.0, &[(5000, 50), (1000, 1050)], &[0, 1000]);
        check(1.0, &[(1000, 9000), (3000, 10)], &[0, 2000]);
        check(1.0, &[(3000, 9000), (1000, 10)], &[0, 0]);
    }

    #[test]
    fn after_another_boot_only_the_wall_clock_compares() {
        let mut schedule = Schedule::new(Speed::Times(1.0));
        let mut due = |boot: &str, wall, mono| {
            schedule.on_start(Some(boot.to_owned()));
            schedule.due(&message(wall, mono)).expect("timed").as_millis()
        };
        assert_eq!(due("a", 1000, 50), 0);
        assert_eq!(due("a", 1500, 450), 400);
        assert_eq!(due("b", 2500, 900_000), 1400);
        assert_eq!(due("b", 2500, 900_100), 1500);
    }
}
