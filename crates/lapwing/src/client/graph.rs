//! The picture of a run: block times over time, and how many messages a second came, as one SVG.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use lapwing_wire::block::BlockTiming;
use lapwing_wire::time::micros_text;
use lapwing_wire::topic::TopicName;

use super::event::Event;
use super::timeline::{Stretch, Timeline};
use crate::clock::Now;
use crate::plot::axis::Axis;
use crate::plot::chart::{self, Chart, Line};
use crate::plot::colours;
use crate::plot::markup::text;
use crate::terminal::form;

/// Takes what happens, and draws it at the end.
///
/// Its memory is bounded: blocks that end close together become one point with a band around it (`timeline.rs`), and of very many
/// outages and gaps those that lie next to each other are one.
pub struct Graph {
    url: String,
    block_size: NonZeroU64,
    began: Now,
    name: Option<String>,
    topics: Vec<(TopicName, Timeline<Passage>)>,
    messages: u64,
    bytes: u64,
    reconnects: u64,
    /// Not connected since this moment.
    away: Option<Duration>,
    outages: Vec<(Duration, Duration)>,
    losses: Vec<Loss>,
}

/// What came of one topic in one stretch of time.
#[derive(Clone, Copy, Debug, Default)]
struct Passage {
    messages: u64,
    /// Blocks that were timed, and sums of when they ended and how long they took, in seconds.
    blocks: u64,
    ends: f64,
    times: f64,
    shortest: f64,
    longest: f64,
    /// A block before these was not timed: nothing leads here from the blocks before.
    is_parted: bool,
    /// A block behind these was not timed.
    is_cut: bool,
}

/// What is known to be missing.
#[derive(Clone, Copy, Debug)]
struct Loss {
    at: Duration,
    missing: u64,
    histories: u64,
}

