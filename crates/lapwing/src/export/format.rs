//! What a file is to be, by its name.

use std::path::Path;

/// The form of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One array, and its offsets and times in files beside it.
    Npy,
    /// Arrays in one archive.
    Npz,
    /// Columns with types.
    Parquet,
    /// Rows of text.
    Csv,
}

impl Format {
    /// By the end of the name, in any case of letters.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_name_says_what_it_is() {
        for (name, expect) in [
            ("feed.npy", Some(Format::Npy)),
            ("a.b/feed.NPZ", Some(Format::Npz)),
            ("feed.parquet", Some(Format::Parquet)),
            ("feed.x.csv", Some(Format::Csv)),
            ("feed", None),
            (".csv", None),
            ("feed.ndjson", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), expect, "{name}");
        }
    }
}
