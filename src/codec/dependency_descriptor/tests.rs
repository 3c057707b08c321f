//! Descriptors written field by field from the syntax tables, and what is read of them.

use super::*;

/// Writes a descriptor field by field, in the order of the syntax tables.
#[derive(Clone, Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(mut self, value: u32, count: u32) -> Self {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
        self
    }
    fn all(self, values: &[u32], count: u32) -> Self {
        values.iter().fold(self, |b, &v| b.put(v, count))
    }
    fn head(start: u32, end: u32, template: u32, frame: u32) -> Self {
        Self::default()
            .all(&[start, end], 1)
            .put(template, 6)
            .put(frame, 16)
    }
    fn fdiffs(mut self, templates: &[&[u32]]) -> Self {
        for diffs in templates {
            for diff in *diffs {
                self = self.put(1, 1).put(diff - 1, 4);
            }
            self = self.put(0, 1);
        }
        self
    }
}

const N: u32 = 0;
const D: u32 = 1;
const S: u32 = 2;
const R: u32 = 3;

/// The structure of L1T3 (A.8.3.2 of the specification): one chain, templates of
/// layers 0, 0, 1, 2, 2, with a resolution of 640x360. Begins after the flags.
fn l1t3(b: Bits, id_offset: u32) -> Bits {
    b.put(id_offset, 6)
        .put(2, 5)
        // next_layer_idc: same, next temporal, next temporal, same, end
        .all(&[0, 1, 1, 0, 3], 2)
        .all(&[S, S, S], 2)
        .all(&[R, S, S], 2)
        .all(&[N, D, S], 2)
        .all(&[N, N, D], 2)
        .all(&[N, N, D], 2)
        .fdiffs(&[&[], &[4], &[2], &[1], &[1]])
        // chain_cnt = ns(4) of 1: "01"; protected by chain 0: ns(1) has no bits
        .put(1, 2)
        .all(&[0, 4, 2, 1, 3], 4)
        .put(1, 1)
        .put(639, 16)
        .put(359, 16)
}

fn key(id_offset: u32, frame: u32) -> Vec<u8> {
    l1t3(
        Bits::head(1, 0, id_offset, frame).put(0b10000, 5),
        id_offset,
    )
    .bytes
}

/// Two spatial layers with two decode targets and two chains (K-SVC like).
fn l2t1_key() -> Vec<u8> {
    Bits::head(1, 1, 0, 10)
        .put(0b10000, 5)
        .put(0, 6)
        .put(1, 5)
        .all(&[0, 2, 0, 3], 2)
        .all(&[S, S], 2)
        .all(&[R, R], 2)
        .all(&[N, S], 2)
        .all(&[N, R], 2)
        .fdiffs(&[&[], &[2], &[1], &[2, 1]])
        // chain_cnt = ns(3) of 2: "11"; protected by: ns(2): 0, 1
        .put(0b11, 2)
        .all(&[0, 1], 1)
        .all(&[0, 0, 2, 1, 1, 1, 2, 1], 4)
        .put(1, 1)
        .all(&[319, 179, 639, 359], 16)
        .bytes
}

#[test]
fn structure_of_l1t3() {
    let s = Structure::parse(&key(0, 1)).unwrap().unwrap();
    assert_eq!((s.targets(), s.chains(), s.templates().len()), (3, 1, 5));
    let layers: Vec<_> = s.templates().iter().map(|t| t.temporal).collect();
    assert_eq!(layers, [0, 0, 1, 2, 2]);
    let diffs: Vec<_> = s
        .templates()
        .iter()
        .map(|t| t.frame_diffs.as_slice().to_vec())
        .collect();
    assert_eq!(diffs, [vec![], vec![4], vec![2], vec![1], vec![1]]);
    let chain: Vec<_> = s.templates().iter().map(|t| t.chain_diff(0)).collect();
    assert_eq!(chain, [0, 4, 2, 1, 3]);
    for target in 0..3 {
        assert_eq!(s.target_layers(target), Some((0, target as u8)));
        assert_eq!(s.protecting_chain(target), Some(0));
    }
    assert_eq!(s.target_layers(3), None);
    assert_eq!(s.all_targets(), 0b111);
    assert_eq!((s.resolution(0), s.resolution(1)), (Some((640, 360)), None));
}

