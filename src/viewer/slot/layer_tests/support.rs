//! Layered streams made of captures, and a viewer whose slot they go through: what it gets is
//! judged by a model of a decoder.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use smallvec::SmallVec;

use crate::codec::dependency_descriptor::{Mandatory, Reader, rewrite_frame_number};
use crate::codec::{fixture_tests, inspect};
use crate::peer::header::{self, ExtensionIds};
use crate::peer::negotiate::HeaderExtension;
use crate::room::testing;
use crate::viewer::catch_up::Step;
use crate::viewer::slot::tests::{Bench, aim, bench_of};
use crate::viewer::slot::*;

pub(super) const DESCRIPTOR_ID: u8 = 9;

/// How many packets each packet of a fixture is made of.
pub(super) const PARTS: usize = 3;

/// A fixture played `laps` times in a row as one stream, each of its packets in
/// several parts.
pub(in crate::viewer::slot) fn stream(
    name: &str,
    codec: Codec,
    laps: u32,
    first_seq: u64,
) -> Vec<Packet> {
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
pub(super) fn part_of(codec: Codec, payload: &mut [u8], part: usize) {
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

fn goes_ahead(result: &Forwarded) -> bool {
    matches!(result, Forwarded::Ahead(_))
}

/// A packet as a viewer got it.
#[derive(Debug, Clone)]
pub(in crate::viewer::slot) struct Got {
    pub timestamp: u32,
    pub marker: bool,
    pub padding: bool,
    pub descriptor: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(in crate::viewer::slot) struct Viewer {
    pub bench: Bench,
    /// By extended outgoing number.
    pub got: BTreeMap<u64, Got>,
    pub(super) sealed: BTreeMap<u64, Vec<u8>>,
    pub(super) newest: u64,
    /// New choices are made after the packet that brought them, as when a worker does both in one round.
    pub(super) aims_late: bool,
    /// The pacer has run dry.
    pub(super) dry: bool,
}

impl Viewer {
    pub fn new(codec: Codec, rids: &[&str], rtx: bool) -> Self {
        let pair = (DESCRIPTOR_ID, HeaderExtension::DependencyDescriptor);
        Self::with(codec, rids, rtx, &[pair])
    }

    pub(super) fn with(
        codec: Codec,
        rids: &[&str],
        rtx: bool,
        known: &[(u8, HeaderExtension)],
    ) -> Self {
        Self {
            bench: bench_of(codec, rids, rtx, known),
            got: BTreeMap::new(),
            sealed: BTreeMap::new(),
            newest: 0,
            aims_late: false,
            dry: false,
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
        let dry = self.dry;
        let (results, sent) = self.bench.out(|s, out, e, t| {
            let mut results = Vec::new();
            let later = s.behind.is_some_and(|b| b.covers(encoding, packet.seq))
                || dry && s.fall_behind(t, encoding, &packet, out.now);
            while !later && results.last().is_none_or(goes_ahead) {
                results.push(s.forward(out, e, t, encoding, &packet));
            }
            results
        });
        self.bench.track.settle();
        if new_choices {
            aim(&mut self.bench.slot, &self.bench.track);
        }
        let failed = |r: &Forwarded| matches!(r, Forwarded::Failed(_) | Forwarded::Ahead(Err(_)));
        assert!(!results.iter().any(failed), "{results:?}");
        for datagram in sent {
            self.take(datagram);
        }
    }

    /// Sends what a dry pacer left in the ring.
    pub(super) fn catch_up(&mut self) {
        self.dry = false;
        while self.bench.slot.behind.is_some() {
            let (step, sent) = self.bench.out(|s, out, e, t| s.advance(out, e, t));
            assert!(!matches!(step, Step::Failed(_)), "{step:?}");
            for datagram in sent {
                self.take(datagram);
            }
        }
    }

    pub(super) fn take(&mut self, datagram: Vec<u8>) {
        let mut plain = datagram.clone();
        let opened = self.bench.receiver.unprotect_rtp(&mut plain).unwrap();
        let ids = ExtensionIds::new(&[(DESCRIPTOR_ID, HeaderExtension::DependencyDescriptor)]);
        let (header, elements) = header::read(&plain[..opened.len], &ids).unwrap();
        let back = (self.newest as u16).wrapping_sub(header.sequence) as i16;
        let seq = match self.newest {
            0 => u64::from(header.sequence),
            newest => newest.wrapping_add_signed(-i64::from(back)),
        };
        self.newest = self.newest.max(seq);
        let got = Got {
            timestamp: header.timestamp,
            marker: header.marker,
            padding: header.padding,
            descriptor: elements.passed.dependency.to_vec(),
            payload: plain[opened.header_len..opened.len].to_vec(),
        };
        assert!(self.got.insert(seq, got).is_none(), "a number twice");
        self.sealed.insert(seq, datagram);
    }

    /// Plays the streams of two encodings, `a` and `b`, picture by picture, and wishes for the other
    /// one now and then.
    pub fn switch_about(&mut self, streams: &[Vec<Packet>; 2], rng: &mut StdRng) {
        let [ours, others] = streams
            .each_ref()
            .map(|s| s.chunk_by(|a, b| a.timestamp == b.timestamp));
        let mut shown = "a";
        for (at, (a, b)) in ours.zip(others).enumerate() {
            for (encoding, picture) in [(0, a), (1, b)] {
                for packet in picture {
                    self.feed(encoding, packet);
                }
            }
            if rng.random_bool(0.06) || at == 0 {
                shown = if shown == "a" { "b" } else { "a" };
                self.choose(LayerWish {
                    rid: Some(shown.into()),
                    temporal: rng.random_bool(0.5).then_some(0),
                    ..LayerWish::default()
                });
            }
        }
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

pub(in crate::viewer::slot) fn layers(spatial: u8, temporal: u8) -> LayerWish {
    LayerWish {
        spatial: Some(spatial),
        temporal: Some(temporal),
        ..LayerWish::default()
    }
}

/// The packets in an order in which some come late, as repairs do.
pub(in crate::viewer::slot) fn shuffled(
    packets: &[Packet],
    rng: &mut StdRng,
    share: f64,
) -> Vec<Packet> {
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
