//! The clients of the other servers, as those tell of them. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::letter::{Part, signed};
use crate::server::cause::Cause;
use crate::server::row::Rank;

/// The clients of all other servers.
#[derive(Default)]
pub struct Rows {
    of: BTreeMap<String, Theirs>,
    /// What is told in `$clients` next of those that are gone.
    left: Vec<String>,
    count: usize,
    bytes: usize,
}

/// The clients of one other server.
struct Theirs {
    /// How it is called.
    server: String,
    /// The part that comes next; none while all its clients are to be told anew.
    next: Option<Part>,
    rows: HashMap<u64, Held>,
    /// Those that `$clients` is still to tell.
    changed: HashSet<u64>,
}

struct Held {
    row: Arc<FarRow>,
    /// The run that told it last.
    run: u64,
}

/// A client of another server.
#[derive(Debug)]
pub struct FarRow {
    /// The server.
    pub server: String,
    /// The connection's number there.
    pub session: u64,
    /// Whose fault it is that it receives as it does.
    pub cause: Cause,
    /// Its row, with the server in it.
    pub json: Box<str>,
    behind_ms: Option<f64>,
    /// Name and address, to be searched.
    found_by: Box<str>,
}

impl FarRow {
    /// Whether its name, address or server has this in it; `part` is in lower case.
    #[must_use]
    pub fn is_found_by(&self, part: &str) -> bool {
        self.found_by.contains(part)
    }

    /// Its place in a list.
    #[must_use]
    pub fn rank(&self) -> Rank<'_> {
        Rank {
            cause: self.cause,
            behind_ms: self.behind_ms,
            server: &self.server,
            session: self.session,
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.server.len() + self.json.len() + self.found_by.len() + OVERHEAD_BYTES
    }
}

impl Rows {
    /// A server that is called so is there, or is called otherwise than before.
    pub fn add(&mut self, id: &str, server: &str) {
        self.remove(id);
        let theirs = Theirs {
            server: server.to_owned(),
            next: None,
            rows: HashMap::new(),
            changed: HashSet::new(),
        };
        self.of.insert(id.to_owned(), theirs);
    }

    /// A server is gone, and so are its clients.
    pub fn remove(&mut self, id: &str) {
        let Some(theirs) = self.of.remove(id) else { return };
        for (session, held) in theirs.rows {
            self.count -= 1;
            self.bytes -= held.row.bytes();
            self.left.push(left(&theirs.server, session));
        }
    }

    /// Nobody watches any more.
    pub fn forget(&mut self) {
        for theirs in self.of.values_mut() {
            theirs.next = None;
            theirs.rows = HashMap::new();
            theirs.changed = HashSet::new();
        }
        (self.left, self.count, self.bytes) = (Vec::new(), 0, 0);
    }

    /// The servers whose clients must all be told, since something of them did not come here.
    #[must_use]
    pub fn wants(&self) -> Vec<String> {
        let wanted = self.of.iter().filter(|(_, theirs)| theirs.next.is_none());
        wanted.map(|(id, _)| id.clone()).collect()
    }

