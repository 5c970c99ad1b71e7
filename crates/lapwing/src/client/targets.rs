//! Where a client connects to when several servers have the same topics: the URLs that were typed.

use std::fmt;

use lapwing_wire::topic::TopicName;
use thiserror::Error;

use super::target::{Security, Target, TargetError};

/// One or more URLs, separated by commas: of one kind, with one query, none of them twice.
///
/// Its Display is for people and recordings, without secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Targets(Vec<Target>);

impl Targets {
    /// Parses a list, each URL by `parse`; gives all that is wrong with it.
    pub fn parse(text: &str, parse: fn(&str) -> Result<Target, TargetError>) -> Result<Self, Vec<TargetsError>> {
        let parts = split(text);
        if parts.len() > SERVERS_MAX {
            return Err(vec![TargetsError::TooMany { count: parts.len() }]);
        }
        let mut wrong = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let found = parse(part).map_err(TargetsError::Url).and_then(|target| {
                targets.first().map_or(Ok(()), |first| target_fits(&target, first))?;
                match targets.contains(&target) {
                    true => Err(TargetsError::Twice {
                        url: target.to_string(),
                    }),
                    false => Ok(target),
                }
            });
            match found {
                Ok(target) => targets.push(target),
                Err(error) if parts.len() == 1 => wrong.push(error),
                Err(error) => wrong.push(TargetsError::Nth {
                    place: at + 1,
                    count: parts.len(),
                    error: Box::new(error),
                }),
            }
        }
        match wrong.is_empty() {
            true => Ok(Self(targets)),
            false => Err(wrong),
        }
    }

    /// The first of them, which stands for what is the same of all: whether there is TLS, and the query.
    #[must_use]
    pub fn first(&self) -> &Target {
        &self.0[0]
    }

    /// All of them, at least one.
    #[must_use]
    pub fn all(&self) -> &[Target] {
        &self.0
    }

    /// Servers and topic of URLs to which messages are posted, as [`Target::split_topic`]; none where they differ in the topic.
    #[must_use]
    pub fn split_topic(&self) -> Option<(Self, TopicName)> {
        let parts: Option<Vec<_>> = self.0.iter().map(Target::split_topic).collect();
        let (targets, topics): (Vec<_>, Vec<_>) = parts?.into_iter().unzip();
        let topic = topics.first()?.clone();
        topics
            .iter()
            .all(|other| *other == topic)
            .then_some((Self(targets), topic))
    }

    /// The first with how many more there are, for a place with little room.
    #[must_use]
    pub fn short(&self) -> String {
        match self.0.len() {
            1 => self.first().to_string(),
            count => format!("{} and {} more", self.first(), count - 1),
        }
    }
}

impl From<Target> for Targets {
    fn from(target: Target) -> Self {
        Self(vec![target])
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, target) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{target}")?;
        }
        Ok(())
    }
}

/// Why a list of URLs leads nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TargetsError {
    /// One URL is wrong by itself.
    #[error("{0}")]
    Url(TargetError),
    /// One of several is wrong.
    #[error("URL {place} of {count}: {error}")]
    Nth {
        /// Which, from 1.
        place: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        error: Box<TargetsError>,
    },
    /// More than are taken.
    #[error("{count} URLs are too many: at most {SERVERS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The same place again.
    #[error("{url} stands there twice")]
    Twice {
        /// Which.
        url: String,
    },
    /// One with TLS and one without.
    #[error("{url} begins with {}://, and {first} does not", security.scheme())]
    Security {
        /// The later one.
        url: String,
        /// How it begins.
        security: Security,
        /// The one it is compared with.
        first: String,
    },
    /// What is wanted differs.
    #[error("{url} has another query than {first}")]
    Query {
        /// The later one.
        url: String,
        /// The one it is compared with.
        first: String,
    },
}

impl TargetsError {
    /// A way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Url(error) => error.hint(),
            Self::Nth { error, .. } => error.hint(),
            Self::TooMany { .. } => "name some of them; which is tried first is left to chance".to_owned(),
            Self::Twice { .. } => "leave one of them out".to_owned(),
            Self::Security { .. } => {
                "all with TLS or none: what is encrypted to one would be readable to another".to_owned()
            }
            Self::Query { .. } => {
                "what is asked for is the same of every server: write the same behind each ?".to_owned()
            }
        }
    }
}

