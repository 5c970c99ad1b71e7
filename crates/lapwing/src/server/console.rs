//! The server's console: events become lines on stdout and stderr, and nobody who causes one ever waits for a terminal.
//!
//! Each stream has a bounded queue and a thread that writes; when both lead to the same place there is one for both, so
//! that the order holds. What overflows is counted, and the count is told in the next line that fits.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::event::Event;
use super::journal::life;
use super::label::ClientLabel;
use crate::clock::Now;
use crate::terminal::form;
use crate::terminal::lane::{self, Queue};
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};
use crate::terminal::stream::{Stream, is_closed, same_place};

/// Takes events from everywhere and never makes anyone wait.
#[derive(Clone)]
pub struct Console {
    lanes: Arc<[Lane]>,
    format: OutputFormat,
    /// With one, events go there and nowhere else: the demo tells its own story of them.
    tap: Option<Sender<(Now, Event)>>,
}

struct Lane {
    way: lane::Lane<(Now, Event)>,
    bytes_max: usize,
    state: Arc<LaneState>,
}

#[derive(Default)]
struct LaneState {
    skipped: Mutex<Skipped>,
}

#[derive(Default)]
struct Skipped {
    lines: u64,
    /// The one client that all were from, none when they were from several.
    client: Option<Option<ClientLabel>>,
}

impl Console {
    /// A console on this process's stdout and stderr; at most `bytes_max` of lines wait for each.
    #[must_use]
    pub fn start(format: OutputFormat, color: ColorChoice, bytes_max: usize) -> Self {
        let out = Sink {
            stream: Stream::Out,
            paint: Painter::stdout(color),
            closed: false,
        };
        let err = Sink {
            stream: Stream::Err,
            paint: Painter::stderr(color),
            closed: false,
        };
        let lanes = if format == OutputFormat::Json || same_place() {
            vec![Lane::start("console", [out, err], format, bytes_max)]
        } else {
            // The second sink of a lane is where talk goes; here each lane is given only its own kind.
            vec![
                Lane::start(
                    "console-out",
                    [
                        out,
                        Sink {
                            stream: Stream::Out,
                            ..out
                        },
                    ],
                    format,
                    bytes_max,
                ),
                Lane::start(
                    "console-err",
                    [
                        err,
                        Sink {
                            stream: Stream::Err,
                            ..err
                        },
                    ],
                    format,
                    bytes_max,
                ),
            ]
        };
        Self {
            lanes: lanes.into(),
            format,
            tap: None,
        }
    }

    /// A console that shows nothing and hands every event on; whoever takes them must keep up.
    #[must_use]
    pub fn tapped(tap: Sender<(Now, Event)>) -> Self {
        Self {
            lanes: Arc::new([]),
            format: OutputFormat::Text,
            tap: Some(tap),
        }
    }

    /// Tells an event that happens now; returns at once.
    pub fn tell(&self, event: Event) {
        self.tell_at(event, Now::read());
    }

    /// Tells an event that happened at `now`; returns at once.
    pub fn tell_at(&self, event: Event, now: Now) {
        if let Some(tap) = &self.tap {
            // Whoever took them has gone, and the server is about to.
            let _ = tap.send((now, event));
            return;
        }
        let talk = usize::from(!event.is_data());
        self.lanes[talk.min(self.lanes.len() - 1)].push(event);
    }

    /// The form of lines.
    #[must_use]
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Writes what waits, but waits no longer than `patience` for a reader that does not read.
    pub fn finish(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for lane in self.lanes.iter() {
            lane.way.finish(deadline);
        }
    }
}

impl Lane {
    fn start(name: &str, sinks: [Sink; 2], format: OutputFormat, bytes_max: usize) -> Self {
        let state = Arc::<LaneState>::default();
        let writer = LaneWriter {
            sinks,
            format,
            state: state.clone(),
            sums: HashMap::new(),
            second: 0,
            told_skipped: 0,
        };
        Self {
            way: lane::Lane::start(name, move |queue| writer.run(&queue)),
            bytes_max,
            state,
        }
    }

    fn push(&self, event: Event) {
        let bytes = event.weight();
        // What clients and commands say may be as much as they like; who comes and goes keeps room beside it.
        let chatty = matches!(event, Event::Said { .. } | Event::Report { .. } | Event::Source { .. });
        let bytes_max = self.bytes_max - if chatty { self.bytes_max / 8 } else { 0 };
        match self.way.has_room(bytes, bytes_max) {
            true => self.way.push(bytes, || (Now::read(), event)),
            false => self.state.skip(event.client()),
        }
    }
}

impl LaneState {
    fn skip(&self, client: Option<&ClientLabel>) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.lines += 1;
        match &skipped.client {
            None => skipped.client = Some(client.cloned()),
            Some(Some(only)) if Some(only) != client => skipped.client = Some(None),
            Some(_) => {}
        }
    }

    fn take_skipped(&self) -> Option<Event> {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let Skipped { lines, client } = std::mem::take(&mut *skipped);
        let told = (lines > 0).then(|| Event::NotShown {
            lines,
            client: client.flatten(),
        });
        told.inspect(life::note)
    }
}

#[derive(Clone, Copy)]
struct Sink {
    stream: Stream,
    paint: Painter,
    /// Its reader is gone: nothing is written there any more.
    closed: bool,
}

