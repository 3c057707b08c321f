//! Names of sessions that nobody can guess.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;

/// Random bytes behind the part of a session id that goes into logs.
const LOG_BYTES: usize = 6;
/// Random bytes behind the secret part: 144 bits, above the 122 that RFC 9725 §5 hints at by naming UUIDv4.
const SECRET_BYTES: usize = 18;
/// Characters of a session id that may go into logs.
pub const LOG_CHARS: usize = LOG_BYTES * 4 / 3;
/// Random bytes of an entity tag.
const TAG_BYTES: usize = 12;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// A session's public id: whoever knows it may change and end the session.
///
/// Its first eight characters may be logged and shown ([`SessionId::log_id`]);
/// the other 24 (144 random bits) are the capability.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A fresh id from the operating system's random source.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self(random_text::<{ LOG_BYTES + SECRET_BYTES }>()?.into()))
    }

    /// The id as it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The harmless part, for logs and the API.
    pub fn log_id(&self) -> Arc<str> {
        self.0.get(..LOG_CHARS).unwrap_or_default().into()
    }
}

impl From<&str> for SessionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Shows only the harmless part, so that no id leaks by a debug print.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}…)", self.log_id())
    }
}

/// A strong, quoted entity tag that names one ICE session (RFC 9725 §4.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(Arc<str>);

impl EntityTag {
    /// A fresh tag.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self(format!("\"{}\"", random_text::<TAG_BYTES>()?).into()))
    }

    /// The tag with its quotes, as in the `ETag` field.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `N` random bytes, url-safe.
pub(crate) fn random_text<const N: usize>() -> Result<String, NoRandomness> {
    let mut bytes = [0u8; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_long_url_safe_and_never_repeat() {
        let ids: HashSet<String> = (0..10_000)
            .map(|_| SessionId::random().unwrap().as_str().to_owned())
            .collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            assert_eq!(id.len(), 32);
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            );
        }
    }

    #[test]
    fn the_log_id_leaves_the_secret_part_out() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.log_id().len(), 8);
        assert!(id.as_str().starts_with(&*id.log_id()));
        assert!(!format!("{id:?}").contains(&id.as_str()[8..]));
    }

    #[test]
    fn an_outside_id_of_any_length_has_a_log_id() {
        assert_eq!(&*SessionId::from("ab").log_id(), "");
        assert_eq!(&*SessionId::from("").log_id(), "");
    }

    #[test]
    fn entity_tags_are_strong_and_quoted() {
        let tag = EntityTag::random().unwrap();
        assert!(tag.as_str().starts_with('"') && tag.as_str().ends_with('"'));
        assert_ne!(tag, EntityTag::random().unwrap());
    }
}
