//! One delivery thread: it owns its sessions, is woken once per append, and gives each of them its turn.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::{Decoder, DecoderLimits};
use lapwing_wire::frame::Role;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::common::{Common, Seat};
use super::event::Event;
use super::feeds::Feeds;
use super::liveness::Verdict;
use super::peer::Peer;
use super::topics::TopicId;
use crate::clock::Now;
use crate::config::Limits;
use crate::log::Grant;
use crate::log::bell::{Bell, Ring};
use crate::session::{Mode, Next, Session};
use crate::socket::Socket;

/// A worker, as the server that started it knows it.
pub struct Worker {
    hand: Hand,
    thread: JoinHandle<()>,
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
    /// Bytes that the client sent right behind its handshake.
    pub leftover: Vec<u8>,
    /// Its number.
    pub id: u64,
    /// How it is called.
    pub label: super::event::ClientLabel,
    /// Where it is.
    pub address: std::net::SocketAddr,
    /// How it wants its messages.
    pub mode: Mode,
    /// What it was granted before the 101 was written.
    pub grants: Vec<(TopicId, Grant)>,
    /// Its place among the connections allowed.
    pub seat: Arc<Seat>,
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

enum Command {
    Adopt(Box<Arrival>),
    Stop(Stop),
}

impl Worker {
    /// Starts a delivery thread for these topics.
    pub fn start(number: usize, common: Arc<Common>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        for topic in common.topics.iter() {
            topic.log.attach(bell.clone() as Arc<dyn Ring>);
        }
        let (commands, received) = mpsc::channel();
        let sessions = Arc::new(AtomicUsize::new(0));
        let delivery = Delivery::new(poll, bell.clone(), received, sessions.clone(), common);
        let thread = std::thread::Builder::new()
            .name(format!("delivery-{number}"))
            .spawn(move || delivery.run())?;
        Ok(Self {
            hand: Hand {
                bell,
                commands,
                sessions,
            },
            thread,
        })
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
    /// Hands a connection over.
    pub fn adopt(&self, arrival: Arrival) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Adopt(Box::new(arrival)));
    }

    fn send(&self, command: Command) {
        // A worker that has ended has nobody left to serve.
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

/// The thread's own side.
struct Delivery {
    poll: Poll,
    bell: Arc<Bell<Waker>>,
    commands: Receiver<Command>,
    sessions: Arc<AtomicUsize>,
    common: Arc<Common>,
    feeds: Feeds,
    connections: Slab<Connection>,
    /// Connections that have something to do, each once.
    ready: VecDeque<usize>,
    buffer: Vec<u8>,
    clock: PatientClock,
    swept: Duration,
    stop: Option<(Stop, Duration)>,
}

struct Connection {
    peer: Peer,
    socket: Socket,
    decoder: Decoder,
    queued: bool,
    /// The poll said that bytes have come, and they are not all read.
    readable: bool,
    /// Our close frame is out; the peer's must come by then.
    close_by: Option<Duration>,
    /// Given back when the connection is gone.
    _seat: Arc<Seat>,
}

/// What a turn came to.
enum Turn {
    /// There is more to do.
    Again,
    /// Nothing until the poll or the bell says so.
    Park,
    /// The connection is over; with why, when it broke.
    Over(Option<String>),
}

impl Delivery {
    fn new(
        poll: Poll,
        bell: Arc<Bell<Waker>>,
        commands: Receiver<Command>,
        sessions: Arc<AtomicUsize>,
        common: Arc<Common>,
    ) -> Self {
        Self {
            poll,
            bell,
            commands,
            sessions,
            feeds: Feeds::new(&common.topics),
            common,
            connections: Slab::new(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            clock: PatientClock::default(),
            swept: Duration::ZERO,
            stop: None,
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    let text = format!("a delivery thread cannot wait for its sockets: {error}");
                    self.common.console.tell(Event::Limit { text });
                    std::thread::sleep(Duration::from_millis(100));
                }
                _ => {}
            }
            self.clock.read();
            if self.bell.answer() {
                self.obey();
                self.feeds
                    .refresh(|key| enqueue(&mut self.connections, &mut self.ready, key));
            }
            for event in &events {
                self.on_event(event);
            }
            // One round: each gets one turn, then the poll is asked again.
            for _ in 0..self.ready.len() {
                let Some(key) = self.ready.pop_front() else { break };
                self.turn(key);
            }
            if self.clock.now.saturating_sub(self.swept) >= self.sweep_interval() {
                self.sweep();
            }
            if self.stop.is_some() && self.connections.is_empty() {
                return;
            }
        }
    }

    /// How long the poll may wait: not at all with work at hand, for ever with nobody here.
    fn wait(&self) -> Option<Duration> {
        match () {
            () if !self.ready.is_empty() => Some(Duration::ZERO),
            () if self.connections.is_empty() => None,
            () => Some(self.sweep_interval()),
        }
    }

    fn sweep_interval(&self) -> Duration {
        let limits = &self.common.limits;
        let shortest = limits
            .ping_interval
            .min(limits.pong_timeout)
            .min(limits.stall_timeout)
            .min(limits.heartbeat);
        let usual = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        if self.stop.is_some() {
            usual.min(Duration::from_millis(50))
        } else {
            usual
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Adopt(arrival) => self.adopt(*arrival),
                Command::Stop(stop) => {
                    let by = self.clock.now + stop.drain;
                    self.stop = Some((stop, by));
                    let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
                    keys.into_iter()
                        .for_each(|key| enqueue(&mut self.connections, &mut self.ready, key));
                }
            }
        }
    }

