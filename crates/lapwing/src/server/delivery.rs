//! The delivery thread's loop: woken once per append, one turn for each session that has something to do.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::deflate::Inflater;
use lapwing_wire::position::Offset;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::access::pass::Passes;
use super::common::Common;
use super::connection::{Connection, Sent, Surroundings, Turn};
use super::echo::Echo;
use super::event::Event;
use super::feeds::Feeds;
use super::journal::target::DELIVERY;
use super::key::Key;
use super::liveness::Verdict;
use super::loader::{Loaded, Wanted};
use super::peer::Peer;
use super::ring::{BATCH_MAX, Outgoing, SendRing};
use super::tick::Tick;
use super::topics::TopicId;
use super::watch::Rows;
use super::worker::{Arrival, Command, Share};
use crate::clock::Now;
use crate::config::Limits;
use crate::log::bell::Bell;
use crate::reason::reason;
use crate::session::{Mode, Session};
use crate::socket::Socket;

/// The thread's own side.
pub struct Delivery {
    poll: Poll,
    bell: Arc<Bell<Waker>>,
    commands: Receiver<Command>,
    sessions: Arc<AtomicUsize>,
    /// Brings what lies in files; none when no topic has any.
    loader: Option<Sender<Wanted>>,
    around: Surroundings,
    connections: Slab<Connection>,
    /// Connections that have something to do, each once.
    ready: VecDeque<usize>,
    buffer: Vec<u8>,
    /// Sends to many at once, where the kernel can.
    ring: Option<SendRing>,
    /// Connections whose frames go out with the next batch, each once.
    batch: Vec<usize>,
    /// Those who want to know of all clients, and from which place on.
    surveys: VecDeque<(Rows, usize)>,
    clock: PatientClock,
    swept: Duration,
    /// When those who still lag are dismissed.
    stop_by: Duration,
}

