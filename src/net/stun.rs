//! STUN: read a message without allocating, check its integrity, answer it, and ask
//! a STUN server (RFC 8489, RFC 8445 §7).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

use super::path::unmapped;
use crate::telemetry::DropReason;

const HEADER: usize = 20;
const MAGIC: [u8; 4] = 0x2112_A442u32.to_be_bytes();
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;

/// A message longer than this is no connectivity check.
const MAX_MESSAGE: usize = 1500;
/// RFC 8489 §14.3: a user name is shorter than 509 bytes.
const MAX_USERNAME: usize = 508;
/// So many unknown attributes of a request are listed in its answer.
const MAX_UNKNOWN: usize = 8;
/// STUN 420 Unknown Attribute (RFC 8489 §14.8).
pub const UNKNOWN_ATTRIBUTE: u16 = 420;

/// A STUN message whose attributes were walked once.
#[derive(Debug, Clone, Copy)]
pub struct StunView<'a> {
    bytes: &'a [u8],
    kind: u16,
    username: Option<&'a [u8]>,
    /// Where MESSAGE-INTEGRITY starts.
    integrity_at: Option<usize>,
    fingerprint: bool,
    priority: Option<u32>,
    use_candidate: bool,
    controlled: bool,
    /// Attributes that this server must understand and does not (RFC 8489 §6.3.1).
    unknown: [u16; MAX_UNKNOWN],
    unknown_count: usize,
}

