//! All listeners of a trial: that they have begun, and that they have caught up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::arena::Listener;
use crate::clock::mono;
use crate::follower::Follower;
use crate::history::Event;
use crate::journal::Journal;
use crate::trouble::Trouble;

/// A listener may wait 30 s before it comes back, then has to notice and to read what it missed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often the files are looked at meanwhile.
pub const LOOK: Duration = Duration::from_millis(100);

/// Waits until each is connected: before the first message, so that its file must begin with offset 0.
pub async fn begin(listeners: &[Listener]) -> Result<(), Trouble> {
    let deadline = Instant::now() + PATIENCE;
    for listener in listeners {
        let mut follower = Follower::new(&listener.file);
        while !follower.has_positions {
            follower.read_on();
            if Instant::now() > deadline {
                return Err(Trouble::Usage(format!("{} never told its positions", listener.name)));
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Waits until `is_at_end` of each file's place in each topic, but not longer than `patience` after `began`; who is behind then is
/// written down.
pub async fn catch_up(
    listeners: &[Listener],
    journal: &Journal,
    began: Instant,
    patience: Duration,
    is_at_end: impl Fn(&str, Option<u64>) -> bool,
) {
    let mut behind: Vec<_> = listeners
        .iter()
        .map(|listener| (listener, Follower::new(&listener.file)))
        .collect();
    while !behind.is_empty() && began.elapsed() < patience {
        behind.retain_mut(|(listener, follower)| {
            follower.read_on();
            let is_at_end = |topic: &String| is_at_end(topic, follower.places.get(topic).copied());
            !listener.topics.iter().all(is_at_end)
        });
        sleep(LOOK).await;
    }
    journal.note(&Event::Drained {
        at: mono(),
        seconds: began.elapsed().as_secs(),
        behind: behind.iter().map(|(listener, _)| listener.name.clone()).collect(),
    });
}
