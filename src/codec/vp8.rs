//! VP8 over RTP (RFC 7741).

use super::packet::{PacketInfo, PictureIds, checked_size};
use super::picture_id::PictureId;

/// A VP8 payload descriptor (RFC 7741 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: begins a partition.
    pub starts_partition: bool,
    /// PID: which partition, 0 to 7.
    pub partition: u8,
    /// `PictureID`.
    pub picture_id: Option<PictureId>,
    /// `TL0PICIDX`.
    pub tl0_pic_idx: Option<u8>,
    /// TID and Y: the temporal layer, and whether it refers to the base layer only.
    pub temporal: Option<(u8, bool)>,
    /// `KEYIDX`.
    pub key_idx: Option<u8>,
    /// Length of the descriptor in bytes.
    pub len: usize,
    picture_id_at: usize,
    tl0_at: usize,
}

impl Descriptor {
    /// Parses the descriptor at the head of a payload; `None` when it is cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut d = Self {
            non_reference: first & 0x20 != 0,
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            len: 1,
            ..Self::default()
        };
        if first & 0x80 == 0 {
            return Some(d);
        }
        let extension = *payload.get(1)?;
        d.len = 2;
        if extension & 0x80 != 0 {
            d.picture_id_at = d.len;
            let high = *payload.get(d.len)?;
            let wide = high & 0x80 != 0;
            let value = if wide {
                u16::from(high & 0x7f) << 8 | u16::from(*payload.get(d.len + 1)?)
            } else {
                u16::from(high)
            };
            d.picture_id = Some(PictureId { value, wide });
            d.len += if wide { 2 } else { 1 };
        }
        if extension & 0x40 != 0 {
            d.tl0_at = d.len;
            d.tl0_pic_idx = Some(*payload.get(d.len)?);
            d.len += 1;
        }
        if extension & 0x30 != 0 {
            let byte = *payload.get(d.len)?;
            if extension & 0x20 != 0 {
                d.temporal = Some((byte >> 6, byte & 0x20 != 0));
            }
            if extension & 0x10 != 0 {
                d.key_idx = Some(byte & 0x1f);
            }
            d.len += 1;
        }
        Some(d)
    }

    /// The ids for rewriting.
    pub fn ids(&self) -> PictureIds {
        PictureIds::new(
            self.picture_id,
            self.picture_id_at,
            self.tl0_pic_idx,
            self.tl0_at,
        )
    }

    /// The payload begins a frame.
    pub fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }
}

/// The picture id field is the same in VP8 and VP9: M bit, then 7 or 15 bits.
pub(super) fn write_picture_id(payload: &mut [u8], at: usize, wide: bool, id: u16) {
    if wide {
        if let Some(field) = payload.get_mut(at..at + 2) {
            field.copy_from_slice(&(id | 0x8000).to_be_bytes());
        }
    } else if let Some(byte) = payload.get_mut(at) {
        *byte = (id & 0x7f) as u8;
    }
}

/// Reads what a packet tells; see [`super::inspect`].
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let Some(d) = Descriptor::parse(payload) else {
        return PacketInfo::default();
    };
    let frame = payload.get(d.len..).unwrap_or_default();
    let starts_frame = d.starts_frame();
    // RFC 7741 §4.3: the P bit is there only at the beginning of a frame; 0 is a keyframe.
    let keyframe = starts_frame && frame.first().is_some_and(|b| b & 1 == 0);
    let (temporal, switch_up) = d.temporal.unwrap_or_default();
    PacketInfo {
        starts_keyframe: keyframe,
        keyframe,
        starts_frame,
        ends_frame: marker,
        temporal,
        switch_up,
        discardable: d.non_reference,
        ids: d.ids(),
        size: if keyframe { keyframe_size(frame) } else { None },
        ..PacketInfo::default()
    }
}

