//! VP9 payload descriptors and headers, and ids moved in place.

use super::*;

/// Uncompressed header of a 320x180 keyframe, profile 0, BT.601.
const KEY_320X180: [u8; 9] = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30];

#[test]
fn size_of_an_uncompressed_header() {
    assert_eq!(keyframe_size(&KEY_320X180), Some((320, 180)));
    assert_eq!(
        keyframe_size(&[0x86, 0x49, 0x83, 0x42, 0x20]),
        None,
        "inter"
    );
    for len in 0..KEY_320X180.len() {
        assert_eq!(keyframe_size(&KEY_320X180[..len]), None, "{len} bytes");
    }
}

#[test]
fn non_flexible_with_layers_and_structure() {
    // I L B V; 15-bit id 0x1234; TID 1 U SID 0; TL0 7.
    let mut payload = vec![0b1010_1010, 0x92, 0x34, 0b0011_0000, 7];
    // Two spatial layers with sizes, a picture group of two pictures.
    payload.extend([0b0011_1000, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68]);
    payload.extend([2, 0b0000_0100, 1, 0b0011_1000, 1, 2]);
    payload.extend([0xde, 0xad]);
    let d = Descriptor::parse(&payload).unwrap();
    assert!(d.starts_frame && !d.ends_frame && !d.inter_picture && !d.flexible);
    assert_eq!(
        d.picture_id,
        Some(PictureId {
            value: 0x1234,
            wide: true
        })
    );
    let layers = d.layers.unwrap();
    assert_eq!((layers.temporal, layers.spatial), (1, 0));
    assert!(layers.switch_up && !layers.inter_layer);
    assert_eq!(d.tl0_pic_idx, Some(7));
    let structure = d.structure.unwrap();
    assert_eq!((structure.spatial_layers, structure.group), (2, Some(2)));
    assert_eq!(structure.largest(), Some((640, 360)));
    assert_eq!(d.len, payload.len() - 2);
    for len in 0..d.len {
        assert_eq!(Descriptor::parse(&payload[..len]), None, "{len} bytes");
        assert_eq!(inspect(&payload[..len]), PacketInfo::default());
    }

    let info = inspect(&payload);
    assert!(info.starts_keyframe && info.keyframe && info.switch_up);
    assert_eq!(info.size, Some((640, 360)));
    assert_eq!(info.temporal, 1);
}

#[test]
fn flexible_with_references() {
    // I P L F E; 7-bit id; TID 2 SID 1 D; P_DIFF 3 N, P_DIFF 1.
    let payload = [0b1111_0100, 0x11, 0b0100_0011, 0x07, 0x02, 0xaa];
    let d = Descriptor::parse(&payload).unwrap();
    assert_eq!((d.p_diffs, d.len, d.tl0_pic_idx), ([3, 1, 0], 5, None));
    let info = inspect(&payload);
    assert!(info.ends_frame && !info.starts_frame && !info.keyframe);
    assert_eq!((info.spatial, info.temporal), (1, 2));
    // Four references are not allowed (RFC 9628 §4.2).
    let payload = [0b0101_0000, 0x03, 0x03, 0x03, 0x02, 0xaa];
    assert_eq!(Descriptor::parse(&payload), None);
}

#[test]
fn keyframe_starts_at_the_base_layer_only() {
    // B without P, spatial layer 1.
    let upper = inspect(&[0b0010_1000, 0b0000_0011, 0, 0xaa]);
    assert!(!upper.keyframe && !upper.starts_keyframe && upper.starts_frame);
    // No layers, later packet of a keyframe.
    let later = inspect(&[0x84, 0x11, 0xaa]);
    assert!(later.keyframe && !later.starts_keyframe && later.ends_frame);
    // No layers, first packet: the size comes from the frame.
    let info = inspect(&[&[0x88, 0x11], &KEY_320X180[..]].concat());
    assert!(info.starts_keyframe);
    assert_eq!(info.size, Some((320, 180)));
    // Encrypted end to end: the descriptor alone decides.
    let info = inspect(&[0x88, 0x11, 0x86, 0x55, 0x55]);
    assert!(info.starts_keyframe && info.size.is_none());
}

#[test]
fn a_descriptor_without_fields_leaves_it_to_the_frame() {
    let info = inspect(&[&[0x0c], &KEY_320X180[..]].concat());
    assert!(info.starts_keyframe);
    assert_eq!(info.size, Some((320, 180)));
    let inter = inspect(&[0x0c, 0x86, 0x00, 0x40, 0x92]);
    assert!(!inter.keyframe && inter.starts_frame && inter.ends_frame);
    assert!(!inspect(&[0x04, 0xaa]).keyframe);
}

#[test]
fn moved_ids_keep_lengths() {
    let moved = |payload: &mut [u8]| inspect(payload).ids.write_moved(payload, 0x1223, 4);
    let mut narrow = [0b1010_1000, 0x11, 0, 5, 0xaa];
    moved(&mut narrow);
    assert_eq!(narrow, [0b1010_1000, 0x34, 0, 9, 0xaa]);
    let mut flexible = [0b1011_1000, 0x80, 0x11, 0, 0xaa];
    moved(&mut flexible);
    assert_eq!(flexible, [0b1011_1000, 0x92, 0x34, 0, 0xaa]);
    let mut short = [0b1010_1000, 0x80];
    moved(&mut short);
    assert_eq!(short, [0b1010_1000, 0x80]);
}
