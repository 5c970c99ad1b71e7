//! The loop of a listener: connect, subscribe, receive, report, and come back.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use lapwing_wire::block::BlockTiming;
use lapwing_wire::close::{CloseCode, Retry as AfterClose, retry_after_ms};
use lapwing_wire::control::{Answer, ClientMessage, ServerMessage, Subscribe, Subscribed, Welcome};
use lapwing_wire::decoder::Event as Frame;
use lapwing_wire::envelope::Message;
use lapwing_wire::escape::escaped_cut;
use lapwing_wire::position::Offset;
use lapwing_wire::query::Encoding;
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::array_text::ArrayText;
use super::connection::{Connection, Turn};
use super::dial::{Dial, DialError, Dialed, Purpose, Verdict, io_reason, token_sentence};
use super::entropy::Entropy;
use super::event::{Back, Connected, Event, Halt, MissedMeanwhile, Mode, Observer, Retry, Whence};
use super::feed::{self, OFFSET_MAX, Said};
use super::servers::{Failed, Next, Parting, Servers};
use super::session::{HEARTBEAT_MAX, HEARTBEAT_MIN, Session, SessionEnd};
use super::ticks::Ticks;
use super::track::{Grant, Place, Track};
use crate::clock::{Now, asleep};
use crate::failure::Failure;
use crate::recording::arrival::{Arrival, Value};
use crate::recording::marks::Marks;
use crate::recording::note::Missed;

/// What to listen to, and until when.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, at least one: they have the same topics, and differ in where they are and in nothing else.
    pub dials: Vec<Dial>,
    /// The topics; none means all that the server names.
    pub topics: Option<Vec<TopicName>>,
    /// Where to begin in each.
    pub start: Start,
    /// In which form arrays are asked for; they are told as text in either.
    pub encoding: Encoding,
    /// What a recording ends with that is gone on with: it comes before `start`.
    pub resume: Marks,
    /// How many messages make a block.
    pub block: NonZeroU64,
    /// After how many messages to end.
    pub count: Option<u64>,
    /// After how much time to end, from the first connection on.
    pub time: Option<Duration>,
    /// Whether to report block times to the server.
    pub reports: bool,
}

/// How listening ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// We were told to stop.
    Asked,
    /// As many messages came as were wanted.
    Counted,
    /// The time was over.
    TimeOver,
    /// The server ended the feed (1000).
    FeedEnded {
        /// What it said; escaped.
        reason: String,
    },
    /// The server closed with a code that says not to come back.
    Stopped {
        /// The code.
        code: CloseCode,
        /// What it said; escaped.
        reason: String,
    },
    /// Nobody looks any more.
    Unwatched,
}

/// Listens until told to stop, until enough came, or until there is no sense in going on.
pub async fn listen<O: Observer>(
    options: &Options,
    stop: &CancellationToken,
    observer: &mut O,
) -> Result<Ending, Failure> {
    let mut listener = Listener::new(options, stop, observer);
    match listener.run().await {
        Ok(ending) => Ok(ending),
        Err(Halt::Quiet) => Ok(Ending::Unwatched),
        Err(Halt::Failed(failure)) => Err(failure),
    }
}

struct Listener<'a, O> {
    options: &'a Options,
    stop: &'a CancellationToken,
    observer: &'a mut O,
    entropy: Entropy,
    servers: Servers,
    tracks: Vec<Track>,
    arrays: ArrayText,
    /// What a feed without topics is recorded under.
    nameless: TopicName,
    messages: u64,
    reconnects: u64,
    deadline: Option<Instant>,
    loss: Option<Loss>,
    /// Whether any connection has been granted what was asked.
    was_connected: bool,
    ticks: Ticks,
}

/// The connection that was lost, or never was.
struct Loss {
    why: String,
    since: Now,
    /// How long until the next attempt.
    wait: Duration,
    /// Whether people know of it.
    is_told: bool,
    /// The HTTP status with which the server said no, if that was it.
    status: Option<u16>,
}

impl<'a, O: Observer> Listener<'a, O> {
    fn new(options: &'a Options, stop: &'a CancellationToken, observer: &'a mut O) -> Self {
        let mut entropy = Entropy::from_system();
        let urls = options.dials.iter().map(|dial| dial.target.to_string()).collect();
        let servers = Servers::new(urls, &mut || entropy.fraction());
        Self {
            options,
            stop,
            observer,
            entropy,
            servers,
            tracks: Vec::new(),
            arrays: ArrayText::default(),
            nameless: TopicName::parse("-").expect("a dash is a valid name"),
            messages: 0,
            reconnects: 0,
            deadline: options.time.map(|time| Instant::now() + time),
            loss: None,
            was_connected: false,
            ticks: Ticks::default(),
        }
    }

