//! `lapwing listen`: what was typed, and what it means.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_wire::control::SUBPROTOCOL;
use lapwing_wire::decoder::DecoderLimits;
use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use lapwing_wire::start::Start;
use lapwing_wire::topic::TopicName;
use tokio_util::sync::CancellationToken;

use super::misuse::Mistake;
use super::serve::Compress;
use super::trust::TrustArgs;
use super::value::{ArraysAs, at_least_one, time};
use super::{End, in_form, runtime, stop, tui};
use crate::client::connection::READ_BYTES;
use crate::client::dial::{Dial, io_reason};
use crate::client::display::{Console, Show};
use crate::client::event::Halt;
use crate::client::graph::Graph;
use crate::client::listener::{self, Ending, Options, close_text};
use crate::client::log::{Form, Log, OnLogError, Said};
use crate::client::picture::{Picture, PictureError};
use crate::client::scribe::{Scribe, TextScribe};
use crate::client::status::Goal;
use crate::client::target::{Target, TargetError};
use crate::client::targets::Targets;
use crate::client::text::{Talk, Tone};
use crate::client::watch::{Screen, Watch};
use crate::clock::Now;
use crate::failure::{Exit, Failure};
use crate::recording::marks::Marks;
use crate::recording::note;
use crate::recording::recorder::{Keeping, Recorder, Rotate, Sync};
use crate::recording::writer::{Found, OpenError};
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::ColorChoice;

/// The flags of `lapwing listen`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = DETAILS)]
pub struct ListenArgs {
    /// The server: ws://HOST:PORT, or wss:// for TLS; any WebSocket feed will do. Or up to 16, separated by commas
    ///
    /// Several servers have the same topics: one is taken by chance, and when it goes or does not take us, another. Where they share a broker the
    /// feed goes on with each offset once; otherwise another server is another history, and that is told. All begin with ws:// or all with wss://,
    /// all have the same query, and all are shown the same token.
    #[arg(value_name = "URL", default_value = "ws://127.0.0.1:8765", help_heading = "What")]
    url: String,
    /// The topics, separated by commas, at most 100 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "What")]
    topics: Option<Vec<TopicName>>,
    /// Where to begin: latest, earliest, an offset, last:COUNT, -30s or @EPOCH:OFFSET
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "latest",
        allow_hyphen_values = true,
        help_heading = "What"
    )]
    from: Start,
    #[command(flatten)]
    trust: TrustArgs,
    /// Let the server compress messages (permessage-deflate): less on the line, more work at both ends
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "What",
        hide_short_help = true
    )]
    compression: Compress,
    /// Ask for arrays as text or as binary frames; they are shown and recorded as text in either
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value_t,
        help_heading = "What",
        hide_short_help = true
    )]
    encoding: ArraysAs,
    /// How many messages make a block, at least 1
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "5", value_parser = at_least_one, help_heading = "Measure")]
    block: NonZeroU64,
    /// What the server calls us, at most 64 characters [default: it gives a number]
    #[arg(long, value_name = "NAME", help_heading = "Measure")]
    name: Option<ClientName>,
    /// Report no block times to the server [default: at most one a second and topic]
    #[arg(long, help_heading = "Measure")]
    no_report: bool,
    /// Record to this file; a recording that is there is gone on with where it ends, each offset once [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Record")]
    log: Option<PathBuf>,
    /// The form of the file; text is only appended to, and nothing goes on from it [default: text for *.txt, otherwise ndjson]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "log", help_heading = "Record")]
    format: Option<LogFormat>,
    /// When the disk is asked to keep what was written; a power cut costs no more than fetching again
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        requires = "log",
        help_heading = "Record"
    )]
    sync: SyncWhen,
    /// Rotate the file at about a size or at an age, or the first of both: 100MB, 1h, 1GiB,24h; at least 1KB or 1s [default: never]
    #[arg(long, value_name = "LIMIT", value_parser = rotate, requires = "log", help_heading = "Record")]
    rotate: Option<Rotate>,
    /// Compress files that were rotated away, with zstd [default: off]
    #[arg(long, requires = "rotate", help_heading = "Record", hide_short_help = true)]
    rotate_compress: bool,
    /// What to do while the file cannot be written (disk full)
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHAT",
        requires = "log",
        help_heading = "Record",
        hide_short_help = true
    )]
    on_log_error: OnLogError,
    /// End after so many messages, at least 1 [default: no end]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = at_least_one, help_heading = "Stop")]
    count: Option<NonZeroU64>,
    /// End after this time: 500ms, 10s, 5m, 2h; it runs from the first connection, and a server that is not there is waited for no longer [default: no end]
    #[arg(long = "for", allow_hyphen_values = true, value_name = "TIME", value_parser = time, help_heading = "Stop")]
    time: Option<Duration>,
    /// End with code 3 when anything is known to be missing [default: off]
    #[arg(long, help_heading = "Stop")]
    fail_on_gap: bool,
    /// What to print: text for people, or json with the lines of an NDJSON log
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Show")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Show")]
    json: bool,
    /// Show neither messages nor blocks, only what happens to the connection [default: off]
    #[arg(long, help_heading = "Show")]
    quiet: bool,
    /// Show a live picture on the whole terminal; ? lists its keys [default: off]
    ///
    /// It has the connection, each topic with its rate and lag, block times and how they are distributed, the last messages, and the file.
    /// Without a terminal of at least 60 x 14 what happens comes as lines. Feed and file never wait for the picture.
    #[arg(long, conflicts_with = "quiet", help_heading = "Show")]
    tui: bool,
    /// Draw block times and rates as an SVG at the end [default: none]
    ///
    /// However the run ends, Ctrl-C included. Only an SVG that was drawn so before is replaced.
    #[arg(long, value_name = "FILE.svg", help_heading = "Show")]
    plot: Option<PathBuf>,
}

