//! One server among several: how it is run, where it listens, and its ways to NATS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::process::Command;
use tokio::sync::Mutex as AsyncMutex;

use crate::history::Event;
use crate::process::{Program, start_ready};
use crate::proxy::{End, Proxy, Weather};
use crate::publisher::Whereabouts;
use crate::trouble::Trouble;

/// How all servers are run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// `NAME=SOURCE?…` of each topic.
    pub topics: Vec<String>,
    /// What streams and subjects are called.
    pub prefix: String,
}

/// One server among several.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, whenever it runs: its clients know no other place.
    pub address: SocketAddr,
    /// Where it is, for publishers; nowhere while it does not run.
    pub whereabouts: Whereabouts,
    /// Its ways to the servers of NATS, one each.
    ways: Vec<Proxy>,
    log: PathBuf,
    program: AsyncMutex<Option<Program>>,
}

impl Server {
    /// A server that was not started yet.
    pub fn new(address: SocketAddr, ways: Vec<Proxy>, log: PathBuf) -> Self {
        Self {
            address,
            whereabouts: Arc::new(Mutex::new(None)),
            ways,
            log,
            program: AsyncMutex::new(None),
        }
    }

    fn is_at(&self, place: Option<SocketAddr>) {
        *self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self, plan: &Plan) -> Result<(), Trouble> {
        let mut command = Command::new(&plan.program);
        command.args(["serve", "--output", "json", "--heartbeat", "1s", "--drain", "2s"]);
        command.args(["--listen", &self.address.to_string()]);
        let ways: Vec<String> = self
            .ways
            .iter()
            .map(|way| format!("nats://{}", way.address()))
            .collect();
        command.args(["--broker", &ways.join(","), "--broker-prefix", &plan.prefix]);
        for topic in &plan.topics {
            command.args(["--topic", topic]);
        }
        let (program, address) = start_ready(command, &self.log).await?;
        *self.program.lock().await = Some(program);
        self.is_at(Some(address));
        Ok(())
    }

    /// Ends it as the kernel does; says how it had ended by itself, if it had.
    pub async fn kill(&self) -> Option<String> {
        self.is_at(None);
        let mut program = self.program.lock().await.take()?;
        let ended = program.ended();
        program.kill().await;
        ended
    }

    /// Tells it to stop; says what was not right about its end.
    pub async fn stop(&self) -> Option<String> {
        self.is_at(None);
        let mut program = self.program.lock().await.take()?;
        if let Some(ended) = program.ended() {
            return Some(format!("{ended} by itself"));
        }
        match program.stop(rustix::process::Signal::TERM).await {
            Some(status) if status.success() => None,
            status => Some(format!("was told to stop and ended so: {status:?}")),
        }
    }

    /// How it ended by itself, if it did.
    pub async fn ended(&self) -> Option<String> {
        match self.program.lock().await.as_mut() {
            Some(program) => program.ended(),
            None => None,
        }
    }

    /// Whether it was started and not ended since.
    pub async fn is_there(&self) -> bool {
        self.program.lock().await.is_some()
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: rustix::process::Signal) {
        if let Some(program) = self.program.lock().await.as_ref() {
            program.signal(signal);
        }
    }

    /// What its process holds now, once it has settled or at the end.
    pub async fn usage(&self, end: bool) -> Option<Event> {
        self.program.lock().await.as_ref()?.usage(end)
    }

    /// Where its ways lead: one server of NATS each.
    pub fn lead_to(&self, nodes: &[SocketAddr]) {
        for (way, node) in self.ways.iter().zip(nodes) {
            way.lead_to(Some(*node));
        }
    }

    /// Nothing passes between it and NATS, and nobody is told.
    pub fn part(&self) {
        self.all(Weather {
            hole_down: true,
            hole_up: true,
            ..Weather::default()
        });
    }

    /// Its connections to NATS end, and none is made.
    pub fn refuse(&self) {
        self.all(Weather {
            refuse: true,
            ..Weather::default()
        });
        for way in &self.ways {
            way.cut(0, End::Reset);
        }
    }

    /// Its ways are clear.
    pub fn join(&self) {
        self.all(Weather::default());
    }

    fn all(&self, weather: Weather) {
        for way in &self.ways {
            way.set(weather);
        }
    }
}