impl Sink {
    /// Writes a line, waiting as long as it takes; false when it could not be written.
    ///
    /// Only a reader that is gone closes the sink; a full disk may have room again for the next line.
    fn write(&mut self, line: &str) -> bool {
        if self.closed {
            return false;
        }
        let written = self.stream.write_line(line);
        self.closed = written.is_err_and(is_closed);
        written.is_ok()
    }
}

/// The thread's part of a lane.
struct LaneWriter {
    sinks: [Sink; 2],
    format: OutputFormat,
    state: Arc<LaneState>,
    sums: HashMap<&'static str, Sum>,
    second: u64,
    /// When it was last told that lines were skipped.
    told_skipped: u64,
}

/// What one kind of event came to within a second.
#[derive(Default)]
struct Sum {
    shown: u64,
    more: u64,
    worst: Option<(f64, ClientLabel)>,
    data: bool,
}

impl LaneWriter {
    fn run(mut self, queue: &Queue<(Now, Event)>) {
        loop {
            let summing = self.sums.values().any(|sum| sum.more > 0);
            match queue.take(summing.then_some(Duration::from_millis(100))) {
                Ok((now, event)) => {
                    self.on_second(now);
                    self.show(now, &event);
                }
                Err(RecvTimeoutError::Timeout) => self.on_second(Now::read()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Now::read();
            let due = now.mono.saturating_sub(self.told_skipped) >= 1_000_000_000;
            if due
                && self.sinks.iter().any(|sink| !sink.closed)
                && let Some(event) = self.state.take_skipped()
            {
                self.told_skipped = now.mono;
                self.write(now, &event);
            }
        }
        self.tell_sums(Now::read());
        if let Some(event) = self.state.take_skipped() {
            self.write(Now::read(), &event);
        }
    }

    /// Above [`LINES_PER_SECOND`] of one kind, the rest of that kind is told in one line at the end of the second.
    fn show(&mut self, now: Now, event: &Event) {
        let summed = matches!(
            event,
            Event::Joined { .. }
                | Event::Left { .. }
                | Event::Report { .. }
                | Event::Missed { .. }
                | Event::Source { .. }
                | Event::Storage { .. }
        );
        if summed && self.format == OutputFormat::Text {
            let sum = self.sums.entry(event.word()).or_default();
            sum.data = event.is_data();
            if sum.shown >= LINES_PER_SECOND {
                sum.add(event);
                return;
            }
            sum.shown += 1;
        }
        self.write(now, event);
    }

    fn on_second(&mut self, now: Now) {
        let second = now.mono / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.tell_sums(now);
        }
    }

    fn tell_sums(&mut self, now: Now) {
        let mut words: Vec<_> = self.sums.drain().filter(|(_, sum)| sum.more > 0).collect();
        words.sort_unstable_by_key(|(word, _)| *word);
        for (word, sum) in words {
            let worst = sum.worst.map_or(String::new(), |(ms, client)| {
                format!(", largest drift {client} {}", form::signed_ms(ms))
            });
            let what = match word {
                "join" => "more joined",
                "left" => "more left",
                "block" => "more reports",
                "gap" => "more were missed",
                _ => "more lines of sources",
            };
            let text = format!("{} {what} within 1 s{worst}", form::count(sum.more));
            self.line(now, word, usize::from(!sum.data), None, &text);
        }
    }

    fn write(&mut self, now: Now, event: &Event) {
        let sink = usize::from(!event.is_data());
        if self.format == OutputFormat::Json {
            let mut text = event.to_json(now);
            text.push('\n');
            self.put(0, &text, event.client());
        } else {
            self.line(now, event.word(), sink, event.client(), &event.sentence());
        }
    }

    fn line(&mut self, now: Now, word: &str, sink: usize, client: Option<&ClientLabel>, sentence: &str) {
        let paint = self.sinks[sink].paint;
        let time = form::clock(now.wall, 3);
        let role = match word {
            "slow" | "gap" | "limit" => Role::Attention,
            "ok" => Role::Good,
            _ => Role::Heading,
        };
        let rest = client.and_then(|client| sentence.strip_prefix(client.as_text().as_ref()));
        let sentence = match (client, rest) {
            (Some(client), Some(rest)) => format!("{}{rest}", paint.paint(Role::Name, client)),
            _ => sentence.to_owned(),
        };
        let line = format!(
            "{}  {}  {sentence}\n",
            paint.paint(Role::Time, time),
            paint.paint(role, format_args!("{word:<6}"))
        );
        self.put(sink, &line, client);
    }

    /// Writes a line; one that cannot be written counts as not shown.
    fn put(&mut self, sink: usize, line: &str, client: Option<&ClientLabel>) {
        if !self.sinks[sink].write(line) {
            self.state.skip(client);
        }
    }
}

impl Sum {
    fn add(&mut self, event: &Event) {
        self.more += 1;
        if let Event::Report {
            client,
            drift_ms: Some(ms),
            ..
        } = event
            && self.worst.as_ref().is_none_or(|(worst, _)| ms > worst)
        {
            self.worst = Some((*ms, client.clone()));
        }
    }
}

/// More of one kind in a second cannot be read.
const LINES_PER_SECOND: u64 = 20;
