//! A trial from its seed to its verdict: warm-up, faults, heal, drain, check.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::arena::Arena;
use crate::audience::{self, PATIENCE};
use crate::checker::{Verdict, check};
use crate::dice::Dice;
use crate::disk::{Disk, has_tool};
use crate::history::{FileSetup, Folder, Level, Setup, TopicSetup};
use crate::journal::Journal;
use crate::link::Bend;
use crate::process::{Abilities, ServerPlan};
use crate::proxy::Proxy;
use crate::publisher::{Plan, Publishers};
use crate::schedule::{self, Fault, Kind, Lane, Wish};
use crate::trouble::Trouble;
use crate::wall::Wall;

/// Before the first fault everything must have had its first messages.
const WARM_UP: Duration = Duration::from_secs(2);

/// After the last fault publishers go on for so long, so that every topic has a message of its last history.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// With a planted bug listeners have so long to catch up: whoever is not there by then has met it.
const PATIENCE_PLANTED: Duration = Duration::from_secs(10);

/// Seconds of messages that the small topics keep: less than a listener stays away, more than a repetition takes.
const SMALL_SECONDS: f64 = 1.0;

/// Bytes of a message with its envelope, on the average.
const MESSAGE_BYTES: f64 = 400.0;

/// The least that a topic can be told to keep.
const KEEP_BYTES_MIN: f64 = 65_536.0;

/// Bytes that the other topics keep.
const KEEP_BYTES: u64 = 64 << 20;

/// Listeners of the topics that hold back their sources: few, for whoever of them is slow holds back all.
const HOLDING: u64 = 2;

/// Messages a second of such a topic at least: what a listener takes nothing of must fill it soon.
const HOLDING_RATE_MIN: f64 = 50.0;

/// Publishers of a topic that keeps much: several, so that bodies of several are appended at once.
const PUBLISHERS: u32 = 2;

/// What is asked of a trial.
#[derive(Clone, Debug)]
pub struct Order {
    /// Everything of chance comes from it.
    pub seed: u64,
    /// How long it goes on, from the first message to the end of the faults.
    pub lasts: Duration,
    /// Messages a second, of all topics together.
    pub rate: f64,
    /// Listeners.
    pub listeners: usize,
    /// Levels of the topics; each has a topic that keeps much, one that keeps little, and one that holds back its source.
    pub levels: Vec<Level>,
    /// Kinds of faults.
    pub kinds: Vec<Kind>,
    /// The counts of the catalogue.
    pub is_long: bool,
    /// The program under test.
    pub program: PathBuf,
    /// A bug that the program is told to have.
    pub planted: Option<&'static str>,
    /// An empty folder for all evidence.
    pub folder: PathBuf,
}

/// What a trial says at its end.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Everything of chance came from it.
    pub seed: u64,
    /// How long faults went on, in seconds.
    pub seconds: f64,
    /// Levels of the topics.
    pub levels: Vec<Level>,
    /// Messages a second that were asked for.
    pub rate: f64,
    /// Listeners.
    pub listeners: usize,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// How long the listeners took to catch up after the faults, in seconds.
    pub drain_seconds: f64,
    /// Processes that ended in a way in which nothing should end.
    pub accidents: Vec<String>,
    /// What the trial was to bring about and did not, so that it proves nothing there.
    pub untried: Vec<String>,
    /// How long the check took, in seconds.
    pub check_seconds: f64,
    /// What the checker found.
    pub verdict: Verdict,
}

impl Outcome {
    /// No difference was found.
    pub fn is_proven(&self) -> bool {
        self.verdict.is_proven() && self.accidents.is_empty() && self.untried.is_empty()
    }
}

/// What of an order can be carried out here.
#[derive(Debug)]
pub struct Possible {
    kinds: Vec<Kind>,
    levels: Vec<Level>,
    abilities: Abilities,
    has_disk: bool,
    skipped: Vec<String>,
}

