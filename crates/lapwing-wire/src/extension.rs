//! Extensions: what a client offers of permessage-deflate (RFC 7692), and what is agreed on.

use std::fmt;

use thiserror::Error;

/// Whether messages of a connection may be compressed, each by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// None is.
    #[default]
    Off,
    /// Those whose first frame says so, with its bit RSV1 (RFC 7692 section 6).
    Deflate,
}

/// The answer to the first offer of permessage-deflate that can be met, for the header `Sec-WebSocket-Extensions`; none when
/// there is no such offer. `offered` is what the client's headers of that name say, joined by commas.
///
/// Neither side keeps a context from one message to the next, so that a message is compressed once for all clients. An offer
/// with a parameter that is unknown, given twice or out of range is passed over, as is a window for the server that is
/// smaller than what it uses (RFC 7692 section 7.1).
#[must_use]
pub fn agree(offered: &str) -> Option<&'static str> {
    offers(offered).find_map(|offer| match offer.server_window {
        None => Some(AGREED),
        Some(WINDOW_BITS_MAX) => Some(AGREED_WITH_WINDOW),
        Some(_) => None,
    })
}

/// What is agreed on where both sides may keep a context and choose their windows: the first offer that can be met, as it was
/// meant. A window of 8 bits for the server is the one that cannot, since nothing compresses with it.
#[must_use]
pub fn agree_in_full(offered: &str) -> Option<Deflation> {
    offers(offered).find_map(Parameters::granted)
}

/// What the server answered to [`OFFER`], in all of its headers `Sec-WebSocket-Extensions`, joined by commas; none when it uses no
/// extension. Everything that was not offered, or is not as RFC 7692 section 7.1 has it, ends the handshake.
pub fn agreed(answered: &str) -> Result<Option<Deflation>, AnswerError> {
    let mut answers = split(answered, b',').filter(|answer| !answer.trim().is_empty());
    let Some(answer) = answers.next() else { return Ok(None) };
    if let Some(more) = answers.next() {
        return Err(AnswerError::NotOffered { found: clip(more) });
    }
    let mut parts = split(answer, b';');
    if parts.next().map(str::trim) != Some(NAME) {
        return Err(AnswerError::NotOffered { found: clip(answer) });
    }
    let parameters = Parameters::read(parts)?;
    let client_window = match parameters.client_window {
        Some(None) => {
            return Err(AnswerError::Value {
                found: CLIENT_WINDOW.to_owned(),
            });
        }
        window => window.flatten(),
    };
    Ok(Some(Deflation {
        server: Direction {
            keeps_context: !parameters.server_forgets,
            window_bits: parameters.server_window,
        },
        client: Direction {
            // As was offered, whether or not the server asks for it.
            keeps_context: false,
            window_bits: client_window,
        },
    }))
}

/// How the messages of a connection are compressed, where that is its own affair (RFC 7692 section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflation {
    /// What the server sends.
    pub server: Direction,
    /// What the client sends.
    pub client: Direction,
}

/// The messages of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Direction {
    /// Whether a message may refer to those before it.
    pub keeps_context: bool,
    /// How far back it refers, as a power of two of bytes: 8 to 15; without being named, 15.
    pub window_bits: Option<u8>,
}

impl Direction {
    /// The window, named or not.
    #[must_use]
    pub fn window_bits(&self) -> u8 {
        self.window_bits.unwrap_or(WINDOW_BITS_MAX)
    }
}

/// The header `Sec-WebSocket-Extensions` of a server's answer.
impl fmt::Display for Deflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        for (direction, forgets, window) in [
            (&self.server, SERVER_FORGETS, SERVER_WINDOW),
            (&self.client, CLIENT_FORGETS, CLIENT_WINDOW),
        ] {
            if !direction.keeps_context {
                write!(f, "; {forgets}")?;
            }
            if let Some(bits) = direction.window_bits {
                write!(f, "; {window}={bits}")?;
            }
        }
        Ok(())
    }
}

/// Why a server's answer about compression cannot be lived with.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AnswerError {
    /// Another extension, or a second one.
    #[error("the server uses an extension that was not offered: {found:?}")]
    NotOffered {
        /// What it said.
        found: String,
    },
    /// A parameter that permessage-deflate does not have.
    #[error("the server answers permessage-deflate with a parameter that there is not: {found:?}")]
    Unknown {
        /// What it said.
        found: String,
    },
    /// A parameter given twice.
    #[error("the server answers permessage-deflate with a parameter given twice: {found:?}")]
    Twice {
        /// What it said.
        found: String,
    },
    /// A value where none may be, none where one must be, or a window other than 8 to 15 bits.
    #[error(
        "the server answers permessage-deflate with a value that may not be (windows have 8 to 15 bits): {found:?}"
    )]
    Value {
        /// What it said.
        found: String,
    },
}

/// The parameters of one offer, or of an answer.
#[derive(Default)]
struct Parameters {
    server_forgets: bool,
    client_forgets: bool,
    server_window: Option<u8>,
    /// A client may offer it without a value.
    client_window: Option<Option<u8>>,
}

