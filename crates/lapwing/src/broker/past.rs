//! Where the messages of the last so many seconds begin in a stream, further back than memory goes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapwing_wire::position::Offset;
use lapwing_wire::time::{WallTime, micros_text};
use tokio::time::Instant;

use super::archive::offset_of;
use super::copy::Copy;
use super::leader;
use crate::clock::Now;

/// Answers of the last few seconds, and questions under way.
#[derive(Default)]
pub struct Pasts(Mutex<Vec<Past>>);

struct Past {
    ago: Duration,
    asked: Instant,
    /// None while it is under way.
    offset: Option<Offset>,
}

impl Pasts {
    /// The answer to this question, if there is a young one.
    pub fn find(&self, ago: Duration) -> Option<Offset> {
        self.lock().iter().find(|past| past.ago == ago)?.offset
    }

    /// Whether this question is to be asked now: it is not under way, and there are not too many.
    pub fn begin(&self, ago: Duration) -> bool {
        let mut pasts = self.lock();
        if pasts.len() >= PASTS_MAX || pasts.iter().any(|past| past.ago == ago) {
            return false;
        }
        let asked = Instant::now();
        let offset = None;
        pasts.push(Past { ago, asked, offset });
        true
    }

    fn end(&self, ago: Duration, offset: Option<Offset>) {
        let mut pasts = self.lock();
        match (pasts.iter_mut().find(|past| past.ago == ago), offset) {
            (Some(past), Some(_)) => past.offset = offset,
            // It may be asked again.
            _ => pasts.retain(|past| past.ago != ago),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Past>> {
        let mut pasts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pasts.retain(|past| past.asked.elapsed() < YOUNG);
        pasts
    }
}

/// Asks the stream where the messages of the last `ago` begin.
pub async fn ask(copy: &Copy, ago: Duration) {
    let nanos = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
    let from = WallTime::from_nanos(Now::read().wall.nanos().saturating_sub(nanos));
    let found = leader::since(&copy.link, &copy.spec.name, &micros_text(from)).await;
    let Some(log) = copy.log() else { return };
    let offset = found.ok().map(|first| match first {
        Some(stored) => offset_of(stored.message.sequence),
        // None is so young.
        None => log.next(),
    });
    copy.pasts.end(ago, offset);
    log.on_origin_answered();
}

/// Who asks within so long after another gets the same answer: a few messages more than was asked for.
const YOUNG: Duration = Duration::from_secs(5);
/// Different questions within that time; those beyond it wait.
const PASTS_MAX: usize = 32;
