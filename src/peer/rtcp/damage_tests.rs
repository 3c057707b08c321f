//! Damaged and random packets: errors, never a panic.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::tests::{random_arrivals, random_block, random_info, written};
use super::*;

/// Everything reading can touch.
fn exhaust(bytes: &[u8]) -> usize {
    let mut items = 0;
    for packet in packets(bytes).flatten() {
        items += match packet {
            Packet::SenderReport(r) => r.blocks().count(),
            Packet::ReceiverReport(r) => r.blocks().count(),
            Packet::Bye(b) => b.ssrcs().count(),
            Packet::Nack(n) => n.seqs().count(),
            Packet::Fir(f) => f.entries().count(),
            Packet::Remb(r) => r.ssrcs().count(),
            Packet::Twcc(t) => {
                let statuses = t.statuses().count();
                assert_eq!(statuses, usize::from(t.packet_count));
                statuses
            }
            Packet::Xr(x) => x
                .blocks()
                .map(|b| match b {
                    XrBlock::Dlrr(list) => list.iter().count(),
                    _ => 1,
                })
                .sum(),
            Packet::Pli(_) | Packet::Other { .. } => 1,
        };
    }
    items
}

/// 200 000 damaged compounds: nothing panics, and what is read is bounded by
/// what was sent (transport feedback may claim 65535 losses in a few bytes).
#[test]
fn damage_never_panics() {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..2_000 {
        let blocks: Vec<_> = (0..rng.random_range(0..4))
            .map(|_| random_block(&mut rng))
            .collect();
        let arrivals = random_arrivals(&mut rng);
        let info = random_info(&mut rng);
        let first: u16 = rng.random();
        let mut good = written(|w| {
            w.sender_report(1, &info, &blocks).unwrap();
            w.sdes_cname(1, "cname").unwrap();
            w.nack(1, 2, (0..20).map(|i| first.wrapping_add(i * 7)))
                .unwrap();
            w.twcc(1, 2, 3, arrivals[0].seq, &arrivals).unwrap();
            w.fir(1, &[FirEntry { ssrc: 3, seq: 4 }]).unwrap();
            w.remb(1, 123_456, &[1, 2, 3]).unwrap();
            w.xr_rrtr(1, info.ntp).unwrap();
            w.bye(&[1]).unwrap();
        });
        // An extended report with two answers to reference times (RFC 3611 §4.5).
        let answers = [0x80CF_0008u32, 1, 0x0500_0006, 1, 2, 3, 1, 2, 3];
        good.extend(answers.iter().flat_map(|word| word.to_be_bytes()));
        assert!(packets(&good).all(|p| p.is_ok()));
        for _ in 0..100 {
            let mut bad = good.clone();
            // Start anywhere, so that each packet gets its share of damage.
            let mut start = 0;
            for _ in 0..rng.random_range(0..10) {
                let words = u16::from_be_bytes([bad[start + 2], bad[start + 3]]);
                let next = start + 4 + 4 * usize::from(words);
                if next >= bad.len() {
                    break;
                }
                start = next;
            }
            bad.drain(..start);
            for _ in 0..rng.random_range(1..6) {
                let near = rng.random_range(1..=bad.len().min(64));
                let at = rng.random_range(0..near);
                match rng.random_range(0..3) {
                    0 => bad[at] = rng.random(),
                    1 => bad[at] ^= 1 << rng.random_range(0..8),
                    _ => bad.truncate(at.max(1)),
                }
            }
            assert!(exhaust(&bad) <= bad.len() * 65_535);
        }
    }
    let mut bytes = vec![0; 64];
    for _ in 0..100_000 {
        let len = rng.random_range(0..=64);
        rng.fill_bytes(&mut bytes);
        bytes[0] = bytes[0] & 0x3F | 0x80;
        bytes[1] = rng.random_range(198..210);
        bytes[2] = 0;
        bytes[3] &= 0x0F;
        exhaust(&bytes[..len]);
    }
}
