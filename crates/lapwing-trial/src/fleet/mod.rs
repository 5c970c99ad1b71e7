//! Several servers that share topics through NATS, with faults of all of them, and the same checker behind it.
//!
//! Servers of NATS are one or three, real ones; so are the servers of Lapwing. Listeners know all servers, publishers ask the next one when
//! one does not answer. At the end everything is held against the streams themselves, which are read by a client of the trial's own.
//!
//! | step | where |
//! | --- | --- |
//! | what to do when, from the seed | [`schedule`] |
//! | servers, listeners, the ways between them, and the faults that befall them | [`arena`], [`server`] |
//! | very many listeners that check as they go; how they come back | [`crowd`], [`comeback`] |
//! | what the streams hold, and whether every server has the same | [`stream`] |
//! | what generators made: one at a time, nothing twice, nothing left out | [`generated`] |
//! | all of it in order | [`trial`] |

pub mod arena;
pub mod comeback;
pub mod crowd;
pub mod generated;
pub mod schedule;
pub mod server;
pub mod stream;
pub mod trial;
