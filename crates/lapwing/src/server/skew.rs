//! How much faster or slower a client's clock runs than ours, seen in the sum of its drift.
//!
//! A clock that is 50 millionths slow makes a client seem to fall behind by 180 ms an hour. What a network or a reader adds to a
//! message's way is never negative, so the sum of drift lies above a line whose slope is the clocks' own: the line below all
//! points that is nearest to them (as in Moon, Skelly and Towsley, "Estimation and Removal of Clock Skew from Network Delay
//! Measurements", 1999). It is believed only where it explains what was seen.

/// Sums of drift over time, thinned out, and the slope that the clocks have in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Skew {
    /// The lowest point of each window: when, and the sum of drift, in milliseconds.
    lowest: Vec<(f64, f64)>,
    /// How long a window is, in milliseconds: all of them together grow with the connection.
    window_ms: f64,
    slope: f64,
}

impl Default for Skew {
    fn default() -> Self {
        Self {
            lowest: Vec::new(),
            window_ms: WINDOW_MS,
            slope: 0.0,
        }
    }
}

impl Skew {
    /// At `at_ms` of our time since the connection's first report the sum of drift was `sum_ms`. Times do not go back.
    pub fn add(&mut self, at_ms: f64, sum_ms: f64) {
        let of = |at: f64, window: f64| (at / window).floor();
        match self.lowest.last_mut() {
            Some(last) if of(last.0, self.window_ms) == of(at_ms, self.window_ms) => {
                if sum_ms < last.1 {
                    *last = (at_ms, sum_ms);
                }
            }
            _ => self.lowest.push((at_ms, sum_ms)),
        }
        while self.lowest.len() > WINDOWS_MAX {
            self.window_ms *= 2.0;
            let window = self.window_ms;
            self.lowest.dedup_by(|next, kept| {
                let same = of(next.0, window) == of(kept.0, window);
                if same && next.1 < kept.1 {
                    *kept = *next;
                }
                same
            });
        }
        self.slope = self.estimate();
    }

    /// How much of the sum of drift at `at_ms` is the clocks' own, in milliseconds.
    #[must_use]
    pub fn at(&self, at_ms: f64) -> f64 {
        self.slope * at_ms
    }

    /// In millionths: positive when the client's clock is the faster one, so that every span seems longer to it.
    #[must_use]
    pub fn millionths(&self) -> f64 {
        self.slope * 1e6
    }

    fn estimate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.lowest.first(), self.lowest.last()) else {
            return 0.0;
        };
        if self.lowest.len() < WINDOWS_MIN || last.0 - first.0 < SPAN_MS_MIN {
            return 0.0;
        }
        let Some((slope, height)) = line_below(&self.lowest) else {
            return 0.0;
        };
        if slope.abs() > SLOPE_MAX {
            // No clock is that wrong: it falls behind, or catches up.
            return 0.0;
        }
        // Far above the line lies what no clock has made: who jumped behind once and stayed there has not a slow clock.
        let mut above: Vec<f64> = self.lowest.iter().map(|(at, sum)| sum - slope * at - height).collect();
        above.sort_unstable_by(f64::total_cmp);
        let usual = above[above.len() / 2];
        let explained = (slope * (last.0 - first.0)).abs();
        if usual <= (explained * UNEXPLAINED_MAX).max(NOISE_MS) {
            slope
        } else {
            0.0
        }
    }
}

/// The line below all these points for which the sum of what they lie above it is the least, as slope and height at 0: an edge of
/// the lower hull, the one over the points' mean time.
fn line_below(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mean = points.iter().map(|point| point.0).sum::<f64>() / points.len() as f64;
    let mut hull: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for &point in points {
        while let [.., a, b] = hull[..]
            && (b.0 - a.0) * (point.1 - a.1) <= (b.1 - a.1) * (point.0 - a.0)
        {
            hull.pop();
        }
        hull.push(point);
    }
    let edge = hull.windows(2).find(|edge| edge[1].0 >= mean)?;
    let slope = (edge[1].1 - edge[0].1) / (edge[1].0 - edge[0].0);
    Some((slope, edge[0].1 - slope * edge[0].0))
}

/// Short enough that a slope of 500 millionths moves 2 ms in it.
const WINDOW_MS: f64 = 4000.0;
/// 32 points are half a KiB for each topic that a client reports.
const WINDOWS_MAX: usize = 32;
/// Before that a slope is a guess.
const WINDOWS_MIN: usize = 8;
const SPAN_MS_MIN: f64 = 60_000.0;
/// Crystals are wrong by 100 millionths at most, and those that set clocks right bend them by up to 500 (RFC 5905).
const SLOPE_MAX: f64 = 500e-6;
/// So much of the slope may be left unexplained by it: less than what steps like stairs leave.
const UNEXPLAINED_MAX: f64 = 0.05;
/// What schedulers and networks move about anyway.
const NOISE_MS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The slope in millionths after a run of so many seconds with a point every 2 s.
    fn run(seconds: u32, sum_ms: impl Fn(f64) -> f64) -> f64 {
        let mut skew = Skew::default();
        for at in (0..seconds * 1000).step_by(2000).map(f64::from) {
            skew.add(at, sum_ms(at));
            assert!(skew.lowest.len() <= WINDOWS_MAX);
        }
        skew.millionths()
    }

    #[track_caller]
    fn check(seconds: u32, sum_ms: impl Fn(f64) -> f64, millionths: f64) {
        let found = run(seconds, sum_ms);
        assert!((found - millionths).abs() <= 2.0, "{found} of {millionths}");
    }

    /// The same every time, between 0 and 1.
    fn noise(at: f64) -> f64 {
        (at * 12.9898).sin().mul_add(43_758.545_3, 0.0).fract().abs()
    }

    #[test]
    fn a_clock_that_runs_wrong_is_found_below_delays_that_come_and_go() {
        for millionths in [0.0, 20.0, -100.0, 400.0] {
            check(600, |at| at * millionths * 1e-6, millionths);
            check(36_000, |at| at * millionths * 1e-6 + noise(at), millionths);
            let late = |at: f64| if noise(at) > 0.8 { 300.0 * noise(at) } else { 0.0 };
            check(7200, |at| at * millionths * 1e-6 + late(at), millionths);
        }
    }

    #[test]
    fn who_falls_behind_has_not_a_wrong_clock() {
        check(600, |at| at * 0.02, 0.0);
        check(600, |at| at * 0.001, 0.0);
        // Once, early, and for good: in the end a line to there would be no steeper than a clock's.
        check(36_000, |at| if at < 6000.0 { 0.0 } else { 8800.0 }, 0.0);
        check(36_000, |at| if at < 18_000_000.0 { 0.0 } else { 8800.0 }, 0.0);
        // In steps, each after a stop.
        check(3600, |at| (at / 600_000.0).floor() * 150.0, 0.0);
        // Away and back.
        check(600, |at| if (100e3..200e3).contains(&at) { 5000.0 } else { 0.0 }, 0.0);
    }

    #[test]
    fn a_minute_is_too_little_to_tell() {
        check(58, |at| at * 300e-6, 0.0);
        check(120, |at| at * 300e-6, 300.0);
    }

    #[test]
    fn one_point_is_no_line() {
        let mut skew = Skew::default();
        assert_eq!(skew.at(1e9), 0.0);
        skew.add(0.0, 5.0);
        skew.add(0.0, 4.0);
        skew.add(1e9, 4.0);
        assert_eq!(skew.at(1e9), 0.0);
    }
}
