//! Publishing over HTTP: `POST /topics/NAME/messages`. One body is appended whole or not at all.

use http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::LengthLimitError;
use lapwing_wire::control::Level;
use lapwing_wire::envelope::Kind;
use lapwing_wire::escape::escaped;
use lapwing_wire::json;
use lapwing_wire::line::message_into;
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;
use memchr::memchr_iter;
use serde::Serialize;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::breach::Breach;
use super::front::{self, Answer, Body, Front, quiet_refusal, refusal, text};
use super::gate;
use super::topics::Topic;
use crate::clock::Now;
use crate::config::Limits;
use crate::log::origin::{Outbound, Taken};
use crate::log::retries::{Named, RetryKey};
use crate::log::{AppendError, Appended};
use crate::source::payloads::Payloads;
use crate::terminal::form;

/// Answers a request to a topic's messages.
pub async fn answer(front: &Front, topic: &str, request: &Request<()>, body: &mut Body) -> Answer {
    match *request.method() {
        Method::POST => {
            let answer = publish(front, topic, request, body)
                .await
                .unwrap_or_else(|refusal| *refusal);
            front.common.counts.published.add(answer.status().as_u16());
            answer
        }
        Method::OPTIONS => front::preflight(METHODS, "POST", HEADERS),
        _ => front::not_allowed(
            METHODS,
            "messages are published here with POST, and read as a stream at /",
        ),
    }
}

async fn publish(front: &Front, topic: &str, request: &Request<()>, body: &mut Body) -> Result<Answer, Box<Answer>> {
    let headers = request.headers();
    let topics = &front.common.topics;
    let caller = gate::caller(&front.common, request, "", None)?;
    let name = TopicName::parse(topic).ok();
    if let Some(name) = &name {
        caller
            .check_publish(name)
            .map_err(|denied| gate::refused(&front.common, request, &denied))?;
    }
    let may = |name: &TopicName| caller.check_publish(name).is_ok();
    let topic = name.and_then(|name| topics.find(&name)).ok_or_else(|| {
        let sentence = format!("there is no topic {:?}; {}", escaped(topic), topics.there_are(may));
        Box::new(quiet_refusal(
            StatusCode::NOT_FOUND,
            &sentence,
            "there is no such topic",
        ))
    })?;
    if !topic.takes_pushes() {
        let sentence = format!(
            "topic {} is filled by its own source; only a topic with the source push takes messages",
            topic.name()
        );
        return Err(refuse(StatusCode::CONFLICT, &sentence));
    }
    let form = Form::of(text(headers, "content-type"))?;
    let named = named(headers)?;
    refuse_when_stopping(front)?;
    let room = room(front, body)?;
    let body = read(front, body).await?;
    let messages = form.read(&body)?;
    let (count, most) = (messages.len(), front.common.limits.body_messages_max);
    if count > most {
        front.common.breaches.count(Breach::BodyMessages);
        let sentence = format!("{count} messages in one body, at most {most} are taken; send fewer at once");
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &sentence));
    }
    refuse_when_stopping(front)?;
    let answer = append(front, topic, named, &messages).await;
    drop(room);
    answer
}

/// Nothing is taken that clients who were dismissed already would miss.
fn refuse_when_stopping(front: &Front) -> Result<(), Box<Answer>> {
    match front.common.is_stopping() {
        true => Err(stopping()),
        false => Ok(()),
    }
}

fn stopping() -> Box<Answer> {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "this server is stopping; nothing was appended",
    )
}

/// Room for a body among all those that are read now. One that says it is too long is refused before anything of it is read.
fn room<'a>(front: &'a Front, body: &Body) -> Result<SemaphorePermit<'a>, Box<Answer>> {
    let most = front.common.limits.body_bytes_max;
    let announced = body.announced();
    if let Some(bytes) = announced.filter(|bytes| *bytes > most as u64) {
        return Err(too_long(front, &format!("a body of {bytes} bytes")));
    }
    let kib = announced.map_or(most, |bytes| bytes as usize).div_ceil(1024).max(1);
    let permits = u32::try_from(kib).unwrap_or(u32::MAX);
    front.common.body_room.try_acquire_many(permits).map_err(|_| {
        front.common.breaches.count(Breach::Bodies);
        let most = form::bytes(front.common.limits.bodies_bytes_max as u64);
        refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("more than {most} are being published at once; try again"),
        )
    })
}

