//! The servers of one feed: which is tried next, and when.

use std::time::Duration;

use super::backoff::{Backoff, around};
use crate::failure::Failure;

/// Chance, as it is drawn: from 0 up to, not including, 1.
pub trait Chance: FnMut() -> f64 {}
impl<F: FnMut() -> f64> Chance for F {}

/// Several servers that have the same topics, of which one at a time is used.
///
/// They are tried in rounds, each in an order of chance: within a round the next one at once, and after a whole round as
/// [`Backoff`] says. One that said when to come back is left out of rounds until then. The one that was used or tried last
/// comes last in the next round. With one server all this is a backoff.
///
/// It reads no clock and draws no chance: moments are times of the monotonic clock, given as arguments.
#[derive(Debug)]
pub struct Servers {
    standings: Vec<Standing>,
    /// What is still to be tried in this round, the next one last.
    round: Vec<usize>,
    /// The one that is tried or used now.
    current: usize,
    /// It did what was asked of it since the round began.
    is_used: bool,
    backoff: Backoff,
}

/// What is known of one server.
#[derive(Debug)]
struct Standing {
    /// Its URL as people may see it.
    url: String,
    /// When it may be tried again, as it asked.
    not_before: Option<Duration>,
    /// Why it will not take us, whenever it is tried; forgotten with each connection to any.
    refusal: Option<Failure>,
    /// It was told that it is passed over, since it was last connected to.
    told: bool,
}

/// What a server that is left said about coming back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parting {
    /// When to come back to it.
    pub retry: Option<Duration>,
    /// When to go to another one that has the same topics.
    pub elsewhere: Option<Duration>,
}

/// How an attempt failed.
#[derive(Debug)]
pub enum Failed {
    /// It may go well another time, after this if the server said so.
    ForNow(Option<Duration>),
    /// It will not be different the next time.
    ForGood(Failure),
}

/// The next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    /// How long until it.
    pub wait: Duration,
    /// A round is over with it: every server was tried, or asked to be left alone.
    pub begins_round: bool,
}

