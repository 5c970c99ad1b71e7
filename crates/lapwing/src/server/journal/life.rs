//! Life events in the operator's log, each with the level of its kind.

use tracing::Level;

use super::target::EVENT;
use crate::server::event::Event;

/// Notes an event that was told to people, so that the operator's log has everything. What clients say and report is data, and comes as
/// often as they like: it is not noted.
pub fn note(event: &Event) {
    // Each has a place of its own in the code, so that one that comes often hides no other.
    macro_rules! note {
        ($level:expr) => {
            tracing::event!(
                target: EVENT,
                $level,
                event = event.key(),
                client = event.client().map(|client| tracing::field::display(client.as_text())),
                "{}",
                event.sentence()
            )
        };
    }
    match event {
        Event::Said { .. } | Event::Report { .. } => {}
        Event::Ready { .. } => note!(Level::INFO),
        Event::Joined { .. } => note!(Level::INFO),
        Event::Left { .. } => note!(Level::INFO),
        Event::KeepsUp { .. } => note!(Level::INFO),
        Event::Source { .. } => note!(Level::INFO),
        Event::Certificate { failed: false, .. } => note!(Level::INFO),
        Event::Access { failed: false, .. } => note!(Level::INFO),
        Event::Stopping { .. } => note!(Level::INFO),
        Event::Stopped { .. } => note!(Level::INFO),
        Event::Peer { state: "there", .. } => note!(Level::INFO),
        Event::Peer { .. } => note!(Level::WARN),
        Event::Slow { .. } => note!(Level::WARN),
        Event::Silent { .. } => note!(Level::WARN),
        Event::Missed { .. } => note!(Level::WARN),
        Event::Storage { .. } => note!(Level::WARN),
        Event::Certificate { failed: true, .. } => note!(Level::WARN),
        Event::Access { failed: true, .. } => note!(Level::WARN),
        Event::Limit { .. } => note!(Level::WARN),
        Event::NotShown { .. } => note!(Level::WARN),
    }
}
