//! A one-way network path: delay, jitter, loss, duplication, reordering and a
//! rate limit with a bounded queue, all from one seed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a path does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    pub delay: Duration,
    pub jitter: Duration,
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// Share of datagrams that arrive twice.
    pub duplicates: f64,
    /// Share of datagrams held back long enough to be overtaken.
    pub reordered: f64,
    /// Bits per second; `None` is no limit.
    pub rate: Option<u64>,
    /// What the rate limit's queue holds, as time; more is dropped.
    pub queue: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicates: 0.0,
            reordered: 0.0,
            rate: None,
            queue: Duration::from_millis(300),
        }
    }
}

/// A path with its state.
#[derive(Debug)]
pub struct Link {
    pub conditions: Conditions,
    rng: StdRng,
    /// When the rate-limited line is free again.
    free_at: Option<Instant>,
    /// Datagrams that were lost here.
    pub lost: u64,
    last_arrival: Option<Instant>,
}

impl Link {
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            rng: StdRng::seed_from_u64(seed),
            free_at: None,
            lost: 0,
            last_arrival: None,
        }
    }

    /// How long a datagram sent now would wait for those before it.
    pub fn waiting(&self, now: Instant) -> Duration {
        self.free_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// When a datagram sent now arrives: never, once, or twice.
    pub fn send(&mut self, now: Instant, bytes: usize) -> Vec<Instant> {
        let c = self.conditions;
        if c.loss > 0.0 && self.rng.random_bool(c.loss) {
            self.lost += 1;
            return Vec::new();
        }
        let mut leaves = now;
        if let Some(rate) = c.rate {
            let start = self.free_at.map_or(now, |at| at.max(now));
            if start - now > c.queue {
                self.lost += 1;
                return Vec::new();
            }
            leaves = start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
            self.free_at = Some(leaves);
        }
        let jitter = c.jitter.mul_f64(self.rng.random::<f64>());
        let mut arrival = leaves + c.delay + jitter;
        if c.reordered > 0.0 && self.rng.random_bool(c.reordered) {
            arrival += Duration::from_millis(15);
        } else if let Some(last) = self.last_arrival {
            // Jitter alone does not reorder: queues are first in, first out.
            arrival = arrival.max(last);
            self.last_arrival = Some(arrival);
        } else {
            self.last_arrival = Some(arrival);
        }
        let mut arrivals = vec![arrival];
        if c.duplicates > 0.0 && self.rng.random_bool(c.duplicates) {
            arrivals.push(arrival + Duration::from_millis(1));
        }
        arrivals
    }
}
