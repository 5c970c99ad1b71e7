//! What the operator's log tells: a level for all, and for single targets.

use lapwing_wire::escape::escaped_cut;
use thiserror::Error;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::target;
use crate::config::Limits;

/// Which target has which level; of several that fit, the longest counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    targets: Targets,
    most: LevelFilter,
}

/// Where the lines go, which decides what need not be said once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Standard error: life events stand on the console already.
    Console,
    /// A file, which has nothing but them.
    Nothing,
}

impl Levels {
    /// `info`, or `info,lapwing::http=debug,rustls=off`. Without a level for all, what is not named keeps its default; without
    /// text, everything does.
    pub fn parse(text: &str, beside: Beside) -> Result<Self, LevelsError> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        if parts.len() > Limits::LOG_TARGETS_MAX {
            return Err(LevelsError::Many { count: parts.len() });
        }
        let mut all = None;
        let mut named = Vec::new();
        for part in parts.iter().filter(|_| !text.trim().is_empty()) {
            let (target, word) = part
                .split_once('=')
                .map_or((None, *part), |(target, word)| (Some(target.trim()), word.trim()));
            let level = level(word).ok_or_else(|| LevelsError::Level { text: shown(word) })?;
            match target {
                None => all = Some(level),
                Some(target) if is_target(target) => named.push((target.to_owned(), level)),
                Some(target) => return Err(LevelsError::Target { text: shown(target) }),
            }
        }
        let mut targets = Vec::new();
        if beside == Beside::Console {
            targets.push((target::EVENT.to_owned(), LevelFilter::OFF));
        }
        if all.is_none() {
            // What rustls warns of is what a stranger sent; a refused handshake is told by us, with the address.
            targets.push(("rustls".to_owned(), LevelFilter::ERROR));
        }
        let all = all.unwrap_or(match beside {
            Beside::Console => LevelFilter::WARN,
            Beside::Nothing => LevelFilter::INFO,
        });
        targets.extend(named);
        let targets = Targets::new().with_default(all).with_targets(targets);
        let most = targets.iter().map(|(_, level)| level).fold(all, LevelFilter::max);
        Ok(Self { targets, most })
    }

    /// Nothing is told.
    #[must_use]
    pub fn none() -> Self {
        Self {
            targets: Targets::new(),
            most: LevelFilter::OFF,
        }
    }

    /// Whether this is told.
    #[must_use]
    pub fn enables(&self, target: &str, level: Level) -> bool {
        self.targets.would_enable(target, &level)
    }

    /// The level beyond which nothing is told of any target.
    #[must_use]
    pub fn most(&self) -> LevelFilter {
        self.most
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    let levels = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let found = levels.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
    found.map(|(_, level)| *level)
}

fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
}

fn shown(text: &str) -> String {
    escaped_cut(text, 64).0
}

/// Why levels cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LevelsError {
    /// A word that is none. A lone target is one, too: what it would tell is not said.
    #[error("\"{text}\" is no level of the log: off, error, warn, info, debug or trace")]
    Level {
        /// The word.
        text: String,
    },
    /// Something before a `=` that cannot be a target.
    #[error("\"{text}\" is no target of the log: letters, digits, _ and ::")]
    Target {
        /// What it is.
        text: String,
    },
    /// More than anybody needs.
    #[error("{count} levels for the log, at most {} are taken", Limits::LOG_TARGETS_MAX)]
    Many {
        /// How many.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, beside: Beside, target: &str, expect: LevelFilter) {
        let levels = Levels::parse(text, beside).expect("valid");
        for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
            assert_eq!(
                levels.enables(target, level),
                level <= expect,
                "{text:?} {target} {level}"
            );
            assert!(
                level <= levels.most() || !levels.enables(target, level),
                "{text:?} {level}"
            );
        }
    }

    #[test]
    fn nothing_said_is_warnings_beside_a_console_and_life_in_a_file() {
        check("", Beside::Console, "lapwing::store", LevelFilter::WARN);
        check("", Beside::Console, "lapwing::event", LevelFilter::OFF);
        check("", Beside::Console, "rustls::server", LevelFilter::ERROR);
        check("", Beside::Nothing, "lapwing::http", LevelFilter::INFO);
        check("", Beside::Nothing, "lapwing::event", LevelFilter::INFO);
        check("", Beside::Nothing, "rustls::server", LevelFilter::ERROR);
    }

    #[test]
    fn a_level_for_all_leaves_out_only_what_the_console_tells() {
        check("debug", Beside::Console, "lapwing::http", LevelFilter::DEBUG);
        check("debug", Beside::Console, "rustls", LevelFilter::DEBUG);
        check("debug", Beside::Console, "lapwing::event", LevelFilter::OFF);
        check(
            "info,lapwing::event=info",
            Beside::Console,
            "lapwing::event",
            LevelFilter::INFO,
        );
        check("DEBUG", Beside::Nothing, "lapwing::event", LevelFilter::DEBUG);
        check("off", Beside::Nothing, "lapwing::event", LevelFilter::OFF);
        check("trace", Beside::Nothing, "mio::poll", LevelFilter::TRACE);
    }

    #[test]
    fn the_longest_target_counts_and_what_is_not_named_keeps_its_default() {
        let text = "info, lapwing=debug ,lapwing::tls=off";
        check(text, Beside::Nothing, "lapwing::http", LevelFilter::DEBUG);
        check(text, Beside::Nothing, "lapwing::tls", LevelFilter::OFF);
        check(text, Beside::Nothing, "mio", LevelFilter::INFO);
        check(
            "lapwing::http=debug",
            Beside::Console,
            "lapwing::http",
            LevelFilter::DEBUG,
        );
        check(
            "lapwing::http=debug",
            Beside::Console,
            "lapwing::store",
            LevelFilter::WARN,
        );
        check("lapwing=debug", Beside::Console, "lapwing::event", LevelFilter::OFF);
        check("rustls=trace", Beside::Console, "rustls", LevelFilter::TRACE);
    }

    #[test]
    fn what_is_misspelt_is_told_and_never_taken_for_a_target() {
        let error = |text: &str| Levels::parse(text, Beside::Console).expect_err("not valid").to_string();
        assert_eq!(
            error("inof"),
            "\"inof\" is no level of the log: off, error, warn, info, debug or trace"
        );
        for text in ["info,", "lapwing", "lapwing=", "info,,warn", "3", "a=b=info"] {
            assert!(error(text).contains("is no level"), "{text}");
        }
        assert!(error("=info").contains("is no target"), "no name");
        assert!(error("a[b]=info").contains("is no target"), "no fields");
        assert!(!error("\u{1b}[2J").contains('\u{1b}'));
        assert!(Levels::parse(&vec!["a=info"; 64].join(","), Beside::Console).is_ok());
        assert!(error(&vec!["a=info"; 65].join(",")).contains("65 levels"));
    }
}
