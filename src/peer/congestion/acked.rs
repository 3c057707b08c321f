//! How much arrives: the rate of the bytes that receivers report, over their
//! own time of arrival.

use super::Micros;
use super::ring::Ring;
use crate::net::prefetch::prefetch;

/// Points kept.
const POINTS: usize = 160;

/// Points are this far apart at least, so that all of them cover 0.8 s.
const SPACING: Micros = 5_000;

/// A receiver's clock that jumps back by this much began anew.
const CLOCK_JUMP: Micros = 3_000_000;

/// See the module's description.
#[derive(Debug, Default)]
pub struct ArrivalRate {
    /// When the last of so many bytes had arrived: the lower halves of both, of which only
    /// differences count.
    points: Ring<(u32, u32), POINTS>,
    newest: Micros,
    bytes: u32,
}

impl ArrivalRate {
    /// Takes a packet that arrived.
    pub fn add(&mut self, arrival: Micros, size: u32) {
        if self.points.is_empty() || (arrival - self.newest).abs() > CLOCK_JUMP {
            self.points.clear();
            self.points.push((arrival as u32, 0));
            self.newest = arrival;
            self.bytes = 0;
            return; // its own bytes came before the count began
        }
        // Overtaken packets count as if they had come with the newest.
        let arrival = arrival.max(self.newest);
        let spaced = |(at, _): (u32, u32)| since(at, arrival) >= SPACING;
        if let Some(last) = self.points.newest().filter(|last| spaced(*last)) {
            // The state before this packet, at the last packet's arrival.
            if since(last.0, self.newest) > 0 {
                self.points.push((self.newest as u32, self.bytes));
            }
        }
        self.newest = arrival;
        self.bytes = self.bytes.wrapping_add(size);
    }

    /// Bits per second over the newest `span` of arrivals or a little more;
    /// `None` while less than half of it is covered.
    pub fn over(&self, span: Micros) -> Option<f64> {
        let back = (0..self.points.len()).rev();
        let (at, bytes) = back
            .filter_map(|number| self.points.get(number))
            .find(|(at, _)| since(*at, self.newest) >= span)
            .or(self.points.get(0))?;
        let covered = since(at, self.newest);
        let arrived = self.bytes.wrapping_sub(bytes);
        (covered >= span / 2 && covered > 0).then(|| f64::from(arrived) * 8e6 / covered as f64)
    }

    /// Begins to load the newest points: those of half a second where frames come thirty times
    /// a second.
    pub fn prefetch(&self) {
        const A_LINE: usize = 8;
        for line in 0..4 {
            let number = self.points.len().checked_sub(1 + line * A_LINE);
            if let Some(point) = number.and_then(|number| self.points.place(number)) {
                prefetch(point);
            }
        }
    }
}

/// The time from `at` to `now`, which is no earlier.
fn since(at: u32, now: Micros) -> Micros {
    Micros::from((now as u32).wrapping_sub(at))
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
