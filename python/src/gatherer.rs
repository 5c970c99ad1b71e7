//! What a listener tells, gathered into chunks on their way to the reader, and recorded.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapwing::client::event::{Event, Halt, Observer};
use lapwing::client::watch::Watch;
use lapwing::clock::Now;
use lapwing::failure::Failure;
use lapwing::recording::arrival::Arrival;
use lapwing::recording::note::Missed;
use lapwing_wire::block::BlockTiming;
use lapwing_wire::time::TimeReader;
use lapwing_wire::topic::TopicName;

use crate::chunk::{Chunk, Size};
use crate::ring::Ring;
use crate::trouble::{Kind, Trouble};

/// Gathers messages: a block at a time, or what one read brought, if the reader asks for messages.
pub struct Gatherer {
    ring: Arc<Ring>,
    wish: Arc<Wish>,
    size: NonZeroU64,
    topics: HashMap<TopicName, Topic>,
    times: TimeReader,
    /// Chunks that found no room.
    waiting: VecDeque<Box<Chunk>>,
    watch: Option<Watch>,
    messages: u64,
    began: Now,
    /// Why there is no connection yet.
    why: String,
    /// What ends it, where the exception is not that of its failure.
    trouble: Option<Trouble>,
}

/// What the reader wants.
#[derive(Debug, Default)]
pub struct Wish {
    /// Messages as they come, and no blocks.
    pub messages: AtomicBool,
    /// Nothing at all: they are only recorded.
    pub nothing: bool,
    /// An end at the first gap.
    pub fail_on_gap: bool,
    /// An end when there is no connection after this time.
    pub connect_within: Option<Duration>,
}

/// What is gathered of one topic.
#[derive(Default)]
struct Topic {
    open: Option<Open>,
    /// A block that another one has cut short; its timing comes next.
    cut: Option<Chunk>,
    like: Option<Size>,
    arrivals: u64,
}

struct Open {
    chunk: Chunk,
    block: u64,
    memory: usize,
}

impl Gatherer {
    /// Gathers blocks of this size for `ring`.
    pub fn new(ring: Arc<Ring>, wish: Arc<Wish>, size: NonZeroU64, watch: Option<Watch>) -> Self {
        Self {
            ring,
            wish,
            size,
            topics: HashMap::new(),
            times: TimeReader::default(),
            waiting: VecDeque::new(),
            watch,
            messages: 0,
            began: Now::read(),
            why: String::new(),
            trouble: None,
        }
    }

