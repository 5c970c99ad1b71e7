//! The figures of a run as lines for people.

use super::bottleneck;
use super::outcome::{Outcome, per_second};
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
            "",
            names.map(|name| format!("{name:>CELL$}")).collect::<String>()
        ));
        lines.extend(rows.iter().map(Row::text));
    }
    lines.push(format!("{:NAME$}  {}", "tester", bottleneck::cost(&outcome.strain)));
    lines.extend(outcome.bottleneck());
    lines.push(outcome.verdict().sentence());
    lines
}

/// Who was connected, what came, what was published.
#[must_use]
pub fn summary(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![connected(outcome)];
    lines.extend(refused(outcome));
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
    pub note: &'static str,
}

/// Every kind of times that there is something of.
#[must_use]
pub fn rows(outcome: &Outcome) -> Vec<Row<'_>> {
    let row = |name: &str, times, note| Row {
        name: name.to_owned(),
        times,
        note,
    };
    let mut rows = vec![
        row("latency", &outcome.books.latency, outcome.latency_from()),
        row("first to last", &outcome.first_to_last, "over all clients"),
    ];
    for (book, name) in outcome.books.topics.iter().zip(&outcome.topics) {
        for (block, size) in book.blocks.iter().zip(&outcome.plan.blocks) {
            rows.push(Row {
                name: format!("block of {size}, {name}"),
                times: &block.elapsed,
                note: outcome.pace(book, block).words(),
            });
        }
    }
    rows.push(row("connect", &outcome.books.connect, "to the server's 101"));
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
        let text = format!(
            "{:NAME$}{spans}{:>CELL$}   {}",
            self.name,
            form::count(self.times.count()),
            self.note
        );
        text.trim_end().to_owned()
    }
}

fn connected(outcome: &Outcome) -> String {
    let (connected, asked) = (
        form::count(outcome.books.connected),
        form::count(outcome.plan.clients as u64),
    );
    format!(
        "{:NAME$}  {connected} of {asked} clients in {}",
        "connected",
        form::short_span(outcome.ramp)
    )
}

/// Who could not connect, and who was cut off.
fn refused(outcome: &Outcome) -> Vec<String> {
    let line =
        |name: &str, why: &String, count: &u64| format!("{name:NAME$}  {}: {why}", form::counted(*count, "client"));
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
    format!(
        "{:NAME$}  {} in {}: {}, {}/s",
        "received",
        form::counted(outcome.messages, "message"),
        form::short_span(outcome.measured),
        form::rate(outcome.rate()),
        form::bytes(outcome.byte_rate() as u64),
    )
}

fn published(outcome: &Outcome) -> Vec<String> {
    let (Some(published), Some(plan)) = (&outcome.published, &outcome.plan.publish) else {
        return Vec::new();
    };
    let mut line = format!(
        "{:NAME$}  {} to {} at {}, {} acknowledged",
        "published",
        form::counted(published.sent, "message"),
        plan.topic,
        form::rate(plan.rate),
        form::count(published.acked),
    );
    if published.late > 0 {
        line.push_str(&format!(
            "; {} sent late by the tester, by up to {}",
            form::count(published.late),
            form::span(published.latest)
        ));
    }
    if published.held > 0 {
        line.push_str(&format!(
            "; {} held back while the server did not answer",
            form::count(published.held)
        ));
    }
    let refused = published.refused.iter();
    let refused =
        refused.map(|(why, count)| format!("{:NAME$}  {}: {why}", "not taken", form::counted(*count, "message")));
    std::iter::once(line).chain(refused).collect()
}

/// What a second brought, in few words: for the line under way.
#[must_use]
pub fn second_text(second: &super::outcome::Second) -> String {
    format!(
        "{}, {}/s",
        form::rate(per_second(second.messages, second.length)),
        form::bytes(per_second(second.bytes, second.length) as u64)
    )
}

const NAME: usize = 20;
const CELL: usize = 11;
