//! Where a token stands in a request: one header, one offer of a subprotocol, or a ticket in the URL.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lapwing_wire::control::TOKEN_PROTOCOL;
use lapwing_wire::secret::Secret;
use thiserror::Error;

/// What a request shows to say who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Token(Secret),
    /// A ticket that was given for a token, for one use.
    Ticket(Secret),
}

/// What of a request may hold a credential.
#[derive(Clone, Copy, Default)]
pub struct Places<'a> {
    /// Each `Authorization` header; none for one that is no text.
    pub authorization: &'a [Option<&'a str>],
    /// `Sec-WebSocket-Protocol`, several joined with commas. Empty where nothing is upgraded.
    pub protocols: &'a str,
    /// `ticket=` of the query. Only a stream has one.
    pub ticket: Option<&'a Secret>,
}

impl Credential {
    /// Finds the one credential of a request, if there is any.
    pub fn find(places: Places<'_>) -> Result<Option<Self>, CredentialError> {
        let mut found = Vec::new();
        for header in places.authorization {
            found.push(Self::Token(bearer(header.unwrap_or(""))?));
        }
        for offer in places.protocols.split(',') {
            if let Some(encoded) = offer.trim().strip_prefix(TOKEN_PROTOCOL) {
                found.push(Self::Token(offered(encoded)?));
            }
        }
        found.extend(places.ticket.cloned().map(Self::Ticket));
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.pop()),
            count => Err(CredentialError::Several { count }),
        }
    }
}

/// The token of an `Authorization` header (RFC 6750 section 2.1).
fn bearer(header: &str) -> Result<Secret, CredentialError> {
    let (scheme, token) = header.trim().split_once(' ').ok_or(CredentialError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(CredentialError::Scheme);
    }
    checked(token.trim_start())
}

fn offered(encoded: &str) -> Result<Secret, CredentialError> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| CredentialError::Base64)?;
    checked(std::str::from_utf8(&bytes).map_err(|_| CredentialError::Characters)?)
}

/// A token of the characters that a token may have (`b64token`, RFC 6750 section 2.1), and no longer than one is.
pub fn checked(token: &str) -> Result<Secret, CredentialError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Long { bytes: token.len() });
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    match !token.is_empty() && token.bytes().all(allowed) {
        true => Ok(Secret::new(token)),
        false => Err(CredentialError::Characters),
    }
}

/// Why a credential cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// More than one.
    #[error("{count} tokens or tickets in one request, one is enough")]
    Several {
        /// How many.
        count: usize,
    },
    /// `Authorization` of another kind.
    #[error("this server takes a bearer token: Authorization: Bearer TOKEN")]
    Scheme,
    /// An offer that cannot be decoded.
    #[error("the token behind {TOKEN_PROTOCOL} is not in base64url without padding")]
    Base64,
    /// What no token has.
    #[error("the token has characters that no token has")]
    Characters,
    /// More than a token needs.
    #[error("the token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are taken")]
    Long {
        /// How many.
        bytes: usize,
    },
}

impl CredentialError {
    /// 400 where the request itself is wrong (RFC 6750 section 3.1), otherwise 401.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Several { .. } => 400,
            Self::Scheme | Self::Base64 | Self::Characters | Self::Long { .. } => 401,
        }
    }
}

/// Of a token, in bytes; a request's whole head has at most 16 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        authorization: &[Option<&str>],
        protocols: &str,
        ticket: Option<&str>,
        expect: Result<Option<&str>, CredentialError>,
    ) {
        let ticket = ticket.map(Secret::new);
        let found = Credential::find(Places {
            authorization,
            protocols,
            ticket: ticket.as_ref(),
        });
        let found = found.map(|found| {
            found.map(|found| match found {
                Credential::Token(token) => token.reveal().to_owned(),
                Credential::Ticket(ticket) => format!("ticket {}", ticket.reveal()),
            })
        });
        assert_eq!(
            found,
            expect.map(|text| text.map(str::to_owned)),
            "{authorization:?} {protocols}"
        );
    }

    #[test]
    fn a_token_stands_in_a_header_or_an_offer_and_a_ticket_in_the_url() {
        check(&[], "", None, Ok(None));
        check(&[], "lapwing.v1, lapwing.plain", None, Ok(None));
        check(&[Some("Bearer a.b-c_~+/=")], "lapwing.v1", None, Ok(Some("a.b-c_~+/=")));
        check(&[Some("bearer  abc ")], "", None, Ok(Some("abc")));
        check(&[], "lapwing.v1,lapwing.token.YS5i", None, Ok(Some("a.b")));
        check(&[], " lapwing.token.YS5i , lapwing.plain", None, Ok(Some("a.b")));
        check(&[], "", Some("t1"), Ok(Some("ticket t1")));
    }

    #[test]
    fn what_is_no_credential_is_told_and_not_taken_for_none() {
        for wrong in [None, Some(""), Some("Bearer"), Some("abc"), Some("Basic YTpi")] {
            check(&[wrong], "", None, Err(CredentialError::Scheme));
        }
        for wrong in ["Bearer a b", "Bearer ä", "Bearer a,b", "Bearer \"a\""] {
            check(&[Some(wrong)], "", None, Err(CredentialError::Characters));
        }
        check(&[], "lapwing.token.YS5i=", None, Err(CredentialError::Base64));
        check(&[], "lapwing.token.", None, Err(CredentialError::Characters));
        check(&[], "lapwing.token._w", None, Err(CredentialError::Characters));
        let two = Err(CredentialError::Several { count: 2 });
        check(&[Some("Bearer a"), Some("Bearer a")], "", None, two);
        check(&[Some("Bearer a")], "lapwing.token.YQ", None, two);
        check(&[Some("Bearer a")], "", Some("t1"), two);
        check(&[], "lapwing.token.YQ,lapwing.token.YQ", None, two);
    }

    #[test]
    fn e7_a_token_at_the_limit_and_one_byte_longer() {
        let token = "x".repeat(TOKEN_BYTES_MAX);
        check(&[Some(&format!("Bearer {token}"))], "", None, Ok(Some(&token)));
        let bytes = TOKEN_BYTES_MAX + 1;
        check(
            &[Some(&format!("Bearer x{token}"))],
            "",
            None,
            Err(CredentialError::Long { bytes }),
        );
    }
}
