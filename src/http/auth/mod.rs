//! Who is calling, and what they may do.
//!
//! A request carries a token (a JWT in LiveKit's access-token form), a stream
//! key, or, on an open server, nothing that counts. [`Authenticator`] turns it
//! into an [`Access`], which answers every later question.

mod access;
mod claims;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use crate::config::Config;

pub use access::{Access, Denied};
pub use claims::{Claims, TrackSource, VideoGrant};

/// How far clocks may be apart when `exp` and `nbf` are judged, in seconds.
const LEEWAY: u64 = 10;

/// Longer credentials are refused unread; LiveKit's tokens are below 1 KiB
/// unless they carry a lot of metadata.
const MAX_CREDENTIAL: usize = 8 * 1024;

/// Why a caller is not known (401).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing was sent.
    #[error("this server needs a token or a stream key: send it as `Authorization: Bearer ...`")]
    Missing,
    /// What was sent is neither a stream key nor a token that was signed with a known key.
    #[error("the token is not valid: {why}")]
    Invalid {
        /// What is wrong, for whoever sent it; never the token.
        why: &'static str,
    },
    /// The token's `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The token's `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The server is open because only its own machine reaches it, and a proxy that the
    /// configuration does not name brought the request (403).
    #[error(
        "this server is open to its own machine only, and a proxy brought this request: name the proxy in \
         http.trusted_proxies and configure auth.keys, or write auth.mode = \"open\""
    )]
    Proxied,
}

impl AuthError {
    /// The value of `WWW-Authenticate` in the 401 (RFC 6750 §3): a request
    /// without credentials gets no error code, one with bad ones `invalid_token`.
    pub fn www_authenticate(&self) -> String {
        match self {
            Self::Missing | Self::Proxied => "Bearer realm=\"weir\"".to_owned(),
            other => format!(
                "Bearer realm=\"weir\", error=\"invalid_token\", error_description=\"{other}\""
            ),
        }
    }
}

/// Verifies tokens and stream keys.
pub struct Authenticator {
    open: bool,
    keys: HashMap<String, DecodingKey>,
    stream_keys: Vec<([u8; 32], Arc<Access>)>,
    open_access: Arc<Access>,
}

impl Authenticator {
    /// An authenticator for the keys and the mode of a configuration.
    pub fn from_config(config: &Config) -> Self {
        Self {
            open: config.open_access(),
            keys: config
                .auth
                .keys
                .iter()
                .map(|(name, secret)| {
                    let key = DecodingKey::from_secret(secret.expose().as_bytes());
                    (name.clone(), key)
                })
                .collect(),
            stream_keys: config
                .auth
                .stream_keys
                .iter()
                .map(|key| (sha256(key.key.expose()), Arc::new(Access::stream_key(key))))
                .collect(),
            open_access: Arc::new(Access::everything()),
        }
    }

    /// Everybody may do everything, and credentials are ignored.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Who sends this `Authorization` value (the header's whole value). A bare
    /// key or token without `Bearer` is taken too, as some players send it.
    /// On an open server the value is ignored: some send `Bearer undefined`.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Arc<Access>, AuthError> {
        if self.open {
            return Ok(Arc::clone(&self.open_access));
        }
        let credential = credential(authorization.unwrap_or_default())?;
        if credential.len() > MAX_CREDENTIAL {
            return Err(AuthError::Invalid { why: "too long" });
        }
        match self.find_stream_key(credential) {
            Some(access) => Ok(access),
            None => self.verify(credential).map(Arc::new),
        }
    }

    /// Looks at every key, so that the time taken tells nothing; digests, so
    /// that the length tells nothing either.
    fn find_stream_key(&self, credential: &str) -> Option<Arc<Access>> {
        let given = sha256(credential);
        let mut found = None;
        for (digest, access) in &self.stream_keys {
            if verify_slices_are_equal(digest, &given).is_ok() {
                found = Some(access);
            }
        }
        found.cloned()
    }

    fn verify(&self, token: &str) -> Result<Access, AuthError> {
        let invalid = |why| AuthError::Invalid { why };
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| invalid("neither a known stream key nor a token"))?;
        if header.alg != Algorithm::HS256 {
            return Err(invalid("signed with another algorithm than HS256"));
        }
        // Only `iss` is read before the signature is verified: it names the key.
        let issuer: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| invalid("no issuer (iss)"))?;
        let key = self
            .keys
            .get(&issuer.iss)
            .ok_or_else(|| invalid("its issuer (iss) is not an API key of this server"))?;

        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        // LiveKit's tokens have no audience; one that is there concerns others.
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => AuthError::Expired,
                ErrorKind::ImmatureSignature => AuthError::NotYetValid,
                ErrorKind::InvalidSignature => invalid("wrong signature"),
                ErrorKind::MissingRequiredClaim(_) => invalid("no end of validity (exp)"),
                _ => invalid("malformed"),
            })?
            .claims;
        if claims.video.room_join && claims.sub.is_empty() {
            return Err(invalid("roomJoin without an identity (sub)"));
        }
        Ok(Access::token(claims))
    }
}

#[derive(serde::Deserialize)]
struct Issuer {
    iss: String,
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes
        .iter_mut()
        .zip(digest(&SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    bytes
}

/// The credential in an `Authorization` value; the scheme's case does not
/// matter (RFC 9110 §11.1).
fn credential(authorization: &str) -> Result<&str, AuthError> {
    let text = authorization.trim();
    let credential = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        Some(_) => {
            return Err(AuthError::Invalid {
                why: "the scheme is not Bearer",
            });
        }
        None if text.eq_ignore_ascii_case("bearer") => "",
        None => text,
    };
    if credential.is_empty() {
        return Err(AuthError::Missing);
    }
    Ok(credential)
}

/// Signs a token with an API key that is good from now on for `ttl`.
///
/// # Errors
/// Only when the cryptographic library refuses.
pub fn mint(
    key: &str,
    secret: &str,
    mut claims: Claims,
    ttl: Duration,
) -> Result<String, jsonwebtoken::errors::Error> {
    let now = jsonwebtoken::get_current_timestamp();
    claims.iss = key.to_owned();
    claims.nbf = Some(now);
    claims.exp = now.saturating_add(ttl.as_secs());
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
}
