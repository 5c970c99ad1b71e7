//! A running server: the front door, the delivery threads, the sources, and how all of them stop.

pub mod accept;
pub mod access;
pub mod address;
pub mod api;
pub mod asyncapi;
pub mod breach;
pub mod bucket;
pub mod cause;
pub mod census;
pub mod certificate;
pub mod chronicle;
pub mod common;
pub mod connection;
pub mod console;
pub mod counts;
pub mod crier;
pub mod delivery;
pub mod echo;
pub mod encryption;
pub mod event;
pub mod event_stream;
pub mod events;
#[cfg(debug_assertions)]
pub mod fault;
pub mod feeds;
pub mod fleet;
pub mod flow;
pub mod flows;
pub mod front;
pub mod gate;
pub mod hello;
pub mod histogram;
pub mod journal;
pub mod key;
pub mod label;
pub mod late;
pub mod ledger;
pub mod linger;
pub mod liveness;
pub mod loader;
pub mod lookback;
pub mod meter;
pub mod metrics;
pub mod network;
pub mod origin;
pub mod overview;
pub mod pace;
pub mod page;
pub mod parting;
pub mod peer;
pub mod proxy;
pub mod publish;
pub mod refusals;
pub mod reporter;
pub mod ring;
pub mod roster;
pub mod row;
#[cfg(test)]
mod sample;
pub mod seat;
pub mod secrets;
pub mod servers;
pub mod skew;
pub mod storage;
pub mod stream;
pub mod sums;
pub mod tick;
pub mod told;
pub mod topics;
pub mod trust;
pub mod turnstile;
pub mod watch;
pub mod watched;
pub mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapwing_wire::close::CloseCode;
use lapwing_wire::topic::TopicName;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::clock::Now;
use crate::config::{Config, Limits};
use crate::source::{Source, SourceEvents};
use access::Access;
use access::files::Files;
use common::Common;
use console::Console;
use crier::Crier;
use event::{Event, Tally};
use fleet::{Fleet, Membership};
use front::Front;
use hello::Strays;
use metrics::Metrics;
use seat::Seats;
use secrets::Secrets;
use storage::{Keeping, Storage};
use topics::{Topic, TopicId};
use trust::Trust;
use turnstile::Turnstile;
use watch::Watch;
use worker::{Share, Stop, Worker};

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    common: Arc<Common>,
    front: Arc<Front>,
    accepting: JoinHandle<()>,
    sources: Vec<Source>,
    ticking: JoinHandle<()>,
    watching: JoinHandle<()>,
    crying: JoinHandle<()>,
    /// Tells the other servers how this one is, and hears them.
    meeting: Option<JoinHandle<()>>,
    /// Reads certificate, tokens and keys again.
    renewing: Vec<JoinHandle<()>>,
    keeping: Keeping,
}

impl Server {
    /// Starts everything on a socket that already listens; must be called within a tokio runtime. Without
    /// `secrets` nothing is encrypted, and everybody may do everything. `early` are events that the console was told already. With a
    /// `membership` the server is one of several that share its topics.
    #[expect(clippy::too_many_arguments, reason = "two callers, which have just opened them all")]
    pub fn start(
        config: Config,
        mut storage: Storage,
        trust: Trust,
        secrets: Secrets,
        listener: std::net::TcpListener,
        console: Console,
        early: &[Event],
        membership: Option<Membership>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let common = {
            let access = secrets.access.as_ref().map_or_else(Access::default, Files::access);
            Common::new(
                storage.take_topics(),
                config.limits,
                access,
                console,
                membership.map(Fleet::new),
            )?
        };
        for event in early {
            common.chronicle.tell(event, Now::read());
        }
        let keeping = storage.start(&common)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = (0..cores)
            .map(|number| Worker::start(Share { number, of: cores }, config.io_uring, common.clone()))
            .collect::<io::Result<_>>()?;
        let crier = Crier::new(&common.topics);
        let crying = tokio::spawn(crier.clone().run());
        let front = Arc::new(Front {
            common: common.clone(),
            workers,
            trust,
            crier,
            seats: Seats::new(&common),
            turnstile: Mutex::new(Turnstile::new(common.limits.accept_rate)),
            compression: config.compression,
            echo: config.echo,
            encryption: secrets.encryption.clone(),
            strays: Strays::default(),
            event_streams: Arc::default(),
            watch: Watch::default(),
            metrics: Metrics::new(&common),
            address,
            started: Now::read(),
            tasks: TaskTracker::new(),
        });
        let sources = common.topics.public().map(|topic| {
            let events = events_of(&common, topic);
            tracing::debug!(target: journal::target::SOURCE, topic = topic.name().as_str(), "source started");
            Source::start(&topic.config.source, topic.log.clone(), config.seed, events)
        });
        let sources = sources.collect();
        let accepting = tokio::spawn(accept::accept(listener, front.clone()));
        let ticking = tokio::spawn(tick(common.clone()));
        let watching = tokio::spawn(Watch::run(front.clone()));
        let fleet = common.fleet.clone();
        let meeting = fleet.map(|fleet| tokio::spawn(fleet.run(front.clone())));
        let renewing = secrets.renew(&common)?;
        Ok(Self {
            address,
            common,
            front,
            accepting,
            sources,
            ticking,
            watching,
            crying,
            meeting,
            renewing,
            keeping,
        })
    }