impl Graph {
    /// Begins at `now`; `url` and `block_size` are what was asked for.
    #[must_use]
    pub fn new(url: String, block_size: NonZeroU64, now: Now) -> Self {
        Self {
            url,
            block_size,
            began: now,
            name: None,
            topics: Vec::new(),
            messages: 0,
            bytes: 0,
            reconnects: 0,
            away: Some(Duration::ZERO),
            outages: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Takes an event.
    pub fn on_event(&mut self, event: &Event<'_>, now: Now) {
        let at = self.since_start(now);
        match event {
            Event::Connected(connected) => {
                self.name = connected.name.map(str::to_owned);
                self.on_connected(at);
            }
            Event::Back(_) => {
                self.reconnects += 1;
                self.on_connected(at);
            }
            Event::Lost { .. } => self.away = Some(at),
            Event::Message(arrival) => {
                self.messages += 1;
                self.bytes += arrival.bytes;
                self.topic(arrival.topic).at(at).messages += 1;
            }
            Event::Block { topic, timing } => self.topic(topic).at(at).on_block(timing, at),
            Event::Gap { from, to, .. } => self.on_loss(at, to.since(*from), 0),
            Event::Reset { .. } | Event::Diverged { .. } => self.on_loss(at, 0, 1),
            _ => {}
        }
    }

    fn since_start(&self, now: Now) -> Duration {
        Duration::from_nanos(now.mono.saturating_sub(self.began.mono))
    }

    fn topic(&mut self, topic: &TopicName) -> &mut Timeline<Passage> {
        let at = self.topics.iter().position(|(known, _)| known == topic);
        let at = at.unwrap_or_else(|| {
            self.topics.push((topic.clone(), Timeline::default()));
            self.topics.len() - 1
        });
        &mut self.topics[at].1
    }

    fn on_connected(&mut self, at: Duration) {
        let Some(since) = self.away.take() else { return };
        self.outages.push((since, at));
        if self.outages.len() > MARKS_MAX {
            let nearest = nearest(&self.outages, |(_, end), (begin, _)| begin.saturating_sub(*end));
            let (_, end) = self.outages.remove(nearest + 1);
            self.outages[nearest].1 = end;
        }
    }

    fn on_loss(&mut self, at: Duration, missing: u64, histories: u64) {
        self.losses.push(Loss { at, missing, histories });
        if self.losses.len() > MARKS_MAX {
            let nearest = nearest(&self.losses, |one, next| next.at.saturating_sub(one.at));
            let loss = self.losses.remove(nearest + 1);
            let kept = &mut self.losses[nearest];
            kept.missing = kept.missing.saturating_add(loss.missing);
            kept.histories += loss.histories;
        }
    }

    /// The whole file, as the run stands at `now`.
    #[must_use]
    pub fn svg(&self, now: Now) -> String {
        let end = self.since_start(now);
        let drawn = self.drawn();
        let blocks = self.block_chart(&drawn, end);
        let rates = self.rate_chart(&drawn, end);
        let notes = self.notes(&drawn, blocks.is_some(), end);
        let height = HEAD_HEIGHT + 2.0 * chart::HEIGHT + 24.0 + NOTE_HEIGHT * notes.len() as f64;
        let title = match &self.name {
            Some(name) => format!("{name}: block times of {}", self.url),
            None => format!("Block times of {}", self.url),
        };
        let facts = self.facts(end);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{MARK}\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\"><title>{}</title><desc>{}</desc><style>{}</style>\
             <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>",
            text(&title),
            text(&facts),
            colours::written_out(&format!("{STYLE}{}", chart::STYLE)),
            width = chart::WIDTH,
        );
        let line = |out: &mut String, class: &str, y: f64, words: &str| {
            let _ = write!(out, "<text class=\"{class}\" x=\"4\" y=\"{y}\">{}</text>", text(words));
        };
        line(&mut out, "title", 22.0, &form::cut(&title, TITLE_WIDTH));
        line(&mut out, "facts", 42.0, &form::cut(&facts, NOTE_WIDTH));
        match &blocks {
            Some(chart) => out.push_str(&chart.svg_at(HEAD_HEIGHT)),
            None => {
                let words = format!(
                    "no block of {} was timed",
                    form::counted(self.block_size.get(), "message")
                );
                line(&mut out, "facts", HEAD_HEIGHT + chart::HEIGHT / 2.0, &words);
            }
        }
        out.push_str(&rates.svg_at(HEAD_HEIGHT + chart::HEIGHT + 8.0));
        for (at, note) in notes.iter().enumerate() {
            let y = HEAD_HEIGHT + 2.0 * chart::HEIGHT + 28.0 + NOTE_HEIGHT * at as f64;
            line(&mut out, "facts", y, note);
        }
        out.push_str("</svg>\n");
        out
    }

    /// When it was, how long, and how much came.
    fn facts(&self, end: Duration) -> String {
        let began = micros_text(self.began.wall);
        let mut facts = format!(
            "{}Z, {}: {}, {}, blocks of {}, {}",
            began.get(..19).unwrap_or_default(),
            form::short_span(end),
            form::counted(self.messages, "message"),
            form::bytes(self.bytes),
            form::count(self.block_size.get()),
            form::counted(self.reconnects, "reconnect"),
        );
        let missing = self
            .losses
            .iter()
            .fold(0_u64, |sum, loss| sum.saturating_add(loss.missing));
        if missing > 0 {
            let _ = write!(facts, ", {} missing", form::count(missing));
        }
        facts
    }

    /// The topics that are drawn: those with the most blocks, in the order in which they came.
    fn drawn(&self) -> Vec<&(TopicName, Timeline<Passage>)> {
        let weight = |at: &usize| {
            let stretches = self.topics[*at].1.stretches().iter();
            stretches.fold((0, 0), |(blocks, messages), passage| {
                (blocks + passage.blocks, messages + passage.messages)
            })
        };
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(weight(at)));
        order.truncate(LINES_MAX);
        order.sort_unstable();
        order.into_iter().map(|at| &self.topics[at]).collect()
    }

    fn block_chart(&self, drawn: &[&(TopicName, Timeline<Passage>)], end: Duration) -> Option<Chart> {
        let unit = Unit::of(end);
        let lines: Vec<Line> = drawn
            .iter()
            .map(|(topic, line)| block_line(topic, line, unit))
            .collect();
        let values = || lines.iter().flat_map(|line| line.band.iter().flatten());
        let least = values().map(|(_, low, _)| *low).fold(f64::INFINITY, f64::min);
        let most = values().map(|(_, _, high)| *high).fold(0.0, f64::max);
        values().next()?;
        let y = match most > LINEAR_UP_TO * least && least > 0.0 {
            true => Axis::times("block time", least, most),
            false => Axis::linear_times("block time", most),
        };
        Some(self.over_time("How long each block took to come", y, lines, end))
    }

