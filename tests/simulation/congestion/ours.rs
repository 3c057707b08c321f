//! Weir's controller as a sender, with a receiver that writes transport-wide
//! feedback every 50 ms as browsers do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir::peer::congestion::sent::SentLog;
use weir::peer::congestion::{Congestion, STATUSES};
use weir::peer::rtcp::{self, Arrival, RtcpWriter};
use weir::units::Bitrate;

use super::flow::{Content, Datagram, Encoder, Flow};

/// RTP header with extensions, and the SRTP tag.
const OVERHEAD: usize = 40;

const INTERVAL: Duration = Duration::from_millis(50);

/// What is sent while nothing is known.
const UNKNOWN: f64 = 1_000_000.0;

pub struct Ours {
    start: Instant,
    most: f64,
    encoder: Encoder,
    congestion: Congestion,
    log: SentLog,
    sequence: u16,
    arrived: BTreeMap<u64, u64>,
    last_told: Option<Arrival>,
    highest: u64,
    count: u8,
    next_report: Instant,
    delivered: u64,
}

impl Ours {
    pub fn new(start: Instant, most: f64, seed: u64) -> Self {
        Self {
            start,
            most,
            encoder: Encoder::new(most, seed),
            congestion: Congestion::default(),
            log: SentLog::default(),
            sequence: seed as u16,
            arrived: BTreeMap::new(),
            last_told: None,
            highest: 1 << 16,
            count: 0,
            next_report: start,
            delivered: 0,
        }
    }

    fn micros(&self, now: Instant) -> i64 {
        (now - self.start).as_micros() as i64
    }

    fn emit(&mut self, now: Instant, payload: usize, media: bool, out: &mut Vec<Datagram>) {
        let size = payload + OVERHEAD;
        self.log.record(self.micros(now), self.sequence, size);
        let content = Content::Numbered {
            sequence: self.sequence,
            media,
        };
        out.push(Datagram { size, content });
        self.sequence = self.sequence.wrapping_add(1);
    }
}

impl Flow for Ours {
    fn send(&mut self, now: Instant, out: &mut Vec<Datagram>) {
        let estimate = self.estimate();
        if let Some(frame) = self.encoder.frame(now, estimate) {
            for payload in frame {
                self.emit(now, payload, true, out);
            }
        }
        let mut due = self.congestion.padding_due(self.micros(now), &mut self.log);
        while due > 0 {
            self.emit(now, 1100, false, out);
            self.congestion.padded(1100 + OVERHEAD);
            due = due.saturating_sub(1100 + OVERHEAD);
        }
    }

    fn arrive(&mut self, at: Instant, datagram: Datagram) {
        let Content::Numbered { sequence, media } = datagram.content else {
            return;
        };
        if media {
            self.delivered += (datagram.size - OVERHEAD) as u64;
        }
        let step = sequence.wrapping_sub(self.highest as u16) as i16;
        let extended = self.highest.saturating_add_signed(i64::from(step));
        self.highest = self.highest.max(extended);
        // The receiver's clock has nothing to do with the sender's.
        let micros = (at - self.start).as_micros() as u64 + 7_777_777_777;
        self.arrived.insert(extended, micros);
    }

    fn report(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + INTERVAL;
        // The last packet told before goes first, so that what is lost between
        // two reports is told too.
        let fresh = std::mem::take(&mut self.arrived);
        let fresh = fresh
            .into_iter()
            .map(|(seq, micros)| Arrival { seq, micros });
        let last = self.last_told;
        let mut all: Vec<Arrival> = last.into_iter().collect();
        all.extend(fresh.filter(|a| last.is_none_or(|l| a.seq > l.seq)));
        if all.len() <= usize::from(last.is_some()) {
            return;
        }
        let mut rest = &all[..];
        while rest.len() > 1 || self.last_told.is_none() {
            let mut buffer = [0; 1200];
            let mut writer = RtcpWriter::new(&mut buffer);
            let base = rest.first().map_or(0, |a| a.seq);
            let told = writer
                .twcc(1, 2, self.count, base, rest)
                .expect("there is room");
            self.count = self.count.wrapping_add(1);
            let length = writer.len();
            out.push(buffer[..length].to_vec());
            self.last_told = rest.get(told - 1).copied();
            rest = &rest[told..];
            if rest.is_empty() {
                break;
            }
        }
    }

    fn hear(&mut self, now: Instant, feedback: &[u8]) {
        let now = self.micros(now);
        let target = (self.estimate() < self.most).then_some(Bitrate(self.most as u64));
        self.congestion.set_target(target);
        for packet in rtcp::packets(feedback) {
            if let Ok(rtcp::Packet::Twcc(twcc)) = packet {
                self.congestion
                    .on_twcc(now, &twcc, &mut self.log, &mut { STATUSES });
            }
        }
    }

    fn estimate(&self) -> f64 {
        self.congestion.estimate().map_or(UNKNOWN, |e| e.0 as f64)
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }
}
