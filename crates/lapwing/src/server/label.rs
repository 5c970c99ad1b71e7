//! How a client is called.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use serde::{Serialize, Serializer};

/// How a client is called: its own name, escaped, or its number. A number takes no memory beside itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientLabel(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Numbered(u64),
    /// Already harmless.
    Named(Arc<str>),
}

impl ClientLabel {
    /// The label of connection `session`, which may have named itself.
    #[must_use]
    pub fn new(session: u64, name: Option<&ClientName>) -> Self {
        Self(match name {
            Some(name) => Kind::Named(escaped(name.as_str()).into()),
            None => Kind::Numbered(session),
        })
    }

    /// The label as harmless text.
    #[must_use]
    pub fn as_text(&self) -> Cow<'_, str> {
        match &self.0 {
            Kind::Numbered(session) => Cow::Owned(format!("client {session}")),
            Kind::Named(name) => Cow::Borrowed(name),
        }
    }

    /// Whether the client chose it, and may come back under it.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        matches!(self.0, Kind::Named(_))
    }
}

impl fmt::Display for ClientLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_text())
    }
}

impl Serialize for ClientLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
