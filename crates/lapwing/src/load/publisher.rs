//! The publisher of a load test: on a schedule that waits for no answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lapwing_wire::position::Offset;
use tokio::runtime::Runtime;

use super::course::{Course, Stage};
use super::plan::Publish;
use super::stamp::Stamps;
use crate::client::batch::Body;
use crate::client::dial::{DialError, Purpose, Verdict, io_reason};
use crate::client::post::{Ack, Letterbox, Post};
use crate::clock::Now;
use crate::failure::Failure;

/// What became of the messages of a run.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Sent to the server.
    pub sent: u64,
    /// Acknowledged by it.
    pub acked: u64,
    /// Not taken, by what was said.
    pub refused: BTreeMap<String, u64>,
    /// Sent later than they should have been because the tester itself was late.
    pub late: u64,
    /// The latest of these.
    pub latest: Duration,
    /// Sent later because so many posts waited for the server's answers that no more could be opened.
    pub held: u64,
    /// The end of the topic behind the last that was acknowledged.
    pub next: Offset,
}

/// Publishes from `start` on the monotonic clock until the end of what is measured, or until the run drains, or nobody listens any more.
///
/// The moment at which a message is meant to leave stands in it, whenever it then leaves: a server that does not answer for two seconds
/// is waited for by nobody, and its messages are two seconds old when they come. At most `POSTS_MAX` posts are under way; what is due beyond
/// that goes together as soon as one is answered.
pub fn publish(
    plan: &Publish,
    stamps: &Stamps,
    to: Letterbox,
    course: &Course,
    start: u64,
) -> Result<Published, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("posts")
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(
                format!("cannot publish: {}", io_reason(&error)),
                "is the system out of resources?",
            )
        })?;
    let (answered, answers) = channel();
    let mut publisher = Publisher {
        to: Arc::new(to),
        runtime,
        free: Vec::new(),
        open: 0,
        answered,
        answers,
        body: Body::default(),
        published: Published::default(),
    };
    let mut schedule = Schedule {
        plan,
        stamps,
        start,
        group: 0,
        sent: 0,
    };
    // Until then what was due was held back by the server's silence.
    let mut held_until = 0;
    loop {
        let (_, until) = course.window();
        let (now, due) = (Now::read().mono, schedule.due());
        if course.stage() != Stage::Running || course.open() == 0 || (until > 0 && due >= until) {
            return publisher.finish(course);
        }
        if due > now {
            publisher.wait(Duration::from_nanos(due - now).min(ROUND))?;
            continue;
        }
        if publisher.is_full() {
            held_until = now;
            publisher.wait(ROUND)?;
            continue;
        }
        let count = schedule.fill(&mut publisher.body, now);
        match due < held_until {
            true => publisher.published.held += count,
            false => publisher.note_delay(Duration::from_nanos(now - due), count),
        }
        publisher.post();
    }
}

/// Which message is to leave next, and when.
struct Schedule<'a> {
    plan: &'a Publish,
    stamps: &'a Stamps,
    start: u64,
    group: u64,
    /// How many of the group are on their way already.
    sent: u64,
}

impl Schedule<'_> {
    /// When the next message is meant to leave.
    fn due(&self) -> u64 {
        self.start + nanos(self.plan.intended(self.group))
    }

    /// Moves what is due into a body, as far as it has room; gives how many messages.
    fn fill(&mut self, body: &mut Body, now: u64) -> u64 {
        let before = body.count;
        while self.due() <= now {
            let payload = self.stamps.write(self.due());
            while self.sent < self.plan.group() {
                if !body.has_room_for(&payload) {
                    return body.count - before;
                }
                body.push(&payload);
                self.sent += 1;
            }
            (self.group, self.sent) = (self.group + 1, 0);
        }
        body.count - before
    }
}

