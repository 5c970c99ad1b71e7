//! Frames of the views that a log does not hold: cut from canonical ones as a thread reads them, so that a topic holds every
//! message once.

use std::collections::VecDeque;
use std::sync::Arc;

use lapwing_wire::array::ArrayWriter;
use lapwing_wire::deflate::Deflater;
use lapwing_wire::envelope::{Kind, write_payload};
use lapwing_wire::frame::{self, Opcode};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::sse;

use super::Log;
use super::newest::Newest;
use super::reader::{Run, View, fitting};
use super::segment::Entry;

/// What the cursors of one thread read of one view of a log lately, whatever became of it in the log.
///
/// Cursors at the same place share a cut, and the newest grows with the log: each message is cut once for all who follow it
/// live. Whoever reads history by itself has it cut for itself.
pub struct Cuts {
    knife: Knife,
    /// Used last first.
    cuts: VecDeque<Cut>,
}

/// What makes frames of a view out of canonical ones. Those that take time are found where other threads left them.
enum Knife {
    /// As they are.
    Canonical,
    /// Bare payloads.
    Payload,
    /// Compressed ones, or compressed bare payloads.
    Deflated { is_bare: bool, newest: Arc<Newest> },
    /// Server-sent events, whose ids name this history.
    Events(Epoch),
    /// Binary frames, of what is an array.
    Arrays { writer: ArrayWriter, newest: Arc<Newest> },
}

/// Frames of consecutive offsets.
#[derive(Default)]
struct Cut {
    base: Offset,
    entries: Vec<Entry>,
    frames: Vec<u8>,
}

impl Cuts {
    /// Of this view of this generation of a log, nothing cut yet.
    #[must_use]
    pub fn new(log: &Log, view: View, generation: u16) -> Self {
        Self {
            knife: Knife::new(log, view, generation),
            cuts: VecDeque::new(),
        }
    }

    /// Whether something is there for a cursor; then it stays while others go.
    pub fn hold(&mut self, cursor: Offset) -> bool {
        match self.cuts.iter().position(|cut| cut.holds(cursor)) {
            Some(at) => {
                self.bring_forward(at);
                true
            }
            None => false,
        }
    }

    /// Cuts these canonical frames, behind those before them if there is room; gives where to go on while there is more.
    pub fn push(&mut self, run: &Run<'_>, deflater: &mut Deflater) -> Option<Offset> {
        let from = run.entries().first()?.offset;
        match self.cuts.iter().position(|cut| cut.end() == from && !cut.is_full()) {
            Some(at) => self.bring_forward(at),
            None => {
                let cut = self.spare().begin(from);
                self.cuts.push_front(cut);
            }
        }
        let cut = self.cuts.front_mut()?;
        let mut begin = 0;
        for entry in run.entries() {
            let end = run.end_of(entry);
            self.knife
                .cut(&run.bytes()[begin..end], entry, deflater, &mut cut.frames);
            cut.add(entry);
            begin = end;
        }
        let next = (!cut.is_full()).then(|| cut.end());
        while self.cuts.len() > 1 && self.bytes() > CUTS_BYTES_MAX {
            self.cuts.pop_back();
        }
        next
    }

    /// What was cut for a cursor: at most `bytes_max`, but at least one frame.
    #[must_use]
    pub fn read(&self, cursor: Offset, bytes_max: usize) -> Option<Run<'_>> {
        let cut = self.cuts.iter().find(|cut| cut.holds(cursor))?;
        let at = usize::try_from(cursor.since(cut.base)).expect("a place in it");
        let (begin, rest) = (cut.begin_of(at), &cut.entries[at..]);
        let entries = &rest[..fitting(rest, begin, bytes_max)];
        let end = cut.begin_of(at + entries.len());
        Some(Run::new(&cut.frames[begin..end], entries, begin))
    }

    /// Memory of all cuts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cuts.iter().map(Cut::bytes).sum()
    }

    fn bring_forward(&mut self, at: usize) {
        if at > 0
            && let Some(cut) = self.cuts.remove(at)
        {
            self.cuts.push_front(cut);
        }
    }

    /// The cut that was not used for the longest time, when there are as many as may be.
    fn spare(&mut self) -> Cut {
        let full = self.cuts.len() >= CUTS_MAX;
        full.then(|| self.cuts.pop_back()).flatten().unwrap_or_default()
    }
}

