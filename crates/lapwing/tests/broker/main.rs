//! Servers that share topics through NATS, with a real nats-server behind them: one, or a cluster of three.

#[path = "../it/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "what other stories are told with is more than these need"
)]
mod support;

mod access;
mod buckets;
mod cluster;
mod credentials;
mod stage;

mod fleet;
mod histories;
mod odd;
mod outage;
mod positions;
mod publishing;
mod refusal;
mod turns;
