//! Which fault comes when, and for how long: all of it from the seed, before anything starts.

use std::fmt;
use std::time::Duration;

use crate::dice::Dice;
use crate::history::Level;
use crate::proxy::End;

/// A kind of fault, as it is named on the command line and in the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The server is killed and started again.
    Kill,
    /// The server is told to stop, and started again.
    Stop,
    /// The server stands still.
    Pause,
    /// Server and a listener are killed.
    KillBoth,
    /// The server's disk loses what was not synced.
    PowerCut,
    /// The server comes back without its data directory.
    Wipe,
    /// The disk is full for a while.
    DiskFull,
    /// The disk is slow to sync.
    SlowFsync,
    /// A sync fails.
    BadFsync,
    /// Connections are cut after so many bytes.
    Cut,
    /// A listener cannot connect for a long time.
    Away,
    /// Bytes come late.
    Delay,
    /// Bytes come in small pieces.
    Slice,
    /// Few bytes a second.
    Rate,
    /// Nothing comes through.
    Hole,
    /// A listener is killed and started again.
    KillListener,
    /// A listener stands still.
    PauseListener,
    /// A listener takes nothing until its topics' sources are held back for it.
    Hold,
    /// Packets are lost.
    Loss,
    /// Few bytes a second, of all programs together.
    Throttle,
    /// The wall clock of all programs is set an hour ahead or back, and later right again.
    Clock,
}

/// Who carries a fault out: the lanes run side by side, so that faults of different lanes overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The server and its disk.
    Server,
    /// The network.
    Network,
    /// The listeners.
    Listeners,
    /// A listener that is gone for long; of its own, for it takes its time.
    Absence,
    /// A listener that is there and takes nothing; of its own, for it takes its time.
    Holding,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Server,
        Self::Network,
        Self::Listeners,
        Self::Absence,
        Self::Holding,
    ];
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::KillBoth,
        Self::PowerCut,
        Self::Wipe,
        Self::DiskFull,
        Self::SlowFsync,
        Self::BadFsync,
        Self::Cut,
        Self::Away,
        Self::Delay,
        Self::Slice,
        Self::Rate,
        Self::Hole,
        Self::KillListener,
        Self::PauseListener,
        Self::Hold,
        Self::Loss,
        Self::Throttle,
        Self::Clock,
    ];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::KillBoth => "kill-both",
            Self::PowerCut => "power-cut",
            Self::Wipe => "wipe",
            Self::DiskFull => "disk-full",
            Self::SlowFsync => "slow-fsync",
            Self::BadFsync => "bad-fsync",
            Self::Cut => "cut",
            Self::Away => "away",
            Self::Delay => "delay",
            Self::Slice => "slice",
            Self::Rate => "rate",
            Self::Hole => "hole",
            Self::KillListener => "kill-listener",
            Self::PauseListener => "pause-listener",
            Self::Hold => "hold",
            Self::Loss => "loss",
            Self::Throttle => "throttle",
            Self::Clock => "clock",
        }
    }

    /// Who carries it out.
    pub fn lane(self) -> Lane {
        match self {
            Self::Away => Lane::Absence,
            Self::Hold => Lane::Holding,
            Self::Cut | Self::Delay | Self::Slice | Self::Rate | Self::Hole => Lane::Network,
            Self::Loss | Self::Throttle | Self::Clock => Lane::Network,
            Self::KillListener | Self::PauseListener => Lane::Listeners,
            _ => Lane::Server,
        }
    }

    /// Whether it needs a data directory.
    pub fn needs_data(self) -> bool {
        matches!(
            self,
            Self::PowerCut | Self::Wipe | Self::DiskFull | Self::SlowFsync | Self::BadFsync
        )
    }

    /// Whether it needs a file system of the trial's own.
    pub fn needs_disk(self) -> bool {
        matches!(self, Self::PowerCut | Self::DiskFull)
    }

    /// From how long to how long it lasts.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::Kill | Self::KillBoth | Self::Stop | Self::PowerCut | Self::Wipe | Self::KillListener => (0, 700),
            Self::Cut => (0, 50),
            // Until it is seen.
            Self::Hold => (0, 1),
            // Longer than the small topics keep anything.
            Self::Away => (4000, 9000),
            Self::PauseListener => (300, 3500),
            Self::Pause => (100, 2500),
            _ => (500, 3000),
        }
    }

    /// How many of its lane's faults are of this kind, beside the others.
    fn weight(self) -> u64 {
        match self {
            Self::Kill => 8,
            Self::PowerCut => 3,
            Self::Cut => 5,
            Self::KillListener => 3,
            _ => 1,
        }
    }
}

