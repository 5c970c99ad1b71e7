//! A reader of our own: asks a server for the ends of a topic, and copies what a topic retains.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::epoch::Epoch;

/// How long a copy may take in all.
const COPY_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of the largest message that is read.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// What the server says of a topic when one subscribes.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    /// Its history.
    pub epoch: Epoch,
    /// The lowest offset that is retained.
    pub first: u64,
    /// The next offset.
    pub next: u64,
    /// The offset granted.
    pub from: u64,
    /// All below it is on stable storage, if the server says so.
    pub durable: Option<u64>,
}

/// A topic as it was copied: what was told of it, and a line for each message as in a dump.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What was told.
    pub told: Told,
    /// Lines of NDJSON.
    pub lines: Vec<u8>,
}

/// Asks for the ends of a topic.
pub async fn ask(server: SocketAddr, topic: &str) -> Option<Told> {
    timeout(COPY_TIMEOUT, async {
        subscribe(server, topic, "latest").await.map(|(told, _)| told)
    })
    .await
    .ok()?
}

/// Copies what a topic retains.
pub async fn copy(server: SocketAddr, topic: &str) -> Option<Copy> {
    timeout(COPY_TIMEOUT, copy_all(server, topic)).await.ok()?
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    offset: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    from: Option<u64>,
    to: Option<u64>,
}

async fn copy_all(server: SocketAddr, topic: &str) -> Option<Copy> {
    let (told, mut socket) = subscribe(server, topic, "earliest").await?;
    let (mut lines, mut next) = (Vec::new(), told.from);
    while next < told.next {
        let text = message(&mut socket).await?;
        let wire: Wire<'_> = serde_json::from_slice(&text).ok()?;
        match wire {
            Wire {
                kind: None,
                offset: Some(offset),
                data,
                ..
            } => {
                // A payload that is not ours is written as null, which the checker finds to be no message.
                let data = data.map_or("null", RawValue::get);
                let epoch = told.epoch;
                let line = format!(r#"{{"topic":"{topic}","offset":{offset},"epoch":"{epoch}","data":{data}}}"#);
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
                next = offset + 1;
            }
            Wire {
                kind: Some(kind),
                from: Some(from),
                to: Some(to),
                ..
            } if kind == "gap" => {
                let line =
                    format!(r#"{{"record":"gap","topic":"{topic}","from":{from},"to":{to},"reason":"retention"}}"#);
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
                next = to;
            }
            _ => {}
        }
    }
    Some(Copy { told, lines })
}

async fn subscribe(server: SocketAddr, topic: &str, from: &str) -> Option<(Told, BufStream<TcpStream>)> {
    let mut socket = BufStream::new(TcpStream::connect(server).await.ok()?);
    let head = format!(
        "GET /?topics={topic}&from={from}&name=probe HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: lapwing.v1\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.ok()?;
    socket.flush().await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.ok()?);
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        return None;
    }
    loop {
        let text = message(&mut socket).await?;
        let wire: Wire<'_> = serde_json::from_slice(&text).ok()?;
        if wire.kind.as_deref() == Some("subscribed") {
            return Some((serde_json::from_slice(&text).ok()?, socket));
        }
    }
}

/// The next text message. A server neither masks nor fragments; pings of so short a visit need no answer.
async fn message(socket: &mut BufStream<TcpStream>) -> Option<Vec<u8>> {
    loop {
        let opcode = socket.read_u8().await.ok()?;
        let length = match socket.read_u8().await.ok()? {
            126 => u64::from(socket.read_u16().await.ok()?),
            127 => socket.read_u64().await.ok()?,
            length => u64::from(length),
        };
        if length > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut payload = vec![0; usize::try_from(length).ok()?];
        socket.read_exact(&mut payload).await.ok()?;
        match opcode {
            0x81 => return Some(payload),
            0x88 => return None,
            _ => {}
        }
    }
}
