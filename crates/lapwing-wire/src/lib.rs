//! Lapwing's bytes to meaning and back: frames, handshake, envelope, control messages, block timing.
//!
//! Nothing here opens a socket, reads a clock, draws a random number, starts a task or writes a log: bytes, instants and
//! sizes come in as arguments. Client and server both use it, so that they cannot disagree.

pub mod close;
pub mod decoder;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod position;
pub mod topic;
pub mod utf8;
