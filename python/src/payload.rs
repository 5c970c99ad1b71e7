//! What a message says, as an object of Python.

use lapwing_wire::dtype::Dtype;
use lapwing_wire::envelope::{Kind as Payload, write_payload};
use lapwing_wire::numbers;
use numpy::IntoPyArray as _;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::chunk::Form;
use crate::elements::Elements;
use crate::trouble::{Kind, Trouble};

/// The object that what stands in the bytes of a chunk is.
pub fn object<'py>(py: Python<'py>, form: Form, said: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match form {
        Form::Json => loads(py)?.call1((text(py, said)?,)),
        Form::Text => Ok(text(py, said)?.into_any()),
        Form::Base64 => {
            let mut bytes = Vec::new();
            write_payload(Payload::Bytes, said, &mut bytes)
                .map_err(|error| Trouble::new(Kind::Other, format!("a message of bytes: {error}")))?;
            Ok(PyBytes::new(py, &bytes).into_any())
        }
        Form::Bytes | Form::Array { .. } => Ok(PyBytes::new(py, said).into_any()),
    }
}

/// The same without being understood: JSON as text.
pub fn raw<'py>(py: Python<'py>, form: Form, said: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match form {
        Form::Json | Form::Text => Ok(text(py, said)?.into_any()),
        form => object(py, form, said),
    }
}

/// JSON values, each as its object. Many are read as one text: a call for each takes more than twice the time.
pub fn objects<'a, 'py>(py: Python<'py>, values: impl Iterator<Item = &'a [u8]>) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    let mut piece = Vec::new();
    for value in values {
        piece.push(if piece.is_empty() { b'[' } else { b',' });
        piece.extend_from_slice(value);
        if piece.len() >= PIECE_BYTES {
            extend(&list, &mut piece)?;
        }
    }
    if !piece.is_empty() {
        extend(&list, &mut piece)?;
    }
    Ok(list)
}

fn extend(list: &Bound<'_, PyList>, piece: &mut Vec<u8>) -> PyResult<()> {
    piece.push(b']');
    let objects = object(list.py(), Form::Json, piece)?;
    piece.clear();
    list.call_method1("extend", (objects,)).map(drop)
}

/// One array of JSON values that are numbers, or lists of one shape of numbers: of integers where all of them are.
pub fn array_of<'a, 'py>(
    py: Python<'py>,
    values: impl Iterator<Item = &'a [u8]>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut text = vec![b'['];
    for value in values {
        text.extend_from_slice(value);
        text.push(b',');
    }
    text.pop();
    text.push(b']');
    for dtype in [Dtype::Int64, Dtype::Uint64, Dtype::Float64] {
        let mut bytes = Vec::new();
        if let Some(axes) = numbers::read_lists(&text, dtype, ARRAY_BYTES_MAX, &mut bytes) {
            let mut elements = Elements::new(dtype, bytes.len() / dtype.bytes());
            elements.extend(&bytes);
            let shape = axes.lengths().iter().map(|length| *length as usize).collect();
            return elements.into_array(py, shape).map(Some);
        }
    }
    Ok(None)
}

/// Nanoseconds since 1970 as `datetime64[ns]`; without a time NaT.
pub fn times<'py>(py: Python<'py>, nanos: Vec<i64>) -> PyResult<Bound<'py, PyAny>> {
    nanos.into_pyarray(py).call_method1("view", ("datetime64[ns]",))
}

/// A moment as a `datetime` in UTC, cut to whole microseconds.
pub fn moment<'py>(py: Python<'py>, nanos: i64) -> PyResult<Bound<'py, PyAny>> {
    static CLOCK: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (epoch, span) = CLOCK.get_or_try_init(py, || {
        let datetime = py.import("datetime")?;
        let utc = datetime.getattr("timezone")?.getattr("utc")?;
        let epoch = datetime.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        PyResult::Ok((epoch.unbind(), datetime.getattr("timedelta")?.unbind()))
    })?;
    let span = span.bind(py).call1((0, 0, nanos.div_euclid(1000)))?;
    epoch.bind(py).call_method1("__add__", (span,))
}

fn text<'py>(py: Python<'py>, said: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, said)
}

fn loads(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.get_or_try_init(py, || PyResult::Ok(py.import("json")?.getattr("loads")?.unbind()))?;
    Ok(loads.bind(py))
}

/// Some milliseconds of reading, in which no other thread of Python's goes on.
const PIECE_BYTES: usize = 256 << 10;
/// 1 GiB: as much as a block may be.
const ARRAY_BYTES_MAX: usize = 1 << 30;
