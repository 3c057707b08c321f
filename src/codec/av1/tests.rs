//! AV1 headers of real encoders, and the corners of the syntax.

use super::*;

/// Sequence header OBU (no size field) of an encoder on a phone, 720x1280.
const SEQUENCE: &[u8] = &[
    0x08, 0x00, 0x00, 0x00, 0x2c, 0xd5, 0x9f, 0x3f, 0xdd, 0xaf, 0x99, 0x01,
];
/// Frame OBU: shown keyframe; and an inter frame.
const KEY_FRAME: &[u8] = &[0x30, 0x10, 0x00];
const INTER_FRAME: &[u8] = &[0x30, 0x30, 0x00];

fn with_lengths(head: u8, elements: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![head];
    for element in elements {
        payload.push(element.len() as u8);
        payload.extend(*element);
    }
    payload
}

#[test]
fn leb128_limits() {
    assert_eq!(leb128(&[0x05]), Some((5, 1)));
    assert_eq!(leb128(&[0xe5, 0x8e, 0x26]), Some((624_485, 3)));
    assert_eq!(leb128(&[0x80, 0x80, 0x00]), Some((0, 3)), "padded");
    assert_eq!(leb128(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some((u32::MAX, 5)));
    assert_eq!(leb128(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None, "33 bits");
    assert_eq!(leb128(&[0x80; 9]), None, "nine bytes");
    assert_eq!(leb128(&[0x80]), None);
}

#[test]
fn new_sequence_with_size() {
    let payload = with_lengths(0x08, &[SEQUENCE, KEY_FRAME]);
    let info = inspect(&payload, true);
    assert!(info.starts_keyframe && info.keyframe && info.starts_frame && info.ends_frame);
    assert_eq!(info.size, Some((720, 1280)));

    // The same with W = 2: the last element has no length.
    let mut payload = with_lengths(0x28, &[SEQUENCE]);
    payload.extend(KEY_FRAME);
    assert_eq!(inspect(&payload, true), info);

    // And from a sender that forgets N.
    payload[0] = 0x20;
    assert_eq!(inspect(&payload, true), info);

    // And from one that leaves size fields in the OBUs.
    let sized = [&[0x0a, 11], &SEQUENCE[1..]].concat();
    let payload = with_lengths(0x08, &[&sized, &[0x32, 2, 0x10, 0x00]]);
    assert_eq!(inspect(&payload, true), info);
}

#[test]
fn a_repeated_sequence_header_is_no_keyframe() {
    let info = inspect(&with_lengths(0x00, &[SEQUENCE, INTER_FRAME]), true);
    assert!(!info.starts_keyframe && !info.keyframe);
    assert_eq!(info.size, Some((720, 1280)));
}

#[test]
fn continuation_is_not_read_as_an_obu() {
    let info = inspect(&with_lengths(0x80, &[SEQUENCE]), false);
    assert_eq!(info, PacketInfo::default());
    let info = inspect(&with_lengths(0x80, &[&[1, 2, 3], INTER_FRAME]), false);
    assert!(info.starts_frame && !info.keyframe);
}

#[test]
fn layers_of_the_extension() {
    // Frame OBU with extension: temporal 2, spatial 1.
    let info = inspect(&[0x10, 0x34, 0x48, 0x30], false);
    assert_eq!((info.temporal, info.spatial), (2, 1));
}

/// Writes bits for sequence headers with every branch taken.
fn bits(fields: &[(u64, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut used = 0usize;
    for &(value, count) in fields {
        for bit in (0..count).rev() {
            if used.is_multiple_of(8) {
                out.push(0);
            }
            *out.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - used % 8);
            used += 1;
        }
    }
    out
}

#[test]
fn sequence_header_with_decoder_model() {
    let body = bits(&[
        (0, 3),
        (0, 1),
        (0, 1), // profile, still, reduced
        (1, 1),
        (1, 32),
        (30, 32),
        (1, 1),
        (0b010, 3), // timing info, equal interval, uvlc 1
        (1, 1),
        (9, 5),
        (1, 32),
        (4, 5),
        (4, 5), // decoder model, ten-bit delays
        (1, 1), // initial display delay
        (1, 5), // two operating points
        (0x101, 12),
        (8, 5),
        (1, 1),
        (1, 1),
        (3, 10),
        (4, 10),
        (0, 1),
        (1, 1),
        (7, 4),
        (0x100, 12),
        (5, 5),
        (0, 1),
        (0, 1),
        (10, 4),
        (9, 4),
        (1919, 11),
        (815, 10), // 1920x816
        (0, 8),
    ]);
    let sequence = SequenceHeader::parse(&body).unwrap();
    assert_eq!(sequence.size, Some((1920, 816)));
    assert!(!sequence.reduced);
}

#[test]
fn reduced_still_picture() {
    let body = bits(&[
        (0, 3),
        (1, 1),
        (1, 1),
        (5, 5),
        (7, 4),
        (7, 4),
        (199, 8),
        (99, 8),
    ]);
    let element = [&[0x08], &body[..]].concat();
    let info = inspect(&with_lengths(0x00, &[&element, &[0x30, 0x00]]), true);
    assert!(info.starts_keyframe && info.keyframe);
    assert_eq!(info.size, Some((200, 100)));
}

#[test]
fn nothing_and_wrong_lengths() {
    assert_eq!(inspect(&[], true), PacketInfo::default());
    assert!(!inspect(&[0x00, 0x7f, 0x08], false).starts_frame);
    assert!(
        inspect(&[0x08], false).starts_keyframe,
        "N alone still counts"
    );
}
