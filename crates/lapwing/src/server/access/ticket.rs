//! Tickets: what stands in a URL in place of a token, once, and for half a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::secret::Secret;
use thiserror::Error;

use super::identity::Identity;
use super::token::Digest;

/// Tickets that were given and not yet used. Each is known only by its hash.
#[derive(Default)]
pub struct Tickets(HashMap<Digest, Given>);

struct Given {
    to: Arc<Identity>,
    /// In nanoseconds of the monotonic clock.
    ends: u64,
}

impl Tickets {
    /// Keeps `ticket` for this identity; `mono` is now, in nanoseconds of the monotonic clock.
    pub fn give(&mut self, ticket: &Secret, to: Arc<Identity>, mono: u64) -> Result<(), TicketError> {
        if self.0.len() >= TICKETS_MAX {
            self.0.retain(|_, given| given.ends > mono);
        }
        if self.0.len() >= TICKETS_MAX {
            return Err(TicketError::All);
        }
        let same = |given: &&Given| given.ends > mono && given.to.subject == to.subject;
        if self.0.len() >= TICKETS_OF_ONE_MAX && self.0.values().filter(same).count() >= TICKETS_OF_ONE_MAX {
            return Err(TicketError::Yours);
        }
        let ends = mono.saturating_add(u64::try_from(TICKET_LIFE.as_nanos()).unwrap_or(u64::MAX));
        self.0
            .insert(Digest::of(ticket.reveal().as_bytes()), Given { to, ends });
        Ok(())
    }

    /// Takes a ticket back, and gives whose it was; it is used with that, whatever follows.
    pub fn take(&mut self, ticket: &Secret, mono: u64) -> Option<Arc<Identity>> {
        let given = self.0.remove(&Digest::of(ticket.reveal().as_bytes()))?;
        (given.ends > mono).then_some(given.to)
    }
}

/// Why no ticket is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TicketError {
    /// One has too many.
    #[error("{TICKETS_OF_ONE_MAX} tickets of this token wait to be used already; use them, or try again later")]
    Yours,
    /// All together have.
    #[error("{TICKETS_MAX} tickets wait to be used already; try again later")]
    All,
}

/// How long a ticket may be used.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Of all, at once: about 1 MB.
pub const TICKETS_MAX: usize = 10_000;
/// Of one subject, at once.
pub const TICKETS_OF_ONE_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::super::identity::{Proof, Subject};
    use super::super::scope::Scopes;
    use super::*;

    fn somebody(name: &str) -> Arc<Identity> {
        Arc::new(Identity {
            subject: Subject::Token(name.into()),
            scopes: Scopes::default(),
            expires: None,
            proof: Proof::Line(Digest::of(name.as_bytes())),
        })
    }

    const LIFE: u64 = TICKET_LIFE.as_nanos() as u64;

    #[test]
    fn e13_a_ticket_is_used_once_and_in_time() {
        let mut tickets = Tickets::default();
        let [first, second, third] = ["1", "2", "3"].map(Secret::new);
        for ticket in [&first, &second, &third] {
            tickets.give(ticket, somebody("web"), 5).expect("there is room");
        }
        assert!(tickets.take(&Secret::new("4"), 5).is_none());
        assert_eq!(tickets.take(&first, 6), Some(somebody("web")));
        assert_eq!(tickets.take(&first, 6), None);
        assert_eq!(tickets.take(&second, 5 + LIFE - 1), Some(somebody("web")));
        assert_eq!(tickets.take(&third, 5 + LIFE), None);
    }

    #[test]
    fn as_many_tickets_as_are_allowed_and_one_more() {
        let mut tickets = Tickets::default();
        for nth in 0..TICKETS_OF_ONE_MAX {
            tickets
                .give(&Secret::new(&format!("web{nth}")), somebody("web"), 0)
                .expect("there is room");
        }
        let one_more = Secret::new("one more");
        assert_eq!(
            tickets.give(&one_more, somebody("web"), LIFE - 1),
            Err(TicketError::Yours)
        );
        assert_eq!(tickets.give(&one_more, somebody("log"), LIFE - 1), Ok(()));
        // Those that ended count no more.
        assert_eq!(tickets.give(&one_more, somebody("web"), LIFE), Ok(()));
        for nth in tickets.0.len()..TICKETS_MAX {
            let given = Given {
                to: somebody("others"),
                ends: u64::MAX,
            };
            tickets.0.insert(Digest::of(&nth.to_le_bytes()), given);
        }
        // There is room as long as those that ended make it.
        for nth in 0..TICKETS_OF_ONE_MAX {
            let ticket = Secret::new(&format!("new{nth}"));
            assert_eq!(tickets.give(&ticket, somebody("new"), LIFE), Ok(()), "{nth}");
        }
        let ticket = Secret::new("beyond");
        assert_eq!(tickets.give(&ticket, somebody("late"), LIFE), Err(TicketError::All));
    }
}