impl<'a> StunView<'a> {
    /// Reads a whole datagram. A message whose lengths don't fit, whose known attributes
    /// have a wrong size, or whose FINGERPRINT is wrong is
    /// [`MalformedStun`](DropReason::MalformedStun).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(bytes).ok_or(DropReason::MalformedStun)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let kind = read_u16(bytes, 0)?;
        let length = usize::from(read_u16(bytes, 2)?);
        if kind >= 0x4000
            || length % 4 != 0
            || bytes.len() != HEADER + length
            || bytes.len() > MAX_MESSAGE
            || bytes.get(4..8)? != MAGIC
        {
            return None;
        }
        let mut view = Self {
            bytes,
            kind,
            username: None,
            integrity_at: None,
            fingerprint: false,
            priority: None,
            use_candidate: false,
            controlled: false,
            unknown: [0; MAX_UNKNOWN],
            unknown_count: 0,
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let attribute = read_u16(bytes, at)?;
            let length = usize::from(read_u16(bytes, at + 2)?);
            let value = bytes.get(at + 4..at + 4 + length)?;
            let next = at + 4 + length.next_multiple_of(4);
            if next > bytes.len() || view.fingerprint {
                // FINGERPRINT is the last attribute (RFC 8489 §14.7).
                return None;
            }
            view.attribute(attribute, value, at)?;
            at = next;
        }
        Some(view)
    }

    fn attribute(&mut self, attribute: u16, value: &'a [u8], at: usize) -> Option<()> {
        let sized = |wanted: usize| (value.len() == wanted).then_some(());
        // Behind MESSAGE-INTEGRITY only FINGERPRINT counts (RFC 8489 §14.5).
        if self.integrity_at.is_some() && attribute != FINGERPRINT {
            return Some(());
        }
        match attribute {
            USERNAME => {
                if value.len() > MAX_USERNAME || std::str::from_utf8(value).is_err() {
                    return None;
                }
                self.username.get_or_insert(value);
            }
            MESSAGE_INTEGRITY => {
                sized(20)?;
                self.integrity_at = Some(at);
            }
            FINGERPRINT => {
                let given = u32::from_be_bytes(value.try_into().ok()?);
                if given != fingerprint(self.bytes.get(..at)?, at + 8 - HEADER) {
                    return None;
                }
                self.fingerprint = true;
            }
            PRIORITY => {
                self.priority = Some(u32::from_be_bytes(value.try_into().ok()?));
            }
            USE_CANDIDATE => {
                sized(0)?;
                self.use_candidate = true;
            }
            ICE_CONTROLLED => {
                sized(8)?;
                self.controlled = true;
            }
            ICE_CONTROLLING => {
                sized(8)?;
            }
            // The other attributes of RFC 8489 §18.3 that a request may carry.
            0x0001
            | ERROR_CODE
            | UNKNOWN_ATTRIBUTES
            | 0x0014
            | 0x0015
            | 0x001C..=0x001E
            | XOR_MAPPED_ADDRESS => {}
            required if required < 0x8000 => {
                if let Some(place) = self.unknown.get_mut(self.unknown_count) {
                    *place = required;
                    self.unknown_count += 1;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// A Binding request (RFC 8489 §3).
    pub fn is_binding_request(&self) -> bool {
        self.kind == BINDING_REQUEST
    }

    /// The 96-bit transaction id.
    pub fn transaction(&self) -> [u8; 12] {
        let mut id = [0; 12];
        if let Some(bytes) = self.bytes.get(8..HEADER) {
            id.copy_from_slice(bytes);
        }
        id
    }

    /// The user name of a check, as (our fragment, the peer's fragment): RFC 8445 §7.2.2.
    pub fn ufrags(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|c| *c == b':')?;
        Some((username.get(..colon)?, username.get(colon + 1..)?))
    }

    /// The message carries a FINGERPRINT, and it is right.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// The request nominates its pair (RFC 8445 §7.2.2).
    pub fn nominates(&self) -> bool {
        self.use_candidate
    }

    /// The priority that a candidate found by this check would have (RFC 8445 §7.1.1).
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// The sender believes that it is the controlled agent (RFC 8445 §7.1.3).
    pub fn claims_controlled(&self) -> bool {
        self.controlled
    }

    /// The attributes that must be known to act on the message and are not, the first eight
    /// of them: a request is then answered with [`UNKNOWN_ATTRIBUTE`] (RFC 8489 §6.3.1).
    pub fn unknown_required(&self) -> &[u16] {
        self.unknown.get(..self.unknown_count).unwrap_or_default()
    }

    /// Checks MESSAGE-INTEGRITY with a password (RFC 8489 §9.1.3, short-term credentials).
    pub fn verify_integrity(&self, password: &[u8]) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let (Some(covered), Some(given)) = (self.bytes.get(..at), self.bytes.get(at + 4..at + 24))
        else {
            return false;
        };
        let wanted = integrity(covered, password);
        aws_lc_rs::constant_time::verify_slices_are_equal(&wanted, given).is_ok()
    }
}

/// A success response to a Binding request: XOR-MAPPED-ADDRESS, then with a password
/// MESSAGE-INTEGRITY, then FINGERPRINT if the request has one or integrity is used
/// (RFC 8445 §7.3). The length, or `None` when `out` is too small (84 bytes always do).
pub fn binding_success(
    request: &StunView<'_>,
    mapped: SocketAddr,
    password: Option<&[u8]>,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::start(out, BINDING_SUCCESS, request.transaction())?;
    writer.xor_address(mapped, request.transaction())?;
    if let Some(password) = password {
        writer.integrity(password)?;
    }
    if password.is_some() || request.has_fingerprint() {
        writer.fingerprint()?;
    }
    Some(writer.at)
}

/// An error response to a Binding request with a code of 400 to 499 and an empty reason, so
/// that it is no longer than it must be; with 420 the attributes that are not known.
/// MESSAGE-INTEGRITY and FINGERPRINT as in [`binding_success`]. `None` for another code or when `out` is too small.
pub fn binding_error(
    request: &StunView<'_>,
    code: u16,
    password: Option<&[u8]>,
    out: &mut [u8],
) -> Option<usize> {
    if !(400..500).contains(&code) {
        return None;
    }
    let mut writer = Writer::start(out, BINDING_ERROR, request.transaction())?;
    writer.attribute(ERROR_CODE, &[0, 0, 4, (code - 400) as u8])?;
    if code == UNKNOWN_ATTRIBUTE {
        writer.unknown_attributes(request.unknown_required())?;
    }
    if let Some(password) = password {
        writer.integrity(password)?;
    }
    if password.is_some() || request.has_fingerprint() {
        writer.fingerprint()?;
    }
    Some(writer.at)
}

/// A Binding request without credentials, as a client of a STUN server sends it.
pub fn binding_request(transaction: [u8; 12], out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::start(out, BINDING_REQUEST, transaction)?;
    writer.fingerprint()?;
    Some(writer.at)
}

/// The XOR-MAPPED-ADDRESS of a success response to `transaction`.
pub fn mapped_address(response: &[u8], transaction: [u8; 12]) -> Option<SocketAddr> {
    let view = StunView::parse(response).ok()?;
    if view.kind != BINDING_SUCCESS || view.transaction() != transaction {
        return None;
    }
    let mut at = HEADER;
    loop {
        let length = usize::from(read_u16(response, at + 2)?);
        if read_u16(response, at)? == XOR_MAPPED_ADDRESS {
            let value = response.get(at + 4..at + 4 + length)?;
            let port = read_u16(value, 2)? ^ u16::from_be_bytes([MAGIC[0], MAGIC[1]]);
            let mut ip = [0; 16];
            let ip = match (value.get(1)?, value.len()) {
                (1, 8) => ip.get_mut(..4)?,
                (2, 20) => &mut ip[..],
                _ => return None,
            };
            ip.copy_from_slice(value.get(4..)?);
            xor(ip, transaction);
            return Some(match <[u8; 4]>::try_from(&*ip) {
                Ok(v4) => SocketAddr::from((v4, port)),
                Err(_) => SocketAddr::from((<[u8; 16]>::try_from(&*ip).ok()?, port)),
            });
        }
        at += 4 + length.next_multiple_of(4);
    }
}

/// Builds a message; every step fails when the buffer is too small.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    fn start(out: &'a mut [u8], kind: u16, transaction: [u8; 12]) -> Option<Self> {
        let mut writer = Self { out, at: 0 };
        writer.raw(&kind.to_be_bytes())?;
        writer.raw(&[0, 0])?;
        writer.raw(&MAGIC)?;
        writer.raw(&transaction)?;
        Some(writer)
    }

    fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        let length = u16::try_from(end.saturating_sub(HEADER)).ok()?;
        if let Some(field) = self.out.get_mut(2..4)
            && end >= HEADER
        {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Some(())
    }

    /// All attributes written by this have a length that needs no padding.
    fn attribute(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        self.raw(&kind.to_be_bytes())?;
        self.raw(&u16::try_from(value.len()).ok()?.to_be_bytes())?;
        self.raw(value)
    }

    /// RFC 8489 §14.13: the length without the padding, which is zeros (§14).
    fn unknown_attributes(&mut self, unknown: &[u16]) -> Option<()> {
        self.raw(&UNKNOWN_ATTRIBUTES.to_be_bytes())?;
        self.raw(&u16::try_from(unknown.len() * 2).ok()?.to_be_bytes())?;
        for attribute in unknown {
            self.raw(&attribute.to_be_bytes())?;
        }
        if unknown.len().is_multiple_of(2) {
            return Some(());
        }
        self.raw(&[0; 2])
    }

    /// RFC 8489 §14.2.
    fn xor_address(&mut self, address: SocketAddr, transaction: [u8; 12]) -> Option<()> {
        let address = unmapped(address);
        let mut value = [0; 20];
        let (family, ip_len) = match address.ip() {
            IpAddr::V4(ip) => {
                value[4..8].copy_from_slice(&ip.octets());
                (1, 4)
            }
            IpAddr::V6(ip) => {
                value[4..20].copy_from_slice(&ip.octets());
                (2, 16)
            }
        };
        value[1] = family;
        let port = address.port() ^ u16::from_be_bytes([MAGIC[0], MAGIC[1]]);
        value[2..4].copy_from_slice(&port.to_be_bytes());
        xor(&mut value[4..4 + ip_len], transaction);
        self.attribute(XOR_MAPPED_ADDRESS, &value[..4 + ip_len])
    }

    fn integrity(&mut self, password: &[u8]) -> Option<()> {
        let tag = integrity(self.out.get(..self.at)?, password);
        self.attribute(MESSAGE_INTEGRITY, &tag)
    }

    fn fingerprint(&mut self) -> Option<()> {
        let value = fingerprint(self.out.get(..self.at)?, self.at + 8 - HEADER);
        self.attribute(FINGERPRINT, &value.to_be_bytes())
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// An IP address is masked with the cookie and the transaction id.
fn xor(ip: &mut [u8], transaction: [u8; 12]) {
    for (byte, mask) in ip.iter_mut().zip(MAGIC.iter().chain(&transaction)) {
        *byte ^= mask;
    }
}

/// HMAC-SHA1 over everything before MESSAGE-INTEGRITY, with the length field as if
/// the message ended behind it (RFC 8489 §14.5). `covered` holds at least the header.
fn integrity(covered: &[u8], password: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut context = hmac::Context::with_key(&key);
    let length = (covered.len() + 24).saturating_sub(HEADER) as u16;
    context.update(covered.get(..2).unwrap_or_default());
    context.update(&length.to_be_bytes());
    context.update(covered.get(4..).unwrap_or_default());
    let mut tag = [0; 20];
    if let Some(made) = context.sign().as_ref().get(..20) {
        tag.copy_from_slice(made);
    }
    tag
}

/// CRC-32 of everything before FINGERPRINT, with the length field as if the message ended
/// behind it, masked (RFC 8489 §14.7).
fn fingerprint(covered: &[u8], length: usize) -> u32 {
    let mut crc = crc32(!0, covered.get(..2).unwrap_or_default());
    crc = crc32(crc, &(length as u16).to_be_bytes());
    crc = crc32(crc, covered.get(4..).unwrap_or_default());
    !crc ^ 0x5354_554E
}

/// CRC-32 of ITU-T V.42 (ISO-HDLC), reflected, without its first and last inversion.
fn crc32(mut crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0xEDB8_8320 & (value & 1).wrapping_neg());
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    for &byte in bytes {
        crc = (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 255) as usize];
    }
    crc
}

#[cfg(test)]
#[path = "stun_tests.rs"]
pub(crate) mod tests;
