//! The other servers as they were heard last: who is there, who is gone, how each is called here. Pure: time is an argument.

use std::time::Duration;

use lapwing_wire::escape::escaped;

use super::letter::Here;

/// All other servers that were heard of lately.
pub struct Others {
    /// What the server itself is called.
    name: String,
    list: Vec<Other>,
    /// When this server heard itself last, by the way on which it hears the others.
    echo: Duration,
    is_deaf: bool,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Other {
    /// Its id, which no other has.
    pub id: String,
    /// How it is called here: its name, harmless; with a part of its id where another one has the name.
    pub called: String,
    /// What it said last.
    pub here: Here,
    /// When.
    pub heard: Duration,
    /// Since when it is gone, if it is.
    pub gone: Option<Duration>,
    /// Bytes of it in this second.
    bytes: usize,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server is there, of this id and called so.
    There(String, String),
    /// It is gone.
    Gone(String, String, Why),
    /// It is called otherwise than before: nobody else has its name any more.
    Renamed(String),
}

/// Why a server is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It said so.
    Left,
    /// Nothing was heard of it for so long.
    Silent(Duration),
}

impl Others {
    /// Nobody yet, beside the server itself.
    #[must_use]
    pub fn new(name: String, now: Duration) -> Self {
        Self {
            name,
            list: Vec::new(),
            echo: now,
            is_deaf: false,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Other> {
        self.list.iter()
    }

    /// Those that are there.
    pub fn there(&self) -> impl Iterator<Item = &Other> {
        self.list.iter().filter(|other| other.gone.is_none())
    }

    /// The one of this id, where it is there.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Other> {
        self.there().find(|other| other.id == id)
    }

    /// Whether this server hears nothing, not even itself: then nobody can be called gone.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// This server heard itself.
    pub fn on_echo(&mut self, now: Duration) {
        self.echo = now;
        if std::mem::replace(&mut self.is_deaf, false) {
            // What they said meanwhile did not come here.
            for other in &mut self.list {
                other.heard = now;
            }
        }
    }

    /// Takes so many bytes of a server that is there; false when it has sent as many in this second as it may, or is not known.
    pub fn take_bytes(&mut self, id: &str, bytes: usize) -> bool {
        let Some(other) = self
            .list
            .iter_mut()
            .find(|other| other.id == id && other.gone.is_none())
        else {
            return false;
        };
        other.bytes = other.bytes.saturating_add(bytes);
        other.bytes <= BYTES_PER_SECOND_MAX
    }

    /// A server says how it is. An error when there are as many as may be.
    pub fn on_here(&mut self, id: &str, here: Here, now: Duration) -> Result<Option<Change>, Full> {
        if let Some(other) = self
            .list
            .iter_mut()
            .find(|other| other.id == id && other.gone.is_none())
        {
            (other.here, other.heard) = (here, now);
            return Ok(None);
        }
        // Whoever is back, or took the place of one that is gone, stands there once.
        self.list
            .retain(|other| other.gone.is_none() || other.id != id && other.here.name != here.name);
        if self.list.len() >= OTHERS_MAX {
            let gone = self.list.iter().position(|other| other.gone.is_some());
            self.list.remove(gone.ok_or(Full)?);
        }
        let other = Other {
            called: self.called(id, &here.name),
            id: id.to_owned(),
            here,
            heard: now,
            gone: None,
            bytes: 0,
        };
        let change = Change::There(other.id.clone(), other.called.clone());
        self.list.push(other);
        Ok(Some(change))
    }

    /// A server says that it leaves.
    pub fn on_leaves(&mut self, id: &str, now: Duration) -> Option<Change> {
        let other = self
            .list
            .iter_mut()
            .find(|other| other.id == id && other.gone.is_none())?;
        other.gone = Some(now);
        Some(Change::Gone(other.id.clone(), other.called.clone(), Why::Left))
    }

    /// A second has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        self.is_deaf = self.is_deaf || now.saturating_sub(self.echo) > DEAF_AFTER;
        for other in &mut self.list {
            other.bytes = 0;
            let silent = now.saturating_sub(other.heard);
            if other.gone.is_none() && !self.is_deaf && silent > GONE_AFTER {
                other.gone = Some(now);
                let why = Why::Silent(silent);
                changes.push(Change::Gone(other.id.clone(), other.called.clone(), why));
            }
        }
        self.list
            .retain(|other| other.gone.is_none_or(|gone| now.saturating_sub(gone) < REMEMBERED));
        for at in 0..self.list.len() {
            let other = &self.list[at];
            let own = escaped(&other.here.name);
            if other.gone.is_none() && other.called != own && !self.is_taken(&own, &other.id) {
                changes.push(Change::Renamed(other.id.clone()));
                self.list[at].called = own;
            }
        }
        changes
    }

    fn called(&self, id: &str, name: &str) -> String {
        let name = escaped(name);
        match self.is_taken(&name, id) {
            true => format!("{name} {}", &id[..8.min(id.len())]),
            false => name,
        }
    }

