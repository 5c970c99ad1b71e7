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
    buffer: Vec<u8>,
    rest: Rest,
    /// Bytes of all connections.
    pub bytes: u64,
    /// What the connections that are looked at have seen.
    pub seen: Seen,
    /// How long there was nothing to read.
    pub idle: Duration,
    /// Connections that the server has ended.
    pub ended: usize,
}

struct Reader {
    socket: TcpStream,
    sample: Option<Sample>,
}

impl Crowd {
    /// Everyone; `sampled` of them, evenly spread, are looked at.
    pub fn new(sockets: Vec<TcpStream>, sampled: usize, nats: bool, rest: Rest) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let every = sockets.len().div_ceil(sampled.max(1)).max(1);
        let mut readers = Vec::with_capacity(sockets.len());
        for (number, socket) in sockets.into_iter().enumerate() {
            epoll::add(
                &poll,
                &socket,
                EventData::new_u64(number as u64),
                EventFlags::IN | EventFlags::ET,
            )?;
            let sample = (number % every == every / 2).then(|| Sample::new(nats));
            readers.push(Reader { socket, sample });
        }
        Ok(Self {
            poll,
            readers,
            buffer: vec![0; READ_BYTES_MAX],
            rest,
            bytes: 0,
            seen: Seen::default(),
            idle: Duration::ZERO,
            ended: 0,
        })
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.readers.len()
    }

    /// Forgets what was counted so far.
    pub fn begin(&mut self) {
        self.bytes = 0;
        self.seen = Seen::default();
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
        let flags = match reader.sample {
            Some(_) => RecvFlags::DONTWAIT,
            None => RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        };
        match recv(&reader.socket, &mut self.buffer[..], flags) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => self.ended += 1,
            Ok((_, count)) => {
                self.bytes += count as u64;
                if let Some(sample) = &mut reader.sample {
                    sample.on_read(&self.buffer[..count], &mut self.seen);
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
