//! When to ask a publisher for a keyframe: once for all who want one, again
//! when none comes, ever more rarely. A crowd of which somebody always wants one does not
//! set the pace for all: a keyframe costs everybody what several pictures do.

use std::time::{Duration, Instant};

/// Requests to one encoding are at least this far apart: a crowd of joiners
/// makes one keyframe, not a hundred.
pub const DEBOUNCE: Duration = Duration::from_millis(400);

/// Where somebody wants another one as soon as it may be, or not long after, the distance doubles
/// up to this.
const MOST_DEBOUNCE: Duration = Duration::from_millis(1_600);
const SAME_TROUBLE: u32 = 3;

/// The first retry comes after this; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Publishers that ignore requests are still asked this often.
const SLOWEST_RETRY: Duration = Duration::from_secs(4);

/// Requests that may go unanswered before a publisher is taken to ignore them.
const PATIENCE: u8 = 2;

/// What could not be sent is tried again after this.
const NO_WAY: Duration = Duration::from_millis(50);

/// A keyframe this long after a request may still be the answer to it.
const ANSWER: Duration = Duration::from_millis(1_500);

/// What a publisher does when it is asked for a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reaction {
    /// It was not asked yet, or it can't be told.
    #[default]
    Unknown,
    /// A keyframe comes soon.
    Reacts,
    /// Nothing happens: keyframes come when its encoder likes (OBS, FFmpeg).
    Ignores,
}

/// The request state of one encoding.
#[derive(Debug, Default)]
pub struct KeyframeRequester {
    wanted: bool,
    last_sent: Option<Instant>,
    /// How often the distance was doubled.
    doubled: u32,
    retry: Option<Duration>,
    /// Requests since somebody began to want one.
    sent: u8,
    /// One could not be sent: not before this.
    held: Option<Instant>,
    reaction: Reaction,
}

