//! What is known of a segment file without reading it: where it ends, marks to begin reading at, and its retry keys.
//!
//! On disk it is a cache: one that is missing or wrong is made anew from the segment.

use std::ops::Range;

use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;

use super::batch::{BatchView, u32_at, u64_at};
use crate::log::retries::RetryKey;

/// The index of one segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The offset of the segment.
    pub base: Offset,
    /// The offset behind its last message.
    pub next: Offset,
    /// Up to here the file was looked at; batches begin behind the header.
    pub bytes: u64,
    /// How many messages.
    pub messages: u64,
    /// The latest wall time of all messages.
    pub wall_latest: WallTime,
    /// The wall time of the last message.
    pub wall_last: WallTime,
    /// Where batches begin, one at least every [`MARK_BYTES`].
    pub marks: Vec<Mark>,
    /// The retry keys, in the order of their offsets.
    pub keys: Vec<(RetryKey, Range<Offset>)>,
}

/// A batch that reading may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its first offset.
    pub offset: Offset,
    /// Where in the file it begins.
    pub position: u64,
    /// The latest wall time of all messages of the file before it.
    pub wall_before: WallTime,
}

impl Index {
    /// The index of a segment that has only its header.
    #[must_use]
    pub fn new(base: Offset, header_bytes: u64) -> Self {
        Self {
            base,
            next: base,
            bytes: header_bytes,
            messages: 0,
            wall_latest: WallTime::from_nanos(i64::MIN),
            wall_last: WallTime::from_nanos(i64::MIN),
            marks: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Adds the batch that lies at the end.
    pub fn add_view(&mut self, view: &BatchView<'_>) {
        let header = view.header();
        self.add(
            header.base,
            header.next,
            u64::from(header.bytes),
            u64::from(header.count),
            view.walls(),
        );
        self.keys.extend(view.keys());
    }

    /// Adds a batch that lies at the end; `walls` are the first, last and latest wall time.
    pub fn add(
        &mut self,
        base: Offset,
        next: Offset,
        bytes: u64,
        messages: u64,
        walls: Option<(WallTime, WallTime, WallTime)>,
    ) {
        let marked = self.marks.last().map(|mark| mark.position);
        if marked.is_none_or(|position| self.bytes >= position + MARK_BYTES) {
            self.marks.push(Mark {
                offset: base,
                position: self.bytes,
                wall_before: self.wall_latest,
            });
        }
        self.next = next;
        self.bytes += bytes;
        self.messages += messages;
        if let Some((_, last, latest)) = walls {
            self.wall_last = last;
            self.wall_latest = self.wall_latest.max(latest);
        }
    }

    /// Where to begin reading for `offset`: a batch at or before it. None when there is none.
    #[must_use]
    pub fn mark(&self, offset: Offset) -> Option<Mark> {
        let behind = self.marks.partition_point(|mark| mark.offset <= offset);
        self.marks.get(behind.saturating_sub(1)).copied()
    }

    /// Where to begin reading for the first message at `wall` or later.
    #[must_use]
    pub fn mark_since(&self, wall: WallTime) -> Option<Mark> {
        let behind = self.marks.partition_point(|mark| mark.wall_before < wall);
        self.marks.get(behind.saturating_sub(1)).copied()
    }

    /// The bytes of its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [
            self.base.get(),
            self.next.get(),
            self.bytes,
            self.messages,
            self.wall_latest.nanos().cast_unsigned(),
            self.wall_last.nanos().cast_unsigned(),
            self.marks.len() as u64,
            self.keys.len() as u64,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for mark in &self.marks {
            for number in [
                mark.offset.get(),
                mark.position,
                mark.wall_before.nanos().cast_unsigned(),
            ] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        for (key, offsets) in &self.keys {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&offsets.start.get().to_le_bytes());
            out.extend_from_slice(&offsets.end.get().to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[CRC_BEGIN..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Index::encode`] wrote; none for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk()?;
        let known = fixed[..8] == MAGIC && u32_at(fixed, 8) == FORMAT;
        if !known || crc32c::crc32c(&bytes[CRC_BEGIN..]) != u32_at(fixed, 12) {
            return None;
        }
        let number = |nth: usize| u64_at(fixed, CRC_BEGIN + nth * 8);
        let wall = |number: u64| WallTime::from_nanos(number.cast_signed());
        let marks_bytes = usize::try_from(number(6)).ok()?.checked_mul(MARK_ROW_BYTES)?;
        let (marks, keys) = bytes[FIXED_BYTES..].split_at_checked(marks_bytes)?;
        if keys.len() as u64 != number(7).checked_mul(KEY_ROW_BYTES as u64)? {
            return None;
        }
        let index = Self {
            base: Offset::new(number(0)),
            next: Offset::new(number(1)),
            bytes: number(2),
            messages: number(3),
            wall_latest: wall(number(4)),
            wall_last: wall(number(5)),
            marks: marks
                .chunks_exact(MARK_ROW_BYTES)
                .map(|row| Mark {
                    offset: Offset::new(u64_at(row, 0)),
                    position: u64_at(row, 8),
                    wall_before: wall(u64_at(row, 16)),
                })
                .collect(),
            keys: keys
                .chunks_exact(KEY_ROW_BYTES)
                .map(|row| {
                    let hash = row.first_chunk().expect("a row begins with its hash");
                    let offsets = Offset::new(u64_at(row, 16))..Offset::new(u64_at(row, 24));
                    (RetryKey::from_bytes(*hash), offsets)
                })
                .collect(),
        };
        (index.base <= index.next).then_some(index)
    }
}

/// A mark every 32 KiB: a reader reads at most so much that it does not want, and 1 GiB has 768 KiB of marks.
pub const MARK_BYTES: u64 = 32 << 10;

const MAGIC: [u8; 8] = *b"lapwidx\xfe";
const FORMAT: u32 = 1;
const CRC_BEGIN: usize = 16;
const FIXED_BYTES: usize = CRC_BEGIN + 8 * 8;
const MARK_ROW_BYTES: usize = 24;
const KEY_ROW_BYTES: usize = 32;
