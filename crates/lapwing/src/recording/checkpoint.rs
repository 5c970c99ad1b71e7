//! Where a recording ends: its last whole record, and what is wanted next of each topic.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use lapwing_wire::position::{Epoch, Offset};
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;
use memchr::memmem;

use super::input;
use super::lines::{Line, Lines, Text};
use super::marks::Marks;
use super::note::Note;
use super::parts::{self, Part};
use super::reader::Record;
use super::{glance, line};
use crate::lock::{self, LockError};

/// What a file says about how to go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is wanted next of each topic.
    pub marks: Marks,
    /// Where the last whole record ends; what follows is no record.
    pub end: u64,
    /// From where the feed came, as the newest run that was looked at says.
    pub url: Option<String>,
    /// How many lines that are not as they were written stand before `end`, as far as was looked.
    pub damaged: u64,
    /// Whether a `positions` record was found: without one, topics of earlier files may be unknown.
    has_positions: bool,
}

impl Checkpoint {
    /// Reads the end of a file of `len` bytes: as a rule its last 2 MiB, since positions recur every 1 MiB.
    ///
    /// `behind` is what files before it left; what this one says counts more.
    pub fn read(file: &mut (impl Read + Seek), len: u64, behind: &Marks) -> io::Result<Self> {
        for window in WINDOWS {
            let start = len.saturating_sub(window);
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            file.by_ref().take(len - start).read_to_end(&mut bytes)?;
            let known = match start {
                0 => Some(0),
                _ => last_positions(&bytes),
            };
            if let Some(begin) = known {
                return Self::scan(&bytes[begin..], start + begin as u64, behind.clone());
            }
        }
        file.seek(SeekFrom::Start(0))?;
        Self::scan(file.by_ref().take(len), 0, behind.clone())
    }

    /// Reads everything that is left of a file whose end cannot be sought.
    fn scan(input: impl Read, begin: u64, marks: Marks) -> io::Result<Self> {
        let mut checkpoint = Self {
            marks,
            end: begin,
            ..Self::default()
        };
        let mut bad = 0;
        let mut lines = Lines::new(input);
        while let Some(line) = lines.next()? {
            match line.text {
                Text::Whole(text) if line::check(text).is_ok() => {
                    checkpoint.take(&line, text);
                    checkpoint.end = begin + line.at + line.bytes;
                    checkpoint.damaged += std::mem::take(&mut bad);
                }
                _ => bad += 1,
            }
        }
        Ok(checkpoint)
    }

    /// Takes a line of which the checksum fits.
    fn take(&mut self, line: &Line<'_>, text: &[u8]) {
        if let Some((topic, epoch, offset)) = place(text) {
            self.marks.on_message(&topic, epoch, offset);
            return;
        }
        match Record::of(line) {
            Record::Message(message) => {
                if let Some(offset) = message.offset {
                    self.marks.on_message(&message.topic, message.epoch, offset);
                }
            }
            Record::Note(stamped) => {
                self.has_positions |= matches!(stamped.note, Note::Positions { .. });
                self.marks.on_note(&stamped.note);
                if let Note::Start(start) = stamped.note {
                    self.url = Some(start.url);
                }
            }
            // Of a later version: intact, and nothing to go on with.
            Record::Unknown { .. } | Record::Damaged(_) | Record::Torn { .. } => {}
        }
    }

    /// Reads the file at the end of a recording, and as many of the parts before it as are needed.
    ///
    /// A crash can fall between a rotation and the first records behind it: then a part knows what the file does not.
    pub fn of_recording(file: &mut File, path: &Path) -> io::Result<Result<Self, LockError>> {
        let len = file.metadata()?.len();
        let alone = Self::read(file, len, &Marks::default())?;
        if alone.has_positions {
            return Ok(Ok(alone));
        }
        let parts = parts::rotated(path)?;
        let behind = match Self::of_parts(&parts)? {
            Ok(behind) => behind,
            Err(error) => return Ok(Err(error)),
        };
        let whole = Self::read(file, len, &behind.marks)?;
        Ok(Ok(Self {
            url: whole.url.or(behind.url),
            ..whole
        }))
    }

    fn of_parts(parts: &[Part]) -> io::Result<Result<Self, LockError>> {
        let Some((newest, earlier)) = parts.split_last() else {
            return Ok(Ok(Self::default()));
        };
        let mut file = File::open(&newest.path)?;
        // Whoever rotated it holds its lock until it has the lock of the file that follows.
        if let Err(error) = lock::lock(&file) {
            return Ok(Err(error));
        }
        let alone = Self::of_part(&mut file, newest, &Marks::default())?;
        if alone.has_positions {
            return Ok(Ok(alone));
        }
        match Self::of_parts(earlier)? {
            Ok(behind) => Ok(Ok(Self::of_part(&mut file, newest, &behind.marks)?)),
            held => Ok(held),
        }
    }

