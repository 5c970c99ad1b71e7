//! What fills a topic's log.

pub mod arrays;
pub mod people;
mod seed;
