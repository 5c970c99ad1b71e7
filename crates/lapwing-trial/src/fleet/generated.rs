//! What generators made: one at a time, nothing twice, nothing left out, and the same for everybody.
//!
//! A command that counts stands for a generator: each run of it has a name of its own and begins at 0. Servers take turns to run it, so
//! in the stream runs follow each other and never mix, and what is there of a run has no hole. What a run printed last may be missing: its server
//! was gone before it was stored.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use nats_cluster::Stored;

/// Differences that are listed of one kind; the first tells most.
const LISTED_MAX: usize = 5;

/// What a command prints, and a generator of numbers does not.
#[derive(Deserialize)]
struct Count {
    run: String,
    n: u64,
}

/// What came of the generated topics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Generated {
    /// Messages in the streams.
    pub messages: u64,
    /// How often another run took over from the one before.
    pub turns: u64,
    /// The longest silence between two runs while nothing befell NATS, in seconds.
    pub longest_takeover_seconds: f64,
    /// Copies in files that were compared.
    pub compared: u64,
    /// What differs from what was promised.
    pub differences: Vec<String>,
}

impl Generated {
    fn blame(&mut self, said: String) {
        if self.differences.len() < LISTED_MAX {
            self.differences.push(said);
        }
    }

    /// Looks at runs that follow each other in a stream.
    pub fn look_at_runs(&mut self, topic: &str, messages: &[Stored], is_quiet: impl Fn(Duration, Duration) -> bool) {
        let mut over = HashSet::new();
        let mut now: Option<(Count, Option<Duration>)> = None;
        self.messages += messages.len() as u64;
        for stored in messages {
            let (offset, at) = (stored.sequence - 1, time_of(&stored.time));
            let Ok(count) = serde_json::from_slice::<Count>(&stored.payload) else {
                self.blame(format!("{topic} {offset}: nobody printed this"));
                continue;
            };
            match &now {
                Some((before, _)) if before.run == count.run => {
                    if count.n != before.n + 1 {
                        let (run, before, now) = (&count.run, before.n, count.n);
                        self.blame(format!("{topic} {offset}: run {run} goes from {before} to {now}"));
                    }
                }
                before => {
                    if count.n != 0 && !over.contains(&count.run) && messages[0].sequence == 1 {
                        self.blame(format!("{topic} {offset}: run {} begins with {}", count.run, count.n));
                    }
                    if over.contains(&count.run) {
                        self.blame(format!(
                            "{topic} {offset}: run {} is back after another took over",
                            count.run
                        ));
                    }
                    if let Some((_, from)) = before {
                        self.turns += 1;
                        if let (Some(from), Some(to)) = (from, at)
                            && is_quiet(*from, to)
                        {
                            let silence = to.saturating_sub(*from).as_secs_f64();
                            self.longest_takeover_seconds = self.longest_takeover_seconds.max(silence);
                        }
                    }
                    over.insert(count.run.clone());
                }
            }
            now = Some((count, at));
        }
    }

    /// Looks at values of which none comes twice by chance.
    pub fn look_at_values(&mut self, topic: &str, messages: &[Stored]) {
        let mut seen = HashMap::new();
        self.messages += messages.len() as u64;
        for stored in messages {
            if let Some(before) = seen.insert(&stored.payload, stored.sequence) {
                let (before, offset) = (before - 1, stored.sequence - 1);
                self.blame(format!("{topic} {offset}: this stands at {before}, too"));
            }
        }
    }

