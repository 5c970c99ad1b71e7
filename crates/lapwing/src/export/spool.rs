//! Columns on the disk until all rows are there: rows go in, columns come out.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

/// Takes rows whose cells have fixed widths, in memory of 8 MiB or one row.
///
/// Rows lie in groups; within a group each column is one run of bytes, so where a cell lies follows from its numbers alone.
pub struct Spool {
    file: File,
    widths: Vec<usize>,
    group_rows: usize,
    columns: Vec<Vec<u8>>,
    rows_in_group: usize,
    rows: u64,
    written: u64,
}

impl Spool {
    /// Begins with an empty file that can be read, too.
    #[must_use]
    pub fn new(file: File, widths: Vec<usize>) -> Self {
        let row_bytes = widths.iter().sum::<usize>().max(1);
        Self {
            file,
            group_rows: (GROUP_BYTES / row_bytes).max(1),
            columns: vec![Vec::new(); widths.len()],
            widths,
            rows_in_group: 0,
            rows: 0,
            written: 0,
        }
    }

    /// The cell of one column of the row under way, to be filled with exactly its width.
    pub fn cell(&mut self, column: usize) -> &mut Vec<u8> {
        &mut self.columns[column]
    }

    /// Ends the row under way.
    pub fn end_row(&mut self) -> io::Result<()> {
        self.rows += 1;
        self.rows_in_group += 1;
        match self.rows_in_group == self.group_rows {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    /// Writes what is still in memory.
    pub fn end(&mut self) -> io::Result<()> {
        self.write_group()
    }

    /// Copies a column, row after row, to `out`.
    pub fn copy(&self, column: usize, out: &mut dyn Write) -> io::Result<()> {
        let row_bytes: usize = self.widths.iter().sum();
        let before: usize = self.widths[..column].iter().sum();
        let width = self.widths[column];
        let mut buffer = Vec::new();
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(self.group_rows as u64);
            let at = row * row_bytes as u64 + rows * before as u64;
            buffer.resize(rows as usize * width, 0);
            self.file.read_exact_at(&mut buffer, at)?;
            out.write_all(&buffer)?;
            row += rows;
        }
        Ok(())
    }

    fn write_group(&mut self) -> io::Result<()> {
        for (column, width) in self.columns.iter_mut().zip(&self.widths) {
            if column.len() != self.rows_in_group * width {
                return Err(io::Error::other("a cell has another width than its column"));
            }
            self.file.write_all_at(column, self.written)?;
            self.written += column.len() as u64;
            column.clear();
        }
        self.rows_in_group = 0;
        Ok(())
    }
}

/// 8 MiB: large writes, small memory.
const GROUP_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(widths: &[usize], rows: u32) {
        let mut spool = Spool::new(tempfile::tempfile().expect("room"), widths.to_vec());
        let cell = |row: u32, column: usize| {
            let number = row.wrapping_mul(31).wrapping_add(column as u32);
            number
                .to_le_bytes()
                .into_iter()
                .cycle()
                .take(widths[column])
                .collect::<Vec<_>>()
        };
        for row in 0..rows {
            for column in 0..widths.len() {
                spool.cell(column).extend(cell(row, column));
            }
            spool.end_row().expect("room");
            let held: usize = spool.columns.iter().map(Vec::len).sum();
            assert!(held < GROUP_BYTES.max(widths.iter().sum()), "{held} bytes are held");
        }
        spool.end().expect("room");
        for column in 0..widths.len() {
            let mut out = Vec::new();
            spool.copy(column, &mut out).expect("there");
            let expect: Vec<u8> = (0..rows).flat_map(|row| cell(row, column)).collect();
            assert!(out == expect, "column {column} of {widths:?}, {rows} rows");
        }
    }

    #[test]
    fn columns_come_out_as_rows_went_in() {
        check(&[8, 3, 0, 40], 1000);
        check(&[8], 0);
        check(&[0], 5);
        // One row is a group by itself, and one is more than a group.
        check(&[8, GROUP_BYTES - 8], 3);
        check(&[8, GROUP_BYTES + 1], 3);
        // Groups that are full, and one row beyond.
        check(&[GROUP_BYTES / 4], 8);
        check(&[GROUP_BYTES / 4], 9);
    }
}
