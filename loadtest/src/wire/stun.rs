//! The STUN messages of an ICE agent (RFC 8489, RFC 8445).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

const MAGIC: u32 = 0x2112_A442;
const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// Priority a host candidate's peer-reflexive twin would have (RFC 8445 §5.1.2.1).
const PEER_REFLEXIVE_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// A transaction's random id.
pub type TransactionId = [u8; 12];

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A connectivity check, and whether it nominates its pair (RFC 8445 §8.1.1).
    Request(TransactionId, bool),
    /// The answer to one.
    Success(TransactionId),
    /// A refusal of one.
    Error(TransactionId),
}

/// Our role towards the other agent (RFC 8445 §6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We choose the pair.
    Controlling,
    /// The other end does.
    Controlled,
}

/// A check, which also nominates its pair if told so (RFC 8445 §7.1, §8.1.1).
pub fn binding_request(
    id: TransactionId,
    username: &str,
    password: &str,
    (role, tie): (Role, u64),
    nominate: bool,
) -> Vec<u8> {
    let mut m = begin(BINDING_REQUEST, id);
    attribute(&mut m, USERNAME, username.as_bytes());
    attribute(&mut m, PRIORITY, &PEER_REFLEXIVE_PRIORITY.to_be_bytes());
    let attribute_of_role = match role {
        Role::Controlling => ICE_CONTROLLING,
        Role::Controlled => ICE_CONTROLLED,
    };
    attribute(&mut m, attribute_of_role, &tie.to_be_bytes());
    if nominate {
        attribute(&mut m, USE_CANDIDATE, &[]);
    }
    finish(m, password)
}

/// The answer to a check that came from `from`.
pub fn binding_success(id: TransactionId, from: SocketAddr, password: &str) -> Vec<u8> {
    let mut m = begin(BINDING_SUCCESS, id);
    let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&(from.port() ^ (MAGIC >> 16) as u16).to_be_bytes());
    match from.ip() {
        IpAddr::V4(ip) => value.extend_from_slice(&(u32::from(ip) ^ MAGIC).to_be_bytes()),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
            mask[4..].copy_from_slice(&id);
            value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b));
        }
    }
    attribute(&mut m, XOR_MAPPED_ADDRESS, &value);
    finish(m, password)
}

/// Reads a message and checks its integrity under `password`. `None` for
/// anything that is not a STUN binding message protected with it.
pub fn parse(data: &[u8], password: &str) -> Option<Message> {
    let header = data.get(..HEADER)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[4..8] != MAGIC.to_be_bytes() || data.len() != HEADER + len {
        return None;
    }
    let id: TransactionId = header[8..20].try_into().ok()?;
    let mut at = HEADER;
    let mut nominates = false;
    loop {
        let head = data.get(at..at + 4)?;
        let attribute = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = data.get(at + 4..at + 4 + len)?;
        if attribute == MESSAGE_INTEGRITY {
            // The length field counts up to and including this attribute (RFC 8489 §14.5).
            let mut covered = data[..at].to_vec();
            covered[2..4].copy_from_slice(&((at - HEADER + 24) as u16).to_be_bytes());
            hmac::verify(&key(password), &covered, value).ok()?;
            return match kind {
                BINDING_REQUEST => Some(Message::Request(id, nominates)),
                BINDING_SUCCESS => Some(Message::Success(id)),
                BINDING_ERROR => Some(Message::Error(id)),
                _ => None,
            };
        }
        nominates |= attribute == USE_CANDIDATE;
        at += 4 + len.next_multiple_of(4);
    }
}

fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

fn begin(kind: u16, id: TransactionId) -> Vec<u8> {
    let mut m = Vec::with_capacity(128);
    m.extend_from_slice(&kind.to_be_bytes());
    m.extend_from_slice(&[0, 0]);
    m.extend_from_slice(&MAGIC.to_be_bytes());
    m.extend_from_slice(&id);
    m
}

fn attribute(m: &mut Vec<u8>, kind: u16, value: &[u8]) {
    m.extend_from_slice(&kind.to_be_bytes());
    m.extend_from_slice(&(value.len() as u16).to_be_bytes());
    m.extend_from_slice(value);
    m.resize(m.len().next_multiple_of(4), 0);
}

fn set_len(m: &mut [u8], len: usize) {
    m[2..4].copy_from_slice(&((len - HEADER) as u16).to_be_bytes());
}

fn finish(mut m: Vec<u8>, password: &str) -> Vec<u8> {
    let len = m.len() + 24;
    set_len(&mut m, len);
    let tag = hmac::sign(&key(password), &m);
    attribute(&mut m, MESSAGE_INTEGRITY, tag.as_ref());
    let len = m.len() + 8;
    set_len(&mut m, len);
    let crc = crc32(&m) ^ 0x5354_554E;
    attribute(&mut m, FINGERPRINT, &crc.to_be_bytes());
    m
}

/// CRC-32 of ITU V.42, bit by bit: only a few hundred bytes a second pass here.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_known_answer() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_request_reads_back_only_with_its_password() {
        let id = [7; 12];
        for nominate in [true, false] {
            let role = (Role::Controlling, 1);
            let m = binding_request(id, "them:us", "secretsecretsecretsecret", role, nominate);
            assert_eq!(
                parse(&m, "secretsecretsecretsecret"),
                Some(Message::Request(id, nominate))
            );
        }
        let role = (Role::Controlled, 1);
        let m = binding_request(id, "them:us", "secretsecretsecretsecret", role, false);
        assert_eq!(parse(&m, "another"), None);
        let mut damaged = m.clone();
        damaged[25] ^= 1;
        assert_eq!(parse(&damaged, "secretsecretsecretsecret"), None);
    }

    /// RFC 5769 §2.2: a success response with a known password.
    #[test]
    fn rfc_5769_response() {
        let m = [
            0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
            0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
            0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
            0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99,
            0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b,
            0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
        ];
        let id = m[8..20].try_into().unwrap();
        assert_eq!(
            parse(&m, "VOkJxbRl1RmTxUk/WvJxBt"),
            Some(Message::Success(id))
        );
    }

    #[test]
    fn cut_messages_are_refused() {
        let m = binding_request([1; 12], "a:b", "p", (Role::Controlling, 1), false);
        for len in 0..m.len() {
            assert_eq!(parse(&m[..len], "p"), None);
        }
    }
}