/// Looks at what the program and the machine can do.
pub async fn look(order: &Order) -> Result<Possible, Trouble> {
    let abilities = Abilities::of(&order.program).await?;
    let mut skipped = Vec::new();
    let mut levels = order.levels.clone();
    if !abilities.has_durable_topics() && levels.iter().any(|level| *level != Level::None) {
        levels.retain(|level| *level == Level::None);
        skipped.push("durable-levels: the program has no durable topics".to_owned());
    }
    if levels.is_empty() {
        return Err(Trouble::Usage(
            "nothing is left to try: the program has no durable topics".to_owned(),
        ));
    }
    let has_data = levels.iter().any(|level| *level != Level::None);
    let is_root = rustix::process::geteuid().is_root();
    let missing: Vec<&str> = ["mkfs.ext4", "mount", "umount", "unshare"]
        .into_iter()
        .filter(|tool| !has_tool(tool))
        .collect();
    let has_disk = has_data && is_root && missing.is_empty();
    let mut kinds = Vec::new();
    for kind in &order.kinds {
        let why = match kind {
            kind if kind.needs_data() && !has_data => Some("no topic is durable".to_owned()),
            kind if kind.needs_disk() && !is_root => Some("a file system can only be mounted by root".to_owned()),
            kind if kind.needs_disk() && !missing.is_empty() => Some(format!("{} is missing", missing.join(", "))),
            Kind::SlowFsync | Kind::BadFsync if !has_tool("strace") => Some("strace is missing".to_owned()),
            Kind::Clock if crate::wall::library().is_none() => Some("libfaketime is missing".to_owned()),
            Kind::Loss => Bend::Loss.why_not().await,
            Kind::Throttle => Bend::Throttle { kbit: 1_000 }.why_not().await,
            Kind::Hold if !abilities.can_hold() => Some("the program holds back no source".to_owned()),
            Kind::KillListener | Kind::KillBoth if !abilities.has_resuming_listener() => {
                Some("the listener does not go on with its file".to_owned())
            }
            _ => None,
        };
        match why {
            Some(why) => skipped.push(format!("{}: {why}", kind.word())),
            None => kinds.push(*kind),
        }
    }
    Ok(Possible {
        kinds,
        levels,
        abilities,
        has_disk,
        skipped,
    })
}

/// A trial whose schedule is known.
#[derive(Debug)]
pub struct Trial {
    order: Order,
    possible: Possible,
    topics: Vec<TopicSetup>,
    wish: Wish,
    lanes: [Vec<Fault>; 5],
    begin_to_end: Duration,
}

impl Trial {
    /// Plans everything.
    pub fn new(order: Order, possible: Possible) -> Self {
        let lasts = order.lasts.saturating_sub(WARM_UP);
        let wish = Wish {
            seed: order.seed,
            lasts,
            kinds: possible.kinds.clone(),
            least: schedule::least(&possible.levels, order.is_long, lasts),
            listeners: order.listeners as u64,
            holding: if possible.abilities.can_hold() { HOLDING } else { 0 },
        };
        let lanes = Lane::ALL.map(|lane| schedule::plan(&wish, lane));
        let topics = topics(&order, &possible);
        Self {
            order,
            possible,
            topics,
            wish,
            lanes,
            begin_to_end: lasts,
        }
    }

    /// The schedule, a line a fault.
    pub fn schedule(&self) -> Vec<String> {
        let mut faults: Vec<&Fault> = self.lanes.iter().flatten().collect();
        faults.sort_by_key(|fault| fault.at);
        faults.iter().map(ToString::to_string).collect()
    }

    /// What is left out, and why.
    pub fn skipped(&self) -> &[String] {
        &self.possible.skipped
    }

    /// Carries it out.
    pub async fn run(self) -> Result<Outcome, Trouble> {
        let folder = self.order.folder.clone();
        for name in ["events", "dumps"] {
            std::fs::create_dir_all(folder.join(name)).map_err(Trouble::file(folder.join(name)))?;
        }
        let mut arena = self.build(&folder).await?;
        let outcome = match self.people(&mut arena).await {
            Ok(()) => self.run_in(&arena).await,
            Err(trouble) => Err(trouble),
        };
        // Whatever became of it, nothing that was started or mounted stays.
        arena.end().await;
        let disk = arena.disk.lock().await.take();
        match disk {
            Some(disk) => disk.end().await.and(outcome),
            None => outcome,
        }
    }

    /// Starts the server and all listeners.
    async fn people(&self, arena: &mut Arena) -> Result<(), Trouble> {
        arena.start().await?;
        let mut dice = Dice::apart(self.order.seed, "listeners", 0);
        let names = |holds| {
            let topics = self.topics.iter().filter(move |topic| topic.holds() == holds);
            topics.map(|topic| topic.name.clone()).collect::<Vec<_>>()
        };
        let all = names(false);
        for number in 0..self.order.listeners {
            let one = dice.one_of(&all).cloned();
            // Every other follows everything; the rest one topic.
            let topics = if number % 2 == 0 {
                all.clone()
            } else {
                one.into_iter().collect()
            };
            arena.listen(topics, number)?;
        }
        if self.wish.holding > 0 {
            // The second stands behind the publishers' proxy, where no fault of the network finds it.
            for proxy in [self.publishers_proxy() - 1, self.publishers_proxy() + 1] {
                arena.listen(names(true), proxy)?;
            }
        }
        Ok(())
    }

