//! This server among all that share its topics: it tells them once a second how it is, and knows how they are.
//!
//! Nobody waits for a letter: one that finds no room is lost, and what does not parse is counted and dropped.

pub mod allowance;
pub mod letter;
pub mod others;
pub mod rows;
pub mod telling;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use lapwing_wire::time::micros_text;

use self::allowance::Allowance;
use self::letter::{Copied, Head, Here, What};
use self::others::{Change, OTHERS_MAX, Others, Why};
use self::rows::Rows;
use super::event::Event;
use super::front::Front;
use super::topics::Topic;
use super::watch::Counts;
use crate::clock::Now;
use crate::mail::{Circle, Letter, Mailbox};

/// How a server is known to the others, and the way to them.
pub struct Membership {
    /// How it is called.
    pub name: ClientName,
    /// Its id, which no other has: 16 hexadecimal digits.
    pub id: String,
    /// The way to them.
    pub mailbox: Mailbox,
}

/// This server and the others.
pub struct Fleet {
    membership: Membership,
    /// The name, harmless.
    called: String,
    others: Mutex<Others>,
    rows: Mutex<Rows>,
    /// Somebody watches this server.
    is_watching: AtomicBool,
    /// Another one wants to be told of all clients of this one.
    is_wanted: AtomicBool,
    /// This server's clients by cause, while they are looked at.
    counts: Mutex<Option<Counts>>,
    /// What may still be told in this second of what happened, and of reports.
    events: Mutex<Allowance>,
    reports: Mutex<Allowance>,
    losses: [AtomicU64; Loss::ALL.len()],
}

/// Why something that one server told another was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is not of a form that is known.
    Form,
    /// Nobody knows who sent it, or there are as many servers as may be.
    Stranger,
    /// It is more than one server may tell in a second.
    Rate,
    /// There was no room for it.
    Room,
}

impl Loss {
    const ALL: [Self; 4] = [Self::Form, Self::Stranger, Self::Rate, Self::Room];

    fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Stranger => "stranger",
            Self::Rate => "rate",
            Self::Room => "room",
        }
    }
}

impl Fleet {
    /// Of a server that has heard nobody yet.
    #[must_use]
    pub fn new(membership: Membership) -> Self {
        let called = escaped(membership.name.as_str());
        Self {
            others: Mutex::new(Others::new(called.clone(), now())),
            called,
            membership,
            rows: Mutex::default(),
            is_watching: AtomicBool::new(false),
            is_wanted: AtomicBool::new(false),
            counts: Mutex::default(),
            events: Mutex::new(Allowance::new(EVENT_BYTES_PER_SECOND)),
            reports: Mutex::new(Allowance::new(REPORT_BYTES_PER_SECOND)),
            losses: Default::default(),
        }
    }

    /// How this server is called.
    #[must_use]
    pub fn called(&self) -> &str {
        &self.called
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.membership.id
    }

    /// The others, as they are known now.
    pub fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clients of the others, as far as they are told.
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of this server's own with its name.
    #[must_use]
    pub fn signed(&self, line: &str) -> String {
        letter::signed(line, &self.called).unwrap_or_else(|| line.to_owned())
    }

