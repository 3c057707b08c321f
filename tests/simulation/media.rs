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
    out.extend(stamp.frame.to_be_bytes());
    out.extend(stamp.index.to_be_bytes());
    out.extend(stamp.count.to_be_bytes());
    out.push(u8::from(stamp.keyframe));
    out.push(stamp.layer);
    out.push(stamp.from);
    out.resize(length.max(out.len()), 0xab);
    out
}

pub fn read_vp8(payload: &[u8]) -> Option<Stamp> {
    let at = DESCRIPTOR + HEADER;
    let b = payload.get(at..at + 11)?;
    Some(Stamp {
        frame: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
        index: u16::from_be_bytes([b[4], b[5]]),
        count: u16::from_be_bytes([b[6], b[7]]),
        keyframe: b[8] == 1,
        layer: b[9],
        from: b[10],
    })
}
