//! Whose fault it is that a client receives late: decided here and nowhere else, from what was seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::socket::path::Path;

/// Why a client receives as it does: a closed set, in these words on console, page, API and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
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
    /// By how much it fell behind in the time that is looked back on; nothing when that is not known.
    pub fell_behind: Duration,
    /// How long ago that was made which goes out to it next; nothing when nothing waits in the log for it.
    pub waited: Duration,
    /// The way to it, where the kernel tells.
    pub way: Option<Way>,
    /// The longest that our own thread took lately to give everybody a turn.
    pub late: Duration,
    /// Clients that report this topic.
    pub reporting: usize,
    /// Those of them that drift.
    pub drifting: usize,
}

/// The way to a client, now and in the time that is looked back on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// As it is now.
    pub now: Path,
    /// Segments with data sent since then.
    pub segments: u32,
    /// Those sent again that had not arrived.
    pub lost: u32,
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
            // Nothing that we do makes its kernel full; only a long way looks alike.
            Evidence { way: Some(way), .. } if way.is_held_by_peer() && !way.is_long() => Self::TakesLess,
            e if e.is_explained_by_us() && !e.way.is_some_and(|way| way.is_bad()) => Self::ItIsUs,
            e if e.reporting >= CROWD_MIN && e.drifting * 2 > e.reporting => Self::ItIsUs,
            Evidence { way: Some(way), .. } if way.is_bad() || way.now.unsent_bytes > 0 => Self::FullOrLossy,
            // Its kernel has room, and ours has nothing to send: whatever waits, waits for us.
            e if e.way.is_some() && e.waits() => Self::ItIsUs,
            e if e.waits() => Self::TakesLess,
            _ => Self::ReadsLate,
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
    /// Whether our own lateness is enough to explain that the client fell behind. Who is late by the same all the time makes nobody
    /// fall behind, so the longest of it counts once, and not for each block.
    fn is_explained_by_us(&self) -> bool {
        self.late > LATE_MAX && !self.fell_behind.is_zero() && self.late * 2 > self.fell_behind
    }

    /// Whether something waits in the log for the client, and not only since a moment ago.
    fn waits(&self) -> bool {
        self.waited > LATE_MAX
    }
}

impl Way {
    /// Whether the client's own kernel was full for a good part of the time.
    fn is_held_by_peer(&self) -> bool {
        self.peer_full * PEER_FULL_PART > self.over && !self.peer_full.is_zero()
    }

    /// Whether it shows what no lateness of ours brings about.
    fn is_bad(&self) -> bool {
        self.is_long() || self.loses()
    }

    /// Whether what is on its way takes over twice as long as it can, even if the client's kernel keeps its answers back.
    fn is_long(&self) -> bool {
        let shortest = self.now.round_trip_min;
        self.now.waits_bytes > 0
            && shortest.is_some_and(|shortest| self.now.round_trip > (shortest + ANSWER_KEPT_MAX) * 2)
    }

    /// Whether so much is lost that it matters although everything has arrived by now: each time a wait of 200 ms and more.
    fn loses(&self) -> bool {
        self.lost >= LOST_MIN && self.lost.saturating_mul(LOST_PART) >= self.segments
    }
}

