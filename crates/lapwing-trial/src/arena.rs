//! Everything that lives in a trial: server, disk, listeners, publishers' way to it; and what the nemesis can do to them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::mono;
use crate::disk::Disk;
use crate::history::{Event, Level, TopicSetup, Turn};
use crate::journal::Journal;
use crate::link::{Bend, Link};
use crate::process::{Abilities, Program, ServerPlan, start_listener, start_server};
use crate::proxy::{End, Proxy, Weather};
use crate::publisher::Whereabouts;
use crate::schedule::{Fault, Kind};
use crate::trouble::Trouble;

/// A server that runs so long has what it needs: from then on memory and open files are held against this moment.
const SETTLED: Duration = Duration::from_secs(1);

/// So long a listener stands still at most until its topics' sources are held back. After 30 s without progress the server
/// would let go of it.
const HOLD_MAX: Duration = Duration::from_secs(20);

/// A listener that was cut off many times waits for up to 30 s before it comes back.
const BACK_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether what is waited for has come.
const HOLD_LOOK: Duration = Duration::from_millis(50);

/// How wrong a wall clock is set.
const HOUR_SECONDS: i64 = 3600;

/// A listener of the trial.
#[derive(Debug)]
pub struct Listener {
    /// Its name on the server's console.
    pub name: String,
    /// The topics that it follows.
    pub topics: Vec<String>,
    /// Its file.
    pub file: PathBuf,
    /// The number of its proxy.
    pub proxy: usize,
    /// Its process.
    pub program: AsyncMutex<Program>,
}

/// What lives in a trial.
#[derive(Debug)]
pub struct Arena {
    /// The trial's folder.
    pub folder: PathBuf,
    /// What it can do.
    pub abilities: Abilities,
    /// The topics.
    pub topics: Vec<TopicSetup>,
    /// How the server is started.
    pub plan: ServerPlan,
    /// The disk of the data directory, if it has one of its own.
    pub disk: AsyncMutex<Option<Disk>>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// A proxy for each listener, and one for publishers: by the numbers that faults have for their victims.
    pub proxies: Vec<Proxy>,
    /// What all of them share.
    pub link: Link,
    /// Where the server is.
    pub whereabouts: Whereabouts,
    /// How often a body waited in vain for room, for each topic that holds back its source.
    pub held: HashMap<String, Arc<AtomicU64>>,
    /// Where the nemesis writes.
    pub journal: Arc<Journal>,
    server: AsyncMutex<Option<Program>>,
    /// What ended by itself.
    accidents: Mutex<Vec<String>>,
    boots: AtomicU32,
    dumps: Mutex<HashMap<String, u32>>,
}

impl Arena {
    /// An arena without a server and without listeners.
    pub fn new(
        folder: &Path,
        plan: ServerPlan,
        abilities: Abilities,
        topics: Vec<TopicSetup>,
        disk: Option<Disk>,
        proxies: Vec<Proxy>,
        journal: Arc<Journal>,
    ) -> Self {
        let holding = topics.iter().filter(|topic| topic.holds());
        let held = holding.map(|topic| (topic.name.clone(), Arc::default())).collect();
        Self {
            folder: folder.to_owned(),
            abilities,
            topics,
            plan,
            disk: AsyncMutex::new(disk),
            listeners: Vec::new(),
            proxies,
            link: Link::default(),
            whereabouts: Arc::new(Mutex::new(None)),
            held,
            journal,
            server: AsyncMutex::new(None),
            accidents: Mutex::new(Vec::new()),
            boots: AtomicU32::new(0),
            dumps: Mutex::new(HashMap::new()),
        }
    }

