//! Against an independent implementation, the `rtcp` crate: what we write it
//! reads, what it writes we read, to the same values.

use std::any::Any;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtcp::extended_report::ReceiverReferenceTimeReportBlock as RrtrBlock;
use rtcp::extended_report::{DLRRReport, DLRRReportBlock, ExtendedReport};
use rtcp::goodbye::Goodbye;
use rtcp::packet::Packet as Theirs;
use rtcp::payload_feedbacks::full_intra_request::{FirEntry as TheirFir, FullIntraRequest};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport as TheirRr;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport as TheirSr;
use rtcp::source_description::{SdesType, SourceDescription};
use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk,
    SymbolSizeTypeTcc, SymbolTypeTcc, TransportLayerCc,
};
use rtcp::transport_feedbacks::transport_layer_nack::{
    NackPair, TransportLayerNack, nack_pairs_from_sequence_numbers,
};

use super::tests::{random_arrivals, random_block, random_info};
use super::*;

const ROUNDS: u64 = 3000;

/// What they read of what we wrote: one packet of type `T`.
fn they_read<T: Any + Clone>(write: impl FnOnce(&mut RtcpWriter<'_>)) -> T {
    let mut buf = vec![0xEE; 8192];
    let mut writer = RtcpWriter::new(&mut buf);
    write(&mut writer);
    let len = writer.len();
    let all = rtcp::packet::unmarshal(&mut &buf[..len]).unwrap();
    assert_eq!(all.len(), 1);
    let packet: &(dyn Any + Send + Sync) = all[0].as_any();
    packet.downcast_ref::<T>().unwrap().clone()
}

/// Reads what they wrote.
fn we_read<R>(theirs: &(dyn Theirs + Send + Sync), read: impl FnOnce(Packet<'_>) -> R) -> R {
    let bytes = theirs.marshal().unwrap();
    let mut all = packets(&bytes);
    let packet = all.next().unwrap().unwrap();
    assert_eq!(all.next(), None);
    read(packet)
}

fn theirs(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        // They keep the 24 bits unsigned.
        total_lost: block.cumulative_lost as u32 & 0xFF_FFFF,
        last_sequence_number: block.ext_max_seq,
        jitter: block.jitter,
        last_sender_report: block.lsr,
        delay: block.dlsr,
    }
}

/// Random values; `total_lost` in the range they can write.
fn random_blocks(rng: &mut StdRng) -> Vec<ReportBlock> {
    (0..rng.random_range(0..=MAX_REPORT_BLOCKS))
        .map(|_| random_block(rng))
        .collect()
}

#[test]
fn reports() {
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..ROUNDS {
        let ssrc = rng.random();
        let info = random_info(&mut rng);
        let blocks = random_blocks(&mut rng);
        let sr = TheirSr {
            ssrc,
            ntp_time: info.ntp.0,
            rtp_time: info.rtp,
            packet_count: info.packets,
            octet_count: info.octets,
            reports: blocks.iter().map(theirs).collect(),
            ..TheirSr::default()
        };
        let read: TheirSr = they_read(|w| w.sender_report(ssrc, &info, &blocks).unwrap());
        assert_eq!(read, sr);
        we_read(&sr, |p| {
            let Packet::SenderReport(r) = p else {
                panic!("{p:?}");
            };
            assert_eq!((r.ssrc, r.info), (ssrc, info));
            assert!(r.blocks().eq(blocks.iter().copied()));
        });

        let rr = TheirRr {
            ssrc,
            reports: blocks.iter().map(theirs).collect(),
            ..TheirRr::default()
        };
        let read: TheirRr = they_read(|w| w.receiver_report(ssrc, &blocks).unwrap());
        assert_eq!(read, rr);
        we_read(&rr, |p| {
            let Packet::ReceiverReport(r) = p else {
                panic!("{p:?}");
            };
            assert_eq!(r.ssrc, ssrc);
            assert!(r.blocks().eq(blocks.iter().copied()));
        });
    }
}

#[test]
fn descriptions_and_goodbyes() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..ROUNDS {
        let ssrc = rng.random();
        let cname: String = (0..rng.random_range(1..=255))
            .map(|_| char::from(rng.random_range(b'!'..=b'~')))
            .collect();
        let read: SourceDescription = they_read(|w| w.sdes_cname(ssrc, &cname).unwrap());
        assert_eq!(read.chunks.len(), 1);
        assert_eq!(read.chunks[0].source, ssrc);
        assert_eq!(read.chunks[0].items.len(), 1);
        assert_eq!(read.chunks[0].items[0].sdes_type, SdesType::SdesCname);
        assert_eq!(read.chunks[0].items[0].text, cname);
        we_read(&read, |p| {
            assert!(matches!(
                p,
                Packet::Other {
                    packet_type: 202,
                    ..
                }
            ));
        });

        let sources: Vec<u32> = (0..rng.random_range(0..32)).map(|_| rng.random()).collect();
        let reason = cname[..rng.random_range(0..cname.len())].to_owned();
        let bye: Goodbye = they_read(|w| w.bye(&sources).unwrap());
        assert_eq!(bye.sources, sources);
        let bye = Goodbye {
            sources: sources.clone(),
            reason: reason.into(),
        };
        we_read(&bye, |p| {
            assert!(matches!(p, Packet::Bye(b) if b.ssrcs().eq(sources.iter().copied())));
        });
    }
}

