//! Messages that a copy no longer holds in memory, brought from the stream a page at a time.

use std::io;
use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapwing_wire::control::GapReason;
use lapwing_wire::envelope::EnvelopeWriter;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use serde::Serialize;

use super::link::Link;
use super::message;
use super::stream::StreamSpec;
use crate::clock::Now;
use crate::log::batch::{Batch, NewMessage};
use crate::log::segment::{Entry, Segment};
use crate::log::store::Page;
use crate::source::payloads::Payloads;

/// What lies at `cursor` of a stream that was copied up to `next`.
pub async fn page(link: &Link, stream: &StreamSpec, cursor: Offset, next: Offset) -> io::Result<Page> {
    if cursor >= next {
        return Ok(Page::End);
    }
    let messages = get(link, &stream.name, Place::At(cursor), BATCH_MAX).await?;
    if messages
        .first()
        .is_some_and(|first| offset_of(first.sequence) == cursor)
    {
        return Ok(Page::Frames(segment(&stream.topic, &messages)));
    }
    // Any replica may have answered, one too that has not caught up: what is not there is for the leader to say.
    match first_of_leader(link, stream, cursor).await? {
        Some(first) if first <= cursor => Err(io::Error::other("a replica of the stream has not caught up")),
        Some(first) => Ok(missing(cursor..first.min(next))),
        None => Ok(missing(cursor..next)),
    }
}

/// The first offset from `cursor` on at which there is a message.
async fn first_of_leader(link: &Link, stream: &StreamSpec, cursor: Offset) -> io::Result<Option<Offset>> {
    let found = async {
        let handle = link
            .context
            .get_stream_no_info(&stream.name)
            .await
            .map_err(io::Error::other)?;
        let asked = handle.get_first_raw_message_by_subject(&stream.subject, sequence_of(cursor));
        match asked.await {
            Ok(message) => Ok(Some(offset_of(message.sequence))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    };
    found.await
}

/// Where messages are asked for.
pub enum Place {
    /// From this offset on.
    At(Offset),
    /// From this time on, as RFC 3339 has it.
    Since(String),
}

/// The first messages from a place on: about a page of them, and at most so many.
pub async fn get(link: &Link, stream: &str, place: Place, batch: usize) -> io::Result<Vec<StreamMessage>> {
    #[derive(Serialize)]
    struct Request {
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        start_time: Option<String>,
        batch: usize,
        max_bytes: usize,
    }
    let (seq, start_time) = match place {
        Place::At(offset) => (Some(sequence_of(offset)), None),
        Place::Since(time) => (None, Some(time)),
    };
    let request = Request {
        seq,
        start_time,
        batch,
        max_bytes: PAGE_BYTES,
    };
    let request = Bytes::from(serde_json::to_vec(&request).expect("numbers and times have a form in JSON"));
    let asked = ask(link, stream, request);
    match tokio::time::timeout(PAGE_MAX, asked).await {
        Ok(messages) => messages,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer")),
    }
}

async fn ask(link: &Link, stream: &str, request: Bytes) -> io::Result<Vec<StreamMessage>> {
    let inbox = link.client.new_inbox();
    let mut answers = link.client.subscribe(inbox.clone()).await.map_err(io::Error::other)?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let asked = link.client.publish_with_reply(subject, inbox, request).await;
    asked.map_err(io::Error::other)?;
    let mut messages = Vec::new();
    loop {
        let Some(answer) = answers.next().await else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match answer.status.map(|status| status.as_u16()) {
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

/// These messages as a segment, with the frames that every other server makes of them.
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
        for new in payloads.messages(0..1) {
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
/// A broker that is there answers far sooner.
const PAGE_MAX: Duration = Duration::from_secs(3);
