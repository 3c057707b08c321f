//! AV1 over RTP (AOM "RTP Payload Format For AV1"; section names of the codec
//! are of the AV1 bitstream specification). Layers of frames are better told by
//! the dependency descriptor, which every packet can carry.

use super::bits::BitReader;
use super::packet::{PacketInfo, checked_size};

const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;

/// The aggregation header (RTP payload format §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationHeader {
    /// Z: the first OBU element goes on from the packet before.
    pub continues: bool,
    /// Y: the last OBU element goes on in the next packet.
    pub continued: bool,
    /// W: how many OBU elements there are; 0 when each has its length.
    pub count: u8,
    /// N: the first packet of a coded video sequence.
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Parses the header's byte.
    pub fn parse(byte: u8) -> Self {
        Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            count: byte >> 4 & 3,
            new_sequence: byte & 0x08 != 0,
        }
    }
}

/// The OBU elements of a packet. Ends at the first length that is wrong.
struct Elements<'a> {
    rest: &'a [u8],
    /// How many are left; `None` when each has its length.
    left: Option<u8>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() || self.left == Some(0) {
            return None;
        }
        // §4.4: with W set, the last element has no length field.
        if self.left == Some(1) {
            return Some(std::mem::take(&mut self.rest));
        }
        self.left = self.left.map(|n| n - 1);
        let (length, read) = leb128(self.rest)?;
        let (element, rest) = self
            .rest
            .get(read..)?
            .split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(element)
    }
}

/// A number in `leb128()` (AV1 §4.10.5), and how many bytes it takes. The
/// format allows eight bytes and values of 32 bits.
fn leb128(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// An OBU's header (AV1 §5.3.2) and what follows it.
struct Obu<'a> {
    kind: u8,
    layers: Option<(u8, u8)>,
    body: &'a [u8],
}

impl<'a> Obu<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let (&head, mut body) = element.split_first()?;
        if head & 0x80 != 0 {
            return None;
        }
        let mut layers = None;
        if head & 0x04 != 0 {
            let (&extension, rest) = body.split_first()?;
            layers = Some((extension >> 5, extension >> 3 & 3));
            body = rest;
        }
        if head & 0x02 != 0 {
            // §4.5 of the payload format asks senders to leave the size out; some do not.
            body = body.get(leb128(body)?.1..)?;
        }
        Some(Self {
            kind: head >> 3 & 0x0f,
            layers,
            body,
        })
    }
}

/// Reads what a packet tells; see [`super::inspect`].
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let mut info = PacketInfo {
        ends_frame: marker,
        ..PacketInfo::default()
    };
    let Some((&head, rest)) = payload.split_first() else {
        return PacketInfo::default();
    };
    let head = AggregationHeader::parse(head);
    info.starts_keyframe = head.new_sequence;
    info.keyframe = head.new_sequence;
    let elements = Elements {
        rest,
        left: (head.count > 0).then_some(head.count),
    };
    let mut sequence: Option<SequenceHeader> = None;
    let mut layers = None;
    for element in elements.skip(usize::from(head.continues)) {
        let Some(obu) = Obu::parse(element) else {
            continue;
        };
        match obu.kind {
            OBU_SEQUENCE_HEADER => {
                info.starts_frame = true;
                sequence = SequenceHeader::parse(obu.body);
                info.size = sequence.and_then(|s| s.size);
            }
            OBU_FRAME | OBU_FRAME_HEADER => {
                info.starts_frame = true;
                layers = layers.or(obu.layers);
                // §5.9.2: `show_existing_frame`, `frame_type` and `show_frame` come first,
                // but are left out with a reduced still picture header.
                let reduced = sequence.is_some_and(|s| s.reduced);
                let shown_key = obu.body.first().is_some_and(|b| b & 0xf0 == 0x10);
                if reduced || shown_key {
                    info.keyframe = true;
                    // §7.5: a sequence begins with its header and a shown keyframe. Not
                    // all senders set N.
                    info.starts_keyframe |= sequence.is_some();
                }
            }
            _ => {}
        }
    }
    (info.temporal, info.spatial) = layers.unwrap_or_default();
    info
}

/// What is needed of a sequence header (AV1 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SequenceHeader {
    /// `reduced_still_picture_header`.
    reduced: bool,
    /// `max_frame_width_minus_1` and `max_frame_height_minus_1`, each plus one.
    size: Option<(u16, u16)>,
}

impl SequenceHeader {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut r = BitReader::new(body);
        r.skip(4)?;
        let reduced = r.flag()?;
        if reduced {
            r.skip(5)?;
        } else {
            skip_operating_points(&mut r)?;
        }
        let width_bits = r.bits(4)? + 1;
        let height_bits = r.bits(4)? + 1;
        let width = u64::from(r.bits(width_bits)?) + 1;
        let height = u64::from(r.bits(height_bits)?) + 1;
        Some(Self {
            reduced,
            size: checked_size(width, height),
        })
    }
}

/// Passes over timing, decoder model and operating points (AV1 §5.5.1).
fn skip_operating_points(r: &mut BitReader<'_>) -> Option<()> {
    let mut delay_bits = None;
    if r.flag()? {
        // §5.5.3 timing_info()
        r.skip(64)?;
        if r.flag()? {
            r.ue()?;
        }
        if r.flag()? {
            // §5.5.4 decoder_model_info()
            delay_bits = Some(r.bits(5)? + 1);
            r.skip(32 + 5 + 5)?;
        }
    }
    let display_delay = r.flag()?;
    let points = r.bits(5)? + 1;
    for _ in 0..points {
        r.skip(12)?;
        if r.bits(5)? > 7 {
            r.skip(1)?;
        }
        if let Some(bits) = delay_bits
            && r.flag()?
        {
            r.skip(2 * bits + 1)?;
        }
        if display_delay && r.flag()? {
            r.skip(4)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
