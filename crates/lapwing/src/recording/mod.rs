//! A recorded feed: NDJSON lines, each sealed with a checksum. The format is `docs/recording.md`.

pub mod arrival;
pub mod encoder;
pub mod line;
pub mod note;
pub mod reader;
pub mod writer;
