//! Whose fault it is that a client receives late: decided here and nowhere else, from what was seen.

use std::time::Duration;

use serde::Serialize;

use crate::socket::path::Path;

/// Why a client receives as it does: a closed set, in these words on console, page, API and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize)]
pub enum Cause {
    /// Its blocks take as long as the source takes to make them: all is well.
    #[serde(rename = "source-limited")]
    SourceLimited,
    /// It reads late, or takes less than is sent.
    #[serde(rename = "client slow")]
    ClientSlow,
    /// The way to it is full, or loses packets.
    #[serde(rename = "network slow")]
    NetworkSlow,
    /// It is us.
    #[serde(rename = "server slow")]
    ServerSlow,
    /// It has stopped, or cannot be reached.
    #[serde(rename = "silent")]
    Silent,
    /// It sends no reports.
    #[serde(rename = "unclear")]
    Unclear,
}

impl Cause {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::SourceLimited,
        Self::ClientSlow,
        Self::NetworkSlow,
        Self::ServerSlow,
        Self::Silent,
        Self::Unclear,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceLimited => "source-limited",
            Self::ClientSlow => "client slow",
            Self::NetworkSlow => "network slow",
            Self::ServerSlow => "server slow",
            Self::Silent => "silent",
            Self::Unclear => "unclear",
        }
    }

    /// Whether a client with this one does not keep up.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        !matches!(self, Self::SourceLimited | Self::Unclear)
    }
}

/// What was seen of one client in one topic when it was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Its blocks drift, and have for long enough to say so.
    pub drifts: bool,
    /// By how much a block took longer there than here.
    pub drift: Duration,
    /// Messages of the topic that wait in the log for it.
    pub waiting: u64,
    /// The way to it, where the kernel tells.
    pub way: Option<Way>,
    /// The longest that our own thread took lately to give everybody a turn.
    pub late: Duration,
    /// Clients that report this topic.
    pub reporting: usize,
    /// Those of them that drift.
    pub drifting: usize,
}

/// The way to a client since it was judged before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// As it is now.
    pub now: Path,
    /// Segments sent again since then.
    pub retransmits: u32,
    /// For so long since then it had no room for anything.
    pub peer_full: Duration,
    /// How long ago that was.
    pub over: Duration,
}

/// How a cause is known: what is told beside it. Each has one cause, and two of them may have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Its blocks take as long as here.
    AsMade,
    /// Everything has reached it, and still it takes longer.
    ReadsLate,
    /// It has no room for what is sent, or lets it wait.
    TakesLess,
    /// Round trips got long while something waits, or segments had to be sent again.
    FullOrLossy,
    /// Our own turns came late, or most clients fall behind.
    ItIsUs,
    /// Nothing comes from it any more, not even an answer to a ping.
    NoAnswer,
    /// It sends no reports.
    NoReports,
}

impl Judgement {
    /// Of a client that reports a topic.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Self {
        match evidence {
            e if !e.drifts => Self::AsMade,
            e if e.late > LATE_MAX && e.late * 2 > e.drift => Self::ItIsUs,
            e if e.reporting >= CROWD_MIN && e.drifting * 2 > e.reporting => Self::ItIsUs,
            e if e.way.is_some_and(|way| way.is_held_by_peer()) => Self::TakesLess,
            e if e.way.is_some_and(|way| way.retransmits > 0) => Self::FullOrLossy,
            e if !e.waits() => Self::ReadsLate,
            e if e.way.is_some_and(|way| way.is_longer_than_it_was()) => Self::FullOrLossy,
            _ => Self::TakesLess,
        }
    }

    /// Whose fault that is.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::AsMade => Cause::SourceLimited,
            Self::ReadsLate | Self::TakesLess => Cause::ClientSlow,
            Self::FullOrLossy => Cause::NetworkSlow,
            Self::ItIsUs => Cause::ServerSlow,
            Self::NoAnswer => Cause::Silent,
            Self::NoReports => Cause::Unclear,
        }
    }

    /// The sentence that says why, as on the page and in `docs/causes.md`.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AsMade => "The block took as long as the source took to make it.",
            Self::ReadsLate => "We sent in time and the network took it; the client reads late.",
            Self::TakesLess => "It takes less than we send.",
            Self::FullOrLossy => "The way to the client is full or loses packets.",
            Self::ItIsUs => "Many fall behind at once, or we were late: it is us.",
            Self::NoAnswer => "Stopped or unreachable; it is closed when a ping stays unanswered.",
            Self::NoReports => "It sends no reports; only what waits here is known.",
        }
    }

    /// The same in a few words, behind what was seen.
    #[must_use]
    pub fn brief(self) -> &'static str {
        match self {
            Self::AsMade => "as the source made it",
            Self::ReadsLate => "it reads late",
            Self::TakesLess => "it takes less than we send",
            Self::FullOrLossy => "the way to it is full or loses packets",
            Self::ItIsUs => "many fall behind at once, or we were late",
            Self::NoAnswer => "stopped or unreachable",
            Self::NoReports => "it sends no reports",
        }
    }
}

