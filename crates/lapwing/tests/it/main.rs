//! The real program over real sockets: a server on a free port, clients that others wrote or bytes by hand.
//!
//! A test's name says what holds, and begins with the item or the fault that it stands for: `item_N` for what the server
//! must do, a letter and a number (`b1`, `e11`) for an entry of the catalogue of faults.

#![expect(
    clippy::unwrap_used,
    reason = "what is not there fails the test, also in what several tests share"
)]

mod abuse;
mod access;
mod arrays;
mod batches;
mod bearers;
mod causes;
mod churn;
mod compression;
mod console;
mod crowd;
mod demo;
mod disk;
mod durable;
mod echo;
mod events;
mod exec;
mod flood;
mod framing;
mod front;
mod generators;
mod greedy;
mod held;
mod journal;
mod jwt;
mod leaving;
mod limits;
mod listening;
mod log;
mod manual;
mod metrics;
mod origin;
mod overview;
mod pace;
mod pause;
mod plain;
mod proxied;
mod push;
mod replay;
mod reports;
mod resume;
mod shortage;
mod slow;
mod smuggling;
mod stdin;
mod stopping;
mod subprotocol;
mod support;
mod tail;
mod tls;
mod usage;
mod watching;
