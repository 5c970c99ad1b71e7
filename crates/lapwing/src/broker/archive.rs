//! Messages that a copy no longer holds in memory, brought from the stream a page at a time.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::header::NATS_SEQUENCE;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapwing_wire::control::GapReason;
use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::copy::Copy;
use super::leader::{self, Stored};
use super::link::Link;
use super::message;
use super::stream::Identity;
use crate::clock::Now;
use crate::log::MESSAGE_BYTES_MAX;
use crate::log::batch::{Batch, NewMessage};
use crate::log::segment::{Entry, Segment};
use crate::log::store::Page;
use crate::source::payloads::Payloads;

/// What lies at `cursor` of a stream that was copied up to `next`.
pub async fn page(copy: &Copy, cursor: Offset, next: Offset) -> io::Result<Page> {
    if cursor >= next {
        return Ok(Page::End);
    }
    let identity = copy.identity();
    let messages = bring(copy, cursor).await?;
    // They were asked for by the stream's name, and another may have it by now.
    let info = copy.spec.look(&copy.link).await.map_err(io::Error::other)?;
    if !info.is_some_and(|info| Identity::of(&info) == identity && info.state.last_sequence >= next.get()) {
        copy.asked.notify_one();
        return Err(io::Error::other("the stream is not what it was"));
    }
    let Some(last) = messages.last() else {
        return Ok(missing(cursor..next));
    };
    let segment = segment(&copy.spec.topic, &messages);
    match segment.entries().first().map(|first| first.offset) {
        Some(first) if first == cursor => Ok(Page::Frames(segment)),
        Some(first) => Ok(missing(cursor..first.min(next))),
        None => Ok(missing(cursor..offset_of(last.sequence).next().min(next))),
    }
}

/// The first messages from `cursor` on.
async fn bring(copy: &Copy, cursor: Offset) -> io::Result<Vec<StreamMessage>> {
    let (link, stream) = (&copy.link, &copy.spec.name);
    let count = copy
        .odd
        .first_from(cursor)
        .map_or(BATCH_MAX as u64, |odd| odd.since(cursor));
    let count = usize::try_from(count).unwrap_or(BATCH_MAX).min(BATCH_MAX);
    let got = match count {
        0 => Ok(Vec::new()),
        _ => get(link, stream, cursor, count).await,
    };
    if let Ok(messages) = &got
        && let Some(first) = messages.first()
        && offset_of(first.sequence) == cursor
    {
        return got;
    }
    // Any replica may have answered, one too that has not caught up; or there is a message that comes in no other way.
    let stored = leader::from(link, stream, sequence_of(cursor))
        .await
        .map_err(io::Error::other)?;
    match (stored, got) {
        (Some(stored), Err(error)) if !stored.is_odd => Err(error),
        (stored, _) => Ok(stored.map(|stored| copy.odd.note(stored)).into_iter().collect()),
    }
}

/// Messages that a page must not hold, as far as they are known: in the midst of others they end the connection.
#[derive(Default)]
pub struct Odd(Mutex<BTreeSet<Offset>>);

impl Odd {
    /// Remembers where such a message is.
    pub fn note(&self, stored: Stored) -> StreamMessage {
        let mut odd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.is_odd {
            odd.insert(offset_of(stored.message.sequence));
        }
        if odd.len() > ODD_MAX {
            // Streams let go of the oldest first.
            odd.pop_first();
        }
        stored.message
    }

    /// The stream is another.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn first_from(&self, offset: Offset) -> Option<Offset> {
        let odd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        odd.range(offset..).next().copied()
    }
}