    fn is_taken(&self, name: &str, id: &str) -> bool {
        self.name == name || self.there().any(|other| other.id != id && other.called == name)
    }
}

/// There are as many servers as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Servers say once a second that they are here.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// Shorter, so that whoever hears nothing knows that before it calls others gone.
const DEAF_AFTER: Duration = Duration::from_secs(3);
/// With this one they are 64: more than one stream should have to feed.
pub const OTHERS_MAX: usize = 63;
/// One that is gone is shown so long.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Twice what a server sends at most.
const BYTES_PER_SECOND_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn here(name: &str) -> Here {
        Here {
            name: name.to_owned(),
            address: String::new(),
            version: String::new(),
            started: String::new(),
            clients: 0,
            counts: None,
            watches: false,
            wants: Vec::new(),
            topics: Vec::new(),
        }
    }

    fn there(id: &str, called: &str) -> Change {
        Change::There(id.to_owned(), called.to_owned())
    }

    fn gone(id: &str, called: &str, why: Why) -> Change {
        Change::Gone(id.to_owned(), called.to_owned(), why)
    }

    #[test]
    fn a_server_that_is_silent_is_gone_and_may_come_back() {
        let mut others = Others::new("a".to_owned(), at(0));
        assert_eq!(others.on_here("b1", here("b"), at(0)), Ok(Some(there("b1", "b"))));
        assert_eq!(others.on_here("b1", here("b"), at(1)), Ok(None));
        others.on_echo(at(6));
        assert_eq!(others.tick(at(6)), [], "5 s are not too long");
        others.on_echo(at(7));
        assert_eq!(others.tick(at(7)), [gone("b1", "b", Why::Silent(at(6)))]);
        assert_eq!(others.tick(at(7)), [], "it is told once");
        assert!(others.find("b1").is_none() && !others.take_bytes("b1", 1));
        assert_eq!(others.on_here("b1", here("b"), at(8)), Ok(Some(there("b1", "b"))));
        assert_eq!(others.iter().count(), 1);
        assert_eq!(others.on_leaves("b1", at(9)), Some(gone("b1", "b", Why::Left)));
        assert_eq!(others.on_leaves("b1", at(9)), None);
        others.on_echo(at(700));
        assert_eq!(others.tick(at(700)), []);
        assert_eq!(others.iter().count(), 0, "it is forgotten");
    }

    #[test]
    fn nobody_is_gone_while_this_server_does_not_hear_even_itself() {
        let mut others = Others::new("a".to_owned(), at(0));
        others.on_here("b1", here("b"), at(0)).expect("room");
        assert_eq!(others.tick(at(100)), []);
        assert!(others.is_deaf());
        others.on_echo(at(101));
        assert_eq!(others.tick(at(101)), [], "it has its time from now on");
        others.on_echo(at(107));
        assert_eq!(others.tick(at(107)), [gone("b1", "b", Why::Silent(at(6)))]);
    }

    #[test]
    fn two_of_one_name_are_told_apart_until_one_is_gone() {
        let mut others = Others::new("a".to_owned(), at(0));
        assert_eq!(
            others.on_here("123456789", here("a"), at(0)),
            Ok(Some(there("123456789", "a 12345678")))
        );
        others.on_here("b1", here("b"), at(0)).expect("room");
        assert_eq!(others.on_here("b2", here("b"), at(0)), Ok(Some(there("b2", "b b2"))));
        assert_eq!(others.tick(at(1)), []);
        others.on_leaves("b1", at(2));
        assert_eq!(others.tick(at(2)), [Change::Renamed("b2".to_owned())]);
        assert_eq!(others.find("b2").map(|other| other.called.as_str()), Some("b"));
        assert_eq!(others.tick(at(3)), []);
    }

    #[test]
    fn no_more_are_known_than_may_be_and_who_is_gone_makes_room() {
        let mut others = Others::new("a".to_owned(), at(0));
        for number in 0..OTHERS_MAX {
            let id = number.to_string();
            others.on_here(&id, here(&id), at(0)).expect("room");
        }
        assert_eq!(others.on_here("more", here("more"), at(0)), Err(Full));
        others.on_leaves("7", at(0));
        assert_eq!(
            others.on_here("more", here("more"), at(0)),
            Ok(Some(there("more", "more")))
        );
        assert_eq!(others.iter().count(), OTHERS_MAX);
    }

    #[test]
    fn a_server_that_sends_too_much_is_not_listened_to_for_the_rest_of_the_second() {
        let mut others = Others::new("a".to_owned(), at(0));
        others.on_here("b1", here("b"), at(0)).expect("room");
        assert!(others.take_bytes("b1", BYTES_PER_SECOND_MAX));
        assert!(!others.take_bytes("b1", 1));
        others.tick(at(1));
        assert!(others.take_bytes("b1", 1));
    }

    #[test]
    fn a_name_cannot_drive_a_terminal() {
        let mut others = Others::new("a".to_owned(), at(0));
        let change = others.on_here("b1", here("b\u{1b}[2J"), at(0));
        assert_eq!(change, Ok(Some(there("b1", "b\\u{1b}[2J"))));
    }
}
