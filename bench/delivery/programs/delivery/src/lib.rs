//! What the programs of the delivery benchmark share: messages, frames, the handshake, a schedule, and how they are called.

pub mod arguments;
pub mod frame;
pub mod handshake;
pub mod message;
pub mod open_files;
pub mod schedule;
