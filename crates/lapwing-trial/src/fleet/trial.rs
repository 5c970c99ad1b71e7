//! A trial of several servers from its seed to its verdict: warm-up, faults, heal, drain, check.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nats_cluster::{Cluster, Settings};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::arena::Arena;
use super::crowd::{Crowd, Seen};
use super::generated::Generated;
use super::schedule::{self, Fault, Kind, Lane, Wish};
use super::server::{Plan as ServerPlan, Server};
use super::stream::{self, Stream};
use crate::audience::{self, LOOK, PATIENCE};
use crate::checker::Verdict;
use crate::epoch::Epoch;
use crate::history::{FileSetup, Level, Setup, TopicSetup};
use crate::journal::Journal;
use crate::process::Abilities;
use crate::proxy::Proxy;
use crate::publisher::{Plan, Publishers};
use crate::trial::checked;
use crate::trouble::Trouble;

/// Before the first fault everything must have had its first messages.
const WARM_UP: Duration = Duration::from_secs(3);

/// After the last fault publishers go on for so long.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Bytes that the wide topic keeps: all of a short trial.
const WIDE_BYTES: u64 = 256 << 20;

/// Bytes that the small topic keeps: less than a listener misses that is away for long.
const SMALL_BYTES: u64 = 1 << 20;

/// Publishers of the wide topic: several, so that bodies of several servers meet, and more the more messages a second there are to be.
const PUBLISHERS_MIN: u32 = 3;
const PUBLISHERS_MAX: u32 = 24;

/// What a publisher sends in a second that waits for each answer, with time to spare.
const RATE_OF_ONE: f64 = 250.0;

/// Topics that publishers fill.
const WIDE: &str = "wide";
const SMALL: &str = "small";

/// Topics that servers fill, one at a time: a command that counts, and random numbers.
const COUNTED: &str = "counted";
const ARRAYS: &str = "arrays";

/// The command that counts, about fifty a second: each run has a name.
const COUNTER: &str = r#"n=0; run=$$-$(date +%s%N)
while :; do echo "{\"run\":\"$run\",\"n\":$n}"; n=$((n + 1)); sleep 0.02; done
"#;

/// Another server takes over a generator within this time, while NATS is well.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

/// So long after a fault of NATS its streams may still have no leader.
const NATS_RECOVERY: Duration = Duration::from_secs(15);

/// What is asked of a trial of several servers.
#[derive(Clone, Debug)]
pub struct Order {
    /// Everything of chance comes from it.
    pub seed: u64,
    /// How long it goes on, from the first message to the end of the faults.
    pub lasts: Duration,
    /// Messages a second that publishers send, of both topics together.
    pub rate: f64,
    /// Listeners.
    pub listeners: usize,
    /// Listeners that keep no file, and check as they go.
    pub crowd: usize,
    /// Servers.
    pub servers: usize,
    /// Servers of NATS.
    pub nodes: usize,
    /// Kinds of faults.
    pub kinds: Vec<Kind>,
    /// The program under test.
    pub program: PathBuf,
    /// The nats-server.
    pub nats: PathBuf,
    /// An empty folder for all evidence.
    pub folder: PathBuf,
}

/// What a trial of several servers says at its end.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Everything of chance came from it.
    pub seed: u64,
    /// How long faults went on, in seconds.
    pub seconds: f64,
    /// Messages a second that were asked for.
    pub rate: f64,
    /// Listeners.
    pub listeners: usize,
    /// Servers.
    pub servers: usize,
    /// Servers of NATS.
    pub nodes: usize,
    /// How long everybody took to catch up after the faults, in seconds.
    pub drain_seconds: f64,
    /// Processes that ended in a way in which nothing should end.
    pub accidents: Vec<String>,
    /// What a server has other than the streams have it.
    pub differences: Vec<String>,
    /// What came of the generated topics.
    pub generated: Generated,
    /// What the crowd has seen.
    pub crowd: Seen,
    /// What the checker found.
    pub verdict: Verdict,
}

impl Outcome {
    /// No difference was found.
    pub fn is_proven(&self) -> bool {
        let are_same = self.differences.is_empty() && self.generated.differences.is_empty() && self.crowd.wrong == 0;
        self.verdict.is_proven() && self.accidents.is_empty() && are_same
    }
}

