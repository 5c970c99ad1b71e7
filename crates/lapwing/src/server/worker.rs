//! A delivery thread as others know it: what can be handed to it, and how it is stopped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::extension::{Compression, Deflation};
use lapwing_wire::query::Encoding;
use mio::{Poll, Waker};

use super::access::pass::Pass;
use super::common::Common;
use super::delivery::{BELL, Delivery};
use super::key::Key;
use super::label::ClientLabel;
use super::loader::{self, Loaded};
use super::seat::Seat;
use super::topics::TopicId;
use super::watch::Rows;
use crate::config::Limits;
use crate::log::Grant;
use crate::log::bell::{Bell, Ring};
use crate::log::hold::Pin;
use crate::session::Mode;
use crate::socket::tls::Tls;

/// A worker, as the server that started it knows it.
pub struct Worker {
    hand: Hand,
    thread: JoinHandle<()>,
}

/// Which of how many delivery threads this is.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Its number, from 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Share {
    /// When the client at this place of this thread comes back after a restart: a second for the restart, then spread over
    /// time, all threads together.
    #[must_use]
    pub fn return_ms(self, key: Key) -> u64 {
        1000 + self.leave_ms(key)
    }

    /// When it goes to another server, if it knows one: spread over time in the same way, so that the others take it.
    #[must_use]
    pub fn leave_ms(self, key: Key) -> u64 {
        let place = (key.place() * self.of + self.number) as u64;
        place * 1000 / Limits::RETURNS_PER_SECOND
    }
}

/// What other threads need to hand something to a worker.
#[derive(Clone)]
pub struct Hand {
    bell: Arc<Bell<Waker>>,
    commands: Sender<Command>,
    sessions: Arc<AtomicUsize>,
}

/// A connection whose handshake is done.
pub struct Arrival {
    /// The socket, non-blocking.
    pub stream: std::net::TcpStream,
    /// What encrypts it, if anything does.
    pub tls: Option<Box<Tls>>,
    /// Bytes that the client sent right behind its handshake.
    pub leftover: Vec<u8>,
    /// How it is called.
    pub label: ClientLabel,
    /// Where it is.
    pub address: std::net::SocketAddr,
    /// How it wants its messages.
    pub mode: Mode,
    /// The form of arrays.
    pub encoding: Encoding,
    /// Whether messages may be compressed.
    pub compression: Compression,
    /// How, where that is this connection's own affair.
    pub deflation: Option<Deflation>,
    /// What it was granted before the 101 was written.
    pub grants: Vec<(TopicId, Grant)>,
    /// What keeps those places, where a topic holds back its source.
    pub pins: Vec<(TopicId, Pin)>,
    /// What it may do, where that is asked.
    pub pass: Option<Pass>,
    /// Where it is not: it may see what the server knows of its clients.
    pub watches: bool,
    /// Its place among the connections allowed.
    pub seat: Seat,
}

/// How the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// 1001 for good, 1012 to come back.
    pub code: CloseCode,
    /// Why, for the close frame.
    pub why: &'static str,
    /// Lagging clients are served so long.
    pub drain: Duration,
    /// Whether clients are told when to come back.
    pub retry: bool,
}

/// What a worker is told.
pub enum Command {
    /// Here is a connection.
    Adopt(Box<Arrival>),
    /// Here is what a connection wanted from a file.
    Loaded(Loaded),
    /// Tell of every client, a few at a time; letting go of this says that all were told.
    Survey(Rows),
    /// Dismiss everyone, and end.
    Stop(Stop),
}

impl Worker {
    /// Starts a delivery thread for these topics. `batches` says whether to send to many at once by io_uring.
    pub fn start(share: Share, batches: bool, common: Arc<Common>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        for topic in common.topics.iter() {
            topic.log.attach(bell.clone() as Arc<dyn Ring>);
        }
        let (commands, received) = mpsc::channel();
        let sessions = Arc::new(AtomicUsize::new(0));
        let hand = Hand {
            bell: bell.clone(),
            commands,
            sessions: sessions.clone(),
        };
        let stored = common.topics.iter().any(|topic| topic.log.is_backed());
        let loader = stored
            .then(|| loader::start(share.number, common.clone(), hand.clone()))
            .transpose()?;
        let delivery = Delivery::new(poll, bell, received, sessions, loader, share, batches, common);
        let thread = std::thread::Builder::new()
            .name(format!("delivery-{}", share.number))
            .spawn(move || delivery.run())?;
        Ok(Self { hand, thread })
    }

    /// How many sessions it has, those on their way included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.hand.sessions.load(Ordering::Relaxed)
    }

    /// For those who bring it connections.
    #[must_use]
    pub fn hand(&self) -> Hand {
        self.hand.clone()
    }

    /// Tells it to dismiss its sessions and to end.
    pub fn stop(&self, stop: Stop) {
        self.hand.send(Command::Stop(stop));
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Hand {
    /// Announces a connection whose handshake is under way: a worker does not end before it came, or will not come.
    #[must_use]
    pub fn expect(self) -> Expected {
        self.sessions.fetch_add(1, Ordering::AcqRel);
        Expected {
            hand: self,
            came: false,
        }
    }

    /// Tells the worker.
    pub fn send(&self, command: Command) {
        // A worker that has ended has nobody left to serve.
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

/// A connection that is on its way to a worker.
pub struct Expected {
    hand: Hand,
    came: bool,
}

impl Expected {
    /// Hands the connection over.
    pub fn adopt(mut self, arrival: Arrival) {
        self.came = true;
        self.hand.send(Command::Adopt(Box::new(arrival)));
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if !self.came {
            self.hand.sessions.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
