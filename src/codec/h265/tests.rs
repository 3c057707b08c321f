//! H.265 headers of real encoders, each kind of packet, and parameter sets.

use super::*;

/// x265, Main profile, 416x240.
const VPS: &[u8] = &[
    0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03,
    0x00, 0x00, 0x03, 0x00, 0x3c, 0x95, 0x98, 0x09,
];
const SPS: &[u8] = &[
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
    0x00, 0x3c, 0xa0, 0x0d, 0x08, 0x0f, 0x16, 0x59, 0x59, 0xa4, 0x93, 0x2b, 0x9a, 0x02, 0x00, 0x00,
    0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x10,
];
const PPS: &[u8] = &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40];
/// IDR_W_RADL, first slice segment.
const IDR: &[u8] = &[0x26, 0x01, 0xaf, 0x08];

fn ap(units: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![0x60, 1];
    for unit in units {
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(*unit);
    }
    payload
}

#[test]
fn sps_size() {
    let sps = Sps::parse(&SPS[2..]).unwrap();
    assert_eq!((sps.id, sps.vps, sps.size), (0, 0, Some((416, 240))));
    for len in 0..14 {
        assert_eq!(Sps::parse(&SPS[2..2 + len]), None, "{len} bytes");
    }
}

#[test]
fn keyframe_in_one_packet_and_in_several() {
    let info = inspect(&ap(&[VPS, SPS, PPS, IDR]), true);
    assert!(info.starts_keyframe && info.keyframe && info.has_parameter_sets);
    assert!(info.starts_frame && info.ends_frame && !info.discardable);
    assert_eq!(info.size, Some((416, 240)));

    assert!(inspect(VPS, false).starts_keyframe);
    assert!(inspect(SPS, false).has_parameter_sets);
    assert!(!inspect(PPS, false).starts_keyframe);
    let idr = inspect(IDR, true);
    assert!(idr.starts_keyframe && !idr.has_parameter_sets);
    // CRA (21) too, but not its later segments.
    assert!(inspect(&[0x2a, 0x01, 0x80], true).starts_keyframe);
    let later = inspect(&[0x2a, 0x01, 0x40], true);
    assert!(later.keyframe && !later.starts_keyframe && !later.starts_frame);
}

#[test]
fn fragments() {
    // FU of IDR_N_LP (20): start, middle, end.
    let first = inspect(&[0x62, 0x01, 0x94, 0xaf], false);
    assert!(first.starts_keyframe && first.starts_frame);
    let middle = inspect(&[0x62, 0x01, 0x14, 0xaf], false);
    assert!(middle.keyframe && !middle.starts_keyframe && !middle.starts_frame);
    let last = inspect(&[0x62, 0x01, 0x54, 0xaf], true);
    assert!(last.keyframe && last.ends_frame);
}

#[test]
fn temporal_layers_and_switching() {
    // TSA_N (2) with temporal id plus one = 3.
    let tsa = inspect(&[0x04, 0x03, 0x80], true);
    assert!(tsa.switch_up && tsa.starts_frame && !tsa.keyframe);
    assert_eq!((tsa.temporal, tsa.spatial), (2, 0));
    // TRAIL_R (1), layer 1.
    let trail = inspect(&[0x02, 0x09, 0x80], true);
    assert!(!trail.switch_up);
    assert_eq!((trail.temporal, trail.spatial), (0, 1));
    // A temporal id of 0 is forbidden and must not wrap.
    assert_eq!(inspect(&[0x02, 0x00, 0x80], true).temporal, 0);
}

#[test]
fn parameter_sets_are_kept_and_written() {
    let mut sets = ParameterSets::default();
    assert!(sets.absorb(VPS) && sets.absorb(PPS));
    assert!(!sets.is_complete());
    assert!(sets.absorb(SPS));
    assert!(sets.is_complete());
    assert!(!sets.absorb(&ap(&[VPS, SPS, PPS])));
    assert_eq!(sets.size(), Some((416, 240)));

    let mut out = [0; 1200];
    let len = sets.write_ap(&mut out).unwrap();
    assert_eq!(&out[..len], ap(&[VPS, SPS, PPS]));
    assert_eq!(sets.write_ap(&mut out[..len - 1]), None);
    assert_eq!(ParameterSets::default().write_ap(&mut out), None);
}

#[test]
fn parameter_sets_of_sdp() {
    use base64::Engine as _;
    let text = |nal: &[u8]| base64::engine::general_purpose::STANDARD.encode(nal);
    let fmtp = format!(
        "sprop-vps={}; sprop-sps={};sprop-pps={}",
        text(VPS),
        text(SPS),
        text(PPS)
    );
    let sets = ParameterSets::from_fmtp(&fmtp);
    assert!(sets.is_complete());
    let list = [text(VPS), text(SPS), text(PPS)].join(",");
    assert_eq!(ParameterSets::from_sprop(&list), sets);
    assert_eq!(
        ParameterSets::from_fmtp("profile-id=1"),
        ParameterSets::default()
    );
}
