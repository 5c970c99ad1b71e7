//! Everyone who is told what a listener sees: the file, the console, the summary.

use std::io;

use super::display::{Console, Output};
use super::event::{Event, Halt, Observer};
use super::scribe::{Scribe, TextScribe};
use super::status::Status;
use super::summary::Summary;
use super::text::Symbols;
use crate::clock::Now;
use crate::failure::Failure;
use crate::recording::note::Start;
use crate::recording::writer::Writer;
use crate::terminal::form;

/// Tells the file first, then whoever looks on, then counts.
pub struct Watch {
    log: Option<Log>,
    screen: Screen,
    summary: Summary,
    scribe: Scribe,
    lines: Vec<u8>,
    /// Stdout was closed while a file is written, which goes on.
    unwatched: bool,
}

/// A file that is written.
pub enum Log {
    /// As a recording.
    Ndjson(Writer),
    /// For people.
    Text(Writer, Box<TextScribe>),
}

/// What is shown.
pub enum Screen {
    /// Text for people.
    Console(Box<Console>),
    /// The lines of a recording.
    Json(Output, Status),
}

impl Screen {
    /// The lines of a recording on stdout.
    #[must_use]
    pub fn json() -> Self {
        Self::Json(Output::new(), Status::new(false, Symbols::Ascii, None))
    }
}

impl Watch {
    /// Begins a run with its `start` record.
    pub fn new(log: Option<Log>, screen: Screen, start: Start, now: Now) -> Result<Self, Halt> {
        let mut watch = Self {
            log,
            screen,
            summary: Summary::new(now),
            scribe: Scribe::default(),
            lines: Vec::new(),
            unwatched: false,
        };
        watch.scribe.start(start, now, &mut watch.lines);
        watch.record_lines()?;
        Ok(watch)
    }

    /// What it amounts to.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The console, if there is one.
    pub fn console(&mut self) -> Option<&mut Console> {
        match &mut self.screen {
            Screen::Console(console) => Some(console),
            Screen::Json(..) => None,
        }
    }

    /// Puts everything on its way to the disk and waits until it is there.
    pub fn finish(&mut self) -> Result<(), Halt> {
        let result = match &mut self.log {
            None => Ok(()),
            Some(Log::Ndjson(writer) | Log::Text(writer, _)) => writer.sync(),
        };
        result.map_err(|error| self.log_failure(&error))
    }

    /// Sends `self.lines` to those who take NDJSON.
    fn record_lines(&mut self) -> Result<(), Halt> {
        if let Some(Log::Ndjson(writer)) = &mut self.log
            && let Err(error) = writer.append(&self.lines)
        {
            return Err(self.log_failure(&error));
        }
        match &mut self.screen {
            Screen::Json(output, status) if !self.unwatched => {
                let pushed = output.push(&self.lines, status);
                self.unless_recording(pushed)
            }
            _ => Ok(()),
        }
    }

    /// A closed stdout ends us, unless there is a file to write.
    fn unless_recording(&mut self, result: Result<(), Halt>) -> Result<(), Halt> {
        match result {
            Err(Halt::Quiet) if self.log.is_some() => {
                self.unwatched = true;
                Ok(())
            }
            result => result,
        }
    }

    fn log_failure(&self, error: &io::Error) -> Halt {
        let path = match &self.log {
            Some(Log::Ndjson(writer) | Log::Text(writer, _)) => writer.path().display().to_string(),
            None => String::new(),
        };
        let path = lapwing_wire::escape::escaped(&path);
        let what = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk full".to_owned(),
            _ => super::dial::io_reason(error),
        };
        let messages = form::counted(self.summary.messages(), "message");
        Halt::Failed(Failure::failed(
            format!("{path}: {what} after {messages}"),
            "the lines in it are whole; make room, or give another file with --log",
        ))
    }
}

impl Observer for Watch {
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        let wants_ndjson = matches!(self.screen, Screen::Json(..)) || matches!(self.log, Some(Log::Ndjson(_)));
        if wants_ndjson {
            self.lines.clear();
            self.scribe.on_event(event, now, &mut self.lines);
            self.record_lines()?;
        }
        if let Some(Log::Text(writer, scribe)) = &mut self.log {
            self.lines.clear();
            scribe.on_event(event, now, &mut self.lines);
            let written = writer.append(&self.lines);
            written.map_err(|error| self.log_failure(&error))?;
        }
        self.summary.on_event(event);
        match &mut self.screen {
            Screen::Console(console) if !self.unwatched => {
                let shown = console.on_event(event, now);
                self.unless_recording(shown)
            }
            _ => Ok(()),
        }
    }

    fn on_pause(&mut self) -> Result<(), Halt> {
        if self.unwatched {
            return Ok(());
        }
        let shown = match &mut self.screen {
            Screen::Console(console) => console.on_pause(),
            Screen::Json(output, status) => output.flush(status),
        };
        self.unless_recording(shown)
    }

    fn on_tick(&mut self, now: Now) -> Result<(), Halt> {
        let flushed = match &mut self.log {
            None => Ok(()),
            Some(Log::Ndjson(writer) | Log::Text(writer, _)) => writer.flush(),
        };
        flushed.map_err(|error| self.log_failure(&error))?;
        if let Screen::Console(console) = &mut self.screen {
            console.on_tick(now, self.summary.messages());
        }
        self.on_pause()
    }
}