    /// Puts the recording on the disk, and gives the exception of an end by `failure`.
    pub fn finish(mut self, failure: Option<Failure>) -> Result<(), Trouble> {
        self.tell_count();
        let kept = self.watch.as_mut().map_or(Ok(()), Watch::finish);
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        match (failure, kept) {
            (Some(failure), _) if self.ring.known().connected => Err(Trouble::of(Kind::Other, &failure)),
            (Some(failure), _) => Err(Trouble::of(Kind::Connect, &failure)),
            (None, Err(failure)) => Err(Trouble::of(Kind::Log, &failure)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn halt(&mut self, trouble: Trouble) -> Halt {
        self.trouble.get_or_insert(trouble);
        Halt::Quiet
    }

    fn record(&mut self, tell: impl FnOnce(&mut Watch) -> Result<(), Halt>) -> Result<(), Halt> {
        match self.watch.as_mut().map(tell) {
            Some(Err(Halt::Failed(failure))) => Err(self.halt(Trouble::of(Kind::Log, &failure))),
            Some(Err(Halt::Quiet)) | Some(Ok(())) | None => Ok(()),
        }
    }

    fn on_message(&mut self, arrival: &Arrival<'_>) -> Result<(), Halt> {
        self.messages += 1;
        if self.wish.nothing {
            return Ok(());
        }
        let topic = match self.topics.get_mut(arrival.topic) {
            Some(topic) => topic,
            None => self.topics.entry(arrival.topic.clone()).or_default(),
        };
        let place = arrival.offset.map_or(topic.arrivals, |offset| offset.get());
        topic.arrivals += 1;
        let block = place / self.size;
        let by_messages = self.wish.messages.load(Ordering::Relaxed);
        if let Some(open) = topic.open.take_if(|open| open.block != block && !by_messages) {
            topic.cut = Some(open.chunk);
        }
        let open = topic.open.get_or_insert_with(|| Open {
            chunk: Chunk::new(arrival.topic.clone(), arrival.epoch, topic.like),
            block,
            memory: 0,
        });
        let ahead = self.size.get() - 1 - place % self.size;
        open.chunk
            .push(arrival, &mut self.times, usize::try_from(ahead).unwrap_or(usize::MAX));
        open.memory += arrival.bytes as usize;
        if open.memory > BLOCK_BYTES_MAX && !by_messages {
            let text = format!(
                "a block of {} messages of {} has more than {} MiB; ask for smaller ones with block=, or for feed.messages()",
                self.size,
                arrival.topic,
                BLOCK_BYTES_MAX >> 20
            );
            return Err(self.halt(Trouble::new(Kind::Other, text)));
        }
        Ok(())
    }

    fn on_block(&mut self, topic: &TopicName, timing: &BlockTiming) {
        if self.wish.messages.load(Ordering::Relaxed) {
            return;
        }
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(mut chunk) = topic.cut.take().or_else(|| Some(topic.open.take()?.chunk)) else {
            return;
        };
        topic.like = Some(chunk.size());
        chunk.timing = Some(*timing);
        self.hand_over(chunk);
    }

    /// Hands over what came, to a reader of messages.
    fn hand_over_all(&mut self) {
        if !self.wish.messages.load(Ordering::Relaxed) {
            return;
        }
        let mut chunks = Vec::new();
        for topic in self.topics.values_mut() {
            chunks.extend(topic.cut.take());
            chunks.extend(topic.open.take().map(|open| open.chunk));
        }
        chunks.into_iter().for_each(|chunk| self.hand_over(chunk));
    }

    fn hand_over(&mut self, chunk: Chunk) {
        let chunk = Box::new(chunk);
        if !self.waiting.is_empty() {
            return self.waiting.push_back(chunk);
        }
        if let Err(chunk) = self.ring.push(chunk, ROOM_WAIT) {
            self.waiting.push_back(chunk);
        }
    }

    fn hand_over_waiting(&mut self) {
        let mut wait = ROOM_WAIT;
        while let Some(chunk) = self.waiting.pop_front() {
            if let Err(chunk) = self.ring.push(chunk, wait) {
                return self.waiting.push_front(chunk);
            }
            wait = Duration::ZERO;
        }
    }

    fn on_missing(&mut self, missed: u64, text: String) -> Result<(), Halt> {
        self.ring.learn(|known| match missed {
            0 => known.resets += 1,
            missed => known.missed += missed,
        });
        self.ring.note(true, text.clone());
        if !self.wish.fail_on_gap {
            return Ok(());
        }
        self.hand_over_all();
        Err(self.halt(Trouble::new(Kind::Gap, text)))
    }

    fn tell_count(&self) {
        self.ring.learn(|known| known.messages = self.messages);
    }
}

impl Observer for Gatherer {
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        self.record(|watch| watch.on_event(event, now))?;
        match event {
            Event::Message(arrival) => return self.on_message(arrival),
            Event::Block { topic, timing } => self.on_block(topic, timing),
            Event::Connected(connected) => self.ring.learn(|known| {
                known.connected = true;
                known.name = connected.name.map(str::to_owned);
            }),
            Event::Gap {
                topic,
                from,
                to,
                reason,
                ..
            } => {
                let missed = to.since(*from);
                let last = to.previous().unwrap_or(*to);
                let text = format!("{topic}: offsets {from} to {last} are missing: {}", why_missed(*reason));
                return self.on_missing(missed, text);
            }
            Event::Reset { topic, first, .. } => {
                let text = format!(
                    "{topic}: another history follows, from offset {first} on; what came of the old one after the last message is unknown"
                );
                return self.on_missing(0, text);
            }
            Event::Diverged { topic, at, .. } => {
                let text = format!("{topic}: the server lost what it had sent from offset {at} on");
                return self.on_missing(0, text);
            }
            Event::Back(back) => {
                self.ring.learn(|known| known.reconnects += 1);
                let text = format!(
                    "connected again after {:.1} s, at attempt {}",
                    back.down.as_secs_f64(),
                    back.attempt
                );
                self.ring.note(false, text);
            }
            Event::Lost { why } => self.ring.note(true, format!("the connection was lost: {why}")),
            Event::Warned { message } => self
                .ring
                .note(true, format!("the server says: {}", message.escape_default())),
            Event::NoServer { why, .. } | Event::PassedOver { why, .. } => (*why).clone_into(&mut self.why),
            Event::Retry(retry) => retry.why.clone_into(&mut self.why),
            Event::Granted { .. }
            | Event::Heartbeat { .. }
            | Event::Continued { .. }
            | Event::Repeat { .. }
            | Event::Silent { .. }
            | Event::ClockStep { .. } => {}
        }
        Ok(())
    }

    fn on_pause(&mut self) -> Result<(), Halt> {
        self.hand_over_all();
        self.record(Watch::on_pause)
    }

    fn on_tick(&mut self, now: Now) -> Result<(), Halt> {
        self.tell_count();
        self.hand_over_waiting();
        self.hand_over_all();
        self.record(|watch| watch.on_tick(now))?;
        let waited = Duration::from_nanos(now.mono.saturating_sub(self.began.mono));
        match self.wish.connect_within {
            Some(most) if waited >= most && !self.ring.known().connected => {
                let why = match self.why.as_str() {
                    "" => "no answer",
                    why => why,
                };
                let text = format!("no connection within {:.1} s: {why}", most.as_secs_f64());
                Err(self.halt(Trouble::new(Kind::Connect, text)))
            }
            _ => Ok(()),
        }
    }

    fn is_held(&self) -> bool {
        !self.waiting.is_empty() || self.watch.as_ref().is_some_and(Watch::is_held)
    }

    fn takes_arrays(&self) -> bool {
        true
    }
}

fn why_missed(reason: Missed) -> &'static str {
    match reason {
        Missed::Retention => "they are older than what the topic keeps",
        Missed::Policy => "we were too slow, and the topic jumped ahead",
        Missed::Damage => "they are damaged on the server's disk",
        Missed::Purge => "they were removed, or never there",
        Missed::Away => "they came while the connection was away",
        Missed::Unannounced => "the server skipped them without a word",
    }
}

/// Shorter than a tick, five of which come a second: a reader that is slower than this finds a full ring at the next one.
const ROOM_WAIT: Duration = Duration::from_millis(150);

/// 1 GiB: what is gathered of one block before anybody sees it.
const BLOCK_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use lapwing::recording::arrival::Value;
    use lapwing_wire::block::{BlockTimer, Flags};
    use lapwing_wire::position::Offset;