#[test]
fn a_stream_of_l1t3() {
    let mut reader = Reader::default();
    let d = reader.read(&key(60, 100)).unwrap();
    assert!(d.is_keyframe() && d.start_of_frame && !d.end_of_frame);
    assert_eq!((d.frame_number, d.size), (100, Some((640, 360))));
    let info = d.packet_info();
    assert!(info.starts_keyframe && info.switch_up && !info.discardable);
    assert_eq!(reader.active_decode_targets(), 0b111);

    // The keyframe's last packet: three bytes, no structure.
    let d = reader.read(&[0x40 | 60, 0, 100]).unwrap();
    assert!(!d.has_structure && d.end_of_frame && !d.packet_info().starts_keyframe);

    // Template ids wrap at 64: 60 + 3 = T2, 60 + 4 = 0 the second T2, 62 = T1.
    for (id, temporal, discardable, switch) in [
        (63, 2, true, false),
        (62, 1, false, true),
        (0, 2, true, false),
        (61, 0, false, true),
    ] {
        let d = reader.read(&[0xc0 | id, 0, 101]).unwrap();
        let info = d.packet_info();
        assert_eq!((d.temporal, d.spatial), (temporal, 0), "template {id}");
        assert_eq!(
            (info.discardable, info.switch_up),
            (discardable, switch),
            "template {id}"
        );
        assert!(info.starts_frame && info.ends_frame);
    }
    assert_eq!(
        reader.read(&[0xc0 | 1, 0, 102]),
        Err(Error::UnknownTemplate)
    );
    reader.reset();
    assert_eq!(
        reader.read(&[0xc0 | 60, 0, 103]),
        Err(Error::UnknownTemplate)
    );
}

#[test]
fn structure_of_two_spatial_layers() {
    let s = Structure::parse(&l2t1_key()).unwrap().unwrap();
    assert_eq!((s.targets(), s.chains(), s.spatial_layers()), (2, 2, 2));
    assert_eq!(
        (s.target_layers(0), s.target_layers(1)),
        (Some((0, 0)), Some((1, 0)))
    );
    assert_eq!(
        (s.protecting_chain(0), s.protecting_chain(1)),
        (Some(0), Some(1))
    );
    assert_eq!(
        (s.resolution(0), s.resolution(1)),
        (Some((320, 180)), Some((640, 360)))
    );
    let d = Descriptor::parse(&[0xc3, 0, 12], &s).unwrap();
    assert_eq!((d.spatial, d.size), (1, Some((640, 360))));
    assert_eq!(d.frame_diffs.as_slice(), [2, 1]);
    assert_eq!((d.chains, d.chain_diffs[0], d.chain_diffs[1]), (2, 2, 1));
    assert_eq!(d.indications.get(0), Indication::NotPresent);
    assert_eq!(d.indications.get(1), Indication::Required);
    assert_eq!(d.indications.get(40), Indication::NotPresent);
}

#[test]
fn custom_fields_and_active_targets() {
    let s = Structure::parse(&l2t1_key()).unwrap().unwrap();
    let custom = Bits::head(1, 1, 1, 12)
        .put(0b01111, 5)
        .put(0b01, 2)
        .all(&[D, S], 2)
        // fdiffs of one, two and three half bytes
        .put(1, 2)
        .put(2, 4)
        .put(2, 2)
        .put(255, 8)
        .put(3, 2)
        .put(4095, 12)
        .put(0, 2)
        .all(&[200, 7], 8)
        .bytes;
    let d = Descriptor::parse(&custom, &s).unwrap();
    assert_eq!(d.active_decode_targets, Some(0b01));
    assert_eq!(d.indications.get(0), Indication::Discardable);
    assert_eq!(d.indications.get(1), Indication::Switch);
    assert_eq!(d.frame_diffs.as_slice(), [3, 256, 4096]);
    assert_eq!(d.chain_diffs[..2], [200, 7]);
    for len in 3..custom.len() {
        let cut = Descriptor::parse(&custom[..len], &s);
        // Three bytes are a descriptor without extended fields.
        assert_eq!(cut.is_ok(), len == 3, "{len} bytes");
    }
}

#[test]
fn a_late_structure_does_not_replace_a_newer_one() {
    let mut reader = Reader::default();
    reader.read(&key(20, 500)).unwrap();
    let late = reader.read(&key(10, 490)).unwrap();
    assert!(late.has_structure, "the late packet itself is readable");
    assert!(reader.read(&[0xc0 | 24, 1, 250]).is_ok());
    assert!(reader.read(&[0xc0 | 12, 1, 250]).is_err());
    // A sender that begins anew is not late.
    reader.read(&key(30, 3)).unwrap();
    assert!(reader.read(&[0xc0 | 34, 0, 4]).is_ok());
}

