//! Messages of a stream as its leader has them, one by one: a replica may be behind, and some come in no other way.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::link::Link;

/// A message of a stream.
pub struct Stored {
    /// The message; without headers where those are none.
    pub message: StreamMessage,
    /// Its headers are not such that every client of NATS reads them: what delivers it as they are may end there, or take it for a
    /// status. Whoever may publish can have stored it so.
    pub is_odd: bool,
}

/// The message with this sequence.
pub async fn at(link: &Link, stream: &str, sequence: u64) -> Result<Option<Stored>, String> {
    get(link, stream, &json!({"seq": sequence})).await
}

/// The first message with this sequence or a later one.
pub async fn from(link: &Link, stream: &str, sequence: u64) -> Result<Option<Stored>, String> {
    get(link, stream, &json!({"seq": sequence, "next_by_subj": ">"})).await
}

/// The first message that was stored at this time or later, which is as RFC 3339 has it.
pub async fn since(link: &Link, stream: &str, time: &str) -> Result<Option<Stored>, String> {
    get(link, stream, &json!({"start_time": time})).await
}

/// The newest message of a subject.
pub async fn newest(link: &Link, stream: &str, subject: &str) -> Result<Option<Stored>, String> {
    get(link, stream, &json!({"last_by_subj": subject})).await
}

async fn get(link: &Link, stream: &str, which: &Value) -> Result<Option<Stored>, String> {
    #[derive(Deserialize)]
    struct Answer {
        message: RawMessage,
    }
    let asked = link.context.request(format!("STREAM.MSG.GET.{stream}"), which).await;
    match asked.map_err(|error| error.to_string())? {
        Response::Ok(Answer { message }) => read(message).map(Some),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(error.to_string()),
    }
}

fn read(mut raw: RawMessage) -> Result<Stored, String> {
    let has_status = raw.headers.as_deref().is_some_and(|headers| {
        let head = STANDARD.decode(headers).unwrap_or_default();
        !head.starts_with(b"NATS/1.0\r\n")
    });
    match StreamMessage::try_from(raw.clone()) {
        Ok(message) => Ok(Stored {
            message,
            is_odd: has_status,
        }),
        Err(_) => {
            raw.headers = None;
            let message = StreamMessage::try_from(raw).map_err(|error| error.to_string())?;
            Ok(Stored { message, is_odd: true })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(headers: Option<&[u8]>) -> Stored {
        let answer = json!({
            "subject": "lapwing.feed",
            "seq": 7,
            "hdrs": headers.map(|headers| STANDARD.encode(headers)),
            "data": STANDARD.encode("17"),
            "time": "2026-11-22T17:23:48.083860972Z",
        });
        read(serde_json::from_value(answer).expect("as a server of NATS writes it")).expect("it is read")
    }

    #[test]
    fn a_message_is_read_whatever_its_headers_are() {
        for (headers, is_odd) in [
            (None, false),
            (Some(&b"NATS/1.0\r\nA: b\r\n\r\n"[..]), false),
            (Some(b"NATS/1.0 409 Consumer Deleted\r\n\r\n"), true),
            (Some(b"NATS/1.0 100\r\nA: b\r\n\r\n"), true),
            (Some(b"NATS/1.0\r\nno colon\r\n\r\n"), true),
            (Some(b"NATS/1.0\r\nA: \xff\r\n\r\n"), true),
            (Some(b"garbage"), true),
            (Some(b""), true),
        ] {
            let stored = stored(headers);
            let message = stored.message;
            assert_eq!((&message.payload[..], message.sequence), (&b"17"[..], 7), "{headers:?}");
            assert_eq!(stored.is_odd, is_odd, "{headers:?}");
        }
    }

    #[test]
    fn what_headers_say_is_kept_where_they_can_be_read() {
        let stored = stored(Some(b"NATS/1.0 409 X\r\nLapwing-Kind: text\r\n\r\n"));
        let kind = stored.message.headers.get("Lapwing-Kind").map(ToString::to_string);
        assert_eq!(kind.as_deref(), Some("text"));
    }
}
