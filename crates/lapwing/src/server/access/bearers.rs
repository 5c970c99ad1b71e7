//! How many connections each bearer of a token has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::{Identity, Subject};
use crate::server::told::Repeats;

/// The places that each somebody has among the connections; there are no more entries than connections.
pub struct Bearers {
    most: usize,
    here: Mutex<HashMap<Subject, usize>>,
    refused: Mutex<Repeats>,
}

impl Bearers {
    /// Nobody is here; of each somebody so many connections may be.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            here: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// Takes a place for a connection of this somebody; none when they have as many as they may.
    #[must_use]
    pub fn take(self: &Arc<Self>, of: &Arc<Identity>) -> Option<BearerPlace> {
        let mut here = self.here();
        let count = here.entry(of.subject.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(BearerPlace {
            bearers: self.clone(),
            of: of.clone(),
        })
    }

    /// One found no place. When that is to be told now: how many did not since it was told last.
    pub fn refuse(&self) -> Option<u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).come()
    }

    fn here(&self) -> MutexGuard<'_, HashMap<Subject, usize>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among those of its bearer; given back when it is dropped.
pub struct BearerPlace {
    bearers: Arc<Bearers>,
    /// As the bearer was known when the place was taken: it is theirs, whatever the line of their token is called since.
    of: Arc<Identity>,
}

impl fmt::Debug for BearerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a place of {:?}", self.of.subject)
    }
}

impl Drop for BearerPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.bearers.here().entry(self.of.subject.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Proof;
    use super::super::scope::Scopes;
    use super::super::token::Digest;
    use super::*;

    fn bearer(subject: Subject, token: &str) -> Arc<Identity> {
        Arc::new(Identity {
            subject,
            scopes: Scopes::default(),
            expires: None,
            proof: Proof::Line(Digest::of(token.as_bytes())),
        })
    }

    fn jwt(subject: &str, issuer: Option<&str>) -> Arc<Identity> {
        let subject = Subject::Jwt {
            subject: subject.into(),
            issuer: issuer.map(Into::into),
        };
        bearer(subject, "")
    }

    /// Of one connection each at most: whether the second one finds a place beside the first.
    #[track_caller]
    fn check_together(first: &Arc<Identity>, second: &Arc<Identity>, counts_together: bool) {
        let bearers = Bearers::new(1);
        let _first = bearers.take(first).expect("nobody is here");
        assert_eq!(bearers.take(second).is_none(), counts_together, "{first:?} {second:?}");
    }

    #[test]
    fn a_bearer_has_as_many_places_as_allowed_and_not_one_more() {
        let bearers = Bearers::new(2);
        let web = bearer(Subject::Token("web".into()), "a");
        let first = bearers.take(&web).expect("a place");
        let _second = bearers.take(&web).expect("a place");
        assert!(bearers.take(&web).is_none());
        drop(first);
        let third = bearers.take(&web);
        assert!(third.is_some() && bearers.take(&web).is_none());
        drop((third, _second));
        assert!(bearers.here().is_empty(), "nothing is kept of who has left");
    }

    #[test]
    fn what_counts_together_is_the_same_somebody() {
        let web = |token| bearer(Subject::Token("web".into()), token);
        // Two lines of one name: one token takes the other's place.
        check_together(&web("a"), &web("b"), true);
        check_together(&web("a"), &bearer(Subject::Token("log".into()), "b"), false);
        check_together(&web("a"), &jwt("web", None), false);
        check_together(&jwt("ann", Some("x")), &jwt("ann", Some("x")), true);
        check_together(&jwt("ann", Some("x")), &jwt("ann", Some("y")), false);
        check_together(&jwt("ann", Some("x")), &jwt("bob", Some("x")), false);
        // One that names nobody is a somebody of its own.
        let nameless = |signed: &str| bearer(Subject::Nameless(Digest::of(signed.as_bytes())), "");
        check_together(&nameless("a"), &nameless("a"), true);
        check_together(&nameless("a"), &nameless("b"), false);
    }
}
