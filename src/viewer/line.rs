//! A viewer's own line: one SSRC, one sequence and one timestamp line for the
//! whole session, whatever is switched underneath.
//!
//! `output = input + base`, where the base belongs to a *segment*: a run of
//! packets of one source. A segment begins where the line stands, so no switch
//! leaves a hole that a receiver would ask to be filled, and its timestamp base
//! is set from the time that really passed, so that no skew piles up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::timeline::{Timeline, ticks};

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
        /// What its timestamp became.
        times: Timeline,
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
    times: Timeline,
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

    /// What the present segment's live timestamps are moved by.
    pub fn timestamp_base(&self) -> Option<u32> {
        self.segments.back().map(|s| s.times.base())
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
        let base = base.unwrap_or_else(|| self.time_at(arrival).wrapping_sub(timestamp));
        self.begin(source, seq, Timeline::live(base));
    }

    /// Begins a segment with the packet `seq` of `source` that came a while
    /// ago; the packets from it to `edge`, arrival and timestamp of the newest,
    /// will be sent within about `lasting` from `now` on.
    pub fn catch_up(
        &mut self,
        source: SourceId,
        seq: u64,
        timestamp: u32,
        edge: (Instant, u32),
        now: Instant,
        lasting: Duration,
    ) {
        let since = now.saturating_duration_since(edge.0);
        let live_now = edge.1.wrapping_add(ticks(since, self.clock_rate));
        let mut to = self.time_at(now);
        let base = match self.segments.back() {
            // The same source goes on: so does what its timestamps are moved by.
            Some(present) if present.source == source => present.times.base(),
            _ => to.wrapping_sub(live_now),
        };
        let live_out = live_now.wrapping_add(base);
        if (live_out.wrapping_sub(to) as i32) > 0 {
            to = live_out;
        }
        let lasting = ticks(lasting, self.clock_rate);
        let times = Timeline::catching_up(base, timestamp, to, lasting);
        self.begin(source, seq, times);
    }

    /// The outgoing time of a packet that goes out at `now`, behind all others.
    fn time_at(&self, now: Instant) -> u32 {
        match self.last {
            None => self.start_timestamp,
            Some(last) => {
                let gap = now.saturating_duration_since(last.arrival);
                // At least one tick, so that two frames never share a time.
                let gap = ticks(gap, self.clock_rate).max(1);
                last.timestamp.wrapping_add(gap)
            }
        }
    }

    fn begin(&mut self, source: SourceId, seq: u64, times: Timeline) {
        self.push(Segment {
            source,
            out_first: self.next,
            in_first: seq,
            times,
            inserted: None,
        });
    }

    /// Puts one packet of our own in ahead of packet `seq` of the present
    /// segment, with that packet's timestamp.
    pub fn insert(&mut self, seq: u64, timestamp: u32) -> Option<Place> {
        let segment = *self.segments.back()?;
        let place = Place {
            seq: self.next,
            timestamp: segment.times.map(timestamp),
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
            timestamp: segment.times.map(timestamp),
        };
        if place.seq >= self.next {
            self.next = place.seq + 1;
            self.last = Some(Last {
                timestamp: place.timestamp,
                arrival,
            });
            if let Some(present) = self.segments.back_mut() {
                present.times.settle(timestamp);
            }
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
                    times: segment.times,
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
    fn a_backlog_is_numbered_as_it_goes_and_ends_on_the_live_line() {
        let now = Instant::now();
        let mut line = Line::new(90_000, 100, 7_000);
        // The keyframe came 3 s ago; the backlog goes out within 300 ms.
        let edge = (now, 500 + 90 * 3000);
        let lasting = Duration::from_millis(300);
        line.catch_up(A, 40, 500, edge, now, lasting);
        let mut last = None;
        for frame in 0..120u64 {
            let (seq, timestamp) = (40 + frame, 500 + frame as u32 * 3000);
            let at = if frame < 100 {
                millis(now, frame * 3)
            } else {
                millis(now, (frame - 90) * 100 / 3)
            };
            let place = line.place(seq, timestamp, at).unwrap();
            assert_eq!(place.seq, 100 + frame);
            // It looks to the receiver as if it were captured when it is sent.
            let sent = ticks(at.saturating_duration_since(now), 90_000);
            let shown = place.timestamp.wrapping_sub(7_000);
            assert!(shown.abs_diff(sent) <= 900, "{shown} {sent}");
            assert!(last.is_none_or(|last| place.timestamp > last));
            last = Some(place.timestamp);
            let Some((_, Origin::Packet { times, .. })) = line.origin(place.seq as u16) else {
                panic!("no origin");
            };
            assert_eq!(times.map(timestamp), place.timestamp, "as a repair");
        }
        let live = 7_000u32.wrapping_sub(90 * 3000);
        assert_eq!(line.timestamp_base(), Some(live.wrapping_sub(500)));
        assert_eq!(last, Some(live.wrapping_add(119 * 3000)));
        // Once more from a keyframe, and sound stays in sync.
        let at = millis(now, 1000);
        line.catch_up(A, 130, 500 + 90 * 3000, (at, 500 + 120 * 3000), at, lasting);
        let place = line.place(130, 500 + 90 * 3000, at).unwrap();
        assert_eq!(place.seq, 220);
        assert!(last.is_none_or(|last| place.timestamp > last));
        assert_eq!(line.timestamp_base(), Some(live.wrapping_sub(500)));
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
