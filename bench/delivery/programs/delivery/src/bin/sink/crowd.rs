//! All connections that read: one thread, one poll, edges only.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::sample::{Sample, Seen};

/// One read takes at most so much. A read that throws away touches no byte of this.
const READ_BYTES_MAX: usize = 4 << 20;

/// What the load does while nothing comes.
#[derive(Clone, Copy)]
pub enum Rest {
    /// It asks again at once.
    Spin,
    /// It sleeps until something comes.
    Sleep,
}

/// The connections, and what they have read since the measurement began.
pub struct Crowd {
    poll: OwnedFd,
    readers: Vec<Reader>,
    sides: Vec<Side>,
    buffer: Vec<u8>,
    rest: Rest,
    /// How long there was nothing to read.
    pub idle: Duration,
}

/// The connections to one server.
#[derive(Default)]
pub struct Side {
    /// How many there are.
    pub clients: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// What those that are looked at have seen.
    pub seen: Seen,
    /// Those that the server has ended.
    pub ended: usize,
}

struct Reader {
    socket: TcpStream,
    side: usize,
    sample: Option<Sample>,
}

impl Side {
    /// Messages of all: they have the same size, so the bytes of all tell how many they were.
    pub fn messages(&self) -> f64 {
        match self.seen.messages {
            0 => 0.0,
            known => self.bytes as f64 * known as f64 / self.seen.bytes as f64,
        }
    }
}

impl Crowd {
    /// Nobody yet.
    pub fn new(rest: Rest) -> io::Result<Self> {
        Ok(Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            readers: Vec::new(),
            sides: Vec::new(),
            buffer: vec![0; READ_BYTES_MAX],
            rest,
            idle: Duration::ZERO,
        })
    }

    /// Takes the connections to one more server; `sampled` of them, evenly spread, are looked at.
    pub fn add(&mut self, sockets: Vec<TcpStream>, sampled: usize, nats: bool) -> io::Result<()> {
        let every = sockets.len().div_ceil(sampled.max(1)).max(1);
        let side = self.sides.len();
        self.sides.push(Side {
            clients: sockets.len(),
            ..Side::default()
        });
        for (number, socket) in sockets.into_iter().enumerate() {
            let token = EventData::new_u64(self.readers.len() as u64);
            epoll::add(&self.poll, &socket, token, EventFlags::IN | EventFlags::ET)?;
            let sample = (number % every == every / 2).then(|| Sample::new(nats));
            self.readers.push(Reader { socket, side, sample });
        }
        Ok(())
    }

    /// What was read of each server, in the order they were added.
    pub fn sides(&self) -> &[Side] {
        &self.sides
    }

    /// Forgets what was counted so far.
    pub fn begin(&mut self) {
        for side in &mut self.sides {
            side.bytes = 0;
            side.seen = Seen::default();
        }
        self.idle = Duration::ZERO;
    }

    /// Reads whatever comes in this time.
    pub fn read_for(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        let mut events = Vec::with_capacity(1024);
        let mut now = Instant::now();
        while now < until {
            let wait = match self.rest {
                Rest::Spin => Duration::ZERO,
                Rest::Sleep => until - now,
            };
            events.clear();
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&timespec(wait)))?;
            let waited_since = std::mem::replace(&mut now, Instant::now());
            if events.is_empty() || matches!(self.rest, Rest::Sleep) {
                self.idle += now - waited_since;
            }
            for event in &events {
                self.read(event.data.u64() as usize)?;
            }
            // Reading is not waiting.
            now = if events.is_empty() { now } else { Instant::now() };
        }
        Ok(())
    }

    /// Everything that one socket has, in one call: what comes after it is another edge.
    fn read(&mut self, number: usize) -> io::Result<()> {
        let reader = &mut self.readers[number];
        let side = &mut self.sides[reader.side];
        let flags = match reader.sample {
            Some(_) => RecvFlags::DONTWAIT,
            None => RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        };
        match recv(&reader.socket, &mut self.buffer[..], flags) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => side.ended += 1,
            Ok((_, count)) => {
                side.bytes += count as u64;
                if let Some(sample) = &mut reader.sample {
                    sample.on_read(&self.buffer[..count], &mut side.seen);
                }
            }
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
