//! A recording as arrays, columns or rows, for programs that know nothing of Lapwing. What becomes of what is `docs/export.md`.

pub mod archive;
pub mod arrays;
pub mod at;
#[cfg(feature = "parquet")]
pub mod columnar;
pub mod draft;
pub mod element;
pub mod format;
pub mod layout;
pub mod leaf;
pub mod list;
pub mod npy;
pub mod orphans;
pub mod passage;
pub mod profile;
pub mod refusal;
pub mod sink;
pub mod spool;
pub mod survey;
pub mod table;
pub mod transfer;
