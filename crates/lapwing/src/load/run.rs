//! One run from its first connect to its last goodbye.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::course::{Course, Stage};
use super::crowd::{Gathering, WATCHED_PER_SECOND};
use super::ear::{Ear, SECOND_NANOS};
use super::outcome::{Cut, Outcome, Second};
use super::plan::Plan;
use super::publisher::{self, Published};
use super::slice::{Slice, Strain};
use super::stamp::Stamps;
use super::times::Times;
use super::worker::Worker;
use crate::client::dial::{Purpose, io_reason};
use crate::client::post::Letterbox;
use crate::clock::Now;
use crate::failure::Failure;

/// Who is told how a run goes.
pub trait Watcher {
    /// Clients come: so many are connected or never will be.
    fn on_connecting(&mut self, settled: usize, of: usize);
    /// So long has been measured.
    fn on_measuring(&mut self, so_far: &SoFar);
    /// The time is over; what is on its way may arrive.
    fn on_draining(&mut self);
}

/// How a run goes so far.
pub struct SoFar {
    /// How long has been measured, nothing before the end of the warm-up.
    pub measured: Duration,
    /// How long will be.
    pub of: Duration,
    /// The latest whole second.
    pub second: Option<Second>,
    /// Latency of all that came.
    pub latency: Option<(Duration, Duration)>,
    /// Messages passed over.
    pub missed: u64,
    /// Messages that came twice or late.
    pub astray: u64,
    /// The part of a core that the busiest thread used in its latest second.
    pub share: f64,
}

/// Does what the plan says. `stop` ends it early, with what it has until then.
pub fn run(plan: &Arc<Plan>, stop: &CancellationToken, watcher: &mut dyn Watcher) -> Result<Outcome, Failure> {
    let origin = Now::read();
    let course = Arc::new(Course::default());
    let stamps = plan
        .publish
        .as_ref()
        .map(|publish| Stamps::new(run_number(), publish.bytes));
    let (send, slices) = channel();
    let mut workers = Vec::new();
    for thread in 0..plan.threads {
        let ear = Ear::new(
            plan.clone(),
            course.clone(),
            stamps.clone(),
            send.clone(),
            thread,
            origin,
        );
        workers.push(start(plan, &course, ear, thread, origin.mono).map_err(|error| no_thread(&error))?);
    }
    drop(send);
    let mut run = Run {
        plan,
        course: &course,
        stop,
        origin: origin.mono,
        slices,
        log: Log::new(plan.threads, origin.mono),
    };
    let connected = run.connect(watcher);
    let measured = match connected {
        0 => Ok(None),
        _ => run.measure(stamps, watcher),
    };
    course.enter(Stage::Leaving);
    let mut books = Books::default();
    for worker in workers {
        books.merge(worker.join().map_err(|_| no_thread(&io::ErrorKind::Other.into()))?);
    }
    // A topic that is not there: listeners are told it as well as the publisher, and it is wrong use either way.
    if let Some(complaint) = books.complaint.take() {
        return Err(Failure::usage(
            format!("the server says: {complaint}"),
            "look at --topics and --publish",
        ));
    }
    let measured = measured?;
    run.take_slices(Duration::ZERO);
    if connected == 0
        && !course.is_portless()
        && let Some(error) = &books.first_refusal
    {
        return Err(error.failure(&plan.target, Purpose::Listen));
    }
    Ok(run.outcome(origin, measured, books))
}

struct Run<'a> {
    plan: &'a Arc<Plan>,
    course: &'a Arc<Course>,
    stop: &'a CancellationToken,
    origin: u64,
    slices: Receiver<(usize, Slice)>,
    log: Log,
}

/// What came of the time that was measured.
struct Measured {
    from: u64,
    until: u64,
    cut: Option<Cut>,
    published: Option<Published>,
    undrained: bool,
}

