//! What a run has shown.

use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::time::WallTime;

use super::books::{BlockBook, Books, TopicBook};
use super::bottleneck;
use super::pace::{self, Pace};
use super::plan::Plan;
use super::publisher::Published;
use super::slice::Strain;
use super::times::Times;
use super::verdict::Verdict;
use crate::terminal::form;

/// The figures of a run.
pub struct Outcome {
    /// What it was to do.
    pub plan: Arc<Plan>,
    /// When it began.
    pub began: WallTime,
    /// From the first connect to the last that was open.
    pub ramp: Duration,
    /// How long was measured.
    pub measured: Duration,
    /// What ended it before its time, if anything did.
    pub cut: Option<Cut>,
    /// Messages that came in that time, over all listeners.
    pub messages: u64,
    /// Their bytes, envelopes included.
    pub bytes: u64,
    /// The counts of all threads.
    pub books: Books,
    /// The names of the topics, by their numbers.
    pub topics: Vec<String>,
    /// First listener to last, of each message that all of them have.
    pub first_to_last: Times,
    /// Each second of the run.
    pub timeline: Vec<Second>,
    /// What was published.
    pub published: Option<Published>,
    /// What it cost each thread, while measured.
    pub strain: Vec<Strain>,
    /// Ports ran out.
    pub portless: bool,
    /// Messages that were acknowledged and did not come in time after the end: listeners that still lacked some.
    pub undrained: bool,
}

/// What ends a run before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Ctrl-C, or a signal that asks for the same.
    Asked,
    /// The server or the network ended every connection.
    Deserted,
}

/// A second of the run.
#[derive(Clone, Default)]
pub struct Second {
    /// When it began, since the start of the run.
    pub at: Duration,
    /// How long it was.
    pub length: Duration,
    /// Whether it belongs to the time that is measured.
    pub measured: bool,
    /// Messages, over all listeners.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Median and 99th percentile of the latency of what came.
    pub latency: Option<(Duration, Duration)>,
    /// Messages passed over.
    pub missed: u64,
    /// Messages that came twice or late.
    pub astray: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that ended.
    pub ended: u64,
}

impl Cut {
    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Deserted => "deserted",
        }
    }

    /// What happened, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Asked => "it was asked to end",
            Self::Deserted => "no client was connected any more",
        }
    }
}

impl Outcome {
    /// That the run is not the one that was asked for, if so.
    #[must_use]
    pub fn interruption(&self) -> Option<String> {
        let cut = self.cut?;
        let [measured, asked] = [self.measured, self.plan.time].map(form::short_span);
        Some(format!("after {measured} of {asked}: {}", cut.words()))
    }

    /// Clients that the run ended too early for: not tried, or still without an answer.
    #[must_use]
    pub fn untried(&self) -> u64 {
        let refused: u64 = self.books.refused.values().sum();
        (self.plan.clients as u64).saturating_sub(self.books.connected + refused)
    }

    /// Messages a second, over all listeners.
    #[must_use]
    pub fn rate(&self) -> f64 {
        per_second(self.messages, self.measured)
    }

    /// Bytes a second, over all listeners.
    #[must_use]
    pub fn byte_rate(&self) -> f64 {
        per_second(self.bytes, self.measured)
    }

    /// Who set the pace of blocks; where delivery did and the tester was the bottleneck, it was the tester.
    #[must_use]
    pub fn pace(&self, topic: &TopicBook, block: &BlockBook) -> Pace {
        match pace::of(topic, block) {
            Pace::Delivery if self.bottleneck().is_some() => Pace::Tester,
            pace => pace,
        }
    }

    /// What the tester says about itself, if its figures are its own limit.
    #[must_use]
    pub fn bottleneck(&self) -> Option<String> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        bottleneck::sentence(&self.strain, &self.books.latency, self.published.as_ref(), cores)
    }

    /// What is proven.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match Verdict::of(&self.books, &self.topics, self.undrained) {
            Verdict::Proven(_) if self.cut == Some(Cut::Asked) && self.messages == 0 => {
                Verdict::NotChecked("it was ended before anything was measured".to_owned())
            }
            verdict => verdict,
        }
    }

    /// What latency is counted from, in words.
    #[must_use]
    pub fn latency_from(&self) -> &'static str {
        match (&self.plan.publish, self.plan.address.ip().is_loopback()) {
            (Some(_), _) => "from intended send",
            (None, true) => "since append",
            (None, false) => "since append (clocks of both machines)",
        }
    }
}

/// So many in that time, as a rate.
#[must_use]
pub fn per_second(count: u64, time: Duration) -> f64 {
    match time.is_zero() {
        true => 0.0,
        false => count as f64 / time.as_secs_f64(),
    }
}
