//! `lapwing publish`: what was typed.

use super::End;
use crate::failure::Failure;
use crate::terminal::paint::ColorChoice;

/// The flags of `lapwing publish`.
#[derive(clap::Args, Debug)]
pub struct PublishArgs {}

/// Publishes until stdin ends.
pub fn run(_args: PublishArgs, _color: ColorChoice) -> End {
    Err(Failure::failed("publish is not here yet", "come back soon"))
}
