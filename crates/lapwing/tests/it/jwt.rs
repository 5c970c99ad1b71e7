//! JSON Web Tokens shown to a running server: those that are good, those that are not, and what follows when they end.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::support::bearer::{Secrets, ask_with, follow_with, lines_of, speak_with};
use crate::support::http::ask;
use crate::support::server::{Plan, Server};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Seconds since 1970, from now on.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

/// A token that the server's secret proves.
fn token(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

/// A good token that ends in so many seconds.
fn ending_in(seconds: i64, subject: &str, scope: &str) -> String {
    token(&json!({ "exp": in_seconds(seconds), "sub": subject, "scope": scope }))
}

fn secret() -> Secrets {
    Secrets::new(&format!("HS256 {SECRET}\n"))
}

fn guarded(keys: &Secrets, more: &[&str]) -> Server {
    let topics = [
        "--topic",
        "users=push",
        "--topic",
        "orders=push",
        "--jwt-keys",
        &keys.path(),
    ];
    Server::start(&[&topics[..], more].concat())
}

#[track_caller]
fn check(server: &Server, token: &str, status: u16, sentence: &str) {
    let answer = ask_with(server, "/?topics=users", token);
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(sentence), "{sentence:?} in {answer:?}");
}

#[test]
fn e8_the_claim_scope_says_what_a_token_is_good_for() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    check(&server, &ending_in(60, "sensor", "openid listen:users"), 101, "");
    check(&server, &ending_in(60, "sensor", "listen:*"), 101, "");
    check(
        &server,
        &ending_in(60, "sensor", "listen:orders"),
        403,
        "the token has listen:orders; topic \"users\" needs listen:users",
    );
    check(
        &server,
        &ending_in(60, "sensor", "openid"),
        403,
        "the token has no scope",
    );
    check(
        &server,
        &token(&json!({ "exp": in_seconds(60) })),
        403,
        "the token has no scope",
    );
    let press = format!("Bearer {}", ending_in(60, "press", "publish:users"));
    let headers = [("Content-Type", "text/plain"), ("Authorization", press.as_str())];
    assert_eq!(
        ask(&server, "POST", "/topics/users/messages", &headers, b"1").status,
        201
    );
}

#[test]
fn e1_a_token_that_asks_for_no_proof_is_refused() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    let good = ending_in(60, "sensor", "listen:*");
    let claims = good.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    for signature in ["", "AAAA"] {
        let token = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.{signature}");
        check(
            &server,
            &token,
            401,
            "the token cannot be read as a JWT with a signature",
        );
    }
}

#[test]
fn e2_a_secret_that_is_the_public_key_proves_nothing() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let keys = Secrets::new(&pair.public_key_pem());
    let server = guarded(&keys, &[]);
    let claims = json!({ "exp": in_seconds(60), "scope": "listen:*" });
    let rsa = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
    check(
        &server,
        &encode(&Header::new(Algorithm::RS256), &claims, &rsa).unwrap(),
        101,
        "",
    );
    for secret in [
        pair.public_key_pem().as_bytes(),
        pair.public_key_pem().trim().as_bytes(),
        &pair.subject_public_key_info(),
    ] {
        let forged = encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(secret),
        )
        .unwrap();
        check(
            &server,
            &forged,
            401,
            "the token is signed with an algorithm that no key here is for",
        );
    }
}

/// A key, and its form in a set.
fn issuer(id: &str) -> (EncodingKey, Value) {
    let pair = KeyPair::generate().unwrap();
    let signs = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&signs, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    (signs, serde_json::to_value(jwk).unwrap())
}

fn signed(signs: &EncodingKey, id: &str) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(id.to_owned());
    encode(
        &header,
        &json!({ "exp": in_seconds(600), "sub": "sensor", "scope": "listen:*" }),
        signs,
    )
    .unwrap()
}

#[test]
fn e3_a_key_that_is_not_known_proves_nothing() {
    let (signs, jwk) = issuer("one");
    let keys = Secrets::new(&json!({ "keys": [jwk] }).to_string());
    let server = guarded(&keys, &[]);
    check(&server, &signed(&signs, "one"), 101, "");
    check(
        &server,
        &signed(&signs, "two"),
        401,
        "the token names a key (kid) that is not known here",
    );
    let (other, _) = issuer("one");
    check(
        &server,
        &signed(&other, "one"),
        401,
        "the token has a signature that does not fit",
    );
}

