//! One client of server-sent events: what goes out to it next, and when it is let go.
//!
//! It is a session like any other, with the same cursor and the same policies, but its bytes are those of an HTTP body: it is asked
//! for more when there is room, and looked at once a second whether or not it takes any.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use lapwing_wire::close::CloseCode;
use lapwing_wire::control::{Answer, Gap, GapReason, ServerMessage};
use lapwing_wire::extension::Compression;
use lapwing_wire::position::{Offset, Position};
use lapwing_wire::sse;
use tokio::sync::futures::OwnedNotified;
use tokio::task::JoinHandle;

use super::access::pass::{Pass, Passes};
use super::breach::Breach;
use super::common::Common;
use super::crier::{EventReader, Following};
use super::delivery::PatientClock;
use super::key::Key;
use super::label::ClientLabel;
use super::ledger::Amount;
use super::liveness::Verdict;
use super::meter::{End, Meter};
use super::peer::{Peer, subscribed};
use super::row::Row;
use super::topics::Topic;
use super::worker::{Share, Stop};
use crate::clock::Now;
use crate::config::Limits;
use crate::log::Grant;
use crate::log::hold::Pin as Hold;
use crate::log::reader::{Fetched, View, fetch};
use crate::session::{Cursor, Mode, Next, Session};
use crate::socket::{Held, RestsFull};

/// A client, as its connection knows it.
#[derive(Clone)]
pub struct EventStream(Arc<Shared>);

struct Shared {
    common: Arc<Common>,
    meter: Arc<Meter>,
    /// Its place among all, by this number.
    all: Arc<EventStreams>,
    session: u64,
    stream: Mutex<Stream>,
}

struct Stream {
    peer: Peer,
    passes: Passes,
    /// None once it is over.
    following: Option<Following>,
    /// Its say in what the topic holds, where that holds back its source.
    hold: Option<Hold>,
    /// What goes out before anything of the log.
    own: Vec<u8>,
    /// Once the server stops: why, and when the client is to come back, if that is told.
    stopped: Option<(&'static str, Option<u64>)>,
    /// The goodbye was given out.
    has_ended: bool,
    waker: Option<Waker>,
    clock: PatientClock,
    /// What had gone out when it was last looked at.
    out: u64,
    /// When those who lag are dismissed, once the server stops.
    stop_by: Option<Duration>,
    /// When it is cut off, once it was told goodbye.
    cut_by: Option<Duration>,
}

/// Who comes, and what it was granted.
pub struct Arrival {
    /// How it is called.
    pub label: ClientLabel,
    /// Where it is.
    pub address: SocketAddr,
    /// Its share in the topic.
    pub following: Following,
    /// Where it begins.
    pub grant: Grant,
    /// What keeps that place.
    pub hold: Option<Hold>,
    /// What it may do, where that is asked.
    pub pass: Option<Pass>,
}

/// All streams of events of a server by the number of their connection, for those who watch.
#[derive(Default)]
pub struct EventStreams(Mutex<HashMap<u64, EventStream>>);

impl EventStreams {
    /// What those who watch see of them.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        // Looked at after unlocking: each has a lock of its own.
        let all: Vec<_> = self.lock().values().cloned().collect();
        all.iter().filter_map(EventStream::row).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, EventStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Nothing of what is said reaches it.
    Cut,
}

impl EventStream {
    /// A client that comes, and the body that it is answered with.
    #[must_use]
    pub fn begin(
        arrival: Arrival,
        meter: Arc<Meter>,
        all: &Arc<EventStreams>,
        common: &Arc<Common>,
    ) -> (Self, EventBody) {
        let heard = arrival.following.heard();
        let session = arrival.label.session();
        let stream = Self(Arc::new(Shared {
            common: common.clone(),
            session,
            all: all.clone(),
            stream: Mutex::new(Stream::new(arrival, meter.written(), common)),
            meter,
        }));
        all.lock().insert(session, stream.clone());
        let body = EventBody {
            stream: stream.clone(),
            heard: Box::pin(heard),
            loading: None,
        };
        (stream, body)
    }

    /// Looks at it again and again; ends when its connection is to be cut off.
    pub async fn watch(&self) {
        while self.look() == Fate::Stays {
            tokio::time::sleep(self.interval()).await;
        }
    }

