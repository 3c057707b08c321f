//! Asking publishers for what did not arrive (generic NACK, RFC 4585 §6.2.1).
//!
//! Requests go to any publisher that agreed to NACK, with RTX or without, paced by the round
//! trip that the handshake and then repairs show, each as a packet of its own (RFC 5506) where
//! the publisher offered `rtcp-rsize`: packed together with reports, some (FFmpeg) can't read them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::reception::REPAIRABLE;

/// Wait this long before the first request: the packet may just be late.
const REORDER_WAIT: Duration = Duration::from_millis(8);

/// Taken for the round trip before anything told it.
const FIRST_RTT: Duration = Duration::from_millis(60);

/// A handshake that was quicker or slower than this says less than a guess.
const BELIEVED: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(800));

/// Requests for one packet; then it is given up.
const MAX_TRIES: u8 = 8;

/// A packet missing for longer is of no use to a live viewer.
const TOO_OLD: Duration = Duration::from_millis(1200);

/// Packets that may be missing at a time; a larger hole is no loss of packets
/// but of the way, and a keyframe is the better answer.
const MAX_MISSING: usize = 256;

/// Sequence numbers in one request.
const PER_REQUEST: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u64,
    since: Instant,
    due: Instant,
    /// When it was first asked for.
    asked: Option<Instant>,
    tries: u8,
}

/// What is missing of one stream.
#[derive(Debug)]
pub struct NackTracker {
    highest: Option<u64>,
    missing: VecDeque<Missing>,
    /// No packet that is missing is due before; asked for with every packet that comes.
    next: Option<Instant>,
    rtt: Duration,
    /// A repair told it.
    measured: bool,
    /// The publisher can be asked; else what does not come by itself is lost.
    asks: bool,
}

impl NackTracker {
    /// A tracker of a stream whose sender's handshake took a round trip of `handshake`, and
    /// which agreed to NACK or not.
    pub fn new(handshake: Option<Duration>, asks: bool) -> Self {
        let rtt = handshake.map(|rtt| rtt.clamp(BELIEVED.0, BELIEVED.1));
        Self {
            highest: None,
            missing: VecDeque::new(),
            next: None,
            rtt: rtt.unwrap_or(FIRST_RTT),
            measured: false,
            asks,
        }
    }

    /// The handshake took this round trip; nothing has come yet.
    pub fn learn_round_trip(&mut self, handshake: Option<Duration>) {
        *self = Self::new(handshake, self.asks);
    }

