//! No bytes make a parser panic: fixtures mutated a hundred thousand times for
//! each codec, the same way in every run. `tests/fuzz` looks further.

use super::fixture_tests::{VIDEO, packets};
use super::*;

const ROUNDS: usize = 100_000;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    /// Changes a few bytes of the head, where the syntax is, and cuts some off.
    fn mutate(&mut self, from: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(from);
        for _ in 0..1 + self.below(6) {
            let head = into.len().min(64);
            let at = self.below(head);
            let value = match self.below(4) {
                0 => 0,
                1 => 0xff,
                _ => self.next() as u8,
            };
            match self.below(5) {
                0 => into.insert(at, value),
                1 if !into.is_empty() => {
                    into.remove(at);
                }
                2 if self.below(4) == 0 => into.truncate(at),
                _ => {
                    if let Some(byte) = into.get_mut(at) {
                        *byte ^= value;
                    }
                }
            }
        }
    }
}

/// Runs `check` on mutations of the given seeds.
fn mutations(seeds: &[Vec<u8>], mut check: impl FnMut(&mut Vec<u8>)) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    for round in 0..ROUNDS {
        random.mutate(&seeds[round % seeds.len()], &mut bytes);
        check(&mut bytes);
    }
}

fn payloads(codec: Codec) -> Vec<Vec<u8>> {
    let names = VIDEO.iter().filter(|v| v.1 == codec);
    names
        .flat_map(|(name, ..)| packets(name))
        .map(|p| p.payload)
        .collect()
}

#[test]
fn h264() {
    let mut sets = h264::ParameterSets::default();
    let mut out = [0; 1200];
    mutations(&payloads(Codec::H264), |bytes| {
        inspect(Codec::H264, bytes, false);
        sets.absorb(bytes);
        sets.write_stap_a(&mut out);
    });
}

#[test]
fn h265() {
    let mut sets = h265::ParameterSets::default();
    let mut out = [0; 1200];
    mutations(&payloads(Codec::H265), |bytes| {
        inspect(Codec::H265, bytes, false);
        sets.absorb(bytes);
        sets.write_ap(&mut out);
    });
}

#[test]
fn vp8() {
    mutations(&payloads(Codec::Vp8), |bytes| {
        let info = inspect(Codec::Vp8, bytes, false);
        let Some(before) = vp8::Descriptor::parse(bytes) else {
            return;
        };
        info.ids.write_moved(bytes, 0x2a55, 77);
        let after = vp8::Descriptor::parse(bytes).unwrap();
        let mask = |wide| if wide { 0x7fff } else { 0x7f };
        let moved = |id: PictureId| id.value.wrapping_add(0x2a55) & mask(id.wide);
        let want = before.picture_id.map(moved);
        assert_eq!(after.picture_id.map(|id| id.value), want);
        let tl0 = before.tl0_pic_idx.map(|tl0| tl0.wrapping_add(77));
        assert_eq!(after.tl0_pic_idx, tl0);
        assert_eq!((after.len, after.temporal), (before.len, before.temporal));
    });
}

#[test]
fn vp9() {
    mutations(&payloads(Codec::Vp9), |bytes| {
        let info = inspect(Codec::Vp9, bytes, false);
        let Some(before) = vp9::Descriptor::parse(bytes) else {
            return;
        };
        info.ids.write_moved(bytes, 0x2a55, 77);
        let after = vp9::Descriptor::parse(bytes).unwrap();
        let tl0 = before.tl0_pic_idx.map(|tl0| tl0.wrapping_add(77));
        assert_eq!(after.tl0_pic_idx, tl0);
        assert_eq!((after.len, after.structure), (before.len, before.structure));
    });
}

#[test]
fn av1() {
    mutations(&payloads(Codec::Av1), |bytes| {
        inspect(Codec::Av1, bytes, false);
    });
}

#[test]
fn dependency_descriptor() {
    let seeds: Vec<_> = VIDEO
        .iter()
        .flat_map(|(name, ..)| packets(name))
        .filter_map(|p| p.dependency_descriptor)
        .collect();
    let mut reader = super::dependency_descriptor::Reader::default();
    let mut out = [0; 300];
    mutations(&seeds, |bytes| {
        let Ok(before) = reader.read(bytes) else {
            return;
        };
        before.packet_info();
        let structure = super::dependency_descriptor::Structure::parse(bytes).unwrap();
        let Some(structure) = structure.or_else(|| reader.structure().cloned()) else {
            return;
        };
        let mask = 0x5555_5555 & structure.all_targets();
        let write = super::dependency_descriptor::write_active_decode_targets;
        let len = write(bytes, &structure, mask, &mut out).unwrap();
        let after = super::dependency_descriptor::Descriptor::parse(&out[..len], &structure);
        let want = super::dependency_descriptor::Descriptor {
            active_decode_targets: Some(mask),
            ..before
        };
        assert_eq!(after, Ok(want));
    });
}

#[test]
fn opus_and_red() {
    let audio: Vec<_> = packets("opus").into_iter().map(|p| p.payload).collect();
    mutations(&audio, |bytes| {
        inspect(Codec::Opus, bytes, false);
        opus::parse(bytes);
        let primary = red::Summary::of(bytes).map_or(0, |told| told.primary);
        assert!(usize::from(primary) <= bytes.len());
    });
}
