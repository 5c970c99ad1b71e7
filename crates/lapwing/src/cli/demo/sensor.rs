//! A listener of the demo: on a thread of its own, and slow when the story wants it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use lapwing_wire::control::SUBPROTOCOL;
use lapwing_wire::decoder::DecoderLimits;
use lapwing_wire::extension::Compression;
use lapwing_wire::name::ClientName;
use lapwing_wire::query::Encoding;
use lapwing_wire::start::Start;
use tokio_util::sync::CancellationToken;

use super::teller::Told;
use crate::client::connection::READ_BYTES;
use crate::client::dial::Dial;
use crate::client::event::{Event, Halt, MissedMeanwhile, Observer};
use crate::client::listener::{Options, listen};
use crate::client::target::Target;
use crate::client::token::TokenSource;
use crate::clock::Now;
use crate::recording::arrival::Value;
use crate::recording::marks::Marks;
use crate::terminal::form;

/// What a sensor has seen when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Messages.
    pub messages: u64,
    /// Offsets that are known to be missing, or came twice.
    pub wrong: u64,
    /// How often it came back.
    pub reconnects: u64,
}

/// Starts a listener that tells what it sees.
pub fn start(
    name: &'static str,
    target: Target,
    slow: Option<Arc<AtomicBool>>,
    stop: CancellationToken,
    tell: Sender<Told>,
) -> std::io::Result<JoinHandle<Seen>> {
    // A reader that is late must find it in its socket, not in a buffer that it filled in one go.
    let read_bytes = if slow.is_some() { SLOW_READ_BYTES } else { READ_BYTES };
    let options = Options {
        dials: vec![Dial {
            compression: Compression::Off,
            target,
            name: ClientName::parse(name).ok(),
            protocols: &[SUBPROTOCOL],
            limits: DecoderLimits::default(),
            read_bytes,
            tls: None,
            token: TokenSource::Nowhere,
        }],
        topics: None,
        encoding: Encoding::Json,
        start: Start::Earliest,
        resume: Marks::default(),
        block: NonZeroU64::new(5).expect("five is not zero"),
        count: None,
        time: None,
        reports: true,
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut sensor = Sensor {
            name,
            slow,
            stop: stop.clone(),
            tell,
            seen: Seen::default(),
        };
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            // A sensor that fails has told why; the story goes on without it.
            let _ = runtime.block_on(listen(&options, &stop, &mut sensor));
        }
        sensor.seen
    })
}

struct Sensor {
    name: &'static str,
    slow: Option<Arc<AtomicBool>>,
    stop: CancellationToken,
    tell: Sender<Told>,
    seen: Seen,
}

impl Observer for Sensor {
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        match event {
            Event::Message(arrival) => {
                self.seen.messages += 1;
                let offset = arrival.offset.map_or(0, |offset| offset.get());
                let arrays = arrival.topic.as_str() == "arrays";
                // Of a package of five arrays the first stands for all, and one sensor for both.
                if self.slow.is_none() && (!arrays || offset.is_multiple_of(5)) {
                    let more = if arrays { "  and 4 more" } else { "" };
                    let Value::Json(data) = arrival.value else {
                        return Ok(());
                    };
                    self.tell(
                        now,
                        Told::Message {
                            who: self.name,
                            topic: arrival.topic.clone(),
                            offset,
                            data: data.to_owned(),
                            more,
                            now,
                        },
                    );
                }
                if arrays {
                    self.take_time();
                }
            }
            Event::Gap { from, to, .. } => self.seen.wrong += to.since(*from),
            Event::Repeat { .. } | Event::Reset { .. } => self.seen.wrong += 1,
            Event::Lost { why } => self.say(now, format!("lost the connection: {why}")),
            Event::Back(back) => {
                self.seen.reconnects += 1;
                let places: Vec<_> = back
                    .grants
                    .iter()
                    .map(|(topic, offset)| format!("{topic} {offset}"))
                    .collect();
                let missed = if back.missed == MissedMeanwhile::Nothing {
                    "nothing missed"
                } else {
                    "some were missed"
                };
                let text = format!(
                    "back after {}: goes on at {}; {missed}",
                    form::short_span(back.down),
                    places.join(", ")
                );
                self.say(now, text);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_pause(&mut self) -> Result<(), Halt> {
        Ok(())
    }

    fn on_tick(&mut self, _now: Now) -> Result<(), Halt> {
        Ok(())
    }
}

impl Sensor {
    fn say(&self, now: Now, text: String) {
        self.tell(
            now,
            Told::Sentence {
                who: self.name,
                text,
                now,
            },
        );
    }

    fn tell(&self, _now: Now, told: Told) {
        // The teller outlives the sensors.
        let _ = self.tell.send(told);
    }

    /// While slow, holds up the reader as a program would that works this long on each array.
    fn take_time(&self) {
        let slow = || self.slow.as_ref().is_some_and(|slow| slow.load(Ordering::Relaxed)) && !self.stop.is_cancelled();
        let steps = SLOW.as_millis() / STEP.as_millis();
        for _ in 0..steps {
            if !slow() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

/// What a slow sensor does with each array.
pub const SLOW: Duration = Duration::from_millis(1200);
const STEP: Duration = Duration::from_millis(20);
/// About one array.
const SLOW_READ_BYTES: usize = 128;
