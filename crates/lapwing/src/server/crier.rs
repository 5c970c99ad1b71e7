//! Tells the clients of server-sent events that their topic has something new, and holds what they read it with.
//!
//! They are tasks of the async front, and there may be thousands: whoever appends wakes the crier alone, once however much comes,
//! and the crier wakes them.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lapwing_wire::deflate::Deflater;
use lapwing_wire::position::Offset;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::topics::{Topic, TopicId, Topics};
use super::worker::Stop;
use crate::log::Log;
use crate::log::bell::{Bell, Ring, Wake};
use crate::log::reader::{Fetched, Reader, View};
use crate::session::Readers;

/// The crier of a server.
pub struct Crier {
    stands: Vec<Stand>,
    rung: Arc<Notify>,
    clients: AtomicUsize,
    stop: OnceLock<Stop>,
}

/// What the clients of one topic share.
struct Stand {
    log: Arc<Log>,
    chime: Arc<Chime>,
    heard: Arc<Notify>,
    /// There while somebody follows.
    reader: Mutex<Option<EventReader>>,
}

/// What an appender rings: nothing while nobody follows.
struct Chime {
    followers: AtomicUsize,
    bell: Bell<Shout>,
}

struct Shout(Arc<Notify>);

impl Wake for Shout {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Ring for Chime {
    fn ring(&self) {
        // The other half is in `Crier::follow`: either this sees the follower, or the follower's look sees what was appended.
        fence(Ordering::SeqCst);
        if self.followers.load(Ordering::Relaxed) > 0 {
            self.bell.ring();
        }
    }
}

/// A topic as server-sent events, made once for all who follow it live.
pub struct EventReader {
    reader: Reader,
    /// Of no use here: events are never compressed.
    deflater: Deflater,
}

impl EventReader {
    /// Takes a page of a file that a client wants to read.
    pub fn put(&mut self, page: Fetched) {
        self.reader.put(page);
    }
}

impl Readers for EventReader {
    fn reader(&self, _: u32, _: View) -> &Reader {
        &self.reader
    }

    fn prepare(&mut self, _: u32, _: View, cursor: Offset) {
        self.reader.prepare(cursor, &mut self.deflater);
    }
}

impl Crier {
    /// A crier for these topics; it is told of everything that is appended from now on.
    #[must_use]
    pub fn new(topics: &Topics) -> Arc<Self> {
        let rung = Arc::new(Notify::new());
        let stand = |topic: &Topic| {
            let chime = Arc::new(Chime {
                followers: AtomicUsize::new(0),
                bell: Bell::new(Shout(rung.clone())),
            });
            topic.log.attach(chime.clone());
            Stand {
                log: topic.log.clone(),
                chime,
                heard: Arc::default(),
                reader: Mutex::default(),
            }
        };
        Arc::new(Self {
            stands: topics.iter().map(stand).collect(),
            rung,
            clients: AtomicUsize::new(0),
            stop: OnceLock::new(),
        })
    }

    /// Passes on what is rung, until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.rung.notified().await;
            for stand in self.stands.iter().filter(|stand| stand.chime.bell.answer()) {
                // Readers that are all stuck must hold nothing that the log has let go.
                if let Some(reader) = &mut *stand.lock() {
                    reader.reader.refresh();
                }
                stand.heard.notify_waiters();
            }
        }
    }

    /// A client follows this topic, until what is given back is dropped; none when there are so many clients already.
    #[must_use]
    pub fn follow(self: &Arc<Self>, topic: TopicId, clients_max: usize) -> Option<Following> {
        if self.clients.fetch_add(1, Ordering::AcqRel) >= clients_max {
            self.clients.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let stand = self.stand(topic);
        stand.chime.followers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        stand.log.on_follow();
        Some(Following {
            crier: self.clone(),
            topic,
        })
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// From now on every client is dismissed when it has everything.
    pub fn dismiss(&self, stop: Stop) {
        // Only the first stop counts; a second signal ends the process.
        let _ = self.stop.set(stop);
        self.stands.iter().for_each(|stand| stand.heard.notify_waiters());
    }

    /// How the server stops, once it does.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    fn stand(&self, topic: TopicId) -> &Stand {
        &self.stands[topic.0 as usize]
    }
}

impl Stand {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<EventReader>> {
        // What a panic left is at worst a reader that is made anew by the next look.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's share in a topic.
pub struct Following {
    crier: Arc<Crier>,
    topic: TopicId,
}

impl Following {
    /// The crier.
    #[must_use]
    pub fn crier(&self) -> &Crier {
        &self.crier
    }

    /// The topic's log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.crier.stand(self.topic).log
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// Ends when there is something new. What comes after it was enabled is not missed.
    pub fn heard(&self) -> OwnedNotified {
        self.crier.stand(self.topic).heard.clone().notified_owned()
    }

    /// Looks at the topic as it is now.
    pub fn read<T>(&self, look: impl FnOnce(&mut EventReader) -> T) -> T {
        let stand = self.crier.stand(self.topic);
        let mut reader = stand.lock();
        let reader = reader.get_or_insert_with(|| EventReader {
            reader: Reader::new(stand.log.clone(), View::Events),
            deflater: Deflater::default(),
        });
        reader.reader.refresh();
        look(reader)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let stand = self.crier.stand(self.topic);
        stand.log.on_unfollow();
        if stand.chime.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Whoever came in between makes another.
            *stand.lock() = None;
        }
        self.crier.clients.fetch_sub(1, Ordering::AcqRel);
    }
}