#[test]
fn requests() {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..ROUNDS {
        let (sender_ssrc, media_ssrc) = (rng.random(), rng.random());
        let first: u16 = rng.random();
        let mut offset = 0_u32;
        let seqs: Vec<u16> = (0..rng.random_range(1..200))
            .map(|_| {
                offset += rng.random_range(1..30);
                first.wrapping_add(offset as u16)
            })
            .collect();
        let nack: TransportLayerNack = they_read(|w| {
            w.nack(sender_ssrc, media_ssrc, seqs.iter().copied())
                .unwrap()
        });
        assert_eq!(
            (nack.sender_ssrc, nack.media_ssrc),
            (sender_ssrc, media_ssrc)
        );
        let listed: Vec<u16> = nack.nacks.iter().flat_map(NackPair::packet_list).collect();
        assert_eq!(listed, seqs);
        // As few entries as theirs, which never share one over the wrap.
        let pairs = nack_pairs_from_sequence_numbers(&seqs);
        if seqs.is_sorted() {
            assert_eq!(nack.nacks, pairs);
        } else {
            assert!(nack.nacks.len() <= pairs.len());
        }
        let theirs = TransportLayerNack {
            sender_ssrc,
            media_ssrc,
            nacks: (0..rng.random_range(1..20))
                .map(|_| NackPair {
                    packet_id: rng.random(),
                    lost_packets: rng.random(),
                })
                .collect(),
        };
        let listed: Vec<u16> = theirs
            .nacks
            .iter()
            .flat_map(NackPair::packet_list)
            .collect();
        we_read(&theirs, |p| {
            let Packet::Nack(n) = p else {
                panic!("{p:?}");
            };
            assert_eq!((n.sender_ssrc, n.media_ssrc), (sender_ssrc, media_ssrc));
            assert!(n.seqs().eq(listed.iter().copied()));
        });

        let pli: PictureLossIndication = they_read(|w| w.pli(sender_ssrc, media_ssrc).unwrap());
        assert_eq!((pli.sender_ssrc, pli.media_ssrc), (sender_ssrc, media_ssrc));
        we_read(&pli, |p| {
            let expected = Pli {
                sender_ssrc,
                media_ssrc,
            };
            assert_eq!(p, Packet::Pli(expected));
        });

        let entries: Vec<FirEntry> = (0..rng.random_range(1..10))
            .map(|_| FirEntry {
                ssrc: rng.random(),
                seq: rng.random(),
            })
            .collect();
        let fir: FullIntraRequest = they_read(|w| w.fir(sender_ssrc, &entries).unwrap());
        let listed: Vec<_> = entries
            .iter()
            .map(|e| TheirFir {
                ssrc: e.ssrc,
                sequence_number: e.seq,
            })
            .collect();
        assert_eq!((fir.sender_ssrc, fir.media_ssrc), (sender_ssrc, 0));
        assert_eq!(fir.fir, listed);
        we_read(&fir, |p| {
            let Packet::Fir(f) = p else {
                panic!("{p:?}");
            };
            assert_eq!(f.sender_ssrc, sender_ssrc);
            assert!(f.entries().eq(entries.iter().copied()));
        });
    }
}

