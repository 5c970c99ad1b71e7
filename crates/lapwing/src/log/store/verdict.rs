//! What follows from a survey: which files are kept, where a torn tail is cut, and what is damage. Pure.

use std::ops::Range;

use lapwing_wire::position::Offset;

use super::notice::Finding;
use super::survey::{Survey, Surveyed};

/// How much is believed of what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// All that was written can be read: the machine did not stop since.
    Kept,
    /// Pages that were not on stable storage may be gone, in any order.
    Suspect,
}

/// What is to be done with a topic's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The offset behind the last message that counts.
    pub next: Offset,
    /// How many segments count, the one that is cut among them.
    pub keep: usize,
    /// The end of a write that never was finished.
    pub cut: Option<Cut>,
    /// Segments that are not there, and the one behind each.
    pub missing: Vec<(usize, Range<Offset>)>,
    /// Why nothing may be changed, and the segment in which that was found.
    pub damage: Option<(usize, Finding)>,
}

/// Where a torn tail begins; all behind it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// In which segment.
    pub segment: usize,
    /// Where in its file; at 0 the whole file goes.
    pub position: u64,
    /// How many bytes go.
    pub bytes: u64,
}

/// Judges a survey.
#[must_use]
pub fn judge(survey: &Survey, tail: Tail) -> Verdict {
    let segments = &survey.segments;
    let mut verdict = Verdict {
        next: segments.first().map_or(Offset::ZERO, |first| first.base),
        keep: segments.len(),
        cut: None,
        missing: Vec::new(),
        damage: None,
    };
    for (nth, segment) in segments.iter().enumerate() {
        let Ok((header, _)) = &segment.header else {
            return problem(survey, tail, verdict, nth, 0);
        };
        if nth > 0 {
            if header.follows < verdict.next {
                return problem(survey, tail, verdict, nth, 0);
            }
            if header.follows > verdict.next {
                if tail == Tail::Suspect && verdict.next >= survey.durable {
                    return problem(survey, tail, verdict, nth, 0);
                }
                verdict.missing.push((nth, verdict.next..header.follows));
            }
        }
        verdict.next = segment.scan.index.next;
        if let Some(bad) = segment.scan.bad {
            let behind = segments.get(nth + 1).map(|behind| &behind.header);
            // Room that was asked for ahead; a segment that was being sealed has it too.
            let room = bad.zero
                && behind.is_none_or(|behind| matches!(behind, Ok((header, _)) if header.follows == verdict.next));
            if !room {
                return problem(survey, tail, verdict, nth, bad.position);
            }
        }
    }
    if verdict.next < survey.durable {
        let finding = Finding::Behind {
            next: verdict.next,
            durable: survey.durable,
        };
        verdict.damage = Some((segments.len().saturating_sub(1), finding));
    }
    verdict
}

/// Bytes at `position` of a segment are not what is expected: a torn tail, or damage.
fn problem(survey: &Survey, tail: Tail, mut verdict: Verdict, nth: usize, position: u64) -> Verdict {
    let segment = &survey.segments[nth];
    let later = &survey.segments[nth + 1..];
    let run = segment.scan.behind.first();
    let good_header = |later: &Surveyed| later.header.is_ok();
    let read_as_good = position == 0 && segment.header.is_ok();
    let good_behind = run.is_some() || read_as_good || later.iter().any(good_header);
    verdict.keep = nth + usize::from(position > 0);
    if verdict.next < survey.durable || (tail == Tail::Kept && good_behind) {
        let behind = run
            .map(|run| run.base)
            .or_else(|| later.first().map(|later| later.base));
        let end = behind.unwrap_or(survey.durable).max(verdict.next);
        let finding = Finding::Damage {
            position,
            bytes: run.map_or(segment.bytes, |run| run.begin) - position,
            offsets: verdict.next..end,
        };
        verdict.damage = Some((nth, finding));
    } else {
        let bytes = segment.bytes - position + later.iter().map(|later| later.bytes).sum::<u64>();
        verdict.cut = Some(Cut {
            segment: nth,
            position,
            bytes,
        });
    }
    verdict
}
