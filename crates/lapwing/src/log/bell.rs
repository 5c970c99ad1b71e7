//! How an appender tells a reader's thread that there is more: rung once however often it is pulled.

use sync::{AtomicBool, Ordering};

/// A bell of one reading thread.
///
/// The reader calls [`Bell::answer`] before it looks at its logs; whoever appends makes the messages visible and then
/// calls [`Bell::ring`]. An append that the look misses finds the bell silent and wakes the reader, so nothing is slept
/// over; appends while the reader is still on its way cost no system call.
pub struct Bell<W> {
    rung: AtomicBool,
    waker: W,
}

/// What wakes the reader's thread out of its wait.
pub trait Wake: Send + Sync {
    /// Wakes it, or lets its next wait end at once.
    fn wake(&self);
}

impl<W: Wake> Bell<W> {
    /// A silent bell.
    pub fn new(waker: W) -> Self {
        Self {
            rung: AtomicBool::new(false),
            waker,
        }
    }

    /// Rings; wakes the reader unless it was already on its way.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// The reader is about to look: whoever appends from now on must ring again. Says whether it was rung.
    pub fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}

/// A bell whose kind of waker does not matter to the one who rings.
pub trait Ring: Send + Sync {
    /// Rings; wakes the reader unless it was already on its way.
    fn ring(&self);
}

impl<W: Wake> Ring for Bell<W> {
    fn ring(&self) {
        Bell::ring(self);
    }
}

impl Wake for mio::Waker {
    fn wake(&self) {
        // It can only fail when the poll is gone, and then nobody waits.
        let _ = mio::Waker::wake(self);
    }
}

mod sync {
    #[cfg(feature = "loom")]
    pub use loom::sync::atomic::{AtomicBool, Ordering};
    #[cfg(not(feature = "loom"))]
    pub use std::sync::atomic::{AtomicBool, Ordering};
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    struct Count(AtomicU32);
    impl Wake for &'static Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reader_on_its_way_is_not_woken_again() {
        static WOKEN: Count = Count(AtomicU32::new(0));
        let bell = Bell::new(&WOKEN);
        bell.ring();
        bell.ring();
        assert_eq!(WOKEN.0.load(Ordering::Relaxed), 1);
        assert!(bell.answer());
        assert!(!bell.answer());
        bell.ring();
        assert_eq!(WOKEN.0.load(Ordering::Relaxed), 2);
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;
    use crate::log::segment::{Segment, entry};
    use lapwing_wire::position::Offset;
    use loom::sync::{Arc, Condvar, Mutex};

    /// A waker as the poll has it: a wake that comes early ends the next wait.
    #[derive(Default)]
    struct Poll {
        woken: Mutex<bool>,
        changed: Condvar,
    }

    impl Poll {
        fn wait(&self) {
            let mut woken = self.woken.lock().expect("no panic");
            while !*woken {
                woken = self.changed.wait(woken).expect("no panic");
            }
            *woken = false;
        }
    }

    impl Wake for Arc<Poll> {
        fn wake(&self) {
            *self.woken.lock().expect("no panic") = true;
            self.changed.notify_one();
        }
    }

    /// The whole hand-over: a worker that waits only when it saw nothing new gets every frame and never sleeps for ever.
    #[test]
    fn no_append_is_slept_over() {
        loom::model(|| {
            let poll = Arc::new(Poll::default());
            let bell = Arc::new(Bell::new(poll.clone()));
            let (mut writer, segment) = Segment::create(Offset::ZERO, 4, 2);
            let reader = {
                let bell = bell.clone();
                loom::thread::spawn(move || {
                    let mut seen = 0;
                    while seen < 2 {
                        poll.wait();
                        bell.answer();
                        let visible = segment.entries().len();
                        assert_eq!(segment.frames(0..visible), &b"abcd"[..visible * 2]);
                        assert!(visible >= seen);
                        seen = visible;
                    }
                })
            };
            writer.push(b"ab", entry(0));
            writer.publish();
            bell.ring();
            writer.push(b"cd", entry(1));
            writer.publish();
            bell.ring();
            reader.join().expect("the reader holds");
        });
    }
}
