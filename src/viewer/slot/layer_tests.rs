//! Real layered streams through a slot, over losses, reordering and changes of
//! wishes: what comes out is judged by a model of a decoder.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::tests::{aim, bench_of};
use super::*;
use crate::codec::{inspect, vp8};
use crate::control::messages::LayerWish;
use crate::peer::egress::{Egress, Outlet};
use crate::room::testing;
use support::{Got, PARTS};
pub(super) use support::{Viewer, layers, shuffled, stream};

mod encrypted;
mod h265;
mod omitted;
mod support;

const LAYERED: [(&str, Codec); 6] = [
    ("chromium-vp8-l1t3-dd", Codec::Vp8),
    ("chromium-vp9-l3t3", Codec::Vp9),
    ("chromium-vp9-l2t2-key", Codec::Vp9),
    ("chromium-av1-l1t3", Codec::Av1),
    ("chromium-av1-l2t2", Codec::Av1),
    ("chromium-av1-l3t3", Codec::Av1),
];

#[test]
fn each_choice_of_layers_can_be_decoded_and_nothing_else_comes() {
    for (name, codec) in LAYERED {
        let packets = stream(name, codec, 3, 70_000);
        let mut known = Viewer::new(codec, &[], true);
        known.feed(0, &packets[0]);
        let grid = known.bench.track.encodings[0].grid.clone();
        for cell in Cell::each().filter(|c| grid.known & c.bit() != 0) {
            let mut viewer = Viewer::new(codec, &[], true);
            viewer.choose(layers(cell.spatial(), cell.temporal()));
            for (at, packet) in packets.iter().enumerate() {
                viewer.feed(0, packet);
                if at == 0 {
                    viewer.choose(layers(cell.spatial(), cell.temporal()));
                }
            }
            viewer.assert_no_hole();
            let seen = viewer.decode();
            let highest = |f: fn(&(u8, u8)) -> u8| seen.iter().map(f).max().unwrap();
            let got = (highest(|l| l.0), highest(|l| l.1));
            assert_eq!(got, (cell.spatial(), cell.temporal()), "{name}");
            assert!(seen.len() > 8, "{name}");
        }
    }
}

#[test]
fn changes_of_layers_leave_no_hole_whatever_is_lost_and_repaired() {
    let mut fillers = 0;
    for (name, codec) in LAYERED {
        for seed in 0..40 {
            let mut rng = StdRng::seed_from_u64(seed);
            let packets = stream(name, codec, 6, 65_500);
            let share = [0.0, 0.02, 0.15][seed as usize % 3];
            let packets = shuffled(&packets, &mut rng, share);
            let mut viewer = Viewer::new(codec, &[], true);
            for packet in &packets {
                viewer.feed(0, packet);
                if rng.random_bool(0.03) {
                    let known = viewer.bench.track.encodings[0].grid.known;
                    let cells: Vec<Cell> = Cell::each().filter(|c| known & c.bit() != 0).collect();
                    let cell = cells[rng.random_range(0..cells.len())];
                    match rng.random_bool(0.2) {
                        true => viewer.choose(LayerWish::default()),
                        false => viewer.choose(layers(cell.spatial(), cell.temporal())),
                    }
                }
            }
            viewer.assert_no_hole();
            fillers += viewer.got.values().filter(|g| g.padding).count();
            let replay = format!("{name}, seed {seed}");
            let outcome = std::panic::catch_unwind(|| viewer.decode().len());
            assert!(outcome.is_ok_and(|frames| frames > 20), "{replay}");
        }
    }
    assert!(fillers > 20, "late packets of cut layers were filled in");
}

