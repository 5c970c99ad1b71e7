//! The command: runs a trial, or checks the evidence of one again.

mod fleet_command;
mod kinds;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kinds::Kinds;
use lapwing_trial::checker::{Verdict, check};
use lapwing_trial::history::{Folder, Level};
use lapwing_trial::process::BUGS;
use lapwing_trial::schedule::Kind;
use lapwing_trial::trial::{Order, Outcome, Trial, look};
use lapwing_trial::trouble::Trouble;

/// Exit codes: what was promised holds; the trial could not be run; something differs.
const PROVEN: u8 = 0;
const TROUBLE: u8 = 1;
const DIFFERS: u8 = 3;

/// Prove with faults what Lapwing promises
#[derive(Debug, Parser)]
#[command(after_help = "Exit codes: 0 proven, 1 could not run, 2 wrong use, 3 differences")]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a trial
    Run(Run),
    /// Run a trial for each bug that was planted into the program, and fail when one is not caught
    Planted {
        #[command(flatten)]
        run: Run,

        /// Only this bug
        #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(BUGS))]
        bug: Option<String>,
    },
    /// Run a trial of several servers that share topics through NATS
    Cluster(fleet_command::Cluster),
    /// Check the evidence that a trial left
    Check {
        /// The trial's folder
        folder: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Args)]
struct Run {
    /// Everything of chance comes from it [default: from the clock, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How long, faults included
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    lasts: Duration,

    /// Messages a second, of all topics together
    #[arg(long, value_name = "N", default_value = "500")]
    rate: f64,

    /// Listeners, each with a file and a proxy of its own
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=200))]
    listeners: u16,

    /// Levels of the topics
    #[arg(long, value_enum, default_value = "all")]
    level: Levels,

    /// Kinds of faults, separated by commas, or all
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = |text: &str| Kinds::parse(text, &Kind::ALL, Kind::word))]
    faults: Kinds<Kind>,

    /// The counts of the catalogue: 200 kills of the server and of listeners, 100 power cuts
    #[arg(long)]
    long: bool,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,

    /// Keep the evidence in this new folder [default: a temporary one, kept unless everything is proven]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,

    /// The program under test [default: the one beside this program]
    #[arg(long, value_name = "FILE", env = "LAPWING")]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Levels {
    None,
    Os,
    Fsync,
    All,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no time; write 90s or 30m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    match &text[digits..] {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}

fn main() -> ExitCode {
    let code = match Typed::parse().command {
        Command::Run(typed) => run(&typed, None).map(|ran| if ran.broken.is_empty() { PROVEN } else { DIFFERS }),
        Command::Planted { run, bug } => run_planted(&run, bug.as_deref()),
        Command::Cluster(typed) => fleet_command::run(&typed),
        Command::Check { folder, json } => check_again(&folder, json),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => {
            // Where even stderr is closed, the code has to do.
            let _ = writeln!(std::io::stderr(), "error: {trouble}");
            ExitCode::from(TROUBLE)
        }
    }
}

/// Prints a line; a reader that has gone wants no more.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn check_again(folder: &Path, json: bool) -> Result<u8, Trouble> {
    let began = std::time::Instant::now();
    let verdict = check(&Folder::open(folder)?)?;
    if json {
        say(&serde_json::json!(verdict).to_string());
    } else {
        tell_verdict(&verdict);
        say(&format!("checked in {:.1} s", began.elapsed().as_secs_f64()));
        say(if verdict.is_proven() {
            "verdict: proven"
        } else {
            "verdict: DIFFERENCES"
        });
    }
    Ok(if verdict.is_proven() { PROVEN } else { DIFFERS })
}

