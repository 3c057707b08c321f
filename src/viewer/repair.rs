//! What a viewer may be sent again: a share of what it is sent anyway, and
//! nothing twice within a round trip.

use std::time::{Duration, Instant};

/// Repairs may use this share of the media's bytes: enough for 20 % loss, too
/// little to starve fresh media.
const SHARE_PERCENT: u64 = 25;

/// What may be saved up, in bytes: a burst of loss on a 4 Mb/s stream.
const CEILING: u64 = 128 * 1024;

/// What a new viewer starts with.
const INITIAL: u64 = 32 * 1024;

/// Repairs remembered so as not to be repeated too early.
const RECENT: usize = 64;

/// The least time between two repairs of one packet, for receivers whose
/// round trip is not known yet or tiny.
const LEAST_GAP: Duration = Duration::from_millis(10);

/// See the module's description.
#[derive(Debug)]
pub struct RepairBudget {
    tokens: u64,
    recent: [(u64, Option<Instant>); RECENT],
    next: usize,
}

/// Why a repair is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The budget is used up.
    Budget,
    /// It is on its way already.
    Repeated,
}

impl Default for RepairBudget {
    fn default() -> Self {
        Self {
            tokens: INITIAL,
            recent: [(0, None); RECENT],
            next: 0,
        }
    }
}

impl RepairBudget {
    /// Media went out: repairs earn their share.
    #[inline]
    pub fn earn(&mut self, bytes: usize) {
        self.tokens = (self.tokens + bytes as u64 * SHARE_PERCENT / 100).min(CEILING);
    }

    /// Asks for a repair of `seq` of `bytes`, and takes it from the budget.
    pub fn spend(
        &mut self,
        now: Instant,
        seq: u64,
        bytes: usize,
        rtt: Option<Duration>,
    ) -> Result<(), Denied> {
        let gap = rtt.map_or(LEAST_GAP, |rtt| rtt.max(LEAST_GAP));
        let repeated = self.recent.iter().any(|(s, at)| {
            *s == seq && at.is_some_and(|at| now.saturating_duration_since(at) < gap)
        });
        if repeated {
            return Err(Denied::Repeated);
        }
        let Some(left) = self.tokens.checked_sub(bytes as u64) else {
            return Err(Denied::Budget);
        };
        self.tokens = left;
        self.recent[self.next] = (seq, Some(now));
        self.next = (self.next + 1) % RECENT;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_repaired_twice_within_a_round_trip() {
        let now = Instant::now();
        let rtt = Some(Duration::from_millis(50));
        let mut budget = RepairBudget::default();
        assert_eq!(budget.spend(now, 7, 1000, rtt), Ok(()));
        let soon = now + Duration::from_millis(49);
        assert_eq!(budget.spend(soon, 7, 1000, rtt), Err(Denied::Repeated));
        let later = now + Duration::from_millis(50);
        assert_eq!(budget.spend(later, 7, 1000, rtt), Ok(()));
    }

    #[test]
    fn repairs_never_exceed_their_share() {
        let now = Instant::now();
        let mut budget = RepairBudget::default();
        let (mut sent, mut repaired) = (0u64, 0u64);
        for seq in 0..10_000u64 {
            budget.earn(1000);
            sent += 1000;
            if budget.spend(now, seq, 1000, None).is_ok() {
                repaired += 1000;
            }
        }
        assert!(repaired <= sent * SHARE_PERCENT / 100 + INITIAL);
        assert!(repaired >= sent * SHARE_PERCENT / 100 - 1000);
    }
}
