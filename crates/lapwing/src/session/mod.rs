//! One subscriber's decisions: what goes out next. Its bytes are the socket's, its messages the log's.

pub mod control;

use std::ops::Range;
use std::sync::Arc;

use lapwing_wire::close::CloseCode;
use lapwing_wire::control::{Gap, GapReason, ServerMessage};
use lapwing_wire::extension::Compression;
use lapwing_wire::position::Offset;
use lapwing_wire::query::Encoding;
use lapwing_wire::topic::TopicName;
use smallvec::SmallVec;

use self::control::{Control, Due};
use crate::log::lag::OnLag;
use crate::log::reader::{Next as Read, Reader, Run, Split, View};
use crate::log::{Grant, Log};

/// How a client wants its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Text frames with the envelope, nothing else.
    Plain,
    /// Only payloads.
    Bare,
    /// Envelopes, with control messages between them.
    LapwingV1,
    /// Its own messages, and nothing else.
    Echo,
    /// Envelopes as server-sent events, over HTTP.
    Events,
}

impl Mode {
    /// The view of the log that it reads.
    #[must_use]
    pub fn view(self, compression: Compression) -> View {
        match (self, compression) {
            (Self::Bare, Compression::Off) => View::Payload,
            (Self::Bare, Compression::Deflate) => View::DeflatedPayload,
            (Self::Events, _) => View::Events,
            // Who follows no topic reads none.
            (Self::Echo, _) | (Self::Plain | Self::LapwingV1, Compression::Off) => View::Canonical,
            (Self::Plain | Self::LapwingV1, Compression::Deflate) => View::Deflated,
        }
    }

    /// Its name on the console.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bare => "bare",
            Self::LapwingV1 => "lapwing.v1",
            Self::Echo => "echo",
            Self::Events => "events",
        }
    }
}

/// One reader's place in one log.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Which of the server's topics.
    pub topic: u32,
    /// The offset wanted next.
    pub offset: Offset,
    /// The offset behind the last one sent, 0 when none was.
    sent: Offset,
    /// The socket took no more since this cursor was last looked at.
    held_up: bool,
    /// What lies there is on its way from a file.
    loading: bool,
    /// The generation of the log in which it was granted.
    generation: u16,
    /// It reads arrays as binary frames.
    arrays: bool,
}

impl Cursor {
    /// A cursor where the topic with this number granted it.
    #[must_use]
    pub fn new(topic: u32, grant: &Grant) -> Self {
        Self {
            topic,
            offset: grant.from,
            sent: Offset::ZERO,
            held_up: false,
            loading: false,
            generation: grant.generation,
            arrays: false,
        }
    }

    /// The same cursor, which reads arrays as binary frames.
    #[must_use]
    pub fn with_arrays(self) -> Self {
        Self { arrays: true, ..self }
    }

    /// The view that it reads in a session that reads `text` where no array is wanted.
    #[must_use]
    fn view(&self, text: View) -> View {
        if self.arrays { View::Arrays } else { text }
    }

    /// Whether the log that this reader reads has begun anew since it was granted.
    fn is_superseded(&self, reader: &Reader) -> bool {
        self.generation != reader.generation()
    }

    /// The last offset sent.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.sent.previous()
    }
}

/// Where a session's logs are read: a thread's readers, by topic.
pub trait Readers {
    /// The reader of a topic in this view.
    fn reader(&self, topic: u32, view: View) -> &Reader;

    /// Makes what that reader will give at `cursor`, in a view that the log does not hold.
    fn prepare(&mut self, topic: u32, view: View, cursor: Offset);

    /// The log of a topic.
    fn log(&self, topic: u32, view: View) -> &Arc<Log> {
        self.reader(topic, view).log()
    }
}

