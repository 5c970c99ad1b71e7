//! What a session may do, and until when: kept beside the connections of a thread, so that those without one cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lapwing_wire::topic::TopicName;

use super::bearers::BearerPlace;
use super::identity::Identity;
use super::{Access, Caller, LEEWAY_S, WARNING};
use crate::clock::Now;
use crate::server::key::Key;

/// What one session may do.
#[derive(Debug)]
pub struct Pass {
    identity: Arc<Identity>,
    /// Among the connections of its bearer; none where that is not counted.
    place: Option<BearerPlace>,
    /// When the session ends, in nanoseconds of the monotonic clock: a step of the wall clock moves it no more. `u64::MAX` for never.
    ends: u64,
    /// The client was told of that.
    warned: bool,
}

impl Pass {
    /// A pass for a token that was found to be good at `now`.
    #[must_use]
    pub fn new(identity: Arc<Identity>, now: Now) -> Self {
        let left = |expires: lapwing_wire::time::WallTime| {
            let left = expires.nanos().saturating_sub(now.wall.nanos());
            u64::try_from(left.saturating_add(LEEWAY_S as i64 * 1_000_000_000)).unwrap_or(0)
        };
        Self {
            ends: identity
                .expires
                .map_or(u64::MAX, |expires| now.mono.saturating_add(left(expires))),
            identity,
            place: None,
            warned: false,
        }
    }

    /// With a place among the connections of its bearer, which is given back with the pass.
    #[must_use]
    pub fn with_place(mut self, place: BearerPlace) -> Self {
        self.place = Some(place);
        self
    }

    /// For another token of the same bearer, or for what theirs allows from now on; the place stays.
    fn renew(&mut self, identity: Arc<Identity>, now: Now) {
        let place = self.place.take();
        *self = Self {
            place,
            ..Self::new(identity, now)
        };
    }

    /// Who has it.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// How long it is still good; none for ever.
    #[must_use]
    pub fn left(&self, mono: u64) -> Option<Duration> {
        (self.ends != u64::MAX).then(|| Duration::from_nanos(self.ends.saturating_sub(mono)))
    }

    /// What is to be said of it now, if anything.
    fn look(&mut self, mono: u64) -> Option<Standing> {
        match self.left(mono)? {
            Duration::ZERO => Some(Standing::Over),
            left if left <= WARNING && !self.warned => {
                self.warned = true;
                Some(Standing::Expiring(left))
            }
            _ => None,
        }
    }
}

/// What became of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It ends in so long.
    Expiring(Duration),
    /// Its time is over.
    Over,
    /// What made its token good was withdrawn.
    Withdrawn,
    /// Its token is good for something else now.
    Changed,
}

/// The passes of a thread's connections.
#[derive(Default)]
pub struct Passes {
    of: BTreeMap<Key, Pass>,
    /// Those that were given before this thread had them: what made them good may have been withdrawn on the way.
    unseen: BTreeSet<Key>,
    /// Of the keys and tokens that the others were compared with.
    version: u64,
}

impl Passes {
    /// The connection at this place has this pass; none where no token is asked for.
    pub fn put(&mut self, key: Key, pass: Option<Pass>) {
        if let Some(pass) = pass {
            self.of.insert(key, pass);
            self.unseen.insert(key);
        }
    }

    /// The bearer of the pass at this place has shown another token; gives what it is good for now, if there is a pass.
    pub fn renew(&mut self, key: Key, identity: Arc<Identity>, now: Now) -> Option<&Pass> {
        let pass = self.of.get_mut(&key)?;
        pass.renew(identity, now);
        self.unseen.insert(key);
        Some(pass)
    }

    /// The connection at this place is gone.
    pub fn remove(&mut self, key: Key) {
        self.of.remove(&key);
    }

