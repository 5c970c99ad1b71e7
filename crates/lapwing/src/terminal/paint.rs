//! Colours by role, decided for each stream by itself; the only place that names a colour.

use std::fmt;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set; everywhere with `CLICOLOR_FORCE`
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A time of day.
    Time,
    /// A name of a client or topic that we made or checked.
    Name,
    /// Something went well.
    Good,
    /// Someone should look.
    Attention,
    /// Something failed.
    Bad,
    /// A way out.
    Hint,
    /// A heading.
    Heading,
}

/// Paints for one stream, or leaves text as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Painter {
    on: bool,
}

impl Painter {
    /// A painter that paints nothing.
    pub const PLAIN: Self = Self { on: false };

    /// A painter that paints, wherever it leads.
    pub const ALWAYS: Self = Self { on: true };

    /// Decides for standard output.
    #[must_use]
    pub fn stdout(choice: ColorChoice) -> Self {
        Self::decide(choice, std::io::stdout().is_terminal())
    }

    /// Decides for standard error.
    #[must_use]
    pub fn stderr(choice: ColorChoice) -> Self {
        Self::decide(choice, std::io::stderr().is_terminal())
    }

    /// `text` in the colour of `role`.
    #[must_use]
    pub fn paint<T: fmt::Display>(self, role: Role, text: T) -> Painted<T> {
        Painted {
            style: self.on.then(|| style(role)),
            text,
        }
    }

    /// The style of a role, for what is not written as text; none where nothing is painted.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        if self.on { style(role) } else { Style::new() }
    }

    fn decide(choice: ColorChoice, terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if set("NO_COLOR") => false,
            ColorChoice::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
            ColorChoice::Auto => terminal && !dumb,
        };
        Self { on }
    }
}

/// Text with the colour of its role around it.
pub struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            None => self.text.fmt(f),
            Some(style) => {
                write!(f, "{style}")?;
                self.text.fmt(f)?;
                write!(f, "{style:#}")
            }
        }
    }
}

fn style(role: Role) -> Style {
    match role {
        Role::Time => Style::new().dimmed(),
        Role::Name | Role::Heading => Style::new().bold(),
        Role::Good => AnsiColor::Green.on_default(),
        Role::Attention => AnsiColor::Yellow.on_default(),
        Role::Bad => AnsiColor::Red.on_default(),
        Role::Hint => AnsiColor::Cyan.on_default(),
    }
}
