//! Who may do what: tokens and keys from files, what they allow, and for how long.
//!
//! A request is asked once who sends it, before anything of it is done. On a server without tokens and keys everybody is
//! anybody, and may do everything.

pub mod bearers;
pub mod credential;
pub mod files;
pub mod identity;
pub mod jwt;
pub mod pass;
pub mod scope;
pub mod ticket;
pub mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use lapwing_wire::secret::Secret;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use thiserror::Error;

use self::bearers::Bearers;
use self::credential::{Credential, CredentialError, Places};
use self::identity::{Identity, Proof, Subject};
use self::jwt::{JwtError, Keys};
use self::pass::Pass;
use self::ticket::{TicketError, Tickets};
use self::token::{Tokens, token_of};
use crate::clock::Now;

/// What is asked of everybody who comes.
#[derive(Default)]
pub struct Access {
    /// None lets everybody do everything.
    keyring: Option<RwLock<Arc<Keyring>>>,
    /// Counts the changes of the keyring.
    version: AtomicU64,
    tickets: Mutex<Tickets>,
}

/// The tokens and keys in force.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Those of the tokens file.
    pub tokens: Tokens,
    /// Those that prove JWTs.
    pub keys: Keys,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody asks here.
    Anyone,
    /// Somebody whose token is good.
    Known(Arc<Identity>),
}

impl Access {
    /// Asks everybody for a token of this keyring.
    #[must_use]
    pub fn new(keyring: Keyring) -> Self {
        Self {
            keyring: Some(RwLock::new(Arc::new(keyring))),
            ..Self::default()
        }
    }