    fn adopt(&mut self, arrival: Arrival) {
        let Arrival {
            stream,
            leftover,
            id,
            label,
            address,
            mode,
            grants,
            seat,
        } = arrival;
        let limits = &self.common.limits;
        let cursors = grants
            .iter()
            .map(|(topic, grant)| crate::session::Cursor::new(topic.0, grant.from))
            .collect();
        let mut peer = Peer::new(id, label, address, Session::new(mode, cursors), self.clock.now);
        peer.greet(&self.common, &grants);
        let decoder_limits = DecoderLimits {
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.fragments_max,
        };
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        peer.key = key;
        let mut socket = Socket::new(mio::net::TcpStream::from_std(stream));
        let registered =
            self.poll
                .registry()
                .register(socket.stream(), Token(key), Interest::READABLE | Interest::WRITABLE);
        entry.insert(Connection {
            peer,
            socket,
            decoder: Decoder::new(Role::Server, decoder_limits),
            queued: false,
            readable: true,
            close_by: None,
            _seat: seat,
        });
        for (topic, grant) in &grants {
            self.feeds.follow(*topic, mode, key);
            self.connections[key]
                .peer
                .tell_gap(self.common.topics.get(*topic), grant, &self.common);
        }
        if mode != Mode::LapwingV1 || !grants.is_empty() {
            self.connections[key].peer.tell_joined(&self.common, &self.feeds);
        }
        if let Err(error) = registered {
            self.over(key, Some(format!("cannot be watched: {error}")));
            return;
        }
        if !leftover.is_empty() {
            let connection = &mut self.connections[key];
            let mut bytes = leftover;
            hear(connection, &mut bytes, self.clock.now, &self.common, &mut self.feeds);
        }
        enqueue(&mut self.connections, &mut self.ready, key);
    }

    fn on_event(&mut self, event: &mio::event::Event) {
        if event.token() == BELL {
            return;
        }
        let key = event.token().0;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if event.is_writable() && connection.socket.on_writable() {
            connection.peer.live.on_unblocked(self.clock.now);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.readable = true;
        }
        enqueue(&mut self.connections, &mut self.ready, key);
    }

    /// Gives one connection its turn: what came is read, then at most one write, so that nobody starves another.
    fn turn(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.queued = false;
        let Self {
            feeds,
            common,
            buffer,
            clock,
            stop,
            ..
        } = self;
        // An error of ours in one session must not end the others.
        let turn = catch_unwind(AssertUnwindSafe(|| {
            match read(connection, buffer, clock.now, common, feeds) {
                Ok(()) => write(
                    connection,
                    clock.now,
                    common,
                    feeds,
                    stop.as_ref().map(|(stop, _)| stop),
                ),
                Err(broken) => Turn::Over(Some(broken)),
            }
        }));
        match turn {
            Ok(Turn::Again) => enqueue(&mut self.connections, &mut self.ready, key),
            Ok(Turn::Park) => {}
            Ok(Turn::Over(broken)) => self.over(key, broken),
            Err(_) => self.on_panic(key),
        }
    }

