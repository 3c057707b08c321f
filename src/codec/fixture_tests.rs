//! Streams of real encoders (`tests/fixtures/rtp`): what is read must be what the
//! encoder was told.

use webrtc_util::marshal::Unmarshal;

use super::*;

/// A packet of a fixture.
pub struct Packet {
    pub timestamp: u32,
    pub marker: bool,
    pub dependency_descriptor: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// Chromium's extension id for the dependency descriptor in the fixtures.
const DEPENDENCY_DESCRIPTOR: u8 = 13;

/// Reads a fixture: RTP packets in RFC 4571 framing.
pub fn packets(name: &str) -> Vec<Packet> {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/tests/fixtures/rtp/{name}.rtp");
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        rest = after;
        let packet = rtp::packet::Packet::unmarshal(&mut &packet[..]).unwrap();
        all.push(Packet {
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            dependency_descriptor: packet
                .header
                .get_extension(DEPENDENCY_DESCRIPTOR)
                .map(|e| e.to_vec()),
            payload: packet.payload.to_vec(),
        });
    }
    assert!(!all.is_empty());
    all
}

/// Every fixture of video: codec, size, and ticks from keyframe to keyframe
/// where the encoder was told; 0 where only the first frame is one.
pub const VIDEO: [(&str, Codec, (u16, u16), u32); 18] = [
    ("h264-baseline", Codec::H264, (322, 182), 72_000),
    ("h264-bframes", Codec::H264, (640, 360), 45_000),
    ("h264-single-nal", Codec::H264, (320, 240), 45_000),
    ("h264-444", Codec::H264, (322, 182), 72_000),
    ("chromium-h264", Codec::H264, (320, 180), 0),
    ("h265", Codec::H265, (322, 182), 72_000),
    ("h265-gst", Codec::H265, (640, 360), 45_000),
    ("vp8", Codec::Vp8, (322, 182), 72_000),
    ("chromium-vp8-l1t3", Codec::Vp8, (320, 180), 0),
    ("chromium-vp8-l1t3-dd", Codec::Vp8, (320, 180), 0),
    ("vp9", Codec::Vp9, (322, 182), 72_000),
    ("vp9-gst", Codec::Vp9, (640, 360), 45_000),
    ("chromium-vp9-l3t3", Codec::Vp9, (1280, 720), 0),
    ("chromium-vp9-l2t2-key", Codec::Vp9, (640, 360), 11_430),
    ("av1", Codec::Av1, (322, 182), 72_000),
    ("chromium-av1-l1t3", Codec::Av1, (320, 180), 0),
    ("chromium-av1-l2t2", Codec::Av1, (640, 360), 0),
    ("chromium-av1-l3t3", Codec::Av1, (1280, 720), 0),
];

#[test]
fn keyframes_are_where_the_encoder_put_them() {
    for (name, codec, _, interval) in VIDEO {
        let all = packets(name);
        let first = all[0].timestamp;
        let mut starts: Vec<_> = all
            .iter()
            .filter(|p| inspect(codec, &p.payload, p.marker).starts_keyframe)
            .map(|p| p.timestamp.wrapping_sub(first))
            .collect();
        starts.dedup();
        let last = all.iter().map(|p| p.timestamp.wrapping_sub(first) as i32);
        let last = last.max().unwrap() as u32;
        let want: Vec<u32> = match interval {
            0 => vec![0],
            step if name == "chromium-vp9-l2t2-key" => vec![0, step],
            step => (0..=last).step_by(step as usize).collect(),
        };
        assert_eq!(starts, want, "{name}");
    }
}

