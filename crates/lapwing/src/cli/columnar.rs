//! Parquet where it is built in, and what is told where it is not.

use std::path::Path;

use lapwing_wire::dtype::Dtype;

use crate::export::draft::Drafts;
use crate::export::refusal::Refusal;
use crate::export::sink::Sink;
use crate::export::survey::Topic;
use crate::failure::Failure;

/// Begins a file.
#[cfg(feature = "parquet")]
pub(super) fn begin(
    topic: &Topic,
    dtype: Option<Dtype>,
    target: &Path,
    drafts: &Drafts,
) -> Result<Box<dyn Sink>, Refusal> {
    use crate::export::columnar::Columnar;

    Ok(Box::new(Columnar::begin(topic, dtype, target, drafts)?))
}

/// Is not reached: [`is_built_in`] has refused it.
#[cfg(not(feature = "parquet"))]
pub(super) fn begin(_: &Topic, _: Option<Dtype>, target: &Path, _: &Drafts) -> Result<Box<dyn Sink>, Refusal> {
    Err(Refusal::Unwritable {
        file: target.to_owned(),
        reason: NOT_BUILT_IN.to_owned(),
    })
}

/// The columns of the messages, each with what it is.
#[cfg(feature = "parquet")]
pub(super) fn columns(topic: &Topic, dtype: Option<Dtype>) -> Vec<(String, String)> {
    use crate::export::columnar::{Kind, kind};
    use crate::export::leaf::DATA;

    let what = |kind| match kind {
        Kind::Numbers(element, 0) => element.to_string(),
        Kind::Numbers(element, depth) => format!("{}{element}", "list of ".repeat(depth)),
        Kind::Text => "text".to_owned(),
        Kind::Json => "json".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Time => "time".to_owned(),
    };
    let columns = topic.columns.iter().map(|(name, profile)| {
        let kind = kind(profile, dtype.filter(|_| name == DATA));
        (name.clone(), what(kind))
    });
    columns.collect()
}

/// Is not reached either.
#[cfg(not(feature = "parquet"))]
pub(super) fn columns(_: &Topic, _: Option<Dtype>) -> Vec<(String, String)> {
    Vec::new()
}

/// Whether Parquet can be written.
pub(super) fn is_built_in() -> Result<(), Failure> {
    #[cfg(feature = "parquet")]
    return Ok(());
    #[cfg(not(feature = "parquet"))]
    return Err(Failure::usage(
        NOT_BUILT_IN,
        "build it with: cargo build --release --features parquet; --to FILE.npz and FILE.csv need nothing",
    ));
}

#[cfg(not(feature = "parquet"))]
const NOT_BUILT_IN: &str = "this lapwing was built without Parquet";
