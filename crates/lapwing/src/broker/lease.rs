//! Who fills a topic: of all servers that would, one holds a key that expires, and renews it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::StorageType;
use bytes::Bytes;
use lapwing_wire::topic::TopicName;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::bucket;
use super::link::Link;

/// A key that this server holds, until this is dropped.
pub struct Lease {
    state: watch::Receiver<Known>,
    /// Another server had it in between.
    given_up: watch::Sender<bool>,
    /// Whoever renews the key gives it back when this is gone.
    _holding: oneshot::Sender<()>,
}

/// Whose the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Ours.
    Held,
    /// It may have expired; nobody else is known to have it.
    Unsure,
    /// Another server's.
    Lost,
}

/// What is known of it.
#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    /// When it was asked for that last, with success.
    asked: Instant,
}

impl Lease {
    /// Takes the topic's key, unless another server has it.
    pub async fn take(link: &Arc<Link>, topic: &TopicName) -> Result<Option<Self>, String> {
        let store = bucket(link).await?;
        // Told from a key that this server held before.
        let own = format!("{}-{:016x}", link.server, crate::random::word());
        match store.create(topic.as_str(), own.clone().into()).await {
            Ok(revision) => Ok(Some(Self::hold(Renewal {
                link: link.clone(),
                store,
                topic: topic.clone(),
                own,
                revision,
            }))),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn hold(mut renewal: Renewal) -> Self {
        let known = |state, asked| Known { state, asked };
        let (tell, state) = watch::channel(known(State::Held, Instant::now()));
        let (holding, mut dropped) = oneshot::channel();
        tokio::spawn(async move {
            let mut held = Instant::now();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(RENEW_INTERVAL) => {}
                    _ = &mut dropped => return renewal.give_back().await,
                }
                let asked = Instant::now();
                let until = (held + HELD_MAX).max(asked + RENEW_INTERVAL);
                match tokio::time::timeout_at(until, renewal.renew()).await {
                    Ok(Ok(State::Lost)) => break,
                    Ok(Ok(_)) => held = asked,
                    // While the broker is away nobody else gets the key either.
                    Ok(Err(())) | Err(_) => renewal.reopen().await,
                }
                let state = if held.elapsed() < HELD_MAX {
                    State::Held
                } else {
                    State::Unsure
                };
                tell.send_replace(known(state, held));
            }
            // Nobody may care any more.
            let _ = tell.send(known(State::Lost, held));
        });
        Self {
            state,
            given_up: watch::Sender::new(false),
            _holding: holding,
        }
    }

    /// Another server had it in between, as may be when it expired twice while this one stood still: it counts as lost. Nobody else gets
    /// it before this is dropped.
    pub fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    /// Waits until it is another server's.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut state, mut given_up) = (self.state.clone(), self.given_up.subscribe());
        async move {
            // The other ends are dropped only after they have told, or with this.
            tokio::select! {
                _ = state.wait_for(|known| known.state == State::Lost) => {}
                _ = given_up.wait_for(|given_up| *given_up) => {}
            }
        }
    }

    /// Waits until it is this server's, or never will be again: whether it is.
    pub async fn held(&self) -> bool {
        self.wait(|known| known.state == State::Held).await
    }

    /// As [`Lease::held`], by an answer to a question that was asked at `asked` or later: a process that stood still does not know
    /// that it did.
    pub async fn held_since(&self, asked: Instant) -> bool {
        self.wait(|known| known.state == State::Held && known.asked >= asked)
            .await
    }

    async fn wait(&self, holds: impl Fn(&Known) -> bool) -> bool {
        let mut state = self.state.clone();
        let known = state.wait_for(|known| known.state == State::Lost || holds(known)).await;
        known.is_ok_and(|known| known.state != State::Lost)
    }
}

/// What it takes to keep it.
struct Renewal {
    link: Arc<Link>,
    store: Store,
    topic: TopicName,
    own: String,
    revision: u64,
}

impl Renewal {
    /// The bucket is in memory: where all of the broker was started again, it is made anew.
    async fn reopen(&mut self) {
        if let Ok(Ok(store)) = tokio::time::timeout(RENEW_INTERVAL, bucket(&self.link)).await {
            self.store = store;
        }
    }

    async fn renew(&mut self) -> Result<State, ()> {
        let (key, value) = (self.topic.as_str(), Bytes::from(self.own.clone()));
        self.revision = match self.store.update(key, value.clone(), self.revision).await {
            Ok(revision) => revision,
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                // It expired, or an earlier renewal arrived without our knowing.
                let entry = self.store.entry(key).await.map_err(drop)?;
                match entry.filter(|entry| entry.operation == Operation::Put) {
                    Some(entry) if entry.value == value => entry.revision,
                    Some(_) => return Ok(State::Lost),
                    None => match self.store.create(key, value).await {
                        Ok(revision) => revision,
                        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => return Ok(State::Lost),
                        Err(_) => return Err(()),
                    },
                }
            }
            Err(_) => return Err(()),
        };
        Ok(State::Held)
    }

    /// Deletes the key, so that whoever waits need not wait for its end. Only as it was last written here: one that came late would
    /// take it from whoever has it by then.
    async fn give_back(self) {
        // If this does not arrive, it expires.
        let _ = self
            .store
            .delete_expect_revision(self.topic.as_str(), Some(self.revision))
            .await;
    }
}

async fn bucket(link: &Link) -> Result<Store, String> {
    let settings = kv::Config {
        description: "which server fills which topic of Lapwing".to_owned(),
        max_age: EXPIRES_AFTER,
        storage: StorageType::Memory,
        ..kv::Config::default()
    };
    bucket::open(link, "leases", settings).await
}

/// A server that is killed holds its topics so long.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);
/// One that cannot renew it fills nothing from then on, before it expires.
const HELD_MAX: Duration = Duration::from_millis(1500);
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
