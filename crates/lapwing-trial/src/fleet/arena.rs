//! Everything that lives in a trial of several servers: NATS, servers, listeners; and what the nemesis can do to them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nats_cluster::Cluster;
use rustix::process::Signal;
use tokio::sync::{Mutex as AsyncMutex, RwLock};
use tokio::time::{Instant, sleep, sleep_until};

use super::schedule::{Fault, Kind};
use super::server::{Plan, Server};
use crate::arena::Listener;
use crate::clock::mono;
use crate::history::{Event, Turn};
use crate::journal::Journal;
use crate::process::{Program, listener};
use crate::trouble::Trouble;

/// A server that cannot start while NATS is away is started again, as whoever supervises it does, for so long.
const START_MAX: Duration = Duration::from_secs(90);

/// Between two starts.
const START_AGAIN: Duration = Duration::from_millis(500);

/// So long a server may have run when memory and open files are first looked at.
const SETTLED: Duration = Duration::from_secs(3);

/// The wall clock, since 1970: JetStream's times are of it.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What lives in a trial of several servers.
#[derive(Debug)]
pub struct Arena {
    /// The trial's folder.
    pub folder: PathBuf,
    /// How servers are run.
    pub plan: Plan,
    /// The servers of NATS.
    pub nats: Arc<Mutex<Cluster>>,
    /// The servers.
    pub servers: Vec<Server>,
    /// The listeners, each of which knows all servers.
    pub listeners: Vec<Listener>,
    /// Streams by the numbers that faults have for topics.
    pub streams: Vec<String>,
    /// Where the nemesis writes.
    pub journal: Arc<Journal>,
    /// Held to read by every fault of one victim, and to write by one of all.
    all: RwLock<()>,
    accidents: Mutex<Vec<String>>,
    /// When something befell NATS, by the wall clock.
    disturbed: Mutex<Vec<(Duration, Duration)>>,
}

impl Arena {
    /// An arena whose servers were not started yet.
    pub fn new(
        folder: &Path,
        plan: Plan,
        nats: Cluster,
        servers: Vec<Server>,
        streams: Vec<String>,
        journal: Arc<Journal>,
    ) -> Self {
        let addresses = nats.addresses();
        for server in &servers {
            server.lead_to(&addresses);
        }
        Self {
            folder: folder.to_owned(),
            plan,
            nats: Arc::new(Mutex::new(nats)),
            servers,
            listeners: Vec::new(),
            streams,
            journal,
            all: RwLock::new(()),
            accidents: Mutex::new(Vec::new()),
            disturbed: Mutex::new(Vec::new()),
        }
    }

