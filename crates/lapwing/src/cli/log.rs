//! `lapwing log`: what a data directory holds, and damage in it made explicit.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lapwing_wire::envelope::Kind;
use lapwing_wire::position::Epoch;
use lapwing_wire::time::TimeWriter;
use lapwing_wire::topic::TopicName;

use super::{End, in_form};
use crate::clock::Now;
use crate::failure::{Exit, Failure};
use crate::log::store::batch::Row;
use crate::log::store::directory::{DataDir, DataDirError, is_data_dir, topic_directory, topics_in};
use crate::log::store::disk::{Disk, RealDisk};
use crate::log::store::dump::{Item, dump};
use crate::log::store::repair::{Repair, repair};
use crate::reason::reason;
use crate::terminal::form;

/// The flags of `lapwing log`.
#[derive(clap::Args, Debug)]
pub struct LogArgs {
    /// What to do with it
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(clap::Subcommand, Debug)]
enum LogCommand {
    /// Print every message that a data directory holds, one JSON object a line; also while a server uses it
    ///
    /// Gaps and damage stand between them as objects with a "record" key. Nothing is changed. Exit code 3 when something is damaged or
    /// missing that a repair would make a gap.
    Dump(DumpArgs),
    /// Make damage and missing files of a data directory explicit: their offsets are a gap, all other messages stay
    ///
    /// Damaged bytes are kept beside the file as *.damaged. No server may use the directory meanwhile. Run twice, it does nothing.
    Repair(RepairArgs),
}

/// The flags of `lapwing log dump`.
#[derive(clap::Args, Debug)]
struct DumpArgs {
    /// The data directory, or a copy of one
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only this topic [default: all]
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

/// The flags of `lapwing log repair`.
#[derive(clap::Args, Debug)]
struct RepairArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print each repair as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs `lapwing log`.
pub fn run(args: LogArgs) -> End {
    match args.command {
        LogCommand::Dump(args) => run_dump(&args),
        LogCommand::Repair(args) => in_form(args.json, run_repair(&args)),
    }
}

fn run_dump(args: &DumpArgs) -> End {
    check_directory(&args.directory)?;
    let topics = chosen(&args.directory, args.topic.as_deref())?;
    let mut out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
    let mut whole = true;
    for topic in topics {
        let mut lines = Lines {
            topic: &topic,
            out: &mut out,
            line: Vec::new(),
            time: TimeWriter::default(),
            whole: true,
        };
        let told = dump(&RealDisk, &topic_directory(&args.directory, &topic), &mut |item| {
            lines.item(&item)
        });
        whole &= lines.whole;
        if let Err((file, error)) = told {
            return ended(&file, &error);
        }
    }
    match out.flush() {
        Err(error) => ended(Path::new("stdout"), &error),
        Ok(()) if whole => Ok(Exit::Done),
        Ok(()) => Ok(Exit::NotProven),
    }
}

/// An error on the way; a reader that has seen enough is none.
fn ended(file: &Path, error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        _ => Err(Failure::failed(
            format!("{}: {}", file.display(), reason(error)),
            "is it a whole data directory, and may you read it?",
        )),
    }
}

fn check_directory(directory: &Path) -> Result<(), Failure> {
    let is_ours = is_data_dir(&RealDisk, directory).map_err(|error| data_failure(&error))?;
    if is_ours {
        return Ok(());
    }
    Err(Failure::usage(
        format!("{} is empty: it is no data directory", directory.display()),
        "name the directory that a server was given with --data",
    ))
}

/// As the directory says it, but that these commands are told it without `--data`.
fn data_failure(error: &DataDirError) -> Failure {
    let sentence = error.to_string();
    match error {
        DataDirError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            Failure::usage(sentence, "name the directory that a server was given with --data")
        }
        DataDirError::Io { .. } => Failure::failed(sentence, error.hint()),
        DataDirError::Held { .. } => Failure::failed(sentence, "stop that process"),
        DataDirError::Foreign { .. } => Failure::usage(
            sentence,
            "name the directory that a server was given with --data; nothing in this one was touched",
        ),
        DataDirError::Marker { .. } | DataDirError::Newer { .. } => Failure::usage(sentence, error.hint()),
    }
}

fn chosen(directory: &Path, topic: Option<&str>) -> Result<Vec<TopicName>, Failure> {
    let topics = topics_in(&RealDisk, directory).map_err(|error| {
        let sentence = format!("cannot read {}: {}", directory.display(), reason(&error));
        Failure::failed(sentence, "is it a whole data directory, and may you read it?")
    })?;
    let Some(name) = topic else {
        return Ok(topics);
    };
    match topics.iter().find(|topic| topic.as_str() == name) {
        Some(topic) => Ok(vec![topic.clone()]),
        None => {
            let names: Vec<_> = topics.iter().map(TopicName::as_str).collect();
            let name = lapwing_wire::escape::escaped_cut(name, TopicName::BYTES_MAX).0;
            let hint = match names.is_empty() {
                true => "it has none yet".to_owned(),
                false => format!("it has: {}", names.join(", ")),
            };
            let sentence = format!("{} has no topic \"{name}\"", directory.display());
            Err(Failure::usage(sentence, hint))
        }
    }
}

/// Writes what a dump of one topic tells, a line each.
struct Lines<'a, W> {
    topic: &'a TopicName,
    out: &'a mut W,
    line: Vec<u8>,
    time: TimeWriter,
    whole: bool,
}