/// Width and height of a keyframe header (RFC 6386 §9.1), scaling bits left out.
fn keyframe_size(frame: &[u8]) -> Option<(u16, u16)> {
    match *frame {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] => checked_size(
            u64::from(u16::from_le_bytes([w0, w1]) & 0x3fff),
            u64::from(u16::from_le_bytes([h0, h1]) & 0x3fff),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_rfc_7741() {
        // §4.2: one mandatory byte alone.
        let d = Descriptor::parse(&[0x10, 0]).unwrap();
        assert!(d.starts_frame() && !d.non_reference);
        assert_eq!((d.len, d.picture_id, d.temporal), (1, None, None));

        // §4.6.1: key frame, I, 7-bit picture id 17, first partition.
        let d = Descriptor::parse(&[0x90, 0x80, 0x11, 0]).unwrap();
        let id = PictureId {
            value: 17,
            wide: false,
        };
        assert_eq!((d.len, d.picture_id), (3, Some(id)));

        // §4.6.5: 15-bit picture id 4711.
        let d = Descriptor::parse(&[0x90, 0x80, 0x92, 0x67, 0]).unwrap();
        let id = PictureId {
            value: 4711,
            wide: true,
        };
        assert_eq!((d.len, d.picture_id), (4, Some(id)));

        // All fields: N, S=0, PID 5, I L T K.
        let d = Descriptor::parse(&[0xa5, 0xf0, 0x92, 0x67, 200, 0b1010_0111]).unwrap();
        assert!(d.non_reference && !d.starts_partition && !d.starts_frame());
        assert_eq!(d.partition, 5);
        assert_eq!(d.tl0_pic_idx, Some(200));
        assert_eq!(d.temporal, Some((2, true)));
        assert_eq!((d.key_idx, d.len), (Some(7), 6));

        // K without T and T without K share the byte.
        let d = Descriptor::parse(&[0x80, 0x10, 0xff]).unwrap();
        assert_eq!((d.temporal, d.key_idx), (None, Some(31)));
        let d = Descriptor::parse(&[0x80, 0x20, 0xff]).unwrap();
        assert_eq!((d.temporal, d.key_idx), (Some((3, true)), None));
    }

    #[test]
    fn cut_short_is_nothing() {
        let full = [0x90, 0xf0, 0x92, 0x67, 200, 7];
        for len in 0..full.len() {
            assert_eq!(Descriptor::parse(&full[..len]), None, "{len} bytes");
            assert_eq!(inspect(&full[..len], true), PacketInfo::default());
        }
        assert!(Descriptor::parse(&full).is_some());
    }

    #[test]
    fn keyframe_with_size() {
        let payload = [
            0x90, 0xe0, 0x80, 1, 7, 0x20, // descriptor: TID 0, Y
            0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0xe0, 0x81,
        ];
        let info = inspect(&payload, false);
        assert!(info.starts_keyframe && info.keyframe && info.starts_frame);
        assert!(info.switch_up && !info.ends_frame);
        assert_eq!(info.size, Some((640, 480)), "scaling bits are left out");
        let mut delta = payload;
        delta[6] |= 1;
        let info = inspect(&delta, true);
        assert!(info.starts_frame && info.ends_frame && !info.keyframe);
        assert_eq!(info.size, None);
        let mut later = payload;
        later[0] &= !0x10;
        assert!(!inspect(&later, true).keyframe);
    }

    #[test]
    fn moved_ids_keep_lengths() {
        let moved =
            |payload: &mut [u8]| inspect(payload, false).ids.write_moved(payload, 0x1223, 4);
        let mut narrow = [0x90, 0xc0, 0x11, 5, 0xaa];
        moved(&mut narrow);
        assert_eq!(narrow, [0x90, 0xc0, 0x34, 9, 0xaa]);
        let mut wide = [0x90, 0xc0, 0x80, 0x11, 5, 0xaa];
        moved(&mut wide);
        assert_eq!(wide, [0x90, 0xc0, 0x92, 0x34, 9, 0xaa]);
        let mut bare = [0x10, 0xaa];
        moved(&mut bare);
        assert_eq!(bare, [0x10, 0xaa]);
        let mut short = [0x90, 0xc0, 0x80, 0x11];
        moved(&mut short);
        assert_eq!(short, [0x90, 0xc0, 0x80, 0x11]);
    }
}
