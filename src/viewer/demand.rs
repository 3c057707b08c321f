//! How often one viewer's keyframe requests count: what it makes the publisher
//! send goes to everybody, so that a viewer whose path breaks every picture
//! must not set the pace for all. A request that comes too early is not lost: it counts as
//! soon as it may, unless a keyframe has come by then.

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
    /// When a request came too early.
    owed: Option<Instant>,
}

impl Demand {
    /// True when a request of now counts; else it waits for its time.
    pub fn admit(&mut self, now: Instant) -> bool {
        let gap = match self.counted {
            None => FIRST_GAP,
            Some((at, gap)) => match now.saturating_duration_since(at) {
                passed if passed < gap => {
                    self.owed.get_or_insert(now);
                    return false;
                }
                passed if passed < gap * SAME_TROUBLE => (gap * 2).min(LONGEST_GAP),
                _ => FIRST_GAP,
            },
        };
        self.counted = Some((now, gap));
        self.owed = None;
        true
    }

    /// When a request that came too early counts.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.owed?;
        self.counted.map(|(at, gap)| at + gap)
    }

    /// Since when a request waits whose time has come. It is told once.
    #[inline]
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.deadline().is_some_and(|at| at <= now);
        due.then(|| self.owed.take())?
    }

    /// What waited is of no use any more.
    pub fn forget(&mut self) {
        self.owed = None;
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
    fn a_request_that_comes_too_early_counts_when_its_time_comes() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut demand = Demand::default();
        assert!(demand.admit(at(0)));
        assert_eq!((demand.deadline(), demand.due(at(900))), (None, None));
        assert!(demand.admit(at(1000)));
        assert!(!demand.admit(at(1400)) && !demand.admit(at(1900)));
        assert_eq!(demand.deadline(), Some(at(2000)));
        assert_eq!(demand.due(at(1999)), None);
        assert_eq!(demand.due(at(2000)), Some(at(1400)), "the first of them");
        assert_eq!((demand.deadline(), demand.due(at(2001))), (None, None));
        assert!(demand.admit(at(2001)));
        assert!(!demand.admit(at(2100)));
        demand.forget();
        assert_eq!(demand.due(at(9000)), None);
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
