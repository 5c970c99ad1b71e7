//! Both clocks of whoever recorded: whether times go on from line to line, as clocks do.

use lapwing_wire::time::WallTime;

use super::finding::{Finding, Place, What};
use crate::recording::glance::RECEIVED_BYTES;
use crate::recording::note::CLOCK_STEP_MS;

/// Both clocks, as of the lines so far.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    first: Option<[u8; RECEIVED_BYTES]>,
    last: Option<[u8; RECEIVED_BYTES]>,
    /// The next line does not compare with the last: the clock may have been set between without anyone there to tell.
    apart: bool,
    mono: Option<u64>,
    boot: Option<String>,
    /// The wall clock went back, and whether it was set will be told within [`STEP_TOLD_NS`] from then on.
    back: Option<(Finding, u64)>,
}

impl Clocks {
    /// A run begins, or a file of it; what is found with the clocks of the one before.
    pub(super) fn on_start(&mut self, boot: Option<String>) -> Option<Finding> {
        self.apart = true;
        if boot.is_none() || boot != self.boot {
            self.mono = None;
        }
        self.boot = boot;
        self.finish()
    }

    /// The wall clock was set back, as the recording says.
    pub(super) fn on_set_back(&mut self) {
        self.back = None;
    }

    /// Takes the times of the line at `place`; what is found with them.
    pub(super) fn take(
        &mut self,
        received: &[u8; RECEIVED_BYTES],
        mono: u64,
        place: Place,
    ) -> impl Iterator<Item = Finding> + use<> {
        let mono_back = self.mono.replace(mono).filter(|before| mono < *before).map(|before| {
            let by_ns = before - mono;
            Finding::new(place, None, What::MonoBack { by_ns })
        });
        let before = self.last.as_ref().filter(|_| !std::mem::take(&mut self.apart));
        if let Some(by_ns) = before.and_then(|before| gone_back(before, received))
            && self.back.is_none()
        {
            self.back = Some((Finding::new(place, None, What::TimeBack { by_ns }), mono));
        }
        let is_told = |(_, since): &mut (Finding, u64)| mono.saturating_sub(*since) <= STEP_TOLD_NS;
        let wall_back = self.back.take_if(|back| !is_told(back)).map(|(finding, _)| finding);
        self.first.get_or_insert(*received);
        self.last = Some(*received);
        mono_back.into_iter().chain(wall_back)
    }

    /// The clock that went back, and of which nothing more will be told.
    pub(super) fn finish(&mut self) -> Option<Finding> {
        self.back.take().map(|(finding, _)| finding)
    }

    /// When the first and the last line were received.
    pub(super) fn span(&self) -> Option<(WallTime, WallTime)> {
        let time = |text: &[u8; RECEIVED_BYTES]| WallTime::parse(std::str::from_utf8(text).ok()?);
        time(self.first.as_ref()?).zip(time(self.last.as_ref()?))
    }
}

/// By how much a wall clock went back, if it was more than a correction.
fn gone_back(before: &[u8; RECEIVED_BYTES], now: &[u8; RECEIVED_BYTES]) -> Option<u64> {
    if now >= before {
        return None;
    }
    let nanos = |text| Some(WallTime::parse(std::str::from_utf8(text).ok()?)?.nanos());
    match nanos(before).zip(nanos(now)) {
        Some((before, now)) => Some(before.abs_diff(now)).filter(|by| *by > CORRECTION_NS),
        None => Some(0),
    }
}

/// 5 s: a listener looks at its clocks five times a second, and may be held up.
const STEP_TOLD_NS: u64 = 5_000_000_000;

/// So far a wall clock goes back that is corrected and not set.
const CORRECTION_NS: u64 = CLOCK_STEP_MS as u64 * 1_000_000;
