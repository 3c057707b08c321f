//! A viewer's own line: one SSRC, one sequence and one timestamp line for the
//! whole session, whatever is switched and cut underneath.
//!
//! The line is made of *runs*: stretches of packets of one source that all move
//! by the same. A run begins where the line stands, so neither a switch nor a cut
//! leaves a hole that a receiver would ask to be filled; its timestamp base is
//! set from the time that really passed, so that no skew piles up. Within a run
//! `output = input + move`, so a late packet finds its place, and a repair is made
//! again exactly as the packet was.

mod run;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::timeline::{Timeline, ticks};
use run::{Own, Run};

pub use run::{Moves, Origin, Place, SourceId};

/// Runs remembered where nothing is cut; a viewer asks for packets of the last
/// seconds only, and sources change more rarely than that.
const RUNS: usize = 16;

/// Runs remembered where layers are cut: each cut begins one, and with every
/// other picture of 60 a second cut these are four seconds.
const LAYERED_RUNS: usize = 128;

/// A line that is further than this ahead of its source's clock does not wait for it: the clock
/// stood still, as that of a publisher that was suspended.
const MAX_AHEAD: Duration = Duration::from_secs(20);

/// Nobody asks for repairs of what was sent longer ago than this.
const SILENT: Duration = Duration::from_secs(120);

/// Packets that go out later than they came.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Arrival and timestamp of the newest packet of the source.
    pub edge: (Instant, u32),
    /// When sending begins.
    pub now: Instant,
    /// How long it will take, about.
    pub lasting: Duration,
}