/// Why a trial of several servers cannot be run with this program; nothing if it can.
pub async fn why_not(program: &Path) -> Result<Option<&'static str>, Trouble> {
    let abilities = Abilities::of(program).await?;
    Ok(if !abilities.has_broker(program).await {
        Some("the program has no --broker: build it with --features nats")
    } else if !abilities.has_several_servers() {
        Some("the program's listeners know no more than one server")
    } else {
        None
    })
}

/// A trial of several servers whose schedule is known.
#[derive(Debug)]
pub struct Trial {
    order: Order,
    topics: Vec<TopicSetup>,
    lanes: [Vec<Fault>; 3],
    begin_to_end: Duration,
}

impl Trial {
    /// Plans everything.
    pub fn new(order: Order) -> Self {
        let lasts = order.lasts.saturating_sub(WARM_UP);
        let wish = Wish {
            seed: order.seed,
            lasts,
            kinds: order.kinds.clone(),
            servers: order.servers,
            nodes: order.nodes,
            topics: 4,
            listeners: order.listeners,
        };
        // What a stream has acknowledged outlives every process: nothing here takes power or disks away.
        let topic = |(name, keep_bytes): (&str, u64)| TopicSetup {
            name: name.to_owned(),
            level: Level::Os,
            slow: "skip".to_owned(),
            keep_bytes,
        };
        Self {
            topics: [(WIDE, WIDE_BYTES), (SMALL, SMALL_BYTES)].map(topic).to_vec(),
            lanes: Lane::ALL.map(|lane| schedule::plan(&wish, lane)),
            begin_to_end: lasts,
            order,
        }
    }

    /// The schedule, a line a fault.
    pub fn schedule(&self) -> Vec<String> {
        let mut faults: Vec<&Fault> = self.lanes.iter().flatten().collect();
        faults.sort_by_key(|fault| fault.at);
        faults.iter().map(ToString::to_string).collect()
    }

    /// Carries it out.
    pub async fn run(self) -> Result<Outcome, Trouble> {
        let folder = &self.order.folder;
        for name in ["events", "dumps", "nats"] {
            std::fs::create_dir_all(folder.join(name)).map_err(Trouble::file(folder.join(name)))?;
        }
        let mut arena = self.build().await?;
        let outcome = match self.people(&mut arena).await {
            Ok(()) => self.run_in(&arena).await,
            Err(trouble) => Err(trouble),
        };
        // Whatever became of it, nothing that was started stays.
        arena.end().await;
        outcome
    }

    fn stream(&self, topic: &str) -> String {
        format!("trial_{topic}")
    }

    async fn build(&self) -> Result<Arena, Trouble> {
        let order = &self.order;
        let socket = |error| Trouble::Socket {
            what: "listen on a port of this machine",
            error,
        };
        let settings = Settings {
            nodes: order.nodes,
            ..Settings::default()
        };
        let (program, home) = (order.nats.clone(), order.folder.join("nats"));
        let nats = tokio::task::spawn_blocking(move || Cluster::start(&program, &home, &settings));
        let nats = nats.await.map_err(|error| Trouble::Usage(error.to_string()))??;
        let ports = nats_cluster::free_ports(order.servers).map_err(socket)?;
        let mut servers = Vec::new();
        for (number, port) in (0..).zip(ports) {
            let mut ways = Vec::new();
            for way in 0..order.nodes {
                let purpose = (number * order.nodes + way) as u64;
                ways.push(Proxy::start(order.seed, purpose).await.map_err(socket)?);
            }
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            servers.push(Server::new(
                address,
                ways,
                order.folder.join(format!("server-{number}.log")),
            ));
        }
        let counter = order.folder.join("counter.sh");
        std::fs::write(&counter, COUNTER).map_err(Trouble::file(&counter))?;
        let replicas = order.nodes;
        let mut topics: Vec<String> = self
            .topics
            .iter()
            .map(|topic| {
                format!(
                    "{}=push?keep_bytes={}&replicas={replicas}",
                    topic.name, topic.keep_bytes
                )
            })
            .collect();
        topics.push(format!(
            "{COUNTED}=exec:sh {}?restart=always&keep_bytes={WIDE_BYTES}&replicas={replicas}",
            counter.display()
        ));
        topics.push(format!(
            "{ARRAYS}=arrays?every=20ms&burst=1&shape=4&dtype=float64&keep_bytes={WIDE_BYTES}&replicas={replicas}"
        ));
        let plan = ServerPlan {
            program: order.program.clone(),
            topics,
            prefix: "trial".to_owned(),
        };
        let journal = Arc::new(Journal::new(&order.folder, "nemesis").map_err(Trouble::file(&order.folder))?);
        let streams = [WIDE, SMALL, COUNTED, ARRAYS].map(|topic| self.stream(topic)).to_vec();
        Ok(Arena::new(&order.folder, plan, nats, servers, streams, journal))
    }

