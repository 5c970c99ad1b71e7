//! A client of server-sent events, by hand: the bytes of HTTP, and what WHATWG HTML makes of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::http::open;
use super::server::Server;

/// The events of a topic, or whatever else there is at the path; it must be 200.
#[track_caller]
pub fn events(server: &Server, target: &str) -> Events<TcpStream> {
    Events::on(open(server.address()), server, target, &[])
}

/// The same for a client that was here before.
#[track_caller]
pub fn resume(server: &Server, target: &str, id: &str) -> Events<TcpStream> {
    Events::on(open(server.address()), server, target, &[("Last-Event-ID", id)])
}

/// A body of events.
pub struct Events<S> {
    stream: S,
    /// The head of the answer.
    pub head: String,
    /// As it came, chunks and all.
    raw: Vec<u8>,
    body: String,
    has_ended: bool,
    /// What the client would come back with.
    pub id: String,
}

/// One event, or a comment.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Event {
    /// Its name; empty for a message.
    pub name: String,
    /// Its data; empty for a comment, and where only a place is told.
    pub data: String,
    /// When to come back.
    pub retry: Option<u64>,
    /// A comment is in it.
    pub is_comment: bool,
}

impl Event {
    /// Its data as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl<S: Read + Write> Events<S> {
    /// Asks on this connection.
    #[track_caller]
    pub fn on(mut stream: S, server: &Server, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n", server.address());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut events = Self {
            stream,
            head: String::new(),
            raw: Vec::new(),
            body: String::new(),
            has_ended: false,
            id: String::new(),
        };
        while events.head.is_empty() {
            events.receive();
            let raw = String::from_utf8_lossy(&events.raw).into_owned();
            if let Some((head, _)) = raw.split_once("\r\n\r\n") {
                events.raw.drain(..head.len() + 4);
                events.head = head.to_owned();
            }
            assert!(!events.has_ended, "no answer but {raw:?}");
        }
        assert!(events.head.starts_with("HTTP/1.1 200 "), "{}", events.head);
        events
    }

    /// What comes next; none when the body ends as it should.
    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, _)) = self.body.split_once("\n\n") {
                let block = block.to_owned();
                self.body.drain(..block.len() + 2);
                return Some(self.take(&block));
            }
            if !self.cut_chunk() {
                if self.has_ended {
                    return None;
                }
                self.receive();
                assert!(!self.has_ended || !self.raw.is_empty(), "the body was cut off");
            }
        }
    }

    /// The next event that is no comment and has data.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        loop {
            let event = self.next().expect("another event");
            if !event.data.is_empty() {
                return event;
            }
        }
    }

    /// The next event, which must be a message.
    #[track_caller]
    pub fn message(&mut self) -> Value {
        let event = self.event();
        assert_eq!(event.name, "", "{event:?}");
        event.json()
    }

    /// The next event, which must have this name.
    #[track_caller]
    pub fn named(&mut self, name: &str) -> Value {
        let event = self.event();
        assert_eq!(event.name, name, "{event:?}");
        event.json()
    }

    /// The offsets of the next so many messages.
    #[track_caller]
    pub fn offsets(&mut self, count: usize) -> Vec<u64> {
        let offset = |_| self.message()["offset"].as_u64().expect("a message has an offset");
        (0..count).map(offset).collect()
    }

    /// Whether the connection ends, whatever comes before that.
    pub fn ends(&mut self) -> bool {
        while !self.has_ended {
            self.receive();
        }
        true
    }

    fn take(&mut self, block: &str) -> Event {
        let mut event = Event::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => self.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data.push_str(data),
                Some(("retry", ms)) => event.retry = Some(ms.parse().expect("digits")),
                None if line.starts_with(':') => event.is_comment = true,
                _ => panic!("no line of an event: {line:?}"),
            }
        }
        event
    }

    /// Takes one chunk out of what came (RFC 9112 section 7.1), if it is whole.
    fn cut_chunk(&mut self) -> bool {
        let Some(at) = self.raw.windows(2).position(|two| two == b"\r\n") else {
            return false;
        };
        let size = std::str::from_utf8(&self.raw[..at]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size in hexadecimal");
        let end = at + 2 + size;
        if self.raw.len() < end + 2 {
            return false;
        }
        let chunk = &self.raw[at + 2..end];
        self.body
            .push_str(std::str::from_utf8(chunk).expect("our events are cut between characters"));
        assert_eq!(&self.raw[end..end + 2], b"\r\n");
        self.raw.drain(..end + 2);
        if size == 0 {
            self.has_ended = true;
        }
        true
    }

    fn receive(&mut self) {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => self.has_ended = true,
            Ok(more) => self.raw.extend_from_slice(&piece[..more]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                self.has_ended = true;
            }
            Err(error) => panic!("nothing more came: {error}"),
        }
    }
}