/// The form of a recorded file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line, each with a checksum
    Ndjson,
}

/// When the disk is asked to keep what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum SyncWhen {
    /// Never
    None,
    /// Once a second, and at the end
    #[default]
    Interval,
    /// After every read, before anything of it is reported
    Each,
}

/// Listens until told to stop.
pub fn run(args: ListenArgs, color: ColorChoice) -> End {
    let json = is_json(&args);
    in_form(json, listen(&args, color, json))
}

/// Whether programs read what is printed: `--json` is another way to write `--output json`.
fn is_json(args: &ListenArgs) -> bool {
    args.json || args.output == OutputFormat::Json
}

fn listen(args: &ListenArgs, color: ColorChoice, json: bool) -> End {
    let targets = targets_of(&args.url, Target::parse)?;
    let mut options = options(args, &targets)?;
    let built_in = args.tui.then(tui::is_built_in).transpose()?;
    let picture = args.plot.as_deref().map(picture_at).transpose()?;
    // Before the first write, so that a limit of the file's length is an error and no end.
    let stop = stop::on_signals()?;
    let opened = args
        .log
        .as_deref()
        .map(|path| open_log(path, args, &targets))
        .transpose()?;
    let (log, found) = opened.unzip();
    let found = found.unwrap_or_default();
    let said = args
        .log
        .as_deref()
        .map_or(Vec::new(), |path| found_said(path, &found, &targets));
    options.resume = found.checkpoint.marks.clone();
    let talk = || Talk::new(targets.to_string(), options.start);
    let overlay = built_in.map(|built_in| tui::begin(built_in, &targets, talk(), goal(args), color, &stop));
    let screen = match (json, &overlay) {
        (true, _) => Screen::json(),
        (false, Some(Ok(_))) => Screen::Console(Box::new(Console::behind(talk(), color, greeting(args)))),
        (false, _) => {
            let show = if args.quiet { Show::Quiet } else { Show::All };
            let greeting = greeting(args);
            Screen::Console(Box::new(Console::new(talk(), color, show, goal(args), greeting)))
        }
    };
    let start = note::Start {
        version: concat!("lapwing/", env!("CARGO_PKG_VERSION")).to_owned(),
        url: targets.to_string(),
        name: args.name.as_ref().map(|name| name.as_str().to_owned()),
        block_size: args.block.get(),
        boot: boot(),
    };
    let scribe = Scribe::new(start, found.checkpoint.marks);
    let now = Now::read();
    let mut watch = match Watch::new(log, screen, scribe, now) {
        Ok(watch) => watch,
        Err(Halt::Quiet) => return Ok(Exit::Done),
        Err(Halt::Failed(failure)) => return Err(failure),
    };
    if picture.is_some() {
        watch.draw_at_the_end(Graph::new(targets.short(), args.block, now));
    }
    match overlay {
        Some(Ok(overlay)) => watch.cover(overlay),
        Some(Err(instead)) => watch.say(&instead, now),
        None => {}
    }
    said.iter().for_each(|said| watch.say(said, now));
    let ending = follow(&options, &stop, &mut watch)?;
    conclude(ending, &mut watch, picture.as_ref(), args.fail_on_gap)
}

