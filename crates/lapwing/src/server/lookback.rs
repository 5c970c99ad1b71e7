//! What became of one client in the last five to ten seconds: how far it fell behind, and what its way did meanwhile.
//!
//! From one report to the next is too short a time to judge by: a loss, or a full kernel, may lie just before it.

use std::time::Duration;

use super::cause::Way;
use crate::socket::path::Path;

/// Two marks, so that the time that is looked back on never begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookback {
    /// It is looked back to this one.
    since: Option<Mark>,
    /// And to this one, when it is old enough.
    next: Option<Mark>,
}

/// How things stood at a report.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// On the monotonic clock, in nanoseconds.
    at: u64,
    path: Option<Path>,
    behind_ms: f64,
}

/// What is seen in looking back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// By how much the client fell behind.
    pub fell_behind: Duration,
    /// Its way, where the kernel tells now as it did then.
    pub way: Option<Way>,
}

impl Lookback {
    /// At a report that comes now the way was `path`, and the client `behind_ms` behind.
    pub fn on_report(&mut self, at: u64, path: Option<Path>, behind_ms: f64) -> Seen {
        let now = Mark { at, path, behind_ms };
        let next = self.next.get_or_insert(now);
        let mut since = self.since.unwrap_or(*next);
        if at.saturating_sub(next.at) >= LOOKBACK_MIN.as_nanos() as u64 {
            since = std::mem::replace(next, now);
        }
        // Who has caught up since falls behind from there.
        since.behind_ms = since.behind_ms.min(behind_ms);
        next.behind_ms = next.behind_ms.min(behind_ms);
        self.since = Some(since);
        Seen {
            fell_behind: Duration::from_secs_f64((behind_ms - since.behind_ms) / 1e3),
            way: path.map(|now| way(now, since.path.unwrap_or(now), at.saturating_sub(since.at))),
        }
    }
}

fn way(now: Path, then: Path, over: u64) -> Way {
    let again = now.retransmits.saturating_sub(then.retransmits);
    Way {
        now,
        segments: now.segments.saturating_sub(then.segments),
        lost: again.saturating_sub(now.repeats.saturating_sub(then.repeats)),
        peer_full: now.peer_full.saturating_sub(then.peer_full),
        over: Duration::from_nanos(over),
    }
}

/// Reports come once a second, so these are five of them; with the second mark it is looked back twice as far at most.
const LOOKBACK_MIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn path(segments: u32, retransmits: u32, repeats: u32, full_ms: u64) -> Option<Path> {
        Some(Path {
            segments,
            retransmits,
            repeats,
            peer_full: Duration::from_millis(full_ms),
            ..Path::default()
        })
    }

    #[test]
    fn it_is_looked_back_five_seconds_at_least_and_ten_at_most() {
        let mut lookback = Lookback::default();
        let over: Vec<u64> = (0..20)
            .map(|second| {
                let seen = lookback.on_report(second * SECOND, path(0, 0, 0, 0), 0.0);
                seen.way.expect("known").over.as_secs()
            })
            .collect();
        assert_eq!(over, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_was_before_the_first_report_does_not_count_and_what_had_arrived_is_no_loss() {
        let mut lookback = Lookback::default();
        let first = lookback.on_report(0, path(100, 7, 1, 900), 5000.0);
        assert_eq!(
            (first.fell_behind, first.way),
            (
                Duration::ZERO,
                path(100, 7, 1, 900).map(|now| Way { now, ..Way::default() })
            )
        );
        let seen = lookback.on_report(SECOND, path(150, 17, 4, 950), 5200.0);
        let way = seen.way.expect("known");
        assert_eq!(seen.fell_behind, Duration::from_millis(200));
        assert_eq!(
            (way.segments, way.lost, way.peer_full),
            (50, 7, Duration::from_millis(50))
        );
        // The peer said later that it had more of them.
        let way = lookback.on_report(2 * SECOND, path(160, 17, 30, 950), 5200.0).way;
        assert_eq!(way.expect("known").lost, 0);
        assert_eq!(lookback.on_report(3 * SECOND, None, 5200.0).way, None);
    }

    #[test]
    fn who_caught_up_falls_behind_from_there() {
        let mut lookback = Lookback::default();
        let mut fell = |second: u64, behind_ms| {
            lookback
                .on_report(second * SECOND, None, behind_ms)
                .fell_behind
                .as_millis()
        };
        assert_eq!((fell(0, 9000.0), fell(1, 0.0), fell(2, 300.0)), (0, 0, 300));
        assert_eq!((fell(6, 400.0), fell(7, 700.0)), (400, 700));
        assert_eq!((fell(11, -50.0), fell(12, 50.0)), (0, 100));
    }
}
