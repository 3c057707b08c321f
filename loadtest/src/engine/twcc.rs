//! Transport-wide feedback of a viewer: which packets came, and when
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1), as often as
//! libwebrtc sends it.

use std::collections::VecDeque;
use std::time::Duration;

/// Nanoseconds of one tick of the arrival times.
const TICK_NS: u64 = 250_000;
/// Ticks of one step of the reference time (64 ms).
const REFERENCE_TICKS: i64 = 256;
/// Packets remembered, so that one that comes late is told with those after it.
const WINDOW: usize = 1024;
/// Packets in one message, so that it fits a datagram.
const MOST: usize = 400;
/// A jump by more than this is a new line of numbers.
const JUMP: i64 = 8192;
/// libwebrtc sends feedback of 68 bytes (IP headers included) at 5 % of the
/// received rate, at least every 250 and at most every 50 ms.
const SHARE: f64 = 0.05;
const MESSAGE_BITS: f64 = 68.0 * 8.0;
const SHORTEST: f64 = 0.050;
const LONGEST: f64 = 0.250;

/// How long to wait before the next message at a received rate in bits a second.
pub(super) fn interval(bits_per_second: f64) -> Duration {
    let wait = MESSAGE_BITS / (bits_per_second.max(1.0) * SHARE);
    Duration::from_secs_f64(wait.clamp(SHORTEST, LONGEST))
}

/// Arrivals, by transport-wide sequence number.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Number of the first of `ticks`.
    base: i64,
    /// When each came, in ticks; 0 for not at all.
    ticks: VecDeque<i64>,
    /// The first number for the next message.
    from: i64,
    highest: Option<i64>,
    messages: u8,
    symbols: Vec<u8>,
    deltas: Vec<u8>,
}

impl Arrivals {
    /// Notes a packet.
    pub(super) fn push(&mut self, sequence: u16, arrival_ns: u64) {
        let tick = (arrival_ns / TICK_NS).max(1) as i64;
        let number = match self.highest {
            Some(h) => h + i64::from(sequence.wrapping_sub(h as u16) as i16),
            None => i64::from(sequence),
        };
        if self.highest.is_none_or(|h| number - h > JUMP) {
            self.ticks.clear();
            self.base = number;
            self.from = number;
            self.highest = Some(number);
        }
        let Ok(place) = usize::try_from(number - self.base) else {
            return;
        };
        if place >= self.ticks.len() {
            self.ticks.resize(place + 1, 0);
        }
        if self.ticks[place] == 0 {
            self.ticks[place] = tick;
            self.from = self.from.min(number);
        }
        self.highest = self.highest.max(Some(number));
        let extra = self.ticks.len().saturating_sub(WINDOW);
        self.ticks.drain(..extra);
        self.base += extra as i64;
        self.from = self.from.max(self.base);
    }

    /// Appends one message about what has come since the last one. False when
    /// there is nothing to tell; to be called until then.
    pub(super) fn message(&mut self, sender: u32, media: u32, out: &mut Vec<u8>) -> bool {
        let Some(highest) = self.highest else {
            return false;
        };
        if self.from > highest {
            return false;
        }
        let first = (self.from - self.base) as usize;
        // The highest has come, so there is one.
        let Some(start) = self.ticks.range(first..).find(|t| **t != 0) else {
            return false;
        };
        let reference = start / REFERENCE_TICKS;
        let mut at = reference * REFERENCE_TICKS;
        self.symbols.clear();
        self.deltas.clear();
        for &tick in self.ticks.range(first..).take(MOST) {
            if tick == 0 {
                self.symbols.push(0);
                continue;
            }
            let delta = tick - at;
            if let Ok(small) = u8::try_from(delta) {
                self.symbols.push(1);
                self.deltas.push(small);
            } else if let Ok(large) = i16::try_from(delta) {
                self.symbols.push(2);
                self.deltas.extend_from_slice(&large.to_be_bytes());
            } else {
                // Too far from the one before: for a message of its own.
                break;
            }
            at = tick;
        }
        // What is missing at the end may still come before the next message.
        while self.symbols.last() == Some(&0) {
            self.symbols.pop();
        }
        let count = self.symbols.len();
        if count == 0 {
            // Lost for longer than a message tells: go on behind it.
            self.from += MOST as i64;
            return self.message(sender, media, out);
        }
        let begin = out.len();
        // Version 2, format 15, RTPFB.
        out.extend_from_slice(&[0x8F, 205, 0, 0]);
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&media.to_be_bytes());
        out.extend_from_slice(&(self.from as u16).to_be_bytes());
        out.extend_from_slice(&(count as u16).to_be_bytes());
        out.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
        out.push(self.messages);
        self.messages = self.messages.wrapping_add(1);
        chunks(&self.symbols, out);
        out.extend_from_slice(&self.deltas);
        let padding = (out.len() - begin).next_multiple_of(4) - (out.len() - begin);
        if padding > 0 {
            out.resize(out.len() + padding - 1, 0);
            out.push(padding as u8);
            out[begin] |= 0x20;
        }
        let words = ((out.len() - begin) / 4 - 1) as u16;
        out[begin + 2..begin + 4].copy_from_slice(&words.to_be_bytes());
        self.from += count as i64;
        true
    }
}

