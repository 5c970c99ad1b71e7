//! What fills a topic's log.

pub mod people;
mod seed;
