//! What all threads of one server share: the topics, the limits, the console, and who is here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::console::Console;
use super::event::ClientLabel;
use super::topics::Topics;
use crate::clock::Now;
use crate::config::Limits;

/// Shared by the front door, the workers and the sources.
pub struct Common {
    /// The topics.
    pub topics: Topics,
    /// The limits.
    pub limits: Limits,
    /// Where events are told.
    pub console: Console,
    /// Who is here, and what went out.
    pub roster: Roster,
    /// Nobody new is let in any more.
    pub stopping: AtomicBool,
}

/// Who is here, who went lately, and what went out.
#[derive(Default)]
pub struct Roster {
    last_session: AtomicU64,
    open: AtomicUsize,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Sessions that ended by an error of ours.
    panics: AtomicU64,
    /// Names that left, newest last; bounded, since names come from outside.
    departures: Mutex<VecDeque<(ClientLabel, u64)>>,
}

impl Roster {
    /// The next connection's number, from 1; numbers are not given twice.
    pub fn next_session(&self) -> u64 {
        self.last_session.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Connections so far.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.last_session.load(Ordering::Relaxed)
    }

    /// Connections open now, those still in their handshake included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A client came: when it has a name that left lately, for how long it was away.
    pub fn on_joined(&self, client: &ClientLabel, now: Now) -> Option<Duration> {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        let at = departures.iter().rposition(|(name, _)| name == client)?;
        let (_, left) = departures.remove(at)?;
        Some(Duration::from_nanos(now.mono.saturating_sub(left)))
    }

    /// A client went, having been sent so much.
    pub fn on_left(&self, client: &ClientLabel, now: Now, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        if departures.len() == DEPARTURES_MAX {
            departures.pop_front();
        }
        departures.push_back((client.clone(), now.mono));
    }

    /// A session ended by an error of ours.
    pub fn on_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages and bytes sent to clients that have left.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// One connection's place among those allowed; given back when it is dropped.
pub struct Seat(Arc<Common>);

impl Seat {
    /// Takes a place, unless all are taken.
    #[must_use]
    pub fn take(common: &Arc<Common>) -> Option<Arc<Self>> {
        let open = &common.roster.open;
        if open.fetch_add(1, Ordering::Relaxed) >= common.limits.connections_max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(Self(common.clone())))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.roster.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who left longer ago than a thousand others is greeted as new.
const DEPARTURES_MAX: usize = 1000;
