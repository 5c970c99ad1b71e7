//! Reading a segment file from its beginning, with everything that is wrong with it.

use std::io;

use lapwing_wire::position::{Epoch, Offset};

use super::batch::{BatchHeader, BatchView, HEADER_BYTES, MAGIC};
use super::disk::{DiskFile, read_full};
use super::index::Index;

/// What a segment file holds behind its header.
pub struct Scan {
    /// What is good from the beginning on.
    pub index: Index,
    /// What is not good behind that, if anything is there.
    pub bad: Option<Bad>,
    /// Good batches behind it, as runs.
    pub behind: Vec<Stretch>,
    /// The highest offset below which all was on stable storage, as any good batch says it.
    pub durable: Offset,
}

/// Bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where they begin.
    pub position: u64,
    /// Whether all of them, up to the end of the file, are zero: room that was asked for ahead, or was never written.
    pub zero: bool,
}

/// Good batches, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where in the file they begin.
    pub begin: u64,
    /// Where in the file they end.
    pub end: u64,
    /// The first offset.
    pub base: Offset,
    /// The offset behind the last.
    pub next: Offset,
}

/// Scans the `bytes` of a file behind `header_bytes`; a batch counts only with this epoch, and offsets that rise from `base`.
/// Every good batch of the beginning is shown to `on_batch`.
pub fn scan(
    file: &dyn DiskFile,
    bytes: u64,
    base: Offset,
    header_bytes: u64,
    epoch: Epoch,
    mut on_batch: impl FnMut(&BatchView<'_>),
) -> io::Result<Scan> {
    let mut window = Window::new(file, bytes);
    let mut index = Index::new(base, header_bytes);
    let mut durable = Offset::ZERO;
    while let Some(view) = window.batch(index.bytes, epoch, index.next)? {
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::OffsetReused) {
            let (end, next) = (index.bytes + u64::from(view.header().bytes), view.header().next);
            if window.batch(end, epoch, next)?.is_none() {
                let (position, zero) = (index.bytes, false);
                return Ok(Scan {
                    index,
                    bad: Some(Bad { position, zero }),
                    behind: Vec::new(),
                    durable,
                });
            }
            let Some(view) = window.batch(index.bytes, epoch, index.next)? else {
                break;
            };
            durable = durable.max(view.header().durable);
            index.add_view(&view);
            on_batch(&view);
            continue;
        }
        durable = durable.max(view.header().durable);
        index.add_view(&view);
        on_batch(&view);
    }
    if index.bytes == bytes {
        return Ok(Scan {
            index,
            bad: None,
            behind: Vec::new(),
            durable,
        });
    }
    let (bad, mut behind) = (index.bytes, Vec::<Stretch>::new());
    let (mut at, mut next) = (bad, index.next);
    while let Some(found) = window.find(at, epoch, next)? {
        let mut run = Stretch {
            begin: found,
            end: found,
            base: next,
            next,
        };
        while let Some(view) = window.batch(run.end, epoch, run.next)? {
            let header = view.header();
            if run.begin == run.end {
                run.base = header.base;
            }
            durable = durable.max(header.durable);
            (run.end, run.next) = (run.end + u64::from(header.bytes), header.next);
        }
        (at, next) = (run.end, run.next);
        behind.push(run);
    }
    let zero = behind.is_empty() && window.is_zero(bad)?;
    Ok(Scan {
        index,
        bad: Some(Bad { position: bad, zero }),
        behind,
        durable,
    })
}

/// A file read through one buffer that grows to what a batch needs, and never beyond the file.
pub struct Window<'a> {
    file: &'a dyn DiskFile,
    file_bytes: u64,
    piece: usize,
    buffer: Vec<u8>,
    begin: u64,
    filled: usize,
}

impl<'a> Window<'a> {
    /// Looks at the first `file_bytes` of a file.
    #[must_use]
    pub fn new(file: &'a dyn DiskFile, file_bytes: u64) -> Self {
        Self::in_pieces(file, file_bytes, READ_BYTES)
    }

    /// The same, reading at least `piece` bytes at once.
    #[must_use]
    pub fn in_pieces(file: &'a dyn DiskFile, file_bytes: u64, piece: usize) -> Self {
        Self {
            file,
            file_bytes,
            piece,
            buffer: Vec::new(),
            begin: 0,
            filled: 0,
        }
    }

    /// The batch at `at`, when there is a whole one of this epoch that begins at `next` or later.
    pub fn batch(&mut self, at: u64, epoch: Epoch, next: Offset) -> io::Result<Option<BatchView<'_>>> {
        let Some(header) = self.bytes(at, HEADER_BYTES)? else {
            return Ok(None);
        };
        let header = BatchHeader::read(header.first_chunk().expect("as long as a header"));
        let Some(header) = header.filter(|header| header.epoch == epoch && header.base >= next) else {
            return Ok(None);
        };
        Ok(self.bytes(at, header.bytes as usize)?.and_then(BatchView::read))
    }

    /// Where the first batch at `from` or later begins.
    pub fn find(&mut self, from: u64, epoch: Epoch, next: Offset) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + HEADER_BYTES as u64 <= self.file_bytes {
            let length = self.look(at)?;
            let Some(bytes) = self.bytes(at, length)? else { break };
            let first = bytes.iter().position(|&byte| byte == MAGIC[0]);
            at += first.unwrap_or(length) as u64;
            if first.is_some() {
                // Epoch and offsets are compared before the checksum is made, so this stays one pass over the file.
                if self.batch(at, epoch, next)?.is_some() {
                    return Ok(Some(at));
                }
                at += 1;
            }
        }
        Ok(None)
    }

    /// Whether all from `from` on is zero.
    pub fn is_zero(&mut self, from: u64) -> io::Result<bool> {
        let mut at = from;
        while at < self.file_bytes {
            let length = self.look(at)?;
            let Some(bytes) = self.bytes(at, length)? else { break };
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += length as u64;
        }
        Ok(true)
    }

    /// How much of the file, from `at` on, can be looked at in one piece: what is read already, or a new piece.
    fn look(&mut self, at: u64) -> io::Result<usize> {
        let held = (self.begin + self.filled as u64).saturating_sub(at);
        let left = self.file_bytes - at;
        let length = if at >= self.begin && held >= HEADER_BYTES as u64 {
            held
        } else {
            self.piece as u64
        };
        Ok(length.min(left) as usize)
    }

    /// `length` bytes from `at` on; none when the file is shorter.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.file_bytes) {
            return Ok(None);
        }
        let held = at >= self.begin && at + length as u64 <= self.begin + self.filled as u64;
        if !held {
            let read = (length.max(self.piece) as u64).min(self.file_bytes - at) as usize;
            if self.buffer.len() < read {
                self.buffer.resize(read, 0);
            }
            self.begin = at;
            self.filled = read_full(self.file, &mut self.buffer[..read], at)?;
            if self.filled < length {
                // The file became shorter under us: what is gone is no batch.
                self.file_bytes = at + self.filled as u64;
                return Ok(None);
            }
        }
        let from = (at - self.begin) as usize;
        Ok(Some(&self.buffer[from..from + length]))
    }
}

/// A file is read in pieces of 1 MiB: large enough that system calls do not count, small enough for the cache of a core.
const READ_BYTES: usize = 1 << 20;