#[test]
fn e4_a_token_that_is_over_or_has_not_begun_is_refused() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    let at = |exp, nbf| token(&json!({ "exp": in_seconds(exp), "nbf": in_seconds(nbf), "scope": "listen:*" }));
    check(&server, &at(-31, -60), 401, "the token expired 3");
    check(&server, &at(-20, -60), 101, "");
    check(&server, &at(600, 20), 101, "");
    check(&server, &at(600, 60), 401, "the token is not valid yet, but in ");
}

#[test]
fn e5_a_token_for_others_or_from_others_is_refused() {
    let keys = secret();
    let claims =
        |aud: &str, iss: &str| token(&json!({ "exp": in_seconds(60), "aud": aud, "iss": iss, "scope": "listen:*" }));
    let server = guarded(
        &keys,
        &["--jwt-audience", "feed", "--jwt-issuer", "us", "--jwt-issuer", "we"],
    );
    check(&server, &claims("feed", "us"), 101, "");
    check(&server, &claims("feed", "we"), 101, "");
    check(
        &server,
        &claims("other", "us"),
        401,
        "the token is meant for another audience",
    );
    check(
        &server,
        &claims("feed", "them"),
        401,
        "the token is from another issuer",
    );
    check(
        &server,
        &ending_in(60, "sensor", "listen:*"),
        401,
        "the token is meant for another audience",
    );
}

#[test]
fn e6_a_claim_of_the_wrong_type_is_refused() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    for exp in [json!("9999999999"), json!(null), json!([9_999_999_999_u64]), json!(-1)] {
        let token = token(&json!({ "exp": exp, "scope": "listen:*" }));
        check(&server, &token, 401, "the token has claims that cannot be read");
    }
    // 1e400, which no library writes; the signature is of the library all the same.
    let huge = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjFlNDAwLCJzY29wZSI6Imxpc3RlbjoqIn0";
    let signs = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(huge.as_bytes(), &signs, Algorithm::HS256).unwrap();
    check(
        &server,
        &format!("{huge}.{signature}"),
        401,
        "the token has claims that cannot be read",
    );
}

#[test]
fn e7_a_token_of_64_kib_is_refused_by_the_limit_of_a_head() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    let claims = |bytes: usize| token(&json!({ "exp": in_seconds(60), "scope": "listen:*", "pad": "x".repeat(bytes) }));
    check(&server, &claims(5000), 101, "");
    check(&server, &claims(9000), 401, "at most 8192 are taken");
    assert_eq!(ask_with(&server, "/?topics=users", &claims(64 << 10)).status, 431);
}

#[test]
fn e9_who_is_warned_may_show_another_token_and_stay() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    // It is over already, and honoured for a few seconds more.
    let mut speaker = speak_with(&server, "topics=users", &ending_in(-20, "sensor", "listen:*"));
    speaker.control("welcome");
    let left = speaker.find_control("expiring")["in_ms"].as_u64().unwrap();
    assert!(left <= 10_000, "{left}");
    speaker.command(&json!({ "type": "auth", "token": ending_in(600, "sensor", "listen:users") }));
    let left = speaker.find_control("authorized")["in_ms"].as_u64().unwrap();
    assert!((500_000..=630_000).contains(&left), "{left}");
    // From now on that one says what may be followed.
    speaker.command(&json!({ "type": "subscribe", "topic": "orders" }));
    assert_eq!(speaker.find_control("error")["code"], "not_allowed");
}

#[test]
fn e9_the_warning_comes_thirty_seconds_before_the_end() {
    let keys = secret();
    let server = guarded(&keys, &["--heartbeat", "100ms"]);
    let mut speaker = speak_with(&server, "topics=users", &ending_in(32, "sensor", "listen:*"));
    // It has been looked after before the warning, which does not come at once.
    speaker.find_control("heartbeat");
    let left = speaker.find_control("expiring")["in_ms"].as_u64().unwrap();
    assert!((30_000..=60_000).contains(&left), "{left}");
}

#[test]
fn e9_a_session_ends_with_its_token() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    let ends = (4401, "the token expired".to_owned());
    let mut speaker = speak_with(&server, "topics=users", &ending_in(-28, "sensor", "listen:*"));
    let mut plain = follow_with(&server, "topics=users", &ending_in(-28, "sensor", "listen:*"));
    assert_eq!(speaker.closed(), ends);
    assert_eq!(plain.closed(), ends);
    let left = server.event("left", |event| event["code"] == 4401);
    assert_eq!(
        (&left["by"], &left["reason"]),
        (&json!("server"), &json!("the token expired"))
    );
}