impl Delivery {
    /// A thread's side that begins with no connection. `batches` says whether to send to many at once, if the thread can.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one caller, which has just made them all")]
    pub fn new(
        poll: Poll,
        bell: Arc<Bell<Waker>>,
        commands: Receiver<Command>,
        sessions: Arc<AtomicUsize>,
        loader: Option<Sender<Wanted>>,
        share: Share,
        batches: bool,
        common: Arc<Common>,
    ) -> Self {
        Self {
            poll,
            bell,
            commands,
            sessions,
            loader,
            around: Surroundings {
                feeds: Feeds::new(&common.topics),
                ledger: common.ledgers.open(),
                common,
                inflater: Inflater::default(),
                passes: Passes::default(),
                batches,
                now: Duration::ZERO,
                stop: None,
                share,
            },
            connections: Slab::new(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            ring: None,
            batch: Vec::new(),
            surveys: VecDeque::new(),
            clock: PatientClock::default(),
            swept: Duration::ZERO,
            stop_by: Duration::MAX,
        }
    }

    /// Delivers until it is told to stop and everyone has left.
    pub fn run(mut self) {
        self.ring = self.make_ring();
        self.around.batches = self.ring.is_some();
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    let text = format!("a delivery thread cannot wait for its sockets: {}", reason(&error));
                    self.around.common.tell(Event::Limit { text });
                    std::thread::sleep(Duration::from_millis(100));
                }
                _ => {}
            }
            self.around.now = self.clock.read();
            if self.bell.answer() {
                self.obey();
                self.around
                    .feeds
                    .refresh(|key| enqueue(&mut self.connections, &mut self.ready, key.place()));
            }
            for event in &events {
                self.on_event(event);
            }
            #[cfg(debug_assertions)]
            if !self.ready.is_empty() {
                super::fault::before_turns();
            }
            // One round: each gets one turn, then the poll is asked again.
            for _ in 0..self.ready.len() {
                let Some(key) = self.ready.pop_front() else { break };
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.queued = false;
                }
                self.turn(key);
            }
            self.send_batch();
            self.close_round();
            self.look_around();
            if self.around.now.saturating_sub(self.swept) >= self.sweep_interval() {
                self.sweep();
            }
            let connections = &self.connections;
            self.around
                .feeds
                .tell_places(|key, topic| Some(connections.get(key.place())?.peer.session.cursor(topic.0)?.offset));
            if self.around.stop.is_some() && self.sessions.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }

    /// Shows those who count what went out in this round, and how long what had come took to get there.
    fn close_round(&mut self) {
        let Surroundings { feeds, ledger, .. } = &mut self.around;
        let mut woken = feeds.take_woken().peekable();
        if woken.peek().is_some() {
            let now = Now::read().mono;
            woken.for_each(|(topic, appended)| ledger.on_served(topic, appended, now));
        }
        ledger.publish();
    }

    /// How long the poll may wait: not at all with work at hand, for ever with nobody here.
    fn wait(&self) -> Option<Duration> {
        match () {
            () if !self.ready.is_empty() || !self.surveys.is_empty() => Some(Duration::ZERO),
            () if self.connections.is_empty() && self.around.stop.is_none() => None,
            () => Some(self.sweep_interval()),
        }
    }

    fn sweep_interval(&self) -> Duration {
        let limits = &self.around.common.limits;
        let shortest = limits
            .ping_interval
            .min(limits.pong_timeout)
            .min(limits.stall_timeout)
            .min(limits.subscribe_timeout)
            .min(limits.heartbeat);
        let usual = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        if self.around.stop.is_some() {
            usual.min(Duration::from_millis(50))
        } else {
            usual
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Adopt(arrival) => self.adopt(*arrival),
                Command::Loaded(loaded) => self.on_loaded(loaded),
                Command::Survey(rows) => self.surveys.push_back((rows, 0)),
                Command::Stop(stop) => {
                    self.stop_by = self.around.now + stop.drain;
                    self.around.stop = Some(stop);
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
            tls,
            leftover,
            label,
            address,
            mode,
            encoding,
            compression,
            deflation,
            grants,
            pins,
            pass,
            watches,
            seat,
        } = arrival;
        self.around.ledger.on_read(leftover.len());
        pins.into_iter()
            .for_each(|(topic, pin)| self.around.feeds.keep(topic, pin));
        let limits = &self.around.common.limits;
        let cursors = grants
            .iter()
            .map(|(topic, grant)| self.around.common.topics.get(*topic).cursor(grant, encoding))
            .collect();
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let session = Session::new(mode, compression, cursors).with_encoding(encoding);
        let mut peer = Peer::new(label, address, session, Key::new(key), watches, limits, self.around.now);
        if mode == Mode::Echo {
            peer.echo_messages(Echo::new(deflation));
        }
        self.around.passes.put(Key::new(key), pass);
        peer.greet(&self.around.common, &grants, &self.around.passes);
        let stream = mio::net::TcpStream::from_std(stream);
        let mut socket = match tls {
            None => Socket::new(stream),
            Some(tls) => Socket::encrypted(stream, tls),
        };
        let registered =
            self.poll
                .registry()
                .register(socket.stream(), Token(key), Interest::READABLE | Interest::WRITABLE);
        self.around.common.counts.on_came(mode);
        entry.insert(Connection::new(peer, socket, leftover, compression, limits, seat));
        for (topic, grant) in &grants {
            let view = self.connections[key].peer.session.view(topic.0);
            self.around.feeds.follow(*topic, view, Key::new(key));
            self.connections[key]
                .peer
                .tell_gap(self.around.common.topics.get(*topic), grant, &self.around.common);
        }
        if mode != Mode::LapwingV1 || !grants.is_empty() {
            self.connections[key]
                .peer
                .tell_joined(&self.around.common, &self.around.feeds, &self.around.passes);
        }
        if let Err(error) = registered {
            self.over(key, Some(format!("cannot be watched: {}", reason(&error))));
            return;
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
            connection.peer.live.on_unblocked(self.around.now);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.on_readable();
        }
        enqueue(&mut self.connections, &mut self.ready, key);
    }

    /// Gives one connection its turn: what came is read, then at most one write, so that nobody starves another.
    fn turn(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.in_batch {
            // What it was called for is seen to when its batch is out.
            return;
        }
        // An error of ours in one session must not end the others.
        let turn = catch_unwind(AssertUnwindSafe(|| connection.turn(&mut self.buffer, &mut self.around)));
        self.settle(key, turn);
    }

    fn settle(&mut self, key: usize, turn: std::thread::Result<Turn>) {
        match turn {
            Ok(Turn::Again) => enqueue(&mut self.connections, &mut self.ready, key),
            Ok(Turn::Load(topic, offset)) => self.load(key, topic, offset),
            Ok(Turn::Send) => {
                self.connections[key].in_batch = true;
                self.batch.push(key);
                if self.batch.len() == BATCH_MAX {
                    self.send_batch();
                }
            }
            Ok(Turn::Park) => {}
            Ok(Turn::Over(broken)) => self.over(key, broken),
            Err(_) => self.on_panic(key),
        }
    }

    /// Sends what the connections of the batch have, by one system call, and goes on with each as after a write of its own.
    fn send_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let Some(ring) = self.ring.as_mut().filter(|_| !batch.is_empty()) else {
            return;
        };
        let mut outcomes: Vec<Outcome> = batch.iter().map(|_| Outcome::NotSent).collect();
        let mut sends = Vec::with_capacity(batch.len());
        let mut senders = Vec::with_capacity(batch.len());
        for (nth, key) in batch.iter().enumerate() {
            let connection = &self.connections[*key];
            match catch_unwind(AssertUnwindSafe(|| connection.frames(&self.around.feeds))) {
                Ok(Some((cursor, run))) => {
                    let (socket, bytes) = (connection.socket.fd(), run.bytes());
                    sends.push(Outgoing { socket, bytes });
                    senders.push((nth, cursor, run));
                }
                Ok(None) => {}
                Err(panic) => outcomes[nth] = Outcome::Panicked(panic),
            }
        }
        let end = ring.send(&sends, |place, written| {
            let (nth, cursor, run) = &senders[place];
            outcomes[*nth] = Outcome::Sent(Sent::new(*cursor, run, written));
        });
        if let Err(error) = end {
            self.ring = None;
            self.around.batches = false;
            self.tell_no_ring("failed", &error);
        }
        for (key, outcome) in batch.into_iter().zip(outcomes) {
            let connection = &mut self.connections[key];
            connection.in_batch = false;
            let turn = match outcome {
                Outcome::Sent(sent) => catch_unwind(AssertUnwindSafe(|| connection.on_sent(sent, &mut self.around))),
                Outcome::NotSent => catch_unwind(AssertUnwindSafe(|| connection.write_alone(&mut self.around))),
                Outcome::Panicked(panic) => Err(panic),
            };
            self.settle(key, turn);
        }
    }

    /// A ring, if one is wanted. Here and not before: it belongs to the thread that made it.
    fn make_ring(&self) -> Option<SendRing> {
        let ring = self.around.batches.then(SendRing::new)?;
        ring.inspect_err(|error| self.tell_no_ring("is not to be had", error))
            .ok()
    }

    fn tell_no_ring(&self, what: &str, error: &io::Error) {
        let text = format!(
            "io_uring {what} ({}): from now on each client has a system call of its own",
            reason(error)
        );
        self.around.common.tell(Event::Limit { text });
    }

    /// Has something brought from a file; meanwhile the connection goes on with its other topics.
    fn load(&mut self, key: usize, topic: TopicId, offset: Offset) {
        let view = self.connections[key].peer.session.view(topic.0);
        let wanted = Wanted {
            key,
            topic,
            offset,
            view,
        };
        // Only topics with files ask, and then there is a loader, which ends after this.
        if let Some(loader) = &self.loader {
            let _ = loader.send(wanted);
        }
        enqueue(&mut self.connections, &mut self.ready, key);
    }

    /// The one who wanted it has its turn at once: others may want other pages of the topic.
    fn on_loaded(&mut self, loaded: Loaded) {
        let Loaded { wanted, page } = loaded;
        let Some(connection) = self.connections.get_mut(wanted.key) else {
            return;
        };
        let session = &mut connection.peer.session;
        // The key may be another connection's by now, which looks again if it waits too.
        session.on_loaded(wanted.topic.0);
        match page {
            Ok(page) => self.around.feeds.put(wanted.topic, wanted.view, page),
            Err(error)
                if session
                    .cursor(wanted.topic.0)
                    .is_some_and(|cursor| cursor.offset == wanted.offset) =>
            {
                let topic = self.around.common.topics.get(wanted.topic);
                connection
                    .peer
                    .on_unreadable(topic, wanted.offset, &error, &self.around.common);
            }
            Err(_) => {}
        }
        self.turn(wanted.key);
        // Before the pages change again, and before the connection can be gone.
        self.send_batch();
    }

    fn on_panic(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        tracing::error!(target: DELIVERY, "a panic in a client's turn: its connection is closed with 1011");
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
        self.around.feeds.settle(Key::new(key));
        for cursor in connection.peer.session.cursors() {
            let view = connection.peer.session.view(cursor.topic);
            self.around.feeds.unfollow(TopicId(cursor.topic), view, Key::new(key));
        }
        self.around.common.counts.on_gone(connection.peer.session.mode());
        connection
            .peer
            .tell_left(&self.around.common, &self.around.feeds, &self.around.passes, broken);
        self.around.passes.remove(Key::new(key));
        connection.let_go(&self.around.common);
        connection.socket.finish();
        // It may have failed to be registered in the first place.
        let _ = self.poll.registry().deregister(connection.socket.stream());
        self.sessions.fetch_sub(1, Ordering::AcqRel);
    }

    /// Looks whose token is over, or soon will be. The clock is the machine's own: a pause of this process counts.
    fn look_at_passes(&mut self) {
        for (key, standing) in self.around.passes.look(&self.around.common.access, Now::read()) {
            let Some(connection) = self.connections.get_mut(key.place()) else {
                continue;
            };
            connection
                .peer
                .on_standing(standing, &self.around.common, &self.around.passes);
            enqueue(&mut self.connections, &mut self.ready, key.place());
        }
    }

    /// Tells those who asked of the next few clients: a thousand at once would hold up the feed.
    fn look_around(&mut self) {
        let Some((answer, from)) = self.surveys.front_mut() else {
            return;
        };
        let until = (*from + SURVEYED_AT_ONCE).min(self.connections.capacity());
        let rows: Vec<_> = (*from..until)
            .filter_map(|key| Some(self.connections.get(key)?.row(&self.around)))
            .collect();
        *from = until;
        // Whoever asked may have gone.
        let gone = !rows.is_empty() && answer.send(rows).is_err();
        if gone || until == self.connections.capacity() {
            self.surveys.pop_front();
        }
    }

    /// Looks at every connection: who is silent, who lags, who is owed a heartbeat, whose time is up.
    fn sweep(&mut self) {
        self.swept = self.around.now;
        self.look_at_passes();
        // Whose wait has been too long is told so in its turn.
        for key in self.around.feeds.unsettled() {
            enqueue(&mut self.connections, &mut self.ready, key.place());
        }
        let now = self.around.now;
        let late = now >= self.stop_by;
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            let Connection {
                peer, socket, close_by, ..
            } = connection;
            peer.tell_joined(&self.around.common, &self.around.feeds, &self.around.passes);
            let closing = peer.session.closing().is_some();
            if close_by.is_some_and(|by| Tick::at(now).since(by) > Duration::ZERO) {
                self.over(key, None);
                continue;
            }
            if closing {
                // Our close cannot even leave, or is being answered: it has so long.
                close_by.get_or_insert(self.around.close_by());
                continue;
            }
            if late && let Some(stop) = &self.around.stop {
                // Our close would not reach one that takes nothing: the wait for its answer was part of the drain.
                let stuck = socket.is_blocked() && peer.live.has_taken_nothing_for(Limits::STOP_CLOSE_TIMEOUT, now);
                peer.dismiss(stop, self.around.share, &self.around.common);
                if stuck {
                    self.over(key, None);
                } else {
                    enqueue(&mut self.connections, &mut self.ready, key);
                }
                continue;
            }
            if let Some(missed) = peer.session.overtaken(&self.around.feeds) {
                peer.on_overtaken(&missed, &self.around.common);
                enqueue(&mut self.connections, &mut self.ready, key);
                continue;
            }
            let lags = socket.is_blocked() || peer.session.waiting(&self.around.feeds) > 0;
            let out = peer.session.bytes.saturating_sub(socket.owed() as u64);
            peer.live.on_lag(now, lags, out, &self.around.common.limits);
            let beats = peer.session.mode() == Mode::LapwingV1 && !socket.is_blocked();
            match peer.live.check(now, out, &self.around.common.limits) {
                Verdict::Fine if beats && peer.live.beat_due(now, self.around.common.limits.heartbeat) => {
                    peer.beat(&self.around.common)
                }
                Verdict::Fine if peer.look_for_reports(now, &self.around.common) => peer.session.ping(),
                Verdict::Fine => continue,
                Verdict::Ping => peer.session.ping(),
                Verdict::End(breach, code, reason) => {
                    self.around.common.breaches.count(breach);
                    peer.session.close(code, &reason);
                }
            }
            enqueue(&mut self.connections, &mut self.ready, key);
        }
    }
}

