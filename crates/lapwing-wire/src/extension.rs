//! Extensions: what a client offers of permessage-deflate (RFC 7692), and what is agreed on.

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
    split(offered, b',').find_map(|offer| {
        let mut parts = split(offer, b';');
        (parts.next()?.trim() == "permessage-deflate").then_some(())?;
        let mut wish = Wish::default();
        parts.try_for_each(|part| wish.add(part))?;
        Some(match wish.server_window {
            true => AGREED_WITH_WINDOW,
            false => AGREED,
        })
    })
}

/// The parameters of one offer, as far as they were read.
#[derive(Default)]
struct Wish {
    server_context: bool,
    client_context: bool,
    server_window: bool,
    client_window: bool,
}

impl Wish {
    /// Takes a further parameter; none when it cannot be met.
    fn add(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(value.trim()))),
            None => (parameter, None),
        };
        let (seen, fits) = match name.trim() {
            "server_no_context_takeover" => (&mut self.server_context, value.is_none()),
            "client_no_context_takeover" => (&mut self.client_context, value.is_none()),
            "server_max_window_bits" => (&mut self.server_window, value == Some(WINDOW_BITS[7])),
            // Whatever window the client uses fits into the largest.
            "client_max_window_bits" => (
                &mut self.client_window,
                value.is_none_or(|value| WINDOW_BITS.contains(&value)),
            ),
            _ => return None,
        };
        (fits && !std::mem::replace(seen, true)).then_some(())
    }
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

    proptest! {
        #[test]
        fn c12_no_offer_panics(offered in r#"([a-z_;,= "\\0-9]|permessage-deflate|_max_window_bits|server|client|\PC){0,40}"#) {
            let _ = agree(&offered);
        }
    }
}
