//! Lapwing's feeds for Python: the client of `lapwing listen`, its blocks as NumPy arrays.

mod block;
mod chunk;
mod elements;
mod feed;
mod gatherer;
mod log_reader;
mod payload;
mod publisher;
mod ring;
mod settings;
mod trouble;

use pyo3::prelude::*;

/// What `lapwing` is made of; use that.
#[pymodule]
mod _lapwing {
    #[pymodule_export]
    use crate::block::{Block, Message};
    #[pymodule_export]
    use crate::feed::Feed;
    #[pymodule_export]
    use crate::log_reader::LogReader;
    #[pymodule_export]
    use crate::publisher::Publisher;
}
