//! Reading segment messages: a run of batches at a cursor becomes a segment, as the log in memory has them.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use lapwing_wire::control::GapReason;
use lapwing_wire::position::Offset;

use super::batch::Content;
use super::file::SegmentFile;
use super::index::MARK_BYTES;
use super::notice::Finding;
use super::scan::Window;
use super::{Page, Store};
use crate::log::segment::{Entry, Segment};

/// Pages that were read lately, shared by all readers of a topic: those who lag together read each page once.
#[derive(Default)]
pub struct Pages {
    held: VecDeque<(Range<Offset>, Arc<Segment>)>,
    /// Damage that was told: file and position.
    told: HashSet<(Offset, u64)>,
}

impl Pages {
    fn find(&mut self, cursor: Offset) -> Option<Arc<Segment>> {
        let at = self.held.iter().position(|(offsets, _)| offsets.contains(&cursor))?;
        let page = self.held.remove(at)?;
        let segment = page.1.clone();
        self.held.push_back(page);
        Some(segment)
    }

    fn keep(&mut self, offsets: Range<Offset>, segment: Arc<Segment>) {
        if self.held.len() == PAGES_MAX {
            self.held.pop_front();
        }
        self.held.push_back((offsets, segment));
    }

    /// Forgets pages that lie wholly below `first`.
    pub fn forget_below(&mut self, first: Offset) {
        self.held.retain(|(offsets, _)| offsets.end > first);
    }
}

impl Store {
    /// What lies at `cursor`: about 128 KiB of frames of whole batches, at least one batch.
    pub fn page(&self, cursor: Offset) -> io::Result<Page> {
        let next = self.next();
        if cursor >= next {
            return Ok(Page::End);
        }
        let held = self.pages.lock().unwrap_or_else(PoisonError::into_inner).find(cursor);
        if let Some(segment) = held {
            return Ok(Page::Frames(segment));
        }
        let (file, behind) = {
            let files = self.files();
            let at = files.partition_point(|file| file.base <= cursor);
            (at.checked_sub(1).map(|at| files[at].clone()), files.get(at).cloned())
        };
        let Some(file) = file else {
            let first = behind.map_or(next, |file| file.base);
            return Ok(missing(cursor..first, GapReason::Retention));
        };
        match self.page_of(&file, cursor) {
            Ok(Some(page)) => Ok(page),
            Ok(None) => {
                let end = behind.as_ref().map_or(next, |file| file.base);
                let gone = behind.is_some_and(|behind| behind.follows > file.index().next);
                let reason = if gone { GapReason::Damage } else { GapReason::Purge };
                Ok(missing(cursor..end, reason))
            }
            // Retention was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound && cursor < self.first() => {
                Ok(missing(cursor..self.first(), GapReason::Retention))
            }
            Err(error) => Err(error),
        }
    }

    /// What lies at `cursor` in one file; none when that ends before.
    fn page_of(&self, file: &SegmentFile, cursor: Offset) -> io::Result<Option<Page>> {
        let (bytes, next, from) = {
            let index = file.index();
            (index.bytes, index.next, index.mark(cursor))
        };
        let Some(mark) = from.filter(|_| cursor < next) else {
            return Ok(None);
        };
        let handle = file.open(&*self.disk)?;
        let mut window = Window::in_pieces(&*handle, bytes, PIECE_BYTES);
        let (mut at, mut expected) = (mark.position, mark.offset);
        let (mut base, mut frames, mut entries) = (cursor, Vec::new(), Vec::<Entry>::new());
        while at < bytes && frames.len() < PAGE_BYTES {
            let Some(view) = window.batch(at, file.epoch, expected)? else {
                if !entries.is_empty() {
                    break;
                }
                let behind = window.find(at, file.epoch, expected)?;
                let (end_at, end) = match behind {
                    Some(found) => match window.batch(found, file.epoch, expected)? {
                        Some(view) => (found, view.header().base),
                        None => (bytes, next),
                    },
                    None => (bytes, next),
                };
                self.tell_damage(file, at..end_at, expected..end);
                if cursor < end {
                    return Ok(Some(missing(cursor..end, GapReason::Damage)));
                }
                (at, expected) = (end_at, end);
                continue;
            };
            let header = *view.header();
            if header.next > cursor {
                if entries.is_empty() && header.base > cursor {
                    return Ok(Some(missing(cursor..header.base, GapReason::Purge)));
                }
                if header.content == Content::Hole {
                    if entries.is_empty() {
                        return Ok(Some(missing(cursor..header.next, GapReason::Damage)));
                    }
                    break;
                }
                if entries.is_empty() {
                    base = header.base;
                }
                let begin = u32::try_from(frames.len()).expect("a page ends with the batch that passes 128 KiB");
                frames.extend_from_slice(view.frames());
                entries.extend(view.rows().map(|row| Entry {
                    end: begin + row.entry.end,
                    ..row.entry
                }));
            }
            (at, expected) = (at + u64::from(header.bytes), header.next);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let small = frames.len() <= HELD_BYTES_MAX;
        let segment = Segment::sealed(base, frames, entries);
        if small {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            pages.keep(base..expected, segment.clone());
        }
        Ok(Some(Page::Frames(segment)))
    }

    fn tell_damage(&self, file: &SegmentFile, place: Range<u64>, offsets: Range<Offset>) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.told.insert((file.base, place.start)) {
            drop(pages);
            let finding = Finding::Damage {
                position: place.start,
                bytes: place.end - place.start,
                offsets,
            };
            self.tell(file.path.clone(), finding);
        }
    }
}

fn missing(offsets: Range<Offset>, reason: GapReason) -> Page {
    Page::Missing { offsets, reason }
}

/// A page is full with so many bytes of frames: twice what one write to a socket takes.
pub const PAGE_BYTES: usize = 128 << 10;
/// Read at once for a page: what lies before the cursor, and the page.
pub const PIECE_BYTES: usize = PAGE_BYTES + MARK_BYTES as usize;
/// 8 pages, about 1 MiB a topic, for readers that lag at different places.
const PAGES_MAX: usize = 8;
/// A page of larger messages is not held: 8 of them could be gigabytes.
const HELD_BYTES_MAX: usize = 1 << 20;
