//! JSON Web Tokens (RFC 7519), and the keys that prove them.
//!
//! The kind of a key decides the algorithm, never the token: RS256 for RSA, ES256 for P-256, EdDSA for Ed25519, HS256 for a
//! shared secret. So a token cannot make a public key a secret, nor ask for no proof at all (RFC 8725 sections 2.1, 3.1).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use lapwing_wire::time::WallTime;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use super::LEEWAY_S;
use super::identity::{Identity, Proof, Subject};
use super::scope::Scopes;
use super::token::Digest;

/// The keys of a file, and what tokens must say beside a good signature.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keys: Vec<Key>,
    rules: Rules,
}

/// What a token must say.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// One of these must be among its `aud`; without any here, a token that names an audience is for somebody else (RFC 7519
    /// section 4.1.3).
    pub audiences: Vec<String>,
    /// Its `iss` must be one of these; without any here it may be anyone.
    pub issuers: Vec<String>,
}

#[derive(Clone)]
struct Key {
    /// The name by which tokens ask for it; one without a name is asked for by none in particular.
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    digest: Digest,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.id, self.algorithm)
    }
}

impl Keys {
    /// Parses a file: a set of keys or one key in JSON (RFC 7517), a public key in PEM, or the line `HS256 SECRET`.
    pub fn parse(text: &str, rules: Rules) -> Result<Self, KeyError> {
        let text = text.trim();
        let keys = match text.as_bytes().first() {
            Some(b'{') => of_json(text)?,
            _ if text.starts_with("-----BEGIN") => vec![of_pem(text)?],
            _ => vec![of_secret(text)?],
        };
        for (at, key) in keys.iter().enumerate() {
            let same = |other: &&Key| other.id.is_some() && other.id == key.id && other.algorithm == key.algorithm;
            if keys[..at].iter().any(|other| same(&other)) {
                return Err(KeyError::Twice { nth: at + 1 });
            }
        }
        Ok(Self { keys, rules })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key with this digest is among them.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.keys.iter().any(|key| key.digest == digest)
    }

    /// Who a token speaks of, if it is good at `now`.
    pub fn identify(&self, token: &str, now: WallTime) -> Result<Identity, JwtError> {
        let header = decode_header(token).map_err(|_| JwtError::Shape)?;
        if header.crit.is_some() {
            // Whatever it is, it must be understood, and is not (RFC 7515 section 4.1.11).
            return Err(JwtError::Critical);
        }
        let key = self.choose(header.alg, header.kid.as_deref())?;
        // Signature and algorithm are the library's to judge; claims are judged here, where the time is an argument.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|error| match error.kind() {
            ErrorKind::Json(_) => JwtError::Claims,
            ErrorKind::InvalidAlgorithm => JwtError::Algorithm,
            _ => JwtError::Signature,
        })?;
        let claims = claims.claims;
        claims.check(&self.rules, now)?;
        Ok(Identity {
            expires: Some(claims.expires()),
            scopes: Scopes::of_claim(claims.scope.as_deref().unwrap_or_default()),
            subject: match claims.sub {
                Some(subject) => Subject::Jwt {
                    subject: subject.into(),
                    issuer: claims.iss.map(Into::into),
                },
                // Without its signature, of which several may fit the same claims.
                None => Subject::Nameless(Digest::of(token.rsplit_once('.').unwrap_or_default().0.as_bytes())),
            },
            proof: Proof::Key(key.digest),
        })
    }

    /// The key that a token asks for. One that names none fits only a file with one key for its algorithm.
    fn choose(&self, algorithm: Algorithm, id: Option<&str>) -> Result<&Key, JwtError> {
        let of_kind: Vec<&Key> = self.keys.iter().filter(|key| key.algorithm == algorithm).collect();
        if of_kind.is_empty() {
            return Err(JwtError::Algorithm);
        }
        // A key of that name goes before those without one.
        let named = id.and_then(|asked| of_kind.iter().find(|key| key.id.as_deref() == Some(asked)));
        if let Some(key) = named {
            return Ok(key);
        }
        let mut fitting = of_kind.into_iter().filter(|key| id.is_none() || key.id.is_none());
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(JwtError::NoKeyNamed),
            (None, _) => Err(JwtError::UnknownKey),
        }
    }
}

