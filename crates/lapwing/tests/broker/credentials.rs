//! Credentials as NATS has them: an operator, an account and a user, each a key that signs the next, made anew for a story.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The kinds of keys, as the first byte of a key's name.
const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;

/// The first byte of a seed, beside its kind.
const SEED: u8 = 18 << 3;

/// What a server must know, and what a client shows it.
pub struct Credentials {
    /// Lines of a server's configuration.
    pub configuration: String,
    /// A `.creds` file.
    pub file: String,
    token: String,
    user: Key,
}

impl Credentials {
    /// New ones, which nothing but this story knows.
    pub fn new() -> Self {
        let (operator, system) = (Key::new(OPERATOR), Key::new(ACCOUNT));
        let (account, user) = (Key::new(ACCOUNT), Key::new(USER));
        let own = operator.claims(&operator, "stage", &json!({"type": "operator", "version": 2}));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let of_account = json!({"type": "account", "version": 2, "limits": limits});
        let of_account = operator.claims(&account, "stage", &of_account);
        // JetStream talks to itself in an account of its own.
        let of_system = json!({"type": "account", "version": 2, "limits": {"subs": -1, "data": -1, "payload": -1,
            "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1}});
        let of_system = operator.claims(&system, "system", &of_system);
        let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let token = account.claims(&user, "lapwing", &of_user);
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed_name()
        );
        let configuration = format!(
            "operator: {own}\nsystem_account: {1}\nresolver: MEMORY\nresolver_preload: {{ {0}: {of_account}, {1}: {of_system} }}",
            account.name(),
            system.name()
        );
        Self {
            configuration,
            file,
            token,
            user,
        }
    }

    /// What a client shows to a server that greets it so.
    pub fn options(&self, greeting: &Value) -> Value {
        let nonce = greeting["nonce"].as_str().expect("a server that asks for a signature");
        json!({"jwt": self.token, "sig": URL_SAFE_NO_PAD.encode(self.user.pair.sign(nonce.as_bytes()))})
    }
}

struct Key {
    kind: u8,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(kind: u8) -> Self {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).expect("the system has chance");
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed");
        Self { kind, seed, pair }
    }

    fn name(&self) -> String {
        named(&[self.kind], self.pair.public_key().as_ref())
    }

    fn seed_name(&self) -> String {
        named(&[SEED | self.kind >> 5, (self.kind & 31) << 3], &self.seed)
    }

    /// What this key says of another.
    fn claims(&self, of: &Self, name: &str, nats: &Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("it is later")
            .as_secs();
        let subject = of.name();
        let claims = json!({
            "jti": subject, "iat": now, "iss": self.name(), "name": name, "sub": subject, "nats": nats,
        });
        let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// A key as text: what it is, the key, and a checksum, in base 32.
fn named(kind: &[u8], key: &[u8]) -> String {
    let mut bytes = [kind, key].concat();
    bytes.extend(crc16(&bytes).to_le_bytes());
    base32(&bytes)
}

/// CRC-16 as XMODEM has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// RFC 4648 section 6, without padding.
fn base32(bytes: &[u8]) -> String {
    let bits = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|place| (0..5).fold(0, |digit, bit| digit << 1 | bits(place + bit)))
        .map(|digit| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(digit)]))
        .collect()
}
