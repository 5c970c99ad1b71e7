//! One topic as a listener follows it: what comes next, how long blocks take, and what is to be reported.

use std::num::NonZeroU64;
use std::time::Duration;

use lapwing_wire::block::{BlockTimer, BlockTiming, Flags};
use lapwing_wire::control::{Answer, Subscribed};
use lapwing_wire::position::{Epoch, Offset, Position};
use lapwing_wire::report::{Report, ReportBuilder};
use lapwing_wire::time::{WallTime, micros_text};
use lapwing_wire::topic::TopicName;

use crate::recording::wanted::Wanted;

/// One topic followed.
///
/// It reads no clock: moments are nanoseconds of the reader's monotonic clock, given as arguments.
#[derive(Debug)]
pub struct Track {
    topic: TopicName,
    /// What is expected next; none before the first message of a plain feed.
    wanted: Option<Wanted>,
    /// It was asked for anew, elsewhere than where delivery began: what comes before the answer is not wanted.
    asks: bool,
    /// The last offset that came of this history.
    last: Option<Offset>,
    /// How many messages came: the place of a message in a feed without offsets.
    arrivals: u64,
    /// A plain connection was lost since the last message.
    away: bool,
    /// What comes next belongs to a history without a name, and what came before to one with a name.
    turned: bool,
    timer: BlockTimer,
    builder: ReportBuilder,
    /// When the last message arrived, and the last of those that the next report covers.
    arrived: Duration,
    covered: Duration,
    reported: Option<Duration>,
}

/// Where an arriving offset lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Where it was expected.
    Next,
    /// Before it: it has come already.
    Repeat,
    /// Anywhere, before the answer to what was asked anew: it comes again behind that, if it is wanted.
    Unasked,
    /// Behind it: offsets from `from` on did not come.
    Jump {
        /// The first offset that did not come.
        from: Offset,
        /// Whether the connection had been away.
        away: bool,
    },
    /// On a plain connection that was away: before what was expected, so this is another history, or a replay.
    NewHistory,
}

/// What a grant after a loss, or a first one, means for what is known.
#[derive(Debug, PartialEq)]
pub enum Grant {
    /// It goes on as expected.
    AsAsked,
    /// Offsets from `from` on are gone; it goes on behind them.
    Gap {
        /// The first offset that is gone.
        from: Offset,
    },
    /// The server lost what it had sent from `at` on, and what it has instead is gone before `from`.
    Diverged {
        /// From which offset on.
        at: Offset,
        /// Where it goes on.
        from: Offset,
    },
    /// Another history.
    Reset,
    /// A history that was there before: it goes on where it was left, whatever the server begins with.
    Returned {
        /// What is wanted next of it.
        at: Offset,
    },
}

impl Track {
    /// Follows `topic` in blocks of `size`.
    #[must_use]
    pub fn new(topic: TopicName, size: NonZeroU64) -> Self {
        Self {
            topic,
            wanted: None,
            asks: false,
            last: None,
            arrivals: 0,
            away: false,
            turned: false,
            timer: BlockTimer::new(size, Offset::ZERO),
            builder: ReportBuilder::default(),
            arrived: Duration::ZERO,
            covered: Duration::ZERO,
            reported: None,
        }
    }

    /// Follows `topic` from where a recording ends.
    #[must_use]
    pub fn resumed(topic: TopicName, size: NonZeroU64, wanted: Wanted) -> Self {
        Self {
            last: wanted.offset().previous(),
            wanted: Some(wanted),
            away: true,
            ..Self::new(topic, size)
        }
    }

    /// Goes on without the subprotocol: which history the offsets belong to is not known any more.
    pub fn on_plain(&mut self) {
        self.asks = false;
        if let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.epoch().is_some()) {
            wanted.go_on(None, wanted.offset());
            self.turned = true;
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The history, where it has a name.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.wanted.as_ref()?.epoch()
    }