    fn of_part(file: &mut File, part: &Part, behind: &Marks) -> io::Result<Self> {
        match part.is_packed() {
            true => {
                file.seek(SeekFrom::Start(0))?;
                Self::scan(input::plain(file.try_clone()?)?, 0, behind.clone())
            }
            false => {
                let len = file.metadata()?.len();
                Self::read(file, len, behind)
            }
        }
    }
}

/// When the first record of a file was made, if that is known.
pub fn began(file: &mut (impl Read + Seek)) -> io::Result<Option<WallTime>> {
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(file);
    Ok(match lines.next()?.map(|line| Record::of(&line)) {
        Some(Record::Note(stamped)) => WallTime::parse(&stamped.received),
        Some(Record::Message(message)) => Some(message.received),
        _ => None,
    })
}

/// Where the last intact `positions` record of a piece of a file begins.
fn last_positions(bytes: &[u8]) -> Option<usize> {
    memmem::rfind_iter(bytes, POSITIONS_BEGIN).find_map(|newline| {
        let begin = newline + 1;
        let len = memchr::memchr(b'\n', &bytes[begin..])?;
        line::check(&bytes[begin..begin + len]).is_ok().then_some(begin)
    })
}

/// The place of a message that is laid out as ours are.
fn place(text: &[u8]) -> Option<(TopicName, Option<Epoch>, Offset)> {
    let glance = glance::message(text)?;
    let epoch = match glance.epoch {
        Some(epoch) => Some(Epoch::parse(std::str::from_utf8(epoch).ok()?).ok()?),
        None => None,
    };
    let topic = TopicName::parse(std::str::from_utf8(glance.topic).ok()?).ok()?;
    Some((topic, epoch, Offset::new(glance.offset?)))
}

/// 2 MiB has positions in it unless a single line is long; 128 MiB has, however long that is. What has none even there was
/// written by another program or is damaged for long, and is read from its beginning.
const WINDOWS: [u64; 3] = [2 << 20, 16 << 20, 128 << 20];

