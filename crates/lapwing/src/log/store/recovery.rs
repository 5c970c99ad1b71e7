//! Opening a topic: what the verdict asks for is done, and everything kept is on stable storage before anyone reads it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::topic::TopicName;

use super::directory::OpenError;
use super::disk::{Access, Directory, Disk, DiskFile, FRESH, read_full};
use super::file::{SegmentFile, delete, index_path};
use super::header::{self, Header, HeaderFault};
use super::notice::{Finding, Notice, ReadOnly};
use super::state::{self, State, StateFault};
use super::survey::{At, Survey, Surveyed};
use super::verdict::{Tail, Verdict, judge};
use super::writer::{Active, StoreWriter};
use super::{Level, Opened, Store, StoreOptions};
use crate::clock::Now;
use crate::log::lineage::Lineage;
use crate::log::retries::Retries;

/// Opens a topic in `directory`, and makes it if it is not there.
pub fn open(
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    topic: &TopicName,
    options: StoreOptions,
    fresh: Epoch,
    now: Now,
) -> Result<Opened, OpenError> {
    let at = |doing: &'static str| {
        move |(file, error): (PathBuf, io::Error)| OpenError::Io {
            topic: topic.clone(),
            file,
            doing,
            error,
        }
    };
    disk.make_directory(&directory)
        .map_err(|error| at("make")((directory.clone(), error)))?;
    let names = disk.open_directory(&directory);
    let names = names.map_err(|error| at("open")((directory.clone(), error)))?;
    let survey = Survey::of(&*disk, &directory, false).map_err(at("read"))?;
    check_ours(&survey, &directory, topic)?;
    let life = disk.life(&directory);
    let tail = match &survey.state {
        Ok(state) if state.clean || (state.life == life && life.is_some()) => Tail::Kept,
        _ => Tail::Suspect,
    };
    let place = disk.place(&directory);
    let written_at = survey.state.as_ref().ok().and_then(|state| state.place.as_ref());
    let copied = matches!((written_at, &place), (Some(then), Some(now)) if then != now);
    let verdict = judge(&survey, tail);
    let opening = Opening {
        disk,
        directory,
        names,
        topic,
        options,
        now,
        life,
        place,
        copied,
        notices: Vec::new(),
    };
    if verdict.damage.is_some() {
        return opening.read_only(survey, verdict, tail, fresh).map_err(at("sync"));
    }
    opening.writable(survey, &verdict, tail, fresh).map_err(at("repair"))
}

fn check_ours(survey: &Survey, directory: &Path, topic: &TopicName) -> Result<(), OpenError> {
    let foreign = |file: PathBuf, found: &TopicName| OpenError::Foreign {
        topic: topic.clone(),
        file,
        found: found.clone(),
    };
    match &survey.state {
        Err(StateFault::Newer(found)) => {
            return Err(OpenError::Newer {
                file: directory.join(state::FILE),
                found: *found,
                known: state::FORMAT,
            });
        }
        Ok(state) if state.topic != *topic => return Err(foreign(directory.join(state::FILE), &state.topic)),
        _ => {}
    }
    for segment in &survey.segments {
        match &segment.header {
            Err(HeaderFault::Newer(found)) => {
                return Err(OpenError::Newer {
                    file: segment.path.clone(),
                    found: *found,
                    known: header::FORMAT,
                });
            }
            Ok((header, _)) if header.topic != *topic => return Err(foreign(segment.path.clone(), &header.topic)),
            _ => {}
        }
    }
    Ok(())
}

struct Opening<'a> {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    names: Arc<dyn Directory>,
    topic: &'a TopicName,
    options: StoreOptions,
    now: Now,
    life: Option<String>,
    place: Option<String>,
    /// Whether the files were written in another directory.
    copied: bool,
    notices: Vec<Notice>,
}