/// See the module's description.
#[derive(Debug)]
pub struct Line {
    runs: VecDeque<Run>,
    limit: usize,
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
            runs: VecDeque::with_capacity(RUNS),
            limit: RUNS,
            next: u64::from(seq),
            last: None,
            clock_rate,
            start_timestamp: timestamp,
        }
    }

    /// From here on its packets have another clock. It only measures time between packets.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate;
    }

    /// Makes room for a line of which packets will be cut, so that cutting
    /// them allocates nothing.
    pub fn expect_cuts(&mut self) {
        if self.limit < LAYERED_RUNS {
            self.limit = LAYERED_RUNS;
            self.runs.reserve(LAYERED_RUNS - self.runs.len());
        }
    }

    /// The source of the present run.
    pub fn source(&self) -> Option<SourceId> {
        self.runs.back().map(|r| r.source)
    }

    /// What the present run's packets are moved by.
    pub fn moves(&self) -> Option<Moves> {
        self.runs.back().map(|r| r.moves)
    }

    /// What the present run's live timestamps are moved by.
    pub fn timestamp_base(&self) -> Option<u32> {
        self.runs.back().map(|r| r.times.base())
    }

    /// The next sequence number that was never sent.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The source's number that follows the newest one sent or cut; lower ones are late.
    #[inline]
    pub fn expected(&self) -> u64 {
        self.runs
            .back()
            .map_or(0, |r| r.in_first + (self.next - r.out_first))
    }

    /// The number that follows the newest one of `source` that was sent, as
    /// far as runs are remembered; `None` when none of it was.
    pub fn sent_of(&self, source: SourceId) -> Option<u64> {
        let mut end = self.next;
        for run in self.runs.iter().rev() {
            if run.source == source && end > run.out_first {
                return Some(run.in_first + (end - run.out_first));
            }
            end = run.begin();
        }
        None
    }

    /// The outgoing timestamp of the newest packet.
    pub fn newest_timestamp(&self) -> Option<u32> {
        self.last.map(|l| l.timestamp)
    }

    /// Begins a run with the packet `seq` of `source`.
    ///
    /// `base` fixes what timestamps are moved by when the new source shares its clock
    /// with the old one; else it follows from the time since the last packet.
    /// The other moves are none until [`change`](Self::change) says so.
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

    /// Begins a run with the packet `seq` of `source` that came a while
    /// ago. `base` is as in [`switch`](Self::switch).
    pub fn catch_up(
        &mut self,
        source: SourceId,
        seq: u64,
        timestamp: u32,
        backlog: Backlog,
        base: Option<u32>,
    ) {
        let Backlog { edge, now, lasting } = backlog;
        let since = now.saturating_duration_since(edge.0);
        let live_now = edge.1.wrapping_add(ticks(since, self.clock_rate));
        let mut to = self.time_at(now);
        let base = match (base, self.runs.back()) {
            (Some(base), _) => base,
            // The same source goes on: so does what its timestamps are moved by.
            (None, Some(present)) if present.source == source => present.times.base(),
            _ => to.wrapping_sub(live_now),
        };
        let live_out = live_now.wrapping_add(base);
        let ahead = to.wrapping_sub(live_out) as i32;
        let base = if ahead > ticks(MAX_AHEAD, self.clock_rate) as i32 {
            to.wrapping_sub(live_now)
        } else {
            base
        };
        if ahead < 0 {
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
        self.push(Run {
            source,
            out_first: self.next,
            in_first: seq,
            times,
            moves: Moves::default(),
            own: None,
        });
    }

    /// From packet `seq` on, packets move by something else. What is missing
    /// before it belongs to the packets before.
    pub fn change(&mut self, seq: u64, change: impl FnOnce(&mut Moves)) {
        let missing = seq.saturating_sub(self.expected());
        let Some(last) = self.runs.back_mut() else {
            return;
        };
        if missing == 0 && last.out_first == self.next {
            return change(&mut last.moves);
        }
        self.next += missing;
        let mut run = Run {
            out_first: self.next,
            in_first: last.in_first + (self.next - last.out_first),
            own: None,
            ..*last
        };
        change(&mut run.moves);
        self.push(run);
    }

    /// Leaves packet `seq`, which is not late, out: the line closes up over it. What is missing
    /// before it is left out too if `with_missing`; else its numbers
    /// stay free, since it may yet come.
    pub fn cut(&mut self, seq: u64, with_missing: bool) {
        let Some(missing) = seq.checked_sub(self.expected()) else {
            return;
        };
        let Some(last) = self.runs.back_mut() else {
            return;
        };
        if !with_missing {
            self.next += missing;
        }
        if last.out_first == self.next {
            last.in_first = seq + 1;
            return;
        }
        let run = Run {
            out_first: self.next,
            in_first: seq + 1,
            own: None,
            ..*last
        };
        self.push(run);
    }

    /// Puts parameter sets in ahead of packet `seq` of the present run, with
    /// that packet's timestamp.
    pub fn insert(&mut self, seq: u64, timestamp: u32) -> Option<Place> {
        let run = *self.runs.back()?;
        // What is missing may yet come, and has its numbers ahead of ours.
        self.next += seq.saturating_sub(self.expected());
        let place = Place {
            seq: self.next,
            timestamp: run.times.map(timestamp),
            moves: run.moves,
        };
        if run.out_first == self.next && run.own.is_none() {
            self.runs.pop_back();
        }
        self.push(Run {
            own: Some(Own::ParameterSets(place.timestamp)),
            out_first: self.next + 1,
            in_first: seq,
            ..run
        });
        self.next += 1;
        Some(place)
    }

    /// The place of packet `seq` of the present source; `None` for one from
    /// before the source was switched to, and for one that was left out.
    #[inline]
    pub fn place(&mut self, seq: u64, timestamp: u32, arrival: Instant) -> Option<Place> {
        let last = self.runs.back()?;
        if seq < last.in_first {
            return self.late(seq, timestamp).map(|(_, place)| place);
        }
        let place = last.place(seq, timestamp);
        if place.seq >= self.next {
            self.next = place.seq + 1;
            self.last = Some(Last {
                timestamp: place.timestamp,
                arrival,
            });
        }
        Some(place)
    }

    /// Called now and then: a line whose backlog is long through is live for good from the next packet on. What
    /// was sent before keeps its run, so that repairs of it have the timestamps that they had. The same where
    /// nothing was sent for long: timestamps wrap, and the backlog would seem to lie ahead one day.
    pub fn settle(&mut self, now: Instant) {
        let silent = |last: Last| now.saturating_duration_since(last.arrival) > SILENT;
        if let (Some(run), Some(last)) = (self.runs.back().copied(), self.last)
            && (run.times.is_over(last.timestamp) || run.times.is_ramp() && silent(last))
        {
            self.push(Run {
                in_first: self.expected(),
                out_first: self.next,
                times: Timeline::live(run.times.base()),
                own: None,
                ..run
            });
        }
    }

    /// Puts a filler where the late packet `seq` would stand, which is of a cut
    /// layer: its number was kept free as long as nothing was known of it.
    pub fn fill(&mut self, seq: u64, timestamp: u32, pt: u8) -> Option<Place> {
        let (at, place) = self.late(seq, timestamp)?;
        let run = *self.runs.get(at)?;
        let rest = Run {
            in_first: seq + 1,
            out_first: place.seq + 1,
            own: Some(Own::Filler(place.timestamp, pt)),
            ..run
        };
        let front = self.runs.len() == self.limit;
        if front {
            self.runs.pop_front();
        }
        self.runs.insert(at + 1 - usize::from(front), rest);
        Some(place)
    }

    /// The run and place of a packet that is not the newest.
    fn late(&self, seq: u64, timestamp: u32) -> Option<(usize, Place)> {
        let source = self.source()?;
        let mut end = self.next;
        for (at, run) in self.runs.iter().enumerate().rev() {
            if run.source != source {
                break;
            }
            if seq >= run.in_first {
                let place = run.place(seq, timestamp);
                return (place.seq < end).then_some((at, place));
            }
            end = run.begin();
        }
        None
    }

    /// What was sent as `out`, the low 16 bits of a sequence number that a
    /// receiver asks for: the newest such number that was sent.
    pub fn origin(&self, out: u16) -> Option<(u64, Origin)> {
        let newest = self.next.checked_sub(1)?;
        let back = u64::from((newest as u16).wrapping_sub(out));
        let out = newest.checked_sub(back)?;
        let at = self.runs.partition_point(|r| r.out_first <= out);
        if let Some(run) = self.runs.get(at)
            && let Some(own) = run.own
            && out + 1 == run.out_first
        {
            let source = run.source;
            let origin = match own {
                Own::ParameterSets(timestamp) => Origin::ParameterSets { source, timestamp },
                Own::Filler(timestamp, pt) => Origin::Filler {
                    source,
                    timestamp,
                    pt,
                },
            };
            return Some((out, origin));
        }
        let run = self.runs.get(at.checked_sub(1)?)?;
        let origin = Origin::Packet {
            source: run.source,
            seq: run.in_first + (out - run.out_first),
            times: run.times,
            moves: run.moves,
        };
        Some((out, origin))
    }

    fn push(&mut self, run: Run) {
        if self.runs.len() == self.limit {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }
}
