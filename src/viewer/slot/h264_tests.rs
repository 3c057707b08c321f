//! What is peculiar to H.264 on its way through a slot: parameter sets, and
//! what stands beside the slices.

use super::tests::{Bench, aim, bench_of};
use super::*;
use crate::room::testing::packet;

/// A packet with this NAL unit, or part of one.
fn h264(seq: u64, at: u32, marker: bool, nal: &[u8]) -> Packet {
    let mut packet = packet(seq, at);
    packet.codec = Codec::H264;
    packet.info = crate::codec::inspect(Codec::H264, nal, marker);
    packet.marker = marker;
    packet.payload = nal.into();
    packet
}

#[test]
fn kept_parameter_sets_do_not_take_the_place_of_late_ones() {
    const SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0,
        0, 3, 0, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];
    const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
    const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x00];
    const P: &[u8] = &[0x41, 0x9a, 0x00];
    let mut bench = bench_of(Codec::H264, &[], true, &[]);
    let mut sent = Vec::new();
    let mut feed = |bench: &mut Bench, packet: Packet| {
        bench.track.ingest(0, packet);
        let packet = bench.track.pending.last().unwrap().1.clone();
        let (_, datagrams) = bench.out(|s, out, e, t| s.forward(out, e, t, 0, &packet));
        bench.track.settle();
        for datagram in datagrams {
            let (_, seq, _, payload) = bench.open(datagram);
            sent.push((seq, payload));
        }
    };
    for (seq, nal) in (10..).zip([SPS, PPS, IDR]) {
        feed(&mut bench, h264(seq, 0, seq == 12, nal));
    }
    feed(&mut bench, h264(13, 3000, true, P));
    // The next keyframe's sets are late, or lost and repaired: they have their places.
    for seq in [16, 14, 15, 17] {
        let nal = [SPS, PPS, IDR, P][seq as usize - 14];
        feed(
            &mut bench,
            h264(seq, 6000 + 3000 * (seq as u32 / 17), seq > 15, nal),
        );
    }
    // One that comes without gets the kept ones.
    feed(&mut bench, h264(18, 12_000, true, IDR));
    sent.sort_by_key(|(seq, _)| *seq);
    let first = sent[0].0;
    let kinds = sent.iter().map(|(seq, p)| (seq - first, p[0] & 0x1f));
    let wanted = [7, 8, 5, 1, 7, 8, 5, 1, 24, 5];
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        (0..).zip(wanted).collect::<Vec<_>>()
    );
}

/// Layers told by prefix NAL units (RFC 6190 §1.1.3), and all in packets of their own.
#[test]
fn nothing_is_left_of_a_picture_that_is_cut() {
    const DELIMITER: &[u8] = &[0x09, 0x30];
    const SEI: &[u8] = &[0x06, 5, 1, 0, 0x80];
    const SPS_PPS_IDR: &[u8] = &[
        0x78, 0, 4, 0x67, 0x64, 0, 0x1e, 0, 2, 0x68, 0xce, 0, 4, 0x65, 0x88, 0x84, 0,
    ];
    let mut bench = bench_of(Codec::H264, &[], true, &[]);
    bench.slot.wish = LayerWish {
        temporal: Some(0),
        ..LayerWish::default()
    };
    let mut all = Vec::new();
    for picture in 0..40u32 {
        let temporal = (picture % 2) as u8;
        let mut units: Vec<Vec<u8>> = vec![DELIMITER.into(), SEI.into()];
        if picture == 0 {
            units.push(SPS_PPS_IDR.into());
        } else {
            units.push(vec![0x6e, 0x80, 0, temporal << 5 | 7]);
            units.push(vec![0x7c, 0x81, 0x9a, 0, 1]);
            units.push(vec![0x7c, 0x01, 2, 3, 4]);
            units.push(vec![0x7c, 0x41, 5, 6, 7]);
        }
        if picture % 3 == 0 {
            units.push(vec![0x0c, 0xff, 0x80]); // filler ends it
        }
        let last = units.len() - 1;
        for (at, unit) in units.iter().enumerate() {
            let seq = 50 + all.len() as u64;
            all.push(h264(seq, picture * 3000, at == last, unit));
        }
    }
    // A packet of each kind comes late, one after the other.
    let mut late = Vec::new();
    for at in (60..all.len() - 20).step_by(9) {
        if all[at].payload[0] == 0x6e {
            continue; // without it nobody knows the layer
        }
        late.push(all[at].seq);
        all[at..at + 4].rotate_left(1);
    }
    let mut got = std::collections::BTreeMap::new();
    for packet in &all {
        bench.track.ingest(0, packet.clone());
        aim(&mut bench.slot, &bench.track);
        let packet = bench.track.pending.last().unwrap().1.clone();
        let (_, datagrams) = bench.out(|s, out, e, t| s.forward(out, e, t, 0, &packet));
        bench.track.settle();
        for datagram in datagrams {
            let (padding, marker) = (datagram[0] & 0x20 != 0, datagram[1] & 0x80 != 0);
            let (_, seq, _, payload) = bench.open(datagram);
            let seq = seq.wrapping_sub(65_000 & 0x7fff);
            if !padding {
                got.insert(seq, (packet.timestamp, marker, payload));
            } else {
                got.insert(seq, (u32::MAX, false, payload));
            }
        }
    }
    let numbers: Vec<u16> = got.keys().copied().collect();
    assert_eq!(
        numbers,
        (0..numbers.len() as u16).collect::<Vec<_>>(),
        "no hole"
    );
    let media: Vec<_> = got.values().filter(|g| g.0 != u32::MAX).collect();
    // The first pictures came before layers were known.
    let cut = media.iter().filter(|g| g.0 > 4 * 3000);
    for (time, ..) in cut {
        assert_eq!(time / 3000 % 2, 0, "of the layer that is cut");
    }
    for pictures in media.chunk_by(|a, b| a.0 == b.0) {
        let (time, marker, _) = pictures.last().unwrap();
        assert!(*marker, "picture {} has its end", time / 3000);
        let slices = pictures.iter().filter(|g| matches!(g.2[0] & 0x1f, 24 | 28));
        assert!(slices.count() >= 1, "picture {} is only begun", time / 3000);
    }
    assert!(
        media.iter().any(|g| g.2[0] == 0x0c),
        "filler that ends a picture"
    );
    assert!(!late.is_empty());
}
