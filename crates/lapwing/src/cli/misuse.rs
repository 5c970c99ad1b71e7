//! What was typed and means nothing: as a sentence, with a way out.

use std::error::Error as _;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use lapwing_wire::escape::escaped_cut;

use crate::failure::Failure;

/// Why a value is none for its flag: goes on behind both, with what would be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    why: String,
    hint: String,
}

impl Mistake {
    /// Of a reason such as "is no whole number".
    pub fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Mistake {}

/// What was typed, in quotes, as far as it fits a sentence.
#[must_use]
pub fn quoted(typed: &str) -> String {
    format!("\"{}\"", escaped_cut(typed, TYPED_BYTES_MAX).0)
}

/// The failure that stands for what clap found.
#[must_use]
pub fn failure(error: &clap::Error) -> Failure {
    let all = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.as_str()],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let one = |kind| all(kind).first().copied().unwrap_or_default();
    let flag = one(ContextKind::InvalidArg);
    let name = name_of(flag);
    let meant = |kind| Some(one(kind)).filter(|meant| !meant.is_empty());
    let typed = quoted(one(ContextKind::InvalidValue));
    let (sentence, hint) = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let hint = match meant(ContextKind::SuggestedArg) {
                Some(meant) => format!("did you mean {}?", name_of(meant)),
                None if flag[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    format!("a value that begins with - stands behind a =, as in --flag={flag}")
                }
                None => SEE_HELP.to_owned(),
            };
            (format!("there is no flag {}", quoted(flag)), hint)
        }
        ErrorKind::UnknownArgument => (format!("{} is one word too many", quoted(flag)), SEE_HELP.to_owned()),
        ErrorKind::InvalidSubcommand => {
            let hint = match meant(ContextKind::SuggestedSubcommand) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "lapwing --help lists the commands".to_owned(),
            };
            let command = quoted(one(ContextKind::InvalidSubcommand));
            (format!("there is no command {command}"), hint)
        }
        ErrorKind::InvalidValue if one(ContextKind::InvalidValue).is_empty() => {
            (format!("{name} needs a value"), format!("write {}", plain(flag)))
        }
        ErrorKind::InvalidValue => {
            let hint = match meant(ContextKind::SuggestedValue) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "write one of these".to_owned(),
            };
            let known = listed(&all(ContextKind::ValidValue), "or");
            (format!("{name} takes {known}, not {typed}"), hint)
        }
        ErrorKind::ValueValidation => match error.source() {
            Some(why) => match why.downcast_ref::<Mistake>() {
                Some(mistake) => (format!("{name} {typed} {mistake}"), mistake.hint.clone()),
                None => (wrong_value(name, &typed, &why.to_string()), SEE_HELP.to_owned()),
            },
            None => (format!("{name} {typed} is no value of it"), SEE_HELP.to_owned()),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = all(ContextKind::InvalidArg).into_iter().map(plain).collect();
            let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
            let is = if missing.len() == 1 { "is" } else { "are" };
            let usage = error
                .get(ContextKind::Usage)
                .map(ToString::to_string)
                .unwrap_or_default();
            let usage = plain(usage.trim().trim_start_matches("Usage: "));
            (
                format!("{} {is} missing", listed(&missing, "and")),
                format!("write {usage}"),
            )
        }
        ErrorKind::ArgumentConflict => {
            let other = name_of(one(ContextKind::PriorArg));
            let sentence = match other {
                _ if other == name => format!("{name} is given twice"),
                "" => format!("{name} does not go with the other flags"),
                _ => format!("{name} and {other} do not go together"),
            };
            (sentence, "leave one of them out".to_owned())
        }
        ErrorKind::TooManyValues => (format!("{name} takes no value"), format!("leave {typed} out")),
        _ => {
            let text = error.render().to_string();
            let sentence = text.split("\n\n").next().unwrap_or_default();
            let sentence = sentence.strip_prefix("error: ").unwrap_or(sentence);
            let words: Vec<&str> = sentence.split_whitespace().collect();
            (words.join(" "), SEE_HELP.to_owned())
        }
    };
    Failure::usage(sentence, hint)
}

/// What a parser of ours says, behind the flag; one that repeats the value does not have it told twice.
fn wrong_value(name: &str, typed: &str, why: &str) -> String {
    match why.strip_prefix(typed) {
        Some(rest) => format!("{name} {typed}{rest}"),
        None => format!("{name} {typed} is wrong: {why}"),
    }
}

/// The name of a flag or word as clap shows it: `--for` of `--for <TIME>`, `TOPIC` of `<TOPIC>`.
fn name_of(flag: &str) -> &str {
    let name = flag.split([' ', '=']).next().unwrap_or_default();
    name.trim_matches(['<', '>', '[', ']', '.'])
}

/// As clap shows it, without its brackets.
fn plain(flag: &str) -> String {
    flag.replace(['<', '>'], "")
}