impl Servers {
    /// With these URLs, at least one; the first to try is one of them by chance.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn new(urls: Vec<String>, chance: &mut impl Chance) -> Self {
        assert!(!urls.is_empty(), "who connects has a server");
        let standings = urls.into_iter().map(|url| Standing {
            url,
            not_before: None,
            refusal: None,
            told: false,
        });
        let mut servers = Self {
            standings: standings.collect(),
            round: Vec::new(),
            current: 0,
            is_used: false,
            backoff: Backoff::default(),
        };
        servers.shuffle(None, chance);
        servers.pick(Duration::ZERO);
        servers
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.standings.len()
    }

    /// The one that is tried or used now.
    #[must_use]
    pub fn current(&self) -> usize {
        self.current
    }

    /// Its URL, where there are others to tell it from.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        (self.count() > 1).then(|| self.standings[self.current].url.as_str())
    }

    /// The number of the attempt that waits or runs, from 1; 0 while there is none.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.backoff.attempt()
    }

    /// Whether another one would follow at once, if the current one did not take us `now`.
    #[must_use]
    pub fn has_more(&self, now: Duration) -> bool {
        self.next_place(now).is_some()
    }

    /// The current one takes us.
    pub fn on_connected(&mut self) {
        self.standings[self.current].told = false;
        self.standings[self.current].not_before = None;
        self.standings.iter_mut().for_each(|standing| standing.refusal = None);
    }

    /// Judges a connection that ended, as [`Backoff::on_connection`] does.
    pub fn on_connection(&mut self, lived: Duration, messages: u64) {
        self.backoff.on_connection(lived, messages);
    }

    /// The current one did what was asked: the next attempt is a first one, and if it fails, all others follow at once.
    pub fn on_success(&mut self) {
        self.on_connected();
        self.is_used = true;
        self.backoff = Backoff::default();
    }

    /// The URL of the current one where it is to be told that it is passed over: once, until it takes us again.
    pub fn news(&mut self) -> Option<String> {
        let is_news = self.count() > 1 && !std::mem::replace(&mut self.standings[self.current].told, true);
        is_news.then(|| self.standings[self.current].url.clone())
    }

    /// The current one ended the connection, at `now`, or it was lost.
    pub fn after_loss(&mut self, parting: Parting, now: Duration, chance: &mut impl Chance) -> Next {
        let left = self.current;
        self.standings[left].not_before = parting.retry.map(|retry| now + around(retry, chance()));
        if self.count() == 1 {
            return self.next_round(left, now, chance);
        }
        let own = self.backoff.next(chance());
        let told = match parting {
            Parting {
                elsewhere: Some(elsewhere),
                ..
            } => Some(around(elsewhere, chance())),
            // It counted on our coming back to itself: anywhere in that time, so that not all come to the others at once.
            Parting { retry: Some(retry), .. } => Some(retry.mul_f64(chance())),
            _ => None,
        };
        let wait = match told {
            // The first end of a connection that lived; servers that send us to and fro are not asked ever faster.
            Some(told) if self.backoff.is_fresh() => told,
            told => told.map_or(own, |told| told.max(own)),
        };
        self.shuffle(Some(left), chance);
        let begins_round = true;
        if self.pick(now + wait) {
            return Next { wait, begins_round };
        }
        self.next_round(left, now, chance)
    }

    /// The current one did not take us, at `now`. Once every one has said that it never will, that is the failure.
    pub fn after_failure(&mut self, failed: Failed, now: Duration, chance: &mut impl Chance) -> Result<Next, Failure> {
        let standing = &mut self.standings[self.current];
        (standing.refusal, standing.not_before) = match failed {
            Failed::ForNow(told) => (None, told.map(|told| now + around(told, chance()))),
            Failed::ForGood(failure) => (Some(failure), None),
        };
        if self.standings.iter().all(|standing| standing.refusal.is_some()) {
            return Err(self.refused());
        }
        if std::mem::take(&mut self.is_used) {
            self.shuffle(Some(self.current), chance);
            // It was tried just now.
            self.round.remove(0);
        }
        if self.pick(now) {
            self.backoff.at_once();
            return Ok(Next {
                wait: Duration::ZERO,
                begins_round: false,
            });
        }
        Ok(self.next_round(self.current, now, chance))
    }

    /// All were tried: the next is one that may be, when our own pace says so, or when the first of them said, if all did.
    fn next_round(&mut self, last: usize, now: Duration, chance: &mut impl Chance) -> Next {
        self.shuffle(Some(last), chance);
        let earliest = self
            .standings
            .iter()
            .map(|standing| standing.not_before)
            .min()
            .flatten();
        let wait = match earliest {
            Some(earliest) => self.backoff.told_for_all(earliest.saturating_sub(now)),
            None => self.backoff.next(chance()),
        };
        let found = self.pick(now + wait);
        debug_assert!(found, "one of them may be tried by then");
        Next {
            wait,
            begins_round: true,
        }
    }

    /// Makes the next of the round the current one, if there is one that may be tried `at` that moment.
    fn pick(&mut self, at: Duration) -> bool {
        let Some(place) = self.next_place(at) else {
            return false;
        };
        self.current = self.round.remove(place);
        true
    }

    fn next_place(&self, at: Duration) -> Option<usize> {
        let may = |server: &usize| {
            self.standings[*server]
                .not_before
                .is_none_or(|not_before| not_before <= at)
        };
        self.round.iter().rposition(may)
    }

    fn shuffle(&mut self, last: Option<usize>, chance: &mut impl Chance) {
        self.round = (0..self.count()).filter(|server| Some(*server) != last).collect();
        for end in (1..self.round.len()).rev() {
            let other = ((chance() * (end + 1) as f64) as usize).min(end);
            self.round.swap(end, other);
        }
        if let Some(last) = last {
            self.round.insert(0, last);
        }
    }

    /// Why none of them takes us, each named where there are several.
    fn refused(&mut self) -> Failure {
        let several = self.count() > 1;
        let refusals = self.standings.iter_mut().filter_map(|standing| {
            let mut refusal = standing.refusal.take()?;
            for (sentence, _) in refusal.sentences.iter_mut().filter(|_| several) {
                *sentence = format!("{}: {sentence}", standing.url);
            }
            Some(refusal)
        });
        Failure::all(refusals.collect()).expect_err("who asks has been refused")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Chance that is the same for a seed.
    fn chance(seed: u64) -> impl Chance {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut entropy = super::super::entropy::Entropy::from_seed(bytes);
        move || entropy.fraction()
    }

    fn servers(count: usize, chance: &mut impl Chance) -> Servers {
        Servers::new((0..count).map(|n| format!("ws://s{n}")).collect(), chance)
    }

    fn refusal(sentence: &str) -> Failed {
        Failed::ForGood(Failure::failed(sentence, "hint"))
    }

    #[test]
    fn the_first_is_any_of_them() {
        let first: BTreeSet<usize> = (0..100).map(|seed| servers(3, &mut chance(seed)).current()).collect();
        assert_eq!(first.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn within_a_round_the_next_follows_at_once_and_after_it_the_backoff() {
        let mut most = || 0.999_999_9;
        let mut servers = servers(3, &mut most);
        let mut waits = Vec::new();
        let mut tried = vec![servers.current()];
        for _ in 0..8 {
            let next = servers.after_failure(Failed::ForNow(None), SECOND, &mut most);
            waits.push(next.expect("none said never").wait.as_millis());
            tried.push(servers.current());
        }
        assert_eq!(waits, [0, 0, 249, 0, 0, 499, 0, 0]);
        for round in tried.chunks(3) {
            assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 3, "{tried:?}");
        }
        assert_eq!(servers.attempt(), 8);
    }

    #[test]
    fn the_one_that_was_left_comes_last() {
        for seed in 0..50 {
            let mut chance = chance(seed);
            let mut servers = servers(4, &mut chance);
            let left = servers.current();
            servers.after_loss(Parting::default(), SECOND, &mut chance);
            for _ in 0..3 {
                assert!(servers.current() != left && servers.has_more(SECOND));
                let next = servers.after_failure(Failed::ForNow(None), SECOND, &mut chance);
                assert_eq!(next.expect("none said never").wait, Duration::ZERO);
            }
            assert!(servers.current() == left && !servers.has_more(SECOND));
        }
    }

    #[test]
    fn no_server_is_tried_twice_in_a_row() {
        for seed in 0..50 {
            let mut chance = chance(seed);
            let mut servers = servers(3, &mut chance);
            for _ in 0..12 {
                let before = servers.current();
                servers
                    .after_failure(Failed::ForNow(None), SECOND, &mut chance)
                    .expect("not never");
                assert_ne!(servers.current(), before);
            }
        }
    }

    #[test]
    fn when_one_that_was_used_fails_all_others_follow_at_once() {
        for seed in 0..50 {
            let mut chance = chance(seed);
            let mut servers = servers(3, &mut chance);
            // Tried in part of a round, or all of it.
            for _ in 0..seed % 3 {
                servers
                    .after_failure(Failed::ForNow(None), SECOND, &mut chance)
                    .expect("not never");
            }
            servers.on_success();
            let used = servers.current();
            let mut waits = Vec::new();
            for _ in 0..2 {
                let next = servers.after_failure(Failed::ForNow(None), SECOND, &mut chance);
                waits.push(next.expect("not never").wait);
                assert_ne!(servers.current(), used);
            }
            assert_eq!(waits, [Duration::ZERO; 2]);
        }
    }

    #[test]
    fn a_loss_without_a_word_is_followed_by_a_wait_of_chance() {
        let mut half = || 0.5;
        let mut servers = servers(2, &mut half);
        let next = servers.after_loss(Parting::default(), SECOND, &mut half);
        assert_eq!(next.wait, Duration::from_millis(125));
    }

    #[test]
    fn a_server_that_stops_says_when_to_go_elsewhere_and_is_left_alone_until_it_is_back() {
        let parting = Parting {
            retry: Some(SECOND * 10),
            elsewhere: Some(Duration::from_millis(400)),
        };
        let mut half = || 0.5;
        let mut servers = servers(2, &mut half);
        let left = servers.current();
        let now = SECOND * 100;
        let next = servers.after_loss(parting, now, &mut half);
        assert_eq!((next.wait.as_millis(), servers.current()), (400, 1 - left));
        // The other takes nobody: it alone is tried, until the first one's time has come.
        let mut now = now + next.wait;
        let mut tried = BTreeSet::new();
        while now < SECOND * 109 {
            let next = servers.after_failure(Failed::ForNow(None), now, &mut half);
            now += next.expect("neither said never").wait;
            tried.insert((servers.current(), now < SECOND * 110));
        }
        assert!(
            tried.contains(&(1 - left, true)) && !tried.contains(&(left, true)),
            "{tried:?}"
        );
    }

    #[test]
    fn without_a_time_for_others_they_are_gone_to_anywhere_in_the_time_for_coming_back() {
        let parting = Parting {
            retry: Some(SECOND * 4),
            elsewhere: None,
        };
        let mut quarter = || 0.25;
        let mut servers = servers(2, &mut quarter);
        assert_eq!(servers.after_loss(parting, SECOND, &mut quarter).wait, SECOND);
    }

    #[test]
    fn servers_that_send_us_to_and_fro_are_asked_ever_more_slowly() {
        let parting = Parting {
            retry: None,
            elsewhere: Some(Duration::ZERO),
        };
        let mut most = || 0.999_999_9;
        let mut servers = servers(2, &mut most);
        let mut wait = || {
            servers.on_connected();
            servers.after_loss(parting, SECOND, &mut most).wait.as_millis()
        };
        assert_eq!([wait(), wait(), wait(), wait()], [0, 499, 999, 1999]);
    }

    #[test]
    fn a_single_server_is_come_back_to_as_it_said() {
        let parting = Parting {
            retry: Some(SECOND * 10),
            elsewhere: Some(SECOND),
        };
        let mut least = || 0.0;
        let mut servers = servers(1, &mut least);
        assert_eq!(servers.after_loss(parting, SECOND, &mut least).wait, SECOND * 8);
        let busy = servers.after_failure(Failed::ForNow(Some(SECOND * 5)), SECOND, &mut least);
        assert_eq!(busy.expect("not never").wait, SECOND * 4);
        let mut most = || 0.999_999_9;
        let wait = |servers: &mut Servers, most: &mut _| {
            let next = servers.after_failure(Failed::ForNow(None), SECOND, most);
            next.expect("not never").wait.as_millis()
        };
        assert_eq!(wait(&mut servers, &mut most), 999, "two attempts came before");
        assert_eq!(servers.news().as_deref(), servers.named());
        assert_eq!(servers.named(), None);
    }

    #[test]
    fn one_that_is_busy_holds_up_no_other() {
        let mut half = || 0.5;
        let mut servers = servers(2, &mut half);
        let busy = servers.current();
        let mut now = SECOND;
        let next = servers.after_failure(Failed::ForNow(Some(SECOND * 60)), now, &mut half);
        assert_eq!(next.expect("not never").wait, Duration::ZERO);
        for _ in 0..5 {
            assert_ne!(servers.current(), busy);
            let next = servers.after_failure(Failed::ForNow(None), now, &mut half);
            now += next.expect("not never").wait;
        }
        // Where both are busy, the first time that either said is waited for.
        servers
            .after_failure(Failed::ForNow(Some(SECOND * 3)), SECOND * 10, &mut half)
            .expect("not never");
        assert_ne!(servers.current(), busy);
    }

    #[test]
    fn it_ends_when_every_one_says_never_and_each_is_named() {
        let mut half = || 0.5;
        let mut servers = servers(2, &mut half);
        let first = servers.current();
        assert_eq!((servers.news(), servers.news()), (Some(format!("ws://s{first}")), None));
        servers
            .after_failure(refusal("no topic"), SECOND, &mut half)
            .expect("there is another");
        servers
            .after_failure(Failed::ForNow(None), SECOND, &mut half)
            .expect("it may come");
        while servers.current() == first {
            servers
                .after_failure(refusal("no topic"), SECOND, &mut half)
                .expect("there is another");
        }
        let failure = servers
            .after_failure(refusal("no place"), SECOND, &mut half)
            .expect_err("none is left");
        let mut told: Vec<_> = failure.sentences.into_iter().map(|(sentence, _)| sentence).collect();
        told.sort();
        let mut expect = [
            format!("ws://s{first}: no topic"),
            format!("ws://s{}: no place", 1 - first),
        ];
        expect.sort();
        assert_eq!(told, expect);
    }

    #[test]
    fn a_single_refusal_is_told_as_it_is() {
        let mut half = || 0.5;
        let failure = servers(1, &mut half).after_failure(refusal("no topic"), SECOND, &mut half);
        assert_eq!(
            failure.expect_err("there is no other"),
            Failure::failed("no topic", "hint")
        );
    }

    proptest! {
        /// Whatever servers say: each that may be tried is, and none before its time.
        #[test]
        fn nobody_is_forgotten_and_nobody_asked_too_early(
            count in 1_usize..6,
            seed: u64,
            steps in proptest::collection::vec((0_u8..5, 0_u64..5_000), 1..60),
        ) {
            let mut chance = chance(seed);
            let mut servers = servers(count, &mut chance);
            let mut now = SECOND;
            let mut asked: Vec<Option<Duration>> = vec![None; count];
            for (kind, ms) in steps {
                let time = Duration::from_millis(ms);
                let current = servers.current();
                let next = match kind {
                    0 | 1 => servers.after_failure(Failed::ForNow(None), now, &mut chance).expect("not never"),
                    2 => servers.after_failure(Failed::ForNow(Some(time)), now, &mut chance).expect("not never"),
                    _ => {
                        servers.on_connected();
                        let retry = Some(time).filter(|_| kind == 3);
                        servers.after_loss(Parting { retry, elsewhere: None }, now, &mut chance)
                    }
                };
                asked[current] = matches!(kind, 2 | 3).then(|| now + time.mul_f64(0.8));
                now += next.wait;
                if let Some(not_before) = asked[servers.current()] {
                    prop_assert!(now >= not_before);
                }
            }
            // Refused by all from now on, each is heard of within two rounds and the longest wait that was asked for.
            let mut heard = BTreeSet::new();
            for _ in 0..count * 40 {
                heard.insert(servers.current());
                now += servers.after_failure(Failed::ForNow(None), now, &mut chance).expect("not never").wait;
            }
            prop_assert_eq!(heard.len(), count);
        }
    }
}
