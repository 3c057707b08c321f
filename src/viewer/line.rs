//! A viewer's own line: one SSRC, one sequence and one timestamp line for the
//! whole session, whatever is switched underneath.
//!
//! `output = input + base`, where the base belongs to a *segment*: a run of
//! packets of one source. A segment begins where the line stands, so no switch
//! leaves a hole that a receiver would ask to be filled, and its timestamp base
//! is set from the time that really passed, so that no skew piles up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Segments remembered for repairs; a viewer asks for packets of the last
/// seconds only, and sources change more rarely than that.
const SEGMENTS: usize = 16;

/// Which packets a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId {
    /// The track's publisher count.
    pub epoch: u32,
    /// Index of the encoding.
    pub encoding: u8,
}

/// What an outgoing sequence number was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A packet of the source's line.
    Packet {
        /// The source.
        source: SourceId,
        /// Its extended sequence number there.
        seq: u64,
        /// What its timestamp is moved by.
        timestamp_base: u32,
    },
    /// Parameter sets put in ahead of an entry frame.
    ParameterSets {
        /// The source.
        source: SourceId,
        /// The outgoing timestamp.
        timestamp: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    source: SourceId,
    out_first: u64,
    in_first: u64,
    timestamp_base: u32,
    inserted: Option<u32>,
}

/// A packet's place on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Extended outgoing sequence number; its upper bits are the roll-over counter.
    pub seq: u64,
    /// Outgoing timestamp.
    pub timestamp: u32,
}

/// See the module's description.
#[derive(Debug)]
pub struct Line {
    segments: VecDeque<Segment>,
    next: u64,
    last: Option<Last>,
    clock_rate: u32,
    start_timestamp: u32,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    timestamp: u32,
    arrival: Instant,
}

impl Line {
    /// A line that starts at `seq` (below 65536, so that a receiver's roll-over
    /// counter starts at zero: RFC 3711 §3.3.1) and `timestamp`, both random.
    pub fn new(clock_rate: u32, seq: u16, timestamp: u32) -> Self {
        Self {
            segments: VecDeque::with_capacity(SEGMENTS),
            next: u64::from(seq),
            last: None,
            clock_rate,
            start_timestamp: timestamp,
        }
    }

    /// The source of the present segment.
    pub fn source(&self) -> Option<SourceId> {
        self.segments.back().map(|s| s.source)
    }

    /// What the present segment's timestamps are moved by.
    pub fn timestamp_base(&self) -> Option<u32> {
        self.segments.back().map(|s| s.timestamp_base)
    }

    /// The next sequence number that was never sent.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Begins a segment with the packet `seq` of `source`.
    ///
    /// `base` fixes the timestamp base when the new source shares its clock
    /// with the old one; else it follows from the time since the last packet.
    pub fn switch(
        &mut self,
        source: SourceId,
        seq: u64,
        timestamp: u32,
        arrival: Instant,
        base: Option<u32>,
    ) {
        let timestamp_base = base.unwrap_or_else(|| {
            let out = match self.last {
                None => self.start_timestamp,
                Some(last) => {
                    let gap = arrival.saturating_duration_since(last.arrival);
                    // At least one tick, so that two frames never share a time.
                    last.timestamp.wrapping_add(self.ticks(gap).max(1))
                }
            };
            out.wrapping_sub(timestamp)
        });
        self.push(Segment {
            source,
            out_first: self.next,
            in_first: seq,
            timestamp_base,
            inserted: None,
        });
    }

    /// Puts one packet of our own in ahead of packet `seq` of the present
    /// segment, with that packet's timestamp.
    pub fn insert(&mut self, seq: u64, timestamp: u32) -> Option<Place> {
        let segment = *self.segments.back()?;
        let place = Place {
            seq: self.next,
            timestamp: timestamp.wrapping_add(segment.timestamp_base),
        };
        let fresh = segment.out_first == self.next;
        if fresh {
            self.segments.pop_back();
        }
        self.push(Segment {
            inserted: Some(place.timestamp),
            out_first: self.next + 1,
            in_first: seq,
            ..segment
        });
        self.next += 1;
        Some(place)
    }

    /// The place of packet `seq` of the present source; `None` for one from
    /// before the source was switched to.
    pub fn place(&mut self, seq: u64, timestamp: u32, arrival: Instant) -> Option<Place> {
        let present = self.segments.back()?;
        let source = present.source;
        let segment = self
            .segments
            .iter()
            .rev()
            .take_while(|s| s.source == source)
            .find(|s| seq >= s.in_first)?;
        let place = Place {
            seq: segment.out_first + (seq - segment.in_first),
            timestamp: timestamp.wrapping_add(segment.timestamp_base),
        };
        if place.seq >= self.next {
            self.next = place.seq + 1;
            self.last = Some(Last {
                timestamp: place.timestamp,
                arrival,
            });
        }
        Some(place)
    }

