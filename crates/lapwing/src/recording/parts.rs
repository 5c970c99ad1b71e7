//! The files of one recording: those that were rotated away, and the one that is written.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A file that was rotated away: `feed.000001.ndjson`, or `feed.000001.ndjson.zst`.
///
/// A part keeps its number for good, and later ones have higher numbers: by name they stand in the order in which they were
/// written, with the one that is written now behind them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Part {
    /// Its number, from 1.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Part {
    /// Whether it is compressed, by its name.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.path.extension() == Some(OsStr::new(&PACKED[1..]))
    }
}

/// Asks the disk to keep the names in the folder of `path`.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    open_folder(path)?.sync_all()
}

/// The folder of `path`, to be synced.
pub fn open_folder(path: &Path) -> io::Result<File> {
    File::open(folder(path))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What was rotated away from `path`, the oldest first; of a part in both forms the one that was written.
pub fn rotated(path: &Path) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let found = path.with_file_name(entry?.file_name());
        if let Some((base, number)) = split(&found)
            && base == path
        {
            parts.push(Part { number, path: found });
        }
    }
    // A packed form has the longer name, so it stands second.
    parts.sort();
    parts.dedup_by_key(|part| part.number);
    Ok(parts)
}

/// All of a recording: what was rotated away, then the file itself where there is one.
///
/// A folder that cannot be listed is told when the file in it is opened.
#[must_use]
pub fn all(path: &Path) -> Vec<PathBuf> {
    let parts = match split(path) {
        Some(_) => Vec::new(),
        None => rotated(path).unwrap_or_default(),
    };
    let mut paths: Vec<_> = parts.into_iter().map(|part| part.path).collect();
    // Between a rotation and the first line behind it there is none.
    if paths.is_empty() || path.exists() {
        paths.push(path.to_owned());
    }
    paths
}

/// The name of a part of `path`.
#[must_use]
pub fn name(path: &Path, number: u64) -> PathBuf {
    let (stem, extension) = halves(path);
    let name = [stem, format!(".{number:06}").as_bytes(), extension].concat();
    path.with_file_name(std::ffi::OsString::from_vec(name))
}

/// The name of a part once it is compressed.
#[must_use]
pub fn packed(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(PACKED);
    name.into()
}

/// Of which file this is a part by its name, and which.
#[must_use]
pub fn split(path: &Path) -> Option<(PathBuf, u64)> {
    let name = path.file_name()?.as_bytes();
    let name = name.strip_suffix(PACKED.as_bytes()).unwrap_or(name);
    let dots: Vec<_> = memchr::memrchr_iter(b'.', name).take(2).collect();
    dots.into_iter().find_map(|dot| {
        let digits = name[dot + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, extension) = name[dot + 1..].split_at(digits);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let fits = digits >= 6 && dot > 0 && (extension.is_empty() || extension.starts_with(b"."));
        let base = [&name[..dot], extension].concat();
        fits.then(|| (path.with_file_name(OsStr::from_bytes(&base)), number))
    })
}

/// A name up to its extension, and the extension with its dot.
fn halves(path: &Path) -> (&[u8], &[u8]) {
    let name = path.file_name().unwrap_or_default().as_bytes();
    match memchr::memrchr(b'.', name) {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, b""),
    }
}

/// How the name of a compressed part ends.
const PACKED: &str = ".zst";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_names_its_file_and_its_number() {
        for (base, part) in [
            ("a/feed.ndjson", "a/feed.000012.ndjson"),
            ("feed", "feed.000012"),
            ("my.feed.ndjson", "my.feed.000012.ndjson"),
            (".hidden", ".hidden.000012"),
        ] {
            let base = Path::new(base);
            assert_eq!(name(base, 12), Path::new(part));
            let expect = Some((base.to_owned(), 12));
            assert_eq!(split(Path::new(part)), expect);
            assert_eq!(split(&packed(Path::new(part))), expect);
            assert_eq!(split(base), None);
        }
        assert_eq!(
            name(Path::new("feed.ndjson"), 12_345_678),
            Path::new("feed.12345678.ndjson")
        );
        for other in [
            "feed.1.ndjson",
            "feed.00001x.ndjson",
            "000001.ndjson",
            ".000001.ndjson",
            "feed.ndjson.zst",
        ] {
            assert_eq!(split(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn parts_are_found_in_the_order_in_which_they_were_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("feed.ndjson");
        for name in [
            "feed.000002.ndjson",
            "feed.000010.ndjson",
            "feed.000001.ndjson.zst",
            "feed.000002.ndjson.zst",
            "feed.1234567.ndjson",
            "feed.000003.ndjson.zst.new",
            "other.000001.ndjson",
            "feed.ndjson",
        ] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let names: Vec<_> = all(&path)
            .iter()
            .map(|path| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned())
            .collect();
        let expect = [
            "feed.000001.ndjson.zst",
            "feed.000002.ndjson",
            "feed.000010.ndjson",
            "feed.1234567.ndjson",
            "feed.ndjson",
        ];
        assert_eq!(names, expect);
        let part = dir.path().join("feed.000002.ndjson");
        assert_eq!(all(&part), std::slice::from_ref(&part));
    }
}
