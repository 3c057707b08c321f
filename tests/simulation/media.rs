//! Synthetic media whose every packet says which frame it is of.

/// VP8 payloads: a real descriptor and, in keyframes, a real frame header, then
/// the frame's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub frame: u32,
    pub index: u16,
    pub count: u16,
    pub keyframe: bool,
    pub layer: u8,
    pub from: u8,
}

/// Bytes ahead of the stamp: descriptor (RFC 7741 §4.2 with a 15-bit picture
/// id) and frame header (§9.1 of RFC 6386).
const DESCRIPTOR: usize = 4;
const HEADER: usize = 10;

/// A stamp's bytes.
const STAMP: usize = 11;

pub fn vp8(stamp: Stamp, size: (u16, u16), length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    let start = if stamp.index == 0 { 0x10 } else { 0 };
    let picture = 0x8000 | (stamp.frame & 0x7fff) as u16;
    out.extend([0x80 | start, 0x80]);
    out.extend(picture.to_be_bytes());
    out.push(u8::from(!stamp.keyframe));
    out.extend([0, 0, 0x9d, 0x01, 0x2a]);
    out.extend(size.0.to_le_bytes());
    out.extend(size.1.to_le_bytes());
    stamp.write(&mut out);
    out.resize(length.max(out.len()), 0xab);
    out
}

pub fn read_vp8(payload: &[u8]) -> Option<Stamp> {
    let at = DESCRIPTOR + HEADER;
    Some(Stamp::read(payload.get(at..)?.first_chunk()?))
}

/// A packet of one spatial layer of a VP9 picture (RFC 9628 §4.2, not flexible), its stamp at its end. Keyframes tell
/// the `sizes` of all layers.
pub fn vp9(stamp: Stamp, sizes: &[(u16, u16)], length: usize) -> Vec<u8> {
    let bit = |is: bool, value: u8| if is { value } else { 0 };
    let (first, last) = (stamp.index == 0, stamp.index + 1 == stamp.count);
    let tells = stamp.keyframe && first && stamp.layer == 0;
    let head = 0xa0 | bit(!stamp.keyframe, 0x40) | bit(first, 8) | bit(last, 4) | bit(tells, 2);
    let mut out = vec![head];
    out.extend((0x8000 | (stamp.frame & 0x7fff) as u16).to_be_bytes());
    out.extend([
        stamp.layer << 1 | bit(stamp.layer > 0, 1),
        stamp.frame as u8,
    ]);
    if tells {
        out.push((sizes.len() as u8 - 1) << 5 | 0x10);
        for (width, height) in sizes {
            out.extend(width.to_be_bytes());
            out.extend(height.to_be_bytes());
        }
    }
    out.resize(length - STAMP, 0xab);
    stamp.write(&mut out);
    out
}

pub fn read_vp9(payload: &[u8]) -> Option<Stamp> {
    payload.last_chunk().map(Stamp::read)
}

impl Stamp {
    fn write(self, out: &mut Vec<u8>) {
        out.extend(self.frame.to_be_bytes());
        out.extend(self.index.to_be_bytes());
        out.extend(self.count.to_be_bytes());
        out.extend([u8::from(self.keyframe), self.layer, self.from]);
    }

    fn read(b: &[u8; STAMP]) -> Self {
        Self {
            frame: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
            index: u16::from_be_bytes([b[4], b[5]]),
            count: u16::from_be_bytes([b[6], b[7]]),
            keyframe: b[8] == 1,
            layer: b[9],
            from: b[10],
        }
    }
}
