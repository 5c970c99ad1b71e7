//! Shell completions and manual pages, made from the same definitions as the help.

use std::io::Write as _;

use clap::CommandFactory as _;

use super::{Cli, End};
use crate::failure::{Exit, Failure};
use crate::reason::reason;

/// The flags of `lapwing completions`.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// The flags of `lapwing man`.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// The command, none for lapwing itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs) -> End {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lapwing", &mut out);
    print(&out)
}

/// Prints a manual page.
pub fn man(args: &ManArgs) -> End {
    let mut cli = Cli::command();
    cli.build();
    let command = match &args.command {
        None => cli,
        Some(name) => cli.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::usage(
                format!("there is no command {name:?}"),
                "lapwing --help lists the commands",
            )
        })?,
    };
    let name = match &args.command {
        None => "lapwing".to_owned(),
        Some(name) => format!("lapwing-{name}"),
    };
    let mut out = Vec::new();
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .render(&mut out)
        .map_err(|error| Failure::failed(format!("cannot write the page: {}", reason(&error)), "is memory short?"))?;
    print(&out)
}

fn print(bytes: &[u8]) -> End {
    match std::io::stdout().write_all(bytes) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::failed(
            format!("cannot write to stdout: {}", reason(&error)),
            "is the disk full?",
        )),
        Ok(()) => Ok(Exit::Done),
    }
}
