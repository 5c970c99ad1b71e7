//! What one client says, and what follows from it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lapwing_wire::array::ArrayWriter;
use lapwing_wire::close::CloseCode;
use lapwing_wire::control::{ClientMessage, GapReason, ServerMessage, Subscribe, Subscribed, Welcome};
use lapwing_wire::decoder::{Deflated, Event as Frame};
use lapwing_wire::escape::escaped;
use lapwing_wire::position::Offset;
use lapwing_wire::report::Report;
use lapwing_wire::secret::Secret;
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;

use super::access::pass::{Passes, Standing};
use super::access::{Caller, Denied};
use super::address::Address;
use super::breach::Breach;
use super::bucket::Bucket;
use super::cause::{Cause, Judgement};
use super::common::Common;
use super::connection::Surroundings;
use super::echo::Echo;
use super::event::{EndedBy, Event, Places, Said, Tally};
use super::feeds::Feeds;
use super::journal::target::SESSION;
use super::key::Key;
use super::label::ClientLabel;
use super::liveness::Liveness;
use super::reporter::{News, Reporter, Sight};
use super::row::{ReportRow, Row, TopicRow, Way, wall_of};
use super::topics::{Topic, TopicId};
use super::worker::{Share, Stop};
use crate::clock::Now;
use crate::config::Limits;
use crate::log::Grant;
use crate::log::reader::View;
use crate::reason::reason;
use crate::session::{Missed, Mode, Readers, Session};
use crate::socket::Socket;
use crate::socket::path::Path;
use crate::terminal::form;

/// One client: its session, its standing, and the other end's words.
pub struct Peer {
    /// How it is called, and its number.
    pub label: ClientLabel,
    address: Address,
    /// What goes out to it.
    pub session: Session,
    /// Whether it is alive.
    pub live: Liveness,
    /// When it came, in nanoseconds of the monotonic clock.
    joined: u64,
    told: bool,
    /// Where nobody is asked for a token: it may see what the server knows of its clients.
    watches: bool,
    /// Its place in the worker's list.
    key: Key,
    controls: Bucket,
    /// What most clients never give a reason for.
    notes: Option<Box<Notes>>,
}

/// What is kept of a client that reported, missed something or said goodbye.
#[derive(Default)]
struct Notes {
    /// How many more commands it may send.
    commands: Option<Bucket>,
    /// How many more messages it may send, and how many more bytes.
    said: Option<(Bucket, Bucket)>,
    /// What is known of it in the topics that it reports.
    reporters: Vec<Reporter>,
    /// Offsets that it was told it will not get, by topic.
    missed: Tally,
    /// The close frame that it sent.
    closed: Option<(CloseCode, String)>,
    /// That frame only answers ours.
    closed_in_answer: bool,
    /// Its messages go back.
    echo: Option<Echo>,
    /// What it wants to follow, once it is known where that begins, and when it asked.
    wishes: Vec<(Subscribe, Now)>,
}

impl Peer {
    /// A client whose handshake is done.
    #[must_use]
    pub fn new(
        label: ClientLabel,
        address: SocketAddr,
        session: Session,
        key: Key,
        watches: bool,
        limits: &Limits,
        now: Duration,
    ) -> Self {
        let mut live = Liveness::new(now);
        // Nobody else can subscribe, nor is asked to.
        if session.mode() == Mode::LapwingV1 && session.cursors().is_empty() {
            live.await_subscribe(now);
        }
        Self {
            label,
            address: address.into(),
            session,
            live,
            joined: Now::read().mono,
            told: false,
            watches,
            key,
            controls: Bucket::full(limits.command_rate, now),
            notes: None,
        }
    }

    /// Its place in the list of those who serve it.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// From now on its messages go back to it.
    pub fn echo_messages(&mut self, echo: Echo) {
        self.notes().echo = Some(echo);
    }

    /// Greets a client of the subprotocol, and confirms what it asked for in its URL.
    pub fn greet(&mut self, common: &Common, grants: &[(TopicId, Grant)], passes: &Passes) {
        if self.session.mode() != Mode::LapwingV1 {
            return;
        }
        self.session.say(&ServerMessage::Welcome(Welcome {
            session: self.label.session(),
            name: self.label.to_string(),
            server: concat!("lapwing/", env!("CARGO_PKG_VERSION")).to_owned(),
            topics: common
                .topics
                .public()
                .map(Topic::name)
                .filter(|name| passes.may_listen(self.key, name))
                .cloned()
                .collect(),
            report_interval_ms: millis(common.limits.report_interval()),
            heartbeat_ms: millis(common.limits.heartbeat),
        }));
        for (id, grant) in grants {
            let topic = common.topics.get(*id);
            let view = self.session.view(id.0);
            self.session.say(&subscribed(topic, grant, view));
        }
    }