impl Opening<'_> {
    /// Opens what is good before the damage, and changes nothing; but what is shown is on stable storage before, as ever.
    fn read_only(mut self, survey: Survey, verdict: Verdict, tail: Tail, fresh: Epoch) -> At<Opened> {
        let lineage = survey.lineage.clone().unwrap_or_else(|| Lineage::new(fresh));
        let (segment, finding) = verdict.damage.clone().expect("the caller saw damage");
        let file = survey.segments.get(segment).map(|segment| segment.path.clone());
        self.make_durable(&survey, &verdict, tail)?;
        self.tell_missing(&survey, &verdict);
        let file = file.unwrap_or_else(|| self.directory.clone());
        self.tell(file, finding);
        let notice = self.notices.last().expect("it was told above").clone();
        let (files, retries) = self.files(survey, verdict.keep);
        let read_only = ReadOnly { notice };
        let store = self.store(lineage, files, verdict.next, verdict.next);
        let writer = StoreWriter::read_only(store.clone(), read_only.clone());
        Ok(Opened {
            store,
            writer,
            retries,
            notices: self.notices,
            read_only: Some(read_only),
        })
    }

    fn writable(mut self, survey: Survey, verdict: &Verdict, tail: Tail, fresh: Epoch) -> At<Opened> {
        let began = survey.state.is_ok() || !survey.segments.is_empty();
        let level = survey.state.as_ref().map_or(Level::Os, |state| state.level);
        let clean = survey.state.as_ref().is_ok_and(|state| state.clean);
        let (next, cut) = (verdict.next, verdict.cut);
        // At `fsync` nothing above the cut was ever visible. At `os` it may have been, so its offsets are not given again
        // in the same history. Nor are those that the original of a copy may have given.
        let lost = level == Level::Os && (cut.is_some() || tail == Tail::Suspect);
        let renew = began && (lost || self.copied);
        let mut lineage = survey.lineage.clone().unwrap_or_else(|| Lineage::new(fresh));
        // All messages of a file are of one history, also where the state came from elsewhere and knows another one.
        let last = survey.segments[..verdict.keep].last();
        let last = last.and_then(|segment| segment.header.as_ref().ok());
        let of_another = last.is_some_and(|(header, _)| header.lineage.current() != lineage.current());
        // And a file says where the log ends, when all others are gone.
        let begin = if verdict.keep > 0 {
            renew || of_another
        } else {
            next > Offset::ZERO
        };
        if began && survey.state.is_err() {
            self.tell(self.directory.join(state::FILE), Finding::StateRebuilt);
        }
        self.tell_missing(&survey, verdict);
        self.tidy(&survey, verdict, begin)?;
        if let Some(cut) = cut {
            let (position, bytes) = (cut.position, cut.bytes);
            let path = survey.segments[cut.segment].path.clone();
            self.tell(path, Finding::TornTail { position, bytes, next });
        }
        if !clean || self.copied {
            self.make_durable(&survey, verdict, tail)?;
        }
        if renew {
            lineage.branch(fresh, next);
            let (epoch, at) = (fresh, next);
            let finding = if self.copied {
                Finding::Copied { epoch, at }
            } else {
                Finding::NewHistory { epoch, at }
            };
            self.tell(self.directory.clone(), finding);
        }
        // A clean state stays until something is written: a start that comes to nothing leaves all as it was.
        let stays = survey.state.as_ref().is_ok_and(|found| {
            let same = found.lineage().as_ref() == Some(&lineage) && found.place == self.place;
            found.clean && found.durable == next && same && cut.is_none() && !begin
        });
        let was_read: Vec<_> = survey.segments.iter().map(|segment| segment.was_read).collect();
        let (mut files, retries) = self.files(survey, verdict.keep);
        let sync = self.options.level == Level::Fsync;
        if begin {
            // A segment that holds nothing has this name already: the new one takes its place.
            let empty = files.pop_if(|file| file.base == next);
            let follows = empty.map_or(next, |empty| empty.follows);
            let header = Header {
                topic: self.topic.clone(),
                base: next,
                follows,
                durable: next,
                made: self.now.wall,
                lineage: lineage.clone(),
            };
            let made = SegmentFile::create(&*self.disk, &self.directory, &header, self.now, true);
            let (file, handle) = made.map_err(|error| (self.directory.clone(), error))?;
            file.hold(Some(handle));
            files.push(Arc::new(file));
        }
        let mut state = State::new(self.topic.clone(), &lineage, self.options.level, next);
        state.life.clone_from(&self.life);
        state.place.clone_from(&self.place);
        if !stays {
            let saved = state.save(&*self.disk, &self.directory);
            saved.map_err(|error| (self.directory.join(state::FILE), error))?;
        }
        // The last file goes on being written; all others that were read anew get an index, so that they are not again.
        let last = files.len().saturating_sub(1);
        for (file, _) in files[..last].iter().zip(was_read).filter(|(_, was_read)| *was_read) {
            // An index is a cache: without it the next start takes longer.
            let _ = file.seal(&*self.disk, sync);
        }
        let active = match files.last() {
            Some(file) => Some(self.active(file)?),
            None => None,
        };
        let store = self.store(lineage, files, next, next);
        let writer = StoreWriter::new(store.clone(), self.options, state, !stays, active);
        Ok(Opened {
            store,
            writer,
            retries,
            notices: self.notices,
            read_only: None,
        })
    }

    fn active(&self, file: &Arc<SegmentFile>) -> At<Active> {
        let handle = self.disk.open(&file.path, Access::Write);
        let handle = handle.map_err(|error| (file.path.clone(), error))?;
        file.hold(Some(handle.clone()));
        Ok(Active::new(file.clone(), handle, self.now))
    }

    /// Deletes what is left over, and cuts what the verdict cuts; zeroes that were asked for ahead go too.
    fn tidy(&mut self, survey: &Survey, verdict: &Verdict, begin: bool) -> At<()> {
        let names = self.disk.list(&self.directory);
        for name in names.map_err(|error| (self.directory.clone(), error))? {
            let path = self.directory.join(name);
            if path.extension().is_some_and(|extension| extension == FRESH) {
                self.disk.remove(&path).map_err(|error| (path, error))?;
            }
        }
        // From the newest on, so that a start that is interrupted here finds a shorter tail and no missing segment.
        for (nth, segment) in survey.segments.iter().enumerate().rev() {
            let end = segment.scan.bad.map(|bad| bad.position);
            let replaced = begin && segment.base == verdict.next;
            let changed = if nth >= verdict.keep && replaced {
                Ok(())
            } else if nth >= verdict.keep {
                delete(&*self.disk, &segment.path)
            } else if let Some(end) = end {
                let _ = self.disk.remove(&index_path(&segment.path));
                let file = self.disk.open(&segment.path, Access::Write);
                file.and_then(|file| file.truncate(end).and_then(|()| file.sync()))
            } else {
                Ok(())
            };
            changed.map_err(|error| (segment.path.clone(), error))?;
            if let Some(why) = segment.index_fault {
                self.tell(index_path(&segment.path), Finding::IndexRebuilt { why });
            }
        }
        Ok(())
    }

    /// Brings what was read to stable storage. What may be only in memory is written once more: after a sync that failed the
    /// system believes that such pages are on disk, and a sync alone would say yes.
    fn make_durable(&self, survey: &Survey, verdict: &Verdict, tail: Tail) -> At<()> {
        for segment in survey.segments[..verdict.keep]
            .iter()
            .filter(|segment| segment.was_read || self.copied)
        {
            let again = (tail == Tail::Kept).then_some(survey.durable);
            let synced = sync_segment(&*self.disk, segment, again);
            synced.map_err(|error| (segment.path.clone(), error))?;
        }
        let synced = self.names.sync();
        synced.map_err(|error| (self.directory.clone(), error))
    }

    /// The first `keep` files as they are read from now on, and the publishes in them.
    fn files(&self, survey: Survey, keep: usize) -> (Vec<Arc<SegmentFile>>, Retries) {
        let mut retries = Retries::default();
        let kept = survey.segments.into_iter().take(keep).enumerate();
        let files = kept.filter_map(|(nth, mut segment)| {
            let (header, _) = segment.header.ok()?;
            for (key, offsets) in &segment.scan.index.keys {
                retries.add(*key, offsets.clone());
            }
            if !segment.was_read && nth + 1 < keep {
                // Its index file has them; that of the last is written once more when it is sealed.
                segment.scan.index.keys = Vec::new();
            }
            Some(Arc::new(SegmentFile::new(
                segment.path,
                &header,
                segment.scan.index,
                self.now,
            )))
        });
        (files.collect(), retries)
    }

    fn store(&self, lineage: Lineage, files: Vec<Arc<SegmentFile>>, durable: Offset, next: Offset) -> Arc<Store> {
        let disk = self.disk.clone();
        let topic = self.topic.clone();
        Arc::new(Store::new(
            disk,
            self.directory.clone(),
            self.names.clone(),
            topic,
            self.options,
            lineage,
            files,
            durable,
            next,
        ))
    }

    fn tell_missing(&mut self, survey: &Survey, verdict: &Verdict) {
        for (behind, offsets) in &verdict.missing {
            let offsets = offsets.clone();
            self.tell(
                survey.segments[*behind].path.clone(),
                Finding::MissingSegment { offsets },
            );
        }
    }

    fn tell(&mut self, file: PathBuf, finding: Finding) {
        self.notices.push(Notice {
            topic: self.topic.clone(),
            file,
            finding,
        });
    }
}

/// Brings a segment to stable storage; what is good at `again` and behind it is written once more before that.
pub(super) fn sync_segment(disk: &dyn Disk, segment: &Surveyed, again: Option<Offset>) -> io::Result<()> {
    let file = disk.open(&segment.path, Access::Write)?;
    let index = &segment.scan.index;
    if let Some(again) = again.filter(|again| index.next > *again) {
        write_again(&*file, index.mark(again).map_or(0, |mark| mark.position), index.bytes)?;
    }
    file.sync()
}

/// Writes the same bytes to the same place.
fn write_again(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; AGAIN_BYTES.min(to.saturating_sub(from)) as usize];
    let mut at = from;
    while at < to {
        let length = buffer.len().min((to - at) as usize);
        let read = read_full(file, &mut buffer[..length], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut written = 0;
        while written < read {
            written += file.write_at(&[IoSlice::new(&buffer[written..read])], at + written as u64)?;
        }
        at += read as u64;
    }
    Ok(())
}

/// 1 MiB at once.
const AGAIN_BYTES: u64 = 1 << 20;
