//! The command line: what was typed. What it means is decided in `config.rs` and in each command.

mod bar;
pub mod bench;
pub mod broker;
mod columnar;
pub mod demo;
pub mod export;
pub mod listen;
pub mod log;
pub mod manual;
pub mod misuse;
pub mod publish;
pub mod reach;
mod recorded;
mod runtime;
pub mod serve;
pub mod stop;
pub mod token;
mod trust;
mod tui;
pub mod value;
pub mod verify;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::client::display::width;
use crate::failure::{Exit, Failure};
use crate::terminal::form;
use crate::terminal::paint::{ColorChoice, Painter, Role};

/// Stream live messages to any number of WebSocket clients, and see how fast each one receives
#[derive(Parser, Debug)]
#[command(name = "lapwing", version, max_term_width = 100)]
pub struct Cli {
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: ColorChoice,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Stream topics to any number of WebSocket clients, and see how fast each one receives
    Serve(Box<serve::ServeArgs>),
    /// Record a live feed, time every block of messages, and report the times back
    Listen(listen::ListenArgs),
    /// Load a server with very many listeners: throughput, latency, and a verdict on loss, repeats and order
    Bench(Box<bench::BenchArgs>),
    /// Prove that a recording is complete and in order, or say what is wrong with it
    Verify(verify::VerifyArgs),
    /// Make a recording into arrays, columns or rows: npy, npz, Parquet or CSV
    Export(export::ExportArgs),
    /// Send lines from stdin into a topic of a running server
    Publish(publish::PublishArgs),
    /// Print what a data directory holds, or repair it
    Log(log::LogArgs),
    /// Make a token for a server that asks for one
    Token(token::TokenArgs),
    /// See it work: a server and two listeners in this process, for a minute
    Demo(demo::DemoArgs),
    /// Print completions for a shell
    Completions(manual::CompletionsArgs),
    /// Print a manual page
    Man(manual::ManArgs),
}

/// Parses the command line, runs the command, and turns its end into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let color = cli.color;
    let end = match cli.command {
        Command::Serve(args) => serve::run(*args, color),
        Command::Listen(args) => listen::run(args, color),
        Command::Bench(args) => bench::run(*args, color),
        Command::Verify(args) => verify::run(args, color),
        Command::Export(args) => export::run(args, color),
        Command::Publish(args) => publish::run(args, color),
        Command::Log(args) => log::run(args),
        Command::Token(args) => token::run(args),
        Command::Demo(args) => demo::run(args, color),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    };
    let exit = end.unwrap_or_else(|failure| {
        report(&failure, color);
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// What was typed means nothing, or asks for help or the version; for programs an error is told as an object.
fn misused(error: &clap::Error) -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let json = words.iter().any(|word| word == "--json" || word == "--output=json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    // Without a command the help is what helps.
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.exit();
    }
    let failure = misuse::failure(error);
    match json {
        true => report_json(&failure),
        false => report(&failure, ColorChoice::default()),
    }
    ExitCode::from(failure.exit as u8)
}

/// Prints a failure as its sentences and hints.
pub fn report(failure: &Failure, color: ColorChoice) {
    use std::io::Write as _;
    let paint = Painter::stderr(color);
    let width = width(&std::io::stderr());
    let under = |begin: &str, text: &str| match width {
        Some(width) => {
            form::wrapped(text, width.saturating_sub(begin.len()).max(20)).join(&format!("\n{:1$}", "", begin.len()))
        }
        None => text.to_owned(),
    };
    let mut out = std::io::stderr().lock();
    for (sentence, hint) in &failure.sentences {
        // A closed stderr is no reason to fail once more.
        let _ = writeln!(
            out,
            "{} {}",
            paint.paint(Role::Bad, "error:"),
            under("error: ", sentence)
        );
        if let Some(hint) = hint {
            let _ = writeln!(out, "{} {}", paint.paint(Role::Hint, "hint:"), under("hint: ", hint));
        }
    }
}

/// The end of a command whose failures are for programs when `json` says so: told here, as objects, and not once more as text.
pub fn in_form(json: bool, end: End) -> End {
    match end {
        Err(failure) if json => {
            report_json(&failure);
            Ok(failure.exit)
        }
        end => end,
    }
}

/// Prints a failure as one object a sentence, for programs.
fn report_json(failure: &Failure) {
    use std::io::Write as _;
    let mut out = std::io::stderr().lock();
    for (error, hint) in &failure.sentences {
        let object = serde_json::json!({ "error": error, "hint": hint, "exit": failure.exit as u8 });
        // A closed stderr is no reason to fail once more.
        let _ = writeln!(out, "{object}");
    }
}

/// The end of a command that did what it was asked.
pub type End = Result<Exit, Failure>;
