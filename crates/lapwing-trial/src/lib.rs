//! Proves with faults what Lapwing promises.

pub mod checker;
pub mod crc;
pub mod dice;
pub mod epoch;
pub mod history;
pub mod line;
pub mod model;
pub mod payload;
