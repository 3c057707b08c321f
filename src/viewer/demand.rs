//! How often one viewer's keyframe requests count: what it makes the publisher
//! send goes to everybody, so that a viewer whose path breaks every picture
//! must not set the pace for all.

use std::time::{Duration, Instant};

/// Requests that follow each other count this far apart at first. Receivers
/// repeat theirs every 200 ms until the picture comes; asking on is the
/// server's business.
const FIRST_GAP: Duration = Duration::from_millis(500);

/// And this far apart at last.
const LONGEST_GAP: Duration = Duration::from_secs(4);

/// Requests within so many gaps are one trouble that goes on.
const SAME_TROUBLE: u32 = 3;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Demand {
    counted: Option<(Instant, Duration)>,
}

impl Demand {
    /// True when a request of now counts.
    pub fn admit(&mut self, now: Instant) -> bool {
        let gap = match self.counted {
            None => FIRST_GAP,
            Some((at, gap)) => match now.saturating_duration_since(at) {
                passed if passed < gap => return false,
                passed if passed < gap * SAME_TROUBLE => (gap * 2).min(LONGEST_GAP),
                _ => FIRST_GAP,
            },
        };
        self.counted = Some((now, gap));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(every: Duration, over: Duration) -> usize {
        let start = Instant::now();
        let mut demand = Demand::default();
        let times = (0..).map(|i| every * i).take_while(|t| *t < over);
        times.filter(|t| demand.admit(start + *t)).count()
    }

    #[test]
    fn requests_now_and_then_all_count() {
        assert_eq!(counted(Duration::from_secs(5), Duration::from_secs(50)), 10);
    }

    #[test]
    fn a_stream_of_requests_counts_ever_more_rarely() {
        let minute = Duration::from_secs(60);
        let count = counted(Duration::from_millis(200), minute);
        assert!((14..=19).contains(&count), "{count}");
    }

    #[test]
    fn after_a_quiet_time_requests_count_at_once_again() {
        let start = Instant::now();
        let mut demand = Demand::default();
        for i in 0..100 {
            demand.admit(start + Duration::from_millis(200) * i);
        }
        let later = start + Duration::from_secs(60);
        assert!(demand.admit(later));
        assert!(!demand.admit(later + Duration::from_millis(499)));
        assert!(demand.admit(later + Duration::from_millis(501)));
    }
}
