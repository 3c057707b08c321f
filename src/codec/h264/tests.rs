//! H.264 headers of real encoders, each kind of packet, and parameter sets.

use super::*;

/// x264, High profile, 640x360 (cropped from 640x368).
const SPS_360: &[u8] = &[
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
    0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// first_mb 0, slice type 7 (I).
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x00];

fn stap(units: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![0x78];
    for unit in units {
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(*unit);
    }
    payload
}

#[test]
fn sps_size_with_cropping() {
    let sps = Sps::parse(&SPS_360[1..]).unwrap();
    assert_eq!((sps.id, sps.profile, sps.level), (0, 100, 30));
    assert_eq!(sps.size, Some((640, 360)));
}

/// Builds SPS bits in the order of §7.3.2.1.1.
struct Bits(Vec<u8>, u32);

impl Bits {
    fn new(profile: u8) -> Self {
        Self(vec![profile, 0, 31], 0)
    }
    fn put(mut self, value: u32, count: u32) -> Self {
        for bit in (0..count).rev() {
            if self.1 == 0 {
                self.0.push(0);
            }
            *self.0.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.1);
            self.1 = (self.1 + 1) % 8;
        }
        self
    }
    fn ue(self, value: u32) -> Self {
        let width = 32 - (value + 1).leading_zeros();
        self.put(0, width - 1).put(value + 1, width)
    }
    fn se(self, value: i32) -> Self {
        self.ue(if value > 0 { 2 * value - 1 } else { -2 * value } as u32)
    }
    /// From `max_num_ref_frames` on: 80x45 macroblocks (or field pairs), cropping.
    fn tail(self, frame_only: bool, crop: Option<[u32; 4]>) -> Vec<u8> {
        let mut b = self.ue(4).put(0, 1).ue(79).ue(44);
        b = b.put(u32::from(frame_only), 1);
        if !frame_only {
            b = b.put(0, 1);
        }
        b = b.put(1, 1).put(u32::from(crop.is_some()), 1);
        for edge in crop.into_iter().flatten() {
            b = b.ue(edge);
        }
        b.put(0, 1).put(1, 1).0
    }
}

#[test]
fn sps_baseline_poc_type_1_and_fields() {
    let b = Bits::new(66).ue(3).ue(0).ue(1).put(0, 1).se(-3).se(9);
    let body = b.ue(2).se(5).se(-5).tail(false, Some([1, 2, 3, 4]));
    let sps = Sps::parse(&body).unwrap();
    assert_eq!(sps.id, 3);
    // 4:2:0 fields: crop units of 2 x 4.
    assert_eq!(sps.size, Some((1280 - 6, 1440 - 28)));
}

#[test]
fn sps_high_444_with_scaling_lists() {
    for (planes, unit) in [(0, 1), (1, 1)] {
        let mut b = Bits::new(244).ue(0).ue(3).put(planes, 1);
        b = b.ue(2).ue(2).put(0, 1).put(1, 1);
        for list in 0..12 {
            // One full list, one that ends at once (delta -8), the rest absent.
            b = match list {
                1 => (0..16).fold(b.put(1, 1), |b, _| b.se(1)),
                7 => b.put(1, 1).se(-8),
                _ => b.put(0, 1),
            };
        }
        let body = b.ue(0).ue(2).tail(true, Some([0, 5, 0, 7]));
        let sps = Sps::parse(&body).unwrap();
        assert_eq!(sps.size, Some((1280 - 5 * unit, 720 - 7)));
    }
}

#[test]
fn sps_422_and_monochrome_crop_units() {
    for (format, want) in [(2, (1280 - 2, 720 - 1)), (0, (1280 - 1, 720 - 1))] {
        let b = Bits::new(122).ue(0).ue(format).ue(0).ue(0).put(0, 2);
        let body = b.ue(0).ue(0).ue(4).tail(true, Some([1, 0, 1, 0]));
        assert_eq!(Sps::parse(&body).unwrap().size, Some(want));
    }
}

#[test]
fn sps_out_of_bounds() {
    let b = Bits::new(66).ue(0).ue(0).ue(2).ue(1).put(0, 1);
    let huge = b.ue(100_000).ue(10).put(1, 1).put(0, 2).put(1, 2).0;
    assert_eq!(Sps::parse(&huge).unwrap().size, None);
    assert_eq!(Sps::parse(&Bits::new(66).ue(32).tail(true, None)), None);
    let all_cropped = Bits::new(66)
        .ue(0)
        .ue(0)
        .ue(2)
        .tail(true, Some([9000, 0, 0, 0]));
    assert_eq!(Sps::parse(&all_cropped).unwrap().size, None);
    for len in 0..10 {
        assert_eq!(Sps::parse(&SPS_360[1..1 + len]), None, "{len} bytes");
    }
}

