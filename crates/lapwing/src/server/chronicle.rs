//! What happens on the server, kept as topics of its own, so that a page or a listener follows it like any feed.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lapwing_wire::envelope::Kind;
use lapwing_wire::topic::TopicName;

use super::event::Event;
use super::fleet::Fleet;
use super::storage::random_epoch;
use crate::clock::Now;
use crate::log::batch::NewMessage;
use crate::log::retention::Retention;
use crate::log::{AppendError, Log};
use crate::source::spec::TopicSpec;

/// Events as they are told, on their way into the topics that keep them.
///
/// Nobody who tells one waits: it goes into a bounded queue, and a thread appends what has gathered there. What does not fit is
/// counted, and the count is kept in its place.
pub struct Chronicle {
    events: Arc<Log>,
    reports: Arc<Log>,
    clients: Arc<Log>,
    queue: Mutex<Option<Sender<Entry>>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One event, and when it was told.
struct Entry {
    event: Event,
    at: Now,
}

impl Chronicle {
    /// Begins with nothing. What it keeps is told to the other servers of a `fleet`, and says who tells it.
    pub fn start(fleet: Option<Arc<Fleet>>) -> io::Result<Self> {
        let log = |name| {
            let topic = TopicName::parse(name).expect("our own names are valid");
            let bytes = if name == CLIENTS { CLIENTS_BYTES } else { BYTES };
            Arc::new(Log::new(topic, random_epoch(), Retention { bytes, age: AGE }))
        };
        let (events, reports, clients) = (log(EVENTS), log(REPORTS), log(CLIENTS));
        let (queue, received) = mpsc::channel();
        let (waiting, lost) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let writer = Writer {
            events: events.clone(),
            reports: reports.clone(),
            waiting: waiting.clone(),
            lost: lost.clone(),
            fleet,
        };
        let thread = std::thread::Builder::new()
            .name("chronicle".to_owned())
            .spawn(move || writer.run(&received))?;
        Ok(Self {
            events,
            reports,
            clients,
            queue: Mutex::new(Some(queue)),
            waiting,
            lost,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The topics that it fills, as a server has its others.
    #[must_use]
    pub fn topics(&self) -> Vec<(TopicSpec, Arc<Log>)> {
        [&self.clients, &self.reports, &self.events]
            .map(|log| (TopicSpec::own(log.topic().clone()), log.clone()))
            .into()
    }

    /// What the newest reports are, for whoever asks.
    #[must_use]
    pub fn reports(&self) -> &Arc<Log> {
        &self.reports
    }

    /// Where changes of the clients belong.
    #[must_use]
    pub fn clients(&self) -> &Arc<Log> {
        &self.clients
    }

    /// Keeps an event; returns at once.
    pub fn tell(&self, event: &Event, now: Now) {
        let bytes = event.weight();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES_MAX {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // A thread that has gone leaves nobody to read it.
            let event = event.clone();
            let _ = queue.send(Entry { event, at: now });
        }
    }

    /// Keeps what happened on another server, as lines that say which.
    pub fn keep_events(&self, lines: &[String]) {
        keep(&self.events, lines.iter().map(String::as_str));
    }

    /// Keeps what clients of another server reported, likewise.
    pub fn keep_reports(&self, lines: &[String]) {
        keep(&self.reports, lines.iter().map(String::as_str));
    }

    /// Keeps what waits, and nothing after it.
    pub fn finish(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It holds no lock of ours, and what waits is bounded.
            let _ = thread.join();
        }
    }
}

/// The thread's own side.
struct Writer {
    events: Arc<Log>,
    reports: Arc<Log>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    fleet: Option<Arc<Fleet>>,
}

impl Writer {
    fn run(self, queue: &Receiver<Entry>) {
        while let Ok(first) = queue.recv() {
            let mut gathered = vec![first];
            let mut bytes = gathered[0].event.weight();
            // Each append wakes the delivery threads: a crowd that comes at once is to wake them a few times only.
            let until = Instant::now() + GATHERING;
            while bytes < GATHERED_BYTES_MAX {
                match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(next) => {
                        bytes += next.event.weight();
                        gathered.push(next);
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let event = Event::NotShown {
                    lines: lost,
                    client: None,
                };
                let at = Now::read();
                gathered.push(Entry { event, at });
            }
            // Made into text here: whoever told it had other things to do.
            let json = |is_report: bool| {
                let wanted = move |entry: &&Entry| matches!(entry.event, Event::Report { .. }) == is_report;
                let entries = gathered.iter().filter(wanted);
                entries.map(|entry| entry.event.to_json(entry.at)).collect::<Vec<_>>()
            };
            let (mut reports, mut events) = (json(true), json(false));
            if let Some(fleet) = &self.fleet {
                // Each server sees for itself who is there.
                let shared = gathered
                    .iter()
                    .filter(|entry| !matches!(entry.event, Event::Peer { .. } | Event::Report { .. }));
                fleet.tell_events(shared.map(|entry| entry.event.to_json(entry.at)).collect());
                fleet.tell_reports(reports.clone());
                for line in reports.iter_mut().chain(&mut events) {
                    *line = fleet.signed(line);
                }
            }
            for (log, lines) in [(&self.reports, reports), (&self.events, events)] {
                keep(log, lines.iter().map(String::as_str));
            }
        }
    }
}

/// Appends these values to a topic of our own, visible all at once.
pub fn keep<'a>(log: &Log, values: impl Iterator<Item = &'a str>) {
    let messages: Vec<_> = values
        .map(|json| NewMessage::new(Kind::Json, json.as_bytes()))
        .collect();
    if messages.is_empty() {
        return;
    }
    match log.append(&messages, Now::read()) {
        Ok(_) | Err(AppendError::Ended) => {}
        Err(error) => debug_assert!(false, "a topic in memory takes all that is short: {error}"),
    }
}

/// What happens, but for reports.
pub const EVENTS: &str = "$events";
/// What clients report.
pub const REPORTS: &str = "$reports";
/// What changes of the clients.
pub const CLIENTS: &str = "$clients";

/// Some 40,000 events or reports.
const BYTES: u64 = 16 << 20;
/// Half a minute of 2,000 rows a second, and the rows of 90,000 clients at once.
const CLIENTS_BYTES: u64 = 64 << 20;
const AGE: Duration = Duration::from_secs(600);
const WAITING_BYTES_MAX: usize = 8 << 20;
const GATHERING: Duration = Duration::from_millis(20);
const GATHERED_BYTES_MAX: usize = 256 << 10;
