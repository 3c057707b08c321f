//! Nanoseconds per packet, and proof that none of it allocates from Rust. Run with
//! `cargo test --profile quick --lib peer::srtp::measure -- --ignored --nocapture`.

use std::time::Instant;

use super::tests::{PROFILES, both_ends};
use super::*;

const ROUNDS: u64 = 300_000;

/// A 12-byte header and 1138 bytes of payload.
const PACKET: usize = 1150;

fn header(buf: &mut [u8], ssrc: u32, seq: u16) {
    buf[0] = 0x80;
    buf[1] = 96;
    buf[2..4].copy_from_slice(&seq.to_be_bytes());
    buf[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

fn report(name: &str, profile: SrtpProfile, rounds: u64, start: Instant) {
    let nanos = start.elapsed().as_nanos() / u128::from(rounds);
    println!("{name} {profile:?}: {nanos} ns");
}

#[test]
#[ignore = "measurement"]
fn measure_one_session() {
    for profile in PROFILES {
        let (client, server) = both_ends(profile, 1);
        let mut sender = SrtpSender::new(&client).unwrap();
        let mut receiver = SrtpReceiver::new(&server).unwrap();
        let mut buf = [0; PACKET + MAX_RTP_OVERHEAD];

        let start = Instant::now();
        for i in 0..ROUNDS {
            header(&mut buf, 1, i as u16);
            let roc = (i >> 16) as u32;
            std::hint::black_box(sender.protect_rtp(&mut buf, 12, PACKET, roc).unwrap());
        }
        report("protect_rtp 1150 B", profile, ROUNDS, start);

        let mut rtcp = [0; 100 + MAX_RTCP_OVERHEAD];
        rtcp[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 1]);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let len = sender.protect_rtcp(&mut rtcp, 100).unwrap();
            std::hint::black_box(len);
        }
        report("protect_rtcp 100 B", profile, ROUNDS, start);

        // Both, since each packet can be opened once only.
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let len = sender.protect_rtcp(&mut rtcp, 100).unwrap();
            receiver.unprotect_rtcp(&mut rtcp[..len]).unwrap();
        }
        report(
            "protect_rtcp + unprotect_rtcp 100 B",
            profile,
            ROUNDS,
            start,
        );

        let start = Instant::now();
        let rounds = 2000;
        for _ in 0..rounds {
            std::hint::black_box(SrtpSender::new(&client).unwrap());
            std::hint::black_box(SrtpReceiver::new(&client).unwrap());
        }
        report("new sender and receiver", profile, rounds, start);
    }
    println!(
        "size of sender {} B, receiver {} B",
        size_of::<SrtpSender>(),
        size_of::<SrtpReceiver>()
    );
}

/// As fan-out does it: one packet to many sessions, whose keys are cold.
#[test]
#[ignore = "measurement"]
fn measure_fan_out() {
    for profile in PROFILES {
        let sessions = 1000;
        let mut senders: Vec<SrtpSender> = (0..sessions)
            .map(|seed| SrtpSender::new(&both_ends(profile, seed).0).unwrap())
            .collect();
        let payload = [7; PACKET];
        let mut arena = vec![0; 64 * (PACKET + MAX_RTP_OVERHEAD)];
        let rounds = 200;
        let start = Instant::now();
        for seq in 0..rounds {
            for (i, sender) in senders.iter_mut().enumerate() {
                let at = i % 64 * (PACKET + MAX_RTP_OVERHEAD);
                let buf = &mut arena[at..at + PACKET + MAX_RTP_OVERHEAD];
                buf[..PACKET].copy_from_slice(&payload);
                header(buf, 1, seq as u16);
                std::hint::black_box(sender.protect_rtp(buf, 12, PACKET, 0).unwrap());
            }
        }
        report(
            "copy + protect_rtp to 1000 sessions",
            profile,
            rounds * sessions,
            start,
        );
    }
}
