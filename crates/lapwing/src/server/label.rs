//! How a client is called.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lapwing_wire::escape::escaped;
use lapwing_wire::name::ClientName;
use serde::{Serialize, Serializer};

/// How a client is called: its own name, escaped, or its number. Two of one name are called alike.
#[derive(Clone, Debug)]
pub struct ClientLabel {
    session: u64,
    /// Already harmless. Behind two pointers, as there is one for each connection and few have a name.
    name: Option<Arc<Box<str>>>,
}

impl ClientLabel {
    /// The label of connection `session`, which may have named itself.
    #[must_use]
    pub fn new(session: u64, name: Option<&ClientName>) -> Self {
        Self {
            session,
            name: name.map(|name| Arc::new(escaped(name.as_str()).into())),
        }
    }

    /// The connection's number.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The label as harmless text.
    #[must_use]
    pub fn as_text(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("client {}", self.session)),
        }
    }

    /// Whether the client chose it, and may come back under it.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.name.is_some()
    }

    /// What two labels that are called alike have in common.
    fn called(&self) -> Result<&str, u64> {
        match &self.name {
            Some(name) => Ok(name),
            None => Err(self.session),
        }
    }
}

impl PartialEq for ClientLabel {
    fn eq(&self, other: &Self) -> bool {
        self.called() == other.called()
    }
}

impl Eq for ClientLabel {}

impl Hash for ClientLabel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.called().hash(state);
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
