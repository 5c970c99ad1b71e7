//! One thread of the load: a poll, a slab of listeners, one buffer for all their reads.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapwing_wire::control::{ClientMessage, SUBPROTOCOL, Subscribe};
use lapwing_wire::handshake;
use lapwing_wire::query::Encoding;
use lapwing_wire::start::Start;
use mio::{Events, Poll, Token};
use slab::Slab;

use super::books::Books;
use super::course::{Course, Stage};
use super::ear::Ear;
use super::listener::{Around, End, Hello, Listener, Turn};
use super::plan::Plan;
use super::sources::Sources;
use super::wire::Wire;
use crate::client::dial::{DialError, HANDSHAKE_WAIT, USER_AGENT};
use crate::client::entropy::Entropy;
use crate::client::token::bearer;
use crate::clock::Now;

/// A thread's own side.
pub struct Worker {
    plan: Arc<Plan>,
    course: Arc<Course>,
    poll: Poll,
    listeners: Slab<Listener>,
    /// Listeners that have something to do, each once.
    ready: VecDeque<usize>,
    buffer: Vec<u8>,
    entropy: Entropy,
    ear: Ear,
    sources: Sources,
    commands: Vec<String>,
    /// The clients of this thread that are still to come.
    to_come: std::iter::StepBy<std::ops::Range<usize>>,
    /// The next of them, and when.
    next: Option<u64>,
    opening: usize,
    open: usize,
    origin: u64,
    swept: u64,
    drained: bool,
}

impl Worker {
    /// A thread that has every so-many-th client.
    pub fn new(plan: Arc<Plan>, course: Arc<Course>, ear: Ear, thread: usize, origin: u64) -> io::Result<Self> {
        let encoding = (plan.encoding == Encoding::Binary).then_some(Encoding::Binary);
        let wish = |topic| {
            let wish = Subscribe {
                encoding,
                ..Subscribe::new(topic, Start::Latest)
            };
            ClientMessage::Subscribe(wish).to_text()
        };
        let commands = match plan.wanted() {
            Some(topics) => topics.into_iter().map(|topic| wish(Some(topic))).collect(),
            None => vec![wish(None)],
        };
        let mut worker = Self {
            poll: Poll::new()?,
            listeners: Slab::new(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            entropy: Entropy::from_system(),
            ear,
            sources: Sources::new(&plan.sources, plan.address),
            commands,
            to_come: (thread..plan.clients).step_by(plan.threads),
            next: None,
            opening: 0,
            open: 0,
            origin,
            swept: origin,
            drained: false,
            plan,
            course,
        };
        worker.expect_next();
        Ok(worker)
    }

    /// Listens until the run is over; gives what was counted.
    pub fn run(mut self) -> Books {
        let mut events = Events::with_capacity(1024);
        let mut since = self.origin;
        loop {
            match self.course.stage() {
                Stage::Leaving => break,
                Stage::Draining => self.look_for_the_end(),
                Stage::Running => self.dial_due(),
            }
            since = self.round(&mut events, since);
        }
        self.leave(&mut events);
        self.ear.books
    }

    /// One round: waits for something to come, and gives each listener that it came for a turn. Gives when the wait was over.
    fn round(&mut self, events: &mut Events, before: u64) -> u64 {
        let asked = Now::read().mono;
        let wait = match self.next {
            _ if !self.ready.is_empty() => Duration::ZERO,
            // What is due and has no room waits for an answer, not for the clock.
            Some(due) if self.opening < OPENING_MAX => ROUND.min(Duration::from_nanos(due.saturating_sub(asked))),
            _ => ROUND,
        };
        if let Err(error) = self.poll.poll(events, Some(wait))
            && error.kind() != io::ErrorKind::Interrupted
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let now = Now::read();
        self.ear.refresh();
        self.ear.at(now);
        // A wait that took its time had nothing to give before its end; otherwise this may have been there since the one before.
        let since = if now.mono - asked > WAITED_NANOS {
            now.mono
        } else {
            before
        };
        for event in &*events {
            enqueue(&mut self.listeners, &mut self.ready, event.token().0);
        }
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            self.turn(key, since);
        }
        if now.mono.saturating_sub(self.swept) > SWEEP_NANOS {
            self.sweep(now.mono);
        }
        now.mono
    }