    /// The pass of the connection at this place.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Pass> {
        self.of.get(&key)
    }

    /// Who the connection at this place belongs to, as a console shows it; none where no token is asked for.
    #[must_use]
    pub fn who(&self, key: Key) -> Option<String> {
        Some(self.get(key)?.identity.subject.shown())
    }

    /// Whether the connection at this place may receive what comes in this topic: who needs no pass may.
    #[must_use]
    pub fn may_listen(&self, key: Key, topic: &TopicName) -> bool {
        self.get(key).is_none_or(|pass| pass.identity.scopes.may_listen(topic))
    }

    /// Whose the connection at this place is.
    #[must_use]
    pub fn caller(&self, key: Key) -> Caller {
        self.get(key)
            .map_or(Caller::Anyone, |pass| Caller::Known(pass.identity.clone()))
    }

    /// Looks at all of them: who is to be told what. After a change of keys or tokens, and when it is new here, each is compared
    /// with them, once.
    pub fn look(&mut self, access: &Access, now: Now) -> Vec<(Key, Standing)> {
        let mut told = Vec::new();
        if self.of.is_empty() {
            return told;
        }
        // Read before the keys and tokens themselves: what comes in between is looked at again.
        let version = access.version();
        let changed = std::mem::replace(&mut self.version, version) != version;
        let unseen = std::mem::take(&mut self.unseen);
        if (changed || !unseen.is_empty())
            && let Some(keyring) = access.keyring()
        {
            for (key, pass) in &mut self.of {
                if !changed && !unseen.contains(key) {
                    continue;
                }
                match keyring.upholds(&pass.identity) {
                    None => told.push((*key, Standing::Withdrawn)),
                    Some(identity) if identity != pass.identity => {
                        pass.renew(identity, now);
                        told.push((*key, Standing::Changed));
                    }
                    Some(_) => {}
                }
            }
        }
        for (key, pass) in &mut self.of {
            told.extend(pass.look(now.mono).map(|standing| (*key, standing)));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use lapwing_wire::time::WallTime;

    use super::super::Keyring;
    use super::super::bearers::Bearers;
    use super::super::identity::{Proof, Subject};
    use super::super::scope::Scopes;
    use super::super::token::{Digest, Tokens, line_of, token_of};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(wall_s: i64, mono_s: u64) -> Now {
        Now {
            wall: WallTime::from_nanos(wall_s * SECOND as i64),
            mono: mono_s * SECOND,
        }
    }

    fn pass(expires_s: Option<i64>, now: Now) -> Pass {
        let identity = Identity {
            subject: Subject::Token("web".into()),
            scopes: Scopes::default(),
            expires: expires_s.map(|s| WallTime::from_nanos(s * SECOND as i64)),
            proof: Proof::Line(Digest::of(b"web")),
        };
        Pass::new(Arc::new(identity), now)
    }

    #[test]
    fn e9_a_session_is_warned_once_and_ends_at_expiry_and_leeway() {
        let mut pass = pass(Some(1000), at(900, 5));
        assert_eq!(pass.look(5 * SECOND), None);
        // 30 s before the expiry, which is 60 s before the end.
        assert_eq!(pass.look(75 * SECOND - 1), None);
        assert_eq!(
            pass.look(75 * SECOND),
            Some(Standing::Expiring(Duration::from_secs(60)))
        );
        assert_eq!(pass.look(76 * SECOND), None);
        assert_eq!(pass.look(135 * SECOND - 1), None);
        assert_eq!(pass.look(135 * SECOND), Some(Standing::Over));
    }

    #[test]
    fn e9_only_the_monotonic_clock_counts_once_it_is_admitted() {
        // Whatever the wall clock says later is not even asked: the end was fixed at the admission.
        let pass = pass(Some(1000), at(990, 500));
        assert_eq!(pass.left(500 * SECOND), Some(Duration::from_secs(40)));
        assert_eq!(pass.left(541 * SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn a_pass_keeps_its_place_when_it_is_renewed_and_gives_it_back_when_it_is_gone() {
        let bearers = Bearers::new(1);
        let (mut passes, key) = (Passes::default(), Key::new(1));
        let pass = pass(Some(1000), at(900, 5));
        let identity = pass.identity().clone();
        let place = bearers.take(&identity).expect("a place");
        passes.put(key, Some(pass.with_place(place)));
        let later = Arc::new(Identity {
            expires: None,
            ..Identity::clone(&identity)
        });
        let renewed = passes.renew(key, later, at(950, 55)).expect("it has one");
        assert_eq!(renewed.left(0), None);
        assert_eq!(passes.who(key).as_deref(), Some("web"));
        assert!(bearers.take(&identity).is_none(), "its place is taken");
        passes.remove(key);
        assert!(bearers.take(&identity).is_some());
        assert!(passes.renew(key, identity, at(950, 55)).is_none() && passes.who(key).is_none());
    }

    #[test]
    fn a_token_without_an_end_ends_no_session() {
        let mut pass = pass(None, at(900, 5));
        assert_eq!((pass.left(u64::MAX), pass.look(u64::MAX)), (None, None));
        let mut over = self::pass(Some(0), at(900, 5));
        assert_eq!(over.look(5 * SECOND), Some(Standing::Over));
        // As far as a clock goes.
        let far = self::pass(Some(i64::MAX / SECOND as i64), at(900, 5));
        assert!(
            far.left(5 * SECOND)
                .is_some_and(|left| left > Duration::from_secs(1 << 30))
        );
    }

    #[test]
    fn what_was_withdrawn_on_the_way_to_the_thread_is_found_when_it_is_there() {
        let file = |text: &str| Keyring {
            tokens: Tokens::parse(text).expect("a file"),
            ..Keyring::default()
        };
        let line = |name: &str| line_of(name, &token_of([name.len() as u8; 32]), &["listen:*".to_owned()], None);
        let access = Access::new(file(&format!("{}\n{}", line("web"), line("press"))));
        let identified = |name: &str| {
            let tokens = file(&line(name)).tokens;
            let identity = tokens.find(token_of([name.len() as u8; 32]).reveal()).expect("its own");
            Pass::new(identity.clone(), at(0, 0))
        };
        let mut passes = Passes::default();
        passes.put(Key::new(1), Some(identified("press")));
        assert_eq!(passes.look(&access, at(0, 1)), []);
        // The one on its way was let in by a file that is in force no more, and the others were compared with the new one.
        let on_its_way = identified("web");
        access.replace(file(&line("press")));
        assert_eq!(passes.look(&access, at(0, 2)), []);
        passes.put(Key::new(2), Some(on_its_way));
        assert_eq!(passes.look(&access, at(0, 3)), [(Key::new(2), Standing::Withdrawn)]);
        assert_eq!(passes.look(&access, at(0, 4)), [], "told once");
    }
}
