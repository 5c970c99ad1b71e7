//! One hostile connection: a step at a time, and another connection when this one is ended.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use delivery::handshake;
use socket2::{Domain, SockRef, Socket, Type};

use crate::kind::Kind;

/// Where all of them go.
pub struct Place {
    /// The server.
    pub server: SocketAddr,
    /// The topic that slow readers do not read.
    pub feed: String,
    /// The topic of those who only need a stream: what they were sent would be work that an honest client gives, too.
    pub quiet: String,
}

/// One that comes again and again.
pub struct Attacker {
    /// What it does.
    pub kind: Kind,
    /// How often it connected.
    pub connects: u64,
    /// How often the server ended it.
    pub ended: u64,
    /// Bytes that it sent.
    pub sent: u64,
    socket: Option<TcpStream>,
    /// Steps of this connection.
    steps: u64,
    dice: u64,
}

/// What a step sends at most.
const STEP_BYTES: usize = 64 << 10;
/// A slow reader leaves by itself after so many steps, if it was not ended: it could not tell.
const SLOW_STEPS_MAX: u64 = 12;
/// The announced length of a message that never ends.
const MESSAGE_BYTES: u64 = 1 << 20;
const PING: [u8; 131] = {
    let mut frame = [0; 131];
    (frame[0], frame[1]) = (0x89, 0x80 | 125);
    frame
};

impl Attacker {
    /// One that has not come yet.
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self {
            kind,
            connects: 0,
            ended: 0,
            sent: 0,
            socket: None,
            steps: 0,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Whether it has a connection that it knows of.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Until its next step.
    pub fn pause(&self) -> Duration {
        self.kind.pause()
    }

    /// Does what it does next. What fails was ended by the server.
    pub fn step(&mut self, place: &Place) {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => match self.connect(place) {
                Ok(socket) => socket,
                Err(_) => {
                    self.ended += 1;
                    return;
                }
            },
        };
        match self.act(&mut socket, place) {
            Ok(true) => self.socket = Some(socket),
            // It left by itself.
            Ok(false) => {}
            Err(_) => self.ended += 1,
        }
        self.steps += 1;
    }

    fn connect(&mut self, place: &Place) -> io::Result<TcpStream> {
        self.steps = 0;
        self.connects += 1;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if self.kind == Kind::SlowReader {
            socket.set_recv_buffer_size(4096)?;
        }
        socket.connect_timeout(&place.server.into(), Duration::from_secs(1))?;
        let mut socket: TcpStream = socket.into();
        socket.set_nonblocking(true)?;
        let path = match self.kind {
            Kind::SlowReader => format!("/?topics={}&from=earliest", place.feed),
            _ => format!("/?topics={}", place.quiet),
        };
        match self.kind {
            Kind::SlowReader | Kind::PingFlood | Kind::TinyFragments | Kind::HugeFrame => {
                handshake::ask(&mut socket, &path, place.server)?;
            }
            Kind::Garbage if self.connects.is_multiple_of(2) => handshake::ask(&mut socket, &path, place.server)?,
            _ => {}
        }
        Ok(socket)
    }

    /// Whether it stays connected.
    fn act(&mut self, socket: &mut TcpStream, place: &Place) -> io::Result<bool> {
        match self.kind {
            Kind::SlowHead => {
                let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
                let byte = head.get(self.steps as usize).copied().unwrap_or(b'x');
                self.send(socket, &[byte])?;
                hear(socket)?;
            }
            Kind::HalfOpen => hear(socket)?,
            Kind::SlowReader => return Ok(self.steps < SLOW_STEPS_MAX),
            Kind::PingFlood => self.send(socket, &PING.repeat(STEP_BYTES / PING.len()))?,
            Kind::TinyFragments => {
                let fragment = [0x00, 0x81, 0, 0, 0, 0, b'x'];
                let first = if self.steps == 0 {
                    &[0x01, 0x80, 0, 0, 0, 0][..]
                } else {
                    &[]
                };
                self.send(socket, &[first, &fragment.repeat(300)].concat())?;
                hear(socket)?;
            }
            Kind::HugeFrame => {
                let claim = if self.connects.is_multiple_of(3) {
                    1 << 40
                } else {
                    MESSAGE_BYTES
                };
                if self.steps == 0 {
                    let header = [&[0x82, 0xff][..], &claim.to_be_bytes(), &[0; 4]].concat();
                    self.send(socket, &header)?;
                }
                let left = (MESSAGE_BYTES - 1).saturating_sub(self.steps * STEP_BYTES as u64);
                self.send(socket, &vec![0; STEP_BYTES.min(left as usize)])?;
                hear(socket)?;
            }
            Kind::Garbage => {
                let bytes: Vec<u8> = (0..1024).map(|_| self.roll() as u8).collect();
                self.send(socket, &bytes)?;
                hear(socket)?;
            }
            Kind::Churn => {
                let request = format!("GET /?topics={} HTTP/1.1\r\nHost: {}\r\n", place.quiet, place.server);
                match self.roll() % 3 {
                    0 => {}
                    1 => self.send(socket, request.as_bytes())?,
                    _ => handshake::ask(socket, &format!("/?topics={}", place.quiet), place.server)?,
                }
                SockRef::from(&*socket).set_linger(Some(Duration::ZERO))?;
                return Ok(false);
            }
            Kind::BadHandshake => {
                let wrong = [
                    "POST / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
                    "GET /?topics=none HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                    "GET / HTTP/0.9\r\n\r\n",
                ];
                if self.steps > 0 {
                    // Its answer is there, or the server is slow; either way it comes anew.
                    hear(socket)?;
                    return Ok(false);
                }
                let request = wrong[(self.roll() % wrong.len() as u64) as usize];
                self.send(socket, request.as_bytes())?;
            }
        }
        Ok(true)
    }

    /// As much as the kernel takes.
    fn send(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        match socket.write(bytes) {
            Ok(written) => self.sent += written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Xorshift: the same for a number in every run.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

/// Reads a little of what came; the end of the connection is an error.
fn hear(socket: &mut TcpStream) -> io::Result<()> {
    match socket.read(&mut [0; 16 << 10]) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