impl KeyframeRequester {
    /// Somebody needs a keyframe that starts after now.
    pub fn want(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.retry = None;
            self.sent = 0;
        }
    }

    /// A keyframe starts: whoever wanted one has it. `due` when it would have
    /// come now without any request.
    pub fn satisfied(&mut self, now: Instant, due: bool) {
        let asked = self.wanted && self.sent > 0;
        if asked && !due && self.last_sent.is_some_and(|at| now < at + ANSWER) {
            self.reaction = Reaction::Reacts;
        }
        self.wanted = false;
        self.retry = None;
        self.sent = 0;
    }

    /// What the publisher does when asked, as far as it was seen.
    pub fn reaction(&self) -> Reaction {
        self.reaction
    }

    /// What it is taken to do: one of which nothing is known yet, and that has not answered for
    /// as long as it takes to ask again, is not waited for.
    pub fn likely_reaction(&self, now: Instant) -> Reaction {
        let waits = self.wanted && self.sent > 0;
        let late = self.sent > 1 || self.last_sent.is_some_and(|at| now >= at + FIRST_RETRY);
        match self.reaction {
            Reaction::Unknown if waits && late => Reaction::Ignores,
            reaction => reaction,
        }
    }

    /// Another worker has seen what the publisher does.
    pub fn learn(&mut self, reaction: Reaction) {
        if reaction != Reaction::Unknown {
            self.reaction = reaction;
        }
    }

    /// Somebody still waits.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// When [`is_due`](Self::is_due) wants to be asked.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.wanted {
            return None;
        }
        let at = match self.last_sent {
            Some(sent) => sent + self.retry.unwrap_or(self.debounce()),
            None => now,
        };
        Some(self.held.map_or(at, |held| at.max(held)))
    }

    fn debounce(&self) -> Duration {
        (DEBOUNCE * (1 << self.doubled)).min(MOST_DEBOUNCE)
    }

    /// True when a request is to be sent now; [`sent`](Self::sent) or
    /// [`not_sent`](Self::not_sent) must follow.
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline(now).is_some_and(|at| at <= now)
    }

    /// There is no way to the publisher just now: it was asked nothing, so it ignores nothing.
    pub fn not_sent(&mut self, now: Instant) {
        self.held = Some(now + NO_WAY);
    }

    /// A request was sent.
    pub fn sent(&mut self, now: Instant) {
        self.held = None;
        if self.sent >= PATIENCE {
            self.reaction = Reaction::Ignores;
        }
        if self.retry.is_none() {
            let soon = self.debounce() * SAME_TROUBLE;
            let again = self.last_sent.is_some_and(|at| now < at + soon);
            let further = self.debounce() < MOST_DEBOUNCE;
            self.doubled = if again {
                self.doubled + u32::from(further)
            } else {
                0
            };
        }
        self.sent = self.sent.saturating_add(1);
        self.last_sent = Some(now);
        self.retry = Some(match self.retry {
            Some(retry) => (retry * 2).min(SLOWEST_RETRY),
            None => FIRST_RETRY,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl KeyframeRequester {
        fn poll(&mut self, now: Instant) -> bool {
            let is_due = self.is_due(now);
            if is_due {
                self.sent(now);
            }
            is_due
        }
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn many_wants_make_one_request() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        assert!(!requester.poll(start));
        requester.want();
        assert!(requester.poll(start));
        for millis in 1..400 {
            requester.want();
            assert!(!requester.poll(at(start, millis)));
        }
    }

    #[test]
    fn an_ignored_request_is_repeated_ever_more_rarely() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        requester.want();
        let sent: Vec<u64> = (0..20_000)
            .filter(|millis| requester.poll(at(start, *millis)))
            .collect();
        assert_eq!(sent, [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500]);
    }

    #[test]
    fn what_was_never_sent_is_not_ignored() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        requester.want();
        let mut tries = 0;
        for millis in 0..5000 {
            let now = at(start, millis);
            if requester.is_due(now) {
                requester.not_sent(now);
                tries += 1;
            }
        }
        assert_eq!((tries, requester.reaction()), (100, Reaction::Unknown));
        // As soon as there is a way, it is the first request.
        let sent = (5000..7000).filter(|millis| requester.poll(at(start, *millis)));
        assert_eq!(sent.collect::<Vec<_>>(), [5000, 5500, 6500]);
    }

    #[test]
    fn a_want_right_after_a_keyframe_waits_for_the_debounce_only() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        requester.want();
        assert!(requester.poll(start));
        requester.satisfied(start, false);
        assert!(requester.deadline(start).is_none());
        requester.want();
        assert!(!requester.poll(at(start, 399)));
        assert!(requester.poll(at(start, 400)));
    }

    #[test]
    fn where_somebody_always_wants_one_they_are_further_apart() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        let mut sent = Vec::new();
        for millis in 0..12_000 {
            // Nobody wants one for five seconds.
            if !(4_401..9_600).contains(&millis) {
                requester.want();
            }
            if requester.poll(at(start, millis)) {
                sent.push(millis);
                requester.satisfied(at(start, millis), false);
            }
        }
        let expected = [0, 400, 1200, 2800, 4400, 9600, 10_000, 10_800];
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_publisher_that_answers_is_told_from_one_that_does_not() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        // Keyframes of its own prove nothing, asked for or not.
        requester.satisfied(start, false);
        requester.want();
        assert!(requester.poll(start));
        requester.satisfied(at(start, 100), true);
        assert_eq!(requester.reaction(), Reaction::Unknown);
        requester.want();
        let likely = |r: &KeyframeRequester, ms| r.likely_reaction(at(start, ms));
        assert_eq!(likely(&requester, 399), Reaction::Unknown, "not asked");
        let mut other = KeyframeRequester::default();
        other.want();
        assert!(other.poll(at(start, 400)));
        assert_eq!(likely(&other, 899), Reaction::Unknown);
        assert_eq!(likely(&other, 900), Reaction::Ignores);
        assert!(other.poll(at(start, 910)));
        assert_eq!(likely(&other, 911), Reaction::Ignores);
        other.satisfied(at(start, 1000), false);
        assert_eq!(likely(&other, 2000), Reaction::Reacts);
        let sent = (400..4000).filter(|ms| requester.poll(at(start, *ms)));
        assert_eq!(sent.collect::<Vec<_>>(), [400, 900, 1900, 3900]);
        assert_eq!(requester.reaction(), Reaction::Ignores);
        requester.satisfied(at(start, 10_000), true);
        assert_eq!(requester.reaction(), Reaction::Ignores);
        requester.want();
        assert!(requester.poll(at(start, 12_000)));
        requester.satisfied(at(start, 12_090), false);
        assert_eq!(requester.reaction(), Reaction::Reacts);
    }
}
