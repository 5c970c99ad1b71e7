//! The shortest piece of history that shows a violation: what stands around it, in all evidence.

use super::{Verdict, Violation};
use crate::history::{Entry, Event, History, HistoryError, Origin};
use crate::line::Line;

/// Offsets on each side of the violation that are shown of the evidence that shows it and of the dumps.
const AROUND: u64 = 5;

/// Turns of the server and faults that are shown on each side.
const FAULTS_AROUND: usize = 4;

/// Lines of one piece of evidence, at most.
const LINES_MAX: usize = 14;

/// The slice around the first violation; empty if there is none.
pub fn around_first(history: &dyn History, verdict: &Verdict) -> Result<Vec<String>, HistoryError> {
    let Some(violation) = verdict.violations.first() else {
        return Ok(Vec::new());
    };
    let (mut faults, mut events, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let mut shown = (String::new(), 0);
    history.each(&mut |origin, entry| match entry {
        Entry::Event(event @ (Event::Begin { .. } | Event::End { .. } | Event::Server { .. })) => faults.push(event),
        Entry::Event(event) => {
            if is_about(violation, &event) {
                events.push(event);
            }
        }
        Entry::Line(number, line) => {
            if shown.0 != origin.name() {
                shown = (origin.name().to_owned(), 0);
            }
            if shown.1 < LINES_MAX && is_near(violation, origin, number, &line) {
                shown.1 += 1;
                lines.push(format!("{} line {number}: {line:?}", origin.name()));
            }
        }
    })?;
    let at = violation.at.unwrap_or(u64::MAX);
    let middle = faults.partition_point(|event| event.at() <= at);
    let around = middle.saturating_sub(FAULTS_AROUND)..faults.len().min(middle + FAULTS_AROUND);
    events.extend(faults.drain(around));
    events.sort_by_key(Event::at);
    Ok(events.iter().map(|event| format!("{event:?}")).chain(lines).collect())
}

fn is_about(violation: &Violation, event: &Event) -> bool {
    let is_publish = |source: u32, sequence: u64| violation.publish == Some((source, sequence));
    match event {
        Event::Invoke { source, sequence, .. }
        | Event::Nack { source, sequence, .. }
        | Event::Info { source, sequence, .. } => is_publish(*source, *sequence),
        Event::Ack {
            topic,
            source,
            sequence,
            epoch,
            first,
            count,
            ..
        } => {
            let covers = violation
                .offset
                .is_some_and(|offset| (*first..first + count).contains(&offset));
            is_publish(*source, *sequence) || (covers && violation.topic == *topic && violation.epoch == Some(*epoch))
        }
        _ => false,
    }
}

fn is_near(violation: &Violation, origin: Origin<'_>, number: u64, line: &Line<'_>) -> bool {
    if let (Some(at), Origin::File(name)) = (violation.line, origin)
        && violation.origin == name
    {
        // Records of other topics between its neighbours say nothing about it.
        let is_close = number.abs_diff(at) <= AROUND;
        return is_close
            && line.topic().is_none_or(|topic| topic == violation.topic)
            && !matches!(line, Line::Positions(_));
    }
    let Line::Message {
        topic, offset, epoch, ..
    } = line
    else {
        return false;
    };
    let reach = if matches!(origin, Origin::Dump(_)) { AROUND } else { 0 };
    *topic == violation.topic
        && violation.offset.is_some_and(|place| offset.abs_diff(place) <= reach)
        && (violation.epoch == *epoch || matches!(origin, Origin::Dump(_)))
}
