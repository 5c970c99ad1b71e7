//! Which server one of a crowd asks next, and when, as PROTOCOL.md wants it of clients of several servers. The time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::dice::Dice;

/// The longest of the pauses that grow, in milliseconds.
const PAUSE_MS_MAX: u64 = 30_000;

/// The longest that the first of them is, in milliseconds; each may be twice as long as the one before.
const PAUSE_MS: u64 = 250;

/// A connection that lived so long, and brought a message, was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// What a server said of coming back, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// To itself: `Retry-After`, `retry=` of a close, `retry_ms` of `bye`.
    pub retry_ms: Option<u64>,
    /// To another: `elsewhere_ms` of `bye`.
    pub elsewhere_ms: Option<u64>,
}

/// A connection that a server let in.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    /// Since when.
    pub since: Instant,
    /// Whether it brought a message.
    pub brought: bool,
}

/// What one client remembers of its tries.
#[derive(Debug)]
pub struct Comeback {
    /// Each server is not asked before this.
    not_before: Vec<Instant>,
    /// Those that are still to be tried before the next pause.
    round: Vec<usize>,
    /// The one that was left last.
    left: usize,
    pauses: u32,
    /// What the next pause is instead.
    elsewhere_ms: Option<u64>,
}

impl Comeback {
    /// Of so many servers, with this one first.
    pub fn new(servers: usize, first: usize, now: Instant) -> Self {
        Self {
            not_before: vec![now; servers],
            round: (0..servers).map(|step| (first + step) % servers).collect(),
            left: first,
            pauses: 0,
            elsewhere_ms: None,
        }
    }

    /// A server was tried, and followed if it let us in.
    pub fn on_end(&mut self, server: usize, stay: Option<Stay>, told: Told, now: Instant, dice: &mut Dice) {
        if let Some(ms) = told.retry_ms {
            self.not_before[server] = now + about(ms, dice);
        }
        let Some(stay) = stay else { return };
        self.round.clear();
        self.left = server;
        self.elsewhere_ms = told.elsewhere_ms;
        if stay.brought && now - stay.since >= GOOD {
            self.pauses = 0;
        }
    }

    /// The next server, and how long to wait before it is asked.
    pub fn next(&mut self, now: Instant, dice: &mut Dice) -> (usize, Duration) {
        let mut wait = Duration::ZERO;
        loop {
            let may = |server: &usize| self.not_before[*server] <= now + wait;
            if let Some(place) = self.round.iter().position(may) {
                return (self.round.remove(place), wait);
            }
            // Where all have said when, the first of these times.
            let soonest = self.not_before.iter().min().map_or(Duration::ZERO, |at| *at - now);
            wait = self.pause(dice).max(soonest);
            self.begin_round(dice);
        }
    }

    fn pause(&mut self, dice: &mut Dice) -> Duration {
        let most = (PAUSE_MS << self.pauses.min(10)).min(PAUSE_MS_MAX);
        self.pauses += 1;
        match self.elsewhere_ms.take() {
            Some(ms) => about(ms, dice),
            None => Duration::from_millis(dice.within(0, most)),
        }
    }

    /// All of them in another order, the one that was left last.
    fn begin_round(&mut self, dice: &mut Dice) {
        let mut others: Vec<usize> = (0..self.not_before.len()).filter(|at| *at != self.left).collect();
        self.round.clear();
        while !others.is_empty() {
            let nth = usize::try_from(dice.within(0, others.len() as u64)).unwrap_or(0);
            self.round.push(others.swap_remove(nth));
        }
        self.round.push(self.left);
    }
}

/// So long, give or take a fifth.
fn about(ms: u64, dice: &mut Dice) -> Duration {
    let ms = ms.min(3_600_000);
    Duration::from_millis(dice.within(ms * 4 / 5, ms * 6 / 5 + 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Comeback, Stay, Told};
    use crate::dice::Dice;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn servers_that_take_nobody_are_asked_ever_more_slowly() {
        let (mut now, mut dice) = (Instant::now(), Dice::new(1));
        let mut comeback = Comeback::new(3, 2, now);
        let (mut asked, mut waited) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let (server, wait) = comeback.next(now, &mut dice);
            now += wait;
            asked.push(server);
            waited.push(wait);
            comeback.on_end(server, None, Told::default(), now, &mut dice);
        }
        assert_eq!(asked[..3], [2, 0, 1]);
        for (round, waits) in waited.chunks(3).enumerate().skip(1) {
            let most = (250 * MS * 2u32.pow(round.min(8) as u32 - 1)).min(30_000 * MS);
            assert!(waits[0] <= most, "{round}: {waits:?}");
            assert_eq!(waits[1..], [Duration::ZERO; 2], "the others of a round follow at once");
        }
        let all: Duration = waited.iter().sum();
        assert!(all > 60_000 * MS, "{all:?}");
    }

    #[test]
    fn who_said_when_is_not_asked_before_and_the_others_are() {
        let (now, mut dice) = (Instant::now(), Dice::new(2));
        let mut comeback = Comeback::new(2, 0, now);
        let later = Told {
            retry_ms: Some(2000),
            ..Told::default()
        };
        assert_eq!(comeback.next(now, &mut dice).0, 0);
        comeback.on_end(0, None, later, now, &mut dice);
        for _ in 0..3 {
            assert_eq!(comeback.next(now, &mut dice).0, 1);
        }
        comeback.on_end(1, None, later, now, &mut dice);
        let (_, wait) = comeback.next(now, &mut dice);
        assert!((1600 * MS..=2400 * MS).contains(&wait), "{wait:?}");
    }

    #[test]
    fn the_one_that_was_left_comes_last_and_a_good_connection_begins_the_pauses_anew() {
        let (now, mut dice) = (Instant::now(), Dice::new(3));
        for (lived, pauses) in [(9_999, 6), (10_000, 1)] {
            let mut comeback = Comeback::new(3, 0, now);
            comeback.pauses = 5;
            let end = now + lived * MS;
            let stay = Stay {
                since: now,
                brought: true,
            };
            let stopped = Told {
                retry_ms: None,
                elsewhere_ms: Some(100),
            };
            comeback.on_end(1, Some(stay), stopped, end, &mut dice);
            let (first, wait) = comeback.next(end, &mut dice);
            assert!((80 * MS..=120 * MS).contains(&wait), "{wait:?}");
            assert_eq!(comeback.pauses, pauses);
            let (second, _) = comeback.next(end, &mut dice);
            assert_eq!(comeback.next(end, &mut dice).0, 1);
            assert!(first != 1 && second != 1 && first != second);
        }
    }
}
