//! A commit batch: messages that become durable together or not at all, and its bytes on disk.

use std::ops::Range;

use lapwing_wire::envelope::{Kind, is_value};
use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;

pub use crate::log::batch::Batch;
use crate::log::retries::RetryKey;
use crate::log::segment::Entry;

impl Batch {
    /// Its length on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        (HEADER_BYTES + self.entries.len() * ROW_BYTES + self.keys.len() * KEY_BYTES + self.frames.len()) as u64
    }

    /// Writes all that stands before the frames into `head`.
    ///
    /// # Panics
    /// When the batch is longer than [`BATCH_BYTES_MAX`].
    pub fn encode(&self, epoch: Epoch, durable: Offset, head: &mut Vec<u8>) {
        let bytes = self.disk_bytes();
        assert!(bytes <= BATCH_BYTES_MAX, "a batch of {bytes} bytes is over the limit");
        let header = BatchHeader {
            bytes: bytes as u32,
            content: Content::Messages,
            count: self.entries.len() as u32,
            keys: self.keys.len() as u32,
            base: self.base,
            next: self.end(),
            durable,
            epoch,
        };
        head.clear();
        header.write(head);
        head.reserve(self.entries.len() * ROW_BYTES + self.keys.len() * KEY_BYTES);
        let mut begin = 0;
        for entry in &self.entries {
            let mut row = [0; ROW_BYTES];
            row[0..4].copy_from_slice(&(entry.end - begin).to_le_bytes());
            row[4..8].copy_from_slice(&entry.value_begin.to_le_bytes());
            row[8..12].copy_from_slice(&entry.value_end.to_le_bytes());
            row[12] = entry.kind as u8;
            row[16..20].copy_from_slice(&entry.source.to_le_bytes());
            row[20..28].copy_from_slice(&entry.sequence.to_le_bytes());
            row[28..36].copy_from_slice(&entry.wall.nanos().to_le_bytes());
            head.extend_from_slice(&row);
            begin = entry.end;
        }
        for (key, offsets) in &self.keys {
            head.extend_from_slice(key.as_bytes());
            head.extend_from_slice(&(offsets.start.since(self.base) as u32).to_le_bytes());
            head.extend_from_slice(&(offsets.end.since(self.base) as u32).to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), &self.frames);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The bytes of a hole: offsets that are declared to be missing.
#[must_use]
pub fn encode_hole(offsets: Range<Offset>, epoch: Epoch) -> Vec<u8> {
    let header = BatchHeader {
        bytes: HEADER_BYTES as u32,
        content: Content::Hole,
        count: 0,
        keys: 0,
        base: offsets.start,
        next: offsets.end,
        durable: offsets.start,
        epoch,
    };
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What a batch on disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Messages.
    Messages,
    /// A hole where damage was.
    Hole,
}

/// The fixed part of a batch on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Length of the whole batch.
    pub bytes: u32,
    /// What it is.
    pub content: Content,
    /// How many messages.
    pub count: u32,
    /// How many retry keys.
    pub keys: u32,
    /// The offset of the first message.
    pub base: Offset,
    /// The offset behind the last.
    pub next: Offset,
    /// All below was on stable storage when this was written.
    pub durable: Offset,
    /// The history that it belongs to.
    pub epoch: Epoch,
}

impl BatchHeader {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        let content = match self.content {
            Content::Messages => 0_u32,
            Content::Hole => 1,
        };
        out.extend_from_slice(&content.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.keys.to_le_bytes());
        for offset in [self.base, self.next, self.durable] {
            out.extend_from_slice(&offset.get().to_le_bytes());
        }
        out.extend_from_slice(&self.epoch.to_bits().to_le_bytes());
    }

    /// Reads a header whose fields fit each other; the checksum is not looked at yet.
    #[must_use]
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        if bytes[..4] != MAGIC {
            return None;
        }
        let header = Self {
            bytes: u32_at(bytes, 8),
            content: match u32_at(bytes, 12) {
                0 => Content::Messages,
                1 => Content::Hole,
                _ => return None,
            },
            count: u32_at(bytes, 16),
            keys: u32_at(bytes, 20),
            base: Offset::new(u64_at(bytes, 24)),
            next: Offset::new(u64_at(bytes, 32)),
            durable: Offset::new(u64_at(bytes, 40)),
            epoch: Epoch::from_bits(u128::from_le_bytes(
                *bytes[48..]
                    .first_chunk()
                    .expect("the header ends with 16 bytes of epoch"),
            )),
        };
        let counted = header.base.get().checked_add(u64::from(header.count));
        let fits = match header.content {
            Content::Messages => header.count > 0 && counted == Some(header.next.get()),
            Content::Hole => header.count == 0 && header.base < header.next,
        };
        (fits && header.durable <= header.base && header.frames_begin() <= u64::from(header.bytes)).then_some(header)
    }

    fn frames_begin(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.count) * ROW_BYTES as u64 + u64::from(self.keys) * KEY_BYTES as u64
    }
}

