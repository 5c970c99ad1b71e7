//! How block times depend on the size of a block and on the number of clients.

use std::num::NonZeroU64;

use serde_json::{Value, json};

use super::books::{BlockBook, TopicBook};
use super::outcome::{Outcome, per_second};
use super::pace::Pace;
use super::times::millis;
use crate::terminal::form;

/// The runs of a sweep, one for each number of clients: each of them times blocks of every size.
#[derive(Default)]
pub struct Sweep {
    /// The runs so far.
    pub runs: Vec<Outcome>,
}

/// What one run found of one size.
pub struct Point<'a> {
    /// How many clients.
    pub clients: usize,
    /// How many messages make a block.
    pub size: NonZeroU64,
    /// The times.
    pub times: &'a BlockBook,
    /// Who set the pace.
    pub pace: Pace,
}

impl Sweep {
    /// The topic whose blocks are compared: the one that brought most, which the first run decides.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        let first = self.runs.first()?;
        let most = first
            .books
            .topics
            .iter()
            .zip(&first.topics)
            .max_by_key(|(book, _)| book.messages)?;
        Some(most.1)
    }

    /// Every point that is measured, by clients and then by size.
    pub fn points(&self) -> impl Iterator<Item = Point<'_>> {
        self.runs.iter().flat_map(|run| self.points_of(run))
    }

    /// The points of one run; a size of which no block counts has none.
    pub fn points_of<'a>(&self, run: &'a Outcome) -> impl Iterator<Item = Point<'a>> + use<'a> {
        let topic = self.topic().and_then(|topic| self.book(run, topic));
        topic.into_iter().flat_map(move |book| {
            book.blocks
                .iter()
                .zip(&run.plan.blocks)
                .filter(|(block, _)| block.elapsed.count() > 0)
                .map(move |(block, size)| Point {
                    clients: run.plan.clients,
                    size: *size,
                    times: block,
                    pace: run.pace(book, block),
                })
        })
    }

    /// What stands above the rows.
    #[must_use]
    pub fn heading(&self, sizes: &[NonZeroU64]) -> Vec<String> {
        let Some(first) = self.runs.first() else {
            return Vec::new();
        };
        let cells: String = sizes
            .iter()
            .map(|size| format!("{:>CELL$}", format!("block {size}")))
            .collect();
        vec![
            format!("{}; block times in ms: p50 (p99)", self.topic_text(first)),
            "limited by: = source  ! delivery  ? tester (behind clients: of the whole run)".to_owned(),
            format!("{:>CLIENTS$} {cells}", "clients"),
        ]
    }

    /// The row of a run.
    #[must_use]
    pub fn row(&self, run: &Outcome) -> String {
        let points: Vec<Point<'_>> = self.points_of(run).collect();
        let cells = run.plan.blocks.iter().map(|size| {
            let point = points.iter().find(|point| point.size == *size);
            format!("{:>CELL$}", point.map_or_else(|| "-  ".to_owned(), Point::text))
        });
        let mark = match run.bottleneck() {
            Some(_) => Pace::Tester.mark(),
            None => "",
        };
        let row = format!(
            "{:>CLIENTS$}{mark:1}{}",
            form::count(run.plan.clients as u64),
            cells.collect::<String>()
        );
        row.trim_end().to_owned()
    }

    /// What the rows show, in sentences.
    #[must_use]
    pub fn conclusion(&self) -> Vec<String> {
        let mut told = Vec::new();
        let source_limited = |run: &&Outcome| {
            let mut points = self.points_of(run).peekable();
            points.peek().is_some() && points.all(|point| point.pace == Pace::Source)
        };
        let kept = self.runs.iter().take_while(source_limited).last();
        if let Some(run) = kept {
            let clients = form::counted(run.plan.clients as u64, "client");
            told.push(format!(
                "Up to {clients} the source sets the pace: {} are delivered.",
                form::rate(run.rate())
            ));
        }
        let limited = self
            .runs
            .iter()
            .find(|run| self.points_of(run).any(|point| point.pace == Pace::Delivery));
        if let Some(run) = limited {
            let clients = form::counted(run.plan.clients as u64, "client");
            told.push(format!("With {clients} delivery sets it: {}.", form::rate(run.rate())));
        }
        if let Some(run) = self.runs.iter().find(|run| run.bottleneck().is_some()) {
            let clients = form::counted(run.plan.clients as u64, "client");
            told.push(format!(
                "With {clients} the tester was the bottleneck: nothing is known of the server's limit from there on."
            ));
        }
        told.extend(self.empty());
        told
    }

    /// The points and the runs, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let point = |point: Point<'_>| {
            json!({
                "clients": point.clients,
                "size": point.size,
                "elapsed": point.times.elapsed.json(),
                "elapsed_p10_ms": point.times.elapsed.quantile(0.1).map(millis),
                "source": point.times.source.json(),
                "pace": point.pace.words(),
            })
        };
        json!({ "topic": self.topic(), "points": self.points().map(point).collect::<Vec<_>>() })
    }

    /// Why sizes have no figure in any run.
    fn empty(&self) -> Option<String> {
        let first = self.runs.first()?;
        let found: Vec<NonZeroU64> = self.points().map(|point| point.size).collect();
        let sizes = first.plan.blocks.iter().filter(|size| !found.contains(size));
        let sizes: Vec<String> = sizes.map(|size| form::count(size.get())).collect();
        (!sizes.is_empty()).then(|| {
            format!(
                "No block of {} was timed whole in {}: use a longer --for, or a faster topic.",
                sizes.join(" or "),
                form::short_span(first.measured)
            )
        })
    }

    fn topic_text(&self, run: &Outcome) -> String {
        let Some(topic) = self.topic() else {
            return "no topic".to_owned();
        };
        let followers = self.book(run, topic).map_or(0, |book| book.messages);
        // All that came since the start, warm-up too: near enough for a heading.
        let time: std::time::Duration = run.timeline.iter().map(|second| second.length).sum();
        let rate = per_second(followers, time) / run.books.connected.max(1) as f64;
        format!("topic {topic}, about {}", form::rate(rate))
    }

    fn book<'a>(&self, run: &'a Outcome, topic: &str) -> Option<&'a TopicBook> {
        let mut named = run.books.topics.iter().zip(&run.topics);
        named.find(|(_, name)| *name == topic).map(|(book, _)| book)
    }
}