    /// Takes what a server tells of its clients; gives how many lines were none, and for how many there was no room.
    pub fn take<'l>(&mut self, id: &str, part: Part, lines: impl Iterator<Item = &'l str>) -> Taken {
        let mut taken = Taken::default();
        let Some(theirs) = self.of.get_mut(id) else {
            return taken;
        };
        match theirs.next {
            Some(next) if (next.run, next.part) == (part.run, part.part) => {}
            _ if part.part == 0 => {}
            _ => {
                // What is missing between is told when all is.
                theirs.next = None;
                return taken;
            }
        }
        theirs.next = Some(Part {
            part: part.part + 1,
            ..part
        });
        for line in lines {
            let Some(told) = Told::read(line, &theirs.server) else {
                taken.bad += 1;
                continue;
            };
            match told {
                Told::Left(session) => {
                    if let Some(held) = theirs.rows.remove(&session) {
                        self.count -= 1;
                        self.bytes -= held.row.bytes();
                        theirs.changed.remove(&session);
                        self.left.push(left(&theirs.server, session));
                    }
                }
                Told::Row(row) => {
                    let (session, bytes) = (row.session, row.bytes());
                    let before = theirs.rows.get(&session).map_or(0, |held| held.row.bytes());
                    let new = usize::from(before == 0);
                    if self.count + new > ROWS_MAX || self.bytes - before + bytes > BYTES_MAX {
                        taken.no_room += 1;
                        continue;
                    }
                    self.count += new;
                    self.bytes = self.bytes - before + bytes;
                    let row = Arc::new(row);
                    theirs.rows.insert(session, Held { row, run: part.run });
                    theirs.changed.insert(session);
                }
            }
        }
        if part.whole {
            for (session, held) in theirs.rows.extract_if(|_, held| held.run != part.run) {
                self.count -= 1;
                self.bytes -= held.row.bytes();
                theirs.changed.remove(&session);
                self.left.push(left(&theirs.server, session));
            }
        }
        taken
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FarRow>> {
        let all = self.of.values().flat_map(|theirs| theirs.rows.values());
        all.map(|held| &held.row)
    }

    /// What `$clients` is to tell: what changed since this was asked last, or `anew` all of them.
    pub fn take_lines(&mut self, anew: bool) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.left);
        if anew {
            lines.clear();
        }
        for theirs in self.of.values_mut() {
            let changed = std::mem::take(&mut theirs.changed);
            let told = theirs
                .rows
                .iter()
                .filter(|(session, _)| anew || changed.contains(session));
            lines.extend(told.map(|(_, held)| held.row.json.to_string()));
        }
        lines
    }
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// They were none.
    pub bad: u64,
    /// There was no room for them.
    pub no_room: u64,
}

/// What a line tells.
enum Told {
    Row(FarRow),
    Left(u64),
}

impl Told {
    fn read(line: &str, server: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Glance {
            session: u64,
            #[serde(default)]
            left: bool,
            client: Option<String>,
            address: Option<String>,
            cause: Option<Cause>,
            behind_ms: Option<f64>,
            topics: Option<Vec<serde::de::IgnoredAny>>,
        }
        let json = signed(line, server)?;
        let glance: Glance = serde_json::from_str(line).ok()?;
        if glance.left {
            return Some(Self::Left(glance.session));
        }
        glance.topics?;
        let found_by = format!("{}\n{}\n{server}", glance.client?, glance.address?).to_lowercase();
        Some(Self::Row(FarRow {
            server: server.to_owned(),
            session: glance.session,
            cause: glance.cause?,
            json: json.into(),
            behind_ms: glance.behind_ms,
            found_by: found_by.into(),
        }))
    }
}

/// A line of `$clients` that says that a client has gone.
fn left(server: &str, session: u64) -> String {
    let server = serde_json::to_string(server).expect("text has a form in JSON");
    format!("{{\"server\":{server},\"session\":{session},\"left\":true}}")
}

