//! What went out in each topic and how soon: counted by each delivery thread for itself, and summed by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::histogram::{Histogram, Spread};
use super::late::Late;
use super::topics::TopicId;

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub messages: u64,
    /// Their frames, or what else they came in.
    pub bytes: u64,
}

/// The accounts of all who deliver.
pub struct Ledgers {
    topics: usize,
    threads: RwLock<Vec<Arc<Account>>>,
    /// Of those who are no delivery thread.
    others: Box<[Sum]>,
}

/// One thread's account, as others see it.
struct Account {
    topics: Box<[Row]>,
    received: Sum,
    late: Late,
}

/// A line of its own for each topic: threads must not pull the same one to and fro.
#[repr(align(64))]
struct Row {
    sent: Sum,
    lag: Histogram,
}

#[derive(Default)]
struct Sum {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// One thread's own side: plain numbers, shown to others once a round.
pub struct Ledger {
    account: Arc<Account>,
    topics: Vec<Own>,
    /// The topics that have something to show.
    touched: Vec<usize>,
    received: Amount,
}

#[derive(Clone, Copy, Default)]
struct Own {
    sent: Amount,
    touched: bool,
}

impl Ledgers {
    /// Of so many topics, empty.
    #[must_use]
    pub fn new(topics: usize) -> Self {
        Self {
            topics,
            threads: RwLock::default(),
            others: (0..topics).map(|_| Sum::default()).collect(),
        }
    }

    /// Opens one for a thread that delivers.
    #[must_use]
    pub fn open(&self) -> Ledger {
        let row = |_| Row {
            sent: Sum::default(),
            lag: Histogram::new(LAG_BOUNDS),
        };
        let account = Arc::new(Account {
            topics: (0..self.topics).map(row).collect(),
            received: Sum::default(),
            late: Late::default(),
        });
        let mut threads = self.threads.write().unwrap_or_else(PoisonError::into_inner);
        threads.push(account.clone());
        Ledger {
            account,
            topics: vec![Own::default(); self.topics],
            touched: Vec::new(),
            received: Amount::default(),
        }
    }

    /// Counts what went out in a topic by other ways than a delivery thread.
    pub fn add(&self, topic: TopicId, sent: Amount) {
        let sum = &self.others[topic.0 as usize];
        sum.messages.fetch_add(sent.messages, Ordering::Relaxed);
        sum.bytes.fetch_add(sent.bytes, Ordering::Relaxed);
    }

    /// What went out in a topic so far, over all clients.
    #[must_use]
    pub fn sent(&self, topic: TopicId) -> Amount {
        let at = topic.0 as usize;
        let mut sent = self.others[at].amount();
        self.each(|account| sent.add(account.topics[at].sent.amount()));
        sent
    }

    /// What went out in these topics so far, over all clients.
    #[must_use]
    pub fn sent_in(&self, topics: impl Iterator<Item = TopicId>) -> Amount {
        let mut sent = Amount::default();
        topics.for_each(|topic| sent.add(self.sent(topic)));
        sent
    }

    /// What clients have sent so far.
    #[must_use]
    pub fn received(&self) -> Amount {
        let mut received = Amount::default();
        self.each(|account| received.add(account.received.amount()));
        received
    }

    /// How long it took in a topic from an append to having given every follower its turn.
    #[must_use]
    pub fn lag(&self, topic: TopicId) -> Spread {
        let mut lag = Histogram::new(LAG_BOUNDS).spread();
        self.each(|account| lag.merge(&account.topics[topic.0 as usize].lag.spread()));
        lag
    }

    /// The longest that took in the last ten seconds, in any topic and on any thread. `now` is of the monotonic clock.
    #[must_use]
    pub fn late(&self, now: u64) -> Duration {
        let mut late = Duration::ZERO;
        self.each(|account| late = late.max(account.late.longest(now)));
        late
    }

