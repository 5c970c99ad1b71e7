//! Everyone who is told what a listener sees: the file, the console, the summary.

use std::path::Path;

use lapwing_wire::topic::TopicName;

use super::display::{Console, Output};
use super::event::{Connected, Event, Halt, Mode, Observer};
use super::graph::Graph;
use super::log::{FileState, Form, Log, Said};
use super::scribe::Scribe;
use super::status::Status;
use super::summary::Summary;
use super::text::Symbols;
use crate::clock::Now;
use crate::failure::Failure;

/// Counts, then tells the file, then whoever looks on.
pub struct Watch {
    log: Option<Log>,
    screen: Screen,
    /// What is shown instead of the console's lines, as long as it can be.
    overlay: Option<Box<dyn Overlay>>,
    summary: Summary,
    /// What will be drawn at the end, if that was asked for.
    graph: Option<Graph>,
    scribe: Scribe,
    lines: Vec<u8>,
    /// Stdout was closed while a file is written, which goes on.
    unwatched: bool,
}

/// Something that takes the place of lines, such as a picture on the whole screen. It gives the screen back when it is dropped.
pub trait Overlay {
    /// Something happened.
    fn on_event(&mut self, event: &Event<'_>, now: Now);

    /// Something is told of the file.
    fn on_said(&mut self, said: &Said, now: Now);

    /// Time passes, and the file stands so. False when it can be shown no longer.
    fn on_tick(&mut self, now: Now, file: Option<FileState>) -> bool;
}

/// What is shown.
pub enum Screen {
    /// Text for people.
    Console(Box<Console>),
    /// The lines of a recording.
    Json(Output, Box<Status>),
    /// Nothing: somebody else looks on.
    Nothing,
}

impl Screen {
    /// The lines of a recording on stdout.
    #[must_use]
    pub fn json() -> Self {
        Self::Json(Output::new(), Box::new(Status::new(false, Symbols::Ascii, None)))
    }
}

impl Watch {
    /// Begins a run with its `start` record.
    pub fn new(log: Option<Log>, screen: Screen, scribe: Scribe, now: Now) -> Result<Self, Halt> {
        let mut watch = Self {
            log,
            screen,
            overlay: None,
            summary: Summary::new(now),
            graph: None,
            scribe,
            lines: Vec::new(),
            unwatched: false,
        };
        watch.scribe.header(now, &mut watch.lines);
        if let Some(log) = watch.log.as_mut().filter(|log| log.is_recording()) {
            log.append_header(&watch.lines, now);
        }
        watch.show_lines()?;
        Ok(watch)
    }

    /// Shows `overlay` instead of the lines of the console, which is behind it.
    pub fn cover(&mut self, overlay: Box<dyn Overlay>) {
        self.overlay = Some(overlay);
    }

    /// Shows the console's lines again.
    pub fn uncover(&mut self) {
        self.overlay = None;
        if let Screen::Console(console) = &mut self.screen {
            console.uncover();
        }
    }

    /// Lets `graph` take what happens from now on.
    pub fn draw_at_the_end(&mut self, graph: Graph) {
        self.graph = Some(graph);
    }

    /// The picture of the run up to now, if one was asked for.
    #[must_use]
    pub fn drawing(&self, now: Now) -> Option<String> {
        self.graph.as_ref().map(|graph| graph.svg(now))
    }

    /// Tells people something about the file.
    pub fn say(&mut self, said: &Said, now: Now) {
        if let Some(overlay) = &mut self.overlay {
            overlay.on_said(said, now);
        }
        match &mut self.screen {
            Screen::Console(console) => console.tell(said, now),
            Screen::Json(..) if said.warning => {
                use std::io::Write as _;
                let object = serde_json::json!({ "warning": said.text, "hint": said.hint });
                // A closed stderr is no reason to end.
                let _ = writeln!(std::io::stderr().lock(), "{object}");
            }
            Screen::Json(..) | Screen::Nothing => {}
        }
    }

    /// What it amounts to.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How many messages came and are not in the file.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::unwritten)
    }

    /// The file, if it is one that can be verified.
    #[must_use]
    pub fn recorded_to(&self) -> Option<&Path> {
        self.log.as_ref().and_then(Log::recorded_to)
    }

    /// The console, if there is one.
    pub fn console(&mut self) -> Option<&mut Console> {
        match &mut self.screen {
            Screen::Console(console) => Some(console),
            Screen::Json(..) | Screen::Nothing => None,
        }
    }

