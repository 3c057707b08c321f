//! The peer's half of the transport: ICE credentials (RFC 8839), certificate
//! fingerprint (RFC 8122) and DTLS role (RFC 8842).

use super::error::NegotiateError;
use super::syntax::Section;
use super::types::{Fingerprint, IceCredentials};

/// What the tagged section says about the peer's transport.
pub(super) struct RemoteTransport {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    /// We send the ClientHello.
    pub dtls_active: bool,
}

/// Reads the transport from the BUNDLE-tagged section (RFC 9143 §7.1.3), which
/// `order` has first. Clients that write an attribute only elsewhere are met by
/// asking the other sections in turn. The peer's candidates are of no use to a lite agent.
pub(super) fn read(order: &[Section<'_>]) -> Result<RemoteTransport, NegotiateError> {
    let tagged = order.first().ok_or(NegotiateError::NoMedia)?;
    let first = |name: &'static str| order.iter().find_map(|s| s.inherited(name));

    let (ufrag, pwd) = order
        .iter()
        .find_map(|s| Some((s.inherited("ice-ufrag")?, s.inherited("ice-pwd")?)))
        .ok_or(NegotiateError::MissingIce)?;
    let bad = |why: &str| NegotiateError::BadAttribute {
        place: tagged.label(),
        why: why.to_owned(),
    };
    let ice = credentials(ufrag, pwd).map_err(bad)?;

    let fingerprint = order
        .iter()
        .map(|s| s.inherited_values("fingerprint"))
        .find(|list| !list.is_empty())
        .ok_or(NegotiateError::MissingFingerprint)
        .and_then(|list| choose_fingerprint(&list, tagged))?;

    // Without a=setup the peer leaves the choice to us, like actpass (RFC 8842 §5.2).
    let dtls_active = match first("setup").unwrap_or("actpass") {
        "actpass" | "active" => false,
        "passive" => true,
        _ => return Err(bad("a=setup is none of actpass, active and passive")),
    };

    Ok(RemoteTransport {
        ice,
        fingerprint,
        dtls_active,
    })
}

/// Checks ICE credentials (RFC 8839 §5.4): 4 to 256 and 22 to 256 ICE
/// characters. `-`, `_` and `=` are let through since some stacks draw from
/// base64; a colon is not, as it parts the two halves of a STUN user name.
pub(super) fn credentials(ufrag: &str, pwd: &str) -> Result<IceCredentials, &'static str> {
    let clean = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b))
    };
    if !(4..=256).contains(&ufrag.len()) || !clean(ufrag) {
        return Err("a=ice-ufrag must have 4 to 256 letters, digits, + or /");
    }
    if !(22..=256).contains(&pwd.len()) || !clean(pwd) {
        return Err("a=ice-pwd must have 22 to 256 letters, digits, + or /");
    }
    Ok(IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
    })
}

/// The SHA-256 fingerprint among `values`: what every WebRTC stack offers, and
/// what the DTLS layer compares certificates by.
fn choose_fingerprint(
    values: &[&str],
    section: &Section<'_>,
) -> Result<Fingerprint, NegotiateError> {
    let mut others = Vec::new();
    for value in values {
        let (algorithm, digest) = value.split_once(' ').unwrap_or((value, ""));
        if !algorithm.eq_ignore_ascii_case("sha-256") {
            others.push(algorithm.chars().take(16).collect::<String>());
            continue;
        }
        let bytes: Option<Vec<u8>> = digest
            .trim()
            .split(':')
            .map(|pair| {
                (pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then(|| u8::from_str_radix(pair, 16).ok())
                    .flatten()
            })
            .collect();
        return match bytes {
            Some(bytes) if bytes.len() == 32 => Ok(Fingerprint {
                algorithm: "sha-256".to_owned(),
                bytes,
            }),
            _ => Err(NegotiateError::BadAttribute {
                place: section.label(),
                why: "a=fingerprint sha-256 is not 32 hexadecimal pairs".to_owned(),
            }),
        };
    }
    others.truncate(8);
    Err(NegotiateError::UnsupportedFingerprint {
        offered: others.join(", "),
    })
}