    fn rate_chart(&self, drawn: &[&(TopicName, Timeline<Passage>)], end: Duration) -> Chart {
        let unit = Unit::of(end);
        let step = rate_step(drawn, end);
        let line = |(topic, timeline): &&(TopicName, Timeline<Passage>)| Line {
            name: short_name(topic),
            points: self.rates(timeline, step, end, unit),
            ..Line::default()
        };
        let lines: Vec<Line> = drawn.iter().map(line).collect();
        let points = lines.iter().flat_map(|line| line.points.iter().flatten());
        let most = points.map(|(_, rate)| *rate).fold(0.0, f64::max);
        let label = format!("messages a second, over {} each", form::short_span(step));
        let y = Axis::linear(&label, if most > 0.0 { most } else { 1.0 }, |value| {
            match value < 10.0 {
                true => format!("{}", (value * 100.0).round() / 100.0),
                false => form::count(value as u64),
            }
        });
        self.over_time("How many messages a second came", y, lines, end)
    }

    /// How many messages a second came in each step; none where the connection was lost for most of it.
    fn rates(
        &self,
        timeline: &Timeline<Passage>,
        step: Duration,
        end: Duration,
        unit: Unit,
    ) -> Vec<Option<(f64, f64)>> {
        let each = (step.as_nanos() / timeline.length().as_nanos()).max(1) as usize;
        let steps = end.as_nanos().div_ceil(step.as_nanos()).max(1) as usize;
        let mut messages = vec![0_u64; steps];
        for (at, passage) in timeline.stretches().iter().enumerate() {
            // What came in the very moment of the end belongs to the last step.
            messages[(at / each).min(steps - 1)] += passage.messages;
        }
        let rate = |(at, messages): (usize, &u64)| {
            let begin = step * at as u32;
            let length = end.saturating_sub(begin).min(step);
            if at > 0 && length < step / 2 {
                return None;
            }
            let here = length.saturating_sub(self.away_within(begin, begin + length, end));
            let counts = here > length / 2 || length.is_zero();
            let middle = (begin + length / 2).as_secs_f64() / unit.seconds();
            counts.then(|| (middle, *messages as f64 / here.as_secs_f64().max(0.001)))
        };
        messages.iter().enumerate().map(rate).collect()
    }

    fn away_within(&self, begin: Duration, end: Duration, now: Duration) -> Duration {
        let still = self.away.map(|since| (since, now));
        let overlap = |(from, to): (Duration, Duration)| to.min(end).saturating_sub(from.max(begin));
        self.outages.iter().copied().chain(still).map(overlap).sum()
    }

    fn over_time(&self, says: &str, y: Axis, lines: Vec<Line>, end: Duration) -> Chart {
        let unit = Unit::of(end);
        let place = |moment: Duration| moment.as_secs_f64() / unit.seconds();
        let still = self.away.map(|since| (since, end));
        let outages = self.outages.iter().copied().chain(still);
        Chart {
            says: says.to_owned(),
            x: Axis::linear(unit.label(), place(end).max(0.001), |value| {
                format!("{}", (value * 1000.0).round() / 1000.0)
            }),
            y,
            lines,
            shades: outages.map(|(from, to)| (place(from), place(to))).collect(),
            events: self.losses.iter().map(|loss| (place(loss.at), loss.told())).collect(),
        }
    }

    fn notes(&self, drawn: &[&(TopicName, Timeline<Passage>)], has_blocks: bool, end: Duration) -> Vec<String> {
        let mut notes = Vec::new();
        let merged = drawn.iter().map(|(_, line)| line.length()).max().unwrap_or_default();
        if has_blocks {
            notes.push(format!(
                "A point is a block, at the moment of its end; blocks that ended within the same {} are one point, their mean, with a band from \
                 the shortest to the longest. No line leads over blocks that were not timed: the first, caught up, interrupted or with a gap.",
                form::short_span(merged)
            ));
        }
        let is_seen = |(from, to): &(Duration, Duration)| to.saturating_sub(*from) > end / SEEN_PARTS;
        if self.outages.iter().any(is_seen) || self.away.is_some() {
            notes.push("Shaded: not connected.".to_owned());
        }
        if !self.losses.is_empty() {
            notes.push("A triangle marks messages that are missing, or a new history.".to_owned());
        }
        let left_out = self.topics.len() - drawn.len();
        if left_out > 0 {
            notes.push(format!(
                "{} with fewer blocks not drawn.",
                form::counted(left_out as u64, "topic")
            ));
        }
        let lines = notes.iter().flat_map(|note| form::wrapped(note, NOTE_WIDTH));
        lines.map(str::to_owned).collect()
    }
}