/// What a publisher says by which a second try can be told from a new publish; none when it says nothing.
fn named(headers: &HeaderMap) -> Result<Option<Named>, Box<Answer>> {
    let bounded = |name: &str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(value)) if (1..=RETRY_TEXT_MAX).contains(&value.len()) => Ok(Some(value)),
        Some(_) => Err(refuse(
            StatusCode::BAD_REQUEST,
            &format!("{name} has 1 to {RETRY_TEXT_MAX} characters of ASCII"),
        )),
    };
    let number = |name: &str| match bounded(name)?.map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(refuse(
            StatusCode::BAD_REQUEST,
            &format!("{name} is a number below 2^64"),
        )),
    };
    let after = number("lapwing-after")?;
    if let Some(key) = bounded("idempotency-key")? {
        return match after {
            None => Ok(Some(Named::alone(RetryKey::of_key(key)))),
            Some(_) => Err(refuse(
                StatusCode::BAD_REQUEST,
                "Lapwing-After goes with Lapwing-Source and Lapwing-Sequence, not with Idempotency-Key",
            )),
        };
    }
    match (bounded("lapwing-source")?, number("lapwing-sequence")?, after) {
        (None, None, None) => Ok(None),
        (Some(source), Some(sequence), after) => Ok(Some(Named {
            key: RetryKey::of_source(source, sequence),
            after: after.map(|after| RetryKey::of_source(source, after)),
        })),
        _ => Err(refuse(
            StatusCode::BAD_REQUEST,
            "Lapwing-Source and Lapwing-Sequence go together, and Lapwing-After only with them",
        )),
    }
}

/// The answer to a body over the limit. What comes of it is read by nobody, so its connection takes no other request.
fn too_long(front: &Front, body: &str) -> Box<Answer> {
    front.common.breaches.count(Breach::Body);
    let most = front.common.limits.body_bytes_max;
    let sentence = format!("{body} is over the limit of {most} bytes; nothing was appended, send less at once");
    let mut answer = refuse(StatusCode::PAYLOAD_TOO_LARGE, &sentence);
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Reads the body within its limit and in time.
async fn read(front: &Front, body: &mut Body) -> Result<bytes::Bytes, Box<Answer>> {
    let limits = &front.common.limits;
    let read = tokio::time::timeout(limits.handshake_timeout, body.read(limits.body_bytes_max));
    let read = tokio::select! {
        read = read => read,
        // It would not be taken any more.
        () = front.common.stopped() => return Err(stopping()),
    };
    match read {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(front, "the body")),
        Ok(Err(_)) => Err(refuse(
            StatusCode::BAD_REQUEST,
            "the body ended before it was whole; nothing was appended",
        )),
        Err(_) => {
            front.common.breaches.count(Breach::BodyTime);
            let sentence = format!(
                "the body was not whole after {} s; nothing was appended",
                limits.handshake_timeout.as_secs_f64()
            );
            Err(refuse(StatusCode::REQUEST_TIMEOUT, &sentence))
        }
    }
}

/// Appends the messages and answers when they are kept.
async fn append(
    front: &Front,
    topic: &Topic,
    named: Option<Named>,
    messages: &Payloads,
) -> Result<Answer, Box<Answer>> {
    let taken = match topic.log.origin() {
        Some(origin) => {
            let messages = messages.messages(0..messages.len());
            origin
                .publish(named, messages.iter().map(Outbound::from).collect())
                .await
        }
        None => keep(front, topic, named, messages).await,
    };
    let Taken { offsets, repeated } = taken.map_err(|error| not_kept(topic, &error))?;
    #[derive(Serialize)]
    struct Acknowledgement<'a> {
        topic: &'a TopicName,
        epoch: Epoch,
        first: Offset,
        last: Offset,
        count: u64,
        level: Level,
        /// How long a repeated publish is recognised, where that is not as long as its messages are kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_window_ms: Option<u64>,
    }
    let acknowledgement = Acknowledgement {
        topic: topic.name(),
        epoch: topic.log.epoch(),
        first: offsets.start,
        last: offsets.end.previous().unwrap_or_default(),
        count: offsets.end.since(offsets.start),
        level: topic.log.level(),
        retry_window_ms: topic
            .log
            .origin()
            .map(|origin| u64::try_from(origin.retry_window().as_millis()).unwrap_or(u64::MAX)),
    };
    let mut answer = front::json(&acknowledgement);
    *answer.status_mut() = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer)
}

/// Gives the messages to the log, and waits until they are kept.
async fn keep(front: &Front, topic: &Topic, named: Option<Named>, messages: &Payloads) -> Result<Taken, AppendError> {
    let appended = take(front, topic, named, messages).await?;
    let repeated = appended.repeated;
    let offsets = appended.kept().await?;
    Ok(Taken { offsets, repeated })
}

/// Gives the messages to the log. Where it holds back its source this waits for room, and for a publish that must come before
/// this one it waits too, both for a while.
async fn take(
    front: &Front,
    topic: &Topic,
    named: Option<Named>,
    messages: &Payloads,
) -> Result<Appended, AppendError> {
    let messages = messages.messages(0..messages.len());
    let began = Instant::now();
    loop {
        // Before the look at the log, so that no publish between the two is missed.
        let published = topic.published.notified();
        let appended = match named {
            Some(named) => topic.log.append_once(named, &messages, Now::read()),
            None => topic.log.append(&messages, Now::read()),
        };
        let (room, most) = match &appended {
            // Somebody else may have taken the room before us.
            Err(AppendError::Held) => (true, Limits::HELD_PUBLISH_MAX),
            Err(AppendError::Early) => (false, Limits::EARLY_PUBLISH_MAX),
            Err(_) => return appended,
            Ok(_) => {
                topic.published.notify_waiters();
                return appended;
            }
        };
        tokio::select! {
            () = topic.log.room(), if room => {}
            () = published, if !room => {}
            () = sleep_until(began + most) => return appended,
            () = front.common.stopped() => return appended,
        }
    }
}

