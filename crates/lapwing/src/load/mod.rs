//! The load test: very many listeners in one process, what they receive, how late, and whether anything is missing.

pub mod books;
pub mod bottleneck;
pub mod core_time;
pub mod course;
pub mod crowd;
pub mod ear;
pub mod glance;
pub mod listener;
pub mod object;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod run;
pub mod slice;
pub mod sources;
pub mod stamp;
pub mod sweep;
pub mod table;
pub mod times;
pub mod track;
pub mod verdict;
pub mod wire;
pub mod worker;
