//! Frames of another form of what a log got last, made once for all threads whose clients want them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lapwing_wire::deflate::Deflater;
use lapwing_wire::position::Offset;

/// What the readers of one view share, with the generation of the log that it is of. It takes memory while there are readers.
#[derive(Default)]
pub struct Shared(Mutex<(u16, Weak<Newest>)>);

impl Shared {
    /// What they share, for a further reader of this generation of a log that ends at `next` now. What is below is old.
    ///
    /// In another generation other messages have the same offsets; whoever still reads an earlier one shares no more.
    #[must_use]
    pub fn join(&self, generation: u16, next: Offset) -> Arc<Newest> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, newest) = &*shared;
        let known = newest.upgrade().filter(|_| *of == generation);
        known.unwrap_or_else(|| {
            let made = Arc::new(Newest::new(next));
            *shared = (generation, Arc::downgrade(&made));
            made
        })
    }
}

/// The newest frames that were made.
///
/// A message is compressed when the first thread reads it, and never again: whoever comes so late that it is no longer here
/// gets it as the log holds it. So the work is bounded by what the log takes, whatever its readers do. An array that is old is made
/// again, which takes about as long as to send it as it is.
pub struct Newest(Mutex<Frames>);

struct Frames {
    /// Everything below was looked at.
    end: Offset,
    /// What was made, by rising offset.
    frames: VecDeque<(Offset, Box<[u8]>)>,
    bytes: usize,
}

impl Newest {
    fn new(end: Offset) -> Self {
        Self(Mutex::new(Frames {
            end,
            frames: VecDeque::new(),
            bytes: 0,
        }))
    }

    /// Appends the frame of a message to `out`: compressed, if it gets shorter and is not known to be too old.
    pub fn push(&self, offset: Offset, frame: &[u8], deflater: &mut Deflater, out: &mut Vec<u8>) {
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()) {
            return out.extend_from_slice(frame);
        }
        // It is held while a message is compressed: who waits for it wants the same message, and would do the same work.
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deflated) = frames.find(offset) {
            return out.extend_from_slice(deflated);
        }
        let begin = out.len();
        if offset >= frames.end && deflater.deflate(frame, out) {
            frames.add(offset, &out[begin..]);
        } else {
            out.extend_from_slice(frame);
        }
        frames.end = frames.end.max(offset.next());
    }

    /// Appends to `out` what `make` makes of a message: once for all threads while it is new, and of an old one each time.
    pub fn push_made(&self, offset: Offset, out: &mut Vec<u8>, make: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = frames.find(offset) {
            return out.extend_from_slice(made);
        }
        if offset < frames.end {
            drop(frames);
            return make(out);
        }
        let begin = out.len();
        make(out);
        // One that is longer would leave no room for others.
        if out.len() - begin <= FRAME_BYTES_MAX {
            frames.add(offset, &out[begin..]);
        }
        frames.end = offset.next();
    }
}

impl Frames {
    fn find(&self, offset: Offset) -> Option<&[u8]> {
        let at = self.frames.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        Some(&self.frames[at].1)
    }

    fn add(&mut self, offset: Offset, frame: &[u8]) {
        self.bytes += frame.len();
        self.frames.push_back((offset, frame.into()));
        while self.bytes > NEWEST_BYTES_MAX
            && let Some((_, gone)) = self.frames.pop_front()
        {
            self.bytes -= gone.len();
        }
    }
}

