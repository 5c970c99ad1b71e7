//! The query of a stream's URL: which topics, from where, in which form, for whom.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{ClientName, ClientNameError};
use crate::secret::Secret;
use crate::start::{Start, StartError};
use crate::topic::{TopicName, TopicNameError};

/// What a client asks for in the URL of its upgrade, parsed but not yet compared with the topics that run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamQuery {
    /// The topics asked for (`topics=`), none when it was not given.
    pub topics: Option<Topics>,
    /// Where to begin in a topic that `starts` does not name.
    pub start: Start,
    /// Where to begin, topic by topic.
    pub starts: Vec<(TopicName, Start)>,
    /// Whether messages come with their envelope or bare.
    pub envelope: Envelope,
    /// The form of arrays.
    pub encoding: Encoding,
    /// How the client wants to be called.
    pub name: Option<ClientName>,
    /// What a server gave for use in one URL, in place of a token.
    pub ticket: Option<Secret>,
}

/// The topics of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topics {
    /// Every public topic (`topics=*`).
    All,
    /// These, each once.
    Named(Vec<TopicName>),
}

/// Whether messages come with topic, offset and time around them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Envelope {
    /// With them.
    #[default]
    On,
    /// Only the payload, for a consumer that expects its own format; no offsets, so outside the promises.
    Off,
}

/// The form of arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// JSON text.
    #[default]
    Json,
    /// Raw little-endian elements behind a header.
    Binary,
}

impl StreamQuery {
    /// The most topics that one connection may name.
    pub const TOPICS_MAX: usize = 100;

