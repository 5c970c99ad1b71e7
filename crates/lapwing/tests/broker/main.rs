//! Servers that share topics through NATS, with a real nats-server behind them: one, or a cluster of three.

mod cluster;
mod credentials;
mod stage;