    /// Looks whether a listener's file has at each offset what the stream has there.
    pub fn look_at_file(&mut self, path: &Path, topic: &str, messages: &[Stored]) -> std::io::Result<()> {
        #[derive(Deserialize)]
        struct Recorded<'a> {
            #[serde(borrow)]
            topic: &'a str,
            offset: Option<u64>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let Some(first) = messages.first().map(|stored| stored.sequence - 1) else {
            return Ok(());
        };
        let text = std::fs::read(path)?;
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(Recorded {
                topic: own,
                offset: Some(offset),
                data: Some(data),
            }) = serde_json::from_slice(line)
            else {
                continue;
            };
            if own != topic || offset < first {
                continue;
            }
            self.compared += 1;
            let place = messages.binary_search_by_key(&(offset + 1), |stored| stored.sequence);
            let is_same = place.is_ok_and(|place| messages[place].payload == data.get().as_bytes());
            if !is_same {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.blame(format!("{topic} {offset}: {name} has {data}, and the stream does not"));
            }
        }
        Ok(())
    }
}

/// A moment as JetStream writes it (RFC 3339 in UTC), since 1970.
pub fn time_of(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |part: &str| part.parse::<u64>().ok();
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // Days from civil, by Howard Hinnant: years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year / 400, year % 400);
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':').map(number);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Duration::new(
        days * 86_400 + hours * 3600 + minutes * 60 + seconds,
        nanos,
    ))
}

#[cfg(test)]
mod tests {
    use super::{Generated, time_of};
    use nats_cluster::Stored;
    use std::time::Duration;

    fn stored(sequence: u64, payload: &str) -> Stored {
        Stored {
            sequence,
            subject: "t".to_owned(),
            headers: String::new(),
            time: format!("2026-11-22T12:00:{sequence:02}Z"),
            payload: payload.as_bytes().to_vec(),
        }
    }

    fn counted(runs: &[(&str, u64)]) -> Generated {
        let messages: Vec<Stored> = (1..)
            .zip(runs)
            .map(|(sequence, (run, n))| stored(sequence, &format!(r#"{{"run":"{run}","n":{n}}}"#)))
            .collect();
        let mut generated = Generated::default();
        generated.look_at_runs("t", &messages, |_, _| true);
        generated
    }

    #[test]
    fn runs_that_follow_each_other_are_as_promised() {
        let found = counted(&[("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]);
        assert_eq!((found.turns, found.differences.len()), (1, 0), "{found:?}");
        assert!((found.longest_takeover_seconds - 1.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn two_at_once_a_hole_and_a_repetition_are_found() {
        for wrong in [
            &[("a", 0), ("b", 0), ("a", 1)][..],
            &[("a", 0), ("a", 2)],
            &[("a", 0), ("a", 0)],
            &[("a", 1)],
        ] {
            assert_eq!(counted(wrong).differences.len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn a_value_that_comes_twice_is_found() {
        let mut generated = Generated::default();
        generated.look_at_values("t", &[stored(1, "[0.5]"), stored(2, "[0.25]")]);
        assert_eq!(generated.differences.len(), 0);
        generated.look_at_values("t", &[stored(1, "[0.5]"), stored(2, "[0.5]")]);
        assert_eq!(generated.differences.len(), 1);
    }

    #[test]
    fn a_file_that_has_other_bytes_than_the_stream_is_found() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("listen-0.ndjson");
        let messages = [stored(1, "[0.5]"), stored(2, "[0.25]")];
        let look = |text: &str| {
            std::fs::write(&path, text).expect("room");
            let mut generated = Generated::default();
            generated.look_at_file(&path, "t", &messages).expect("it is there");
            (generated.compared, generated.differences.len())
        };
        let same = r#"{"topic":"t","offset":1,"time":"x","data":[0.25],"epoch":"e"}"#;
        assert_eq!(look(same), (1, 0));
        assert_eq!(look(&same.replace("0.25", "0.250")), (1, 1));
        assert_eq!(look(&same.replace(r#""t""#, r#""other""#)), (0, 0));
    }

    #[test]
    fn times_of_jetstream_are_read() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T12:30:15.5Z", 951_827_415, 500_000_000),
            ("2026-11-22T12:00:00.123456789Z", 1_795_348_800, 123_456_789),
        ] {
            assert_eq!(time_of(text), Some(Duration::new(seconds, nanos)), "{text}");
        }
        assert_eq!(time_of("yesterday"), None);
    }
}
