//! What a load test is to do, checked.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::query::Encoding;
use lapwing_wire::topic::TopicName;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::client::target::Target;
use crate::client::token::TokenSource;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Its address that took a first connection.
    pub address: SocketAddr,
    /// For `wss://`: how, and the name to ask for.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What to show the server.
    pub token: TokenSource,
    /// The topics to follow; none is every public one.
    pub topics: Option<Vec<TopicName>>,
    /// In which form arrays are asked for.
    pub encoding: Encoding,
    /// How many listeners.
    pub clients: usize,
    /// How many threads they share.
    pub threads: usize,
    /// Over how long they come; at least as long as it takes.
    pub ramp: Duration,
    /// What comes in this time behind the last connect is left out of the figures.
    pub warm_up: Duration,
    /// For how long is measured.
    pub time: Duration,
    /// The sizes of blocks that are timed.
    pub blocks: Vec<NonZeroU64>,
    /// Where to connect from; none leaves it to the system.
    pub sources: Vec<IpAddr>,
    /// What to publish.
    pub publish: Option<Publish>,
}

/// What the load test publishes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Into which topic.
    pub topic: TopicName,
    /// Messages a second.
    pub rate: f64,
    /// The size of a payload.
    pub bytes: usize,
}

impl Plan {
    /// Whether the URL says itself what it wants: then it is used as it stands, as any other client would.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.target.own_wish().is_some()
    }

    /// The topics to ask for: those that were named, and otherwise the one that is published to.
    #[must_use]
    pub fn wanted(&self) -> Option<Vec<TopicName>> {
        let published = self.publish.as_ref().map(|publish| vec![publish.topic.clone()]);
        self.topics.clone().or(published)
    }

    /// When the client of this number is to come, from the start on.
    #[must_use]
    pub fn due(&self, client: usize) -> Duration {
        self.ramp.mul_f64(client as f64 / self.clients.max(1) as f64)
    }
}

impl Publish {
    /// How many messages leave together: above 1,000 a second they leave each millisecond, in groups.
    #[must_use]
    pub fn group(&self) -> u64 {
        ((self.rate / GROUPS_PER_SECOND).ceil() as u64).max(1)
    }

    /// When a group is meant to leave, from the start on.
    #[must_use]
    pub fn intended(&self, group: u64) -> Duration {
        Duration::from_secs_f64(group as f64 * self.group() as f64 / self.rate)
    }
}

/// More posts a second would measure the posting.
const GROUPS_PER_SECOND: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_single_messages_or_by_groups() {
        let publish = |rate| Publish {
            topic: TopicName::parse("t").expect("valid"),
            rate,
            bytes: 100,
        };
        assert_eq!(
            (publish(0.5).group(), publish(0.5).intended(1)),
            (1, Duration::from_secs(2))
        );
        assert_eq!(
            (publish(1000.0).group(), publish(1000.0).intended(5)),
            (1, Duration::from_millis(5))
        );
        assert_eq!(
            (publish(2500.0).group(), publish(2500.0).intended(2500)),
            (3, Duration::from_secs(3))
        );
    }
}