impl Parameters {
    fn read<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Self, AnswerError> {
        let mut parameters = Self::default();
        for part in parts {
            parameters.add(part)?;
        }
        Ok(parameters)
    }

    /// Takes a further parameter.
    fn add(&mut self, parameter: &str) -> Result<(), AnswerError> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (parameter.trim(), None),
        };
        let bits = || value.and_then(|value| WINDOW_BITS.iter().position(|bits| *bits == value));
        let bits = || bits().map(|at| at as u8 + WINDOW_BITS_MIN);
        let (seen, fits) = match name {
            SERVER_FORGETS => (std::mem::replace(&mut self.server_forgets, true), value.is_none()),
            CLIENT_FORGETS => (std::mem::replace(&mut self.client_forgets, true), value.is_none()),
            SERVER_WINDOW => {
                let bits = bits();
                (
                    std::mem::replace(&mut self.server_window, bits).is_some(),
                    bits.is_some(),
                )
            }
            CLIENT_WINDOW => {
                let bits = bits();
                let seen = self.client_window.replace(bits).is_some();
                (seen, value.is_none() || bits.is_some())
            }
            _ => return Err(AnswerError::Unknown { found: clip(parameter) }),
        };
        match (seen, fits) {
            (true, _) => Err(AnswerError::Twice { found: clip(parameter) }),
            (false, false) => Err(AnswerError::Value { found: clip(parameter) }),
            (false, true) => Ok(()),
        }
    }

    /// An offer as it was meant, if it can be met: whoever names the server's window is told it, too (RFC 7692 section 7.1.2.1). A
    /// window that the client names for itself is a promise, which costs us nothing.
    fn granted(self) -> Option<Deflation> {
        (self.server_window != Some(WINDOW_BITS_MIN)).then_some(Deflation {
            server: Direction {
                keeps_context: !self.server_forgets,
                window_bits: self.server_window,
            },
            client: Direction {
                keeps_context: !self.client_forgets,
                window_bits: None,
            },
        })
    }
}

/// The offers of permessage-deflate that are as they may be, in their order.
fn offers(offered: &str) -> impl Iterator<Item = Parameters> {
    split(offered, b',').filter_map(|offer| {
        let mut parts = split(offer, b';');
        (parts.next()?.trim() == NAME).then_some(())?;
        Parameters::read(parts).ok()
    })
}

