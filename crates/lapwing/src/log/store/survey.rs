//! What lies in a topic's directory: the facts, before anything is decided or changed.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_wire::position::Offset;

use super::disk::{Access, Disk, DiskFile, read_full, read_whole};
use super::file::{base_of, index_path};
use super::header::{HEADER_BYTES_MAX, Header, HeaderFault};
use super::index::Index;
use super::notice::IndexFault;
use super::scan::{Scan, scan};
use super::state::{State, StateFault};
use crate::log::lineage::Lineage;

/// A topic's directory as it was found.
pub struct Survey {
    /// Its state.
    pub state: Result<State, StateFault>,
    /// Its segment files, in the order of their offsets.
    pub segments: Vec<Surveyed>,
    /// Its histories: the longest that state and headers know; none when neither knows any.
    pub lineage: Option<Lineage>,
    /// The highest offset below which all was on stable storage, as anything in the directory says it.
    pub durable: Offset,
}

/// One segment file as it was found.
pub struct Surveyed {
    /// The offset that its name says.
    pub base: Offset,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its header, and how long that is.
    pub header: Result<(Header, u64), HeaderFault>,
    /// What is behind the header.
    pub scan: Scan,
    /// Whether it was read; else its index was believed.
    pub was_read: bool,
    /// What was wrong with its index, when one was looked for.
    pub index_fault: Option<IndexFault>,
}

/// An error, and the file that it is about.
pub type At<T> = Result<T, (PathBuf, io::Error)>;

impl Survey {
    /// Looks at a directory. Segments that lie below what was on stable storage are believed by their index, unless `thorough`.
    pub fn of(disk: &dyn Disk, directory: &Path, thorough: bool) -> At<Self> {
        let at = |error| (directory.to_owned(), error);
        let names = disk.list(directory).map_err(at)?;
        let mut bases: Vec<_> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        let state = State::load(disk, directory).map_err(at)?;
        let mut found = Vec::with_capacity(bases.len());
        for base in bases {
            let path = directory.join(super::file::log_name(base));
            // Not held: there may be more segments than descriptors.
            let look = || {
                let file = disk.open(&path, Access::Read)?;
                Ok((read_header(&*file, base)?, file.bytes()?))
            };
            let (header, bytes) = look().map_err(|error| (path.clone(), error))?;
            found.push((base, path, header, bytes));
        }
        let headers = || found.iter().filter_map(|(_, _, header, ..)| header.as_ref().ok());
        let known = state.as_ref().ok().and_then(State::lineage);
        let lineage = headers().map(|(header, _)| header.lineage.clone()).chain(known);
        let lineage = lineage.max_by_key(|lineage| (lineage.current_begin(), lineage.epochs().len()));
        let durable = headers().map(|(header, _)| header.durable);
        let durable = durable.chain(state.as_ref().ok().map(|state| state.durable));
        // Before a history begins all that it goes on from is brought to stable storage.
        let begun = lineage.as_ref().map(Lineage::current_begin);
        let durable = durable.chain(begun).max().unwrap_or_default();
        let clean = state.as_ref().is_ok_and(|state| state.clean);

        let last = found.len().saturating_sub(1);
        let read_from = found.partition_point(|(base, ..)| *base <= durable).saturating_sub(1);
        let mut survey = Self {
            state,
            segments: Vec::with_capacity(found.len()),
            lineage,
            durable,
        };
        for (nth, (base, path, header, bytes)) in found.into_iter().enumerate() {
            let believe = !thorough && (nth < read_from || (clean && nth == last));
            let surveyed = survey.look(disk, believe, base, path.clone(), header, bytes);
            let surveyed = surveyed.map_err(|error| (path, error))?;
            survey.durable = survey.durable.max(surveyed.scan.durable);
            survey.segments.push(surveyed);
        }
        Ok(survey)
    }

    fn look(
        &self,
        disk: &dyn Disk,
        believe: bool,
        base: Offset,
        path: PathBuf,
        header: Result<(Header, u64), HeaderFault>,
        bytes: u64,
    ) -> io::Result<Surveyed> {
        let mut index_fault = None;
        if believe && let Ok((_, header_bytes)) = &header {
            match believed(disk, &path, base, *header_bytes, bytes)? {
                Ok(index) => {
                    return Ok(Surveyed {
                        base,
                        path,
                        bytes,
                        header,
                        scan: Scan {
                            index,
                            bad: None,
                            behind: Vec::new(),
                            durable: Offset::ZERO,
                        },
                        was_read: false,
                        index_fault: None,
                    });
                }
                Err(fault) => index_fault = Some(fault),
            }
        }
        let (epoch, header_bytes) = match &header {
            Ok((header, header_bytes)) => (Some(header.lineage.current()), *header_bytes),
            Err(_) => (self.lineage.as_ref().map(|lineage| lineage.at(base)), 0),
        };
        // Without any history known no batch can be: an epoch that is in no batch finds none.
        let epoch = epoch.unwrap_or(lapwing_wire::position::Epoch::from_bits(0));
        let file = disk.open(&path, Access::Read)?;
        let scan = scan(&*file, bytes, base, header_bytes, epoch, |_| {})?;
        Ok(Surveyed {
            base,
            path,
            bytes,
            header,
            scan,
            was_read: true,
            index_fault,
        })
    }
}

/// Reads the header of a segment file, which must say the offset that its name says.
pub fn read_header(file: &dyn DiskFile, base: Offset) -> io::Result<Result<(Header, u64), HeaderFault>> {
    let mut bytes = vec![0; file.bytes()?.min(HEADER_BYTES_MAX as u64) as usize];
    let read = read_full(file, &mut bytes, 0)?;
    let header = Header::read(&bytes[..read]);
    Ok(header.and_then(|(header, bytes)| {
        let named = header.base == base;
        named.then_some((header, bytes)).ok_or(HeaderFault::Damaged)
    }))
}

/// The index of a segment, when it fits the file.
fn believed(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    header_bytes: u64,
    bytes: u64,
) -> io::Result<Result<Index, IndexFault>> {
    let read = match read_whole(disk, &index_path(path)) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(IndexFault::Missing)),
        Err(error) => return Err(error),
    };
    let Some(index) = Index::read(&read).filter(|index| index.base == base && index.bytes >= header_bytes) else {
        return Ok(Err(IndexFault::Damaged));
    };
    Ok(if index.bytes == bytes {
        Ok(index)
    } else {
        Err(IndexFault::Stale)
    })
}
