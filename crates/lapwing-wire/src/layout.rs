//! Pieces of text that is laid out in a known way, read without a parser.

use memchr::memchr;

/// A string without escapes, up to its closing quote, and what stands behind that.
#[must_use]
pub fn text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'"', rest)?;
    let (text, rest) = (&rest[..end], &rest[end + 1..]);
    // With an escape the quote may be none; names and times have none.
    memchr(b'\\', text).is_none().then_some((text, rest))
}

/// A whole number, and what stands behind it.
#[must_use]
pub fn number(rest: &[u8]) -> Option<(u64, &[u8])> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // 19 digits always fit; longer ones, and a zero in front, are left to the parser.
    if digits == 0 || digits > 19 || (digits > 1 && rest[0] == b'0') {
        return None;
    }
    let number = rest[..digits]
        .iter()
        .fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    Some((number, &rest[digits..]))
}
