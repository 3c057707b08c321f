//! What all answers of a worker have in common, written once.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use super::candidate;
use super::types::Fingerprint;

/// Server facts that every answer of one worker shares, as SDP writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerContext {
    /// The `a=fingerprint` line.
    pub(super) fingerprint: String,
    /// The `a=candidate` lines and `a=end-of-candidates`.
    pub(super) candidates: String,
    /// The port of the default candidate (RFC 8839 §4.3.1), in digits.
    pub(super) port: String,
    /// The `c=` line with its address.
    pub(super) connection: String,
}

impl AnswerContext {
    /// The facts: our DTLS certificate's SHA-256 fingerprint, UDP host candidates, most wanted
    /// first (IPv4 first), and ICE-TCP passive candidates (RFC 6544), after the UDP ones.
    /// The default candidate is the first; without any it is port 9 and no address.
    pub fn new(fingerprint: &Fingerprint, udp: &[SocketAddr], tcp: &[SocketAddr]) -> Self {
        let mut candidates = String::new();
        candidate::write_local(&mut candidates, udp, tcp);
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9));
        let default = udp.first().copied().unwrap_or(nowhere);
        let family = if default.is_ipv4() { "IP4" } else { "IP6" };
        Self {
            fingerprint: fingerprint_line(fingerprint),
            candidates,
            port: default.port().to_string(),
            connection: format!("c=IN {family} {}\r\n", default.ip()),
        }
    }
}

/// Upper-case hexadecimal pairs (RFC 8122 §5).
fn fingerprint_line(fingerprint: &Fingerprint) -> String {
    let mut out = format!("a=fingerprint:{}", fingerprint.algorithm);
    for (index, byte) in fingerprint.bytes.iter().enumerate() {
        let separator = if index == 0 { ' ' } else { ':' };
        let _ = write!(out, "{separator}{byte:02X}");
    }
    out.push_str("\r\n");
    out
}
