//! Encoders that leave single spatial layers of a picture out, the lower ones of a higher one too, as Chromium's of AV1
//! does where its rate is scarce: viewers of the lower layers must see where each picture ends.

use super::*;
use crate::codec::dependency_descriptor::{Mandatory, rewrite_frame_number};

/// Leaves layers of some pictures out: the packets and frames that are left are numbered in a row.
fn leave_out(packets: &[Packet], rng: &mut StdRng) -> Vec<Packet> {
    let mut kept: Vec<Packet> = Vec::new();
    let first = packets[0].seq;
    let (mut frames, mut number) = (0, None);
    for picture in packets.chunk_by(|a, b| a.timestamp == b.timestamp) {
        let highest = picture.iter().map(|p| p.info.spatial).max().unwrap();
        let key = picture.iter().any(|p| p.info.keyframe);
        let left_out = (!key && rng.random_bool(0.3)).then(|| rng.random_range(0..=highest));
        for packet in picture {
            let frame = Mandatory::parse(&packet.passed.dependency)
                .unwrap()
                .frame_number;
            if left_out == Some(packet.info.spatial) && highest > 0 {
                continue;
            }
            if number != Some(frame) {
                (frames, number) = (frames + 1, Some(frame));
            }
            let mut packet = packet.clone();
            packet.seq = first + kept.len() as u64;
            rewrite_frame_number(&mut packet.passed.dependency, frames);
            kept.push(packet);
        }
    }
    for at in 0..kept.len() {
        let next = kept.get(at + 1).map(|p| p.timestamp);
        kept[at].marker = next != Some(kept[at].timestamp);
    }
    kept
}

/// A stream of which layers are left out, with or without descriptors.
fn scarce(name: &str, codec: Codec, described: bool, rng: &mut StdRng) -> Vec<Packet> {
    let mut packets = stream(name, codec, 4, 65_300);
    let mut reader = crate::codec::dependency_descriptor::Reader::default();
    for packet in &mut packets {
        let told = reader
            .read(&packet.passed.dependency)
            .unwrap()
            .packet_info();
        (packet.info.spatial, packet.info.keyframe) = (told.spatial, told.keyframe);
    }
    let mut packets = leave_out(&packets, rng);
    for packet in packets.iter_mut().filter(|_| !described) {
        packet.passed.dependency.clear();
    }
    packets
}

const SPATIAL: [(&str, Codec, bool); 4] = [
    ("chromium-av1-l2t2", Codec::Av1, true),
    ("chromium-av1-l3t3", Codec::Av1, true),
    ("chromium-vp9-l3t3", Codec::Vp9, true),
    ("chromium-vp9-l3t3", Codec::Vp9, false),
];

#[test]
fn a_picture_ends_with_the_highest_layer_that_is_there() {
    for (name, codec, described) in SPATIAL {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let packets = scarce(name, codec, described, &mut rng);
            let mut viewer = Viewer::new(codec, &[], true);
            for (at, packet) in packets.iter().enumerate() {
                viewer.feed(0, packet);
                if at == 0 || rng.random_bool(0.03) {
                    viewer.choose(layers(rng.random_range(0..3), rng.random_range(0..3)));
                }
                match rng.random_range(0..60) {
                    0 => viewer.dry = true,
                    1..=3 => viewer.catch_up(),
                    _ => {}
                }
            }
            viewer.catch_up();
            viewer.assert_no_hole();
            let mut ended = 0;
            let got: Vec<&Got> = viewer.got.values().collect();
            for (at, packet) in got.iter().enumerate() {
                let Some(next) = got.get(at + 1) else {
                    continue; // more may follow
                };
                let ends = next.timestamp != packet.timestamp;
                // Who is far behind leaps to a keyframe, which needs nothing of what was before.
                let leaps = ends && inspect(codec, &next.payload, false).keyframe;
                assert!(packet.marker == ends || leaps, "{name} {seed} {at}");
                ended += usize::from(ends);
            }
            assert!(ended > 8, "{name} {seed}: {ended} pictures");
        }
    }
}

#[test]
fn repairs_of_ends_of_pictures_are_what_was_sent() {
    for (name, codec, described) in SPATIAL {
        let mut checked = 0;
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let packets = scarce(name, codec, described, &mut rng);
            let packets = shuffled(&packets, &mut rng, [0.0, 0.05][seed as usize % 2]);
            let mut viewer = Viewer::new(codec, &[], false);
            for (at, packet) in packets.iter().enumerate() {
                viewer.feed(0, packet);
                if at == 0 || rng.random_bool(0.02) {
                    viewer.choose(layers(rng.random_range(0..3), rng.random_range(0..3)));
                }
                for back in 0..12 {
                    let Some(&seq) = viewer.got.keys().rev().nth(back) else {
                        continue;
                    };
                    viewer.bench.now += Duration::from_secs(1);
                    let (result, sent) = viewer
                        .bench
                        .out(|s, out, e, t| s.repair(out, e, t, seq as u16));
                    if result == Repaired::Gone {
                        continue; // its descriptor can't be made again exactly
                    }
                    assert_eq!(sent[0], viewer.sealed[&seq], "{name} {seed}: bit for bit");
                    checked += 1;
                }
            }
        }
        assert!(checked > 1000, "{name}: {checked}");
    }
}