    /// Tells the console that the client is here, once it is known where it begins.
    pub fn tell_joined(&mut self, common: &Common, feeds: &impl Readers, passes: &Passes) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let places = self
            .session
            .cursors()
            .iter()
            .map(|c| (common.topics.get(TopicId(c.topic)).name().clone(), c.offset));
        common.tell(Event::Joined {
            session: self.label.session(),
            client: self.label.clone(),
            who: passes.who(self.key),
            address: self.address.get(),
            mode: self.session.mode().as_str(),
            from: Places(places.collect()),
            away: common.roster.on_joined(&self.label, self.joined),
            waiting: self.session.waiting(feeds),
        });
    }

    /// Tells the console, and those who count, that the client is gone.
    pub fn tell_left(&mut self, common: &Common, feeds: &impl Readers, passes: &Passes, broken: Option<String>) {
        self.tell_joined(common, feeds, passes);
        let now = Now::read();
        let (code, by, reason) = self.how_it_ended(broken);
        common.counts.on_left(code);
        let sent = self
            .session
            .cursors()
            .iter()
            .filter_map(|c| Some((common.topics.get(TopicId(c.topic)).name().clone(), c.last()?)));
        let (mut behind, mut gone) = (Tally::default(), Tally::default());
        for cursor in self.session.cursors() {
            let log = feeds.log(cursor.topic, self.session.view(cursor.topic));
            behind.add(log.topic(), log.next().since(cursor.offset));
            gone.add(log.topic(), log.first().since(cursor.offset));
        }
        if code != CloseCode::TOO_SLOW && gone.is_empty() {
            // Whoever leaves in the middle of a feed has the newest on its way.
            behind = Tally::default();
        }
        common
            .roster
            .on_left(&self.label, now, self.session.messages, self.session.bytes);
        common.tell(Event::Left {
            session: self.label.session(),
            client: self.label.clone(),
            who: passes.who(self.key),
            code,
            by,
            reason,
            stayed: Duration::from_nanos(now.mono.saturating_sub(self.joined)),
            messages: self.session.messages,
            bytes: self.session.bytes,
            last: Places(sent.collect()),
            missed: self.notes.take().map_or_else(Tally::default, |notes| notes.missed),
            behind,
            gone,
        });
    }

    fn how_it_ended(&self, broken: Option<String>) -> (CloseCode, EndedBy, String) {
        let said = self.notes.as_ref().filter(|notes| !notes.closed_in_answer);
        let closed = said.and_then(|notes| notes.closed.as_ref());
        match (closed, self.session.closing(), broken) {
            (Some((code, reason)), ..) => (*code, EndedBy::Client, escaped(reason)),
            (_, Some((code, reason)), _) => (code, EndedBy::Server, reason.to_owned()),
            (_, None, Some(reason)) => (CloseCode::ABNORMAL, EndedBy::Network, reason),
            (_, None, None) => (
                CloseCode::ABNORMAL,
                EndedBy::Network,
                "it went without a word".to_owned(),
            ),
        }
    }

    /// The client ended the connection where nothing else can be said for goodbye.
    pub fn on_hung_up(&mut self) {
        let in_answer = self.session.closing().is_some();
        let notes = self.notes();
        notes.closed_in_answer = in_answer;
        notes.closed = Some((CloseCode::NO_STATUS, String::new()));
    }

    /// Whether the client has sent its close frame.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.notes.as_ref().is_some_and(|notes| notes.closed.is_some())
    }

    fn notes(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// Takes one message or control frame of the client.
    pub fn on_frame(
        &mut self,
        frame: Frame<'_>,
        now: Duration,
        common: &Common,
        feeds: &mut Feeds,
        passes: &mut Passes,
        socket: &Socket,
    ) {
        if self.session.closing().is_some() && !matches!(frame, Frame::Close(_)) {
            return;
        }
        let said = match frame {
            Frame::Text(text) => Some(text.len()),
            Frame::Binary(bytes) => Some(bytes.len()),
            _ => None,
        };
        // Whoever has its messages sent back is held to the pace at which it reads them.
        let echoes = self.session.mode() == Mode::Echo;
        if !echoes && said.is_some_and(|bytes| !self.may_say(bytes, now, common)) {
            return;
        }
        match frame {
            Frame::Text(_) | Frame::Binary(_) if self.session.mode() == Mode::Echo => {
                if let Some(echo) = &mut self.notes.get_or_insert_default().echo {
                    echo.on_message(frame, &mut self.session);
                }
            }
            Frame::Text(text) if self.session.mode() == Mode::LapwingV1 => {
                self.on_command(text, now, common, feeds, passes, socket);
            }
            Frame::Text(text) if holds_token(text) => self.on_said(Said::text(TOKEN_SAID, usize::MAX), common),
            Frame::Text(text) => self.on_said(Said::text(text, Limits::SAID_BYTES_MAX), common),
            Frame::Binary(bytes) => self.on_said(Said::bytes(bytes), common),
            // It was made whole before.
            Frame::Deflated(_) => {}
            Frame::Ping(payload) => {
                self.session.on_ping(payload);
                self.on_control(now, common);
            }
            Frame::Pong(_) => self.on_control(now, common),
            Frame::Close(close) => {
                let (code, reason) = close.unwrap_or((CloseCode::NO_STATUS, ""));
                let in_answer = self.session.closing().is_some();
                self.session
                    .close(if close.is_some() { code } else { CloseCode::NORMAL }, "");
                let notes = self.notes();
                notes.closed_in_answer = in_answer;
                notes.closed = Some((code, reason.to_owned()));
            }
        }
    }

    /// Takes a message that came compressed; gives how long it was made.
    pub fn on_deflated(&mut self, message: Deflated<'_>, around: &mut Surroundings, socket: &Socket) -> usize {
        if self.session.closing().is_some() {
            return 0;
        }
        let common = &around.common;
        if self.session.mode() == Mode::Echo
            && let Some(echo) = &mut self.notes.get_or_insert_default().echo
        {
            let sent_back = echo.on_deflated(message, &mut around.inflater, &common.inflating, &mut self.session);
            return sent_back.unwrap_or_else(|error| {
                if let Some(breach) = Breach::of_frame(&error) {
                    common.breaches.count(breach);
                }
                self.session.close(error.close_code(), &error.to_string());
                0
            });
        }
        let bytes_max = common.limits.message_bytes_max as usize;
        let inflated = match around.inflater.inflate(message, bytes_max, &common.inflating) {
            Ok(inflated) => inflated,
            Err(error) => {
                if let Some(breach) = Breach::of_inflating(&error) {
                    common.breaches.count(breach);
                }
                self.session.close(error.close_code(), &error.to_string());
                return 0;
            }
        };
        match inflated.event() {
            Ok(frame) => self.on_frame(frame, around.now, common, &mut around.feeds, &mut around.passes, socket),
            Err(error) => self.session.close(error.close_code(), &error.to_string()),
        }
        inflated.bytes()
    }

    fn on_control(&mut self, now: Duration, common: &Common) {
        let rate = common.limits.command_rate;
        if !self.controls.take(rate, now) {
            common.breaches.count(Breach::ControlRate);
            let most = form::counted(rate.per_second.into(), "control frame");
            let reason = format!("more than {most} a second");
            self.session.close(CloseCode::POLICY, &reason);
        }
    }

    /// Whether it keeps to the rates for messages, of whatever kind; otherwise it is closed.
    fn may_say(&mut self, bytes: usize, now: Duration, common: &Common) -> bool {
        let (rate, byte_rate) = (common.limits.message_rate, common.limits.byte_rate());
        let full = || (Bucket::full(rate, now), Bucket::full(byte_rate, now));
        let (messages, kib) = self.notes().said.get_or_insert_with(full);
        let (breach, what) = if !messages.take(rate, now) {
            (Breach::MessageRate, form::counted(rate.per_second.into(), "message"))
        } else if !kib.take_bytes(bytes, byte_rate, now) {
            let bytes = form::bytes(u64::from(byte_rate.per_second) << 10);
            (Breach::ByteRate, format!("{bytes} of messages"))
        } else {
            return true;
        };
        common.breaches.count(breach);
        match self.session.mode() {
            Mode::LapwingV1 => {
                let reason = format!("more than {what} a second retry={RATE_RETRY_MS}");
                self.session.close(CloseCode::RATE, &reason);
            }
            // Whoever knows no codes of ours is told that this is against the rules, and stays away.
            Mode::Plain | Mode::Bare | Mode::Echo | Mode::Events => self
                .session
                .close(CloseCode::POLICY, &format!("more than {what} a second")),
        }
        false
    }

    fn on_said(&mut self, said: Said, common: &Common) {
        #[cfg(debug_assertions)]
        super::fault::on_said(&said);
        common.tell(Event::Said {
            session: self.label.session(),
            client: self.label.clone(),
            address: self.address.get(),
            said,
        });
    }

    fn on_command(
        &mut self,
        text: &str,
        now: Duration,
        common: &Common,
        feeds: &mut Feeds,
        passes: &mut Passes,
        socket: &Socket,
    ) {
        let rate = common.limits.command_rate;
        let full = || Bucket::full(rate, now);
        if !self.notes().commands.get_or_insert_with(full).take(rate, now) {
            common.breaches.count(Breach::CommandRate);
            let most = form::counted(rate.per_second.into(), "command");
            let reason = format!("more than {most} a second retry={RATE_RETRY_MS}");
            self.session.close(CloseCode::RATE, &reason);
            return;
        }
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Subscribe(wish)) => {
                self.forget_wish(wish.topic.as_ref());
                self.on_subscribe(wish, Now::read(), common, feeds, passes);
            }
            Ok(ClientMessage::Auth { token }) => self.on_auth(&token, common, passes),
            Ok(ClientMessage::Unsubscribe { topic }) => match common.topics.find(&topic) {
                Some(found) if self.session.cursor(found.id.0).is_some() => {
                    feeds.unfollow(found.id, self.session.view(found.id.0), self.key);
                    self.session.unfollow(found.id.0);
                    if let Some(notes) = &mut self.notes {
                        notes.reporters.retain(|reporter| reporter.topic != found.id);
                    }
                    tracing::debug!(target: SESSION, session = self.label.session(), topic = topic.as_str(), "unsubscribed");
                    self.session.say(&ServerMessage::Unsubscribed { topic });
                }
                _ if self.forget_wish(Some(&topic)) => self.session.say(&ServerMessage::Unsubscribed { topic }),
                _ => self.refuse("unknown_topic", format!("topic {topic} is not followed"), Some(topic)),
            },
            Ok(ClientMessage::Report(report)) => self.on_report(&report, now, common, feeds, socket),
            Ok(ClientMessage::Say { text }) => self.on_said(Said::text(&text, Limits::SAID_BYTES_MAX), common),
            Err(message) => self.refuse("bad_command", message, None),
        }
    }

    fn refuse(&mut self, code: &str, message: String, topic: Option<lapwing_wire::topic::TopicName>) {
        // The message may repeat what was sent, and that may be anything.
        tracing::debug!(target: SESSION, session = self.label.session(), code, "command refused");
        self.session.say(&ServerMessage::Error {
            code: code.to_owned(),
            message,
            topic,
        });
    }

    /// Something became known that it may have waited for.
    pub fn on_settled(&mut self, common: &Common, feeds: &mut Feeds, passes: &Passes) {
        let wishes = self.notes.as_mut().map(|notes| std::mem::take(&mut notes.wishes));
        for (wish, asked) in wishes.unwrap_or_default() {
            self.on_subscribe(wish, asked, common, feeds, passes);
        }
    }

    /// What was wished before of a topic, or of all, and is not granted yet, is not wished any more: whether there was such.
    fn forget_wish(&mut self, topic: Option<&TopicName>) -> bool {
        let Some(notes) = &mut self.notes else { return false };
        let before = notes.wishes.len();
        notes
            .wishes
            .retain(|(wish, _)| topic.is_some() && wish.topic.as_ref() != topic);
        notes.wishes.len() < before
    }

    /// It was further on another server than this one is: it waits until that is known of the stream that both copy.
    fn wait_for(&mut self, topic: &Topic, wish: Subscribe, asked: Now, common: &Common, feeds: &mut Feeds) {
        let waited = Duration::from_nanos(Now::read().mono.saturating_sub(asked.mono));
        let most = common.limits.subscriptions_max;
        if self.notes().wishes.len() >= most {
            common.breaches.count(Breach::Subscriptions);
            let message = format!("a connection waits for at most {most} topics");
            self.refuse("too_many_topics", message, wish.topic);
        } else if waited < Limits::SETTLE_MAX {
            feeds.unsettle(self.key);
            self.notes().wishes.push((wish, asked));
        } else {
            let reason = format!(
                "topic {} cannot be reached now retry={UNREACHED_RETRY_MS}",
                topic.name()
            );
            self.session.close(CloseCode::TRY_LATER, &reason);
        }
    }

    fn on_subscribe(&mut self, wish: Subscribe, asked: Now, common: &Common, feeds: &mut Feeds, passes: &Passes) {
        let start = match wish.start() {
            Ok(start) => start,
            Err(error) => return self.refuse("bad_command", error.to_string(), wish.topic.clone()),
        };
        let topics: Vec<&Topic> = match &wish.topic {
            None => {
                let topics = common.topics.public();
                topics
                    .filter(|topic| passes.may_listen(self.key, topic.name()))
                    .collect()
            }
            Some(name) if let Err(denied) = passes.caller(self.key).check_follow(name, self.watches) => {
                common.on_refused(self.address.get(), &denied);
                return self.refuse("not_allowed", denied.to_string(), Some(name.clone()));
            }
            Some(name) => match common.topics.find(name) {
                Some(topic) => vec![topic],
                None => {
                    let message = format!(
                        "there is no topic \"{name}\"; {}",
                        common.topics.there_are(|name| passes.may_listen(self.key, name))
                    );
                    return self.refuse("unknown_topic", message, Some(name.clone()));
                }
            },
        };
        let more = topics
            .iter()
            .filter(|topic| self.session.cursor(topic.id.0).is_none())
            .count();
        let most = common.limits.subscriptions_max;
        if self.session.cursors().len() + more > most {
            common.breaches.count(Breach::Subscriptions);
            let message = format!("a connection follows at most {most} topics");
            return self.refuse("too_many_topics", message, wish.topic.clone());
        }
        self.live.on_subscribed();
        if let Some(topic) = topics.iter().find(|topic| !topic.log.is_settled(start, asked.mono)) {
            return self.wait_for(topic, wish, asked, common, feeds);
        }
        for topic in topics {
            let (grant, pin) = topic.log.grant_pinned(start, Now::read());
            pin.into_iter().for_each(|pin| feeds.keep(topic.id, pin));
            let encoding = wish.encoding.unwrap_or(self.session.encoding());
            let before = self.session.view(topic.id.0);
            self.session.follow(topic.cursor(&grant, encoding));
            let view = self.session.view(topic.id.0);
            if view != before {
                feeds.unfollow(topic.id, before, self.key);
            }
            let (session, from) = (self.label.session(), grant.from.get());
            tracing::debug!(target: SESSION, session, topic = topic.name().as_str(), from, "subscribed");
            feeds.follow(topic.id, view, self.key);
            self.session.say(&subscribed(topic, &grant, view));
            if grant.missing_from.is_some() {
                self.tell_joined(common, feeds, passes);
            }
            self.tell_gap(topic, &grant, common);
        }
    }

    /// Another token of the same somebody, in place of the one that it came with.
    fn on_auth(&mut self, token: &Secret, common: &Common, passes: &mut Passes) {
        let now = Now::read();
        let identity = match common.access.identify_token(token, now) {
            Ok(Caller::Known(identity)) => identity,
            Ok(Caller::Anyone) => return self.session.say(&ServerMessage::Authorized { in_ms: None }),
            Err(denied) => return self.end_for(CloseCode::BAD_TOKEN, &denied, common),
        };
        let held = passes.get(self.key);
        if held.is_some_and(|held| held.identity().subject != identity.subject) {
            let who = identity.subject.clone();
            return self.end_for(CloseCode::BAD_TOKEN, &Denied::SomebodyElse { who }, common);
        }
        let renewed = passes.renew(self.key, identity, now);
        tracing::debug!(target: SESSION, session = self.label.session(), "token renewed");
        let in_ms = renewed.and_then(|pass| pass.left(now.mono)).map(millis);
        match self.denied(common, passes) {
            Some(denied) => self.end_for(CloseCode::TOPIC_REFUSED, &denied, common),
            None => self.session.say(&ServerMessage::Authorized { in_ms }),
        }
    }

    /// The token that it has shown is refused, and the connection ends with that.
    fn end_for(&mut self, code: CloseCode, denied: &Denied, common: &Common) {
        common.on_refused(self.address.get(), denied);
        self.session.close(code, &denied.to_string());
    }

    /// Why it may not follow a topic that it does follow, if there is one.
    fn denied(&self, common: &Common, passes: &Passes) -> Option<Denied> {
        self.session.cursors().iter().find_map(|cursor| {
            let topic = common.topics.get(TopicId(cursor.topic));
            let caller = passes.caller(self.key);
            caller.check_follow(topic.name(), self.watches).err()
        })
    }

    /// Something became of its token.
    pub fn on_standing(&mut self, standing: Standing, common: &Common, passes: &Passes) {
        match standing {
            Standing::Expiring(left) if self.session.mode() == Mode::LapwingV1 => {
                self.session.say(&ServerMessage::Expiring { in_ms: millis(left) });
            }
            Standing::Expiring(_) => {}
            Standing::Over => self.session.close(CloseCode::TOKEN_EXPIRED, "the token expired"),
            Standing::Withdrawn => self.session.close(CloseCode::TOKEN_EXPIRED, "the token was withdrawn"),
            Standing::Changed => {
                if let Some(denied) = self.denied(common, passes) {
                    self.session.close(CloseCode::TOKEN_EXPIRED, &denied.to_string());
                }
            }
        }
    }

    /// Offsets that were gone already when they were asked for are counted like those missed later.
    pub fn tell_gap(&mut self, topic: &Topic, grant: &Grant, common: &Common) {
        let Some(from) = grant.missing_from else { return };
        let let_go = grant.let_go.max(from);
        for (range, reason) in [
            (from..let_go, GapReason::Retention),
            (let_go..grant.from, GapReason::Purge),
        ] {
            if !range.is_empty() {
                self.tell_missed(topic, range, reason, common);
            }
        }
    }

    /// A cursor has missed offsets, and goes on behind them.
    pub fn on_missed(&mut self, missed: &Missed, common: &Common) {
        let topic = common.topics.get(TopicId(self.session.cursors()[missed.nth].topic));
        self.session.on_missed(missed, topic.name());
        self.tell_missed(topic, missed.range.clone(), missed.reason, common);
    }

    /// What it wants of a topic cannot be read from its file.
    pub fn on_unreadable(&mut self, topic: &Topic, offset: Offset, error: &io::Error, common: &Common) {
        common.tell(Event::Storage {
            topic: topic.name().clone(),
            text: format!("cannot read from offset {offset} on: {}", reason(error)),
        });
        if topic.log.origin().is_some() {
            // It may be read soon, or now on another server.
            let reason = format!(
                "topic {} cannot be read at offset {offset} now retry={UNREACHED_RETRY_MS}",
                topic.name()
            );
            return self.session.close(CloseCode::TRY_LATER, &reason);
        }
        let reason = format!("topic {} cannot be read at offset {offset}", topic.name());
        self.session.close(CloseCode::INTERNAL, &reason);
    }

    /// A cursor was overtaken where that ends the connection. What is missing is counted when the client is told of it: when
    /// it comes back.
    pub fn on_overtaken(&mut self, missed: &Missed, common: &Common) {
        let topic = common.topics.get(TopicId(self.session.cursors()[missed.nth].topic));
        self.session.on_overtaken(missed, topic.name());
    }

    fn tell_missed(&mut self, topic: &Topic, range: std::ops::Range<Offset>, reason: GapReason, common: &Common) {
        let count = range.end.since(range.start);
        topic.missed.fetch_add(count, Ordering::Relaxed);
        common.counts.of(topic.id).on_gap(reason, count);
        self.notes().missed.add(topic.name(), count);
        common.tell(Event::Missed {
            session: self.label.session(),
            client: self.label.clone(),
            topic: topic.name().clone(),
            from: range.start,
            to: range.end,
            reason,
        });
    }

    fn on_report(&mut self, report: &Report, now: Duration, common: &Common, feeds: &Feeds, socket: &Socket) {
        let Some(topic) = common
            .topics
            .find(&report.topic)
            .filter(|topic| self.session.cursor(topic.id.0).is_some())
        else {
            let message = format!("a report of {}, which is not followed", report.topic);
            return self.refuse("bad_report", message, Some(report.topic.clone()));
        };
        let ours = report.epoch.is_none_or(|epoch| epoch == topic.log.epoch()) && report.last < topic.log.next();
        if !report.is_plausible() || !ours {
            return self.refuse(
                "bad_report",
                "a report with numbers that cannot be true".to_owned(),
                Some(report.topic.clone()),
            );
        }
        let rate = common.limits.report_rate;
        let reporters = &mut self.notes.get_or_insert_default().reporters;
        let place = reporters
            .iter()
            .position(|reporter| reporter.topic == topic.id)
            .unwrap_or_else(|| {
                reporters.push(Reporter::new(topic.id, &topic.crowd, rate, now));
                reporters.len() - 1
            });
        let reporter = &mut reporters[place];
        if !reporter.may_report(rate, now) {
            common.breaches.count(Breach::ReportRate);
            let message = match rate.per_second {
                1 => "at most one report a topic and second".to_owned(),
                most => format!("at most {most} reports a topic and second"),
            };
            return self.refuse("too_many_reports", message, Some(report.topic.clone()));
        }
        let (session, client) = (self.label.session(), &self.label);
        let sight = sight(topic, report, &self.session, common, feeds, socket);
        let news = reporter.on_report(report, &sight, Now::read());
        let behind_ms = reporter.behind_ms();
        let judgement = reporter.judgement();
        let path = sight.path;
        let rtt_ms = path.map(|path| path.way_and_back().as_secs_f64() * 1e3);
        let reported = reporter.last().expect("it has just reported");
        common.counts.of(topic.id).on_report(report, reported.drift_ms);
        common.tell(Event::Report {
            session,
            client: client.clone(),
            topic: report.topic.clone(),
            block: report.last_block,
            blocks: report.blocks,
            block_size: report.block_size.get(),
            first: report.first,
            last: report.last,
            messages: report.messages,
            elapsed_ms: report.elapsed_ms.map(|spans| spans.total),
            spread_ms: report.spread_ms.median,
            server_ms: reported.drift_ms.and(sight.server_ms),
            drift_ms: reported.drift_ms,
            behind_ms,
            cause: judgement.cause(),
            rtt_ms,
            latency_ms: reported.latency.map(|latency| latency.ms),
            latency_error_ms: reported.latency.map(|latency| latency.error_ms),
            flags: report.flags,
        });
        let slow = |blocks| Event::Slow {
            session,
            client: client.clone(),
            topic: report.topic.clone(),
            behind_ms,
            blocks,
            waiting: sight.waiting,
            waits_bytes: path.map(|path| path.waits_bytes),
            rtt_ms,
            cause: judgement.cause(),
            why: judgement,
        };
        match news {
            Some(News::Slow(blocks)) => common.tell(slow(Some(blocks))),
            Some(News::Cause) => common.tell(slow(None)),
            Some(News::KeepsUp) => common.tell(Event::KeepsUp {
                session,
                client: client.clone(),
                topic: report.topic.clone(),
                behind_ms,
            }),
            None => {}
        }
    }

    /// Looks for reports that should have come long ago: such a client is asked whether it is there, and one that does not answer
    /// is told to be silent. Gives whether to ask.
    pub fn look_for_reports(&mut self, now: Duration, common: &Common) -> bool {
        let Some(notes) = &mut self.notes else { return false };
        let unanswered = self.live.unanswered(now);
        let wall = Now::read();
        let mut asks = false;
        for reporter in &mut notes.reporters {
            let topic = common.topics.get(reporter.topic);
            if !reporter.is_overdue(topic.log.next(), wall) {
                continue;
            }
            asks |= reporter.asks();
            if unanswered >= SILENT_AFTER && reporter.on_silent(wall) {
                let last = reporter.last().expect("it is overdue since its last report");
                common.tell(Event::Silent {
                    session: self.label.session(),
                    client: self.label.clone(),
                    topic: topic.name().clone(),
                    quiet: Duration::from_nanos(wall.mono.saturating_sub(last.at.mono)),
                    cause: reporter.judgement().cause(),
                    why: reporter.judgement(),
                });
            }
        }
        asks && self.live.ask()
    }

    /// What those who watch see of it; `path` is the way to it, where the kernel tells.
    #[must_use]
    pub fn row(&self, common: &Common, feeds: &impl Readers, passes: &Passes, path: Option<Path>) -> Row {
        let reporters = self.notes.as_ref().map_or(&[][..], |notes| &notes.reporters);
        let topics = self.session.cursors().iter().map(|cursor| {
            let reporter = reporters.iter().find(|reporter| reporter.topic.0 == cursor.topic);
            TopicRow {
                topic: common.topics.get(TopicId(cursor.topic)).name().clone(),
                next: cursor.offset,
                lag: feeds
                    .log(cursor.topic, self.session.view(cursor.topic))
                    .next()
                    .since(cursor.offset),
                report: reporter.and_then(ReportRow::of),
            }
        });
        let who = passes.who(self.key);
        Row {
            session: self.label.session(),
            client: self.label.clone(),
            who,
            address: self.address.get(),
            mode: self.session.mode().as_str(),
            since: wall_of(self.joined, Now::read()),
            cause: Cause::Unclear,
            why: Judgement::NoReports,
            behind_ms: None,
            messages: self.session.messages,
            bytes: self.session.bytes,
            way: path.map(Way::from),
            topics: topics.collect(),
        }
        .judged()
    }

    /// A heartbeat with the ends of all topics followed.
    pub fn beat(&mut self, common: &Common) {
        let next = self.ends(common).to_map();
        self.session.say(&ServerMessage::Heartbeat {
            time: micros_text(Now::read().wall),
            next,
            stale: self.stale(common),
        });
    }

    /// The topics followed whose origin cannot be reached.
    fn stale(&self, common: &Common) -> Vec<TopicName> {
        let topics = self.session.cursors().iter();
        let topics = topics.map(|cursor| common.topics.get(TopicId(cursor.topic)));
        let stale = topics.filter(|topic| topic.log.is_stale());
        stale.map(|topic| topic.name().clone()).collect()
    }

    /// A topic began a new history: the client comes back, and is told then what that means for what it has.
    pub fn on_superseded(&mut self, topic: &Topic, share: Share) {
        let (name, retry_ms) = (topic.name(), share.return_ms(self.key));
        let reason = format!("topic {name} began a new history retry={retry_ms}");
        self.session.close(CloseCode::RESTART, &reason);
    }

    /// The server stops: says so, and when to come back, and closes.
    pub fn dismiss(&mut self, stop: &Stop, share: Share, common: &Common) {
        if self.session.closing().is_some() {
            return;
        }
        let Stop { code, why, .. } = *stop;
        let retry_ms = stop.retry.then(|| share.return_ms(self.key));
        let ends = self.ends(common);
        if self.session.mode() == Mode::LapwingV1 {
            self.session.say(&ServerMessage::Bye {
                reason: why.to_owned(),
                retry_ms,
                elsewhere_ms: Some(share.leave_ms(self.key)),
                next: ends.to_map(),
            });
        }
        let retry = retry_ms.map_or(String::new(), |ms| format!(" retry={ms}"));
        let mut reason = format!("{why}{retry}");
        for cursor in self.session.cursors() {
            let Some(last) = cursor.last() else { continue };
            let place = format!(" {}={last}", common.topics.get(TopicId(cursor.topic)).name());
            if reason.len() + place.len() <= lapwing_wire::close::REASON_BYTES_MAX {
                reason.push_str(&place);
            }
        }
        self.session.close(code, &reason);
    }

    /// The end of every topic followed.
    pub fn ends(&self, common: &Common) -> Places {
        let end = |topic: &Topic| (topic.name().clone(), topic.log.next());
        Places(
            self.session
                .cursors()
                .iter()
                .map(|cursor| end(common.topics.get(TopicId(cursor.topic))))
                .collect(),
        )
    }
}

