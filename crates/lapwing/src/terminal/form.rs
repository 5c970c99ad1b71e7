//! The forms of numbers, times and payloads: the same on every surface.

use std::borrow::Cow;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use lapwing_wire::time::WallTime;
use unicode_width::UnicodeWidthChar;

/// A span of time: `0.1 ms`, `2.000 s`, `2 m 20 s`, `1 h 05 m`.
#[must_use]
pub fn span(span: Duration) -> String {
    // The unit is chosen for what will stand there: 999.96 ms is 1.000 s, not 1000.0 ms.
    let tenths_of_ms = rounded(span, 100_000);
    let ms = rounded(span, 1_000_000);
    if tenths_of_ms < 10_000 {
        format!("{}.{} ms", tenths_of_ms / 10, tenths_of_ms % 10)
    } else if ms < 60_000 {
        format!("{}.{:03} s", ms / 1000, ms % 1000)
    } else {
        let seconds = ms / 1000;
        match seconds < 3600 {
            true => format!("{} m {:02} s", seconds / 60, seconds % 60),
            false => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

/// A span that is told in passing: `1.3 s`, `2 m 20 s`.
#[must_use]
pub fn short_span(span_: Duration) -> String {
    let tenths = rounded(span_, 100_000_000);
    match rounded(span_, 100_000) {
        ..10_000 => span(span_),
        _ if tenths < 600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => span(span_.max(Duration::from_secs(60))),
    }
}

/// A span where fractions of a millisecond matter: `0.21 ms`, `12.3 ms`, `1.998 s`.
#[must_use]
pub fn fine_span(span_: Duration) -> String {
    match rounded(span_, 10_000) {
        hundredths @ ..1_000 => format!("{}.{:02} ms", hundredths / 100, hundredths % 100),
        _ => span(span_),
    }
}

/// How many a second: `0.5/s`, `1,000/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        ..9.95 => format!("{per_second:.1}/s"),
        _ => format!("{}/s", count(per_second.round() as u64)),
    }
}

/// How many of a unit a span has, to the nearest.
fn rounded(span: Duration, unit_nanos: u128) -> u128 {
    (span.as_nanos() + unit_nanos / 2) / unit_nanos
}

/// A signed span given in milliseconds: `-0.3 ms`, `8.800 s`.
#[must_use]
pub fn signed_ms(ms: f64) -> String {
    let text = span(Duration::from_secs_f64(ms.abs() / 1e3));
    if ms < 0.0 && text != "0.0 ms" {
        format!("-{text}")
    } else {
        text
    }
}

/// A number of bytes: `520 B`, `31.3 KiB`, `1.2 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with separators: `1,000`. Offsets stand without, to be pasted.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 message`, `1,000 messages`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The time of day here, with `digits` (at most 9) of the fraction of a second: `19:00:12.318`.
#[must_use]
pub fn clock(time: WallTime, digits: usize) -> String {
    let stamp = Timestamp::from_nanosecond(i128::from(time.nanos())).unwrap_or(Timestamp::UNIX_EPOCH);
    let here = Zoned::new(stamp, TimeZone::system());
    let whole = here.strftime("%H:%M:%S").to_string();
    if digits == 0 {
        return whole;
    }
    let fraction = format!("{:09}", time.nanos().rem_euclid(1_000_000_000));
    format!("{whole}.{}", &fraction[..digits.min(9)])
}

/// `text` in lines of at most `width` columns, broken at single spaces; a longer word stands in a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let columns = |text: &str| text.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    let mut lines = Vec::new();
    let mut rest = text;
    while columns(rest) > width {
        let fits = |&at: &usize| columns(&rest[..at]) <= width;
        let mut spaces = rest.match_indices(' ').map(|(at, _)| at).filter(|&at| at > 0);
        let first = spaces.clone().next();
        // A number keeps its unit or noun: `2.000` at the end of a line would leave open of what.
        let parts_number = |&at: &usize| {
            rest[..at].ends_with(|c: char| c.is_ascii_digit()) && rest[at + 1..].starts_with(char::is_alphabetic)
        };
        let best = spaces.clone().take_while(fits).filter(|at| !parts_number(at)).last();
        let Some(at) = best.or_else(|| spaces.find(|at| !parts_number(at))).or(first) else {
            break;
        };
        lines.push(&rest[..at]);
        rest = &rest[at + 1..];
    }
    lines.push(rest);
    lines
}

