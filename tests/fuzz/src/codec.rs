//! Payloads and the dependency descriptor.

use std::time::Instant;

use weir::codec::dependency_descriptor as dd;
use weir::codec::{Codec, h264 as avc, h265 as hevc, inspect, opus, red};
use weir::codec::{vp8 as v8, vp9 as v9};
use weir::viewer::line::{Line, SourceId};

/// Splits data into packets: a length byte before each, in units of four bytes.
fn packets(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        let (packet, after) = after.split_at((usize::from(length) * 4).min(after.len()));
        rest = after;
        Some(packet)
    })
}

pub fn h264(data: &[u8]) {
    inspect(Codec::H264, data, true);
    let mut sets = avc::ParameterSets::default();
    sets.absorb(data);
    packets(data).for_each(|packet| {
        sets.absorb(packet);
    });
    assert!(!sets.clone().absorb(&[]));
    let mut out = [0; 1200];
    if let Some(len) = sets.write_stap_a(&mut out) {
        let mut again = avc::ParameterSets::default();
        assert!(again.absorb(&out[..len]));
        assert_eq!(again, sets);
        assert!(inspect(Codec::H264, &out[..len], false).has_parameter_sets);
    }
}

pub fn h265(data: &[u8]) {
    inspect(Codec::H265, data, true);
    let mut sets = hevc::ParameterSets::default();
    sets.absorb(data);
    packets(data).for_each(|packet| {
        sets.absorb(packet);
    });
    let mut out = [0; 1200];
    if let Some(len) = sets.write_ap(&mut out) {
        let mut again = hevc::ParameterSets::default();
        assert!(again.absorb(&out[..len]));
        assert_eq!(again, sets);
        assert!(inspect(Codec::H265, &out[..len], false).has_parameter_sets);
    }
}

pub fn sprop(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    avc::ParameterSets::from_fmtp(text);
    avc::ParameterSets::from_sprop(text).is_complete();
    hevc::ParameterSets::from_fmtp(text);
    hevc::ParameterSets::from_sprop(text).is_complete();
}

/// Packets on a viewer's line: some switch the source, some are cut. Picture ids must follow each
/// other as the source's do, closed up over cuts; they are compared as unwrapped
/// numbers, since a source may jump by any distance.
pub fn vp8(data: &[u8]) {
    let now = Instant::now();
    let mut line = Line::new(90_000, 7, 0);
    let mut source = SourceId {
        epoch: 1,
        encoding: 0,
    };
    line.switch(source, 0, 0, now, None);
    // The newest source id, the same one's place on the viewer's line, and the next
    // sequence number out.
    let mut newest: Option<(u16, i64)> = None;
    let (mut next, mut out) = (0i64, 7u64);
    for (seq, packet) in (0u64..).zip(packets(data)) {
        let mut packet = packet.to_vec();
        let info = inspect(Codec::Vp8, &packet, false);
        let Some(before) = v8::Descriptor::parse(&packet) else {
            line.cut(seq, false);
            continue;
        };
        let id = before.picture_id.filter(|id| id.wide).map(|id| id.value);
        match (before.key_idx, id) {
            (Some(0), Some(id)) => {
                source.encoding ^= 1;
                line.switch(source, seq, 0, now, None);
                let picture = (next as u16).wrapping_sub(id);
                line.change(seq, |moves| moves.picture = picture);
                newest = Some((id, next));
            }
            (Some(1), Some(id)) => {
                line.cut(seq, false);
                line.change(seq + 1, |m| m.picture = m.picture.wrapping_sub(1));
                let place =
                    newest.map_or(i64::from(id), |(before, place)| place + step(before, id));
                newest = Some((id, place - 1));
                continue;
            }
            _ => {}
        }
        let place = line.place(seq, 0, now).expect("the newest has a place");
        assert_eq!(place.seq, out, "no hole");
        out += 1;
        info.ids.write_moved(&mut packet, place.moves.picture, 3);
        let after = v8::Descriptor::parse(&packet).expect("still readable");
        let wide = before.picture_id.map(|id| id.wide);
        assert_eq!(after.picture_id.map(|id| id.wide), wide);
        assert_eq!((after.len, after.temporal), (before.len, before.temporal));
        if let Some(id) = id {
            let unwrapped = match newest {
                Some((before, place)) => place + step(before, id),
                None => i64::from(id),
            };
            let written = after.picture_id.map(|id| i64::from(id.value));
            assert_eq!(written, Some(unwrapped.rem_euclid(1 << 15)));
            newest = Some((id, unwrapped));
            next = unwrapped + 1;
        }
    }
}

/// From one 15-bit id to another, the shorter way.
fn step(from: u16, to: u16) -> i64 {
    let ahead = i64::from(to.wrapping_sub(from) & 0x7fff);
    if ahead < 1 << 14 {
        ahead
    } else {
        ahead - (1 << 15)
    }
}

pub fn vp9(data: &[u8]) {
    let info = inspect(Codec::Vp9, data, false);
    let mut packet = data.to_vec();
    let Some(before) = v9::Descriptor::parse(&packet) else {
        return;
    };
    info.ids.write_moved(&mut packet, 0x2a55, 77);
    let after = v9::Descriptor::parse(&packet).expect("still readable");
    assert_eq!((after.len, after.layers), (before.len, before.layers));
    assert_eq!(after.structure, before.structure);
}

pub fn av1(data: &[u8]) {
    inspect(Codec::Av1, data, true);
}

pub fn dependency_descriptor(data: &[u8]) {
    let mut reader = dd::Reader::default();
    let mut out = [0; 1100];
    let packets = std::iter::once(data).chain(packets(data));
    for packet in packets {
        let Ok(before) = reader.read(packet) else {
            continue;
        };
        before.packet_info();
        let own = dd::Structure::parse(packet).expect("read before");
        let structure = own
            .as_ref()
            .or(reader.structure())
            .expect("a structure is known");
        let mask = 0x5a5a_5a5a & structure.all_targets();
        if let Ok(len) = dd::write_active_decode_targets(packet, structure, mask, &mut out) {
            let after = dd::Descriptor::parse(&out[..len], structure).expect("still readable");
            assert_eq!(after.active_decode_targets, Some(mask));
            assert_eq!(after.frame_diffs, before.frame_diffs);
            assert_eq!(after.indications, before.indications);
            assert_eq!(after.chain_diffs, before.chain_diffs);
        }
    }
}

pub fn audio(data: &[u8]) {
    inspect(Codec::Opus, data, false);
    if let Some(toc) = opus::parse(data) {
        assert!((1..=5760).contains(&toc.samples));
    }
    if let Some(told) = red::Summary::of(data) {
        let primary = data.get(usize::from(told.primary)..);
        opus::parse(primary.expect("it lies in the payload"));
    }
}
