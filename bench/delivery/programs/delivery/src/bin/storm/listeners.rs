//! All listeners: one thread, one poll, edges only.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::listener::{Listener, Place};

/// Handshakes that are under way at once; a server's backlog holds them.
const AT_ONCE: usize = 1000;
const READ_BYTES_MAX: usize = 1 << 20;
/// How long a poll waits: deadlines are looked at in between.
const POLL_NANOS: i64 = 10_000_000;

/// The listeners.
pub struct Listeners {
    place: Place,
    poll: OwnedFd,
    listeners: Vec<Listener>,
    buffer: Vec<u8>,
    /// When the last handshake was answered.
    pub answered: Option<Instant>,
    /// How long nothing came, since the last command.
    pub idle: Duration,
}

impl Listeners {
    /// So many, who all want `next`.
    pub fn new(place: Place, count: usize, next: u64) -> io::Result<Self> {
        Ok(Self {
            place,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listeners: (0..count).map(|_| Listener::new(next)).collect(),
            buffer: vec![0; READ_BYTES_MAX],
            answered: None,
            idle: Duration::ZERO,
        })
    }

    /// A sum over all of them.
    pub fn sum(&self, of: impl Fn(&Listener) -> u64) -> u64 {
        self.listeners.iter().map(of).sum()
    }

    /// Connects whoever is not connected, or is no more, and reads until all want `offset`; gives how many do.
    pub fn until(&mut self, offset: u64, deadline: Instant) -> io::Result<usize> {
        self.idle = Duration::ZERO;
        let arrived =
            |listener: &Listener| listener.next >= offset && listener.line.as_ref().is_some_and(|line| line.answered);
        let mut to_dial: Vec<usize> = (0..self.listeners.len())
            .filter(|&number| self.listeners[number].line.is_none())
            .collect();
        let (mut asking, mut done) = (0, self.listeners.iter().filter(|listener| arrived(listener)).count());
        while done < self.listeners.len() && Instant::now() < deadline {
            while asking < AT_ONCE
                && let Some(number) = to_dial.pop()
            {
                self.dial(number)?;
                asking += 1;
            }
            self.poll(|listeners, number| {
                let (was_there, was_asking) = (arrived(&listeners.listeners[number]), listeners.is_asking(number));
                listeners.read(number)?;
                if was_asking && !listeners.is_asking(number) {
                    asking -= 1;
                    listeners.answered = Some(Instant::now());
                }
                if listeners.listeners[number].line.is_none() {
                    to_dial.push(number);
                }
                let is_there = arrived(&listeners.listeners[number]);
                done = done + usize::from(is_there) - usize::from(was_there);
                Ok(())
            })?;
        }
        Ok(done)
    }

    /// Reads until no connection is left; gives how many were ended.
    pub fn lost(&mut self, deadline: Instant) -> io::Result<usize> {
        self.idle = Duration::ZERO;
        while self.listeners.iter().any(|listener| listener.line.is_some()) && Instant::now() < deadline {
            self.poll(Self::read)?;
        }
        Ok(self.listeners.iter().filter(|listener| listener.line.is_none()).count())
    }

    fn is_asking(&self, number: usize) -> bool {
        self.listeners[number].line.as_ref().is_some_and(|line| !line.answered)
    }

    fn dial(&mut self, number: usize) -> io::Result<()> {
        let line = self.listeners[number].dial(&self.place)?;
        let data = EventData::new_u64(number as u64);
        Ok(epoll::add(
            &self.poll,
            &line.socket,
            data,
            EventFlags::IN | EventFlags::ET,
        )?)
    }

    /// Gives `each` every listener for whom something came.
    fn poll(&mut self, mut each: impl FnMut(&mut Self, usize) -> io::Result<()>) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: POLL_NANOS,
        };
        let began = Instant::now();
        epoll::wait(&self.poll, spare_capacity(&mut events), Some(&wait))?;
        self.idle += began.elapsed();
        events
            .iter()
            .try_for_each(|event| each(self, event.data.u64() as usize))
    }

    /// Everything that one connection has; what comes after it is another edge.
    fn read(&mut self, number: usize) -> io::Result<()> {
        let listener = &mut self.listeners[number];
        while let Some(line) = &mut listener.line {
            match line.socket.read(&mut self.buffer) {
                Ok(0) => listener.line = None,
                Ok(count) => {
                    listener.on_read(&self.buffer[..count])?;
                    if count < self.buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => listener.line = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
