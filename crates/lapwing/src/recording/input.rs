//! A recording as it is read: a file, or stdin; compressed or not.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a recording is read from.
pub type Input = Box<dyn Read + Send>;

/// Opens a file; one that zstd made is read as what is in it, whatever its name.
pub fn open(path: &Path) -> io::Result<Input> {
    plain(File::open(path)?)
}

/// What is behind `input`, taken out of zstd where it is in it.
pub fn plain(mut input: impl Read + Send + 'static) -> io::Result<Input> {
    let mut begin = Vec::new();
    input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut begin)?;
    let packed = begin == ZSTD_MAGIC;
    let input = io::Cursor::new(begin).chain(input);
    Ok(match packed {
        true => Box::new(zstd::stream::read::Decoder::new(input)?),
        false => Box::new(input),
    })
}

/// Whether what was read was no zstd any more, and not the file that failed: the system's errors have a number.
#[must_use]
pub fn is_unpackable(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::UnexpectedEof)
}

/// How every frame of zstd begins (RFC 8878 section 3.1.1); no recording does.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_what_is_not_stays() {
        let text = b"{\"record\":\"start\"}\n".repeat(1000);
        let packed = zstd::encode_all(&text[..], 3).expect("memory");
        assert!(packed.len() < text.len() / 10);
        for form in [packed, text.clone()] {
            let mut again = Vec::new();
            plain(io::Cursor::new(form))
                .expect("memory")
                .read_to_end(&mut again)
                .expect("memory");
            assert_eq!(again, text);
        }
        for short in [&b""[..], b"\x28", b"{"] {
            let mut again = Vec::new();
            plain(io::Cursor::new(short))
                .expect("memory")
                .read_to_end(&mut again)
                .expect("memory");
            assert_eq!(again, short);
        }
    }
}
