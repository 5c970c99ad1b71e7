//! The figures of a run as lines for people.

use super::bottleneck;
use super::outcome::Outcome;
use super::times::{QUANTILES, Times};
use crate::terminal::form;

/// The lines: what came, how late, what the tester cost, and the verdict last.
#[must_use]
pub fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines = summary(outcome);
    let rows = rows(outcome);
    if !rows.is_empty() {
        let names = QUANTILES.iter().map(|(name, _)| *name).chain(["max", "count"]);
        lines.push(format!(
            "{:NAME$}{}",
            "in the time measured",
            names.map(|name| format!("{name:>CELL$}")).collect::<String>()
        ));
        lines.extend(rows.iter().map(Row::text));
        lines.extend(rows.iter().flat_map(Row::noted));
    }
    lines.extend(remarks(outcome));
    lines.push(named("tester", &bottleneck::cost(&outcome.strain)));
    lines.extend(outcome.bottleneck());
    lines.push(outcome.verdict().sentence());
    lines
}

/// Who was connected, what came, what was published.
#[must_use]
pub fn summary(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![connected(outcome)];
    lines.extend(refused(outcome));
    lines.extend(outcome.interruption().map(|text| named("stopped", &text)));
    lines.push(received(outcome));
    lines.extend(published(outcome));
    lines
}

/// Times of one kind, as a row.
pub struct Row<'a> {
    /// What they are the times of.
    pub name: String,
    /// The times.
    pub times: &'a Times,
    /// What is to be known of them.
    pub note: String,
}

/// What is missing in the rows, and why.
#[must_use]
pub fn remarks(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.books.before_made > 0 {
        let count = form::counted(outcome.books.before_made, "message");
        lines.push(named(
            "clocks differ",
            &format!("{count} came before their time: without latency"),
        ));
    }
    let measured = form::short_span(outcome.measured);
    for (book, name) in outcome.books.topics.iter().zip(&outcome.topics) {
        for (at, size) in outcome.plan.blocks.iter().enumerate() {
            if book.blocks.get(at).is_none_or(|block| block.elapsed.count() == 0) {
                let text = format!("none came whole in the {measured} measured");
                lines.push(named(&format!("block of {size}, {name}"), &text));
            }
        }
    }
    let idle = outcome.books.topics.iter().all(|book| book.messages == 0);
    if idle && outcome.plan.publish.is_none() && outcome.books.connected > 0 {
        lines.push(named(
            "idle",
            "a topic that waits for messages gets some with --publish TOPIC",
        ));
    }
    lines
}

/// A line with its name before it.
fn named(name: &str, text: &str) -> String {
    format!("{name:NAME$}  {text}")
}

/// Every kind of times that there is something of.
#[must_use]
pub fn rows(outcome: &Outcome) -> Vec<Row<'_>> {
    let row = |name: &str, times, note: &str| Row {
        name: name.to_owned(),
        times,
        note: note.to_owned(),
    };
    let mut rows = vec![row("latency", &outcome.books.latency, outcome.latency_from())];
    // One client is first and last.
    if outcome.books.connected > 1 {
        rows.push(row("first to last", &outcome.first_to_last, "over all clients"));
    }
    for (book, name) in outcome.books.topics.iter().zip(&outcome.topics) {
        for (block, size) in book.blocks.iter().zip(&outcome.plan.blocks) {
            rows.push(Row {
                name: format!("block of {size}, {name}"),
                times: &block.elapsed,
                note: outcome.pace(book, block).words().to_owned(),
            });
        }
    }
    rows.push(row(
        "connect",
        &outcome.books.connect,
        "to the server's 101, in the whole run",
    ));
    rows.retain(|row| row.times.count() > 0);
    rows
}

impl Row<'_> {
    fn text(&self) -> String {
        let spans = QUANTILES
            .iter()
            .map(|(_, part)| self.times.quantile(*part))
            .chain([self.times.max()]);
        let spans: String = spans
            .map(|span| format!("{:>CELL$}", span.map_or_else(|| "-".to_owned(), form::fine_span)))
            .collect();
        format!("{:NAME$}{spans}{:>CELL$}", self.name, form::count(self.times.count()))
    }

    fn noted(&self) -> Option<String> {
        (!self.note.is_empty()).then(|| named(&self.name, &self.note))
    }
}

fn connected(outcome: &Outcome) -> String {
    let (connected, asked) = (
        form::count(outcome.books.connected),
        form::count(outcome.plan.clients as u64),
    );
    let mut text = format!("{connected} of {asked} clients in {}", form::short_span(outcome.ramp));
    if outcome.untried() > 0 {
        text.push_str(&format!("; {} not tried", form::count(outcome.untried())));
    }
    named("connected", &text)
}

/// Who could not connect, and who was cut off.
fn refused(outcome: &Outcome) -> Vec<String> {
    let line =
        |name: &str, why: &String, count: &u64| named(name, &format!("{}: {why}", form::counted(*count, "client")));
    let refused = outcome
        .books
        .refused
        .iter()
        .map(|(why, count)| line("not connected", why, count));
    refused
        .chain(outcome.books.ended.iter().map(|(how, count)| line("ended", how, count)))
        .collect()
}

fn received(outcome: &Outcome) -> String {
    let text = format!(
        "{} in {} measured: {}, {}/s",
        form::counted(outcome.messages, "message"),
        form::short_span(outcome.measured),
        form::rate(outcome.rate()),
        form::bytes(outcome.byte_rate() as u64),
    );
    named("received", &text)
}

fn published(outcome: &Outcome) -> Vec<String> {
    let (Some(published), Some(plan)) = (&outcome.published, &outcome.plan.publish) else {
        return Vec::new();
    };
    let acknowledged = match published.acked == published.sent {
        true => "all".to_owned(),
        false => form::count(published.acked),
    };
    let mut lines = vec![named(
        "published",
        &format!(
            "whole run: {} to {} at {}, {acknowledged} acknowledged",
            form::count(published.sent),
            plan.topic,
            form::rate(plan.rate),
        ),
    )];
    if published.late > 0 {
        let (late, latest) = (form::count(published.late), form::span(published.latest));
        lines.push(named("sent late", &format!("{late} by the tester, by up to {latest}")));
    }
    if published.held > 0 {
        let held = form::count(published.held);
        lines.push(named("held back", &format!("{held} while the server did not answer")));
    }
    let refused = published.refused.iter();
    lines.extend(
        refused.map(|(why, count)| named("not taken", &format!("{}: {why}", form::counted(*count, "message")))),
    );
    lines
}

const NAME: usize = 20;
const CELL: usize = 10;
