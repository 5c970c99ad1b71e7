//! Messages that came together, as Python sees them: a block with its times, or a run of messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lapwing_wire::block::BlockTiming;
use numpy::IntoPyArray as _;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::{PyList, PyTuple};

use crate::chunk::{Chunk, Form, Run};
use crate::payload;
use crate::trouble::{Kind, Trouble};

/// A block of messages of one topic, with the times that it took.
#[pyclass(frozen, sequence, module = "lapwing")]
pub struct Block {
    chunk: Chunk,
    /// Run by run; what is asked for the first time is moved into an array, which everybody gets from then on.
    runs: Vec<Mutex<Held>>,
}

enum Held {
    Run(Run),
    Array(Py<PyAny>),
    /// It could not be moved.
    Lost,
}

impl Block {
    /// Takes what was gathered.
    pub fn new(mut chunk: Chunk) -> Self {
        let runs = std::mem::take(&mut chunk.runs);
        let runs = runs.into_iter().map(|run| Mutex::new(Held::Run(run))).collect();
        Self { chunk, runs }
    }

    fn run<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        // Who waits here gives the interpreter to whoever holds it, who needs that to go on.
        let mut held = self.runs[at]
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        if let Held::Array(array) = &*held {
            return Ok(array.bind(py).clone());
        }
        let Held::Run(run) = std::mem::replace(&mut *held, Held::Lost) else {
            return Err(Trouble::new(Kind::Other, "there was no memory for this array before").into());
        };
        let mut shape = vec![run.count];
        shape.extend(run.axes.lengths().iter().map(|length| *length as usize));
        let array = run.elements.into_array(py, shape)?;
        *held = Held::Array(array.clone().unbind());
        Ok(array)
    }

    fn object<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        match self.chunk.entries[at].form {
            Form::Array { run, at } => self.run(py, run)?.get_item(at),
            form => payload::object(py, form, self.chunk.said(at)),
        }
    }

    /// The whole of what came as arrays, where all of it is one.
    fn whole<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let entries = &self.chunk.entries;
        match self.runs.len() {
            1 if entries.iter().all(|entry| matches!(entry.form, Form::Array { .. })) => self.run(py, 0).map(Some),
            0 if entries.iter().all(|entry| entry.form == Form::Json) && !entries.is_empty() => {
                payload::array_of(py, (0..entries.len()).map(|at| self.chunk.said(at)))
            }
            _ => Ok(None),
        }
    }

    fn timing(&self) -> Option<&BlockTiming> {
        self.chunk.timing.as_ref()
    }
}

#[pymethods]
impl Block {
    /// The topic; "-" on a feed that has none.
    #[getter]
    fn topic(&self) -> &str {
        self.chunk.topic.as_str()
    }

    /// The history that the offsets belong to, 32 hexadecimal digits; None on a feed that names none.
    #[getter]
    fn epoch(&self) -> Option<String> {
        self.chunk.epoch.map(|epoch| epoch.to_string())
    }

    /// Its number: the first offset divided by the size of a block.
    #[getter]
    fn number(&self) -> Option<u64> {
        self.timing().map(|timing| timing.block)
    }

    /// Seconds from the end of the block before to its own; None for the first block.
    #[getter]
    fn elapsed(&self) -> Option<f64> {
        self.timing()?.elapsed.map(|elapsed| elapsed.as_secs_f64())
    }

    /// Seconds from the arrival of its first message to that of its last.
    #[getter]
    fn spread(&self) -> f64 {
        let arrived = |entry: Option<&crate::chunk::Entry>| entry.map_or(0, |entry| entry.received.mono);
        let (first, last) = (arrived(self.chunk.entries.first()), arrived(self.chunk.entries.last()));
        self.timing().map_or(last.saturating_sub(first) as f64 / 1e9, |timing| {
            timing.spread.as_secs_f64()
        })
    }

    /// The first offset that came of it; on a feed without offsets the number of the message, from 0.
    #[getter]
    fn first(&self) -> Option<u64> {
        let first = self.chunk.entries.first().and_then(|entry| entry.offset);
        self.timing().map(|timing| timing.first.get()).or(first)
    }

    /// The last offset that came of it.
    #[getter]
    fn last(&self) -> Option<u64> {
        let last = self.chunk.entries.last().and_then(|entry| entry.offset);
        self.timing().map(|timing| timing.last.get()).or(last)
    }

