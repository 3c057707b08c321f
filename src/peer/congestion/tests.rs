//! The whole controller: feedback written by our own writer, over a path of
//! known capacity.

use super::*;
use crate::peer::rtcp::{self, Arrival, RtcpWriter};

/// A viewer behind a queue of some capacity that gets media of some rate.
struct Path {
    congestion: Congestion,
    log: SentLog,
    now: Micros,
    sequence: u64,
    free: Micros,
    arrived: Vec<Arrival>,
    numbered: bool,
}

const DELAY: Micros = 25_000;
const STEP: Micros = 1_000;

impl Path {
    fn new() -> Self {
        Self {
            congestion: Congestion::default(),
            log: SentLog::default(),
            now: 1_000_000,
            sequence: 65_000,
            free: 0,
            arrived: Vec::new(),
            numbered: true,
        }
    }

    fn send(&mut self, size: usize, capacity: f64) {
        if !self.numbered {
            return self.log.record_unnumbered(size);
        }
        self.log.record(self.now, self.sequence as u16, size);
        self.free = self.free.max(self.now) + (size as f64 * 8e6 / capacity) as Micros;
        self.arrived.push(Arrival {
            seq: self.sequence,
            micros: (self.free + DELAY + 90_000_000) as u64,
        });
        self.sequence += 1;
    }

    /// Runs for some seconds with `media` bits per second in 33 ms frames.
    fn run(&mut self, seconds: f64, media: f64, capacity: f64, target: Option<u64>) {
        self.congestion.set_target(target.map(Bitrate));
        let end = self.now + (seconds * 1e6) as Micros;
        while self.now < end {
            if self.now % 33_000 == 0 {
                let packets = (media * 0.033 / 9600.0).round().max(1.0) as usize;
                (0..packets).for_each(|_| self.send(1200, capacity));
            }
            let mut due = self.congestion.padding_due(self.now, &mut self.log);
            while due > 0 {
                self.send(1200, capacity);
                self.congestion.padded(1200);
                due = due.saturating_sub(1200);
            }
            if self.now % 50_000 == 0 {
                self.report();
            }
            self.now += STEP;
        }
    }

    fn report(&mut self) {
        let now = self.now + 90_000_000;
        let told = self
            .arrived
            .partition_point(|a| (a.micros as i64) + DELAY <= now);
        let all: Vec<Arrival> = self.arrived.drain(..told).collect();
        if all.is_empty() {
            return;
        }
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        assert_eq!(writer.twcc(1, 2, 0, all[0].seq, &all).unwrap(), all.len());
        let length = writer.len();
        for packet in rtcp::packets(&buffer[..length]) {
            let rtcp::Packet::Twcc(twcc) = packet.unwrap() else {
                panic!("feedback");
            };
            self.congestion
                .on_twcc(self.now, &twcc, &mut self.log, &mut { STATUSES });
        }
    }

    fn estimate(&self) -> f64 {
        self.congestion.estimate().expect("known").0 as f64
    }
}

#[test]
fn nothing_is_known_at_first_and_a_wide_path_soon() {
    let mut path = Path::new();
    assert_eq!(path.congestion.estimate(), None);
    path.run(3.0, 1.0e6, 50e6, Some(4_000_000));
    assert!(path.estimate() >= 4.0e6, "{}", path.estimate());
    // Nothing more is wanted: what follows is media only.
    let padding = path.congestion.padding();
    path.run(20.0, 3.0e6, 50e6, None);
    assert_eq!(path.congestion.padding(), padding);
    assert!(path.estimate() >= 3.0e6);
}

#[test]
fn a_narrow_path_is_found_before_its_queue_is_long() {
    for capacity in [0.4e6, 0.8e6, 1.5e6] {
        let mut path = Path::new();
        path.run(0.6, 2.5e6, capacity, None);
        let share = path.estimate() / capacity;
        assert!((0.4..1.05).contains(&share), "{share} of {capacity}");
    }
}

#[test]
fn sending_less_than_allowed_keeps_the_estimate() {
    let mut path = Path::new();
    path.run(3.0, 1.0e6, 6e6, Some(4_000_000));
    let before = path.estimate();
    path.run(60.0, 0.3e6, 6e6, None);
    assert!(path.estimate() >= before * 0.99, "{}", path.estimate());
}

#[test]
fn padding_stays_within_its_share_where_it_can_never_succeed() {
    let mut path = Path::new();
    path.run(60.0, 0.4e6, 0.5e6, Some(4_000_000));
    let share = path.congestion.padding() as f64 * 8.0 / 60.0 / 0.5e6;
    assert!(share < 0.06, "{share} of the path");
    assert!(path.estimate() < 0.52e6, "{}", path.estimate());
}

#[test]
fn packets_without_numbers_leave_it_to_reports() {
    let mut path = Path::new();
    path.numbered = false;
    path.run(5.0, 1e6, 50e6, Some(4_000_000));
    assert_eq!(path.congestion.estimate(), None);
    let report = Report {
        packets: 100,
        lost: 30,
        rtt: None,
        sent: 1e6,
    };
    path.congestion.on_report(path.now, &report);
    assert_eq!(path.congestion.estimate(), Some(Bitrate(850_000)));
    path.congestion.on_remb(path.now, 600_000);
    assert_eq!(path.congestion.estimate(), Some(Bitrate(600_000)));
}

#[test]
fn a_controller_is_small() {
    assert!(
        size_of::<Congestion>() <= 256,
        "{}",
        size_of::<Congestion>()
    );
    assert!(size_of::<Transport>() <= 3584, "{}", size_of::<Transport>());
}

#[test]
fn one_datagram_tells_of_so_many_packets_and_no_more() {
    let mut path = Path::new();
    path.run(1.0, 1e6, 50e6, None);
    // RFC 4585 §6.1 around draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1: one run of
    // 8191 packets that did not come.
    let mut bytes = vec![0x8f, 205, 0, 5];
    bytes.extend([0; 8]);
    bytes.extend([0, 0, 0x1f, 0xff, 0, 0, 0, 0]);
    bytes.extend([0x1f, 0xff, 0, 0]);
    let Some(Ok(rtcp::Packet::Twcc(feedback))) = rtcp::packets(&bytes).next() else {
        panic!("it can be read");
    };
    let mut budget = STATUSES;
    for left in [0, 0] {
        path.congestion
            .on_twcc(path.now, &feedback, &mut path.log, &mut budget);
        assert_eq!(budget, left);
    }
}