    async fn run(&mut self) -> Result<Ending, Halt> {
        loop {
            let dialed = match self.reach().await? {
                Ok(dialed) => dialed,
                Err(ending) => return Ok(ending),
            };
            let (mut connection, mut session) = self.open(dialed)?;
            let end = match self.follow(&mut connection, &mut session).await {
                Ok(end) => end,
                Err(halt) => {
                    connection.send_close(Some(CloseCode::NORMAL), "");
                    let _ = tokio::time::timeout(CLOSE_WAIT, connection.flush()).await;
                    return Err(halt);
                }
            };
            let lived = Duration::from_nanos(Now::read().mono.saturating_sub(session.opened.mono));
            self.servers.on_connection(lived, session.messages);
            if let Some(ending) = self.after(end, &session)? {
                self.wait_for_room().await?;
                return Ok(ending);
            }
        }
    }

    /// Tries until there is a connection; the inner error is an end before there was one.
    async fn reach(&mut self) -> Result<Result<Dialed, Ending>, Halt> {
        loop {
            if let Some(loss) = &self.loss {
                let retry = Retry {
                    attempt: self.servers.attempt(),
                    server: self.servers.named(),
                    wait: loss.wait,
                    since: Duration::from_nanos(loss.since.mono),
                    why: &loss.why,
                };
                self.observer.on_event(&Event::Retry(retry), Now::read())?;
                if let Some(ending) = self.pause(loss.wait).await? {
                    return self.give_up(ending).map(Err);
                }
            }
            match self.dial().await? {
                Ok(Ok(dialed)) => return Ok(Ok(dialed)),
                Ok(Err(error)) => self.on_failed_attempt(&error)?,
                Err(ending) => return self.give_up(ending).map(Err),
            }
        }
    }

    fn on_failed_attempt(&mut self, error: &DialError) -> Result<(), Halt> {
        let failure = || error.failure(&self.here().target, Purpose::Listen);
        let failed = match error.verdict() {
            Verdict::Retry(told) => Failed::ForNow(told),
            // What we show is the same for all servers.
            Verdict::Stop if matches!(error, DialError::Token(_)) => return Err(Halt::Failed(failure())),
            Verdict::Stop => Failed::ForGood(failure()),
        };
        self.on_not_taken(failed, error.to_string(), error.status())
    }

    /// The server does not take us, or has not what we want: which is next, and when, or that there is none.
    fn on_not_taken(&mut self, failed: Failed, said: String, status: Option<u16>) -> Result<(), Halt> {
        let now = Now::read();
        let passed = self.servers.news();
        let (why, status) = match self.servers.named() {
            Some(server) => (format!("{server}: {said}"), None),
            None => (said.clone(), status),
        };
        let chance = &mut || self.entropy.fraction();
        let next = self
            .servers
            .after_failure(failed, Duration::from_nanos(now.mono), chance);
        let Next { wait, begins_round } = next.map_err(Halt::Failed)?;
        self.pass_over(passed, &said, now)?;
        let loss = self.loss.get_or_insert_with(|| Loss {
            why: String::new(),
            since: now,
            wait,
            is_told: false,
            status: None,
        });
        (loss.why, loss.status, loss.wait) = (why, status, wait);
        // With several servers each was told above, and there is none when none of them is.
        if begins_round && !std::mem::replace(&mut loss.is_told, true) {
            let event = Event::NoServer {
                why: &loss.why,
                status,
                of: self.servers.count(),
            };
            self.observer.on_event(&event, now)?;
        }
        Ok(())
    }

    /// Tells once of several servers that this one does not take us.
    fn pass_over(&mut self, server: Option<String>, why: &str, now: Now) -> Result<(), Halt> {
        match &server {
            Some(server) => self.observer.on_event(&Event::PassedOver { server, why }, now),
            None => Ok(()),
        }
    }

    /// The server that is tried or used now.
    fn here(&self) -> &Dial {
        &self.options.dials[self.servers.current()]
    }

    /// Connects once, unless it is time to end.
    async fn dial(&mut self) -> Result<Result<Result<Dialed, DialError>, Ending>, Halt> {
        let dial = &self.options.dials[self.servers.current()];
        let mut attempt = std::pin::pin!(dial.connect(&mut self.entropy));
        loop {
            tokio::select! {
                biased;
                ending = ending(self.stop, self.deadline) => return Ok(Err(ending)),
                result = &mut attempt => return Ok(Ok(result)),
                now = self.ticks.next() => self.observer.on_tick(now)?,
            }
        }
    }