    /// Notes an arrival. True when something is lost for good, so that only a keyframe helps.
    pub fn arrived(&mut self, now: Instant, seq: u64) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return false;
        };
        if seq <= highest {
            self.repaired(now, seq);
            return false;
        }
        self.highest = Some(seq);
        let gap = (seq - highest - 1) as usize;
        if gap + self.missing.len() > MAX_MISSING {
            self.missing.clear();
            self.next = None;
            return true;
        }
        self.missing.extend((highest + 1..seq).map(|seq| Missing {
            seq,
            since: now,
            due: now + REORDER_WAIT,
            asked: None,
            tries: 0,
        }));
        if gap > 0 {
            let due = now + REORDER_WAIT;
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        let before = self.missing.len();
        while self
            .missing
            .front()
            .is_some_and(|m| m.seq + REPAIRABLE <= seq)
        {
            self.missing.pop_front();
        }
        if self.missing.is_empty() {
            self.next = None;
        }
        self.missing.len() < before
    }

    fn repaired(&mut self, now: Instant, seq: u64) {
        let Ok(at) = self.missing.binary_search_by_key(&seq, |m| m.seq) else {
            return;
        };
        let repaired = self.missing.remove(at);
        if self.missing.is_empty() {
            self.next = None;
        }
        let Some(asked) = repaired.and_then(|m| Some((m.asked?, m.tries))) else {
            return; // it was only late
        };
        let sample = now.saturating_duration_since(asked.0);
        // Asked for once, the answer is to that request. Asked for twice, it may be to
        // either; but where the round trip is taken for too short, all are asked for twice.
        self.rtt = match (asked.1, self.measured) {
            (1, true) => (self.rtt * 7 + sample) / 8,
            (_, false) => sample,
            (_, true) if sample > self.rtt => (self.rtt * 7 + sample) / 8,
            (_, true) => self.rtt,
        };
        self.measured = true;
    }

    /// The round trip that repairs show.
    #[cfg(test)]
    fn rtt(&self) -> Duration {
        self.rtt
    }

    /// When [`due`](Self::due) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The numbers to ask for now, in rising order, into `out`. True when some were given up:
    /// they are lost for good.
    pub fn due(&mut self, now: Instant, out: &mut Vec<u16>) -> bool {
        out.clear();
        let before = self.missing.len();
        let asks = self.asks;
        self.missing.retain(|m| {
            let in_time = now.saturating_duration_since(m.since) < TOO_OLD;
            in_time && (m.due > now || asks && m.tries < MAX_TRIES)
        });
        let given_up = self.missing.len() < before;
        let pace = self.rtt.max(Duration::from_millis(15));
        for missing in &mut self.missing {
            if missing.due > now || out.len() == PER_REQUEST {
                continue;
            }
            missing.tries += 1;
            missing.asked.get_or_insert(now);
            // A quarter more than the round trip, so as not to ask for what is
            // on its way; each further request a little later.
            missing.due = now + pace * 5 / 4 + pace / 2 * u32::from(missing.tries - 1);
            out.push(missing.seq as u16);
        }
        let all = self.missing.iter();
        self.next = all.map(|m| m.due.min(m.since + TOO_OLD)).min();
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_late_packet_is_not_asked_for() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        let mut out = Vec::new();
        tracker.arrived(start, 10);
        tracker.arrived(start, 12);
        tracker.due(at(start, 7), &mut out);
        assert!(out.is_empty());
        tracker.arrived(at(start, 7), 11);
        tracker.due(at(start, 50), &mut out);
        assert!(out.is_empty() && tracker.deadline().is_none());
    }

    #[test]
    fn a_missing_packet_is_asked_for_once_a_round_trip_and_given_up() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        tracker.arrived(start, 65_534);
        tracker.arrived(start, 65_538);
        let (mut out, mut times) = (Vec::new(), Vec::new());
        for millis in 0..3000 {
            tracker.due(at(start, millis), &mut out);
            if !out.is_empty() {
                assert_eq!(out, [65_535, 0, 1]);
                times.push(millis);
            }
        }
        assert_eq!(times[0], 8);
        assert!(times.len() >= 4 && times.len() <= usize::from(MAX_TRIES));
        assert!(times.windows(2).all(|t| t[1] - t[0] >= 60), "{times:?}");
        assert!(times.last().unwrap() < &1200);
        assert_eq!(tracker.deadline(), None);
    }

    #[test]
    fn the_deadline_is_never_behind_what_is_due() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        let (mut out, mut seq) = (Vec::new(), 0);
        for millis in 0..4000u64 {
            let now = at(start, millis);
            seq += 1 + u64::from(millis % 37 == 0) * (millis % 5);
            tracker.arrived(now, seq);
            if millis % 61 == 0 {
                tracker.arrived(now, seq.saturating_sub(20));
            }
            let all = tracker.missing.iter();
            let first = all.map(|m| m.due.min(m.since + TOO_OLD)).min();
            let told = tracker.deadline();
            assert_eq!(told.is_some(), first.is_some(), "{millis}");
            assert!(told <= first, "{millis}");
            if told.is_some_and(|told| told <= now) {
                tracker.due(now, &mut out);
            }
        }
    }

    #[test]
    fn repairs_tell_the_round_trip() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        let mut out = Vec::new();
        for round in 0..100u64 {
            let now = at(start, round * 1000);
            tracker.arrived(now, round * 2);
            tracker.arrived(now, round * 2 + 2);
            tracker.due(at(now, 0) + REORDER_WAIT, &mut out);
            tracker.arrived(
                now + REORDER_WAIT + Duration::from_millis(20),
                round * 2 + 1,
            );
        }
        let rtt = tracker.rtt();
        assert!((19..=22).contains(&rtt.as_millis()), "{rtt:?}");
    }

    /// How often each of 40 packets is asked for when repairs take `rtt`.
    fn tries(mut tracker: NackTracker, rtt: u64) -> Vec<u32> {
        let start = Instant::now();
        let mut out = Vec::new();
        let mut asked = vec![(0, None); 40];
        for millis in 0..42_000 {
            let now = at(start, millis);
            // One packet in ten is missing, ten a second come.
            if millis % 100 == 0 && millis / 100 % 10 != 9 {
                tracker.arrived(now, millis / 100);
            }
            for (index, (_, first)) in asked.iter_mut().enumerate() {
                if *first == Some(millis) {
                    tracker.arrived(now, index as u64 * 10 + 9);
                }
            }
            tracker.due(now, &mut out);
            for sequence in &out {
                if let Some((tries, answer)) = asked.get_mut(usize::from(*sequence) / 10) {
                    *tries += 1;
                    answer.get_or_insert(millis + rtt);
                }
            }
        }
        asked.into_iter().map(|(tries, _)| tries).collect()
    }

    #[test]
    fn nothing_is_asked_for_twice_within_a_round_trip() {
        // The handshake told how long it is.
        for rtt in [30, 100, 300, 600] {
            let handshake = Some(Duration::from_millis(rtt));
            let tries = tries(NackTracker::new(handshake, true), rtt);
            assert!(tries.iter().all(|t| *t == 1), "{rtt} ms: {tries:?}");
        }
        // Or it did not: the first repair does.
        for rtt in [30, 100, 300] {
            let tries = tries(NackTracker::new(None, true), rtt);
            assert!(tries[1..].iter().all(|t| *t == 1), "{rtt} ms: {tries:?}");
        }
    }

    #[test]
    fn a_request_that_was_lost_slows_the_next_ones_a_little_only() {
        let start = Instant::now();
        let handshake = Some(Duration::from_millis(40));
        let mut tracker = NackTracker::new(handshake, true);
        let mut out = Vec::new();
        for round in 0..50u64 {
            let now = at(start, round * 1000);
            tracker.arrived(now, round * 2);
            tracker.arrived(now, round * 2 + 2);
            // Of ten requests one is lost: the second one for that packet is answered.
            let mut answer = None;
            for millis in 0..400 {
                tracker.due(at(now, millis), &mut out);
                if !out.is_empty() && (round % 10 != 5 || tracker.missing[0].tries > 1) {
                    answer.get_or_insert(millis + 40);
                }
                if answer == Some(millis) {
                    tracker.arrived(at(now, millis), round * 2 + 1);
                }
            }
        }
        let rtt = tracker.rtt();
        assert!((38..=60).contains(&rtt.as_millis()), "{rtt:?}");
    }

    #[test]
    fn a_hole_too_large_is_a_case_for_a_keyframe() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        tracker.arrived(start, 1);
        assert!(!tracker.arrived(start, 100));
        assert!(tracker.arrived(start, 500));
        assert_eq!(tracker.deadline(), None);
    }

    #[test]
    fn what_is_given_up_is_told_once() {
        let start = Instant::now();
        let mut out = Vec::new();
        // A publisher that can be asked has its time; one that can't has that of reordering.
        for (asks, lost_after) in [(true, 1200), (false, 8)] {
            let mut tracker = NackTracker::new(None, asks);
            tracker.arrived(start, 1);
            tracker.arrived(start, 3);
            // Looked at only when it wants to be.
            let mut told = Vec::new();
            while let Some(now) = tracker.deadline() {
                if tracker.due(now, &mut out) {
                    told.push(now.duration_since(start).as_millis());
                }
                assert!(asks || out.is_empty());
            }
            assert_eq!(told, [lost_after]);
        }
    }

    #[test]
    fn what_no_repair_can_fill_any_more_is_lost() {
        let start = Instant::now();
        let mut tracker = NackTracker::new(None, true);
        tracker.arrived(start, 0);
        for seq in 2..=REPAIRABLE {
            assert!(!tracker.arrived(start, seq), "{seq}");
        }
        assert!(tracker.arrived(start, REPAIRABLE + 1), "it is told once");
        assert!(!tracker.arrived(start, REPAIRABLE + 2));
        assert_eq!(tracker.deadline(), None);
    }
}
