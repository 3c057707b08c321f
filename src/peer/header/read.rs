//! Reads a publisher's header: the fixed part and the extension elements.

use smallvec::SmallVec;

use super::{ExtensionIds, PassedExtensions};
use crate::peer::negotiate::HeaderExtension;

/// The extension elements of a received header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements<'a> {
    /// The values for viewers.
    pub passed: PassedExtensions,
    /// The media description's name (RFC 9143); empty when absent, as the next two.
    pub mid: &'a [u8],
    /// The encoding's name (RFC 8852).
    pub rid: &'a [u8],
    /// The name of the encoding that this packet repairs (RFC 8852).
    pub repaired_rid: &'a [u8],
    /// 24 bits of 6.18 fixed point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
}

/// The fields of a received header that Weir needs beside the extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearHeader {
    /// Padding follows the payload.
    pub padding: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp as on the wire.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload starts.
    pub length: usize,
}

impl ClearHeader {
    /// The payload of the opened packet that the header was read from, without padding; `None`
    /// when that is said to be nothing, or more than there is (RFC 3550 §5.1).
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let body = packet.get(self.length..)?;
        if !self.padding {
            return Some(body);
        }
        let padding = usize::from(*body.last()?);
        let end = body.len().checked_sub(padding)?;
        body.get(..end).filter(|_| padding > 0)
    }
}

/// Reads the fixed header, the CSRC list's length and the extension elements.
/// `None` when the packet has no complete RTP header.
pub fn read<'a>(packet: &'a [u8], ids: &ExtensionIds) -> Option<(ClearHeader, Elements<'a>)> {
    let (&[first, second, s0, s1], rest) = packet.split_first_chunk::<4>()?;
    let (timestamp, rest) = rest.split_first_chunk::<4>()?;
    let (ssrc, rest) = rest.split_first_chunk::<4>()?;
    if first >> 6 != 2 {
        return None;
    }
    let csrc = usize::from(first & 0x0f) * 4;
    let rest = rest.get(csrc..)?;
    let mut length = 12 + csrc;
    let mut found = Elements::default();
    if first & 0x10 != 0 {
        let (&[p0, p1, l0, l1], rest) = rest.split_first_chunk::<4>()?;
        let words = usize::from(u16::from_be_bytes([l0, l1]));
        let elements = rest.get(..words * 4)?;
        length += 4 + words * 4;
        match u16::from_be_bytes([p0, p1]) {
            0xbede => read_elements(elements, ids, &mut found, one_byte),
            profile if profile & 0xfff0 == 0x1000 => {
                read_elements(elements, ids, &mut found, two_byte);
            }
            _ => {}
        }
    }
    let header = ClearHeader {
        padding: first & 0x20 != 0,
        payload_type: second & 0x7f,
        marker: second & 0x80 != 0,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes(*timestamp),
        ssrc: u32::from_be_bytes(*ssrc),
        length,
    };
    Some((header, found))
}

/// One element off the front: its id, its value and what follows it.
type Element<'a> = (u8, &'a [u8], &'a [u8]);

/// RFC 8285 §4.2. Padding was passed over.
fn one_byte(elements: &[u8]) -> Option<Element<'_>> {
    let (&head, rest) = elements.split_first()?;
    let (id, length) = (head >> 4, usize::from(head & 0x0f) + 1);
    if matches!(id, 0 | 15) {
        return None; // reserved: processing stops here (§4.1.2)
    }
    let (value, rest) = rest.split_at_checked(length)?;
    Some((id, value, rest))
}

/// RFC 8285 §4.3.
fn two_byte(elements: &[u8]) -> Option<Element<'_>> {
    let (&[id, length], rest) = elements.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(length))?;
    Some((id, value, rest))
}

fn read_elements<'a>(
    mut elements: &'a [u8],
    ids: &ExtensionIds,
    found: &mut Elements<'a>,
    next: fn(&'a [u8]) -> Option<Element<'a>>,
) {
    while let Some(&first) = elements.first() {
        if first == 0 {
            elements = &elements[1..]; // padding
            continue;
        }
        let Some((id, value, rest)) = next(elements) else {
            return;
        };
        elements = rest;
        let Some(meaning) = ids.meaning(id) else {
            continue;
        };
        let passed = &mut found.passed;
        match (meaning, value) {
            (HeaderExtension::Mid, value) => found.mid = value,
            (HeaderExtension::RtpStreamId, value) => found.rid = value,
            (HeaderExtension::RepairedRtpStreamId, value) => found.repaired_rid = value,
            (HeaderExtension::TransportWideCc, &[high, low]) => {
                found.transport_sequence = Some(u16::from_be_bytes([high, low]));
            }
            (HeaderExtension::AbsSendTime, &[a, b, c]) => {
                found.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
            }
            (HeaderExtension::AudioLevel, &[level, ..]) => passed.audio_level = Some(level),
            (HeaderExtension::VideoOrientation, &[orientation, ..]) => {
                passed.orientation = Some(orientation);
            }
            (HeaderExtension::PlayoutDelay, &[a, b, c]) => passed.playout_delay = Some([a, b, c]),
            (HeaderExtension::VideoContentType, &[content, ..]) => {
                passed.content_type = Some(content);
            }
            (HeaderExtension::AbsCaptureTime, value) if matches!(value.len(), 8 | 16) => {
                passed.capture_time = SmallVec::from_slice(value);
            }
            (HeaderExtension::DependencyDescriptor, value) if value.len() >= 3 => {
                passed.dependency = SmallVec::from_slice(value);
            }
            (HeaderExtension::ColorSpace, value) if matches!(value.len(), 4 | 28) => {
                passed.color_space = SmallVec::from_slice(value);
            }
            _ => {}
        }
    }
}
