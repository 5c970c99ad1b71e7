//! The bounded way to a thread that writes: whoever has a line never waits for whoever reads it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A queue of so many bytes, and the thread at its end.
pub struct Lane<T> {
    queue: Mutex<Option<Sender<(T, usize)>>>,
    /// About how much memory the queue holds.
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The thread's own end.
pub struct Queue<T> {
    received: Receiver<(T, usize)>,
    waiting: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Lane<T> {
    /// Starts the thread; without room for one, everything is taken and nobody writes it.
    pub fn start(name: &str, run: impl FnOnce(Queue<T>) + Send + 'static) -> Self {
        let (sender, received) = mpsc::channel();
        let waiting = Arc::<AtomicUsize>::default();
        let queue = Queue {
            received,
            waiting: waiting.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(queue));
        Self {
            queue: Mutex::new(Some(sender)),
            waiting,
            thread: Mutex::new(thread.ok()),
        }
    }

    /// Whether so many bytes more would be no more than `bytes_max`.
    pub fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) + bytes <= bytes_max
    }

    /// Queues what is `bytes` large. `make` runs with the queue's lock held: the times that it reads are in the queue's order.
    pub fn push(&self, bytes: usize, make: impl FnOnce() -> T) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // The receiver lives as long as the queue is there.
            let _ = queue.send((make(), bytes));
        }
    }

    /// Takes nothing more, and waits until the deadline for the thread to write what waits.
    pub fn finish(&self, deadline: Instant) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl<T> Queue<T> {
    /// The next one; with `wait` it is waited for no longer than that.
    pub fn take(&self, wait: Option<Duration>) -> Result<T, RecvTimeoutError> {
        let (item, bytes) = match wait {
            Some(wait) => self.received.recv_timeout(wait)?,
            None => self.received.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
        };
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_leaves_its_room_to_others() {
        let (go, gone) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let lane = Lane::start("lane", move |queue: Queue<u8>| {
            while gone.recv().is_ok() && tell.send(queue.take(None)).is_ok() {}
        });
        assert!(lane.has_room(60, 100));
        lane.push(60, || 1);
        assert!(lane.has_room(40, 100), "at the bound");
        lane.push(40, || 2);
        assert!(!lane.has_room(1, 100), "one beyond");
        go.send(()).expect("it waits");
        assert_eq!(told.recv(), Ok(Ok(1)));
        assert!(lane.has_room(60, 100) && !lane.has_room(61, 100));
        go.send(()).expect("it waits");
        assert_eq!(told.recv(), Ok(Ok(2)));
        drop(go);
        lane.finish(Instant::now() + Duration::from_secs(10));
    }
}