fn follow(options: &Options, stop: &CancellationToken, watch: &mut Watch) -> Result<Result<Ending, Failure>, Failure> {
    Ok(runtime::on_one_thread()?.block_on(listener::listen(options, stop, watch)))
}

/// Flushes the file, draws, tells the end and the summary, and finds the exit code.
fn conclude(ending: Result<Ending, Failure>, watch: &mut Watch, picture: Option<&Picture>, fail_on_gap: bool) -> End {
    // Before the screen is given back: a terminal that stands still may hold that up, and the file is not to wait for it.
    let finished = watch.finish();
    // A failure before anything came needs no picture of nothing, in place of the one of another run.
    let draws = ending.is_ok() || watch.summary().messages() > 0;
    let drawn = picture
        .filter(|_| draws)
        .map_or(Ok(None), |picture| draw(picture, watch));
    watch.uncover();
    let check = watch
        .recorded_to()
        .map(|path| format!("check it with: lapwing verify {}", escaped(&path.display().to_string())));
    let now = Now::read();
    let stopped = match &ending {
        Ok(Ending::Stopped { code, reason }) => {
            Some(format!("stopped: {}; not coming back", close_text(*code, reason)))
        }
        _ => None,
    };
    let watched = !matches!(ending, Ok(Ending::Unwatched));
    let came = watch.summary().messages() > 0;
    let json = watch.console().is_none();
    let width = watch.console().and_then(|console| console.width());
    let summary = watch.summary().lines(now, width, watch.unwritten());
    if let Some(console) = watch.console().filter(|_| watched) {
        console.finish();
        if let Ok(Ending::FeedEnded { reason }) = &ending {
            let reason = if reason.is_empty() {
                String::new()
            } else {
                format!(": {reason}")
            };
            let _ = console.end(Tone::Plain, format!("the feed has ended{reason}"), now);
        }
        if let Some(stopped) = &stopped {
            let _ = console.end(Tone::Bad, stopped.clone(), now);
        }
        // A failure before anything came needs no table of nothing.
        if came || ending.is_ok() {
            summary.iter().for_each(|line| drop(console.print(line)));
        }
        if let Some(check) = check.filter(|_| came && finished.is_ok()) {
            let _ = console.print(&check);
        }
        if let Ok(Some(drawn)) = &drawn {
            let _ = console.print(drawn);
        }
    }
    ending?;
    finished?;
    drawn?;
    match stopped {
        Some(stopped) if json => Err(Failure::failed(
            stopped,
            "the code says that coming back would not help",
        )),
        Some(_) => Ok(Exit::Failed),
        None if fail_on_gap && watch.summary().has_gaps() => Ok(Exit::NotProven),
        None => Ok(Exit::Done),
    }
}

/// Writes the picture; gives what is to be told of it.
fn draw(picture: &Picture, watch: &Watch) -> Result<Option<String>, Failure> {
    let Some(svg) = watch.drawing(Now::read()) else {
        return Ok(None);
    };
    let path = escaped(&picture.path().display().to_string());
    match picture.write(&svg) {
        Ok(()) => Ok(Some(format!("drawn: {path}"))),
        Err(error) => Err(picture_failure(&path, &error, Failure::failed)),
    }
}

