//! The report of a load test: one HTML file that needs nothing else, with pictures, tables and the figures for programs.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use lapwing_wire::time::micros_text;
use serde_json::Value;

use super::bottleneck;
use super::outcome::{Outcome, Second, per_second};
use super::pace::Pace;
use super::sweep::{Point, Sweep};
use super::table::{self as lines, rows};
use super::times::{QUANTILES, Times, millis};
use super::verdict::Verdict;
use crate::plot::axis::Axis;
use crate::plot::chart::{self, Chart, Line, Mark};
use crate::plot::colours;
use crate::plot::markup::{table, text};
use crate::terminal::form;

/// The whole page. `command` is what was typed, `sweeps` says that the runs belong together, and `object` is the same for programs.
#[must_use]
pub fn page(sweep: &Sweep, sweeps: bool, command: &str, object: &Value) -> String {
    let mut body = String::new();
    let Some(first) = sweep.runs.first() else { return body };
    let title = format!("Load test of {}", first.plan.target);
    let _ = write!(body, "<h1>{}</h1>", text(&title));
    match sweeps {
        false => body.push_str(&verdict(first)),
        true => body.push_str(&grid(sweep)),
    }
    body.push_str(&what_ran(first, command));
    for run in &sweep.runs {
        match sweeps {
            false => body.push_str(&figures(run)),
            true => {
                let clients = form::counted(run.plan.clients as u64, "client");
                let _ = write!(body, "<details><summary>{clients}</summary>{}</details>", figures(run));
            }
        }
    }
    let pretty = serde_json::to_string_pretty(object).unwrap_or_default();
    let _ = write!(
        body,
        "<details><summary>All figures as JSON</summary><pre>{}</pre></details>",
        block(&pretty)
    );
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{}{}</style></head><body><main>{body}</main></body></html>\n",
        text(&title),
        colours::with_variables(STYLE),
        chart::STYLE
    )
}

/// Verdict, what the tester says of itself, and whether the run came to its end.
fn verdict(run: &Outcome) -> String {
    let verdict = run.verdict();
    let (class, mark) = match verdict {
        Verdict::Proven(_) => ("good", "●"),
        Verdict::NotProven(_) => ("bad", "✕"),
        Verdict::NotChecked(_) => ("open", "◇"),
    };
    let tester = run
        .bottleneck()
        .map(|sentence| format!("<p class=\"verdict bad\">▲ {}</p>", text(&sentence)));
    let stopped = run
        .interruption()
        .map(|why| format!("<p class=\"verdict bad\">■ stopped {}</p>", text(&why)));
    let sentence = text(&verdict.sentence());
    format!(
        "{}{}<p class=\"verdict {class}\">{mark} {sentence}</p>",
        stopped.unwrap_or_default(),
        tester.unwrap_or_default()
    )
}

fn what_ran(run: &Outcome, command: &str) -> String {
    let plan = &run.plan;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut facts = vec![
        ("command", command.to_owned()),
        ("time", micros_text(run.began)),
        (
            "tester",
            format!(
                "lapwing {}, {} {}, {}",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS,
                std::env::consts::ARCH,
                form::counted(cores as u64, "core")
            ),
        ),
        ("server", format!("{} at {}", plan.target, plan.address)),
        ("topics", run.topics.join(", ")),
        (
            "measured",
            format!(
                "{} of {}, from the first whole second behind {} of warm-up",
                form::short_span(run.measured),
                form::short_span(plan.time),
                form::short_span(plan.warm_up)
            ),
        ),
    ];
    if let Some(publish) = &plan.publish {
        facts.push((
            "published",
            format!(
                "to {} at {}, payloads of {}",
                publish.topic,
                form::rate(publish.rate),
                form::bytes(publish.bytes as u64)
            ),
        ));
    }
    let facts: String = facts
        .iter()
        .map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>", text(fact)))
        .collect();
    format!("<h2>What ran</h2><dl>{facts}</dl>")
}