/// A fault as it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, from the end of the warm-up on.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
    /// What.
    pub kind: Kind,
    /// Whom, among the listeners; of the network, whose proxy: that of a listener by its number, or of the publishers.
    pub victim: u64,
    /// A number of its own: the byte of a cut, milliseconds of a delay, bytes of a slice, bytes or kilobits a
    /// second.
    pub size: u64,
    /// How a cut ends.
    pub end: End,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:8.3} s  {:<14} {lasts:.3} s", self.kind.word())?;
        match self.kind {
            Kind::Cut => write!(f, "  proxy {} after {} bytes: {:?}", self.victim, self.size, self.end),
            Kind::Delay => write!(f, "  proxy {} by {} ms", self.victim, self.size),
            Kind::Slice => write!(f, "  proxy {}, up to {} bytes", self.victim, self.size),
            Kind::Rate => write!(f, "  proxy {}, {} bytes a second", self.victim, self.size),
            Kind::Hold => write!(f, "  the last listener, as long as it takes"),
            Kind::Throttle => write!(f, "  all, {} kbit a second", self.size),
            Kind::Hole | Kind::Away => write!(f, "  proxy {}", self.victim),
            Kind::KillListener | Kind::PauseListener | Kind::KillBoth => write!(f, "  listener {}", self.victim),
            _ => Ok(()),
        }
    }
}

/// What is asked of a schedule.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The seed.
    pub seed: u64,
    /// How long faults go on.
    pub lasts: Duration,
    /// Kinds that may come.
    pub kinds: Vec<Kind>,
    /// How many of some kinds there must be at least.
    pub least: Vec<(Kind, u64)>,
    /// Listeners of topics that go on without them.
    pub listeners: u64,
    /// Listeners of topics that hold back their sources; the last has no fault but [`Kind::Hold`].
    pub holding: u64,
}

impl Wish {
    /// Listeners that any fault may befall; behind their numbers comes that of the publishers' proxy.
    pub fn victims(&self) -> u64 {
        (self.listeners + self.holding.saturating_sub(1)).max(1)
    }
}

/// Between two faults of a lane, on the average.
const PERIOD: Duration = Duration::from_millis(2500);

/// A trial that is longer has fewer faults of the server a minute: what comes back slowly must come back now and then.
const SHORT: Duration = Duration::from_secs(120);

/// Between two faults of the server in a longer trial, on the average.
const SERVER_PERIOD: Duration = Duration::from_secs(6);

/// Between the beginnings of two absences, on the average.
const ABSENCE_PERIOD: Duration = Duration::from_secs(10);

/// The same of holds; one lasts for about ten seconds.
const HOLD_PERIOD: Duration = Duration::from_secs(25);

