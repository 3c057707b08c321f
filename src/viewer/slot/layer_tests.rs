//! Real layered streams through a slot, over losses, reordering and changes of
//! wishes: what comes out is judged by a model of a decoder.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use smallvec::SmallVec;

use super::tests::{Bench, aim, bench_of};
use super::*;
use crate::codec::dependency_descriptor::{Mandatory, Reader, rewrite_frame_number};
use crate::codec::fixture_tests;
use crate::codec::{inspect, vp8};
use crate::control::messages::LayerWish;
use crate::peer::header::{self, ExtensionIds};
use crate::peer::negotiate::HeaderExtension;
use crate::room::testing;

mod encrypted;
mod h265;

const DESCRIPTOR_ID: u8 = 9;

/// How many packets each packet of a fixture is made of.
const PARTS: usize = 3;

/// A fixture played `laps` times in a row as one stream, each of its packets in
/// several parts.
pub(super) fn stream(name: &str, codec: Codec, laps: u32, first_seq: u64) -> Vec<Packet> {
    let mut fixture = fixture_tests::packets(name);
    // The end of a capture may be in the middle of a picture.
    while fixture.last().is_some_and(|p| !p.marker) {
        fixture.pop();
    }
    let start = fixture[0].timestamp;
    let span = fixture.last().unwrap().timestamp.wrapping_sub(start) + 3000;
    let mut pictures: Vec<u32> = fixture.iter().map(|p| p.timestamp).collect();
    pictures.dedup();
    let frames = fixture
        .iter()
        .filter_map(|p| Mandatory::parse(p.dependency_descriptor.as_deref()?))
        .filter(|m| m.start_of_frame)
        .count();
    let tl0 = |p: &fixture_tests::Packet| inspect(codec, &p.payload, false).ids.tl0;
    let bases = match (tl0(&fixture[0]), tl0(fixture.last().unwrap())) {
        (Some(first), Some(last)) => last.wrapping_sub(first) + 1,
        _ => 0,
    };
    let mut all = Vec::new();
    for lap in 0..laps {
        for p in &fixture {
            for part in 0..PARTS {
                let last = part + 1 == PARTS;
                let timestamp = p.timestamp.wrapping_sub(start) + lap * span;
                let mut packet = testing::packet(first_seq + all.len() as u64, timestamp);
                let mut payload = p.payload.clone();
                part_of(codec, &mut payload, part);
                let ids = inspect(codec, &payload, false).ids;
                ids.write_moved(
                    &mut payload,
                    (lap as usize * pictures.len()) as u16,
                    (lap * u32::from(bases)) as u8,
                );
                if let Some(descriptor) = &p.dependency_descriptor {
                    let mut descriptor = descriptor.clone();
                    let number = Mandatory::parse(&descriptor).unwrap().frame_number;
                    let number = number.wrapping_add((lap as usize * frames) as u16);
                    rewrite_frame_number(&mut descriptor, number);
                    if part > 0 {
                        // A structure stands in the first packet alone.
                        descriptor[0] &= 0x7f;
                        if descriptor.get(3).is_some_and(|flags| flags & 0x80 != 0) {
                            descriptor.truncate(3);
                        }
                    }
                    if !last {
                        descriptor[0] &= 0xbf;
                    }
                    packet.passed.dependency = SmallVec::from_slice(&descriptor);
                }
                packet.codec = codec;
                packet.marker = p.marker && last;
                packet.info = inspect(codec, &payload, packet.marker);
                packet.payload = payload.into();
                all.push(packet);
            }
        }
    }
    // Not all pictures of a capture are whole.
    for at in 0..all.len() {
        let time = all[at].timestamp;
        all[at].marker = all
            .get(at + 1)
            .is_none_or(|next: &Packet| next.timestamp != time);
    }
    all
}

/// Makes a payload say which part of its packet it is.
fn part_of(codec: Codec, payload: &mut [u8], part: usize) {
    let (first, last) = (part == 0, part + 1 == PARTS);
    match codec {
        Codec::Vp8 if !first => payload[0] &= !0x10,
        Codec::Vp9 => {
            payload[0] &= if first { 0xff } else { !0x08 };
            payload[0] &= if last { 0xff } else { !0x04 };
        }
        Codec::Av1 if !first => payload[0] &= !0x08,
        _ => {}
    }
}