/// What goes out next.
pub enum Next<'s, 'r> {
    /// Frames of our own between those of the log: control messages, pings, pongs, the close.
    Control(&'s [u8]),
    /// Frames of the log, for the cursor with this place.
    Frames(usize, Run<'r>),
    /// A cursor has missed offsets, and goes on behind them.
    Missed(Missed),
    /// A cursor was overtaken in a topic that closes its client then.
    Overtaken(Missed),
    /// The topic of the cursor with this place began a new history: what the client has is no part of it.
    Superseded(usize),
    /// What the cursor with this place wants must be brought from a file first.
    OnDisk(usize),
    /// Nothing before that has come.
    Loading,
    /// Nothing for now.
    CaughtUp,
    /// Every topic followed has ended, and everything of it is out.
    Ended,
    /// The close frame is out: nothing more is sent.
    Closed,
}

/// Offsets that a cursor will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Which of the session's cursors.
    pub nth: usize,
    /// From the cursor's place up to, not including, the offset with which it goes on.
    pub range: Range<Offset>,
    /// Why.
    pub reason: GapReason,
}

/// One subscriber.
pub struct Session {
    mode: Mode,
    /// The view of its logs that it reads, where that is not arrays.
    text: View,
    encoding: Encoding,
    /// The cursor whose turn it is: topics take turns, so that a busy one does not starve a quiet one.
    turn: u16,
    /// Most sessions follow one topic, and tens of thousands of them are to be cheap.
    cursors: SmallVec<[Cursor; 1]>,
    control: Control,
    /// Frames of the log sent.
    pub messages: u64,
    /// Bytes sent.
    pub bytes: u64,
}

impl Session {
    /// A session that begins at these cursors.
    #[must_use]
    pub fn new(mode: Mode, compression: Compression, cursors: Vec<Cursor>) -> Self {
        Self {
            mode,
            text: mode.view(compression),
            encoding: Encoding::Json,
            turn: 0,
            cursors: cursors.into_iter().collect(),
            control: Control::default(),
            messages: 0,
            bytes: 0,
        }
    }

    /// The same session, with this form of arrays where nothing else is asked.
    #[must_use]
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// The form of arrays where nothing else is asked.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How the client wants its messages.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The view that it reads of a topic.
    #[must_use]
    pub fn view(&self, topic: u32) -> View {
        self.cursor(topic).map_or(self.text, |cursor| cursor.view(self.text))
    }

