//! `lapwing verify`: whether a recording is complete and in order, or what is wrong with it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use lapwing_wire::time::micros_text;
use serde_json::json;

use super::bar::Bar;
use super::recorded::{Recording, STDIN, named, watched};
use super::{End, in_form, report as report_failure, stop};
use crate::client::dial::io_reason;
use crate::failure::{Exit, Failure};
use crate::recording::input;
use crate::recording::lines::Lines;
use crate::recording::note::Missed;
use crate::recording::proof::finding::{Finding, What};
use crate::recording::proof::history::History;
use crate::recording::proof::tally::{Gaps, Tally};
use crate::recording::proof::{Proof, Proven};
use crate::terminal::form;
use crate::terminal::output::OutputFormat;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// The flags of `lapwing verify`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Recordings that `listen --log` wrote, compressed or not; parts that were rotated away from FILE are read before it. - is stdin
    #[arg(value_name = "FILE", required = true, help_heading = "What")]
    files: Vec<PathBuf>,
    /// Gaps that the recording itself tells are no fault [default: off, they end it with code 3]
    #[arg(long, help_heading = "What")]
    allow_gaps: bool,
    /// What to print: text for people, or json with one object
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    output: OutputFormat,
    /// Short for --output json
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Verifies every recording, and ends with code 3 when one is not proven.
pub fn run(args: VerifyArgs, color: ColorChoice) -> End {
    let json = args.json || args.output == OutputFormat::Json;
    in_form(json, verify(&args, color, json))
}

fn verify(args: &VerifyArgs, color: ColorChoice, json: bool) -> End {
    let gaps = if args.allow_gaps { Gaps::Allowed } else { Gaps::Refused };
    let recordings = Recording::all(&args.files);
    let bar = Bar::new("verifying", recordings.iter().map(Recording::bytes).sum(), json);
    let shown = bar.bar.clone();
    stop::ends_with(move || {
        shown.finish_and_clear();
        let failure = Failure::failed(
            "stopped before the end: nothing is proven of what was not read, nor of its recording",
            "let it read to the end",
        );
        in_form(json, Err(failure)).unwrap_or_else(|failure| {
            report_failure(&failure, color);
            failure.exit
        })
    })?;
    let mut objects = Vec::new();
    let mut all_proven = true;
    for recording in &recordings {
        let proven = bar.while_it_works(|bar| prove(recording, bar))?;
        if proven.tally.records == 0 && proven.tally.damaged > 0 {
            return Err(Failure::failed(
                format!("{} is no recording: no line of it ends in a checksum", recording.name()),
                "lapwing listen --log FILE writes one; a log of text for people cannot be verified",
            ));
        }
        all_proven &= proven.tally.is_proven(gaps);
        match json {
            true => objects.push(object(recording, &proven, gaps)),
            false => bar.suspend(|| print(&report(recording, &proven, gaps, Painter::stdout(color))))?,
        }
    }
    bar.finish();
    if json {
        let whole = json!({ "verdict": verdict_word(all_proven), "recordings": objects });
        print(&[whole.to_string()])?;
    }
    Ok(if all_proven { Exit::Done } else { Exit::NotProven })
}

fn prove(recording: &Recording, bar: &ProgressBar) -> Result<Proven, Failure> {
    let mut proof = Proof::default();
    for (at, file) in recording.files.iter().enumerate() {
        if at > 0 {
            proof.next_part();
        }
        let read = watched(file, bar).and_then(|input| {
            let mut lines = Lines::new(input);
            while let Some(line) = lines.next()? {
                proof.take(&line);
            }
            Ok(())
        });
        match read {
            Err(error) if input::is_unpackable(&error) => proof.on_unpackable(),
            read => read.map_err(|error| unreadable(file, &error))?,
        }
    }
    Ok(proof.finish())
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        format!("cannot read {}: {}", named(file), io_reason(error)),
        "name a file that lapwing listen --log wrote",
    )
}

/// Prints lines to stdout; nobody looking any more is no failure.
pub(super) fn print(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(
            format!("cannot write to stdout: {}", io_reason(&error)),
            "the exit code says whether it is proven",
        )),
        _ => Ok(()),
    }
}

