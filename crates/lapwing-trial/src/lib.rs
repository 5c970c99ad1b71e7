//! Proves with faults what Lapwing promises.
//!
//! One command runs the real programs: `lapwing serve`, several `lapwing listen --log FILE`, and publishers of its own. From
//! one seed, which it prints together with the whole schedule before anything starts, it kills, pauses and restarts them,
//! cuts and bends their connections, and takes away disk and power. Afterwards a checker compares what was acknowledged, what
//! the logs hold and what the files hold.
//!
//! ```text
//! scripts/trial --seed 7 --for 60s --rate 500 --listeners 10 --level none
//! ```
//!
//! It knows nothing of the crates `lapwing` and `lapwing-wire`, on purpose: it has its own JSON lines, its own CRC-32C, its own
//! HTTP and its own WebSocket reader, so that a mistake of the product cannot hide a mistake of the product.
//!
//! # From seed to verdict
//!
//! | step | where |
//! | --- | --- |
//! | what to do when, from the seed | [`schedule`] |
//! | server, listeners, disk, and the faults that befall them | [`arena`], [`process`], [`disk`] |
//! | the network between them | [`proxy`], [`link`] |
//! | that all listeners have begun, and have caught up | [`audience`], [`follower`] |
//! | numbered messages, repeated until their outcome is known | [`publisher`], [`payload`] |
//! | evidence: events, dumps, the listeners' files | [`journal`], [`probe`], [`history`], [`mod@line`] |
//! | the invariants I1 to I17 | [`checker`] |
//! | all of it in order | [`trial`] |
//!
//! # Does the checker see bugs?
//!
//! [`model`] is a topic with faults and clients in a few hundred lines, with bugs that can be planted. Its tests run 60 seeds
//! at each level: without a bug nothing is found, and each bug is found with every seed.
//!
//! # Evidence
//!
//! A trial leaves a folder: `setup.json`, `events/*.ndjson`, `dumps/*.ndjson`, `listen-N.ndjson` and the programs' own words
//! in `*.log`. `lapwing-trial check FOLDER` checks it again.

pub mod arena;
pub mod audience;
pub mod checker;
pub mod clock;
pub mod crc;
pub mod dice;
pub mod disk;
pub mod epoch;
pub mod fleet;
pub mod follower;
pub mod history;
pub mod journal;
pub mod line;
pub mod link;
pub mod model;
pub mod payload;
pub mod probe;
pub mod process;
pub mod proxy;
pub mod publisher;
pub mod schedule;
pub mod trial;
pub mod trouble;
pub mod wall;