/// Looks after the file of `--plot` before anything starts.
fn picture_at(path: &Path) -> Result<Picture, Failure> {
    Picture::new(path).map_err(|error| {
        let path = escaped(&path.display().to_string());
        match error {
            PictureError::Io(_) => picture_failure(&path, &error, Failure::failed),
            _ => picture_failure(&path, &error, Failure::usage),
        }
    })
}

fn picture_failure(path: &str, error: &PictureError, failure: fn(String, String) -> Failure) -> Failure {
    let (sentence, hint) = match error {
        PictureError::NoSvg => (
            format!("--plot draws SVG, and \"{path}\" does not end in .svg"),
            "name a file such as --plot run.svg",
        ),
        PictureError::Foreign => (
            format!("{path} holds something that Lapwing did not draw"),
            "name a new file with --plot; that one was not touched",
        ),
        PictureError::LeadsNowhere => (
            format!("{path} is a link, and what it leads to is not there"),
            "make that file, or name another one with --plot",
        ),
        PictureError::NoFile => (
            format!("{path} is no file that could be replaced"),
            "name a file such as --plot run.svg",
        ),
        PictureError::Io(error) => (
            format!("cannot write {path}: {}", io_reason(error)),
            "name another file with --plot",
        ),
    };
    failure(sentence, hint.to_owned())
}

/// What the flags mean, or all that is wrong with them.
fn options(args: &ListenArgs, targets: &Targets) -> Result<Options, Failure> {
    let mut wrong = Vec::new();
    let own_wish = targets.first().own_wish();
    if let Some(key) = own_wish
        && (args.topics.is_some() || args.from != Start::Latest)
    {
        wrong.push(Failure::usage(
            format!("{key}= in the URL and --topics or --from both say what to listen to"),
            "leave one of them out",
        ));
    }
    wrong.extend(asked_twice(own_wish, args.encoding));
    // Not by clap, which knows of two flags and not of two ways to write one.
    if args.tui && is_json(args) {
        wrong.push(Failure::usage(
            "--tui and --output json do not go together",
            "leave one of them out",
        ));
    }
    if args.topics.as_ref().is_some_and(|topics| topics.len() > 100) {
        wrong.push(Failure::usage("more than 100 topics in --topics", "listen twice"));
    }
    if args.rotate.is_some()
        && args
            .log
            .as_deref()
            .is_some_and(|log| log_format(log, args.format) == LogFormat::Text)
    {
        wrong.push(Failure::usage(
            "--rotate is for recordings, and --log is text for people",
            "leave it out, or record with --format ndjson",
        ));
    }
    Failure::all(wrong)?;
    let tls = args.trust.tls(targets.first())?;
    let token = args.trust.token()?;
    let dial = |target: &Target| Dial {
        target: target.clone(),
        name: args.name.clone(),
        // A URL with wishes of its own is used as it stands: plain, as any other client would.
        protocols: if own_wish.is_some() { &[] } else { &[SUBPROTOCOL] },
        compression: args.compression.into(),
        limits: DecoderLimits {
            message_bytes_max: MESSAGE_BYTES_MAX,
            fragments_max: FRAGMENTS_MAX,
        },
        read_bytes: READ_BYTES,
        tls: tls.clone(),
        token: token.clone(),
    };
    Ok(Options {
        dials: targets.all().iter().map(dial).collect(),
        topics: args.topics.clone(),
        encoding: args.encoding.into(),
        start: args.from,
        resume: Marks::default(),
        block: args.block,
        count: args.count.map(NonZeroU64::get),
        time: args.time,
        reports: !args.no_report,
    })
}