    /// Its connection is gone.
    pub fn on_gone(&self) {
        let Shared {
            common,
            meter,
            session,
            all,
            ..
        } = &*self.0;
        if all.lock().remove(session).is_some() {
            common.counts.on_gone(Mode::Events);
        }
        let mut stream = self.lock();
        let Some(following) = stream.following.take() else {
            return;
        };
        let broken = match meter.end() {
            End::Open => None,
            End::Closed => {
                stream.peer.on_hung_up();
                None
            }
            End::Reset => Some("connection reset".to_owned()),
            End::Silent => Some("its machine no longer answers".to_owned()),
        };
        let Stream { peer, passes, .. } = &mut *stream;
        following.read(|reader| peer.tell_left(common, reader, passes, broken));
        stream.hold = None;
        // The waker belongs to the task that holds this.
        stream.waker = None;
    }

    /// What those who watch see of it; none when it is gone.
    #[must_use]
    pub fn row(&self) -> Option<Row> {
        let stream = self.lock();
        let following = stream.following.as_ref()?;
        let common = &self.0.common;
        Some(following.read(|reader| stream.peer.row(common, reader, &stream.passes, None)))
    }

    fn interval(&self) -> Duration {
        let limits = &self.0.common.limits;
        let usual = (limits.stall_timeout.min(limits.heartbeat) / 4).clamp(LOOK_MIN, LOOK_MAX);
        match self.0.common.is_stopping() {
            true => usual.min(LOOK_STOPPING),
            false => usual,
        }
    }

