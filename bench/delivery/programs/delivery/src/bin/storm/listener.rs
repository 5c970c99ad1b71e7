//! One listener: the offset that it wants next, whatever becomes of its connections.

use std::io;
use std::net::{SocketAddr, TcpStream};

use delivery::frame::Cutter;
use delivery::{handshake, message};

/// Where all listeners go.
pub struct Place {
    /// The server.
    pub server: SocketAddr,
    /// The history of the topic that they follow.
    pub epoch: String,
}

/// What one listener knows.
pub struct Listener {
    /// The offset that it wants next.
    pub next: u64,
    /// Messages it was given.
    pub received: u64,
    /// Messages it had already.
    pub repeated: u64,
    /// Its connection, if there is one.
    pub line: Option<Line>,
}

/// One connection.
pub struct Line {
    /// The bytes' way in.
    pub socket: TcpStream,
    head: Vec<u8>,
    /// The handshake is over.
    pub answered: bool,
    cutter: Cutter,
}

impl Listener {
    /// One that has received nothing, and wants `next`.
    pub fn new(next: u64) -> Self {
        Self {
            next,
            received: 0,
            repeated: 0,
            line: None,
        }
    }

    /// Connects and asks for what it wants next.
    pub fn dial(&mut self, place: &Place) -> io::Result<&Line> {
        let mut socket = TcpStream::connect(place.server)?;
        let path = format!("/?topics=feed&from=feed@{}:{}", place.epoch, self.next);
        handshake::ask(&mut socket, &path, place.server)?;
        socket.set_nonblocking(true)?;
        Ok(self.line.insert(Line {
            socket,
            head: Vec::new(),
            answered: false,
            cutter: Cutter::default(),
        }))
    }

    /// Takes what was read.
    pub fn on_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let head;
        let frames = if line.answered {
            bytes
        } else {
            line.head.extend_from_slice(bytes);
            let Some(length) = handshake::answer(&line.head)? else {
                return Ok(());
            };
            line.answered = true;
            head = std::mem::take(&mut line.head);
            &head[length..]
        };
        let (next, received, repeated) = (&mut self.next, &mut self.received, &mut self.repeated);
        line.cutter.push(frames, |payload| {
            let Some(message::Arrived { offset, .. }) = message::read(payload) else {
                return;
            };
            *received += 1;
            *repeated += u64::from(offset < *next);
            *next = (*next).max(offset + 1);
        });
        Ok(())
    }
}