    /// Its cursors.
    #[must_use]
    pub fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    /// Its cursor in a topic.
    #[must_use]
    pub fn cursor(&self, topic: u32) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| cursor.topic == topic)
    }

    /// Follows a topic at a cursor; one that is followed already goes on there.
    pub fn follow(&mut self, new: Cursor) {
        match self.cursors.iter_mut().find(|cursor| cursor.topic == new.topic) {
            Some(cursor) => {
                cursor.offset = new.offset;
                cursor.generation = new.generation;
                cursor.arrays = new.arrays;
            }
            None => self.cursors.push(new),
        }
    }

    /// Follows a topic no longer; gives whether it did.
    pub fn unfollow(&mut self, topic: u32) -> bool {
        let before = self.cursors.len();
        self.cursors.retain(|cursor| cursor.topic != topic);
        self.turn = 0;
        self.cursors.len() < before
    }

    /// What goes out next. Control frames come first: they are few and small, and a pong must not wait behind a backlog.
    pub fn next<'s, 'r>(&'s mut self, readers: &'r mut impl Readers, bytes_max: usize) -> Next<'s, 'r> {
        match self.control.due() {
            Due::Frames(frames) => Next::Control(frames),
            Due::Closed => Next::Closed,
            Due::Nothing => {
                prepare(self.text, &self.cursors, readers);
                next_of_log(self.text, &mut self.cursors, self.turn, readers, bytes_max)
            }
        }
    }

    /// Whether frames of the log, if there are any, may go out together with those of other sessions: nothing of our own waits.
    #[must_use]
    pub fn goes_with_others(&self) -> bool {
        self.control.is_empty()
    }

    /// Makes the frames that [`Session::frames`] will give, in a view that the log does not hold.
    pub fn prepare(&self, readers: &mut impl Readers) {
        prepare(self.text, &self.cursors, readers);
    }

    /// The frames that [`Session::next`] would give, and of which cursor, when it would give frames of the log and nothing has to be
    /// done first.
    ///
    /// Unlike that, it changes nothing, so that many sessions can be asked and their frames sent together. Until a session is
    /// prepared again, they stay as they are, or there are more.
    #[must_use]
    pub fn frames<'r>(&self, readers: &'r impl Readers, bytes_max: usize) -> Option<(usize, Run<'r>)> {
        if !self.goes_with_others() {
            return None;
        }
        for step in 0..self.cursors.len() {
            let nth = (usize::from(self.turn) + step) % self.cursors.len();
            let cursor = &self.cursors[nth];
            if cursor.held_up || cursor.is_superseded(readers.reader(cursor.topic, cursor.view(self.text))) {
                return None;
            }
            match self.read(cursor, readers, bytes_max) {
                Read::Frames(run) => return Some((nth, run)),
                Read::CaughtUp | Read::Ended => {}
                Read::Missed(_) | Read::Lost(..) | Read::OnDisk => return None,
            }
        }
        None
    }

    fn read<'r>(&self, cursor: &Cursor, readers: &'r impl Readers, bytes_max: usize) -> Read<'r> {
        let reader = readers.reader(cursor.topic, cursor.view(self.text));
        reader.read(cursor.offset, bytes_max)
    }

    /// Whether [`Session::next`] may have something.
    #[must_use]
    pub fn has_more(&self, readers: &impl Readers) -> bool {
        let more = |cursor: &Cursor| {
            let log = readers.log(cursor.topic, cursor.view(self.text));
            cursor.offset < log.next() || log.has_ended() || cursor.generation != log.generation()
        };
        !self.control.is_empty() || self.cursors.iter().any(more)
    }

    /// The cursor that retention has overtaken in a topic that closes its client then. A socket that takes nothing is not
    /// asked what goes out next, so this is asked for it.
    #[must_use]
    pub fn overtaken(&self, readers: &impl Readers) -> Option<Missed> {
        self.cursors.iter().enumerate().find_map(|(nth, cursor)| {
            let log = readers.log(cursor.topic, cursor.view(self.text));
            let range = cursor.offset..log.let_go();
            let reason = GapReason::Retention;
            (log.on_lag() == OnLag::Close && !range.is_empty()).then_some(Missed { nth, range, reason })
        })
    }

    /// The socket took `written` bytes of the control frames; gives what it must keep: frames are never interleaved.
    pub fn on_control_written(&mut self, written: usize) -> Vec<u8> {
        self.bytes += written as u64;
        self.control.on_written(written)
    }

    /// The socket took a part of the frames of cursor `nth`.
    pub fn on_written(&mut self, nth: usize, written: usize, split: &Split<'_>) {
        self.bytes += written as u64;
        self.messages += split.taken as u64;
        let cursor = &mut self.cursors[nth];
        if let Some(last) = split.last {
            cursor.offset = last.next();
            cursor.sent = last.next();
            // A session follows no more topics than that.
            self.turn = u16::try_from(nth + 1).unwrap_or(0);
        }
    }

    /// What the cursor `nth` wants is being brought from a file: until then the others go on.
    pub fn on_loading(&mut self, nth: usize) {
        self.cursors[nth].loading = true;
    }

    /// It has come, or cannot be had.
    pub fn on_loaded(&mut self, topic: u32) {
        let cursor = self.cursors.iter_mut().find(|cursor| cursor.topic == topic);
        // It may have been unfollowed in between.
        if let Some(cursor) = cursor {
            cursor.loading = false;
        }
    }

    /// The socket takes no more for now.
    pub fn on_held_up(&mut self) {
        self.cursors.iter_mut().for_each(|cursor| cursor.held_up = true);
    }

    /// A cursor in this topic has missed offsets: it goes on behind them, and the client is told if it understands that.
    pub fn on_missed(&mut self, missed: &Missed, topic: &TopicName) {
        self.cursors[missed.nth].offset = missed.range.end;
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::SilentGap) {
            return;
        }
        if self.mode == Mode::LapwingV1 {
            self.say(&ServerMessage::Gap(Gap {
                topic: topic.clone(),
                from: missed.range.start,
                to: missed.range.end,
                reason: missed.reason,
            }));
        }
    }

    /// A cursor in this topic was overtaken, and the topic closes its client then: it comes back at its own position, and
    /// is told then what is missing.
    pub fn on_overtaken(&mut self, missed: &Missed, topic: &TopicName) {
        let (first, last) = (missed.range.start, missed.range.end.get().saturating_sub(1));
        self.close(CloseCode::TOO_SLOW, &format!("too slow, gone: {topic} {first}-{last}"));
    }

    /// Sends a control message of the subprotocol.
    pub fn say(&mut self, message: &ServerMessage) {
        self.control.say(&message.to_text());
    }

    /// Sends a ping.
    pub fn ping(&mut self) {
        self.control.ping();
    }

    /// Where frames of a message of its own are added; none when the close is under way.
    pub fn own_frames(&mut self) -> Option<&mut Vec<u8>> {
        self.control.frames()
    }

    /// Answers a ping; when much waits, only the newest.
    pub fn on_ping(&mut self, payload: &[u8]) {
        self.control.pong(payload);
    }

    /// Ends the connection at the next frame boundary; the first reason counts. It is cut to 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.control.close(code, reason);
    }

    /// The close under way, if any: its code and reason.
    #[must_use]
    pub fn closing(&self) -> Option<(CloseCode, &str)> {
        self.control.closing()
    }

    /// Bytes of control frames that wait.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        self.control.bytes()
    }

    /// Messages that wait for this session.
    #[must_use]
    pub fn waiting(&self, readers: &impl Readers) -> u64 {
        self.cursors
            .iter()
            .map(|cursor| {
                readers
                    .log(cursor.topic, cursor.view(self.text))
                    .next()
                    .since(cursor.offset)
            })
            .sum()
    }
}

