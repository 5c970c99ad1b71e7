//! How a topic holds back its source for its slowest reader: the one place where a log hears of those who read it.
//!
//! With [`OnLag::Wait`](super::lag::OnLag::Wait) nothing is let go that a connected reader has still to read. Whoever reads
//! tells its slowest place with a [`Pin`]; the log lets go below the lowest of them, and only when it is full. While it is
//! full and that place does not move, it takes nothing more: [`Log::room`] is what its source waits for. Without any place
//! nothing is let go at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapwing_wire::position::Offset;
use lapwing_wire::start::Start;
use tokio::sync::Notify;

use super::{Grant, Log};
use crate::clock::Now;

/// Where the readers of a topic are, as far as it must be known.
#[derive(Default)]
pub(super) struct Hold {
    places: Mutex<Places>,
    /// The log is full, so that it matters how far its readers are.
    wanted: AtomicBool,
    moved: Notify,
}

#[derive(Default)]
pub(super) struct Places {
    last_pin: u64,
    /// The place of each pin that has one.
    of_pin: HashMap<u64, Offset>,
    /// With a full log: the place from which on something can be let go.
    needed: Offset,
}

impl Places {
    /// Everything below it is read; none while nobody reads.
    pub(super) fn floor(&self) -> Option<Offset> {
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::HeldLetGo) {
            return Some(Offset::new(u64::MAX));
        }
        self.of_pin.values().min().copied()
    }
}

impl Hold {
    pub(super) fn places(&self) -> MutexGuard<'_, Places> {
        // Every change of the places is a single step, so what a panic left is whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log found out whether it is full: `needed` is the place from which on that changes.
    pub(super) fn on_looked(&self, places: &mut Places, needed: Option<Offset>) {
        places.needed = needed.unwrap_or_default();
        self.wanted.store(needed.is_some(), Ordering::Release);
    }

    /// Changes places, and wakes those who wait for room when there may be some now.
    fn change<T>(&self, change: impl FnOnce(&mut Places) -> T) -> T {
        let mut places = self.places();
        let changed = change(&mut places);
        let room = places.floor().is_some_and(|floor| floor >= places.needed);
        // Looked at before the lock is given back: another who makes room takes the wish away, and nobody would be woken.
        let wake = room && self.wanted.load(Ordering::Acquire);
        drop(places);
        if wake {
            self.moved.notify_waiters();
        }
        changed
    }
}

/// One reader's say in what a topic holds; without a say any more when it is dropped.
pub struct Pin {
    log: Arc<Log>,
    id: u64,
}

impl Pin {
    /// Whether the log is full, so that it matters how far its readers are.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.log.hold.wanted.load(Ordering::Acquire)
    }

    /// From now on everything below `place` may be let go, and all of it without one. It may also go back, as far as another
    /// pin is.
    pub fn put(&self, place: Option<Offset>) {
        self.log.hold.change(|places| match place {
            Some(place) => places.of_pin.insert(self.id, place),
            None => places.of_pin.remove(&self.id),
        });
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.put(None);
    }
}

impl Log {
    /// A pin without a place yet; none where the source is not held back.
    #[must_use]
    pub fn pin(self: &Arc<Self>) -> Option<Pin> {
        self.holds().then(|| self.new_pin(&mut self.hold.places()))
    }

    /// As [`Log::grant`]. Where the source is held back, nothing from the place granted on is let go while the pin is there.
    #[must_use]
    pub fn grant_pinned(self: &Arc<Self>, start: Start, now: Now) -> (Grant, Option<Pin>) {
        if !self.holds() {
            return (self.grant(start, now), None);
        }
        // In one step: nothing is let go between the grant and its pin.
        let (grant, pin) = self.hold.change(|places| {
            let grant = self.grant(start, now);
            let pin = self.new_pin(places);
            places.of_pin.insert(pin.id, grant.from);
            (grant, pin)
        });
        (grant, Some(pin))
    }

    /// Whether it holds back its source now, as far as was found out last.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holds() && self.hold.wanted.load(Ordering::Acquire)
    }

    /// Waits until there is room for more: at once unless the topic holds back its source.
    pub async fn room(&self) {
        loop {
            let moved = self.hold.moved.notified();
            if self.has_room() {
                return;
            }
            // Readers tell their places when they are wanted, and it may be that none has looked since.
            self.ring();
            moved.await;
        }
    }

    fn new_pin(self: &Arc<Self>, places: &mut Places) -> Pin {
        places.last_pin += 1;
        Pin {
            log: self.clone(),
            id: places.last_pin,
        }
    }
}
