//! A source's way into its log: it appends, and goes on when the messages are kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::SourceEvents;
use crate::clock::Now;
use crate::log::batch::NewMessage;
use crate::log::origin::{Outbound, Turn};
use crate::log::{AppendError, Log};
use crate::terminal::form;

/// Where the messages of one source go.
pub struct Inlet {
    log: Arc<Log>,
    /// Where the log is a copy: this server's time to fill what it is a copy of.
    turn: Option<Arc<dyn Turn>>,
    events: Arc<dyn SourceEvents>,
    /// When it was last told that the source is held back.
    told: Option<Instant>,
}

impl Inlet {
    /// A way into this log; what people should know is told to `events`.
    #[must_use]
    pub fn new(log: Arc<Log>, turn: Option<Arc<dyn Turn>>, events: Arc<dyn SourceEvents>) -> Self {
        Self {
            log,
            turn,
            events,
            told: None,
        }
    }

    /// Appends these messages in their order, in pieces as there is room for them, and waits until they are kept; gives how
    /// long it was held back, by the topic's readers or by a disk without room. A topic that has become read-only takes none
    /// any more: its source waits until it is stopped.
    ///
    /// Dropped while it waits, it has appended the first of them.
    pub async fn append(&mut self, messages: &[NewMessage<'_>]) -> Result<Duration, AppendError> {
        let mut rest = messages;
        let mut since = None;
        loop {
            match self.put(rest).await {
                Ok(count) => {
                    rest = &rest[count..];
                    if rest.is_empty() {
                        return Ok(since.map_or(Duration::ZERO, |since: Instant| since.elapsed()));
                    }
                    since.get_or_insert_with(Instant::now);
                    self.wait().await;
                }
                Err(AppendError::Held) => {
                    since.get_or_insert_with(Instant::now);
                    self.wait().await;
                }
                Err(AppendError::Full { .. } | AppendError::Busy | AppendError::Unreachable { .. }) => {
                    since.get_or_insert_with(Instant::now);
                    sleep(ROOM_INTERVAL).await;
                }
                Err(AppendError::ReadOnly { .. } | AppendError::Stopped) => std::future::pending().await,
                Err(
                    error @ (AppendError::Ended
                    | AppendError::TooLarge { .. }
                    | AppendError::Early
                    | AppendError::OverLimit { .. }
                    | AppendError::Refused { .. }),
                ) => {
                    return Err(error);
                }
            }
        }
    }

    /// Appends the first of these messages, and waits until they are kept; gives how many.
    async fn put(&self, messages: &[NewMessage<'_>]) -> Result<usize, AppendError> {
        if let Some(turn) = &self.turn {
            turn.append(messages.iter().map(Outbound::from).collect()).await?;
            return Ok(messages.len());
        }
        let offsets = self.log.append_fitting(messages, Now::read())?.kept().await?;
        Ok(usize::try_from(offsets.end.since(offsets.start)).unwrap_or(messages.len()))
    }

    /// Waits for room; a wait that people would notice is told, and so is its end.
    async fn wait(&mut self) {
        let room = self.log.room();
        tokio::pin!(room);
        let began = Instant::now();
        if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return room.await;
        }
        if timeout(TOLD_AFTER, &mut room).await.is_ok() {
            return;
        }
        self.told = Some(began);
        let whom = match self.log.is_followed() {
            true => "its slowest client",
            false => "a first client",
        };
        let full = form::bytes(self.log.bytes_max());
        self.events
            .tell(format!("held back: the topic is full ({full}) and waits for {whom}"));
        room.await;
        self.events
            .tell(format!("goes on after {}", form::short_span(began.elapsed())));
    }
}

/// Room on a disk comes back by somebody's hand.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// Shorter waits are how a source is held to its clients' pace.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// Clients that are always slow hold it back again and again.
const TOLD_EVERY: Duration = Duration::from_secs(60);