/// A packet as a viewer got it.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub timestamp: u32,
    pub marker: bool,
    pub padding: bool,
    pub descriptor: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(super) struct Viewer {
    pub bench: Bench,
    /// By extended outgoing number.
    pub got: BTreeMap<u64, Got>,
    sealed: BTreeMap<u64, Vec<u8>>,
    newest: u64,
    /// New choices are made after the packet that brought them, as when a worker does both in one round.
    aims_late: bool,
}

impl Viewer {
    pub fn new(codec: Codec, rids: &[&str], rtx: bool) -> Self {
        let pair = (DESCRIPTOR_ID, HeaderExtension::DependencyDescriptor);
        Self::with(codec, rids, rtx, &[pair])
    }

    fn with(codec: Codec, rids: &[&str], rtx: bool, known: &[(u8, HeaderExtension)]) -> Self {
        Self {
            bench: bench_of(codec, rids, rtx, known),
            got: BTreeMap::new(),
            sealed: BTreeMap::new(),
            newest: 0,
            aims_late: false,
        }
    }

    pub fn choose(&mut self, wish: LayerWish) {
        self.bench.slot.wish = wish;
        aim(&mut self.bench.slot, &self.bench.track);
    }

    pub fn feed(&mut self, encoding: u8, packet: &Packet) {
        let mut packet = packet.clone();
        let track = &mut self.bench.track;
        let changes = track.ladder.changes();
        track.ingest(encoding, packet.clone());
        packet = track.pending.last().unwrap().1.clone();
        let new_choices = track.ladder.changes() != changes;
        if new_choices && !self.aims_late {
            aim(&mut self.bench.slot, &self.bench.track);
        }
        let (result, sent) = self
            .bench
            .out(|s, out, e, t| s.forward(out, e, t, encoding, &packet));
        self.bench.track.settle();
        if new_choices {
            aim(&mut self.bench.slot, &self.bench.track);
        }
        assert!(!matches!(result, Forwarded::Failed(_)), "{result:?}");
        for datagram in sent {
            self.take(datagram);
        }
    }

    fn take(&mut self, datagram: Vec<u8>) {
        let mut plain = datagram.clone();
        let opened = self.bench.receiver.unprotect_rtp(&mut plain).unwrap();
        let ids = ExtensionIds::new(&[(DESCRIPTOR_ID, HeaderExtension::DependencyDescriptor)]);
        let (header, passed) = header::read(&plain[..opened.len], &ids).unwrap();
        let back = (self.newest as u16).wrapping_sub(header.sequence) as i16;
        let seq = match self.newest {
            0 => u64::from(header.sequence),
            newest => newest.wrapping_add_signed(-i64::from(back)),
        };
        self.newest = self.newest.max(seq);
        let got = Got {
            timestamp: header.timestamp,
            marker: header.marker,
            padding: plain[0] & 0x20 != 0,
            descriptor: passed.dependency.to_vec(),
            payload: plain[opened.header_len..opened.len].to_vec(),
        };
        assert!(self.got.insert(seq, got).is_none(), "a number twice");
        self.sealed.insert(seq, datagram);
    }

    /// No number is missing.
    pub fn assert_no_hole(&self) {
        let (first, last) = (*self.got.keys().next().unwrap(), self.newest);
        assert_eq!(self.got.len() as u64, last - first + 1, "holes");
    }

