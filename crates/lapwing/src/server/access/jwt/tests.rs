use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::*;

const NOW_S: i64 = 1_795_287_600;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn now() -> WallTime {
    WallTime::from_nanos(NOW_S * 1_000_000_000)
}

/// An issuer: its key, and how it signs.
struct Issuer {
    algorithm: Algorithm,
    signs: EncodingKey,
    public_pem: String,
}

impl Issuer {
    fn rsa() -> Self {
        Self::of(&rcgen::PKCS_RSA_SHA256, Algorithm::RS256, EncodingKey::from_rsa_pem)
    }

    fn ec() -> Self {
        Self::of(
            &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES256,
            EncodingKey::from_ec_pem,
        )
    }

    fn ed() -> Self {
        Self::of(&rcgen::PKCS_ED25519, Algorithm::EdDSA, EncodingKey::from_ed_pem)
    }

    fn of(
        kind: &'static rcgen::SignatureAlgorithm,
        algorithm: Algorithm,
        take: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>,
    ) -> Self {
        let pair = KeyPair::generate_for(kind).expect("a key");
        Self {
            algorithm,
            signs: take(pair.serialize_pem().as_bytes()).expect("a private key"),
            public_pem: pair.public_key_pem(),
        }
    }

    fn shared() -> Self {
        Self {
            algorithm: Algorithm::HS256,
            signs: EncodingKey::from_secret(SECRET.as_bytes()),
            public_pem: String::new(),
        }
    }

    fn token(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        encode(&header, claims, &self.signs).expect("it signs")
    }

    /// Its key as a set has it.
    fn jwk(&self, id: &str) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            // What the library cannot make of a private key in PEM form: the 32 bytes at the end of the public one.
            let key = DecodingKey::from_ed_pem(self.public_pem.as_bytes()).expect("a public key");
            let x = URL_SAFE_NO_PAD.encode(key.try_get_as_bytes().expect("a point"));
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": id });
        }
        let mut jwk = Jwk::from_encoding_key(&self.signs, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(id.to_owned());
        serde_json::to_value(jwk).expect("JSON")
    }
}

fn claims() -> Value {
    json!({ "exp": NOW_S + 60, "sub": "sensor", "scope": "listen:users openid" })
}

fn set(keys: &[Value]) -> Keys {
    Keys::parse(&json!({ "keys": keys }).to_string(), Rules::default()).expect("valid")
}

fn shared() -> Keys {
    Keys::parse(&format!("HS256 {SECRET}\n"), Rules::default()).expect("valid")
}

#[test]
fn each_kind_of_key_proves_its_own_tokens_from_pem_and_from_a_set() {
    let issuers = [Issuer::rsa(), Issuer::ec(), Issuer::ed()];
    let all = set(&["rsa", "ec", "ed"].map(|id| match id {
        "rsa" => issuers[0].jwk(id),
        "ec" => issuers[1].jwk(id),
        _ => issuers[2].jwk(id),
    }));
    for (issuer, id) in issuers.iter().zip(["rsa", "ec", "ed"]) {
        let alone = Keys::parse(&issuer.public_pem, Rules::default()).expect(id);
        for (keys, id) in [(&alone, None), (&alone, Some("any")), (&all, Some(id)), (&all, None)] {
            let identity = keys.identify(&issuer.token(id, &claims()), now()).expect("good");
            assert_eq!(identity.subject.to_string(), "sensor");
            assert_eq!(identity.scopes.to_string(), "listen:users");
            assert_eq!(
                identity.expires,
                Some(WallTime::from_nanos((NOW_S + 60) * 1_000_000_000))
            );
        }
    }
    assert!(
        shared()
            .identify(&Issuer::shared().token(None, &claims()), now())
            .is_ok()
    );
    let text = json!({ "kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY" }).to_string();
    let oct = Keys::parse(&text, Rules::default()).expect("valid");
    assert!(oct.identify(&Issuer::shared().token(None, &claims()), now()).is_ok());
}

