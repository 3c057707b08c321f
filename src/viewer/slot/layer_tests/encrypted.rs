//! Payloads that are encrypted end to end: only what stands ahead of the frame's
//! own bytes is in clear, and the dependency descriptor.

use std::collections::HashSet;

use super::*;
use crate::codec::vp9;

/// Bytes of a payload that are not the frame's own: its format's descriptor, or AV1's
/// aggregation header.
fn clear(codec: Codec, payload: &[u8]) -> usize {
    let length = match codec {
        Codec::Vp8 => vp8::Descriptor::parse(payload).map(|d| d.len),
        Codec::Vp9 => vp9::Descriptor::parse(payload).map(|d| d.len),
        _ => Some(1),
    };
    length.expect("a descriptor").min(payload.len())
}

/// A fixture whose frames nobody can read.
fn encrypted(name: &str, codec: Codec, first_seq: u64, rng: &mut StdRng) -> Vec<Packet> {
    let mut packets = stream(name, codec, 8, first_seq);
    for packet in &mut packets {
        let mut payload = packet.payload.to_vec();
        let from = clear(codec, &payload);
        payload[from..].fill_with(|| rng.random());
        packet.info = inspect(codec, &payload, packet.marker);
        packet.payload = payload.into();
    }
    packets
}

#[test]
fn encrypted_payloads_switch_by_their_descriptors_and_stay_as_they_are() {
    for (name, codec) in LAYERED {
        for seed in 0..4 {
            let mut rng = StdRng::seed_from_u64(seed);
            let streams = [30, 900_000].map(|first| encrypted(name, codec, first, &mut rng));
            let sealed = |packet: &Packet| {
                let from = clear(codec, &packet.payload);
                packet.payload[from..].to_vec()
            };
            let sent = streams
                .each_ref()
                .map(|s| s.iter().map(sealed).collect::<HashSet<_>>());
            let mut viewer = Viewer::new(codec, &["a", "b"], true);
            viewer.switch_about(&streams, &mut rng);
            viewer.assert_no_hole();
            assert!(viewer.decode().len() > 30, "{name}");
            let mut of = [0, 0];
            for got in viewer.got.values().filter(|g| !g.padding) {
                let frame = got.payload[clear(codec, &got.payload)..].to_vec();
                let from = [0, 1].into_iter().find(|i| sent[*i].contains(&frame));
                of[from.expect("bytes that were sent")] += 1;
            }
            assert!(of[0] > 10 && of[1] > 10, "{name} {seed}: {of:?}");
        }
    }
}