/// A URL with wishes of its own is used as it stands, and the flag would say nothing.
pub(super) fn asked_twice(own_wish: Option<&str>, encoding: ArraysAs) -> Option<Failure> {
    let key = own_wish.filter(|_| encoding == ArraysAs::Binary)?;
    Some(Failure::usage(
        format!("{key}= in the URL says what to ask for, and then --encoding says nothing"),
        "leave one of them out; encoding=binary may stand in the URL, too",
    ))
}

/// The form of a file, by its name where nothing else is said.
fn log_format(path: &Path, format: Option<LogFormat>) -> LogFormat {
    format.unwrap_or(match path.extension() {
        Some(extension) if extension == "txt" => LogFormat::Text,
        _ => LogFormat::Ndjson,
    })
}

fn open_log(path: &Path, args: &ListenArgs, targets: &Targets) -> Result<(Log, Found), Failure> {
    let sync = match args.sync {
        SyncWhen::None => Sync::None,
        SyncWhen::Interval => Sync::Interval,
        SyncWhen::Each => Sync::Each,
    };
    let keeping = Keeping {
        sync,
        rotate: args.rotate.unwrap_or_default(),
        compress: args.rotate_compress,
    };
    let opened = match log_format(path, args.format) {
        LogFormat::Text => Recorder::open_text(path, sync).map(|recorder| {
            let talk = Talk::new(targets.to_string(), args.from);
            let form = Form::Text(Box::new(TextScribe::new(talk)));
            (recorder, form, Found::default())
        }),
        LogFormat::Ndjson => {
            Recorder::open(path, keeping, Now::read()).map(|(recorder, found)| (recorder, Form::Ndjson, found))
        }
    };
    let (recorder, form, found) = opened.map_err(|error| {
        let path = escaped(&path.display().to_string());
        match error {
            OpenError::Held { by } => {
                let by = by.map(|process| format!(" (process {process})")).unwrap_or_default();
                Failure::failed(
                    format!("{path} is being written by another listener{by}"),
                    "give this one its own file with --log",
                )
            }
            OpenError::Foreign => Failure::usage(
                format!("{path} holds something else: its first line is no record of Lapwing"),
                "name a new file with --log, or append lines for people with --format text",
            ),
            OpenError::Recording => Failure::usage(
                format!("{path} holds a recording, which lines for people would damage"),
                "name a new file with --log, or go on with the recording with --format ndjson",
            ),
            OpenError::Io(error) => Failure::failed(
                format!("cannot write {path}: {}", io_reason(&error)),
                "name another file with --log",
            ),
        }
    })?;
    if args.rotate.is_some() && !recorder.is_file() {
        return Err(Failure::usage(
            format!(
                "{} is no file that could be rotated",
                escaped(&path.display().to_string())
            ),
            "leave --rotate out",
        ));
    }
    Ok((Log::new(recorder, form, args.on_log_error), found))
}

