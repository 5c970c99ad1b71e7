//! What `listen` shows: messages on stdout, everything else on stderr.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;

use super::event::{Event, Halt, Retry};
use super::log::Said;
use super::status::{Goal, Status};
use super::text::{Layout, Sentence, Symbols, Talk, TimeForm, Tone};
use crate::clock::Now;
use crate::failure::Failure;
use crate::terminal::form;
use crate::terminal::paint::{ColorChoice, Painter};

/// The console of a listener.
pub struct Console {
    talk: Talk,
    /// Lines of messages, each stream judged by itself.
    data: Layout,
    life: Layout,
    status: Status,
    show: Show,
    covered: Covered,
    /// What was said while nobody could see it, and how much before that.
    unseen: VecDeque<(Sentence, Now)>,
    unseen_before: u64,
    /// What is to be told once connected.
    greeting: String,
    output: Output,
    line: String,
}

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// Messages, blocks, life.
    All,
    /// Only what happens to the connection, and the summary.
    Quiet,
}

/// What of a console is behind something else, such as the whole screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Covered {
    /// Nothing.
    #[default]
    No,
    /// Messages and blocks; what happens to the connection leads elsewhere.
    Data,
    /// Everything.
    All,
}

impl Console {
    /// A console that tells `greeting` behind the first contact.
    #[must_use]
    pub fn new(talk: Talk, color: ColorChoice, show: Show, goal: Option<Goal>, greeting: String) -> Self {
        let moving = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self::with(talk, color, show, Covered::No, greeting, |symbols| {
            Status::new(moving, symbols, goal)
        })
    }

    /// A console that is behind something else, such as the whole screen, and draws no line that is rewritten.
    ///
    /// Messages and blocks are left out, and so is all else where it leads to the same terminal: until [`Console::uncover`].
    #[must_use]
    pub fn behind(talk: Talk, color: ColorChoice, greeting: String) -> Self {
        let covered = match io::stderr().is_terminal() {
            true => Covered::All,
            false => Covered::Data,
        };
        Self::with(talk, color, Show::All, covered, greeting, |symbols| {
            Status::new(false, symbols, None)
        })
    }

    fn with(
        talk: Talk,
        color: ColorChoice,
        show: Show,
        covered: Covered,
        greeting: String,
        status: impl FnOnce(Symbols) -> Status,
    ) -> Self {
        let layout = |terminal: bool, paint| Layout {
            paint,
            width: None,
            symbols: symbols(terminal),
            time: TimeForm::Clock,
            topic_width: 0,
            offset_width: 5,
        };
        let terminal = io::stderr().is_terminal();
        Self {
            talk,
            data: layout(io::stdout().is_terminal(), Painter::stdout(color)),
            life: layout(terminal, Painter::stderr(color)),
            status: status(symbols(terminal)),
            show,
            covered,
            unseen: VecDeque::new(),
            unseen_before: 0,
            greeting,
            output: Output::new(),
            line: String::new(),
        }
    }

