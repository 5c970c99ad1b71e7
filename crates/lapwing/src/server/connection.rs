//! One connection's turn: what came is read, then at most one write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::decoder::{Decoder, DecoderLimits, Event as Frame};
use lapwing_wire::deflate::Inflater;
use lapwing_wire::extension::Compression;
use lapwing_wire::frame::Role;
use lapwing_wire::position::Offset;

use super::access::pass::Passes;
use super::breach::Breach;
use super::common::Common;
use super::echo::Echo;
use super::feeds::Feeds;
use super::hello;
use super::ledger::Ledger;
use super::peer::Peer;
use super::row::Row;
use super::seat::Seat;
use super::tick::Tick;
use super::topics::TopicId;
use super::worker::{Share, Stop};
use crate::config::Limits;
use crate::log::reader::{Run, Split};
use crate::reason::reason;
use crate::session::{Mode, Next};
use crate::socket::{REST_BYTES_MAX, RestsFull, Socket};

/// A client's socket, and the client.
pub struct Connection {
    /// The client.
    pub peer: Peer,
    /// Its bytes.
    pub socket: Socket,
    /// Waits for its turn.
    pub queued: bool,
    /// Its frames go out with the next batch; until then it gets no other turn.
    pub in_batch: bool,
    /// Our close frame is out, or cannot leave; by then the connection ends.
    pub close_by: Option<Tick>,
    decoder: Decoder,
    /// Bytes that were read and not yet looked at: those behind the handshake, and those after which answers piled up.
    #[expect(clippy::box_collection, reason = "eight bytes for what most connections never have")]
    unheard: Option<Box<Vec<u8>>>,
    inbound: Inbound,
    /// What the socket keeps is the rest of control frames, and not of a message.
    keeps_control: bool,
    /// Given back when the connection is gone.
    _seat: Seat,
}

/// What is to be read of the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inbound {
    /// The poll said that bytes have come, and they are not all read.
    Ready,
    /// Nothing, until the poll says so.
    Drained,
    /// The peer sends nothing more.
    Ended,
}

/// What a turn came to.
pub enum Turn {
    /// There is more to do.
    Again,
    /// There may be more to do, and this is to be brought from a file.
    Load(TopicId, Offset),
    /// If there are frames of the log to send, they may go out together with those of others.
    Send,
    /// Nothing until the poll or the bell says so.
    Park,
    /// The connection is over; with why, when it broke.
    Over(Option<String>),
}

/// What came of a send, in terms of the frames that were read for it: whoever reads again may find that the log went on.
pub struct Sent {
    /// Whose frames they were: the place of a cursor of the session.
    cursor: usize,
    /// How many bytes the socket was to take.
    asked: usize,
    /// How many it took, or how it broke.
    written: io::Result<usize>,
    /// As of [`Split`].
    taken: usize,
    last: Option<Offset>,
    rest: Vec<u8>,
}

impl Sent {
    /// A send of these frames, and how many bytes of them were taken.
    #[must_use]
    pub fn new(cursor: usize, run: &Run<'_>, written: io::Result<usize>) -> Self {
        let split = run.split(*written.as_ref().unwrap_or(&0));
        Self {
            cursor,
            asked: run.bytes().len(),
            written,
            taken: split.taken,
            last: split.last,
            rest: split.rest.to_vec(),
        }
    }
}

/// What a turn needs of its thread.
pub struct Surroundings {
    /// The thread's readers of all topics.
    pub feeds: Feeds,
    /// What all threads share.
    pub common: Arc<Common>,
    /// What the thread counts of what goes out and comes in.
    pub ledger: Ledger,
    /// Makes the compressed messages of its clients whole.
    pub inflater: Inflater,
    /// What its connections may do, where that is asked.
    pub passes: Passes,
    /// Whether frames of many are sent together.
    pub batches: bool,
    /// The thread's time.
    pub now: Duration,
    /// How the server stops, if it does.
    pub stop: Option<Stop>,
    /// Which of the delivery threads this is.
    pub share: Share,
}

impl Surroundings {
    /// Until when an answer is waited for to a close of ours that leaves now.
    #[must_use]
    pub fn close_by(&self) -> Tick {
        let wait = match self.stop {
            Some(_) => Limits::STOP_CLOSE_TIMEOUT,
            None => Limits::CLOSE_TIMEOUT,
        };
        Tick::at(self.now + wait)
    }
}

