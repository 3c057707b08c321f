//! Which protocol a datagram speaks, from its first bytes (RFC 7983 §7).

use crate::telemetry::DropReason;

/// The protocols that share one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A STUN message (RFC 8489).
    Stun,
    /// One or more DTLS records (RFC 6347).
    Dtls,
    /// An SRTP packet (RFC 3711).
    Rtp,
    /// An SRTCP packet (RFC 3711).
    Rtcp,
}

/// A STUN header (RFC 8489 §5).
const STUN_HEADER: usize = 20;
/// A DTLS 1.2 record header (RFC 6347 §4.1); DTLS 1.3's shorter one starts at 32 too.
const DTLS_HEADER: usize = 13;
/// A fixed RTP header (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;
/// An RTCP header with the sender's SSRC (RFC 3550 §6.4), the part that SRTCP leaves in the
/// clear, and the SRTCP index behind it (RFC 3711 §3.4).
const RTCP_HEADER: usize = 8 + 4;

/// The protocol of a datagram, or why it is none that is spoken here.
pub fn classify(bytes: &[u8]) -> Result<Class, DropReason> {
    let Some(&first) = bytes.first() else {
        return Err(DropReason::UnknownProtocol);
    };
    match first {
        0..=3 if bytes.len() < STUN_HEADER => Err(DropReason::MalformedStun),
        0..=3 => Ok(Class::Stun),
        20..=63 if bytes.len() < DTLS_HEADER => Err(DropReason::MalformedDtls),
        20..=63 => Ok(Class::Dtls),
        128..=191 => match bytes.get(1) {
            // RFC 5761 §4: payload types 64 to 95 are not used for RTP, so that with
            // the marker bit they can't be taken for RTCP types 192 to 223.
            Some(192..=223) if bytes.len() < RTCP_HEADER => Err(DropReason::MalformedRtcp),
            Some(192..=223) => Ok(Class::Rtcp),
            _ if bytes.len() < RTP_HEADER => Err(DropReason::MalformedRtp),
            _ => Ok(Class::Rtp),
        },
        // ZRTP (16..=19) and TURN channels (64..=79) are never negotiated.
        _ => Err(DropReason::UnknownProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning() {
        for first in 0..=255u8 {
            let mut bytes = [0; 40];
            bytes[0] = first;
            let wanted = match first {
                0..=3 => Ok(Class::Stun),
                20..=63 => Ok(Class::Dtls),
                128..=191 => Ok(Class::Rtp),
                _ => Err(DropReason::UnknownProtocol),
            };
            assert_eq!(classify(&bytes), wanted, "{first}");
        }
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        for second in 0..=255u8 {
            let mut bytes = [0; 40];
            bytes[..2].copy_from_slice(&[0x80, second]);
            let wanted = if (192..=223).contains(&second) {
                Class::Rtcp
            } else {
                Class::Rtp
            };
            assert_eq!(classify(&bytes), Ok(wanted), "{second}");
        }
    }

    #[test]
    fn too_short_for_its_header_is_malformed() {
        let cases: [(&[u8], usize, DropReason); 4] = [
            (&[0, 1], 20, DropReason::MalformedStun),
            (&[22, 254], 13, DropReason::MalformedDtls),
            (&[0x80, 96], 12, DropReason::MalformedRtp),
            (&[0x80, 200], 12, DropReason::MalformedRtcp),
        ];
        for (start, needed, reason) in cases {
            let mut bytes = start.to_vec();
            bytes.resize(needed - 1, 0);
            assert_eq!(classify(&bytes), Err(reason));
            bytes.push(0);
            assert!(classify(&bytes).is_ok());
        }
        assert_eq!(classify(&[]), Err(DropReason::UnknownProtocol));
        assert_eq!(classify(&[0x80]), Err(DropReason::MalformedRtp));
    }
}
