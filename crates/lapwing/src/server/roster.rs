//! Who came, who went lately, and what went out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::label::ClientLabel;
use crate::clock::Now;

/// The numbers of connections, the names that left lately, and the sums of what was sent.
#[derive(Default)]
pub struct Roster {
    last_session: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
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

    /// A client came: when it has a name that left lately, for how long it was away. `mono` is when it came, on the monotonic clock.
    pub fn on_joined(&self, client: &ClientLabel, mono: u64) -> Option<Duration> {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        let at = departures.iter().rposition(|(name, _)| name == client)?;
        let (_, left) = departures.remove(at)?;
        Some(Duration::from_nanos(mono.saturating_sub(left)))
    }

    /// A client went, having been sent so much.
    pub fn on_left(&self, client: &ClientLabel, now: Now, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if !client.is_chosen() {
            // A number never comes back.
            return;
        }
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        if departures.len() == DEPARTURES_MAX {
            departures.pop_front();
        }
        departures.push_back((client.clone(), now.mono));
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

/// Who left longer ago than a thousand others is greeted as new.
const DEPARTURES_MAX: usize = 1000;
