//! VP9's layers by its payload descriptor alone, and publishers that turn layers off.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::layer_tests::{Viewer, layers, shuffled, stream};
use super::*;
use crate::codec::dependency_descriptor::{Reader, write_active_decode_targets};

/// Wishes for layers that are there, now and then.
fn wish(viewer: &mut Viewer, rng: &mut StdRng) {
    if rng.random_bool(0.03) {
        let known = viewer.bench.track.encodings[0].grid.known;
        let cells: Vec<Cell> = Cell::each().filter(|c| known & c.bit() != 0).collect();
        match cells.get(rng.random_range(0..cells.len().max(1))) {
            Some(cell) if rng.random_bool(0.8) => {
                viewer.choose(layers(cell.spatial(), cell.temporal()));
            }
            _ => viewer.choose(LayerWish::default()),
        }
    }
}

#[test]
fn vp9_is_cut_by_its_payload_descriptor_alone() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut packets = stream("chromium-vp9-l3t3", Codec::Vp9, 6, 65_500);
        // The decoder's model is told what the slot is not.
        let told: HashMap<Vec<u8>, Vec<u8>> = packets
            .iter()
            .map(|p| (p.payload.to_vec(), p.passed.dependency.to_vec()))
            .collect();
        assert_eq!(told.len(), packets.len());
        for packet in &mut packets {
            packet.passed.dependency.clear();
        }
        let packets = shuffled(&packets, &mut rng, [0.0, 0.02, 0.15][seed as usize % 3]);
        let mut viewer = Viewer::new(Codec::Vp9, &[], true);
        for packet in &packets {
            viewer.feed(0, packet);
            wish(&mut viewer, &mut rng);
        }
        viewer.assert_no_hole();
        for got in viewer.got.values_mut().filter(|got| !got.padding) {
            got.descriptor.clone_from(&told[&got.payload]);
        }
        let outcome = std::panic::catch_unwind(|| viewer.decode());
        seen.extend(outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert_eq!(seen.len(), 9, "all layers flowed at some time");
}

/// A publisher that turned its upper layers off says so, and viewers must not
/// wait for them.
#[test]
fn what_the_publisher_does_not_send_is_no_active_target_of_a_viewer() {
    let packets = stream("chromium-av1-l3t3", Codec::Av1, 1, 100);
    let mut reader = Reader::default();
    let mut layer_of = |p: &Packet| reader.read(&p.passed.dependency).expect("known").spatial;
    let spatial: Vec<u8> = packets.iter().map(&mut layer_of).collect();
    let structure = reader.structure().expect("a structure").clone();
    let lowest = (0..structure.targets())
        .filter(|t| structure.target_layers(*t).is_some_and(|(s, _)| s == 0))
        .fold(0, |mask, target| mask | 1 << target);
    let off = packets[packets.len() / 2].timestamp;
    let mut viewer = Viewer::new(Codec::Av1, &[], true);
    let mut turned_off = false;
    for (packet, spatial) in packets.iter().zip(spatial) {
        let mut packet = packet.clone();
        if packet.timestamp >= off {
            if spatial > 0 {
                continue;
            }
            packet.seq = viewer.bench.track.encodings[0].ring.end().unwrap();
            if !turned_off {
                let mut told = [0; 255];
                let original = &packet.passed.dependency;
                let length = write_active_decode_targets(original, &structure, lowest, &mut told);
                packet.passed.dependency = told[..length.unwrap()].into();
                turned_off = true;
            }
        }
        viewer.feed(0, &packet);
        viewer.choose(layers(1, 1));
    }
    let mut reader = Reader::default();
    let mut active = Vec::new();
    for got in viewer.got.values() {
        reader.read(&got.descriptor).expect("a descriptor");
        active.push(reader.active_decode_targets());
    }
    let of_upper = |mask: &u32| mask & !lowest != 0;
    assert!(active.iter().any(of_upper), "there was an upper layer");
    let last = active.last().unwrap();
    assert!(!of_upper(last) && last & lowest != 0, "{last:b}");
}
