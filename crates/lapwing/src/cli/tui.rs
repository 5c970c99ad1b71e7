//! `--tui` where it is built in, and what is told where it is not.

use tokio_util::sync::CancellationToken;

use crate::client::log::Said;
use crate::client::status::Goal;
use crate::client::targets::Targets;
use crate::client::text::Talk;
use crate::client::watch::Overlay;
use crate::failure::Failure;
use crate::terminal::paint::ColorChoice;

/// There is something that could be drawn; where it is not built in, nobody can have this.
#[cfg(feature = "tui")]
pub(super) struct BuiltIn;
#[cfg(not(feature = "tui"))]
pub(super) enum BuiltIn {}

/// Begins to draw; otherwise gives what is told instead, before lines.
#[cfg(feature = "tui")]
pub(super) fn begin(
    _: BuiltIn,
    targets: &Targets,
    talk: Talk,
    goal: Option<Goal>,
    color: ColorChoice,
    stop: &CancellationToken,
) -> Result<Box<dyn Overlay>, Said> {
    use crate::client::display::symbols;
    use crate::client::tui::Tui;
    use crate::client::view::View;
    use crate::clock::Now;
    use crate::terminal::paint::Painter;

    let view = View::new(targets.short(), talk, symbols(true), Now::read()).towards(goal);
    match Tui::begin(view, Painter::stdout(color), stop.clone()) {
        Ok(tui) => Ok(Box::new(tui)),
        Err(error) => Err(Said {
            warning: false,
            text: error.to_string(),
            hint: None,
        }),
    }
}

/// Is never called.
#[cfg(not(feature = "tui"))]
pub(super) fn begin(
    never: BuiltIn,
    _: &Targets,
    _: Talk,
    _: Option<Goal>,
    _: ColorChoice,
    _: &CancellationToken,
) -> Result<Box<dyn Overlay>, Said> {
    match never {}
}

/// Whether there is anything that could be drawn.
pub(super) fn is_built_in() -> Result<BuiltIn, Failure> {
    #[cfg(feature = "tui")]
    return Ok(BuiltIn);
    #[cfg(not(feature = "tui"))]
    return Err(Failure::usage(
        "this lapwing was built without --tui",
        "build it with: cargo build --release --features tui; without the flag the same comes as lines",
    ));
}
