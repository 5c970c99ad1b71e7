//! What a token lets its bearer do: `listen:TOPIC`, `publish:TOPIC`, `admin`.

use std::fmt;

use lapwing_wire::topic::TopicName;
use thiserror::Error;

/// One right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To receive messages.
    Listen(Reach),
    /// To publish them; who may publish to a topic may not listen to it for that, nor the reverse.
    Publish(Reach),
    /// Whatever is about the server itself: topics that begin with `$`.
    Admin,
}

/// Of which topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every public topic, written `*`.
    All,
    /// This one.
    Topic(TopicName),
}

impl Scope {
    /// Parses one word.
    pub fn parse(word: &str) -> Result<Self, ScopeError> {
        let reach = |topic: &str| match topic {
            "*" => Ok(Reach::All),
            topic => match TopicName::parse(topic) {
                Ok(topic) if !topic.is_reserved() => Ok(Reach::Topic(topic)),
                _ => Err(ScopeError),
            },
        };
        match word.split_once(':') {
            Some(("listen", topic)) => reach(topic).map(Self::Listen),
            Some(("publish", topic)) => reach(topic).map(Self::Publish),
            None if word == "admin" => Ok(Self::Admin),
            _ => Err(ScopeError),
        }
    }
}

impl Reach {
    fn covers(&self, topic: &TopicName) -> bool {
        match self {
            Self::All => !topic.is_reserved(),
            Self::Topic(named) => named == topic && !topic.is_reserved(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(reach) => write!(f, "listen:{reach}"),
            Self::Publish(reach) => write!(f, "publish:{reach}"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Topic(topic) => topic.fmt(f),
        }
    }
}

/// All rights of one bearer; without any it may do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Parses words separated by commas, as in a tokens file; at least one.
    pub fn parse_list(text: &str) -> Result<Self, ScopeError> {
        text.split(',').map(Scope::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Takes the value of the claim `scope`: words separated by spaces (RFC 8693 section 4.2). Words that mean nothing here
    /// are those of other services, and give nothing.
    #[must_use]
    pub fn of_claim(claim: &str) -> Self {
        Self(
            claim
                .split_ascii_whitespace()
                .filter_map(|word| Scope::parse(word).ok())
                .collect(),
        )
    }

    /// Whether its bearer may receive what comes in this topic.
    #[must_use]
    pub fn may_listen(&self, topic: &TopicName) -> bool {
        self.0.iter().any(|scope| match scope {
            Scope::Listen(reach) => reach.covers(topic),
            Scope::Admin => topic.is_reserved(),
            Scope::Publish(_) => false,
        })
    }

    /// Whether its bearer may publish to this topic.
    #[must_use]
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        let covers = |scope: &Scope| matches!(scope, Scope::Publish(reach) if reach.covers(topic));
        self.0.iter().any(covers)
    }

    /// Whether its bearer may see what the server knows of its clients.
    #[must_use]
    pub fn may_watch(&self) -> bool {
        self.0.contains(&Scope::Admin)
    }

    /// Whether its bearer may receive anything at all.
    #[must_use]
    pub fn may_listen_at_all(&self) -> bool {
        self.0
            .iter()
            .any(|scope| matches!(scope, Scope::Listen(_) | Scope::Admin))
    }
}

impl fmt::Display for Scopes {
    /// `listen:users, publish:orders`, `no scope`; of very many the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no scope");
        }
        for (at, scope) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{scope}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A word that names no right. What was written is not repeated: it may be a token in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a scope is listen:TOPIC, publish:TOPIC or admin, with * for every topic")]
pub struct ScopeError;

/// A sentence is no list.
const SHOWN_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scopes: &str, topic: &str, listen: bool, publish: bool) {
        let scopes = Scopes::parse_list(scopes).expect("valid");
        let topic = TopicName::parse(topic).expect("valid");
        assert_eq!(
            (scopes.may_listen(&topic), scopes.may_publish(&topic)),
            (listen, publish),
            "{scopes}, {topic}"
        );
    }

    #[test]
    fn e16_publishing_gives_no_listening_and_the_reverse() {
        check("listen:users", "users", true, false);
        check("publish:users", "users", false, true);
        check("listen:users,publish:users", "users", true, true);
        check("listen:users,publish:orders", "orders", false, true);
        check("admin", "users", false, false);
    }

    #[test]
    fn a_star_is_every_public_topic_and_a_name_only_itself() {
        check("listen:*", "users", true, false);
        check("publish:*", "users", false, true);
        check("listen:users", "users2", false, false);
        check("listen:users", "Users", false, false);
        check("listen:users2", "users", false, false);
    }

    #[test]
    fn words_that_are_no_scope_are_refused_in_a_file_and_give_nothing_in_a_claim() {
        for wrong in [
            "",
            ",",
            "listen",
            "listen:",
            "listen:a b",
            "listen:a,",
            "read:users",
            "admin:users",
            "Listen:users",
            "listen:**",
            "*",
        ] {
            assert!(Scopes::parse_list(wrong).is_err(), "{wrong:?}");
        }
        let claim = Scopes::of_claim(" openid listen:users  write:orders publish:* ");
        assert_eq!(claim.to_string(), "listen:users, publish:*");
        assert_eq!(Scopes::of_claim("openid profile").to_string(), "no scope");
        assert!(!Scopes::of_claim("publish:orders").may_listen_at_all());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "listen:users,publish:*,admin";
        assert_eq!(
            Scopes::parse_list(text).expect("valid").to_string(),
            text.replace(',', ", ")
        );
        let many = (0..12).map(|n| format!("listen:t{n}")).collect::<Vec<_>>().join(",");
        let shown = Scopes::parse_list(&many).expect("valid").to_string();
        assert!(shown.ends_with("listen:t9 and 2 more"), "{shown}");
    }
}