    /// The keyring in force; none where nobody is asked.
    #[must_use]
    pub fn keyring(&self) -> Option<Arc<Keyring>> {
        let keyring = self.keyring.as_ref()?;
        Some(keyring.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Puts another keyring in force; sessions are compared with it within a second.
    pub fn replace(&self, keyring: Keyring) {
        if let Some(own) = &self.keyring {
            *own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// How often the keyring was replaced.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Who sends a request that shows these places.
    pub fn identify(&self, places: Places<'_>, now: Now) -> Result<Caller, Denied> {
        let Some(keyring) = self.keyring() else {
            return Ok(Caller::Anyone);
        };
        let identity = match Credential::find(places)? {
            None => return Err(Denied::NoToken),
            Some(Credential::Token(token)) => keyring.identify(&token, now.wall)?,
            Some(Credential::Ticket(ticket)) => {
                let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
                let identity = tickets.take(&ticket, now.mono).ok_or(Denied::Ticket)?;
                drop(tickets);
                let identity = keyring.upholds(&identity).ok_or(Denied::Unknown)?;
                identity.in_time(now.wall).map_err(Denied::Jwt)?;
                identity
            }
        };
        Ok(Caller::Known(identity))
    }

    /// Whose a token is that comes in place of another one on an open connection.
    pub fn identify_token(&self, token: &Secret, now: Now) -> Result<Caller, Denied> {
        let Some(keyring) = self.keyring() else {
            return Ok(Caller::Anyone);
        };
        let token = credential::checked(token.reveal())?;
        Ok(Caller::Known(keyring.identify(&token, now.wall)?))
    }

    /// A new ticket for somebody.
    pub fn ticket(&self, to: &Arc<Identity>, now: Now) -> Result<Secret, TicketError> {
        let ticket = token_of(crate::random::bytes());
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.give(&ticket, to.clone(), now.mono)?;
        Ok(ticket)
    }
}

impl Keyring {
    /// Who has this token, if it is good at `now`.
    fn identify(&self, token: &Secret, now: WallTime) -> Result<Arc<Identity>, Denied> {
        // A JWT has dots (RFC 7515 section 7.1), and a token of ours has none.
        if token.reveal().contains('.') && !self.keys.is_empty() {
            return self
                .keys
                .identify(token.reveal(), now)
                .map(Arc::new)
                .map_err(Denied::Jwt);
        }
        let identity = self.tokens.find(token.reveal()).ok_or(Denied::Unknown)?;
        identity.in_time(now).map_err(Denied::Jwt)?;
        Ok(identity.clone())
    }

    /// What is in force for somebody who was identified before: none when the token, or the key that proved it, was withdrawn.
    #[must_use]
    pub fn upholds(&self, identity: &Arc<Identity>) -> Option<Arc<Identity>> {
        match identity.proof {
            Proof::Line(digest) => self.tokens.find_digest(digest).cloned(),
            Proof::Key(digest) => self.keys.has(digest).then(|| identity.clone()),
        }
    }
}

impl Caller {
    /// Whether it may receive what comes in this topic.
    #[must_use]
    pub fn may_listen(&self, topic: &TopicName) -> bool {
        match self {
            Self::Anyone => true,
            Self::Known(identity) => identity.scopes.may_listen(topic),
        }
    }

    /// What it is told when it may not listen to a topic.
    pub fn check_listen(&self, topic: &TopicName) -> Result<(), Denied> {
        self.check(self.may_listen(topic), || {
            format!("topic \"{topic}\" needs listen:{topic}")
        })
    }

    /// What it is told when it may not publish to a topic.
    pub fn check_publish(&self, topic: &TopicName) -> Result<(), Denied> {
        let may = match self {
            Self::Anyone => true,
            Self::Known(identity) => identity.scopes.may_publish(topic),
        };
        self.check(may, || format!("topic \"{topic}\" needs publish:{topic}"))
    }

    /// What it is told when it may not listen to anything.
    pub fn check_listen_at_all(&self) -> Result<(), Denied> {
        let may = match self {
            Self::Anyone => true,
            Self::Known(identity) => identity.scopes.may_listen_at_all(),
        };
        self.check(may, || "a stream needs listen:TOPIC".to_owned())
    }

    /// What it is told when it may not listen to a topic, be it one of the server's own; `here` as in [`Caller::check_watch`].
    pub fn check_follow(&self, topic: &TopicName, here: bool) -> Result<(), Denied> {
        match topic.is_reserved() {
            true => self.check_watch(here),
            false => self.check_listen(topic),
        }
    }

    /// What it is told when it may not see what the server knows of its clients. Where nobody is asked for a token, that is for this
    /// machine alone: `here` says whether the request comes from it.
    pub fn check_watch(&self, here: bool) -> Result<(), Denied> {
        match self {
            Self::Anyone if here => Ok(()),
            Self::Anyone => Err(Denied::Elsewhere),
            Self::Known(identity) => self.check(identity.scopes.may_watch(), || WATCHING_NEEDS.to_owned()),
        }
    }

    fn check(&self, may: bool, needed: impl FnOnce() -> String) -> Result<(), Denied> {
        match self {
            Self::Known(identity) if !may => Err(Denied::Scope {
                who: identity.subject.clone(),
                has: identity.scopes.to_string(),
                needed: needed(),
            }),
            _ => Ok(()),
        }
    }

    /// What its session gets, if it needs anything, with a place among the connections of its bearer.
    pub fn pass(&self, bearers: &Arc<Bearers>, now: Now) -> Result<Option<Pass>, NoPlace> {
        let Self::Known(identity) = self else { return Ok(None) };
        let place = bearers.take(identity).ok_or_else(|| NoPlace {
            who: identity.subject.clone(),
        })?;
        Ok(Some(Pass::new(identity.clone(), now).with_place(place)))
    }
}

/// Somebody has as many connections as they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// Who.
    pub who: Subject,
}

/// Why somebody may not. Its Display is told to the one who asked; nothing secret stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nothing says who asks.
    #[error("this server wants a token: Authorization: Bearer TOKEN")]
    NoToken,
    /// What says so cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A token that is not in the file.
    #[error("the token is not known here")]
    Unknown,
    /// A ticket that was used, or not in time, or never given.
    #[error("the ticket is not known here: each is good once, and for {} s", ticket::TICKET_LIFE.as_secs())]
    Ticket,
    /// A token that is not good, or no longer.
    #[error("the token {0}")]
    Jwt(JwtError),
    /// Somebody elsewhere, on a server without tokens.
    #[error("this is shown to the server's own machine; on a server with tokens (--tokens) it needs the scope admin")]
    Elsewhere,
    /// A good token of another somebody than the one whose connection it is.
    #[error("the token is of somebody else than this connection")]
    SomebodyElse {
        /// Whose it is.
        who: Subject,
    },
    /// A good token that does not allow this.
    #[error("the token has {has}; {needed}")]
    Scope {
        /// Whose it is. Not told to the one who asked: that one knows.
        who: Subject,
        /// What it allows.
        has: String,
        /// What it would have to.
        needed: String,
    },
}

impl Denied {
    /// Whether it was only asked whether somebody may see what the server knows of its clients.
    #[must_use]
    pub fn is_of_watching(&self) -> bool {
        matches!(self, Self::Scope { needed, .. } if needed == WATCHING_NEEDS)
    }

    /// Whose token it is, where that is known.
    #[must_use]
    pub fn who(&self) -> Option<&Subject> {
        match self {
            Self::SomebodyElse { who } | Self::Scope { who, .. } => Some(who),
            Self::NoToken | Self::Credential(_) | Self::Unknown | Self::Ticket | Self::Jwt(_) | Self::Elsewhere => None,
        }
    }

    /// The HTTP status: 401 for a token that is not good, 403 for one that does not allow this (RFC 6750 section 3.1).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Credential(error) => error.status(),
            Self::NoToken | Self::Unknown | Self::Ticket | Self::Jwt(_) | Self::SomebodyElse { .. } => 401,
            Self::Elsewhere | Self::Scope { .. } => 403,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3); none where no token would help.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        Some(match self {
            Self::Elsewhere => return None,
            Self::NoToken => "Bearer realm=\"lapwing\"",
            Self::Credential(CredentialError::Several { .. }) => "Bearer realm=\"lapwing\", error=\"invalid_request\"",
            Self::Credential(_) | Self::Unknown | Self::Ticket | Self::Jwt(_) | Self::SomebodyElse { .. } => {
                "Bearer realm=\"lapwing\", error=\"invalid_token\""
            }
            Self::Scope { .. } => "Bearer realm=\"lapwing\", error=\"insufficient_scope\"",
        })
    }
}

