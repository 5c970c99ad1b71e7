//! This server among all that share its topics: it tells them once a second how it is, and knows how they are.
//!
//! Nobody waits for a letter: one that finds no room is lost, and what does not parse is counted and dropped.

pub mod letter;
pub mod others;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use lapwing_wire::time::micros_text;

use self::letter::{Copied, Head, Here, What};
use self::others::{Change, Others, Why};
use super::event::Event;
use super::front::Front;
use super::topics::Topic;
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
    losses: [AtomicU64; Loss::ALL.len()],
}

/// Why something that one server told another was dropped here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is not of a form that is known.
    Form,
    /// Nobody knows who sent it, or there are as many servers as may be.
    Stranger,
    /// Its server sent more in a second than it may.
    Rate,
    /// There was no room on the way out.
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
        let Some((head, _lines)) = Head::read(letter) else {
            return self.lose(Loss::Form, 1);
        };
        if head.from == self.id() {
            self.others().on_echo(now());
            return;
        }
        let change = match head.what {
            What::Here(here) => match self.others().on_here(&head.from, *here, now()) {
                Ok(change) => change,
                Err(others::Full) => return self.lose(Loss::Stranger, 1),
            },
            What::Leaves => self.others().on_leaves(&head.from, now()),
            What::Clients(_) | What::Events | What::Reports if self.others().find(&head.from).is_none() => {
                return self.lose(Loss::Stranger, 1);
            }
            What::Clients(_) | What::Events | What::Reports => None,
        };
        self.on_changes(front, change);
    }

    fn on_changes(&self, front: &Front, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let event = match change {
                Change::There(_, server) => Event::Peer {
                    peer: server,
                    state: "there",
                    silent: None,
                },
                Change::Gone(_, server, why) => Event::Peer {
                    peer: server,
                    state: "gone",
                    silent: match why {
                        Why::Left => None,
                        Why::Silent(silent) => Some(silent),
                    },
                },
                Change::Renamed(_) => continue,
            };
            front.common.tell(event);
        }
    }

    /// How this server is.
    fn here(&self, front: &Front) -> Here {
        Here {
            name: self.membership.name.as_str().to_owned(),
            address: front.address.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: micros_text(front.started.wall),
            clients: front.clients(),
            counts: None,
            watches: false,
            wants: Vec::new(),
            topics: front.common.topics.public().filter_map(copied).collect(),
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
