//! Which fault of servers and of NATS comes when, and for how long: all of it from the seed.

use std::fmt;
use std::time::Duration;

use crate::dice::Dice;

/// A kind of fault, as it is named on the command line and in the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A server is killed and started again.
    Kill,
    /// A server is told to stop, and started again.
    Stop,
    /// A server stands still, also for longer than its turn to fill a topic lasts.
    Pause,
    /// Nothing passes between a server and NATS, and nobody is told.
    Part,
    /// A server's connections to NATS end, and it is refused for a while.
    Refuse,
    /// A server of NATS is killed and started again.
    KillNats,
    /// The server of NATS that leads a stream is killed and started again.
    KillLeader,
    /// The server of NATS that leads a stream stands still.
    PauseLeader,
    /// All servers of NATS are gone for a while.
    Outage,
    /// Everything is killed and started again.
    Restart,
    /// A listener is killed and started again.
    KillListener,
    /// A listener stands still.
    PauseListener,
}

/// Who carries a fault out: the lanes run side by side, so that faults of different lanes overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The servers, and their ways to NATS.
    Servers,
    /// The servers of NATS.
    Nats,
    /// The listeners.
    Listeners,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Servers, Self::Nats, Self::Listeners];

    /// Between two faults, on the average.
    fn period(self) -> Duration {
        match self {
            Self::Servers => Duration::from_secs(5),
            // A cluster that lost its leader takes seconds to choose another.
            Self::Nats => Duration::from_secs(9),
            Self::Listeners => Duration::from_secs(3),
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Part,
        Self::Refuse,
        Self::KillNats,
        Self::KillLeader,
        Self::PauseLeader,
        Self::Outage,
        Self::Restart,
        Self::KillListener,
        Self::PauseListener,
    ];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Part => "part",
            Self::Refuse => "refuse",
            Self::KillNats => "kill-nats",
            Self::KillLeader => "kill-leader",
            Self::PauseLeader => "pause-leader",
            Self::Outage => "outage",
            Self::Restart => "restart",
            Self::KillListener => "kill-listener",
            Self::PauseListener => "pause-listener",
        }
    }

    /// Who carries it out.
    pub fn lane(self) -> Lane {
        match self {
            Self::Kill | Self::Stop | Self::Pause | Self::Part | Self::Refuse => Lane::Servers,
            Self::KillNats | Self::KillLeader | Self::PauseLeader | Self::Outage | Self::Restart => Lane::Nats,
            Self::KillListener | Self::PauseListener => Lane::Listeners,
        }
    }

    /// Whether streams can be written meanwhile, by servers that nothing else befalls.
    pub fn leaves_nats_alone(self) -> bool {
        self.lane() != Lane::Nats
    }

    /// From how many milliseconds to how many it lasts.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::Kill | Self::Stop | Self::KillListener => (0, 1500),
            Self::Pause => (200, 9000),
            Self::Part | Self::Refuse => (500, 9000),
            Self::KillNats | Self::KillLeader | Self::PauseLeader => (500, 5000),
            Self::Outage => (500, 4000),
            Self::Restart => (0, 1000),
            Self::PauseListener => (300, 3500),
        }
    }

    /// How many of its lane's faults are of this kind, beside the others.
    fn weight(self) -> u64 {
        match self {
            Self::Kill | Self::KillLeader => 4,
            Self::Part => 3,
            Self::Restart => 1,
            _ => 2,
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
    /// Whom, among those of its lane; of a leader's faults, the leader of which topic.
    pub victim: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:8.3} s  {:<14} {lasts:.3} s", self.kind.word())?;
        match (self.kind, self.kind.lane()) {
            (Kind::Outage | Kind::Restart, _) => Ok(()),
            (Kind::KillLeader | Kind::PauseLeader, _) => write!(f, "  of topic {}", self.victim),
            (_, Lane::Servers) => write!(f, "  server {}", self.victim),
            (_, Lane::Nats) => write!(f, "  nats-{}", self.victim),
            (_, Lane::Listeners) => write!(f, "  listener {}", self.victim),
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
    /// Servers.
    pub servers: usize,
    /// Servers of NATS.
    pub nodes: usize,
    /// Topics.
    pub topics: usize,
    /// Listeners.
    pub listeners: usize,
}

impl Wish {
    fn victims(&self, kind: Kind) -> usize {
        match (kind, kind.lane()) {
            (Kind::KillLeader | Kind::PauseLeader, _) => self.topics,
            (_, Lane::Servers) => self.servers,
            (_, Lane::Nats) => self.nodes,
            (_, Lane::Listeners) => self.listeners,
        }
    }
}

/// The faults of one lane, in order: each kind once as far as there is time, then by weight.
pub fn plan(wish: &Wish, lane: Lane) -> Vec<Fault> {
    let mut dice = Dice::apart(wish.seed, "fleet", lane as u64);
    let kinds: Vec<Kind> = wish.kinds.iter().copied().filter(|kind| kind.lane() == lane).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let weighted: Vec<Kind> = kinds
        .iter()
        .flat_map(|kind| (0..kind.weight()).map(|_| *kind))
        .collect();
    let count = (wish.lasts.as_millis() / lane.period().as_millis()).max(1) as usize;
    let mut chosen: Vec<Kind> = Vec::with_capacity(count);
    let mut rest = kinds;
    while chosen.len() < count {
        let next = if rest.is_empty() {
            dice.one_of(&weighted).copied()
        } else {
            Some(rest.swap_remove(dice.within(0, rest.len() as u64) as usize))
        };
        chosen.extend(next);
    }
    let share = wish.lasts.as_millis() as u64 / chosen.len() as u64;
    let fault = |(number, kind): (u64, Kind)| {
        let (shortest, longest) = kind.lasts();
        Fault {
            at: Duration::from_millis(number * share + dice.within(0, share / 2 + 1)),
            lasts: Duration::from_millis(dice.within(shortest, longest)),
            kind,
            victim: dice.within(0, wish.victims(kind).max(1) as u64) as usize,
        }
    };
    (0..).zip(chosen).map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lane, Wish, plan};
    use std::time::Duration;

    fn wish(seed: u64) -> Wish {
        Wish {
            seed,
            lasts: Duration::from_secs(120),
            kinds: Kind::ALL.to_vec(),
            servers: 3,
            nodes: 3,
            topics: 2,
            listeners: 4,
        }
    }

    #[test]
    fn a_seed_gives_the_same_faults_of_a_fleet_and_each_kind_comes() {
        for seed in 0..50 {
            for lane in Lane::ALL {
                let faults = plan(&wish(seed), lane);
                assert_eq!(faults, plan(&wish(seed), lane));
                assert!(faults.is_sorted_by_key(|fault| fault.at));
                assert!(faults.iter().all(|fault| fault.at <= Duration::from_secs(120)));
                let kinds = Kind::ALL.into_iter().filter(|kind| kind.lane() == lane);
                for kind in kinds {
                    assert!(
                        faults.iter().any(|fault| fault.kind == kind),
                        "{seed}: no {}",
                        kind.word()
                    );
                }
                assert!(faults.iter().all(|fault| fault.victim < wish(seed).victims(fault.kind)));
            }
        }
        assert_ne!(plan(&wish(1), Lane::Servers), plan(&wish(2), Lane::Servers));
    }
}
