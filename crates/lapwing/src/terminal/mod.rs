//! How text reaches people: colours by role, and the forms of numbers, times and payloads.

pub mod form;
pub mod lane;
pub mod output;
pub mod paint;
pub mod stream;
