//! A recorded feed: NDJSON lines, each sealed with a checksum. The format is `docs/recording.md`.

pub mod arrival;
pub mod checkpoint;
pub mod compressor;
pub mod encoder;
pub mod glance;
pub mod input;
pub mod line;
pub mod lines;
pub mod marks;
pub mod note;
pub mod parts;
pub mod proof;
pub mod reader;
pub mod recorder;
pub mod syncer;
pub mod wanted;
pub mod writer;
