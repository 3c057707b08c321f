//! Arbitrary feedback into a viewer's congestion controller: its estimate stays
//! a rate within bounds, whatever is told.

use weir::peer::congestion::reports::Report;
use weir::peer::congestion::sent::SentLog;
use weir::peer::congestion::{Congestion, MAX_RATE, MIN_RATE, STATUSES};
use weir::peer::rtcp::{Arrival, Packet, RtcpWriter, packets};
use weir::units::Bitrate;

/// The input is a list of things that happen, each of a byte and what it takes.
pub fn congestion(data: &[u8]) {
    let mut state = State {
        congestion: Congestion::default(),
        log: SentLog::default(),
        now: 1_000_000,
        sequence: 0,
        clock: 0,
        told: 0,
    };
    let mut rest = data;
    while let Some((&op, tail)) = rest.split_first() {
        let amount = usize::from(op >> 3);
        let taken = match op & 7 {
            0 => {
                (0..=amount).for_each(|_| state.send(1200));
                0
            }
            1 => {
                state.now += 1 + amount as i64 * 10_000;
                0
            }
            2 => {
                state.log.record_unnumbered(amount * 3000);
                0
            }
            // Feedback as it may come from anybody.
            3 => state.foreign(&tail[..tail.len().min(amount * 4)]),
            // Feedback on what was sent, arriving at any time.
            4 => state.honest(&tail[..tail.len().min(amount)]),
            5 => state.reports(tail),
            6 => {
                let target = tail.first().map(|b| Bitrate(u64::from(*b) << amount));
                state.congestion.set_target(target);
                1
            }
            _ => {
                state.pad(amount);
                0
            }
        };
        rest = tail.get(taken..).unwrap_or_default();
        if let Some(Bitrate(rate)) = state.congestion.estimate() {
            assert!((MIN_RATE..=MAX_RATE).contains(&(rate as f64)), "{rate}");
        }
    }
}

struct State {
    congestion: Congestion,
    log: SentLog,
    now: i64,
    sequence: u64,
    /// The receiver's clock.
    clock: u64,
    told: u64,
}

impl State {
    fn send(&mut self, size: usize) {
        self.log.record(self.now, self.sequence as u16, size);
        self.sequence += 1;
    }

    fn foreign(&mut self, body: &[u8]) -> usize {
        let length = body.len() / 4 * 4;
        let mut packet = vec![0x8f, 205, 0, 2 + (length / 4) as u8, 0, 0, 0, 1, 0, 0, 0, 2];
        packet.extend_from_slice(&body[..length]);
        self.hear(&packet);
        body.len()
    }

    fn honest(&mut self, steps: &[u8]) -> usize {
        let mut arrivals = Vec::new();
        for step in steps {
            if self.told >= self.sequence {
                break;
            }
            // Some are lost, some come late, some out of order.
            self.clock = match step {
                0..=15 => self.clock,
                16..=31 => self.clock.saturating_sub(u64::from(*step) * 300),
                _ => self.clock + u64::from(*step) * 100,
            };
            if *step > 7 {
                let (seq, micros) = (self.told, self.clock);
                arrivals.push(Arrival { seq, micros });
            }
            self.told += 1;
        }
        let mut buffer = [0; 1200];
        let mut writer = RtcpWriter::new(&mut buffer);
        if writer.twcc(1, 2, 0, arrivals.first().map_or(0, |a| a.seq), &arrivals).is_ok() {
            let length = writer.len();
            self.hear(&buffer[..length]);
        }
        steps.len()
    }

    fn hear(&mut self, bytes: &[u8]) {
        for packet in packets(bytes) {
            if let Ok(Packet::Twcc(feedback)) = packet {
                self.congestion
                    .on_twcc(self.now, &feedback, &mut self.log, &mut { STATUSES });
            }
        }
    }

    fn reports(&mut self, tail: &[u8]) -> usize {
        let Some(b) = tail.first_chunk::<8>() else {
            return tail.len();
        };
        let report = Report {
            packets: u32::from(b[0]),
            lost: u32::from(b[1]),
            rtt: (b[2] > 0).then_some(i64::from(b[2]) * 10_000),
            sent: f64::from(b[3]) * 50_000.0,
        };
        self.congestion.on_report(self.now, &report);
        if b[4] & 1 != 0 {
            let rate = u64::from(u32::from_be_bytes([b[4], b[5], b[6], b[7]]));
            self.congestion.on_remb(self.now, rate << (b[4] >> 3));
        }
        8
    }

    fn pad(&mut self, amount: usize) {
        let mut due = self.congestion.padding_due(self.now, &mut self.log);
        assert!(due < 8 << 20, "{due} bytes of padding at once");
        for _ in 0..amount {
            if due == 0 {
                break;
            }
            self.send(1200);
            self.congestion.padded(1200);
            due = due.saturating_sub(1200);
        }
        if amount == 0 {
            self.congestion.give_up_probe(self.now, &mut self.log);
        }
        if let Some(at) = self.congestion.deadline(self.now) {
            assert!(at > self.now, "a deadline in the past");
        }
    }
}