    /// Waits for the next attempt, unless it is time to end.
    async fn pause(&mut self, wait: Duration) -> Result<Option<Ending>, Halt> {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                biased;
                ending = ending(self.stop, self.deadline) => return Ok(Some(ending)),
                () = tokio::time::sleep_until(until) => return Ok(None),
                now = self.ticks.next() => self.observer.on_tick(now)?,
            }
        }
    }

    /// Ends while there is no connection.
    fn give_up(&mut self, ending: Ending) -> Result<Ending, Halt> {
        let now = Now::read();
        for at in 0..self.tracks.len() {
            let last = self.tracks[at].finish();
            self.tell_blocks(at, last, now)?;
        }
        match (&ending, &self.loss, self.was_connected) {
            // Nothing at all in the given time is no success.
            (Ending::TimeOver, Some(loss), false) => {
                let (what, hint) = match loss.status {
                    None => ("no server at", "start one with: lapwing serve"),
                    Some(_) => ("not taken in time by", "try again later, or longer with --for"),
                };
                let at = match self.servers.count() {
                    1 => self.here().target.to_string(),
                    count => format!("any of {count} places, the last of them"),
                };
                let sentence = format!("{what} {at}: {}", loss.why);
                Err(Halt::Failed(Failure::failed(sentence, hint)))
            }
            _ => Ok(ending),
        }
    }

    fn open(&mut self, dialed: Dialed) -> Result<(Connection, Session), Halt> {
        let now = Now::read();
        let mode = match dialed.protocol {
            Some(_) => Mode::Lapwing,
            None => Mode::Plain,
        };
        let mut session = Session::new(mode, dialed.token, now);
        if mode == Mode::Plain {
            session.missed = MissedMeanwhile::Unknown;
            if !self.was_connected {
                for (topic, wanted) in self.options.resume.iter().take(TRACKS_MAX) {
                    self.tracks
                        .push(Track::resumed(topic.clone(), self.options.block, wanted.clone()));
                }
            }
            self.tracks.iter_mut().for_each(Track::on_plain);
            self.ready(&mut session, now)?;
        }
        Ok((dialed.connection, session))
    }

    async fn follow(&mut self, connection: &mut Connection, session: &mut Session) -> Result<SessionEnd, Halt> {
        loop {
            let end = tokio::select! {
                biased;
                ending = ending(self.stop, self.deadline) => Some(SessionEnd::Over(ending)),
                now = self.ticks.next() => self.on_tick(session, connection, now)?,
                turn = connection.turn(), if !self.observer.is_held() => match turn {
                    Ok(Turn::Read(now)) => {
                        let end = self.on_read(connection, session, now)?;
                        self.ticks.on_worked(now);
                        end
                    }
                    Ok(Turn::Ended) => Some(SessionEnd::Lost { why: "it ended without a close frame".to_owned() }),
                    Err(error) => Some(SessionEnd::Lost { why: io_reason(&error) }),
                },
            };
            match end {
                None => {}
                Some(SessionEnd::Over(ending)) => {
                    self.leave(connection, session).await?;
                    return Ok(SessionEnd::Over(ending));
                }
                Some(end) => {
                    // The answer to a close, or why we end; whoever is gone does not hear it.
                    let _ = tokio::time::timeout(CLOSE_WAIT, connection.flush()).await;
                    return Ok(end);
                }
            }
        }
    }

    /// Ends on our side: the last reports, the close frame, and a moment for the answer.
    async fn leave(&mut self, connection: &mut Connection, session: &mut Session) -> Result<(), Halt> {
        let now = Now::read();
        self.ticks.look(now, asleep());
        self.tell_clock_step(now)?;
        for at in 0..self.tracks.len() {
            let last = self.tracks[at].finish();
            self.tell_blocks(at, last, now)?;
            self.report(at, session, Duration::ZERO, now);
        }
        self.observer.on_pause()?;
        self.wait_for_room().await?;
        self.send_outbox(session, connection);
        connection.send_close(Some(CloseCode::NORMAL), "");
        let _ = tokio::time::timeout(CLOSE_WAIT, until_closed(connection)).await;
        Ok(())
    }

    /// Lets the observer take what it holds up, unless we are told to stop.
    async fn wait_for_room(&mut self) -> Result<(), Halt> {
        while self.observer.is_held() && !self.stop.is_cancelled() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                now = self.ticks.next() => self.observer.on_tick(now)?,
            }
        }
        Ok(())
    }

    /// Decides what follows the end of a connection: an ending, or none to come back.
    fn after(&mut self, end: SessionEnd, session: &Session) -> Result<Option<Ending>, Halt> {
        let mut parting = Parting {
            retry: session.bye,
            elsewhere: session.elsewhere,
        };
        let why = match end {
            SessionEnd::Over(ending) => return Ok(Some(ending)),
            SessionEnd::Broken(error) => {
                return Err(Halt::Failed(Failure::failed(
                    format!("the server broke the rules of WebSockets: {error}"),
                    "this is a mistake of the server or of something between; what came before is kept",
                )));
            }
            SessionEnd::Refused { failed, why } => {
                self.on_not_taken(failed, why, None)?;
                return Ok(None);
            }
            SessionEnd::Lost { why } => why,
            SessionEnd::Closed { code, reason } => {
                parting.retry = match code.retry() {
                    AfterClose::AsTold => retry_after_ms(&reason).map(Duration::from_millis).or(session.bye),
                    AfterClose::Stop | AfterClose::Backoff => None,
                };
                let (reason, _) = escaped_cut(&reason, 200);
                match code.retry() {
                    AfterClose::Stop if code == CloseCode::NORMAL => {
                        return self.give_up(Ending::FeedEnded { reason }).map(Some);
                    }
                    AfterClose::Stop => return self.give_up(Ending::Stopped { code, reason }).map(Some),
                    AfterClose::AsTold | AfterClose::Backoff => close_text(code, &reason),
                }
            }
        };
        let now = Now::read();
        // A connection that was never granted anything is one more failed attempt of the same loss.
        let since = match &self.loss {
            Some(loss) if !session.ready => loss.since,
            _ => now,
        };
        let mut is_told = self.loss.as_ref().is_none_or(|loss| loss.is_told);
        if self.was_connected && session.ready {
            self.observer.on_event(&Event::Lost { why: &why }, now)?;
        } else if self.servers.count() > 1 {
            is_told &= self.loss.is_some();
            let passed = self.servers.news();
            self.pass_over(passed, &why, now)?;
        } else if self.loss.is_none() {
            let event = Event::NoServer {
                why: &why,
                status: None,
                of: 1,
            };
            self.observer.on_event(&event, now)?;
        }
        if session.mode == Mode::Plain {
            self.tracks.iter_mut().for_each(Track::on_lost);
        }
        let chance = &mut || self.entropy.fraction();
        let next = self.servers.after_loss(parting, Duration::from_nanos(now.mono), chance);
        self.loss = Some(Loss {
            why,
            since,
            wait: next.wait,
            is_told,
            status: None,
        });
        Ok(None)
    }

    fn on_read(
        &mut self,
        connection: &mut Connection,
        session: &mut Session,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        session.last_byte = now;
        session.pinged = false;
        loop {
            let end = match connection.event() {
                Ok(None) => break,
                Ok(Some(frame)) => self.on_frame(session, &frame, now)?,
                Err(error) => Some(SessionEnd::Broken(error)),
            };
            let Some(end) = end else { continue };
            self.observer.on_pause()?;
            self.send_outbox(session, connection);
            match &end {
                SessionEnd::Closed { code, .. } => {
                    connection.send_close(Some(*code).filter(|code| code.may_be_sent()), "");
                }
                SessionEnd::Broken(error) => connection.send_close(Some(error.close_code()), &error.to_string()),
                SessionEnd::Refused { .. } => connection.send_close(Some(CloseCode::NORMAL), ""),
                SessionEnd::Over(_) | SessionEnd::Lost { .. } => {}
            }
            return Ok(Some(end));
        }
        self.observer.on_pause()?;
        self.send_outbox(session, connection);
        Ok(None)
    }

    /// Sends what there is to say: nothing is reported before the file has it.
    fn send_outbox(&mut self, session: &mut Session, connection: &mut Connection) {
        if !self.observer.is_held() {
            session.outbox.drain(..).for_each(|text| connection.send_text(&text));
        }
    }

    fn on_frame(&mut self, session: &mut Session, frame: &Frame<'_>, now: Now) -> Result<Option<SessionEnd>, Halt> {
        match *frame {
            Frame::Text(text) => match feed::read(text, session.mode) {
                Said::Message(message) => self.on_message(session, &message, text.len(), now),
                Said::Control(control) => self.on_control(session, control, now),
                Said::UnknownControl => Ok(None),
                Said::Json(json) => self.on_foreign(session, Value::Json(&json), text.len(), now),
                Said::Text(text) => self.on_foreign(session, Value::Text(text), text.len(), now),
            },
            Frame::Binary(bytes) => self.on_binary(session, bytes, now),
            // A compressed message cannot come: that is not offered.
            Frame::Ping(_) | Frame::Pong(_) | Frame::Deflated(_) => Ok(None),
            Frame::Close(close) => {
                let (code, reason) = close.unwrap_or((CloseCode::NO_STATUS, ""));
                Ok(Some(SessionEnd::Closed {
                    code,
                    reason: reason.to_owned(),
                }))
            }
        }
    }

    fn on_binary(&mut self, session: &mut Session, bytes: &[u8], now: Now) -> Result<Option<SessionEnd>, Halt> {
        // Beside the listener while the message that is in it is told.
        let mut arrays = std::mem::take(&mut self.arrays);
        let end = match self.observer.takes_arrays() {
            true => self.on_array(session, &mut arrays, bytes, now),
            false => match arrays.read(bytes) {
                Some(message) => self.on_message(session, &message, bytes.len(), now),
                None => self.on_foreign(session, Value::Bytes(bytes), bytes.len(), now),
            },
        };
        self.arrays = arrays;
        end
    }

    fn on_array(
        &mut self,
        session: &mut Session,
        arrays: &mut ArrayText,
        bytes: &[u8],
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        let Some(array) = feed::array(bytes) else {
            return self.on_foreign(session, Value::Bytes(bytes), bytes.len(), now);
        };
        let place = (array.topic, array.offset, arrays.time(array.time));
        self.on_value(session, place, Value::Array(&array), bytes.len(), now)
    }

    fn on_message(
        &mut self,
        session: &mut Session,
        message: &Message<'_>,
        bytes: usize,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        let value = feed::one_line(message.value);
        let value = match message.base64 {
            true => Value::Base64(&value),
            false => Value::Json(&value),
        };
        self.on_value(
            session,
            (message.topic, message.offset, message.time),
            value,
            bytes,
            now,
        )
    }

    /// Takes what a message says: of this topic, at this offset, appended at this time.
    fn on_value(
        &mut self,
        session: &mut Session,
        (topic, offset, time): (&str, Offset, &str),
        value: Value<'_>,
        bytes: usize,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        let Some(at) = self.track(topic) else {
            return self.on_foreign(session, value, bytes, now);
        };
        match self.tracks[at].place(offset) {
            Place::Next => {}
            Place::Repeat => {
                let topic = self.tracks[at].topic();
                self.observer.on_event(&Event::Repeat { topic }, now)?;
                return Ok(None);
            }
            Place::Unasked => return Ok(None),
            Place::Jump { from, away } => self.on_jump(at, from, offset, away, now)?,
            Place::NewHistory => {
                let event = Event::Reset {
                    topic: self.tracks[at].topic(),
                    epoch: None,
                    first: offset,
                    whence: Whence::New { end: None },
                    last: self.tracks[at].last(),
                };
                self.observer.on_event(&event, now)?;
            }
        }
        let arrival = Arrival {
            topic: self.tracks[at].topic(),
            offset: Some(offset),
            epoch: self.tracks[at].epoch(),
            time: Some(time),
            received: now,
            value,
            bytes: bytes as u64,
        };
        self.observer.on_event(&Event::Message(&arrival), now)?;
        self.count(session, at, Some(offset), bytes as u64, now)
    }

    fn on_jump(&mut self, at: usize, from: Offset, to: Offset, away: bool, now: Now) -> Result<(), Halt> {
        let event = Event::Gap {
            topic: self.tracks[at].topic(),
            from,
            to,
            reason: if away { Missed::Away } else { Missed::Unannounced },
            away: None,
        };
        self.observer.on_event(&event, now)
    }

    fn on_foreign(
        &mut self,
        session: &mut Session,
        value: Value<'_>,
        bytes: usize,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        let nameless = self.nameless.clone();
        let at = self.track(nameless.as_str()).unwrap_or_default();
        let arrival = Arrival {
            topic: &nameless,
            offset: None,
            epoch: None,
            time: None,
            received: now,
            value,
            bytes: bytes as u64,
        };
        self.observer.on_event(&Event::Message(&arrival), now)?;
        self.count(session, at, None, bytes as u64, now)
    }

    /// Counts and times a message that was told.
    fn count(
        &mut self,
        session: &mut Session,
        at: usize,
        offset: Option<Offset>,
        bytes: u64,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        session.messages += 1;
        self.messages += 1;
        let ended: [Option<BlockTiming>; 2] = {
            let mut ended = self.tracks[at].on_message(offset, Duration::from_nanos(now.mono), bytes);
            [ended.next(), ended.next()]
        };
        if ended[0].is_some() {
            self.tell_blocks(at, ended.into_iter().flatten(), now)?;
            self.report(at, session, session.report_interval, now);
        }
        let enough = self.options.count.is_some_and(|count| self.messages >= count);
        Ok(enough.then_some(SessionEnd::Over(Ending::Counted)))
    }

    fn tell_blocks(&mut self, at: usize, ended: impl IntoIterator<Item = BlockTiming>, now: Now) -> Result<(), Halt> {
        let topic = self.tracks[at].topic();
        ended.into_iter().try_for_each(|timing| {
            let event = Event::Block { topic, timing: &timing };
            self.observer.on_event(&event, now)
        })
    }

    fn report(&mut self, at: usize, session: &mut Session, interval: Duration, now: Now) {
        let track = &mut self.tracks[at];
        // Without offsets of its own a topic is none of the server's. Its own topics tell of reports: they would feed themselves.
        let told = track.epoch().is_some() && !track.topic().is_reserved();
        if !self.options.reports || session.mode == Mode::Plain || !told {
            return;
        }
        let mono = Duration::from_nanos(now.mono);
        if let Some(report) = track.report(mono, interval, self.reconnects, now.wall) {
            session.outbox.push(ClientMessage::Report(Box::new(report)).to_text());
        }
    }

    /// The track of a topic, begun with its first message where nothing was granted before; none for what is no topic.
    fn track(&mut self, topic: &str) -> Option<usize> {
        if let Some(at) = self.tracks.iter().position(|track| track.topic().as_str() == topic) {
            return Some(at);
        }
        let name = TopicName::parse(topic).ok()?;
        if self.tracks.len() >= TRACKS_MAX && name != self.nameless {
            return None;
        }
        self.tracks.push(Track::new(name, self.options.block));
        Some(self.tracks.len() - 1)
    }

    fn on_control(
        &mut self,
        session: &mut Session,
        control: ServerMessage,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        match control {
            ServerMessage::Welcome(welcome) => self.on_welcome(session, welcome, now)?,
            ServerMessage::Subscribed(granted) => self.on_subscribed(session, &granted, now)?,
            ServerMessage::Gap(gap) => {
                let Some(at) = self.track(gap.topic.as_str()).filter(|_| gap.to.get() < OFFSET_MAX) else {
                    return Ok(None);
                };
                if let Some(from) = self.tracks[at].on_gap(gap.from, gap.to) {
                    let event = Event::Gap {
                        topic: &gap.topic,
                        from,
                        to: gap.to,
                        reason: gap.reason.into(),
                        away: None,
                    };
                    self.observer.on_event(&event, now)?;
                }
            }
            ServerMessage::Bye {
                retry_ms, elsewhere_ms, ..
            } => {
                let time = |ms: u64| Duration::from_millis(ms.min(RETRY_MS_MAX));
                (session.bye, session.elsewhere) = (retry_ms.map(time), elsewhere_ms.map(time));
            }
            ServerMessage::Error { code, message, .. }
                if matches!(code.as_str(), "bad_report" | "too_many_reports") =>
            {
                // Of what we said, and not of what we wait for.
                self.observer.on_event(&Event::Warned { message: &message }, now)?;
            }
            ServerMessage::Error { code, message, topic } => {
                return self.on_error(session, &code, &message, topic, now);
            }
            ServerMessage::Heartbeat { next, stale, .. } => {
                self.on_stale(session, stale, now)?;
                self.observer.on_event(&Event::Heartbeat { ends: &next }, now)?;
                return Ok(self.on_heartbeat(session, &next));
            }
            ServerMessage::Unsubscribed { .. } => {}
            ServerMessage::Expiring { .. } => {
                session.expiring = true;
                self.renew(session);
            }
            ServerMessage::Authorized { .. } => session.expiring = false,
        }
        Ok(None)
    }

    /// Shows the server another token as soon as there is one; without one it ends this connection, and we come back.
    fn renew(&self, session: &mut Session) {
        if !session.expiring {
            return;
        }
        let Ok(Some(token)) = self.here().token.read() else {
            return;
        };
        if session.token.as_ref() != Some(&token) {
            session
                .outbox
                .push(ClientMessage::Auth { token: token.clone() }.to_text());
            session.token = Some(token);
            session.expiring = false;
        }
    }

    /// Looks whether what the server has came; what does not come is fetched by coming back.
    /// The server can, or cannot, reach the streams behind these topics: told when it changes.
    fn on_stale(&mut self, session: &mut Session, stale: Vec<TopicName>, now: Now) -> Result<(), Halt> {
        let before = std::mem::replace(&mut session.stale, stale);
        let missing = |these: &[TopicName], those: &[TopicName]| {
            let names = these.iter().filter(|name| !those.contains(name));
            names.map(TopicName::as_str).collect::<Vec<_>>().join(", ")
        };
        let (more, less) = (missing(&session.stale, &before), missing(&before, &session.stale));
        for (names, what) in [
            (more, "may be behind: this server cannot reach the stream"),
            (less, "is as new as the stream again"),
        ] {
            if !names.is_empty() {
                let message = format!("{names} {what}");
                self.observer.on_event(&Event::Warned { message: &message }, now)?;
            }
        }
        Ok(())
    }

    fn on_heartbeat(&self, session: &mut Session, ends: &BTreeMap<TopicName, Offset>) -> Option<SessionEnd> {
        let behind = self.tracks.iter().find_map(|track| {
            let (next, end) = (track.next()?, *ends.get(track.topic())?);
            (next < end).then(|| format!("{} {next} is there and did not come", track.topic()))
        });
        let lost = session.on_heartbeat(behind.is_some());
        behind.filter(|_| lost).map(|why| SessionEnd::Lost { why })
    }

    fn on_welcome(&mut self, session: &mut Session, welcome: Welcome, now: Now) -> Result<(), Halt> {
        session.heartbeat = Duration::from_millis(welcome.heartbeat_ms).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
        session.report_interval = Duration::from_millis(welcome.report_interval_ms.clamp(100, 3_600_000));
        session.name = Some(welcome.name);
        let known = self.tracks.iter().filter(|track| track.epoch().is_some());
        let mut wanted = match &self.options.topics {
            Some(topics) => topics.clone(),
            None => welcome.topics,
        };
        wanted.extend(known.map(|track| track.topic().clone()));
        for topic in wanted {
            if session.awaited.contains(&topic) || session.awaited.len() == TRACKS_MAX {
                continue;
            }
            let known = self.tracks.iter().any(|track| *track.topic() == topic);
            if !known && let Some(wanted) = self.options.resume.get(&topic) {
                self.tracks
                    .push(Track::resumed(topic.clone(), self.options.block, wanted.clone()));
            }
            let track = self.tracks.iter().find(|track| *track.topic() == topic);
            let start = track
                .and_then(Track::position)
                .map_or(self.options.start, Start::Position);
            let wish = self.wish(&topic, start);
            session.outbox.push(ClientMessage::Subscribe(wish).to_text());
            session.awaited.push(topic);
        }
        if session.awaited.is_empty() {
            self.ready(session, now)?;
        }
        Ok(())
    }

    /// What is said to follow a topic. JSON is not asked for, since it comes anyway.
    fn wish(&self, topic: &TopicName, start: Start) -> Subscribe {
        Subscribe {
            encoding: (self.options.encoding == Encoding::Binary).then_some(Encoding::Binary),
            ..Subscribe::new(Some(topic.clone()), start)
        }
    }

    fn on_subscribed(&mut self, session: &mut Session, granted: &Subscribed, now: Now) -> Result<(), Halt> {
        let absurd = [granted.first, granted.from, granted.next]
            .iter()
            .any(|offset| offset.get() >= OFFSET_MAX);
        let Some(at) = self.track(granted.topic.as_str()).filter(|_| !absurd) else {
            return Err(Halt::Failed(Failure::failed(
                format!("the server grants what it cannot have: {}", granted.topic),
                "this is a mistake of the server",
            )));
        };
        let before = self.tracks[at].last();
        let known = self.tracks[at].position();
        let first_time = known.is_none();
        let (grant, unfinished) = self.tracks[at].on_subscribed(granted);
        self.tell_blocks(at, unfinished, now)?;
        if let Some(known) = known.filter(|known| known.epoch != granted.epoch)
            && matches!(grant, Grant::AsAsked | Grant::Gap { .. })
        {
            let event = Event::Continued {
                topic: &granted.topic,
                epoch: granted.epoch,
                at: known.offset,
            };
            self.observer.on_event(&event, now)?;
        }
        self.tell_grant(session, granted, &grant, before, now)?;
        let event = Event::Granted {
            topic: &granted.topic,
            epoch: granted.epoch,
            from: self.tracks[at].next().unwrap_or(granted.from),
            end: granted.next,
        };
        self.observer.on_event(&event, now)?;
        let awaited = session.awaited.iter().position(|topic| *topic == granted.topic);
        if let Some(wanted) = self.tracks[at].position().filter(|_| self.tracks[at].asks()) {
            let wish = self.wish(&granted.topic, Start::Position(wanted));
            session.outbox.push(ClientMessage::Subscribe(wish).to_text());
            return Ok(());
        }
        let Some(awaited) = awaited else { return Ok(()) };
        session.grants.push((session.awaited.remove(awaited), granted.from));
        if first_time && self.options.start == Start::Latest && granted.answer == Answer::Ok {
            let retained = granted.next.since(granted.first);
            session.retained.push((granted.topic.clone(), retained));
        }
        if session.awaited.is_empty() {
            self.ready(session, now)?;
        }
        Ok(())
    }

    /// Tells what is missing according to a grant.
    fn tell_grant(
        &mut self,
        session: &mut Session,
        granted: &Subscribed,
        grant: &Grant,
        last: Option<Offset>,
        now: Now,
    ) -> Result<(), Halt> {
        let topic = &granted.topic;
        let event = match *grant {
            Grant::AsAsked => return Ok(()),
            Grant::Gap { from } if from >= granted.from => return Ok(()),
            Grant::Gap { from } => {
                session.missed = session.missed.worse(MissedMeanwhile::Told);
                self.gap(topic, from, granted.from, now)
            }
            Grant::Diverged { at, from } => {
                session.missed = session.missed.worse(MissedMeanwhile::History);
                let diverged = Event::Diverged {
                    topic,
                    epoch: granted.epoch,
                    at,
                    last,
                };
                if at >= from {
                    return self.observer.on_event(&diverged, now);
                }
                self.observer.on_event(&diverged, now)?;
                self.gap(topic, at, from, now)
            }
            Grant::Reset => {
                session.missed = session.missed.worse(MissedMeanwhile::History);
                Event::Reset {
                    topic,
                    epoch: Some(granted.epoch),
                    first: granted.from,
                    whence: Whence::New {
                        end: Some(granted.next),
                    },
                    last,
                }
            }
            Grant::Returned { at } => {
                session.missed = session.missed.worse(MissedMeanwhile::History);
                Event::Reset {
                    topic,
                    epoch: Some(granted.epoch),
                    first: at,
                    whence: Whence::Known { end: granted.next },
                    last,
                }
            }
        };
        self.observer.on_event(&event, now)
    }

    /// Offsets that the topic no longer kept when we came back.
    fn gap<'t>(&self, topic: &'t TopicName, from: Offset, to: Offset, now: Now) -> Event<'t> {
        let since = self.loss.as_ref().map(|loss| loss.since.mono);
        Event::Gap {
            topic,
            from,
            to,
            reason: Missed::Retention,
            away: since.map(|since| Duration::from_nanos(now.mono.saturating_sub(since))),
        }
    }

    fn on_error(
        &mut self,
        session: &mut Session,
        code: &str,
        message: &str,
        topic: Option<TopicName>,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        if let Some(track) = self
            .tracks
            .iter_mut()
            .find(|track| Some(track.topic()) == topic.as_ref())
        {
            track.on_refused();
        }
        let awaited = topic.filter(|topic| session.awaited.contains(topic));
        let Some(topic) = awaited else {
            self.observer.on_event(&Event::Warned { message }, now)?;
            return Ok(None);
        };
        let several = self.servers.count() > 1;
        if !self.was_connected {
            let failure = topic_failure(&topic, message).refused(code);
            if !several {
                return Err(Halt::Failed(failure));
            }
            let why = failure.sentences[0].0.clone();
            let failed = Failed::ForGood(failure);
            return Ok(Some(SessionEnd::Refused { failed, why }));
        }
        session.awaited.retain(|awaited| *awaited != topic);
        let has_none = session.awaited.is_empty() && session.grants.is_empty();
        if several && (has_none || self.servers.has_more(Duration::from_nanos(now.mono))) {
            let why = topic_failure(&topic, message).sentences[0].0.clone();
            let failed = Failed::ForNow(None);
            return Ok(Some(SessionEnd::Refused { failed, why }));
        }
        self.observer.on_event(&Event::Warned { message }, now)?;
        if session.awaited.is_empty() {
            self.ready(session, now)?;
        }
        Ok(None)
    }

    /// Everything asked for is granted, or there is nothing to ask for.
    fn ready(&mut self, session: &mut Session, now: Now) -> Result<(), Halt> {
        if std::mem::replace(&mut session.ready, true) {
            return Ok(());
        }
        let loss = self.loss.take();
        self.servers.on_connected();
        let server = self.servers.named();
        if self.was_connected {
            let loss = loss.unwrap_or(Loss {
                why: String::new(),
                since: now,
                wait: Duration::ZERO,
                is_told: true,
                status: None,
            });
            self.reconnects += 1;
            let back = Back {
                mode: session.mode,
                server,
                down: Duration::from_nanos(now.mono.saturating_sub(loss.since.mono)),
                attempt: self.servers.attempt(),
                why: &loss.why,
                grants: &session.grants,
                missed: session.missed,
            };
            return self.observer.on_event(&Event::Back(back), now);
        }
        self.was_connected = true;
        self.deadline = self.options.time.map(|time| Instant::now() + time);
        let connected = Connected {
            mode: session.mode,
            server,
            name: session.name.as_deref(),
            grants: &session.grants,
        };
        self.observer.on_event(&Event::Connected(connected), now)
    }

    fn on_tick(
        &mut self,
        session: &mut Session,
        connection: &mut Connection,
        now: Now,
    ) -> Result<Option<SessionEnd>, Halt> {
        self.tell_clock_step(now)?;
        if std::mem::take(&mut self.ticks.stalled) {
            self.tracks.iter_mut().for_each(Track::on_stall);
            // Bytes that came while we stood still have not been read yet.
            session.last_byte = now;
        }
        let was_held = self.observer.is_held();
        self.observer.on_tick(now)?;
        if was_held {
            // What waits in the socket is as old as the wait, and the server was not asked whether it lives.
            self.tracks.iter_mut().for_each(Track::on_stall);
            session.last_byte = now;
        }
        if self.observer.is_held() {
            return Ok(None);
        }
        for at in 0..self.tracks.len() {
            self.report(at, session, session.report_interval, now);
        }
        self.renew(session);
        self.send_outbox(session, connection);
        self.tell_silent(session, now)?;
        Ok(session.judge_silence(connection, now))
    }

    fn tell_clock_step(&mut self, now: Now) -> Result<(), Halt> {
        match self.ticks.clock_step.take() {
            Some(ms) => self.observer.on_event(&Event::ClockStep { ms }, now),
            None => Ok(()),
        }
    }

    /// Tells once of topics that say nothing although they hold something.
    fn tell_silent(&mut self, session: &mut Session, now: Now) -> Result<(), Halt> {
        if session.retained.is_empty() || now.mono.saturating_sub(session.opened.mono) < SILENT_AFTER.as_nanos() as u64
        {
            return Ok(());
        }
        for (topic, retained) in session.retained.drain(..) {
            let silent = self
                .tracks
                .iter()
                .any(|track| *track.topic() == topic && track.arrivals() == 0);
            if silent && retained > 0 {
                let event = Event::Silent {
                    topic: &topic,
                    retained,
                };
                self.observer.on_event(&event, now)?;
            }
        }
        Ok(())
    }
}

