//! How much arrives: the rate of the bytes that receivers report, over their
//! own time of arrival.

use std::collections::VecDeque;

use super::Micros;

/// Points kept.
const POINTS: usize = 160;

/// Points are this far apart at least, so that all of them cover 0.8 s.
const SPACING: Micros = 5_000;

/// A receiver's clock that jumps back by this much began anew.
const CLOCK_JUMP: Micros = 3_000_000;

/// See the module's description.
#[derive(Debug, Default)]
pub struct ArrivalRate {
    /// When the last of so many bytes had arrived.
    points: VecDeque<(Micros, u64)>,
    newest: Micros,
    bytes: u64,
}

impl ArrivalRate {
    /// Takes a packet that arrived.
    pub fn add(&mut self, arrival: Micros, size: u32) {
        if self.points.is_empty() || (arrival - self.newest).abs() > CLOCK_JUMP {
            self.points.clear();
            self.points.push_back((arrival, 0));
            self.newest = arrival;
            self.bytes = 0;
            return; // its own bytes came before the count began
        }
        // Overtaken packets count as if they had come with the newest.
        let arrival = arrival.max(self.newest);
        if self
            .points
            .back()
            .is_some_and(|(at, _)| arrival - at >= SPACING)
        {
            // The state before this packet, at the last packet's arrival.
            if self.points.back().is_some_and(|(at, _)| self.newest > *at) {
                self.points.push_back((self.newest, self.bytes));
            }
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
        self.newest = arrival;
        self.bytes += u64::from(size);
    }

    /// Bits per second over the newest `span` of arrivals or a little more;
    /// `None` while less than half of it is covered.
    pub fn over(&self, span: Micros) -> Option<f64> {
        let enough = |at: &Micros| self.newest - at >= span;
        let (at, bytes) = self
            .points
            .iter()
            .rev()
            .find(|(at, _)| enough(at))
            .or(self.points.front())?;
        let covered = self.newest - at;
        (covered >= span / 2 && covered > 0)
            .then(|| (self.bytes - bytes) as f64 * 8e6 / covered as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_packets_give_their_rate_over_any_span() {
        let mut rate = ArrivalRate::default();
        assert_eq!(rate.over(100_000), None);
        for index in 0..1000 {
            rate.add(index * 2_000, 1000);
        }
        for span in [50_000, 200_000, 500_000] {
            let found = rate.over(span).expect("covered");
            assert!((found - 4e6).abs() < 0.05e6, "{found} over {span}");
        }
    }

    #[test]
    fn the_newest_span_counts() {
        let mut rate = ArrivalRate::default();
        for index in 0..500 {
            rate.add(index * 2_000, 1000);
        }
        for index in 1..=30 {
            rate.add(998_000 + index * 10_000, 1000);
        }
        let found = rate.over(200_000).expect("covered");
        assert!((found - 0.8e6).abs() < 0.05e6, "{found}");
    }

    #[test]
    fn overtaken_packets_count_and_a_new_clock_starts_anew() {
        let mut rate = ArrivalRate::default();
        for index in 0..100i64 {
            rate.add((index ^ 1) * 10_000, 1000);
        }
        let found = rate.over(300_000).expect("covered");
        assert!((found - 0.8e6).abs() < 0.06e6, "{found}");
        rate.add(-50_000_000, 1000);
        assert_eq!(rate.over(300_000), None);
    }
}
