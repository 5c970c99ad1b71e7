//! The thread that brings what topics at level `os` wrote to stable storage, every second, outside of every append.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Store;

/// One thread for all topics of a data directory; it ends when this is dropped.
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    stores: Vec<Weak<Store>>,
    over: bool,
}

impl Syncer {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let thread = std::thread::Builder::new().name("store-sync".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.run()
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// From now on this topic is synced.
    pub fn add(&self, store: &Arc<Store>) {
        let mut work = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.stores.push(Arc::downgrade(store));
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.work.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was told by its own thread.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        while !work.over {
            let waited = self.changed.wait_timeout(work, SYNC_INTERVAL);
            work = waited.unwrap_or_else(PoisonError::into_inner).0;
            work.stores.retain(|store| store.strong_count() > 0);
            let stores: Vec<_> = work.stores.iter().filter_map(Weak::upgrade).collect();
            drop(work);
            for store in stores.iter().filter(|store| store.is_behind()) {
                store.sync_behind();
            }
            drop(stores);
            work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A power cut at level `os` costs about so much of a topic.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);