/// `a, b or c`.
fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., one] => format!("{} {last} {one}", others.join(", ")),
    }
}

const SEE_HELP: &str = "--help tells what there is";
/// Of what was typed, in a sentence.
const TYPED_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[track_caller]
    fn check(line: &str, sentence: &str, hint: &str) {
        let words = std::iter::once("lapwing").chain(line.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(failure(&error), Failure::usage(sentence, hint), "{line}");
    }

    #[test]
    fn item_7_a_command_line_that_means_nothing_is_a_sentence_and_a_way_out() {
        let help = "--help tells what there is";
        check("srve", "there is no command \"srve\"", "did you mean serve?");
        check(
            "xyz",
            "there is no command \"xyz\"",
            "lapwing --help lists the commands",
        );
        check(
            "serve --maxhead 1",
            "there is no flag \"--maxhead\"",
            "did you mean --max-head?",
        );
        check("serve --qqq", "there is no flag \"--qqq\"", help);
        check("serve foo", "\"foo\" is one word too many", help);
        check("serve --tls-cert", "--tls-cert needs a value", "write --tls-cert FILE");
        check(
            "serve --durability fsnc",
            "--durability takes fsync or os, not \"fsnc\"",
            "did you mean fsync?",
        );
        check(
            "listen --color rainbow",
            "--color takes auto, always or never, not \"rainbow\"",
            "write one of these",
        );
        check(
            "serve --seed 1 --seed 2",
            "--seed is given twice",
            "leave one of them out",
        );
        check(
            "listen --ca x --insecure",
            "--ca and --insecure do not go together",
            "leave one of them out",
        );
        check("listen --quiet=5", "--quiet takes no value", "leave \"5\" out");
        check("publish", "TOPIC is missing", "write lapwing publish [URL] TOPIC");
        check(
            "token new",
            "--scope SCOPE and NAME are missing",
            "write lapwing token new --scope SCOPE NAME",
        );
        check(
            "listen --rotate 1h",
            "--log FILE is missing",
            "write lapwing listen --log FILE --rotate LIMIT [URL]",
        );
        check("publish a b c", "\"c\" is one word too many", help);
        check(
            "completions bsh",
            "SHELL takes bash, elvish, fish, powershell or zsh, not \"bsh\"",
            "did you mean bash?",
        );
    }

    #[test]
    fn item_7_a_value_that_is_none_is_told_with_its_flag_and_what_would_be_one() {
        let number = "write a whole number such as 5";
        check("listen --block 0", "--block \"0\" is out of range: at least 1", number);
        check(
            "listen --count abc",
            "--count \"abc\" is no whole number: at least 1",
            number,
        );
        let time = "write a number and a unit such as 500ms, 10s, 5m or 2h";
        check("listen --for 10", "--for \"10\" is no length of time", time);
        check(
            "listen --for 9000h",
            "--for \"9000h\" is out of range: 1ms to 366 days",
            time,
        );
        check(
            "listen --rotate 1x --log x",
            "--rotate \"1x\" is neither a size nor an age",
            "write a size such as 100MB, an age such as 1h, or both: 100MB,1h",
        );
        check(
            "demo --listen :99",
            "--listen \":99\" is no address and port",
            "write an address and a port such as 127.0.0.1:8765 or [::1]:8765",
        );
        check(
            "demo --seed -1",
            "--seed \"-1\" is no whole number: 0 to 18446744073709551615",
            "write a whole number such as 42",
        );
        check(
            "demo --for 0s",
            "--for \"0s\" is out of range: 1s to 24h",
            "write a length of time such as 46s or 5m",
        );
        check(
            "bench --source-addresses 127.0.0.1,x",
            "--source-addresses \"x\" is no address",
            "write one such as 127.0.0.2 or ::1",
        );
        let help = "--help tells what there is";
        check(
            "listen --topics a,b/c",
            "--topics \"b/c\" is wrong: a topic name is made of A-Z a-z 0-9 _ and -, not '/'",
            help,
        );
        check(
            "listen --from foo",
            "--from \"foo\" is no place to begin: use latest, earliest, an offset, last:COUNT, -30s or @EPOCH:OFFSET",
            help,
        );
        check(
            "bench --threads 999",
            "--threads \"999\" is out of range: 1 to 256",
            "write a whole number such as 2",
        );
        check(
            "bench --publish t --rate 0",
            "--rate \"0\" is out of range: 0.001 to 1000000",
            "write a number a second such as 200 or 0.5/s",
        );
        check(
            "bench --publish t --size 2MiB",
            "--size \"2MiB\" is out of range: 59B to 1000KiB",
            "write a size such as 100B or 10KiB",
        );
        check("bench --warm-up 1x", "--warm-up \"1x\" is no length of time", time);
    }

    #[test]
    fn what_was_typed_is_told_harmless_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert!(quoted(&"x".repeat(1000)).len() < 150);
    }
}
