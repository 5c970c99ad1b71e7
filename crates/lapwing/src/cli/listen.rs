//! `lapwing listen`: what was typed.

use super::End;
use crate::failure::Failure;
use crate::terminal::paint::ColorChoice;

/// The flags of `lapwing listen`.
#[derive(clap::Args, Debug)]
pub struct ListenArgs {}

/// Listens until told to stop.
pub fn run(_args: ListenArgs, _color: ColorChoice) -> End {
    Err(Failure::failed("listen is not here yet", "come back soon"))
}