    /// Whether somebody watches another server, and so wants to know of the clients of this one.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.others().there().any(|other| other.here.watches)
    }

    /// Whether another server wants to be told of all clients of this one.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// From now on all are being told.
    pub fn on_all_told(&self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }

    /// Somebody watches this server, or nobody does any more: then the clients of the others are forgotten.
    pub fn set_watching(&self, watching: bool) {
        self.membership.mailbox.set_watching(watching);
        if self.is_watching.swap(watching, Ordering::Relaxed) && !watching {
            self.rows().forget();
        }
    }

    /// This server's clients by cause, where they are looked at.
    pub fn set_counts(&self, counts: Option<Counts>) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// The same, for whoever asks.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells others these lines, at most as many as fit a letter; false when there was no room for it.
    pub fn tell(&self, circle: Circle, what: What, lines: &[String]) -> bool {
        self.send(
            circle,
            Head::new(self.id(), what).text(lines.iter().map(String::as_str)),
        )
    }

    /// Tells all others what happened here, as far as that fits into the second; how much did not is told with what comes next.
    pub fn tell_events(&self, lines: Vec<String>) {
        let (mut lines, lost) = self.within(&self.events, lines);
        if let Some(lines_lost) = lost {
            let event = Event::NotShown {
                lines: lines_lost,
                client: None,
            };
            lines.push(event.to_json(Now::read()));
        }
        self.tell_lines(Circle::All, What::Events, lines);
    }

    /// Tells those who are watched what clients reported here, as far as that fits into the second.
    pub fn tell_reports(&self, lines: Vec<String>) {
        if self.is_watched() {
            let (lines, _) = self.within(&self.reports, lines);
            self.tell_lines(Circle::Watchers, What::Reports, lines);
        }
    }

    /// What was dropped so far, by the name of the reason.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |loss: &Loss| self.losses[*loss as usize].load(Ordering::Relaxed);
        Loss::ALL.iter().map(move |loss| (loss.as_str(), count(loss)))
    }

    /// Tells the others how this server is, hears them, and notices who is gone; goes on until it is aborted.
    pub async fn run(self: Arc<Self>, front: Arc<Front>) {
        let Some(mut inbox) = self.membership.mailbox.take_inbox() else {
            return;
        };
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.on_beat(&front),
                letter = inbox.recv() => match letter {
                    Some(letter) => self.on_letter(&front, &letter),
                    None => return,
                },
            }
        }
    }

    /// Says goodbye. Nothing more goes out.
    pub fn leave(&self) {
        self.send(Circle::All, Head::new(self.id(), What::Leaves).text([]));
        self.membership.mailbox.close();
    }

    fn on_beat(&self, front: &Front) {
        let here = Head::new(self.id(), What::Here(Box::new(self.here(front)))).text([]);
        self.send(Circle::All, here);
        let changes = self.others().tick(now());
        self.on_changes(front, changes);
    }

    fn on_letter(&self, front: &Front, letter: &Bytes) {
        let Some((head, lines)) = Head::read(letter) else {
            return self.lose(Loss::Form, 1);
        };
        let from = head.from.as_str();
        if from == self.id() {
            self.others().on_echo(now());
            return;
        }
        match head.what {
            What::Here(here) => self.on_here(front, from, *here),
            What::Leaves => {
                let change = self.others().on_leaves(from, now());
                self.on_changes(front, change);
            }
            What::Clients(_) | What::Events | What::Reports => {
                let Some(server) = self.others().find(from).map(|other| other.called.clone()) else {
                    return self.lose(Loss::Stranger, 1);
                };
                if !self.others().take_bytes(from, letter.len()) {
                    return self.lose(Loss::Rate, 1);
                }
                match head.what {
                    What::Clients(part) if self.is_watching.load(Ordering::Relaxed) => {
                        let taken = self.rows().take(from, part, lines);
                        self.lose(Loss::Form, taken.bad);
                        self.lose(Loss::Room, taken.no_room);
                    }
                    What::Events => self.on_lines(
                        lines,
                        |line| letter::event(line, &server),
                        |lines| front.common.chronicle.keep_events(lines),
                    ),
                    What::Reports => self.on_lines(
                        lines,
                        |line| letter::report(line, &server),
                        |lines| front.common.chronicle.keep_reports(lines),
                    ),
                    _ => {}
                }
            }
        }
    }

    fn on_here(&self, front: &Front, from: &str, here: Here) {
        if here.wants.len() > OTHERS_MAX {
            return self.lose(Loss::Form, 1);
        }
        let wants = here.wants.iter().any(|id| id == self.id());
        let change = self.others().on_here(from, here, now());
        match change {
            Ok(change) => {
                if wants {
                    self.is_wanted.store(true, Ordering::Relaxed);
                }
                self.on_changes(front, change);
            }
            Err(others::Full) => self.lose(Loss::Stranger, 1),
        }
    }

    /// Keeps those of these lines that are what they should be.
    fn on_lines<'l>(
        &self,
        lines: impl Iterator<Item = &'l str>,
        read: impl Fn(&str) -> Option<String>,
        keep: impl FnOnce(&[String]),
    ) {
        let (mut good, mut bad) = (Vec::new(), 0);
        for line in lines {
            match read(line) {
                Some(line) => good.push(line),
                None => bad += 1,
            }
        }
        keep(&good);
        self.lose(Loss::Form, bad);
    }

    fn on_changes(&self, front: &Front, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let (peer, state, silent) = match change {
                Change::There(id, server) => {
                    self.rows().add(&id, &server);
                    (server, "there", None)
                }
                Change::Gone(id, server, why) => {
                    self.rows().remove(&id);
                    let silent = match why {
                        Why::Left => None,
                        Why::Silent(silent) => Some(silent),
                    };
                    (server, "gone", silent)
                }
                Change::Renamed(id) => {
                    let server = self.others().find(&id).map(|other| other.called.clone());
                    if let Some(server) = server {
                        self.rows().add(&id, &server);
                    }
                    continue;
                }
            };
            front.common.tell(Event::Peer { peer, state, silent });
        }
    }

    /// How this server is.
    fn here(&self, front: &Front) -> Here {
        let watches = self.is_watching.load(Ordering::Relaxed);
        Here {
            name: self.membership.name.as_str().to_owned(),
            address: front.address.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: micros_text(front.started.wall),
            clients: front.clients(),
            counts: self.counts(),
            watches,
            wants: if watches { self.rows().wants() } else { Vec::new() },
            topics: front.common.topics.public().filter_map(copied).collect(),
        }
    }

    /// As many of these lines as this second has room for; where there is room again, how many there was none for.
    fn within(&self, allowance: &Mutex<Allowance>, mut lines: Vec<String>) -> (Vec<String>, Option<u64>) {
        let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lines.len();
        let at = now();
        lines.retain(|line| allowance.take(line.len(), at));
        self.lose(Loss::Rate, (before - lines.len()) as u64);
        let lost = if lines.is_empty() { None } else { allowance.lost() };
        (lines, lost)
    }

    fn tell_lines(&self, circle: Circle, what: What, lines: Vec<String>) {
        let (pieces, too_long) = letter::pieces(lines);
        self.lose(Loss::Form, too_long);
        for piece in pieces {
            self.tell(circle, what.clone(), &piece);
        }
    }

    fn send(&self, circle: Circle, text: Bytes) -> bool {
        let sent = self.membership.mailbox.send(Letter { circle, text });
        if !sent {
            self.lose(Loss::Room, 1);
        }
        sent
    }

    fn lose(&self, loss: Loss, count: u64) {
        self.losses[loss as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// How far a topic has been copied; none when it is no copy.
#[must_use]
pub fn copied(topic: &Topic) -> Option<Copied> {
    let origin = topic.log.origin()?;
    // The end first: what is copied in between makes no lag negative.
    let end = origin.end();
    let next = topic.log.next();
    Some(Copied {
        topic: topic.name().clone(),
        next: next.get(),
        end: end.max(next).get(),
        lag: end.since(next.min(end)),
        stale: origin.is_stale(),
    })
}

fn now() -> Duration {
    Duration::from_nanos(Now::read().mono)
}

const BEAT: Duration = Duration::from_secs(1);
/// Some 2,000 events.
const EVENT_BYTES_PER_SECOND: usize = 512 << 10;
/// Some 3,000 reports: clients report each topic at most once a second.
const REPORT_BYTES_PER_SECOND: usize = 1 << 20;
