//! The header of a segment file.

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use super::batch::{u32_at, u64_at};
use crate::log::lineage::{EPOCHS_MAX, Lineage};

/// What stands at the beginning of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The topic.
    pub topic: TopicName,
    /// The offset of its first message, also its name.
    pub base: Offset,
    /// Where the segment before it ended; below `base` only when the log has a hole there.
    pub follows: Offset,
    /// All below was on stable storage when the file was made.
    pub durable: Offset,
    /// When it was made.
    pub made: WallTime,
    /// The histories of the log; all messages in the file are of the last.
    pub lineage: Lineage,
}

/// Why a header was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// It was written by a newer Lapwing.
    Newer(u32),
    /// It is not whole.
    Damaged,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (topic, epochs) = (self.topic.as_str().as_bytes(), self.lineage.epochs());
        let bytes = FIXED_BYTES + topic.len() + epochs.len() * EPOCH_BYTES;
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&(bytes as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for offset in [self.base, self.follows, self.durable] {
            out.extend_from_slice(&offset.get().to_le_bytes());
        }
        out.extend_from_slice(&self.made.nanos().to_le_bytes());
        out.extend_from_slice(&(epochs.len() as u32).to_le_bytes());
        out.extend_from_slice(&(topic.len() as u32).to_le_bytes());
        out.extend_from_slice(topic);
        for (epoch, begin) in epochs {
            out.extend_from_slice(&epoch.to_bits().to_le_bytes());
            out.extend_from_slice(&begin.get().to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[24..]);
        out[20..24].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header from the beginning of a file; gives its length too.
    pub fn read(bytes: &[u8]) -> Result<(Self, u64), HeaderFault> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk().ok_or(HeaderFault::Damaged)?;
        if fixed[..8] != MAGIC || crc32c::crc32c(&fixed[..12]) != u32_at(fixed, 12) {
            return Err(HeaderFault::Damaged);
        }
        match u32_at(fixed, 8) {
            FORMAT => {}
            newer => return Err(HeaderFault::Newer(newer)),
        }
        Self::read_this_format(bytes, fixed).ok_or(HeaderFault::Damaged)
    }

    fn read_this_format(bytes: &[u8], fixed: &[u8; FIXED_BYTES]) -> Option<(Self, u64)> {
        let whole = bytes.get(..u32_at(fixed, 16) as usize)?;
        if whole.len() < FIXED_BYTES || crc32c::crc32c(&whole[24..]) != u32_at(fixed, 20) {
            return None;
        }
        let (epochs, topic) = (u32_at(fixed, 56) as usize, u32_at(fixed, 60) as usize);
        if epochs > EPOCHS_MAX || topic > TopicName::BYTES_MAX {
            return None;
        }
        let (topic, epochs_bytes) = whole[FIXED_BYTES..].split_at_checked(topic)?;
        if epochs_bytes.len() != epochs * EPOCH_BYTES {
            return None;
        }
        let epoch = |bytes: &[u8]| {
            let bits = u128::from_le_bytes(*bytes.first_chunk().expect("an epoch has 16 bytes"));
            (Epoch::from_bits(bits), Offset::new(u64_at(bytes, 16)))
        };
        let header = Self {
            topic: TopicName::parse(std::str::from_utf8(topic).ok()?).ok()?,
            base: Offset::new(u64_at(fixed, 24)),
            follows: Offset::new(u64_at(fixed, 32)),
            durable: Offset::new(u64_at(fixed, 40)),
            made: WallTime::from_nanos(u64_at(fixed, 48).cast_signed()),
            lineage: Lineage::from_epochs(epochs_bytes.chunks_exact(EPOCH_BYTES).map(epoch).collect())?,
        };
        (header.follows <= header.base).then_some((header, whole.len() as u64))
    }
}

/// The newest format that is known, and the one that is written.
pub const FORMAT: u32 = 1;
/// The longest header.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + TopicName::BYTES_MAX + EPOCHS_MAX * EPOCH_BYTES;

const MAGIC: [u8; 8] = *b"lapwing\xfe";
const FIXED_BYTES: usize = 64;
const EPOCH_BYTES: usize = 24;