    /// Adds a listener behind a proxy.
    pub fn listen(&mut self, topics: Vec<String>, proxy: usize) -> Result<(), Trouble> {
        let number = self.listeners.len();
        let (name, file) = (
            format!("listen-{number}"),
            self.folder.join(format!("listen-{number}.ndjson")),
        );
        let address = self.proxies[proxy].address();
        let program = start_listener(&self.plan, address, &name, &topics, &file, &self.log(&name))?;
        self.listeners.push(Listener {
            name,
            topics,
            file,
            proxy,
            program: AsyncMutex::new(program),
        });
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the server is.
    pub fn address(&self) -> Option<SocketAddr> {
        *Self::locked(&self.whereabouts)
    }

    fn lead_to(&self, server: Option<SocketAddr>) {
        *Self::locked(&self.whereabouts) = server;
        for proxy in &self.proxies {
            proxy.lead_to(server);
        }
    }

    fn turn(&self, turn: Turn) {
        self.journal.note(&Event::Server { at: mono(), turn });
    }

    /// Starts the server.
    pub async fn start(&self) -> Result<(), Trouble> {
        let (server, address) = start_server(&self.plan).await?;
        self.turn(Turn::Started);
        self.lead_to(Some(address));
        *self.server.lock().await = Some(server);
        Ok(())
    }

    /// Takes the server out of the arena, whatever it is then done to.
    async fn take_server(&self) -> Option<Program> {
        let mut server = self.server.lock().await.take();
        self.lead_to(None);
        if let Some(ended) = server.as_mut().and_then(Program::ended) {
            self.accident(format!("the server {ended} by itself"));
        }
        server
    }

    fn accident(&self, said: String) {
        Self::locked(&self.accidents).push(said);
    }

    /// What ended by itself so far.
    pub fn accidents(&self) -> Vec<String> {
        Self::locked(&self.accidents).clone()
    }

    /// Writes down what the server's process holds, once it has settled or at the end.
    pub async fn note_usage(&self, end: bool) {
        let server = self.server.lock().await;
        if let Some(usage) = server.as_ref().and_then(|server| server.usage(end)) {
            self.journal.note(&usage);
        }
    }

    /// Asks the server for the ends of all topics, and writes the answers down.
    pub async fn note_ends(&self) {
        let Some(server) = self.address() else { return };
        for topic in &self.topics {
            if let Some(told) = crate::probe::ask(server, &topic.name).await {
                let topic = topic.name.clone();
                let (at, epoch, first, next, durable) = (mono(), told.epoch, told.first, told.next, told.durable);
                self.journal.note(&Event::Told {
                    at,
                    topic,
                    epoch,
                    first,
                    next,
                    durable,
                });
            }
        }
    }

    // Faults

    /// Carries out the faults of a lane, each at its time.
    pub async fn suffer(&self, faults: &[Fault], begin: Instant) -> Result<(), Trouble> {
        for fault in faults {
            sleep_until(begin + fault.at).await;
            let detail = fault.to_string();
            let word = fault.kind.word().to_owned();
            self.journal.note(&Event::Begin {
                at: mono(),
                fault: word.clone(),
                detail,
            });
            self.carry_out(fault).await?;
            self.journal.note(&Event::End {
                at: mono(),
                fault: word,
            });
        }
        Ok(())
    }

    async fn carry_out(&self, fault: &Fault) -> Result<(), Trouble> {
        match fault.kind {
            Kind::Kill => self.kill_server(fault.lasts).await,
            Kind::Stop => self.stop_server(fault.lasts).await,
            Kind::Pause => self.pause_server(fault.lasts).await,
            Kind::Clock => self.set_clock(fault).await,
            Kind::KillBoth => {
                let (server, listener) = tokio::join!(self.kill_server(fault.lasts), self.kill_listener(fault));
                server.and(listener)
            }
            Kind::PowerCut => self.cut_power().await,
            Kind::Wipe => self.wipe().await,
            Kind::DiskFull => self.fill_disk(fault.lasts).await,
            Kind::SlowFsync => {
                let micros = fault.size * 1000;
                self.inject(&format!("fdatasync,fsync:delay_enter={micros}"), fault.lasts)
                    .await;
                Ok(())
            }
            Kind::BadFsync => {
                self.inject("fdatasync,fsync:error=EIO", fault.lasts).await;
                // A failed sync is final until a restart.
                self.kill_server(Duration::ZERO).await
            }
            Kind::Cut => {
                let proxy = &self.proxies[fault.victim as usize];
                proxy.cut(usize::try_from(fault.size).unwrap_or(0), fault.end);
                sleep(fault.lasts).await;
                Ok(())
            }
            Kind::Away => {
                let proxy = &self.proxies[fault.victim as usize];
                proxy.set(Weather {
                    refuse: true,
                    ..Weather::default()
                });
                proxy.cut(0, End::Reset);
                sleep(fault.lasts).await;
                proxy.set(Weather::default());
                Ok(())
            }
            Kind::Delay | Kind::Slice | Kind::Rate | Kind::Hole => {
                let proxy = &self.proxies[fault.victim as usize];
                proxy.set(weather_of(fault));
                sleep(fault.lasts).await;
                proxy.set(Weather::default());
                Ok(())
            }
            Kind::KillListener => self.kill_listener(fault).await,
            Kind::PauseListener => {
                let listener = self.listeners[fault.victim as usize].program.lock().await;
                listener.signal(Signal::STOP);
                sleep(fault.lasts).await;
                listener.signal(Signal::CONT);
                Ok(())
            }
            Kind::Hold => {
                self.hold().await;
                Ok(())
            }
            Kind::Loss => self.link.bend(Bend::Loss, fault.lasts).await,
            Kind::Throttle => {
                let kbit = fault.size;
                self.link.bend(Bend::Throttle { kbit }, fault.lasts).await
            }
        }
    }

    async fn kill_server(&self, down: Duration) -> Result<(), Trouble> {
        if let Some(mut server) = self.take_server().await {
            server.kill().await;
            self.turn(Turn::Killed);
        }
        sleep(down).await;
        self.start().await
    }

    async fn stop_server(&self, down: Duration) -> Result<(), Trouble> {
        if let Some(mut server) = self.take_server().await {
            match server.stop(Signal::TERM).await {
                Some(status) if status.success() => {}
                status => self.accident(format!("the server was told to stop and ended so: {status:?}")),
            }
            self.turn(Turn::Stopped);
        }
        sleep(down).await;
        self.start().await
    }

    async fn pause_server(&self, lasts: Duration) -> Result<(), Trouble> {
        let server = self.server.lock().await;
        if let Some(server) = server.as_ref() {
            server.signal(Signal::STOP);
            sleep(lasts).await;
            server.signal(Signal::CONT);
        }
        Ok(())
    }

    /// An hour ahead or back, by the fault's own time, and right again when it is over.
    async fn set_clock(&self, fault: &Fault) -> Result<(), Trouble> {
        let Some(wall) = &self.plan.wall else { return Ok(()) };
        let ahead = fault.at.as_millis().is_multiple_of(2);
        let set = |seconds| wall.set(seconds).map_err(Trouble::file(self.folder.join("wall-clock")));
        set(if ahead { HOUR_SECONDS } else { -HOUR_SECONDS })?;
        sleep(fault.lasts).await;
        set(0)
    }

    async fn cut_power(&self) -> Result<(), Trouble> {
        let mut disk = self.disk.lock().await;
        let (Some(disk), Some(mut server)) = (disk.as_mut(), self.take_server().await) else {
            return self.start().await;
        };
        server.signal(Signal::STOP);
        disk.keep_what_is_written().await?;
        server.kill().await;
        self.turn(Turn::PowerCut);
        disk.lose_the_rest().await?;
        self.new_boot()?;
        self.start().await
    }

    /// The kernel's boot id is another one from now on, as far as the server can see.
    pub fn new_boot(&self) -> Result<(), Trouble> {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        match &self.plan.boot_id {
            Some(path) => {
                std::fs::write(path, format!("{boot:08x}-0000-4000-8000-000000000000\n")).map_err(Trouble::file(path))
            }
            None => Ok(()),
        }
    }

    async fn wipe(&self) -> Result<(), Trouble> {
        if let Some(mut server) = self.take_server().await {
            server.kill().await;
            self.turn(Turn::Killed);
        }
        self.dump_durable(&HashMap::new()).await?;
        if let Some((data, _)) = &self.plan.data {
            std::fs::remove_dir_all(data).map_err(Trouble::file(data))?;
        }
        self.turn(Turn::Wiped);
        self.start().await
    }

    async fn fill_disk(&self, lasts: Duration) -> Result<(), Trouble> {
        let disk = self.disk.lock().await;
        if let Some(disk) = disk.as_ref() {
            disk.fill()?;
            sleep(lasts).await;
            disk.make_room()?;
        }
        Ok(())
    }

    /// Lets system calls of the server be slow or fail for a while.
    async fn inject(&self, what: &str, lasts: Duration) {
        let pid = match self.server.lock().await.as_ref() {
            Some(server) => server.pid().to_string(),
            None => return,
        };
        let traced = what.split(':').next().unwrap_or(what);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid]);
        command.args(["-e", &format!("trace={traced}"), "-e", &format!("inject={what}")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let Ok(mut strace) = command.spawn() else { return };
        sleep(lasts).await;
        // Asked, not killed: it must let go of the server.
        if let Some(pid) = strace
            .id()
            .and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).unwrap_or(0)))
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let _ = strace.wait().await;
    }

    async fn kill_listener(&self, fault: &Fault) -> Result<(), Trouble> {
        let listener = &self.listeners[fault.victim as usize];
        let mut program = listener.program.lock().await;
        if let Some(ended) = program.ended() {
            self.accident(format!("{} {ended} by itself", listener.name));
        }
        program.kill().await;
        sleep(fault.lasts).await;
        let address = self.proxies[listener.proxy].address();
        let log = self.log(&listener.name);
        *program = start_listener(
            &self.plan,
            address,
            &listener.name,
            &listener.topics,
            &listener.file,
            &log,
        )?;
        Ok(())
    }

    /// Stops the last listener while something comes to it, until every source is held back for it that can be.
    async fn hold(&self) {
        let Some(listener) = self.listeners.last() else { return };
        let length = || std::fs::metadata(&listener.file).map_or(0, |metadata| metadata.len());
        let program = listener.program.lock().await;
        // One that is not connected holds nothing.
        let before = length();
        wait_until(BACK_MAX, || length() > before).await;
        let held = || -> Vec<u64> { self.held.values().map(|held| held.load(Ordering::Relaxed)).collect() };
        let before = held();
        program.signal(Signal::STOP);
        // Nor does one whose messages wait in sockets on the way.
        let proxy = &self.proxies[listener.proxy];
        proxy.set(Weather {
            hole_down: true,
            ..Weather::default()
        });
        wait_until(HOLD_MAX, || {
            held().iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
        proxy.set(Weather::default());
        program.signal(Signal::CONT);
    }

    /// Everything is well again: the server runs, the network is clear.
    pub async fn heal(&self) -> Result<(), Trouble> {
        for proxy in &self.proxies {
            proxy.set(Weather::default());
        }
        self.link.straighten().await?;
        let ended = match self.server.lock().await.as_mut() {
            Some(server) => server.ended(),
            None => Some("is not there".to_owned()),
        };
        if let Some(ended) = ended {
            self.accident(format!("the server {ended} by itself"));
            self.start().await?;
        }
        Ok(())
    }

    /// Notes the server's usage once a life, when it has settled; runs until it is dropped.
    pub async fn watch_usage(&self) {
        let mut known = None;
        loop {
            sleep(SETTLED).await;
            let pid = self.server.lock().await.as_ref().map(Program::pid);
            if pid != known {
                known = pid;
                sleep(SETTLED).await;
                self.note_usage(false).await;
            }
        }
    }

    // The end

    /// Tells the listeners and the server to end.
    pub async fn end(&self) {
        if let Err(trouble) = self.link.straighten().await {
            self.accident(trouble.to_string());
        }
        for listener in &self.listeners {
            let mut program = listener.program.lock().await;
            match (program.ended(), program.stop(Signal::TERM).await) {
                (Some(ended), _) => self.accident(format!("{} {ended} by itself", listener.name)),
                (None, Some(status)) if status.success() => {}
                (None, status) => self.accident(format!("{} was told to end and ended so: {status:?}", listener.name)),
            }
        }
        if let Some(mut server) = self.take_server().await {
            match server.stop(Signal::TERM).await {
                Some(status) if status.success() => {}
                status => self.accident(format!("the server was told to stop and ended so: {status:?}")),
            }
        }
    }

    fn new_dump(&self, topic: &str) -> PathBuf {
        let mut dumps = Self::locked(&self.dumps);
        let number = dumps.entry(topic.to_owned()).or_default();
        let path = self.folder.join("dumps").join(format!("{topic}.{number:04}.ndjson"));
        *number += 1;
        path
    }

    /// Copies the topics that no file holds from the running server.
    pub async fn copy_volatile(&self) -> Result<(), Trouble> {
        for topic in &self.topics {
            if topic.level != Level::None && self.abilities.has_log_dump() {
                continue;
            }
            let copy = match self.address() {
                Some(server) => crate::probe::copy(server, &topic.name).await,
                None => None,
            };
            let Some(copy) = copy else {
                let said = format!("topic {} could not be copied", topic.name);
                return Err(Trouble::Tool {
                    command: "the probe".to_owned(),
                    said,
                });
            };
            let (epoch, first, next) = (copy.told.epoch, copy.told.from, copy.told.next);
            let head = lineage_line(&topic.name, &[(epoch.to_string(), 0)], first, next);
            let path = self.new_dump(&topic.name);
            std::fs::write(&path, [head.into_bytes(), copy.lines].concat()).map_err(Trouble::file(path))?;
        }
        Ok(())
    }

    /// Dumps the durable topics from the data directory of a server that has ended. `ends` has the `next` that was told.
    pub async fn dump_durable(&self, ends: &HashMap<String, u64>) -> Result<(), Trouble> {
        let (Some((data, _)), true) = (&self.plan.data, self.abilities.has_log_dump()) else {
            return Ok(());
        };
        for topic in self.topics.iter().filter(|topic| topic.level != Level::None) {
            let output = Command::new(&self.plan.program)
                .args(["log", "dump"])
                .arg(data)
                .arg(&topic.name)
                .stdin(Stdio::null())
                .output()
                .await
                .map_err(|error| Trouble::Start {
                    program: self.plan.program.display().to_string(),
                    error,
                })?;
            // 3 says that there are gaps or damage; the checker will see for itself.
            if !matches!(output.status.code(), Some(0 | 3)) {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Trouble::Tool {
                    command: format!("lapwing log dump {}", topic.name),
                    said,
                });
            }
            let offsets = || {
                output
                    .stdout
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter_map(offset_of)
            };
            let end = offsets().next_back().map(|last| last + 1);
            let next = ends.get(&topic.name).copied().or(end).unwrap_or(0);
            let first = offsets().next().unwrap_or(next);
            let state = data.join("topics").join(&topic.name).join("state.json");
            let head = match lineage_of(&state) {
                Some(lineage) => lineage_line(&topic.name, &lineage, first, next),
                None => String::new(),
            };
            let path = self.new_dump(&topic.name);
            std::fs::write(&path, [head.into_bytes(), output.stdout].concat()).map_err(Trouble::file(path))?;
        }
        Ok(())
    }
}