/// What is told of one recording.
fn report(recording: &Recording, proven: &Proven, gaps: Gaps, paint: Painter) -> Vec<String> {
    let mut lines = vec![first_line(recording, proven)];
    lines.extend(histories(&proven.histories));
    lines.extend(findings(recording, proven));
    let is_proven = proven.tally.is_proven(gaps);
    let role = if is_proven { Role::Good } else { Role::Bad };
    lines.push(paint.paint(role, verdict(&proven.tally, is_proven)).to_string());
    if proven.tally.torn > 0 && recording.files.last() == Some(&recording.base) && recording.base != Path::new(STDIN) {
        let hint = format!(
            "lapwing listen --log {} cuts the torn record and goes on from there",
            named(&recording.base)
        );
        lines.push(format!("{} {hint}", paint.paint(Role::Hint, "hint:")));
    }
    lines
}

fn first_line(recording: &Recording, proven: &Proven) -> String {
    let tally = &proven.tally;
    let mut topics: Vec<_> = proven.histories.iter().map(|history| &history.topic).collect();
    topics.sort();
    topics.dedup();
    let mut parts = vec![
        form::counted(tally.messages, "message"),
        form::counted(topics.len() as u64, "topic"),
    ];
    if let Some((from, to)) = proven.span {
        parts.push(format!("{} to {}", form::clock(from, 0), form::clock(to, 0)));
    }
    for (count, noun) in [
        (tally.reconnects, "reconnect"),
        (tally.clock_steps, "clock step"),
        (tally.unknown, "record of a later version"),
    ] {
        if count > 0 {
            parts.push(form::counted(count, noun));
        }
    }
    if recording.files.len() > 1 {
        parts.push(format!("in {} files", recording.files.len()));
    }
    format!("{}: {}", recording.name(), parts.join(", "))
}

fn histories(histories: &[History]) -> Vec<String> {
    let rows: Vec<_> = histories
        .iter()
        .filter(|history| history.messages > 0)
        .map(|history| {
            let epoch = history
                .epoch
                .map_or("-".to_owned(), |epoch| epoch.to_string()[..8].to_owned());
            let offsets = history
                .offsets
                .map_or("-".to_owned(), |(first, last)| format!("{first}-{last}"));
            let state = match history {
                History { offsets: None, .. } => "no offsets, so nothing can be proven".to_owned(),
                History {
                    wrong: 0, announced: 0, ..
                } => "each offset once, in order".to_owned(),
                History {
                    wrong: 0, announced, ..
                } => format!(
                    "each offset once, in order, but {} told as gone",
                    form::count(*announced)
                ),
                History { wrong, .. } => format!("{} wrong", form::count(*wrong)),
            };
            [
                history.topic.to_string(),
                format!("epoch {epoch}"),
                offsets,
                form::count(history.messages),
                state,
            ]
        })
        .collect();
    let mut lines = aligned(&rows[..rows.len().min(SHOWN_MAX)], &[3]);
    if rows.len() > SHOWN_MAX {
        lines.push(format!(
            "  and {} histories more",
            form::count((rows.len() - SHOWN_MAX) as u64)
        ));
    }
    lines
}

pub(super) fn findings(recording: &Recording, proven: &Proven) -> Vec<String> {
    let several = recording.files.len() > 1;
    let rows: Vec<_> = proven
        .findings
        .iter()
        .take(SHOWN_MAX)
        .map(|finding| {
            let file = match several {
                true => format!("{} ", named(Path::new(file_name(recording, finding)))),
                false => String::new(),
            };
            let (kind, offsets, words) = told(finding.what);
            [
                format!("{file}line {}", form::count(finding.place.line)),
                finding.topic.as_ref().map_or("-".to_owned(), ToString::to_string),
                kind.to_owned(),
                offsets,
                words,
            ]
        })
        .collect();
    let mut lines = aligned(&rows, &[]);
    let beyond = (proven.findings.len() as u64 + proven.tally.findings_beyond).saturating_sub(SHOWN_MAX as u64);
    if beyond > 0 {
        lines.push(format!(
            "  and {} more; --json lists the first {}",
            form::count(beyond),
            form::count(10_000)
        ));
    }
    lines
}

