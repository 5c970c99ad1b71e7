//! What takes the messages of one topic, one after the other.

use super::leaf::Leaf;
use super::passage::Row;
use super::refusal::Refusal;

/// A file, or several, that messages of one topic become.
pub trait Sink {
    /// Takes a message: its leaves stand in the order of the topic's columns.
    fn row(&mut self, row: &Row<'_>, leaves: &[Option<Leaf<'_>>]) -> Result<(), Refusal>;

    /// Writes what is still missing, and asks the disk to keep all of it.
    fn finish(self: Box<Self>) -> Result<(), Refusal>;
}
