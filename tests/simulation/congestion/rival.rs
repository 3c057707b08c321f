//! Flows that share a path and know nothing of either controller: a bulk
//! transfer over TCP, and one of constant rate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::flow::{Content, Datagram, Flow};

/// Bytes of a packet on the wire.
const PACKET: usize = 1200;

/// CUBIC's constants (RFC 9438, sections 4.1.2 and 4.6).
const CUBIC: f64 = 0.4;
const LEFT: f64 = 0.7;

/// A packet is lost when one sent so many later has arrived (RFC 5681, 3.2).
const REORDER: u64 = 3;

/// Nothing came for this long: all that is on the way is lost (RFC 6298, 2.4).
const TIME_OUT: Duration = Duration::from_secs(1);

/// A transfer that never ends, with CUBIC's window. What is lost is not sent
/// again but replaced by new data: the same load, and the same window.
pub struct Bulk {
    window: f64,
    /// Window at the last loss, and when that was.
    before: Option<(f64, Instant)>,
    /// Packets sent before this number belong to the last loss.
    recovery: u64,
    next: u64,
    in_flight: BTreeMap<u64, Instant>,
    heard: Instant,
    arrived: Vec<u16>,
    delivered: u64,
}

impl Bulk {
    pub fn new(start: Instant) -> Self {
        Self {
            window: 10.0,
            before: None,
            recovery: 0,
            next: 0,
            in_flight: BTreeMap::new(),
            heard: start,
            arrived: Vec::new(),
            delivered: 0,
        }
    }

    fn lose(&mut self, now: Instant, number: u64) {
        if number < self.recovery {
            return;
        }
        self.recovery = self.next;
        self.before = Some((self.window, now));
        self.window = (self.window * LEFT).max(2.0);
    }

    fn grow(&mut self, now: Instant) {
        let Some((most, since)) = self.before else {
            self.window += 1.0; // slow start
            return;
        };
        let t = (now - since).as_secs_f64();
        let k = (most * (1.0 - LEFT) / CUBIC).cbrt();
        let wanted = CUBIC * (t - k).powi(3) + most;
        // Towards the curve within a round trip, by half a packet an ack at most.
        self.window += ((wanted - self.window) / self.window).clamp(0.0, 0.5);
    }
}

impl Flow for Bulk {
    fn send(&mut self, now: Instant, out: &mut Vec<Datagram>) {
        if now - self.heard > TIME_OUT {
            self.in_flight.clear();
            self.heard = now;
            self.lose(now, self.next);
            self.window = 2.0;
        }
        while (self.in_flight.len() as f64) < self.window {
            self.in_flight.insert(self.next, now);
            out.push(Datagram {
                size: PACKET,
                content: Content::Numbered {
                    sequence: self.next as u16,
                    media: true,
                },
            });
            self.next += 1;
        }
    }

    fn arrive(&mut self, _at: Instant, datagram: Datagram) {
        if let Content::Numbered { sequence, .. } = datagram.content {
            self.delivered += datagram.size as u64;
            self.arrived.push(sequence);
        }
    }

    fn report(&mut self, _now: Instant, out: &mut Vec<Vec<u8>>) {
        for sequence in self.arrived.drain(..) {
            out.push(sequence.to_be_bytes().to_vec());
        }
    }

    fn hear(&mut self, now: Instant, feedback: &[u8]) {
        let Ok(sequence) = <[u8; 2]>::try_from(feedback).map(u16::from_be_bytes) else {
            return;
        };
        let back = (self.next as u16).wrapping_sub(sequence);
        let number = self.next - u64::from(back);
        self.heard = now;
        if self.in_flight.remove(&number).is_some() {
            self.grow(now);
        }
        let later = self.in_flight.split_off(&number.saturating_sub(REORDER));
        let lost = std::mem::replace(&mut self.in_flight, later);
        for number in lost.into_keys() {
            self.lose(now, number);
        }
    }

    fn estimate(&self) -> f64 {
        self.window * 1000.0
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }
}

/// Packets of one size at equal distances, whatever becomes of them.
pub struct Constant {
    rate: f64,
    next: Instant,
    delivered: u64,
}

impl Constant {
    pub fn new(start: Instant, rate: f64) -> Self {
        Self {
            rate,
            next: start,
            delivered: 0,
        }
    }
}

impl Flow for Constant {
    fn send(&mut self, now: Instant, out: &mut Vec<Datagram>) {
        while self.next <= now {
            self.next += Duration::from_secs_f64(PACKET as f64 * 8.0 / self.rate);
            out.push(Datagram {
                size: PACKET,
                content: Content::Numbered {
                    sequence: 0,
                    media: true,
                },
            });
        }
    }

    fn arrive(&mut self, _at: Instant, datagram: Datagram) {
        self.delivered += datagram.size as u64;
    }

    fn report(&mut self, _now: Instant, _out: &mut Vec<Vec<u8>>) {}

    fn hear(&mut self, _now: Instant, _feedback: &[u8]) {}

    fn estimate(&self) -> f64 {
        self.rate
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }
}
