//! The key-value buckets that servers share.

use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::stream;

use super::link::Link;

/// The bucket of this kind, `PREFIX_KIND`; made with these settings where there is none. One with fewer replicas than this server asks
/// for gets them.
pub async fn open(link: &Link, kind: &str, settings: Config) -> Result<Store, String> {
    let bucket = format!("{}_{kind}", link.prefix);
    if let Ok(store) = link.context.get_key_value(&bucket).await {
        raise(link, &store).await;
        return Ok(store);
    }
    let config = Config {
        bucket,
        history: 1,
        num_replicas: link.replicas,
        ..settings
    };
    let created = link.context.create_key_value(config).await;
    created.map_err(|error| error.to_string())
}

async fn raise(link: &Link, store: &Store) {
    let found = &store.stream.cached_info().config;
    if found.num_replicas >= link.replicas || !link.is_first_look(&store.name) {
        return;
    }
    let config = stream::Config {
        num_replicas: link.replicas,
        ..found.clone()
    };
    // It serves as it is, too.
    if let Err(error) = link.context.update_stream(config).await {
        tracing::debug!(target: super::TARGET, bucket = store.name, why = %error, "a bucket keeps fewer replicas");
    }
}