/// All other servers together: what a page can still list, and far more than anybody reads.
const ROWS_MAX: usize = 100_000;
/// A row has some 500 bytes; those of clients that follow many topics have more.
const BYTES_MAX: usize = 128 << 20;
/// A place in a table, and two counts of an [`Arc`].
const OVERHEAD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(run: u64, part: u64, whole: bool) -> Part {
        Part { run, part, whole }
    }

    fn row(session: u64) -> String {
        format!(
            "{{\"session\":{session},\"client\":\"Sensor\",\"address\":\"192.0.2.7:5\",\"cause\":\"silent\",\"topics\":[]}}"
        )
    }

    fn far(session: u64) -> String {
        row(session).replacen('{', "{\"server\":\"b\",", 1)
    }

    fn sessions(rows: &Rows) -> Vec<u64> {
        let mut found: Vec<_> = rows.iter().map(|row| row.session).collect();
        found.sort_unstable();
        found
    }

    fn take(rows: &mut Rows, part: Part, lines: &[String]) -> Taken {
        rows.take("id", part, lines.iter().map(String::as_str))
    }

    fn of_b() -> Rows {
        let mut rows = Rows::default();
        rows.add("id", "b");
        rows
    }

    #[test]
    fn what_comes_in_order_is_taken_and_told_once() {
        let mut rows = of_b();
        assert_eq!(rows.wants(), ["id"]);
        take(&mut rows, part(7, 0, false), &[row(1)]);
        assert_eq!(rows.wants(), [""; 0]);
        take(&mut rows, part(7, 1, true), &[row(2)]);
        let mut lines = rows.take_lines(false);
        lines.sort();
        assert_eq!(lines, [far(1), far(2)]);
        assert_eq!(rows.take_lines(false), [""; 0]);
        take(
            &mut rows,
            part(7, 2, false),
            &["{\"session\":1,\"left\":true}".to_owned(), row(2)],
        );
        assert_eq!(
            rows.take_lines(false),
            ["{\"server\":\"b\",\"session\":1,\"left\":true}".to_owned(), far(2)]
        );
        assert_eq!(rows.take_lines(true), [far(2)], "all of them");
        let found = rows.iter().next().expect("one is there");
        assert!(found.is_found_by("sensor") && found.is_found_by("192.0.2.7:5") && found.is_found_by("b"));
        assert!(!found.is_found_by("127"));
    }

    #[test]
    fn where_a_part_is_missing_all_is_wanted_and_what_is_told_then_replaces_what_was() {
        let mut rows = of_b();
        take(&mut rows, part(7, 0, true), &[row(1), row(2)]);
        take(&mut rows, part(7, 2, false), &[row(3)]);
        assert_eq!(rows.wants(), ["id"]);
        assert_eq!(sessions(&rows), [1, 2], "what is known stays meanwhile");
        rows.take_lines(false);
        take(&mut rows, part(8, 0, false), &[row(2)]);
        assert_eq!(sessions(&rows), [1, 2]);
        take(&mut rows, part(8, 1, true), &[row(4)]);
        assert_eq!(sessions(&rows), [2, 4]);
        let lines = rows.take_lines(false);
        assert_eq!(lines[0], "{\"server\":\"b\",\"session\":1,\"left\":true}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn the_clients_of_a_server_that_is_gone_leave() {
        let mut rows = of_b();
        take(&mut rows, part(7, 0, true), &[row(1)]);
        rows.remove("id");
        assert_eq!(
            rows.take_lines(false),
            ["{\"server\":\"b\",\"session\":1,\"left\":true}"]
        );
        assert_eq!((rows.count, rows.bytes, rows.iter().count()), (0, 0, 0));
        assert_eq!(take(&mut rows, part(7, 1, true), &[row(1)]), Taken::default());
        assert_eq!(rows.iter().count(), 0, "nobody knows it");
    }

    #[test]
    fn what_is_no_row_is_counted_and_takes_no_room() {
        let mut rows = of_b();
        let bad = [
            "5".to_owned(),
            row(1).replace("silent", "fine"),
            row(1).replace("\"session\":1", "\"session\":-1"),
            row(1).replace(",\"topics\":[]", ""),
            row(1).replace("\"topics\":[]", "\"topics\":5"),
            row(1).replace("\"client\"", "\"name\""),
            far(1),
        ];
        let taken = take(&mut rows, part(7, 0, true), &bad);
        assert_eq!((taken.bad, rows.iter().count()), (7, 0));
    }

    #[test]
    fn there_is_room_for_so_many_and_one_beyond_is_counted() {
        let mut rows = of_b();
        let all: Vec<_> = (0..ROWS_MAX as u64 + 1).map(row).collect();
        let taken = take(&mut rows, part(7, 0, true), &all);
        assert_eq!((taken.no_room, rows.iter().count()), (1, ROWS_MAX));
        let taken = take(&mut rows, part(7, 1, false), &[row(0), row(1)]);
        assert_eq!(taken.no_room, 0, "those that are known change nothing");
        let bytes: usize = rows.iter().map(|row| row.bytes()).sum();
        assert_eq!(rows.bytes, bytes);
        rows.forget();
        assert_eq!((rows.iter().count(), rows.wants().len()), (0, 1));
    }
}