#[test]
fn limits() {
    // 65 templates.
    let many = Bits::head(1, 1, 0, 1)
        .put(0b10000, 5)
        .put(0, 6)
        .put(0, 5)
        .all(&[0; 70], 2);
    assert_eq!(Structure::parse(&many.bytes), Err(Error::Malformed));
    // A ninth temporal layer, a fifth spatial layer.
    let deep = Bits::head(1, 1, 0, 1)
        .put(0b10000, 5)
        .put(0, 11)
        .all(&[1; 20], 2);
    assert_eq!(Structure::parse(&deep.bytes), Err(Error::Malformed));
    let wide = Bits::head(1, 1, 0, 1)
        .put(0b10000, 5)
        .put(0, 11)
        .all(&[2; 20], 2);
    assert_eq!(Structure::parse(&wide.bytes), Err(Error::Malformed));
    // More references than anybody has.
    let endless = Bits::head(1, 1, 0, 1)
        .put(0b10000, 5)
        .put(0, 11)
        .put(3, 2)
        .put(S, 2);
    let endless = endless
        .fdiffs(&[&[1; MAX_FRAME_DIFFS + 1]])
        .put(0, 16)
        .put(0, 16);
    assert_eq!(Structure::parse(&endless.bytes), Err(Error::Malformed));
    // The largest allowed: 64 templates, 32 decode targets, 32 chains.
    let mut full = Bits::head(1, 1, 0, 1).put(0b10000, 5).put(0, 6).put(31, 5);
    full = full.all(&[0; 63], 2).put(3, 2).all(&[S; 64 * 32], 2);
    // chain_cnt = ns(33) of 32: six bits, the last value.
    full = full
        .put(0, 32)
        .put(0, 32)
        .put(0b111111, 6)
        .all(&[31; 32], 5)
        .all(&[15; 64 * 32], 4);
    let s = Structure::parse(&full.put(0, 1).bytes).unwrap().unwrap();
    assert_eq!((s.targets(), s.chains(), s.templates().len()), (32, 32, 64));
    assert_eq!(s.all_targets(), u32::MAX);
    assert_eq!(s.templates()[63].chain_diff(31), 15);
    assert_eq!(s.protecting_chain(31), Some(31));
    assert_eq!(s.templates()[63].indications.get(31), Indication::Switch);
}

#[test]
fn cut_short_is_malformed() {
    let whole = key(0, 1);
    for len in 0..whole.len() {
        let got = Reader::default().read(&whole[..len]);
        let want = if len == 3 {
            Error::UnknownTemplate
        } else {
            Error::Malformed
        };
        assert_eq!(got, Err(want), "{len} bytes");
    }
}

#[test]
fn frame_numbers_are_rewritten_in_place() {
    let mut extension = key(0, 1);
    assert!(rewrite_frame_number(&mut extension, 0xabcd));
    assert_eq!(extension, key(0, 0xabcd));
    let mut short = [1, 2];
    assert!(!rewrite_frame_number(&mut short, 3));
    assert_eq!(short, [1, 2]);
}

#[test]
fn active_targets_are_written() {
    let s = Structure::parse(&l2t1_key()).unwrap().unwrap();
    let mut out = [0xff; 64];

    // Three bytes: flags and mask are added.
    let len = write_active_decode_targets(&[0xc1, 0, 12], &s, 0b01, &mut out).unwrap();
    assert_eq!(len, 4);
    let d = Descriptor::parse(&out[..len], &s).unwrap();
    assert_eq!(d.active_decode_targets, Some(0b01));
    let mut plain = Descriptor::parse(&[0xc1, 0, 12], &s).unwrap();
    plain.active_decode_targets = Some(0b01);
    assert_eq!(d, plain);

    // With a structure: it stays, and the mask follows it.
    let whole = l2t1_key();
    let len = write_active_decode_targets(&whole, &s, u32::MAX, &mut out).unwrap();
    assert_eq!(Structure::parse(&out[..len]), Ok(Some(s.clone())));
    let d = Descriptor::parse(&out[..len], &s).unwrap();
    assert_eq!(
        (d.active_decode_targets, d.has_structure),
        (Some(0b11), true)
    );

    // With a mask and custom fields: the mask is replaced, the rest is kept.
    let custom = Bits::head(1, 0, 1, 12).put(0b01101, 5).put(0b11, 2);
    let custom = custom.all(&[D, S], 2).all(&[200, 7], 8).bytes;
    let len = write_active_decode_targets(&custom, &s, 0b01, &mut out).unwrap();
    let want = Bits::head(1, 0, 1, 12).put(0b01101, 5).put(0b01, 2);
    assert_eq!(out[..len], want.all(&[D, S], 2).all(&[200, 7], 8).bytes);

    let too_small = write_active_decode_targets(&custom, &s, 0b01, &mut out[..len - 1]);
    assert_eq!(too_small, Err(Error::Malformed));
    let unknown = write_active_decode_targets(&[0xff, 0, 1], &s, 1, &mut out);
    assert_eq!(unknown, Err(Error::UnknownTemplate));
}