    /// What was sent as `out`, the low 16 bits of a sequence number that a
    /// receiver asks for: the newest such number that was sent.
    pub fn origin(&self, out: u16) -> Option<(u64, Origin)> {
        let newest = self.next.checked_sub(1)?;
        let back = u64::from((newest as u16).wrapping_sub(out));
        let out = newest.checked_sub(back)?;
        for segment in self.segments.iter().rev() {
            if out >= segment.out_first {
                let origin = Origin::Packet {
                    source: segment.source,
                    seq: segment.in_first + (out - segment.out_first),
                    timestamp_base: segment.timestamp_base,
                };
                return Some((out, origin));
            }
            if let Some(timestamp) = segment.inserted
                && out + 1 == segment.out_first
            {
                let origin = Origin::ParameterSets {
                    source: segment.source,
                    timestamp,
                };
                return Some((out, origin));
            }
        }
        None
    }

    fn push(&mut self, segment: Segment) {
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_micros() * u128::from(self.clock_rate) / 1_000_000;
        ticks as u32 // modulo 2^32, as timestamps are
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceId = SourceId {
        epoch: 1,
        encoding: 0,
    };
    const B: SourceId = SourceId {
        epoch: 1,
        encoding: 1,
    };

    fn millis(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_switch_leaves_no_hole_and_time_goes_on() {
        let now = Instant::now();
        let mut line = Line::new(90_000, 1000, 5000);
        line.switch(A, 70_000, 400, now, None);
        for i in 0..10u64 {
            let place = line.place(70_000 + i, 400 + i as u32 * 3000, millis(now, i * 33));
            assert_eq!(
                place,
                Some(Place {
                    seq: 1000 + i,
                    timestamp: 5000 + i as u32 * 3000
                })
            );
        }
        // The other layer has other numbers; 100 ms pass.
        line.switch(B, 5, 9_000_000, millis(now, 9 * 33 + 100), None);
        let place = line.place(5, 9_000_000, millis(now, 9 * 33 + 100)).unwrap();
        assert_eq!(place.seq, 1010);
        assert_eq!(place.timestamp, 5000 + 9 * 3000 + 9000);
    }

    #[test]
    fn loss_on_the_publishers_way_stays_a_hole_and_a_late_packet_fills_it() {
        let now = Instant::now();
        let mut line = Line::new(90_000, 1, 0);
        line.switch(A, 100, 0, now, None);
        assert_eq!(line.place(100, 0, now).unwrap().seq, 1);
        assert_eq!(line.place(103, 0, now).unwrap().seq, 4);
        assert_eq!(line.place(101, 0, now).unwrap().seq, 2);
        assert_eq!(line.place(99, 0, now), None, "before the switch");
        assert_eq!(line.next_seq(), 5);
    }

    #[test]
    fn inserted_parameter_sets_take_a_number_and_are_found_again() {
        let now = Instant::now();
        let mut line = Line::new(90_000, 1, 0);
        line.switch(A, 100, 0, now, None);
        assert_eq!(line.insert(100, 0).unwrap().seq, 1);
        assert_eq!(line.place(100, 0, now).unwrap().seq, 2);
        assert_eq!(line.place(101, 0, now).unwrap().seq, 3);
        assert_eq!(line.insert(102, 3000).unwrap().seq, 4);
        assert_eq!(line.place(102, 3000, now).unwrap().seq, 5);
        // A late one from before the insertion keeps its old place.
        assert_eq!(line.place(101, 0, now).unwrap().seq, 3);
        assert!(matches!(
            line.origin(1),
            Some((1, Origin::ParameterSets { .. }))
        ));
        assert!(matches!(
            line.origin(3),
            Some((3, Origin::Packet { seq: 101, .. }))
        ));
        assert!(matches!(
            line.origin(4),
            Some((4, Origin::ParameterSets { .. }))
        ));
        assert!(matches!(
            line.origin(5),
            Some((5, Origin::Packet { seq: 102, .. }))
        ));
        assert_eq!(line.origin(6), None, "never sent");
    }

    #[test]
    fn repairs_are_found_over_the_roll_over() {
        let now = Instant::now();
        let mut line = Line::new(90_000, 65_530, 0);
        line.switch(A, 0, 0, now, None);
        for seq in 0..20 {
            line.place(seq, 0, now);
        }
        // 65_530 + 10 = 65_540, on the wire 4.
        let (out, origin) = line.origin(4).unwrap();
        assert_eq!(out, 65_540);
        assert!(matches!(origin, Origin::Packet { seq: 10, .. }));
        assert!(matches!(line.origin(65_531), Some((65_531, _))));
    }

    #[test]
    fn every_switch_keeps_the_line_growing_by_one() {
        let now = Instant::now();
        let mut line = Line::new(48_000, 7, 0);
        let mut expected = 7;
        let mut last_timestamp = None;
        for round in 0..100u64 {
            let source = if round % 2 == 0 { A } else { B };
            let at = millis(now, round * 60);
            line.switch(source, round * 31, round as u32 * 7, at, None);
            for i in 0..3u64 {
                let place = line
                    .place(
                        round * 31 + i,
                        round as u32 * 7 + i as u32 * 960,
                        millis(at, i * 20),
                    )
                    .unwrap();
                assert_eq!(place.seq, expected);
                expected += 1;
                if let Some(last) = last_timestamp {
                    assert!(place.timestamp > last);
                }
                last_timestamp = Some(place.timestamp);
            }
        }
    }
}