/// What a token says. A claim of another type than this is a mistake, never one that is not there.
#[derive(Deserialize)]
struct Claims {
    /// Seconds since 1970, fractions allowed (NumericDate, RFC 7519 section 2).
    exp: f64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A claim that is there has a value of its type: null is none.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Claims {
    fn check(&self, rules: &Rules, now: WallTime) -> Result<(), JwtError> {
        let now = now.nanos() as f64 / 1e9;
        let leeway = LEEWAY_S as f64;
        if !(self.exp.is_finite() && self.exp >= 0.0) {
            return Err(JwtError::Claims);
        }
        // "On or after" its end it must not be accepted (RFC 7519 section 4.1.4).
        if now >= self.exp + leeway {
            return Err(JwtError::Expired {
                ago_s: (now - self.exp) as u64,
            });
        }
        if let Some(begin) = self.nbf.filter(|begin| now + leeway < *begin) {
            return Err(JwtError::NotYet {
                in_s: (begin - now).ceil() as u64,
            });
        }
        let is_ours = |name: &String| rules.audiences.contains(name);
        let heard = match &self.aud {
            None => rules.audiences.is_empty(),
            Some(Audience::One(name)) => is_ours(name),
            Some(Audience::Many(names)) => names.iter().any(is_ours),
        };
        if !heard {
            return Err(JwtError::Audience);
        }
        let trusted =
            rules.issuers.is_empty() || self.iss.as_ref().is_some_and(|issuer| rules.issuers.contains(issuer));
        if trusted { Ok(()) } else { Err(JwtError::Issuer) }
    }

    fn expires(&self) -> WallTime {
        // What lies behind the end of the clock never comes.
        WallTime::from_nanos((self.exp * 1e9).min(i64::MAX as f64) as i64)
    }
}

fn of_json(text: &str) -> Result<Vec<Key>, KeyError> {
    let value: Value = serde_json::from_str(text).map_err(|error| KeyError::Json { line: error.line() })?;
    let found = match value.get("keys") {
        Some(Value::Array(keys)) => keys.clone(),
        Some(_) => return Err(KeyError::NoKeys),
        None => vec![value],
    };
    if found.len() > KEYS_MAX {
        return Err(KeyError::TooMany { count: found.len() });
    }
    let alone = found.len() == 1;
    let mut keys = Vec::new();
    for (at, value) in found.into_iter().enumerate() {
        let nth = at + 1;
        let digest = Digest::of(value.to_string().as_bytes());
        // Keys for other purposes stand beside those for signatures, and are passed over (RFC 7517 section 5).
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
            if alone {
                return Err(KeyError::Unreadable { nth });
            }
            continue;
        };
        let Some(algorithm) = algorithm(&jwk) else { continue };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::Unreadable { nth })?;
        if let AlgorithmParameters::OctetKey(_) = &jwk.algorithm {
            long_enough(key.try_get_as_bytes().map_or(0, <[u8]>::len))?;
        }
        keys.push(Key {
            id: jwk.common.key_id,
            algorithm,
            key,
            digest,
        });
    }
    if keys.is_empty() {
        Err(KeyError::NoKeys)
    } else {
        Ok(keys)
    }
}

/// The one algorithm that a key is for, if it is one of ours.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        _ => return None,
    };
    jwk.common
        .key_algorithm
        .is_none_or(|said| said == name)
        .then_some(algorithm)
}

fn of_pem(text: &str) -> Result<Key, KeyError> {
    if text.contains("PRIVATE KEY") {
        return Err(KeyError::Private);
    }
    let bytes = text.as_bytes();
    let (algorithm, key) = DecodingKey::from_rsa_pem(bytes)
        .map(|key| (Algorithm::RS256, key))
        .or_else(|_| DecodingKey::from_ec_pem(bytes).map(|key| (Algorithm::ES256, key)))
        .or_else(|_| DecodingKey::from_ed_pem(bytes).map(|key| (Algorithm::EdDSA, key)))
        .map_err(|_| KeyError::Pem)?;
    // A point of P-256 that is not compressed; longer ones are of other curves.
    if algorithm == Algorithm::ES256 && key.try_get_as_bytes().map_or(0, <[u8]>::len) != P256_POINT_BYTES {
        return Err(KeyError::Pem);
    }
    Ok(Key {
        id: None,
        algorithm,
        key,
        digest: Digest::of(bytes),
    })
}

