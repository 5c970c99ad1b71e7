//! What each network takes of what all share: places, and ways in. Pure: time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use super::network::Network;
use super::turnstile::{Passage, Turnstile};
use crate::config::Rate;

/// What each network takes. `T` is what stands for a network elsewhere.
///
/// Who has left is remembered as long as its share is not whole again: otherwise each connection of one that comes and leaves
/// would be its first. So there are about as many entries as connections, and as were let in while a share becomes whole.
pub struct Census<T> {
    of: HashMap<Network, Entry<T>>,
    places_max: usize,
    rate: Rate,
    /// With so many entries, those that need not be kept are let go: seldom enough that it costs each newcomer little.
    look_at: usize,
}

struct Entry<T> {
    stands_for: T,
    here: usize,
    came: Turnstile,
}

impl<T: Clone> Census<T> {
    /// Nobody is here: a network may have so many places, and come in at this rate.
    #[must_use]
    pub fn new(places_max: usize, rate: Rate) -> Self {
        Self {
            of: HashMap::new(),
            places_max,
            rate,
            look_at: LOOK_AT_MIN,
        }
    }

    /// Takes a place for this network, and gives what stands for it, which `make` makes when there is none; none when it has as
    /// many places as it may.
    pub fn take(&mut self, network: Network, now: Duration, make: impl FnOnce() -> T) -> Option<T> {
        if self.of.len() >= self.look_at {
            self.forget(now);
        }
        let entry = self.of.entry(network).or_insert_with(|| Entry {
            stands_for: make(),
            here: 0,
            came: Turnstile::new(self.rate),
        });
        if entry.here >= self.places_max {
            return None;
        }
        entry.here += 1;
        Some(entry.stands_for.clone())
    }

    /// A place of this network is free again.
    pub fn give_back(&mut self, network: Network) {
        if let Some(entry) = self.of.get_mut(&network) {
            entry.here = entry.here.saturating_sub(1);
        }
    }

    /// One of this network, for whom a place was taken, wants to come in.
    pub fn pass(&mut self, network: Network, now: Duration) -> Passage {
        let entry = self.of.get_mut(&network);
        entry.map_or(Passage::Now, |entry| entry.came.pass(now))
    }

    fn forget(&mut self, now: Duration) {
        self.of.retain(|_, entry| entry.here > 0 || !entry.came.is_at_rest(now));
        self.look_at = (2 * self.of.len()).max(LOOK_AT_MIN);
    }
}

/// Below this it is not worth a look: some hundred KB.
const LOOK_AT_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        at_once: 50,
    };

    fn network(nth: u32) -> Network {
        Network::of_client(std::net::Ipv4Addr::from_bits(nth).into())
    }

    fn second(nth: u64) -> Duration {
        Duration::from_secs(nth)
    }

    fn come(census: &mut Census<()>, nth: u32, now: Duration) -> Option<Passage> {
        census.take(network(nth), now, || ())?;
        Some(census.pass(network(nth), now))
    }

    #[test]
    fn a_network_has_as_many_places_as_allowed_and_not_one_more() {
        let mut census = Census::new(2, RATE);
        let mut made = 0;
        let mut take = |census: &mut Census<u32>, nth| {
            census.take(network(nth), Duration::ZERO, || {
                made += 1;
                made
            })
        };
        assert_eq!(
            [1, 1, 1, 2].map(|nth| take(&mut census, nth)),
            [Some(1), Some(1), None, Some(2)]
        );
        census.give_back(network(1));
        assert_eq!([1, 1].map(|nth| take(&mut census, nth)), [Some(1), None]);
        // Nobody is counted twice for a place that was given back twice.
        (0..5).for_each(|_| census.give_back(network(2)));
        assert_eq!([2, 2, 2].map(|nth| take(&mut census, nth)), [Some(2), Some(2), None]);
    }

    #[test]
    fn a_network_comes_in_at_its_share_also_when_it_leaves_each_time_and_others_come_in_beside_it() {
        let mut census = Census::new(5, RATE);
        let (mut came, mut waited, mut refused) = (0, 0, 0);
        for nth in 0..1000 {
            match come(&mut census, 1, second(1)).expect("it left each time") {
                Passage::Now => came += 1,
                Passage::After(_) => waited += 1,
                Passage::Refused => refused += 1,
            }
            census.give_back(network(1));
            assert_eq!(come(&mut census, 2 + nth, second(1)), Some(Passage::Now));
        }
        assert_eq!((came, waited, refused), (50, 10, 940));
        // Six seconds later its share is whole again.
        let came = (0..1000).filter(|_| {
            let passage = come(&mut census, 1, second(7));
            census.give_back(network(1));
            passage == Some(Passage::Now)
        });
        assert_eq!(came.count(), 50);
    }

    #[test]
    fn who_left_long_ago_is_forgotten_and_who_is_here_or_left_just_now_is_not() {
        let mut census = Census::new(100, RATE);
        let here = 1..=100;
        here.clone().for_each(|nth| {
            come(&mut census, nth, second(1));
        });
        // A hundred thousand networks, a thousand a second: each share is whole after a tenth of one.
        for nth in 0..100_000 {
            come(&mut census, 1000 + nth, second(10) + Duration::from_millis(nth.into()));
            census.give_back(network(1000 + nth));
        }
        assert!(census.of.len() <= LOOK_AT_MIN, "{}", census.of.len());
        assert!(here.clone().all(|nth| census.of[&network(nth)].here == 1));
        // Many at the same moment are remembered, however many they are.
        let now = second(1000);
        for nth in 0..3 * LOOK_AT_MIN as u32 {
            come(&mut census, 1_000_000 + nth, now);
            census.give_back(network(1_000_000 + nth));
        }
        assert!(census.of.len() >= 3 * LOOK_AT_MIN);
        (0..51).for_each(|_| {
            come(&mut census, 1_000_000, now);
        });
        assert!(matches!(come(&mut census, 1_000_000, now), Some(Passage::After(_))));
    }
}
