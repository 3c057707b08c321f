//! Packets written by hand from the RFCs, and round trips.

use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// The only packet in `bytes`.
fn only(bytes: &[u8]) -> Packet<'_> {
    let mut all = packets(bytes);
    let first = all.next().unwrap().unwrap();
    assert_eq!(all.next(), None);
    first
}

/// What `write` writes.
pub(super) fn written(write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
    let mut buf = vec![0xEE; 8192];
    let mut writer = RtcpWriter::new(&mut buf);
    write(&mut writer);
    let len = writer.len();
    buf.truncate(len);
    buf
}

pub(super) fn random_block(rng: &mut StdRng) -> ReportBlock {
    ReportBlock {
        ssrc: rng.random(),
        fraction_lost: rng.random(),
        cumulative_lost: rng.random_range(-(1 << 23)..1 << 23),
        ext_max_seq: rng.random(),
        jitter: rng.random(),
        lsr: rng.random(),
        dlsr: rng.random(),
    }
}

pub(super) fn random_info(rng: &mut StdRng) -> SenderInfo {
    SenderInfo {
        ntp: NtpTime(rng.random()),
        rtp: rng.random(),
        packets: rng.random(),
        octets: rng.random(),
    }
}

/// Arrivals with losses, reordering and jumps; seldom too far for a delta.
pub(super) fn random_arrivals(rng: &mut StdRng) -> Vec<Arrival> {
    let count = rng.random_range(1..400);
    let mut seq = rng.random_range(0..1 << 20);
    let mut micros = rng.random_range(10_000_000..1_u64 << 40);
    let loss = rng.random_range(0..4_u32);
    (0..count)
        .map(|_| {
            seq += match rng.random_range(0..20_u32) {
                n if n < loss => rng.random_range(2..40),
                19 if loss == 3 => rng.random_range(1..9000),
                _ => 1,
            };
            micros = match rng.random_range(0..60) {
                0 => micros.saturating_sub(rng.random_range(0..5_000_000)),
                1 => micros + rng.random_range(0..8_000_000),
                2 => micros + rng.random_range(60_000..70_000),
                _ => micros + rng.random_range(0..3000),
            };
            Arrival { seq, micros }
        })
        .collect()
}

#[test]
fn a_sender_report_by_hand() {
    let bytes = [
        0x81, 200, 0, 12, // one block, 13 words
        0, 0, 0, 1, // SSRC
        0xDD, 0, 0, 0, 0x80, 0, 0, 0, // NTP
        0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, // RTP time, packets, octets
        0, 0, 0, 5, // block: SSRC
        64, 0xFF, 0xFF, 0xFE, // a quarter lost, -2 in all
        0, 1, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 10,
    ];
    let Packet::SenderReport(report) = only(&bytes) else {
        panic!("not a sender report");
    };
    assert_eq!(report.ssrc, 1);
    assert_eq!(report.info.ntp, NtpTime(0xDD00_0000_8000_0000));
    assert_eq!(
        (report.info.rtp, report.info.packets, report.info.octets),
        (2, 3, 4)
    );
    let blocks: Vec<_> = report.blocks().collect();
    assert_eq!(
        blocks,
        [ReportBlock {
            ssrc: 5,
            fraction_lost: 64,
            cumulative_lost: -2,
            ext_max_seq: 0x1_0007,
            jitter: 8,
            lsr: 9,
            dlsr: 10,
        }]
    );
    assert_eq!(
        written(|w| w.sender_report(1, &report.info, &blocks).unwrap()),
        bytes
    );
}

#[test]
fn nack_entries_by_hand() {
    let bytes = [
        0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, // header, SSRCs
        0xFF, 0xFE, 0x80, 0x05, // 65534, and 1, 3 and 16 after it
        0x01, 0x00, 0x00, 0x00, // 256 alone
    ];
    let Packet::Nack(nack) = only(&bytes) else {
        panic!("not a NACK");
    };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    let seqs: Vec<u16> = nack.seqs().collect();
    assert_eq!(seqs, [65_534, 65_535, 1, 14, 256]);
    assert_eq!(written(|w| w.nack(1, 2, seqs.clone()).unwrap()), bytes);
}

