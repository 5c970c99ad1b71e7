//! Very many listeners in one process, which keep no file: each checks as it goes that it has every offset once, in order, and the same bytes as all others.
//!
//! Their WebSocket is a reader of our own, as the probe's. One that hears nothing, or whose connection ends, goes to another server
//! with the position that it wants next, as politely as a client should.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::comeback::{Comeback, Stay, Told};
use super::stream::Stream;
use crate::crc::crc32c;
use crate::dice::Dice;
use crate::epoch::Epoch;

/// A server that says nothing for so long is left: its heartbeats come each second.
const SILENCE: Duration = Duration::from_secs(6);

/// So long a server may take to let somebody in.
const DIAL: Duration = Duration::from_secs(3);

/// Bytes of the largest message that is read.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a read: most connections wait for the next small message.
const READ_BYTES: usize = 4 << 10;

/// Differences that are listed; the rest is counted.
const LISTED_MAX: usize = 10;

/// What a crowd has seen together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// How many listeners.
    pub listeners: u64,
    /// Messages received by all of them.
    pub messages: u64,
    /// How often one of them came back, at the same server or another.
    pub reconnects: u64,
    /// Offsets that they were told are missing.
    pub missing: u64,
    /// How many had not everything at the end.
    pub behind: u64,
    /// How many differences there were.
    pub wrong: u64,
    /// The first of them.
    pub differences: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Seen,
    /// What stands at each offset, as a checksum, with the first of them that saw it.
    ledger: Vec<Option<u32>>,
    epoch: Option<Epoch>,
    /// What each wants next.
    places: Vec<u64>,
}

impl Shared {
    fn blame(&mut self, said: String) {
        self.seen.wrong += 1;
        if self.seen.differences.len() < LISTED_MAX {
            self.seen.differences.push(said);
        }
    }

    /// One of them has a message; gives whether it is what it should be.
    fn take(&mut self, who: usize, expected: u64, offset: u64, data: &[u8]) {
        self.seen.messages += 1;
        if offset != expected {
            self.blame(format!(
                "listener {who} of the crowd got {offset}, and {expected} should come"
            ));
        }
        let hash = crc32c(data);
        let place = usize::try_from(offset).unwrap_or(usize::MAX - 1);
        if self.ledger.len() <= place {
            self.ledger.resize(place + 1, None);
        }
        match self.ledger[place] {
            Some(known) if known != hash => {
                self.blame(format!(
                    "listener {who} of the crowd has other bytes at {offset} than others"
                ));
            }
            _ => self.ledger[place] = Some(hash),
        }
        self.places[who] = offset + 1;
    }
}

/// Very many listeners of one topic; they end when it is dropped.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Mutex<Shared>>,
    tasks: JoinSet<()>,
}

fn held(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    /// So many listeners, spread over the servers.
    pub fn gather(size: usize, servers: &[SocketAddr], topic: &str, seed: u64) -> Self {
        let shared = Shared {
            seen: Seen {
                listeners: size as u64,
                ..Seen::default()
            },
            places: vec![0; size],
            ..Shared::default()
        };
        let shared = Arc::new(Mutex::new(shared));
        let mut tasks = JoinSet::new();
        for who in 0..size {
            let one = One {
                who,
                servers: servers.to_vec(),
                topic: topic.to_owned(),
                dice: Dice::apart(seed, "crowd", who as u64),
                shared: Arc::clone(&shared),
                told: Told::default(),
                stay: None,
            };
            tasks.spawn(one.listen());
        }
        Self { shared, tasks }
    }

    /// How many of them want an offset below this.
    pub fn behind(&self, next: u64) -> usize {
        held(&self.shared).places.iter().filter(|place| **place < next).count()
    }

    /// Sends all away; what they have seen, held against the stream.
    pub async fn dismiss(mut self, stream: &Stream, epoch: Option<Epoch>) -> Seen {
        self.tasks.shutdown().await;
        let mut shared = held(&self.shared);
        let behind = shared.places.iter().filter(|place| **place < stream.next).count() as u64;
        shared.seen.behind = behind;
        if behind > 0 {
            shared.blame(format!("{behind} of the crowd had not caught up"));
        }
        if shared.epoch.is_some() && shared.epoch != epoch {
            let said = format!("the crowd followed {:?}, and servers tell {epoch:?}", shared.epoch);
            shared.blame(said);
        }
        for stored in &stream.messages {
            let place = usize::try_from(stored.sequence - 1).unwrap_or(usize::MAX);
            let known = shared.ledger.get(place).copied().flatten();
            if known.is_some_and(|known| known != crc32c(&stored.payload)) {
                shared.blame(format!("the crowd has other bytes at {place} than the stream"));
            }
        }
        shared.seen.clone()
    }
}

