//! The bounded way of chunks from the thread of a feed to whoever reads it, and how that thread ended.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chunk::Chunk;
use crate::trouble::Trouble;

/// Chunks that are not taken yet, at most [`CHUNKS_MAX`] and about [`BYTES_MAX`], and what is known of the feed.
///
/// The reader is woken by a condition, or by a byte in a pipe once it has asked for one: once for all that comes until it looks.
pub struct Ring {
    state: Mutex<State>,
    news: Condvar,
    room: Condvar,
    bell: (PipeReader, PipeWriter),
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Box<Chunk>>,
    bytes: usize,
    known: Known,
    notes: VecDeque<Note>,
    end: Option<Result<(), Trouble>>,
    /// Nobody reads any more.
    closed: bool,
    /// The reader waits for a byte.
    armed: bool,
    /// The reader waits for the condition.
    waits: bool,
}

/// What is known of a feed.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Everything that was asked for is granted.
    pub connected: bool,
    /// How the server calls us.
    pub name: Option<String>,
    /// How many messages came.
    pub messages: u64,
    /// How many offsets did not come and will not.
    pub missed: u64,
    /// How often another history began, or part of one was lost: what is missing then is unknown.
    pub resets: u64,
    /// How often it came back after a loss.
    pub reconnects: u64,
}

/// Something to be told to people.
#[derive(Clone, Debug)]
pub struct Note {
    /// Whether someone should look.
    pub warning: bool,
    /// What it is.
    pub text: String,
}

/// What there is for a reader.
pub enum Next {
    /// Messages.
    Chunk(Box<Chunk>),
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more.
    End(Result<(), Trouble>),
}

impl Ring {
    /// Without anything in it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            news: Condvar::new(),
            room: Condvar::new(),
            bell: io::pipe()?,
        })
    }

    /// Takes a chunk as soon as there is room; gives it back when there is none for so long.
    pub fn push(&self, chunk: Box<Chunk>, wait: Duration) -> Result<(), Box<Chunk>> {
        let until = Instant::now() + wait;
        let bytes = chunk.memory();
        let mut state = self.state();
        while !state.has_room(bytes) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(chunk);
            }
            let woken = self.room.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !state.closed {
            state.bytes += bytes;
            state.chunks.push_back(chunk);
            self.wake(state);
        }
        Ok(())
    }

    /// Changes what is known.
    pub fn learn(&self, change: impl FnOnce(&mut Known)) {
        let mut state = self.state();
        let before = state.known.connected;
        change(&mut state.known);
        if state.known.connected != before {
            self.wake(state);
        }
    }

    /// Takes something to be told; of too many the oldest are left out.
    pub fn note(&self, warning: bool, text: String) {
        let mut state = self.state();
        if state.notes.len() == NOTES_MAX {
            state.notes.pop_front();
        }
        state.notes.push_back(Note { warning, text });
    }

    /// Nothing more comes.
    pub fn finish(&self, end: Result<(), Trouble>) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        self.wake(state);
    }

    /// Nobody reads any more: what is there and what comes is dropped.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.bytes = 0;
        let chunks = std::mem::take(&mut state.chunks);
        self.room.notify_all();
        self.wake(state);
        drop(chunks);
    }

    /// What there is now.
    pub fn take(&self) -> Next {
        self.next(&mut self.state())
    }

    /// What there is, waiting at most so long for it.
    pub fn wait(&self, most: Duration) -> Next {
        self.wait_until(most, |state| match self.next(state) {
            Next::Nothing => None,
            next => Some(next),
        })
        .unwrap_or(Next::Nothing)
    }

    /// Whether the feed is connected, or how it ended before; waits at most so long for either.
    pub fn wait_connected(&self, most: Duration) -> Option<Result<(), Trouble>> {
        self.wait_until(most, |state| match (&state.end, state.known.connected) {
            (_, true) => Some(Ok(())),
            (Some(end), false) => Some(end.clone()),
            (None, false) => None,
        })
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        self.state().known.clone()
    }

    /// What is to be told since the last time.
    pub fn notes(&self) -> VecDeque<Note> {
        std::mem::take(&mut self.state().notes)
    }

    /// Asks for a byte in the pipe when there is news; false when there is some already. It has to be taken with [`Ring::answer`].
    pub fn arm(&self, connecting: bool) -> bool {
        let mut state = self.state();
        let news = match connecting {
            true => state.known.connected,
            false => !state.chunks.is_empty(),
        };
        if news || state.end.is_some() {
            return false;
        }
        state.armed = true;
        true
    }

    /// Takes the byte, which must be there.
    pub fn answer(&self) {
        let _ = (&self.bell.0).read(&mut [0]);
    }

    /// Where the byte comes.
    pub fn bell(&self) -> &PipeReader {
        &self.bell.0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by whoever panics here: each change is one assignment or one move.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, state: &mut State) -> Next {
        if let Some(chunk) = state.chunks.pop_front() {
            state.bytes = state.bytes.saturating_sub(chunk.memory());
            self.room.notify_one();
            return Next::Chunk(chunk);
        }
        match &state.end {
            Some(end) => Next::End(end.clone()),
            None if state.closed => Next::End(Ok(())),
            None => Next::Nothing,
        }
    }

    fn wait_until<T>(&self, most: Duration, mut found: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let until = Instant::now() + most;
        let mut state = self.state();
        loop {
            if let Some(found) = found(&mut state) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state.waits = true;
            let woken = self.news.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.waits = false;
        }
    }

    /// Wakes the reader, who takes the same lock: so it is given back first.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let (armed, waits) = (std::mem::take(&mut state.armed), state.waits);
        drop(state);
        if waits {
            self.news.notify_one();
        }
        if armed {
            // At most one byte is in the pipe, so it never waits.
            let _ = (&self.bell.1).write(&[1]);
        }
    }
}

