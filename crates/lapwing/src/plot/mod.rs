//! Pictures as SVG, drawn here: they need no script and nothing from elsewhere.

pub mod axis;
pub mod chart;
pub mod colours;
pub mod markup;
