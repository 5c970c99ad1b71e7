//! Bearer tokens that are random, and the file that knows them only by their hashes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lapwing_wire::secret::Secret;
use lapwing_wire::time::WallTime;
use thiserror::Error;

use super::identity::{Identity, Proof, Subject};
use super::scope::{ScopeError, Scopes};

/// The tokens of a file, one a line: `NAME SHA256HEX SCOPE[,SCOPE…] [expires=TIME]`, and `#` before what is for people.
///
/// A token is looked up by its digest, so a wrong one costs a hash and no walk through all of them. The time that takes tells
/// nobody a token: what is compared are digests, in constant time, and from a digest there is no way back to 256 random bits.
#[derive(Clone, Debug, Default)]
pub struct Tokens(HashMap<Digest, Arc<Identity>>);

impl Tokens {
    /// Parses a file. An error never repeats what stands there: it may be a token where its hash should be.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut tokens = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let number = at + 1;
            let wrong = |mistake| LineError { number, mistake };
            if tokens.len() == TOKENS_MAX {
                return Err(wrong(Mistake::TooMany));
            }
            let (digest, token) = parse_line(line).map_err(wrong)?;
            match tokens.entry(digest) {
                Entry::Occupied(_) => return Err(wrong(Mistake::Twice)),
                Entry::Vacant(place) => place.insert(Arc::new(token)),
            };
        }
        Ok(Self(tokens))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the last of them ended, if all of them have; none when one is still good, or there is none at all.
    #[must_use]
    pub fn all_ended(&self, now: WallTime) -> Option<WallTime> {
        let ended = |token: &Arc<Identity>| token.expires.filter(|_| token.in_time(now).is_err());
        let ends: Option<Vec<_>> = self.0.values().map(ended).collect();
        ends?.into_iter().max_by_key(|end| end.nanos())
    }

    /// Whose token this is; whether it has ended is not looked at.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<&Arc<Identity>> {
        self.find_digest(Digest::of(token.as_bytes()))
    }

    /// The line with this digest.
    #[must_use]
    pub fn find_digest(&self, digest: Digest) -> Option<&Arc<Identity>> {
        self.0.get(&digest)
    }
}

fn parse_line(line: &str) -> Result<(Digest, Identity), Mistake> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or("");
    if !is_name(name) {
        return Err(Mistake::Name);
    }
    let hash = words.next().and_then(Digest::parse).ok_or(Mistake::Hash)?;
    let scopes = Scopes::parse_list(words.next().ok_or(Mistake::NoScope)?)?;
    let expires = match words.next().map(|word| word.strip_prefix("expires=")) {
        None => None,
        Some(time) => Some(time.and_then(WallTime::parse).ok_or(Mistake::Expires)?),
    };
    match words.next() {
        Some(_) => Err(Mistake::More),
        None => {
            let identity = Identity {
                subject: Subject::Token(name.into()),
                scopes,
                expires,
                proof: Proof::Line(hash),
            };
            Ok((hash, identity))
        }
    }
}