impl Passage {
    fn on_block(&mut self, timing: &BlockTiming, at: Duration) {
        let Some(elapsed) = timing.timed() else {
            self.on_untimed(true);
            return;
        };
        let elapsed = elapsed.as_secs_f64();
        self.join(Self {
            blocks: 1,
            ends: at.as_secs_f64(),
            times: elapsed,
            shortest: elapsed,
            longest: elapsed,
            ..Self::default()
        });
    }

    fn on_untimed(&mut self, is_there: bool) {
        match self.blocks {
            0 => self.is_parted |= is_there,
            _ => self.is_cut |= is_there,
        }
    }

    /// When its blocks ended and how long they took, on average.
    fn mean(&self) -> (f64, f64) {
        (self.ends / self.blocks as f64, self.times / self.blocks as f64)
    }
}

impl Stretch for Passage {
    fn join(&mut self, later: Self) {
        self.messages += later.messages;
        if later.blocks == 0 {
            self.on_untimed(later.is_parted);
        } else if self.blocks == 0 {
            *self = Self {
                messages: self.messages,
                is_parted: self.is_parted || later.is_parted,
                ..later
            };
        } else {
            // One point has no hole within: it stands in front of the point.
            self.is_parted |= self.is_cut || later.is_parted;
            self.is_cut = later.is_cut;
            self.blocks += later.blocks;
            self.ends += later.ends;
            self.times += later.times;
            self.shortest = self.shortest.min(later.shortest);
            self.longest = self.longest.max(later.longest);
        }
    }
}

impl Loss {
    fn told(&self) -> String {
        match (self.missing, self.histories) {
            (missing, 0) => format!("{} missing", form::counted(missing, "message")),
            (0, 1) => "a new history".to_owned(),
            (0, histories) => format!("{} new histories", form::count(histories)),
            (missing, _) => format!("{} missing, and new histories", form::counted(missing, "message")),
        }
    }
}

fn block_line(topic: &TopicName, timeline: &Timeline<Passage>, unit: Unit) -> Line {
    let mut line = Line {
        name: short_name(topic),
        ..Line::default()
    };
    for passage in timeline.stretches() {
        if passage.is_parted {
            line.points.push(None);
            line.band.push(None);
        }
        if passage.blocks == 0 {
            continue;
        }
        let (at, elapsed) = passage.mean();
        let x = at / unit.seconds();
        line.points.push(Some((x, elapsed * 1e3)));
        line.band.push(Some((x, passage.shortest * 1e3, passage.longest * 1e3)));
        if passage.is_cut {
            line.points.push(None);
            line.band.push(None);
        }
    }
    line
}

/// Over how long rates are counted: at least a second, and some hundred steps at most. Whole stretches of every topic make a step, so
/// that none has a part of one.
fn rate_step(drawn: &[&(TopicName, Timeline<Passage>)], end: Duration) -> Duration {
    let longest = drawn.iter().map(|(_, line)| line.length()).max();
    let longest = longest.unwrap_or(RATE_STEP_MIN);
    let wanted = RATE_STEP_MIN.max(end / RATE_STEPS);
    longest * u32::try_from(wanted.as_nanos().div_ceil(longest.as_nanos())).unwrap_or(u32::MAX)
}

/// Of two neighbours that are nearest to each other, the place of the first.
fn nearest<T>(items: &[T], distance: impl Fn(&T, &T) -> Duration) -> usize {
    let pairs = items.windows(2).map(|pair| distance(&pair[0], &pair[1]));
    pairs
        .enumerate()
        .min_by_key(|(_, distance)| *distance)
        .map_or(0, |(at, _)| at)
}

/// A name as it fits beside its line.
fn short_name(topic: &TopicName) -> String {
    match topic.as_str() {
        "-" => "messages".to_owned(),
        name => form::cut(name, NAME_WIDTH).into_owned(),
    }
}

/// In what time is counted on the axis.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Minutes,
    Hours,
}

impl Unit {
    fn of(end: Duration) -> Self {
        match end.as_secs() {
            ..600 => Self::Seconds,
            600..36_000 => Self::Minutes,
            _ => Self::Hours,
        }
    }

    fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Minutes => 60.0,
            Self::Hours => 3600.0,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Seconds => "seconds since the start",
            Self::Minutes => "minutes since the start",
            Self::Hours => "hours since the start",
        }
    }
}

