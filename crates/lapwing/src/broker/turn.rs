//! This server's time to fill a topic: every message is published behind the one before, and nothing of another server's turn gets between.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use lapwing_wire::position::Offset;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::copy::Copy;
use super::desk::{self, Fate};
use super::leader;
use super::lease::Lease;
use super::message::{MessageId, PublishKey};
use crate::log::AppendError;
use crate::log::origin::{Outbound, Pending, Turn};
use crate::log::retries::RetryKey;

/// A turn in one stream.
pub struct StreamTurn(Arc<Holder>);

struct Holder {
    copy: Arc<Copy>,
    lease: Lease,
    begin: Offset,
    /// Names what is published in this turn.
    name: String,
    place: Mutex<Place>,
}

/// Where the next message goes.
struct Place {
    /// The sequence of the last message in the stream, as far as is known here.
    last: u64,
    /// How many publishes there were in this turn.
    count: u64,
}

/// What lies behind a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// What is being published.
    Ours,
    /// What another server's turn brought.
    AnotherTurn,
    /// Nothing, or what nobody brought in a turn.
    Else,
}

impl StreamTurn {
    /// Waits until it is this server's turn.
    pub async fn take(copy: Arc<Copy>) -> Self {
        let mut failing = None;
        loop {
            match Self::try_take(&copy).await {
                Ok(Some(turn)) => return turn,
                Ok(None) => failing = None,
                Err(why) => {
                    let since = *failing.get_or_insert_with(Instant::now);
                    // That nothing answers at all is told by whoever copies.
                    if copy.link.is_up() && since.elapsed() >= TOLD_AFTER {
                        copy.tell_now_and_then(|| format!("this server cannot take its turn to fill the topic: {why}"));
                    }
                }
            }
            // Not all servers at once.
            tokio::time::sleep(TRY_INTERVAL + Duration::from_millis(crate::random::word() % 100)).await;
        }
    }

    /// Takes the turn, unless another server has it.
    async fn try_take(copy: &Arc<Copy>) -> Result<Option<Self>, String> {
        let Some(lease) = Lease::take(&copy.link, &copy.spec.topic).await? else {
            return Ok(None);
        };
        let last = last(copy).await?;
        Ok(Some(Self(Arc::new(Holder {
            name: format!("{}-{:016x}", copy.link.server, crate::random::word()),
            copy: copy.clone(),
            lease,
            begin: Offset::new(last),
            place: Mutex::new(Place { last, count: 0 }),
        }))))
    }
}

impl Turn for StreamTurn {
    fn append(&self, messages: Vec<Outbound>) -> Pending<Result<(), AppendError>> {
        let holder = self.0.clone();
        Box::pin(async move { holder.append(messages).await })
    }

    fn over(&self) -> Pending<()> {
        Box::pin(self.0.lease.lost())
    }

    fn begin(&self) -> Offset {
        self.0.begin
    }
}

impl Holder {
    async fn append(&self, messages: Vec<Outbound>) -> Result<(), AppendError> {
        let mut place = self.place.lock().await;
        // As many at once as are taken all or none.
        for messages in self.copy.without_large(messages).chunks(desk::BATCH_MAX) {
            self.publish(&mut place, messages).await?;
        }
        Ok(())
    }

    /// Publishes these messages once, however often it takes.
    async fn publish(&self, place: &mut Place, messages: &[Outbound]) -> Result<(), AppendError> {
        place.count += 1;
        let key = PublishKey::Server(RetryKey::of_source(&self.name, place.count));
        loop {
            if !self.lease.held().await {
                return Err(AppendError::Stopped);
            }
            if !self.copy.link.is_up() {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let (link, subject) = (&self.copy.link, &self.copy.spec.subject);
            let asked = Instant::now();
            let behind = match desk::publish(link, subject, Some(key), Some(place.last), messages).await {
                Fate::Taken(taken) => {
                    place.last = taken.offsets.end.get();
                    return Ok(());
                }
                Fate::There => Ok(Behind::Ours),
                Fate::Refused(why) => {
                    // There may be room again, or a quorum; nobody else would have more luck.
                    self.copy
                        .tell_now_and_then(|| format!("the broker does not take what fills the topic: {why}"));
                    tokio::time::sleep(REFUSED_AGAIN).await;
                    continue;
                }
                Fate::Overtaken => self.behind(place.last, key).await,
                Fate::Underway | Fate::Unknown(_) => {
                    tokio::time::sleep(AGAIN).await;
                    self.behind(place.last, key).await
                }
            };
            match behind {
                Ok(Behind::Ours) => {
                    // It was taken behind the last, or not at all.
                    place.last += messages.len() as u64;
                    return Ok(());
                }
                Ok(Behind::AnotherTurn) => {
                    self.lease.give_up();
                    return Err(AppendError::Stopped);
                }
                Ok(Behind::Else) => {
                    if !self.lease.held_since(asked).await {
                        return Err(AppendError::Stopped);
                    }
                    // What was published past all turns.
                    if let Ok(last) = last(&self.copy).await {
                        place.last = last;
                    }
                }
                // While nothing is known, the same is tried again: it is taken once, under its name and at its place.
                Err(()) => {}
            }
        }
    }

    /// What lies behind `last`, while messages are published under this name.
    async fn behind(&self, last: u64, key: PublishKey) -> Result<Behind, ()> {
        let (link, spec) = (&self.copy.link, &self.copy.spec);
        // The stream may have let go of what lay there.
        let next = leader::from(link, &spec.name, last + 1).await.map_err(drop)?;
        let Some(next) = next.map(|stored| stored.message) else {
            return Ok(Behind::Else);
        };
        let of = |message: &StreamMessage| MessageId::of(Some(&message.headers)).map(|id| id.publish);
        if of(&next) == Some(key) && next.sequence == last + 1 {
            return Ok(Behind::Ours);
        }
        let newest = leader::newest(link, &spec.name, &spec.subject).await.map_err(drop)?;
        let mut both = std::iter::once(next).chain(newest.map(|stored| stored.message));
        let is_of_a_turn = both
            .any(|message| matches!(of(&message), Some(PublishKey::Server(other)) if PublishKey::Server(other) != key));
        Ok(if is_of_a_turn {
            Behind::AnotherTurn
        } else {
            Behind::Else
        })
    }
}

/// The sequence of a stream's last message.
async fn last(copy: &Copy) -> Result<u64, String> {
    let info = copy.spec.look(&copy.link).await?;
    info.map(|info| info.state.last_sequence)
        .ok_or_else(|| "there is no stream".to_owned())
}

const TRY_INTERVAL: Duration = Duration::from_millis(300);
/// A broker that chooses a leader has one sooner.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// What was refused once is not tried much sooner.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(100);