impl Point<'_> {
    /// Median and 99th percentile in milliseconds, and the mark.
    fn text(&self) -> String {
        let [p50, p99] =
            [0.5, 0.99].map(|part| self.times.elapsed.quantile(part).unwrap_or_default().as_secs_f64() * 1e3);
        format!("{} ({}) {}", digits(p50), digits(p99), self.pace.mark())
    }
}

/// Three digits, or all of a larger number.
fn digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

const CLIENTS: usize = 7;
/// So that the four sizes by default fit 80 columns.
const CELL: usize = 18;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::pace;

    #[test]
    fn a_figure_has_three_digits_its_spread_and_who_set_the_pace() {
        let text = |elapsed_ms: &[u64], source_ms: u64| {
            let mut times = BlockBook::default();
            for ms in elapsed_ms {
                times.take(Duration::from_millis(*ms), Some(Duration::from_millis(source_ms)));
            }
            let pace = pace::of(&TopicBook::default(), &times);
            let size = NonZeroU64::MIN;
            Point {
                clients: 1,
                size,
                times: &times,
                pace,
            }
            .text()
        };
        assert_eq!(text(&[5, 5], 5), "5.00 (5.00) =");
        assert_eq!(text(&[121, 121], 50), "121 (121) !");
        assert_eq!(text(&[1210, 1210], 500), "1210 (1210) !");
        assert_eq!([digits(9.994), digits(9.996), digits(99.96)], ["9.99", "10.0", "100"]);
    }
}