/// Little is saved in a shorter frame: an eighth of one of 100 bytes.
const FRAME_BYTES_MIN: usize = 128;
/// To compress a longer one would hold up the clients of its thread for more than 20 ms.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Of one view of a topic: threads are a few messages apart, and a client on a slow line some more.
const NEWEST_BYTES_MAX: usize = 1 << 20;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use lapwing_wire::frame::{self, Opcode};

    use super::*;

    /// A frame of which compression leaves little.
    fn frame(letter: char, bytes: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        let text = letter.to_string().repeat(bytes);
        frame::write_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
        frame
    }

    fn push(newest: &Newest, offset: u64, frame: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        newest.push(Offset::new(offset), frame, &mut Deflater::default(), &mut out);
        out.split_off(6)
    }

    /// Whether it says that it is compressed.
    fn is_deflated(frame: &[u8]) -> bool {
        frame[0] == 0xc1
    }

    #[test]
    fn a_message_is_compressed_once_for_all_threads() {
        let newest = Shared::default().join(0, Offset::new(5));
        let first = push(&newest, 5, &frame('a', 500));
        assert!(is_deflated(&first) && first.len() < 50);
        // Another thread is given the same bytes, whatever it would have compressed.
        assert_eq!(push(&newest, 5, &frame('b', 500)), first);
    }

    #[test]
    fn what_is_short_or_long_or_gets_no_shorter_goes_as_it_is() {
        let newest = Shared::default().join(0, Offset::ZERO);
        let noise: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(77)).collect();
        let mut random = Vec::new();
        frame::write_frame(&mut random, Opcode::Binary, &noise, None);
        let plain = [frame('a', FRAME_BYTES_MIN - 3), frame('a', FRAME_BYTES_MAX), random];
        for (offset, frame) in plain.iter().enumerate() {
            assert_eq!(&push(&newest, offset as u64, frame), frame);
        }
        assert!(is_deflated(&push(&newest, 3, &frame('a', FRAME_BYTES_MIN - 2))));
    }

    #[test]
    fn history_goes_as_it_is_and_is_compressed_by_nobody() {
        let deflated = Shared::default();
        let newest = deflated.join(0, Offset::new(100));
        let old = frame('a', 500);
        assert_eq!(push(&newest, 99, &old), old);
        assert!(is_deflated(&push(&newest, 110, &old)));
        assert_eq!(push(&newest, 105, &old), old, "jumped over");
        // The next reader of the view shares it; one that comes when all are gone begins at the end again.
        assert!(is_deflated(&push(&deflated.join(0, Offset::new(111)), 110, &old)));
        drop(newest);
        assert_eq!(push(&deflated.join(0, Offset::new(111)), 110, &old), old);
    }

    #[test]
    fn what_is_made_is_made_once_while_it_is_new_and_of_old_messages_each_time() {
        let newest = Shared::default().join(0, Offset::new(5));
        let made = std::cell::Cell::new(0);
        let push = |offset, bytes| {
            let mut out = b"before".to_vec();
            newest.push_made(Offset::new(offset), &mut out, |out| {
                made.set(made.get() + 1);
                out.resize(out.len() + bytes, made.get());
            });
            out.split_off(6)
        };
        assert_eq!(
            (push(5, 3), push(7, 3), push(5, 3)),
            (vec![1; 3], vec![2; 3], vec![1; 3])
        );
        // Jumped over, or there before anybody came.
        assert_eq!((push(6, 1), push(6, 1), push(4, 1)), (vec![3], vec![4], vec![5]));
        assert_eq!((push(8, FRAME_BYTES_MAX)[0], push(8, FRAME_BYTES_MAX)[0]), (6, 6));
        assert_eq!(
            (push(9, FRAME_BYTES_MAX + 1)[0], push(9, FRAME_BYTES_MAX + 1)[0]),
            (7, 8)
        );
    }

    #[test]
    fn messages_of_another_generation_are_others() {
        let shared = Shared::default();
        let before = shared.join(0, Offset::new(5));
        let first = push(&before, 5, &frame('a', 500));
        let after = shared.join(1, Offset::new(5));
        assert_ne!(push(&after, 5, &frame('b', 500)), first);
        // Who comes later shares with those of its own.
        assert_eq!(
            push(&shared.join(1, Offset::new(9)), 5, &frame('a', 500)),
            push(&after, 5, &frame('b', 500))
        );
    }

    #[test]
    fn a_megabyte_is_held() {
        let newest = Shared::default().join(0, Offset::ZERO);
        let digits: String = (0..60_000)
            .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 7).to_string())
            .collect();
        let mut large = Vec::new();
        frame::write_frame(&mut large, Opcode::Text, digits.as_bytes(), None);
        let deflated = push(&newest, 0, &large);
        assert!(is_deflated(&deflated));
        for offset in 1..20 {
            push(&newest, offset, &large);
            let frames = newest.0.lock().expect("nobody panicked");
            assert_eq!(
                frames.bytes,
                frames.frames.iter().map(|(_, frame)| frame.len()).sum::<usize>()
            );
            assert!(frames.bytes <= NEWEST_BYTES_MAX);
        }
        assert_eq!(push(&newest, 0, &large), large, "it was let go");
        assert_eq!(push(&newest, 19, &large), deflated);
    }
}