fn not_kept(topic: &Topic, error: &AppendError) -> Box<Answer> {
    let name = topic.name();
    let (status, sentence) = match error {
        AppendError::Ended => (StatusCode::GONE, format!("topic {name} has ended")),
        AppendError::TooLarge { .. } | AppendError::OverLimit { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        AppendError::Held => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "topic {name} is full and waits for {}; nothing was appended",
                match topic.log.is_followed() {
                    true => "its slowest client",
                    false => "a first client, which takes what is there",
                }
            ),
        ),
        AppendError::Early => (
            StatusCode::PRECONDITION_FAILED,
            format!("topic {name}: {error}, as Lapwing-After asks; nothing was appended"),
        ),
        AppendError::Busy => (StatusCode::TOO_MANY_REQUESTS, format!("topic {name}: {error}")),
        AppendError::Full { .. } => (
            StatusCode::INSUFFICIENT_STORAGE,
            format!("topic {name}: {error}; nothing was appended, try again when there is room"),
        ),
        AppendError::Unreachable { .. } => (StatusCode::SERVICE_UNAVAILABLE, format!("topic {name}: {error}")),
        AppendError::Refused { .. } => (StatusCode::BAD_GATEWAY, format!("topic {name}: {error}")),
        AppendError::Stopped => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{error}; nothing was appended"),
        ),
        // Not 503: coming again does not help before somebody has looked after the files.
        AppendError::ReadOnly { .. } => (StatusCode::INTERNAL_SERVER_ERROR, format!("topic {name}: {error}")),
    };
    let mut answer = refuse(status, &sentence);
    if matches!(error, AppendError::Busy | AppendError::Unreachable { .. }) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// How a body holds messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One JSON value.
    Json,
    /// A JSON value a line.
    Lines,
    /// One message: JSON if it is JSON, a string otherwise.
    Text,
    /// One message of bytes.
    Bytes,
}

impl Form {
    /// What a content type says, or the answer to one that is not taken.
    pub fn of(content_type: Option<&str>) -> Result<Self, Box<Answer>> {
        let essence = content_type
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/jsonl" | "application/json-lines" => Ok(Self::Lines),
            // What curl -d says unless told otherwise.
            "" | "text/plain" | "application/x-www-form-urlencoded" => Ok(Self::Text),
            "application/octet-stream" => Ok(Self::Bytes),
            _ => {
                let sentence = format!(
                    "content type {:?} is not taken; use application/json, application/x-ndjson, text/plain or application/octet-stream",
                    escaped(&essence)
                );
                Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &sentence))
            }
        }
    }

    /// The messages of a body, or the answer to one that holds none or a wrong one.
    pub fn read(self, body: &[u8]) -> Result<Payloads, Box<Answer>> {
        let wrong = |sentence: String| refuse(StatusCode::BAD_REQUEST, &sentence);
        if body.is_empty() && self != Self::Bytes {
            return Err(wrong("the body holds no message".to_owned()));
        }
        let mut messages = Payloads::default();
        match self {
            Self::Json => messages
                .push(|out| compact(body, out))
                .map_err(|why| wrong(format!("the body is no JSON: {why}")))?,
            Self::Lines => {
                let lines = body.strip_suffix(b"\n").unwrap_or(body);
                let mut begin = 0;
                for (at, end) in memchr_iter(b'\n', lines).chain([lines.len()]).enumerate() {
                    messages
                        .push(|out| compact(&lines[begin..end], out))
                        .map_err(|why| wrong(format!("line {} is no JSON: {why}; nothing was appended", at + 1)))?;
                    begin = end + 1;
                }
            }
            Self::Text => {
                let body = body.strip_suffix(b"\n").unwrap_or(body);
                messages
                    .push(|out| message_into(body, out))
                    .map_err(|why| wrong(format!("the body is no text: {why}")))?;
            }
            Self::Bytes => messages.push(|out| {
                out.extend_from_slice(body);
                Ok::<_, Box<Answer>>(Kind::Bytes)
            })?,
        }
        Ok(messages)
    }
}

fn compact(bytes: &[u8], out: &mut Vec<u8>) -> Result<Kind, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))?;
    if json::compact_into(text, out) {
        return Ok(Kind::Json);
    }
    // Parsed by another parser, for the place of the mistake.
    let mistake = serde_json::from_str::<&serde_json::value::RawValue>(text).err();
    Err(mistake.map_or_else(|| "it is not one value".to_owned(), |mistake| mistake.to_string()))
}

/// A name of a publish is a name, not a message.
const RETRY_TEXT_MAX: usize = 256;

fn refuse(status: StatusCode, sentence: &str) -> Box<Answer> {
    Box::new(refusal(status, sentence))
}
const METHODS: &str = "POST, OPTIONS";
/// What a publisher may send, in a browser too.
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, Lapwing-Source, Lapwing-Sequence, Lapwing-After";
