//! Whether the tester itself set the limit.

use std::time::Duration;

use super::publisher::Published;
use super::slice::Strain;
use super::times::Times;
use crate::terminal::form;

/// What the tester says about itself, if its figures are its own limit.
#[must_use]
pub fn sentence(strain: &[Strain], latency: &Times, published: Option<&Published>, cores: usize) -> Option<String> {
    let worst = |part: fn(&Strain) -> f64| strain.iter().map(part).fold(0.0, f64::max);
    let mut signs = Vec::new();
    let share = worst(Strain::share);
    let crowded = strain
        .iter()
        .filter(|strain| strain.share() > CROWDED_SHARE_MIN)
        .map(Strain::crowded)
        .fold(0.0, f64::max);
    let own = share > SHARE_MAX || crowded > CROWDED_MAX;
    if own {
        signs.push(format!("{:.0} % of its core", share * 100.0));
    }
    let starved = worst(Strain::starved);
    if starved > STARVED_MAX {
        signs.push(format!("no core was free for it {:.0} % of the time", starved * 100.0));
    }
    if let Some(late) = reading_late(strain).filter(|late| counts(*late, latency)) {
        signs.push(format!("reading up to {} late (p99)", form::span(late)));
    }
    if crowded > CROWDED_MAX {
        signs.push(format!("{:.0} % of its reads left something behind", crowded * 100.0));
    }
    if let Some(published) = published
        && published.late as f64 > published.sent as f64 * LATE_PART_MAX
    {
        let (late, sent) = (form::count(published.late), form::counted(published.sent, "message"));
        signs.push(format!(
            "{late} of {sent} sent late, by up to {}",
            form::span(published.latest)
        ));
    }
    (!signs.is_empty()).then(|| {
        format!(
            "The tester was the bottleneck: {}. These figures are its limit, not the server's: {}.",
            signs.join(", "),
            advice(own, starved > STARVED_MAX, strain.len() < cores)
        )
    })
}

/// What helps: `own` says that its threads had all of their cores to do, `starved` that others took these.
fn advice(own: bool, starved: bool, has_cores: bool) -> &'static str {
    match (own, starved) {
        (_, true) => "end other programs, or test from another machine than the server's",
        (true, false) if has_cores => "use more --threads, fewer clients, or a second machine",
        (true, false) => "use fewer clients, or a second machine",
        (false, false) => "use fewer clients, or a machine that does nothing else",
    }
}

/// What the tester cost, in a few words.
#[must_use]
pub fn cost(strain: &[Strain]) -> String {
    let share = strain.iter().map(Strain::share).fold(0.0, f64::max);
    let threads = match strain.len() {
        1 => "its core".to_owned(),
        threads => format!("a core (busiest of {threads})"),
    };
    let late = reading_late(strain).unwrap_or_default();
    format!(
        "{:.0} % of {threads}, reads {} late (p99)",
        share * 100.0,
        form::fine_span(late)
    )
}

/// How late reads were: the 99th percentile of the latest thread.
#[must_use]
pub fn reading_late(strain: &[Strain]) -> Option<Duration> {
    strain.iter().filter_map(|strain| strain.read_late.quantile(0.99)).max()
}

/// Being late counts when it is a good part of what was measured.
fn counts(late: Duration, latency: &Times) -> bool {
    let least = match latency.quantile(0.99) {
        Some(latency) => (latency / 2).max(READ_LATE_MIN),
        None => READ_LATE_ALONE_MIN,
    };
    late >= least
}

/// Beyond this a core has nothing left for a burst.
const SHARE_MAX: f64 = 0.9;
/// Beyond this other programs took the core.
const STARVED_MAX: f64 = 0.25;
/// Beyond this there was always more than a read could take, on a thread with little time left. With time left it says
/// nothing: a message larger than the buffer fills it whenever it comes.
const CROWDED_MAX: f64 = 0.5;
const CROWDED_SHARE_MIN: f64 = 0.8;
/// Beyond this the schedule was not the one that was asked for.
const LATE_PART_MAX: f64 = 0.01;
/// Less is no matter.
const READ_LATE_MIN: Duration = Duration::from_millis(5);
/// The same where no latency is known.
const READ_LATE_ALONE_MIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn strain(busy_ms: u64, waited_ms: u64, late_ms: u64) -> Strain {
        let mut strain = Strain {
            busy: Duration::from_millis(busy_ms),
            waited: Duration::from_millis(waited_ms),
            over: Duration::from_secs(1),
            ..Strain::default()
        };
        strain.read_late.record(late_ms * 1_000_000);
        strain
    }

    #[track_caller]
    fn check(strain: &[Strain], latency_ms: Option<u64>, published: Option<&Published>, expect: Option<&str>) {
        let mut latency = Times::default();
        latency_ms.into_iter().for_each(|ms| latency.record(ms * 1_000_000));
        let told = sentence(strain, &latency, published, 2);
        let told = told
            .as_deref()
            .and_then(|text| text.strip_prefix("The tester was the bottleneck: ")?.split_once(". "));
        assert_eq!(told.map(|(signs, _)| signs), expect);
    }

    #[test]
    fn a_tester_with_room_says_nothing() {
        check(&[strain(310, 10, 0), strain(900, 250, 4)], Some(5), None, None);
        check(&[strain(310, 10, 49)], None, None, None);
        check(&[strain(310, 10, 38)], Some(2000), None, None);
    }

    #[test]
    fn reads_that_leave_something_behind_are_a_sign_only_of_a_thread_without_time() {
        let crowded = |busy_ms| Strain {
            reads_full: 1,
            ..strain(busy_ms, 1, 0)
        };
        check(&[crowded(790)], None, None, None);
        // Not of the thread that had no time.
        check(&[crowded(100), strain(850, 1, 0)], None, None, None);
        check(
            &[crowded(850)],
            None,
            None,
            Some("85 % of its core, 100 % of its reads left something behind"),
        );
    }

    #[test]
    fn the_advice_fits_the_reason() {
        let advice = |busy_ms, waited_ms, cores| {
            let told = sentence(&[strain(busy_ms, waited_ms, 0)], &Times::default(), None, cores);
            let told = told.expect("a bottleneck");
            told.rsplit(": ").next().expect("an advice").to_owned()
        };
        assert_eq!(advice(970, 0, 1), "use fewer clients, or a second machine.");
        assert_eq!(
            advice(970, 0, 2),
            "use more --threads, fewer clients, or a second machine."
        );
        assert!(advice(500, 400, 2).starts_with("end other programs"));
    }

    #[test]
    fn each_sign_is_named_with_its_figure() {
        check(
            &[strain(100, 0, 0), strain(970, 0, 38)],
            Some(40),
            None,
            Some("97 % of its core, reading up to 38.0 ms late (p99)"),
        );
        check(
            &[strain(500, 400, 0)],
            None,
            None,
            Some("no core was free for it 40 % of the time"),
        );
        let published = |late| Published {
            sent: 1000,
            late,
            latest: Duration::from_millis(30),
            ..Published::default()
        };
        check(&[strain(1, 1, 0)], None, Some(&published(10)), None);
        check(
            &[strain(1, 1, 0)],
            None,
            Some(&published(11)),
            Some("11 of 1,000 messages sent late, by up to 30.0 ms"),
        );
    }
}
