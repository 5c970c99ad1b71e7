//! What goes wrong, as the exception that it becomes.

use lapwing::failure::Failure;
use pyo3::prelude::*;

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// Which exception it is.
    pub kind: Kind,
    /// What is wrong, and a way out.
    pub text: String,
}

/// Which exception.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `lapwing.Error`.
    Other,
    /// `lapwing.ConnectError`.
    Connect,
    /// `lapwing.RefusedError`, with this code.
    Refused(String),
    /// `lapwing.GapError`.
    Gap,
    /// `lapwing.LogError`.
    Log,
    /// `lapwing.ShapeError`.
    Shape,
    /// `ValueError`: a wrong argument.
    Value,
}

impl Trouble {
    /// Of this kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// A failure of this kind, unless a server said no.
    pub fn of(kind: Kind, failure: &Failure) -> Self {
        let kind = failure.refused.clone().map_or(kind, Kind::Refused);
        let sentences = failure.sentences.iter().map(|(sentence, hint)| match hint {
            // Hints name flags, and here there are none.
            Some(hint) if !hint.contains("--") => format!("{sentence} ({hint})"),
            _ => sentence.clone(),
        });
        Self::new(kind, sentences.collect::<Vec<_>>().join("; "))
    }
}

impl From<Trouble> for PyErr {
    fn from(trouble: Trouble) -> Self {
        Python::attach(|py| exception(py, &trouble).unwrap_or_else(|error| error))
    }
}

/// The exceptions are Python's own, so that they can be told apart and have docstrings.
fn exception(py: Python<'_>, trouble: &Trouble) -> PyResult<PyErr> {
    let name = match &trouble.kind {
        Kind::Other => "Error",
        Kind::Connect => "ConnectError",
        Kind::Refused(_) => "RefusedError",
        Kind::Gap => "GapError",
        Kind::Log => "LogError",
        Kind::Shape => "ShapeError",
        Kind::Value => return Ok(pyo3::exceptions::PyValueError::new_err(trouble.text.clone())),
    };
    let class = py.import("lapwing.errors")?.getattr(name)?;
    let error = match &trouble.kind {
        Kind::Refused(code) => match code.parse::<u16>() {
            Ok(number) => class.call1((&trouble.text, number))?,
            Err(_) => class.call1((&trouble.text, code))?,
        },
        _ => class.call1((&trouble.text,))?,
    };
    Ok(PyErr::from_value(error))
}
