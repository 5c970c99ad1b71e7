//! What the system says of something that failed, as it stands in a sentence of ours.

use std::io;

/// In small letters, and without the system's number for it.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut text = text[..end].to_owned();
    // A name of something, such as "RST", stays as it is.
    let is_word = text.chars().nth(1).is_some_and(char::is_lowercase);
    if let Some(first) = text.get_mut(..1).filter(|_| is_word) {
        first.make_ascii_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: io::Error, expect: &str) {
        assert_eq!(reason(&error), expect);
    }

    #[test]
    fn what_the_system_says_is_told_without_its_number() {
        check(io::Error::from_raw_os_error(2), "no such file or directory");
        check(io::Error::from_raw_os_error(28), "no space left on device");
        check(io::Error::from_raw_os_error(5), "input/output error");
        check(io::ErrorKind::WriteZero.into(), "write zero");
        check(io::Error::other("offset 7 is in no file"), "offset 7 is in no file");
        check(io::Error::other("TLS is over"), "TLS is over");
        check(io::Error::other(""), "");
    }
}