impl Serialize for Judgement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.sentence())
    }
}

impl Evidence {
    /// Whether anything waits for the client: here, or with the kernel for longer than a round trip explains.
    fn waits(&self) -> bool {
        self.waiting > 0 || self.way.is_some_and(|way| way.now.is_waited_for())
    }
}

impl Way {
    /// Whether the client's own kernel was full for a good part of the time.
    fn is_held_by_peer(&self) -> bool {
        self.peer_full * PEER_FULL_PART > self.over && !self.peer_full.is_zero()
    }

    /// Whether a round trip takes over twice what it can, and enough more to matter.
    fn is_longer_than_it_was(&self) -> bool {
        self.now
            .round_trip_min
            .is_some_and(|shortest| self.now.round_trip > shortest * 2 + LONGER_MIN)
    }
}

/// Our turn comes later than that only when we have too much to do.
const LATE_MAX: Duration = Duration::from_millis(50);
/// Fewer than that may fall behind together by chance.
const CROWD_MIN: usize = 3;
/// A tenth of the time: a window that closes for a moment is no trouble.
const PEER_FULL_PART: u32 = 10;
/// On a way of microseconds twice as long is nothing.
const LONGER_MIN: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn way(waits_bytes: u64, rtt: Duration, retransmits: u32, peer_full: Duration) -> Option<Way> {
        Some(Way {
            now: Path {
                waits_bytes,
                round_trip: rtt,
                round_trip_min: Some(MS / 5),
                ..Path::default()
            },
            retransmits,
            peer_full,
            over: MS * 2000,
        })
    }

    #[track_caller]
    fn check(cause: Cause, change: impl FnOnce(&mut Evidence)) {
        let mut evidence = Evidence {
            drifts: true,
            drift: MS * 100,
            way: way(0, MS / 4, 0, Duration::ZERO),
            reporting: 1,
            drifting: 1,
            ..Evidence::default()
        };
        change(&mut evidence);
        assert_eq!(Judgement::of(&evidence).cause(), cause, "{evidence:?}");
    }

    #[test]
    fn without_drift_nothing_is_wrong_whatever_else_is_seen() {
        check(Cause::SourceLimited, |e| e.drifts = false);
        check(Cause::SourceLimited, |e| {
            *e = Evidence {
                drifts: false,
                waiting: 50,
                late: MS * 200,
                way: way(1 << 20, MS * 900, 7, MS * 900),
                ..*e
            }
        });
    }

    #[test]
    fn who_has_everything_and_drifts_reads_late() {
        check(Cause::ClientSlow, |_| {});
        // Without an answer of its own to send, its kernel acknowledges late: no sign of anything.
        check(Cause::ClientSlow, |e| e.way = way(600, MS * 40, 0, Duration::ZERO));
        check(Cause::ClientSlow, |e| e.way = None);
    }

    #[test]
    fn who_has_no_room_or_lets_wait_at_a_short_way_takes_less_than_is_sent() {
        check(Cause::ClientSlow, |e| {
            (e.waiting, e.way) = (40, way(90_000, MS / 4, 0, MS * 300));
        });
        check(Cause::ClientSlow, |e| {
            (e.waiting, e.way) = (40, way(90_000, MS * 900, 3, MS * 300));
        });
        check(Cause::ClientSlow, |e| {
            (e.waiting, e.way) = (40, way(90_000, MS / 4, 0, Duration::ZERO));
        });
        check(Cause::ClientSlow, |e| (e.waiting, e.way) = (1, None));
    }

    #[test]
    fn a_way_that_got_long_or_loses_is_slow_when_something_waits_for_it() {
        check(Cause::NetworkSlow, |e| {
            (e.waiting, e.way) = (40, way(90_000, MS * 480, 0, Duration::ZERO));
        });
        check(Cause::NetworkSlow, |e| e.way = way(20_000, MS * 480, 0, Duration::ZERO));
        check(Cause::NetworkSlow, |e| e.way = way(0, MS / 4, 1, Duration::ZERO));
        check(Cause::ClientSlow, |e| {
            (e.waiting, e.way) = (40, way(90_000, MS * 2, 0, MS * 199));
        });
    }

    #[test]
    fn it_is_us_when_we_were_late_or_more_than_half_drift() {
        check(Cause::ServerSlow, |e| e.late = MS * 51);
        check(Cause::ClientSlow, |e| e.late = MS * 50);
        // We were late once, which is not why its block took four seconds longer.
        check(Cause::ClientSlow, |e| (e.late, e.drift) = (MS * 60, MS * 4000));
        check(Cause::ServerSlow, |e| (e.reporting, e.drifting) = (3, 2));
        check(Cause::ClientSlow, |e| (e.reporting, e.drifting) = (4, 2));
        check(Cause::ClientSlow, |e| (e.reporting, e.drifting) = (2, 2));
    }

    #[test]
    fn the_words_are_those_that_are_written_to_json() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).expect("a word"), cause.as_str());
        }
    }
}