    /// The last offset that came of this history; gone on with, the one before what is wanted next.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.last
    }

    /// How many messages came.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// The offset that is wanted next, if any is known.
    #[must_use]
    pub fn next(&self) -> Option<Offset> {
        Some(self.wanted.as_ref()?.offset())
    }

    /// What to ask for after a loss.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let position = self.wanted.as_ref()?.position()?;
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::ReplayedOne) {
            let offset = position.offset.previous().unwrap_or(position.offset);
            return Some(Position { offset, ..position });
        }
        Some(position)
    }

    /// Whether the place of [`Track::position`] must be asked for: delivery began elsewhere.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// The server refuses what was asked anew: delivery stays where it began.
    pub fn on_refused(&mut self) {
        self.asks = false;
    }

    /// Takes what the server grants. A block of a lost history comes back, to be told before anything of the new one.
    pub fn on_subscribed(&mut self, granted: &Subscribed) -> (Grant, Option<BlockTiming>) {
        let grant = self.grant(granted);
        let unfinished = self.on_grant(&grant, granted.next);
        let next = match (&grant, self.next()) {
            // What was expected stays so: whatever comes before it is a repeat, whatever behind it a gap.
            (Grant::AsAsked, Some(next)) => next,
            (Grant::Returned { at }, _) => *at,
            _ => granted.from,
        };
        #[cfg(feature = "planted")]
        let next = match next
            .previous()
            .filter(|_| self.wanted.is_some() && grant == Grant::AsAsked)
        {
            Some(before) if crate::planted::is(crate::planted::Bug::ReplayedOne) => before,
            _ => next,
        };
        self.last = match &grant {
            Grant::AsAsked | Grant::Gap { .. } => self.last,
            // What came from there on is no part of the history that goes on.
            Grant::Diverged { at, .. } => self.last.min(at.previous()),
            Grant::Returned { at } => at.previous(),
            Grant::Reset => None,
        };
        // A server that is behind us in the same history has nothing else to give.
        let elsewhere = self.epoch() != Some(granted.epoch) && next != granted.from && next <= granted.next;
        self.asks = elsewhere && matches!(grant, Grant::Returned { .. });
        (self.away, self.turned) = (false, false);
        match &mut self.wanted {
            Some(wanted) => wanted.go_on(Some(granted.epoch), next),
            None => self.wanted = Some(Wanted::new(Some(granted.epoch), next)),
        }
        (grant, unfinished)
    }

    /// What a grant means for what is known.
    fn grant(&self, granted: &Subscribed) -> Grant {
        let known = self.next();
        // Offsets of a history that had no name compare with nothing.
        let nameless = known.is_some() && self.epoch().is_none();
        let grant = match granted.answer {
            _ if nameless => Grant::Reset,
            Answer::Ok => Grant::AsAsked,
            Answer::Gap => Grant::Gap {
                from: granted
                    .missing_from
                    .or(known)
                    .unwrap_or(granted.first)
                    .min(granted.from),
            },
            Answer::Diverged => Grant::Diverged {
                at: granted.diverged_at.unwrap_or(granted.from).min(granted.from),
                from: granted.from,
            },
            Answer::Reset => Grant::Reset,
        };
        let begins = known.filter(|_| grant == Grant::AsAsked).unwrap_or(granted.from);
        let held = self.wanted.as_ref().and_then(|wanted| wanted.of(granted.epoch));
        match held {
            Some(at) if begins < at || grant == Grant::Reset => Grant::Returned { at },
            _ => grant,
        }
    }

    /// Tells the blocks of a grant, of a topic that ends at `end`; one of a lost history comes back.
    fn on_grant(&mut self, grant: &Grant, end: Offset) -> Option<BlockTiming> {
        match (grant, &self.wanted) {
            (_, None) => self.timer = BlockTimer::new(self.timer.size(), end),
            (Grant::AsAsked, Some(_)) => self.timer.on_break(Flags::INTERRUPTED, Some(end)),
            (Grant::Gap { .. }, Some(_)) => self.timer.on_break(Flags::INTERRUPTED.with(Flags::GAP), Some(end)),
            (Grant::Diverged { .. } | Grant::Reset | Grant::Returned { .. }, Some(_)) => {
                // No report of the old history: the server that answers now cannot compare it with anything.
                self.builder = ReportBuilder::default();
                return self.timer.on_reset(end);
            }
        }
        None
    }

    /// Where `offset` lies; a place other than [`Place::Repeat`] and [`Place::Unasked`] is from then on where we are.
    pub fn place(&mut self, offset: Offset) -> Place {
        if self.asks {
            return Place::Unasked;
        }
        let away = std::mem::take(&mut self.away);
        let turned = std::mem::take(&mut self.turned);
        let place = match self.next() {
            Some(_) if turned => {
                self.timer.on_break(Flags::GAP, None);
                Place::NewHistory
            }
            Some(next) if offset < next && away => {
                // Its blocks have nothing to do with those before.
                self.timer.on_break(Flags::GAP, None);
                Place::NewHistory
            }
            Some(next) if offset < next => return Place::Repeat,
            Some(next) if offset > next => {
                self.timer.on_break(Flags::GAP, None);
                Place::Jump { from: next, away }
            }
            _ => Place::Next,
        };
        self.go_on(offset.next());
        place
    }

    /// Takes a gap that the server told; gives the first offset missed, as far as it is not known already.
    pub fn on_gap(&mut self, from: Offset, to: Offset) -> Option<Offset> {
        // Frames come in order: what lies between the expected offset and `from` did not come either.
        let from = self.next().unwrap_or(from);
        if to <= from || self.asks {
            return None;
        }
        self.timer.on_break(Flags::GAP, None);
        self.go_on(to);
        Some(from)
    }

    /// From now on `next` is wanted next of the same history.
    fn go_on(&mut self, next: Offset) {
        match &mut self.wanted {
            Some(wanted) => wanted.go_on(wanted.epoch(), next),
            None => self.wanted = Some(Wanted::new(None, next)),
        }
    }

    /// Takes a message, of which the place has been asked before; gives the blocks it ended.
    pub fn on_message(
        &mut self,
        offset: Option<Offset>,
        at: Duration,
        bytes: u64,
    ) -> impl Iterator<Item = BlockTiming> {
        let place = offset.unwrap_or(Offset::new(self.arrivals));
        self.arrivals += 1;
        self.last = offset.or(self.last);
        let before = std::mem::replace(&mut self.arrived, at);
        let ended = self.timer.on_message(place, at, bytes);
        ended.inspect(move |timing| {
            self.builder.on_block(timing);
            // A block that is cut short ended with the message before this one.
            self.covered = if timing.last < place { before } else { at };
        })
    }

    /// A plain connection was lost.
    pub fn on_lost(&mut self) {
        self.timer.on_break(Flags::INTERRUPTED, None);
        self.away = true;
    }

    /// We stood still.
    pub fn on_stall(&mut self) {
        self.timer.on_break(Flags::STALLED, None);
    }

    /// Ends the block under way.
    pub fn finish(&mut self) -> Option<BlockTiming> {
        let last = self.timer.finish();
        self.covered = self.arrived;
        last.inspect(|timing| self.builder.on_block(timing))
    }

    /// The report of all blocks since the last one, if there are any and `interval` has passed.
    pub fn report(&mut self, at: Duration, interval: Duration, reconnects: u64, wall: WallTime) -> Option<Report> {
        if self.reported.is_some_and(|before| at.saturating_sub(before) < interval) {
            return None;
        }
        let age = at.saturating_sub(self.covered);
        let report = self
            .builder
            .take(&self.topic, self.epoch(), reconnects, age, micros_text(wall))?;
        self.reported = Some(at);
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use lapwing_wire::control::Level;

    use super::*;

    fn granted(answer: Answer, epoch: u128, first: u64, from: u64, next: u64) -> Subscribed {
        Subscribed {
            topic: TopicName::parse("users").expect("valid"),
            epoch: Epoch::from_bits(epoch),
            first: Offset::new(first),
            next: Offset::new(next),
            durable: None,
            level: Level::None,
            from: Offset::new(from),
            answer,
            missing_from: None,
            diverged_at: None,
            number: None,
            dtype: None,
        }
    }

    fn track() -> Track {
        let topic = TopicName::parse("users").expect("valid");
        Track::new(topic, NonZeroU64::new(2).expect("not zero"))
    }

    fn following(offsets: std::ops::Range<u64>) -> Track {
        let mut track = track();
        track.on_subscribed(&granted(Answer::Ok, 1, 0, offsets.start, offsets.start));
        for offset in offsets {
            assert_eq!(track.place(Offset::new(offset)), Place::Next);
            let ended = track.on_message(Some(Offset::new(offset)), Duration::from_millis(offset), 1);
            ended.for_each(drop);
        }
        track
    }

    #[test]
    fn what_comes_is_next_repeated_or_behind_a_gap() {
        let mut track = following(3..5);
        assert_eq!(track.place(Offset::new(4)), Place::Repeat);
        let jump = Place::Jump {
            from: Offset::new(5),
            away: false,
        };
        assert_eq!(track.place(Offset::new(9)), jump);
        assert_eq!(track.place(Offset::new(10)), Place::Next);
    }

    #[test]
    fn a_gap_told_twice_counts_once() {
        let mut track = following(0..5);
        assert_eq!(track.on_gap(Offset::new(5), Offset::new(9)), Some(Offset::new(5)));
        assert_eq!(track.on_gap(Offset::new(5), Offset::new(9)), None);
        assert_eq!(track.on_gap(Offset::new(7), Offset::new(12)), Some(Offset::new(9)));
        assert_eq!(track.place(Offset::new(12)), Place::Next);
    }

    #[test]
    fn a_resume_as_asked_drops_what_comes_twice() {
        let mut track = following(0..5);
        assert_eq!(track.position().expect("known").offset.get(), 5);
        let (grant, unfinished) = track.on_subscribed(&granted(Answer::Ok, 1, 0, 3, 7));
        assert_eq!((grant, unfinished), (Grant::AsAsked, None));
        assert_eq!(track.place(Offset::new(3)), Place::Repeat);
        assert_eq!(track.place(Offset::new(5)), Place::Next);
        let ended = track.on_message(Some(Offset::new(5)), Duration::from_secs(1), 1).next();
        assert!(ended.expect("4 and 5").flags.has(Flags::INTERRUPTED));
    }

    #[test]
    fn a_gap_at_resume_goes_from_what_was_expected() {
        let mut track = following(0..5);
        let (grant, _) = track.on_subscribed(&granted(Answer::Gap, 1, 9, 9, 12));
        assert_eq!(grant, Grant::Gap { from: Offset::new(5) });
        assert_eq!(track.place(Offset::new(9)), Place::Next);
    }

    #[test]
    fn a_new_history_ends_the_block_under_way() {
        let mut track = following(0..5);
        let (grant, unfinished) = track.on_subscribed(&granted(Answer::Reset, 2, 0, 0, 1));
        assert_eq!(grant, Grant::Reset);
        assert_eq!(unfinished.expect("4 was open").messages, 1);
        assert_eq!(track.place(Offset::ZERO), Place::Next);
    }

    #[test]
    fn a_plain_feed_has_a_new_history_when_it_falls_back_after_a_loss() {
        let mut track = track();
        assert_eq!(track.place(Offset::new(7)), Place::Next);
        track.on_lost();
        assert_eq!(track.place(Offset::new(2)), Place::NewHistory);
        assert_eq!(track.place(Offset::new(2)), Place::Repeat);
        track.on_lost();
        let jump = Place::Jump {
            from: Offset::new(3),
            away: true,
        };
        assert_eq!(track.place(Offset::new(5)), jump);
    }

    fn resumed(epoch: Option<u128>) -> Track {
        let wanted = Wanted::new(epoch.map(Epoch::from_bits), Offset::new(5));
        Track::resumed(track().topic, NonZeroU64::new(2).expect("not zero"), wanted)
    }

    #[test]
    fn the_last_offset_is_one_of_the_history_that_goes_on() {
        let mut track = following(0..4);
        track.on_subscribed(&granted(Answer::Gap, 1, 9, 9, 9));
        assert_eq!(track.last(), Some(Offset::new(3)));
        let mut diverged = granted(Answer::Diverged, 2, 0, 2, 2);
        diverged.diverged_at = Some(Offset::new(2));
        track.on_subscribed(&diverged);
        assert_eq!(track.last(), Some(Offset::new(1)));
        track.on_subscribed(&granted(Answer::Reset, 3, 0, 0, 0));
        assert_eq!(track.last(), None);
    }

    #[test]
    fn a_recording_is_gone_on_with_where_it_ends() {
        let mut track = resumed(Some(1));
        let position = track.position().expect("known");
        assert_eq!((position.epoch.to_bits(), position.offset.get()), (1, 5));
        let (grant, _) = track.on_subscribed(&granted(Answer::Ok, 1, 0, 5, 9));
        assert_eq!(grant, Grant::AsAsked);
        assert_eq!(track.place(Offset::new(4)), Place::Repeat);
        assert_eq!(track.place(Offset::new(5)), Place::Next);
    }

    #[test]
    fn a_recording_of_a_plain_feed_cannot_say_which_history_it_was() {
        let mut track = resumed(None);
        assert_eq!(track.position(), None);
        let (grant, _) = track.on_subscribed(&granted(Answer::Ok, 1, 0, 9, 9));
        assert_eq!(grant, Grant::Reset);
        assert_eq!(track.place(Offset::new(9)), Place::Next);
    }

    #[test]
    fn a_plain_feed_goes_on_with_a_recording_as_far_as_offsets_say() {
        let mut named = resumed(Some(1));
        named.on_plain();
        assert_eq!(named.place(Offset::new(5)), Place::NewHistory);
        assert_eq!(named.place(Offset::new(6)), Place::Next);
        let mut nameless = resumed(None);
        nameless.on_plain();
        let jump = Place::Jump {
            from: Offset::new(5),
            away: true,
        };
        assert_eq!(nameless.place(Offset::new(7)), jump);
    }

    /// Followed history 1 up to 5, then 2 up to 3.
    fn left() -> Track {
        let mut track = following(0..5);
        track.on_subscribed(&granted(Answer::Reset, 2, 0, 0, 3));
        for offset in 0..3 {
            assert_eq!(track.place(Offset::new(offset)), Place::Next);
        }
        track
    }

    #[track_caller]
    fn check_return(first: u64, end: u64, asks: bool) {
        let mut track = left();
        let (grant, _) = track.on_subscribed(&granted(Answer::Reset, 1, first, first, end));
        let at = Offset::new(5);
        assert_eq!((grant, track.asks()), (Grant::Returned { at }, asks));
        assert_eq!(
            track.position().map(|place| (place.epoch.to_bits(), place.offset)),
            Some((1, at))
        );
        let before = if asks { Place::Unasked } else { Place::Repeat };
        assert_eq!(track.place(Offset::new(4)), before);
    }

    #[test]
    fn a_history_that_comes_back_is_gone_on_with_where_it_was_left() {
        check_return(0, 9, true);
        check_return(0, 5, true);
        // There is nothing to ask for.
        check_return(5, 9, false);
        check_return(0, 4, false);
        // What is gone is told by the answer.
        check_return(7, 9, true);
        let mut track = left();
        track.on_subscribed(&granted(Answer::Reset, 1, 7, 7, 9));
        assert_eq!(
            (
                track.place(Offset::new(7)),
                track.on_gap(Offset::new(7), Offset::new(8))
            ),
            (Place::Unasked, None)
        );
        let (grant, _) = track.on_subscribed(&granted(Answer::Gap, 1, 7, 7, 9));
        assert_eq!((grant, track.asks()), (Grant::Gap { from: Offset::new(5) }, false));
        assert_eq!(track.place(Offset::new(7)), Place::Next);
        // A third one is new.
        let (grant, _) = track.on_subscribed(&granted(Answer::Reset, 3, 0, 0, 9));
        assert_eq!((grant, track.next()), (Grant::Reset, Some(Offset::ZERO)));
    }

    #[test]
    fn a_server_that_is_behind_in_the_same_history_repeats_nothing() {
        let mut track = following(0..5);
        let (grant, _) = track.on_subscribed(&granted(Answer::Reset, 1, 0, 0, 3));
        assert_eq!((grant, track.asks()), (Grant::Returned { at: Offset::new(5) }, false));
        assert_eq!(track.place(Offset::new(4)), Place::Repeat);
        assert_eq!(track.place(Offset::new(5)), Place::Next);
    }

    #[test]
    fn a_feed_without_names_in_between_changes_nothing_of_what_is_known() {
        let mut track = following(0..5);
        track.on_plain();
        assert_eq!(track.place(Offset::new(5)), Place::NewHistory);
        let (grant, _) = track.on_subscribed(&granted(Answer::Ok, 1, 0, 9, 9));
        assert_eq!((grant, track.asks()), (Grant::Returned { at: Offset::new(5) }, true));
    }

    #[test]
    fn what_was_asked_anew_is_forgotten_where_nobody_can_answer() {
        let mut track = left();
        track.on_subscribed(&granted(Answer::Reset, 1, 0, 0, 9));
        track.on_plain();
        assert_eq!(track.place(Offset::new(2)), Place::NewHistory);
    }

    #[test]
    fn a_refusal_of_what_was_asked_anew_leaves_delivery_where_it_began() {
        let mut track = left();
        track.on_subscribed(&granted(Answer::Reset, 1, 0, 0, 9));
        track.on_refused();
        assert_eq!(track.place(Offset::new(4)), Place::Repeat);
        assert_eq!(track.place(Offset::new(5)), Place::Next);
    }

    #[test]
    fn reports_keep_their_distance() {
        let mut track = following(0..4);
        let second = Duration::from_secs(1);
        let report = |track: &mut Track, ms| track.report(Duration::from_millis(ms), second, 0, WallTime::default());
        let first = report(&mut track, 10).expect("two blocks");
        assert_eq!((first.blocks, first.age_ms), (2, Some(7.0)));
        track.on_message(Some(Offset::new(4)), second, 1).for_each(drop);
        assert!(track.finish().is_some());
        assert!(report(&mut track, 900).is_none());
        assert!(report(&mut track, 1010).is_some());
    }
}