/// Cuts a list at a separator, but not within quotes; what no grammar allows fits no offer either.
fn split(list: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    // All three are ASCII, so a cut is never within a character.
    list.split(move |c: char| {
        quoted ^= c == '"';
        c == char::from(separator) && !quoted
    })
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// The beginning of a text that somebody else wrote.
fn clip(text: &str) -> String {
    let text = text.trim();
    text[..text.floor_char_boundary(CLIP_BYTES_MAX)].to_owned()
}

/// What a client offers: it keeps no context of what it sends, which is little, and uses the window that the server wants.
pub const OFFER: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";

const NAME: &str = "permessage-deflate";
const SERVER_FORGETS: &str = "server_no_context_takeover";
const CLIENT_FORGETS: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";
/// The smallest window that may be named.
pub(crate) const WINDOW_BITS_MIN: u8 = 8;
/// The largest, and the one where none is named.
pub(crate) const WINDOW_BITS_MAX: u8 = 15;
/// How much of a foreign text an error quotes.
const CLIP_BYTES_MAX: usize = 200;
/// The windows that may be named, as powers of two (RFC 7692 section 7.1.2): decimal, without leading zeros.
const WINDOW_BITS: [&str; 8] = ["8", "9", "10", "11", "12", "13", "14", "15"];
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// Who names the server's window is told it, too (RFC 7692 section 7.1.2.1).
const AGREED_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(offered: &str, expect: Option<&str>) {
        assert_eq!(agree(offered), expect, "{offered:?}");
    }

    #[test]
    fn what_libraries_offer_is_agreed_on() {
        for offered in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=8;server_no_context_takeover ;\tclient_no_context_takeover",
            "permessage-deflate; client_max_window_bits=\"15\"",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
            "other; a=\"1, permessage-deflate; x\", permessage-deflate",
        ] {
            check(offered, Some(AGREED));
        }
        check(
            "permessage-deflate; server_max_window_bits=15",
            Some(AGREED_WITH_WINDOW),
        );
    }

    #[test]
    fn c12_offers_with_parameters_that_are_wrong_are_declined() {
        for parameters in [
            "unknown",
            "",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_no_context_takeover=1",
            "client_no_context_takeover=\"\"",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=14",
            "server_max_window_bits=8",
            "server_max_window_bits=16",
            "server_max_window_bits=015",
            "server_max_window_bits=15; server_max_window_bits=15",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits=+9",
            "client_max_window_bits=1000000000000000000000",
            "client_max_window_bits=-1",
            "client_max_window_bits; client_max_window_bits=10",
            "client_max_window_bits=\"10",
            "Client_max_window_bits",
        ] {
            check(&format!("permessage-deflate; {parameters}"), None);
        }
        for offered in [
            "",
            ",",
            ";",
            "permessage-deflat",
            "Permessage-Deflate",
            "a; permessage-deflate",
            "\u{fffd}",
        ] {
            check(offered, None);
        }
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_taken() {
        check(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some(AGREED),
        );
        check("permessage-deflate; x=\"a, permessage-deflate", None);
        let preferred = "permessage-deflate; server_max_window_bits=9, \
            permessage-deflate; server_max_window_bits=15; client_max_window_bits, permessage-deflate";
        check(preferred, Some(AGREED_WITH_WINDOW));
    }

    #[track_caller]
    fn check_in_full(offered: &str, expect: Option<&str>) {
        let agreed = agree_in_full(offered).map(|agreed| agreed.to_string());
        assert_eq!(agreed.as_deref(), expect, "{offered:?}");
    }

    #[test]
    fn in_full_an_offer_is_met_as_it_was_meant() {
        check_in_full("permessage-deflate", Some("permessage-deflate"));
        for bits in 9..=15 {
            let named = format!("permessage-deflate; server_max_window_bits={bits}");
            check_in_full(&named, Some(&named));
            check_in_full(
                &format!("permessage-deflate; client_max_window_bits={bits}"),
                Some("permessage-deflate"),
            );
        }
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        check_in_full(both, Some(both));
        check_in_full("permessage-deflate; server_max_window_bits=8", None);
        check_in_full(
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Some("permessage-deflate"),
        );
        check_in_full("permessage-deflate; unknown", None);
        check_in_full("", None);
    }

    #[track_caller]
    fn check_answer(answered: &str, expect: Result<Option<&str>, &str>) {
        match (agreed(answered), expect) {
            (Ok(agreed), Ok(expect)) => {
                assert_eq!(
                    agreed.map(|agreed| agreed.to_string()).as_deref(),
                    expect,
                    "{answered:?}"
                );
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (agreed, _) => panic!("{answered:?}: {agreed:?}"),
        }
    }

    #[test]
    fn what_a_server_may_answer_is_taken() {
        check_answer("", Ok(None));
        // What was offered holds, whether or not the server says it again.
        let kept = "permessage-deflate; client_no_context_takeover";
        for answered in [
            "permessage-deflate",
            kept,
            " permessage-deflate ;client_no_context_takeover\t,",
        ] {
            check_answer(answered, Ok(Some(kept)));
        }
        let all = "permessage-deflate; server_no_context_takeover; server_max_window_bits=8; client_no_context_takeover; client_max_window_bits=8";
        check_answer(all, Ok(Some(all)));
        check_answer(
            "permessage-deflate; server_max_window_bits=\"15\"",
            Ok(Some(
                "permessage-deflate; server_max_window_bits=15; client_no_context_takeover",
            )),
        );
    }

    #[test]
    fn c12_what_a_server_may_not_answer_ends_the_handshake() {
        for (parameters, why) in [
            ("server_max_window_bits=7", "8 to 15"),
            ("server_max_window_bits=16", "8 to 15"),
            ("server_max_window_bits=4294967304", "8 to 15"),
            ("server_max_window_bits=-8", "8 to 15"),
            ("server_max_window_bits=08", "8 to 15"),
            ("server_max_window_bits=", "8 to 15"),
            ("server_max_window_bits", "8 to 15"),
            ("client_max_window_bits=7", "8 to 15"),
            ("client_max_window_bits=16", "8 to 15"),
            ("client_max_window_bits", "8 to 15"),
            ("server_no_context_takeover=1", "8 to 15"),
            ("client_no_context_takeover=\"\"", "8 to 15"),
            ("server_no_context_takeover; server_no_context_takeover", "given twice"),
            ("client_no_context_takeover; client_no_context_takeover", "given twice"),
            ("server_max_window_bits=9; server_max_window_bits=9", "given twice"),
            ("client_max_window_bits=9; client_max_window_bits=9", "given twice"),
            ("unknown", "that there is not"),
            ("", "that there is not"),
            ("Server_no_context_takeover", "that there is not"),
        ] {
            check_answer(&format!("permessage-deflate; {parameters}"), Err(why));
        }
        for answered in [
            "x",
            "permessage-deflat",
            "permessage-deflate, permessage-deflate",
            "a, permessage-deflate",
            "permessage-deflate, a",
        ] {
            check_answer(answered, Err("not offered"));
        }
    }

    proptest! {
        #[test]
        fn c12_no_answer_panics(answered in r#"([a-z_;,= "\\0-9]|permessage-deflate|_max_window_bits|server|client|\PC){0,40}"#) {
            let _ = agreed(&answered).map_err(|error| error.to_string());
            let _ = agree_in_full(&answered);
        }

        #[test]
        fn c12_no_offer_panics(offered in r#"([a-z_;,= "\\0-9]|permessage-deflate|_max_window_bits|server|client|\PC){0,40}"#) {
            let _ = agree(&offered);
        }
    }
}
