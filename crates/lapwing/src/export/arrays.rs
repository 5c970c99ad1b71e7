//! A topic as npy files: one of its arrays, others beside it for offsets and times.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Drafts};
use super::layout::{Column, Layout};
use super::leaf::{DATA, Leaf};
use super::npy;
use super::passage::Row;
use super::refusal::Refusal;
use super::sink::Sink;

/// Writes the arrays of one topic, each to its file as messages come.
pub struct Arrays {
    layout: Layout,
    files: Vec<Draft>,
    cell: Vec<u8>,
}

impl Arrays {
    /// Begins the files for so many messages.
    pub fn begin(layout: Layout, rows: u64, target: &Path, drafts: &Drafts) -> Result<Self, Refusal> {
        let files = layout.columns.iter().map(|column| {
            let mut file = drafts.begin(&target_of(target, column))?;
            file.put(&npy::header(&column.cell.descr(), rows, column.cell.shape()))?;
            Ok(file)
        });
        Ok(Self {
            files: files.collect::<Result<_, Refusal>>()?,
            layout,
            cell: Vec::new(),
        })
    }

    /// All files that a layout needs: that of the messages first.
    #[must_use]
    pub fn targets(layout: &Layout, target: &Path) -> Vec<PathBuf> {
        let columns = layout.columns.iter();
        columns.map(|column| target_of(target, column)).collect()
    }
}

impl Sink for Arrays {
    fn row(&mut self, row: &Row<'_>, leaves: &[Option<Leaf<'_>>]) -> Result<(), Refusal> {
        for (column, file) in self.layout.columns.iter().zip(&mut self.files) {
            self.cell.clear();
            self.layout.encode(column, row, leaves, &mut self.cell)?;
            file.put(&self.cell)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Refusal> {
        self.files.into_iter().try_for_each(Draft::finish)
    }
}

/// `feed.npy` for the messages, `feed.offsets.npy` and the like for what stands beside them.
fn target_of(target: &Path, column: &Column) -> PathBuf {
    if column.name == DATA {
        return target.to_owned();
    }
    let extension = target.extension().unwrap_or_default().to_string_lossy();
    target.with_extension(format!("{}.{extension}", column.name))
}
