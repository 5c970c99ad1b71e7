//! Does coming back at the newest offset cost the same, however much is retained?
//!
//! A log of ten messages and one of ten million (or so many: `-- 1000000`), in turns in one process: a grant at the
//! position of the newest message and the first read there. Prints medians of rounds, their spread, and the ratio.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing::clock::Now;
use lapwing::log::Log;
use lapwing::log::batch::NewMessage;
use lapwing::log::reader::{Next, Reader, View};
use lapwing::log::retention::Retention;
use lapwing_wire::envelope::Kind;
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;

fn main() {
    let many = std::env::args()
        .find_map(|text| text.parse().ok())
        .unwrap_or(10_000_000);
    let sides = [log(10), log(many)];
    let readers = sides.each_ref().map(|log| Reader::new(log.clone(), View::Canonical));
    let mut took: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (side, reader) in readers.iter().enumerate() {
            let began = Instant::now();
            for _ in 0..RESUMES {
                resume(black_box(reader));
            }
            took[side].push(began.elapsed().as_nanos() as f64 / f64::from(RESUMES));
        }
    }
    for (side, took) in took.iter_mut().enumerate() {
        took.sort_by(f64::total_cmp);
        let retained = sides[side].next().since(sides[side].first());
        let (median, least, most) = (took[ROUNDS / 2], took[0], took[ROUNDS - 1]);
        println!(
            "{retained:>10} retained: {median:.0} ns a resume ({least:.0}-{most:.0}, {ROUNDS} rounds of {RESUMES})"
        );
    }
    println!("ratio {:.2}", took[1][ROUNDS / 2] / took[0][ROUNDS / 2]);
}

fn log(count: usize) -> Arc<Log> {
    let retention = Retention {
        bytes: 1 << 40,
        age: Duration::from_secs(24 * 3600),
    };
    let topic = TopicName::parse("t").expect("valid");
    let log = Log::new(topic, Epoch::from_bits(1), retention);
    let message = NewMessage::new(Kind::Json, b"1");
    let mut left = count;
    while left > 0 {
        let batch = left.min(1000);
        log.append(&vec![message; batch], Now::read()).expect("nobody ends it");
        left -= batch;
    }
    Arc::new(log)
}

fn resume(reader: &Reader) {
    let log = reader.log();
    let offset = log.next().previous().unwrap_or(Offset::ZERO);
    let position = Position {
        epoch: log.epoch(),
        offset,
    };
    let grant = log.grant(Start::Position(position), Now::read());
    match reader.read(grant.from, 64 << 10) {
        Next::Frames(run) => assert_eq!(black_box(run.entries()).len(), 1),
        _ => panic!("the newest is there"),
    }
}

const ROUNDS: usize = 21;
const RESUMES: u32 = 10_000;
