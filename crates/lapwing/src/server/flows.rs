//! How all topics are filled: looked at once a second, and told when a source begins to give too little, and when it gives enough
//! again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapwing_wire::position::Offset;

use super::event::Event;
use super::flow::{Change, Flow, Sample};
use super::topics::{Topic, TopicId, Topics};
use crate::clock::Now;
use crate::log::Log;
use crate::terminal::form;

/// The flow of each topic.
pub struct Flows(Vec<Watched>);

struct Watched {
    flow: Mutex<Flow>,
    /// Its source is over, whether or not the topic is.
    is_over: AtomicBool,
}

/// Whether a topic is filled as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has come yet.
    Waiting,
    /// What was asked comes, or nothing was.
    OnTime,
    /// Less comes than was asked.
    Slow,
    /// Nothing more will come.
    Ended,
    /// Nothing more can be taken.
    Failed,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::OnTime => "on time",
            Self::Slow => "slow",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

impl Flows {
    /// Of these topics, nothing seen yet.
    #[must_use]
    pub fn new(topics: &Topics) -> Self {
        let watched = |topic: &Topic| Watched {
            flow: Mutex::new(Flow::new(topic.config.source.pace)),
            is_over: AtomicBool::new(false),
        };
        Self(topics.iter().map(watched).collect())
    }

    /// Looks at all topics; gives what is to be told.
    pub fn look(&self, topics: &Topics, now: Now) -> Vec<Event> {
        let look = |topic: &Topic| {
            // A source may wait for its first listener, over what an earlier run of the server has kept.
            let shown = topic.log.memory().shown();
            let begun = shown.messages > 0;
            let state = self.state(topic);
            let excused = !begun || !matches!(state, State::OnTime | State::Slow) || topic.log.is_held();
            let sample = Sample {
                at: Duration::from_nanos(now.mono),
                messages: topic.log.next().get(),
                bytes: shown.bytes,
            };
            let mut flow = self.flow(topic.id);
            let change = flow.on_tick(sample, excused)?;
            Some(Event::Source {
                topic: topic.name().clone(),
                text: in_words(change, &flow),
            })
        };
        topics.iter().filter_map(look).collect()
    }

    /// The source of this topic is over.
    pub fn on_over(&self, topic: TopicId) {
        self.0[topic.0 as usize].is_over.store(true, Ordering::Relaxed);
    }

    /// What is known of a topic.
    pub fn flow(&self, topic: TopicId) -> MutexGuard<'_, Flow> {
        let watched = &self.0[topic.0 as usize];
        watched.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a topic is filled as it should be.
    #[must_use]
    pub fn state(&self, topic: &Topic) -> State {
        let log: &Log = &topic.log;
        match () {
            () if log.is_read_only() => State::Failed,
            () if log.has_ended() || self.0[topic.id.0 as usize].is_over.load(Ordering::Relaxed) => State::Ended,
            () if log.next() == Offset::ZERO => State::Waiting,
            () if self.flow(topic.id).is_slow() => State::Slow,
            () => State::OnTime,
        }
    }
}

fn in_words(change: Change, flow: &Flow) -> String {
    let asked = form::rate(flow.asked().unwrap_or_default());
    match change {
        Change::Slow { quiet: Some(quiet) } => {
            format!("source slow: nothing for {}, asked {asked}", form::short_span(quiet))
        }
        Change::Slow { quiet: None } => {
            let achieved = form::rate(flow.rates().map_or(0.0, |rates| rates.messages));
            format!("source slow: {achieved} of late, asked {asked}")
        }
        Change::Over(span) => format!("source no longer slow after {}", form::short_span(span)),
    }
}