#[test]
fn tokens_are_of_one_somebody_by_their_subject_and_without_one_each_is_its_own() {
    let of = |more: Value| {
        let mut claims = json!({ "exp": NOW_S + 60, "scope": "listen:users" });
        claims
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let token = Issuer::shared().token(None, &claims);
        shared().identify(&token, now()).expect("good").subject
    };
    let check =
        |one: Value, other: Value, same: bool| assert_eq!(of(one.clone()) == of(other.clone()), same, "{one} {other}");
    check(
        json!({ "sub": "a", "jti": "1" }),
        json!({ "sub": "a", "jti": "2" }),
        true,
    );
    check(json!({ "sub": "a" }), json!({ "sub": "b" }), false);
    check(
        json!({ "sub": "a", "iss": "x" }),
        json!({ "sub": "a", "iss": "x" }),
        true,
    );
    check(
        json!({ "sub": "a", "iss": "x" }),
        json!({ "sub": "a", "iss": "y" }),
        false,
    );
    check(json!({ "sub": "a", "iss": "x" }), json!({ "sub": "a" }), false);
    check(json!({ "jti": "1" }), json!({ "jti": "2" }), false);
    check(json!({ "jti": "1" }), json!({ "jti": "1" }), true);
    check(
        json!({ "iss": "x", "jti": "1" }),
        json!({ "iss": "x", "jti": "2" }),
        false,
    );
    assert_eq!(of(json!({})).to_string(), "a token without a name");
}

#[test]
fn e1_a_token_that_asks_for_no_proof_is_refused() {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let head = part(&json!({ "alg": algorithm, "typ": "JWT" }));
        for signature in ["", "AAAA"] {
            let token = format!("{head}.{}.{signature}", part(&claims()));
            assert_eq!(shared().identify(&token, now()), Err(JwtError::Shape), "{algorithm}");
        }
    }
}

#[test]
fn e2_a_public_key_is_no_secret() {
    let rsa = Issuer::rsa();
    let pem = Keys::parse(&rsa.public_pem, Rules::default()).expect("valid");
    let jwks = set(&[rsa.jwk("rsa")]);
    // Whatever form of the public key is used as the secret.
    let der = DecodingKey::from_rsa_pem(rsa.public_pem.as_bytes()).expect("a public key");
    let forms = [
        rsa.public_pem.as_bytes().to_vec(),
        rsa.public_pem.trim().as_bytes().to_vec(),
        der.try_get_as_bytes().expect("DER").to_vec(),
        rsa.jwk("rsa").to_string().into_bytes(),
    ];
    for secret in forms {
        let forger = Issuer {
            algorithm: Algorithm::HS256,
            signs: EncodingKey::from_secret(&secret),
            public_pem: String::new(),
        };
        for keys in [&pem, &jwks] {
            for id in [None, Some("rsa")] {
                assert_eq!(
                    keys.identify(&forger.token(id, &claims()), now()),
                    Err(JwtError::Algorithm)
                );
            }
        }
    }
    // Nor is any other algorithm of the same key taken.
    let other = Issuer {
        algorithm: Algorithm::RS512,
        ..rsa
    };
    assert_eq!(
        pem.identify(&other.token(None, &claims()), now()),
        Err(JwtError::Algorithm)
    );
}

#[test]
fn e3_a_key_that_is_not_here_proves_nothing() {
    let (one, two) = (Issuer::ec(), Issuer::ec());
    let keys = set(&[one.jwk("one"), two.jwk("two")]);
    assert!(keys.identify(&two.token(Some("two"), &claims()), now()).is_ok());
    for id in ["three", "", "One", "../one", "one'--"] {
        let token = one.token(Some(id), &claims());
        assert_eq!(keys.identify(&token, now()), Err(JwtError::UnknownKey), "{id}");
    }
    assert_eq!(
        keys.identify(&one.token(None, &claims()), now()),
        Err(JwtError::NoKeyNamed)
    );
    assert_eq!(
        keys.identify(&one.token(Some("two"), &claims()), now()),
        Err(JwtError::Signature)
    );
    let alone = Keys::parse(&Issuer::ec().public_pem, Rules::default()).expect("valid");
    assert_eq!(
        alone.identify(&one.token(None, &claims()), now()),
        Err(JwtError::Signature)
    );
}