    use super::*;
    use crate::ring::Next;

    /// Tells messages with these offsets as a listener does, and gives the offsets of the chunks that come of it.
    fn chunks(wish: Wish, offsets: &[u64]) -> Vec<(Vec<u64>, Option<Flags>)> {
        let topic = TopicName::parse("t").expect("valid");
        let size = NonZeroU64::new(4).expect("not zero");
        let ring = Arc::new(Ring::new().expect("a pipe"));
        let mut gatherer = Gatherer::new(ring.clone(), Arc::new(wish), size, None);
        let mut timer = BlockTimer::new(size, Offset::ZERO);
        for offset in offsets {
            let arrival = Arrival {
                topic: &topic,
                offset: Some(Offset::new(*offset)),
                epoch: None,
                time: None,
                received: Now::default(),
                value: Value::Json("1"),
                bytes: 1,
            };
            let event = Event::Message(&arrival);
            gatherer.on_event(&event, Now::default()).expect("no end");
            for timing in timer.on_message(Offset::new(*offset), Duration::ZERO, 1) {
                let topic = &topic;
                let event = Event::Block { topic, timing: &timing };
                gatherer.on_event(&event, Now::default()).expect("no end");
            }
        }
        gatherer.on_pause().expect("no end");
        let mut found = Vec::new();
        while let Next::Chunk(chunk) = ring.take() {
            let offsets = chunk.entries.iter().filter_map(|entry| entry.offset).collect();
            found.push((offsets, chunk.timing.map(|timing| timing.flags)));
        }
        found
    }

    #[test]
    fn a_block_that_is_cut_short_has_its_own_messages_and_no_others() {
        let found = chunks(Wish::default(), &[2, 3, 4, 5, 9, 10, 11, 12]);
        let first = Flags::FIRST.with(Flags::PARTIAL);
        let expect = [
            (vec![2, 3], Some(first)),
            (vec![4, 5], Some(Flags::PARTIAL)),
            (vec![9, 10, 11], Some(Flags::PARTIAL)),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn a_reader_of_messages_gets_all_that_came_without_blocks() {
        let wish = Wish {
            messages: AtomicBool::new(true),
            ..Wish::default()
        };
        let offsets = [2, 3, 4, 5, 9, 10, 11, 12];
        assert_eq!(chunks(wish, &offsets), [(offsets.to_vec(), None)]);
    }
}