#[test]
fn e9_a_token_shown_later_must_be_good_of_the_same_one_and_for_what_is_followed() {
    let keys = secret();
    let tokens = Secrets::new(&lines_of(&[("sensor", "lapwing_sensor", "listen:*")]));
    let server = guarded(&keys, &["--tokens", &tokens.path()]);
    for (shown, code, reason) in [
        ("hunter2".to_owned(), 4500, "the token is not known here"),
        ("a.b.c".to_owned(), 4500, "the token cannot be read as a JWT"),
        ("a b".to_owned(), 4500, "the token has characters that no token has"),
        (ending_in(-31, "sensor", "listen:*"), 4500, "the token expired 3"),
        (
            ending_in(60, "other", "listen:*"),
            4500,
            "the token is of somebody else than this connection",
        ),
        (
            "lapwing_sensor".to_owned(),
            4500,
            "the token is of somebody else than this connection",
        ),
        (
            ending_in(60, "sensor", "listen:orders"),
            4501,
            "topic \"users\" needs listen:users",
        ),
    ] {
        let mut speaker = speak_with(&server, "topics=users", &ending_in(60, "sensor", "listen:*"));
        speaker.command(&json!({ "type": "auth", "token": shown }));
        let (found, said) = speaker.closed();
        assert_eq!(found, code, "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let lines = server.out().so_far().join("\n") + &server.err().so_far().join("\n");
    assert!(!lines.contains("hunter2") && !lines.contains("eyJ"), "{lines}");
}

#[test]
fn e9_a_token_without_a_name_takes_no_others_place() {
    let keys = secret();
    let server = guarded(&keys, &[]);
    let nameless = |id: &str| token(&json!({ "exp": in_seconds(600), "jti": id, "scope": "listen:*" }));
    let mut speaker = speak_with(&server, "topics=users", &nameless("1"));
    speaker.command(&json!({ "type": "auth", "token": nameless("2") }));
    let reason = "the token is of somebody else than this connection".to_owned();
    assert_eq!(speaker.closed(), (4500, reason));
}

#[test]
fn e9_a_clock_that_is_set_back_does_not_make_a_session_longer() {
    let name = "e9_a_clock_that_is_set_back_does_not_make_a_session_longer";
    let Some(library) = faketime() else {
        return crate::support::faults::skip(name, "libfaketime is not there");
    };
    let keys = secret();
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let set = |by: &str| {
        std::fs::write(clock.with_extension("new"), by).unwrap();
        std::fs::rename(clock.with_extension("new"), &clock).unwrap();
    };
    set("+0");
    let server = Plan::new(&[
        "--topic",
        "users=push",
        "--jwt-keys",
        &keys.path(),
        "--heartbeat",
        "100ms",
    ])
    .env("LD_PRELOAD", &library.display().to_string())
    .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
    .env("FAKETIME_NO_CACHE", "1")
    .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    .start();
    let mut speaker = speak_with(&server, "topics=users", &ending_in(-25, "sensor", "listen:*"));
    speaker.find_control("expiring");
    set("-3600");
    // The server's clock is an hour earlier now, and the session is over all the same.
    let set_back = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second() < in_seconds(-1800);
    while !set_back(speaker.find_control("heartbeat")["time"].as_str().unwrap()) {}
    assert_eq!(speaker.closed(), (4401, "the token expired".to_owned()));
}

fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.exists())
}

#[test]
fn e10_keys_change_without_a_restart_and_end_the_sessions_of_those_that_went() {
    let ((old, old_jwk), (new, new_jwk)) = (issuer("old"), issuer("new"));
    let set = |keys: &[&Value]| json!({ "keys": keys }).to_string();
    let keys = Secrets::new(&set(&[&old_jwk]));
    let server = guarded(&keys, &[]);
    let mut goes = speak_with(&server, "topics=users", &signed(&old, "old"));
    check(
        &server,
        &signed(&new, "new"),
        401,
        "names a key (kid) that is not known here",
    );
    // Both for a while, so that nobody is cut off.
    keys.change(&server, &set(&[&old_jwk, &new_jwk]), "2 keys in force");
    check(&server, &signed(&new, "new"), 101, "");
    check(&server, &signed(&old, "old"), 101, "");
    keys.change(&server, "{\"keys\":[", "what was read before stays in force");
    check(&server, &signed(&old, "old"), 101, "");
    // Nobody says so this time.
    keys.write(&set(&[&new_jwk]));
    server.event("access", |event| {
        event["text"].as_str().unwrap().ends_with("1 key in force")
    });
    check(
        &server,
        &signed(&old, "old"),
        401,
        "names a key (kid) that is not known here",
    );
    check(&server, &signed(&new, "new"), 101, "");
    assert_eq!(goes.closed(), (4401, "the token was withdrawn".to_owned()));
}