#[test]
fn repairs_of_cut_lines_are_what_was_sent() {
    for (name, codec) in LAYERED {
        for rtx in [true, false] {
            let mut rng = StdRng::seed_from_u64(7);
            let packets = shuffled(&stream(name, codec, 4, 100), &mut rng, 0.1);
            let mut viewer = Viewer::new(codec, &[], rtx);
            let mut checked = 0;
            for (at, packet) in packets.iter().enumerate() {
                viewer.feed(0, packet);
                if at % 40 == 30 {
                    let temporal = (at / 40 % 2) as u8;
                    viewer.choose(layers(0, temporal));
                }
                if at % 7 != 0 || at < 30 {
                    continue;
                }
                let back = rng.random_range(0..60);
                let Some((&seq, want)) = viewer.got.iter().rev().nth(back) else {
                    continue;
                };
                let want = want.clone();
                viewer.bench.now += Duration::from_secs(1);
                let (result, sent) = viewer
                    .bench
                    .out(|s, out, e, t| s.repair(out, e, t, seq as u16));
                if result == Repaired::Gone && !rtx {
                    continue; // its descriptor can't be made again exactly
                }
                assert!(matches!(result, Repaired::Sent(_)), "{name} {result:?}");
                if rtx {
                    let (_, _, ssrc, payload) = viewer.bench.open(sent[0].clone());
                    assert_eq!(ssrc, 2222);
                    assert_eq!(payload[..2], (seq as u16).to_be_bytes());
                    let size = if want.padding { 2 } else { payload.len() };
                    assert_eq!(payload[2..size], want.payload[..size - 2]);
                } else {
                    assert_eq!(sent[0], viewer.sealed[&seq], "{name}: bit for bit");
                }
                checked += 1;
            }
            assert!(checked > 10, "{name}: {checked}");
        }
    }
}

#[test]
fn switches_between_encodings_keep_frame_numbers_and_ids_on_one_line() {
    for (name, codec) in LAYERED {
        for seed in 0..10 {
            let mut rng = StdRng::seed_from_u64(seed);
            let streams = [stream(name, codec, 8, 30), stream(name, codec, 8, 900_000)];
            let mut viewer = Viewer::new(codec, &["a", "b"], true);
            viewer.switch_about(&streams, &mut rng);
            viewer.assert_no_hole();
            assert!(viewer.decode().len() > 30, "{name}");
        }
    }
}

/// libwebrtc joins frames of one time only if their descriptors tell their spatial layers:
/// Chromium's viewers have none unless they ask, and could put nothing together.
#[test]
fn a_viewer_without_descriptors_gets_one_spatial_layer_of_av1() {
    for (name, aims_late) in [
        ("l2t2", false),
        ("l3t3", false),
        ("l2t2", true),
        ("l3t3", true),
    ] {
        let packets = stream(&format!("chromium-av1-{name}"), Codec::Av1, 4, 65_400);
        for seed in 0..10 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut viewer = Viewer::with(Codec::Av1, &[], true, &[]);
            viewer.aims_late = aims_late;
            let mut all_temporal = true;
            for packet in &packets {
                viewer.feed(0, packet);
                if rng.random_bool(0.04) {
                    let temporal = rng.random_range(0..3);
                    all_temporal &= temporal == 2;
                    viewer.choose(layers(rng.random_range(0..3), temporal));
                }
            }
            viewer.assert_no_hole();
            let got: Vec<&Got> = viewer.got.values().collect();
            for (at, packet) in got.iter().enumerate() {
                let spatial = inspect(Codec::Av1, &packet.payload, false).spatial;
                assert_eq!(spatial, 0, "{name} {seed}");
                let next = got.get(at + 1);
                let ends = next.is_none_or(|n| n.timestamp != packet.timestamp);
                assert_eq!(packet.marker, ends, "{name} {seed}");
            }
            let mut times: Vec<u32> = got.iter().map(|g| g.timestamp).collect();
            times.dedup();
            let mut sent: Vec<u32> = packets.iter().map(|p| p.timestamp).collect();
            sent.dedup();
            assert!(times.len() * 5 > sent.len(), "{name} {seed}");
            assert!(!all_temporal || times.len() == sent.len(), "{name} {seed}");
        }
    }
}

