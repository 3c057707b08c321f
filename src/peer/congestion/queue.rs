//! How long packets wait in a queue on the way: their one-way delay above the
//! least one of late. Both clocks run on their own, so only differences count.

use super::Micros;
use super::ring::Ring;

/// The least delay is looked for in this time and the one before; a route that
/// became longer, or a drift between the clocks, is taken in after it.
const BASE_WINDOW: Micros = 10_000_000;

/// Of groups this close to the newest the least delayed counts: jitter adds
/// delay, it never takes any away.
const FILTER: Micros = 120_000;

/// Groups that the filter looks at, at most.
const SAMPLES: usize = 8;

/// A rise is one over this time.
const RISE: Micros = 200_000;

/// Values of the last [`RISE`], and one behind them.
const PAST: usize = SAMPLES + 2;

/// See the module's description.
#[derive(Debug, Default)]
pub struct QueueDelay {
    base: Option<Micros>,
    next_base: Option<Micros>,
    base_since: Micros,
    newest: Ring<(Micros, Micros), SAMPLES>,
    /// Queueing delay over the last [`RISE`], a few values.
    past: Ring<(Micros, Micros), PAST>,
    now: Micros,
}

impl QueueDelay {
    /// Takes the first packet of a group.
    pub fn add(&mut self, sent: Micros, arrival: Micros) {
        let delay = arrival - sent;
        if self.base.is_none() || sent - self.base_since > BASE_WINDOW {
            self.base = self.next_base.take().or(Some(delay));
            self.base_since = sent;
        }
        self.base = self.base.map(|base| base.min(delay));
        self.next_base = Some(self.next_base.map_or(delay, |base| base.min(delay)));
        self.newest.push((arrival, delay));
        let old = |(at, _): (Micros, Micros)| arrival - at > FILTER;
        while self.newest.len() > 2 && self.newest.get(0).is_some_and(old) {
            self.newest.pop();
        }
        let least = self.newest.iter().map(|(_, delay)| delay).min();
        self.now = match (least, self.base) {
            (Some(least), Some(base)) => (least - base).max(0),
            _ => 0,
        };
        if self
            .past
            .newest()
            .is_none_or(|(at, _)| arrival - at >= RISE / SAMPLES as Micros)
        {
            self.past.push((arrival, self.now));
        }
        while self.past.len() > 2 && self.past.get(1).is_some_and(|(at, _)| arrival - at >= RISE) {
            self.past.pop();
        }
    }

    /// Takes any packet: the way is no longer than it took. The first ones of all, and those
    /// of trains, have met an empty queue when those that are measured find a full one.
    pub fn bound(&mut self, sent: Micros, arrival: Micros) {
        let delay = arrival - sent;
        if self.base.is_none() {
            self.base_since = sent;
        }
        self.base = Some(self.base.map_or(delay, |base| base.min(delay)));
    }

    /// The queueing delay.
    pub fn delay(&self) -> Micros {
        self.now
    }

    /// What there is counts as the way's own length from here on.
    pub fn rebase(&mut self) {
        let least = self.newest.iter().map(|(_, delay)| delay).min();
        self.base = least;
        self.next_base = least;
        self.now = 0;
        self.past.clear();
    }

    /// By how much it rose over the last fifth of a second; negative when it fell.
    pub fn rise(&self) -> Micros {
        self.past.get(0).map_or(0, |(_, before)| self.now - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_first_packets_have_filled_has_a_queue() {
        let mut queue = QueueDelay::default();
        queue.bound(0, 20_000);
        queue.bound(10_000, 90_000);
        queue.add(50_000, 350_000);
        assert_eq!(queue.delay(), 280_000);
    }

    #[test]
    fn jitter_is_no_queue_and_a_queue_is_one() {
        let mut queue = QueueDelay::default();
        let jitter = [3, 17, 9, 0, 12, 19, 5, 1, 14, 8];
        for index in 0..600i64 {
            let sent = index * 33_000;
            queue.add(sent, sent + 70_000 + jitter[(index % 10) as usize] * 1000);
        }
        assert!(queue.delay() <= 5_000, "{}", queue.delay());
        for index in 600..620i64 {
            let sent = index * 33_000;
            queue.add(sent, sent + 170_000 + jitter[(index % 10) as usize] * 1000);
        }
        assert!((100_000..=105_000).contains(&queue.delay()));
        assert_eq!(queue.rise() / 10_000, 0, "it stays");
    }

    #[test]
    fn a_rising_queue_is_told() {
        let mut queue = QueueDelay::default();
        for index in 0..20i64 {
            queue.add(index * 20_000, index * 20_000 + 1000);
        }
        assert_eq!((queue.delay(), queue.rise()), (0, 0));
        for index in 20..40i64 {
            queue.add(index * 20_000, index * 40_000 - 399_000 + 20_000);
        }
        assert!(queue.rise() > 80_000, "{}", queue.rise());
    }

    #[test]
    fn a_longer_route_is_the_new_base_in_the_end() {
        let mut queue = QueueDelay::default();
        for index in 0..3000i64 {
            let way = if index < 500 { 20_000 } else { 90_000 };
            queue.add(index * 20_000, index * 20_000 + way);
            match index {
                499 => assert_eq!(queue.delay(), 0),
                600 => assert_eq!(queue.delay(), 70_000),
                2000 => assert_eq!(queue.delay(), 0),
                _ => {}
            }
        }
    }
}