/// Waits until something holds, for so long at most.
async fn wait_until(most: Duration, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + most;
    while !holds() && Instant::now() < deadline {
        sleep(HOLD_LOOK).await;
    }
}

fn weather_of(fault: &Fault) -> Weather {
    let well = Weather::default();
    match fault.kind {
        Kind::Delay => {
            let delay = Duration::from_millis(fault.size);
            Weather {
                delay,
                jitter: delay / 2,
                ..well
            }
        }
        Kind::Slice => Weather {
            slice: usize::try_from(fault.size).ok(),
            ..well
        },
        Kind::Rate => Weather {
            rate: Some(fault.size),
            ..well
        },
        // One way or the other, or both.
        _ => Weather {
            hole_down: !fault.size.is_multiple_of(3),
            hole_up: fault.size % 3 != 1,
            ..well
        },
    }
}

fn lineage_line(topic: &str, lineage: &[(String, u64)], first: u64, next: u64) -> String {
    let lineage = serde_json::json!(lineage);
    format!(r#"{{"record":"lineage","topic":"{topic}","lineage":{lineage},"first":{first},"next":{next}}}"#) + "\n"
}

/// The offset at which a line of a dump begins: of a message its own, of a gap its first.
fn offset_of(line: &[u8]) -> Option<u64> {
    match crate::line::read(line, crate::line::Proof::May) {
        crate::line::Line::Message { offset, .. } => Some(offset),
        crate::line::Line::Gap { to, .. } => to.checked_sub(1),
        _ => None,
    }
}

/// Histories with their starts, from the file beside a topic's log.
fn lineage_of(state: &Path) -> Option<Vec<(String, u64)>> {
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state).ok()?).ok()?;
    let entry = |entry: &serde_json::Value| Some((entry["epoch"].as_str()?.to_owned(), entry["begin"].as_u64()?));
    state.get("lineage")?.as_array()?.iter().map(entry).collect()
}
