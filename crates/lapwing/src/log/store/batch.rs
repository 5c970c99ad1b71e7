//! A commit batch: messages that become durable together or not at all.

pub use crate::log::batch::Batch;