    /// Starts the servers and all listeners.
    async fn people(&self, arena: &mut Arena) -> Result<(), Trouble> {
        for number in 0..self.order.servers {
            arena.start(number).await?;
        }
        for number in 0..self.order.listeners {
            // Every other follows everything; the rest the published topics, or the generated ones.
            let topics: &[&str] = match number % 4 {
                1 => &[WIDE, SMALL],
                3 => &[COUNTED, ARRAYS],
                _ => &[WIDE, SMALL, COUNTED, ARRAYS],
            };
            arena.listen(topics.iter().map(|topic| (*topic).to_owned()).collect())?;
        }
        Ok(())
    }

    async fn run_in(&self, arena: &Arena) -> Result<Outcome, Trouble> {
        audience::begin(&arena.listeners).await?;
        let addresses: Vec<SocketAddr> = arena.servers.iter().map(|server| server.address).collect();
        let crowd = Crowd::gather(self.order.crowd, &addresses, WIDE, self.order.seed);
        let mut publishers = Publishers::new(PATIENCE);
        for plan in self.publishers() {
            let mut servers: Vec<_> = arena
                .servers
                .iter()
                .map(|server| Arc::clone(&server.whereabouts))
                .collect();
            servers.rotate_left(plan.source as usize % self.order.servers);
            publishers.add(plan, servers, &arena.folder)?;
        }
        sleep(WARM_UP).await;
        let begin = Instant::now();
        let [servers, nats, listeners] = &self.lanes;
        let faults = async {
            tokio::try_join!(
                arena.suffer(servers, begin),
                arena.suffer(nats, begin),
                arena.suffer(listeners, begin),
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
        let healed = Instant::now();
        let mut differences = self.compare(arena).await?;
        self.drain(arena, healed).await?;
        let wide = self.read(arena, WIDE).await?;
        while crowd.behind(wide.next) > 0 && healed.elapsed() < PATIENCE {
            sleep(LOOK).await;
        }
        let epoch = stream::told(arena.servers[0].address, WIDE).await?.0;
        let crowd = crowd.dismiss(&wide, Some(epoch)).await;
        let drain_seconds = healed.elapsed().as_secs_f64();
        arena.note_usage(true).await;
        arena.end().await;
        let generated = self.look_at_generated(arena).await?;
        differences.truncate(crate::checker::LISTED_MAX as usize);
        self.write_setup(arena)?;
        Ok(Outcome {
            seed: self.order.seed,
            seconds,
            rate: self.order.rate,
            listeners: self.order.listeners,
            servers: self.order.servers,
            nodes: self.order.nodes,
            drain_seconds,
            accidents: arena.accidents(),
            differences,
            generated,
            crowd,
            verdict: checked(&arena.folder).await?,
        })
    }

    fn publishers(&self) -> Vec<Plan> {
        let count = ((self.order.rate / RATE_OF_ONE) as u32).clamp(PUBLISHERS_MIN, PUBLISHERS_MAX);
        let rate = self.order.rate / f64::from(count + 1);
        let topics = (0..count).map(|_| WIDE).chain([SMALL]);
        let plan = |(source, topic): (u32, &str)| Plan {
            source,
            topic: topic.to_owned(),
            rate,
            seed: self.order.seed,
            has_large: topic == WIDE,
            held: None,
        };
        (0..).zip(topics).map(plan).collect()
    }

    /// Reads the streams of the published topics, writes them as dumps, and holds what each server hands out against them.
    async fn compare(&self, arena: &Arena) -> Result<Vec<String>, Trouble> {
        let mut differences = Vec::new();
        for topic in &self.topics {
            let stream = self.read(arena, &topic.name).await?;
            let mut epochs: HashMap<Epoch, usize> = HashMap::new();
            for server in &arena.servers {
                let deadline = Instant::now() + PATIENCE;
                let (epoch, mut next) = stream::told(server.address, &topic.name).await?;
                *epochs.entry(epoch).or_default() += 1;
                while next < stream.next && Instant::now() < deadline {
                    sleep(LOOK).await;
                    next = stream::told(server.address, &topic.name).await?.1;
                }
            }
            if epochs.len() > 1 {
                differences.push(format!("servers tell {} epochs of topic {}", epochs.len(), topic.name));
            }
            let epoch = epochs
                .into_iter()
                .max_by_key(|(_, count)| *count)
                .map(|(epoch, _)| epoch);
            let Some(epoch) = epoch else { continue };
            let path = stream::dump_path(&arena.folder, &topic.name);
            std::fs::write(&path, stream.dump(&topic.name, epoch)).map_err(Trouble::file(path))?;
            for server in &arena.servers {
                differences.extend(stream::difference(server.address, &topic.name, epoch, &stream).await);
            }
        }
        Ok(differences)
    }

    async fn read(&self, arena: &Arena, topic: &str) -> Result<Stream, Trouble> {
        let name = self.stream(topic);
        arena.with_nats(move |nats| Stream::read(nats, &name)).await
    }

    /// Waits until every file has reached the end of its topics.
    async fn drain(&self, arena: &Arena, began: Instant) -> Result<(), Trouble> {
        let mut ends = HashMap::new();
        for topic in [WIDE, SMALL, COUNTED, ARRAYS] {
            let (_, next) = stream::told(arena.servers[0].address, topic).await?;
            ends.insert(topic.to_owned(), next);
        }
        // What is generated goes on meanwhile.
        let is_at_end = |topic: &str, place| place >= ends.get(topic).copied().filter(|next| *next > 0);
        audience::catch_up(&arena.listeners, &arena.journal, began, PATIENCE, is_at_end).await;
        Ok(())
    }

    /// Looks at what servers made, when they have ended.
    async fn look_at_generated(&self, arena: &Arena) -> Result<Generated, Trouble> {
        let mut generated = Generated::default();
        let disturbed = arena.disturbed();
        let is_quiet = |from: Duration, to: Duration| {
            disturbed
                .iter()
                .all(|(begin, end)| to < *begin || from > *end + NATS_RECOVERY)
        };
        let (counted, arrays) = (self.read(arena, COUNTED).await?, self.read(arena, ARRAYS).await?);
        generated.look_at_runs(COUNTED, &counted.messages, is_quiet);
        generated.look_at_values(ARRAYS, &arrays.messages);
        for listener in &arena.listeners {
            for (topic, stream) in [(COUNTED, &counted), (ARRAYS, &arrays)] {
                let file = &listener.file;
                generated
                    .look_at_file(file, topic, &stream.messages)
                    .map_err(Trouble::file(file))?;
            }
        }
        if generated.longest_takeover_seconds > TAKEOVER_MAX.as_secs_f64() {
            let seconds = generated.longest_takeover_seconds;
            generated.differences.push(format!(
                "nobody filled {COUNTED} for {seconds:.1} s, though NATS was well"
            ));
        }
        Ok(generated)
    }

    fn write_setup(&self, arena: &Arena) -> Result<(), Trouble> {
        let is_published = |topic: &&String| self.topics.iter().any(|setup| setup.name == **topic);
        let files = arena.listeners.iter().filter_map(|listener| {
            let topics: Vec<String> = listener.topics.iter().filter(is_published).cloned().collect();
            (!topics.is_empty()).then(|| FileSetup {
                name: format!("{}.ndjson", listener.name),
                topics,
                from_start: true,
                to_end: true,
            })
        });
        let setup = Setup {
            seed: self.order.seed,
            topics: self.topics.clone(),
            files: files.collect(),
            schedule: self.schedule(),
            skipped: Vec::new(),
        };
        setup.write(&arena.folder)
    }
}