/// Runs a trial for each planted bug; all must be caught.
fn run_planted(typed: &Run, only: Option<&str>) -> Result<u8, Trouble> {
    let mut missed = Vec::new();
    for bug in BUGS.into_iter().filter(|bug| only.is_none_or(|only| only == *bug)) {
        say(&format!("planted: {bug}"));
        let mut ran = Ran::default();
        // Where a kill falls decides whether a bug shows at all: what one seed does not show, the next may.
        for more in 0..SEEDS_A_BUG {
            let seed = typed.seed.map(|seed| seed + more);
            let mut typed = Run { seed, ..typed.clone() };
            match bug {
                // Only a power cut shows it, and one that does not come right after the file system wrote by itself.
                "ack-before-fsync" => (typed.level, typed.faults) = (Levels::Fsync, Kinds(vec![Kind::PowerCut])),
                // Only who is there and takes nothing shows it.
                "held-let-go" => typed.faults = Kinds(vec![Kind::Hold]),
                // It takes its time, and shows nothing of the others.
                _ => typed.faults.0.retain(|kind| *kind != Kind::Hold),
            }
            ran = run(&typed, Some(bug))?;
            if !ran.broken.is_empty() || !ran.could {
                break;
            }
        }
        let said = match ran {
            Ran { could: false, .. } => {
                say(&format!(
                    "left out: planted-{bug}: what would show it cannot be done here"
                ));
                "left out".to_owned()
            }
            Ran { broken, .. } if broken.is_empty() => {
                missed.push(bug);
                "NOT CAUGHT".to_owned()
            }
            Ran { broken, .. } => broken,
        };
        say(&format!("planted: {bug}: {said}"));
    }
    Ok(if missed.is_empty() { PROVEN } else { DIFFERS })
}

/// So many seeds may go by before a planted bug counts as not caught.
const SEEDS_A_BUG: u64 = 3;

/// What came of a trial.
#[derive(Default)]
struct Ran {
    /// What differs, in words, which is nothing if all is proven.
    broken: String,
    /// Whether any of the faults asked for could be carried out.
    could: bool,
}

/// Runs a trial.
fn run(typed: &Run, planted: Option<&'static str>) -> Result<Ran, Trouble> {
    let seed = seed_of(typed.seed);
    let into = typed.into.clone().unwrap_or_else(|| temporary(seed));
    let into = planted.map_or_else(|| into.clone(), |bug| into.join(bug));
    let folder = empty_folder(Some(&into), seed)?;
    let order = Order {
        seed,
        lasts: typed.lasts,
        rate: typed.rate,
        listeners: usize::from(typed.listeners),
        levels: match typed.level {
            Levels::None => vec![Level::None],
            Levels::Os => vec![Level::Os],
            Levels::Fsync => vec![Level::Fsync],
            Levels::All => vec![Level::None, Level::Os, Level::Fsync],
        },
        kinds: typed.faults.0.clone(),
        is_long: typed.long,
        program: program(typed.program.as_deref())?,
        planted,
        folder: folder.clone(),
    };
    let socket = |error| Trouble::Socket {
        what: "start the runtime",
        error,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(socket)?;
    let outcome = runtime.block_on(async {
        let possible = look(&order).await?;
        let trial = Trial::new(order, possible);
        if !typed.json {
            tell_plan(typed, seed, &trial, &folder);
        }
        trial.run().await
    })?;
    if typed.json {
        say(&serde_json::json!(outcome).to_string());
    } else {
        tell_outcome(&outcome);
    }
    // What a planted bug leaves is of use only when it was not caught.
    if outcome.is_proven() == planted.is_none() && typed.into.is_none() {
        std::fs::remove_dir_all(&folder).map_err(Trouble::file(&folder))?;
    } else if !typed.json {
        say(&format!("evidence: {}", folder.display()));
    }
    let broken: Vec<String> = outcome
        .verdict
        .broken()
        .iter()
        .map(|invariant| format!("{invariant:?}"))
        .collect();
    // An accident is a difference, too, and so is what was not tried; but a planted bug must be caught by the checker.
    Ok(Ran {
        broken: if planted.is_none() && outcome.verdict.is_proven() && !outcome.is_proven() {
            [outcome.accidents, outcome.untried].concat().join(", ")
        } else {
            broken.join(", ")
        },
        could: outcome.skipped.len() < typed.faults.0.len(),
    })
}

/// The seed: as it was told, or from the clock.
fn seed_of(told: Option<u64>) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    told.unwrap_or(now.as_millis() as u64 % 1_000_000)
}

/// A folder for the evidence of a trial that nobody asked to keep.
fn temporary(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("lapwing-trial-{seed}-{}", std::process::id()))
}