/// Tables and pictures of one run.
fn figures(run: &Outcome) -> String {
    let mut out = String::from("<h2>Figures</h2>");
    let summary = [lines::summary(run), lines::remarks(run)].concat().join("\n");
    let _ = write!(
        out,
        "<pre>{}\ntester                {}</pre>",
        block(&summary),
        text(&bottleneck::cost(&run.strain))
    );
    out.push_str(&times_table(run));
    if let Some(chart) = distribution(run) {
        let _ = write!(
            out,
            "<h2>Latency by percentile</h2><figure>{}<figcaption>Latency is counted {}. What took less than a microsecond has no place on a logarithmic axis.</figcaption></figure>",
            chart.svg(),
            text(run.latency_from())
        );
    }
    if run.timeline.len() > 1 {
        let _ = write!(
            out,
            "<h2>Second by second</h2><figure>{}</figure>",
            rate_line(run).svg()
        );
        if let Some(chart) = latency_line(run) {
            let _ = write!(
                out,
                "<figure>{}<figcaption>Shaded seconds are not measured. A triangle marks missed messages and ended connections.</figcaption></figure>",
                chart.svg()
            );
        }
        let _ = write!(
            out,
            "<details><summary>as table</summary>{}</details>",
            seconds_table(&run.timeline)
        );
    }
    out
}

fn times_table(run: &Outcome) -> String {
    let names = QUANTILES.iter().map(|(name, _)| *name).chain(["max", "count", ""]);
    let heading: Vec<String> = std::iter::once("").chain(names).map(str::to_owned).collect();
    let span = |times: &Times, part| times.quantile(part).map_or_else(|| "-".to_owned(), form::fine_span);
    let row = |row: &lines::Row<'_>| {
        let spans = QUANTILES
            .iter()
            .map(|(_, part)| *part)
            .chain([1.0])
            .map(|part| span(row.times, part));
        let ends = [form::count(row.times.count()), row.note.clone()];
        std::iter::once(row.name.clone()).chain(spans).chain(ends).collect()
    };
    table(&heading, &rows(run).iter().map(row).collect::<Vec<_>>())
}

fn seconds_table(timeline: &[Second]) -> String {
    let heading = [
        "second",
        "messages/s",
        "bytes/s",
        "p50",
        "p99",
        "missed",
        "repeated or late",
        "connects",
        "ended",
    ]
    .map(str::to_owned);
    let row = |second: &Second| {
        let span = |span: Option<Duration>| span.map_or_else(|| "-".to_owned(), form::fine_span);
        vec![
            format!(
                "{:.1}{}",
                second.at.as_secs_f64(),
                if second.measured { "" } else { " (not measured)" }
            ),
            form::count(per_second(second.messages, second.length) as u64),
            form::bytes(per_second(second.bytes, second.length) as u64),
            span(second.latency.map(|(p50, _)| p50)),
            span(second.latency.map(|(_, p99)| p99)),
            form::count(second.missed),
            form::count(second.astray),
            form::count(second.opened),
            form::count(second.ended),
        ]
    };
    table(&heading, &timeline.iter().map(row).collect::<Vec<_>>())
}

/// How many messages took how long: further to the right are fewer and fewer.
fn distribution(run: &Outcome) -> Option<Chart> {
    let kinds = [
        ("latency", &run.books.latency),
        ("first to last", &run.first_to_last),
        ("connect", &run.books.connect),
    ];
    // One client is first and last.
    let means = |name: &str| name != "first to last" || run.books.connected > 1;
    let kinds = kinds
        .into_iter()
        .filter(|(name, times)| times.count() > 1 && means(name));
    let kinds: Vec<(&str, &Times)> = kinds.collect();
    let nines = |times: &Times| (times.count() as f64).log10();
    let most = kinds.iter().map(|(_, times)| nines(times)).fold(1.0, f64::max);
    let line = |(name, times): &(&str, &Times)| {
        let steps = (nines(times) * STEPS_A_NINE) as u32;
        let at = |step: u32| f64::from(step) / STEPS_A_NINE;
        let point = |x: f64| Some((x, millis(times.quantile(1.0 - 10_f64.powf(-x))?)));
        let last = times.max().map(|max| (nines(times), millis(max)));
        Line {
            name: (*name).to_owned(),
            points: (0..=steps).map(|step| point(at(step))).chain([last]).collect(),
            ..Line::default()
        }
    };
    let lines: Vec<Line> = kinds.iter().map(line).collect();
    let (min, max) = extent(&lines)?;
    Some(Chart {
        says: "How large a part of the messages took at most how long".to_owned(),
        x: Axis::nines(most.ceil() as u32),
        y: Axis::times("time", min, max),
        lines,
        shades: Vec::new(),
        events: Vec::new(),
    })
}

