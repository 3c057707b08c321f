//! The same fixtures read by the depacketisers of the `rtp` crate: an
//! independent opinion on every packet.

use bytes::Bytes;
use rtp::codecs::{h264::H264Packet, h265, vp8::Vp8Packet, vp9::Vp9Packet};
use rtp::packetizer::Depacketizer;

use super::fixture_tests::{VIDEO, packets};
use super::*;

#[test]
fn vp8_descriptors() {
    for name in ["vp8", "chromium-vp8-l1t3"] {
        for p in packets(name) {
            let mut other = Vp8Packet::default();
            other.depacketize(&Bytes::from(p.payload.clone())).unwrap();
            let d = vp8::Descriptor::parse(&p.payload).unwrap();
            assert_eq!(d.non_reference, other.n == 1);
            assert_eq!(d.starts_partition, other.s == 1);
            assert_eq!(d.partition, other.pid);
            assert_eq!(d.picture_id.map_or(0, |id| id.value), other.picture_id);
            assert_eq!(d.tl0_pic_idx.unwrap_or(0), other.tl0_pic_idx);
            let (temporal, sync) = d.temporal.unwrap_or_default();
            assert_eq!((temporal, u8::from(sync)), (other.tid, other.y));
            assert_eq!(d.key_idx.unwrap_or(0), other.key_idx);
        }
    }
}

#[test]
fn vp9_descriptors() {
    for (name, ..) in VIDEO.iter().filter(|v| v.1 == Codec::Vp9) {
        for p in packets(name) {
            let mut other = Vp9Packet::default();
            let frame = other.depacketize(&Bytes::from(p.payload.clone())).unwrap();
            let d = vp9::Descriptor::parse(&p.payload).unwrap();
            assert_eq!(p.payload[d.len..], frame[..], "{name}");
            assert_eq!(
                (d.inter_picture, d.flexible, d.starts_frame, d.ends_frame),
                (other.p, other.f, other.b, other.e)
            );
            assert_eq!(d.not_for_upper_layers, other.z);
            assert_eq!(d.picture_id.map_or(0, |id| id.value), other.picture_id);
            let layers = d.layers.unwrap_or_default();
            assert_eq!((layers.temporal, layers.spatial), (other.tid, other.sid));
            assert_eq!((layers.switch_up, layers.inter_layer), (other.u, other.d));
            assert_eq!(d.tl0_pic_idx.unwrap_or(0), other.tl0picidx);
            let diffs: Vec<_> = d.p_diffs.into_iter().filter(|d| *d > 0).collect();
            assert_eq!(diffs, other.pdiff, "{name}");
            if let Some(structure) = d.structure {
                let sizes = structure.sizes.unwrap();
                let count = usize::from(structure.spatial_layers);
                let widths: Vec<_> = sizes[..count].iter().map(|s| s.0).collect();
                let heights: Vec<_> = sizes[..count].iter().map(|s| s.1).collect();
                assert_eq!((widths, heights), (other.width, other.height));
            }
        }
    }
}

/// Types of the NAL units in a byte stream with start codes.
fn annex_b_types(bytes: &[u8]) -> Vec<u8> {
    let starts = bytes.windows(4).filter(|w| w[..3] == [0, 0, 1]);
    starts.map(|w| w[3] & 0x1f).collect()
}

#[test]
fn h264_access_units() {
    for (name, ..) in VIDEO.iter().filter(|v| v.1 == Codec::H264) {
        let mut other = H264Packet::default();
        let mut types = Vec::new();
        let mut ours = PacketInfo::default();
        let mut units = 0;
        for p in packets(name) {
            let info = inspect(Codec::H264, &p.payload, p.marker);
            ours.starts_keyframe |= info.starts_keyframe;
            ours.has_parameter_sets |= info.has_parameter_sets;
            let bytes = other.depacketize(&Bytes::from(p.payload)).unwrap();
            types.extend(annex_b_types(&bytes));
            if p.marker {
                assert_eq!(ours.starts_keyframe, types.contains(&5), "{name} {types:?}");
                assert_eq!(ours.has_parameter_sets, types.contains(&7), "{name}");
                (types, ours) = (Vec::new(), PacketInfo::default());
                units += 1;
            }
        }
        assert!(units > 10, "{name}");
    }
}

#[test]
fn h265_packets() {
    for (name, ..) in VIDEO.iter().filter(|v| v.1 == Codec::H265) {
        for p in packets(name) {
            let mut other = h265::H265Packet::default();
            other.depacketize(&Bytes::from(p.payload.clone())).unwrap();
            let irap = |kind: u8| (16..=23).contains(&kind);
            let sets = |kind: u8| kind == 32 || kind == 33;
            let (starts, has_sets) = match other.payload() {
                h265::H265Payload::H265SingleNALUnitPacket(unit) => {
                    let kind = unit.payload_header().nalu_type();
                    (irap(kind) || sets(kind), sets(kind))
                }
                h265::H265Payload::H265FragmentationUnitPacket(unit) => {
                    let fu = unit.fu_header();
                    (fu.s() && irap(fu.fu_type()), false)
                }
                h265::H265Payload::H265AggregationPacket(units) => {
                    let mut kinds = Vec::new();
                    kinds.extend(units.first_unit().map(|u| u.nal_unit()[0] >> 1 & 0x3f));
                    kinds.extend(
                        units
                            .other_units()
                            .iter()
                            .map(|u| u.nal_unit()[0] >> 1 & 0x3f),
                    );
                    let starts = kinds.iter().any(|&k| irap(k) || sets(k));
                    (starts, kinds.iter().any(|&k| sets(k)))
                }
                other => panic!("{name}: {other:?}"),
            };
            let info = inspect(Codec::H265, &p.payload, p.marker);
            assert_eq!(info.starts_keyframe, starts, "{name}");
            assert_eq!(info.has_parameter_sets, has_sets, "{name}");
        }
    }
}