impl Cut {
    /// Empty, at another place; its memory stays, unless one large message took it.
    fn begin(mut self, base: Offset) -> Self {
        if self.bytes() > CUTS_BYTES_MAX / CUTS_MAX {
            self = Self::default();
        }
        self.entries.clear();
        self.frames.clear();
        self.base = base;
        self
    }

    fn end(&self) -> Offset {
        self.base.plus(self.entries.len() as u64)
    }

    fn holds(&self, cursor: Offset) -> bool {
        (self.base..self.end()).contains(&cursor)
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= CUT_BYTES || self.entries.len() >= CUT_ENTRIES
    }

    fn begin_of(&self, at: usize) -> usize {
        super::segment::begin_of(&self.entries, at)
    }

    fn bytes(&self) -> usize {
        self.frames.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Notes the frame that was appended last.
    fn add(&mut self, entry: &Entry) {
        self.entries.push(Entry {
            end: u32::try_from(self.frames.len()).expect("a cut is far smaller than 4 GiB"),
            ..*entry
        });
    }
}

impl Knife {
    fn new(log: &Log, view: View, generation: u16) -> Self {
        let newest = log.shared(view).map(|shared| shared.join(generation, log.next()));
        match (view, newest, log.arrays()) {
            (View::Payload, ..) => Self::Payload,
            (View::Events, ..) => Self::Events(log.epoch()),
            (View::Deflated | View::DeflatedPayload, Some(newest), _) => Self::Deflated {
                is_bare: view == View::DeflatedPayload,
                newest,
            },
            (View::Arrays, Some(newest), Some(writer)) => Self::Arrays {
                writer: writer.clone(),
                newest,
            },
            _ => Self::Canonical,
        }
    }

    /// Appends what becomes of a canonical frame.
    fn cut(&self, canonical: &[u8], entry: &Entry, deflater: &mut Deflater, out: &mut Vec<u8>) {
        let value = &canonical[entry.value_begin as usize..entry.value_end as usize];
        match self {
            Self::Canonical => out.extend_from_slice(canonical),
            Self::Payload => write_frame(entry.kind, value, out),
            Self::Deflated { is_bare: true, newest } => {
                let mut bare = Vec::with_capacity(frame::HEADER_BYTES_MAX + value.len());
                write_frame(entry.kind, value, &mut bare);
                newest.push(entry.offset, &bare, deflater, out);
            }
            Self::Deflated { is_bare: false, newest } => newest.push(entry.offset, canonical, deflater, out),
            Self::Events(epoch) => {
                let (_, envelope) = frame::parts(canonical);
                sse::write_message(*epoch, entry.offset.next(), envelope, out);
            }
            Self::Arrays { writer, newest } => newest.push_made(entry.offset, out, |out| {
                if !write_array(writer, entry, value, out) {
                    out.extend_from_slice(canonical);
                }
            }),
        }
    }
}

/// Appends the binary frame of a message; false, and nothing appended, when it is no array of its topic's type.
fn write_array(arrays: &ArrayWriter, entry: &Entry, value: &[u8], out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let message = begin + frame::HEADER_BYTES_MAX;
    out.resize(message, 0);
    if !arrays.write(entry.offset, entry.wall, value, out) {
        out.truncate(begin);
        return false;
    }
    let header = frame::server_header(Opcode::Binary, out.len() - message);
    frame::place_header(out, begin, header);
    true
}

/// Appends the frame of the payload that a value of an envelope stands for.
fn write_frame(kind: Kind, value: &[u8], out: &mut Vec<u8>) {
    if kind == Kind::Json {
        return frame::write_frame(out, Opcode::Text, value, None);
    }
    let begin = out.len();
    let payload = begin + frame::HEADER_BYTES_MAX;
    out.resize(payload, 0);
    write_payload(kind, value, out)
        .expect("the value was written by us, and a batch that is read from a file is checked for it");
    let opcode = match kind {
        Kind::Bytes => Opcode::Binary,
        Kind::Json | Kind::Text => Opcode::Text,
    };
    let header = frame::server_header(opcode, out.len() - payload);
    frame::place_header(out, begin, header);
}

/// Frames of a full cut: as much as one write to a socket takes.
const CUT_BYTES: usize = 64 << 10;
/// Of short messages a cut is full with so many, whose index is of the size of its frames.
const CUT_ENTRIES: usize = 1 << 10;
/// For cursors at several places: those that are live, and a few that read history.
const CUTS_MAX: usize = 4;
/// Of one topic and thread, unless one message is larger: that leaves no room for other cuts, and a vector that grew for it may
/// have room for twice as much.
const CUTS_BYTES_MAX: usize = 1 << 20;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::Arc;

