//! `lapwing token`: a token for somebody, and the line by which a server knows it.

use std::io::Write as _;

use lapwing_wire::time::{WallTime, micros_text};

use super::{End, in_form};
use crate::clock::Now;
use crate::failure::{Exit, Failure};
use crate::reason::reason;
use crate::server::access::scope::Scope;
use crate::server::access::token::{is_name, line_of, token_of};

/// The flags of `lapwing token`.
#[derive(clap::Args, Debug)]
pub struct TokenArgs {
    /// What to do
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(clap::Subcommand, Debug)]
enum TokenCommand {
    /// Make a token: it is shown this once, and the server's file gets only its hash
    New(NewArgs),
}

/// The flags of `lapwing token new`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
struct NewArgs {
    /// Whose it is: 1 to 64 of A-Z a-z 0-9 . _ -
    #[arg(value_name = "NAME")]
    name: String,
    /// What it allows: listen:TOPIC, publish:TOPIC (* for every topic) or admin; may be repeated, or several separated by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// When it ends: 2030-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Print one object instead of two lines
    #[arg(long)]
    json: bool,
}

/// Makes a token.
pub fn run(args: TokenArgs) -> End {
    let TokenCommand::New(args) = args.command;
    in_form(args.json, new(&args))
}

fn new(args: &NewArgs) -> End {
    check(args, Now::read().wall)?;
    let token = token_of(crate::random::bytes());
    let expires = args.expires.as_deref().and_then(WallTime::parse).map(micros_text);
    let line = line_of(&args.name, &token, &args.scopes, expires.as_deref());
    let written = match args.json {
        true => {
            let object = serde_json::json!({ "name": args.name, "token": token, "line": line });
            writeln!(std::io::stdout().lock(), "{object}")
        }
        false => {
            say(&format!("the token of {}, shown this once:", args.name));
            writeln!(std::io::stdout().lock(), "{}", token.reveal()).and_then(|()| {
                say("its line for the file of lapwing serve --tokens:");
                writeln!(std::io::stdout().lock(), "{line}")
            })
        }
    };
    // Whoever has not read it has no token.
    written.map_err(|error| {
        Failure::failed(
            format!("cannot print the token: {}", reason(&error)),
            "make another one",
        )
    })?;
    Ok(Exit::Done)
}

fn check(args: &NewArgs, now: WallTime) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if !is_name(&args.name) {
        wrong.push(Failure::usage(
            "NAME is no name for a token: 1 to 64 of A-Z a-z 0-9 . _ -",
            "choose another name",
        ));
    }
    if let Some(error) = args.scopes.iter().find_map(|scope| Scope::parse(scope).err()) {
        wrong.push(Failure::usage(
            format!("{error}, in --scope"),
            "write --scope listen:users, or --scope listen:users,publish:orders",
        ));
    }
    match args.expires.as_deref().map(WallTime::parse) {
        Some(None) => wrong.push(Failure::usage(
            "--expires is no time with a date and a zone",
            "write a time such as 2030-01-01T00:00:00Z",
        )),
        Some(Some(end)) if end.nanos() <= now.nanos() => wrong.push(Failure::usage(
            format!(
                "--expires {} is over: nobody would come in with this token",
                micros_text(end)
            ),
            "write a time to come such as 2030-01-01T00:00:00Z, or leave it out for a token without an end",
        )),
        _ => {}
    }
    Failure::all(wrong)
}

fn say(line: &str) {
    // A closed stderr is no reason to make no token.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

const EXAMPLES: &str = "\
Examples:
  lapwing token new dashboard --scope listen:users,listen:arrays
  lapwing token new press --scope 'publish:*' --expires 2030-01-01T00:00:00Z
  lapwing token new web --scope 'listen:*' --json

The line goes into the file of lapwing serve --tokens, which is read again when it changes. A client gets the
token by --token-file FILE, or in LAPWING_TOKEN.

Exit codes: 0 done, 1 failed, 2 wrong use";
