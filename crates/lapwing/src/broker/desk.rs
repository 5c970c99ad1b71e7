//! Publishing into a stream: one message, or several that are there all or none, and what became of them.

use std::ops::Range;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID, NATS_ROLLUP};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use lapwing_wire::position::Offset;

use super::archive::offset_of;
use super::link::Link;
use super::message::{self, MessageId, PublishKey};
use crate::log::AppendError;
use crate::log::origin::{Outbound, Taken};

/// What became of messages on their way.
#[derive(Debug)]
pub enum Fate {
    /// The stream has them.
    Taken(Taken),
    /// It has them under these names already; from which offset on is not said.
    There,
    /// They are on their way into it under these names already, and may yet be lost there.
    Underway,
    /// Others came before, so none was taken.
    Overtaken,
    /// None was taken.
    Refused(AppendError),
    /// It is not known.
    Unknown(String),
}

/// Publishes messages, and waits for what becomes of them, but not for ever. With `last` they are taken only behind the message with that sequence; with a key only once.
pub async fn publish(
    link: &Link,
    subject: &str,
    key: Option<PublishKey>,
    last: Option<u64>,
    messages: &[Outbound],
) -> Fate {
    let published = send(link, subject, key, last, messages);
    match tokio::time::timeout(PUBLISH_MAX, published).await {
        Ok(fate) => fate,
        Err(_) => Fate::Unknown(format!("no answer within {} s", PUBLISH_MAX.as_secs())),
    }
}

/// The offsets of so many messages that were published at once under this name, as long as JetStream knows it. What asks is a message
/// that cannot be stored, as it replaces others in a way that does not exist: whether its id is known is looked at before that, with one
/// replica and with several.
pub async fn find(link: &Link, subject: &str, publish: PublishKey, count: usize) -> Option<Range<Offset>> {
    let of = u32::try_from(count).ok()?;
    let at = of.checked_sub(1)?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, MessageId { publish, at, of }.to_string());
    headers.insert(NATS_ROLLUP, "none");
    let question = PublishMessage::build().headers(headers);
    let sent = link.context.send_publish(subject.to_owned(), question).await.ok()?;
    let told = sent.await.ok().filter(|told| told.duplicate)?;
    Some(offsets(told.sequence, count))
}

async fn send(link: &Link, subject: &str, key: Option<PublishKey>, last: Option<u64>, messages: &[Outbound]) -> Fate {
    let of = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let name = |at: usize| {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        key.map(|publish| MessageId { publish, at, of })
    };
    let Some((commit, before)) = messages.split_last() else {
        return Fate::Refused(AppendError::Refused {
            why: "nothing is to be published".to_owned(),
        });
    };
    let batch = (!before.is_empty()).then(|| {
        format!(
            "{:032x}",
            u128::from(crate::random::word()) << 64 | u128::from(crate::random::word())
        )
    });
    let headers = |at: usize, message: &Outbound| {
        let mut headers = message::headers(message);
        if let Some(batch) = &batch {
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
            if at + 1 == messages.len() {
                headers.insert("Nats-Batch-Commit", "1");
            }
        }
        if let Some(last) = last.filter(|_| at == 0) {
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        }
        if let Some(name) = name(at) {
            headers.insert(NATS_MESSAGE_ID, name.to_string());
        }
        headers
    };
    for (at, message) in before.iter().enumerate() {
        let (headers, payload) = (headers(at, message), message.payload.clone());
        let sent = link
            .client
            .publish_with_headers(subject.to_owned(), headers, payload)
            .await;
        if let Err(why) = sent {
            // What was sent of it is thrown away: the batch is never committed.
            return Fate::Refused(AppendError::Refused { why: why.to_string() });
        }
    }
    let commit = PublishMessage::build()
        .payload(commit.payload.clone())
        .headers(headers(before.len(), commit));
    let sent = link.context.send_publish(subject.to_owned(), commit).await;
    let acknowledged = match sent {
        Ok(acknowledgement) => acknowledgement.await,
        Err(error) => Err(error),
    };
    match acknowledged {
        Ok(PublishAck {
            sequence, duplicate, ..
        }) => Fate::Taken(Taken {
            offsets: offsets(sequence, messages.len()),
            repeated: duplicate,
        }),
        Err(error) => fate(&error),
    }
}

fn fate(error: &PublishError) -> Fate {
    match error.kind() {
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => Fate::Overtaken,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::StreamNotFound => {
            Fate::Unknown(error.to_string())
        }
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::MaxAckPending => {
            Fate::Refused(AppendError::Refused { why: error.to_string() })
        }
        PublishErrorKind::Other => match code(error) {
            Some(ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE) => Fate::There,
            Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT) => Fate::Underway,
            Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) => Fate::Overtaken,
            Some(ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH) | None => Fate::Unknown(error.to_string()),
            Some(_) => Fate::Refused(AppendError::Refused { why: error.to_string() }),
        },
    }
}

/// What JetStream itself said.
fn code(error: &PublishError) -> Option<ErrorCode> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<jetstream::Error>() {
            return Some(error.error_code());
        }
        source = error.source();
    }
    None
}

/// So many messages of which the last has this sequence.
fn offsets(last: u64, count: usize) -> Range<Offset> {
    let end = offset_of(last).next();
    Offset::new(end.get().saturating_sub(count as u64))..end
}

/// What JetStream takes at most all or none.
pub const BATCH_MAX: usize = 1000;
/// Longer than a leader is away; whoever waits has no use for an answer that comes later.
const PUBLISH_MAX: Duration = Duration::from_secs(5);