    async fn build(&self, folder: &Path) -> Result<Arena, Trouble> {
        let socket = |error| Trouble::Socket {
            what: "listen on a port of this machine",
            error,
        };
        let mut proxies = Vec::new();
        for number in 0..=self.wish.listeners + self.wish.holding {
            proxies.push(Proxy::start(self.order.seed, number).await.map_err(socket)?);
        }
        let has_data = self.topics.iter().any(|topic| topic.level != Level::None);
        let disk = if has_data && self.possible.has_disk {
            Some(Disk::new(folder).await?)
        } else {
            None
        };
        let base = disk.as_ref().map_or(folder, Disk::path);
        let default = self.topics.iter().map(|topic| topic.level).max().unwrap_or(Level::None);
        let plan = ServerPlan {
            program: self.order.program.clone(),
            topics: self.topics.iter().map(|topic| self.spec(topic)).collect(),
            data: has_data.then(|| (base.join("data"), default.word())),
            boot_id: disk.is_some().then(|| folder.join("boot-id")),
            wall: self
                .possible
                .kinds
                .contains(&Kind::Clock)
                .then(|| Wall::new(folder))
                .flatten(),
            planted: self.order.planted,
            log: folder.join("server.log"),
        };
        let journal = Arc::new(Journal::new(folder, "nemesis").map_err(Trouble::file(folder.join("events")))?);
        let abilities = self.possible.abilities.clone();
        let arena = Arena::new(folder, plan, abilities, self.topics.clone(), disk, proxies, journal);
        arena.new_boot()?;
        Ok(arena)
    }

    fn spec(&self, topic: &TopicSetup) -> String {
        let mut spec = format!(
            "{}=push?keep_bytes={}&slow={}",
            topic.name, topic.keep_bytes, topic.slow
        );
        if self.possible.abilities.has_level_of_a_topic() {
            spec.push_str(&format!("&durability={}", topic.level.word()));
        }
        spec
    }

    async fn run_in(&self, arena: &Arena) -> Result<Outcome, Trouble> {
        audience::begin(&arena.listeners).await?;
        let mut publishers = Publishers::new(PATIENCE);
        for plan in self.publishers(&arena.held) {
            // What is kept for seconds only must not wait in a proxy: its repetitions could come too late to be known.
            let server = if plan.has_large {
                Arc::new(Mutex::new(Some(arena.proxies[self.publishers_proxy()].address())))
            } else {
                Arc::clone(&arena.whereabouts)
            };
            publishers.add(plan, vec![server], &arena.folder)?;
        }
        sleep(WARM_UP).await;
        let begin = Instant::now();
        let [server, network, listeners, absence, holding] = &self.lanes;
        let faults = async {
            tokio::try_join!(
                arena.suffer(server, begin),
                arena.suffer(network, begin),
                arena.suffer(listeners, begin),
                arena.suffer(absence, begin),
                arena.suffer(holding, begin),
            )
        };
        tokio::select! {
            done = faults => { done?; }
            () = arena.watch_usage() => {}
        }
        tokio::time::sleep_until(begin + self.begin_to_end).await;
        let seconds = begin.elapsed().as_secs_f64();
        arena.heal().await?;
        sleep(AFTERMATH).await;
        publishers.end().await;
        let drained = self.drain(arena).await?;
        arena.note_usage(true).await;
        let ends = drained
            .ends
            .iter()
            .map(|(topic, (_, next))| (topic.clone(), *next))
            .collect();
        arena.copy_volatile().await?;
        arena.end().await;
        arena.dump_durable(&ends).await?;
        self.write_setup(arena)?;
        let began = Instant::now();
        let verdict = checked(&arena.folder).await?;
        Ok(Outcome {
            seed: self.order.seed,
            seconds,
            levels: self.possible.levels.clone(),
            rate: self.order.rate,
            listeners: self.order.listeners,
            skipped: self.possible.skipped.clone(),
            drain_seconds: drained.seconds,
            accidents: arena.accidents(),
            untried: self.untried(&verdict),
            check_seconds: began.elapsed().as_secs_f64(),
            verdict,
        })
    }

    /// What was to be brought about and was not.
    fn untried(&self, verdict: &Verdict) -> Vec<String> {
        let is_planned = self.lanes.iter().flatten().any(|fault| fault.kind == Kind::Hold);
        let holding = self.topics.iter().filter(|topic| is_planned && topic.holds());
        let missing = holding.filter(|topic| !verdict.figures.held.contains_key(&topic.name));
        missing
            .map(|topic| format!("hold: the source of {} was never held back for long", topic.name))
            .collect()
    }