/// Whether this is a name for a token: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// A token of these 256 random bits. Its beginning lets people, and those who look for secrets in the wrong places, know it.
#[must_use]
pub fn token_of(random: [u8; 32]) -> Secret {
    Secret::new(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The line of a file that knows `token`.
#[must_use]
pub fn line_of(name: &str, token: &Secret, scopes: &[String], expires: Option<&str>) -> String {
    let hash = Digest::of(token.reveal().as_bytes());
    let expires = expires.map_or(String::new(), |time| format!(" expires={time}"));
    format!("{name} {hash} {}{expires}", scopes.join(","))
}

/// The SHA-256 of a secret: what of it is kept. Two are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = digest(&SHA256, bytes);
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A line that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("line {number}: {mistake}")]
pub struct LineError {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Mistake {
    /// The first word.
    #[error("its first word is no name: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -")]
    Name,
    /// The second.
    #[error("its second word is no SHA-256 of a token: 64 hexadecimal digits")]
    Hash,
    /// There is no third.
    #[error("it names no scope: listen:TOPIC, publish:TOPIC or admin")]
    NoScope,
    /// The third.
    #[error("its third word names no scopes: {0}; several are separated by commas")]
    Scope(#[from] ScopeError),
    /// The fourth.
    #[error("its fourth word is no end such as expires=2027-01-01T00:00:00Z")]
    Expires,
    /// A fifth.
    #[error("it has more than four words")]
    More,
    /// A hash that stands in another line too.
    #[error("another line before it has the same hash")]
    Twice,
    /// A file that is too long.
    #[error("it is one more than the {TOKENS_MAX} tokens that a server knows")]
    TooMany,
}

/// Some megabytes; whoever has more clients than that has an issuer of JWTs.
pub const TOKENS_MAX: usize = 10_000;
/// Of a name.
const NAME_BYTES_MAX: usize = 64;
/// How each of our tokens begins.
const PREFIX: &str = "lapwing_";

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[track_caller]
    fn check_refused(text: &str, says: &str) {
        let error = Tokens::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_token_is_found_by_its_hash() {
        let text = format!(
            "# who may listen\n\nweb {HASH} listen:users,listen:arrays  # of \"test\"\nlog {} publish:* expires=2027-01-01T00:00:00Z\r\n",
            HASH.replace('9', "8").to_uppercase()
        );
        let tokens = Tokens::parse(&text).expect("valid");
        assert_eq!(tokens.len(), 2);
        let found = tokens.find("test").expect("it is there");
        assert_eq!((found.subject.to_string(), found.expires), ("web".to_owned(), None));
        assert_eq!(found.scopes.to_string(), "listen:users, listen:arrays");
        assert!(tokens.find("Test").is_none() && tokens.find("").is_none());
        let log = Digest::parse(&HASH.replace('9', "8")).expect("a digest");
        assert!(tokens.find_digest(log).expect("it is there").expires.is_some());
    }

    #[test]
    fn a_line_that_says_nothing_is_told_by_its_number_and_repeats_no_secret() {
        check_refused(&format!("web {HASH}"), "line 1: it names no scope");
        check_refused(&format!("# x\nw/b {HASH} admin"), "line 2: its first word is no name");
        check_refused(&format!("{} {HASH} admin", "n".repeat(65)), "its first word");
        check_refused("web lapwing_secret listen:users", "its second word is no SHA-256");
        check_refused(&format!("web {HASH}0 admin"), "its second word");
        check_refused(&format!("web +{} admin", &HASH[1..]), "its second word");
        check_refused(&format!("web {HASH} lapwing_secret"), "its third word names no scopes");
        check_refused(&format!("web {HASH} listen:a, listen:b"), "its third word");
        check_refused(&format!("web {HASH} admin 2027-01-01"), "its fourth word");
        check_refused(
            &format!("web {HASH} admin expires=2027-13-01T00:00:00Z"),
            "its fourth word",
        );
        check_refused(
            &format!("web {HASH} admin expires=2027-01-01T00:00:00Z x"),
            "more than four words",
        );
        check_refused(&format!("a {HASH} admin\nb {HASH} admin"), "line 2: another line");
        for text in ["web lapwing_secret admin", &format!("web {HASH} lapwing_secret")] {
            assert!(!Tokens::parse(text).expect_err("wrong").to_string().contains("secret"));
        }
        assert!(Tokens::parse(&format!("{} {HASH} admin", "n".repeat(64))).is_ok());
    }

    #[test]
    fn tokens_have_all_ended_when_the_last_one_has_and_its_leeway() {
        let at = |text: &str| WallTime::parse(text).expect("a time");
        let line = |nth: u8, end: &str| format!("t{nth} {nth:064x} admin {end}\n");
        let all_ended = |lines: &[String], now: &str| {
            let tokens = Tokens::parse(&lines.concat()).expect("valid");
            tokens.all_ended(at(now))
        };
        let (first, last) = ("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z");
        let both = [
            line(1, &format!("expires={last}")),
            line(2, &format!("expires={first}")),
        ];
        assert_eq!(all_ended(&both, "2026-06-01T00:00:29.999Z"), None);
        assert_eq!(all_ended(&both, "2026-06-01T00:00:30Z"), Some(at(last)));
        let with_one_for_ever = [both.concat(), line(3, "")];
        assert_eq!(all_ended(&with_one_for_ever, "2200-01-01T00:00:00Z"), None);
        assert_eq!(all_ended(&[], "2200-01-01T00:00:00Z"), None);
    }

    #[test]
    fn as_many_tokens_as_are_allowed_and_one_more() {
        let lines = |count: usize| (0..count).map(|n| format!("t{n} {n:064x} admin\n")).collect::<String>();
        assert_eq!(
            Tokens::parse(&lines(TOKENS_MAX)).map(|tokens| tokens.len()).ok(),
            Some(TOKENS_MAX)
        );
        check_refused(
            &lines(TOKENS_MAX + 1),
            "line 10001: it is one more than the 10000 tokens",
        );
    }

    #[test]
    fn a_new_token_fits_its_line() {
        let token = token_of([7; 32]);
        assert!(token.reveal().starts_with(PREFIX) && token.reveal().len() == PREFIX.len() + 43);
        let line = line_of(
            "web",
            &token,
            &["listen:users".to_owned(), "admin".to_owned()],
            Some("2027-01-01T00:00:00Z"),
        );
        let tokens = Tokens::parse(&line).expect("valid");
        assert_eq!(
            tokens.find(token.reveal()).expect("it is there").subject.to_string(),
            "web"
        );
        assert!(!line.contains(token.reveal()));
    }
}
