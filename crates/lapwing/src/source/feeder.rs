//! Lines on their way into a log: cut, checked, held to a pace, appended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::envelope::Kind;
use tokio::time::{Instant, sleep_until};

use super::SourceEvents;
use super::line::{Line, LineCutter, message_of};
use super::pacer::{Pace, Pacer};
use super::refused::Refused;
use crate::clock::Now;
use crate::log::{Log, MESSAGE_BYTES_MAX, NewMessage};

/// Takes bytes of a feed as they come and appends its lines. A line that cannot be taken is told with its number and reason,
/// and the feed goes on.
pub struct Feeder {
    log: Arc<Log>,
    cutter: LineCutter,
    pace: Option<(Pace, Pacer)>,
    origin: Instant,
    waiting: VecDeque<(Kind, Vec<u8>)>,
    refused: Refused,
    lines: u64,
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
            refused: Refused::new(events),
            lines: 0,
        }
    }

    /// Takes more bytes; returns when the lines that end in them are appended, so a paced feed holds back its reader.
    pub async fn feed(&mut self, bytes: &[u8]) {
        let Self {
            cutter,
            waiting,
            refused,
            lines,
            ..
        } = self;
        cutter.feed(bytes, |line| {
            *lines += 1;
            take(line, waiting, refused);
        });
        self.append().await;
    }

    /// The feed is over, or another begins: a last line without an end counts. Gives how many lines there were.
    pub async fn finish(&mut self) -> u64 {
        let Self {
            cutter,
            waiting,
            refused,
            lines,
            ..
        } = self;
        cutter.finish(|line| {
            *lines += 1;
            take(line, waiting, refused);
        });
        self.append().await;
        self.cutter = LineCutter::new(MESSAGE_BYTES_MAX);
        self.refused.finish();
        std::mem::take(&mut self.lines)
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

fn take(line: Line<'_>, waiting: &mut VecDeque<(Kind, Vec<u8>)>, refused: &mut Refused) {
    match line.bytes.and_then(message_of) {
        Ok((kind, payload)) => waiting.push_back((kind, payload.into_owned())),
        Err(error) => refused.tell(Now::read(), || format!("line {} is left out: {error}", line.number)),
    }
}
