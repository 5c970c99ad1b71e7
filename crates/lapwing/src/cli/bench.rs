//! `lapwing bench`: what was typed, and what it means.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::escape::escaped;
use lapwing_wire::topic::TopicName;
use rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

use super::listen::{asked_twice, targets_of};
use super::misuse::Mistake;
use super::stop;
use super::trust::TrustArgs;
use super::value::{ArraysAs, address, at_least_one, time};
use super::{End, in_form};
use crate::client::dial::{CONNECT_WAIT, DialError, Purpose, io_reason};
use crate::client::display::width;
use crate::client::target::Target;
use crate::config::raise_open_files;
use crate::failure::{Exit, Failure};
use crate::load::object;
use crate::load::outcome::{Cut, Outcome};
use crate::load::plan::{Plan, Publish};
use crate::load::progress::Progress;
use crate::load::report;
use crate::load::run::{self, WARM_UP_MIN};
use crate::load::stamp::Stamps;
use crate::load::sweep::Sweep;
use crate::load::table;
use crate::load::verdict::Verdict;
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing bench`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = DETAILS)]
pub struct BenchArgs {
    /// The server: ws://HOST:PORT, or wss:// for TLS; any WebSocket server will do
    #[arg(value_name = "URL", default_value = "ws://127.0.0.1:8765", help_heading = "What")]
    url: String,
    /// The topics, separated by commas, at most 100 [default: the one that is published to, otherwise all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "What")]
    topics: Option<Vec<TopicName>>,
    /// Ask for arrays as text or as binary frames
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value_t,
        help_heading = "What",
        hide_short_help = true
    )]
    encoding: ArraysAs,
    #[command(flatten)]
    trust: TrustArgs,
    /// How many clients listen at once, at least 1; each needs an open file
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "100", value_parser = at_least_one, help_heading = "Load")]
    clients: NonZeroU64,
    /// How many threads they share, 1 to 256 [default: one a core]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = threads, help_heading = "Load")]
    threads: Option<u64>,
    /// Over how long they come: 2s, 1m [default: as fast as the server takes them]
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = time, help_heading = "Load")]
    ramp: Option<Duration>,
    /// Connect from these addresses of this machine, separated by commas, when one has no free port any more [default: the system's
    /// choice; towards 127.0.0.1 further addresses from 127.0.0.2 on]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = address, help_heading = "Load")]
    source_addresses: Vec<IpAddr>,
    /// Publish to this topic, whose source must be push, and measure latency from the intended moment [default: publish nothing]
    #[arg(long, value_name = "TOPIC", help_heading = "Load")]
    publish: Option<TopicName>,
    /// Messages a second to publish, 0.001 to 1000000, whatever the server does; above 1,000 in groups, one each millisecond
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value = "10", value_parser = rate, requires = "publish", help_heading = "Load")]
    rate: f64,
    /// The size of a published payload, 59B to 1000KiB
    #[arg(long, allow_hyphen_values = true, value_name = "BYTES", default_value = "100B", value_parser = size, requires = "publish", help_heading = "Load")]
    size: usize,
    /// For how long to measure
    #[arg(long = "for", allow_hyphen_values = true, value_name = "TIME", default_value = "10s", value_parser = time, help_heading = "Measure")]
    time: Duration,
    /// What comes in this time behind the last connect is left out of the figures; at least 200ms
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", default_value = "1s", value_parser = warm_up, help_heading = "Measure")]
    warm_up: Duration,
    /// How many messages make a block, at least 1
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "5", value_parser = at_least_one, help_heading = "Measure")]
    block: NonZeroU64,
    /// Do a grid instead of one run: block times over the size of a block and the number of clients; each run is as long as --for [default: off]
    #[arg(long, conflicts_with_all = ["clients", "block"], help_heading = "Sweep")]
    sweep: bool,
    /// The numbers of clients, separated by commas; those for which there are not enough open files are left out
    #[arg(long, allow_hyphen_values = true, value_name = "LIST", value_delimiter = ',', default_value = "1,10,100,1000", value_parser = at_least_one,
        requires = "sweep", help_heading = "Sweep")]
    sweep_clients: Vec<NonZeroU64>,
    /// The sizes of blocks, separated by commas; all of them are timed in the same run
    #[arg(long, allow_hyphen_values = true, value_name = "LIST", value_delimiter = ',', default_value = "1,5,50,500", value_parser = at_least_one,
        requires = "sweep", help_heading = "Sweep")]
    sweep_blocks: Vec<NonZeroU64>,
    /// What to print: text for people, or json with one object
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Show")]
    output: OutputFormat,
    /// Write a report to this file: one HTML page with the pictures, which needs nothing else [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Show")]
    report: Option<PathBuf>,
    /// Short for --output json
    #[arg(long, help_heading = "Show")]
    json: bool,
}

/// Loads the server, and ends with code 3 when something was lost, repeated or out of order.
pub fn run(args: BenchArgs, color: ColorChoice) -> End {
    let json = args.json || args.output == OutputFormat::Json;
    in_form(json, bench(&args, color, json))
}

fn bench(args: &BenchArgs, color: ColorChoice, json: bool) -> End {
    let plans = plans(args, json)?;
    let report = args.report.as_deref().map(open_report).transpose()?;
    let stop = stop::on_signals()?;
    let mut teller = Teller {
        sweeps: args.sweep,
        json,
        paint: Painter::stdout(color),
        progress: Progress::new(json),
        sweep: Sweep::default(),
    };
    let mut end = Ok(());
    for plan in plans {
        end = teller.run(&Arc::new(plan), &stop);
        if end.is_err() || stop.is_cancelled() {
            break;
        }
    }
    // What was measured is told, whatever came behind it.
    teller.conclude()?;
    if let Some(report) = report {
        teller.write(report)?;
    }
    end?;
    Ok(
        match teller
            .sweep
            .runs
            .iter()
            .any(|run| matches!(run.verdict(), Verdict::NotProven(_)))
        {
            true => Exit::NotProven,
            false => Exit::Done,
        },
    )
}

/// Does the runs, and tells what each has shown.
struct Teller {
    sweeps: bool,
    json: bool,
    paint: Painter,
    progress: Progress,
    /// The runs so far; of a single run it has one.
    sweep: Sweep,
}

impl Teller {
    /// One run; with fewer clients than were asked for, or with nothing acknowledged, it is told and still a failure.
    fn run(&mut self, plan: &Arc<Plan>, stop: &CancellationToken) -> Result<(), Failure> {
        let outcome = run::run(plan, stop, &mut self.progress);
        self.progress.clear();
        self.sweep.runs.push(outcome?);
        let outcome = &self.sweep.runs[self.sweep.runs.len() - 1];
        if self.sweeps && !self.json {
            let heading = if self.sweep.runs.len() == 1 {
                self.sweep.heading(&plan.blocks)
            } else {
                Vec::new()
            };
            print(&[heading, vec![self.sweep.row(outcome)]].concat())?;
        }
        incomplete(outcome)
    }

    /// Tells the result.
    fn conclude(&self) -> Result<(), Failure> {
        match (self.sweep.runs.as_slice(), self.json) {
            ([], _) => Ok(()),
            (_, true) => print(&[self.object().to_string()]),
            ([only], false) if !self.sweeps => print(&painted(table::lines(only), &only.verdict(), self.paint)),
            (runs, false) => {
                let verdict = |run: &Outcome| {
                    let clients = form::counted(run.plan.clients as u64, "client");
                    let of_run = |text: String| format!("{clients}: {text}");
                    let stopped = run.interruption().map(|text| format!("stopped {text}"));
                    let lines = stopped.into_iter().chain(run.bottleneck());
                    let lines = lines.chain([run.verdict().sentence()]).map(of_run);
                    painted(lines.collect(), &run.verdict(), self.paint)
                };
                print(&[fitted(self.sweep.conclusion()), runs.iter().flat_map(verdict).collect()].concat())
            }
        }
    }

    /// Writes the report.
    fn write(&self, (path, mut file): (&Path, File)) -> Result<(), Failure> {
        if self.sweep.runs.is_empty() {
            return Ok(());
        }
        let page = report::page(&self.sweep, self.sweeps, &command(), &self.object());
        // What stood there before may have been longer.
        let written = file.set_len(0).and_then(|()| file.write_all(page.as_bytes()));
        written.map_err(|error| unwritable(path, &error))
    }

    /// The result for programs: of a sweep its points, and each run.
    fn object(&self) -> serde_json::Value {
        let runs = || self.sweep.runs.iter().map(object::of);
        match self.sweeps {
            true => serde_json::json!({ "sweep": self.sweep.json(), "runs": runs().collect::<Vec<_>>() }),
            false => runs().next().unwrap_or_default(),
        }
    }
}

/// The lines as wide as the terminal, and the verdict, which is the last of them, in its colour.
fn painted(mut all: Vec<String>, verdict: &Verdict, paint: Painter) -> Vec<String> {
    let sentence = fitted(all.pop().into_iter().collect());
    let mut lines = fitted(all);
    let role = match verdict {
        Verdict::Proven(_) => Role::Good,
        Verdict::NotProven(_) => Role::Bad,
        Verdict::NotChecked(_) => Role::Attention,
    };
    lines.extend(sentence.into_iter().map(|line| paint.paint(role, line).to_string()));
    lines
}

/// What is longer than the terminal is wide, in several lines; elsewhere a sentence stays one line.
fn fitted(lines: Vec<String>) -> Vec<String> {
    match width(&std::io::stdout()) {
        None => lines,
        Some(width) => lines
            .iter()
            .flat_map(|line| form::wrapped(line, width.max(WIDTH_MIN)))
            .map(str::to_owned)
            .collect(),
    }
}

/// The failure of a run with fewer clients than were asked for; what the others received is told before.
fn incomplete(outcome: &Outcome) -> Result<(), Failure> {
    let (connected, asked) = (outcome.books.connected, outcome.plan.clients as u64);
    let of = format!("{} of {}", form::count(connected), form::counted(asked, "client"));
    if outcome.portless {
        return Err(Failure::failed(
            format!("out of local ports after {of}"),
            "one address has some 28,000 ports towards a server: name more addresses of this machine with --source-addresses",
        ));
    }
    match most(&outcome.books.refused) {
        None => unheard(outcome),
        Some(why) => Err(Failure::failed(
            format!("only {of} could connect: {why}"),
            "ask for fewer, or let them come more slowly with --ramp",
        )),
    }
}

/// The failure of a run that published and of which nothing was taken; who ended it did not wait for answers.
fn unheard(outcome: &Outcome) -> Result<(), Failure> {
    let (Some(published), Some(publish)) = (&outcome.published, &outcome.plan.publish) else {
        return Ok(());
    };
    if published.sent == 0 || published.acked > 0 || outcome.cut == Some(Cut::Asked) {
        return Ok(());
    }
    let sent = form::counted(published.sent, "message");
    let why = most(&published.refused).map_or("no answer came", String::as_str);
    Err(Failure::failed(
        format!("none of {sent} to {} was acknowledged: {why}", publish.topic),
        "look at what the server says on its console",
    ))
}

/// What was said most often.
fn most(said: &BTreeMap<String, u64>) -> Option<&String> {
    said.iter().max_by_key(|(_, count)| **count).map(|(why, _)| why)
}

/// The runs that were asked for: one, or of a sweep one for each number of clients.
fn plans(args: &BenchArgs, json: bool) -> Result<Vec<Plan>, Failure> {
    let plan = plan(args)?;
    if !args.sweep {
        room(plan.clients, plan.threads)?;
        return Ok(vec![plan]);
    }
    let clients: Vec<usize> = once(&args.sweep_clients)
        .into_iter()
        .map(|clients| usize::try_from(clients.get()).unwrap_or(usize::MAX))
        .collect();
    let (fit, too_many): (Vec<usize>, Vec<usize>) = clients
        .into_iter()
        .partition(|clients| room(*clients, plan.threads).is_ok());
    if let Some(most) = too_many.first() {
        let left_out = room(*most, plan.threads);
        if fit.is_empty() {
            left_out?;
        } else if let Err(failure) = left_out {
            let why = &failure.sentences[0].0;
            let warning = format!("left out of the sweep: {why}");
            let line = match json {
                true => serde_json::json!({ "warning": warning }).to_string(),
                false => format!("warning: {warning}"),
            };
            // A closed stderr is no reason to measure nothing.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
    let plan_for = |clients: usize| Plan {
        clients,
        threads: plan.threads.min(clients),
        blocks: once(&args.sweep_blocks),
        ..plan.clone()
    };
    Ok(fit.into_iter().map(plan_for).collect())
}

/// What the flags mean, or all that is wrong with them.
fn plan(args: &BenchArgs) -> Result<Plan, Failure> {
    let targets = targets_of(&args.url, Target::parse)?;
    if targets.all().len() > 1 {
        return Err(Failure::usage(
            format!("{} URLs, and a run measures one server", targets.all().len()),
            "measure one after the other",
        ));
    }
    let target = targets.first().clone();
    check(args, &target)?;
    let tls = args.trust.tls(&target)?;
    let token = args.trust.token()?;
    let address = reach(&target)?;
    sources(&args.source_addresses, address)?;
    let name = || {
        ServerName::try_from(target.host.clone()).map_err(|_| {
            Failure::usage(
                format!("no certificate can have the name {}", target.host),
                "use a name or an address",
            )
        })
    };
    let tls = tls.map(|config| Ok((config, name()?))).transpose()?;
    let clients = usize::try_from(args.clients.get()).unwrap_or(usize::MAX);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = args
        .threads
        .map_or(cores, |threads| usize::try_from(threads).unwrap_or(cores));
    let threads = if args.sweep { threads } else { threads.min(clients) };
    Ok(Plan {
        target,
        address,
        tls,
        token,
        topics: args.topics.as_deref().map(once),
        encoding: args.encoding.into(),
        clients,
        threads,
        ramp: args.ramp.unwrap_or_default(),
        warm_up: args.warm_up,
        time: args.time,
        blocks: vec![args.block],
        sources: args.source_addresses.clone(),
        publish: args.publish.clone().map(|topic| Publish {
            topic,
            rate: args.rate,
            bytes: args.size,
        }),
    })
}

/// What was named, each once: named twice it is still one.
fn once<T: Clone + PartialEq>(named: &[T]) -> Vec<T> {
    let mut each: Vec<T> = Vec::new();
    for one in named {
        if !each.contains(one) {
            each.push(one.clone());
        }
    }
    each
}

/// What can be seen to be wrong before anything is tried.
fn check(args: &BenchArgs, target: &Target) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if let Some(key) = target.own_wish()
        && args.topics.is_some()
    {
        wrong.push(Failure::usage(
            format!("{key}= in the URL and --topics both say what to listen to"),
            "leave one of them out",
        ));
    }
    wrong.extend(asked_twice(target.own_wish(), args.encoding));
    if args.topics.as_ref().is_some_and(|topics| topics.len() > 100) {
        wrong.push(Failure::usage(
            "more than 100 topics in --topics",
            "listen to some of them",
        ));
    }
    if let (Some(publish), Some(topics)) = (&args.publish, &args.topics)
        && !topics.contains(publish)
    {
        wrong.push(Failure::usage(
            format!("--publish {publish} is not among --topics, so nobody would hear it"),
            format!("leave --topics out, or add {publish}"),
        ));
    }
    Failure::all(wrong)
}

/// Checks that this machine can connect from the addresses that were given.
fn sources(sources: &[IpAddr], target: SocketAddr) -> Result<(), Failure> {
    let wrong = sources.iter().filter_map(|source| {
        if source.is_ipv4() != target.is_ipv4() {
            return Some(format!(
                "{source} in --source-addresses is of another kind than the server's {}",
                target.ip()
            ));
        }
        let error = std::net::UdpSocket::bind((*source, 0)).err()?;
        Some(format!(
            "cannot connect from {source} in --source-addresses: {}",
            io_reason(&error)
        ))
    });
    let hint = "name addresses of this machine; ip address lists them";
    Failure::all(wrong.map(|sentence| Failure::usage(sentence, hint)).collect())
}

/// Refuses more clients than there can be open files.
fn room(clients: usize, threads: usize) -> Result<(), Failure> {
    let files = raise_open_files();
    let most = files.saturating_sub(OWN_FILES + 2 * threads);
    if clients > most {
        let text = |number: usize| form::count(number as u64);
        return Err(Failure::usage(
            format!(
                "{} clients need more open files than this process may have: {}, room for {} clients",
                text(clients),
                text(files),
                text(most)
            ),
            "ulimit -n raises it up to the limit of the system; or spread the clients over several machines",
        ));
    }
    Ok(())
}

/// The first of the server's addresses that takes a connection.
fn reach(target: &Target) -> Result<SocketAddr, Failure> {
    let found = (target.host.as_str(), target.port).to_socket_addrs();
    let addresses = found.map_err(|error| DialError::Resolve {
        host: target.host.clone(),
        error,
    });
    let mut tried = Vec::new();
    for address in addresses.map_err(|error| error.failure(target, Purpose::Listen))? {
        match std::net::TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(_) => return Ok(address),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(DialError::Connect { tried }.failure(target, Purpose::Listen))
}

/// Opens the file of the report before anything is measured for nothing.
fn open_report(path: &Path) -> Result<(&Path, File), Failure> {
    let opened = File::options().write(true).create(true).truncate(false).open(path);
    opened
        .map(|file| (path, file))
        .map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let path = escaped(&path.display().to_string());
    Failure::failed(
        format!("cannot write {path}: {}", io_reason(error)),
        "choose another file with --report",
    )
}

/// What was typed, without the secrets of a URL.
fn command() -> String {
    let shown = |word: String| Target::parse(&word).map_or(word, |target| target.to_string());
    let words = std::env::args_os()
        .skip(1)
        .map(|word| shown(word.to_string_lossy().into_owned()));
    std::iter::once("lapwing".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Prints lines to stdout; nobody looking any more is no failure.
fn print(lines: &[String]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(
            format!("cannot write to stdout: {}", io_reason(&error)),
            "the exit code says whether it is proven",
        )),
        _ => Ok(()),
    }
}

/// Messages a second, as `1000` or `1000/s`.
fn rate(text: &str) -> Result<f64, Mistake> {
    let wrong = |why| Mistake::new(why, "write a number a second such as 200 or 0.5/s");
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate: f64 = number.parse().map_err(|_| wrong("is no rate"))?;
    match (0.001..=1_000_000.0).contains(&rate) {
        true => Ok(rate),
        false => Err(wrong("is out of range: 0.001 to 1000000")),
    }
}

/// A time to warm up.
fn warm_up(text: &str) -> Result<Duration, Mistake> {
    match time(text)? {
        warm_up if warm_up < WARM_UP_MIN => Err(Mistake::new(
            format!("is out of range: at least {}ms", WARM_UP_MIN.as_millis()),
            "write a number and a unit such as 500ms or 3s",
        )),
        warm_up => Ok(warm_up),
    }
}

/// A size in bytes, as `250B` or `1KiB`.
fn size(text: &str) -> Result<usize, Mistake> {
    let wrong = |why: &str| {
        Mistake::new(
            format!("{why}: {}B to 1000KiB", Stamps::BYTES_MIN),
            "write a size such as 100B or 10KiB",
        )
    };
    let size = text.parse::<bytesize::ByteSize>().map_err(|_| wrong("is no size"))?;
    match usize::try_from(size.0) {
        Ok(bytes @ Stamps::BYTES_MIN..=SIZE_MAX) => Ok(bytes),
        _ => Err(wrong("is out of range")),
    }
}

fn threads(text: &str) -> Result<u64, Mistake> {
    let wrong = |why| Mistake::new(why, "write a whole number such as 2");
    match text.parse() {
        Ok(threads @ 1..=256) => Ok(threads),
        Ok(_) => Err(wrong("is out of range: 1 to 256")),
        Err(_) => Err(wrong("is no whole number: 1 to 256")),
    }
}

/// Narrower lines would say less, not more.
const WIDTH_MIN: usize = 40;

/// Standard streams, polls, wakers, signals, and the connections that publish.
const OWN_FILES: usize = 96;

/// Less than a published body may have by default, with what stands around the payload.
const SIZE_MAX: usize = 1000 << 10;

macro_rules! examples {
    () => {
        "\
Examples:
  lapwing bench --clients 1000 --for 30s
  lapwing bench --publish load --rate 200 --clients 500         (serve --topic load=push)
  lapwing bench --sweep --publish load --rate 1000              block times, from 1 to 1,000 clients
  lapwing bench wss://feed.example.org/stream --clients 50 --ramp 10s --json

Exit codes: 0 proven or not to be checked, 1 failed, not all could connect, or nothing was acknowledged,
2 wrong use, 3 something was lost, repeated or out of order, or clients were cut off,
130 ended at once by a second signal"
    };
}

const EXAMPLES: &str = examples!();

const DETAILS: &str = concat!(
    examples!(),
    "

Latency. With --publish each message carries the moment at which it was meant to leave. The
schedule waits for no answer, so a server that pauses for 2 s shows messages that are 2 s old.
For any other feed latency is counted from the moment of the append, which the server's clock
tells: within one machine it is exact, between two it is as good as their clocks agree.

Loss. Each client checks the offsets of each topic: what is missing (and whether the server said
so), what came twice, what came late. What comes before a client joins, and what is on its way at
the end, is no loss. A client that the server cuts off is counted with its code, does not come
back, and nothing is proven then. Servers that send no offsets are measured by frames and bytes.

Sweep. A block of N messages is timed from the end of the block before. A point is source-limited
when its blocks took no longer than the source took to make them, and delivery-limited when they
did: then clients fall behind. Of several topics the one that brings most is shown.

The tester. When one of its threads had no time left, read late or sent late, it says so before
the verdict: then the figures are its own limit. docs/bench.md has the keys of --json."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!(
            (rate("200"), rate("0.5/s"), rate("1000000")),
            (Ok(200.0), Ok(0.5), Ok(1e6))
        );
        for wrong in ["", "x", "0", "-1", "1000001", "NaN", "inf", "5/m"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_fits_a_published_body() {
        assert_eq!((size("250B"), size("1000KiB")), (Ok(250), Ok(1_024_000)));
        for wrong in ["", "x", "1001KiB", "1GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
