//! A topic as an npz archive: an array for each column.

use std::io;
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::draft::{Draft, Drafts, unwritable};
use super::layout::Layout;
use super::leaf::Leaf;
use super::npy;
use super::passage::Row;
use super::refusal::Refusal;
use super::sink::Sink;
use super::spool::Spool;

/// Gathers the columns of one topic on the disk, then writes them one after the other.
pub struct Archive {
    layout: Layout,
    rows: u64,
    spool: Spool,
    file: Draft,
    target: PathBuf,
}

impl Archive {
    /// Begins the file for so many messages, and one without a name beside it for the columns.
    pub fn begin(layout: Layout, rows: u64, target: &Path, drafts: &Drafts) -> Result<Self, Refusal> {
        let widths = layout.columns.iter().map(|column| column.cell.bytes()).collect();
        Ok(Self {
            file: drafts.begin(target)?,
            spool: Spool::new(drafts.nameless(target)?, widths),
            target: target.to_owned(),
            layout,
            rows,
        })
    }
}

impl Sink for Archive {
    fn row(&mut self, row: &Row<'_>, leaves: &[Option<Leaf<'_>>]) -> Result<(), Refusal> {
        for (at, column) in self.layout.columns.iter().enumerate() {
            self.layout.encode(column, row, leaves, self.spool.cell(at))?;
        }
        self.spool.end_row().map_err(|error| unwritable(&self.target, &error))
    }

    fn finish(self: Box<Self>) -> Result<(), Refusal> {
        let Self {
            layout,
            rows,
            mut spool,
            file,
            target,
        } = *self;
        let failed = |error: io::Error| unwritable(&target, &error);
        let unzipped = |error: ZipError| match error {
            ZipError::Io(error) => unwritable(&target, &error),
            error => unwritable(&target, &io::Error::other(error.to_string())),
        };
        spool.end().map_err(failed)?;
        let mut archive = ZipWriter::new(file);
        // As NumPy does it, each member may pass 4 GiB.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(COMPRESSION_LEVEL))
            .large_file(true);
        for (at, column) in layout.columns.iter().enumerate() {
            archive
                .start_file(format!("{}.npy", member(&column.name)), options)
                .map_err(unzipped)?;
            let header = npy::header(&column.cell.descr(), rows, column.cell.shape());
            io::Write::write_all(&mut archive, &header).map_err(failed)?;
            spool.copy(at, &mut archive).map_err(failed)?;
        }
        archive.finish().map_err(unzipped)?.finish()
    }
}

/// A name that leads nowhere when the archive is unpacked: what separates folders, control characters and `%` are escaped as in a URL.
fn member(name: &str) -> String {
    let mut member = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '/' | '\\' | '%' | ':' => member.push_str(&format!("%{:02X}", u32::from(c))),
            c if c.is_control() => member.push_str(&format!("%{:02X}", u32::from(c))),
            c => member.push(c),
        }
    }
    member
}

/// Numbers hardly shrink, text of a fixed width shrinks at any level: the fastest.
const COMPRESSION_LEVEL: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_leads_out_of_a_folder() {
        for (name, expect) in [
            ("name", "name"),
            ("a.b", "a.b"),
            ("naïve 鸟", "naïve 鸟"),
            ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            ("C:\\x", "C%3A%5Cx"),
            ("100%", "100%25"),
            ("a\n\0", "a%0A%00"),
        ] {
            assert_eq!(member(name), expect);
        }
    }
}