    /// Has something done with NATS, on a thread that may wait.
    pub async fn with_nats<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Cluster) -> Result<T, nats_cluster::Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let nats = Arc::clone(&self.nats);
        let done = tokio::task::spawn_blocking(move || act(&mut nats.lock().unwrap_or_else(PoisonError::into_inner)));
        let done = done.await.map_err(|error| Trouble::Usage(error.to_string()))?;
        done.map_err(Trouble::from)
    }

    /// Adds a listener, which begins with the server that its number stands for.
    pub fn listen(&mut self, topics: Vec<String>) -> Result<(), Trouble> {
        let number = self.listeners.len();
        let name = format!("listen-{number}");
        let file = self.folder.join(format!("{name}.ndjson"));
        let program = self.start_listener(number, &name, &topics, &file)?;
        self.listeners.push(Listener {
            name,
            topics,
            file,
            proxy: number,
            program: AsyncMutex::new(program),
        });
        Ok(())
    }

    fn start_listener(&self, number: usize, name: &str, topics: &[String], file: &Path) -> Result<Program, Trouble> {
        let mut servers: Vec<_> = self.servers.iter().map(|server| server.address).collect();
        let count = servers.len();
        servers.rotate_left(number % count);
        let command = listener(&self.plan.program, &servers, name, topics, file);
        Program::start(command, &self.folder.join(format!("{name}.log")), false)
    }

    fn accident(&self, said: String) {
        self.accidents.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    /// What ended by itself so far.
    pub fn accidents(&self) -> Vec<String> {
        self.accidents.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From when to when something befell NATS, by the wall clock.
    pub fn disturbed(&self) -> Vec<(Duration, Duration)> {
        self.disturbed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn turn(&self, turn: Turn) {
        self.journal.note(&Event::Server { at: mono(), turn });
    }

    /// Starts a server; one that ends because NATS is away is started again.
    pub async fn start(&self, number: usize) -> Result<(), Trouble> {
        let deadline = Instant::now() + START_MAX;
        loop {
            match self.servers[number].start(&self.plan).await {
                Ok(()) => {
                    self.turn(Turn::Started);
                    return Ok(());
                }
                Err(trouble) if Instant::now() > deadline => return Err(trouble),
                Err(_) => sleep(START_AGAIN).await,
            }
        }
    }

    /// Writes down what each server's process holds.
    pub async fn note_usage(&self, end: bool) {
        for server in &self.servers {
            if let Some(usage) = server.usage(end).await {
                self.journal.note(&usage);
            }
        }
    }

    /// Notes each process's usage when it has settled; runs until it is dropped.
    pub async fn watch_usage(&self) {
        let mut known = std::collections::HashSet::new();
        loop {
            sleep(SETTLED).await;
            for server in &self.servers {
                if let Some(usage) = server.usage(false).await
                    && let Event::Usage { pid, .. } = usage
                    && known.insert(pid)
                {
                    self.journal.note(&usage);
                }
            }
        }
    }

    // Faults

    /// Carries out the faults of a lane, each at its time.
    pub async fn suffer(&self, faults: &[Fault], begin: Instant) -> Result<(), Trouble> {
        for fault in faults {
            sleep_until(begin + fault.at).await;
            let word = fault.kind.word().to_owned();
            let everybody = if fault.kind == Kind::Restart {
                Some(self.all.write().await)
            } else {
                None
            };
            let somebody = if everybody.is_none() {
                Some(self.all.read().await)
            } else {
                None
            };
            self.journal.note(&Event::Begin {
                at: mono(),
                fault: word.clone(),
                detail: fault.to_string(),
            });
            let began = now();
            self.carry_out(fault).await?;
            if !fault.kind.leaves_nats_alone() {
                let mut disturbed = self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
                disturbed.push((began, now()));
            }
            drop((everybody, somebody));
            self.journal.note(&Event::End {
                at: mono(),
                fault: word,
            });
        }
        Ok(())
    }

    async fn carry_out(&self, fault: &Fault) -> Result<(), Trouble> {
        let Fault { lasts, victim, .. } = *fault;
        match fault.kind {
            Kind::Kill => {
                self.kill(victim).await;
                sleep(lasts).await;
                self.start(victim).await
            }
            Kind::Stop => {
                if let Some(said) = self.servers[victim].stop().await {
                    self.accident(format!("server {victim} {said}"));
                }
                self.turn(Turn::Stopped);
                sleep(lasts).await;
                self.start(victim).await
            }
            Kind::Pause => {
                self.servers[victim].signal(Signal::STOP).await;
                sleep(lasts).await;
                self.servers[victim].signal(Signal::CONT).await;
                Ok(())
            }
            Kind::Part | Kind::Refuse => {
                if fault.kind == Kind::Part {
                    self.servers[victim].part();
                } else {
                    self.servers[victim].refuse();
                }
                sleep(lasts).await;
                self.servers[victim].join();
                Ok(())
            }
            Kind::KillNats | Kind::KillLeader => {
                let victim = self.node(fault).await?;
                self.with_nats(move |nats| {
                    nats.node(victim).kill();
                    Ok(())
                })
                .await?;
                sleep(lasts).await;
                self.with_nats(Cluster::start_all).await
            }
            Kind::PauseLeader => {
                let victim = self.node(fault).await?;
                self.with_nats(move |nats| {
                    nats.node(victim).pause();
                    Ok(())
                })
                .await?;
                sleep(lasts).await;
                self.with_nats(move |nats| {
                    nats.node(victim).resume();
                    Ok(())
                })
                .await
            }
            Kind::Outage => {
                self.kill_nats().await?;
                sleep(lasts).await;
                self.with_nats(Cluster::start_all).await
            }
            Kind::Restart => {
                for victim in 0..self.servers.len() {
                    self.kill(victim).await;
                }
                self.kill_nats().await?;
                sleep(lasts).await;
                self.with_nats(Cluster::start_all).await?;
                for victim in 0..self.servers.len() {
                    self.start(victim).await?;
                }
                Ok(())
            }
            Kind::KillListener => self.kill_listener(victim, lasts).await,
            Kind::PauseListener => {
                let program = self.listeners[victim].program.lock().await;
                program.signal(Signal::STOP);
                sleep(lasts).await;
                program.signal(Signal::CONT);
                Ok(())
            }
        }
    }

    async fn kill(&self, victim: usize) {
        if let Some(ended) = self.servers[victim].kill().await {
            self.accident(format!("server {victim} {ended} by itself"));
        }
        self.turn(Turn::Killed);
    }

    async fn kill_nats(&self) -> Result<(), Trouble> {
        self.with_nats(|nats| {
            nats.kill_all();
            Ok(())
        })
        .await
    }

    /// The server of NATS that a fault befalls: by its number, or because it leads a stream now.
    async fn node(&self, fault: &Fault) -> Result<usize, Trouble> {
        let victim = fault.victim;
        if fault.kind == Kind::KillNats {
            return Ok(victim);
        }
        let stream = self.streams[victim].clone();
        self.with_nats(move |nats| Ok(nats.leader_of(&stream).unwrap_or(0)))
            .await
    }

    async fn kill_listener(&self, victim: usize, down: Duration) -> Result<(), Trouble> {
        let listener = &self.listeners[victim];
        let mut program = listener.program.lock().await;
        if let Some(ended) = program.ended() {
            self.accident(format!("{} {ended} by itself", listener.name));
        }
        program.kill().await;
        sleep(down).await;
        *program = self.start_listener(listener.proxy, &listener.name, &listener.topics, &listener.file)?;
        Ok(())
    }

    /// Everything is well again: all servers run, and all ways are clear.
    pub async fn heal(&self) -> Result<(), Trouble> {
        for server in &self.servers {
            server.join();
        }
        self.with_nats(Cluster::start_all).await?;
        for (number, server) in self.servers.iter().enumerate() {
            if let Some(ended) = server.ended().await {
                self.accident(format!("server {number} {ended} by itself"));
                server.kill().await;
            }
            if !server.is_there().await {
                self.start(number).await?;
            }
        }
        Ok(())
    }

    /// Tells the listeners and the servers to end. NATS goes on.
    pub async fn end(&self) {
        for listener in &self.listeners {
            let mut program = listener.program.lock().await;
            match (program.ended(), program.stop(Signal::TERM).await) {
                (Some(ended), _) => self.accident(format!("{} {ended} by itself", listener.name)),
                (None, Some(status)) if status.success() => {}
                (None, status) => self.accident(format!("{} was told to end and ended so: {status:?}", listener.name)),
            }
        }
        for (number, server) in self.servers.iter().enumerate() {
            if let Some(said) = server.stop().await {
                self.accident(format!("server {number} {said}"));
            }
        }
    }
}