    /// Shows an event.
    pub fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        match event {
            Event::Message(_) | Event::Block { .. } if self.show == Show::Quiet || self.covered != Covered::No => {
                return Ok(());
            }
            Event::Message(arrival) => {
                self.line.clear();
                self.data.message(arrival, &mut self.line);
                return self.output.push(self.line.as_bytes(), &self.status);
            }
            Event::Retry(retry) => return self.on_retry(retry, now),
            Event::NoServer { why, .. } | Event::Lost { why } => self.status.on_loss(why),
            Event::Connected(connected) => {
                connected
                    .grants
                    .iter()
                    .for_each(|(topic, _)| self.data.make_room(topic));
                self.status.on_connected(now);
            }
            Event::Back(_) => self.status.on_connected(now),
            _ => {}
        }
        if let Some(sentence) = self.talk.sentence(event) {
            self.say(&sentence, now)?;
        }
        if matches!(event, Event::Connected(_)) {
            let greeting = Sentence {
                timed: false,
                tone: Tone::Plain,
                text: self.greeting.clone(),
                hint: None,
            };
            self.say(&greeting, now)?;
        }
        Ok(())
    }

    /// Shows what was told since the last pause.
    pub fn on_pause(&mut self) -> Result<(), Halt> {
        self.data.width = width(&io::stdout());
        self.output.flush(&self.status)
    }

    /// Draws the status line anew.
    pub fn on_tick(&mut self, now: Now, messages: u64) {
        self.status.draw(now, messages);
    }

    /// It can be seen again: what was said meanwhile is said now, the last of it.
    pub fn uncover(&mut self) {
        if std::mem::take(&mut self.covered) != Covered::All {
            return;
        }
        if self.unseen_before > 0 {
            let earlier = form::counted(std::mem::take(&mut self.unseen_before), "earlier line");
            let _ = self.print(&format!("{earlier} not shown again"));
        }
        for (sentence, now) in std::mem::take(&mut self.unseen) {
            let _ = self.say(&sentence, now);
        }
    }

    /// To how many columns lines of life are laid out; none in a pipe.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        width(&io::stderr())
    }

    /// Prints a line of life as it stands, such as those of the summary.
    pub fn print(&mut self, line: &str) -> Result<(), Halt> {
        let flushed = self.output.flush(&self.status);
        self.status.around(|| {
            // A closed stderr is no reason to end.
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
        flushed
    }

    /// Tells something about the file.
    pub fn tell(&mut self, said: &Said, now: Now) {
        let sentence = Sentence {
            timed: false,
            tone: if said.warning { Tone::Warning } else { Tone::Plain },
            text: said.text.clone(),
            hint: said.hint,
        };
        // Whether anyone still reads stdout is found out elsewhere.
        let _ = self.say(&sentence, now);
    }

    /// Says how it ended.
    pub fn end(&mut self, tone: Tone, text: String, now: Now) -> Result<(), Halt> {
        let sentence = Sentence {
            timed: true,
            tone,
            text,
            hint: None,
        };
        self.say(&sentence, now)
    }

    /// Takes the status line away; what is printed after it stays.
    pub fn finish(&mut self) {
        self.status.clear();
    }

    fn on_retry(&mut self, retry: &Retry<'_>, now: Now) -> Result<(), Halt> {
        if self.covered == Covered::All {
            return Ok(());
        }
        match self.status.on_retry(retry, now) {
            Some(line) => self.print(&line),
            None => Ok(()),
        }
    }

    fn say(&mut self, sentence: &Sentence, now: Now) -> Result<(), Halt> {
        if self.covered == Covered::All {
            if self.unseen.len() == UNSEEN_MAX {
                self.unseen.pop_front();
                self.unseen_before += 1;
            }
            self.unseen.push_back((sentence.clone(), now));
            return Ok(());
        }
        self.life.width = self.width();
        let mut lines = String::new();
        sentence.write(&self.life, now, &mut lines);
        self.print(lines.trim_end_matches('\n'))
    }
}

/// Stdout, written in one go for all messages of a read.
pub struct Output {
    lines: Vec<u8>,
}

impl Output {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Takes lines.
    pub fn push(&mut self, lines: &[u8], status: &Status) -> Result<(), Halt> {
        self.lines.extend_from_slice(lines);
        match self.lines.len() >= OUTPUT_BYTES {
            true => self.flush(status),
            false => Ok(()),
        }
    }

    /// Writes them.
    pub fn flush(&mut self, status: &Status) -> Result<(), Halt> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = status.around(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&self.lines).and_then(|()| stdout.flush())
        });
        self.lines.clear();
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Halt::Quiet),
            Err(error) => Err(Halt::Failed(Failure::failed(
                format!("cannot write to stdout: {}", super::dial::io_reason(&error)),
                "--log FILE records without it",
            ))),
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// How many columns a stream has; none in a pipe, where nothing is cut or wrapped.
pub fn width(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok();
    // A terminal that does not know its size says 0.
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    Some(columns.unwrap_or(80))
}

/// What may be drawn on a stream.
pub fn symbols(terminal: bool) -> Symbols {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    let utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match terminal && utf8 && !dumb {
        true => Symbols::Unicode,
        false => Symbols::Ascii,
    }
}

/// As many lines as a window has room for beside a summary.
const UNSEEN_MAX: usize = 20;

/// 64 KiB: a burst is written in a few calls.
const OUTPUT_BYTES: usize = 64 << 10;
