//! Who fills a topic: of all servers that would, one holds a key that expires, and renews it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Store};
use async_nats::jetstream::stream::StorageType;
use lapwing_wire::topic::TopicName;
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::Link;

/// A key that this server holds.
pub struct Lease {
    over: watch::Receiver<bool>,
    renewing: tokio::task::JoinHandle<()>,
    given: Option<Given>,
}

/// What it takes to give it back.
struct Given {
    store: Store,
    topic: TopicName,
}

impl Lease {
    /// Waits until this server holds the topic's key.
    pub async fn take(link: Arc<Link>, topic: TopicName, replicas: usize) -> Self {
        loop {
            if let Ok(store) = bucket(&link, replicas).await
                && let Some(revision) = create(&store, &topic, &link.server).await
            {
                return Self::hold(link, store, topic, revision);
            }
            // Not all servers at once.
            tokio::time::sleep(TRY_INTERVAL + Duration::from_millis(crate::random::word() % 100)).await;
        }
    }

    fn hold(link: Arc<Link>, store: Store, topic: TopicName, mut revision: u64) -> Self {
        let (tell, over) = watch::channel(false);
        let given = Given {
            store: store.clone(),
            topic: topic.clone(),
        };
        let renewing = tokio::spawn(async move {
            let mut renewed = Instant::now();
            loop {
                tokio::time::sleep(RENEW_INTERVAL).await;
                let asked = Instant::now();
                let renewal = store.update(topic.as_str(), link.server.clone().into_bytes().into(), revision);
                match tokio::time::timeout_at(renewed + HELD_MAX, renewal).await {
                    Ok(Ok(next)) => (revision, renewed) = (next, asked),
                    Ok(Err(error)) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => break,
                    Ok(Err(_)) if renewed.elapsed() < HELD_MAX => {}
                    _ => break,
                }
            }
            // Nobody may care any more.
            let _ = tell.send(true);
        });
        Self {
            over,
            renewing,
            given: Some(given),
        }
    }

    /// Waits until it is this server's no longer.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut over = self.over.clone();
        async move {
            // The other end is dropped only after it has told, or with this.
            let _ = over.wait_for(|over| *over).await;
        }
    }

    /// Whether it is this server's no longer.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        let held = !self.is_over();
        if let Some(Given { store, topic }) = self.given.take().filter(|_| held) {
            // Whoever waits need not wait for its end. If this does not arrive, it expires.
            tokio::spawn(async move {
                let _ = store.delete(topic.as_str()).await;
            });
        }
    }
}

async fn create(store: &Store, topic: &TopicName, server: &str) -> Option<u64> {
    match store
        .create(topic.as_str(), server.to_owned().into_bytes().into())
        .await
    {
        Ok(revision) => Some(revision),
        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => None,
        Err(_) => None,
    }
}

async fn bucket(link: &Link, replicas: usize) -> Result<Store, String> {
    let name = format!("{}_leases", link.prefix);
    if let Ok(store) = link.context.get_key_value(&name).await {
        return Ok(store);
    }
    let config = kv::Config {
        bucket: name,
        description: "which server fills which topic of Lapwing".to_owned(),
        history: 1,
        max_age: EXPIRES_AFTER,
        storage: StorageType::Memory,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    let created = link.context.create_key_value(config).await;
    created.map_err(|error| error.to_string())
}

/// A server that is killed holds its topics so long.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);
/// One that cannot renew it lets go before it expires.
const HELD_MAX: Duration = Duration::from_millis(1500);
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
const TRY_INTERVAL: Duration = Duration::from_millis(300);
