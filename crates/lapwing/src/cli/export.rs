//! `lapwing export`: a recording as npy, npz, Parquet or CSV.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use lapwing_wire::dtype::Dtype;
use lapwing_wire::escape::escaped;
use lapwing_wire::topic::TopicName;
use serde_json::json;

use super::bar::Bar;
use super::misuse::Mistake;
use super::recorded::{Recording, STDIN, named, watched};
use super::verify::{finding_object, findings, print, verdict, verdict_word};
use super::{End, columnar, in_form, report as report_failure, stop};
use crate::export::archive::Archive;
use crate::export::arrays::Arrays;
use crate::export::draft::{Drafts, Replace};
use crate::export::format::Format;
use crate::export::layout::{Cell, Layout, tuple};
use crate::export::passage::Passage;
use crate::export::refusal::Refusal;
use crate::export::sink::Sink;
use crate::export::survey::{Survey, Topic};
use crate::export::table::Table;
use crate::export::transfer::transfer;
use crate::failure::{Exit, Failure};
use crate::recording::proof::Proven;
use crate::recording::proof::tally::Gaps;
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing export`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// One recording that `listen --log` wrote, compressed or not; parts that were rotated away from FILE are read before it
    #[arg(value_name = "FILE", required = true, help_heading = "What")]
    files: Vec<PathBuf>,
    /// Only this topic, may be repeated; of several each has its own file: feed-NAME.npy [default: every topic]
    #[arg(long = "topic", value_name = "NAME", help_heading = "What")]
    topics: Vec<String>,
    /// Gaps that the recording itself tells are no fault [default: off, they end it with code 3]
    #[arg(long, help_heading = "What")]
    allow_gaps: bool,
    /// What to write; the end of its name says in which form: .npy, .npz, .parquet or .csv [default: none, it is asked for]
    #[arg(long, value_name = "FILE", help_heading = "Form")]
    to: PathBuf,
    /// Type of the numbers of arrays: int8 to int64, uint8 to uint64, float32, float64 [default: int64, uint64 or float64, as they are]
    #[arg(long, value_parser = dtype, value_name = "TYPE", help_heading = "Form")]
    dtype: Option<Dtype>,
    /// Fields of one topic at most, each of which is a column: 1 to 10000
    #[arg(long, default_value_t = 1000, value_parser = columns_max, value_name = "N", help_heading = "Form")]
    columns_max: usize,
    /// Characters of one text in npz at most, where every text takes as much room as the longest: 1 to 1000000
    #[arg(long, default_value_t = 1024, value_parser = text_max, value_name = "N", help_heading = "Form")]
    text_max: u64,
    /// Replace files that are there already [default: off, they are refused]
    #[arg(long, help_heading = "Form")]
    force: bool,
    /// What to print: text for people, or json with one object
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Exports a recording, and ends with code 3 when it is not proven that all of it is there.
pub fn run(args: ExportArgs, color: ColorChoice) -> End {
    let json = args.json || args.output == OutputFormat::Json;
    in_form(json, export(&args, color, json))
}

fn export(args: &ExportArgs, color: ColorChoice, json: bool) -> End {
    let (format, wanted, recording) = checked(args)?;
    let bar = Bar::new("exporting", recording.bytes() * 2, json);
    let drafts = Drafts::default();
    let (shown, discard) = (bar.bar.clone(), drafts.discarder());
    stop::ends_with(move || {
        if !discard() {
            // All is written: the sentence that says so is on its way.
            loop {
                std::thread::park();
            }
        }
        shown.finish_and_clear();
        let failure = Failure::failed("stopped before the end: nothing was written", "let it read to the end");
        in_form(json, Err(failure)).unwrap_or_else(|failure| {
            report_failure(&failure, color);
            failure.exit
        })
    })?;
    let order = Order {
        args,
        format,
        wanted,
        recording: &recording,
    };
    let (survey, made) = bar.while_it_works(|bar| order.carry_out(bar, &drafts))?;
    bar.finish();
    let gaps = if args.allow_gaps { Gaps::Allowed } else { Gaps::Refused };
    let is_proven = survey.proven.tally.is_proven(gaps);
    print(&match json {
        true => vec![object(&recording, &survey.proven, is_proven, &made).to_string()],
        false => lines(&recording, &survey.proven, is_proven, &made, Painter::stdout(color)),
    })?;
    Ok(if is_proven { Exit::Done } else { Exit::NotProven })
}

/// What can be said before anything is read; all mistakes together.
fn checked(args: &ExportArgs) -> Result<(Format, Vec<TopicName>, Recording), Failure> {
    let mut mistakes = Vec::new();
    let to = named(&args.to);
    let format = Format::of(&args.to);
    match format {
        None => mistakes.push(Failure::usage(
            format!("\"{to}\" in --to does not say in which form: its name ends in none of .npy, .npz, .parquet, .csv"),
            "--to feed.npy takes arrays of numbers, --to feed.csv anything",
        )),
        Some(Format::Csv) if args.dtype.is_some() => mistakes.push(Failure::usage(
            "--dtype means nothing for CSV, which keeps numbers as they came",
            "leave it out, or write --to FILE.npy, FILE.npz or FILE.parquet",
        )),
        Some(Format::Parquet) => mistakes.extend(columnar::is_built_in().err()),
        Some(_) => {}
    }
    let mut wanted = Vec::new();
    for name in &args.topics {
        match TopicName::parse(name) {
            Ok(name) => wanted.push(name),
            Err(error) => mistakes.push(Failure::usage(
                format!("\"{}\" in --topic: {error}", escaped(name)),
                "write a name as the recording has it, such as users",
            )),
        }
    }
    if args.files.iter().any(|file| file == Path::new(STDIN)) {
        mistakes.push(Failure::usage(
            "a recording is read more than once, so it cannot come from stdin",
            "write it to a file first",
        ));
    }
    let mut recordings = Recording::all(&args.files);
    if let [first, second, ..] = recordings.as_slice() {
        mistakes.push(Failure::usage(
            format!(
                "{} and {} are two recordings, and one is exported at a time",
                first.name(),
                second.name()
            ),
            "name one of them, or parts of one",
        ));
    }
    Failure::all(mistakes)?;
    match (format, recordings.pop()) {
        (Some(format), Some(recording)) => Ok((format, wanted, recording)),
        _ => Err(Failure::usage("there is nothing to export", "name a recording")),
    }
}

/// What is to be done.
struct Order<'a> {
    args: &'a ExportArgs,
    format: Format,
    wanted: Vec<TopicName>,
    recording: &'a Recording,
}

/// What was made of a topic.
struct Made {
    topic: TopicName,
    files: Vec<PathBuf>,
    bytes: u64,
    messages: u64,
    offsets: Option<(u64, u64)>,
    histories: usize,
    columns: Vec<(String, String)>,
}

/// How a topic is written.
enum Way {
    Arrays(Layout),
    Table,
    Columnar,
}

impl Order<'_> {
    fn carry_out(&self, bar: &ProgressBar, drafts: &Drafts) -> Result<(Survey, Vec<Made>), Failure> {
        let bytes = self.recording.bytes();
        let passage = Passage {
            files: &self.recording.files,
            open: &|file| watched(file, bar),
        };
        let is_wanted =
            |name: &[u8]| self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted.as_str().as_bytes() == name);
        let again = || bar.inc_length(bytes);
        let survey = Survey::of(&passage, &is_wanted, self.args.columns_max, &again).map_err(failure)?;
        self.has_all(&survey)?;
        bar.inc_length(bytes * (survey.topics.len() as u64).saturating_sub(1));
        let mut plans = Vec::new();
        for topic in &survey.topics {
            let target = self.target(topic, survey.topics.len());
            let way = self.way(topic).map_err(failure)?;
            let files = match &way {
                Way::Arrays(layout) if self.format == Format::Npy => Arrays::targets(layout, &target),
                _ => vec![target.clone()],
            };
            self.may_write(&files)?;
            plans.push((topic, target, files, way));
        }
        let mut made = Vec::new();
        for (topic, target, files, way) in plans {
            let columns = self.columns(topic, &way);
            let sink = self.sink(topic, way, &target, drafts).map_err(failure)?;
            transfer(&passage, &survey, topic, sink).map_err(failure)?;
            made.push(Made {
                topic: topic.name.clone(),
                files,
                bytes: 0,
                messages: topic.rows,
                offsets: topic.offsets,
                histories: topic.histories,
                columns,
            });
        }
        let replace = if self.args.force {
            Replace::Force
        } else {
            Replace::Never
        };
        drafts.keep(replace).map_err(failure)?;
        for made in &mut made {
            let sizes = made.files.iter().filter_map(|file| std::fs::metadata(file).ok());
            made.bytes = sizes.map(|file| file.len()).sum();
        }
        Ok((survey, made))
    }

    /// Whether there is something to export, and each topic that was named.
    fn has_all(&self, survey: &Survey) -> Result<(), Failure> {
        let name = self.recording.name();
        let tally = &survey.proven.tally;
        if tally.records == 0 && tally.damaged > 0 {
            return Err(Failure::failed(
                format!("{name} is no recording: no line of it ends in a checksum"),
                "lapwing listen --log FILE writes one; a log of text for people cannot be exported",
            ));
        }
        let held = survey.proven.histories.iter().filter(|history| history.messages > 0);
        let mut held: Vec<_> = held.map(|history| history.topic.as_str()).collect();
        held.sort_unstable();
        held.dedup();
        for wanted in &self.wanted {
            if !survey.topics.iter().any(|topic| topic.name == *wanted) {
                return Err(Failure::usage(
                    format!("{name} has no messages of topic \"{wanted}\""),
                    match held.is_empty() {
                        true => "it has no messages at all".to_owned(),
                        false => format!("it has: {}", held.join(", ")),
                    },
                ));
            }
        }
        match survey.topics.is_empty() {
            true => Err(Failure::failed(
                format!("{name} has no messages"),
                "lapwing verify says what it has",
            )),
            false => Ok(()),
        }
    }

    fn way(&self, topic: &Topic) -> Result<Way, Refusal> {
        match self.format {
            Format::Csv => Ok(Way::Table),
            Format::Parquet => Ok(Way::Columnar),
            format => Layout::of(topic, format, self.args.dtype, self.args.text_max).map(Way::Arrays),
        }
    }

    fn sink(&self, topic: &Topic, way: Way, target: &Path, drafts: &Drafts) -> Result<Box<dyn Sink>, Refusal> {
        Ok(match way {
            Way::Arrays(layout) if self.format == Format::Npy => {
                Box::new(Arrays::begin(layout, topic.rows, target, drafts)?)
            }
            Way::Arrays(layout) => Box::new(Archive::begin(layout, topic.rows, target, drafts)?),
            Way::Table => Box::new(Table::begin(topic, self.args.columns_max, target, drafts)?),
            Way::Columnar => columnar::begin(topic, self.args.dtype, target, drafts)?,
        })
    }

    /// The columns of the messages, each with what it is.
    fn columns(&self, topic: &Topic, way: &Way) -> Vec<(String, String)> {
        match way {
            Way::Arrays(layout) => {
                let columns = layout.columns.iter().filter_map(|column| match &column.cell {
                    Cell::Numbers { element, shape, .. } => {
                        let whole = [&[topic.rows], shape.as_slice()].concat();
                        Some((column.name.clone(), format!("{element} {}", tuple(&whole))))
                    }
                    Cell::Text { chars, .. } => Some((column.name.clone(), format!("text of {chars}"))),
                    _ => None,
                });
                columns.collect()
            }
            Way::Table => {
                let names = Table::names(topic, self.args.columns_max);
                names.into_iter().map(|name| (name, "text".to_owned())).collect()
            }
            Way::Columnar => columnar::columns(topic, self.args.dtype),
        }
    }

    /// Where a topic goes: the file itself, or one with the topic's name when there are several.
    fn target(&self, topic: &Topic, topics: usize) -> PathBuf {
        let to = &self.args.to;
        match topics {
            1 => to.clone(),
            _ => {
                let mut name = to.file_stem().unwrap_or_default().to_owned();
                name.push(format!("-{}.", topic.name));
                name.push(to.extension().unwrap_or_default());
                to.with_file_name(name)
            }
        }
    }

    /// Whether these files may be written: none is part of the recording, and none is there unless it may be replaced.
    fn may_write(&self, files: &[PathBuf]) -> Result<(), Failure> {
        let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        for file in files {
            let Ok(found) = std::fs::metadata(file) else { continue };
            let read = self
                .recording
                .files
                .iter()
                .filter_map(|read| std::fs::metadata(read).ok());
            if read.into_iter().any(|read| same(&read, &found)) {
                return Err(Failure::usage(
                    format!("{} is the recording itself", named(file)),
                    "name another file with --to",
                ));
            }
            if !found.is_file() {
                return Err(Failure::usage(
                    format!("{} is no file that could be replaced", named(file)),
                    "name another file with --to",
                ));
            }
            if !self.args.force {
                return Err(failure(Refusal::Occupied { file: file.clone() }));
            }
        }
        Ok(())
    }
}

fn failure(refusal: Refusal) -> Failure {
    Failure::failed(refusal.to_string(), refusal.hint())
}

/// What is told for people.
fn lines(recording: &Recording, proven: &Proven, is_proven: bool, made: &[Made], paint: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    for made in made {
        let Some((file, beside)) = made.files.split_first() else {
            continue;
        };
        let mut parts = vec![form::counted(made.messages, "message")];
        if let Some((first, last)) = made.offsets {
            parts.push(format!("offsets {first}-{last}"));
        }
        if made.histories > 1 {
            parts.push(format!("{} histories", made.histories));
        }
        match made.columns.as_slice() {
            [(_, what)] if what != "text" => parts.push(what.clone()),
            columns => parts.push(form::counted(columns.len() as u64, "column")),
        }
        parts.push(form::bytes(made.bytes));
        lines.push(format!("{}: {}, {}", named(file), made.topic, parts.join(", ")));
        if !beside.is_empty() {
            let beside: Vec<_> = beside.iter().map(|file| named(file)).collect();
            lines.push(format!("  beside it: {}", beside.join(", ")));
        }
        let json: Vec<_> = made.columns.iter().filter(|(_, what)| what == "json").collect();
        if !json.is_empty() {
            let names: Vec<_> = json.iter().take(SHOWN_MAX).map(|(name, _)| escaped(name)).collect();
            let more = if json.len() > SHOWN_MAX { ", ..." } else { "" };
            lines.push(format!(
                "  as JSON, since it has no one type: {}{more}",
                names.join(", ")
            ));
        }
    }
    let left_out = left_out(proven);
    if !left_out.is_empty() {
        lines.push(format!("left out: {}", left_out.join(", ")));
    }
    if !proven.findings.is_empty() {
        lines.extend(findings(recording, proven));
        let role = if is_proven { Role::Good } else { Role::Bad };
        lines.push(paint.paint(role, verdict(&proven.tally, is_proven)).to_string());
    }
    lines
}

/// What stands in the recording and not in the files.
fn left_out(proven: &Proven) -> Vec<String> {
    let tally = &proven.tally;
    let counted = [
        (tally.repeated, "repeated"),
        (tally.out_of_order, "out of order"),
        (tally.orphaned, "lost by the server"),
        (tally.damaged, "damaged"),
        (tally.torn, "torn"),
    ];
    let there = counted.into_iter().filter(|(count, _)| *count > 0);
    there
        .map(|(count, word)| format!("{} {word}", form::count(count)))
        .collect()
}

fn object(recording: &Recording, proven: &Proven, is_proven: bool, made: &[Made]) -> serde_json::Value {
    let tally = &proven.tally;
    let text = |file: &PathBuf| file.display().to_string();
    let topics = made.iter().map(|made| {
        json!({
            "topic": made.topic,
            "files": made.files.iter().map(text).collect::<Vec<_>>(),
            "bytes": made.bytes,
            "messages": made.messages,
            "first": made.offsets.map(|(first, _)| first),
            "last": made.offsets.map(|(_, last)| last),
            "histories": made.histories,
            "columns": made.columns.iter().map(|(name, what)| json!({ "name": name, "type": what })).collect::<Vec<_>>(),
        })
    });
    json!({
        "files": recording.files.iter().map(text).collect::<Vec<_>>(),
        "verdict": verdict_word(is_proven),
        "topics": topics.collect::<Vec<_>>(),
        "left_out": {
            "repeated": tally.repeated,
            "out_of_order": tally.out_of_order,
            "orphaned": tally.orphaned,
            "damaged": tally.damaged,
            "torn": tally.torn,
        },
        "missing": tally.missing,
        "announced": tally.announced,
        "resets": tally.resets,
        "findings": proven.findings.iter().map(|finding| finding_object(recording, finding)).collect::<Vec<_>>(),
        "findings_not_listed": tally.findings_beyond,
    })
}

fn dtype(text: &str) -> Result<Dtype, Mistake> {
    text.parse().map_err(|_| {
        let known = Dtype::ALL.map(Dtype::as_str).join(", ");
        Mistake::new("is no type of numbers", format!("write one of {known}"))
    })
}

fn columns_max(text: &str) -> Result<usize, Mistake> {
    let limit = ranged(text, 10_000)?;
    usize::try_from(limit).map_err(|_| Mistake::new("is out of range: 1 to 10000", "write a number such as 1000"))
}

fn text_max(text: &str) -> Result<u64, Mistake> {
    ranged(text, 1_000_000)
}

fn ranged(text: &str, max: u64) -> Result<u64, Mistake> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| {
        Mistake::new(
            format!("is out of range: 1 to {max}"),
            "write a whole number such as 1000",
        )
    })
}

const EXAMPLES: &str = "\
Examples:
  lapwing export feed.ndjson --topic arrays --to arrays.npy
  lapwing export feed.ndjson --to feed.csv
  python3 -c 'import numpy; print(numpy.load(\"arrays.npy\").mean(axis=0))'

Exit codes: 0 all is there, 1 could not be written or was stopped, 2 wrong use, 3 written, but anything is missing, repeated, damaged or out of order";

/// Names of columns in one sentence.
const SHOWN_MAX: usize = 10;