/// A batch on disk that was found to be whole.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

/// One message of a batch on disk.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its index entry; `end` is where its frame ends within the batch's frames, `mono` is not known any more.
    pub entry: Entry,
    /// Its frame.
    pub frame: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Checks the bytes of a whole batch.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = BatchHeader::read(bytes.first_chunk()?)?;
        let sealed = crc32c::crc32c(&bytes[8..]) == u32_at(bytes, 4);
        #[cfg(feature = "planted")]
        let sealed = sealed || crate::planted::is(crate::planted::Bug::TornTail);
        let fits = bytes.len() as u64 == u64::from(header.bytes) && sealed;
        let view = Self { header, bytes };
        (fits && view.is_sound()).then_some(view)
    }

    /// The fixed part.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The frames, one behind the other.
    #[must_use]
    pub fn frames(&self) -> &'a [u8] {
        &self.bytes[self.header.frames_begin() as usize..]
    }

    /// The messages.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let (frames, mut begin, mut offset) = (self.frames(), 0, self.header.base);
        self.table().map(move |row| {
            let end = begin + u32_at(row, 0);
            let entry = Entry {
                offset,
                end,
                value_begin: u32_at(row, 4),
                value_end: u32_at(row, 8),
                kind: kind(row[12]).unwrap_or(Kind::Json),
                source: u32_at(row, 16),
                sequence: u64_at(row, 20),
                wall: wall(row),
                mono: 0,
            };
            let frame = &frames[begin as usize..end as usize];
            begin = end;
            offset = offset.next();
            Row { entry, frame }
        })
    }

    /// The first, the last and the latest wall time of its messages; none for a hole.
    #[must_use]
    pub fn walls(&self) -> Option<(WallTime, WallTime, WallTime)> {
        let mut walls = self.table().map(wall);
        let first = walls.next()?;
        Some(walls.fold((first, first, first), |(first, _, latest), wall| {
            (first, wall, latest.max(wall))
        }))
    }

    /// The retry keys, with the offsets of each.
    pub fn keys(&self) -> impl Iterator<Item = (RetryKey, Range<Offset>)> + use<'a> {
        let base = self.header.base;
        let begin = HEADER_BYTES + self.header.count as usize * ROW_BYTES;
        let end = self.header.frames_begin() as usize;
        self.bytes[begin..end].chunks_exact(KEY_BYTES).map(move |key| {
            let hash = key.first_chunk().expect("a key begins with its hash");
            let place = |at| base.plus(u64::from(u32_at(key, at)));
            (RetryKey::from_bytes(*hash), place(16)..place(20))
        })
    }

    fn table(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let end = HEADER_BYTES + self.header.count as usize * ROW_BYTES;
        self.bytes[HEADER_BYTES..end].chunks_exact(ROW_BYTES)
    }

    /// Whether the table fits the frames, and each value its kind, so that a payload can be cut from it: a checksum shows that
    /// bytes are as written, not that what was written makes sense.
    fn is_sound(&self) -> bool {
        let mut frames = 0_u64;
        for row in self.table() {
            let (length, begin, end) = (u32_at(row, 0), u32_at(row, 4), u32_at(row, 8));
            let Some(kind) = kind(row[12]).filter(|_| begin <= end && end <= length) else {
                return false;
            };
            // Any JSON value is its own payload.
            if kind != Kind::Json {
                let place = (frames + u64::from(begin)) as usize..(frames + u64::from(end)) as usize;
                let value = self.frames().get(place);
                if value.is_none_or(|value| !is_value(kind, value)) {
                    return false;
                }
            }
            frames += u64::from(length);
        }
        let keys_fit = self
            .keys()
            .all(|(_, offsets)| offsets.start < offsets.end && offsets.end <= self.header.next);
        frames == self.frames().len() as u64 && keys_fit
    }
}

fn kind(bits: u8) -> Option<Kind> {
    [Kind::Json, Kind::Text, Kind::Bytes]
        .into_iter()
        .find(|&kind| kind as u8 == bits)
}

fn wall(row: &[u8]) -> WallTime {
    WallTime::from_nanos(u64_at(row, 28).cast_signed())
}

/// A little-endian number that stands at `at`, where there must be one.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        *bytes[at..]
            .first_chunk()
            .expect("lengths were checked before fields are read"),
    )
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        *bytes[at..]
            .first_chunk()
            .expect("lengths were checked before fields are read"),
    )
}

/// The fixed part of a batch.
pub const HEADER_BYTES: usize = 64;
/// One message in the table.
pub const ROW_BYTES: usize = 36;
/// One retry key.
pub const KEY_BYTES: usize = 24;
/// How a batch begins: bytes that occur in no text, so in no frame's payload.
pub const MAGIC: [u8; 4] = [0xfe, b'L', b'B', 0xff];
/// The longest batch, 1 GiB: the largest message is 96 MiB as an envelope, and lengths must fit 32 bits.
pub const BATCH_BYTES_MAX: u64 = 1 << 30;