    /// Begins the connects that are due, as many at a time as are sensible.
    fn dial_due(&mut self) {
        while self.opening < OPENING_MAX && self.next.is_some_and(|due| due <= Now::read().mono) {
            match self.dial() {
                Ok(()) => self.opening += 1,
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => match self.sources.advance() {
                    // The same client again, from the next address.
                    true => continue,
                    false => return self.give_up_the_rest(),
                },
                Err(error) => self.refuse(connect_error(&self.plan, error)),
            }
            self.expect_next();
        }
    }

    /// No port is free, and no client that is still to come would find one.
    fn give_up_the_rest(&mut self) {
        self.course.on_portless();
        while self.next.is_some() {
            self.refuse(connect_error(&self.plan, io::ErrorKind::AddrNotAvailable.into()));
            self.expect_next();
        }
    }

    fn expect_next(&mut self) {
        let due = |client| self.origin + u64::try_from(self.plan.due(client).as_nanos()).unwrap_or(u64::MAX);
        self.next = self.to_come.next().map(due);
    }

    fn dial(&mut self) -> io::Result<()> {
        let began = Now::read().mono;
        self.ear.books.on_connect(began);
        let tls = self.plan.tls.as_ref().map(|(config, name)| (config, name));
        let wire = Wire::dial(self.plan.address, &self.sources, tls)?;
        let key = STANDARD.encode(self.entropy.bytes::<16>());
        let protocols: &[&str] = if self.plan.is_plain() { &[] } else { &[SUBPROTOCOL] };
        let target = &self.plan.target;
        let token = self.plan.token.read().map_err(io::Error::other)?;
        let bearer = token.as_ref().map(bearer);
        let headers: Vec<_> = [USER_AGENT]
            .into_iter()
            .chain(bearer.as_deref().map(|bearer| ("Authorization", bearer)))
            .collect();
        let request = handshake::request(
            &target.host_header(),
            &target.path_and_query(None),
            &key,
            protocols,
            &headers,
        );
        let hello = Hello {
            request: request.map_err(io::Error::other)?,
            key,
            protocols,
        };
        let entry = self.listeners.vacant_entry();
        let mut listener = Listener::new(wire, hello, began);
        listener.wire.watch(self.poll.registry(), Token(entry.key()))?;
        entry.insert(listener);
        Ok(())
    }

    fn refuse(&mut self, error: DialError) {
        self.ear.books.refuse(error);
        self.course.on_refused();
    }

