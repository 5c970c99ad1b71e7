//! Damage made explicit: what lies before and behind it stays, what is lost becomes a hole, the damaged bytes are kept beside.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use super::batch::encode_hole;
use super::disk::{Access, Disk, DiskFile, FRESH, read_full, replace, write_full};
use super::file::{index_path, log_name};
use super::header::{Header, HeaderFault};
use super::recovery::sync_segment;
use super::scan::{Scan, Window, scan};
use super::state::StateFault;
use super::survey::{At, Survey, Surveyed};
use crate::clock::Now;
use crate::log::lineage::Lineage;

/// One thing that was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The file that was written anew.
    pub file: PathBuf,
    /// What is told as missing from now on; empty when only a header was damaged.
    pub offsets: Range<Offset>,
    /// Where the damaged bytes are kept, and how many they are.
    pub saved: Option<(PathBuf, u64)>,
}

/// Repairs a topic's directory, of which the lock must be held; `on_segment` is told each segment before it is read, and its
/// bytes. What a start cuts anyway is left to it. Done twice it does nothing.
pub fn repair(
    disk: &dyn Disk,
    directory: &Path,
    topic: &TopicName,
    now: Now,
    mut on_segment: impl FnMut(&Path, u64),
) -> At<Vec<Repair>> {
    let survey = Survey::of(disk, directory, false)?;
    refuse_newer(&survey, directory)?;
    // A hole says that all before it is on stable storage.
    for segment in survey.segments.iter().filter(|segment| segment.was_read) {
        let synced = sync_segment(disk, segment, Some(survey.durable));
        synced.map_err(|error| (segment.path.clone(), error))?;
    }
    let mut repairs = Vec::new();
    let mut next = None;
    for (nth, segment) in survey.segments.iter().enumerate() {
        on_segment(&segment.path, segment.bytes);
        let mut mending = Mending {
            disk,
            directory,
            topic,
            now,
            survey: &survey,
            segment,
            behind: &survey.segments[nth + 1..],
        };
        let mended = mending.mend(next, &mut repairs);
        next = Some(mended.map_err(|error| (segment.path.clone(), error))?);
    }
    if survey.segments.is_empty() && survey.durable > Offset::ZERO {
        let made = create_hole(disk, directory, topic, now, &survey);
        let file = made.map_err(|error| (directory.to_owned(), error))?;
        repairs.push(Repair {
            file,
            offsets: Offset::ZERO..survey.durable,
            saved: None,
        });
    }
    Ok(repairs)
}

fn refuse_newer(survey: &Survey, directory: &Path) -> At<()> {
    let newer = |file: PathBuf, format: u32| {
        let why = format!("it has format {format}: use the newer Lapwing that wrote it");
        Err((file, io::Error::other(why)))
    };
    if let Err(StateFault::Newer(format)) = survey.state {
        return newer(directory.join(super::state::FILE), format);
    }
    for segment in &survey.segments {
        if let Err(HeaderFault::Newer(format)) = segment.header {
            return newer(segment.path.clone(), format);
        }
    }
    Ok(())
}

/// Of a topic whose segments are all gone: one with nothing but a hole, as far as the log is known to have gone. What retention
/// had let go of it nothing tells any more.
fn create_hole(disk: &dyn Disk, directory: &Path, topic: &TopicName, now: Now, survey: &Survey) -> io::Result<PathBuf> {
    let lineage = survey.lineage.clone().ok_or_else(no_history)?;
    let epoch = lineage.current();
    let header = Header {
        topic: topic.clone(),
        base: Offset::ZERO,
        follows: Offset::ZERO,
        durable: survey.durable,
        made: now.wall,
        lineage,
    };
    let path = directory.join(log_name(header.base));
    let hole = encode_hole(header.base..survey.durable, epoch);
    replace(disk, &path, &[header.encode(), hole].concat())?;
    Ok(path)
}

/// One segment being looked at.
struct Mending<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    topic: &'a TopicName,
    now: Now,
    survey: &'a Survey,
    segment: &'a Surveyed,
    /// Those behind it.
    behind: &'a [Surveyed],
}

/// A piece of a segment that is written anew.
enum Piece {
    Bytes(Vec<u8>),
    Copy(Range<u64>),
}