#[test]
fn sizes_are_the_encoders() {
    for (name, codec, size, _) in VIDEO {
        let told: Vec<_> = packets(name)
            .iter()
            .filter_map(|p| inspect(codec, &p.payload, p.marker).size)
            .collect();
        assert!(told.contains(&size), "{name}: {told:?}");
        // Only a sender that ramps up its spatial layers tells more than one.
        let single = told.iter().all(|s| *s == size);
        assert_eq!(
            single,
            !name.starts_with("chromium-vp9"),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn frames_begin_and_end_where_the_time_stamp_changes() {
    for (name, codec, ..) in VIDEO {
        let all = packets(name);
        let infos: Vec<_> = all
            .iter()
            .map(|p| inspect(codec, &p.payload, p.marker))
            .collect();
        assert!(infos[0].starts_frame, "{name}");
        for at in 1..all.len() {
            if all[at].timestamp != all[at - 1].timestamp {
                assert!(infos[at].starts_frame, "{name} packet {at}");
                assert!(infos[at - 1].ends_frame, "{name} packet {at}");
            }
        }
    }
}

#[test]
fn b_frames_are_seen_only_where_they_are() {
    for (name, codec, ..) in VIDEO {
        let count = packets(name)
            .iter()
            .filter(|p| inspect(codec, &p.payload, p.marker).b_frame)
            .count();
        let has_some = matches!(name, "h264-bframes" | "h264-444");
        assert_eq!(count > 10, has_some, "{name}: {count}");
        assert_eq!(count > 0, has_some, "{name}: {count}");
    }
}

#[test]
fn parameter_sets_of_real_encoders_survive_the_way_through() {
    let mut out = [0; 1200];
    for (name, codec, size, _) in VIDEO {
        let first = packets(name);
        match codec {
            Codec::H264 => {
                let mut sets = h264::ParameterSets::default();
                let changes = first.iter().filter(|p| sets.absorb(&p.payload)).count();
                assert!((1..=2).contains(&changes), "{name}");
                let len = sets.write_stap_a(&mut out).unwrap();
                let info = h264::inspect(&out[..len], false);
                assert!(info.has_parameter_sets && info.size == Some(size), "{name}");
                let mut again = h264::ParameterSets::default();
                assert!(again.absorb(&out[..len]) && again == sets, "{name}");
            }
            Codec::H265 => {
                let mut sets = h265::ParameterSets::default();
                assert!(first.iter().any(|p| sets.absorb(&p.payload)), "{name}");
                let len = sets.write_ap(&mut out).unwrap();
                let info = h265::inspect(&out[..len], false);
                assert!(info.has_parameter_sets && info.size == Some(size), "{name}");
                let mut again = h265::ParameterSets::default();
                assert!(again.absorb(&out[..len]) && again == sets, "{name}");
            }
            _ => {}
        }
    }
}

#[test]
fn dependency_descriptors_of_chromium_agree_with_the_payload() {
    let with = |name: &str| name.starts_with("chromium") && name != "chromium-vp8-l1t3";
    for (name, codec, ..) in VIDEO.iter().filter(|v| with(v.0)) {
        let mut reader = dependency_descriptor::Reader::default();
        let mut frame: Option<u16> = None;
        let mut temporal_layers = 0;
        for (at, p) in packets(name).iter().enumerate() {
            let d = reader
                .read(p.dependency_descriptor.as_deref().unwrap())
                .unwrap();
            let (told, payload) = (d.packet_info(), inspect(*codec, &p.payload, p.marker));
            let context = format!("{name} packet {at}");
            assert_eq!(told.starts_keyframe, payload.starts_keyframe, "{context}");
            assert_eq!(told.starts_frame, payload.starts_frame, "{context}");
            // Beside this extension, Chromium's VP8 descriptor tells no layers.
            let layers = (told.spatial, told.temporal);
            let vp8 = *codec == Codec::Vp8;
            let want = if vp8 {
                layers
            } else {
                (payload.spatial, payload.temporal)
            };
            assert_eq!(layers, want, "{context}");
            if *codec == Codec::Vp9 {
                assert_eq!(told.ends_frame, payload.ends_frame, "{context}");
            }
            if vp8 {
                assert_eq!(told.discardable, payload.discardable, "{context}");
            }
            if let Some(frame) = frame {
                let step = d.frame_number.wrapping_sub(frame);
                assert_eq!(step, u16::from(d.start_of_frame), "{context}");
            }
            frame = Some(d.frame_number);
            temporal_layers = temporal_layers.max(d.temporal + 1);
        }
        let want = match *name {
            "chromium-h264" => 1,
            name if name.contains("t2") => 2,
            _ => 3,
        };
        assert_eq!(temporal_layers, want, "{name}");
    }
}

#[test]
fn opus_packets_follow_the_time_stamp() {
    let all = packets("opus");
    for pair in all.windows(2) {
        let toc = opus::parse(&pair[0].payload).unwrap();
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert_eq!(u32::from(toc.samples), step);
        assert!(toc.stereo && !toc.silent);
    }
    let info = inspect(Codec::Opus, &all[0].payload, false);
    assert!(info.starts_frame && info.ends_frame);
}
