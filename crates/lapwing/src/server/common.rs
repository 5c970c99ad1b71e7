//! What all threads of one server share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use lapwing_wire::deflate::Room;
use tokio::sync::{Notify, Semaphore};

use super::access::bearers::Bearers;
use super::access::{Access, Denied};
use super::breach::Breaches;
use super::chronicle::Chronicle;
use super::console::Console;
use super::counts::Counts;
use super::event::Event;
use super::fleet::Fleet;
use super::flows::Flows;
use super::journal::life;
use super::ledger::Ledgers;
use super::refusals::Refusals;
use super::roster::Roster;
use super::topics::Topics;
use crate::clock::Now;
use crate::config::Limits;
use crate::log::Log;
use crate::source::spec::TopicSpec;

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
    /// How many connections each bearer of a token has.
    pub bearers: Arc<Bearers>,
    /// Who was refused for their token.
    pub refusals: Refusals,
    console: Console,
    /// The servers that share the topics, where several do.
    pub fleet: Option<Arc<Fleet>>,
    /// Where events are kept, for those who watch.
    pub chronicle: Chronicle,
    /// Who came and went.
    pub roster: Roster,
    /// Connections open now, those still in their handshake included.
    pub open: AtomicUsize,
    /// How often each limit was met.
    pub breaches: Breaches,
    /// What is counted beside.
    pub counts: Counts,
    /// What went out in each topic, and how soon.
    pub ledgers: Ledgers,
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
    pub fn new(
        topics: Vec<(TopicSpec, Arc<Log>)>,
        limits: Limits,
        access: Access,
        console: Console,
        fleet: Option<Fleet>,
    ) -> io::Result<Arc<Self>> {
        let fleet = fleet.map(Arc::new);
        let chronicle = Chronicle::start(fleet.clone())?;
        let body_room = Semaphore::new(limits.bodies_bytes_max.div_ceil(1024));
        let topics = Topics::new(topics, chronicle.topics());
        Ok(Arc::new(Self {
            flows: Flows::new(&topics),
            counts: Counts::new(topics.len()),
            ledgers: Ledgers::new(topics.len()),
            topics,
            bearers: Bearers::new(limits.token_connections_max),
            limits,
            access,
            refusals: Refusals::default(),
            console,
            fleet,
            chronicle,
            roster: Roster::default(),
            open: AtomicUsize::new(0),
            breaches: Breaches::default(),
            body_room,
            unfinished: AtomicIsize::new(0),
            inflating: Room::new(Limits::INFLATING_BYTES_MAX),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        }))
    }

    /// Whether nobody new is let in, and nothing is taken, any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Somebody at this address is refused for their token, or for the lack of one.
    pub fn on_refused(&self, from: SocketAddr, denied: &Denied) {
        if let Some(event) = self.refusals.come(from, denied) {
            self.tell(event);
        }
    }

    /// Tells an event: it is shown, kept for those who watch, and noted in the operator's log. Returns at once.
    pub fn tell(&self, event: Event) {
        life::note(&event);
        let now = Now::read();
        self.chronicle.tell(&event, now);
        self.console.tell_at(event, now);
    }

    /// The longest that giving everybody a turn took lately.
    #[must_use]
    pub fn late(&self) -> Duration {
        self.ledgers.late(Now::read().mono)
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