/// Has what lies at these cursors made, in a view that the log does not hold.
fn prepare(text: View, cursors: &[Cursor], readers: &mut impl Readers) {
    for cursor in cursors {
        let view = cursor.view(text);
        if view != View::Canonical {
            readers.prepare(cursor.topic, view, cursor.offset);
        }
    }
}

/// What the cursors' logs have, beginning with the cursor whose turn it is.
fn next_of_log<'s, 'r>(
    text: View,
    cursors: &mut [Cursor],
    turn: u16,
    readers: &'r impl Readers,
    bytes_max: usize,
) -> Next<'s, 'r> {
    let mut loading = false;
    let mut ended = 0;
    for step in 0..cursors.len() {
        let nth = (usize::from(turn) + step) % cursors.len();
        let cursor = &mut cursors[nth];
        let reader = readers.reader(cursor.topic, cursor.view(text));
        if cursor.is_superseded(reader) {
            return Next::Superseded(nth);
        }
        if std::mem::take(&mut cursor.held_up)
            && let Some(range) = jump(cursor.offset, reader.log())
        {
            let reason = GapReason::Policy;
            return Next::Missed(Missed { nth, range, reason });
        }
        match reader.read(cursor.offset, bytes_max) {
            Read::Frames(run) => return Next::Frames(nth, run),
            Read::Missed(range) => return missed(nth, range, reader.log()),
            Read::Lost(range, reason) => return Next::Missed(Missed { nth, range, reason }),
            Read::OnDisk if cursor.loading => loading = true,
            Read::OnDisk => return Next::OnDisk(nth),
            Read::CaughtUp => {}
            Read::Ended => ended += 1,
        }
    }
    if loading {
        return Next::Loading;
    }
    if ended > 0 && ended == cursors.len() {
        Next::Ended
    } else {
        Next::CaughtUp
    }
}

/// Offsets that are jumped over after the socket took no more, where the topic's policy is to go on with the newest message.
fn jump(cursor: Offset, log: &Log) -> Option<Range<Offset>> {
    let newest = log.next().previous()?.max(log.first());
    (log.on_lag() == OnLag::Latest && cursor < newest).then_some(cursor..newest)
}

/// What follows from offsets that a reader could not find: they were let go, or never were.
fn missed(nth: usize, range: Range<Offset>, log: &Log) -> Next<'static, 'static> {
    if range.start >= log.let_go() {
        let reason = GapReason::Purge;
        return Next::Missed(Missed { nth, range, reason });
    }
    let reason = GapReason::Retention;
    let missed = Missed { nth, range, reason };
    match log.on_lag() {
        OnLag::Close => Next::Overtaken(missed),
        OnLag::Skip | OnLag::Latest | OnLag::Wait => Next::Missed(missed),
    }
}
