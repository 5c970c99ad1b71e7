//! The messages of one topic on their way from the recording into a file: a reading for each topic.

use super::leaf::{Leaf, leaves};
use super::passage::Passage;
use super::refusal::Refusal;
use super::sink::Sink;
use super::survey::{Survey, Topic};

/// Reads the recording once more and gives each message of the topic to `sink`.
///
/// What is read must be what was surveyed, line by line; it holds one message at a time.
pub fn transfer(passage: &Passage<'_>, survey: &Survey, topic: &Topic, mut sink: Box<dyn Sink>) -> Result<(), Refusal> {
    let name = topic.name.as_str().as_bytes();
    let (mut rows, mut digest) = (0, 0);
    passage.read(
        Some(&survey.ends),
        &survey.orphans,
        &|found| found == name,
        &mut |row| {
            rows += 1;
            digest = crc32c::crc32c_append(digest, row.seal);
            let mut found: Vec<Option<Leaf<'_>>> = vec![None; topic.columns.len()];
            leaves(row.message, row.at, &mut |name, leaf| {
                let column = topic.column(name).ok_or(Refusal::Changed)?;
                found[column] = Some(leaf);
                Ok(())
            })?;
            sink.row(&row, &found)
        },
    )?;
    match (rows, digest) == (topic.rows, topic.digest) {
        true => sink.finish(),
        false => Err(Refusal::Changed),
    }
}