impl Run<'_> {
    /// Waits until all clients are connected or never will be; gives how many are.
    fn connect(&mut self, watcher: &mut dyn Watcher) -> usize {
        while self.course.settled() < self.plan.clients && !self.stop.is_cancelled() {
            watcher.on_connecting(self.course.settled(), self.plan.clients);
            self.take_slices(ROUND);
        }
        self.course.open()
    }

    /// Warms up, measures, and lets arrive what is on its way.
    fn measure(&mut self, stamps: Option<Stamps>, watcher: &mut dyn Watcher) -> Result<Option<Measured>, Failure> {
        let begin = Now::read().mono;
        let warm = begin + nanos(self.plan.warm_up);
        // At a whole second of the run, so that the seconds of all threads lie within it or without.
        let from = self.origin + (warm - self.origin).div_ceil(SECOND_NANOS) * SECOND_NANOS;
        let until = from + nanos(self.plan.time);
        self.course.set_window(from, until);
        self.log.window = (from, until);
        let publishing = stamps.map(|stamps| self.publish(stamps, begin)).transpose()?;
        let cut = loop {
            let now = Now::read().mono;
            if now >= until || self.course.is_broken() {
                break None;
            }
            if let Some(cut) = self.cut() {
                break Some(cut);
            }
            self.take_slices(ROUND);
            watcher.on_measuring(
                &self
                    .log
                    .so_far(Duration::from_nanos(now.saturating_sub(from)), self.plan.time),
            );
        };
        let until = Now::read().mono.clamp(from.min(until), until);
        watcher.on_draining();
        let (published, undrained) = match publishing {
            None => (None, false),
            Some(publishing) => self.drain(publishing)?,
        };
        Ok(Some(Measured {
            from,
            until,
            cut,
            published,
            undrained,
        }))
    }

    /// What ends the run now, before its time.
    fn cut(&self) -> Option<Cut> {
        if self.stop.is_cancelled() {
            return Some(Cut::Asked);
        }
        (self.course.open() == 0).then_some(Cut::Deserted)
    }

    fn publish(&self, stamps: Stamps, start: u64) -> Result<JoinHandle<Result<Published, Failure>>, Failure> {
        let (plan, course) = (self.plan.clone(), self.course.clone());
        let work = move || {
            let Some(publish) = &plan.publish else {
                return Ok(Published::default());
            };
            let to = Letterbox {
                target: plan.target.clone(),
                tls: plan.tls.as_ref().map(|(config, _)| config.clone()),
                token: plan.token.clone(),
                topic: publish.topic.clone(),
                source: format!("bench-{:016x}", run_number()),
            };
            publisher::publish(publish, &stamps, to, &course, start).inspect_err(|_| course.on_broken())
        };
        let spawned = std::thread::Builder::new().name("publisher".to_owned()).spawn(work);
        spawned.map_err(|error| no_thread(&error))
    }

    /// Waits until every listener has what was acknowledged, but not for long; says whether some still lack it.
    fn drain(
        &mut self,
        publishing: JoinHandle<Result<Published, Failure>>,
    ) -> Result<(Option<Published>, bool), Failure> {
        let stopped = self.stop.is_cancelled();
        if stopped {
            // Who asks for the end waits neither for answers nor for messages.
            self.course.enter(Stage::Leaving);
        }
        while !publishing.is_finished() {
            self.take_slices(ROUND);
        }
        let published = publishing
            .join()
            .map_err(|_| no_thread(&io::ErrorKind::Other.into()))??;
        if stopped {
            return Ok((Some(published), false));
        }
        self.course.set_goal(published.next.get());
        self.course.enter(Stage::Draining);
        let began = Now::read().mono;
        while self.course.drained() < self.plan.threads && Now::read().mono - began < nanos(DRAIN_WAIT) {
            self.take_slices(ROUND);
        }
        let undrained = self.course.drained() < self.plan.threads;
        Ok((Some(published), undrained))
    }

    /// Takes what threads send for so long.
    fn take_slices(&mut self, time: Duration) {
        let until = Now::read().mono + nanos(time);
        loop {
            let left = Duration::from_nanos(until.saturating_sub(Now::read().mono));
            match self.slices.recv_timeout(left) {
                Ok((thread, slice)) => {
                    if u64::try_from(slice.heard.len()).unwrap_or(u64::MAX) > WATCHED_PER_SECOND {
                        self.course.widen_stride();
                    }
                    self.log.take(thread, slice, self.course.threads_open());
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(left),
            }
        }
    }

    fn outcome(self, origin: Now, measured: Option<Measured>, books: Books) -> Outcome {
        let (from, until) = measured
            .as_ref()
            .map_or((0, 0), |measured| (measured.from, measured.until));
        let cut = match &measured {
            Some(measured) => measured.cut,
            // It never came to measuring; who was refused was not connected before.
            None if books.connected > 0 || self.stop.is_cancelled() => self.cut(),
            None => None,
        };
        let mut timeline: Vec<Second> = self.log.seconds.into_values().map(|sum| sum.second).collect();
        // The piece between the last whole second and the end says nothing of a second.
        timeline.retain(|second| second.measured || second.length >= HALF_SECOND);
        let inside = |count: fn(&Second) -> u64| timeline.iter().filter(|second| second.measured).map(count).sum();
        Outcome {
            plan: self.plan.clone(),
            began: origin.wall,
            ramp: books.ramp(),
            measured: Duration::from_nanos(until.saturating_sub(from)),
            messages: inside(|second| second.messages),
            bytes: inside(|second| second.bytes),
            cut,
            books,
            topics: self.course.topics(),
            first_to_last: self.log.gathering.spread,
            timeline,
            undrained: measured.as_ref().is_some_and(|measured| measured.undrained),
            published: measured.and_then(|measured| measured.published),
            strain: self.log.strain,
            portless: self.course.is_portless(),
        }
    }
}

