//! The clients as they were last looked at, for those who watch them; what changed since goes into `$clients`.
//!
//! Nothing is kept for a client, and nobody is looked at, while nobody watches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lapwing_wire::position::{Epoch, Offset};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::time::Instant;

use super::cause::Cause;
use super::chronicle;
use super::fleet::Fleet;
use super::fleet::letter::What;
use super::fleet::telling::Telling;
use super::front::Front;
use super::row::Row;
use super::worker::Command;
use crate::clock::Now;
use crate::mail::Circle;

/// What those who watch are shown.
#[derive(Default)]
pub struct Watch {
    /// Whoever looks holds it meanwhile: what is shown and its position in `$clients` belong together.
    view: Mutex<View>,
    reports_asked: std::sync::Mutex<Option<Instant>>,
}

/// The clients at one moment.
#[derive(Default)]
pub struct View {
    rows: HashMap<u64, Seen>,
    /// Of all servers.
    counts: Counts,
    own_counts: Counts,
    /// Where `$clients` goes on behind it.
    position: Option<(Epoch, Offset)>,
    looked: Option<Instant>,
    /// When its clients were looked at.
    at: Option<Now>,
    asked: Option<Instant>,
    /// `$clients` is being written.
    is_on: bool,
    /// What the other servers are still to be told, while somebody watches those.
    telling: Option<(Telling, Instant)>,
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
            let common = &front.common;
            let mut view = front.watch.view.lock().await;
            let asked = view.asked.is_some_and(|asked| asked.elapsed() < ASKED_FOR);
            let here = asked || common.chronicle.clients().is_followed();
            let elsewhere = common.fleet.as_ref().is_some_and(|fleet| fleet.is_watched());
            if let Some(fleet) = &common.fleet {
                fleet.set_watching(here || front.watch.reports_are_asked() || common.chronicle.reports().is_followed());
            }
            view.is_on &= here;
            if !here && !elsewhere {
                *view = View::default();
            } else if view.is_stale() {
                view.look(&front, here).await;
            }
            if let Some(fleet) = &common.fleet {
                fleet.set_counts(view.looked.map(|_| view.own_counts));
                view.tell(fleet, elsewhere);
            }
        }
    }

    /// Somebody has asked for the reports.
    pub fn on_reports_asked(&self) {
        *self.reports_asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn reports_are_asked(&self) -> bool {
        let asked = *self.reports_asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < ASKED_FOR)
    }

    /// The clients as they are now, or were a moment ago.
    pub async fn view(&self, front: &Front) -> MutexGuard<'_, View> {
        let mut view = self.view.lock().await;
        view.asked = Some(Instant::now());
        if let Some(fleet) = &front.common.fleet {
            fleet.set_watching(true);
        }
        // What is told elsewhere alone has no place in `$clients` yet.
        if !view.is_on || view.is_stale() {
            view.look(front, true).await;
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

    /// Looks at all clients anew; where somebody watches `here`, `$clients` tells what changed, on the other servers too. Nothing is changed before all of them are known: whoever asked may give up meanwhile.
    async fn look(&mut self, front: &Front, here: bool) {
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
        let fleet = front.common.fleet.as_deref();
        let signed = |line: String| fleet.map_or_else(|| line.clone(), |fleet| fleet.signed(&line));
        self.own_counts = Counts::of(seen.values().map(|row| row.cause));
        let mut counts = self.own_counts;
        let begins = here && !std::mem::replace(&mut self.is_on, true);
        let mut lines = Vec::new();
        if let Some(fleet) = fleet.filter(|_| here) {
            let mut rows = fleet.rows();
            counts.add(rows.iter().map(|row| row.cause));
            lines = rows.take_lines(begins);
        }
        if begins {
            self.counts = counts;
            lines.insert(0, to_json(&Summary { counts, begins: true }));
        }
        for (session, _) in self.rows.extract_if(|session, _| !seen.contains_key(session)) {
            if here && !begins {
                lines.push(signed(to_json(&Left { session, left: true })));
            }
            if let Some((telling, _)) = &mut self.telling {
                telling.on_left(session);
            }
        }
        for (session, row) in seen {
            let known = self.rows.get_mut(&session);
            let differs = known.as_ref().is_none_or(|known| row.differs(&known.told));
            if here && (begins || differs) {
                lines.push(signed(to_json(&row)));
            }
            if let Some((telling, _)) = self.telling.as_mut().filter(|_| differs) {
                telling.on_change(session);
            }
            match known {
                Some(known) if !differs && !begins => known.now = row,
                _ => {
                    let told = row.clone();
                    self.rows.insert(session, Seen { now: row, told });
                }
            }
        }
        self.looked = Some(Instant::now());
        self.at = Some(began);
        if !here {
            return;
        }
        if counts != self.counts && !lines.is_empty() {
            lines.push(to_json(&Summary { counts, begins: false }));
        }
        let log = front.common.chronicle.clients();
        for lines in lines.chunks(LINES_AT_ONCE) {
            chronicle::keep(log, lines.iter().map(String::as_str));
        }
        self.counts = counts;
        self.position = Some((log.epoch(), log.next()));
    }
}

impl View {
    /// Tells the other servers what they do not know yet of these clients, at most so much a second, while somebody watches them.
    fn tell(&mut self, fleet: &Fleet, watched: bool) {
        if !watched || self.looked.is_none() {
            self.telling = None;
            return;
        }
        let is_old = |begun: &Instant| begun.elapsed() >= ANEW_AFTER;
        let is_wanted = self
            .telling
            .as_ref()
            .is_none_or(|(_, begun)| is_old(begun) && fleet.is_wanted());
        if is_wanted {
            fleet.on_all_told();
            let telling = Telling::new(crate::random::word(), self.rows.keys().copied());
            self.telling = Some((telling, Instant::now()));
        }
        let Some((telling, _)) = &mut self.telling else { return };
        let row = |session| self.rows.get(&session).map(|seen| to_json(&seen.now));
        let mut told = 0;
        while told < TOLD_BYTES_PER_SECOND
            && let Some((part, lines)) = telling.part(row)
        {
            told += lines.iter().map(String::len).sum::<usize>();
            if !fleet.tell(Circle::Watchers, What::Clients(part), &lines) {
                // What comes behind a part that is lost is not understood.
                self.telling = None;
                return;
            }
        }
    }
}

impl Counts {
    fn of(causes: impl Iterator<Item = Cause>) -> Self {
        let mut counts = Self::default();
        counts.add(causes);
        counts
    }

    fn add(&mut self, causes: impl Iterator<Item = Cause>) {
        for cause in causes {
            self.0[cause as usize] += 1;
        }
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
/// All clients are told anew at most so often, whoever wants that.
const ANEW_AFTER: Duration = Duration::from_secs(3);
/// More than 2,000 clients that changed; all of 10,000 take three seconds.
const TOLD_BYTES_PER_SECOND: usize = 2 << 20;
/// Not more is made visible at once, so that no follower gets megabytes in one turn.
const LINES_AT_ONCE: usize = 500;