/// A server that refuses a topic that is asked for, in its own words.
fn topic_failure(topic: &TopicName, message: &str) -> Failure {
    let (message, _) = escaped_cut(message, 400);
    match token_sentence(&message, Purpose::Listen) {
        Some((sentence, hint)) => Failure::failed(sentence, hint),
        None => Failure::failed(
            format!("the server refused topic \"{topic}\": {message}"),
            "leave it out of --topics, or name one that exists",
        ),
    }
}

/// Waits for a reason to end.
async fn ending(stop: &CancellationToken, deadline: Option<Instant>) -> Ending {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ending::Asked,
        () = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        } => Ending::TimeOver,
    }
}

/// Reads what still comes, and forgets it, until the server answers our close.
async fn until_closed(connection: &mut Connection) {
    while let Ok(Turn::Read(_)) = connection.turn().await {
        loop {
            match connection.event() {
                Ok(Some(Frame::Close(_))) | Err(_) => return,
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
    }
}

/// A close code in words: `1012, server restarts: deploy`.
#[must_use]
pub fn close_text(code: CloseCode, reason: &str) -> String {
    let mut text = code.to_string();
    let meaning = code.meaning();
    match (meaning.is_empty(), reason.is_empty()) {
        (true, true) => {}
        (false, true) => text.push_str(&format!(", {meaning}")),
        // Some servers begin with the meaning themselves.
        (false, false) if !reason.starts_with(meaning) => text.push_str(&format!(", {meaning}: {reason}")),
        (_, false) => text.push_str(&format!(", {reason}")),
    }
    text
}

/// How long an end may take: the answer to our close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// An hour, as in a close reason.
const RETRY_MS_MAX: u64 = 3_600_000;

/// When a topic that holds something and says nothing is worth a word.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// As many topics as a server lets one connection follow; more on a plain feed are taken as nameless.
const TRACKS_MAX: usize = 100;
