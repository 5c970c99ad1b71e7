//! Lines on their way into a log: cut, checked, held to a pace, appended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::envelope::Kind;
use tokio::time::{Instant, sleep_until};

use super::SourceEvents;
use super::line::{LineCutter, LineError, message_of};
use super::pacer::{Pace, Pacer};
use crate::clock::Now;
use crate::log::{Log, MESSAGE_BYTES_MAX, NewMessage};
use crate::terminal::form;

/// Takes bytes of a feed as they come and appends its lines. A line that cannot be taken is told with its number and reason,
/// and the feed goes on.
pub struct Feeder {
    log: Arc<Log>,
    cutter: LineCutter,
    pace: Option<(Pace, Pacer)>,
    origin: Instant,
    waiting: VecDeque<(Kind, Vec<u8>)>,
    refused: Refused,
}

impl Feeder {
    /// A feeder into `log`, as fast as lines come or at a pace.
    #[must_use]
    pub fn new(log: Arc<Log>, pace: Option<Pace>, events: Arc<dyn SourceEvents>) -> Self {
        Self {
            log,
            cutter: LineCutter::new(MESSAGE_BYTES_MAX),
            pace: pace.map(|pace| (pace, Pacer::new(pace, Duration::ZERO))),
            origin: Instant::now(),
            waiting: VecDeque::new(),
            refused: Refused {
                events,
                told: 0,
                second: 0,
                more: 0,
                lines: 0,
            },
        }
    }

    /// Takes more bytes; returns when the lines that end in them are appended, so a paced feed holds back its reader.
    pub async fn feed(&mut self, bytes: &[u8]) {
        let Self {
            cutter,
            waiting,
            refused,
            ..
        } = self;
        cutter.feed(bytes, |line| take(line.number, line.bytes, waiting, refused));
        self.append().await;
    }

    /// The feed is over, or another begins: a last line without an end counts. Gives how many lines there were.
    pub async fn finish(&mut self) -> u64 {
        let Self {
            cutter,
            waiting,
            refused,
            ..
        } = self;
        cutter.finish(|line| take(line.number, line.bytes, waiting, refused));
        self.append().await;
        self.cutter = LineCutter::new(MESSAGE_BYTES_MAX);
        self.refused.finish();
        std::mem::take(&mut self.refused.lines)
    }

    async fn append(&mut self) {
        let Some((pace, pacer)) = &mut self.pace else {
            append_first(&self.log, &mut self.waiting, u64::MAX);
            return;
        };
        if pacer.next_at() < self.origin.elapsed() {
            // Time without lines is not made up for.
            *pacer = Pacer::new(*pace, self.origin.elapsed());
        }
        while !self.waiting.is_empty() {
            let due = pacer.due(self.origin.elapsed());
            append_first(&self.log, &mut self.waiting, due);
            if !self.waiting.is_empty() {
                sleep_until(self.origin + pacer.next_at()).await;
            }
        }
    }
}

fn append_first(log: &Log, waiting: &mut VecDeque<(Kind, Vec<u8>)>, count: u64) {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(waiting.len());
    let batch: Vec<_> = waiting.drain(..count).collect();
    let messages: Vec<_> = batch
        .iter()
        .map(|(kind, payload)| NewMessage::new(*kind, payload))
        .collect();
    if !messages.is_empty() {
        // An ended log takes no more, and its source is being dropped.
        let _ = log.append(&messages, Now::read());
    }
}

fn take(number: u64, bytes: Result<&[u8], LineError>, waiting: &mut VecDeque<(Kind, Vec<u8>)>, refused: &mut Refused) {
    refused.lines += 1;
    match bytes.and_then(message_of) {
        Ok((kind, payload)) => waiting.push_back((kind, payload.into_owned())),
        Err(error) => refused.tell(number, error),
    }
}

/// Tells lines that were refused, but not thousands a second.
struct Refused {
    events: Arc<dyn SourceEvents>,
    told: u32,
    second: u64,
    more: u64,
    lines: u64,
}

impl Refused {
    fn tell(&mut self, number: u64, error: LineError) {
        let second = Now::read().mono / 1_000_000_000;
        if second != self.second {
            self.finish();
            self.second = second;
        }
        if self.told == TOLD_PER_SECOND {
            self.more += 1;
            return;
        }
        self.told += 1;
        self.events.tell(format!("line {number} is left out: {error}"));
    }

    fn finish(&mut self) {
        self.told = 0;
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            self.events.tell(format!(
                "{} more left out for such reasons",
                form::counted(more, "line")
            ));
        }
    }
}

const TOLD_PER_SECOND: u32 = 10;