/// What the server sees of its own at a report. Its time for the same offsets is from the end of the block before: none when they
/// are not all retained.
fn sight(topic: &Topic, report: &Report, session: &Session, common: &Common, feeds: &Feeds, socket: &Socket) -> Sight {
    let memory = topic.log.memory();
    let instants = |before| memory.instants(before, report.last);
    let spanned = report.first.previous().and_then(instants);
    let sent = session.cursor(topic.id.0).map_or(Offset::ZERO, |cursor| cursor.offset);
    let waiting = feeds.log(topic.id.0, session.view(topic.id.0)).next().since(sent);
    // What is not in memory any more was made long ago.
    let waited = || match memory.instants(sent, sent) {
        Some((made, _)) => Duration::from_nanos(Now::read().mono.saturating_sub(made)),
        None => Duration::MAX,
    };
    let forgotten = || {
        let first = memory.first();
        let (made, _) = memory.instants(first, first).filter(|_| report.last < first)?;
        Some(Duration::from_nanos(Now::read().mono.saturating_sub(made)))
    };
    Sight {
        server_ms: spanned.map(|(before, last)| last.saturating_sub(before) as f64 / 1e6),
        appended: spanned.or_else(|| instants(report.last)).map(|(_, last)| last),
        forgotten: forgotten(),
        waiting,
        waited: if waiting > 0 { waited() } else { Duration::ZERO },
        path: socket.path(),
        late: common.late(),
    }
}

