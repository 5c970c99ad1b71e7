//! Who may do what: the files of tokens and keys, what a request shows, and JWTs.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lapwing::server::access::credential::{Credential, Places};
use lapwing::server::access::jwt::{Keys, Rules};
use lapwing::server::access::token::{Tokens, line_of, token_of};
use lapwing_wire::secret::Secret;
use lapwing_wire::time::WallTime;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Entry;
use crate::input::{Input, assert_harmless, text};

/// A file of tokens.
pub const TOKENS: Entry = Entry {
    name: "tokens_file",
    take: tokens,
    seeds: || {
        let token = token_of([7; 32]);
        let line = |scopes: &str, expires| line_of("press", &token, &[scopes.to_owned()], expires);
        vec![
            ("one", line("listen:users", None).into_bytes()),
            (
                "ends",
                line("publish:*,admin", Some("2027-01-01T00:00:00Z")).into_bytes(),
            ),
            (
                "comments",
                format!("# who may\n\n{} # press\n", line("listen:*", None)).into_bytes(),
            ),
            (
                "a-token-in-its-place",
                b"press lapwing_hunter2hunter2 listen:users".to_vec(),
            ),
        ]
    },
};

/// What a request shows: an `Authorization` header, offers of subprotocols, a ticket; a line each.
pub const CREDENTIAL: Entry = Entry {
    name: "credential",
    take: credential,
    seeds: || {
        [
            ("header", "Bearer lapwing_hunter2\n\n"),
            ("offer", "\nlapwing.v1, lapwing.token.bGFwd2luZ19odW50ZXIy\n"),
            ("ticket", "\n\nlapwing_ticket"),
            ("several", "Bearer a\nlapwing.token.YQ\nb"),
            ("basic", "Basic dTpw\n\n"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

/// A header and claims as JSON, signed with the server's secret or with another; a line each, behind a choice.
pub const JWT: Entry = Entry {
    name: "jwt",
    take: jwt,
    seeds: || {
        [
            (
                "good",
                "\0{\"alg\":\"HS256\"}\n{\"exp\":2000000000,\"scope\":\"listen:users\"}",
            ),
            ("foreign", "\x01{\"alg\":\"HS256\"}\n{\"exp\":2000000000}"),
            ("none", "\0{\"alg\":\"none\"}\n{\"exp\":2000000000}"),
            (
                "public-key",
                "\0{\"alg\":\"RS256\",\"kid\":\"a\"}\n{\"exp\":2000000000}",
            ),
            ("text", "\0{\"alg\":\"HS256\"}\n{\"exp\":\"9999999999\"}"),
            ("huge", "\0{\"alg\":\"HS256\"}\n{\"exp\":1e400}"),
            (
                "later",
                "\0{\"alg\":\"HS256\"}\n{\"exp\":2000000000,\"nbf\":1900000000,\"aud\":[\"x\"]}",
            ),
            (
                "critical",
                "\0{\"alg\":\"HS256\",\"crit\":[\"x\"]}\n{\"exp\":2000000000}",
            ),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

/// A file of keys.
pub const KEYS: Entry = Entry {
    name: "jwt_keys",
    take: keys,
    seeds: || {
        [
            ("secret", "HS256 0123456789abcdef0123456789abcdef"),
            (
                "set",
                r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY","kid":"a"}]}"#,
            ),
            (
                "pem",
                "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
            ),
            ("no-keys", r#"{"keys":[]}"#),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn tokens(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match Tokens::parse(text) {
        Ok(tokens) => {
            assert!(tokens.len() <= text.lines().count());
            // Who reads the file cannot use it: no word of it is a token of its own.
            assert!(text.split_whitespace().all(|word| tokens.find(word).is_none()));
            // One line more is one token more, unless there are as many as there may be, or it stands there already.
            let token = token_of([7; 32]);
            let more = format!("{text}\n{}\n", line_of("x", &token, &["admin".to_owned()], None));
            if let Ok(more) = Tokens::parse(&more) {
                assert_eq!(more.len(), tokens.len() + 1);
                assert!(more.find(token.reveal()).is_some());
            }
        }
        Err(error) => keeps_secret(&error.to_string(), text),
    }
}

fn credential(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let lines: Vec<&str> = text.splitn(3, '\n').collect();
    let line = |at: usize| lines.get(at).copied().filter(|line| !line.is_empty());
    let ticket = line(2).map(Secret::new);
    let headers: Vec<_> = line(0).into_iter().map(Some).collect();
    let places = Places {
        authorization: &headers,
        protocols: line(1).unwrap_or(""),
        ticket: ticket.as_ref(),
    };
    match Credential::find(places) {
        Ok(Some(Credential::Token(token))) => {
            assert!(ticket.is_none(), "one credential a request");
            let token = token.reveal();
            let offered = || URL_SAFE_NO_PAD.encode(token);
            let shown = places.protocols.contains(&offered()) || line(0).is_some_and(|header| header.contains(token));
            assert!(shown, "a token is what was shown");
        }
        Ok(Some(Credential::Ticket(found))) => assert_eq!(Some(&found), ticket.as_ref()),
        Ok(None) => assert!(ticket.is_none() && headers.is_empty()),
        Err(error) => {
            assert!([400, 401].contains(&error.status()));
            keeps_secret(&error.to_string(), text);
        }
    }
}

fn jwt(data: &[u8]) {
    let mut input = Input::new(data);
    let own = input.byte().is_multiple_of(2);
    let Some((header, claims)) = text(input.rest()).and_then(|text| text.split_once('\n')) else {
        return;
    };
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let secret = if own {
        SECRET
    } else {
        "ffffffffffffffffffffffffffffffff"
    };
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let keys = Keys::parse(&format!("HS256 {SECRET}"), Rules::default()).expect("a secret");
    let now = WallTime::parse("2027-01-15T08:00:00Z").expect("a time");
    // As it comes, nothing of it is a token either.
    assert!(keys.identify(claims, now).is_err());
    match keys.identify(&token, now) {
        Ok(identity) => {
            assert!(own, "signed by somebody else");
            let said: Value = serde_json::from_str(header).expect("a header is JSON");
            assert_eq!(said["alg"], "HS256", "the key decides the algorithm");
            assert!(said.get("crit").is_none_or(Value::is_null));
            // Only what a claim of ours is has to be a number of this machine's.
            let said: HashMap<String, &RawValue> = serde_json::from_str(claims).expect("claims are JSON");
            let at = |name: &str| said.get(name).and_then(|value| value.get().parse::<f64>().ok());
            let now_s = 1_800_000_000.0;
            assert!(at("exp").expect("an end is a number") > now_s - 31.0, "{claims}");
            assert!(at("nbf").is_none_or(|nbf| nbf < now_s + 31.0), "{claims}");
            assert!(identity.expires.is_some());
        }
        Err(error) => assert_harmless(error),
    }
}

fn keys(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match Keys::parse(text, Rules::default()) {
        Ok(keys) => assert!((1..=100).contains(&keys.len())),
        Err(error) => keeps_secret(&error.to_string(), text),
    }
}

/// A sentence about a file of secrets repeats nothing long of it that is not its own words.
#[track_caller]
fn keeps_secret(sentence: &str, text: &str) {
    assert_harmless(sentence);
    let long = text
        .split(|symbol: char| !symbol.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 16);
    for word in long {
        assert!(!sentence.contains(word), "{sentence:?} has what may be a secret");
    }
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