impl Connection {
    /// A connection whose handshake is done; `unheard` are the bytes that came behind it.
    #[must_use]
    pub fn new(
        peer: Peer,
        socket: Socket,
        unheard: Vec<u8>,
        compression: Compression,
        limits: &Limits,
        seat: Seat,
    ) -> Self {
        let limits = match peer.session.mode() {
            Mode::Echo => Echo::LIMITS,
            _ => DecoderLimits {
                message_bytes_max: limits.message_bytes_max,
                fragments_max: limits.fragments_max,
            },
        };
        Self {
            peer,
            socket,
            queued: false,
            in_batch: false,
            close_by: None,
            decoder: Decoder::new(Role::Server, limits).with_compression(compression),
            unheard: kept(&unheard),
            inbound: Inbound::Ready,
            keeps_control: false,
            _seat: seat,
        }
    }

    /// The poll says that bytes have come, or that none will.
    pub fn on_readable(&mut self) {
        if self.inbound != Inbound::Ended {
            self.inbound = Inbound::Ready;
        }
    }

    /// Reads what came, a bounded part of it, then writes at most once, so that nobody starves another. The buffer is one that
    /// its thread reads into for all.
    pub fn turn(&mut self, buffer: &mut [u8], around: &mut Surroundings) -> Turn {
        if let Err(broken) = self.read(buffer, around) {
            return Turn::Over(Some(broken));
        }
        if around.feeds.settle(self.peer.key()) {
            self.peer.on_settled(&around.common, &mut around.feeds, &around.passes);
        }
        let free = !self.socket.is_blocked() && !self.socket.has_rest();
        if around.batches && free && !self.socket.is_encrypted() && self.peer.session.goes_with_others() {
            self.peer.session.prepare(&mut around.feeds);
            return Turn::Send;
        }
        self.write_alone(around)
    }

    /// Writes at most once, by a system call of its own.
    pub fn write_alone(&mut self, around: &mut Surroundings) -> Turn {
        self.write(around)
            .unwrap_or_else(|error| Turn::Over(Some(broken(&error))))
    }

