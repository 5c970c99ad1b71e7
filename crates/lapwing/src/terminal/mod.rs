//! How text reaches people: colours by role, the forms of numbers, times and payloads, and a whole screen.

pub mod form;
pub mod lane;
pub mod output;
pub mod paint;
pub mod stage;
pub mod stream;
