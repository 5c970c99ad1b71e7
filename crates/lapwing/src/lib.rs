//! Lapwing: streams live messages to any number of WebSocket clients, and knows how fast each one really receives them.

pub mod cli;
pub mod client;
pub mod clock;
pub mod failure;
pub mod recording;
pub mod terminal;