/// How a file of ours begins, behind the line that says it is XML.
pub const MARK: &str = "<!-- Lapwing: block times of a listener -->";

/// As many lines as can be told apart in grey.
const LINES_MAX: usize = 5;

/// As many outages, and as many gaps, as can be told apart on a picture.
const MARKS_MAX: usize = 200;

/// Times further apart than this have a logarithmic axis.
const LINEAR_UP_TO: f64 = 20.0;

const RATE_STEP_MIN: Duration = Duration::from_secs(1);
const RATE_STEPS: u32 = 240;

/// What is shorter than this part of a run is too thin to be seen.
const SEEN_PARTS: u32 = 500;

const HEAD_HEIGHT: f64 = 60.0;
const NOTE_HEIGHT: f64 = 17.0;

/// In characters; what is longer would leave the picture.
const TITLE_WIDTH: usize = 84;
const NOTE_WIDTH: usize = 116;
const NAME_WIDTH: usize = 15;

const STYLE: &str = "\
svg{font-family:system-ui,sans-serif}.page{fill:var(--page)}svg .title{font-size:16px;font-weight:600;fill:var(--text)}svg .facts{fill:var(--muted)}";

#[cfg(test)]
mod tests {
    use lapwing_wire::block::Flags;
    use lapwing_wire::position::Offset;

    use super::*;
    use crate::client::event::{Back, Connected, MissedMeanwhile, Mode};
    use crate::recording::arrival::{Arrival, Value};

    fn at(ms: u64) -> Now {
        Now {
            mono: ms * 1_000_000,
            ..Now::default()
        }
    }

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    fn graph() -> Graph {
        let url = "ws://127.0.0.1:8765/?a=<b>&c=\"d\"".to_owned();
        let mut graph = Graph::new(url, NonZeroU64::new(5).expect("not zero"), at(0));
        let connected = Connected {
            mode: Mode::Lapwing,
            server: None,
            name: Some("<script>\u{1b}"),
            grants: &[],
        };
        graph.on_event(&Event::Connected(connected), at(0));
        graph
    }

    fn block(graph: &mut Graph, name: &str, ends: u64, elapsed: u64, flags: Flags) {
        let timing = BlockTiming {
            block: 0,
            size: NonZeroU64::new(5).expect("not zero"),
            first: Offset::ZERO,
            last: Offset::new(4),
            messages: 5,
            bytes: 10,
            elapsed: Some(Duration::from_millis(elapsed)),
            spread: Duration::ZERO,
            flags,
        };
        let topic = topic(name);
        let event = Event::Block {
            topic: &topic,
            timing: &timing,
        };
        graph.on_event(&event, at(ends));
    }

    fn message(graph: &mut Graph, name: &str, ms: u64) {
        let topic = topic(name);
        let arrival = Arrival {
            topic: &topic,
            offset: None,
            epoch: None,
            time: None,
            received: at(ms),
            value: Value::Json("1"),
            bytes: 10,
        };
        graph.on_event(&Event::Message(&arrival), at(ms));
    }