/// `text` cut to `width` columns of a terminal, with `…` where something was left out.
#[must_use]
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    let mut columns = 0;
    let mut keep = 0;
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > width {
            return Cow::Owned(format!("{}…", &text[..keep]));
        }
        if columns < width {
            keep = at + c.len_utf8();
        }
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_and_a_form_for_each_size() {
        for (ms, expect) in [
            (0.1, "0.1 ms"),
            (999.0, "999.0 ms"),
            (999.94, "999.9 ms"),
            (999.95, "1.000 s"),
            (1000.0, "1.000 s"),
            (59_999.4, "59.999 s"),
            (59_999.6, "1 m 00 s"),
            (3_599_999.4, "59 m 59 s"),
            (3_599_999.6, "1 h 00 m"),
            (2000.0, "2.000 s"),
            (140_000.0, "2 m 20 s"),
            (3_900_000.0, "1 h 05 m"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(ms / 1e3)), expect);
        }
        for (ms, expect) in [
            (0.0, "0.0 ms"),
            (999.94, "999.9 ms"),
            (999.96, "1.0 s"),
            (1302.0, "1.3 s"),
            (59_940.0, "59.9 s"),
            (59_960.0, "1 m 00 s"),
            (140_000.0, "2 m 20 s"),
        ] {
            assert_eq!(short_span(Duration::from_secs_f64(ms / 1e3)), expect);
        }
        assert_eq!(signed_ms(-8800.0), "-8.800 s");
        assert_eq!(signed_ms(-0.01), "0.0 ms");
    }

    #[test]
    fn bytes_and_counts_can_be_read() {
        for (n, expect) in [
            (520, "520 B"),
            (1024, "1.0 KiB"),
            (32_051, "31.3 KiB"),
            (1 << 20, "1.0 MiB"),
            (1_048_575, "1.0 MiB"),
        ] {
            assert_eq!(bytes(n), expect);
        }
        for (n, expect) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), expect);
        }
        assert_eq!(
            (counted(1, "message"), counted(2, "message")),
            ("1 message".to_owned(), "2 messages".to_owned())
        );
    }

    #[test]
    fn latencies_and_rates_have_the_digits_that_matter() {
        let fine = |micros| fine_span(Duration::from_micros(micros));
        assert_eq!(
            [fine(0), fine(214), fine(9_994), fine(9_996)],
            ["0.00 ms", "0.21 ms", "9.99 ms", "10.0 ms"]
        );
        assert_eq!([fine(121_040), fine(1_998_000)], ["121.0 ms", "1.998 s"]);
        assert_eq!(
            [rate(0.5), rate(9.94), rate(9.96), rate(3500.4)],
            ["0.5/s", "9.9/s", "10/s", "3,500/s"]
        );
    }

    #[test]
    fn sentences_break_at_words_and_numbers_keep_their_unit() {
        let text = "lost it: reset after 2.000 s of waiting";
        assert_eq!(wrapped(text, 99), [text]);
        assert_eq!(wrapped(text, 21), ["lost it: reset after", "2.000 s of waiting"]);
        assert_eq!(wrapped(text, 26), ["lost it: reset after", "2.000 s of waiting"]);
        assert_eq!(wrapped(text, 28), ["lost it: reset after 2.000 s", "of waiting"]);
        assert_eq!(
            wrapped("ws://127.0.0.1:8765/long is it", 8),
            ["ws://127.0.0.1:8765/long", "is it"]
        );
        assert_eq!(wrapped("日本 日本", 4), ["日本", "日本"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn a_cut_counts_columns_not_bytes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 6), "日本語");
    }
}