impl State {
    /// Whether a chunk of so many bytes has room; one alone always has.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = self.chunks.len() < CHUNKS_MAX && self.bytes + bytes <= BYTES_MAX;
        self.closed || self.chunks.is_empty() || fits
    }
}

/// 64: enough to read on while the interpreter does something else, and few to be late by.
pub const CHUNKS_MAX: usize = 64;

/// 64 MiB: as much again is at most in the hands of the reader and of the thread.
pub const BYTES_MAX: usize = 64 << 20;

/// 100: whoever does not look for so long wants the newest.
const NOTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use lapwing_wire::topic::TopicName;

    use super::*;

    fn chunk(bytes: usize) -> Box<Chunk> {
        let mut chunk = Chunk::new(TopicName::parse("t").expect("valid"), None, None);
        chunk.bytes = vec![0; bytes];
        Box::new(chunk)
    }

    fn push(ring: &Ring, bytes: usize) -> bool {
        ring.push(chunk(bytes), Duration::ZERO).is_ok()
    }

    #[test]
    fn it_takes_as_many_chunks_as_it_may_and_no_more() {
        let ring = Ring::new().expect("a pipe");
        assert!((0..CHUNKS_MAX).all(|_| push(&ring, 1)));
        assert!(!push(&ring, 1));
        assert!(matches!(ring.take(), Next::Chunk(_)));
        assert!(push(&ring, 1) && !push(&ring, 1));
    }

    #[test]
    fn it_takes_as_many_bytes_as_it_may_and_one_chunk_of_any_size() {
        let ring = Ring::new().expect("a pipe");
        assert!(push(&ring, BYTES_MAX - 1) && push(&ring, 1) && !push(&ring, 1));
        let ring = Ring::new().expect("a pipe");
        assert!(push(&ring, BYTES_MAX + 1) && !push(&ring, 1));
    }

    #[test]
    fn what_came_is_read_before_the_end_is() {
        let ring = Ring::new().expect("a pipe");
        assert!(push(&ring, 1));
        ring.finish(Ok(()));
        assert!(matches!(ring.take(), Next::Chunk(_)));
        assert!(matches!(ring.take(), Next::End(Ok(()))));
    }

    #[test]
    fn a_reader_who_asks_gets_one_byte_for_all_that_comes() {
        let ring = Ring::new().expect("a pipe");
        assert!(ring.arm(false));
        assert!(push(&ring, 1) && push(&ring, 1));
        ring.answer();
        assert!(!ring.arm(false), "there is something already");
        assert!(matches!(ring.take(), Next::Chunk(_)) && matches!(ring.take(), Next::Chunk(_)));
        assert!(ring.arm(false));
        ring.close();
        ring.answer();
        assert!(matches!(ring.take(), Next::End(Ok(()))));
    }

    #[test]
    fn a_closed_one_holds_nobody_up() {
        let ring = Ring::new().expect("a pipe");
        while push(&ring, 1) {}
        ring.close();
        assert!((0..2 * CHUNKS_MAX).all(|_| push(&ring, BYTES_MAX)));
    }
}
