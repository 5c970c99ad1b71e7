//! How much of a topic is kept: by bytes and by age, whichever comes first.

use std::time::Duration;

/// The bounds of one topic's log in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many bytes of frames and index, give or take one segment.
    pub bytes: u64,
    /// Every message for at least so long, unless `bytes` comes first.
    pub age: Duration,
}

impl Retention {
    /// 64 MiB and 60 s: a minute away is survived, and ten topics fit a small machine.
    pub const DEFAULT: Self = Self {
        bytes: 64 << 20,
        age: Duration::from_secs(60),
    };
    /// Of a durable topic, on disk: 1 GiB, however old.
    pub const DURABLE: Self = Self {
        bytes: 1 << 30,
        age: Duration::MAX,
    };
    /// Of a durable topic, in memory: whoever is not further behind than this is served without its files.
    pub const TAIL: Self = Self {
        bytes: 64 << 20,
        age: Duration::MAX,
    };
    /// Less would not hold one segment of any use.
    pub const BYTES_MIN: u64 = 64 << 10;
    /// The largest segment.
    pub const SEGMENT_BYTES_MAX: u64 = 4 << 20;

    /// Frame bytes of a segment: a sixteenth of all, so that what goes at once is a small part.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        usize::try_from((self.bytes / 16).clamp(4 << 10, Self::SEGMENT_BYTES_MAX)).expect("at most 4 MiB")
    }

    /// How large the next segment is made, after one that held `used`: twice that, so that a quiet topic costs little and a
    /// busy one soon has segments of full size.
    ///
    /// Memory is asked for as it will be used: an allocator may touch all of what it gives, whatever is written to it.
    #[must_use]
    pub fn next_room(&self, used: Option<Room>) -> Room {
        let most = self.segment_bytes();
        let least = most.min(FIRST_BYTES);
        let used = used.filter(|used| used.entries > 0);
        let bytes = used.map_or(least, |used| (used.bytes * 2).next_power_of_two().clamp(least, most));
        // Frames a little shorter than before shall fill it too; much shorter ones seal it early.
        let frame = used.map_or(FIRST_FRAME_BYTES, |used| {
            (used.bytes / used.entries * 3 / 4).max(FRAME_BYTES_MIN)
        });
        Room {
            bytes,
            entries: bytes / frame + 16,
        }
    }

    /// A segment is sealed when its first message is this old.
    #[must_use]
    pub fn segment_age(&self) -> Duration {
        self.age / 8
    }
}

/// The size of a segment, or what of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of frames.
    pub bytes: usize,
    /// How many frames.
    pub entries: usize,
}

/// A topic of a message a second fills no more in its first segment.
const FIRST_BYTES: usize = 64 << 10;
const FIRST_FRAME_BYTES: usize = 128;
/// No frame with an envelope is shorter.
const FRAME_BYTES_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_topic_has_small_segments_and_a_busy_one_soon_large_ones() {
        let retention = Retention::DEFAULT;
        let mut room = retention.next_room(None);
        assert_eq!(room.bytes, 64 << 10);
        let quiet = Room {
            bytes: 2000,
            entries: 8,
        };
        assert_eq!(retention.next_room(Some(quiet)).bytes, 64 << 10);
        for _ in 0..7 {
            room = retention.next_room(Some(Room {
                bytes: room.bytes - 10,
                entries: room.bytes / 250,
            }));
        }
        assert_eq!(room.bytes, 4 << 20);
        assert!((room.bytes / 250..room.bytes / 125).contains(&room.entries), "{room:?}");
    }

    #[test]
    fn the_smallest_topic_has_the_smallest_segments() {
        let retention = Retention {
            bytes: Retention::BYTES_MIN,
            ..Retention::DEFAULT
        };
        assert_eq!(retention.next_room(None).bytes, 4 << 10);
    }
}