    fn on_panic(&mut self, key: usize) {
        self.common.roster.on_panic();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection
            .peer
            .session
            .close(CloseCode::INTERNAL, "an error in this server");
        let mut close = Vec::new();
        lapwing_wire::frame::write_close(&mut close, Some(CloseCode::INTERNAL), "an error in this server", None);
        if !connection.socket.has_rest() {
            // The session may be broken inside: its close goes straight out, and nothing after it.
            let _ = connection.socket.write(&close);
        }
        self.over(key, None);
    }

    fn over(&mut self, key: usize, broken: Option<String>) {
        let mut connection = self.connections.remove(key);
        for cursor in connection.peer.session.cursors() {
            self.feeds
                .unfollow(TopicId(cursor.topic), connection.peer.session.mode(), key);
        }
        connection.peer.tell_left(&self.common, &self.feeds, broken);
        connection.socket.finish();
        // It may have failed to be registered in the first place.
        let _ = self.poll.registry().deregister(connection.socket.stream());
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Looks at every connection: who is silent, who lags, who is owed a heartbeat, whose time is up.
    fn sweep(&mut self) {
        self.swept = self.clock.now;
        let now = self.clock.now;
        let late = self.stop.is_some_and(|(_, by)| now >= by);
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            let Connection {
                peer, socket, close_by, ..
            } = connection;
            peer.tell_joined(&self.common, &self.feeds);
            let closing = peer.session.closing().is_some();
            if close_by.is_some_and(|by| now >= by) {
                self.over(key, None);
                continue;
            }
            if closing {
                // Our close cannot even leave, or is being answered: it has so long.
                close_by.get_or_insert(now + Limits::CLOSE_TIMEOUT);
                continue;
            }
            if late && let Some((stop, _)) = &self.stop {
                peer.dismiss(stop.code, stop.why, stop.retry.then(|| spread(key)), &self.common);
                enqueue(&mut self.connections, &mut self.ready, key);
                continue;
            }
            let lags = socket.is_blocked() || peer.session.waiting(&self.feeds) > 0;
            peer.live.on_lag(now, lags, peer.session.bytes);
            let beats = peer.session.mode() == Mode::LapwingV1 && !socket.is_blocked();
            match peer.live.check(now, peer.session.bytes, &self.common.limits) {
                Verdict::Fine if beats && peer.live.beat_due(now, self.common.limits.heartbeat) => {
                    peer.beat(&self.common)
                }
                Verdict::Fine => continue,
                Verdict::Ping => peer.session.ping(),
                Verdict::End(code, reason) => peer.session.close(code, &reason),
            }
            enqueue(&mut self.connections, &mut self.ready, key);
        }
    }
}

fn enqueue(connections: &mut Slab<Connection>, ready: &mut VecDeque<usize>, key: usize) {
    if let Some(connection) = connections.get_mut(key)
        && !std::mem::replace(&mut connection.queued, true)
    {
        ready.push_back(key);
    }
}