#[test]
fn keyframe_in_one_stap_and_in_single_units() {
    let info = inspect(&stap(&[SPS_360, PPS, IDR]), true);
    assert!(info.starts_keyframe && info.keyframe && info.starts_frame && info.ends_frame);
    assert!(info.has_parameter_sets && !info.b_frame && !info.discardable);
    assert_eq!(info.size, Some((640, 360)));

    let sps = inspect(SPS_360, false);
    assert!(sps.starts_keyframe && sps.has_parameter_sets && !sps.ends_frame);
    let pps = inspect(PPS, false);
    assert!(pps.keyframe && !pps.starts_keyframe && !pps.has_parameter_sets);
    let idr = inspect(IDR, true);
    assert!(idr.starts_keyframe && !idr.has_parameter_sets && idr.size.is_none());
    // Second slice of the IDR: first_mb_in_slice 1.
    let second = inspect(&[0x65, 0b0100_0100, 0x80], true);
    assert!(second.keyframe && !second.starts_keyframe && !second.starts_frame);
}

#[test]
fn stap_b_has_a_decoding_order_number() {
    let mut payload = stap(&[SPS_360, PPS, IDR]);
    payload[0] = 0x79;
    payload.splice(1..1, [0x12, 0x34]);
    assert_eq!(
        inspect(&payload, true),
        inspect(&stap(&[SPS_360, PPS, IDR]), true)
    );
}

#[test]
fn fragments_tell_type_and_place() {
    let first = inspect(&[0x7c, 0x85, 0x88, 0x84], false);
    assert!(first.starts_keyframe && first.starts_frame);
    let middle = inspect(&[0x7c, 0x05, 0x88, 0x84], false);
    assert!(middle.keyframe && !middle.starts_keyframe && !middle.starts_frame);
    let last = inspect(&[0x7c, 0x45, 0x88], true);
    assert!(last.keyframe && last.ends_frame);
    // FU-B: a DON between header and data.
    let first = inspect(&[0x7d, 0x85, 0, 7, 0x88, 0x84], false);
    assert!(first.starts_keyframe);
}

#[test]
fn slice_types() {
    // first_mb 0 (1), slice type 6 (00111) = B, not referenced.
    let b = inspect(&[0x01, 0b1001_1100], true);
    assert!(b.b_frame && b.discardable && b.starts_frame && !b.keyframe);
    // slice type 1 (010)
    assert!(inspect(&[0x41, 0b1010_0000], true).b_frame);
    assert!(!inspect(&[0x41, 0b1010_0000], true).discardable);
    // slice type 5 (00110) = P, in a FU-A start with nal_ref_idc 0.
    let p = inspect(&[0x1c, 0x81, 0b1001_1000], false);
    assert!(!p.b_frame && p.discardable);
    // SEI alone has nal_ref_idc 0 but is no picture that could be dropped.
    assert!(!inspect(&[0x06, 5, 1, 0, 0x80], false).discardable);
}

#[test]
fn svc_prefix_tells_layers() {
    // Prefix NAL: SVC flag, dependency_id 2, temporal_id 1.
    let prefix = [0x6e, 0x80, 0x20, 0x27];
    let info = inspect(&stap(&[&prefix, &[0x61, 0x9a]]), true);
    assert_eq!((info.spatial, info.temporal), (2, 1));
}

#[test]
fn parameter_sets_are_kept_and_written() {
    let mut sets = ParameterSets::default();
    assert!(!sets.is_complete());
    assert_eq!(sets.write_stap_a(&mut [0; 1200]), None);
    assert!(sets.absorb(&stap(&[SPS_360, PPS, IDR])));
    assert!(!sets.absorb(&stap(&[SPS_360, PPS, IDR])), "nothing new");
    assert!(!sets.absorb(IDR));
    assert!(sets.is_complete());
    assert_eq!(sets.size(), Some((640, 360)));

    let mut out = [0; 1200];
    let len = sets.write_stap_a(&mut out).unwrap();
    assert_eq!(&out[..len], stap(&[SPS_360, PPS]));
    assert_eq!(sets.write_stap_a(&mut out[..len - 1]), None, "does not fit");
    assert_eq!(sets.write_stap_a(&mut []), None);

    // A PPS whose SPS is unknown: sps id 1 (010).
    let mut orphan = ParameterSets::default();
    assert!(orphan.absorb(&[0x68, 0b1010_0000]));
    assert!(orphan.absorb(SPS_360));
    assert!(!orphan.is_complete());
}