    fn each(&self, with: impl FnMut(&Arc<Account>)) {
        let threads = self.threads.read().unwrap_or_else(PoisonError::into_inner);
        threads.iter().for_each(with);
    }
}

impl Ledger {
    /// So much went out in a topic.
    pub fn on_sent(&mut self, topic: u32, messages: usize, bytes: usize) {
        let own = &mut self.topics[topic as usize];
        own.sent.add(Amount {
            messages: messages as u64,
            bytes: bytes as u64,
        });
        if !std::mem::replace(&mut own.touched, true) {
            self.touched.push(topic as usize);
        }
    }

    /// A client sent a message, of whatever kind.
    pub fn on_message(&mut self) {
        self.received.messages += 1;
    }

    /// So many bytes came from a client, whatever stands in them.
    pub fn on_read(&mut self, bytes: usize) {
        self.received.bytes += bytes as u64;
    }

    /// Every follower of a topic on this thread has had its turn at `now` for what was appended from `appended` on.
    pub fn on_served(&mut self, topic: TopicId, appended: u64, now: u64) {
        let took = Duration::from_nanos(now.saturating_sub(appended));
        self.account.topics[topic.0 as usize].lag.add(took);
        self.account.late.add(now, took);
    }

    /// Shows others what was counted.
    pub fn publish(&mut self) {
        for at in self.touched.drain(..) {
            let own = &mut self.topics[at];
            own.touched = false;
            self.account.topics[at].sent.set(own.sent);
        }
        self.account.received.set(self.received);
    }
}

impl Sum {
    /// Only its one writer may do this.
    fn set(&self, amount: Amount) {
        self.messages.store(amount.messages, Ordering::Relaxed);
        self.bytes.store(amount.bytes, Ordering::Relaxed);
    }

    fn amount(&self) -> Amount {
        Amount {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Amount {
    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

/// In seconds. A round to a few clients takes some 50 µs, one to 10,000 some 50 ms, and from 50 ms on the server is called slow.
pub const LAG_BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: TopicId = TopicId(0);
    const SECOND: TopicId = TopicId(1);

    fn amount(messages: u64, bytes: u64) -> Amount {
        Amount { messages, bytes }
    }

    #[test]
    fn what_a_thread_counts_is_seen_when_its_round_is_over_and_summed_over_all() {
        let ledgers = Ledgers::new(2);
        let (mut one, mut other) = (ledgers.open(), ledgers.open());
        one.on_sent(0, 3, 300);
        one.on_sent(0, 1, 100);
        one.on_sent(1, 1, 50);
        assert_eq!(ledgers.sent(FIRST), amount(0, 0), "not shown yet");
        one.publish();
        other.on_sent(1, 2, 20);
        other.on_message();
        other.on_read(7);
        other.publish();
        ledgers.add(SECOND, amount(5, 5));
        assert_eq!(ledgers.sent(FIRST), amount(4, 400));
        assert_eq!(ledgers.sent(SECOND), amount(8, 75));
        assert_eq!(ledgers.sent_in([TopicId(0), TopicId(1)].into_iter()), amount(12, 475));
        assert_eq!(ledgers.received(), amount(1, 7));
        one.on_sent(0, 1, 1);
        one.publish();
        assert_eq!(ledgers.sent(FIRST), amount(5, 401));
    }

    #[test]
    fn lag_is_of_a_topic_and_lateness_of_all() {
        let ledgers = Ledgers::new(2);
        let (mut one, mut other) = (ledgers.open(), ledgers.open());
        let second = 1_000_000_000;
        one.on_served(FIRST, second, second + 2_000_000);
        other.on_served(FIRST, second, second + 60_000_000);
        other.on_served(SECOND, second + 9, second);
        assert_eq!((ledgers.lag(FIRST).count, ledgers.lag(SECOND).count), (2, 1));
        assert_eq!(ledgers.lag(FIRST).sum, 0.062);
        assert_eq!(ledgers.lag(SECOND).sum, 0.0, "clocks of other threads may be ahead");
        assert_eq!(ledgers.late(second), Duration::from_millis(60));
        assert_eq!(ledgers.late(20 * second), Duration::ZERO);
    }
}
