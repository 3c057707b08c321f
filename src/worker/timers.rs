//! One timer a slot, in a hierarchical wheel: setting, moving and taking one costs the same
//! however many sessions there are, and nothing ever scans them.

use std::time::{Duration, Instant};

/// A tick. ICE, DTLS, RTCP and pacing all think in milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// Buckets a level, so that a `u64` tells which are in use.
const BUCKETS: usize = 64;
/// Levels: bucket widths of 1 ms, 64 ms, 4 s, 4 min and 4.6 h.
const LEVELS: usize = 5;
/// The farthest that a timer may lie ahead, in ticks (12 days); later ones are moved here.
const HORIZON: u64 = (1 << (6 * LEVELS as u32)) - (1 << (6 * (LEVELS as u32 - 1)));

/// "No node".
const NONE: u32 = u32::MAX;

/// A slot's timer: a link of the list of its bucket.
#[derive(Debug, Clone, Copy)]
struct Node {
    next: u32,
    previous: u32,
    generation: u32,
    due: u64,
    /// `level * BUCKETS + bucket`, or `IDLE`.
    list: u16,
}

const IDLE: u16 = u16::MAX;

const IDLE_NODE: Node = Node {
    next: NONE,
    previous: NONE,
    generation: 0,
    due: 0,
    list: IDLE,
};

/// The timers of a worker's sessions, at most one a slot.
///
/// A timer never fires early, and at the first [`expire`](Self::expire) at or behind its tick:
/// at most one millisecond late when `expire` is called in time.
#[derive(Debug)]
pub struct Timers {
    start: Instant,
    /// All ticks up to this one are over.
    now: u64,
    nodes: Vec<Node>,
    heads: [u32; LEVELS * BUCKETS],
    used: [u64; LEVELS],
    armed: usize,
}

