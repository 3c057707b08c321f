//! Trickle or restart: what a PATCH means, by `If-Match` and ICE credentials
//! (RFC 9725 §4.3.1).

use axum::http::{HeaderMap, header};

use crate::control::IceGeneration;
use crate::peer::negotiate::IceCredentials;

/// What `If-Match` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// The field is missing.
    Missing,
    /// `*`, also in quotes, as some clients send it.
    Any,
    /// Strong entity tags, with their quotes.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Reads the field. Weak tags are left out, because they match nothing in
    /// a strong comparison (RFC 9110 §13.1.1).
    pub fn read(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(header::IF_MATCH).iter().peekable();
        if fields.peek().is_none() {
            return Self::Missing;
        }
        let mut tags = Vec::new();
        for field in fields {
            for tag in field.to_str().unwrap_or_default().split(',') {
                match tag.trim() {
                    "*" | "\"*\"" => return Self::Any,
                    "" => {}
                    weak if weak.starts_with("W/") => {}
                    tag => tags.push(tag.to_owned()),
                }
            }
        }
        Self::Tags(tags)
    }

    fn names(&self, tag: &str) -> bool {
        match self {
            Self::Missing => false,
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|t| t == tag),
        }
    }
}

/// What a PATCH means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Candidates of the present ICE session.
    Trickle,
    /// A new ICE session.
    Restart,
    /// It concerns an ICE session that is over: 412.
    Stale,
    /// It must say which ICE session it concerns: 428.
    NeedsIfMatch,
}

/// Decides by the credentials, because `*` proves nothing: a common client
/// sends it with plain candidates too.
///
/// - Credentials of an earlier generation are stale whatever `If-Match` says.
/// - A tag that does not match is stale.
/// - New credentials mean a restart, which needs `If-Match`.
/// - Without `If-Match`, the present credentials prove as much as the tag,
///   unless `strict`.
pub fn meaning(
    if_match: &IfMatch,
    credentials: Option<&IceCredentials>,
    ice: &IceGeneration,
    strict: bool,
) -> Meaning {
    if let Some(credentials) = credentials
        && *credentials != ice.remote
        && ice.former.contains(credentials)
    {
        return Meaning::Stale;
    }
    let current = credentials.map(|credentials| *credentials == ice.remote);
    match (if_match, current) {
        (IfMatch::Missing, Some(true)) if !strict => Meaning::Trickle,
        (IfMatch::Missing, _) => Meaning::NeedsIfMatch,
        (field, _) if !field.names(ice.tag.as_str()) => Meaning::Stale,
        (_, Some(false)) => Meaning::Restart,
        (_, Some(true) | None) => Meaning::Trickle,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::control::EntityTag;

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials {
            ufrag: name.into(),
            pwd: format!("{name}-password-of-some-length"),
        }
    }

    fn generation() -> IceGeneration {
        IceGeneration {
            tag: EntityTag::random().unwrap(),
            remote: credentials("now"),
            former: [credentials("old")].into(),
        }
    }

    fn field(value: &str) -> IfMatch {
        let value = HeaderValue::from_str(value).unwrap();
        IfMatch::read(&HeaderMap::from_iter([(header::IF_MATCH, value)]))
    }

    #[test]
    fn the_field_is_read_in_all_its_forms() {
        assert_eq!(IfMatch::read(&HeaderMap::new()), IfMatch::Missing);
        assert_eq!(field("*"), IfMatch::Any);
        assert_eq!(field("\"*\""), IfMatch::Any);
        assert_eq!(
            field("\"a\", W/\"b\",\"c\""),
            IfMatch::Tags(vec!["\"a\"".into(), "\"c\"".into()])
        );
        assert_eq!(field("W/\"a\""), IfMatch::Tags(Vec::new()));
    }

    #[test]
    fn what_a_patch_means() {
        use Meaning::{NeedsIfMatch, Restart, Stale, Trickle};
        let ice = generation();
        let tag = field(ice.tag.as_str());
        let wrong = field("\"wrong\"");
        let (now, old, new) = (credentials("now"), credentials("old"), credentials("new"));
        let (missing, any) = (IfMatch::Missing, IfMatch::Any);
        for (if_match, given, lenient, strict) in [
            (&missing, Some(&now), Trickle, NeedsIfMatch),
            (&missing, Some(&new), NeedsIfMatch, NeedsIfMatch),
            (&missing, Some(&old), Stale, Stale),
            (&missing, None, NeedsIfMatch, NeedsIfMatch),
            (&any, Some(&now), Trickle, Trickle),
            (&any, Some(&new), Restart, Restart),
            (&any, Some(&old), Stale, Stale),
            (&any, None, Trickle, Trickle),
            (&tag, Some(&now), Trickle, Trickle),
            (&tag, Some(&new), Restart, Restart),
            (&tag, Some(&old), Stale, Stale),
            (&tag, None, Trickle, Trickle),
            (&wrong, Some(&now), Stale, Stale),
            (&wrong, Some(&new), Stale, Stale),
            (&wrong, None, Stale, Stale),
        ] {
            assert_eq!(
                meaning(if_match, given, &ice, false),
                lenient,
                "{if_match:?} {given:?}"
            );
            assert_eq!(
                meaning(if_match, given, &ice, true),
                strict,
                "{if_match:?} {given:?}"
            );
        }
    }
}