fn rate_line(run: &Outcome) -> Chart {
    let rate = |second: &Second| per_second(second.messages, second.length);
    let points = run.timeline.iter().map(|second| Some((middle(second), rate(second))));
    let most = run.timeline.iter().map(rate).fold(1.0, f64::max);
    let line = Line {
        name: "messages/s".to_owned(),
        points: points.collect(),
        ..Line::default()
    };
    over_time(
        run,
        "Messages a second, over all clients",
        Axis::linear("messages/s", most, |value| form::count(value as u64)),
        vec![line],
    )
}

fn latency_line(run: &Outcome) -> Option<Chart> {
    type Pick = fn((Duration, Duration)) -> Duration;
    let line = |name: &str, pick: Pick| Line {
        name: name.to_owned(),
        points: run
            .timeline
            .iter()
            .map(|second| Some((middle(second), millis(pick(second.latency?)))))
            .collect(),
        ..Line::default()
    };
    let lines = vec![line("p99", |(_, p99)| p99), line("p50", |(p50, _)| p50)];
    let (min, max) = extent(&lines)?;
    Some(over_time(
        run,
        "Latency of what came in each second",
        Axis::times("latency", min, max),
        lines,
    ))
}

fn over_time(run: &Outcome, says: &str, y: Axis, lines: Vec<Line>) -> Chart {
    let end = |second: &Second| (second.at + second.length).as_secs_f64();
    let last = run.timeline.iter().map(end).fold(1.0, f64::max);
    let event = |second: &Second| {
        let what = format!(
            "{} missed, {} repeated or late, {} connections ended",
            second.missed, second.astray, second.ended
        );
        (second.missed + second.astray + second.ended > 0).then(|| (middle(second), what))
    };
    let unmeasured = run.timeline.iter().filter(|second| !second.measured);
    Chart {
        says: says.to_owned(),
        x: Axis::linear("seconds since the start", last, |value| {
            format!("{}", (value * 10.0).round() / 10.0)
        }),
        y,
        lines,
        shades: unmeasured
            .map(|second| (second.at.as_secs_f64(), end(second)))
            .collect(),
        events: run.timeline.iter().filter_map(event).collect(),
    }
}

fn middle(second: &Second) -> f64 {
    (second.at + second.length / 2).as_secs_f64()
}

/// The grid of a sweep: what follows from it, both pictures, and the table.
fn grid(sweep: &Sweep) -> String {
    let mut out = String::new();
    for sentence in sweep.conclusion() {
        let _ = write!(out, "<p>{}</p>", text(&sentence));
    }
    let points: Vec<Point<'_>> = sweep.points().collect();
    let topic = text(sweep.topic().unwrap_or("-"));
    let by_size = curves(
        &points,
        |point| point.clients as u64,
        |point| point.size.get(),
        "client",
    );
    let by_clients = curves(
        &points,
        |point| point.size.get(),
        |point| point.clients as u64,
        "message",
    );
    for (heading, x, lines) in [
        ("size of a block", "messages in a block", by_size),
        ("number of clients", "clients", by_clients),
    ] {
        if let Some(chart) = curve_chart(heading, x, lines) {
            let _ = write!(
                out,
                "<h2>Block time over the {heading}, topic {topic}</h2><figure>{}</figure>",
                chart.svg()
            );
        }
    }
    out.push_str("<p class=\"key\">Line: median. Band: from the 10th to the 99th percentile. Dots: the source's own median. ○ the source sets the pace, ● delivery does, × the tester was the limit.</p>");
    out.push_str(&points_table(&points));
    out.push_str("<h2>Verdicts</h2>");
    for run in &sweep.runs {
        let clients = form::counted(run.plan.clients as u64, "client");
        let _ = write!(out, "<p>{clients}</p>{}", verdict(run));
    }
    out
}