struct Publisher {
    to: Arc<Letterbox>,
    runtime: Runtime,
    free: Vec<Post>,
    open: usize,
    answered: Sender<Answered>,
    answers: Receiver<Answered>,
    body: Body,
    published: Published,
}

struct Answered {
    post: Post,
    count: u64,
    answer: Result<Ack, DialError>,
}

impl Publisher {
    /// Whether as many posts as are sensible wait for their answers.
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.open >= POSTS_MAX
    }

    /// Waits for an answer, at most so long; takes all that came.
    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let mut answer = self.answers.recv_timeout(time).ok();
        while let Some(answered) = answer {
            self.take(answered)?;
            answer = self.answers.try_recv().ok();
        }
        Ok(())
    }

    fn take(&mut self, answered: Answered) -> Result<(), Failure> {
        let Answered { post, count, answer } = answered;
        self.free.push(post);
        match answer {
            Ok(ack) => {
                self.published.acked += count;
                self.published.next = self.published.next.max(ack.last.next());
            }
            // A topic that takes no messages at all: nothing could be measured.
            Err(error) if self.published.acked == 0 && error.verdict() == Verdict::Stop => {
                return Err(error.failure(&self.to.target, Purpose::Publish));
            }
            Err(error) => *self.published.refused.entry(error.to_string()).or_default() += count,
        }
        Ok(())
    }

    fn note_delay(&mut self, delay: Duration, messages: u64) {
        if delay > LATE {
            self.published.late += messages;
            self.published.latest = self.published.latest.max(delay);
        }
    }

    fn post(&mut self) {
        let batch = std::mem::take(&mut self.body).numbered(self.published.sent);
        let mut post = self.free.pop().unwrap_or_else(|| {
            self.open += 1;
            Post::default()
        });
        self.published.sent += batch.count;
        let (to, answered) = (self.to.clone(), self.answered.clone());
        self.runtime.spawn(async move {
            let answer = post.send(&to, &batch, None).await;
            let count = batch.count;
            // Without a publisher nobody counts any more.
            let _ = answered.send(Answered { post, count, answer });
        });
    }

    /// Waits for the answers that are still to come, but not for long.
    fn finish(mut self, course: &Course) -> Result<Published, Failure> {
        let began = Now::read().mono;
        let waits = |began| Now::read().mono - began < nanos(ANSWERS_WAIT) && course.stage() != Stage::Leaving;
        while self.free.len() < self.open && waits(began) {
            self.wait(ROUND)?;
        }
        self.runtime.shutdown_background();
        Ok(self.published)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Posts under way: more would be a load of their own on the server.
const POSTS_MAX: usize = 64;

/// What is sent later than this was sent late: a thread of a busy system wakes within a millisecond or two.
const LATE: Duration = Duration::from_millis(5);

const ROUND: Duration = Duration::from_millis(20);

/// For the answers behind the end.
const ANSWERS_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_leaves_with_its_own_moment_and_a_full_batch_goes_on_with_the_rest() {
        let topic = lapwing_wire::topic::TopicName::parse("t").expect("valid");
        let plan = Publish {
            topic,
            rate: 600_000.0,
            bytes: 100,
        };
        let stamps = Stamps::new(1, 100);
        let mut schedule = Schedule {
            plan: &plan,
            stamps: &stamps,
            start: 5,
            group: 0,
            sent: 0,
        };
        let mut body = Body::default();
        assert_eq!(schedule.fill(&mut body, 4), 0);
        // Two groups of 600 are due, and a body takes 1,000.
        let now = 5 + 1_500_000;
        assert_eq!(schedule.fill(&mut body, now), 1000);
        assert_eq!(schedule.due(), 1_000_005);
        let last = body
            .bytes
            .split(|byte| *byte == b'\n')
            .nth(999)
            .expect("a thousand lines");
        assert_eq!(stamps.read(last), Some(1_000_005));
        assert_eq!(schedule.fill(&mut Body::default(), now), 200);
        assert_eq!(schedule.due(), 2_000_005);
    }
}