/// One listener of a crowd.
struct One {
    who: usize,
    servers: Vec<SocketAddr>,
    topic: String,
    dice: Dice,
    shared: Arc<Mutex<Shared>>,
    /// What the server that it asks, or follows, said of coming back.
    told: Told,
    /// Since when that has let it in, and whether it brought anything.
    stay: Option<Stay>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    offset: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    from: Option<u64>,
    to: Option<u64>,
    epoch: Option<Epoch>,
    missing_from: Option<u64>,
    retry_ms: Option<u64>,
    elsewhere_ms: Option<u64>,
}

impl One {
    async fn listen(mut self) {
        let first = self.who % self.servers.len();
        let mut comeback = Comeback::new(self.servers.len(), first, Instant::now());
        let mut place: Option<(Epoch, u64)> = None;
        loop {
            let (at, wait) = comeback.next(Instant::now(), &mut self.dice);
            sleep(wait).await;
            (self.told, self.stay) = (Told::default(), None);
            // However it ended, another server goes on.
            let _ = self.follow(self.servers[at], &mut place).await;
            comeback.on_end(at, self.stay, self.told, Instant::now(), &mut self.dice);
        }
    }

    async fn follow(&mut self, server: SocketAddr, place: &mut Option<(Epoch, u64)>) -> io::Result<()> {
        let socket = timeout(DIAL, TcpStream::connect(server)).await??;
        let mut socket = BufReader::with_capacity(READ_BYTES, socket);
        let topic = &self.topic;
        let from = match place {
            Some((epoch, offset)) => format!("{topic}@{epoch}:{offset}"),
            None => "earliest".to_owned(),
        };
        let head = format!(
            "GET /?topics={topic}&from={from} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: lapwing.v1\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(SILENCE, socket.read_u8()).await??);
        }
        if !answer.starts_with(b"HTTP/1.1 101") {
            self.told.retry_ms = retry_after(&answer).map(|seconds| seconds.saturating_mul(1000));
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        held(&self.shared).seen.reconnects += u64::from(place.is_some());
        let since = Instant::now();
        self.stay = Some(Stay { since, brought: false });
        loop {
            match timeout(SILENCE, message(&mut socket)).await?? {
                Message::Text(text) => self.on_text(&text, place)?,
                Message::Close(reason) => {
                    self.told.retry_ms = retry_of(&reason).or(self.told.retry_ms);
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
    }

    fn on_text(&mut self, text: &[u8], place: &mut Option<(Epoch, u64)>) -> io::Result<()> {
        let wire: Wire<'_> = serde_json::from_slice(text)?;
        let who = self.who;
        match (wire.kind, place.as_mut()) {
            (None, Some((_, expected))) => {
                let (Some(offset), Some(data)) = (wire.offset, wire.data) else {
                    return Ok(());
                };
                held(&self.shared).take(who, *expected, offset, data.get().as_bytes());
                *expected = offset + 1;
                if let Some(stay) = &mut self.stay {
                    stay.brought = true;
                }
            }
            (Some("gap"), Some((_, expected))) => {
                let (Some(from), Some(to)) = (wire.from, wire.to) else {
                    return Ok(());
                };
                self.skip(*expected, from, to);
                *expected = to;
            }
            (Some("bye"), _) => {
                self.told = Told {
                    retry_ms: wire.retry_ms,
                    elsewhere_ms: wire.elsewhere_ms,
                };
            }
            (Some("subscribed"), _) => {
                let (Some(epoch), Some(from)) = (wire.epoch, wire.from) else {
                    return Ok(());
                };
                let mut shared = held(&self.shared);
                if let Some(known) = shared.epoch.replace(epoch)
                    && known != epoch
                {
                    shared.blame(format!(
                        "listener {who} of the crowd was told {epoch:?} after {known:?}"
                    ));
                }
                drop(shared);
                let expected = place.map_or(0, |(_, expected)| expected);
                if let Some(missing) = wire.missing_from {
                    self.skip(expected, missing, from);
                } else if from != expected {
                    let said =
                        format!("listener {who} of the crowd wanted {expected}, and was given {from} without a word");
                    held(&self.shared).blame(said);
                }
                *place = Some((epoch, from));
                held(&self.shared).places[who] = from;
            }
            _ => {}
        }
        Ok(())
    }

    fn skip(&self, expected: u64, from: u64, to: u64) {
        let mut shared = held(&self.shared);
        shared.seen.missing += to.saturating_sub(from);
        shared.places[self.who] = to;
        if from != expected {
            let who = self.who;
            shared.blame(format!(
                "listener {who} of the crowd wanted {expected}, and was told that {from} to {to} is missing"
            ));
        }
    }
}

/// The seconds in an answer's `Retry-After`.
fn retry_after(answer: &[u8]) -> Option<u64> {
    let answer = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let value = answer.lines().find_map(|line| line.strip_prefix("retry-after:"))?;
    value.trim().parse().ok()
}

/// The milliseconds in a close's `retry=`.
fn retry_of(reason: &str) -> Option<u64> {
    let value = reason.split(' ').find_map(|word| word.strip_prefix("retry="))?;
    value.parse().ok()
}

/// What a server says.
enum Message {
    Text(Vec<u8>),
    /// It ends the connection, and why.
    Close(String),
}

/// The next text message, or the close; pings are answered.
async fn message(socket: &mut BufReader<TcpStream>) -> io::Result<Message> {
    loop {
        let opcode = socket.read_u8().await?;
        let length = match socket.read_u8().await? {
            126 => u64::from(socket.read_u16().await?),
            127 => socket.read_u64().await?,
            length => u64::from(length),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await?;
        match opcode {
            0x81 => return Ok(Message::Text(payload)),
            // A mask of zeros is one, too.
            0x89 => {
                let mut pong = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
                pong.extend_from_slice(&payload);
                socket.write_all(&pong).await?;
            }
            0x88 => {
                // Behind its code.
                let reason = payload.get(2..).unwrap_or_default();
                return Ok(Message::Close(String::from_utf8_lossy(reason).into_owned()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Crowd, One, Shared, Told, held, retry_after, retry_of};
    use crate::dice::Dice;
    use crate::epoch::Epoch;
    use crate::fleet::stream::Stream;
    use std::sync::{Arc, Mutex};

    const EPOCH: Epoch = Epoch(7);

    /// One that was told all of this; what it found wrong.
    fn told(texts: &[&str]) -> (Vec<String>, Option<(Epoch, u64)>) {
        let shared = Shared {
            places: vec![0],
            ..Shared::default()
        };
        let shared = Arc::new(Mutex::new(shared));
        let mut one = One {
            who: 0,
            servers: Vec::new(),
            topic: "t".to_owned(),
            dice: Dice::new(1),
            shared: Arc::clone(&shared),
            told: Told::default(),
            stay: None,
        };
        let mut place = None;
        for text in texts {
            let text = text.replace("EPOCH", &EPOCH.to_string());
            one.on_text(text.as_bytes(), &mut place).expect("it is JSON");
        }
        let found = held(&shared).seen.differences.clone();
        (found, place)
    }

    const BEGIN: &str =
        r#"{"type":"subscribed","topic":"t","epoch":"EPOCH","first":0,"next":0,"from":0,"answer":"ok"}"#;

    fn at(offset: u64) -> String {
        format!(r#"{{"topic":"t","offset":{offset},"time":"x","data":{{"n":{offset}}}}}"#)
    }

    #[test]
    fn one_of_a_crowd_that_has_everything_or_is_told_of_a_gap_finds_nothing_wrong() {
        let gap = r#"{"type":"gap","topic":"t","from":2,"to":9,"reason":"retention"}"#;
        let (wrong, place) = told(&[BEGIN, &at(0), &at(1), gap, &at(9)]);
        assert_eq!((wrong.len(), place), (0, Some((EPOCH, 10))), "{wrong:?}");
        let again = BEGIN.replace(
            r#""from":0,"answer":"ok""#,
            r#""from":5,"answer":"gap","missing_from":1"#,
        );
        let (wrong, place) = told(&[BEGIN, &at(0), &again, &at(5)]);
        assert_eq!((wrong.len(), place), (0, Some((EPOCH, 6))), "{wrong:?}");
    }

    #[test]
    fn one_of_a_crowd_finds_what_is_missing_repeated_changed_or_of_another_history() {
        let changed = at(0).replace(r#""n":0"#, r#""n":1"#);
        let gap = r#"{"type":"gap","topic":"t","from":3,"to":9,"reason":"retention"}"#;
        let other = BEGIN.replace("EPOCH", "00000000000000000000000000000008");
        for wrong in [
            &[BEGIN, &at(1)][..],
            &[BEGIN, &at(0), &at(0)],
            &[BEGIN, &at(0), BEGIN, &changed],
            &[BEGIN, &at(0), gap],
            &[BEGIN, &other],
        ] {
            assert!(!told(wrong).0.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_server_says_of_coming_back_is_read() {
        let busy = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nRetry-After: 2\r\n\r\n";
        assert_eq!(retry_after(busy), Some(2));
        assert_eq!(retry_after(b"HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(retry_of("server restarts retry=1500 t=42"), Some(1500));
        assert_eq!(retry_of("going away"), None);
    }

    #[tokio::test]
    async fn a_crowd_that_is_behind_the_stream_is_told() {
        let crowd = Crowd::gather(3, &["127.0.0.1:1".parse().expect("an address")], "t", 1);
        assert_eq!(crowd.behind(1), 3);
        let stream = Stream {
            next: 1,
            ..Stream::default()
        };
        let seen = crowd.dismiss(&stream, None).await;
        assert_eq!((seen.behind, seen.wrong), (3, 1), "{seen:?}");
    }
}
