//! What all threads of one server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

use lapwing_wire::deflate::Room;
use tokio::sync::{Notify, Semaphore};

use super::access::Access;
use super::breach::Breaches;
use super::console::Console;
use super::flows::Flows;
use super::roster::Roster;
use super::topics::{TopicId, Topics};
use crate::config::Limits;

/// Shared by the front door, the workers and the sources.
pub struct Common {
    /// The topics.
    pub topics: Topics,
    /// How they are filled.
    pub flows: Flows,
    /// The limits.
    pub limits: Limits,
    /// Who may do what.
    pub access: Access,
    /// Where events are told.
    pub console: Console,
    /// Who came and went.
    pub roster: Roster,
    /// Connections open now, those still in their handshake included.
    pub open: AtomicUsize,
    /// How often each limit was met.
    pub breaches: Breaches,
    /// Room for published bodies, in KiB, over all connections.
    pub body_room: Semaphore,
    /// Bytes of clients' messages that are not whole, over all connections.
    pub unfinished: AtomicIsize,
    /// Room for compressed messages that are made whole, over all connections.
    pub inflating: Room,
    stopping: AtomicBool,
    stop: Notify,
}

impl Common {
    /// Of a server that has just begun.
    #[must_use]
    pub fn new(topics: Topics, limits: Limits, access: Access, console: Console) -> Arc<Self> {
        let body_room = Semaphore::new(limits.bodies_bytes_max.div_ceil(1024));
        Arc::new(Self {
            flows: Flows::new(&topics),
            topics,
            limits,
            access,
            console,
            roster: Roster::default(),
            open: AtomicUsize::new(0),
            breaches: Breaches::default(),
            body_room,
            unfinished: AtomicIsize::new(0),
            inflating: Room::new(Limits::INFLATING_BYTES_MAX),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        })
    }

    /// Whether nobody new is let in, and nothing is taken, any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What went out since the start, of one topic or of all; none as long as it is not counted.
    #[must_use]
    pub fn delivered(&self, _topic: Option<TopicId>) -> Option<Delivered> {
        None
    }

    /// The longest that delivery took of late; none as long as it is not measured.
    #[must_use]
    pub fn late_ms(&self) -> Option<f64> {
        None
    }

    /// From now on nobody is let in.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_waiters();
    }

    /// Waits until the server stops.
    pub async fn stopped(&self) {
        loop {
            let stop = self.stop.notified();
            if self.is_stopping() {
                return;
            }
            stop.await;
        }
    }
}

/// What went out to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Delivered {
    /// Messages.
    pub messages: u64,
    /// Bytes of frames.
    pub bytes: u64,
}
