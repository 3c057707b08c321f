//! Temporal layers of H.265, which only the NAL header tells (`nuh_temporal_id_plus1`,
//! RFC 7798 §1.1.4).

use std::collections::BTreeSet;

use super::*;

/// Pictures from one IDR picture to the next.
const GOP: u32 = 64;

/// `nal_unit_type`s (ITU-T H.265, Table 7-1).
const TRAIL_R: u8 = 1;
const TSA_N: u8 = 2;
const TSA_R: u8 = 3;
const IDR_W_RADL: u8 = 19;

/// The temporal layer of a picture, and the one it refers to, in a hierarchy of three.
fn place(picture: u32) -> (u8, Option<u32>) {
    match picture % 4 {
        0 => (0, (!picture.is_multiple_of(GOP)).then(|| picture - 4)),
        2 => (1, Some(picture - 2)),
        _ => (2, Some(picture - 1)),
    }
}

/// Each picture is two slices in packets of their own, which tell its number.
fn pictures(count: u32) -> Vec<Packet> {
    let mut all = Vec::new();
    for picture in 0..count {
        let (temporal, _) = place(picture);
        let kind = match temporal {
            0 if picture.is_multiple_of(GOP) => IDR_W_RADL,
            0 => TRAIL_R,
            1 => TSA_R,
            _ => TSA_N,
        };
        for slice in 0..2u8 {
            let mut packet = testing::packet(500 + all.len() as u64, picture * 3000);
            let mut payload = vec![kind << 1, temporal + 1, if slice == 0 { 0x80 } else { 0 }];
            payload.extend(picture.to_be_bytes());
            payload.resize(200, 0x5a);
            packet.codec = Codec::H265;
            packet.marker = slice == 1;
            packet.info = inspect(Codec::H265, &payload, packet.marker);
            packet.payload = payload.into();
            all.push(packet);
        }
    }
    all
}

/// The pictures that came, each whole, with the marker at its end and after what it refers to.
fn decoded(viewer: &Viewer) -> BTreeSet<u32> {
    let media: Vec<&Got> = viewer.got.values().filter(|g| !g.padding).collect();
    let number = |got: &Got| u32::from_be_bytes(got.payload[3..7].try_into().unwrap());
    let mut decoded = BTreeSet::new();
    for slices in media.chunk_by(|a, b| a.timestamp == b.timestamp) {
        let picture = number(slices[0]);
        let markers: Vec<bool> = slices.iter().map(|s| s.marker).collect();
        assert_eq!(markers, [false, true], "picture {picture}");
        let (_, reference) = place(picture);
        assert!(
            reference.is_none_or(|r| decoded.contains(&r)),
            "{picture} without {reference:?}"
        );
        decoded.insert(picture);
    }
    decoded
}

#[test]
fn temporal_layers_of_h265_are_cut_and_taken_again_without_a_keyframe() {
    let mut viewer = Viewer::with(Codec::H265, &[], true, &[]);
    for packet in pictures(GOP) {
        viewer.feed(0, &packet);
        match (packet.timestamp / 3000, packet.marker) {
            (16, true) => viewer.choose(layers(0, 0)),
            (32, true) => viewer.choose(layers(0, 1)),
            (48, true) => viewer.choose(layers(0, 2)),
            _ => {}
        }
    }
    viewer.assert_no_hole();
    let decoded = decoded(&viewer);
    let of = |from: u32, to: u32| -> Vec<u32> { decoded.range(from..to).copied().collect() };
    assert_eq!(of(0, 16).len(), 16);
    assert_eq!(of(17, 33), [20, 24, 28, 32]);
    assert_eq!(of(36, 48), [36, 38, 40, 42, 44, 46]);
    assert_eq!(of(52, 64).len(), 12);
}

#[test]
fn whatever_is_chosen_of_h265_can_be_decoded() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut viewer = Viewer::with(Codec::H265, &[], true, &[]);
        for packet in pictures(5 * GOP) {
            viewer.feed(0, &packet);
            if rng.random_bool(0.05) {
                viewer.choose(layers(0, rng.random_range(0..3)));
            }
        }
        viewer.assert_no_hole();
        let count = decoded(&viewer).len();
        assert!((90..320).contains(&count), "{count} pictures");
    }
}