    /// The decoder's view: every frame is whole, its references came before it, its number is
    /// higher than those before it, it belongs to an active decode target, and
    /// the marker stands on the last packet of each picture. Returns the layers of each frame.
    pub fn decode(&self) -> Vec<(u8, u8)> {
        let mut reader = Reader::default();
        let mut decoded = BTreeSet::new();
        let mut number = None::<u64>;
        let mut open = false;
        let mut layers = Vec::new();
        let media: Vec<&Got> = self.got.values().filter(|g| !g.padding).collect();
        for (at, got) in media.iter().enumerate() {
            let d = reader.read(&got.descriptor).expect("a known template");
            let full = match number {
                None => u64::from(d.frame_number),
                Some(n) => n + u64::from(d.frame_number.wrapping_sub(n as u16)),
            };
            let step = number.map_or(0, |n| full - n);
            assert!(step < 1000, "frame numbers go on: {step}");
            if d.start_of_frame {
                assert!(
                    !open,
                    "the frame before is whole: {:?} then {full} at {at}, {:?}",
                    layers.iter().rev().take(4).collect::<Vec<_>>(),
                    media[at.saturating_sub(6)..=at]
                        .iter()
                        .map(|g| (g.timestamp, g.descriptor[0] >> 6, g.descriptor[2], g.marker))
                        .collect::<Vec<_>>()
                );
                assert!(number.is_none_or(|n| full > n));
                for diff in d.frame_diffs.as_slice() {
                    let reference = full - u64::from(*diff);
                    assert!(
                        decoded.contains(&reference),
                        "frame {full} (S{} T{}) at packet {at} refers to {reference}",
                        d.spatial,
                        d.temporal
                    );
                }
                let structure = reader.structure().unwrap();
                let active = reader.active_decode_targets();
                let is_active = (0..structure.targets()).any(|t| {
                    let present = d.indications.get(t)
                        != crate::codec::dependency_descriptor::Indication::NotPresent;
                    active & 1 << t != 0 && present
                });
                assert!(is_active, "of no active decode target");
                layers.push((d.spatial, d.temporal));
            } else {
                assert!(open && step == 0, "a frame begins with its first packet");
            }
            number = Some(full);
            open = !d.end_of_frame;
            if d.end_of_frame {
                decoded.insert(full);
            }
            let ends = media
                .get(at + 1)
                .is_none_or(|n| n.timestamp != got.timestamp);
            assert_eq!(
                got.marker,
                ends,
                "marker at {at} of {:?}: {:?}",
                layers.last(),
                media[at.saturating_sub(6)..(at + 3).min(media.len())]
                    .iter()
                    .map(|g| (g.timestamp, g.descriptor[0] >> 6, g.descriptor[2], g.marker))
                    .collect::<Vec<_>>()
            );
        }
        layers
    }
}

pub(super) fn layers(spatial: u8, temporal: u8) -> LayerWish {
    LayerWish {
        spatial: Some(spatial),
        temporal: Some(temporal),
        ..LayerWish::default()
    }
}

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

/// The packets in an order in which some come late, as repairs do.
pub(super) fn shuffled(packets: &[Packet], rng: &mut StdRng, share: f64) -> Vec<Packet> {
    let mut order: Vec<(usize, &Packet)> = Vec::new();
    for (at, packet) in packets.iter().enumerate() {
        let delay = match rng.random_bool(share) {
            true => rng.random_range(1..30),
            false => 0,
        };
        // The first keyframe is there before anything is judged.
        let delay = if at < PARTS * 3 { 0 } else { delay };
        order.push((at + delay, packet));
    }
    order.sort_by_key(|(at, packet)| (*at, packet.seq));
    order
        .into_iter()
        .map(|(_, packet)| packet.clone())
        .collect()
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
            let mut shown = "a";
            let mut pictures = streams[0].chunk_by(|a, b| a.timestamp == b.timestamp);
            let mut others = streams[1].chunk_by(|a, b| a.timestamp == b.timestamp);
            let mut at = 0;
            while let (Some(a), Some(b)) = (pictures.next(), others.next()) {
                for (encoding, picture) in [(0, a), (1, b)] {
                    for packet in picture {
                        viewer.feed(encoding, packet);
                    }
                }
                at += 1;
                if rng.random_bool(0.06) || at == 1 {
                    shown = if shown == "a" { "b" } else { "a" };
                    viewer.choose(LayerWish {
                        rid: Some(shown.into()),
                        temporal: rng.random_bool(0.5).then_some(0),
                        ..LayerWish::default()
                    });
                }
            }
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