/// A line for each value of `of`, over `over`.
fn curves(points: &[Point<'_>], of: fn(&Point<'_>) -> u64, over: fn(&Point<'_>) -> u64, noun: &str) -> Vec<Line> {
    let mut values: Vec<u64> = points.iter().map(of).collect();
    values.sort_unstable();
    values.dedup();
    let line = |value: &u64| {
        let mut own: Vec<&Point<'_>> = points.iter().filter(|point| of(point) == *value).collect();
        own.sort_by_key(|point| over(point));
        let x = |point: &Point<'_>| over(point) as f64;
        let ms = |times: &Times, part| times.quantile(part).map_or(0.0, millis);
        let p50 = |point: &Point<'_>| ms(&point.times.elapsed, 0.5);
        let mark = |pace| match pace {
            Pace::Source => Mark::Hollow,
            Pace::Tester => Mark::Cross,
            Pace::Delivery | Pace::Unknown => Mark::Full,
        };
        let with_source = own.iter().filter(|point| point.times.source.count() > 0);
        Line {
            name: form::counted(*value, noun),
            points: own.iter().map(|point| Some((x(point), p50(point)))).collect(),
            band: own
                .iter()
                .map(|point| Some((x(point), ms(&point.times.elapsed, 0.1), ms(&point.times.elapsed, 0.99))))
                .collect(),
            beside: with_source
                .map(|point| (x(point), ms(&point.times.source, 0.5)))
                .collect(),
            marks: own
                .iter()
                .map(|point| (x(point), p50(point), mark(point.pace)))
                .collect(),
        }
    };
    values.iter().map(line).collect()
}

fn curve_chart(says: &str, x: &str, lines: Vec<Line>) -> Option<Chart> {
    let (min, max) = extent(&lines)?;
    let places = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().flatten())
            .map(|(x, _)| *x)
    };
    let (first, last) = (places().fold(f64::INFINITY, f64::min), places().fold(1.0, f64::max));
    Some(Chart {
        says: format!("How the time of a block depends on the {says}"),
        x: Axis::log(x, first, last, |value| form::count(value as u64)),
        y: Axis::times("block time", min, max),
        lines,
        shades: Vec::new(),
        events: Vec::new(),
    })
}

fn points_table(points: &[Point<'_>]) -> String {
    let heading = [
        "clients",
        "block",
        "p10",
        "p50",
        "p90",
        "p99",
        "max",
        "blocks",
        "source p50",
        "limited by",
    ]
    .map(str::to_owned);
    let span = |times: &Times, part| times.quantile(part).map_or_else(|| "-".to_owned(), form::fine_span);
    let size = |size: NonZeroU64| form::count(size.get());
    let row = |point: &Point<'_>| {
        let parts = [0.1, 0.5, 0.9, 0.99, 1.0].map(|part| span(&point.times.elapsed, part));
        let source = span(&point.times.source, 0.5);
        let ends = [
            form::count(point.times.elapsed.count()),
            source,
            point.pace.words().trim_end_matches("-limited").to_owned(),
        ];
        [form::count(point.clients as u64), size(point.size)]
            .into_iter()
            .chain(parts)
            .chain(ends)
            .collect()
    };
    table(&heading, &points.iter().map(row).collect::<Vec<_>>())
}

/// The least and the greatest of all values, bands included; none of nothing.
fn extent(lines: &[Line]) -> Option<(f64, f64)> {
    let values = || {
        let points = lines
            .iter()
            .flat_map(|line| line.points.iter().flatten().map(|(_, y)| *y));
        let bands = lines
            .iter()
            .flat_map(|line| line.band.iter().flatten().flat_map(|(_, low, high)| [*low, *high]));
        points.chain(bands).filter(|value| *value > 0.0)
    };
    values().next()?;
    Some((values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max)))
}

/// Text of several lines.
fn block(lines: &str) -> String {
    lines.lines().map(text).collect::<Vec<_>>().join("\n")
}

/// How finely a percentile line is drawn.
const STEPS_A_NINE: f64 = 20.0;

/// The page; its colours are variables.
const STYLE: &str = "\
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}main{max-width:60rem;margin:0 auto;padding:1.5rem}\
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .5rem}.verdict{padding:.6rem .9rem;background:var(--panel);border-left:4px solid var(--muted)}\
.verdict.good{border-color:var(--good)}.verdict.bad{border-color:var(--bad)}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}\
dt,figcaption,.key{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}figure{margin:0 0 1rem;overflow-x:auto}svg{width:100%;min-width:34rem;height:auto;display:block}.wide,pre{overflow-x:auto}pre{background:var(--panel);padding:.8rem;font-size:13px;white-space:pre-wrap}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}\
td:first-child,th:first-child,td:last-child{text-align:left}details{margin:1rem 0}summary{cursor:pointer}\
@media print{details>*{display:block}}";
