//! The command `cluster`: a trial of several servers behind NATS.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapwing_trial::fleet::schedule::Kind;
use lapwing_trial::fleet::trial::{Order, Outcome, Trial, why_not};
use lapwing_trial::trouble::Trouble;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::kinds::Kinds;
use crate::{DIFFERS, PROVEN, empty_folder, parse_time, program, say, seed_of, tell_verdict};

/// What is asked of a trial of several servers.
#[derive(Clone, Debug, Args)]
pub struct Cluster {
    /// Everything of chance comes from it [default: from the clock, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How long, faults included
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    lasts: Duration,

    /// Messages a second that publishers send, of all topics together; about a hundred a second are generated beside them
    #[arg(long, value_name = "N", default_value = "300")]
    rate: f64,

    /// Listeners, each with a file of its own; all know all servers
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=200))]
    listeners: u16,

    /// Listeners beside them that keep no file, and check as they go; they follow what most publishers fill
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    crowd: u16,

    /// Servers of Lapwing
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=8))]
    servers: u16,

    /// Servers of NATS, each of which keeps every message: 1 or 3
    #[arg(long, value_name = "N", default_value = "3", value_parser = ["1", "3"])]
    nodes: String,

    /// Kinds of faults, separated by commas, or all
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = |text: &str| Kinds::parse(text, &Kind::ALL, Kind::word))]
    faults: Kinds<Kind>,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,

    /// Keep the evidence in this new folder [default: a temporary one, kept unless everything is proven]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,

    /// The program under test [default: the one beside this program]
    #[arg(long, value_name = "FILE", env = "LAPWING")]
    program: Option<PathBuf>,

    /// The nats-server [default: what scripts/nats-server installs]
    #[arg(long, value_name = "FILE", env = nats_cluster::PROGRAM)]
    nats: Option<PathBuf>,
}

/// Runs it.
pub fn run(typed: &Cluster) -> Result<u8, Trouble> {
    let socket = |error| Trouble::Socket {
        what: "start the runtime",
        error,
    };
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(socket)?;
    let program = program(typed.program.as_deref())?;
    if let Some(why) = runtime.block_on(why_not(&program))? {
        return Err(Trouble::Usage(format!("nothing was tried: {why}")));
    }
    let nats = typed.nats.clone().ok_or_else(|| {
        let said = "no nats-server is named; export LAPWING_NATS_SERVER=$(scripts/nats-server), or run scripts/trial";
        Trouble::Usage(said.to_owned())
    })?;
    let seed = seed_of(typed.seed);
    let folder = empty_folder(typed.into.as_deref(), seed)?;
    let order = Order {
        seed,
        lasts: typed.lasts,
        rate: typed.rate,
        listeners: usize::from(typed.listeners),
        crowd: usize::from(typed.crowd),
        servers: usize::from(typed.servers),
        nodes: if typed.nodes == "1" { 1 } else { 3 },
        kinds: typed.faults.0.clone(),
        program,
        nats,
        folder: folder.clone(),
    };
    let outcome = runtime.block_on(async {
        let (servers, nodes) = (order.servers, order.nodes);
        let trial = Trial::new(order);
        if !typed.json {
            say(&format!("seed {seed}"));
            let seconds = typed.lasts.as_secs();
            say(&format!(
                "{servers} servers behind {nodes} of NATS, {seconds} s, {} messages a second, {} listeners and {} that keep no file; in {}",
                typed.rate,
                typed.listeners,
                typed.crowd,
                folder.display()
            ));
            say("schedule, from the end of the warm-up on:");
            trial.schedule().iter().for_each(|line| say(line));
        }
        trial.run().await
    })?;
    if typed.json {
        say(&serde_json::json!(outcome).to_string());
    } else {
        tell(&outcome);
    }
    if outcome.is_proven() && typed.into.is_none() {
        std::fs::remove_dir_all(&folder).map_err(Trouble::file(&folder))?;
    } else if !typed.json {
        say(&format!("evidence: {}", folder.display()));
    }
    Ok(if outcome.is_proven() { PROVEN } else { DIFFERS })
}

fn tell(outcome: &Outcome) {
    say("");
    let (seed, seconds, drain) = (outcome.seed, outcome.seconds, outcome.drain_seconds);
    say(&format!(
        "seed {seed}, {seconds:.0} s of faults, all caught up and compared {drain:.1} s after them"
    ));
    tell_verdict(&outcome.verdict);
    let generated = &outcome.generated;
    say(&format!(
        "generated     {} messages, {} copies compared; {} turns, the longest silence between two {:.1} s while NATS was well",
        generated.messages, generated.compared, generated.turns, generated.longest_takeover_seconds
    ));
    let crowd = &outcome.crowd;
    say(&format!(
        "crowd         {} listeners: {} messages, {} reconnects, {} offsets told as missing, {} differences",
        crowd.listeners, crowd.messages, crowd.reconnects, crowd.missing, crowd.wrong
    ));
    let differences = generated.differences.iter().chain(&outcome.differences);
    for said in differences.chain(&crowd.differences) {
        say(&format!("difference: {said}"));
    }
    for accident in &outcome.accidents {
        say(&format!("accident: {accident}"));
    }
    say(if outcome.is_proven() {
        "verdict: proven"
    } else {
        "verdict: DIFFERENCES"
    });
}

/// As many open files as this process may have: each of a crowd takes one.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not, a large crowd says so itself.
    let _ = setrlimit(Resource::Nofile, limit);
}