/// The faults of one lane, in order.
///
/// The server has none in the last three eighths: listeners come back, and one then goes away for long. A restart of a
/// volatile topic would tell of a new history instead of a gap, and no gap would ever be seen there.
pub fn plan(wish: &Wish, lane: Lane) -> Vec<Fault> {
    let mut dice = Dice::apart(wish.seed, "schedule", lane as u64);
    let kinds: Vec<Kind> = wish.kinds.iter().copied().filter(|kind| kind.lane() == lane).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    // First what must come, then each kind once, then by weight until the time is filled; then shuffled.
    let least = wish.least.iter().filter(|(kind, _)| kinds.contains(kind));
    let mut chosen: Vec<Kind> = least.flat_map(|(kind, count)| (0..*count).map(|_| *kind)).collect();
    chosen.extend(
        kinds
            .iter()
            .filter(|kind| !wish.least.iter().any(|(least, _)| least == *kind)),
    );
    let weighted: Vec<Kind> = kinds
        .iter()
        .flat_map(|kind| (0..kind.weight()).map(|_| *kind))
        .collect();
    let (span, period) = match lane {
        Lane::Server => (
            wish.lasts * 5 / 8,
            if wish.lasts > SHORT { SERVER_PERIOD } else { PERIOD },
        ),
        Lane::Absence => (wish.lasts, ABSENCE_PERIOD),
        Lane::Holding => (wish.lasts, HOLD_PERIOD),
        Lane::Network | Lane::Listeners => (wish.lasts, PERIOD),
    };
    let fill = (span.as_millis() / period.as_millis()) as usize;
    while chosen.len() < fill {
        chosen.extend(dice.one_of(&weighted));
    }
    for place in (1..chosen.len()).rev() {
        chosen.swap(place, dice.within(0, place as u64 + 1) as usize);
    }
    let share = span.as_millis() as u64 / chosen.len() as u64;
    let faults = (0..).zip(chosen).map(|(number, kind)| {
        let (shortest, longest) = kind.lasts();
        let size = match kind {
            // Small numbers cut inside a header; large ones inside a payload.
            Kind::Cut => match dice.within(0, 3) {
                0 => dice.within(0, 12),
                1 => dice.within(0, 600),
                _ => dice.within(0, 40_000),
            },
            Kind::Slice => dice.within(1, 40),
            Kind::Rate => dice.within(2_000, 60_000),
            Kind::Throttle => dice.within(1_000, 8_000),
            _ => dice.within(5, 250),
        };
        Fault {
            at: Duration::from_millis(number * share + dice.within(0, share / 2 + 1)),
            lasts: Duration::from_millis(dice.within(shortest, longest)),
            kind,
            victim: match kind {
                // Those with even numbers follow the small topics, which go on without them.
                Kind::Away => dice.within(0, wish.listeners.div_ceil(2)) * 2,
                _ => dice.within(0, wish.victims() + u64::from(lane == Lane::Network)),
            },
            size,
            end: *dice
                .one_of(&[End::Reset, End::Reset, End::Close, End::HalfClose])
                .unwrap_or(&End::Reset),
        }
    });
    let mut faults: Vec<Fault> = faults.collect();
    if let (Lane::Absence | Lane::Holding, Some(last)) = (lane, faults.last_mut()) {
        last.at = wish.lasts * 3 / 4;
        faults.retain(|fault| fault.at <= wish.lasts * 3 / 4);
    }
    faults
}

/// Counts that a level asks for: ten kills and two power cuts, when there is time for them.
pub fn least(levels: &[Level], is_long: bool, lasts: Duration) -> Vec<(Kind, u64)> {
    let has_disk = levels.iter().any(|level| *level != Level::None);
    let (kills, cuts, listeners) = match (is_long, lasts >= Duration::from_secs(30)) {
        (true, _) => (200, 100, 200),
        (false, true) => (10, 2, 4),
        (false, false) => (2, 1, 1),
    };
    let cuts = if has_disk { cuts } else { 0 };
    vec![
        (Kind::Kill, kills),
        (Kind::PowerCut, cuts),
        (Kind::KillListener, listeners),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lane, Wish, least, plan};
    use crate::history::Level;
    use std::time::Duration;

    fn wish(seed: u64) -> Wish {
        let lasts = Duration::from_secs(40);
        let least = least(&[Level::None, Level::Fsync], false, lasts);
        Wish {
            seed,
            lasts,
            kinds: Kind::ALL.to_vec(),
            least,
            listeners: 4,
            holding: 2,
        }
    }

    #[test]
    fn a_seed_gives_the_same_faults_and_at_least_those_that_must_come() {
        for seed in 0..50 {
            let faults = plan(&wish(seed), Lane::Server);
            assert_eq!(faults, plan(&wish(seed), Lane::Server));
            let count = |kind| faults.iter().filter(|fault| fault.kind == kind).count();
            assert!(
                count(Kind::Kill) >= 10 && count(Kind::PowerCut) >= 2,
                "{seed}: {faults:#?}"
            );
            assert!(faults.is_sorted_by_key(|fault| fault.at));
            assert!(
                faults
                    .iter()
                    .all(|fault| fault.at <= Duration::from_secs(40) && fault.victim < 5)
            );
            assert!(plan(&wish(seed), Lane::Network).iter().all(|fault| fault.victim < 6));
            // Late enough that the server is left alone, or nobody might be there to hold a source.
            let hold = plan(&wish(seed), Lane::Holding);
            assert!(hold.iter().any(|fault| fault.at > Duration::from_secs(40) * 5 / 8));
        }
        assert_ne!(plan(&wish(1), Lane::Network), plan(&wish(2), Lane::Network));
    }

    #[test]
    fn a_lane_without_kinds_has_no_faults() {
        let wish = Wish {
            kinds: vec![Kind::Kill],
            ..wish(1)
        };
        assert!(plan(&wish, Lane::Network).is_empty());
    }
}
