//! What the congestion controller costs: nanoseconds of CPU a packet sent and
//! reported, beside reading the same feedback alone, and bytes a viewer.
//!
//! ```text
//! cargo bench --bench congestion
//! ```
//!
//! str0m's estimator can't be called without its session, so reading is the floor.
#![allow(unsafe_code, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use weir::net::sys::thread_cpu_time;
use weir::peer::congestion::sent::SentLog;
use weir::peer::congestion::{Congestion, Micros, STATUSES};
use weir::peer::rtcp::{self, Arrival, Packet, RtcpWriter};

/// Viewers whose state takes turns in the caches.
const VIEWERS: [usize; 3] = [10, 100, 1000];

/// Each hears feedback this often, on frames of so many packets of this size.
const INTERVAL: Micros = 50_000;
const FRAME: Micros = 33_333;
const PACKETS: u16 = 7;
const SIZE: usize = 1200;

const SECONDS: Micros = 10;

/// Of every so many packets one is lost; the others take up to so much longer.
const LOST: u64 = 97;
const JITTER: u64 = 4_000;

/// Bytes that are allocated.
fn allocated() -> i64 {
    // SAFETY: it only reads the allocator's own numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// What happens in one interval, to every viewer alike.
struct Interval {
    now: Micros,
    sent: Vec<(Micros, u16)>,
    feedback: Vec<u8>,
}

fn intervals() -> Vec<Interval> {
    let (mut sequence, mut random, mut frame) = (0u64, 1u64, 0);
    let mut last = None;
    let all = 1..=SECONDS * 1_000_000 / INTERVAL;
    all.map(|index| {
        let now = index * INTERVAL;
        let (mut sent, mut arrivals) = (Vec::new(), Vec::from_iter(last));
        while frame < now {
            for _ in 0..PACKETS {
                sent.push((frame, sequence as u16));
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if sequence % LOST != LOST - 1 {
                    let micros = frame as u64 + 20_000 + (random >> 33) % JITTER;
                    arrivals.push(Arrival {
                        seq: sequence,
                        micros,
                    });
                }
                sequence += 1;
            }
            frame += FRAME;
        }
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        let told = writer.twcc(1, 2, index as u8, arrivals[0].seq, &arrivals);
        assert_eq!(told.expect("there is room"), arrivals.len());
        let length = writer.len();
        last = arrivals.pop();
        Interval {
            now,
            sent,
            feedback: buffer[..length].to_vec(),
        }
    })
    .collect()
}

fn timed(total: &mut Duration, work: impl FnOnce()) {
    let before = thread_cpu_time();
    work();
    *total += thread_cpu_time() - before;
}

/// Reads what feedback says of each packet; the controller begins with the same.
fn read(feedback: &[u8]) -> i64 {
    let mut sum = 0;
    for packet in rtcp::packets(feedback) {
        if let Ok(Packet::Twcc(twcc)) = packet {
            let deltas = twcc.statuses().filter_map(|(_, delta)| delta);
            sum += deltas.map(i64::from).sum::<i64>();
        }
    }
    sum
}

fn main() {
    let intervals = intervals();
    let packets: usize = intervals.iter().map(|i| i.sent.len()).sum();
    println!(
        "viewers   ns to note a packet sent   to read its report   to control by it   bytes a viewer"
    );
    for viewers in VIEWERS {
        let before = allocated();
        let mut all: Vec<(Congestion, SentLog)> = Vec::new();
        all.resize_with(viewers, Default::default);
        let (mut noted, mut reading, mut controlled) = Default::default();
        for interval in &intervals {
            timed(&mut noted, || {
                for (_, log) in &mut all {
                    for (at, sequence) in &interval.sent {
                        log.record(*at, *sequence, SIZE);
                    }
                }
            });
            timed(&mut reading, || {
                for _ in 0..viewers {
                    black_box(read(black_box(&interval.feedback)));
                }
            });
            timed(&mut controlled, || {
                for (congestion, log) in &mut all {
                    for packet in rtcp::packets(&interval.feedback) {
                        if let Ok(Packet::Twcc(twcc)) = packet {
                            congestion.on_twcc(interval.now, &twcc, log, &mut { STATUSES });
                        }
                    }
                    // Every viewer is sent the same: media alone.
                    if congestion.padding_due(interval.now, log) > 0 {
                        congestion.give_up_probe(interval.now, log);
                    }
                }
            });
        }
        let bytes = (allocated() - before) / viewers as i64;
        assert!(all.iter().all(|(c, _)| c.estimate().is_some()));
        let each = |total: Duration| total.as_nanos() as f64 / (packets * viewers) as f64;
        println!(
            "{viewers:>7} {:>26.1} {:>20.1} {:>18.1} {bytes:>16}",
            each(noted),
            each(reading),
            each(controlled),
        );
    }
}