    fn look(&self) -> Fate {
        let mut stream = self.lock();
        let fate = stream.look(&self.0.common, &self.0.meter);
        let says = !stream.own.is_empty() || stream.peer.session.closing().is_some();
        let waker = says.then(|| stream.waker.take()).flatten();
        // Woken after unlocking: its body takes the lock first.
        drop(stream);
        if let Some(waker) = waker {
            waker.wake();
        }
        fate
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn new(arrival: Arrival, out: u64, common: &Common) -> Self {
        let Arrival {
            label,
            address,
            following,
            grant,
            hold,
            pass,
        } = arrival;
        let topic = common.topics.get(following.topic());
        let mut clock = PatientClock::default();
        // Its place among those who are told when to come back.
        let key = Key::new(following.crier().clients());
        let mut passes = Passes::default();
        passes.put(key, pass);
        let cursors = vec![Cursor::new(topic.id.0, &grant)];
        let session = Session::new(Mode::Events, Compression::Off, cursors);
        let mut peer = Peer::new(label, address, session, key, false, &common.limits, clock.read());
        following.read(|reader| peer.tell_joined(common, reader, &passes));
        peer.tell_gap(topic, &grant, common);
        let mut stream = Self {
            peer,
            passes,
            following: Some(following),
            hold,
            own: Vec::new(),
            stopped: None,
            has_ended: false,
            waker: None,
            clock,
            out,
            stop_by: None,
            cut_by: None,
        };
        // Those who lose the server together do not come back together.
        let spread = stream.peer.label.session() % Limits::RETURNS_PER_SECOND * 1000 / Limits::RETURNS_PER_SECOND;
        sse::write_retry(Limits::EVENTS_RETRY_MS + spread, &mut stream.own);
        stream.greet(topic, &grant);
        common.counts.on_came(Mode::Events);
        stream
    }

    /// Says where it begins, and how that relates to what it asked for.
    fn greet(&mut self, topic: &Topic, grant: &Grant) {
        let at = |offset| Position {
            epoch: topic.log.epoch(),
            offset,
        };
        match grant.answer {
            Answer::Ok => sse::write_place(at(grant.from), &mut self.own),
            Answer::Gap => {
                let from = grant.missing_from.unwrap_or(grant.from);
                let let_go = grant.let_go.max(from);
                for (from, to, reason) in [
                    (from, let_go, GapReason::Retention),
                    (let_go, grant.from, GapReason::Purge),
                ] {
                    if from < to {
                        self.tell_gap(topic, from, to, reason);
                    }
                }
            }
            Answer::Reset => {
                sse::write_event(
                    "reset",
                    Some(at(grant.from)),
                    &subscribed(topic, grant, View::Events),
                    &mut self.own,
                );
            }
            Answer::Diverged => {
                sse::write_event(
                    "diverged",
                    Some(at(grant.from)),
                    &subscribed(topic, grant, View::Events),
                    &mut self.own,
                );
            }
        }
    }

    fn tell_gap(&mut self, topic: &Topic, from: Offset, to: Offset, reason: GapReason) {
        let gap = ServerMessage::Gap(Gap {
            topic: topic.name().clone(),
            from,
            to,
            reason,
        });
        let place = Position {
            epoch: topic.log.epoch(),
            offset: to,
        };
        sse::write_event("gap", Some(place), &gap, &mut self.own);
    }

    /// What goes out next. `loaded` is what came of a page that was wanted.
    fn next(&mut self, loaded: Option<std::io::Result<Fetched>>, common: &Common, meter: &Meter) -> Step {
        // An own handle, as the reader is looked at while the rest of this changes.
        let Some(following) = self.following.take() else {
            return Step::End;
        };
        let step = following.read(|reader| {
            let topic = common.topics.get(following.topic());
            if meter.was_blocked() {
                self.peer.session.on_held_up();
            }
            if let Some(loaded) = loaded {
                self.peer.session.on_loaded(topic.id.0);
                match loaded {
                    Ok(page) => reader.put(page),
                    Err(error) => {
                        let offset = self
                            .peer
                            .session
                            .cursor(topic.id.0)
                            .map_or(Offset::ZERO, |at| at.offset);
                        self.peer.on_unreadable(topic, offset, &error, common);
                    }
                }
            }
            self.step(reader, topic, following.crier().stop(), common)
        });
        self.tell_place();
        self.following = Some(following);
        step
    }

    fn step(&mut self, reader: &mut EventReader, topic: &Topic, stop: Option<Stop>, common: &Common) -> Step {
        loop {
            if !self.own.is_empty() {
                let own = std::mem::take(&mut self.own);
                self.peer.session.bytes += own.len() as u64;
                return Step::Bytes(Bytes::from(own));
            }
            if self.has_ended {
                return Step::End;
            }
            if let Some((_, reason)) = self.peer.session.closing() {
                self.has_ended = true;
                // The reason of a close frame has in it what is told by fields of its own here.
                let (reason, retry_ms) = self.stopped.unwrap_or((reason, None));
                let bye = ServerMessage::Bye {
                    reason: reason.to_owned(),
                    retry_ms,
                    // An EventSource knows of no other server.
                    elsewhere_ms: None,
                    next: self.peer.ends(common).to_map(),
                };
                if let Some(retry_ms) = retry_ms {
                    sse::write_retry(retry_ms, &mut self.own);
                }
                sse::write_event("bye", None, &bye, &mut self.own);
                continue;
            }
            match self.peer.session.next(reader, Limits::EVENTS_WRITE_BYTES_MAX) {
                Next::Frames(nth, run) => {
                    let bytes = run.bytes();
                    let Ok(piece) = piece(bytes) else {
                        common.breaches.count(Breach::Rests);
                        let reason = "too many readers stuck in large frames";
                        self.peer.session.close(CloseCode::TOO_SLOW, reason);
                        continue;
                    };
                    let split = run.split(bytes.len());
                    self.peer.session.on_written(nth, bytes.len(), &split);
                    let sent = Amount {
                        messages: split.taken as u64,
                        bytes: bytes.len() as u64,
                    };
                    common.ledgers.add(topic.id, sent);
                    return Step::Bytes(piece);
                }
                Next::Missed(missed) => {
                    self.peer.on_missed(&missed, common);
                    self.tell_gap(topic, missed.range.start, missed.range.end, missed.reason);
                }
                Next::Overtaken(missed) => self.peer.on_overtaken(&missed, common),
                Next::Superseded(_) => {
                    let share = Share { number: 0, of: 1 };
                    self.stopped = Some(("the topic began a new history", Some(share.return_ms(self.peer.key()))));
                    self.peer.on_superseded(topic, share);
                }
                Next::OnDisk(nth) => {
                    self.peer.session.on_loading(nth);
                    return Step::Load(self.peer.session.cursors()[nth].offset);
                }
                Next::Loading => return Step::Wait,
                Next::Ended => self.peer.session.close(CloseCode::NORMAL, "the feed has ended"),
                Next::CaughtUp => match stop {
                    Some(stop) => self.dismiss(stop, common),
                    None => return Step::Wait,
                },
                // It has no frames of its own.
                Next::Control(_) | Next::Closed => return Step::End,
            }
        }
    }

    /// The server stops.
    fn dismiss(&mut self, stop: Stop, common: &Common) {
        let share = Share { number: 0, of: 1 };
        let retry_ms = stop.retry.then(|| share.return_ms(self.peer.key()));
        self.stopped = Some((stop.why, retry_ms));
        self.peer.dismiss(&stop, share, common);
    }

    /// Tells a topic that holds back its source how far this client is, if it matters.
    fn tell_place(&self) {
        let place = self.peer.session.cursors().first().map(|cursor| cursor.offset);
        if let Some(hold) = self.hold.as_ref().filter(|hold| hold.is_wanted()) {
            hold.put(place);
        }
    }

    fn look(&mut self, common: &Common, meter: &Meter) -> Fate {
        let Some(following) = self.following.take() else {
            return Fate::Cut;
        };
        let now = self.clock.read();
        let fate = following.read(|reader| self.look_with(reader, following.crier().stop(), now, common, meter));
        self.tell_place();
        self.following = Some(following);
        fate
    }

    fn look_with(
        &mut self,
        reader: &EventReader,
        stop: Option<Stop>,
        now: Duration,
        common: &Common,
        meter: &Meter,
    ) -> Fate {
        for (_, standing) in self.passes.look(&common.access, Now::read()) {
            self.peer.on_standing(standing, common, &self.passes);
        }
        if let Some(stop) = stop
            && now >= *self.stop_by.get_or_insert(now + stop.drain)
            && self.peer.session.closing().is_none()
        {
            self.dismiss(stop, common);
        }
        if self.peer.session.closing().is_none()
            && let Some(missed) = self.peer.session.overtaken(reader)
        {
            self.peer.on_overtaken(&missed, common);
        }
        let out = meter.written();
        if std::mem::replace(&mut self.out, out) != out {
            self.peer.live.on_sent(now);
        }
        if self.peer.session.closing().is_some() {
            // Its goodbye cannot even leave: it has so long.
            return match now > *self.cut_by.get_or_insert(now + Limits::CLOSE_TIMEOUT) {
                true => Fate::Cut,
                false => Fate::Stays,
            };
        }
        let lags = meter.is_blocked() || self.peer.session.waiting(reader) > 0;
        self.peer.live.on_lag(now, lags, out, &common.limits);
        match self.peer.live.check(now, out, &common.limits) {
            // There is nothing that it could answer: whether its machine is there is the kernel's to find out.
            Verdict::Fine | Verdict::Ping => {
                let takes = !meter.is_blocked() && self.own.is_empty();
                if takes && self.peer.live.beat_due(now, common.limits.heartbeat) {
                    self.own.extend_from_slice(sse::HEARTBEAT);
                }
            }
            Verdict::End(breach, code, reason) => {
                common.breaches.count(breach);
                self.peer.session.close(code, &reason);
            }
        }
        Fate::Stays
    }
}

enum Step {
    Bytes(Bytes),
    /// What lies there must be brought from a file first.
    Load(Offset),
    Wait,
    End,
}

/// Bytes of the log for one client. A long message is counted with the rests of frames that others are stuck in: all of them have
/// one room.
fn piece(bytes: &[u8]) -> Result<Bytes, RestsFull> {
    struct Booked(
        Box<[u8]>,
        #[expect(dead_code, reason = "it is given back with the bytes")] Held,
    );
    impl AsRef<[u8]> for Booked {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match bytes.len() <= Limits::EVENTS_WRITE_BYTES_MAX {
        true => Ok(Bytes::copy_from_slice(bytes)),
        false => {
            let held = Held::book(bytes.len())?;
            Ok(Bytes::from_owner(Booked(bytes.into(), held)))
        }
    }
}

/// What a client is answered with.
pub struct EventBody {
    stream: EventStream,
    heard: Pin<Box<OwnedNotified>>,
    loading: Option<JoinHandle<std::io::Result<Fetched>>>,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { stream, heard, loading } = self.get_mut();
        let shared = stream.0.clone();
        loop {
            // Before the log is looked at: what is appended from here on ends the wait.
            heard.as_mut().enable();
            let loaded = match loading.as_mut().map(|loading| Pin::new(loading).poll(cx)) {
                None | Some(Poll::Pending) => None,
                Some(Poll::Ready(loaded)) => {
                    *loading = None;
                    Some(loaded.unwrap_or_else(|error| Err(std::io::Error::other(error))))
                }
            };
            let mut state = stream.lock();
            let step = state.next(loaded, &shared.common, &shared.meter);
            let again = state.following.as_ref().map(Following::heard);
            if let (Step::Load(offset), Some(following)) = (&step, &state.following) {
                let (log, offset) = (following.log().clone(), *offset);
                *loading = Some(tokio::task::spawn_blocking(move || fetch(&log, offset)));
                continue;
            }
            if matches!(step, Step::Wait) {
                state.waker = Some(cx.waker().clone());
            }
            drop(state);
            match (step, again) {
                (Step::Bytes(bytes), _) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                (Step::Wait, Some(again)) => match heard.as_mut().poll(cx) {
                    Poll::Ready(()) => heard.set(again),
                    Poll::Pending => return Poll::Pending,
                },
                _ => return Poll::Ready(None),
            }
        }
    }
}

/// How often a client is looked at, at least and at most; and while the server stops.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);
const LOOK_STOPPING: Duration = Duration::from_millis(50);
