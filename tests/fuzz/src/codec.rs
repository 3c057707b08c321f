//! Payloads and the dependency descriptor.

use weir::codec::dependency_descriptor as dd;
use weir::codec::{Codec, PictureId, PictureIdLine, h264 as avc, h265 as hevc, inspect, opus, red};
use weir::codec::{vp8 as v8, vp9 as v9};

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

pub fn vp8(data: &[u8]) {
    inspect(Codec::Vp8, data, false);
    let mut line = PictureIdLine::default();
    for packet in packets(data) {
        let mut packet = packet.to_vec();
        let Some(before) = v8::Descriptor::parse(&packet) else {
            continue;
        };
        let none = PictureId {
            value: 0,
            wide: true,
        };
        let id = before.picture_id.unwrap_or(none);
        match before.key_idx {
            Some(0) => line.switch(),
            Some(1) => line.cut(id),
            _ => {}
        }
        let Some((id, tl0)) = line.map(id, before.tl0_pic_idx) else {
            continue;
        };
        assert!(v8::rewrite(&mut packet, id, tl0));
        let after = v8::Descriptor::parse(&packet).expect("still readable");
        let wide = before.picture_id.map(|id| id.wide);
        assert_eq!(after.picture_id.map(|id| id.wide), wide);
        assert_eq!((after.len, after.temporal), (before.len, before.temporal));
    }
}

pub fn vp9(data: &[u8]) {
    inspect(Codec::Vp9, data, false);
    let mut packet = data.to_vec();
    let Some(before) = v9::Descriptor::parse(&packet) else {
        assert!(!v9::rewrite(&mut packet, 1, 1));
        return;
    };
    assert!(v9::rewrite(&mut packet, 0x2a55, 77));
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
    let total: usize = red::blocks(data).map(|block| block.data.len()).sum();
    assert!(total <= data.len());
    if let Some(primary) = red::primary(data) {
        opus::parse(primary.data);
    }
}