impl Mending<'_> {
    /// Mends the segment if it must be; gives the offset behind it.
    fn mend(&mut self, before: Option<Offset>, repairs: &mut Vec<Repair>) -> io::Result<Offset> {
        let (segment, path) = (self.segment, &self.segment.path);
        let file = self.disk.open(path, Access::Read)?;
        let header = segment.header.as_ref().ok();
        let lineage = self.survey.lineage.as_ref().ok_or_else(no_history)?;
        let epoch = header.map_or(lineage.at(segment.base), |(header, _)| header.lineage.current());
        let header_bytes = header.map_or(0, |(_, bytes)| *bytes);
        let found = scan(&*file, segment.bytes, segment.base, header_bytes, epoch, |_| {})?;
        let next = found.behind.last().map_or(found.index.next, |run| run.next);
        // One that repeats what this has is set aside, and tells nothing.
        let later = self.behind.iter().find(|later| later.base >= next);
        // What the segment must reach to: the next one tells, or what was on stable storage.
        let end = match later {
            Some(later) => later.header.as_ref().map_or(later.base, |(header, _)| header.follows),
            None => self.survey.durable,
        };
        if before.is_some_and(|before| segment.base < before) {
            // It repeats what another has: set aside as it is.
            drop(file);
            let aside = self.saved_path(0)?;
            self.disk.rename(path, &aside)?;
            self.disk.sync_directory(self.directory)?;
            repairs.push(Repair {
                file: path.clone(),
                offsets: segment.base..segment.base,
                saved: Some((aside, segment.bytes)),
            });
            return Ok(before.unwrap_or(next));
        }
        let follows_wrong = matches!((header, before), (Some((header, _)), Some(before)) if header.follows < before);
        let bad = found.bad.filter(|bad| !bad.zero);
        // The unfinished tail of the last segment is cut at the next start; the room that was asked for ahead too.
        let torn = found.behind.is_empty() && later.is_none() && next >= end;
        let lost_end = next < end;
        if !follows_wrong && header.is_some() && (bad.is_none() || torn) && !lost_end {
            return Ok(next);
        }
        if header.is_none() && torn && found.index.next == segment.base && later.is_none() {
            return Ok(next);
        }
        let fresh = Header {
            topic: self.topic.clone(),
            base: segment.base,
            follows: before
                .unwrap_or(segment.base)
                .max(header.map_or(Offset::ZERO, |(header, _)| header.follows)),
            durable: header.map_or(Offset::ZERO, |(header, _)| header.durable),
            made: header.map_or(self.now.wall, |(header, _)| header.made),
            lineage: header.map_or_else(|| up_to(lineage, segment.base), |(header, _)| header.lineage.clone()),
        };
        let mut pieces = vec![Piece::Bytes(fresh.encode())];
        let holes_before = repairs.len();
        self.pieces(&*file, &found, header_bytes, epoch, end, &mut pieces, repairs)?;
        if repairs.len() == holes_before {
            repairs.push(Repair {
                file: path.clone(),
                offsets: segment.base..segment.base,
                saved: None,
            });
        }
        self.write(&*file, &pieces)?;
        Ok(next.max(end))
    }

    /// Lays out the segment anew behind its header, and keeps the damaged bytes beside it.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was found of one file, and where the two results go"
    )]
    fn pieces(
        &self,
        file: &dyn DiskFile,
        found: &Scan,
        header_bytes: u64,
        epoch: Epoch,
        end: Offset,
        pieces: &mut Vec<Piece>,
        repairs: &mut Vec<Repair>,
    ) -> io::Result<()> {
        let good = found.index.bytes;
        pieces.push(Piece::Copy(header_bytes..good));
        let (mut at, mut next) = (good, found.index.next);
        for run in &found.behind {
            self.hole(file, at..run.begin, next..run.base, epoch, pieces, repairs)?;
            pieces.push(Piece::Copy(run.begin..run.end));
            (at, next) = (run.end, run.next);
        }
        let rest = at..self.segment.bytes;
        let empty = Window::new(file, self.segment.bytes).is_zero(at)?;
        let rest = if empty { at..at } else { rest };
        if rest.start < rest.end || next < end {
            self.hole(file, rest, next..end.max(next), epoch, pieces, repairs)?;
        }
        Ok(())
    }

    fn hole(
        &self,
        file: &dyn DiskFile,
        place: Range<u64>,
        offsets: Range<Offset>,
        epoch: Epoch,
        pieces: &mut Vec<Piece>,
        repairs: &mut Vec<Repair>,
    ) -> io::Result<()> {
        if offsets.start < offsets.end {
            pieces.push(Piece::Bytes(encode_hole(offsets.clone(), epoch)));
        }
        let mut saved = None;
        if place.start < place.end {
            let mut bytes = vec![0; (place.end - place.start) as usize];
            let read = read_full(file, &mut bytes, place.start)?;
            let path = self.saved_path(place.start)?;
            replace(self.disk, &path, &bytes[..read])?;
            saved = Some((path, read as u64));
        }
        repairs.push(Repair {
            file: self.segment.path.clone(),
            offsets,
            saved,
        });
        Ok(())
    }

    fn write(&self, file: &dyn DiskFile, pieces: &[Piece]) -> io::Result<()> {
        let path = &self.segment.path;
        let fresh = path.with_extension(FRESH);
        let out = self.disk.create(&fresh)?;
        let (mut end, mut buffer) = (0, vec![0; COPY_BYTES]);
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    write_full(&*out, bytes, &[], end)?;
                    end += bytes.len() as u64;
                }
                Piece::Copy(place) => {
                    let mut at = place.start;
                    while at < place.end {
                        let length = buffer.len().min((place.end - at) as usize);
                        let read = read_full(file, &mut buffer[..length], at)?;
                        if read == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        write_full(&*out, &buffer[..read], &[], end)?;
                        (at, end) = (at + read as u64, end + read as u64);
                    }
                }
            }
        }
        out.sync()?;
        match self.disk.remove(&index_path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.rename(&fresh, path)?;
        self.disk.sync_directory(self.directory)
    }

    /// Where damaged bytes are kept: a name that no earlier repair took.
    fn saved_path(&self, position: u64) -> io::Result<PathBuf> {
        let taken = self.disk.list(self.directory)?;
        let free = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_none_or(|name| !taken.iter().any(|taken| taken == name))
        };
        let path = self.segment.path.with_extension(format!("{position}.damaged"));
        if free(&path) {
            return Ok(path);
        }
        let others = (2_u64..).map(|nth| self.segment.path.with_extension(format!("{position}.{nth}.damaged")));
        Ok({ others }
            .find(free)
            .expect("a directory has fewer names than there are numbers"))
    }
}

fn no_history() -> io::Error {
    io::Error::other("neither a state nor a segment tells the history")
}

/// The histories that had begun at `base`; of a segment older than all that are known, the first, as [`Lineage::at`] has it.
fn up_to(lineage: &Lineage, base: Offset) -> Lineage {
    let begun = lineage.epochs().partition_point(|(_, begin)| *begin <= base);
    Lineage::from_epochs(lineage.epochs()[..begun.max(1)].to_vec()).unwrap_or_else(|| lineage.clone())
}

/// Copied in pieces of 1 MiB.
const COPY_BYTES: usize = 1 << 20;
