//! Refused tokens: counted by reason, and told at most once a second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lapwing_wire::escape::escaped_cut;

use super::access::Denied;
use super::access::jwt::JwtError;
use super::event::{Event, place};
use super::sums::Sums;
use super::told::Repeats;
use crate::config::Limits;
use crate::terminal::form;

/// How often somebody was refused for their token, or for the lack of one.
#[derive(Default)]
pub struct Refusals {
    counts: [AtomicU64; Reason::ALL.len()],
    told: Mutex<Repeats>,
}

impl Refusals {
    /// Somebody at this address is refused; gives what is to be told of it. Nothing of a token is: a [`Denied`] holds nothing of it.
    pub fn come(&self, from: SocketAddr, denied: &Denied) -> Option<Event> {
        let reason = Reason::of(denied);
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
        // Every page asks without one first, and then its user for one; and whether it may watch, which most may not.
        if matches!(reason, Reason::NoToken | Reason::Elsewhere) || denied.is_of_watching() {
            return None;
        }
        let came = self.told.lock().unwrap_or_else(PoisonError::into_inner).come();
        came.map(|count| Event::Access {
            text: sentence(from, denied, count),
            failed: true,
        })
    }

    /// Each reason's name, and how often.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Reason::ALL.iter().zip(&self.counts);
        counts.map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }

    /// How often, by reason.
    #[must_use]
    pub fn counts(&self) -> Sums {
        self.each().collect()
    }
}

fn sentence(from: SocketAddr, denied: &Denied, count: u64) -> String {
    let who = denied
        .who()
        .map_or(String::new(), |who| format!("\"{}\" at ", who.shown()));
    // A token may have as many scopes as it likes.
    let (why, _) = escaped_cut(&denied.to_string(), Limits::SAID_BYTES_MAX);
    let others = match count - 1 {
        0 => String::new(),
        others => format!("; {} since the last such line", form::counted(others, "other")),
    };
    format!("{who}{} was refused: {why}{others}", place(&from))
}

/// Why a token is refused, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// There is none.
    NoToken,
    /// It is no token, or not where one stands.
    Unreadable,
    /// It is not in the file.
    Unknown,
    /// It is a ticket that is not good, or no longer.
    Ticket,
    /// It has ended.
    Expired,
    /// It has not begun.
    NotYet,
    /// No key here proves it.
    Unproven,
    /// It is for others, or from others.
    Foreign,
    /// It does not allow this.
    Scope,
    /// It is of somebody else than the connection.
    SomebodyElse,
    /// It comes from elsewhere, and what it wants is for this machine.
    Elsewhere,
}

impl Reason {
    const ALL: [(Self, &'static str); 11] = [
        (Self::NoToken, "no_token"),
        (Self::Unreadable, "unreadable"),
        (Self::Unknown, "unknown"),
        (Self::Ticket, "ticket"),
        (Self::Expired, "expired"),
        (Self::NotYet, "not_yet"),
        (Self::Unproven, "unproven"),
        (Self::Foreign, "foreign"),
        (Self::Scope, "scope"),
        (Self::SomebodyElse, "somebody_else"),
        (Self::Elsewhere, "elsewhere"),
    ];

    fn of(denied: &Denied) -> Self {
        match denied {
            Denied::NoToken => Self::NoToken,
            Denied::Credential(_) => Self::Unreadable,
            Denied::Unknown => Self::Unknown,
            Denied::Ticket => Self::Ticket,
            Denied::SomebodyElse { .. } => Self::SomebodyElse,
            Denied::Scope { .. } => Self::Scope,
            Denied::Elsewhere => Self::Elsewhere,
            Denied::Jwt(error) => match error {
                JwtError::Shape | JwtError::Critical | JwtError::Claims => Self::Unreadable,
                JwtError::Algorithm | JwtError::UnknownKey | JwtError::NoKeyNamed | JwtError::Signature => {
                    Self::Unproven
                }
                JwtError::Expired { .. } => Self::Expired,
                JwtError::NotYet { .. } => Self::NotYet,
                JwtError::Audience | JwtError::Issuer => Self::Foreign,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::credential::CredentialError;
    use super::super::access::identity::Subject;
    use super::*;

    fn told(denied: &Denied, count: u64) -> String {
        sentence(SocketAddr::from(([192, 0, 2, 7], 4711)), denied, count)
    }

    fn scope(has: &str) -> Denied {
        Denied::Scope {
            who: Subject::Token("web".into()),
            has: has.to_owned(),
            needed: "a stream needs listen:TOPIC".to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_told_with_address_reason_and_whose_token_it_is() {
        assert_eq!(
            told(&Denied::Unknown, 1),
            "192.0.2.7:4711 was refused: the token is not known here"
        );
        assert_eq!(
            told(&Denied::Jwt(JwtError::Expired { ago_s: 31 }), 2),
            "192.0.2.7:4711 was refused: the token expired 31 s ago; 1 other since the last such line"
        );
        assert_eq!(
            told(&scope("publish:orders"), 1001),
            "\"web\" at 192.0.2.7:4711 was refused: the token has publish:orders; a stream needs listen:TOPIC; \
             1,000 others since the last such line"
        );
        assert!(told(&scope(&"listen:users, ".repeat(1000)), 1).len() < 1200);
    }

    #[test]
    fn each_reason_has_a_place_and_a_name_of_its_own() {
        let refusals = Refusals::default();
        let mut told = Vec::new();
        for (nth, (reason, _)) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, nth);
        }
        let all = [
            Denied::NoToken,
            Denied::Credential(CredentialError::Scheme),
            Denied::Unknown,
            Denied::Ticket,
            Denied::Jwt(JwtError::Expired { ago_s: 31 }),
            Denied::Jwt(JwtError::NotYet { in_s: 31 }),
            Denied::Jwt(JwtError::Signature),
            Denied::Jwt(JwtError::Issuer),
            scope("admin"),
            Denied::SomebodyElse {
                who: Subject::Token("web".into()),
            },
            Denied::Elsewhere,
        ];
        for (nth, denied) in all.iter().enumerate() {
            told.extend((0..=nth).filter_map(|_| refusals.come(([192, 0, 2, 7], 4711).into(), denied)));
        }
        let counts = serde_json::to_value(refusals.counts()).expect("serializable");
        for (nth, (_, name)) in Reason::ALL.iter().enumerate() {
            assert_eq!(counts[name], nth + 1, "{name}");
        }
        let first = told.first().expect("something is told");
        assert!(
            first.sentence().contains("this server takes a bearer token"),
            "{first:?}"
        );
    }
}