#[test]
fn vp8_without_descriptor_has_picture_ids_without_a_hole() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let packets = stream("chromium-vp8-l1t3", Codec::Vp8, 6, 100);
        let mut viewer = Viewer::new(Codec::Vp8, &[], true);
        for packet in &packets {
            viewer.feed(0, packet);
            if rng.random_bool(0.05) {
                let temporal = rng.random_range(0..3);
                viewer.choose(layers(0, temporal));
            }
        }
        viewer.assert_no_hole();
        let (mut last, mut tl0) = (None::<(u32, u16)>, None::<u8>);
        let mut highest = [0u8; 3];
        // The temporal layers that can be decoded: a higher one begins with its sync frame.
        let mut flowing = 2;
        for got in viewer.got.values() {
            let d = vp8::Descriptor::parse(&got.payload).unwrap();
            let (id, layer) = (d.picture_id.unwrap().value, d.temporal.unwrap());
            if let Some((timestamp, before)) = last {
                let step = u16::from(got.timestamp != timestamp);
                assert_eq!(id, (before + step) & 0x7fff, "seed {seed}");
            }
            let new = last.is_none_or(|(timestamp, _)| timestamp != got.timestamp);
            last = Some((got.timestamp, id));
            let step = d
                .tl0_pic_idx
                .unwrap()
                .wrapping_sub(tl0.unwrap_or(d.tl0_pic_idx.unwrap()));
            assert_eq!(step, u8::from(tl0.is_some() && new && layer.0 == 0));
            tl0 = d.tl0_pic_idx;
            highest[usize::from(layer.0)] += 1;
            let is_key = layer.0 == 0 && inspect(Codec::Vp8, &got.payload, false).keyframe;
            if is_key {
                flowing = 2;
            } else if new && layer.0 > flowing {
                assert!(layer.1 && layer.0 == flowing + 1, "seed {seed}");
            }
            if new && layer.0 > flowing {
                flowing = layer.0;
            }
        }
        assert!(highest.iter().all(|n| *n > 0), "all layers came");
    }
}

#[test]
fn pictures_that_none_refers_to_can_be_left_out_of_h264() {
    let packets = stream("h264-bframes", Codec::H264, 2, 100);
    let mut viewer = Viewer::new(Codec::H264, &[], true);
    for (at, packet) in packets.iter().enumerate() {
        viewer.feed(0, packet);
        if at == packets.len() / 2 {
            viewer.choose(layers(0, 0));
        }
    }
    viewer.assert_no_hole();
    let half = packets[packets.len() / 2 + 3 * PARTS].timestamp;
    let discardable = |got: &Got| inspect(Codec::H264, &got.payload, got.marker).discardable;
    let base = viewer.got.values().next().unwrap().timestamp;
    let (before, after): (Vec<_>, Vec<_>) = viewer
        .got
        .values()
        .partition(|g| g.timestamp.wrapping_sub(base) < half);
    assert!(before.iter().any(|g| discardable(g)));
    assert!(after.len() > 10 && !after.iter().any(|g| discardable(g)));
}

/// Otherwise one nonce would seal two different packets.
#[test]
fn a_filler_is_resent_as_it_was_after_a_change_of_codecs() {
    let mut bench = bench_of(Codec::Vp8, &[], false, &[]);
    let mut section = super::tests::section(Codec::Vp8, false, &[]);
    let mut second = section.codecs[0].clone();
    (second.pt, second.codec) = (98, Codec::H264);
    section.codecs.push(second);
    let seeds = Seeds {
        sequence: 100,
        rtx_sequence: 9,
        timestamp: 5,
    };
    bench.slot = Slot::new(&section, bench.slot.ssrcs, seeds);
    let mut formats = bench.track.formats.clone();
    formats.push(crate::room::Format {
        codec: Codec::H264,
        ..formats[0].clone()
    });
    let source = crate::room::Source::Local { session: 0 };
    bench.track.attach(source, 2, formats, &[]);
    let mut viewer = Viewer {
        bench,
        ..Viewer::new(Codec::Vp8, &[], false)
    };
    aim(&mut viewer.bench.slot, &viewer.bench.track);
    let packets = stream("chromium-vp8-l1t3", Codec::Vp8, 2, 100);
    let mut late = packets.iter().skip(60).filter(|p| p.info.temporal == 2);
    let late = late.next().unwrap();
    for packet in packets.iter().filter(|p| p.seq != late.seq).take(90) {
        viewer.feed(0, packet);
        viewer.choose(layers(0, 0));
    }
    viewer.feed(0, late);
    let filler = viewer.got.iter().find(|(_, got)| got.padding);
    let seq = *filler.expect("the late packet was filled in").0;
    let mut other = testing::keyframe(packets[90].seq, packets[90].timestamp);
    (other.codec, other.format) = (Codec::H264, 1);
    viewer.feed(0, &other);
    assert_eq!(viewer.bench.track.current_format, Some(1));
    let work = |s: &mut Slot, out: &mut Outlet<'_>, e: &mut Egress, t: &Track| {
        s.repair(out, e, t, seq as u16)
    };
    let (result, sent) = viewer.bench.out(work);
    assert!(matches!(result, Repaired::Sent(_)), "{result:?}");
    assert_eq!(sent[0], viewer.sealed[&seq]);
}