/// For so many seconds behind its end, and before its beginning, a token is honoured: clocks differ.
pub const LEEWAY_S: u64 = 30;
/// What is told to who would watch and may not.
const WATCHING_NEEDS: &str = "this needs admin";
/// Before the end of a session its client is told: 30 s before the token expires, and the leeway comes on top.
pub const WARNING: Duration = Duration::from_secs(30 + LEEWAY_S);

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now {
            wall: WallTime::parse("2026-11-22T07:00:00Z").expect("valid"),
            mono: 1,
        }
    }

    fn access(lines: &[(&str, &str, &str)]) -> Access {
        let lines = lines.iter().map(|(name, token, rest)| {
            let hash = token::Digest::of(token.as_bytes());
            format!("{name} {hash} {rest}\n")
        });
        let tokens = Tokens::parse(&lines.collect::<String>()).expect("valid");
        Access::new(Keyring {
            tokens,
            keys: Keys::default(),
        })
    }

    fn ask(access: &Access, token: &str) -> Result<Caller, Denied> {
        let header = format!("Bearer {token}");
        let places = Places {
            authorization: &[Some(&header)],
            ..Places::default()
        };
        access.identify(places, now())
    }

    #[test]
    fn without_tokens_everybody_is_anybody() {
        let open = Access::default();
        assert!(matches!(ask(&open, "abc"), Ok(Caller::Anyone)));
        assert!(matches!(open.identify(Places::default(), now()), Ok(Caller::Anyone)));
    }

    #[test]
    fn e4_a_token_of_the_file_is_good_until_its_end_and_the_leeway() {
        for (expires, good) in [
            ("2026-11-22T07:00:01Z", true),
            ("2026-11-22T06:59:30.000000001Z", true),
            ("2026-11-22T06:59:30Z", false),
            ("2020-01-01T00:00:00Z", false),
        ] {
            let access = access(&[("web", "abc", &format!("listen:users expires={expires}"))]);
            assert_eq!(ask(&access, "abc").is_ok(), good, "{expires}");
        }
    }

    #[test]
    fn e8_a_scope_that_is_missing_is_named() {
        let access = access(&[("web", "abc", "listen:users"), ("log", "def", "publish:orders")]);
        let topic = |name| TopicName::parse(name).expect("valid");
        let web = ask(&access, "abc").expect("good");
        assert_eq!(web.check_listen(&topic("users")), Ok(()));
        let denied = web.check_listen(&topic("orders")).expect_err("not allowed");
        assert_eq!(
            denied.to_string(),
            "the token has listen:users; topic \"orders\" needs listen:orders"
        );
        assert_eq!(denied.status(), 403);
        let log = ask(&access, "def").expect("good");
        assert_eq!(log.check_publish(&topic("orders")), Ok(()));
        let denied = log.check_listen_at_all().expect_err("not allowed");
        assert_eq!(
            denied.to_string(),
            "the token has publish:orders; a stream needs listen:TOPIC"
        );
        let denied = ask(&access, "abd").expect_err("unknown");
        assert_eq!(
            (denied.to_string(), denied.status()),
            ("the token is not known here".to_owned(), 401)
        );
        assert_eq!(ask(&access, "a.b.c").expect_err("no keys"), Denied::Unknown);
    }

    #[test]
    fn who_may_watch_is_decided_by_the_machine_or_where_there_are_tokens_by_the_scope() {
        let access = access(&[("web", "abc", "listen:*,publish:*"), ("run", "def", "admin")]);
        let web = ask(&access, "abc").expect("good");
        let run = ask(&access, "def").expect("good");
        for (caller, here, told) in [
            (&Caller::Anyone, true, None),
            (
                &Caller::Anyone,
                false,
                Some(("this is shown to the server's own machine", 403, false)),
            ),
            (&run, true, None),
            (&run, false, None),
            (
                &web,
                true,
                Some(("the token has listen:*, publish:*; this needs admin", 403, true)),
            ),
            (
                &web,
                false,
                Some(("the token has listen:*, publish:*; this needs admin", 403, true)),
            ),
        ] {
            match (caller.check_watch(here), told) {
                (Ok(()), None) => {}
                (Err(denied), Some((sentence, status, challenged))) => {
                    assert!(denied.to_string().starts_with(sentence), "{denied}");
                    assert_eq!((denied.status(), denied.challenge().is_some()), (status, challenged));
                }
                (got, told) => panic!("{caller:?}, here {here}: {got:?}, {told:?}"),
            }
        }
    }

    #[test]
    fn a_ticket_is_good_for_what_its_token_is_good_for_as_long_as_that_is_there() {
        let access = access(&[("web", "abc", "listen:users")]);
        let Ok(Caller::Known(web)) = ask(&access, "abc") else {
            panic!("it is good")
        };
        let show = |ticket: &Secret| {
            let places = Places {
                ticket: Some(ticket),
                ..Places::default()
            };
            access.identify(places, now())
        };
        let ticket = access.ticket(&web, now()).expect("there is room");
        let Ok(Caller::Known(shown)) = show(&ticket) else {
            panic!("it is good")
        };
        assert_eq!(shown, web);
        assert_eq!(show(&ticket).expect_err("used"), Denied::Ticket);
        let ticket = access.ticket(&web, now()).expect("there is room");
        access.replace(Keyring::default());
        assert_eq!(show(&ticket).expect_err("withdrawn"), Denied::Unknown);
    }
}