    use lapwing_wire::topic::TopicName;

    use super::*;
    use crate::clock::Now;
    use crate::log::Log;
    use crate::log::batch::NewMessage;
    use crate::log::reader::{Next, Reader, View};
    use crate::log::retention::Retention;

    /// A log of messages of these sizes, and a reader of its envelopes.
    fn reader(sizes: impl Iterator<Item = usize>) -> Reader {
        let topic = TopicName::parse("t").expect("valid");
        let log = Arc::new(Log::new(topic, Epoch::from_bits(1), Retention::DEFAULT));
        for bytes in sizes {
            let payload = format!("\"{}\"", "x".repeat(bytes));
            log.append(&[NewMessage::new(Kind::Json, payload.as_bytes())], Now::default())
                .expect("open");
        }
        Reader::new(log, View::Canonical)
    }

    fn push(cuts: &mut Cuts, reader: &Reader, at: u64, bytes: usize) -> Option<Offset> {
        match reader.read(Offset::new(at), bytes) {
            Next::Frames(run) => cuts.push(&run, &mut Deflater::default()),
            _ => panic!("there is more"),
        }
    }

    #[test]
    fn what_follows_is_cut_behind_what_is_there_and_a_few_places_stay() {
        let reader = reader((0..1000).map(|_| 10));
        let mut cuts = Cuts::new(reader.log(), View::Payload, 0);
        assert_eq!(push(&mut cuts, &reader, 0, 1), Some(Offset::new(1)));
        assert_eq!(push(&mut cuts, &reader, 1, 1), Some(Offset::new(2)));
        assert_eq!(cuts.read(Offset::ZERO, 1 << 20).map(|run| run.entries().len()), Some(2));
        for at in [100, 200, 300] {
            push(&mut cuts, &reader, at, 1);
        }
        // Asked for, so another goes.
        assert!(cuts.hold(Offset::ZERO));
        push(&mut cuts, &reader, 400, 1);
        let there: Vec<u64> = (0..1000).filter(|at| cuts.hold(Offset::new(*at))).collect();
        assert_eq!(there, [0, 1, 200, 300, 400]);
    }

    #[test]
    fn cuts_are_a_megabyte_or_twice_one_message() {
        let sizes = [10, 5 << 20, 10, 2 << 20]
            .into_iter()
            .chain((0..20_000).map(|n| n % 500));
        let reader = reader(sizes);
        let mut cuts = Cuts::new(reader.log(), View::Payload, 0);
        for at in (0..15_000).step_by(3) {
            push(&mut cuts, &reader, at % 7000, CUT_BYTES);
            let large = cuts.cuts.iter().map(|cut| cut.frames.len()).max().unwrap_or(0);
            // A vector that grows may have room for as much again.
            assert!(
                cuts.bytes() <= CUTS_BYTES_MAX.max(2 * large + CUT_BYTES),
                "{}",
                cuts.bytes()
            );
        }
    }
}