impl Timers {
    /// No timers; `now` is the earliest time that will be told.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            now: 0,
            nodes: Vec::new(),
            heads: [NONE; LEVELS * BUCKETS],
            used: [0; LEVELS],
            armed: 0,
        }
    }

    /// Makes room, so that nothing allocates for slots below `slots`.
    pub fn reserve(&mut self, slots: usize) {
        if slots > self.nodes.len() {
            self.nodes.resize(slots, IDLE_NODE);
        }
    }

    /// How many slots have a timer.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// No slot has a timer.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Sets the slot's timer in place of the one it had. A time that is over fires within
    /// the next tick. The generation comes back with the slot.
    pub fn schedule(&mut self, slot: u32, generation: u32, at: Instant) {
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE_NODE);
        }
        let ahead = at.saturating_duration_since(self.start);
        let tick = u64::try_from(ahead.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        let due = tick.clamp(self.now + 1, self.now + HORIZON);
        let node = &mut self.nodes[index];
        if node.list != IDLE && node.due == due {
            node.generation = generation;
            return;
        }
        self.unlink(slot);
        let node = &mut self.nodes[index];
        node.due = due;
        node.generation = generation;
        self.link(slot);
        self.armed += 1;
    }

    /// Takes the slot's timer away, if it has one.
    pub fn cancel(&mut self, slot: u32) {
        self.unlink(slot);
    }

    /// Gives all timers that are due at `now` to `fire`, as (slot, generation), those of earlier
    /// ticks first. A time before that of the last call fires nothing.
    pub fn expire(&mut self, now: Instant, mut fire: impl FnMut(u32, u32)) {
        while let Some((slot, generation)) = self.pop_expired(now) {
            fire(slot, generation);
        }
    }

    /// The next timer due at `now`, for callers that set timers in between: those fire in a
    /// later tick, so that this ends.
    pub fn pop_expired(&mut self, now: Instant) -> Option<(u32, u32)> {
        let ahead = now.saturating_duration_since(self.start);
        let target = u64::try_from(ahead.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
        loop {
            // Timers of the current tick are in their bucket of level 0 until they are taken.
            let bucket = (self.now % BUCKETS as u64) as usize;
            let slot = self.heads[bucket];
            if slot != NONE && self.nodes[slot as usize].due <= self.now {
                let generation = self.nodes[slot as usize].generation;
                self.unlink(slot);
                return Some((slot, generation));
            }
            if self.now >= target {
                return None;
            }
            self.now = self.next_event().map_or(target, |next| next.min(target));
            self.cascade();
        }
    }

    /// When [`expire`](Self::expire) wants to be called: never later than the earliest timer's
    /// tick, and earlier only when a bucket of far timers must be spread, which happens at most
    /// once a level and timer. `None` without timers.
    pub fn next_deadline(&self) -> Option<Instant> {
        // Only a caller that stopped halfway leaves timers in the current tick.
        let waiting = self.heads[(self.now % BUCKETS as u64) as usize] != NONE;
        let tick = if waiting {
            self.now
        } else {
            self.next_event()?
        };
        self.start.checked_add(Duration::from_millis(tick))
    }

    /// The earliest tick, behind the current one, at which a bucket is due.
    fn next_event(&self) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        for level in 0..LEVELS {
            let shift = 6 * level as u32;
            let position = self.now >> shift;
            // Bucket 0 of the rotated map is the one behind the current.
            let ahead = self.used[level].rotate_right(((position + 1) % BUCKETS as u64) as u32);
            if ahead != 0 {
                let tick = (position + 1 + u64::from(ahead.trailing_zeros())) << shift;
                earliest = Some(earliest.map_or(tick, |best| best.min(tick)));
            }
        }
        earliest
    }

    /// Spreads the buckets that begin at the current tick over the levels below.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let shift = 6 * level as u32;
            if self.now & ((1 << shift) - 1) != 0 {
                continue;
            }
            let bucket = ((self.now >> shift) % BUCKETS as u64) as usize;
            let list = level * BUCKETS + bucket;
            let mut slot = self.heads[list];
            self.heads[list] = NONE;
            self.used[level] &= !(1 << bucket);
            while slot != NONE {
                let next = self.nodes[slot as usize].next;
                self.nodes[slot as usize].list = IDLE;
                self.link(slot);
                slot = next;
            }
        }
    }

    /// Puts a node at the head of the bucket for its time.
    fn link(&mut self, slot: u32) {
        let due = self.nodes[slot as usize].due;
        // The level where `due` and now first differ, in groups of six bits.
        let differ = (due ^ self.now) | 1;
        let level = ((63 - differ.leading_zeros()) as usize / 6).min(LEVELS - 1);
        let bucket = ((due >> (6 * level as u32)) % BUCKETS as u64) as usize;
        let list = level * BUCKETS + bucket;
        let head = std::mem::replace(&mut self.heads[list], slot);
        if head != NONE {
            self.nodes[head as usize].previous = slot;
        }
        let node = &mut self.nodes[slot as usize];
        node.next = head;
        node.previous = NONE;
        node.list = list as u16;
        self.used[level] |= 1 << bucket;
    }

    /// Takes a node out of its list, if it is in one.
    fn unlink(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(slot as usize) else {
            return;
        };
        if node.list == IDLE {
            return;
        }
        let list = usize::from(node.list);
        let (next, previous) = (node.next, node.previous);
        node.list = IDLE;
        if previous == NONE {
            self.heads[list] = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if self.heads[list] == NONE {
            self.used[list / BUCKETS] &= !(1 << (list % BUCKETS));
        }
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};

    use super::*;

    fn fired(timers: &mut Timers, now: Instant) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        timers.expire(now, |slot, generation| all.push((slot, generation)));
        all
    }

    #[test]
    fn a_timer_fires_once_not_early_and_with_its_last_setting() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut timers = Timers::new(start);
        assert_eq!(timers.next_deadline(), None);
        timers.schedule(3, 1, at(50_000));
        timers.schedule(3, 2, at(10_500));
        timers.schedule(4, 7, at(10_000));
        assert_eq!(timers.len(), 2);
        assert_eq!(timers.next_deadline(), Some(at(10_000)));
        assert_eq!(fired(&mut timers, at(9_999)), []);
        assert_eq!(fired(&mut timers, at(10_999)), [(4, 7)]);
        assert_eq!(timers.next_deadline(), Some(at(11_000)));
        assert_eq!(fired(&mut timers, at(11_000)), [(3, 2)]);
        assert_eq!(fired(&mut timers, at(1_000_000)), []);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for slot in 0..5 {
            timers.schedule(slot, 0, start + TICK * 5);
        }
        for slot in [0, 2, 4, 4, 99] {
            timers.cancel(slot);
        }
        let mut left = fired(&mut timers, start + TICK * 5);
        left.sort_unstable();
        assert_eq!(left, [(1, 0), (3, 0)]);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_time_that_is_over_fires_in_the_next_tick() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let now = start + TICK * 100;
        assert_eq!(fired(&mut timers, now), []);
        timers.schedule(1, 0, start);
        timers.schedule(2, 0, start);
        let mut taken = 0;
        while let Some((slot, generation)) = timers.pop_expired(now) {
            timers.schedule(slot, generation, start);
            taken += 1;
        }
        assert_eq!(taken, 0);
        assert_eq!(timers.next_deadline(), Some(now + TICK));
        assert_eq!(timers.pop_expired(now + TICK), Some((2, 0)));
        assert_eq!(timers.next_deadline(), Some(now + TICK));
        assert_eq!(timers.pop_expired(now + TICK), Some((1, 0)));
    }

    #[test]
    fn far_times_are_kept_and_bounded() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let day = Duration::from_secs(86_400);
        timers.schedule(0, 0, start + day * 3);
        timers.schedule(1, 0, start + day * 4000);
        assert_eq!(fired(&mut timers, start + day * 3 - TICK), []);
        assert_eq!(fired(&mut timers, start + day * 3), [(0, 0)]);
        assert_eq!(fired(&mut timers, start + day * 13), [(1, 0)]);
    }

    /// Random settings, cancellations and steps of time, against a sorted map.
    #[test]
    fn the_wheel_agrees_with_a_sorted_map() {
        for seed in 0..40 {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let start = Instant::now();
            let mut timers = Timers::new(start);
            timers.reserve(20);
            let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
            let mut now_us: u64 = 0;
            let mut wakes = 0;
            for step in 0..5_000u32 {
                let slot = rng.random_range(0..40);
                match rng.random_range(0..10) {
                    0..=5 => {
                        let ahead = match rng.random_range(0..4) {
                            0 => rng.random_range(0..3_000),
                            1 => rng.random_range(0..100_000),
                            2 => rng.random_range(0..10_000_000),
                            _ => rng.random_range(0..10_000_000_000),
                        };
                        let at = (now_us + ahead).saturating_sub(1_000);
                        timers.schedule(slot, step, start + Duration::from_micros(at));
                        let tick = at.div_ceil(1000).max(now_us / 1000 + 1);
                        model.insert(slot, (tick, step));
                    }
                    6 => {
                        timers.cancel(slot);
                        model.remove(&slot);
                    }
                    7 => now_us += rng.random_range(0..5_000),
                    8 => now_us += rng.random_range(0..300_000_000),
                    _ => {
                        // Sleep for exactly as long as the wheel says.
                        if let Some(at) = timers.next_deadline() {
                            let at = (at - start).as_micros() as u64;
                            assert!(at > now_us / 1000 * 1000, "asks to wake in the past");
                            let earliest = model.values().map(|(t, _)| *t).min();
                            assert!(earliest.is_some_and(|t| at <= t * 1000), "too late");
                            now_us = now_us.max(at);
                            wakes += 1;
                        } else {
                            assert!(model.is_empty());
                        }
                    }
                }
                let got = fired(&mut timers, start + Duration::from_micros(now_us));
                let mut ticks = Vec::new();
                for (slot, generation) in got {
                    let (tick, wanted) = model.remove(&slot).expect("fired without a timer");
                    assert_eq!(generation, wanted);
                    assert!(tick <= now_us / 1000, "early");
                    ticks.push(tick);
                }
                assert!(ticks.is_sorted(), "out of order");
                assert!(model.values().all(|(t, _)| *t > now_us / 1000), "missed");
                assert_eq!(timers.len(), model.len());
            }
            assert!(wakes > 100);
        }
    }
}
