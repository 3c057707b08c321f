//! What a client needs of the server's description.

use std::net::{IpAddr, SocketAddr};

use crate::wire::stun::Role;
use crate::wire::transport::{Credentials, Remote};

/// Why a description can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no SDP.
    #[error("the answer is not SDP")]
    NotSdp,
    /// An attribute is missing or malformed.
    #[error("the answer has no usable {0}")]
    Missing(&'static str),
    /// Every section was refused.
    #[error("the answer refuses every section")]
    Refused,
    /// The server's offer has nothing that we can take.
    #[error("the offer has no {0}")]
    Nothing(&'static str),
}

/// Reads an answer to an offer of ours.
pub fn parse(text: &str) -> Result<Remote, AnswerError> {
    read(text, Role::Controlling)
}

/// Reads a description of the server's, whose offer or answer it may be. All
/// sections are bundled, so the first value of each attribute counts, wherever it
/// stands.
pub(super) fn read(text: &str, role: Role) -> Result<Remote, AnswerError> {
    if !text.starts_with("v=0") {
        return Err(AnswerError::NotSdp);
    }
    let (mut fragment, mut password, mut fingerprint, mut setup) = (None, None, None, None);
    let mut candidates: Vec<(u32, SocketAddr)> = Vec::new();
    let (mut sections, mut refused, mut lite) = (0, 0, false);
    for line in text.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            sections += 1;
            refused += usize::from(media.split(' ').nth(1) == Some("0"));
        } else if let Some(v) = line.strip_prefix("a=ice-ufrag:") {
            fragment.get_or_insert(v);
        } else if let Some(v) = line.strip_prefix("a=ice-pwd:") {
            password.get_or_insert(v);
        } else if let Some(v) = line.strip_prefix("a=setup:") {
            setup.get_or_insert(v);
        } else if line == "a=ice-lite" {
            lite = true;
        } else if let Some(v) = line.strip_prefix("a=fingerprint:") {
            if let Some(hash) = sha256(v) {
                fingerprint.get_or_insert(hash);
            }
        } else if let Some(v) = line.strip_prefix("a=candidate:")
            && let Some(found) = candidate(v)
            && !candidates.iter().any(|(_, a)| *a == found.1)
        {
            candidates.push(found);
        }
    }
    if sections > 0 && refused == sections {
        return Err(AnswerError::Refused);
    }
    let we_are_client = match (setup, role) {
        // Who may choose opens the handshake (RFC 8842 §5.3).
        (Some("passive"), _) | (Some("actpass"), Role::Controlled) => true,
        (Some("active"), _) => false,
        _ => return Err(AnswerError::Missing("a=setup")),
    };
    if candidates.is_empty() {
        return Err(AnswerError::Missing("UDP candidate"));
    }
    candidates.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Ok(Remote {
        credentials: Credentials {
            fragment: fragment
                .ok_or(AnswerError::Missing("a=ice-ufrag"))?
                .to_owned(),
            password: password
                .ok_or(AnswerError::Missing("a=ice-pwd"))?
                .to_owned(),
        },
        fingerprint: fingerprint.ok_or(AnswerError::Missing("SHA-256 fingerprint"))?,
        we_are_client,
        // A lite agent never controls (RFC 8445 §6.1.1).
        role: if lite { Role::Controlling } else { role },
        candidates: candidates.into_iter().map(|(_, a)| a).collect(),
    })
}

fn sha256(value: &str) -> Option<Vec<u8>> {
    let (algorithm, hex) = value.trim().split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let bytes: Option<Vec<u8>> = hex
        .trim()
        .split(':')
        .map(|h| u8::from_str_radix(h, 16).ok())
        .collect();
    bytes.filter(|b| b.len() == 32)
}

/// UDP candidates of the first component; names, TCP and link-local addresses,
/// which need a zone, are skipped.
fn candidate(value: &str) -> Option<(u32, SocketAddr)> {
    let mut words = value.split_whitespace().skip(1);
    if words.next()? != "1" || !words.next()?.eq_ignore_ascii_case("udp") {
        return None;
    }
    let priority = words.next()?.parse().ok()?;
    let ip: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let usable = match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    usable.then(|| (priority, SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
        a=fingerprint:SHA-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n\
        a=setup:passive\r\na=candidate:1 1 tcp 9 10.0.0.1 1 typ host tcptype passive\r\n\
        a=candidate:1 1 udp 5 10.0.0.1 7000 typ host\r\na=candidate:2 1 UDP 9 10.0.0.2 7001 typ host\r\n\
        a=candidate:3 2 UDP 99 10.0.0.3 7002 typ host\r\na=candidate:4 1 UDP 99 x.local 7002 typ host\r\n\
        a=candidate:5 1 UDP 7 fd00::2 7003 typ host\r\na=candidate:6 1 UDP 99 fe80::2 7003 typ host\r\n";

    #[test]
    fn reads_what_counts() {
        let remote = parse(ANSWER).unwrap();
        assert_eq!(remote.credentials.fragment, "u");
        assert_eq!(remote.credentials.password, "p");
        assert_eq!(remote.fingerprint[31], 0xFF);
        assert!(remote.we_are_client);
        let expected: Vec<SocketAddr> = vec![
            "10.0.0.2:7001".parse().unwrap(),
            "[fd00::2]:7003".parse().unwrap(),
            "10.0.0.1:7000".parse().unwrap(),
        ];
        assert_eq!(remote.candidates, expected);
        assert_eq!(remote.role, Role::Controlling);
    }

    #[test]
    fn the_offerer_controls_unless_it_is_lite() {
        let offer = ANSWER.replace("passive\r\na=c", "actpass\r\na=c");
        let remote = read(&offer, Role::Controlled).unwrap();
        assert!(remote.we_are_client);
        assert_eq!(remote.role, Role::Controlled);
        let lite = offer.replace("v=0\r\n", "v=0\r\na=ice-lite\r\n");
        let remote = read(&lite, Role::Controlled).unwrap();
        assert_eq!(remote.role, Role::Controlling);
        assert_eq!(parse(&offer), Err(AnswerError::Missing("a=setup")));
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(parse("<html>"), Err(AnswerError::NotSdp));
        for (line, error) in [
            ("a=ice-ufrag:u\r\n", AnswerError::Missing("a=ice-ufrag")),
            ("a=setup:passive\r\n", AnswerError::Missing("a=setup")),
        ] {
            assert_eq!(parse(&ANSWER.replace(line, "")), Err(error));
        }
        let refused = ANSWER.replace("m=audio 9", "m=audio 0");
        assert_eq!(parse(&refused), Err(AnswerError::Refused));
    }
}
