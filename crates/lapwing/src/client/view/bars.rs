//! Block times as bars side by side, in rows of characters.

use std::time::Duration;

use super::topic::Bar;
use crate::client::text::Symbols;

/// Rows of bars, with what their upper and lower edges stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Bars {
    /// The rows, top first; each as wide as asked for at most.
    pub rows: Vec<String>,
    /// What a bar up to the upper edge took.
    pub top: Duration,
    /// What a bar of the least height took, or less.
    pub bottom: Duration,
    /// How many blocks are drawn.
    pub shown: usize,
    /// Whether any mark of an interruption is among them.
    pub is_broken: bool,
}

/// Draws the newest of `blocks` that have room in `width` columns and `height` rows; none of nothing.
///
/// The lower edge is not zero: what matters is how block times differ. But never is a difference drawn large that is less than a
/// hundredth of the time itself.
#[must_use]
pub fn bars<'a>(
    blocks: impl DoubleEndedIterator<Item = &'a Bar>,
    width: usize,
    height: usize,
    symbols: Symbols,
) -> Option<Bars> {
    let mut blocks: Vec<Bar> = blocks.rev().take(width).copied().collect();
    blocks.reverse();
    let times = || {
        blocks.iter().filter_map(|bar| match bar {
            Bar::Timed(elapsed) => Some(*elapsed),
            Bar::Broken => None,
        })
    };
    let (least, most) = (times().min()?, times().max()?);
    if height == 0 {
        return None;
    }
    let room = (most - least).max(most / SPAN_PARTS);
    // What does not differ stands in the middle.
    let bottom = least.saturating_sub((room - (most - least)) / 2);
    let top = bottom + room;
    let levels = height * LEVELS;
    let level = |elapsed: Duration| {
        let part = (elapsed - bottom).as_secs_f64() / room.as_secs_f64().max(1e-9);
        1 + (part * (levels - 1) as f64).round() as usize
    };
    let (steps, mark) = match symbols {
        Symbols::Unicode => (&STEPS_UNICODE, '×'),
        Symbols::Ascii => (&STEPS_ASCII, 'x'),
    };
    let row = |row: usize| {
        let below = (height - 1 - row) * LEVELS;
        let cell = |bar: &Bar| match *bar {
            Bar::Timed(elapsed) => steps[level(elapsed).saturating_sub(below).min(LEVELS)],
            Bar::Broken if row == height - 1 => mark,
            Bar::Broken => ' ',
        };
        blocks.iter().map(cell).collect()
    };
    Some(Bars {
        rows: (0..height).map(row).collect(),
        top,
        bottom,
        shown: times().count(),
        is_broken: blocks.contains(&Bar::Broken),
    })
}

/// How many heights a character has.
const LEVELS: usize = 8;

const STEPS_UNICODE: [char; LEVELS + 1] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const STEPS_ASCII: [char; LEVELS + 1] = [' ', '.', '.', ':', ':', '|', '|', '#', '#'];

/// A difference of less than this part of the longest time is noise.
const SPAN_PARTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(ms: u64) -> Bar {
        Bar::Timed(Duration::from_millis(ms))
    }

    #[track_caller]
    fn check(blocks: &[Bar], (width, height): (usize, usize), symbols: Symbols, rows: &[&str], edges: (u64, u64)) {
        let bars = bars(blocks.iter(), width, height, symbols).expect("something");
        assert_eq!(bars.rows, rows);
        let ms = |time: Duration| time.as_millis() as u64;
        assert_eq!((ms(bars.bottom), ms(bars.top)), edges);
    }

    #[test]
    fn the_longest_reaches_the_top_and_the_shortest_is_seen() {
        let blocks = [timed(1000), timed(2000), timed(1500)];
        check(&blocks, (9, 1), Symbols::Unicode, &["▁█▅"], (1000, 2000));
        check(&blocks, (9, 2), Symbols::Unicode, &[" █▁", "▁██"], (1000, 2000));
        check(&blocks, (9, 2), Symbols::Ascii, &[" #.", ".##"], (1000, 2000));
    }

    #[test]
    fn what_does_not_differ_stands_in_the_middle() {
        let blocks = [timed(2000), timed(2000)];
        check(&blocks, (9, 2), Symbols::Unicode, &["▁▁", "██"], (1990, 2010));
        check(&[timed(0)], (9, 1), Symbols::Unicode, &["▁"], (0, 0));
    }

    #[test]
    fn the_newest_are_shown_and_interruptions_are_marked() {
        let blocks = [timed(9000), timed(1000), Bar::Broken, timed(2000)];
        check(&blocks, (3, 2), Symbols::Unicode, &["  █", "▁×█"], (1000, 2000));
        check(&blocks, (3, 1), Symbols::Ascii, &[".x#"], (1000, 2000));
        assert_eq!(bars([Bar::Broken].iter(), 9, 2, Symbols::Unicode), None);
        assert_eq!(bars([].iter(), 9, 2, Symbols::Unicode), None);
        assert_eq!(bars(blocks.iter(), 0, 2, Symbols::Unicode), None);
        assert_eq!(bars(blocks.iter(), 9, 0, Symbols::Unicode), None);
    }
}