    fn back() -> Event<'static> {
        Event::Back(Back {
            mode: Mode::Lapwing,
            server: None,
            down: Duration::from_secs(1),
            attempt: 1,
            why: "",
            grants: &[],
            missed: MissedMeanwhile::Nothing,
        })
    }

    /// What the lines of the first chart are drawn through.
    fn paths(svg: &str) -> Vec<&str> {
        let first = svg.split("<svg").nth(2).expect("the first chart");
        let paths = first.split("<path class=\"line ").skip(1);
        paths
            .map(|rest| {
                rest.split("d=\"M")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .expect("a path")
            })
            .collect()
    }

    #[test]
    fn points_lie_where_blocks_ended_and_as_high_as_they_took() {
        let mut graph = graph();
        for (ends, elapsed) in [(10_000, 2000), (20_000, 4000), (40_000, 1000)] {
            block(&mut graph, "users", ends, elapsed, Flags::NONE);
        }
        // From 76 to 640 are 50 s, from 270 up to 24 are 4 s.
        let svg = graph.svg(at(50_000));
        assert_eq!(paths(&svg), ["188.8 147.0L301.6 24.0L527.2 208.5"], "{svg}");
    }

    #[test]
    fn no_line_leads_over_a_block_that_was_not_timed() {
        let mut graph = graph();
        for (ends, flags) in [
            (1000, Flags::FIRST),
            (2000, Flags::NONE),
            (3000, Flags::NONE),
            (4000, Flags::INTERRUPTED),
            (5000, Flags::AFTER),
            (6000, Flags::NONE),
            (7000, Flags::NONE),
            (7001, Flags::GAP),
            (7002, Flags::NONE),
        ] {
            block(&mut graph, "users", ends, 1000, flags);
        }
        let svg = graph.svg(at(10_000));
        let points: Vec<usize> = paths(&svg).iter().map(|path| path.matches('L').count() + 1).collect();
        assert_eq!(points, [2, 1, 1], "{svg}");
    }

    #[test]
    fn blocks_that_end_together_are_one_point_with_a_band() {
        let mut graph = graph();
        for (ends, elapsed) in [(1000, 100), (1010, 300), (1020, 200), (5000, 400)] {
            block(&mut graph, "users", ends, elapsed, Flags::NONE);
        }
        let passage = *graph.topic(&topic("users")).at(Duration::from_millis(1000));
        assert_eq!((passage.blocks, passage.shortest, passage.longest), (3, 0.1, 0.3));
        let (at_, mean) = passage.mean();
        assert!((at_ - 1.01).abs() < 1e-9 && (mean - 0.2).abs() < 1e-9, "{passage:?}");
        let svg = graph.svg(at(6000));
        assert_eq!(svg.matches("class=\"band").count(), 1, "{svg}");
    }

    #[test]
    fn rates_are_counted_while_connected_and_missing_time_is_left_out() {
        let mut graph = graph();
        for ms in (0..10_000).step_by(100) {
            message(&mut graph, "users", ms);
        }
        graph.on_event(&Event::Lost { why: "reset" }, at(10_000));
        graph.on_event(&back(), at(14_000));
        for ms in (14_000..16_000).step_by(50) {
            message(&mut graph, "users", ms);
        }
        let timeline = &graph.topics[0].1;
        let end = Duration::from_secs(16);
        let rates = graph.rates(timeline, Duration::from_secs(1), end, Unit::Seconds);
        let rates: Vec<Option<f64>> = rates.iter().map(|point| point.map(|(_, rate)| rate)).collect();
        let expect = [vec![Some(10.0); 10], vec![None; 4], vec![Some(20.0); 2]].concat();
        assert_eq!(rates, expect);
        assert!(graph.svg(at(16_000)).contains("Shaded: not connected"));
    }

    #[test]
    fn a_run_of_a_day_has_a_picture_of_the_same_size() {
        let mut graph = graph();
        for second in 0..86_400 {
            message(&mut graph, "users", second * 1000);
            block(&mut graph, "users", second * 1000, 1000 + second % 7, Flags::NONE);
            if second % 60 == 0 {
                graph.on_event(&Event::Lost { why: "reset" }, at(second * 1000 + 500));
                graph.on_event(&back(), at(second * 1000 + 700));
                let users = topic("users");
                let gap = Event::Gap {
                    topic: &users,
                    from: Offset::new(1),
                    to: Offset::new(3),
                    reason: crate::recording::note::Missed::Retention,
                    away: None,
                };
                graph.on_event(&gap, at(second * 1000 + 700));
            }
        }
        let svg = graph.svg(at(86_400_000));
        assert!(svg.len() < 150_000, "{} bytes", svg.len());
        assert!(svg.contains("2,880 missing"), "nothing is lost of the sums");
        assert!(svg.contains("hours since the start"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_of_the_server_becomes_markup_and_much_stays_readable() {
        let mut graph = graph();
        for at in 0..7 {
            let name = format!("{}{at}", "long_".repeat(10));
            block(&mut graph, &name, 1000 + at, 100, Flags::NONE);
        }
        let svg = graph.svg(at(2000));
        assert!(
            svg.contains("&lt;script&gt;\\u{1b}: block times of ws://127.0.0.1:8765/?a=&lt;b&gt;"),
            "{svg}"
        );
        assert!(!svg.contains("<script"), "{svg}");
        assert!(svg.contains(">long_long_long…<"), "{svg}");
        assert!(svg.contains("2 topics with fewer blocks not drawn"), "{svg}");
    }

    #[test]
    fn a_run_without_anything_says_so() {
        let graph = Graph::new("ws://h".to_owned(), NonZeroU64::MIN, at(0));
        let svg = graph.svg(at(0));
        assert!(svg.contains("no block of 1 message was timed"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