    /// The number of the publishers' proxy.
    fn publishers_proxy(&self) -> usize {
        self.wish.victims() as usize
    }

    fn publishers(&self, held: &HashMap<String, Arc<AtomicU64>>) -> Vec<Plan> {
        let of_each = self.order.rate / self.topics.len() as f64;
        let plans = self.topics.iter().flat_map(|topic| {
            let is_small = topic.keep_bytes != KEEP_BYTES;
            let of_this = if topic.holds() {
                of_each.max(HOLDING_RATE_MIN)
            } else {
                of_each
            };
            // Alone in a small topic: a body is only recognised while it is retained, and here nothing drives it out
            // between one try and the next.
            let count = if is_small { 1 } else { PUBLISHERS };
            (0..count).map(move |_| (topic, of_this / f64::from(count), !is_small))
        });
        let seed = self.order.seed;
        (0..)
            .zip(plans)
            .map(|(source, (topic, rate, has_large))| Plan {
                source,
                topic: topic.name.clone(),
                rate,
                seed,
                has_large,
                held: held.get(&topic.name).cloned(),
            })
            .collect()
    }

    /// Waits until every file has reached the end of its topics.
    async fn drain(&self, arena: &Arena) -> Result<Drained, Trouble> {
        let began = Instant::now();
        let mut ends = HashMap::new();
        for topic in &self.topics {
            let told = match arena.address() {
                Some(server) => crate::probe::ask(server, &topic.name).await,
                None => None,
            };
            let said = format!("topic {} did not tell its end", topic.name);
            let told = told.ok_or(Trouble::Tool {
                command: "the probe".to_owned(),
                said,
            })?;
            ends.insert(topic.name.clone(), (told.epoch, told.next));
        }
        arena.note_ends().await;
        // A bug may be that they never come so far.
        let patience = self.order.planted.map_or(PATIENCE, |_| PATIENCE_PLANTED);
        let is_at_end = |topic: &str, place| place == ends.get(topic).map(|(_, next)| *next);
        audience::catch_up(&arena.listeners, &arena.journal, began, patience, is_at_end).await;
        Ok(Drained {
            ends,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn write_setup(&self, arena: &Arena) -> Result<(), Trouble> {
        let files = arena.listeners.iter().map(|listener| FileSetup {
            name: format!("{}.ndjson", listener.name),
            topics: listener.topics.clone(),
            from_start: true,
            to_end: true,
        });
        let setup = Setup {
            seed: self.order.seed,
            topics: self.topics.clone(),
            files: files.collect(),
            schedule: self.schedule(),
            skipped: self.possible.skipped.clone(),
        };
        setup.write(&arena.folder)
    }
}

/// What the checker finds in a trial's folder.
pub(crate) async fn checked(folder: &Path) -> Result<Verdict, Trouble> {
    let path = folder.to_owned();
    let verdict = tokio::task::spawn_blocking(move || check(&Folder::open(&path)?)).await;
    let ended = |error| Trouble::Usage(format!("the check ended: {error}"));
    Ok(verdict.map_err(ended)??)
}

/// The ends of all topics when faults were over.
struct Drained {
    ends: HashMap<String, (crate::epoch::Epoch, u64)>,
    seconds: f64,
}

fn topics(order: &Order, possible: &Possible) -> Vec<TopicSetup> {
    let mut dice = Dice::apart(order.seed, "topics", 0);
    let policies = possible.abilities.policies();
    let held = possible.abilities.can_hold().then_some("held");
    let count = possible.levels.len() * (2 + held.iter().len());
    let of_each = order.rate / count as f64;
    let small = (of_each * SMALL_SECONDS * MESSAGE_BYTES).clamp(KEEP_BYTES_MIN, KEEP_BYTES as f64) as u64;
    let mut topics = Vec::new();
    for level in &possible.levels {
        let mut add = |kind, slow: &str, keep_bytes| {
            topics.push(TopicSetup {
                name: format!("{}-{kind}", level.word()),
                level: *level,
                slow: slow.to_owned(),
                keep_bytes,
            });
        };
        for (kind, keep_bytes) in [("wide", KEEP_BYTES), ("small", small)] {
            add(kind, dice.one_of(&policies).copied().unwrap_or("skip"), keep_bytes);
        }
        if let Some(kind) = held {
            add(kind, "wait", KEEP_BYTES_MIN as u64);
        }
    }
    topics
}