#[test]
fn e10_a_key_that_is_named_goes_before_any_number_of_others_without_a_name() {
    let (old, older, new) = (Issuer::ec(), Issuer::ec(), Issuer::ec());
    let unnamed = |issuer: &Issuer| {
        let mut key = issuer.jwk("x");
        key.as_object_mut().expect("a key").remove("kid");
        key
    };
    let keys = set(&[unnamed(&old), unnamed(&older), new.jwk("new")]);
    assert!(keys.identify(&new.token(Some("new"), &claims()), now()).is_ok());
    // Of several without a name none is meant.
    let token = old.token(Some("old"), &claims());
    assert_eq!(keys.identify(&token, now()), Err(JwtError::NoKeyNamed));
    let keys = set(&[unnamed(&old), new.jwk("new")]);
    assert!(keys.identify(&token, now()).is_ok());
}

#[track_caller]
fn check(claims: &Value, rules: Rules, expect: Result<(), JwtError>) {
    let keys = Keys { rules, ..shared() };
    let found = keys.identify(&Issuer::shared().token(None, claims), now());
    assert_eq!(found.map(|_| ()), expect, "{claims}");
}

#[test]
fn e4_a_token_is_good_from_its_beginning_to_its_end_give_or_take_thirty_seconds() {
    let at = |exp: i64, nbf: i64| json!({ "exp": NOW_S + exp, "nbf": NOW_S + nbf });
    let any = Rules::default;
    check(&at(60, 0), any(), Ok(()));
    check(&at(1, -1), any(), Ok(()));
    check(&at(-29, 0), any(), Ok(()));
    check(&at(-30, 0), any(), Err(JwtError::Expired { ago_s: 30 }));
    check(&at(-3600, 0), any(), Err(JwtError::Expired { ago_s: 3600 }));
    check(&at(60, 30), any(), Ok(()));
    check(&at(60, 31), any(), Err(JwtError::NotYet { in_s: 31 }));
    // Fractions of a second are allowed (RFC 7519 section 2).
    check(&json!({ "exp": NOW_S as f64 - 29.5 }), any(), Ok(()));
    check(
        &json!({ "exp": NOW_S as f64 - 30.5 }),
        any(),
        Err(JwtError::Expired { ago_s: 30 }),
    );
    // Farther than any clock goes.
    check(&json!({ "exp": 1e300 }), any(), Ok(()));
}

#[test]
fn e5_a_token_for_others_or_from_others_is_refused() {
    let rules = |audiences: &[&str], issuers: &[&str]| Rules {
        audiences: audiences.iter().map(|&name| name.to_owned()).collect(),
        issuers: issuers.iter().map(|&name| name.to_owned()).collect(),
    };
    let token = |aud: Value, iss: Value| {
        let mut claims = claims();
        for (name, value) in [("aud", aud), ("iss", iss)] {
            if !value.is_null() {
                claims[name] = value;
            }
        }
        claims
    };
    let none = Value::Null;
    for (aud, good) in [
        (json!("feed"), true),
        (json!(["other", "feed"]), true),
        (json!("other"), false),
        (json!(["other"]), false),
        (json!([]), false),
        (json!("Feed"), false),
        (none.clone(), false),
    ] {
        let expect = if good { Ok(()) } else { Err(JwtError::Audience) };
        check(&token(aud, none.clone()), rules(&["feed", "feed2"], &[]), expect);
    }
    // Who was told no name of its own is nobody's audience (RFC 7519 section 4.1.3).
    check(
        &token(json!("feed"), none.clone()),
        rules(&[], &[]),
        Err(JwtError::Audience),
    );
    for (iss, good) in [(json!("us"), true), (json!("them"), false), (none.clone(), false)] {
        let expect = if good { Ok(()) } else { Err(JwtError::Issuer) };
        check(&token(none.clone(), iss), rules(&[], &["us"]), expect);
    }
}

#[test]
fn e6_a_claim_of_the_wrong_type_is_refused_and_not_taken_for_none() {
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(null)),
        ("exp", json!(true)),
        ("exp", json!([9_999_999_999_u64])),
        ("exp", json!(-1)),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
        ("scope", json!(["listen:users"])),
        ("scope", json!(null)),
        ("sub", json!(5)),
        ("iss", json!(["us"])),
        ("aud", json!(5)),
        ("aud", json!(null)),
        ("aud", json!([5])),
    ] {
        let mut claims = claims();
        claims[name] = value;
        check(&claims, Rules::default(), Err(JwtError::Claims));
    }
    check(&json!({ "sub": "sensor" }), Rules::default(), Err(JwtError::Claims));
    check(&json!(["exp"]), Rules::default(), Err(JwtError::Claims));
}

