//! Where a run is: what its threads must agree on.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What all threads of a run see.
#[derive(Default)]
pub struct Course {
    stage: AtomicU8,
    window: (AtomicU64, AtomicU64),
    /// The offset up to which the published topic is to be heard before the end.
    goal: AtomicU64,
    /// Of every so many offsets one is watched from the first listener to the last.
    stride: AtomicU64,
    /// Clients that are connected or never will be.
    settled: AtomicUsize,
    open: AtomicUsize,
    threads_open: AtomicUsize,
    drained: AtomicUsize,
    portless: AtomicBool,
    broken: AtomicBool,
    topics: Mutex<Vec<String>>,
}

/// What is done now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Listeners come, and are listened to: before, within and behind the time that is measured.
    Running,
    /// Nothing is published any more; what is on its way may arrive.
    Draining,
    /// Everyone says goodbye.
    Leaving,
}

impl Course {
    /// What is done now.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Running,
            1 => Stage::Draining,
            _ => Stage::Leaving,
        }
    }

    /// Goes on to a stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// What is measured: from a moment of the monotonic clock up to another; nothing as long as both are 0.
    pub fn window(&self) -> (u64, u64) {
        (
            self.window.0.load(Ordering::Acquire),
            self.window.1.load(Ordering::Acquire),
        )
    }

    /// Says what is measured.
    pub fn set_window(&self, from: u64, until: u64) {
        // The end first: a beginning without an end would measure nothing, the other way round everything.
        self.window.1.store(until, Ordering::Release);
        self.window.0.store(from, Ordering::Release);
    }

    /// The offset up to which the published topic is to be heard.
    pub fn goal(&self) -> u64 {
        self.goal.load(Ordering::Acquire)
    }

    /// Says up to which offset the published topic is to be heard.
    pub fn set_goal(&self, goal: u64) {
        self.goal.store(goal, Ordering::Release);
    }

    /// Of every so many offsets one is watched.
    pub fn stride(&self) -> u64 {
        self.stride.load(Ordering::Relaxed).max(1)
    }

    /// Watches half as many offsets.
    pub fn widen_stride(&self) {
        self.stride.store(self.stride() * 2, Ordering::Relaxed);
    }

    /// A client is connected; the first one of its thread says so.
    pub fn on_open(&self, first_of_thread: bool) {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.threads_open
            .fetch_add(usize::from(first_of_thread), Ordering::AcqRel);
        self.settled.fetch_add(1, Ordering::AcqRel);
    }

    /// A client will never be connected.
    pub fn on_refused(&self) {
        self.settled.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection ended; the last one of its thread says so.
    pub fn on_over(&self, last_of_thread: bool) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.threads_open
            .fetch_sub(usize::from(last_of_thread), Ordering::AcqRel);
    }

    /// How many clients are connected or never will be.
    pub fn settled(&self) -> usize {
        self.settled.load(Ordering::Acquire)
    }

    /// How many clients are connected now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// How many threads have such.
    pub fn threads_open(&self) -> usize {
        self.threads_open.load(Ordering::Acquire)
    }

    /// A thread's listeners have all there is.
    pub fn on_drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }

    /// How many threads have all there is.
    pub fn drained(&self) -> usize {
        self.drained.load(Ordering::Acquire)
    }

    /// No port of any source address is free.
    pub fn on_portless(&self) {
        self.portless.store(true, Ordering::Release);
    }

    /// Whether ports ran out.
    pub fn is_portless(&self) -> bool {
        self.portless.load(Ordering::Acquire)
    }

    /// Nothing can be published.
    pub fn on_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether nothing can be published.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The number of a topic in this run, the same in all threads; none when there are too many.
    pub fn topic(&self, name: &str) -> Option<usize> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = topics.iter().position(|known| known == name) {
            return Some(number);
        }
        (topics.len() < TOPICS_MAX).then(|| {
            topics.push(name.to_owned());
            topics.len() - 1
        })
    }

    /// The names of the topics, by their numbers.
    pub fn topics(&self) -> Vec<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// As many as a server of ours has.
const TOPICS_MAX: usize = 1000;
