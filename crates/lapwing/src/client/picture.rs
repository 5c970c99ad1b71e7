//! The file of a picture: looked at before anything starts, written whole at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::graph::MARK;

/// A file that a picture is written to.
///
/// It is never there in part: the picture is written beside it and then takes its name. Only a picture of ours, or an empty file, is
/// replaced.
#[derive(Debug)]
pub struct Picture {
    path: PathBuf,
}

/// Why a picture is not written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Its name says something else than SVG.
    #[error("its name does not end in .svg")]
    NoSvg,
    /// Something else is there.
    #[error("it holds something that Lapwing did not draw")]
    Foreign,
    /// It is a link to a file that is not there: what would take its name is no longer a link.
    #[error("it is a link that leads nowhere")]
    LeadsNowhere,
    /// A folder, a pipe or a device is there.
    #[error("it is no file")]
    NoFile,
    /// The system said no.
    #[error("{0}")]
    Io(io::Error),
}

impl Picture {
    /// Looks whether a picture can be written to `path`, and leaves everything as it is.
    pub fn new(path: &Path) -> Result<Self, PictureError> {
        let is_svg = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
        if !is_svg {
            return Err(PictureError::NoSvg);
        }
        // A link stays one: what it leads to is replaced.
        let path = match std::fs::canonicalize(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                return Err(PictureError::LeadsNowhere);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(PictureError::Io(error)),
        };
        let picture = Self { path };
        picture.look()?;
        let (beside, _) = picture.beside().map_err(PictureError::Io)?;
        std::fs::remove_file(beside).map_err(PictureError::Io)?;
        Ok(picture)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it whole, in place of the one that was there.
    pub fn write(&self, svg: &str) -> Result<(), PictureError> {
        // Somebody may have put something there meanwhile.
        self.look()?;
        let (beside, mut file) = self.beside().map_err(PictureError::Io)?;
        let written = file.write_all(svg.as_bytes()).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| std::fs::rename(&beside, &self.path));
        placed.map_err(|error| {
            // What could not be written in full is of no use to anybody.
            let _ = std::fs::remove_file(&beside);
            PictureError::Io(error)
        })
    }

    /// Whether what is at the path may be replaced.
    fn look(&self) -> Result<(), PictureError> {
        // Of the path itself: a link here was made after the others were followed, and is not ours to replace.
        let metadata = match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(PictureError::Io(error)),
        };
        if !metadata.is_file() {
            return Err(PictureError::NoFile);
        }
        let mut begin = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(LOOK_BYTES).read_to_end(&mut begin))
            .map_err(PictureError::Io)?;
        let is_ours = begin.is_empty() || String::from_utf8_lossy(&begin).contains(MARK);
        is_ours.then_some(()).ok_or(PictureError::Foreign)
    }

    /// A new file beside it.
    ///
    /// One of that name may be left of a run that was killed, or belong to one in another container: both have had the same process id.
    /// It is passed by, since nobody can tell which.
    fn beside(&self) -> io::Result<(PathBuf, File)> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut number = 0;
        loop {
            let beside = format!(".{name}.{}.{number}.tmp", std::process::id());
            let beside = self.path.with_file_name(beside);
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Ok(file) => return Ok((beside, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < BESIDE_MAX => number += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The mark stands behind the line that every file of XML begins with.
const LOOK_BYTES: u64 = 200;

/// More than a folder has of files that killed runs left there.
const BESIDE_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_is_ours_is_replaced_and_nothing_else_is_left_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run.svg");
        let ours = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{MARK}\n<svg/>");
        let picture = Picture::new(&path).expect("nothing is there");
        assert!(names(dir.path()).is_empty(), "looking leaves nothing");
        picture.write(&ours).expect("room");
        Picture::new(&path).expect("it is ours").write(&ours).expect("room");
        assert_eq!(names(dir.path()), ["run.svg"]);
        for other in ["<svg>a drawing</svg>", "{\"record\":\"start\"}"] {
            std::fs::write(&path, other).expect("room");
            assert!(matches!(Picture::new(&path), Err(PictureError::Foreign)));
            assert!(matches!(picture.write(&ours), Err(PictureError::Foreign)));
            assert_eq!(std::fs::read_to_string(&path).expect("there"), other);
        }
        std::fs::write(&path, "").expect("room");
        Picture::new(&path).expect("an empty file is nobody's");
    }

    #[test]
    fn what_cannot_be_a_picture_is_told_before_anything_starts() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(
            Picture::new(&dir.path().join("feed.ndjson")),
            Err(PictureError::NoSvg)
        ));
        let folder = dir.path().join("folder.svg");
        std::fs::create_dir(&folder).expect("room");
        assert!(matches!(Picture::new(&folder), Err(PictureError::NoFile)));
        assert!(matches!(
            Picture::new(&dir.path().join("missing/run.svg")),
            Err(PictureError::Io(_))
        ));
    }

    #[test]
    fn a_link_stays_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, link) = (dir.path().join("run.svg"), dir.path().join("link.svg"));
        std::fs::write(&path, "").expect("room");
        std::os::unix::fs::symlink(&path, &link).expect("room");
        Picture::new(&link).expect("empty").write(MARK).expect("room");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), MARK);
        std::fs::remove_file(&path).expect("there");
        assert!(matches!(Picture::new(&link), Err(PictureError::LeadsNowhere)));
        assert!(link.is_symlink());
        assert_eq!(names(dir.path()), ["link.svg"]);
    }

    #[test]
    fn a_link_that_came_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run.svg");
        let picture = Picture::new(&path).expect("nothing is there");
        std::os::unix::fs::symlink("elsewhere.svg", &path).expect("room");
        assert!(matches!(picture.write(MARK), Err(PictureError::NoFile)));
        assert!(path.is_symlink());
    }

    #[test]
    fn what_a_killed_run_left_beside_it_does_not_hold_it_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run.svg");
        let picture = Picture::new(&path).expect("nothing is there");
        let (left, _) = picture.beside().expect("room");
        Picture::new(&path).expect("it is passed by").write(MARK).expect("room");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), MARK);
        assert_eq!(names(dir.path()).len(), 2);
        assert!(left.exists(), "it may be another's");
    }
}