    fn turn(&mut self, key: usize, since: u64) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.queued = false;
        }
        for _ in 0..READS_PER_TURN {
            let Some(listener) = self.listeners.get_mut(key) else {
                return;
            };
            let mut around = Around {
                ear: &mut self.ear,
                buffer: &mut self.buffer,
                entropy: &mut self.entropy,
                commands: &self.commands,
                address: self.plan.address,
                since,
            };
            match listener.turn(&mut around) {
                Ok(Turn::Again) => {}
                Ok(Turn::Park) => return,
                Ok(Turn::Opened) => self.count(key),
                Err(end) => return self.over(key, end),
            }
        }
        enqueue(&mut self.listeners, &mut self.ready, key);
    }

    /// A connection is open.
    fn count(&mut self, key: usize) {
        self.listeners[key].counted = true;
        self.opening -= 1;
        self.open += 1;
        self.ear.slice.opened += 1;
        self.course.on_open(self.open == 1);
    }

    fn over(&mut self, key: usize, end: End) {
        if matches!(end, End::Ended { .. }) && !self.listeners[key].counted {
            // It was opened and ended in one go.
            self.count(key);
        }
        let mut listener = self.listeners.remove(key);
        listener.wire.unwatch(self.poll.registry());
        match end {
            End::Left => {}
            End::Refused(error) => {
                self.opening -= 1;
                // A port may have been found and still not be free towards this server.
                if is_portless(&error) && self.sources.advance() {
                    return self.dial_again();
                }
                if is_portless(&error) {
                    self.course.on_portless();
                }
                self.refuse(error);
            }
            End::Ended { how, done } => {
                self.open -= 1;
                self.course.on_over(self.open == 0);
                *self.ear.books.ended.entry(how).or_default() += 1;
                self.ear.slice.ended += 1;
                self.ear.unfollow(&listener.tracks);
                self.ear.books.close(&listener.tracks, Now::read().mono, done);
            }
        }
    }

    fn dial_again(&mut self) {
        match self.dial() {
            Ok(()) => self.opening += 1,
            Err(error) => self.refuse(connect_error(&self.plan, error)),
        }
    }

    /// Gives up handshakes that take too long.
    fn sweep(&mut self, now: u64) {
        self.swept = now;
        if self.opening == 0 {
            return;
        }
        let patience = u64::try_from(HANDSHAKE_WAIT.as_nanos()).unwrap_or(u64::MAX);
        let late = |listener: &Listener| {
            listener
                .opening_since()
                .is_some_and(|since| now.saturating_sub(since) > patience)
        };
        let late: Vec<usize> = self
            .listeners
            .iter()
            .filter(|(_, listener)| late(listener))
            .map(|(key, _)| key)
            .collect();
        for key in late {
            let end = self.listeners[key].given_up();
            self.over(key, end);
        }
    }

    /// Whether every listener has the published topic up to its end.
    fn look_for_the_end(&mut self) {
        // Who has not come by now comes no more.
        self.next = None;
        if self.drained {
            return;
        }
        let goal = self.course.goal();
        let publish = self
            .plan
            .publish
            .as_ref()
            .and_then(|publish| self.course.topic(publish.topic.as_str()));
        let has_all = |listener: &Listener| {
            let mut tracks = listener.tracks.iter().filter(|track| Some(track.topic) == publish);
            tracks.all(|track| track.next >= goal)
        };
        if self
            .listeners
            .iter()
            .filter(|(_, listener)| listener.is_open())
            .all(|(_, listener)| has_all(listener))
        {
            self.drained = true;
            self.course.on_drained();
        }
    }

    /// Closes the books, then every connection as it should be, but waits for no server for long.
    fn leave(&mut self, events: &mut Events) {
        let now = Now::read().mono;
        self.ear.send_slice(now);
        self.next = None;
        let mut unopened = Vec::new();
        for (key, listener) in &mut self.listeners {
            match listener.is_open() {
                true => {
                    self.ear.books.close(&listener.tracks, now, true);
                    listener.leave(&mut self.entropy);
                }
                false => unopened.push(key),
            }
        }
        unopened.into_iter().for_each(|key| drop(self.listeners.remove(key)));
        while !self.listeners.is_empty() && Now::read().mono - now < GOODBYE_NANOS {
            self.round(events, now);
        }
    }
}

fn enqueue(listeners: &mut Slab<Listener>, ready: &mut VecDeque<usize>, key: usize) {
    if let Some(listener) = listeners.get_mut(key)
        && !std::mem::replace(&mut listener.queued, true)
    {
        ready.push_back(key);
    }
}

fn connect_error(plan: &Plan, error: io::Error) -> DialError {
    DialError::Connect {
        tried: vec![(plan.address, error)],
    }
}

fn is_portless(error: &DialError) -> bool {
    matches!(error, DialError::Connect { tried } if tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::AddrNotAvailable))
}

/// One buffer a thread, as large as what a server of ours writes at once.
const READ_BYTES: usize = 64 << 10;
/// Then others have their turn.
const READS_PER_TURN: usize = 4;
/// Connects at once, of one thread: more would only fill the server's queue, and be timed there.
const OPENING_MAX: usize = 64;
/// The longest round: so soon is a new stage seen.
const ROUND: Duration = Duration::from_millis(20);
/// A poll that takes longer has waited.
const WAITED_NANOS: u64 = 20_000;
const SWEEP_NANOS: u64 = 100_000_000;
/// For the server's half of all goodbyes.
const GOODBYE_NANOS: u64 = 1_000_000_000;
