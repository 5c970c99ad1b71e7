//! Events as lines of a recording, and as lines of a text file.

use super::event::Event;
use super::text::{Layout, Talk};
use crate::clock::Now;
use crate::recording::encoder::Encoder;
use crate::recording::marks::Marks;
use crate::recording::note::{Block, Note, Start};

/// Writes events as NDJSON.
#[derive(Debug)]
pub struct Scribe {
    encoder: Encoder,
    start: Start,
}

impl Scribe {
    /// Writes a run that `start` describes, behind what a file holds already.
    #[must_use]
    pub fn new(start: Start, behind: Marks) -> Self {
        Self {
            encoder: Encoder::behind(behind),
            start,
        }
    }

    /// Appends what every file of the run begins with.
    pub fn header(&mut self, now: Now, out: &mut Vec<u8>) {
        self.encoder.header(&self.start, now, out);
    }

    /// What is wanted next of each topic.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        self.encoder.marks()
    }

    /// Appends the lines of an event, if it has any.
    pub fn on_event(&mut self, event: &Event<'_>, now: Now, out: &mut Vec<u8>) {
        match *event {
            Event::Message(arrival) => self.encoder.message(arrival, out),
            Event::Granted { topic, epoch, from, .. } => self.encoder.mark(topic, Some(epoch), from),
            Event::Connected(connected) => {
                if let Some(url) = connected.server.map(str::to_owned) {
                    self.encoder.note(&Note::Connect { url }, now, out);
                }
                self.encoder.positions(now, out);
            }
            _ => {
                if let Some(note) = note(event) {
                    self.encoder.note(&note, now, out);
                }
            }
        }
    }
}

fn note(event: &Event<'_>) -> Option<Note> {
    Some(match *event {
        Event::Block { topic, timing } => Note::Block(Block::new(topic, timing)),
        Event::Gap {
            topic,
            from,
            to,
            reason,
            ..
        } => Note::Gap {
            topic: topic.clone(),
            from,
            to,
            reason,
        },
        Event::Reset {
            topic,
            epoch,
            first,
            last,
            ..
        } => Note::Reset {
            topic: topic.clone(),
            epoch,
            first,
            last,
        },
        Event::Continued { topic, epoch, at } => Note::Continued {
            topic: topic.clone(),
            epoch,
            at,
        },
        Event::Diverged { topic, epoch, at, last } => Note::Diverged {
            topic: topic.clone(),
            epoch,
            at,
            to: last.map(|last| last.plus(1)).filter(|to| *to > at),
        },
        Event::Back(back) => Note::Reconnect {
            down_ms: back.down.as_micros() as f64 / 1000.0,
            attempts: back.attempt,
            why: back.why.to_owned(),
            url: back.server.map(str::to_owned),
        },
        Event::ClockStep { ms } => Note::ClockStep { ms },
        _ => return None,
    })
}

/// Writes events as text, the same as the console shows, uncut and with full times.
#[derive(Debug)]
pub struct TextScribe {
    talk: Talk,
    layout: Layout,
    line: String,
}

impl TextScribe {
    /// With sentences from `talk`.
    #[must_use]
    pub fn new(talk: Talk) -> Self {
        Self {
            talk,
            layout: Layout::FILE,
            line: String::new(),
        }
    }

    /// Appends the lines of an event, if it has any.
    pub fn on_event(&mut self, event: &Event<'_>, now: Now, out: &mut Vec<u8>) {
        self.line.clear();
        match event {
            Event::Message(arrival) => self.layout.message(arrival, &mut self.line),
            event => {
                if let Some(sentence) = self.talk.sentence(event) {
                    sentence.write(&self.layout, now, &mut self.line);
                }
            }
        }
        out.extend_from_slice(self.line.as_bytes());
    }
}