/// Reads what has come, a bounded part of it at a time; an error is why the connection broke.
fn read(
    connection: &mut Connection,
    buffer: &mut [u8],
    now: Duration,
    common: &Common,
    feeds: &mut Feeds,
) -> Result<(), String> {
    for _ in 0..READS_PER_TURN {
        // Whoever does not take our answers is not listened to: nothing may pile up here.
        let deaf = connection.socket.is_blocked() && connection.peer.session.control_bytes() > CONTROL_BYTES_HELD;
        if !connection.readable || deaf {
            return Ok(());
        }
        match connection.socket.read(buffer) {
            Ok(None) => connection.readable = false,
            Ok(Some(0)) => return Err("it went without a close".to_owned()),
            Ok(Some(bytes)) => {
                hear(connection, &mut buffer[..bytes], now, common, feeds);
                if connection.peer.session.mode() == Mode::LapwingV1 && !connection.peer.session.cursors().is_empty() {
                    connection.peer.tell_joined(common, feeds);
                }
            }
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(())
}

/// Takes the bytes of one read.
fn hear(connection: &mut Connection, mut bytes: &mut [u8], now: Duration, common: &Common, feeds: &mut Feeds) {
    let Connection { decoder, peer, .. } = connection;
    loop {
        match decoder.decode(bytes) {
            Ok(decoded) => {
                let consumed = decoded.consumed;
                let Some(event) = decoded.event else { break };
                if matches!(
                    event,
                    lapwing_wire::decoder::Event::Text(_) | lapwing_wire::decoder::Event::Binary(_)
                ) {
                    peer.live.on_message();
                }
                peer.on_frame(event, now, common, feeds);
                bytes = &mut std::mem::take(&mut bytes)[consumed..];
            }
            Err(error) => {
                peer.session.close(error.close_code(), &error.to_string());
                break;
            }
        }
    }
    peer.live.on_heard(now, decoder.message_open());
}

/// Writes at most once.
fn write(connection: &mut Connection, now: Duration, common: &Common, feeds: &Feeds, stop: Option<&Stop>) -> Turn {
    match try_write(connection, now, common, feeds, stop) {
        Ok(turn) => turn,
        Err(error) => Turn::Over(Some(broken(&error))),
    }
}

fn try_write(
    connection: &mut Connection,
    now: Duration,
    common: &Common,
    feeds: &Feeds,
    stop: Option<&Stop>,
) -> io::Result<Turn> {
    let Connection {
        peer,
        socket,
        close_by,
        readable,
        ..
    } = connection;
    if socket.is_blocked() {
        return Ok(Turn::Park);
    }
    if socket.has_rest() {
        let written = socket.flush()?;
        peer.session.bytes += written as u64;
        peer.live.on_sent(now);
        if !socket.has_rest() {
            peer.live.on_control_left(now);
        }
        return Ok(Turn::Again);
    }
    let kept = match peer.session.next(feeds, Limits::WRITE_BYTES_MAX) {
        Next::Control(bytes) => {
            let written = socket.write(bytes)?;
            let rest = peer.session.on_control_written(written);
            if rest.is_empty() {
                peer.live.on_control_left(now);
            }
            socket.keep(&rest)
        }
        Next::Frames(nth, run) => {
            let written = socket.write(run.bytes())?;
            let split = run.split(written);
            peer.session.on_written(nth, written, &split);
            if written > 0 {
                peer.live.on_sent(now);
            }
            socket.keep(split.rest)
        }
        Next::Missed(nth, range) => {
            peer.on_missed(nth, &range, common);
            Ok(())
        }
        Next::Ended => {
            peer.session.close(CloseCode::NORMAL, "the feed has ended");
            Ok(())
        }
        Next::CaughtUp => match stop {
            Some(stop) => {
                peer.dismiss(stop.code, stop.why, stop.retry.then(|| spread(peer.key)), common);
                Ok(())
            }
            None => return Ok(if *readable { Turn::Again } else { Turn::Park }),
        },
        Next::Closed => {
            if peer.has_closed() {
                return Ok(Turn::Over(None));
            }
            socket.finish();
            close_by.get_or_insert(now + Limits::CLOSE_TIMEOUT);
            return Ok(if *readable { Turn::Again } else { Turn::Park });
        }
    };
    if kept.is_err() {
        // There is no room to finish the frame, so nothing more can be said to this one.
        peer.session
            .close(CloseCode::TOO_SLOW, "too many readers stuck in large frames");
        return Ok(Turn::Over(None));
    }
    Ok(Turn::Again)
}

/// When the client with this place comes back after a restart: a second for the restart, then spread over time.
fn spread(key: usize) -> u64 {
    1000 + key as u64 * 1000 / Limits::RETURNS_PER_SECOND
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection reset".to_owned()
        }
        io::ErrorKind::TimedOut => "its machine no longer answers".to_owned(),
        _ => format!("connection broke: {error}"),
    }
}

/// The monotonic clock, but a pause of the whole process counts as at most two seconds: nobody is found dead for our silence.
#[derive(Default)]
struct PatientClock {
    now: Duration,
    mono: u64,
}

impl PatientClock {
    fn read(&mut self) {
        let mono = Now::read().mono;
        let passed = Duration::from_nanos(mono.saturating_sub(std::mem::replace(&mut self.mono, mono)));
        self.now += passed.min(PAUSE_MAX);
    }
}

const BELL: Token = Token(usize::MAX);
/// One read buffer per worker, whatever the number of sessions.
const READ_BYTES: usize = 64 << 10;
const READS_PER_TURN: usize = 4;
/// A client that does not take this much of our answers is not read until it does.
const CONTROL_BYTES_HELD: usize = 16 << 10;
/// Longer than any sweep interval, so that nothing else is shortened.
const PAUSE_MAX: Duration = Duration::from_secs(2);