    /// The address that it listens on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where news of a topic are told; none when there is no such topic.
    #[must_use]
    pub fn events_of(&self, topic: &TopicName) -> Option<Arc<dyn SourceEvents>> {
        let topic = self.common.topics.find(topic)?;
        Some(events_of(&self.common, topic))
    }

    /// What its threads share.
    #[must_use]
    pub fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Stops: lets nobody in, ends the sources, tells every client, serves those who lag until the drain ends.
    pub async fn stop(self, code: CloseCode, why: &'static str, signal: &'static str) {
        let clients = self.front.clients();
        self.common.begin_stop();
        let answers_by = tokio::time::Instant::now() + Limits::STOP_CLOSE_TIMEOUT;
        self.common.tell(Event::Stopping { signal, clients });
        let mut stopping: tokio::task::JoinSet<()> = self.sources.into_iter().map(Source::stop).collect();
        // Each has its own deadline; one that cannot even be asked does not hold the stop.
        let all = async { while stopping.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(crate::source::STOP_MAX + Duration::from_secs(1), all).await;
        // Clients get what was taken before the files are closed.
        let stop = Stop {
            code,
            why,
            drain: self.common.limits.drain,
            retry: code == CloseCode::RESTART,
        };
        self.front.workers.iter().for_each(|worker| worker.stop(stop));
        self.front.crier.dismiss(stop);
        let deadline =
            tokio::time::Instant::now() + self.common.limits.drain + Limits::CLOSE_TIMEOUT + Duration::from_secs(1);
        let served = || self.front.workers.iter().all(Worker::is_finished) && self.front.crier.clients() == 0;
        while tokio::time::Instant::now() < deadline && !served() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.accepting.abort();
        self.ticking.abort();
        self.watching.abort();
        self.crying.abort();
        self.meeting.iter().for_each(JoinHandle::abort);
        self.renewing.iter().for_each(JoinHandle::abort);
        self.front.tasks.close();
        // Answers that are under way; whoever does not take them is not waited for, and the drain was time too.
        let _ = tokio::time::timeout_at(answers_by, self.front.tasks.wait()).await;
        self.keeping.stop().await;
        storage::tell_findings(&self.common);
        let (messages, bytes) = self.common.roster.sent();
        let ran = Duration::from_nanos(Now::read().mono.saturating_sub(self.front.started.mono));
        let mut missed = Tally::default();
        for topic in self.common.topics.public() {
            missed.add(topic.name(), topic.missed.load(Ordering::Relaxed));
        }
        self.common.tell(Event::Stopped {
            ran,
            clients: self.common.roster.sessions(),
            messages,
            bytes,
            missed,
            limits: self.common.breaches.met(),
            refused_tokens: self.common.refusals.counts(),
        });
        self.common.chronicle.finish();
        if let Some(fleet) = &self.common.fleet {
            fleet.leave();
        }
    }
}

fn events_of(common: &Arc<Common>, topic: &Topic) -> Arc<dyn SourceEvents> {
    Arc::new(ToConsole {
        common: common.clone(),
        topic: topic.name().clone(),
        id: topic.id,
    })
}

/// What sources tell, on the console.
struct ToConsole {
    common: Arc<Common>,
    topic: TopicName,
    id: TopicId,
}

impl SourceEvents for ToConsole {
    fn tell(&self, text: String) {
        self.common.tell(Event::Source {
            topic: self.topic.clone(),
            text,
        });
    }

    fn over(&self) {
        self.common.flows.on_over(self.id);
    }
}

/// Lets quiet topics forget what is too old, looks how topics are filled, and tells what was found in files meanwhile.
async fn tick(common: Arc<Common>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        let now = Now::read();
        common.topics.iter().for_each(|topic| topic.log.tick(now));
        for event in common.flows.look(&common.topics, now) {
            common.tell(event);
        }
        storage::tell_findings(&common);
    }
}