    /// The frames of the log that can go out now, of the cursor with this place.
    #[must_use]
    pub fn frames<'r>(&self, feeds: &'r Feeds) -> Option<(usize, Run<'r>)> {
        self.peer.session.frames(feeds, Limits::WRITE_BYTES_MAX)
    }

    /// What those who watch see of it.
    #[must_use]
    pub fn row(&self, around: &Surroundings) -> Row {
        let Surroundings {
            common, feeds, passes, ..
        } = around;
        self.peer.row(common, feeds, passes, self.socket.path())
    }

    /// What [`Connection::frames`] gave was sent by somebody else, and this came of it.
    pub fn on_sent(&mut self, sent: Sent, around: &mut Surroundings) -> Turn {
        let written = match sent.written {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Turn::Again,
            Err(error) => return Turn::Over(Some(broken(&error))),
        };
        self.socket.on_written(written, sent.asked);
        let split = Split {
            taken: sent.taken,
            last: sent.last,
            rest: &sent.rest,
        };
        let kept = self.on_frames_written(sent.cursor, written, &split, &mut around.ledger, around.now);
        self.after_write(kept, around)
    }

    /// An error is why the connection broke.
    fn read(&mut self, buffer: &mut [u8], around: &mut Surroundings) -> Result<(), String> {
        if !self.is_deaf()
            && let Some(mut bytes) = self.unheard.take()
        {
            self.hear(&mut bytes, around);
        }
        for _ in 0..READS_PER_TURN {
            if self.inbound != Inbound::Ready || self.unheard.is_some() || self.is_deaf() {
                break;
            }
            match self.socket.read(buffer) {
                Ok(None) => self.inbound = Inbound::Drained,
                Ok(Some(0)) => return self.on_end(),
                Ok(Some(bytes)) => {
                    around.ledger.on_read(bytes);
                    self.hear(&mut buffer[..bytes], around);
                }
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(())
    }

    /// Whoever does not take our answers is not listened to: nothing may pile up here.
    fn is_deaf(&self) -> bool {
        self.unheard.is_some() && self.peer.session.control_bytes() > 0
            || self.peer.session.control_bytes() > CONTROL_BYTES_HELD
            // An echo may be as long as a message; the next one is read when it is out.
            || self.socket.has_rest() && self.peer.session.mode() == Mode::Echo
    }

    /// The peer sends nothing more. A close under way is still answered: it may have come in the same breath.
    fn on_end(&mut self) -> Result<(), String> {
        self.inbound = Inbound::Ended;
        match self.peer.session.closing() {
            Some(_) => Ok(()),
            None => Err("it went without a close".to_owned()),
        }
    }

    /// Takes bytes, up to where answers pile up or enough was inflated for one turn; the rest waits.
    fn hear(&mut self, mut bytes: &mut [u8], around: &mut Surroundings) {
        let mut inflated = 0;
        let held = self.decoder.held_bytes();
        loop {
            if self.peer.session.control_bytes() > CONTROL_BYTES_HELD || inflated > INFLATED_PER_TURN {
                self.unheard = kept(bytes);
                break;
            }
            match self.decoder.decode(bytes) {
                Ok(decoded) => {
                    let consumed = decoded.consumed;
                    let Some(frame) = decoded.event else { break };
                    if matches!(frame, Frame::Text(_) | Frame::Binary(_) | Frame::Deflated(_)) {
                        self.peer.live.on_message();
                        around.ledger.on_message();
                    }
                    match frame {
                        Frame::Deflated(message) => inflated += self.peer.on_deflated(message, around, &self.socket),
                        frame => {
                            let Surroundings {
                                feeds, common, passes, ..
                            } = around;
                            self.peer
                                .on_frame(frame, around.now, common, feeds, passes, &self.socket);
                        }
                    }
                    bytes = &mut std::mem::take(&mut bytes)[consumed..];
                }
                Err(error) => {
                    if let Some(breach) = Breach::of_frame(&error) {
                        around.common.breaches.count(breach);
                    }
                    self.peer.session.close(error.close_code(), &error.to_string());
                    break;
                }
            }
        }
        self.account(held, &around.common);
        self.peer.live.on_heard(around.now, self.decoder.message_open());
        if self.peer.session.mode() == Mode::LapwingV1 && !self.peer.session.cursors().is_empty() {
            self.peer.tell_joined(&around.common, &around.feeds, &around.passes);
        }
    }

    /// What is held of unfinished messages has changed from so many bytes to what it is now: all clients together share one room.
    fn account(&mut self, before: usize, common: &Common) {
        let more = difference(self.decoder.held_bytes(), before);
        if more == 0 {
            return;
        }
        let all = common.unfinished.fetch_add(more, Ordering::Relaxed) + more;
        if more > 0 && usize::try_from(all).is_ok_and(|all| all > common.limits.unfinished_bytes_max) {
            self.let_go(common);
            common.breaches.count(Breach::Unfinished);
            let reason = "no room for a message under way now retry=1000";
            self.peer.session.close(CloseCode::TRY_LATER, reason);
        }
    }

    /// Gives back what it holds of an unfinished message.
    pub fn let_go(&mut self, common: &Common) {
        let held = difference(0, self.decoder.held_bytes());
        common.unfinished.fetch_add(held, Ordering::Relaxed);
        self.decoder.give_up();
    }

    fn write(&mut self, around: &mut Surroundings) -> io::Result<Turn> {
        if self.socket.is_blocked() {
            return Ok(self.park());
        }
        if self.socket.has_rest() {
            return self.flush(around.now);
        }
        let Self { peer, socket, .. } = self;
        let kept = match peer.session.next(&mut around.feeds, Limits::WRITE_BYTES_MAX) {
            Next::Control(bytes) => {
                let written = socket.write(bytes)?;
                let rest = peer.session.on_control_written(written);
                // Of an encrypted connection what was written may not have left.
                self.keeps_control = !rest.is_empty() || socket.has_rest();
                if !self.keeps_control {
                    peer.live.on_control_left(around.now);
                }
                match peer.session.mode() {
                    Mode::Echo => socket.keep_within(ECHO_RESTS_BYTES_MAX, &rest),
                    _ => socket.keep(&rest),
                }
            }
            Next::Frames(nth, run) => {
                let written = socket.write(run.bytes())?;
                self.on_frames_written(nth, written, &run.split(written), &mut around.ledger, around.now)
            }
            Next::Missed(missed) => {
                peer.on_missed(&missed, &around.common);
                Ok(())
            }
            Next::Overtaken(missed) => {
                peer.on_overtaken(&missed, &around.common);
                Ok(())
            }
            Next::Superseded(nth) => {
                let topic = TopicId(peer.session.cursors()[nth].topic);
                peer.on_superseded(around.common.topics.get(topic), around.share);
                Ok(())
            }
            Next::OnDisk(nth) => {
                peer.session.on_loading(nth);
                let cursor = &peer.session.cursors()[nth];
                return Ok(Turn::Load(TopicId(cursor.topic), cursor.offset));
            }
            Next::Loading => return Ok(self.park()),
            Next::Ended => {
                peer.session.close(CloseCode::NORMAL, "the feed has ended");
                Ok(())
            }
            Next::CaughtUp => return Ok(self.on_caught_up(around)),
            Next::Closed => return Ok(self.on_closed(around)),
        };
        Ok(self.after_write(kept, around))
    }

    fn on_frames_written(
        &mut self,
        cursor: usize,
        written: usize,
        split: &Split<'_>,
        ledger: &mut Ledger,
        now: Duration,
    ) -> Result<(), RestsFull> {
        // The rest first: whatever goes wrong behind this, nothing is sent in the middle of a frame.
        let kept = self.socket.keep(split.rest);
        self.keeps_control = false;
        self.peer.session.on_written(cursor, written, split);
        let topic = self.peer.session.cursors()[cursor].topic;
        // The rest of a cut frame goes out whatever comes, unless the connection breaks.
        ledger.on_sent(topic, split.taken, written + split.rest.len());
        if written > 0 {
            self.peer.live.on_sent(now);
        }
        kept
    }

    fn after_write(&mut self, kept: Result<(), RestsFull>, around: &Surroundings) -> Turn {
        if self.socket.is_blocked() {
            self.peer.session.on_held_up();
        }
        if kept.is_err() {
            // There is no room to finish the frame, so nothing more can be said to this one.
            around.common.breaches.count(Breach::Rests);
            self.peer
                .session
                .close(CloseCode::TOO_SLOW, "too many readers stuck in large frames");
            return Turn::Over(None);
        }
        let more = around.stop.is_some() || self.socket.has_rest() || self.peer.session.has_more(&around.feeds);
        match more && !self.socket.is_blocked() {
            true => Turn::Again,
            false => self.park(),
        }
    }

    fn flush(&mut self, now: Duration) -> io::Result<Turn> {
        let written = self.socket.flush()?;
        self.peer.session.bytes += written as u64;
        self.peer.live.on_sent(now);
        if !self.socket.has_rest() && std::mem::take(&mut self.keeps_control) {
            self.peer.live.on_control_left(now);
        }
        Ok(Turn::Again)
    }

    /// Everything is out: the moment to dismiss the client when the server stops.
    fn on_caught_up(&mut self, around: &Surroundings) -> Turn {
        match around.stop {
            Some(stop) => {
                self.peer.dismiss(&stop, around.share, &around.common);
                Turn::Again
            }
            None => self.park(),
        }
    }

    /// Our close frame is out: over when the peer's has come, otherwise it is waited for.
    fn on_closed(&mut self, around: &Surroundings) -> Turn {
        if self.peer.has_closed() || self.inbound == Inbound::Ended {
            return Turn::Over(None);
        }
        self.socket.finish();
        self.close_by.get_or_insert(around.close_by());
        self.park()
    }

    /// Nothing to write for now; bytes that are there and may be listened to are, as the poll will not tell of them again.
    fn park(&self) -> Turn {
        let more = self.inbound == Inbound::Ready || self.unheard.is_some();
        if more && !self.is_deaf() {
            Turn::Again
        } else {
            Turn::Park
        }
    }
}

fn difference(now: usize, before: usize) -> isize {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

/// Bytes for later, if there are any.
#[expect(clippy::box_collection, reason = "as in the connection")]
fn kept(bytes: &[u8]) -> Option<Box<Vec<u8>>> {
    (!bytes.is_empty()).then(|| Box::new(bytes.to_vec()))
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection reset".to_owned()
        }
        io::ErrorKind::TimedOut => "its machine no longer answers".to_owned(),
        _ => match hello::of_tls(error) {
            Some(error) => hello::in_words(error),
            None => format!("connection broke: {}", reason(error)),
        },
    }
}

const READS_PER_TURN: usize = 4;
/// Of one read so much is inflated in a turn, and one message more: a read may become a thousand times as much, which takes
/// others' time.
const INFLATED_PER_TURN: usize = 256 << 10;
/// Echoes that nobody takes are kept while the rests of all connections are less than half of what they may be: the other half is for
/// readers of topics.
const ECHO_RESTS_BYTES_MAX: usize = REST_BYTES_MAX / 2;
/// A client that does not take this much of our answers is not listened to until it does.
const CONTROL_BYTES_HELD: usize = 16 << 10;