    /// Puts everything on its way to the disk and waits until it is there.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.log.as_mut().map_or(Ok(()), Log::finish)
    }

    /// Sends `self.lines` to those who take NDJSON.
    fn record_lines(&mut self, is_message: bool, now: Now) -> Result<(), Halt> {
        if let Some(log) = self.log.as_mut().filter(|log| log.is_recording()) {
            log.append(&self.lines, is_message, now).map_err(Halt::Failed)?;
        }
        self.show_lines()
    }

    fn show_lines(&mut self) -> Result<(), Halt> {
        match &mut self.screen {
            Screen::Json(output, status) if !self.unwatched => {
                let pushed = output.push(&self.lines, status);
                self.unless_recording(pushed)
            }
            _ => Ok(()),
        }
    }

    fn rotate_if_due(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        // Only with a message is the length of what comes worth a look; the rest is short. It is an estimate, since a new file's
        // header says what is wanted next and must be made before the message is.
        let Event::Message(arrival) = event else { return Ok(()) };
        let Some(log) = self.log.as_mut().filter(|log| log.is_recording()) else {
            return Ok(());
        };
        let more = usize::try_from(arrival.bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(LINE_AROUND_BYTES);
        let scribe = &mut self.scribe;
        log.rotate_if_due(more, now, || header(scribe, now))
            .map_err(Halt::Failed)
    }

    fn tell_said(&mut self, now: Now) {
        let said = self.log.as_mut().map(Log::take_said).unwrap_or_default();
        said.iter().for_each(|said| self.say(said, now));
    }

    /// Names what the file holds and nobody follows now.
    fn tell_unfollowed(&mut self, connected: &Connected<'_>, now: Now) {
        let is_recording = self.log.as_ref().is_some_and(Log::is_recording);
        if connected.mode == Mode::Plain || !is_recording {
            return;
        }
        let followed = |topic: &TopicName| connected.grants.iter().any(|(granted, _)| granted == topic);
        let others: Vec<_> = self
            .scribe
            .marks()
            .iter()
            .map(|(topic, _)| topic)
            .filter(|topic| !followed(topic))
            .collect();
        if others.is_empty() {
            return;
        }
        let (shown, more) = others.split_at(others.len().min(UNFOLLOWED_SHOWN));
        let shown = shown.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", ");
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(" and {} more", more.len())
        };
        let text = format!("the file also holds {shown}{more}, not followed now; what it holds of them stays");
        self.say(
            &Said {
                warning: false,
                text,
                hint: None,
            },
            now,
        );
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
}

impl Observer for Watch {
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        // First of all: what the file does not take has come all the same.
        self.summary.on_event(event);
        if let Some(graph) = &mut self.graph {
            graph.on_event(event, now);
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.on_event(event, now);
        }
        let is_message = matches!(event, Event::Message(_));
        let records = self.log.as_ref().is_some_and(Log::is_recording);
        if records || matches!(self.screen, Screen::Json(..)) {
            self.rotate_if_due(event, now)?;
            self.lines.clear();
            self.scribe.on_event(event, now, &mut self.lines);
            self.record_lines(is_message, now)?;
        }
        if let Some(log) = &mut self.log
            && let Form::Text(scribe) = log.form()
        {
            self.lines.clear();
            scribe.on_event(event, now, &mut self.lines);
            log.append(&self.lines, is_message, now).map_err(Halt::Failed)?;
        }
        let shown = match &mut self.screen {
            Screen::Console(console) if !self.unwatched => console.on_event(event, now),
            _ => Ok(()),
        };
        self.unless_recording(shown)?;
        if let Event::Connected(connected) = event {
            self.tell_unfollowed(connected, now);
        }
        Ok(())
    }

    fn on_pause(&mut self) -> Result<(), Halt> {
        if let Some(log) = &mut self.log {
            let now = Now::read();
            log.settle(now).map_err(Halt::Failed)?;
            self.tell_said(now);
        }
        if self.unwatched {
            return Ok(());
        }
        let shown = match &mut self.screen {
            Screen::Console(console) => console.on_pause(),
            Screen::Json(output, status) => output.flush(status),
            Screen::Nothing => Ok(()),
        };
        self.unless_recording(shown)
    }

    fn on_tick(&mut self, now: Now) -> Result<(), Halt> {
        if let Some(log) = &mut self.log {
            let scribe = &mut self.scribe;
            let recording = log.is_recording();
            let begin = || match recording {
                true => header(scribe, now),
                false => Vec::new(),
            };
            log.on_tick(now, begin).map_err(Halt::Failed)?;
            self.tell_said(now);
        }
        if let Some(overlay) = &mut self.overlay {
            let file = self.log.as_ref().map(Log::state);
            if !overlay.on_tick(now, file) {
                self.uncover();
            }
        }
        if let Screen::Console(console) = &mut self.screen {
            console.on_tick(now, self.summary.messages());
        }
        self.on_pause()
    }

    fn is_held(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_held)
    }
}

/// What a file of the run begins with.
fn header(scribe: &mut Scribe, now: Now) -> Vec<u8> {
    let mut header = Vec::new();
    scribe.header(now, &mut header);
    header
}

/// 256 bytes: about how much stands around a payload in its line.
const LINE_AROUND_BYTES: usize = 256;

/// So many names fit a line.
const UNFOLLOWED_SHOWN: usize = 5;
