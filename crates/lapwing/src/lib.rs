//! Lapwing: streams live messages to any number of WebSocket clients, and knows how fast each one really receives them.

#[cfg(feature = "nats")]
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod export;
pub mod failure;
pub mod load;
pub mod lock;
pub mod log;
pub mod mail;
#[cfg(feature = "planted")]
pub mod planted;
pub mod plot;
pub mod random;
pub mod reason;
pub mod recording;
pub mod server;
pub mod session;
pub mod socket;
pub mod source;
pub mod terminal;
