//! Nanoseconds per packet. Run with
//! `cargo test --profile quick --lib peer::srtp::measure -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::tests::{PROFILES, both_ends};
use super::*;

/// A 12-byte header and 1138 bytes of payload.
const PACKET: usize = 1150;

const RTCP_PACKET: usize = 100;

fn header(buf: &mut [u8], ssrc: u32, seq: u16) {
    buf[0] = 0x80;
    buf[1] = 96;
    buf[2..4].copy_from_slice(&seq.to_be_bytes());
    buf[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Prints the quickest and the median of many short runs: on a busy machine the
/// quickest is the one that nobody interrupted.
fn measure(name: &str, profile: SrtpProfile, per_run: u64, mut run: impl FnMut()) {
    let mut nanos: Vec<u128> = (0..301)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() / u128::from(per_run)
        })
        .collect();
    nanos.sort_unstable();
    println!(
        "{name} {profile:?}: best {} ns, median {} ns",
        nanos[0], nanos[150]
    );
}

#[test]
#[ignore = "measurement"]
fn measure_one_session() {
    for profile in PROFILES {
        let (client, server) = both_ends(profile, 1);
        let mut sender = SrtpSender::new(&client).unwrap();
        let mut receiver = SrtpReceiver::new(&server).unwrap();
        let mut buf = [0; PACKET + MAX_RTP_OVERHEAD];
        let mut index = 0_u64;
        measure("protect_rtp 1150 B", profile, 500, || {
            for _ in 0..500 {
                header(&mut buf, 1, index as u16);
                let roc = (index >> 16) as u32;
                black_box(sender.protect_rtp(&mut buf, 12, PACKET, roc).unwrap());
                index += 1;
            }
        });
        let mut rtcp = [0; RTCP_PACKET + MAX_RTCP_OVERHEAD];
        rtcp[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 1]);
        measure("protect_rtcp 100 B", profile, 500, || {
            for _ in 0..500 {
                black_box(sender.protect_rtcp(&mut rtcp, RTCP_PACKET).unwrap());
            }
        });
        // Both, since each packet can be opened once only.
        measure("protect_rtcp + unprotect_rtcp 100 B", profile, 500, || {
            for _ in 0..500 {
                let len = sender.protect_rtcp(&mut rtcp, RTCP_PACKET).unwrap();
                receiver.unprotect_rtcp(&mut rtcp[..len]).unwrap();
            }
        });
        measure("new sender and receiver", profile, 20, || {
            for _ in 0..20 {
                black_box(SrtpSender::new(&client).unwrap());
                black_box(SrtpReceiver::new(&client).unwrap());
            }
        });
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
        let mut senders: Vec<SrtpSender> = (0..1000)
            .map(|seed| SrtpSender::new(&both_ends(profile, seed).0).unwrap())
            .collect();
        let payload = [7; PACKET];
        let mut arena = vec![0; 64 * (PACKET + MAX_RTP_OVERHEAD)];
        let mut seq = 0;
        measure("copy + protect_rtp to 1000 sessions", profile, 1000, || {
            for (i, sender) in senders.iter_mut().enumerate() {
                let at = i % 64 * (PACKET + MAX_RTP_OVERHEAD);
                let buf = &mut arena[at..at + PACKET + MAX_RTP_OVERHEAD];
                buf[..PACKET].copy_from_slice(&payload);
                header(buf, 1, seq);
                black_box(sender.protect_rtp(buf, 12, PACKET, 0).unwrap());
            }
            seq += 1;
        });
    }
}