/// A secret says that it is one: otherwise any other file, a public key in a form that is not known here, would be taken for
/// a secret that everybody knows.
fn of_secret(text: &str) -> Result<Key, KeyError> {
    let secret = text.strip_prefix("HS256 ").ok_or(KeyError::Unknown)?.trim();
    if secret.contains(char::is_whitespace) {
        return Err(KeyError::Unknown);
    }
    long_enough(secret.len())?;
    Ok(Key {
        id: None,
        algorithm: Algorithm::HS256,
        key: DecodingKey::from_secret(secret.as_bytes()),
        digest: Digest::of(text.as_bytes()),
    })
}

/// A secret as long as the hash, or longer (RFC 7518 section 3.2).
fn long_enough(bytes: usize) -> Result<(), KeyError> {
    if bytes < SECRET_BYTES_MIN {
        return Err(KeyError::Short { bytes });
    }
    Ok(())
}

/// Why a file has no keys. Nothing of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It begins as JSON, and is none.
    #[error("line {line} is no JSON")]
    Json {
        /// Where it goes wrong, from 1.
        line: usize,
    },
    /// No key in it is of use.
    #[error("it holds no key for RS256 (RSA), ES256 (P-256), EdDSA (Ed25519) or HS256 (oct)")]
    NoKeys,
    /// More than anybody has.
    #[error("it holds {count} keys, at most {KEYS_MAX} are taken")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A key that is none.
    #[error("key {nth} of it cannot be read")]
    Unreadable {
        /// Which, from 1.
        nth: usize,
    },
    /// Two of a name.
    #[error("key {nth} of it has the same kid as one before it")]
    Twice {
        /// The second of them, from 1.
        nth: usize,
    },
    /// What only the issuer should have.
    #[error("it holds a private key; this server needs the public one, and nobody else should have the other")]
    Private,
    /// PEM of something else.
    #[error("it holds no public key of RSA, P-256 or Ed25519 in PEM form (-----BEGIN PUBLIC KEY-----)")]
    Pem,
    /// A secret that could be guessed.
    #[error("its secret has {bytes} bytes, at least {SECRET_BYTES_MIN} are needed (RFC 7518 section 3.2)")]
    Short {
        /// How many.
        bytes: usize,
    },
    /// Neither of the forms.
    #[error("it is neither a set of keys in JSON, nor a public key in PEM form, nor a line HS256 SECRET")]
    Unknown,
}

/// Why a token is not good; goes on behind "the token".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JwtError {
    /// It is no JWT, or asks for no signature.
    #[error("cannot be read as a JWT with a signature of RS256, ES256, EdDSA or HS256")]
    Shape,
    /// It asks for something that is not there.
    #[error("has an extension (crit) that is not known here")]
    Critical,
    /// No key here is for its algorithm.
    #[error("is signed with an algorithm that no key here is for")]
    Algorithm,
    /// Its key is not here.
    #[error("names a key (kid) that is not known here")]
    UnknownKey,
    /// It names no key, and there are several.
    #[error("names no key (kid), and there are several here")]
    NoKeyNamed,
    /// The signature is not right.
    #[error("has a signature that does not fit")]
    Signature,
    /// A claim is missing or has the wrong type.
    #[error("has claims that cannot be read: exp is needed, exp and nbf are numbers, scope, sub and iss strings")]
    Claims,
    /// It is over.
    #[error("expired {ago_s} s ago")]
    Expired {
        /// How long ago, in seconds.
        ago_s: u64,
    },
    /// It has not begun.
    #[error("is not valid yet, but in {in_s} s")]
    NotYet {
        /// How long it will be, in seconds.
        in_s: u64,
    },
    /// It is for somebody else.
    #[error("is meant for another audience (aud)")]
    Audience,
    /// It is from somebody else.
    #[error("is from another issuer (iss)")]
    Issuer,
}

/// Of one file.
const KEYS_MAX: usize = 100;
/// The length of a hash of HS256.
const SECRET_BYTES_MIN: usize = 32;
const P256_POINT_BYTES: usize = 65;

#[cfg(test)]
mod tests;