    /// Why its time does not count: words such as "first", "partial", "gap", "interrupted".
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let names: Vec<_> = self
            .timing()
            .into_iter()
            .flat_map(|timing| timing.flags.names())
            .collect();
        PyTuple::new(py, names)
    }

    /// Payload bytes on the wire.
    #[getter]
    fn bytes(&self) -> Option<u64> {
        self.timing().map(|timing| timing.bytes)
    }

    /// All of it as one array, its messages along the first axis. Arrays are moved into it, not copied.
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(array) = self.whole(py)? {
            return Ok(array);
        }
        let text = format!(
            "the {} messages of {} from offset {} on are not numbers of one shape and dtype: .data has each by itself",
            self.chunk.entries.len(),
            self.chunk.topic,
            self.first().unwrap_or_default()
        );
        Err(Trouble::new(Kind::Shape, text).into())
    }

    /// What each message says: an array, a dict, list, number, text or bytes.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.chunk.entries.iter().all(|entry| entry.form == Form::Json) {
            return payload::objects(py, (0..self.chunk.entries.len()).map(|at| self.chunk.said(at)));
        }
        let objects: PyResult<Vec<_>> = (0..self.chunk.entries.len()).map(|at| self.object(py, at)).collect();
        PyList::new(py, objects?)
    }

    /// The same, JSON as the text that it is.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let one = |at: usize| match self.chunk.entries[at].form {
            Form::Array { .. } => self.object(py, at),
            form => payload::raw(py, form, self.chunk.said(at)),
        };
        let objects: PyResult<Vec<_>> = (0..self.chunk.entries.len()).map(one).collect();
        PyList::new(py, objects?)
    }

    /// The offsets, as an array of uint64.
    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let first = self.first().unwrap_or_default();
        let of = |(at, entry): (usize, &crate::chunk::Entry)| entry.offset.unwrap_or(first + at as u64);
        let offsets: Vec<u64> = self.chunk.entries.iter().enumerate().map(of).collect();
        offsets.into_pyarray(py).into_any()
    }

    /// When the server appended each message, as an array of datetime64[ns].
    #[getter]
    fn times<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let times = self.chunk.entries.iter().map(|entry| entry.time.unwrap_or(i64::MIN));
        payload::times(py, times.collect())
    }

    /// When each message was received, as an array of datetime64[ns].
    #[getter]
    fn received<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let times = self.chunk.entries.iter().map(|entry| entry.received.wall.nanos());
        payload::times(py, times.collect())
    }

    fn __len__(&self) -> usize {
        self.chunk.entries.len()
    }

    fn __getitem__(slf: Bound<'_, Self>, at: isize) -> PyResult<Message> {
        let count = slf.get().chunk.entries.len();
        let at = if at < 0 { at + count as isize } else { at };
        match usize::try_from(at) {
            Ok(at) if at < count => Ok(Message {
                block: slf.unbind(),
                at,
            }),
            _ => Err(PyIndexError::new_err(format!(
                "a block of {count} messages has no message {at}"
            ))),
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> BlockIterator {
        BlockIterator {
            block: slf.unbind(),
            at: AtomicUsize::new(0),
        }
    }

    fn __repr__(&self) -> String {
        let entries = self.chunk.entries.len();
        let elapsed = self
            .elapsed()
            .map_or("None".to_owned(), |elapsed| format!("{elapsed:.6}"));
        let flags: Vec<_> = self
            .timing()
            .into_iter()
            .flat_map(|timing| timing.flags.names())
            .collect();
        let number = self.number().map_or("None".to_owned(), |number| number.to_string());
        format!(
            "<lapwing.Block {number} of {}: {entries} messages from {}, elapsed {elapsed}, flags {flags:?}>",
            self.chunk.topic,
            self.first().unwrap_or_default(),
        )
    }
}

/// The messages of a block, in their order.
#[pyclass(frozen, module = "lapwing._lapwing")]
pub struct BlockIterator {
    block: Py<Block>,
    at: AtomicUsize,
}

#[pymethods]
impl BlockIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Option<Message> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        (at < self.block.get().chunk.entries.len()).then(|| Message {
            block: self.block.clone_ref(py),
            at,
        })
    }
}

/// One message.
#[pyclass(frozen, module = "lapwing")]
pub struct Message {
    /// What it came with.
    block: Py<Block>,
    at: usize,
}

#[pymethods]
impl Message {
    /// The topic; "-" on a feed that has none.
    #[getter]
    fn topic(&self) -> &str {
        self.block.get().topic()
    }

    /// The history that the offset belongs to.
    #[getter]
    fn epoch(&self) -> Option<String> {
        self.block.get().epoch()
    }

    /// Its place in the topic; None on a feed without offsets.
    #[getter]
    fn offset(&self) -> Option<u64> {
        self.block.get().chunk.entries[self.at].offset
    }

    /// When the server appended it, a datetime in UTC; None on a feed that does not say so.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let time = self.block.get().chunk.entries[self.at].time;
        time.map(|time| payload::moment(py, time)).transpose()
    }

    /// When it was received, a datetime in UTC.
    #[getter]
    fn received<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        payload::moment(py, self.block.get().chunk.entries[self.at].received.wall.nanos())
    }

    /// The same on this machine's monotonic clock, in nanoseconds.
    #[getter]
    fn mono(&self) -> u64 {
        self.block.get().chunk.entries[self.at].received.mono
    }

    /// What it says: an array, a dict, list, number, text or bytes.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.block.get().object(py, self.at)
    }

    /// The same, JSON as the text that it is.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.block.get();
        match block.chunk.entries[self.at].form {
            Form::Array { .. } => block.object(py, self.at),
            form => payload::raw(py, form, block.chunk.said(self.at)),
        }
    }

    /// Its numbers as an array, also where they came as JSON.
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.block.get();
        let found = match block.chunk.entries[self.at].form {
            Form::Array { run, at } => Some(block.run(py, run)?.get_item(at)?),
            Form::Json => match payload::array_of(py, std::iter::once(block.chunk.said(self.at)))? {
                Some(array) => Some(array.get_item(0)?),
                None => None,
            },
            _ => None,
        };
        found.ok_or_else(|| {
            let text = format!(
                "message {} of {} is no array of numbers",
                self.offset().unwrap_or_default(),
                self.topic()
            );
            Trouble::new(Kind::Shape, text).into()
        })
    }

    fn __repr__(&self) -> String {
        let entry = &self.block.get().chunk.entries[self.at];
        let offset = entry.offset.map_or("None".to_owned(), |offset| offset.to_string());
        format!("<lapwing.Message {offset} of {}>", self.topic())
    }
}