/// Our turn comes later than that only when we have too much to do, and what was just made waits for no longer.
const LATE_MAX: Duration = Duration::from_millis(50);
/// Fewer than that may fall behind together by chance.
const CROWD_MIN: usize = 3;
/// A tenth of the time: a window that closes for a moment is no trouble.
const PEER_FULL_PART: u32 = 10;
/// What Linux keeps an acknowledgement for when there is nothing to send it with (`TCP_DELACK_MIN`).
const ANSWER_KEPT_MAX: Duration = Duration::from_millis(40);
/// A twentieth of all segments: a good line that crosses the sea loses less, and a reader that is late is late there, too.
const LOST_PART: u32 = 20;
/// One alone says nothing.
const LOST_MIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A way on this machine over two seconds, with something on it.
    fn way(change: impl FnOnce(&mut Way)) -> Option<Way> {
        let mut way = Way {
            now: Path {
                waits_bytes: 600,
                round_trip: MS / 4,
                round_trip_min: Some(MS / 5),
                ..Path::default()
            },
            segments: 100,
            over: MS * 2000,
            ..Way::default()
        };
        change(&mut way);
        Some(way)
    }

    #[track_caller]
    fn check(expected: Judgement, change: impl FnOnce(&mut Evidence)) {
        let mut evidence = Evidence {
            drifts: true,
            fell_behind: MS * 100,
            way: way(|_| {}),
            reporting: 1,
            drifting: 1,
            ..Evidence::default()
        };
        change(&mut evidence);
        assert_eq!(Judgement::of(&evidence), expected, "{evidence:?}");
    }

    #[test]
    fn without_drift_nothing_is_wrong_whatever_else_is_seen() {
        check(Judgement::AsMade, |e| e.drifts = false);
        check(Judgement::AsMade, |e| {
            *e = Evidence {
                drifts: false,
                waited: MS * 5000,
                late: MS * 200,
                way: way(|w| (w.lost, w.peer_full, w.now.round_trip) = (7, MS * 900, MS * 900)),
                ..*e
            }
        });
    }

    #[test]
    fn who_has_everything_and_drifts_reads_late() {
        check(Judgement::ReadsLate, |_| {});
        check(Judgement::ReadsLate, |e| e.way = None);
        // Without an answer of its own to send, its kernel acknowledges late: no sign of anything, however large the message.
        check(Judgement::ReadsLate, |e| {
            e.way = way(|w| (w.now.waits_bytes, w.now.round_trip) = (90_000, MS * 44));
        });
        // What was just made waits for its turn.
        check(Judgement::ReadsLate, |e| e.waited = MS * 50);
    }

    #[test]
    fn who_has_no_room_takes_less_than_is_sent() {
        let full = |w: &mut Way| (w.now.unsent_bytes, w.peer_full) = (90_000, MS * 300);
        check(Judgement::TakesLess, |e| (e.waited, e.way) = (MS * 4000, way(full)));
        check(Judgement::TakesLess, |e| e.way = way(|w| w.peer_full = MS * 201));
        check(Judgement::ReadsLate, |e| e.way = way(|w| w.peer_full = MS * 200));
        // With acknowledgements kept back, and whatever else is sent again into a full kernel.
        check(Judgement::TakesLess, |e| {
            e.way = way(|w| (w.peer_full, w.lost, w.now.round_trip) = (MS * 1900, 9, MS * 80));
        });
        // All of them have no room: that is not us.
        check(Judgement::TakesLess, |e| {
            (e.reporting, e.drifting, e.way) = (3, 3, way(full));
        });
        // Where nothing is known of the way.
        check(Judgement::TakesLess, |e| (e.waited, e.way) = (MS * 51, None));
    }

    #[test]
    fn a_way_that_is_full_or_loses_is_slow() {
        // The kernel cannot send what it has, and the client has room: also where the round trip stays short, as with BBR.
        check(Judgement::FullOrLossy, |e| {
            (e.waited, e.way) = (MS * 4000, way(|w| w.now.unsent_bytes = 30_000));
        });
        check(Judgement::FullOrLossy, |e| e.way = way(|w| w.now.unsent_bytes = 1));
        // Queues that are deep: everything is on its way, or fills the client's window.
        let long = |w: &mut Way| w.now.round_trip = MS * 81;
        check(Judgement::FullOrLossy, |e| e.way = way(long));
        check(Judgement::ReadsLate, |e| {
            e.way = way(|w| (w.now.round_trip, w.now.waits_bytes) = (MS * 81, 0));
        });
        check(Judgement::FullOrLossy, |e| {
            e.way = way(|w| (w.peer_full, w.now.round_trip) = (MS * 900, MS * 600));
        });
        // Each time a segment is lost what follows it waits.
        check(Judgement::FullOrLossy, |e| e.way = way(|w| w.lost = 5));
        check(Judgement::FullOrLossy, |e| {
            e.way = way(|w| (w.lost, w.segments) = (2, 10))
        });
    }

    #[test]
    fn a_good_line_loses_some_and_its_reader_is_late_all_the_same() {
        check(Judgement::ReadsLate, |e| e.way = way(|w| w.lost = 4));
        check(Judgement::ReadsLate, |e| e.way = way(|w| (w.lost, w.segments) = (1, 5)));
    }

    #[test]
    fn it_is_us_when_we_were_late_or_more_than_half_drift() {
        check(Judgement::ItIsUs, |e| e.late = MS * 51);
        check(Judgement::ReadsLate, |e| e.late = MS * 50);
        // We were late once, which is not why it fell behind by four seconds meanwhile.
        check(Judgement::ReadsLate, |e| (e.late, e.fell_behind) = (MS * 60, MS * 4000));
        // We were late, and yet that explains neither a long way nor losses, nor a kernel without room.
        for (late_too, change) in [
            (
                Judgement::FullOrLossy,
                (|w| w.now.round_trip = MS * 500) as fn(&mut Way),
            ),
            (Judgement::FullOrLossy, |w| w.lost = 30),
            (Judgement::TakesLess, |w| w.peer_full = MS * 1900),
            (Judgement::ItIsUs, |w| w.now.unsent_bytes = 30_000),
        ] {
            check(late_too, |e| (e.late, e.way) = (MS * 80, way(change)));
        }
        // By how much it fell behind is not known.
        check(Judgement::ReadsLate, |e| {
            (e.late, e.fell_behind) = (MS * 60, Duration::ZERO)
        });
        check(Judgement::ItIsUs, |e| (e.reporting, e.drifting) = (3, 2));
        check(Judgement::ReadsLate, |e| (e.reporting, e.drifting) = (4, 2));
        check(Judgement::ReadsLate, |e| (e.reporting, e.drifting) = (2, 2));
        // Our own line is full for all.
        check(Judgement::ItIsUs, |e| {
            (e.reporting, e.drifting, e.way) = (3, 3, way(|w| w.now.unsent_bytes = 30_000));
        });
    }

    #[test]
    fn it_is_us_when_something_waits_and_the_kernel_has_nothing_to_send() {
        check(Judgement::ItIsUs, |e| e.waited = MS * 51);
    }

    #[test]
    fn the_words_are_those_that_are_written_to_json() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).expect("a word"), cause.as_str());
        }
    }
}