/// The first messages from an offset on: about a page of them, and at most so many.
async fn get(link: &Link, stream: &str, from: Offset, batch: usize) -> io::Result<Vec<StreamMessage>> {
    let request = json!({"seq": sequence_of(from), "batch": batch, "max_bytes": PAGE_BYTES});
    let deadline = Instant::now() + PAGE_MAX;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer");
    let asked = timeout_at(deadline, ask(link, stream, request.to_string().into())).await;
    let mut answers = asked.map_err(|_| late())?.map_err(io::Error::other)?;
    let mut messages = Vec::new();
    loop {
        let answer = match timeout_at(deadline, answers.next()).await {
            Ok(Some(answer)) => answer,
            // What came before one that cannot be read is as good.
            _ if !messages.is_empty() => break,
            Ok(None) => return Err(io::ErrorKind::NotConnected.into()),
            Err(_) => return Err(late()),
        };
        // A message may have been stored with a status.
        let is_message = answer
            .headers
            .as_ref()
            .is_some_and(|headers| headers.get_last(NATS_SEQUENCE).is_some());
        match answer.status.map(|status| status.as_u16()) {
            _ if is_message => {}
            // The end of what was asked for; or nothing is at the place and behind it.
            Some(204 | 404) => break,
            Some(status) => {
                let why = answer.description.unwrap_or_default();
                return Err(io::Error::other(format!("the broker says {status} {why}")));
            }
            None => {}
        }
        messages.push(StreamMessage::try_from(answer).map_err(io::Error::other)?);
    }
    Ok(messages)
}

async fn ask(link: &Link, stream: &str, request: Bytes) -> Result<Subscriber, async_nats::Error> {
    let inbox = link.client.new_inbox();
    let answers = link.client.subscribe(inbox.clone()).await?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    link.client.publish_with_reply(subject, inbox, request).await?;
    Ok(answers)
}

/// These messages as a segment, with the frames that every other server makes of them. What is longer than a log takes is left out, as
/// where it was copied.
fn segment(topic: &TopicName, messages: &[StreamMessage]) -> std::sync::Arc<Segment> {
    let mut envelope = EnvelopeWriter::new(topic);
    let mut payloads = Payloads::default();
    let mut batch = Batch::default();
    let (mut frames, mut entries) = (Vec::new(), Vec::<Entry>::new());
    for stored in messages {
        payloads.clear();
        message::take(&stored.payload, Some(&stored.headers), &mut payloads);
        let at = Now {
            wall: wall_of(stored.time.unix_timestamp_nanos()),
            mono: 0,
        };
        batch.begin(offset_of(stored.sequence));
        let taken = |new: &NewMessage<'_>| new.payload.len() <= MESSAGE_BYTES_MAX;
        for new in payloads.messages(0..1).into_iter().filter(taken) {
            batch.push(&mut envelope, &NewMessage { at: Some(at), ..new }, at);
        }
        let begin = u32::try_from(frames.len()).expect("a page is far smaller than 4 GiB");
        frames.extend_from_slice(&batch.frames);
        entries.extend(batch.entries.iter().map(|entry| Entry {
            end: begin + entry.end,
            ..*entry
        }));
    }
    let base = entries.first().map_or(Offset::ZERO, |entry| entry.offset);
    Segment::sealed(base, frames, entries)
}

fn missing(offsets: Range<Offset>) -> Page {
    Page::Missing {
        offsets,
        reason: GapReason::Purge,
    }
}

/// The offset of a message with this sequence, of which the first is 1.
#[must_use]
pub fn offset_of(sequence: u64) -> Offset {
    Offset::new(sequence.saturating_sub(1))
}

/// The sequence of the message at this offset.
#[must_use]
pub fn sequence_of(offset: Offset) -> u64 {
    offset.get().saturating_add(1)
}

/// A time that the broker gives.
#[must_use]
pub fn wall_of(nanos: i128) -> WallTime {
    WallTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// As much as is read from files at once.
const PAGE_BYTES: usize = 128 << 10;
/// What JetStream gives at most for one request.
const BATCH_MAX: usize = 1000;
/// 1,024 of them take 30 KiB; each page with another ends the connection.
const ODD_MAX: usize = 1024;
/// A broker that is there answers far sooner.
const PAGE_MAX: Duration = Duration::from_secs(3);
