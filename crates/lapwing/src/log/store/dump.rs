//! Everything that a topic's directory holds, in order, with every gap and all damage; nothing is changed and no lock taken.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lapwing_wire::control::GapReason;
use lapwing_wire::position::{Epoch, Offset};

use super::batch::{BatchView, Content, Row};
use super::disk::{Access, Disk};
use super::header::HeaderFault;
use super::scan::{Window, scan};
use super::state::StateFault;
use super::survey::{At, Survey, Surveyed};

/// One thing that a dump tells.
pub enum Item<'a> {
    /// A message.
    Message {
        /// The history that it belongs to.
        epoch: Epoch,
        /// What is known of it, and its frame.
        row: Row<'a>,
    },
    /// Offsets that are not there, and the files say so: left out when they were written, or lost and repaired.
    Gap {
        /// Which.
        offsets: Range<Offset>,
        /// Why.
        reason: GapReason,
    },
    /// Offsets that once were in a file that is gone.
    Missing {
        /// The file behind it, or the directory when it was the last.
        file: &'a Path,
        /// Which.
        offsets: Range<Offset>,
    },
    /// Bytes that are not as they were written.
    Damage {
        /// In which file.
        file: &'a Path,
        /// Which of its bytes.
        place: Range<u64>,
        /// The offsets that lie there.
        offsets: Range<Offset>,
    },
    /// The end of a write that was not finished, or is on its way.
    Unfinished {
        /// In which file.
        file: &'a Path,
        /// Which of its bytes.
        place: Range<u64>,
    },
    /// A file of a newer format.
    Newer {
        /// Which.
        file: &'a Path,
        /// Its format.
        format: u32,
    },
}

/// Tells everything in a topic's directory to `tell`; an error that it gives ends the dump and is given back.
pub fn dump(disk: &dyn Disk, directory: &Path, tell: &mut dyn FnMut(Item<'_>) -> io::Result<()>) -> At<()> {
    let survey = survey(disk, directory)?;
    let mut walk = Walk {
        next: None,
        overtaken: false,
        told: Ok(()),
        tell,
    };
    if let Err(StateFault::Newer(format)) = survey.state {
        let file = &directory.join(super::state::FILE);
        walk.say(Item::Newer { file, format });
    }
    for (nth, segment) in survey.segments.iter().enumerate() {
        let at = |error| (segment.path.clone(), error);
        walk.segment(disk, &survey, segment, survey.segments.get(nth + 1))
            .map_err(at)?;
        std::mem::replace(&mut walk.told, Ok(())).map_err(at)?;
    }
    // Nothing is read of what comes in meanwhile, so a server that goes on writing is no reason for this.
    let next = walk.next.unwrap_or_default();
    if next < survey.durable && !walk.overtaken {
        let offsets = next..survey.durable;
        walk.say(Item::Missing {
            file: directory,
            offsets,
        });
    }
    walk.told.map_err(|error| (directory.to_owned(), error))
}

/// Surveys a directory from which a server may let go of segments meanwhile.
fn survey(disk: &dyn Disk, directory: &Path) -> At<Survey> {
    for _ in 1..TRIES {
        match Survey::of(disk, directory, false) {
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            surveyed => return surveyed,
        }
    }
    Survey::of(disk, directory, false)
}

struct Walk<'t> {
    /// The offset behind the last that was told.
    next: Option<Offset>,
    /// The last segment looked for had been let go: what is behind it cannot be told.
    overtaken: bool,
    /// The first error that the listener gave.
    told: io::Result<()>,
    tell: &'t mut dyn FnMut(Item<'_>) -> io::Result<()>,
}

impl Walk<'_> {
    fn say(&mut self, item: Item<'_>) {
        if self.told.is_ok() {
            self.told = (self.tell)(item);
        }
    }

    fn gap(&mut self, offsets: Range<Offset>, reason: GapReason) {
        if offsets.start < offsets.end {
            self.say(Item::Gap { offsets, reason });
        }
    }

    fn segment(
        &mut self,
        disk: &dyn Disk,
        survey: &Survey,
        segment: &Surveyed,
        later: Option<&Surveyed>,
    ) -> io::Result<()> {
        let file = match disk.open(&segment.path, Access::Read) {
            // Let go since the survey: what follows is no gap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.next = None;
                self.overtaken = true;
                return Ok(());
            }
            file => file?,
        };
        self.overtaken = false;
        let path: &PathBuf = &segment.path;
        let (epoch, header_bytes) = match &segment.header {
            Ok((header, header_bytes)) => {
                if let Some(next) = self.next {
                    if next < header.follows {
                        let offsets = next..header.follows;
                        self.say(Item::Missing { file: path, offsets });
                    }
                    self.gap(header.follows.max(next)..header.base, GapReason::Purge);
                }
                self.next = Some(header.base);
                (header.lineage.current(), *header_bytes)
            }
            Err(HeaderFault::Newer(format)) => {
                let format = *format;
                self.say(Item::Newer { file: path, format });
                return Ok(());
            }
            Err(HeaderFault::Damaged) => {
                let none = Epoch::from_bits(0);
                self.next = Some(self.next.unwrap_or(segment.base));
                (
                    survey.lineage.as_ref().map_or(none, |lineage| lineage.at(segment.base)),
                    0,
                )
            }
        };
        let bytes = file.bytes()?;
        let found = scan(&*file, bytes, segment.base, header_bytes, epoch, |view| {
            self.batch(view)
        })?;
        let Some(bad) = found.bad.filter(|bad| !bad.zero) else {
            return Ok(());
        };
        let mut begin = bad.position;
        for run in &found.behind {
            let offsets = self.next.unwrap_or(segment.base)..run.base;
            self.next = Some(run.base);
            let place = begin..run.begin;
            self.say(Item::Damage {
                file: path,
                place,
                offsets,
            });
            let (mut window, mut at) = (Window::new(&*file, bytes), run.begin);
            while at < run.end {
                let Some(view) = window.batch(at, epoch, run.base)? else {
                    break;
                };
                at += u64::from(view.header().bytes);
                self.batch(&view);
            }
            begin = run.end;
        }
        if begin == bytes || Window::new(&*file, bytes).is_zero(begin)? {
            return Ok(());
        }
        let next = self.next.unwrap_or(segment.base);
        let end = later.map_or(survey.durable, |later| later.base);
        let place = begin..bytes;
        if next < end {
            self.next = Some(end);
            let offsets = next..end;
            self.say(Item::Damage {
                file: path,
                place,
                offsets,
            });
        } else {
            self.say(Item::Unfinished { file: path, place });
        }
        Ok(())
    }

    fn batch(&mut self, view: &BatchView<'_>) {
        let header = view.header();
        if let Some(next) = self.next {
            self.gap(next..header.base, GapReason::Purge);
        }
        if header.content == Content::Hole {
            self.gap(header.base..header.next, GapReason::Damage);
        }
        for row in view.rows() {
            let epoch = header.epoch;
            self.say(Item::Message { epoch, row });
        }
        self.next = Some(header.next);
    }
}

/// A server lets go of at most a few segments while a directory is listed.
const TRIES: u32 = 10;