/// What is said of a place that was granted, to one who reads this view of the topic.
pub fn subscribed(topic: &Topic, grant: &Grant, view: View) -> ServerMessage {
    let arrays = topic.log.arrays().filter(|_| view == View::Arrays);
    ServerMessage::Subscribed(Subscribed {
        topic: topic.name().clone(),
        epoch: topic.log.epoch(),
        first: grant.first,
        next: grant.next,
        durable: topic.log.durable_end(),
        level: topic.log.level(),
        from: grant.from,
        answer: grant.answer,
        missing_from: grant.missing_from,
        diverged_at: grant.diverged_at,
        number: arrays.map(ArrayWriter::number),
        dtype: arrays.map(ArrayWriter::dtype),
    })
}

/// Whether a client that speaks no commands may have sent one with a token all the same, well formed or not: it is not obeyed,
/// and not shown either.
fn holds_token(text: &str) -> bool {
    text.contains("\"token\"")
}

/// What is shown in its place.
const TOKEN_SAID: &str = "a token, which is not shown";
/// Who is there answers a ping sooner, unless it is very far away.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Another server may reach what this one does not; with this one alone it is tried again soon.
const UNREACHED_RETRY_MS: u64 = 1000;
/// Who came too often may come back after so long.
const RATE_RETRY_MS: u64 = 5000;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