    /// Parses the part of a URL behind the `?`; an unknown key is an error, since a misspelt one would be a surprise later.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        let mut seen = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = KEYS.iter().find(|known| ***known == *key);
            let Some(&key) = known else {
                return Err(match SECRETS.contains(&&*key) {
                    true => QueryError::Secret { key: key.into_owned() },
                    false => QueryError::UnknownKey { key: key.into_owned() },
                });
            };
            if seen.contains(&key) {
                return Err(QueryError::Twice { key });
            }
            seen.push(key);
            parsed.set(key, &value)?;
        }
        Ok(parsed)
    }

    /// Where to begin in `topic`.
    #[must_use]
    pub fn start_of(&self, topic: &TopicName) -> Start {
        self.starts
            .iter()
            .find(|(name, _)| name == topic)
            .map_or(self.start, |(_, start)| *start)
    }

    fn set(&mut self, key: &'static str, value: &str) -> Result<(), QueryError> {
        match key {
            "topics" => self.topics = Some(topics(value)?),
            "from" => self.set_from(value)?,
            "name" => self.name = Some(ClientName::parse(value)?),
            "ticket" => self.ticket = Some(Secret::new(value)),
            "envelope" => {
                self.envelope = match value {
                    "on" => Envelope::On,
                    "off" => Envelope::Off,
                    _ => {
                        return Err(QueryError::Choice {
                            key,
                            value: value.to_owned(),
                            choices: "on, off",
                        });
                    }
                }
            }
            _ => {
                self.encoding = match value {
                    "json" => Encoding::Json,
                    "binary" => Encoding::Binary,
                    _ => {
                        return Err(QueryError::Choice {
                            key,
                            value: value.to_owned(),
                            choices: "json, binary",
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// One start for all topics, or `topic:START` and `topic@EPOCH:OFFSET` separated by commas, or both.
    fn set_from(&mut self, value: &str) -> Result<(), QueryError> {
        for part in value.split(',') {
            if let Ok(start) = part.parse() {
                self.start = start;
                continue;
            }
            let at = part
                .find([':', '@'])
                .ok_or_else(|| StartError { text: part.to_owned() })?;
            let topic = TopicName::parse(&part[..at])?;
            let start = if part.as_bytes()[at] == b':' {
                &part[at + 1..]
            } else {
                &part[at..]
            };
            if self.starts.len() == Self::TOPICS_MAX {
                return Err(QueryError::TooManyTopics {
                    count: self.starts.len() + 1,
                });
            }
            self.starts.push((topic, start.parse()?));
        }
        Ok(())
    }
}

fn topics(value: &str) -> Result<Topics, QueryError> {
    if value == "*" {
        return Ok(Topics::All);
    }
    let mut names: Vec<TopicName> = Vec::new();
    for text in value.split(',') {
        let name = TopicName::parse(text).map_err(|error| QueryError::Topic {
            text: text.to_owned(),
            error,
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > StreamQuery::TOPICS_MAX {
            return Err(QueryError::TooManyTopics {
                count: value.split(',').count(),
            });
        }
    }
    Ok(Topics::Named(names))
}

const KEYS: &[&str] = &["topics", "from", "encoding", "envelope", "name", "ticket"];

/// Keys under which people try to pass secrets; a URL ends in logs, so the refusal says why.
const SECRETS: &[&str] = &[
    "token",
    "access_token",
    "jwt",
    "auth",
    "authorization",
    "key",
    "apikey",
    "api_key",
    "password",
];

/// Why a stream's query was refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// A key that means nothing here.
    #[error("unknown key {key:?} in the query; known are topics, from, encoding, envelope, name and ticket")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key that looks like a secret.
    #[error("{key:?} does not belong in a URL, which ends in logs; send it in the Authorization header")]
    Secret {
        /// The key.
        key: String,
    },
    /// A key given twice.
    #[error("{key:?} is given twice in the query")]
    Twice {
        /// The key.
        key: &'static str,
    },
    /// A value outside a closed set.
    #[error("{key}={value:?} is not one of {choices}")]
    Choice {
        /// The key.
        key: &'static str,
        /// The value given.
        value: String,
        /// The values that there are.
        choices: &'static str,
    },
    /// A topic's name that is none.
    #[error("topic {text:?}: {error}")]
    Topic {
        /// What was given.
        text: String,
        /// What is wrong with it.
        error: TopicNameError,
    },
    /// A topic's name in `from=` that is none.
    #[error("in from=: {0}")]
    FromTopic(#[from] TopicNameError),
    /// No place to begin.
    #[error("in from=: {0}")]
    From(#[from] StartError),
    /// A client's name that is none.
    #[error("in name=: {0}")]
    Name(#[from] ClientNameError),
    /// More than [`StreamQuery::TOPICS_MAX`] topics.
    #[error("{count} topics in one request, at most 100 are allowed")]
    TooManyTopics {
        /// How many were named.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Offset, Position};

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("a valid name")
    }

    #[test]
    fn nothing_asked_is_everything_default() {
        assert_eq!(StreamQuery::parse(""), Ok(StreamQuery::default()));
    }

    #[test]
    fn topics_are_taken_once_each() {
        let query = StreamQuery::parse("topics=users,arrays,users").expect("valid");
        assert_eq!(query.topics, Some(Topics::Named(vec![topic("users"), topic("arrays")])));
        assert_eq!(StreamQuery::parse("topics=*").expect("valid").topics, Some(Topics::All));
    }

    #[test]
    fn a_start_may_differ_by_topic() {
        let epoch = Epoch::from_bits(9);
        let query = StreamQuery::parse(&format!("from=earliest,users:17,arrays@{epoch}:3,x:last:5")).expect("valid");
        assert_eq!(query.start_of(&topic("users")), Start::Offset(Offset::new(17)));
        assert_eq!(
            query.start_of(&topic("arrays")),
            Start::Position(Position {
                epoch,
                offset: Offset::new(3)
            })
        );
        assert_eq!(query.start_of(&topic("x")), Start::Last(5));
        assert_eq!(query.start_of(&topic("other")), Start::Earliest);
    }

    #[track_caller]
    fn check_refused(query: &str, expect: &str) {
        assert_eq!(
            StreamQuery::parse(query).map_err(|e| e.to_string()),
            Err(expect.to_owned()),
            "{query}"
        );
    }

    #[test]
    fn what_is_refused_says_what_is_known() {
        check_refused(
            "topic=users",
            "unknown key \"topic\" in the query; known are topics, from, encoding, envelope, name and ticket",
        );
        check_refused(
            "token=abc",
            "\"token\" does not belong in a URL, which ends in logs; send it in the Authorization header",
        );
        check_refused("envelope=maybe", "envelope=\"maybe\" is not one of on, off");
        check_refused("topics=a&topics=b", "\"topics\" is given twice in the query");
        check_refused("topics=", "topic \"\": a topic name needs 1 to 64 characters");
        check_refused(
            "from=soon",
            "in from=: \"soon\" is no place to begin: use latest, earliest, an offset, last:COUNT, -30s or @EPOCH:OFFSET",
        );
        let many = (0..101).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        check_refused(
            &format!("topics={many}"),
            "101 topics in one request, at most 100 are allowed",
        );
    }

    #[test]
    fn a_ticket_is_taken_and_shown_to_nobody() {
        let query = StreamQuery::parse("ticket=abc-_").expect("valid");
        assert_eq!(query.ticket.as_ref().map(Secret::reveal), Some("abc-_"));
        assert!(!format!("{query:?}").contains("abc"));
    }

    #[test]
    fn names_are_decoded() {
        let query = StreamQuery::parse("name=sensor+1%20%C3%A9").expect("valid");
        assert_eq!(query.name.expect("given").as_str(), "sensor 1 é");
    }
}