fn file_name<'a>(recording: &'a Recording, finding: &Finding) -> &'a std::ffi::OsStr {
    let file = recording.files.get(finding.place.part).unwrap_or(&recording.base);
    file.file_name().unwrap_or(file.as_os_str())
}

/// What a finding is called, of which offsets it is, and what it means.
fn told(what: What) -> (&'static str, String, String) {
    let range = |from: u64, to: u64| match to - from {
        1 => from.to_string(),
        _ => format!("{from}-{}", to.saturating_sub(1)),
    };
    let offsets = |from: u64, to: u64| form::counted(to - from, "offset");
    let came = |from: u64, to: u64, when: &str| match to - from {
        1 => format!("it came {when}"),
        more => format!("these {} offsets came {when}", form::count(more)),
    };
    match what {
        What::Missing { from, to } => (
            "missing",
            range(from, to),
            format!("{} without a gap record", offsets(from, to)),
        ),
        What::Gap {
            from,
            to,
            reason: Missed::Unannounced,
        } => (
            "missing",
            range(from, to),
            format!("{}, which the server skipped without a word", offsets(from, to)),
        ),
        What::Gap { from, to, reason } => (
            "gap",
            range(from, to),
            format!(
                "{}, announced: {} (--allow-gaps)",
                offsets(from, to),
                reason_word(reason)
            ),
        ),
        What::Repeated { from, to } => ("repeated", range(from, to), came(from, to, "before")),
        What::OutOfOrder { from, to } => ("late", range(from, to), came(from, to, "behind a later one")),
        What::Reset { last } => (
            "reset",
            last.to_string(),
            "another history begins; what came after this is unknown (--allow-gaps)".to_owned(),
        ),
        What::Orphaned { from, to } => (
            "orphaned",
            range(from, to),
            format!("{}, which the server has lost since (--allow-gaps)", offsets(from, to)),
        ),
        What::HistoryChanged => (
            "changed",
            "-".to_owned(),
            "another history, and no record says so".to_owned(),
        ),
        What::Contradiction { said, next } => (
            "contradicts",
            said.to_string(),
            format!("a record says that {said} is next; by the lines above it is {next}"),
        ),
        What::TimeBack { by_ns } => (
            "time",
            "-".to_owned(),
            format!(
                "received goes back by {}, and no record says that the clock was set",
                span(by_ns)
            ),
        ),
        What::MonoBack { by_ns } => ("time", "-".to_owned(), format!("mono goes back by {}", span(by_ns))),
        What::Damaged(damage) => ("damaged", "-".to_owned(), damage.to_string()),
        What::Unpackable => (
            "damaged",
            "-".to_owned(),
            "the compressed file cannot be taken apart from here on".to_owned(),
        ),
        What::NotUnderstood => ("damaged", "-".to_owned(), "intact, but it is no record".to_owned()),
        What::Torn { bytes } => (
            "torn",
            "-".to_owned(),
            format!("the last record ends after {}", form::counted(bytes, "byte")),
        ),
        What::TooManyTopics => ("topics", "-".to_owned(), "more topics than are looked at".to_owned()),
    }
}

fn span(ns: u64) -> String {
    form::span(Duration::from_nanos(ns))
}

fn reason_word(reason: Missed) -> &'static str {
    match reason {
        Missed::Retention => "retention",
        Missed::Policy => "policy",
        Missed::Damage => "damage",
        Missed::Purge => "purge",
        Missed::Away => "away",
        Missed::Unannounced => "unannounced",
    }
}

pub(super) fn verdict(tally: &Tally, is_proven: bool) -> String {
    let mut wrong = Vec::new();
    for (count, word) in [
        (tally.missing, "missing"),
        (tally.repeated, "repeated"),
        (tally.out_of_order, "out of order"),
        (tally.damaged, "damaged"),
        (tally.torn, "torn"),
        (tally.contradictions, "contradicting"),
        (tally.back, "going back in time"),
        (tally.announced, "announced as gone"),
        (tally.orphaned, "lost by the server"),
    ] {
        if count > 0 {
            wrong.push(format!("{} {word}", form::count(count)));
        }
    }
    match tally.resets {
        0 => {}
        1 => wrong.push("1 new history".to_owned()),
        more => wrong.push(format!("{} new histories", form::count(more))),
    }
    match (is_proven, wrong.is_empty()) {
        (true, true) if tally.messages == 0 => {
            "empty: every line is as it was written, and none is a message".to_owned()
        }
        (true, true) if tally.unplaced == tally.messages => {
            "intact: every line is as it was written; without offsets nothing else can be proven".to_owned()
        }
        (true, true) => "complete: nothing missing, repeated, damaged or out of order".to_owned(),
        (true, false) => format!("complete but for what was told: {}", wrong.join(", ")),
        (false, true) => "not proven: there is no record in it".to_owned(),
        (false, false) => format!("not proven: {}", wrong.join(", ")),
    }
}

