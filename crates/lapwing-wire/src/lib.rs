//! Lapwing's bytes to meaning and back: frames, handshake, envelope, control messages, block timing.
//!
//! Nothing here opens a socket, reads a clock, draws a random number, starts a task or writes a log: bytes, instants and
//! sizes come in as arguments. Client and server both use it, so that they cannot disagree.

pub mod array;
pub mod block;
pub mod close;
pub mod context;
pub mod control;
pub mod decoder;
pub mod deflate;
pub mod dtype;
pub mod envelope;
pub mod escape;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod json;
pub mod layout;
pub mod line;
pub mod mask;
pub mod name;
pub mod numbers;
pub mod position;
pub mod query;
pub mod report;
pub mod secret;
pub mod sse;
pub mod start;
pub mod time;
pub mod topic;
pub mod utf8;