/// What the threads have sent of their seconds.
struct Log {
    origin: u64,
    window: (u64, u64),
    seconds: BTreeMap<u64, Sum>,
    latency: Times,
    missed: u64,
    astray: u64,
    strain: Vec<Strain>,
    /// Of each thread its latest second.
    shares: Vec<f64>,
    gathering: Gathering,
}

/// A second of all threads together.
struct Sum {
    second: Second,
    /// The latencies of those threads that have told theirs, until all have: a long run has many seconds.
    latency: Option<Times>,
    threads: usize,
}

impl Log {
    fn new(threads: usize, origin: u64) -> Self {
        Self {
            origin,
            window: (0, 0),
            seconds: BTreeMap::new(),
            latency: Times::default(),
            missed: 0,
            astray: 0,
            strain: vec![Strain::default(); threads],
            shares: vec![0.0; threads],
            gathering: Gathering::default(),
        }
    }

    fn take(&mut self, thread: usize, mut slice: Slice, threads: usize) {
        self.missed += slice.missed;
        self.astray += slice.astray;
        let (from, until) = self.window;
        for heard in slice.heard.drain(..) {
            self.gathering.take(heard, threads, from);
        }
        if from > 0 && slice.begin >= from && slice.end <= until {
            self.latency.add(&slice.latency);
            self.strain[thread].add(&slice.strain);
            self.shares[thread] = slice.strain.share();
        }
        let (origin, window) = (self.origin, self.window);
        let sum = self
            .seconds
            .entry(slice.begin)
            .or_insert_with(|| Sum::new(&slice, origin, window));
        sum.add(&slice, self.strain.len());
    }

    fn so_far(&self, measured: Duration, of: Duration) -> SoFar {
        let whole = self.seconds.values().rev().find(|sum| sum.threads == self.strain.len());
        SoFar {
            measured,
            of,
            second: whole.map(|sum| sum.second.clone()),
            latency: both(&self.latency),
            missed: self.missed,
            astray: self.astray,
            share: self.shares.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Sum {
    fn new(slice: &Slice, origin: u64, window: (u64, u64)) -> Self {
        Self {
            second: Second {
                at: Duration::from_nanos(slice.begin.saturating_sub(origin)),
                measured: slice.begin >= window.0 && slice.begin < window.1,
                ..Second::default()
            },
            latency: Some(Times::default()),
            threads: 0,
        }
    }

    fn add(&mut self, slice: &Slice, threads: usize) {
        let second = &mut self.second;
        second.length = second
            .length
            .max(Duration::from_nanos(slice.end.saturating_sub(slice.begin)));
        second.messages += slice.messages;
        second.bytes += slice.bytes;
        second.missed += slice.missed;
        second.astray += slice.astray;
        second.opened += slice.opened;
        second.ended += slice.ended;
        self.threads += 1;
        if let Some(latency) = &mut self.latency {
            latency.add(&slice.latency);
            second.latency = both(latency);
        }
        if self.threads == threads {
            self.latency = None;
        }
    }
}

fn both(times: &Times) -> Option<(Duration, Duration)> {
    times.quantile(0.5).zip(times.quantile(0.99))
}

fn start(
    plan: &Arc<Plan>,
    course: &Arc<Course>,
    ear: Ear,
    thread: usize,
    origin: u64,
) -> io::Result<JoinHandle<Books>> {
    let worker = Worker::new(plan.clone(), course.clone(), ear, thread, origin)?;
    std::thread::Builder::new()
        .name(format!("load-{thread}"))
        .spawn(move || worker.run())
}

fn no_thread(error: &io::Error) -> Failure {
    Failure::failed(
        format!("cannot start a thread: {}", io_reason(error)),
        "is the system out of resources?",
    )
}

/// Tells this run's messages from those of all others.
fn run_number() -> u64 {
    crate::random::word()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// How often people are told, and stops looked for.
const ROUND: Duration = Duration::from_millis(50);

/// Until all threads know what is measured; no warm-up may be shorter.
pub const WARM_UP_MIN: Duration = Duration::from_millis(200);

const HALF_SECOND: Duration = Duration::from_millis(500);

/// For what was acknowledged and has not come.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