/// Whether both may stand in one list.
fn target_fits(target: &Target, first: &Target) -> Result<(), TargetsError> {
    let (url, first_url) = (target.to_string(), first.to_string());
    if target.security != first.security {
        return Err(TargetsError::Security {
            url,
            security: target.security,
            first: first_url,
        });
    }
    match target.query() == first.query() {
        true => Ok(()),
        false => Err(TargetsError::Query { url, first: first_url }),
    }
}

/// Cuts at the commas between URLs. One in a path or a query (`?topics=a,b`) is no such comma, unless a scheme follows.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (comma, _) in text.match_indices(',') {
        let part = &text[begin..comma];
        let authority = part.split_once("://").map_or(part, |(_, rest)| rest);
        if !authority.contains(['/', '?']) || begins_with_scheme(&text[comma + 1..]) {
            parts.push(part);
            begin = comma + 1;
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn begins_with_scheme(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// 16: who needs more has a name with many addresses, or a balancer.
pub const SERVERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_split(text: &str, parts: &[&str]) {
        assert_eq!(split(text), parts);
    }

    #[test]
    fn urls_are_separated_by_commas_and_a_query_has_commas_of_its_own() {
        check_split("ws://a", &["ws://a"]);
        check_split("ws://a:1,ws://b:2", &["ws://a:1", "ws://b:2"]);
        check_split("ws://a?topics=x,y", &["ws://a?topics=x,y"]);
        check_split("ws://a/?topics=x,y,wss://b/c,d", &["ws://a/?topics=x,y", "wss://b/c,d"]);
        check_split("ws://a,b:1", &["ws://a", "b:1"]);
        check_split("ws://a,", &["ws://a", ""]);
        check_split("ws://a?u=ws://b,c", &["ws://a?u=ws://b,c"]);
        check_split("a,b", &["a", "b"]);
    }

    #[track_caller]
    fn check_wrong(text: &str, expect: &[&str]) {
        let wrong = Targets::parse(text, Target::parse).expect_err(text);
        let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(told, expect);
        assert!(wrong.iter().all(|error| !error.hint().is_empty()));
    }

    #[test]
    fn all_that_is_wrong_is_told_and_each_named() {
        check_wrong(
            "ws://a,http://b,ws://c:0,ws://me:hidden@d",
            &[
                "URL 2 of 4: \"http://b\" is the URL of a page, a stream begins with ws:// or wss://",
                "URL 3 of 4: \"ws://c:0\" has no valid port: a number from 1 to 65535 stands behind the host",
                "URL 4 of 4: a URL with a user and password in it is not used: it ends in logs and process lists",
            ],
        );
        check_wrong(
            "ws://a:1,localhost:2",
            &["URL 2 of 2: \"localhost:2\" is no URL of a stream: it begins with neither ws:// nor wss://"],
        );
        check_wrong("ws://a,WS://A:80/", &["URL 2 of 2: ws://a stands there twice"]);
        check_wrong(
            "ws://a,wss://b",
            &["URL 2 of 2: wss://b begins with wss://, and ws://a does not"],
        );
        check_wrong(
            "ws://a?topics=x&key=hidden,ws://b?topics=y",
            &["URL 2 of 2: ws://b/?topics=y has another query than ws://a/?topics=x&key=***"],
        );
        // One alone is told as it always was.
        check_wrong(
            "ws://",
            &["\"ws://\" has no valid host: a name in ASCII, an address such as 10.0.0.1, or [::1]"],
        );
    }

    #[test]
    fn urls_to_post_to_name_one_topic() {
        let split = |urls: &str| {
            let (servers, topic) = Targets::parse(urls, Target::parse_server).expect(urls).split_topic()?;
            Some(format!("{servers} {topic}"))
        };
        let one = "http://a/topics/t/messages";
        assert_eq!(
            split(&format!("{one},http://b/topics/t/messages")).as_deref(),
            Some("ws://a,ws://b t")
        );
        assert_eq!(split(&format!("{one},http://b/topics/u/messages")), None);
        assert_eq!(split(&format!("{one},http://b")), None);
    }

    #[test]
    fn as_many_as_the_limit_and_no_more() {
        let list = |count: usize| (0..count).map(|n| format!("ws://s{n}")).collect::<Vec<_>>().join(",");
        let most = Targets::parse(&list(SERVERS_MAX), Target::parse).expect("at the limit");
        assert_eq!((most.all().len(), most.to_string()), (16, list(16)));
        assert_eq!(most.short(), "ws://s0 and 15 more");
        check_wrong(&list(SERVERS_MAX + 1), &["17 URLs are too many: at most 16"]);
    }
}