/// What became of a connection in a batch.
enum Outcome {
    /// Its frames were handed to the kernel.
    Sent(Sent),
    /// They were not, or it had none.
    NotSent,
    /// An error of ours.
    Panicked(Box<dyn std::any::Any + Send>),
}

fn enqueue(connections: &mut Slab<Connection>, ready: &mut VecDeque<usize>, key: usize) {
    if let Some(connection) = connections.get_mut(key)
        && !std::mem::replace(&mut connection.queued, true)
    {
        ready.push_back(key);
    }
}

/// The monotonic clock, but a pause of the whole process counts as at most two seconds: nobody is found dead for our silence.
#[derive(Default)]
pub struct PatientClock {
    now: Duration,
    mono: u64,
}

impl PatientClock {
    /// Its time.
    pub fn read(&mut self) -> Duration {
        let mono = Now::read().mono;
        let passed = Duration::from_nanos(mono.saturating_sub(std::mem::replace(&mut self.mono, mono)));
        self.now += passed.min(PAUSE_MAX);
        self.now
    }
}

/// The bell's place in the poll.
pub const BELL: Token = Token(usize::MAX);
/// One read buffer per worker, whatever the number of sessions.
const READ_BYTES: usize = 64 << 10;
/// About 50 us of looking between two rounds of the feed.
const SURVEYED_AT_ONCE: usize = 16;
/// Longer than any sweep interval, so that nothing else is shortened.
const PAUSE_MAX: Duration = Duration::from_secs(2);
