//! What both peers share: a broadcast channel of text, filled at the pace that was asked for.

use delivery::message::Feed;
use delivery::schedule::Pace;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

/// Messages that the channel holds: axum's chat example has 100.
pub const CHANNEL_MESSAGES: usize = 100;
/// Messages before others get a turn, at saturation.
const SATURATED_BURST: usize = 50;

/// Fills the channel for ever.
pub async fn publish(channel: broadcast::Sender<String>, pace: Pace) {
    let mut feed = Feed::default();
    let mut send = |count| {
        for _ in 0..count {
            // Nobody listens yet: that is no mistake.
            let _ = channel.send(feed.next_text());
        }
    };
    match pace {
        Pace::Idle => std::future::pending().await,
        Pace::Every { every, burst } => {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                ticks.tick().await;
                send(burst);
            }
        }
        Pace::Saturate => loop {
            send(SATURATED_BURST);
            tokio::task::yield_now().await;
        },
    }
}