#[test]
fn bitrates() {
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..ROUNDS {
        let sender_ssrc = rng.random();
        let ssrcs: Vec<u32> = (0..rng.random_range(0..=20))
            .map(|_| rng.random())
            .collect();
        // Of every magnitude; they hold it in 24 bits of mantissa, the wire in 18.
        // (Zero they read as something else.)
        let bitrate = (rng.random::<u64>() >> rng.random_range(1..63)).max(1);
        let read: ReceiverEstimatedMaximumBitrate =
            they_read(|w| w.remb(sender_ssrc, bitrate, &ssrcs).unwrap());
        assert_eq!((read.sender_ssrc, &read.ssrcs), (sender_ssrc, &ssrcs));
        let error = bitrate as f64 - f64::from(read.bitrate);
        assert!(
            error >= 0.0 && error <= bitrate as f64 / f64::from(1 << 17),
            "{bitrate}"
        );
        we_read(&read, |p| {
            let Packet::Remb(r) = p else {
                panic!("{p:?}");
            };
            assert_eq!(r.sender_ssrc, sender_ssrc);
            assert_eq!(r.bitrate as f32, read.bitrate, "{bitrate}");
            assert!(r.ssrcs().eq(ssrcs.iter().copied()));
        });
    }
}

#[test]
fn extended_reports() {
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..ROUNDS {
        let ssrc = rng.random();
        let now = NtpTime(rng.random());
        let answers: Vec<Dlrr> = (0..rng.random_range(1..20))
            .map(|_| Dlrr {
                ssrc: rng.random(),
                lrr: rng.random(),
                dlrr: rng.random(),
            })
            .collect();
        let rrtr = RrtrBlock {
            ntp_timestamp: now.0,
        };
        let dlrr = DLRRReportBlock {
            reports: answers
                .iter()
                .map(|a| DLRRReport {
                    ssrc: a.ssrc,
                    last_rr: a.lrr,
                    dlrr: a.dlrr,
                })
                .collect(),
        };
        let read: ExtendedReport = they_read(|w| w.xr_rrtr(ssrc, now).unwrap());
        assert_eq!(read.sender_ssrc, ssrc);
        assert_eq!(read.reports.len(), 1);
        let block: &(dyn Any + Send + Sync) = read.reports[0].as_any();
        assert_eq!(block.downcast_ref::<RrtrBlock>(), Some(&rrtr));

        let both = ExtendedReport {
            sender_ssrc: ssrc,
            reports: vec![Box::new(rrtr), Box::new(dlrr)],
        };
        we_read(&both, |p| {
            let Packet::Xr(xr) = p else {
                panic!("{p:?}");
            };
            assert_eq!(xr.ssrc, ssrc);
            let blocks: Vec<_> = xr.blocks().collect();
            assert_eq!(blocks[0], XrBlock::Rrtr(now));
            assert!(matches!(blocks[1], XrBlock::Dlrr(l) if l.iter().eq(answers.iter().copied())));
            assert_eq!(blocks.len(), 2);
        });
    }
}

/// The status of each packet, as their chunks tell it.
fn symbols(theirs: &TransportLayerCc) -> Vec<SymbolTypeTcc> {
    let mut all = Vec::new();
    for chunk in &theirs.packet_chunks {
        match chunk {
            PacketStatusChunk::RunLengthChunk(c) => {
                all.resize(
                    all.len() + usize::from(c.run_length),
                    c.packet_status_symbol,
                );
            }
            PacketStatusChunk::StatusVectorChunk(c) => all.extend(&c.symbol_list),
        }
    }
    all.truncate(usize::from(theirs.packet_status_count));
    all
}

/// Sequence numbers and deltas, as they tell them.
fn their_statuses(theirs: &TransportLayerCc) -> Vec<(u16, Option<i32>)> {
    let mut deltas = theirs.recv_deltas.iter();
    symbols(theirs)
        .into_iter()
        .enumerate()
        .map(|(i, symbol)| {
            let seq = theirs.base_sequence_number.wrapping_add(i as u16);
            let arrived = symbol != SymbolTypeTcc::PacketNotReceived;
            (seq, arrived.then(|| deltas.next().unwrap().delta as i32))
        })
        .collect()
}