/// Columns that stand below each other; numbers, as named, stand right.
fn aligned(rows: &[[String; 5]], right: &[usize]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..4).map(width).collect();
    let cell = |(column, text): (usize, &String)| match (right.contains(&column), widths.get(column)) {
        (true, Some(width)) => format!("{text:>width$}"),
        (false, Some(width)) => format!("{text:width$}"),
        (_, None) => text.clone(),
    };
    rows.iter()
        .map(|row| format!("  {}", row.iter().enumerate().map(cell).collect::<Vec<_>>().join("   ")))
        .collect()
}

fn object(recording: &Recording, proven: &Proven, gaps: Gaps) -> serde_json::Value {
    let tally = &proven.tally;
    let topics: Vec<_> = proven.histories.iter().map(history_object).collect();
    let findings: Vec<_> = proven
        .findings
        .iter()
        .map(|finding| finding_object(recording, finding))
        .collect();
    json!({
        "files": recording.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        "verdict": verdict_word(tally.is_proven(gaps)),
        "messages": tally.messages,
        "from": proven.span.map(|(from, _)| micros_text(from)),
        "to": proven.span.map(|(_, to)| micros_text(to)),
        "reconnects": tally.reconnects,
        "clock_steps": tally.clock_steps,
        "without_offset": tally.unplaced,
        "later_records": tally.unknown,
        "missing": tally.missing,
        "repeated": tally.repeated,
        "out_of_order": tally.out_of_order,
        "damaged": tally.damaged,
        "torn": tally.torn,
        "contradictions": tally.contradictions,
        "back_in_time": tally.back,
        "announced": tally.announced,
        "resets": tally.resets,
        "orphaned": tally.orphaned,
        "topics": topics,
        "topics_not_listed": tally.histories_beyond,
        "findings": findings,
        "findings_not_listed": tally.findings_beyond,
    })
}

fn history_object(history: &History) -> serde_json::Value {
    json!({
        "topic": history.topic,
        "epoch": history.epoch,
        "first": history.offsets.map(|(first, _)| first),
        "last": history.offsets.map(|(_, last)| last),
        "messages": history.messages,
        "wrong": history.wrong,
        "announced": history.announced,
    })
}

pub(super) fn finding_object(recording: &Recording, finding: &Finding) -> serde_json::Value {
    let (kind, _, words) = told(finding.what);
    let (from, to) = match finding.what {
        What::Missing { from, to }
        | What::Gap { from, to, .. }
        | What::Orphaned { from, to }
        | What::Repeated { from, to }
        | What::OutOfOrder { from, to } => (Some(from), Some(to)),
        _ => (None, None),
    };
    let file = recording.files.get(finding.place.part).unwrap_or(&recording.base);
    json!({
        "file": file.display().to_string(),
        "line": finding.place.line,
        "topic": finding.topic,
        "kind": kind,
        "from": from,
        "to": to,
        "says": words,
    })
}

pub(super) fn verdict_word(is_proven: bool) -> &'static str {
    if is_proven { "complete" } else { "not_proven" }
}

const EXAMPLES: &str = "\
Examples:
  lapwing verify feed.ndjson
  lapwing verify --allow-gaps --json feed.ndjson | jq .verdict
  zcat old.ndjson.gz | lapwing verify -

Exit codes: 0 complete, 1 could not be read to its end or was stopped, 2 wrong use, 3 anything is missing, repeated, damaged or out of order";

/// Findings, and histories, on a screen; the others are counted.
const SHOWN_MAX: usize = 20;