#[test]
fn transport_feedback_by_hand() {
    let bytes = [
        0xAF, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, // padded
        0xFF, 0xFD, 0, 25, // from 65533, 25 packets
        0xFF, 0xFF, 0xFE, 7, // -2 * 64 ms, seventh feedback
        0x20, 0x02, // run: two small
        0xD9, 0x00, // two-bit vector: 1 2 1 0 0 0 0 (symbols 01 10 01 ...)
        0x80, 0x03, // one-bit vector: 12 lost, 2 small
        0x00, 0x02, // run: two lost
        4, 8, 12, 0xFF, 0xFC, 16, 20, 24, // deltas in 250 us
        0, 0, 0, 4, // padding
    ];
    let Packet::Twcc(twcc) = only(&bytes) else {
        panic!("not transport feedback");
    };
    assert_eq!(
        (twcc.base_seq, twcc.packet_count, twcc.feedback_count),
        (65_533, 25, 7)
    );
    assert_eq!(twcc.reference_micros(), -128_000);
    let all: Vec<_> = twcc.statuses().collect();
    assert_eq!(all.len(), 25);
    let arrived: Vec<_> = all
        .iter()
        .filter_map(|(seq, delta)| delta.map(|d| (*seq, d)))
        .collect();
    assert_eq!(
        arrived,
        [
            (65_533, 1000),
            (65_534, 2000),
            (65_535, 3000),
            (0, -1000),
            (1, 4000),
            (18, 5000),
            (19, 6000)
        ]
    );
}

#[test]
fn extended_reports_by_hand() {
    let bytes = [
        0x80, 207, 0, 9, 0, 0, 0, 1, // header, SSRC
        4, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, // RRTR
        9, 0, 0, 0, // unknown block
        5, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, // DLRR
    ];
    let Packet::Xr(xr) = only(&bytes) else {
        panic!("not an extended report");
    };
    let blocks: Vec<_> = xr.blocks().collect();
    assert_eq!(blocks[0], XrBlock::Rrtr(NtpTime(2 << 32 | 3)));
    assert_eq!(blocks[1], XrBlock::Other(9));
    let XrBlock::Dlrr(list) = blocks[2] else {
        panic!("not a DLRR block");
    };
    let answer = Dlrr {
        ssrc: 4,
        lrr: 5,
        dlrr: 6,
    };
    assert_eq!(list.iter().collect::<Vec<_>>(), [answer]);
    assert_eq!(blocks.len(), 3);
    assert_eq!(
        written(|w| w.xr_rrtr(1, NtpTime(2 << 32 | 3)).unwrap())[8..],
        bytes[8..20]
    );
}

#[test]
fn remb_numbers() {
    for (bitrate, told) in [
        (0, 0),
        (1, 1),
        (0x3_FFFF, 0x3_FFFF),
        (0x4_0001, 0x4_0000),
        (2_500_000, 2_500_000 & !0xF),
        (u64::MAX, 0x3_FFFF << 46),
    ] {
        let bytes = written(|w| w.remb(1, bitrate, &[7, 8]).unwrap());
        let Packet::Remb(remb) = only(&bytes) else {
            panic!("not a REMB");
        };
        assert_eq!(remb.bitrate, told, "{bitrate}");
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [7, 8]);
    }
    // An exponent that carries the mantissa over the top.
    let mut bytes = written(|w| w.remb(1, 0x3_FFFF, &[]).unwrap());
    bytes[17] |= 0xFC;
    assert!(matches!(only(&bytes), Packet::Remb(r) if r.bitrate == u64::MAX));
}

