//! What do live readers of bare payloads cost?
//!
//! One thread appends batches to a log in memory and gives every session of a delivery thread its turns, without sockets:
//! what the kernel would take is thrown away. Prints medians of rounds and their spread, for readers of envelopes as well.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lapwing::clock::Now;
use lapwing::config::Limits;
use lapwing::log::Log;
use lapwing::log::batch::NewMessage;
use lapwing::log::retention::Retention;
use lapwing::server::feeds::Feeds;
use lapwing::server::key::Key;
use lapwing::server::topics::{TopicId, Topics};
use lapwing::session::{Cursor, Mode, Next, Session};
use lapwing::source::spec::parse_topic;
use lapwing_wire::envelope::Kind;
use lapwing_wire::extension::Compression;
use lapwing_wire::position::Epoch;
use lapwing_wire::start::Start;

fn main() {
    for (sessions, batch) in [(1, 1), (1, 100), (100, 1), (100, 100), (1000, 10)] {
        for mode in [Mode::Plain, Mode::Bare] {
            let mut took: Vec<f64> = (0..ROUNDS).map(|_| round(mode, sessions, batch)).collect();
            took.sort_by(f64::total_cmp);
            println!(
                "{:>5} {sessions:>4} sessions, batches of {batch:>3}: {:.1} ns a delivery ({:.1}-{:.1}, {ROUNDS} rounds)",
                mode.as_str(),
                took[ROUNDS / 2],
                took[0],
                took[ROUNDS - 1]
            );
        }
    }
}

/// Nanoseconds for each message and session, the append included.
fn round(mode: Mode, count: usize, batch: usize) -> f64 {
    let spec = parse_topic("t=push").expect("valid");
    let log = Arc::new(Log::new(spec.name.clone(), Epoch::from_bits(1), Retention::DEFAULT));
    let topics = Topics::new(vec![(spec, log.clone())], Vec::new());
    let mut feeds = Feeds::new(&topics);
    let topic = TopicId(0);
    let mut sessions: Vec<Session> = (0..count)
        .map(|_| {
            Session::new(
                mode,
                Compression::Off,
                vec![Cursor::new(topic.0, &log.grant(Start::Latest, Now::read()))],
            )
        })
        .collect();
    (0..count).for_each(|key| feeds.follow(topic, mode.view(Compression::Off), Key::new(key)));
    let payload = format!("\"{}\"", "x".repeat(248));
    let messages = vec![NewMessage::new(Kind::Json, payload.as_bytes()); batch];
    let batches = (DELIVERIES / (count * batch)).max(100);
    let began = Instant::now();
    for _ in 0..batches {
        log.append(&messages, Now::read()).expect("nobody ends it");
        feeds.refresh(|key| {
            black_box(key);
        });
        for session in &mut sessions {
            while let Next::Frames(nth, run) = session.next(&mut feeds, Limits::WRITE_BYTES_MAX) {
                let written = black_box(run.bytes()).len();
                let split = run.split(written);
                session.on_written(nth, written, &split);
            }
        }
    }
    let took = began.elapsed().as_nanos() as f64;
    assert!(
        sessions
            .iter()
            .all(|session| session.messages == (batches * batch) as u64)
    );
    took / (batches * batch * count) as f64
}

const ROUNDS: usize = 11;
const DELIVERIES: usize = 2_000_000;