/// What is to be told of a recording that is gone on with.
fn found_said(path: &Path, found: &Found, targets: &Targets) -> Vec<Said> {
    let path = escaped(&path.display().to_string());
    let checkpoint = &found.checkpoint;
    let mut said = Vec::new();
    let mut say = |warning, text, hint| said.push(Said { warning, text, hint });
    if found.cut > 0 {
        let cut = form::counted(found.cut, "byte");
        say(
            true,
            format!("{path}: the last write had not come to its end; {cut} behind the last whole record were cut"),
            None,
        );
    }
    if checkpoint.damaged > 0 {
        let damaged = form::counted(checkpoint.damaged, "line");
        let text = format!("{path}: {damaged} near its end not as written");
        say(
            true,
            text,
            Some("lapwing verify says which; what came later is intact and is gone on from"),
        );
    }
    if !checkpoint.marks.is_empty() {
        let target = targets.to_string();
        let other = checkpoint.url.as_ref().filter(|url| **url != target);
        let from = other
            .map(|url| format!(", which came from {},", escaped(url)))
            .unwrap_or_default();
        let wanted: Vec<_> = checkpoint
            .marks
            .iter()
            .take(TOPICS_SHOWN)
            .map(|(topic, wanted)| format!("{topic} at {}", wanted.offset()))
            .collect();
        let more = checkpoint.marks.iter().count().saturating_sub(TOPICS_SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        say(
            false,
            format!("{path}{from} goes on: {}{more}", wanted.join(", ")),
            None,
        );
    }
    said
}

fn greeting(args: &ListenArgs) -> String {
    let log = match &args.log {
        Some(path) => format!("logging to {}; ", escaped(&path.display().to_string())),
        None => String::new(),
    };
    format!("{log}timing blocks of {}; Ctrl-C stops", args.block)
}

fn goal(args: &ListenArgs) -> Option<Goal> {
    match (args.count, args.time) {
        (Some(count), _) => Some(Goal::Count(count.get())),
        (None, Some(time)) => Some(Goal::Time(time)),
        (None, None) => None,
    }
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// The servers that were typed, or all that is wrong with them.
pub(super) fn targets_of(text: &str, parse: fn(&str) -> Result<Target, TargetError>) -> Result<Targets, Failure> {
    Targets::parse(text, parse).map_err(|wrong| {
        let each = wrong
            .iter()
            .map(|error| Failure::usage(error.to_string(), error.hint()));
        Failure::all(each.collect()).expect_err("what is wrong is told")
    })
}

/// A size, an age, or one of each.
fn rotate(text: &str) -> Result<Rotate, Mistake> {
    let wrong = |why| Mistake::new(why, "write a size such as 100MB, an age such as 1h, or both: 100MB,1h");
    let mut rotate = Rotate::default();
    for limit in text.split(',') {
        let twice = match time(limit) {
            Ok(age) if age < Duration::from_secs(1) => return Err(wrong("is out of range: an age of at least 1s")),
            Ok(age) => rotate.age.replace(age).is_some(),
            Err(_) => match limit.parse::<bytesize::ByteSize>() {
                Ok(size) if size.0 < ROTATE_BYTES_MIN => {
                    return Err(wrong("is out of range: a size of at least 1KB"));
                }
                Ok(size) if limit.ends_with(['B', 'b']) => rotate.bytes.replace(size.0).is_some(),
                _ => return Err(wrong("is neither a size nor an age")),
            },
        };
        if twice {
            return Err(wrong("has more than one size or one age"));
        }
    }
    Ok(rotate)
}

macro_rules! examples {
    () => {
        "\
Examples:
  lapwing listen --topics arrays --block 10 --log feed.ndjson
  lapwing listen --log feed.ndjson --rotate 100MB,24h --rotate-compress
  lapwing listen --from earliest --count 100
  lapwing listen ws://a.example.org:8765,ws://b.example.org:8765 --log feed.ndjson
  lapwing listen --tui --for 1m --plot run.svg
  lapwing listen wss://feed.example.org --for 10m --output json | jq .data"
    };
}

const EXAMPLES: &str = examples!();

const DETAILS: &str = concat!(
    examples!(),
    "\n\nExit codes: 0 done, 1 failed, 2 wrong use, 3 something is missing (--fail-on-gap), 130 ended at once by a second signal"
);

/// 1 KB: a file holds at least its header and a few messages.
const ROTATE_BYTES_MIN: u64 = 1000;

/// So many topics fit a line.
const TOPICS_SHOWN: usize = 5;

/// 64 MiB: feeds of others send what they like, and a recorder takes it.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// At a little over 1 KiB each they make the longest message.
const FRAGMENTS_MAX: u16 = u16::MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_at_a_size_an_age_or_both() {
        let rotation = |bytes, age| Ok(Rotate { bytes, age });
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(rotate("100MB"), rotation(Some(100_000_000), None));
        assert_eq!(rotate("1h"), rotation(None, hour));
        assert_eq!(rotate("1MiB,1h"), rotation(Some(1 << 20), hour));
        assert_eq!(rotate("1h,1MiB"), rotate("1MiB,1h"));
        for wrong in [
            "", "100", "1x", "1h,2h", "1MB,2MB", "10B", "0MB", "500ms", "1h,", "-1MB",
        ] {
            assert!(rotate(wrong).is_err(), "{wrong}");
        }
    }
}