#[test]
fn a_compound_keeps_its_order_and_skips_the_unknown() {
    let mut bytes = written(|w| {
        w.sender_report(1, &SenderInfo::default(), &[]).unwrap();
        w.sdes_cname(1, "weir").unwrap();
        w.pli(1, 2).unwrap();
        w.fir(1, &[FirEntry { ssrc: 3, seq: 4 }]).unwrap();
    });
    bytes.extend([0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e']);
    bytes.extend(written(|w| w.bye(&[1, 2]).unwrap()));
    let all: Vec<_> = packets(&bytes).map(Result::unwrap).collect();
    assert!(matches!(all[0], Packet::SenderReport(r) if r.ssrc == 1));
    assert!(matches!(
        all[1],
        Packet::Other {
            packet_type: 202,
            count: 1
        }
    ));
    assert!(matches!(
        all[2],
        Packet::Pli(Pli {
            sender_ssrc: 1,
            media_ssrc: 2
        })
    ));
    assert!(matches!(all[3], Packet::Fir(f) if f.entries().eq([FirEntry { ssrc: 3, seq: 4 }])));
    assert!(matches!(
        all[4],
        Packet::Other {
            packet_type: 204,
            ..
        }
    ));
    assert!(matches!(all[5], Packet::Bye(b) if b.ssrcs().eq([1, 2])));
    assert_eq!(all.len(), 6);
}

/// A malformed packet in the middle is told and the ones around it are read; a
/// wrong length ends the walk.
#[test]
fn errors_are_typed_and_local() {
    let pli = written(|w| w.pli(1, 2).unwrap());
    let mut bytes = pli.clone();
    // A receiver report that counts a block it does not hold.
    bytes.extend([0x81, 201, 0, 1, 0, 0, 0, 1]);
    bytes.extend(&pli);
    let all: Vec<_> = packets(&bytes).collect();
    assert_eq!(all.len(), 3);
    assert_eq!(all[1], Err(RtcpError::Malformed(201)));
    assert!(all[0].is_ok() && all[2].is_ok());

    for (bytes, error) in [
        (&[0x80, 201, 0][..], RtcpError::Truncated),
        (&[0x80, 201, 0, 1, 0, 0, 0], RtcpError::Truncated),
        (&[0x40, 201, 0, 1, 0, 0, 0, 1], RtcpError::Version),
        (&[0xA0, 201, 0, 0], RtcpError::Padding),
        (&[0xA0, 201, 0, 1, 0, 0, 0, 0], RtcpError::Padding),
        (&[0xA0, 201, 0, 1, 0, 0, 0, 5], RtcpError::Padding),
        (&[0x80, 201, 0, 0], RtcpError::Malformed(201)),
        (&[0x81, 206, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(206)),
        (&[0x82, 203, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(203)),
        (
            &[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1],
            RtcpError::Malformed(205),
        ),
    ] {
        let all: Vec<_> = packets(bytes).collect();
        assert_eq!(all, [Err(error)], "{bytes:?}");
    }
}

/// Every length of buffer either holds the packet or leaves the writer as it was.
#[test]
fn writers_never_leave_half_a_packet() {
    let mut rng = StdRng::seed_from_u64(1);
    let blocks: Vec<_> = (0..3).map(|_| random_block(&mut rng)).collect();
    let arrivals = random_arrivals(&mut rng);
    type Write<'a> = &'a dyn Fn(&mut RtcpWriter<'_>) -> Result<(), RtcpError>;
    let writes: [Write<'_>; 8] = [
        &|w| w.sender_report(1, &SenderInfo::default(), &blocks),
        &|w| w.receiver_report(1, &blocks),
        &|w| w.sdes_cname(1, "someone"),
        &|w| w.bye(&[1, 2, 3]),
        &|w| w.nack(1, 2, [1, 2, 100, 200]),
        &|w| w.remb(1, 1_000_000, &[1, 2]),
        &|w| w.twcc(1, 2, 3, arrivals[0].seq, &arrivals).map(drop),
        &|w| w.xr_rrtr(1, NtpTime(1)),
    ];
    for write in writes {
        let mut fitted = false;
        for room in 0..400 {
            let mut buf = vec![0; 12 + room];
            let mut writer = RtcpWriter::new(&mut buf);
            writer.pli(8, 9).unwrap();
            let result = write(&mut writer);
            let len = writer.len();
            match result {
                Ok(()) => fitted = true,
                Err(error) => {
                    assert_eq!(error, RtcpError::NoRoom);
                    assert!(!fitted, "what fits in less fits in more");
                    assert_eq!(len, 12);
                }
            }
            assert!(packets(&buf[..len]).all(|p| p.is_ok()));
        }
        assert!(fitted);
    }
}

#[test]
fn more_than_a_packet_counts_is_refused() {
    let mut buf = vec![0; 4096];
    let mut writer = RtcpWriter::new(&mut buf);
    let blocks = [ReportBlock::default(); MAX_REPORT_BLOCKS + 1];
    let too_much = Err(RtcpError::TooMuch);
    assert_eq!(writer.receiver_report(1, &blocks), too_much);
    assert_eq!(writer.bye(&[0; 32]), too_much);
    assert_eq!(writer.remb(1, 1, &[0; 256]), too_much);
    assert_eq!(writer.sdes_cname(1, &"x".repeat(256)), too_much);
    assert!(writer.is_empty());
    writer.receiver_report(1, &blocks[1..]).unwrap();
    // Values that 24 bits can't hold are clamped.
    let block = ReportBlock {
        cumulative_lost: i32::MIN,
        ..ReportBlock::default()
    };
    let bytes = written(|w| w.receiver_report(1, &[block]).unwrap());
    assert!(
        matches!(only(&bytes), Packet::ReceiverReport(r) if r.blocks().next().unwrap().cumulative_lost == -(1 << 23))
    );
}

/// Feedback that was written tells every arrival to within half a step, and the
/// losses between, in however many packets it takes.
#[test]
fn feedback_tells_arrivals() {
    for seed in 0..1500 {
        let mut rng = StdRng::seed_from_u64(seed);
        let arrivals = random_arrivals(&mut rng);
        let mut rest = &arrivals[..];
        let room = rng.random_range(64..1200);
        let mut count = 0;
        while !rest.is_empty() {
            let mut buf = vec![0xEE; room];
            let mut writer = RtcpWriter::new(&mut buf);
            // Some are missing ahead of the first one.
            let base = rest[0].seq.saturating_sub(rng.random_range(0..40));
            let told = writer.twcc(1, 2, count, base, rest).unwrap();
            let len = writer.len();
            assert!(told > 0 && len <= room, "seed {seed}");
            let Packet::Twcc(twcc) = only(&buf[..len]) else {
                panic!("not transport feedback");
            };
            assert_eq!(twcc.feedback_count, count);
            let expected = &rest[..told];
            assert_eq!(twcc.base_seq, base as u16);
            let mut at = expected.iter();
            // The 24 bits of the reference time wrap about each 12 days.
            let wrap = (expected[0].micros as i64 / 64_000) >> 24 << 24;
            let reference = (i64::from(twcc.reference_time) & 0xFF_FFFF) + wrap;
            let mut now = reference * 64_000;
            for (i, (seq, delta)) in twcc.statuses().enumerate() {
                assert_eq!(seq, (base + i as u64) as u16);
                let Some(delta) = delta else { continue };
                let arrival = at.next().unwrap();
                assert_eq!(arrival.seq as u16, seq, "seed {seed}");
                now += i64::from(delta);
                let error = now - arrival.micros as i64;
                assert!(error.abs() <= 125, "seed {seed}: off by {error} us");
            }
            assert_eq!(at.next(), None, "seed {seed}");
            rest = &rest[told..];
            count = count.wrapping_add(1);
        }
    }
}

#[test]
fn feedback_stops_where_a_delta_does_not_reach() {
    let at = |seq, micros| Arrival { seq, micros };
    let mut buf = [0; 200];
    let mut told = |arrivals: &[Arrival]| {
        let base = arrivals.first().map_or(0, |a| a.seq);
        RtcpWriter::new(&mut buf).twcc(1, 2, 0, base, arrivals)
    };
    assert_eq!(told(&[]), Ok(0));
    assert_eq!(
        told(&[at(1, 0), at(2, 8_191_750), at(3, 16_400_000)]),
        Ok(2)
    );
    assert_eq!(told(&[at(1, 0), at(65_535, 1)]), Ok(2));
    assert_eq!(told(&[at(1, 0), at(65_536, 1)]), Ok(1));
    // A number that repeats or falls ends the packet.
    assert_eq!(told(&[at(5, 0), at(5, 1)]), Ok(1));
    assert_eq!(told(&[at(5, 0), at(4, 1)]), Ok(1));
}

#[test]
fn ntp_and_back() {
    // RFC 868: 2208988800 is 1970-01-01.
    assert_eq!(
        NtpTime::from_unix(Duration::ZERO),
        NtpTime(2_208_988_800 << 32)
    );
    let half = Duration::new(1, 500_000_000);
    assert_eq!(NtpTime::from_unix(half).0, 2_208_988_801 << 32 | 1 << 31);
    assert_eq!(
        NtpTime::from_unix(half).compact(),
        ((2_208_988_801_u64 << 16) as u32) | 0x8000
    );
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..10_000 {
        // Up to 2104, over the end of the first era in 2036.
        let time = Duration::new(
            rng.random_range(0..4_233_462_144),
            rng.random_range(0..1_000_000_000),
        );
        let back = NtpTime::from_unix(time).to_unix();
        assert_eq!(back, time);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    assert_eq!(SystemTime::from(NtpTime::from(now)), now);
}

#[test]
fn round_trips() {
    // The example of RFC 3550 §6.4.1, figure 2.
    let round = round_trip(0xB710_8000, 0xB705_2000, 0x0005_4000).unwrap();
    assert_eq!(round, Duration::from_millis(6125));
    assert_eq!(round_trip(5, 0, 3), None);
    // Over the wrap, and negative by coarse clocks.
    assert_eq!(
        round_trip(0x8000, 0xFFFF_8000, 0x8000),
        Some(Duration::from_millis(500))
    );
    assert_eq!(round_trip(100, 90, 11), Some(Duration::ZERO));
}