/// A new or empty folder for the evidence.
fn empty_folder(told: Option<&Path>, seed: u64) -> Result<PathBuf, Trouble> {
    let folder = told.map_or_else(|| temporary(seed), Path::to_owned);
    std::fs::create_dir_all(&folder).map_err(Trouble::file(&folder))?;
    if folder.read_dir().map_err(Trouble::file(&folder))?.next().is_some() {
        return Err(Trouble::Usage(format!("{} is not empty", folder.display())));
    }
    // Programs are told of it that may run elsewhere.
    std::fs::canonicalize(&folder).map_err(Trouble::file(folder))
}

/// The program under test: as it was told, or the one that stands beside this one.
fn program(told: Option<&Path>) -> Result<PathBuf, Trouble> {
    let beside = || {
        let own = std::env::current_exe().map_err(Trouble::file("the path of this program"))?;
        Ok::<_, Trouble>(own.with_file_name("lapwing"))
    };
    let program = told.map_or_else(beside, |told| Ok(told.to_owned()))?;
    std::fs::canonicalize(&program).map_err(Trouble::file(program))
}

fn tell_plan(typed: &Run, seed: u64, trial: &Trial, folder: &Path) {
    say(&format!("seed {seed}"));
    let level = format!("{:?}", typed.level).to_lowercase();
    let seconds = typed.lasts.as_secs();
    let (rate, listeners) = (typed.rate, typed.listeners);
    say(&format!(
        "level {level}, {seconds} s, {rate} messages a second, {listeners} listeners; in {}",
        folder.display()
    ));
    for line in trial.skipped() {
        say(&format!("left out: {line}"));
    }
    say("schedule, from the end of the warm-up on:");
    for line in trial.schedule() {
        say(&line);
    }
}

fn tell_outcome(outcome: &Outcome) {
    say("");
    let (seed, seconds, drain) = (outcome.seed, outcome.seconds, outcome.drain_seconds);
    say(&format!(
        "seed {seed}, {seconds:.0} s of faults, caught up {drain:.1} s after them"
    ));
    tell_verdict(&outcome.verdict);
    for accident in &outcome.accidents {
        say(&format!("accident: {accident}"));
    }
    for line in &outcome.untried {
        say(&format!("not tried: {line}"));
    }
    for line in &outcome.skipped {
        say(&format!("left out: {line}"));
    }
    say(&format!("checked in {:.1} s", outcome.check_seconds));
    say(if outcome.is_proven() {
        "verdict: proven"
    } else {
        "verdict: DIFFERENCES"
    });
}

/// All together, then each by its name.
fn counted(counts: &BTreeMap<String, u64>) -> String {
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{}  ({})", counts.values().sum::<u64>(), each.join(", "))
}

fn tell_verdict(verdict: &Verdict) {
    let figures = &verdict.figures;
    say(&format!("faults        {}", counted(&figures.faults)));
    say(&format!(
        "messages      {} sent, {} acknowledged",
        figures.messages, figures.acknowledged
    ));
    say(&format!(
        "outcomes      {} unknown at first, {} answered as repetitions",
        figures.unknown, figures.repeated
    ));
    say(&format!("held back     {}", counted(&figures.held)));
    say(&format!(
        "delivered     {} into files, {} in the logs at the end",
        figures.delivered, figures.dumped
    ));
    say(&format!(
        "gaps          {} told, {} messages",
        figures.gaps, figures.missing
    ));
    say(&format!(
        "histories     {}, {} resets and {} lost ends told",
        figures.epochs, figures.resets, figures.diverged
    ));
    say(&format!(
        "reconnects    {}, {} torn ends, {} blocks timed",
        figures.reconnects, figures.torn, figures.blocks
    ));
    if verdict.is_proven() {
        return;
    }
    say("");
    for (invariant, count) in &verdict.counts {
        say(&format!("{invariant:?}: {count}"));
    }
    for violation in &verdict.violations {
        say(&format!("  {violation}"));
    }
    say("around the first:");
    for line in &verdict.slice {
        say(&format!("  {line}"));
    }
}
