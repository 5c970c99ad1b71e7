//! The clients as they were last looked at, for those who watch them; what changed since goes into `$clients`.
//!
//! Nothing is kept for a client, and nobody is looked at, while nobody watches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::position::{Epoch, Offset};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::time::Instant;

use super::cause::Cause;
use super::chronicle;
use super::front::Front;
use super::row::Row;
use super::worker::Command;
use crate::clock::Now;

/// What those who watch are shown.
#[derive(Default)]
pub struct Watch {
    /// Whoever looks holds it meanwhile: what is shown and its position in `$clients` belong together.
    view: Mutex<View>,
}

/// The clients at one moment.
#[derive(Default)]
pub struct View {
    rows: HashMap<u64, Seen>,
    counts: Counts,
    /// Where `$clients` goes on behind it.
    position: Option<(Epoch, Offset)>,
    looked: Option<Instant>,
    /// When its clients were looked at.
    at: Option<Now>,
    asked: Option<Instant>,
    /// `$clients` is being written.
    is_on: bool,
}

/// One client.
struct Seen {
    now: Row,
    /// As `$clients` told it last: small changes add up until they are told.
    told: Row,
}

/// How many clients there are, and of each cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Cause::ALL.len()]);

/// A worker's answer to being looked at: its rows, in as many pieces as it likes.
pub type Rows = mpsc::UnboundedSender<Vec<Row>>;

impl Watch {
    /// Looks again and again while somebody follows `$clients` or has asked lately.
    pub async fn run(front: Arc<Front>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let mut view = front.watch.view.lock().await;
            let asked = view.asked.is_some_and(|asked| asked.elapsed() < ASKED_FOR);
            if !asked && !front.common.chronicle.clients().is_followed() {
                *view = View::default();
            } else if view.is_stale() {
                view.look(&front).await;
            }
        }
    }

    /// The clients as they are now, or were a moment ago.
    pub async fn view(&self, front: &Front) -> MutexGuard<'_, View> {
        let mut view = self.view.lock().await;
        view.asked = Some(Instant::now());
        if view.is_stale() {
            view.look(front).await;
        }
        view
    }
}

impl View {
    /// All clients, in no order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().map(|seen| &seen.now)
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// From where on `$clients` tells what has changed since.
    #[must_use]
    pub fn position(&self) -> Option<(Epoch, Offset)> {
        self.position
    }

    /// When its clients were looked at.
    #[must_use]
    pub fn at(&self) -> Option<Now> {
        self.at
    }

    /// Whether it is time to look again: the more clients, the less often, so that looking costs no more than a share of a core.
    fn is_stale(&self) -> bool {
        let pace = Duration::from_secs_f64(self.rows.len() as f64 / LOOKED_AT_PER_SECOND);
        // A beat comes a little early now and then.
        self.looked
            .is_none_or(|looked| looked.elapsed() >= pace.max(BEAT * 3 / 4))
    }

    /// Looks at all clients anew. Nothing is changed before all of them are known: whoever asked may give up meanwhile.
    async fn look(&mut self, front: &Front) {
        let began = Now::read();
        let (answer, mut answers) = mpsc::unbounded_channel();
        for worker in &front.workers {
            worker.hand().send(Command::Survey(answer.clone()));
        }
        drop(answer);
        let mut seen = HashMap::with_capacity(self.rows.len());
        // Each thread lets go of its end when it has told all; one that has stopped does so at once.
        let all = async {
            while let Some(rows) = answers.recv().await {
                seen.extend(rows.into_iter().map(|row| (row.session, row)));
            }
        };
        if tokio::time::timeout(LOOK_MAX, all).await.is_err() {
            // A thread that does not come round is told by its lateness; what was seen before stays.
            return;
        }
        let streams = front.event_streams.rows().into_iter();
        seen.extend(streams.map(|row| (row.session, row)));
        let counts = Counts::of(seen.values());
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.is_on, true) {
            self.rows.clear();
            self.counts = counts;
            lines.push(to_json(&Summary { counts, begins: true }));
        }
        let gone = self.rows.extract_if(|session, _| !seen.contains_key(session));
        lines.extend(gone.map(|(session, _)| to_json(&Left { session, left: true })));
        for (session, row) in seen {
            match self.rows.get_mut(&session) {
                Some(known) if !row.differs(&known.told) => known.now = row,
                _ => {
                    lines.push(to_json(&row));
                    let told = row.clone();
                    self.rows.insert(session, Seen { now: row, told });
                }
            }
        }
        if counts != self.counts && !lines.is_empty() {
            lines.push(to_json(&Summary { counts, begins: false }));
        }
        let log = front.common.chronicle.clients();
        for lines in lines.chunks(LINES_AT_ONCE) {
            chronicle::keep(log, lines.iter().map(String::as_str));
        }
        self.counts = counts;
        self.looked = Some(Instant::now());
        self.at = Some(began);
        self.position = Some((log.epoch(), log.next()));
    }
}

impl Counts {
    fn of<'r>(rows: impl Iterator<Item = &'r Row>) -> Self {
        let mut counts = Self::default();
        for row in rows {
            counts.0[row.cause as usize] += 1;
        }
        counts
    }

    /// How many there are in all.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = BTreeMap::<Cause, u64>::deserialize(deserializer)?;
        Ok(Self(Cause::ALL.map(|cause| told.get(&cause).copied().unwrap_or(0))))
    }
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Cause::ALL.len()))?;
        for (cause, count) in Cause::ALL.iter().zip(self.0) {
            map.serialize_entry(cause.as_str(), &count)?;
        }
        map.end()
    }
}

/// How many there are, in `$clients`; `begins` says that whatever was known before is to be forgotten.
struct Summary {
    counts: Counts,
    begins: bool,
}

impl Serialize for Summary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Inner {
            clients: u64,
            counts: Counts,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            begins: bool,
        }
        let inner = Inner {
            clients: self.counts.clients(),
            counts: self.counts,
            begins: self.begins,
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("summary", &inner)?;
        map.end()
    }
}

/// A client that has gone.
#[derive(Serialize)]
struct Left {
    session: u64,
    left: bool,
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("every field has a form in JSON")
}

/// People see no more than that change.
const BEAT: Duration = Duration::from_secs(1);
/// Who asked has so long to follow `$clients` from where the answer ends.
const ASKED_FOR: Duration = Duration::from_secs(30);
/// A thread that needs longer has more urgent things to do.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// At 3 us a client this is less than a hundredth of a core.
const LOOKED_AT_PER_SECOND: f64 = 2000.0;
/// Not more is made visible at once, so that no follower gets megabytes in one turn.
const LINES_AT_ONCE: usize = 500;