impl<W: Write> Lines<'_, W> {
    fn item(&mut self, item: &Item<'_>) -> io::Result<()> {
        let topic = self.topic;
        let record = match item {
            Item::Message { epoch, row } => return self.message(*epoch, row),
            Item::Gap { offsets, reason } => serde_json::json!({
                "record": "gap", "topic": topic, "from": offsets.start, "to": offsets.end, "reason": reason,
            }),
            Item::Missing { file, offsets } => {
                self.whole = false;
                serde_json::json!({
                    "record": "missing", "topic": topic, "from": offsets.start, "to": offsets.end, "file": file,
                })
            }
            Item::Damage { file, place, offsets } => {
                self.whole = false;
                serde_json::json!({
                    "record": "damage", "topic": topic, "from": offsets.start, "to": offsets.end,
                    "file": file, "position": place.start, "bytes": place.end - place.start,
                })
            }
            Item::Unfinished { file, place } => serde_json::json!({
                "record": "unfinished", "topic": topic,
                "file": file, "position": place.start, "bytes": place.end - place.start,
            }),
            Item::Newer { format, .. } => {
                let why = format!("it has format {format}: use the newer Lapwing that wrote it");
                return Err(io::Error::other(why));
            }
        };
        writeln!(self.out, "{record}")
    }

    /// As in a recording: the envelope with its epoch, and where it came from if that is known.
    fn message(&mut self, epoch: Epoch, row: &Row<'_>) -> io::Result<()> {
        let (entry, line) = (&row.entry, &mut self.line);
        line.clear();
        write!(
            line,
            "{{\"topic\":\"{}\",\"offset\":{},\"epoch\":\"{epoch}\",\"time\":\"",
            self.topic, entry.offset
        )?;
        self.time.micros(entry.wall, line);
        line.push(b'"');
        if (entry.source, entry.sequence) != (0, 0) {
            write!(line, ",\"source\":{},\"sequence\":{}", entry.source, entry.sequence)?;
        }
        let key = if entry.kind == Kind::Bytes {
            "data_base64"
        } else {
            "data"
        };
        write!(line, ",\"{key}\":")?;
        line.extend_from_slice(&row.frame[entry.value_begin as usize..entry.value_end as usize]);
        line.extend_from_slice(b"}\n");
        self.out.write_all(line)
    }
}

fn run_repair(args: &RepairArgs) -> End {
    check_directory(&args.directory)?;
    let data = DataDir::open(&args.directory).map_err(|error| data_failure(&error))?;
    let mut repairs = 0_u64;
    for topic in chosen(data.path(), None)? {
        let directory = topic_directory(data.path(), &topic);
        let progress = progress(&directory, &topic);
        let done = repair(&RealDisk, &directory, &topic, Now::read(), |_, bytes| {
            progress.inc(bytes)
        });
        progress.finish_and_clear();
        let done = done.map_err(|(file, error)| {
            let sentence = format!("cannot repair {}: {}", file.display(), reason(&error));
            Failure::failed(
                sentence,
                "what was repaired so far stays; run it again when this is mended",
            )
        })?;
        for repair in &done {
            tell(&topic, repair, args.json);
        }
        repairs += done.len() as u64;
    }
    if !args.json {
        print(&match repairs {
            0 => format!("{}: no damage found, nothing changed", data.path().display()),
            repairs => format!(
                "{} made; the server can be started again",
                form::counted(repairs, "repair")
            ),
        });
    }
    Ok(Exit::Done)
}

fn progress(directory: &Path, topic: &TopicName) -> ProgressBar {
    let names = RealDisk.list(directory).unwrap_or_default();
    let logs = names.iter().filter(|name| name.ends_with(".log"));
    let bytes = logs.filter_map(|name| Some(std::fs::metadata(directory.join(name)).ok()?.len()));
    let bar = ProgressBar::with_draw_target(Some(bytes.sum()), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}");
    bar.set_style(style.expect("the template is right"));
    bar.set_message(topic.to_string());
    bar
}

fn tell(topic: &TopicName, repair: &Repair, json: bool) {
    let Repair { file, offsets, saved } = repair;
    if json {
        print(
            &serde_json::json!({
                "record": "repair", "topic": topic, "file": file, "from": offsets.start, "to": offsets.end,
                "saved": saved.as_ref().map(|(path, _)| path), "saved_bytes": saved.as_ref().map(|(_, bytes)| bytes),
            })
            .to_string(),
        );
        return;
    }
    let lost = match offsets.end.since(offsets.start) {
        0 => "written anew, no message lost".to_owned(),
        1 => format!("offset {} is told as missing from now on", offsets.start),
        _ => format!(
            "offsets {}-{} are told as missing from now on",
            offsets.start,
            offsets.end.previous().unwrap_or_default()
        ),
    };
    let kept = saved
        .as_ref()
        .map(|(path, bytes)| format!("; {} kept in {}", form::bytes(*bytes), path.display()));
    print(&format!(
        "{topic}: {}: {lost}{}",
        file.display(),
        kept.unwrap_or_default()
    ));
}

fn print(line: &str) {
    // Who closed stdout wants no lines; the repair goes on.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Lines are written in pieces of 256 KiB.
const OUT_BYTES: usize = 256 << 10;