#[test]
fn transport_feedback_we_write() {
    for seed in 0..ROUNDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let arrivals = random_arrivals(&mut rng);
        let (sender_ssrc, media_ssrc, count) = (rng.random(), rng.random(), rng.random());
        let mut told = 0;
        let read: TransportLayerCc = they_read(|w| {
            let base = arrivals[0].seq;
            told = w
                .twcc(sender_ssrc, media_ssrc, count, base, &arrivals)
                .unwrap();
        });
        assert_eq!(
            (read.sender_ssrc, read.media_ssrc),
            (sender_ssrc, media_ssrc)
        );
        assert_eq!(read.fb_pkt_count, count);
        assert_eq!(read.recv_deltas.len(), told, "seed {seed}");
        let first = arrivals[0];
        assert_eq!(read.base_sequence_number, first.seq as u16);
        assert_eq!(
            read.reference_time,
            (first.micros / 64_000) as u32 & 0xFF_FFFF
        );
        let mut now = (first.micros / 64_000 * 64_000) as i64;
        let mut at = arrivals[..told].iter();
        for (seq, delta) in their_statuses(&read) {
            if let Some(delta) = delta {
                let arrival = at.next().unwrap();
                assert_eq!(seq, arrival.seq as u16);
                now += i64::from(delta);
                assert!((now - arrival.micros as i64).abs() <= 125, "seed {seed}");
            }
        }
        assert_eq!(at.next(), None);
        // And we read the same as they.
        we_read(&read, |p| {
            let Packet::Twcc(t) = p else {
                panic!("{p:?}");
            };
            assert!(t.statuses().eq(their_statuses(&read)), "seed {seed}");
        });
    }
}

/// Chunks of all kinds in any order, which our writer would not choose.
#[test]
fn transport_feedback_they_write() {
    for seed in 0..ROUNDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let symbol = |rng: &mut StdRng| match rng.random_range(0..3) {
            0 => SymbolTypeTcc::PacketNotReceived,
            1 => SymbolTypeTcc::PacketReceivedSmallDelta,
            _ => SymbolTypeTcc::PacketReceivedLargeDelta,
        };
        let mut theirs = TransportLayerCc {
            sender_ssrc: rng.random(),
            media_ssrc: rng.random(),
            base_sequence_number: rng.random(),
            reference_time: rng.random_range(0..1 << 24),
            fb_pkt_count: rng.random(),
            ..TransportLayerCc::default()
        };
        let mut statuses = 0;
        for _ in 0..rng.random_range(1..12) {
            let chunk = match rng.random_range(0..3) {
                0 => {
                    let run_length = rng.random_range(1..60);
                    statuses += run_length;
                    PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                        type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                        packet_status_symbol: symbol(&mut rng),
                        run_length,
                    })
                }
                1 => {
                    statuses += 14;
                    let one = |rng: &mut StdRng| match rng.random() {
                        true => SymbolTypeTcc::PacketReceivedSmallDelta,
                        false => SymbolTypeTcc::PacketNotReceived,
                    };
                    PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                        type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                        symbol_size: SymbolSizeTypeTcc::OneBit,
                        symbol_list: (0..14).map(|_| one(&mut rng)).collect(),
                    })
                }
                _ => {
                    statuses += 7;
                    PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                        type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                        symbol_size: SymbolSizeTypeTcc::TwoBit,
                        symbol_list: (0..7).map(|_| symbol(&mut rng)).collect(),
                    })
                }
            };
            theirs.packet_chunks.push(chunk);
        }
        theirs.packet_status_count = statuses;
        theirs.recv_deltas = symbols(&theirs)
            .into_iter()
            .filter(|s| *s != SymbolTypeTcc::PacketNotReceived)
            .map(|type_tcc_packet| {
                let steps = match type_tcc_packet {
                    SymbolTypeTcc::PacketReceivedSmallDelta => rng.random_range(0..=255),
                    // Also those that a small one could tell.
                    _ => i64::from(rng.random::<i16>()),
                };
                RecvDelta {
                    type_tcc_packet,
                    delta: steps * 250,
                }
            })
            .collect();
        // The last vector may be of more packets than are counted.
        let expected = their_statuses(&theirs);
        we_read(&theirs, |p| {
            let Packet::Twcc(t) = p else {
                panic!("{p:?}");
            };
            assert_eq!(
                (t.sender_ssrc, t.media_ssrc),
                (theirs.sender_ssrc, theirs.media_ssrc)
            );
            assert_eq!(t.reference_time as u32 & 0xFF_FFFF, theirs.reference_time);
            assert_eq!(t.feedback_count, theirs.fb_pkt_count);
            assert!(t.statuses().eq(expected.iter().copied()), "seed {seed}");
        });
    }
}
