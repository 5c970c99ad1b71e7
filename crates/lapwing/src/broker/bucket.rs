//! The key-value buckets that servers share.

use async_nats::jetstream::kv::{Config, Store};

use super::link::Link;

/// The bucket of this kind, `PREFIX_KIND`; made with these settings where there is none.
pub async fn open(link: &Link, kind: &str, settings: Config) -> Result<Store, String> {
    let bucket = format!("{}_{kind}", link.prefix);
    if let Ok(store) = link.context.get_key_value(&bucket).await {
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
