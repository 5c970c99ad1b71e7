//! Topics as streams of NATS JetStream, shared by several servers. The only part that knows NATS.
//!
//! A stream's sequence less one is the offset, and what the stream is makes the epoch, so a position means the same on every server.
//! Each server copies a stream into its own log by one ordered consumer and delivers from there, however many clients follow it.

mod archive;
mod bucket;
mod copy;
mod desk;
mod fleet;
mod follower;
mod history;
mod leader;
mod lease;
mod link;
mod message;
mod outlet;
mod past;
mod stream;
mod turn;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;

use crate::config::BrokerSpec;
use crate::log::Log;
use crate::mail::Carrier;
use crate::source::SourceEvents;
use crate::source::spec::TopicSpec;
use copy::Copy;
use follower::Follower;
use link::Link;

/// The streams of a server's topics, and what copies them.
pub struct Broker {
    link: Arc<Link>,
    followers: Vec<Follower>,
    tasks: Vec<JoinHandle<()>>,
    /// What carries letters to the other servers.
    carrying: Option<JoinHandle<()>>,
}

/// Where news of one topic is told, once there is somebody to tell it to.
#[derive(Default)]
struct News(OnceLock<Arc<dyn SourceEvents>>);

impl News {
    fn tell(&self, text: String) {
        if let Some(events) = self.0.get() {
            events.tell(text);
        }
    }
}

impl Broker {
    /// Connects; while nothing answers it waits, and says so by `waiting` now and then. It comes back by itself later, too.
    pub async fn connect(spec: &BrokerSpec, waiting: impl Fn(String) + Send + 'static) -> Result<Self, BrokerError> {
        let link = Link::open(spec, waiting).await?;
        Ok(Self {
            link: Arc::new(link),
            followers: Vec::new(),
            tasks: Vec::new(),
            carrying: None,
        })
    }

    /// This server among all that share the streams.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.link.server
    }

    /// Carries letters to the other servers and back, until the server that writes them leaves.
    pub fn carry(&mut self, carrier: Carrier) {
        self.carrying = Some(tokio::spawn(fleet::carry(self.link.clone(), carrier)));
    }

    /// Opens a topic's stream, makes it if there is none, and gives the log that will be its copy.
    pub async fn open(&mut self, topic: &TopicSpec) -> Result<Arc<Log>, BrokerError> {
        let (log, follower) = Copy::open(self.link.clone(), topic).await?;
        self.followers.push(follower);
        Ok(log)
    }

    /// Copies what the streams hold that memory has room for, and goes on copying; returns when all that was there is here.
    pub async fn start(&mut self) -> Result<(), BrokerError> {
        let (mut filled, mut logs) = (Vec::new(), Vec::new());
        for follower in std::mem::take(&mut self.followers) {
            filled.push(follower.filled());
            logs.push(follower.log().clone());
            self.tasks.extend(follower.start());
        }
        let all = async {
            for filled in filled {
                filled.await;
            }
        };
        tokio::pin!(all);
        loop {
            let ends = || logs.iter().map(|log| log.next()).collect::<Vec<_>>();
            let before = ends();
            match tokio::time::timeout(FILL_MAX, &mut all).await {
                Ok(()) => return Ok(()),
                Err(_) if ends() != before => {}
                Err(_) => return Err(BrokerError::Slow),
            }
        }
    }

    /// From now on news of the topics are told: each to what `events` gives for it.
    pub fn tell_to(&self, events: impl Fn(&lapwing_wire::topic::TopicName) -> Option<Arc<dyn SourceEvents>>) {
        for (topic, news) in self.link.news() {
            if let Some(events) = events(&topic) {
                // Only the first counts; there is one server.
                let _ = news.0.set(events);
            }
        }
    }

    /// Stops copying, and leaves.
    pub async fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(carrying) = self.carrying {
            // It ends with the server, whose last letter says so; one that cannot be sent is not missed.
            let _ = tokio::time::timeout(CARRY_MAX, carrying).await;
        }
        self.link.close().await;
    }
}

/// Why the streams could not be opened.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// What was asked for cannot be.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// The way out.
        hint: String,
    },
    /// It answered, and refused.
    #[error("{what}")]
    Refused {
        /// What it said.
        what: String,
    },
    /// What the streams hold does not come.
    #[error("nothing of what the streams hold came for {} s", FILL_MAX.as_secs())]
    Slow,
}

impl BrokerError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Usage { hint, .. } => hint,
            Self::Refused { .. } => "is JetStream enabled there, and is there room for the streams and their replicas?",
            Self::Slow => "is the way to the broker narrow, or is it starting? Try again",
        }
    }
}

/// The name of this part in the operator's log.
const TARGET: &str = "lapwing::broker";
/// What is on its way when the server stops is a few letters.
const CARRY_MAX: Duration = Duration::from_secs(1);
/// Longer than anything that still comes takes for its next message.
const FILL_MAX: Duration = Duration::from_secs(60);
