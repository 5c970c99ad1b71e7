//! Who fills a topic: of all servers that would, one holds a key that expires, and renews it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::StorageType;
use bytes::Bytes;
use lapwing_wire::topic::TopicName;
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::Link;

/// A key that this server holds.
pub struct Lease {
    state: watch::Receiver<Known>,
    renewing: tokio::task::JoinHandle<()>,
    given: Option<Given>,
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

/// What it takes to give it back.
struct Given {
    link: Arc<Link>,
    topic: TopicName,
}

impl Lease {
    /// Waits until this server holds the topic's key.
    pub async fn take(link: Arc<Link>, topic: TopicName) -> Self {
        // Told from a key that this server held before.
        let own = format!("{}-{:016x}", link.server, crate::random::word());
        loop {
            if let Ok(store) = bucket(&link).await
                && let Ok(revision) = store.create(topic.as_str(), own.clone().into()).await
            {
                return Self::hold(link, topic, own, revision);
            }
            // Not all servers at once.
            tokio::time::sleep(TRY_INTERVAL + Duration::from_millis(crate::random::word() % 100)).await;
        }
    }

    fn hold(link: Arc<Link>, topic: TopicName, own: String, revision: u64) -> Self {
        let known = |state, asked| Known { state, asked };
        let (tell, state) = watch::channel(known(State::Held, Instant::now()));
        let given = Given {
            link: link.clone(),
            topic: topic.clone(),
        };
        let renewing = tokio::spawn(async move {
            let mut renewal = Renewal {
                link,
                topic,
                own,
                revision,
            };
            let mut held = Instant::now();
            loop {
                tokio::time::sleep(RENEW_INTERVAL).await;
                let asked = Instant::now();
                let until = (held + HELD_MAX).max(asked + RENEW_INTERVAL);
                match tokio::time::timeout_at(until, renewal.renew()).await {
                    Ok(Ok(State::Lost)) => break,
                    Ok(Ok(_)) => held = asked,
                    // While the broker is away nobody else gets the key either.
                    Ok(Err(())) | Err(_) => {}
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
            renewing,
            given: Some(given),
        }
    }

    /// Waits until it is another server's.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.state.clone();
        async move {
            // The other end is dropped only after it has told, or with this.
            let _ = state.wait_for(|known| known.state == State::Lost).await;
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
    topic: TopicName,
    own: String,
    revision: u64,
}

impl Renewal {
    async fn renew(&mut self) -> Result<State, ()> {
        // It is in memory there: who restarts all of it makes it anew.
        let store = bucket(&self.link).await.map_err(drop)?;
        let value = Bytes::from(self.own.clone());
        match store.update(self.topic.as_str(), value.clone(), self.revision).await {
            Ok(revision) => {
                self.revision = revision;
                return Ok(State::Held);
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(_) => return Err(()),
        }
        // It expired, or an earlier renewal arrived without our knowing.
        let entry = store.entry(self.topic.as_str()).await.map_err(drop)?;
        match entry.filter(|entry| entry.operation == Operation::Put) {
            Some(entry) if entry.value == value => {
                self.revision = entry.revision;
                Ok(State::Held)
            }
            Some(_) => Ok(State::Lost),
            None => match store.create(self.topic.as_str(), value).await {
                Ok(revision) => {
                    self.revision = revision;
                    Ok(State::Held)
                }
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(State::Lost),
                Err(_) => Err(()),
            },
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        let held = self.state.borrow().state == State::Held;
        if let Some(Given { link, topic }) = self.given.take().filter(|_| held) {
            // Whoever waits need not wait for its end. If this does not arrive, it expires.
            tokio::spawn(async move {
                if let Ok(store) = link.context.get_key_value(name(&link)).await {
                    let _ = store.delete(topic.as_str()).await;
                }
            });
        }
    }
}

fn name(link: &Link) -> String {
    format!("{}_leases", link.prefix)
}

async fn bucket(link: &Link) -> Result<Store, String> {
    let name = name(link);
    if let Ok(store) = link.context.get_key_value(&name).await {
        return Ok(store);
    }
    let config = kv::Config {
        bucket: name,
        description: "which server fills which topic of Lapwing".to_owned(),
        history: 1,
        max_age: EXPIRES_AFTER,
        storage: StorageType::Memory,
        num_replicas: link.replicas,
        ..kv::Config::default()
    };
    let created = link.context.create_key_value(config).await;
    created.map_err(|error| error.to_string())
}

/// A server that is killed holds its topics so long.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);
/// One that cannot renew it fills nothing from then on, before it expires.
const HELD_MAX: Duration = Duration::from_millis(1500);
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
const TRY_INTERVAL: Duration = Duration::from_millis(300);
