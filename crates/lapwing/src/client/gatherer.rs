//! Lines of stdin, gathered into the batches that are published.

use std::io::{self, Read as _};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::batch::{Batch, Body};
use super::lines::{LineError, Lines, Piece};

/// Gathers what comes within `GATHER` of each other.
///
/// A thread of its own reads, since a read of a terminal cannot be cancelled. At most `PIECES_AHEAD` of its pieces wait, so that
/// a fast producer is held back by a slow server.
pub struct Gatherer {
    pieces: mpsc::Receiver<io::Result<Piece>>,
    /// What is gathered, and until when more may join it.
    open: Body,
    due: Option<Instant>,
    /// What came behind it, and may have no room in it.
    held: Option<Body>,
    failed: Option<io::Error>,
    /// Messages in batches that were given.
    given: u64,
}

/// What comes of stdin.
#[derive(Debug)]
pub enum Gathered {
    /// Messages.
    Batch(Batch),
    /// Numbers of lines that are no messages, and why.
    Skipped(Vec<(u64, LineError)>),
    /// Nothing more comes.
    End,
    /// It cannot be read any more.
    Failed(io::Error),
}

/// What is known of lines that were not read before we stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// There are none, or none had come.
    Nothing,
    /// There are more than could be counted.
    More,
}

impl Gatherer {
    /// Begins to read stdin.
    #[must_use]
    pub fn of_stdin() -> Self {
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        // Without the thread the channel is closed: the input ends before it began.
        let _ = std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || read(&send));
        Self::of_pieces(pieces)
    }

    /// Takes pieces that somebody else makes.
    #[must_use]
    pub fn of_pieces(pieces: mpsc::Receiver<io::Result<Piece>>) -> Self {
        Self {
            pieces,
            open: Body::default(),
            due: None,
            held: None,
            failed: None,
            given: 0,
        }
    }

    /// What comes next. Dropped while it waits, it has lost nothing.
    pub async fn next(&mut self) -> Gathered {
        loop {
            if let Some(body) = self.held.take_if(|body| self.open.has_room(body)) {
                self.open.append(body);
                self.due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            let piece = match self.due {
                Some(_) if self.open.is_full() || self.held.is_some() => return Gathered::Batch(self.give()),
                Some(due) => timeout_at(due, self.pieces.recv()).await,
                None => Ok(self.pieces.recv().await),
            };
            match piece {
                Ok(Some(Ok(Piece { body, skipped }))) => {
                    self.held = (body.count > 0).then_some(body);
                    if !skipped.is_empty() {
                        return Gathered::Skipped(skipped);
                    }
                }
                // The thread has ended with this.
                Ok(Some(Err(error))) => self.failed = Some(error),
                Ok(None) if self.due.is_none() => return self.failed.take().map_or(Gathered::End, Gathered::Failed),
                Ok(None) | Err(_) => return Gathered::Batch(self.give()),
            }
        }
    }

    /// What is gathered already, although more might have joined it.
    pub fn give_early(&mut self) -> Option<Batch> {
        self.due.is_some().then(|| self.give())
    }

    fn give(&mut self) -> Batch {
        self.due = None;
        let batch = std::mem::take(&mut self.open).numbered(self.given);
        self.given += batch.count;
        batch
    }

    /// Counts the messages that were not given, as far as they are there already, for at most so long.
    pub async fn count_rest(&mut self, most: Duration) -> (u64, Rest) {
        let until = Instant::now() + most;
        let mut count = self.open.count + self.held.as_ref().map_or(0, |held| held.count);
        loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(until.min(quiet), self.pieces.recv()).await {
                Ok(Some(Ok(piece))) if Instant::now() < until => count += piece.body.count,
                Ok(Some(Ok(_))) => return (count, Rest::More),
                // The time was over while it still came.
                Err(_) if until < quiet => return (count, Rest::More),
                Ok(None | Some(Err(_))) | Err(_) => return (count, Rest::Nothing),
            }
        }
    }
}

/// Reads until the end, or until nobody wants more.
fn read(send: &mpsc::Sender<io::Result<Piece>>) {
    let mut input = io::stdin().lock();
    let mut lines = Lines::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut wanted = true;
    while wanted {
        let give = |piece| wanted &= send.blocking_send(Ok(piece)).is_ok();
        match input.read(&mut buffer) {
            Ok(0) => return lines.finish(give),
            Ok(bytes) => lines.feed(&buffer[..bytes], give),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = send.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Lines that come within this time travel together.
const GATHER: Duration = Duration::from_millis(10);

/// Input that is silent for so long when we stop has nothing more that could be counted.
const QUIET: Duration = Duration::from_millis(250);

/// Each is at most what one publish holds.
pub const PIECES_AHEAD: usize = 4;

/// Of a file a thousand lines of usual length; a pipe gives at most 64 KiB.
const READ_BYTES: usize = 256 << 10;
