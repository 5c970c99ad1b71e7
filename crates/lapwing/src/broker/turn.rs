//! This server's time to fill a topic: every message is published behind the one before, and nothing else gets between.

use std::sync::Arc;
use std::time::Duration;

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
            let is_there = match desk::publish(link, subject, Some(key), Some(place.last), messages).await {
                Fate::Taken(taken) => {
                    place.last = taken.offsets.end.get();
                    return Ok(());
                }
                Fate::Refused(why) => {
                    // There may be room again, or a quorum; nobody else would have more luck.
                    self.copy
                        .tell_now_and_then(|| format!("the broker does not take what fills the topic: {why}"));
                    tokio::time::sleep(REFUSED_AGAIN).await;
                    continue;
                }
                Fate::There => Ok(true),
                Fate::Overtaken => self.is_there(place.last, key).await,
                Fate::Underway | Fate::Unknown(_) => {
                    tokio::time::sleep(AGAIN).await;
                    self.is_there(place.last, key).await
                }
            };
            // While nothing is known, the same is tried again: it is taken once, under its name and at its place.
            if is_there == Ok(false) && !self.lease.held_since(asked).await {
                // Others came before, and it was their turn.
                return Err(AppendError::Stopped);
            }
            if let Ok(is_there) = is_there
                && let Ok(last) = last(&self.copy).await
            {
                place.last = last;
                if is_there {
                    return Ok(());
                }
            }
        }
    }

    /// Whether what was published behind `last` under this name is there.
    async fn is_there(&self, last: u64, key: PublishKey) -> Result<bool, ()> {
        let copy = &self.copy;
        let stored = leader::at(&copy.link, &copy.spec.name, last + 1).await.map_err(drop)?;
        let id = stored.and_then(|stored| MessageId::of(Some(&stored.message.headers)));
        Ok(id.is_some_and(|id| id.publish == key))
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
