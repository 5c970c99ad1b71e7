//! `lapwing bench` as people run it: against real servers, and against such that misbehave on purpose.

#[allow(dead_code, reason = "what the tests of listen need beyond these")]
#[path = "../listen/feed.rs"]
mod feed;
#[allow(dead_code, reason = "what the tests of listen need beyond these")]
#[path = "../listen/program.rs"]
mod program;
mod rig;

mod figures;
mod foreign;
mod limits;
mod ports;
mod report;
mod sweep;
mod usage;
mod verdict;