#[test]
fn e6_a_number_beyond_all_numbers_and_a_claim_that_is_given_twice_are_refused() {
    for claims in [
        "{\"exp\":1e400}",
        "{\"exp\":9999999999,\"nbf\":-1e400}",
        "{\"exp\":9999999999,\"exp\":9999999999}",
        "{\"exp\":NaN}",
        "{\"exp\":9999999999",
    ] {
        assert_eq!(
            shared().identify(&signed(claims), now()),
            Err(JwtError::Claims),
            "{claims}"
        );
    }
    assert!(shared().identify(&signed("{\"exp\":9999999999}"), now()).is_ok());
}

/// A token with claims that no JSON library would write.
fn signed(claims: &str) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"HS256\"}"),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signs = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &signs, Algorithm::HS256).expect("it signs");
    format!("{text}.{signature}")
}

#[test]
fn what_is_no_token_is_refused_whatever_it_is() {
    let good = Issuer::shared().token(None, &claims());
    assert!(shared().identify(&good, now()).is_ok());
    for at in 0..good.len() {
        assert!(shared().identify(&good[..at], now()).is_err(), "cut at {at}");
    }
    for wrong in [
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        &format!("{good}."),
        &format!("{good}A"),
        &format!(".{good}"),
    ] {
        assert!(shared().identify(wrong, now()).is_err(), "{wrong}");
    }
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let critical = encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).expect("it signs");
    assert_eq!(shared().identify(&critical, now()), Err(JwtError::Critical));
}

#[test]
fn a_file_without_keys_for_us_says_why() {
    let refused = |text: &str| Keys::parse(text, Rules::default()).expect_err(text);
    assert_eq!(refused(""), KeyError::Unknown);
    assert_eq!(refused("0123456789abcdef0123456789abcdef"), KeyError::Unknown);
    assert_eq!(
        refused("HS256 two words, and thirty-two bytes of them"),
        KeyError::Unknown
    );
    assert_eq!(
        refused(&format!("HS256 {}", &SECRET[1..])),
        KeyError::Short { bytes: 31 }
    );
    assert_eq!(refused("{\"keys\":\nx}"), KeyError::Json { line: 2 });
    assert_eq!(refused("{\"keys\":5}"), KeyError::NoKeys);
    assert_eq!(refused("{\"keys\":[]}"), KeyError::NoKeys);
    let pair = KeyPair::generate().expect("a key");
    assert_eq!(refused(&pair.serialize_pem()), KeyError::Private);
    let longer = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    assert_eq!(refused(&longer.public_key_pem()), KeyError::Pem);
    assert_eq!(
        refused("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"),
        KeyError::Pem
    );
    let key = Issuer::ec().jwk("one");
    let twice = json!({ "keys": [key, key] }).to_string();
    assert_eq!(refused(&twice), KeyError::Twice { nth: 2 });
    let many = json!({ "keys": vec![&key; KEYS_MAX + 1] }).to_string();
    assert_eq!(refused(&many), KeyError::TooMany { count: 101 });
}

#[test]
fn keys_for_other_purposes_are_passed_over() {
    let ours = Issuer::ec();
    let mut encrypts = Issuer::rsa().jwk("enc");
    encrypts["use"] = json!("enc");
    let mut longer = Issuer::rsa().jwk("rs512");
    longer["alg"] = json!("RS512");
    let keys = set(&[json!({ "kty": "new", "kid": "x" }), encrypts, longer, ours.jwk("ours")]);
    assert_eq!(keys.len(), 1);
    assert!(keys.identify(&ours.token(Some("ours"), &claims()), now()).is_ok());
    let most: Vec<_> = (0..KEYS_MAX).map(|n| ours.jwk(&n.to_string())).collect();
    assert_eq!(set(&most).len(), KEYS_MAX);
}

#[test]
fn a_key_that_was_taken_out_upholds_nothing() {
    let (old, new) = (Issuer::ed(), Issuer::ed());
    let both = set(&[old.jwk("old"), new.jwk("new")]);
    let identity = both.identify(&old.token(Some("old"), &claims()), now()).expect("good");
    let Proof::Key(digest) = identity.proof else {
        panic!("{identity:?}")
    };
    assert!(both.has(digest));
    assert!(!set(&[new.jwk("new")]).has(digest));
}
