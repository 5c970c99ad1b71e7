//! One segment with its other encodings: views that have the same offsets.

use std::sync::{Arc, OnceLock};

use lapwing_wire::envelope::{Kind, write_payload};
use lapwing_wire::frame::{self, Opcode};

use super::segment::{Entry, Segment, SegmentWriter};

/// A form in which frames of a log can be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum View {
    /// Text frames with the envelope: what is written first, and what every other view is made from.
    Canonical,
    /// The bare payload: text frames for JSON and text, binary frames for bytes.
    Payload,
}

/// One segment of a log, and the views made of it.
pub struct Stored {
    canonical: Arc<Segment>,
    payload: OnceLock<Arc<Segment>>,
}

impl Stored {
    /// A segment without views yet.
    #[must_use]
    pub fn new(canonical: Arc<Segment>) -> Self {
        Self {
            canonical,
            payload: OnceLock::new(),
        }
    }

    /// The canonical segment.
    #[must_use]
    pub fn canonical(&self) -> &Arc<Segment> {
        &self.canonical
    }

    /// The segment in this view. For a sealed segment a missing view is made here; one still growing must have been begun
    /// with [`Stored::begin_payload`], since two writers would not do.
    #[must_use]
    pub fn view(&self, view: View) -> &Arc<Segment> {
        match view {
            View::Canonical => &self.canonical,
            View::Payload => self
                .payload
                .get_or_init(|| payload_of(&self.canonical).segment().clone()),
        }
    }

    /// Begins the payload view of a segment that is still written, with all that it holds already; none when it has one.
    pub fn begin_payload(&self) -> Option<SegmentWriter> {
        if self.payload.get().is_some() {
            return None;
        }
        let writer = payload_of(&self.canonical);
        self.payload.set(writer.segment().clone()).is_ok().then_some(writer)
    }

    /// Memory of frames and index, over all views; what is asked for counts, not only what is filled.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |segment: &Segment| (segment.frame_bytes_max() + segment.entries_max() * size_of::<Entry>()) as u64;
        of(&self.canonical) + self.payload.get().map_or(0, |segment| of(segment))
    }
}

/// A payload view of all that is visible, and the writer to go on with it.
fn payload_of(canonical: &Segment) -> SegmentWriter {
    let entries = canonical.entries();
    // A payload frame is never longer than its canonical one, so the same room is enough.
    let (mut writer, _) = Segment::create(canonical.base(), canonical.frame_bytes_max(), canonical.entries_max());
    for (at, entry) in entries.iter().enumerate() {
        push_payload(&mut writer, canonical.frames(at..at + 1), entry);
    }
    writer.publish();
    writer
}

/// Writes the payload of one canonical frame into a view.
pub fn push_payload(writer: &mut SegmentWriter, canonical_frame: &[u8], entry: &Entry) {
    let value = &canonical_frame[entry.value_begin as usize..entry.value_end as usize];
    let mut payload = Vec::with_capacity(value.len());
    write_payload(entry.kind, value, &mut payload).expect("the value was written by us");
    let opcode = if entry.kind == Kind::Bytes {
        Opcode::Binary
    } else {
        Opcode::Text
    };
    let mut framed = Vec::with_capacity(payload.len() + frame::HEADER_BYTES_MAX);
    frame::write_frame(&mut framed, opcode, &payload, None);
    writer.push(&framed, *entry);
}