/// Status chunks (§3.1.1 to §3.1.4): runs where they are longer than a vector.
fn chunks(mut symbols: &[u8], out: &mut Vec<u8>) {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|s| **s == first).count();
        let run = run.min(0x1FFF);
        let word = if run > 14 || run == symbols.len() {
            symbols = &symbols[run..];
            u16::from(first) << 13 | run as u16
        } else if symbols.iter().take(14).all(|s| *s < 2) {
            let n = symbols.len().min(14);
            let bits = (0..14).fold(0, |w, i| {
                w << 1 | u16::from(symbols.get(i).copied().unwrap_or(0))
            });
            symbols = &symbols[n..];
            0x8000 | bits
        } else {
            let n = symbols.len().min(7);
            let bits = (0..7).fold(0, |w, i| {
                w << 2 | u16::from(symbols.get(i).copied().unwrap_or(0))
            });
            symbols = &symbols[n..];
            0xC000 | bits
        };
        out.extend_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtcp::transport_feedbacks::transport_layer_cc::{
        PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
    };
    use webrtc_util::marshal::Unmarshal;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_790_000_000_000_000_000;

    /// Number and arrival of each packet that a message tells of, as another
    /// implementation reads it; `None` for one that did not come.
    fn read(bytes: &[u8]) -> Vec<(u16, Option<u64>)> {
        assert!(bytes.len().is_multiple_of(4) && bytes.len() < 1200);
        let message = TransportLayerCc::unmarshal(&mut &*bytes).unwrap();
        let mut symbols = Vec::new();
        for chunk in &message.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(c) => {
                    symbols.extend((0..c.run_length).map(|_| c.packet_status_symbol));
                }
                PacketStatusChunk::StatusVectorChunk(c) => {
                    symbols.extend(c.symbol_list.iter().copied());
                }
            }
        }
        symbols.truncate(message.packet_status_count.into());
        let mut deltas = message.recv_deltas.iter();
        let mut time_us = i64::from(message.reference_time) * 64_000;
        let all = symbols
            .iter()
            .enumerate()
            .map(|(i, symbol)| {
                let number = message.base_sequence_number.wrapping_add(i as u16);
                let came = *symbol != SymbolTypeTcc::PacketNotReceived;
                let time = came.then(|| {
                    time_us += deltas.next().unwrap().delta;
                    time_us as u64
                });
                (number, time)
            })
            .collect();
        assert_eq!(deltas.count(), 0);
        all
    }

    /// All messages about these packets: number and milliseconds since the start.
    fn told(packets: &[(u16, u64)]) -> Vec<Vec<(u16, Option<u64>)>> {
        let mut arrivals = Arrivals::default();
        for &(number, ms) in packets {
            arrivals.push(number, START + ms * MS);
        }
        messages(&mut arrivals)
    }

    fn messages(arrivals: &mut Arrivals) -> Vec<Vec<(u16, Option<u64>)>> {
        let mut out = Vec::new();
        let mut bytes = Vec::new();
        while arrivals.message(1, 2, &mut bytes) {
            out.push(read(&bytes));
            bytes.clear();
        }
        out
    }

    /// The 24-bit reference time wraps, so times are compared within it.
    fn us(ms: u64) -> u64 {
        (START / 1000 + ms * 1000) % (64_000 << 24)
    }

    #[test]
    fn arrivals_and_gaps_read_back() {
        let packets = [
            (65_534, 0),
            (65_535, 1),
            (1, 70),
            (2, 71),
            (7, 69),
            (8, 200),
        ];
        let all = told(&packets);
        assert_eq!(all.len(), 1);
        let expected: Vec<(u16, Option<u64>)> = (0..11)
            .map(|i| 65_534u16.wrapping_add(i))
            .map(|n| {
                let at = packets.iter().find(|p| p.0 == n);
                (n, at.map(|p| us(p.1)))
            })
            .collect();
        assert_eq!(all[0], expected);
    }

    #[test]
    fn many_packets_take_several_messages() {
        let packets: Vec<(u16, u64)> = (0..1000)
            .filter(|i| i % 17 != 3)
            .map(|i| (i, u64::from(i) * 3))
            .collect();
        let all = told(&packets);
        assert!(all.len() >= 3, "{}", all.len());
        let came: Vec<(u16, u64)> = all
            .concat()
            .iter()
            .filter_map(|(n, t)| Some((*n, (*t)?)))
            .collect();
        let expected: Vec<(u16, u64)> = packets.iter().map(|(n, ms)| (*n, us(*ms))).collect();
        assert_eq!(came, expected);
    }

    #[test]
    fn late_packets_are_told_later() {
        let mut arrivals = Arrivals::default();
        arrivals.push(10, START);
        arrivals.push(12, START + MS);
        assert_eq!(messages(&mut arrivals)[0].len(), 3);
        assert_eq!(messages(&mut arrivals), Vec::<Vec<_>>::new());
        arrivals.push(11, START + 2 * MS);
        arrivals.push(13, START + 3 * MS);
        let all = messages(&mut arrivals);
        let expected = vec![(11, Some(us(2))), (12, Some(us(1))), (13, Some(us(3)))];
        assert_eq!(all, vec![expected]);
    }

    #[test]
    fn a_long_gap_and_a_long_silence_are_told() {
        let all = told(&[(1, 0), (900, 10), (901, 20_000)]).concat();
        assert_eq!(all.iter().filter(|(_, t)| t.is_some()).count(), 3);
        assert_eq!(all.last(), Some(&(901, Some(us(20_000)))));
        // A jump begins anew.
        let all = told(&[(1, 0), (30_000, 10)]).concat();
        assert_eq!(all, [(30_000, Some(us(10)))]);
    }

    #[test]
    fn the_interval_follows_the_rate() {
        assert_eq!(interval(2e6), Duration::from_millis(50));
        assert_eq!(interval(0.0), Duration::from_millis(250));
        assert!(interval(100_000.0) > Duration::from_millis(100));
    }
}
