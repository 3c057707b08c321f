//! A viewer's simulated bad link: it loses at random and has a bound.

use rand::RngExt;

/// How long a full link's queue may be, in seconds of its rate.
const QUEUE_SECONDS: f64 = 0.1;

/// The link. What it loses was received by the generator, so it is never
/// charged to the server.
#[derive(Debug, Clone)]
pub struct Link {
    loss: f64,
    bits_per_second: f64,
    queued_bits: f64,
    last_ns: u64,
}

impl Link {
    /// A link that loses a percentage, and more above `kbps` (0 for no bound).
    pub fn new(loss_percent: f64, kbps: u32) -> Self {
        Self {
            loss: loss_percent / 100.0,
            bits_per_second: f64::from(kbps) * 1000.0,
            queued_bits: 0.0,
            last_ns: 0,
        }
    }

    /// The bound in bits a second, if there is one.
    pub fn bound(&self) -> Option<f32> {
        (self.bits_per_second > 0.0).then_some(self.bits_per_second as f32)
    }

    /// True when a packet that came at `now_ns` gets through.
    pub fn passes(&mut self, now_ns: u64, bytes: usize) -> bool {
        if self.bits_per_second > 0.0 {
            let passed = now_ns.saturating_sub(self.last_ns) as f64 / 1e9;
            self.last_ns = now_ns;
            let bits = bytes as f64 * 8.0;
            let queued = (self.queued_bits - passed * self.bits_per_second).max(0.0) + bits;
            if queued > self.bits_per_second * QUEUE_SECONDS {
                self.queued_bits = queued - bits;
                return false;
            }
            self.queued_bits = queued;
        }
        self.loss <= 0.0 || !rand::rng().random_bool(self.loss.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_over_time() {
        let mut link = Link::new(0.0, 800);
        let mut passed = 0;
        // 1000 packets of 1000 bytes in a second are 8 Mbit/s.
        for i in 0..1000u64 {
            passed += u32::from(link.passes(1_000_000_000 + i * 1_000_000, 1000));
        }
        assert!((100..=112).contains(&passed), "{passed}");
    }

    #[test]
    fn losses_have_their_share() {
        let mut link = Link::new(10.0, 0);
        let lost = (0..10_000).filter(|_| !link.passes(0, 1000)).count();
        assert!((850..1150).contains(&lost), "{lost}");
        assert!((0..1000).all(|_| Link::new(0.0, 0).passes(0, 1000)));
    }
}