/// A newline is never inside a record.
const POSITIONS_BEGIN: &[u8] = b"\n{\"record\":\"positions\"";

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Now;
    use crate::recording::arrival::{Arrival, Value};
    use crate::recording::encoder::Encoder;
    use crate::recording::note::{Missed, Start};
    use crate::recording::wanted::Wanted;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("valid")
    }

    fn start() -> Start {
        Start {
            version: "lapwing/0".to_owned(),
            url: "ws://h".to_owned(),
            name: None,
            block_size: 5,
            boot: None,
        }
    }

    fn message(encoder: &mut Encoder, name: &str, epoch: u128, offset: u64, text: &str, out: &mut Vec<u8>) {
        let arrival = Arrival {
            topic: &topic(name),
            offset: Some(Offset::new(offset)),
            epoch: Some(Epoch::from_bits(epoch)),
            time: None,
            received: Now::default(),
            value: Value::Text(text),
            bytes: 0,
        };
        encoder.message(&arrival, out);
    }

    fn read(bytes: &[u8]) -> Checkpoint {
        Checkpoint::read(&mut Cursor::new(bytes), bytes.len() as u64, &Marks::default()).expect("memory")
    }

    fn wanted(epoch: u128, offset: u64) -> Option<Wanted> {
        Some(Wanted::new(Some(Epoch::from_bits(epoch)), Offset::new(offset)))
    }

    /// A file, or a part of one, and how much was read of it.
    struct Counted<R>(R, u64);

    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(out)?;
            self.1 += count as u64;
            Ok(count)
        }
    }

    impl<R: Seek> Seek for Counted<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn of_a_long_file_only_the_end_is_read() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.header(&start(), Now::default(), &mut out);
        encoder.mark(&topic("quiet"), Some(Epoch::from_bits(9)), Offset::new(5));
        let text = "x".repeat(10_000);
        for offset in 0..3000 {
            message(&mut encoder, "users", 1, offset, &text, &mut out);
        }
        // Before it lies a hole of 100 GiB, of which no byte is read.
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .expect("created");
        let hole = 100 << 30;
        file.seek(SeekFrom::Start(hole)).expect("sparse");
        io::Write::write_all(&mut file, &out).expect("room");
        let len = hole + out.len() as u64;
        let mut counted = Counted(file, 0);
        let checkpoint = Checkpoint::read(&mut counted, len, &Marks::default()).expect("readable");
        assert_eq!(checkpoint.end, len);
        assert_eq!(checkpoint.marks.get(&topic("users")), wanted(1, 3000).as_ref());
        assert_eq!(
            checkpoint.marks.get(&topic("quiet")),
            wanted(9, 5).as_ref(),
            "positions know it"
        );
        assert!(counted.1 <= 2 << 20, "{} bytes were read", counted.1);
    }

    #[test]
    fn a_line_longer_than_the_first_window_is_found_with_a_wider_one() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.header(&start(), Now::default(), &mut out);
        for offset in 0..5 {
            message(&mut encoder, "users", 1, offset, &"x".repeat(1 << 20), &mut out);
        }
        message(&mut encoder, "users", 1, 5, &"x".repeat(5 << 20), &mut out);
        // The positions behind the long line are torn.
        let torn = out.len() - 30;
        let checkpoint = read(&out[..torn]);
        assert_eq!(checkpoint.marks.get(&topic("users")), wanted(1, 6).as_ref());
        assert!(checkpoint.end < torn as u64);
        assert_eq!(checkpoint.damaged, 0);
    }

    #[test]
    fn damage_before_the_end_is_counted_and_behind_it_cut() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.header(&start(), Now::default(), &mut out);
        for offset in 0..3 {
            message(&mut encoder, "users", 1, offset, "x", &mut out);
        }
        let whole = out.len() as u64;
        let half = out.len() / 2;
        out[half] ^= 1;
        for garbage in [&b"\0\0\0\0"[..], b"\0\0\n\0", b"{\"topic\":\"users\"}\n", b""] {
            let checkpoint = read(&[&out, garbage].concat());
            assert_eq!((checkpoint.end, checkpoint.damaged), (whole, 1), "{garbage:?}");
            assert_eq!(checkpoint.url.as_deref(), Some("ws://h"));
        }
    }

    #[test]
    fn a_crash_between_rotation_and_the_next_record_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.header(&start(), Now::default(), &mut out);
        for offset in 0..3 {
            message(&mut encoder, "users", 1, offset, "x", &mut out);
        }
        encoder.positions(Now::default(), &mut out);
        let mut header = Vec::new();
        encoder.header(&start(), Now::default(), &mut header);
        let packed = zstd::encode_all(&out[..], 1).expect("memory");
        for (name, part) in [("feed.000001.ndjson", &out), ("feed.000001.ndjson.zst", &packed)] {
            std::fs::write(dir.path().join(name), part).expect("written");
            for cut in 0..=header.len() {
                std::fs::write(&path, &header[..cut]).expect("written");
                let mut file = File::open(&path).expect("there");
                let checkpoint = Checkpoint::of_recording(&mut file, &path)
                    .expect("readable")
                    .expect("free");
                assert_eq!(
                    checkpoint.marks.get(&topic("users")),
                    wanted(1, 3).as_ref(),
                    "{name}, {cut}"
                );
            }
            std::fs::remove_file(dir.path().join(name)).expect("there");
        }
    }

    /// A recording with one of everything that says what is wanted next.
    fn mixed(kinds: &[usize]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.header(&start(), Now::default(), &mut out);
        let mut next = 0;
        for (at, kind) in kinds.iter().enumerate() {
            let topic = topic("users");
            let note = match kind {
                0 => Note::Gap {
                    topic,
                    from: Offset::new(next),
                    to: Offset::new(next + 2),
                    reason: Missed::Policy,
                },
                1 => Note::Reset {
                    topic,
                    epoch: Some(Epoch::from_bits(at as u128)),
                    first: Offset::ZERO,
                    last: None,
                },
                2 => Note::Diverged {
                    topic,
                    epoch: Epoch::from_bits(at as u128),
                    at: Offset::new(next / 2),
                    to: None,
                },
                3 => Note::ClockStep { ms: 1.0 },
                _ => {
                    message(&mut encoder, "users", 1, next, "text", &mut out);
                    next += 1;
                    continue;
                }
            };
            encoder.note(&note, Now::default(), &mut out);
            next = encoder
                .marks()
                .get(&crate::recording::checkpoint::tests::topic("users"))
                .map_or(next, |wanted| wanted.offset().get());
        }
        out
    }

    proptest! {
        #[test]
        fn f16_a_recording_cut_at_any_byte_goes_on_behind_its_last_whole_record(kinds in proptest::collection::vec(0_usize..8, 0..12)) {
            let bytes = mixed(&kinds);
            let mut ends = vec![0];
            ends.extend(memchr::memchr_iter(b'\n', &bytes).map(|newline| newline + 1));
            for cut in 0..=bytes.len() {
                let whole = *ends.iter().rfind(|end| **end <= cut).expect("0 is one");
                let checkpoint = read(&bytes[..cut]);
                prop_assert_eq!(checkpoint.end, whole as u64);
                prop_assert_eq!(&checkpoint, &read(&bytes[..whole]));
            }
        }

        #[test]
        fn the_reader_of_an_end_knows_what_its_writer_knew(kinds in proptest::collection::vec(0_usize..8, 0..30)) {
            let bytes = mixed(&kinds);
            let mut marks = Marks::default();
            for entry in crate::recording::reader::Reader::new(&bytes[..]) {
                match entry.expect("memory").record {
                    Record::Message(m) => marks.on_message(&m.topic, m.epoch, m.offset.expect("given")),
                    Record::Note(stamped) => marks.on_note(&stamped.note),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(read(&bytes).marks, marks);
        }

        #[test]
        fn any_bytes_have_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(read(&bytes).end <= bytes.len() as u64);
        }
    }
}