#[test]
fn parameter_sets_stay_bounded() {
    let mut sets = ParameterSets::default();
    for id in 0..=255 {
        let nal = Bits(vec![0x68], 0).ue(id).ue(0).put(1, 1).0;
        assert!(sets.absorb(&nal));
    }
    assert_eq!(sets.pps.iter().count(), 16);
    assert!(!sets.absorb(&[SPS_360, &[0; 2000]].concat()), "too long");
}

#[test]
fn parameter_sets_of_sdp() {
    let sprop = "Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOvjyyLA";
    let sets = ParameterSets::from_sprop(sprop);
    assert!(sets.is_complete());
    assert_eq!(sets.size(), Some((640, 360)));
    let fmtp = format!("packetization-mode=1;sprop-parameter-sets={sprop};profile-level-id=64001e");
    assert_eq!(ParameterSets::from_fmtp(&fmtp), sets);
    let none = ParameterSets::from_fmtp("packetization-mode=1");
    assert_eq!(none, ParameterSets::default());
    assert!(!ParameterSets::from_sprop("Z2QAHqzZ,!!,").is_complete());
}

#[test]
fn what_stands_beside_a_picture_does_not_tell_its_layer() {
    let beside = |units: &[&[u8]]| inspect(&stap(units), false).beside;
    let (delimiter, sei, filler): (&[u8], &[u8], &[u8]) = (&[9, 0x30], &[6, 5, 1], &[12, 0xff]);
    assert!(beside(&[delimiter]) && beside(&[delimiter, sei]) && beside(&[filler]));
    assert!(!beside(&[delimiter, SPS_360]) && !beside(&[sei, IDR]) && !beside(&[]));
    assert!(
        inspect(&[0x1c, 0x86, 5, 1], false).beside,
        "a part of an SEI"
    );
    assert!(
        !inspect(&[0x6e, 0x80, 0x20, 0x27], false).beside,
        "a prefix"
    );
}

#[test]
fn a_prefix_tells_the_layers_of_its_whole_picture() {
    let mut carry = LayerCarry::default();
    let mut layers = |timestamp, payload: &[u8]| {
        let mut info = inspect(payload, false);
        carry.complete(timestamp, payload, &mut info);
        (info.spatial, info.temporal, info.starts_frame)
    };
    assert_eq!(layers(1, &[0x6e, 0x80, 0x00, 0x47]), (0, 2, true));
    assert_eq!(layers(1, &[0x7c, 0x81, 0x9a]), (0, 2, true));
    assert_eq!(layers(1, &[0x7c, 0x01, 0x9a]), (0, 2, false));
    // An upper spatial layer in fragments.
    assert_eq!(layers(1, &[0x7c, 0x94, 0x80, 0x10, 0x47]), (1, 2, false));
    assert_eq!(layers(1, &[0x7c, 0x14, 1, 2]), (1, 2, false));
    assert_eq!(layers(1, &[0x41, 0x40]), (0, 2, false));
    // The next picture says so itself.
    assert_eq!(layers(2, &[0x41, 0x9a]), (0, 0, true));
    assert_eq!(layers(3, &[0x6e, 0x80, 0x00, 0x07]), (0, 0, true));
    assert_eq!(layers(3, &[0x7c, 0x01, 0x9a]), (0, 0, false));
}

#[test]
fn encrypted_slices_are_not_taken_for_b_frames() {
    use crate::room::Encoding;
    use crate::room::testing::packet;
    use rand::{RngExt, SeedableRng};

    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let mut encoding = Encoding::new(crate::units::MediaKind::Video, None);
    for (encrypted, alarms) in [(true, 0), (false, 1900)] {
        let mut seen = 0;
        for picture in 0..2000u32 {
            // A B slice, or what encryption makes of it.
            let mut slice = [0x01, 0b1001_1100, 0, 0, 0, 0];
            if encrypted {
                rng.fill(&mut slice[1..]);
            }
            let mut packet = packet(u64::from(picture), 0);
            packet.codec = crate::codec::Codec::H264;
            packet.info = inspect(&slice, true);
            packet.payload = slice.into();
            encoding.absorb(&mut packet);
            let health = encoding.snapshot(packet.arrival).health;
            seen += u32::from(health.b_frames);
        }
        assert!(
            seen >= alarms && (seen > 0) == (alarms > 0),
            "{seen} alarms"
        );
    }
}
